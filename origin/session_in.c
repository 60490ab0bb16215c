/* What a worker gets: the FLV header, a mark and the sequence headers in force (the hello), then
 * the tags from the cursor on, as they come. After a worker's death the next one gets the same from
 * where the last left off, with the states of its renditions. */
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

/* --- the hello --- */

static void free_hello(struct own *o) { free(CONTAINER_OF(o, struct hello, own)); }

void session_drop_hello(struct session *s)
{
    struct own *own = s->hello != NULL ? &s->hello->own : NULL;

    s->hello = NULL;
    own_unref(&own);
}

/* The configuration first: the mark says what number the next tag has. */
static enum st make_hello(struct session *s)
{
    struct flv_mark mark = s->mark;
    const struct spool_tag *first = spool_find(&s->spool, s->cursor);
    struct buf b;

    buf_init(&b, 1 << 20);
    mark.tag = s->cursor;
    mark.discontinuity = false;
    if (first != NULL)
        mark.base_ms = flv_unwrap(s->now_ms, first->ts_ms);
    flv_put_header(&b);
    for (int i = 0; i < SPOOL_HEADERS; i++) {
        const struct spool_tag *t = s->spool.header[i];

        if (t != NULL && t->number < s->cursor)
            buf_add(&b, t->wire + t->tag_at, t->n - t->tag_at);
    }
    flv_put_mark(&b, &mark);
    session_drop_hello(s);
    s->hello_sent = 0;
    if (b.st == ST_OK && (s->hello = malloc(sizeof *s->hello + b.len)) != NULL) {
        own_init(&s->hello->own, free_hello);
        s->hello->n = b.len;
        memcpy(s->hello->data, b.data, b.len);
    }
    buf_fini(&b);
    return s->hello != NULL ? ST_OK : ST_ENOMEM;
}

/* --- the body --- */

static struct session *session_of(struct h2_body *b)
{
    return CONTAINER_OF(b, struct session, x.body);
}

static enum st body_avail(struct h2_body *b, size_t max, size_t *n, bool *last)
{
    struct session *s = session_of(b);
    struct spool_tag *t = spool_find(&s->spool, s->cursor);
    int slices = 1;

    if (t == NULL && s->cursor < spool_oldest(&s->spool))
        return ST_ELIMIT; /* the spool has lost what we were about to send */
    *n = s->hello->n - s->hello_sent;
    for (; t != NULL && *n < max && slices < H2_SLICES_MAX; t = t->next, slices++)
        *n += t->n - (t->number == s->cursor ? s->cursor_sent : 0);
    *last = s->phase == SESSION_ENDED && t == NULL && *n <= max;
    if (*n > max)
        *n = max;
    return *n > 0 || *last ? ST_OK : ST_MORE;
}

static int body_take(struct h2_body *b, size_t n, struct h2_slice *v, int max)
{
    struct session *s = session_of(b);
    int k = 0;

    if (s->hello_sent < s->hello->n) {
        size_t part = s->hello->n - s->hello_sent < n ? s->hello->n - s->hello_sent : n;

        v[k++] = (struct h2_slice){ s->hello->data + s->hello_sent, part, &s->hello->own };
        s->hello_sent += part;
        n -= part;
    }
    for (struct spool_tag *t = spool_find(&s->spool, s->cursor); n > 0 && k < max; t = t->next) {
        size_t part;

        CHECK(t != NULL); /* body_avail() has counted it */
        part = t->n - s->cursor_sent < n ? t->n - s->cursor_sent : n;
        v[k++] = (struct h2_slice){ t->wire + s->cursor_sent, part, &t->own };
        n -= part;
        s->cursor_sent += part;
        if (s->cursor_sent < t->n)
            break;
        s->cursor = t->number + 1;
        s->cursor_sent = 0;
    }
    CHECK(n == 0);
    return k;
}

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

        buf_printf(&text, "%s\"%s\":%s", i > 0 ? "," : "", r->rep, r->state);
    }
    buf_puts(&text, "}");
    if (s->n_resume > 0 && text.st == ST_OK) {
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
static void choose_beginning(struct session *s, struct buf *resume)
{
    uint64_t from;

    if (resume_header(s, resume, &from) == ST_OK && resume->len > 0 &&
        from >= spool_oldest(&s->spool)) {
        s->cursor = from;
    } else {
        buf_reset(resume);
        session_drop_resume(s);
        session_cut(s);
        s->cursor = spool_oldest(&s->spool);
        if (s->model != NULL && model_current(s->model) != NULL)
            s->k++;
    }
    s->cursor_sent = 0;
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
    enum st st;

    if (s->hl->home->cfg.n_workers == 0) {
        session_fail(s, DOOR_NO_WORKER);
        return;
    }
    if (!session_ready(s)) /* the state record is on its way to the disk */
        return;
    buf_init(&resume, 128 << 10);
    choose_beginning(s, &resume);
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
    s->x.body = (struct h2_body){ .avail = body_avail, .take = body_take };
    s->heard_us = loop_now(loop_of(s));
    st = make_hello(s);
    if (st == ST_OK)
        st = exchange_start(&s->x, s->hl->links[s->worker], s->name, nv, n);
    buf_fini(&resume);
    if (st != ST_OK)
        try_again(s);
}
