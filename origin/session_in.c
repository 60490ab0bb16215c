/* What a worker gets: the spool from the cursor on (core/spool_body.h). After a worker's death the
 * next one gets the same from where the last left off, with the states of its renditions. */
#include <jansson.h>
#include <openssl/evp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/check.h"
#include "core/clock.h"
#include "core/conf.h"
#include "core/log.h"
#include "origin/home_int.h"

enum { FAILURES_MAX = 5, NO_WORKER_US = 10 * 1000 * 1000 };
#define RETRY_US (200 * MS_US)

static struct loop *loop_of(const struct session *s) { return s->hl->loop; }

/* --- ends --- */

static void retry(struct loop *l, struct timer *t)
{
    struct session *s = CONTAINER_OF(t, struct session, retry);

    (void)l;
    session_start_exchange(s);
}

/* What was half there of it. */
static void forget_record(struct session *s)
{
    json_decref(s->json);
    s->json = NULL;
    buf_reset(&s->bytes);
}

void session_fail(struct session *s, enum door_why why)
{
    if (s->door != NULL)
        door_close_by_home(s->door, why);
    exchange_cancel(&s->x);
    forget_record(s);
    s->phase = SESSION_ENDED;
    session_record_remove(s);
    timer_cancel(loop_of(s), &s->retry);
    session_over(s);
    s->forget_us = loop_now(loop_of(s)) + SEC_US;
    timer_set(loop_of(s), &s->timer, s->forget_us);
}

static void try_again(struct session *s)
{
    uint64_t now_us = loop_now(loop_of(s));

    pin_failed(s);
    if (s->failures++ == 0)
        s->failing_since_us = now_us;
    if (now_us - s->failing_since_us > NO_WORKER_US) {
        session_fail(s, DOOR_NO_WORKER);
        return;
    }
    s->retry.fire = retry;
    timer_set(loop_of(s), &s->retry, now_us + (s->failures == 1 ? 0 : RETRY_US));
}

static void on_ended(struct exchange *x, enum exchange_end why)
{
    struct session *s = CONTAINER_OF(x, struct session, x);
    struct loop *l = loop_of(s);

    forget_record(s);
    if (why == EXCHANGE_DONE && s->phase == SESSION_ENDED) {
        session_over(s);
        return;
    }
    log_warn(l->log, LOG_CTX_TEXT(LOG_CTX_TEXT(NULL, "stream", s->name), "session", s->id), "home",
             "the exchange with the worker has ended: %s", exchange_end_text(why));
    if (why == EXCHANGE_REFUSED || s->refused ||
        (why == EXCHANGE_BROKEN && s->failures >= FAILURES_MAX))
        session_fail(s, DOOR_REFUSED);
    else
        try_again(s);
}

bool session_listen(struct session *s)
{
    const struct home_cfg *cfg = &s->hl->home->cfg;
    struct loop *l = loop_of(s);
    uint64_t now_us = loop_now(l);

    if (!exchange_is_on(&s->x) || s->x.paused || (s->stalled && s->phase == SESSION_LIVE))
        s->heard_us = now_us;
    if (now_us - s->heard_us < l->conf->encode.hung_after_us)
        return true;
    log_error(l->log, LOG_CTX_TEXT(LOG_CTX_INT(NULL, "worker", s->worker), "stream", s->name),
              "home", "the worker hangs");
    cfg->hung(cfg->ctx, s->worker, s->heard_us);
    exchange_cancel(&s->x);
    forget_record(s);
    if (s->phase == SESSION_ENDED)
        return false;
    try_again(s);
    return true;
}

static const struct exchange_ops ops = { .record = session_on_record, .ended = on_ended };

/* --- the beginning --- */

/* The first tag that a worker which goes on would need: what its renditions have not used up, and
 * the Period's first for one that has no chunk yet. */
uint64_t session_resume_tag(const struct session *s)
{
    uint64_t least = s->n_resume < s->period_reps ? s->period_tag : UINT64_MAX;

    for (unsigned i = 0; i < s->n_resume; i++)
        if (s->resume[i].next_tag < least)
            least = s->resume[i].next_tag;
    return least < spool_next(&s->spool) ? least : spool_next(&s->spool);
}

/* A worker that has gone wrong must not make the next one refuse the stream. */
static bool is_json(const struct buf *text)
{
    json_t *j = json_loadb((const char *)text->data, text->len, JSON_REJECT_DUPLICATES, NULL);
    bool yes = j != NULL;

    json_decref(j);
    return yes;
}

/* The states of all renditions as one JSON object, base64 for a header; "" when there is nothing
 * to resume. *from: the first tag that the next worker needs. */
static enum st resume_header(struct session *s, struct buf *out, uint64_t *from)
{
    struct buf text;

    *from = session_resume_tag(s);
    buf_init(&text, 64 << 10);
    buf_puts(&text, "{");
    for (unsigned i = 0; i < s->n_resume; i++) {
        const struct resume *r = &s->resume[i];

        buf_printf(&text, "%s\"%s\":", i > 0 ? "," : "", r->rep);
        buf_add(&text, r->state, r->n);
    }
    buf_puts(&text, "}");
    if (s->n_resume > 0 && text.st == ST_OK && is_json(&text)) {
        uint8_t *to = buf_grow(out, (text.len + 2) / 3 * 4 + 1);

        if (to != NULL)
            out->len = (size_t)EVP_EncodeBlock(to, text.data, (int)text.len);
    }
    enum st st = text.st != ST_OK ? text.st : out->st;
    buf_fini(&text);
    return st;
}

void session_drop_resume(struct session *s)
{
    for (unsigned i = 0; i < s->n_resume; i++)
        free(s->resume[i].state);
    s->n_resume = 0;
}

/* Where to begin: where the last worker left off, or with a new Period at the newest tag but what
 * the spool still has (a player is better served by what is recent). */
static uint64_t choose_beginning(struct session *s, struct buf *resume)
{
    uint64_t from;

    if (resume_header(s, resume, &from) == ST_OK && resume->len > 0 &&
        from >= spool_oldest(&s->spool))
        return from;
    buf_reset(resume);
    session_drop_resume(s);
    session_cut(s);
    if (s->period_reps > 0) /* it has one of ours already */
        s->k++;
    return spool_oldest(&s->spool);
}

static enum st begin_body(struct session *s, uint64_t from)
{
    const struct spool_tag *first = spool_find(&s->spool, from);
    struct flv_mark mark = s->mark;
    enum st st;

    if (first != NULL)
        mark.base_ms = flv_unwrap(s->now_ms, first->ts_ms);
    st = spool_body_begin(&s->up, &s->spool, from, &mark, NULL);
    s->up.last = s->phase == SESSION_ENDED;
    return st;
}

/* A new Period begins no earlier than what players have been told ends. */
static int64_t earliest_ms(const struct session *s)
{
    const struct model_period *p = s->model != NULL ? model_current(s->model) : NULL;
    int64_t most_us = p != NULL ? p->start_us : 0;

    for (unsigned i = 0; p != NULL && i < p->n_reps; i++) {
        int64_t end_us = p->rep[i].inited ? model_us(&p->rep[i], p->rep[i].end) + 1 : 0;

        if (end_us > most_us)
            most_us = end_us;
    }
    return (most_us + 999) / 1000;
}

void session_start_exchange(struct session *s)
{
    char ast[24], period[160], ladder[96];
    struct buf resume;
    struct h2_nv nv[8];
    size_t n = 0;
    uint64_t from;
    enum st st;

    if (s->hl->home->cfg.n_workers == 0) {
        session_fail(s, DOOR_NO_WORKER);
        return;
    }
    if (s->past_asked || !session_ready(s)) /* on its way from, or to the disk */
        return;
    buf_init(&resume, 128 << 10);
    from = choose_beginning(s, &resume);
    (void)snprintf(ast, sizeof ast, "%lld", (long long)s->ast_s);
    (void)snprintf(ladder, sizeof ladder, "{\"copy\":true,\"segment\":%d,\"chunk\":%d}",
                   (int)(s->segment_us / 1000), (int)(s->chunk_us / 1000));
    (void)snprintf(period, sizeof period, "{\"k\":%lld,\"number\":%llu,\"start\":%lld}",
                   (long long)s->k, (unsigned long long)s->next_number, (long long)earliest_ms(s));
#define HEADER(n_, v)                                 \
    (struct h2_nv){ .name = (n_),                     \
                    .value = (v),                     \
                    .name_len = sizeof(n_) - 1,       \
                    .value_len = (uint32_t)strlen(v), \
                    .once = true }
    nv[n++] = HEADER("freshet-session", s->id);
    nv[n++] = HEADER("freshet-ast", ast);
    nv[n++] = HEADER("freshet-ladder", ladder);
    nv[n++] = HEADER("freshet-period", period);
    if (resume.len > 0)
        nv[n++] = HEADER("freshet-resume", (const char *)resume.data);
#undef HEADER
    pin_take(s);
    s->x.ops = &ops;
    st = begin_body(s, from);
    s->x.body = &s->up.h2;
    s->heard_us = loop_now(loop_of(s));
    s->unusable = 0;
    if (st == ST_OK)
        st = exchange_start(&s->x, s->hl->links[s->worker], s->name, nv, n);
    buf_fini(&resume);
    if (st != ST_OK)
        try_again(s);
}
