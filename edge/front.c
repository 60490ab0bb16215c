#include "edge/front.h"

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <openssl/ssl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "core/check.h"
#include "core/clock.h"
#include "core/tls.h"
#include "edge/front_int.h"
#include "edge/store.h"

enum { FRONT_MAGIC = 0x0f2047a1, FRONT_LOOP_MAGIC = 0x0f204710, CONN_MAGIC = 0x0c0220a1 };
enum { LINGER_US = 2 * 1000 * 1000 };
/* The next viewer of a POP is not to pay for a handshake between us. A machine that is gone without
 * a word is noticed by the kernel's probes. */
#define TIER_IDLE_US (600 * SEC_US)
enum { TIER_PROBE_AFTER_S = 15, TIER_PROBE_EVERY_S = 5, TIER_PROBES = 3 };

/* --- the process's part --- */

struct front *front_new(struct store *s, const struct front_hooks *hooks)
{
    struct front *f = calloc(1, sizeof *f);

    if (f == NULL)
        return NULL;
    OBJ_INIT(f, FRONT_MAGIC);
    f->store = s;
    f->hooks = *hooks;
    f->per_address = addr_count_new();
    f->held_per_address = addr_count_new();
    if (f->per_address == NULL || f->held_per_address == NULL)
        front_free(&f);
    return f;
}

void front_free(struct front **fp)
{
    struct front *f = *fp;

    *fp = NULL;
    if (f == NULL)
        return;
    OBJ_FINI(f, FRONT_MAGIC);
    addr_count_free(&f->per_address);
    addr_count_free(&f->held_per_address);
    free(f);
}

uint64_t front_connections(const struct front *f)
{
    return atomic_load_explicit(&f->connections, memory_order_relaxed);
}

/* --- the loop's part --- */

enum st front_loop_start(struct front *f, struct loop *l)
{
    struct front_loop *fl = calloc(1, sizeof *fl);

    OBJ_CHECK(f, FRONT_MAGIC);
    if (fl == NULL)
        return ST_ENOMEM;
    OBJ_INIT(fl, FRONT_LOOP_MAGIC);
    fl->front = f;
    fl->loop = l;
    fl->store = f->store;
    fl->date_s = UINT64_MAX;
    fl->viewers = viewers_new(l);
    if (fl->viewers == NULL) {
        free(fl);
        return ST_ENOMEM;
    }
    l->slot[LOOP_FRONT] = fl;
    return ST_OK;
}

void front_loop_stop(struct loop *l)
{
    struct front_loop *f = front_loop_of(l);
    struct own *player;

    OBJ_CHECK(f, FRONT_LOOP_MAGIC);
    while (f->listeners != NULL) {
        struct listener *ln = f->listeners;

        listener_free(&ln);
    }
    while (f->conns != NULL)
        conn_close(f->conns, METRIC_CLOSE_SHUTDOWN);
    CHECK(loop_turn_nowait(l) == ST_OK); /* frees what was buried */
    http1_loop_fini(f);
    http2_loop_fini(f);
    tls_set_unref(&f->tls);
    SSL_CTX_free(f->tier_tls);
    auth_keys_unref(&f->play_keys);
    token_memo_free(&f->tokens);
    viewers_free(&f->viewers);
    player = f->player != NULL ? &f->player->own : NULL;
    own_unref(&player);
    OBJ_FINI(f, FRONT_LOOP_MAGIC);
    free(f);
    l->slot[LOOP_FRONT] = NULL;
}

void front_set_tls(struct loop *l, struct tls_set *set)
{
    struct front_loop *f = front_loop_of(l);

    tls_set_unref(&f->tls);
    f->tls = set;
}

void front_set_tier_tls(struct loop *l, SSL_CTX *ctx)
{
    struct front_loop *f = front_loop_of(l);

    SSL_CTX_free(f->tier_tls);
    f->tier_tls = ctx;
}

void front_set_play_keys(struct loop *l, struct auth_keys *keys)
{
    struct front_loop *f = front_loop_of(l);

    auth_keys_unref(&f->play_keys);
    f->play_keys = keys;
    if (f->tokens != NULL)
        token_memo_clear(f->tokens);
}

void front_set_access_log(struct loop *l, struct access_log *a) { front_loop_of(l)->access = a; }

void front_each_watched(struct loop *l, void (*each)(void *arg, const char *name, unsigned n),
                        void *arg)
{
    viewers_each(front_loop_of(l)->viewers, each, arg);
}

const char *front_date(struct front_loop *f)
{
    uint64_t now_s = (uint64_t)clock_wall_us() / SEC_US;

    if (now_s != f->date_s)
        http_date_format((int64_t)now_s, f->date);
    f->date_s = now_s;
    return f->date;
}

/* A manifest or a segment of a stream, out of the index, to somebody outside. */
static void see_viewer(struct conn *c, const struct request *r)
{
    const struct target *t = &r->target;
    int status = r->answer.status;

    if (r->profile != FRONT_EDGE ||
        (t->kind != TARGET_MANIFEST && t->kind != TARGET_MASTER && t->kind != TARGET_PLAYLIST &&
         t->kind != TARGET_SEGMENT) ||
        r->object == METRIC_OBJECT_PROXY || r->answer.head == NULL ||
        (status != 200 && status != 206 && status != 304))
        return;
    viewers_see(c->f->viewers, c->viewer, r->key + 1, t->app.n + 1 + t->stream.n);
}

void front_count_answer(struct conn *c, struct request *r, enum metric_proto proto)
{
    struct metrics *m = r->front->loop->metrics;

    metric_add(&m->http_requests[proto][metric_code_of(r->answer.status)][r->object], 1);
    metric_observe(&m->http_ttfb_seconds, loop_now(r->front->loop) - r->begun_us);
    if (request_used_store(r))
        metric_add(&m->cache_requests[request_tier(r)][r->result], 1);
    see_viewer(c, r);
}

/* --- connections --- */

static struct metrics *metrics_of(struct conn *c) { return c->f->loop->metrics; }

static void count_gauge(struct conn *c, bool up)
{
    enum metric_proto p = c->proto == CONN_HTTP2 ? METRIC_PROTO_H2 : METRIC_PROTO_H1;
    enum metric_conn s = c->phase == CONN_BUSY ? METRIC_CONN_ACTIVE : METRIC_CONN_IDLE;
    _Atomic uint64_t *g = &metrics_of(c)->http_connections[p][s];

    if (up)
        metric_add(g, 1);
    else
        metric_sub(g, 1);
}

/* How often a busy connection is looked at: well within each of its limits. */
static uint64_t look_us(const struct conn *c, const struct conf_edge_limits *lim)
{
    uint64_t us = lim->slow_window_us < lim->stall_us ? lim->slow_window_us : lim->stall_us;

    if (c->proto == CONN_HTTP2 && lim->head_timeout_us < us)
        us = lim->head_timeout_us; /* of one stream's head while others are served */
    return us / 4;
}

static uint64_t phase_limit_us(const struct conn *c)
{
    const struct conf_edge_limits *lim = front_limits(c->f);

    switch (c->phase) {
    case CONN_HANDSHAKE:
        return lim->handshake_timeout_us;
    case CONN_HEAD:
        return lim->head_timeout_us;
    case CONN_IDLE:
        return c->profile == FRONT_TIER ? TIER_IDLE_US : lim->keepalive_us;
    case CONN_BUSY:
        return look_us(c, lim);
    case CONN_LINGER:
        return LINGER_US;
    case CONN_CLOSED:
        break;
    }
    return SEC_US;
}

void conn_become(struct conn *c, enum conn_phase next)
{
    OBJ_CHECK(c, CONN_MAGIC);
    if (c->phase == CONN_CLOSED)
        return;
    count_gauge(c, false);
    c->phase = next;
    if (next == CONN_CLOSED)
        return;
    count_gauge(c, true);
    timer_set(c->f->loop, &c->timer, loop_now(c->f->loop) + phase_limit_us(c));
}

static void free_conn(struct grave *g)
{
    struct conn *c = CONTAINER_OF(g, struct conn, grave);

    io_fini(&c->io);
    if (c->proto == CONN_HTTP1)
        http1_free(c);
    else if (c->proto == CONN_HTTP2)
        http2_free(c);
    OBJ_FINI(c, CONN_MAGIC);
    free(c);
}

static _Atomic uint64_t *counted_as(const struct front_loop *f, enum front_profile profile)
{
    return profile == FRONT_TIER ? &f->front->tier_connections : &f->front->connections;
}

void conn_close(struct conn *c, enum metric_close why)
{
    struct front_loop *f = c->f;

    OBJ_CHECK(c, CONN_MAGIC);
    if (c->phase == CONN_CLOSED)
        return; /* the first reason is the one that counts */
    if (c->phase != CONN_LINGER)
        c->why = why;
    conn_become(c, CONN_CLOSED);
    metric_add(&metrics_of(c)->http_closes[c->why], 1);
    timer_cancel(f->loop, &c->timer);
    io_stop(&c->io);
    if (c->proto == CONN_HTTP1)
        http1_fini(c);
    else if (c->proto == CONN_HTTP2)
        http2_fini(c);
    viewers_leave(f->viewers, c->viewer);
    *c->prevp = c->next;
    if (c->next != NULL)
        c->next->prevp = c->prevp;
    f->n_conns--;
    (void)atomic_fetch_sub_explicit(counted_as(f, c->profile), 1, memory_order_relaxed);
    if (c->counted_address)
        addr_count_return(f->front->per_address, &c->peer);
    loop_bury(f->loop, &c->grave, free_conn);
}

void conn_linger(struct conn *c, enum metric_close why)
{
    if (c->phase == CONN_CLOSED || c->phase == CONN_LINGER)
        return;
    c->why = why;
    if (io_shutdown(&c->io) != ST_OK) {
        conn_close(c, why);
        return;
    }
    conn_become(c, CONN_LINGER);
    io_want(&c->io, IO_READ);
}

/* What the peer still sends is thrown away, for a short while: closing with unread bytes would
 * reset the connection and take our last answer with it. */
static void linger_read(struct conn *c)
{
    for (int rounds = 0; rounds < 4; rounds++) {
        size_t got;
        enum st st = io_read(&c->io, c->f->read_buf, sizeof c->f->read_buf, &got);

        if (st == ST_MORE)
            return;
        if (st != ST_OK) {
            conn_close(c, c->why);
            return;
        }
    }
}

/* --- the slow reader's clock (facts-security.md row 19) ---
 * What counts is what the peer has, not what the kernel has taken: below us some hundred KiB may
 * wait, and they are taken in large pieces with long pauses. So the timer looks at the backlog, and
 * a look is also what starts the clock. */

/* True: closed. */
static bool evict_slow_reader(struct conn *c)
{
    const struct conf_edge_limits *lim = front_limits(c->f);
    uint64_t now_us = loop_now(c->f->loop), backlog, has;

    if (!c->blocked) {
        c->watched = false;
        return false;
    }
    backlog = io_backlog(&c->io);
    has = c->taken_bytes > backlog ? c->taken_bytes - backlog : 0;
    if (!c->watched || has > c->moved_bytes) {
        c->moved_bytes = has;
        c->moved_us = now_us;
    }
    if (!c->watched) {
        c->watched = true;
        c->window_us = now_us;
        c->window_bytes = has;
    }
    if (now_us - c->moved_us >= lim->stall_us) {
        conn_close(c, METRIC_CLOSE_STALL);
        return true;
    }
    if (now_us - c->window_us < lim->slow_window_us)
        return false;
    if ((c->moved_bytes - c->window_bytes) * SEC_US < conn_slow_rate(c) * (now_us - c->window_us)) {
        conn_close(c, METRIC_CLOSE_SLOW_READER);
        return true;
    }
    c->window_us = now_us;
    c->window_bytes = c->moved_bytes;
    return false;
}

bool conn_flush(struct conn *c, struct outq *q)
{
    size_t before = outq_bytes(q), took;

    if (io_write_queue(&c->io, q) < ST_OK) {
        conn_close(c, METRIC_CLOSE_PEER_RESET);
        return false;
    }
    took = before - outq_bytes(q);
    if (took > 0) {
        metric_add(&metrics_of(c)->http_response_bytes, took);
        c->taken_bytes += took;
    }
    c->blocked = conn_unsent(c, q);
    return true;
}

static void conn_on_timer(struct conn *c)
{
    switch (c->phase) {
    case CONN_HANDSHAKE:
        metric_add(&metrics_of(c)->tls_handshakes[METRIC_TLS_TIMEOUT][METRIC_RESUMED_NO], 1);
        conn_close(c, METRIC_CLOSE_TLS_HANDSHAKE);
        return;
    case CONN_HEAD:
        conn_close(c, METRIC_CLOSE_HEAD_TIMEOUT);
        return;
    case CONN_IDLE:
        if (c->proto == CONN_HTTP2)
            http2_goodbye(c);
        else
            conn_linger(c, METRIC_CLOSE_KEEPALIVE);
        return;
    case CONN_LINGER:
        conn_close(c, c->why);
        return;
    case CONN_BUSY:
        if (evict_slow_reader(c))
            return;
        if (c->proto == CONN_HTTP2)
            http2_check_streams(c, loop_now(c->f->loop));
        if (c->phase == CONN_BUSY)
            timer_set(c->f->loop, &c->timer, loop_now(c->f->loop) + phase_limit_us(c));
        return;
    case CONN_CLOSED:
        return;
    }
}

static void on_timer(struct loop *l, struct timer *t)
{
    (void)l;
    conn_on_timer(CONTAINER_OF(t, struct conn, timer));
}

/* --- what does it speak? --- */

static bool speak(struct conn *c, enum conn_proto proto)
{
    count_gauge(c, false);
    c->proto = proto;
    count_gauge(c, true);
    metric_add(&metrics_of(c)->http_connections_opened[proto == CONN_HTTP2 ? METRIC_PROTO_H2
                                                                           : METRIC_PROTO_H1],
               1);
    if ((proto == CONN_HTTP2 ? http2_start(c) : http1_start(c)) == ST_OK)
        return true;
    c->proto = CONN_NEW; /* nothing to undo */
    conn_close(c, METRIC_CLOSE_MEMORY);
    return false;
}

static const char preface[] = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/* Clear text: HTTP/2 with prior knowledge, or HTTP/1. A beginning of the preface is no beginning of
 * any HTTP/1 request, so one look at what came first is enough but for a torn preface, whose four
 * first bytes decide. No more is read than an HTTP/1 connection has room for: a client may send
 * many requests ahead. */
static void first_bytes(struct conn *c)
{
    size_t got;
    enum st st = io_read(&c->io, c->f->read_buf + c->torn, HTTP1_IN_BYTES - c->torn, &got);

    if (st == ST_MORE)
        return;
    if (st != ST_OK) {
        conn_close(c, st == ST_EOF ? METRIC_CLOSE_PEER_FIN : METRIC_CLOSE_PEER_RESET);
        return;
    }
    memcpy(c->f->read_buf, preface, c->torn); /* they were just that */
    got += c->torn;
    size_t look = got < 4 ? got : 4;
    if (memcmp(c->f->read_buf, preface, look) != 0) {
        if (c->profile == FRONT_TIER)
            conn_close(c, METRIC_CLOSE_BAD_REQUEST);
        else if (speak(c, CONN_HTTP1))
            http1_input(c, c->f->read_buf, got);
    } else if (look < 4) {
        c->torn = (uint8_t)got;
    } else if (speak(c, CONN_HTTP2)) {
        http2_input(c, c->f->read_buf, got);
    }
}

static void opened(struct conn *c)
{
    if (c->tls) {
        metric_add(
            &metrics_of(c)->tls_handshakes[METRIC_TLS_OK][io_resumed(&c->io) ? METRIC_RESUMED_YES
                                                                             : METRIC_RESUMED_NO],
            1);
        bool h2 = strcmp(io_alpn(&c->io), "h2") == 0;

        if (!h2 && c->profile == FRONT_TIER) {
            conn_close(c, METRIC_CLOSE_BAD_REQUEST);
            return;
        }
        if (!speak(c, h2 ? CONN_HTTP2 : CONN_HTTP1))
            return;
    }
    conn_become(c, CONN_HEAD);
    if (c->phase != CONN_CLOSED)
        io_want(&c->io, IO_READ);
}

static void on_ready(struct io *io, unsigned what)
{
    struct conn *c = CONTAINER_OF(io, struct conn, io);

    OBJ_CHECK(c, CONN_MAGIC);
    if ((what & IO_DEAD) != 0) {
        if (c->tls)
            metric_add(&metrics_of(c)->tls_handshakes[METRIC_TLS_FAILED][METRIC_RESUMED_NO], 1);
        conn_close(c, c->tls ? METRIC_CLOSE_TLS_HANDSHAKE : METRIC_CLOSE_PEER_RESET);
        return;
    }
    if ((what & IO_OPEN) != 0)
        opened(c);
    if ((what & (IO_READ | IO_WRITE)) == 0 || c->phase == CONN_CLOSED)
        return;
    if (c->phase == CONN_LINGER)
        linger_read(c);
    else if (c->proto == CONN_HTTP1)
        http1_on_io(c, what);
    else if (c->proto == CONN_HTTP2)
        http2_on_io(c, what);
    else
        first_bytes(c);
}

/* --- listening --- */

static void refuse(struct front_loop *f, int fd, enum metric_limit which)
{
    metric_add(&f->loop->metrics->limit_hits[which], 1);
    (void)close(fd);
}

static bool admit(struct front_loop *f, int fd, const struct addr *peer, enum front_profile profile,
                  bool *counted_address)
{
    const struct conf_edge_limits *lim = front_limits(f);

    *counted_address = false;
    if (profile == FRONT_ADMIN)
        return true; /* operators must get in when it is full */
    if (profile == FRONT_TIER) {
        if (atomic_load_explicit(&f->front->tier_connections, memory_order_relaxed) <
            f->loop->conf->origin.limits.connections)
            return true;
        refuse(f, fd, METRIC_LIMIT_TIER_CONNECTIONS);
        return false;
    }
    if (front_connections(f->front) >= lim->connections) {
        refuse(f, fd, METRIC_LIMIT_CONNECTIONS);
        return false;
    }
    if (lim->per_address == 0)
        return true;
    if (!addr_count_take(f->front->per_address, peer, lim->per_address)) {
        refuse(f, fd, METRIC_LIMIT_PER_ADDRESS);
        return false;
    }
    return *counted_address = true;
}

/* What the profile serves with; NULL: it has no certificate (any more). */
static SSL_CTX *ctx_of(const struct front_loop *f, enum front_profile profile)
{
    if (profile == FRONT_TIER)
        return f->tier_tls;
    return f->tls != NULL ? tls_set_ctx(f->tls) : NULL;
}

static void set_options(int fd, enum front_profile profile)
{
    int one = 1, after = TIER_PROBE_AFTER_S, every = TIER_PROBE_EVERY_S, probes = TIER_PROBES;

    (void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    if (profile != FRONT_TIER)
        return;
    (void)setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &one, sizeof one);
    (void)setsockopt(fd, IPPROTO_TCP, TCP_KEEPIDLE, &after, sizeof after);
    (void)setsockopt(fd, IPPROTO_TCP, TCP_KEEPINTVL, &every, sizeof every);
    (void)setsockopt(fd, IPPROTO_TCP, TCP_KEEPCNT, &probes, sizeof probes);
}

static void on_accept(struct listener *ln, int fd, const struct sockaddr_storage *peer)
{
    struct front_loop *f = ln->owner;
    enum front_profile profile = (enum front_profile)ln->profile;
    struct addr who = addr_of((const struct sockaddr *)peer);
    bool counted_address;
    struct conn *c;

    if (!admit(f, fd, &who, profile, &counted_address))
        return;
    c = calloc(1, sizeof *c);
    SSL_CTX *ctx = ln->tls ? ctx_of(f, profile) : NULL;
    if (c == NULL || (ln->tls && ctx == NULL)) {
        free(c);
        (void)close(fd);
        if (counted_address)
            addr_count_return(f->front->per_address, &who);
        return;
    }
    set_options(fd, profile);
    OBJ_INIT(c, CONN_MAGIC);
    c->f = f;
    c->peer = who;
    c->profile = profile;
    c->counted_address = counted_address;
    c->tls = ln->tls;
    c->timer.fire = on_timer;
    if (io_accept_init(&c->io, f->loop, fd, ctx, on_ready) != ST_OK) {
        free(c);
        if (counted_address)
            addr_count_return(f->front->per_address, &who);
        return;
    }
    c->prevp = &f->conns;
    c->next = f->conns;
    if (c->next != NULL)
        c->next->prevp = &c->next;
    f->conns = c;
    f->n_conns++;
    (void)atomic_fetch_add_explicit(counted_as(f, c->profile), 1, memory_order_relaxed);
    c->phase = ln->tls ? CONN_HANDSHAKE : CONN_HEAD;
    count_gauge(c, true);
    conn_become(c, c->phase);
    io_want(&c->io, IO_READ);
}

enum st front_listen(struct loop *l, int fd, enum front_profile profile, bool tls,
                     struct listener **out)
{
    struct front_loop *f = front_loop_of(l);
    struct listener_cfg cfg = {
        .fd = fd, .on_accept = on_accept, .owner = f, .profile = (int)profile, .tls = tls
    };

    OBJ_CHECK(f, FRONT_LOOP_MAGIC);
    return listener_new(&f->listeners, l, &cfg, out);
}
