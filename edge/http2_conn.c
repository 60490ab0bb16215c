/* HTTP/2 towards players and our own machines: one exchange per stream, core/h2.h does the
 * protocol. An exchange is a request (edge/request.h) or, under /_ on a tier listener, a raw one.
 *
 * Everything that makes output ends in push(): pump frames, flush, until one of them has to wait.
 * While h2_feed() or push() itself is on the stack, what the requests do in between is picked up by
 * it (`busy`), so nothing recurses. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/check.h"
#include "edge/front_int.h"
#include "edge/raw.h"

enum { OUT_HIGH = 256 << 10, ARENA_BYTES = 2048, READS_PER_WAKE = 4 };

/* Header bytes that did not fit into the exchange's own. */
struct spillover {
    struct spillover *next;
    uint8_t data[];
};

struct raw {
    const struct raw_ops *ops; /* NULL: nobody has taken it */
    void *ctx;
    bool responded;
};

struct h2_ex {
    struct h2_ex *next, **prevp; /* the connection's; next also in the pool */
    struct conn *c;
    struct front_loop *f; /* outlives c */
    int32_t id;
    bool begun;  /* the request is: req is initialised */
    bool is_raw; /* raw is in use instead */
    struct raw raw;
    bool stalled; /* reset because it took nothing at all */
    uint64_t opened_us;
    struct grave grave;
    struct http_head head;
    struct http_limits lim;
    struct h2_body body;
    struct spillover *spillover;
    size_t arena_used;
    size_t spill_bytes;
    uint64_t seen_bytes, seen_us; /* the slow reader's window */
    struct request req;
    uint8_t arena[ARENA_BYTES];
};

struct http2 {
    struct h2 *h2;
    struct h2_ex *open;
    unsigned served;
    bool asked;            /* there were requests since it was last settled */
    bool busy;             /* h2_feed() or h2_pump() is on the stack */
    bool ending;           /* the requests are used up: the client has been told */
    bool last;             /* and it has been told where we stopped */
    enum metric_close why; /* of a connection that we terminate */
};

/* --- exchanges --- */

static struct h2_ex *take_ex(struct conn *c, int32_t id)
{
    struct front_loop *f = c->f;
    struct h2_ex *ex = f->spare_h2;

    if (ex != NULL) {
        f->spare_h2 = ex->next;
        f->spare_h2_n--;
    } else if ((ex = malloc(sizeof *ex)) == NULL) {
        return NULL;
    }
    memset(ex, 0, offsetof(struct h2_ex, req));
    ex->c = c;
    ex->f = f;
    ex->id = id;
    ex->opened_us = loop_now(f->loop);
    ex->prevp = &c->h2->open;
    ex->next = c->h2->open;
    if (ex->next != NULL)
        ex->next->prevp = &ex->next;
    c->h2->open = ex;
    return ex;
}

static void give_ex(struct grave *g)
{
    struct h2_ex *ex = CONTAINER_OF(g, struct h2_ex, grave);
    struct front_loop *f = ex->f;

    while (ex->spillover != NULL) {
        struct spillover *s = ex->spillover;

        ex->spillover = s->next;
        free(s);
    }
    if (f->spare_h2_n >= FRONT_POOL_REQUESTS) {
        free(ex);
        return;
    }
    ex->next = f->spare_h2;
    f->spare_h2 = ex;
    f->spare_h2_n++;
}

void http2_loop_fini(struct front_loop *f)
{
    while (f->spare_h2 != NULL) {
        struct h2_ex *ex = f->spare_h2;

        f->spare_h2 = ex->next;
        free(ex);
    }
}

/* Header strings live as long as the exchange; the session has bounded their sum. */
static uint8_t *keep(struct h2_ex *ex, const char *p, size_t n)
{
    struct spillover *s;
    uint8_t *to = ex->arena + ex->arena_used;

    if (n <= ARENA_BYTES - ex->arena_used) {
        ex->arena_used += n;
    } else {
        if ((s = malloc(sizeof *s + n)) == NULL)
            return NULL;
        s->next = ex->spillover;
        ex->spillover = s;
        to = s->data;
    }
    if (n > 0)
        memcpy(to, p, n);
    return to;
}

/* --- output --- */

static enum metric_close close_reason(const struct http2 *h)
{
    switch (h2_end_of(h->h2)) {
    case H2_END_RAPID_RESET:
        return METRIC_CLOSE_H2_RAPID_RESET;
    case H2_END_ERRORS:
        return METRIC_CLOSE_H2_FORCED_RESETS;
    case H2_END_CONTROL_FLOOD:
    case H2_END_CONTROL_QUEUE:
    case H2_END_SETTINGS:
        return METRIC_CLOSE_H2_CONTROL_FLOOD;
    case H2_END_CONTINUATIONS:
        return METRIC_CLOSE_H2_CONTINUATION;
    case H2_END_NOMEM:
        return METRIC_CLOSE_MEMORY;
    case H2_END_TERMINATED:
        return h->why;
    default:
        return METRIC_CLOSE_H2_PROTOCOL;
    }
}

/* GOAWAY is in the queue: let it out, then close. */
static void ended(struct conn *c)
{
    enum metric_close why = close_reason(c->h2);

    if (!conn_flush(c, h2_outq(c->h2->h2)))
        return;
    conn_linger(c, why);
}

static void push(struct conn *c);

static void settle(struct conn *c)
{
    struct http2 *h = c->h2;
    bool writing = conn_unsent(c, h2_outq(h->h2));

    if (h->ending && !h->last && h->open == NULL) {
        h->last = true;
        h2_shutdown(h->h2);
        push(c);
        return;
    }
    if (h2_done(h->h2) && !writing) {
        conn_linger(c, h->ending ? METRIC_CLOSE_REQUEST_LIMIT : METRIC_CLOSE_DONE);
        return;
    }
    if (h->open != NULL || writing) {
        if (c->phase != CONN_BUSY)
            conn_become(c, CONN_BUSY);
    } else if (c->phase != CONN_IDLE || h->asked) {
        conn_become(c, CONN_IDLE); /* only a request buys new time, not a byte or a PING */
    }
    h->asked = false;
    io_want(&c->io, IO_READ | (writing ? IO_WRITE : 0u));
}

static void push(struct conn *c)
{
    struct http2 *h = c->h2;
    enum st st;

    if (h->busy || c->phase == CONN_CLOSED || c->phase == CONN_LINGER)
        return;
    h->busy = true;
    do {
        st = h2_pump(h->h2, OUT_HIGH);
        if (!conn_flush(c, h2_outq(h->h2))) {
            h->busy = false;
            return;
        }
    } while (st == ST_MORE && outq_bytes(h2_outq(h->h2)) == 0);
    h->busy = false;
    if (st < ST_OK || st == ST_EOF)
        ended(c);
    else
        settle(c);
}

/* --- the request's side --- */

static enum st body_avail(struct h2_body *b, size_t max, size_t *n, bool *last)
{
    struct h2_ex *ex = CONTAINER_OF(b, struct h2_ex, body);

    return request_avail(&ex->req, max, n, last);
}

static int body_take(struct h2_body *b, size_t n, struct h2_slice *s, int max)
{
    return request_take(&CONTAINER_OF(b, struct h2_ex, body)->req, n, s, max);
}

/* RFC 9218: the manifest first, then init and audio, then video. */
static int urgency_of(const struct request *r)
{
    switch (r->target.kind) {
    case TARGET_MANIFEST:
    case TARGET_MASTER:
    case TARGET_PLAYLIST:
        return 0;
    case TARGET_INIT:
        return 1;
    case TARGET_SEGMENT:
        return r->target.rep.n > 0 && r->target.rep.p[0] == 'a' ? 1 : 3;
    default:
        return 3;
    }
}

static void on_ready(struct request *r)
{
    struct h2_ex *ex = CONTAINER_OF(r, struct h2_ex, req);
    struct conn *c = ex->c;
    struct h2_nv nv[H2_NV_MAX];
    char scratch[ANSWER_SCRATCH];
    size_t n = answer_h2(c->f, r, nv, scratch);
    bool body = !r->answer.no_body && r->answer.length != 0;

    front_count_answer(c, r, METRIC_PROTO_H2);
    h2_priority(c->h2->h2, ex->id, urgency_of(r), false);
    ex->body = (struct h2_body){ .avail = body_avail, .take = body_take };
    if (h2_respond(c->h2->h2, ex->id, nv, n, body ? &ex->body : NULL) != ST_OK)
        h2_reset(c->h2->h2, ex->id, H2_INTERNAL_ERROR, H2_RESET_NOMEM);
    push(c);
}

static void on_more(struct request *r)
{
    struct h2_ex *ex = CONTAINER_OF(r, struct h2_ex, req);

    h2_resume(ex->c->h2->h2, ex->id);
    push(ex->c);
}

static const struct request_ops request_side = { .ready = on_ready, .more = on_more };

/* --- raw exchanges: edge/raw.h --- */

static struct h2_ex *ex_of(struct raw *x)
{
    struct h2_ex *ex = CONTAINER_OF(x, struct h2_ex, raw);

    CHECK(ex->is_raw);
    return ex;
}

/* Nothing is pumped from inside a call of the taker's: its callbacks, and those of others, would
 * come from there. The loop does it as soon as the socket takes bytes. */
static void push_later(struct h2_ex *ex)
{
    struct conn *c = ex->c;

    if (c->phase != CONN_CLOSED && c->phase != CONN_LINGER && !c->h2->busy)
        io_want(&c->io, IO_READ | IO_WRITE);
}

static struct h2 *session_of(struct h2_ex *ex)
{
    return ex->c->phase != CONN_CLOSED ? ex->c->h2->h2 : NULL; /* it is about to be freed */
}

void raw_take(struct raw *x, const struct raw_ops *ops, void *ctx)
{
    CHECK(x->ops == NULL && ex_of(x)->is_raw);
    x->ops = ops;
    x->ctx = ctx;
}

enum st raw_respond(struct raw *x, int status, const struct h2_nv *nv, size_t n,
                    struct h2_body *body)
{
    struct h2_ex *ex = ex_of(x);
    struct h2_nv all[H2_NV_MAX] = { H2_NV(":status", "   ") };
    char code[4];
    enum st st;

    CHECK(!x->responded && status >= 200 && status <= 599 && n < H2_NV_MAX);
    (void)snprintf(code, sizeof code, "%d", status);
    all[0].value = code;
    if (n > 0)
        memcpy(all + 1, nv, n * sizeof *nv);
    x->responded = true;
    if (session_of(ex) == NULL)
        return ST_ENOENT;
    st = h2_respond(session_of(ex), ex->id, all, n + 1, body);
    if (st != ST_OK)
        h2_reset(session_of(ex), ex->id, H2_INTERNAL_ERROR, H2_RESET_NOMEM);
    push_later(ex);
    return st;
}

void raw_resume(struct raw *x)
{
    struct h2_ex *ex = ex_of(x);

    if (session_of(ex) == NULL)
        return;
    h2_resume(session_of(ex), ex->id);
    push_later(ex);
}

void raw_consume(struct raw *x, size_t n)
{
    struct h2_ex *ex = ex_of(x);

    if (session_of(ex) == NULL)
        return;
    h2_consume(session_of(ex), ex->id, n);
    push_later(ex);
}

void raw_reset(struct raw *x, enum h2_code code)
{
    struct h2_ex *ex = ex_of(x);

    if (session_of(ex) == NULL)
        return;
    h2_reset(session_of(ex), ex->id, code, H2_RESET_CANCELLED);
    push_later(ex);
}

/* False: it is a request like any other. */
static bool begin_raw(struct h2_ex *ex, bool last)
{
    struct front_loop *f = ex->f;
    const struct front_hooks *hooks = &f->front->hooks;
    struct target t;

    if (hooks->raw == NULL ||
        target_parse(ex->head.target, ex->req.spelling, sizeof ex->req.spelling, &t) != ST_OK ||
        t.kind != TARGET_TIER)
        return false;
    ex->is_raw = true;
    hooks->raw(hooks->ctx, f->loop, &ex->raw, &ex->head, &t, last);
    CHECK(ex->raw.ops != NULL || ex->raw.responded);
    return true;
}

/* --- the session's side --- */

/* One request more. The first GOAWAY lets come what is under way; whoever goes on after that gets
 * the second, and no further. */
static void spend(struct http2 *h, const struct conf_edge_limits *lim)
{
    h->served++;
    h->asked = true;
    if (h->served >= lim->requests_per_connection && !h->ending) {
        h->ending = true;
        h2_shutdown(h->h2);
    } else if (h->served >= lim->requests_per_connection + lim->h2_streams && !h->last) {
        h->last = true;
        h2_shutdown(h->h2);
    }
}

static void *on_stream(struct h2 *h2, void *ctx, int32_t id)
{
    struct conn *c = ctx;
    const struct conf_edge_limits *lim = front_limits(c->f);
    struct h2_ex *ex = take_ex(c, id);

    (void)h2;
    if (ex == NULL)
        return NULL;
    ex->lim = (struct http_limits)HTTP_LIMITS_DEFAULT;
    ex->lim.fields = (uint16_t)lim->head_fields;
    ex->lim.post = c->profile == FRONT_TIER;
    http_head_init(&ex->head, 2, 0);
    if (c->profile != FRONT_TIER)
        spend(c->h2, lim);
    else
        c->h2->asked = true;
    return ex;
}

static void on_header(struct h2 *h2, void *stream, int32_t id, const char *name, size_t name_len,
                      const char *value, size_t value_len)
{
    struct h2_ex *ex = stream;
    uint8_t *n = keep(ex, name, name_len), *v = keep(ex, value, value_len);

    if (n == NULL || v == NULL)
        h2_reset(h2, id, H2_INTERNAL_ERROR, H2_RESET_NOMEM);
    else if (http_head_add(&ex->head, &ex->lim, n, name_len, v, value_len) != ST_OK)
        return; /* the refusal is in the head, and is answered when it is complete */
}

static void on_head(struct h2 *h2, void *stream, int32_t id, bool last)
{
    struct h2_ex *ex = stream;
    enum st st = http_head_finish(&ex->head, &ex->lim);

    (void)h2, (void)id;
    if (st == ST_OK && ex->c->profile == FRONT_TIER && begin_raw(ex, last))
        return;
    if (st == ST_OK && !last)
        st = http_head_refuse(&ex->head, HTTP_REFUSED_BODY);
    (void)st; /* what was refused is in the head */
    ex->begun = true;
    request_init(&ex->req, ex->c->f, &request_side, &ex->c->peer, ex->c->profile);
    request_begin(&ex->req, &ex->head);
}

static void on_data(struct h2 *h2, void *stream, int32_t id, const uint8_t *p, size_t n)
{
    struct h2_ex *ex = stream;

    if (ex->raw.ops != NULL)
        ex->raw.ops->data(ex->raw.ctx, p, n);
    else
        h2_consume(h2, id, n); /* refused already; its window is small */
}

static void on_end(struct h2 *h2, void *stream, int32_t id)
{
    struct h2_ex *ex = stream;

    (void)h2, (void)id;
    if (ex->raw.ops != NULL)
        ex->raw.ops->end(ex->raw.ctx);
}

/* What is counted of a stream's end; RESET_N: it was in good order, or went with its connection. */
static enum metric_reset reset_of(const struct h2_ex *ex, const struct h2_close *why)
{
    if (why->by_peer)
        return why->code != H2_NO_ERROR ? METRIC_RESET_CLIENT : METRIC_RESET_N;
    switch (why->reason) {
    case H2_RESET_BROKEN_BODY:
        return METRIC_RESET_UPSTREAM_BROKEN;
    case H2_RESET_SLOW_READER:
        return ex->stalled ? METRIC_RESET_STALL : METRIC_RESET_SLOW_READER;
    case H2_RESET_REFUSED:
    case H2_RESET_NOMEM:
        return METRIC_RESET_REFUSED;
    case H2_RESET_BAD_REQUEST:
    case H2_RESET_HEADER_LIST:
    case H2_RESET_PROTOCOL:
        return METRIC_RESET_BAD_REQUEST;
    default:
        return METRIC_RESET_N;
    }
}

static const char *end_text(const struct h2_ex *ex, const struct h2_close *why,
                            enum metric_reset reset)
{
    if (reset != METRIC_RESET_N)
        return metric_label_text(METRIC_LABEL_RESET, reset);
    if (why->reason == H2_RESET_SHUTDOWN)
        return metric_label_text(METRIC_LABEL_CLOSE, ex->c->why);
    return "done";
}

static void on_close(struct h2 *h2, void *stream, int32_t id, const struct h2_close *why)
{
    struct h2_ex *ex = stream;
    enum metric_reset reset = reset_of(ex, why);

    (void)h2, (void)id;
    if (reset != METRIC_RESET_N)
        metric_add(&ex->f->loop->metrics->http_streams_reset[reset], 1);
    if (ex->begun) {
        access_put(&ex->req, METRIC_PROTO_H2, ex->c->tls, end_text(ex, why, reset));
        request_fini(&ex->req);
    }
    if (ex->raw.ops != NULL)
        ex->raw.ops->gone(ex->raw.ctx);
    *ex->prevp = ex->next;
    if (ex->next != NULL)
        ex->next->prevp = ex->prevp;
    loop_bury(ex->f->loop, &ex->grave, give_ex);
}

static const struct h2_ops session_side = {
    .on_stream = on_stream,
    .on_header = on_header,
    .on_head = on_head,
    .on_data = on_data,
    .on_end = on_end,
    .on_close = on_close,
};

/* --- the connection's side --- */

static struct h2_limits session_limits(const struct conn *c)
{
    const struct conf_edge_limits *conf = front_limits(c->f);
    struct h2_limits lim = h2_limits_player;

    if (c->profile == FRONT_TIER)
        return h2_limits_tier;
    lim.max_streams = conf->h2_streams;
    lim.max_header_bytes = (uint32_t)conf->h2_header_list_bytes;
    lim.max_continuations = conf->h2_continuations;
    lim.max_resets = conf->h2_reset_burst;
    lim.max_resets_per_s = conf->h2_reset_rate;
    lim.max_errors = conf->h2_forced_resets;
    lim.max_control_frames = conf->h2_control_frames;
    return lim;
}

enum st http2_start(struct conn *c)
{
    struct h2_limits lim = session_limits(c);
    struct http2 *h = calloc(1, sizeof *h);

    if (h == NULL)
        return ST_ENOMEM;
    h->h2 = h2_server_new(c->f->loop, &lim, &session_side, c);
    if (h->h2 == NULL) {
        free(h);
        return ST_ENOMEM;
    }
    c->h2 = h;
    return ST_OK;
}

/* The session goes with the connection's callbacks; its struct when nobody is on the stack. */
void http2_fini(struct conn *c) { c->h2->busy = true; }

void http2_free(struct conn *c)
{
    h2_free(&c->h2->h2); /* closes the streams that are left */
    free(c->h2);
}

void http2_input(struct conn *c, const uint8_t *p, size_t n)
{
    enum st st;

    c->h2->busy = true;
    st = h2_feed(c->h2->h2, p, n);
    c->h2->busy = false;
    if (c->phase == CONN_CLOSED)
        return;
    if (st < ST_OK || st == ST_EOF)
        ended(c);
    else
        push(c);
}

void http2_on_io(struct conn *c, unsigned what)
{
    if ((what & IO_WRITE) != 0)
        push(c);
    for (int i = 0; (what & IO_READ) != 0 && i < READS_PER_WAKE; i++) {
        size_t got;
        enum st st;

        if (c->phase == CONN_CLOSED || c->phase == CONN_LINGER)
            return;
        st = io_read(&c->io, c->f->read_buf, sizeof c->f->read_buf, &got);
        if (st == ST_MORE)
            return;
        if (st != ST_OK) {
            conn_close(c, st == ST_EOF      ? METRIC_CLOSE_PEER_FIN
                          : st == ST_EPROTO ? METRIC_CLOSE_TLS_ERROR
                                            : METRIC_CLOSE_PEER_RESET);
            return;
        }
        http2_input(c, c->f->read_buf, got);
    }
}

/* GOAWAY, then close. */
static void terminate(struct conn *c, enum metric_close why)
{
    c->h2->why = why;
    h2_terminate(c->h2->h2, H2_NO_ERROR);
    push(c);
}

static void reset_slow_reader(struct h2_ex *ex, const struct conf_edge_limits *lim, uint64_t now_us)
{
    struct h2 *h2 = ex->c->h2->h2;
    struct h2_progress p;
    bool slow;

    if (h2_stream_progress(h2, ex->id, &p) != ST_OK || p.waiting || !p.starved) {
        ex->seen_us = 0;
        return;
    }
    if (ex->seen_us == 0) {
        ex->seen_us = now_us;
        ex->seen_bytes = p.body_bytes;
    }
    ex->stalled = now_us - p.since_us >= lim->stall_us;
    slow = now_us - ex->seen_us >= lim->slow_window_us;
    if (slow && (p.body_bytes - ex->seen_bytes) * SEC_US >=
                    conn_slow_rate(ex->c) * (now_us - ex->seen_us)) {
        ex->seen_us = now_us;
        ex->seen_bytes = p.body_bytes;
        slow = false;
    }
    if (slow || ex->stalled)
        h2_reset(h2, ex->id, H2_CANCEL, H2_RESET_SLOW_READER);
}

void http2_check_streams(struct conn *c, uint64_t now_us)
{
    const struct conf_edge_limits *lim = front_limits(c->f);

    for (struct h2_ex *ex = c->h2->open; ex != NULL; ex = ex->next) {
        if (!ex->begun && !ex->is_raw && now_us - ex->opened_us >= lim->head_timeout_us) {
            /* header blocks cannot be skipped: behind this one nothing can be read any more */
            terminate(c, METRIC_CLOSE_HEAD_TIMEOUT);
            return;
        }
        reset_slow_reader(ex, lim, now_us);
    }
    push(c);
}

void http2_goodbye(struct conn *c) { terminate(c, METRIC_CLOSE_KEEPALIVE); }
