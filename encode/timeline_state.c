/* What one worker tells the next, in every chunk: the Period, and where the rendition stands in it.
 * Each rendition's state stands for itself; the newest Period among them is the one to go on with.
 * A rendition that has no chunk in it yet begins at the Period's first tag. What the frames since
 * the last chunk have done is not in it: they come again. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/check.h"
#include "encode/timeline_int.h"

enum { STATE_VERSION = 3 };

static const char *hash_of(const struct timeline *tl, enum tl_rep rep)
{
    return tl->period.init[rep] != NULL ? tl->period.init[rep]->hash : "";
}

const char *tl_state_text(struct timeline *tl, const struct track *tr, int64_t end,
                          uint64_t next_tag)
{
    const struct tl_period *p = &tl->period;
    size_t size = sizeof tl->text, at;
    int n =
        snprintf(tl->text, size,
                 "{\"v\":%d,\"next\":%" PRIu64 ",\"k\":%" PRId64 ",\"start\":%" PRId64
                 ",\"off\":%" PRId64 ",\"tag\":%" PRIu64 ",\"num\":%" PRId64 ",\"said\":%" PRIu64
                 ",\"pgop\":%" PRId64 ",\"v0\":\"%s\",\"a0\":\"%s\",\"ts\":%" PRIu32
                 ",\"n\":%" PRId64 ",\"t\":%" PRId64 ",\"end\":%" PRId64 ",\"seq\":%" PRIu32,
                 STATE_VERSION, next_tag, p->k, p->start_ms, p->off_ms, p->first_tag, p->number,
                 p->said_tag, p->gop, hash_of(tl, TL_VIDEO), hash_of(tl, TL_AUDIO),
                 p->init[tr->rep]->timescale, tr->n, tr->segment_t, end, tr->sequence);

    CHECK(n > 0 && (size_t)n < size);
    at = (size_t)n;
    if (tr->rep == TL_VIDEO)
        n = snprintf(tl->text + at, size - at,
                     ",\"d\":%" PRId64 ",\"dts\":%" PRId64 ",\"dur\":%" PRId64 ",\"shift\":%" PRId64
                     ",\"idr\":%" PRId64 ",\"gop\":%" PRId64 ",\"eq\":%" PRId64
                     ",\"since\":%" PRId64 ",\"trust\":%d}",
                     tr->promised, tr->dts, tr->dur, tr->shift, tr->idr_t, tr->gop, tr->equal,
                     tr->equal > 0 ? tr->since_t : 0, tr->trusted);
    else
        n = snprintf(tl->text + at, size - at,
                     ",\"pos\":%" PRId64 ",\"d\":%" PRId64 ",\"pend\":%" PRId64 ",\"pd\":%" PRId64
                     "}",
                     tr->next, tr->promised, tr->pictures_end, tr->pictures_d);
    CHECK(n > 0 && (size_t)n < size - at);
    return tl->text;
}

/* A state as it was read, with every number in its range. */
struct state {
    bool there;
    json_int_t next, k, start, off, tag, num, said, pgop, ts, n, t, end, seq;
    const char *hash[TL_REPS];
    json_int_t d, dts, dur, shift, idr, gop, eq, since;
    int trust;
    json_int_t pos, pend, pd;
};

/* Bounds that keep every product in 64 bits. */
static bool below(json_int_t v, int bits) { return v >= 0 && v < (json_int_t)1 << bits; }

static bool sane(const struct state *s, enum tl_rep rep)
{
    bool period = below(s->k, TL_NUMBER_BITS) && below(s->start, TL_MS_BITS + 1) &&
                  below(llabs(s->off), TL_MS_BITS + 1) && below(s->tag, TL_NUMBER_BITS) &&
                  below(s->num, TL_NUMBER_BITS) && below(s->pgop, TL_NUMBER_BITS) &&
                  below(s->said, TL_NUMBER_BITS) && s->hash[rep][0] != 0;
    bool segment = below(s->next, TL_NUMBER_BITS) && below(s->n, TL_NUMBER_BITS) &&
                   s->ts >= TL_TIMESCALE_MIN && s->ts <= TL_TIMESCALE_MAX &&
                   below(s->t, TL_NUMBER_BITS) && below(s->end, TL_NUMBER_BITS) && s->end >= s->t &&
                   below(s->end / s->ts * 1000, TL_MS_BITS + 1) && below(s->seq, 32);
    bool video = below(s->d, TL_NUMBER_BITS) && below(s->dts, TL_NUMBER_BITS) &&
                 below(s->dur, TL_NUMBER_BITS) && below(llabs(s->shift), 31) && s->idr >= 0 &&
                 s->idr <= s->dts && below(s->gop, TL_NUMBER_BITS) && s->eq >= 0 &&
                 s->eq <= TL_EQUAL_MAX && s->since >= 0;
    bool audio = below(s->pos, TL_NUMBER_BITS) && below(s->pend, TL_NUMBER_BITS) &&
                 below(s->pd, TL_NUMBER_BITS);

    /* A GOP that never was must not be counted with. */
    return period && segment && video && audio &&
           (rep == TL_AUDIO || (s->d == 0 && s->trust == 0) || s->gop > 0) &&
           (s->eq == 0 || s->since < s->idr);
}

static bool hash_ok(const char *h)
{
    size_t n = strlen(h);

    return n == 0 || (n == INIT_HASH_TEXT - 1 && strspn(h, "0123456789abcdef") == n);
}

static enum st read_state(const json_t *o, enum tl_rep rep, struct state *s)
{
    json_t *in = json_object_get(o, tl_rep_name[rep]);
    int version = 0;

    *s = (struct state){ .there = false };
    if (in == NULL)
        return ST_OK;
    if (json_unpack(in, "{s:i,s:I,s:I,s:I,s:I,s:I,s:I,s:I,s:I,s:s,s:s,s:I,s:I,s:I,s:I,s:I}", "v",
                    &version, "next", &s->next, "k", &s->k, "start", &s->start, "off", &s->off,
                    "tag", &s->tag, "num", &s->num, "said", &s->said, "pgop", &s->pgop, "v0",
                    &s->hash[TL_VIDEO], "a0", &s->hash[TL_AUDIO], "ts", &s->ts, "n", &s->n, "t",
                    &s->t, "end", &s->end, "seq", &s->seq) != 0)
        return ST_EPROTO;
    if (rep == TL_VIDEO &&
        json_unpack(in, "{s:I,s:I,s:I,s:I,s:I,s:I,s:I,s:I,s:i}", "d", &s->d, "dts", &s->dts, "dur",
                    &s->dur, "shift", &s->shift, "idr", &s->idr, "gop", &s->gop, "eq", &s->eq,
                    "since", &s->since, "trust", &s->trust) != 0)
        return ST_EPROTO;
    if (rep == TL_AUDIO && json_unpack(in, "{s:I,s:I,s:I,s:I}", "pos", &s->pos, "d", &s->d, "pend",
                                       &s->pend, "pd", &s->pd) != 0)
        return ST_EPROTO;
    if (version != STATE_VERSION || !hash_ok(s->hash[0]) || !hash_ok(s->hash[1]) || !sane(s, rep))
        return ST_EPROTO;
    s->there = true;
    return ST_OK;
}

static void restore_track(struct track *tr, const struct state *s)
{
    tr->next_tag = (uint64_t)s->next;
    tr->started = true;
    tr->in_segment = true;
    tr->opened = true;
    tr->n = s->n;
    tr->segment_t = s->t;
    tr->end = s->end;
    tr->sequence = (uint32_t)s->seq;
    tr->promised = s->d;
    tr->dts = s->dts;
    tr->dur = s->dur;
    tr->shift = s->shift;
    tr->idr_t = s->idr;
    tr->gop = s->gop;
    tr->trusted = s->trust != 0;
    tr->equal = s->eq;
    tr->since_t = s->since;
    tr->next = s->pos;
    tr->pictures_end = s->pend;
    tr->pictures_d = s->pd;
}

static bool same_period(const struct state *a, const struct state *b)
{
    return a->start == b->start && a->off == b->off && a->tag == b->tag && a->num == b->num &&
           a->pgop == b->pgop && a->said == b->said && strcmp(a->hash[0], b->hash[0]) == 0 &&
           strcmp(a->hash[1], b->hash[1]) == 0;
}

/* Whatever comes next must come after what is known to have been said. */
static void move_floor(struct timeline *tl, const struct state *s, enum tl_rep rep)
{
    int64_t end = tl_end_ms(rep, s->hash[TL_VIDEO][0] != 0, s->end, s->ts);

    if (s->k >= tl->conf.k)
        tl->conf.k = s->k + 1;
    if (s->n >= tl->conf.number)
        tl->conf.number = s->n + 1;
    if (end > tl->conf.earliest_ms)
        tl->conf.earliest_ms = end;
}

enum st timeline_resume(struct timeline *tl, const json_t *states)
{
    struct state s[TL_REPS];
    const struct state *newest = NULL;

    CHECK(!tl->running && !tl->resumed);
    for (int i = 0; i < TL_REPS; i++) {
        if (read_state(states, (enum tl_rep)i, &s[i]) != ST_OK)
            return ST_EPROTO;
        if (s[i].there && (newest == NULL || s[i].k > newest->k))
            newest = &s[i];
    }
    if (newest == NULL)
        return ST_EPROTO;
    for (int i = 0; i < TL_REPS; i++)
        if (s[i].there && s[i].k == newest->k && !same_period(&s[i], newest))
            return ST_EPROTO;
    tl->period = (struct tl_period){ .k = newest->k,
                                     .start_ms = newest->start,
                                     .off_ms = newest->off,
                                     .first_tag = (uint64_t)newest->tag,
                                     .number = newest->num,
                                     .said_tag = (uint64_t)newest->said,
                                     .gop = newest->pgop };
    for (int i = 0; i < TL_REPS; i++) {
        struct track *tr = &tl->track[i];

        (void)snprintf(tl->resume_hash[i], INIT_HASH_TEXT, "%s", newest->hash[i]);
        tl_track_begin(tl, tr);
        tr->next_tag = (uint64_t)newest->tag;
        tr->last_ms = newest->start - newest->off;
        if (s[i].there)
            move_floor(tl, &s[i], tr->rep);
        if (s[i].there && s[i].k == newest->k)
            restore_track(tr, &s[i]);
        else if (s[i].there) /* the end of an older Period: it may not have been heard */
            tl->ops->close(tl->ctx, tr->rep, s[i].n, s[i].end - s[i].t);
    }
    if (s[TL_AUDIO].there && s[TL_AUDIO].k == newest->k)
        tl->track[TL_AUDIO].last_ms = s[TL_AUDIO].pos * 1000 / s[TL_AUDIO].ts - newest->off;
    tl->running = true;
    tl->announced = true;
    tl->resumed = true;
    return ST_OK;
}
