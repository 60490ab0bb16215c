/* What an operator wants to know of each session: read off on its own loop. */
#include <jansson.h>

#include "core/clock.h"
#include "origin/home_int.h"

enum { SEGMENTS_SEEN = 10 };

/* Over the last closed segments; 0: none yet. */
static int64_t bitrate_bps(const struct model_rep *r)
{
    uint64_t bytes = 0;
    int64_t us = 0;
    int seen = 0;

    for (size_t i = r->segments.n; i-- > 0 && seen < SEGMENTS_SEEN;) {
        const struct model_segment *g = model_segment(r, i);

        if (g->open)
            continue;
        bytes += g->size;
        us += model_us(r, g->d);
        seen++;
    }
    return us > 0 ? (int64_t)((double)bytes * 8e6 / (double)us) : 0;
}

/* Between the last two chunks that a decoder can start at; 0: there are not two. */
static int64_t gop_ms(const struct model_rep *r)
{
    const struct model_part *last = NULL;

    for (size_t i = r->parts.n; i-- > 0;) {
        const struct model_part *p = model_part(r, i);

        if (!p->independent)
            continue;
        if (last != NULL)
            return model_us(r, last->t - p->t) / 1000;
        last = p;
    }
    return 0;
}

/* The age of the first frame of the newest chunk: media time is the arrival of the frame. */
static int64_t latency_ms(const struct session *s, const struct model_rep *r)
{
    const struct model_part *last = model_part(r, r->parts.n - 1);

    return (clock_wall_us() - s->ast_s * (int64_t)SEC_US - model_us(r, last->t)) / 1000;
}

static json_t *rendition(const struct model_rep *r)
{
    json_t *j = json_pack("{s:s, s:s, s:I}", "rep", r->name, "codecs", r->codecs, "bitrate_bps",
                          (json_int_t)bitrate_bps(r));

    if (j == NULL)
        return NULL;
    if (r->video) {
        (void)json_object_set_new(j, "width", json_integer(r->init.width));
        (void)json_object_set_new(j, "height", json_integer(r->init.height));
        (void)json_object_set_new(j, "gop_ms", json_integer(gop_ms(r)));
        if (r->init.fps_den != 0)
            (void)json_object_set_new(j, "fps",
                                      json_real((double)r->init.fps_num / (double)r->init.fps_den));
    } else {
        (void)json_object_set_new(j, "rate", json_integer(r->init.rate));
        (void)json_object_set_new(j, "channels", json_integer(r->init.channels));
    }
    return j;
}

static json_t *describe(struct session *s)
{
    const struct model_period *p = s->model != NULL ? model_current(s->model) : NULL;
    uint64_t now_us = loop_now(s->hl->loop);
    json_t *reps = json_array(), *j;

    for (unsigned i = 0; p != NULL && i < p->n_reps; i++)
        if (p->rep[i].inited)
            (void)json_array_append_new(reps, rendition(&p->rep[i]));
    j = json_pack("{s:s, s:s, s:s, s:I, s:f, s:I, s:o}", "name", s->name, "session", s->id, "state",
                  s->phase == SESSION_ENDED ? "ended"
                  : s->door == NULL         ? "waiting"
                                            : "live",
                  "period", (json_int_t)(p != NULL ? p->k : 0), "uptime_s",
                  (double)(now_us - s->begun_us) / 1e6, "last_tag_ms",
                  (json_int_t)((now_us - s->last_tag_us) / 1000), "renditions", reps);
    if (j == NULL)
        return NULL;
    if (exchange_is_on(&s->x)) {
        (void)json_object_set_new(j, "worker", json_integer(s->worker));
        (void)json_object_set_new(j, "worker_lag_ms", json_integer(s->worker_lag_ms));
    }
    if (p != NULL && p->n_reps > 0 && p->rep[0].parts.n > 0 && s->phase == SESSION_LIVE &&
        !s->stalled)
        (void)json_object_set_new(j, "latency_ms", json_integer(latency_ms(s, &p->rep[0])));
    return j;
}

void home_loop_list(struct loop *l, json_t *list)
{
    struct home_loop *hl = home_loop_of(l);

    for (struct session *s = hl != NULL ? hl->first : NULL; s != NULL; s = s->next)
        (void)json_array_append_new(list, describe(s));
}
