/* One broadcast, from its first publisher to the end of its reconnect window.
 *
 *   a door arrives --> LIVE: tags -> spool -> worker -> records -> objects, manifest
 *        ^                |  no tag for 1 s: what is open is closed where it is
 *        |  comes back    |  the publisher leaves: the reconnect window runs
 *        +----------------+
 *                         |  the window is over, or the publisher ended it
 *                         v
 *                    ENDED: the worker flushes, the manifest is static, forgotten after a while */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "core/check.h"
#include "core/clock.h"
#include "core/conf.h"
#include "core/log.h"
#include "core/metric.h"
#include "edge/store.h"
#include "origin/home_int.h"

enum { SESSION_MAGIC = 0x5e551014 };
#define STALL_US (1 * SEC_US)
#define LINGER_US (60 * SEC_US) /* how long an ended broadcast is known */
#define MARK_EVERY_MS 1000
#define ANCHOR_STEP_US 5000

static void on_timer(struct loop *l, struct timer *t);

static struct loop *loop_of(const struct session *s) { return s->hl->loop; }

/* --- life --- */

/* Milliseconds in base 36 and four random digits: sorts by time, and cannot be guessed. */
static void mint_id(char id[STREAM_SESSION_LEN + 1])
{
    static const char digits[] = "0123456789abcdefghijklmnopqrstuvwxyz";
    uint64_t ms = (uint64_t)clock_wall_us() / 1000;
    uint8_t random[4] = { 0 };

    if (getrandom(random, sizeof random, 0) != (ssize_t)sizeof random)
        memcpy(random, &ms, sizeof random);
    for (int i = 8; i >= 0; i--, ms /= 36)
        id[i] = digits[ms % 36];
    for (int i = 0; i < 4; i++)
        id[9 + i] = digits[random[i] % 36];
    id[STREAM_SESSION_LEN] = '\0';
}

static void go_on_from(struct session *s, const struct ticket *t)
{
    memcpy(s->id, t->session, sizeof s->id);
    s->epoch = t->epoch;
    s->ast_s = t->ast_s;
    s->k = t->k + TICKET_K_STEP;
    s->next_number = t->high;
}

static void configure(struct session *s, const struct conf *c)
{
    const struct conf_app *app = conf_app(c, s->name, strcspn(s->name, "/"));
    const struct conf_ladder *ladder = conf_ladder(c, app != NULL ? app->ladder : "source");
    struct spool_limits lim = { .bytes = c->ingest.limits.spool_bytes,
                                .ms = (uint32_t)(c->ingest.spool_us / MS_US) };

    CHECK(ladder != NULL); /* conf_load() has seen to it */
    s->window_us = (int64_t)c->origin.window_us;
    s->chunk_us = (int64_t)c->encode.chunk_us;
    s->segment_us = (int64_t)ladder->segment_us;
    spool_init(&s->spool, &lim);
}

struct session *session_new(struct home_loop *hl, const char *name, const struct ticket *ticket)
{
    struct session *s;

    if (home_sessions(hl->home) >= hl->loop->conf->ingest.limits.streams) {
        metric_add(&hl->loop->metrics->limit_hits[METRIC_LIMIT_INGEST_STREAMS], 1);
        return NULL;
    }
    if ((s = calloc(1, sizeof *s)) == NULL)
        return NULL;
    OBJ_INIT(s, SESSION_MAGIC);
    s->hl = hl;
    s->begun_us = s->last_tag_us = loop_now(hl->loop);
    memcpy(s->name, name, strlen(name) + 1);
    s->next_number = 1;
    if (ticket != NULL)
        go_on_from(s, ticket);
    else
        mint_id(s->id);
    anchor_init(&s->anchor);
    configure(s, hl->loop->conf);
    buf_init(&s->bytes, RECORD_BYTES_MAX);
    buf_init(&s->text, RECORD_JSON_MAX);
    buf_init(&s->doc, 4 << 20);
    s->timer.fire = on_timer;
    s->cut = true;
    s->next = hl->first;
    s->prevp = &hl->first;
    if (s->next != NULL)
        s->next->prevp = &s->next;
    hl->first = s;
    (void)atomic_fetch_add_explicit(&hl->home->sessions, 1, memory_order_relaxed);
    return s;
}

static void free_session(struct grave *g)
{
    struct session *s = CONTAINER_OF(g, struct session, grave);

    for (unsigned i = 0; i < s->n_resume; i++)
        free(s->resume[i].state);
    json_decref(s->json);
    buf_fini(&s->bytes);
    buf_fini(&s->text);
    buf_fini(&s->doc);
    spool_fini(&s->spool);
    spool_body_fini(&s->up);
    model_free(&s->model);
    stream_unref(&s->stream);
    OBJ_FINI(s, SESSION_MAGIC);
    free(s);
}

void session_free_now(struct session *s)
{
    struct loop *l = loop_of(s);

    OBJ_CHECK(s, SESSION_MAGIC);
    if (s->door != NULL)
        door_close_by_home(s->door, DOOR_STOPPING);
    exchange_cancel(&s->x);
    pin_release(s);
    timer_cancel(l, &s->timer);
    timer_cancel(l, &s->retry);
    hub_close(&s->channel);
    if (s->stream != NULL)
        stream_forget(l, s->stream);
    *s->prevp = s->next;
    if (s->next != NULL)
        s->next->prevp = s->prevp;
    (void)atomic_fetch_sub_explicit(&s->hl->home->sessions, 1, memory_order_relaxed);
    /* a letter of ours that is under way would find freed memory: it frees us then */
    s->gone = true;
    metric_sub(&l->metrics->home_spool_bytes, s->spool_counted);
    if (!s->job_busy && !s->render_posted)
        loop_bury(l, &s->grave, free_session);
}

/* The last letter has come home. */
bool session_letter_came(struct loop *l, struct session *s)
{
    if (!s->gone)
        return false;
    if (!s->job_busy && !s->render_posted)
        loop_bury(l, &s->grave, free_session);
    return true;
}

/* --- publishers --- */

void session_ticket(const struct session *s, struct ticket *out)
{
    uint64_t used = s->next_number + TICKET_RESERVE;

    *out = (struct ticket){ .epoch = s->epoch,
                            .ast_s = s->ast_s,
                            .k = s->k,
                            .high = used > s->disk_high ? used : s->disk_high };
    memcpy(out->session, s->id, sizeof out->session);
}

void session_arrive(struct session *s, bool again)
{
    session_tell(s, true);
    s->left_us = 0;
    if (!again) {
        s->relay_next = 0;
        s->cut = true;
        s->paused = false;
    }
    s->last_tag_us = loop_now(loop_of(s));
    timer_set(loop_of(s), &s->timer, s->last_tag_us + STALL_US);
}

static void end_session(struct session *s)
{
    struct loop *l = loop_of(s);

    if (s->phase == SESSION_ENDED)
        return;
    s->phase = SESSION_ENDED;
    s->up.last = true;
    log_note(l->log, LOG_CTX_TEXT(LOG_CTX_TEXT(NULL, "stream", s->name), "session", s->id), "home",
             "the broadcast has ended");
    session_record_remove(s);
    timer_cancel(l, &s->timer);
    timer_set(l, &s->timer, loop_now(l) + STALL_US);
    s->forget_us = loop_now(l) + LINGER_US;
    if (exchange_is_on(&s->x))
        exchange_more(&s->x); /* the end goes up; the rest comes down */
    else if (!s->timed)
        session_over(s);
    /* else the exchange that is about to begin is the last one */
}

/* All records are here. */
void session_over(struct session *s)
{
    s->over = true;
    pin_release(s);
    if (s->model != NULL)
        model_end(s->model);
    if (s->stream != NULL) {
        session_render_now(s);
        stream_end(loop_of(s), s->stream);
        hub_end(s->channel);
    }
}

void session_leave(struct session *s, bool ended)
{
    struct loop *l = loop_of(s);

    s->left_us = loop_now(l);
    session_tell(s, false);
    if (ended)
        end_session(s);
    else
        timer_set(l, &s->timer, s->last_tag_us + STALL_US);
}

static uint64_t window_us(const struct session *s)
{
    return loop_of(s)->conf->ingest.reconnect_window_us;
}

/* The broadcast has ended: its last records come, or never, and then it lingers. */
static void wind_up(struct session *s)
{
    struct loop *l = loop_of(s);

    if (!s->over && !session_listen(s))
        session_over(s);
    if (loop_now(l) >= s->forget_us && !s->job_busy) /* the record is gone, too */
        session_free_now(s);
    else
        timer_set(l, &s->timer,
                  s->over && loop_now(l) < s->forget_us ? s->forget_us : loop_now(l) + STALL_US);
}

static void on_timer(struct loop *l, struct timer *t)
{
    struct session *s = CONTAINER_OF(t, struct session, timer);
    uint64_t now_us = loop_now(l);

    if (s->phase == SESSION_ENDED) {
        wind_up(s);
        return;
    }
    if (!s->stalled && now_us - s->last_tag_us >= STALL_US) {
        s->paused = s->paused || !s->cut;
        s->stalled = s->cut = true;
        session_cut(s);
    }
    (void)session_listen(s);
    if (s->phase == SESSION_ENDED)
        return; /* there is no worker for it */
    if (s->left_us != 0 && now_us - s->left_us >= window_us(s)) {
        end_session(s);
        return;
    }
    if (s->door != NULL)
        session_record_touch(s);
    timer_set(l, t,
              s->left_us != 0 ? s->left_us + window_us(s)
              : s->stalled    ? now_us + STALL_US
                              : s->last_tag_us + STALL_US);
}

/* --- tags --- */

/* The door's times begin anew with each publisher; the session's go on, at the pace of the wall
 * clock between them. */
static void join_times(struct session *s, const struct flv_tag *tag, int64_t arrival_us)
{
    int64_t door_ms = flv_unwrap(0, tag->ts_ms);

    if (!s->timed) {
        s->timed = true;
        s->shift_ms = -door_ms;
        if (s->ast_s == 0) /* a whole second, at least two before the first frame */
            s->ast_s = arrival_us / (int64_t)SEC_US - 2;
        return;
    }
    int64_t wall_ms = (arrival_us - s->last_arrival_us) / 1000;

    s->shift_ms = s->now_ms + (wall_ms > 1 ? wall_ms : 1) - door_ms;
    anchor_init(&s->anchor);
}

static bool mark_is_due(const struct session *s, int64_t ms, int64_t anchor)
{
    int64_t step = anchor - s->told_anchor_us;

    return s->cut || ms - s->marked_ms >= MARK_EVERY_MS || step > ANCHOR_STEP_US ||
           step < -ANCHOR_STEP_US;
}

static void put_mark(struct session *s, struct buf *mark, int64_t ms, int64_t anchor,
                     int64_t arrival_us)
{
    struct flv_mark m = { .tag = spool_next(&s->spool),
                          .base_ms = ms,
                          .discontinuity = s->cut,
                          .arrival_us = arrival_us,
                          .has_anchor = true,
                          .anchor_us = anchor };

    flv_put_mark(mark, &m);
    s->marked_ms = ms;
    s->told_anchor_us = anchor;
    s->mark = m;
}

/* What a POP sends again has come already, but for what got lost on its side. */
static bool is_news(struct session *s, uint64_t number)
{
    if (number == 0)
        return s->relay_next == 0;
    if (number < s->relay_next) {
        metric_add(&loop_of(s)->metrics->relay_tags_repeated, 1);
        return false;
    }
    if (s->relay_next != 0 && number > s->relay_next && !s->cut)
        s->cut = s->paused = true; /* there is a hole; the times go on */
    s->relay_next = number + 1;
    return true;
}

static bool is_config(const struct flv_tag *tag)
{
    struct flv_media media;
    enum st st = tag->type == FLV_VIDEO ? flv_video_parse(tag->body, tag->n, &media)
                                        : flv_audio_parse(tag->body, tag->n, &media);

    return tag->type != FLV_SCRIPT && st == ST_OK && media.packet == FLV_CONFIG;
}

static void drop_stale(struct session *s, const struct flv_tag *tag)
{
    struct metrics *m = loop_of(s)->metrics;

    s->stale++;
    if (m != NULL)
        metric_add(&m->ingest_frames_dropped[tag->type == FLV_VIDEO   ? METRIC_MEDIA_VIDEO
                                             : tag->type == FLV_AUDIO ? METRIC_MEDIA_AUDIO
                                                                      : METRIC_MEDIA_DATA],
                   1);
}

/* In time again after a silence, or given up. */
static void is_back(struct session *s)
{
    char n[24];

    s->paused = false;
    if (s->stale == 0)
        return;
    (void)snprintf(n, sizeof n, "%llu", (unsigned long long)s->stale);
    log_note(loop_of(s)->log, LOG_CTX_TEXT(LOG_CTX_TEXT(NULL, "stream", s->name), "frames", n),
             "home", "what was sent late after a silence is not played");
    s->stale = 0;
}

/* After a silence. False: the tag is of a backlog that nobody waits for any more. */
static bool in_time(struct session *s, const struct flv_tag *tag, int64_t ms, int64_t arrival_us)
{
    enum anchor_verdict v = anchor_judge(&s->anchor, arrival_us, ms);

    if (v == ANCHOR_STALE && !is_config(tag)) {
        drop_stale(s, tag);
        return false;
    }
    if (v == ANCHOR_ANEW) /* what has been taken since then was timed by the old clock */
        s->cut = true;
    if (!s->anchor.back)
        is_back(s);
    return true;
}

void session_tag(struct session *s, uint64_t number, const struct flv_tag *tag, bool discontinuity,
                 int64_t arrival_us)
{
    struct flv_tag mine = *tag;
    struct spool_tag *t;
    struct buf mark;
    int64_t ms, anchor;

    OBJ_CHECK(s, SESSION_MAGIC);
    if (s->phase == SESSION_ENDED || !is_news(s, number))
        return;
    if (discontinuity) {
        s->cut = true;
        s->paused = false;
    }
    if (s->paused && s->stalled)
        anchor_pause(&s->anchor, s->last_arrival_us);
    else if (s->cut && !s->paused)
        join_times(s, tag, arrival_us);
    ms = flv_unwrap(s->now_ms - s->shift_ms, tag->ts_ms) + s->shift_ms;
    s->now_ms = ms > s->now_ms ? ms : s->now_ms;
    s->last_arrival_us = arrival_us;
    s->last_tag_us = loop_now(loop_of(s));
    if (s->stalled)
        s->heard_us = s->last_tag_us;
    s->stalled = false;
    if (s->paused && !in_time(s, tag, ms, arrival_us))
        return;
    anchor_add(&s->anchor, arrival_us, ms);
    anchor = anchor_us(&s->anchor, arrival_us);
    buf_init(&mark, FLV_MARK_MAX);
    if (mark_is_due(s, ms, anchor))
        put_mark(s, &mark, ms, anchor, arrival_us);
    mine.ts_ms = (uint32_t)(uint64_t)ms;
    if (mark.st != ST_OK || spool_add(&s->spool, &mine, mark.len > 0 ? &mark : NULL, &t) != ST_OK) {
        buf_fini(&mark);
        s->cut = true; /* a tag is lost */
        return;
    }
    buf_fini(&mark);
    s->cut = false;
    spool_note_header(&s->spool, t, &mine);
}

void session_count_spool(struct session *s)
{
    metric_add(&loop_of(s)->metrics->home_spool_bytes,
               s->spool.bytes - s->spool_counted); /* may wrap */
    s->spool_counted = s->spool.bytes;
}

void session_more(struct session *s)
{
    session_count_spool(s);
    if (exchange_is_on(&s->x))
        exchange_more(&s->x);
    else if (!s->over && !timer_is_set(&s->retry) && s->timed)
        session_start_exchange(s);
}
