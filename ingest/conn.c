#include "ingest/conn.h"

#include <stdlib.h>
#include <string.h>

#include "core/check.h"
#include "core/hash.h"
#include "core/log.h"
#include "ingest/conn_int.h"

enum { CONN_MAGIC = 0x16e57ac0 };
enum {
    READ_ROUNDS = 4, /* of one connection in one wake-up */
    LINGER_US = 2 * 1000 * 1000
};

static const struct ingest_sink *sink_of(struct ingest_conn *c) { return &c->f->ingest->sink; }

/* --- counting --- */

static void count_unpublished(struct ingest_conn *c, bool yes)
{
    _Atomic uint64_t *n = &c->f->ingest->unpublished;

    if (yes == c->counted_unpublished)
        return;
    c->counted_unpublished = yes;
    if (yes)
        (void)atomic_fetch_add_explicit(n, 1, memory_order_relaxed);
    else
        (void)atomic_fetch_sub_explicit(n, 1, memory_order_relaxed);
}

static void count_memory(struct ingest_conn *c)
{
    size_t now = c->phase == PHASE_CLOSED ? 0
                                          : sizeof *c + rtmp_session_memory(c->session) +
                                                outq_bytes(&c->out) + c->rest_n;

    metric_add(&ingest_metrics(c)->ingest_memory_bytes,
               now - c->memory); /* NB: wraps as it should */
    c->memory = now;
}

static void count_stats(struct ingest_conn *c)
{
    const struct rtmp_stats *s = rtmp_session_stats(c->session);
    struct metrics *m = ingest_metrics(c);

    metric_add(&m->ingest_bytes, s->bytes - c->seen.bytes);
    for (int k = 0; k < METRIC_MEDIA_N; k++) {
        metric_add(&m->ingest_frames[k], s->frames[k] - c->seen.frames[k]);
        metric_add(&m->ingest_frames_dropped[k], s->dropped[k] - c->seen.dropped[k]);
    }
    metric_add(&m->ingest_timestamps_repaired, s->repaired - c->seen.repaired);
    metric_add(&m->ingest_timelines, s->timelines - c->seen.timelines);
    c->seen = *s;
    count_memory(c);
}

static enum metric_auth auth_result(enum auth_why why)
{
    switch (why) {
    case AUTH_OK:
        return METRIC_AUTH_OK;
    case AUTH_APP:
        return METRIC_AUTH_APP;
    case AUTH_UNSIGNED:
        return METRIC_AUTH_UNSIGNED;
    case AUTH_KID:
        return METRIC_AUTH_KID;
    case AUTH_SIGNATURE:
        return METRIC_AUTH_SIGNATURE;
    case AUTH_PERMANENT:
        return METRIC_AUTH_PERMANENT;
    case AUTH_EXPIRED:
        return METRIC_AUTH_EXPIRED;
    default:
        return METRIC_AUTH_NAME;
    }
}

/* --- phases --- */

static uint64_t phase_limit_us(const struct ingest_conn *c)
{
    switch (c->phase) {
    case PHASE_HANDSHAKE:
        return c->conf->ingest.limits.handshake_timeout_us;
    case PHASE_COMMANDS:
        return c->conf->ingest.limits.publish_timeout_us;
    case PHASE_PUBLISHING:
        return c->conf->ingest.idle_timeout_us;
    case PHASE_LINGER:
    case PHASE_CLOSED:
        break;
    }
    return LINGER_US;
}

static void become(struct ingest_conn *c, enum phase next)
{
    static const unsigned may[] = {
#define X(n, then) [PHASE_##n] = (then),
        PHASES(X)
#undef X
    };

    CHECK((may[c->phase] & 1u << next) != 0);
    if (c->phase == PHASE_PUBLISHING)
        metric_sub(&ingest_metrics(c)->ingest_publishers, 1);
    if (next == PHASE_PUBLISHING)
        metric_add(&ingest_metrics(c)->ingest_publishers, 1);
    c->phase = next;
    c->swept = false;
    count_unpublished(c, next == PHASE_COMMANDS);
    if (next != PHASE_CLOSED)
        timer_set(c->f->loop, &c->timer, loop_now(c->f->loop) + phase_limit_us(c));
}

static void free_conn(struct grave *g)
{
    struct ingest_conn *c = CONTAINER_OF(g, struct ingest_conn, grave);

    io_fini(&c->io);
    rtmp_session_free(&c->session);
    outq_clear(&c->out);
    free(c->rest);
    conf_unref(&c->conf);
    OBJ_FINI(c, CONN_MAGIC);
    free(c);
}

static void log_close(struct ingest_conn *c)
{
    const struct rtmp_stats *s = rtmp_session_stats(c->session);
    char peer[ADDR_TEXT_MAX];
    struct log_ctx conn = { NULL, "conn", NULL, (int64_t)c->serial };
    struct log_ctx from = { &conn, "peer", addr_text(&c->peer, peer), 0 };
    struct log_ctx app = { &from, "app", c->app, 0 };
    struct log_ctx stream = { &app, "stream", c->stream, 0 };
    struct log_ctx why = { c->heard ? &stream : &from, "reason",
                           metric_label_text(METRIC_LABEL_INGEST_CLOSE, c->why), 0 };
    struct log_ctx fault = { &why, "fault",
                             metric_label_text(METRIC_LABEL_FAULT, rtmp_close_fault(c->why)), 0 };
    struct log_ctx bytes = { &fault, "bytes", NULL, (int64_t)s->bytes };

    log_info(c->f->loop->log, &bytes, "ingest", "closed");
}

/* Tells the sink, if it is still to be told something. */
static void let_go(struct ingest_conn *c, enum metric_ingest_close why)
{
    bool asked = c->asked;

    rtmp_session_end(c->session, why, NULL); /* calls unpublish() */
    c->asked = false;
    if (asked)
        sink_of(c)->cancel(sink_of(c)->ctx, c);
}

void ingest_conn_close(struct ingest_conn *c, enum metric_ingest_close why)
{
    struct ingest_loop *f = c->f;

    OBJ_CHECK(c, CONN_MAGIC);
    if (c->phase == PHASE_CLOSED)
        return; /* the first reason is the one that counts */
    if (c->phase != PHASE_LINGER)
        c->why = why;
    become(c, PHASE_CLOSED);
    let_go(c, c->why);
    count_stats(c);
    metric_sub(&ingest_metrics(c)->ingest_connections, 1);
    metric_add(&ingest_metrics(c)->ingest_closes[rtmp_close_fault(c->why)][c->why], 1);
    log_close(c);
    timer_cancel(f->loop, &c->timer);
    io_stop(&c->io);
    *c->prevp = c->next;
    if (c->next != NULL)
        c->next->prevp = c->prevp;
    if (c->counted_address)
        addr_count_return(f->ingest->per_address, &c->peer);
    loop_bury(f->loop, &c->grave, free_conn);
}

/* --- output --- */

/* False: closed. */
static bool flush(struct ingest_conn *c)
{
    if (io_write_queue(&c->io, &c->out) >= ST_OK)
        return true;
    ingest_conn_close(c, METRIC_INGEST_CLOSE_PEER_RESET);
    return false;
}

static void want(struct ingest_conn *c)
{
    unsigned what = c->asked || c->swept ? 0 : IO_READ;

    io_want(&c->io, outq_bytes(&c->out) > 0 ? what | IO_WRITE : what);
}

/* What was said has to arrive: FIN behind it, and a while for the peer to read it. */
static void finish_linger(struct ingest_conn *c)
{
    if (!flush(c))
        return;
    if (outq_bytes(&c->out) == 0 && !c->fin) {
        c->fin = true;
        if (io_shutdown(&c->io) != ST_OK) {
            ingest_conn_close(c, c->why);
            return;
        }
    }
    want(c);
}

/* The session has ended itself, or was ended. */
static void session_over(struct ingest_conn *c)
{
    enum metric_ingest_close why = rtmp_session_why(c->session);

    if (c->phase == PHASE_CLOSED || c->phase == PHASE_LINGER)
        return;
    if (!rtmp_session_spoke(c->session)) {
        ingest_conn_close(c, why);
        return;
    }
    c->why = why;
    let_go(c, why);
    become(c, PHASE_LINGER);
    finish_linger(c);
}

/* --- input --- */

/* Follows what the session has become. */
static void settle(struct ingest_conn *c)
{
    enum rtmp_state s = rtmp_session_state(c->session);

    if (s == RTMP_CLOSING) {
        session_over(c);
        return;
    }
    if (c->phase == PHASE_HANDSHAKE && s != RTMP_HANDSHAKE)
        become(c, PHASE_COMMANDS);
    if (c->phase == PHASE_COMMANDS && s == RTMP_PUBLISHING) {
        c->since_us = loop_now(c->f->loop);
        become(c, PHASE_PUBLISHING);
    } else if (c->phase == PHASE_PUBLISHING && s != RTMP_PUBLISHING) {
        become(c, PHASE_COMMANDS);
    }
    count_stats(c);
    if (flush(c))
        want(c);
}

static bool keep_rest(struct ingest_conn *c, const struct rd *in)
{
    uint8_t *rest = NULL;

    if (rd_left(in) > 0) {
        rest = malloc(rd_left(in));
        if (rest == NULL)
            return false;
        memcpy(rest, in->p, rd_left(in));
    }
    free(c->rest);
    c->rest = rest;
    c->rest_n = rd_left(in);
    return true;
}

/* Not inside itself; false: no more now. */
static bool feed(struct ingest_conn *c, const uint8_t *p, size_t n)
{
    struct rtmp_now now = { loop_now(c->f->loop), clock_wall_us() };
    struct rd in = rd_init(p, n);
    enum st st;

    c->feeding = true;
    st = rtmp_session_feed(c->session, &in, &now);
    c->feeding = false;
    if (c->phase == PHASE_CLOSED)
        return false;
    if (st == ST_OK && !keep_rest(c, &in)) {
        ingest_conn_close(c, METRIC_INGEST_CLOSE_MEMORY);
        return false;
    }
    settle(c);
    return c->phase < PHASE_LINGER && !c->asked;
}

static void feed_rest(struct ingest_conn *c)
{
    uint8_t *rest = c->rest;
    size_t n = c->rest_n;

    c->rest = NULL;
    c->rest_n = 0;
    (void)feed(c, rest != NULL ? rest : c->f->read_buf, n);
    free(rest);
}

static void read_input(struct ingest_conn *c)
{
    bool more = true;

    c->caught_up = false;
    for (int round = 0; round < READ_ROUNDS && more; round++) {
        size_t got;
        enum st st = io_read(&c->io, c->f->read_buf, sizeof c->f->read_buf, &got);

        if (st == ST_MORE) {
            c->caught_up = true;
            return;
        }
        if (st == ST_EOF) {
            ingest_conn_close(c,
                              c->ended ? METRIC_INGEST_CLOSE_ENDED : METRIC_INGEST_CLOSE_PEER_FIN);
            return;
        }
        if (st != ST_OK) {
            ingest_conn_close(c, st == ST_EPROTO || st == ST_ELIMIT ? METRIC_INGEST_CLOSE_TLS_ERROR
                                 : c->ended                         ? METRIC_INGEST_CLOSE_ENDED
                                            : METRIC_INGEST_CLOSE_PEER_RESET);
            return;
        }
        more = feed(c, c->f->read_buf, got) && got == sizeof c->f->read_buf;
        c->caught_up = got < sizeof c->f->read_buf;
    }
}

/* Reads; a publisher that is no longer fresh and has been caught up with is left to the sweep. */
static void read_on(struct ingest_conn *c)
{
    bool was = c->swept;

    read_input(c);
    if (c->phase > PHASE_PUBLISHING)
        return;
    c->swept = c->phase == PHASE_PUBLISHING && c->caught_up &&
               loop_now(c->f->loop) - c->since_us >= INGEST_FRESH_US;
    if (c->swept && !timer_is_set(&c->f->sweep))
        timer_set(c->f->loop, &c->f->sweep, loop_now(c->f->loop) + INGEST_SWEEP_US);
    if (c->swept != was)
        want(c);
}

void ingest_sweep(struct loop *l, struct timer *t)
{
    struct ingest_loop *f = CONTAINER_OF(t, struct ingest_loop, sweep);
    struct ingest_conn *next;
    bool any = false;

    for (struct ingest_conn *c = f->conns; c != NULL; c = next) {
        next = c->next; /* who is closed meanwhile is buried, and swept no more */
        if (!c->swept)
            continue;
        any = true;
        io_look(&c->io);
        read_on(c);
    }
    if (any && !timer_is_set(t))
        timer_set(l, t, loop_now(l) + INGEST_SWEEP_US);
}

static void linger_read(struct ingest_conn *c)
{
    for (int round = 0; round < READ_ROUNDS; round++) {
        size_t got;
        enum st st = io_read(&c->io, c->f->read_buf, sizeof c->f->read_buf, &got);

        if (st == ST_MORE)
            return;
        if (st != ST_OK) {
            ingest_conn_close(c, c->why);
            return;
        }
    }
}

static void opened(struct ingest_conn *c)
{
    if (c->tls)
        metric_add(&ingest_metrics(c)
                        ->tls_handshakes[METRIC_TLS_OK][io_resumed(&c->io) ? METRIC_RESUMED_YES
                                                                           : METRIC_RESUMED_NO],
                   1);
    want(c);
}

static void on_ready(struct io *io, unsigned what)
{
    struct ingest_conn *c = CONTAINER_OF(io, struct ingest_conn, io);

    OBJ_CHECK(c, CONN_MAGIC);
    if ((what & IO_DEAD) != 0) {
        if (c->tls)
            metric_add(&ingest_metrics(c)->tls_handshakes[METRIC_TLS_FAILED][METRIC_RESUMED_NO], 1);
        ingest_conn_close(c, c->tls ? METRIC_INGEST_CLOSE_TLS_HANDSHAKE
                                    : METRIC_INGEST_CLOSE_PEER_RESET);
        return;
    }
    if ((what & IO_OPEN) != 0)
        opened(c);
    if (c->phase == PHASE_LINGER) {
        if ((what & IO_READ) != 0)
            linger_read(c);
        if (c->phase == PHASE_LINGER)
            finish_linger(c);
        return;
    }
    if ((what & IO_WRITE) != 0 && flush(c))
        want(c);
    if ((what & IO_READ) != 0 && c->phase != PHASE_CLOSED && !c->asked)
        read_on(c);
}

static void on_timer(struct loop *l, struct timer *t)
{
    struct ingest_conn *c = CONTAINER_OF(t, struct ingest_conn, timer);
    uint64_t from_us = rtmp_session_media_us(c->session);

    switch (c->phase) {
    case PHASE_HANDSHAKE:
        ingest_conn_close(c, METRIC_INGEST_CLOSE_HANDSHAKE_TIMEOUT);
        return;
    case PHASE_COMMANDS:
        ingest_conn_close(c, c->ended ? METRIC_INGEST_CLOSE_ENDED
                                      : METRIC_INGEST_CLOSE_PUBLISH_TIMEOUT);
        return;
    case PHASE_PUBLISHING:
        from_us = from_us > c->since_us ? from_us : c->since_us;
        if (loop_now(l) - from_us < phase_limit_us(c)) {
            timer_set(l, &c->timer, from_us + phase_limit_us(c));
            return;
        }
        rtmp_session_end(c->session, METRIC_INGEST_CLOSE_IDLE, "no media for too long");
        session_over(c);
        return;
    case PHASE_LINGER:
        ingest_conn_close(c, c->why);
        return;
    case PHASE_CLOSED:
        return;
    }
}

/* --- between session and sink --- */

static const struct conf_app *app_of(const struct ingest_conn *c, const char *name)
{
    return conf_app(c->conf, name, strlen(name));
}

static bool is_local(const struct addr *a)
{
    static const struct addr unix_peer = { { 0 } };
    static const uint8_t v4[12] = { [10] = 0xff, [11] = 0xff };
    static const uint8_t v6[16] = { [15] = 1 };

    return addr_eq(a, &unix_peer) || memcmp(a->ip, v6, 16) == 0 ||
           (memcmp(a->ip, v4, 12) == 0 && a->ip[12] == 127);
}

static bool on_app(void *ctx, const char *name)
{
    const struct conf_app *app = app_of(ctx, name);

    return app != NULL && app->publish != CONF_PUBLISH_NONE;
}

static void on_refused(void *ctx, enum auth_why why)
{
    struct ingest_conn *c = ctx;

    metric_add(&ingest_metrics(c)->ingest_auth[auth_result(why)], 1);
}

static void on_publish(void *ctx, const struct auth_target *t)
{
    static const enum auth_mode modes[] = { [CONF_PUBLISH_NONE] = AUTH_NOBODY,
                                            [CONF_PUBLISH_OPEN] = AUTH_OPEN,
                                            [CONF_PUBLISH_LOCAL] = AUTH_LOCAL,
                                            [CONF_PUBLISH_SIGNED] = AUTH_SIGNED };
    struct ingest_conn *c = ctx;
    const struct conf_app *app = app_of(c, t->app);
    struct auth_policy policy = { .mode = AUTH_NOBODY };
    struct ingest_request r = { .target = t,
                                .peer = c->peer,
                                .client = rtmp_session_client(c->session) };
    enum auth_why why;

    if (app != NULL)
        policy = (struct auth_policy){ modes[app->publish], app->permanent_keys == CONF_YES };
    memcpy(c->app, t->app, sizeof c->app);
    memcpy(c->stream, t->stream, sizeof c->stream);
    c->heard = true;
    why =
        auth_check(&policy, c->f->keys, t, is_local(&c->peer), (uint64_t)clock_wall_us() / SEC_US);
    metric_add(&ingest_metrics(c)->ingest_auth[auth_result(why)], 1);
    r.expired = why == AUTH_EXPIRED;
    if (why != AUTH_OK && !r.expired) {
        rtmp_session_refuse(c->session,
                            why == AUTH_APP ? METRIC_INGEST_CLOSE_APP : METRIC_INGEST_CLOSE_AUTH,
                            auth_why_text(why));
        return;
    }
    c->asked = true;
    sink_of(c)->publish(sink_of(c)->ctx, c, &r);
}

static void on_mark(void *ctx, const struct flv_mark *mark)
{
    struct ingest_conn *c = ctx;

    sink_of(c)->mark(sink_of(c)->ctx, c, mark);
}

static void on_tag(void *ctx, const struct flv_tag *tag, const struct flv_media *media)
{
    struct ingest_conn *c = ctx;

    sink_of(c)->tag(sink_of(c)->ctx, c, tag, media);
}

static void on_unpublish(void *ctx, enum rtmp_how how)
{
    struct ingest_conn *c = ctx;

    c->ended = how == RTMP_ENDED;
    sink_of(c)->unpublish(sink_of(c)->ctx, c, how);
}

static const struct rtmp_ops ops = { .app = on_app,
                                     .publish = on_publish,
                                     .mark = on_mark,
                                     .tag = on_tag,
                                     .unpublish = on_unpublish,
                                     .refused = on_refused };

static void log_publish(struct ingest_conn *c)
{
    char peer[ADDR_TEXT_MAX];
    struct log_ctx conn = { NULL, "conn", NULL, (int64_t)c->serial };
    struct log_ctx from = { &conn, "peer", addr_text(&c->peer, peer), 0 };
    struct log_ctx app = { &from, "app", c->app, 0 };
    struct log_ctx stream = { &app, "stream", c->stream, 0 };
    struct log_ctx client = { &stream, "client", rtmp_session_client(c->session), 0 };

    log_info(c->f->loop->log, &client, "ingest", "publishes");
}

void ingest_accept(struct ingest_conn *c, int64_t base_ms)
{
    OBJ_CHECK(c, CONN_MAGIC);
    CHECK(c->asked);
    c->asked = false;
    c->ended = false;
    log_publish(c);
    rtmp_session_accept(c->session, base_ms);
    if (c->feeding)
        return; /* it goes on by itself */
    settle(c);
    if (c->phase < PHASE_LINGER)
        feed_rest(c);
}

void ingest_refuse(struct ingest_conn *c, enum metric_ingest_close why, const char *text)
{
    OBJ_CHECK(c, CONN_MAGIC);
    CHECK(c->asked);
    c->asked = false;
    rtmp_session_refuse(c->session, why, text);
    if (!c->feeding)
        session_over(c);
}

void ingest_end(struct ingest_conn *c, enum metric_ingest_close why, const char *text)
{
    OBJ_CHECK(c, CONN_MAGIC);
    rtmp_session_end(c->session, why, text);
    if (!c->feeding)
        session_over(c);
}

void ingest_set_user(struct ingest_conn *c, void *user) { c->user = user; }
void *ingest_user(const struct ingest_conn *c) { return c->user; }
struct loop *ingest_conn_loop(const struct ingest_conn *c) { return c->f->loop; }

/* --- the beginning --- */

struct ingest_conn *ingest_conn_new(struct ingest_loop *f, const struct addr *peer)
{
    struct ingest_conn *c = calloc(1, sizeof *c);
    const struct conf_ingest_limits *conf = &f->loop->conf->ingest.limits;
    struct rtmp_limits lim = {
        .before_bytes = (uint32_t)conf->before_bytes,
        .data_bytes = (uint32_t)conf->data_bytes,
        .media_bytes = (uint32_t)conf->media_bytes,
        .memory_bytes = (uint32_t)conf->assembly_bytes,
        .control_bytes = (uint32_t)conf->control_queue_bytes,
        .commands_s = conf->commands_s,
    };

    if (c == NULL)
        return NULL;
    outq_init(&c->out, &f->loop->outq_pool);
    c->serial = ++f->serial * (uint64_t)f->loop->count + (uint64_t)f->loop->index;
    c->session = rtmp_session_new(&ops, c, &c->out, hash_mix(loop_now(f->loop) + c->serial), &lim);
    if (c->session == NULL) {
        free(c);
        return NULL;
    }
    OBJ_INIT(c, CONN_MAGIC);
    c->f = f;
    c->peer = *peer;
    c->conf = conf_ref(f->loop->conf);
    c->timer.fire = on_timer;
    return c;
}

void ingest_conn_drop(struct ingest_conn **cp)
{
    struct ingest_conn *c = *cp;

    *cp = NULL;
    if (c == NULL)
        return;
    rtmp_session_free(&c->session);
    conf_unref(&c->conf);
    OBJ_FINI(c, CONN_MAGIC);
    free(c);
}

enum st ingest_conn_open(struct ingest_conn *c, int fd, SSL_CTX *ctx)
{
    c->tls = ctx != NULL;
    return io_accept_init(&c->io, c->f->loop, fd, ctx, on_ready);
}

void ingest_conn_begin(struct ingest_conn *c)
{
    struct ingest_loop *f = c->f;

    c->prevp = &f->conns;
    c->next = f->conns;
    if (c->next != NULL)
        c->next->prevp = &c->next;
    f->conns = c;
    metric_add(&ingest_metrics(c)->ingest_connections, 1);
    metric_add(&ingest_metrics(c)->ingest_connections_opened, 1);
    count_unpublished(c, true);
    timer_set(f->loop, &c->timer, loop_now(f->loop) + phase_limit_us(c));
    count_memory(c);
    want(c);
}
