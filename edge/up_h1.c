/* A connection reads in one of two ways. Framing (heads, chunk sizes) goes through its own small
 * buffer; where the parser says that body bytes follow, they are read straight into the object.
 * Body bytes that shared a read with framing are the only ones that are copied. When there is no
 * memory for those they stay in the buffer (`left`), and nothing is read until up_h1_resume(). */
#include "edge/up_h1.h"

#include <stdlib.h>
#include <string.h>

#include "core/buf.h"
#include "core/check.h"
#include "core/clock.h"
#include "core/conf.h"
#include "core/io.h"
#include "core/loop.h"
#include "edge/http1_resp.h"
#include "edge/routes.h"

enum { POOL_MAGIC = 0x4b001111, CONN_MAGIC = 0x4b00c011 };
enum {
    IN_BYTES = 16 << 10,
    READ_BUDGET = 1 << 20, /* bytes per wake-up: one fast origin starves nobody */
    DRAIN_BYTES = 64 << 10,
    REQUEST_MAX = 64 << 10,
};
#define IDLE_US (30 * SEC_US)
#define DRAIN_US (2 * SEC_US)

/*  state       may become */
#define CONN_STATES(X)                                 \
    X(CONNECTING, BIT(BUSY) | BIT(IDLE) | BIT(CLOSED)) \
    X(BUSY, BIT(IDLE) | BIT(DRAINING) | BIT(CLOSED))   \
    X(DRAINING, BIT(IDLE) | BIT(CLOSED))               \
    X(IDLE, BIT(BUSY) | BIT(CLOSED))                   \
    X(CLOSED, 0)

enum conn_state {
#define X(n, next) CONN_##n,
    CONN_STATES(X)
#undef X
};

#define BIT(n) (1u << CONN_##n)
static const unsigned next_states[] = {
#define X(n, next) (next),
    CONN_STATES(X)
#undef X
};
#undef BIT

struct conn {
    int magic;
    struct io io;
    struct up_h1 *pool;
    struct up_exchange *x;      /* NULL: idle, draining, or its asker has gone */
    struct conn *next, **prevp; /* all, or the idle ones, the last used first */
    struct timer timer;
    struct grave grave;
    enum conn_state state;
    unsigned addr, tries;
    bool reused, paused;
    size_t drained;
    struct buf request;
    size_t sent;
    struct slice left; /* body bytes in `in` that the parser has counted and nobody has taken */
    size_t in_at, in_n;
    struct http1_resp resp;
    uint8_t in[IN_BYTES];
};

struct up_h1 {
    int magic;
    struct loop *loop;
    const struct route_host *host;
    struct conn *idle, *others;
    unsigned conns, addr;
    struct up_exchange *queue, **queue_tail;
    unsigned queued;
    struct grave grave;
};

static const struct conf_edge_limits *limits(const struct up_h1 *p)
{
    return &p->loop->conf->edge.limits;
}

static void list_add(struct conn **list, struct conn *c)
{
    c->next = *list;
    c->prevp = list;
    if (c->next != NULL)
        c->next->prevp = &c->next;
    *list = c;
}

static void list_remove(struct conn *c)
{
    *c->prevp = c->next;
    if (c->next != NULL)
        c->next->prevp = c->prevp;
}

static void become(struct conn *c, enum conn_state next)
{
    OBJ_CHECK(c, CONN_MAGIC);
    CHECK((next_states[c->state] & 1u << next) != 0);
    c->state = next;
    list_remove(c);
    if (next != CONN_CLOSED)
        list_add(next == CONN_IDLE ? &c->pool->idle : &c->pool->others, c);
}

/* --- the queue --- */

static void enqueue(struct up_h1 *p, struct up_exchange *x)
{
    x->next = NULL;
    x->prevp = p->queue_tail;
    *p->queue_tail = x;
    p->queue_tail = &x->next;
    p->queued++;
    x->on = p;
}

static void dequeue(struct up_h1 *p, struct up_exchange *x)
{
    *x->prevp = x->next;
    if (x->next != NULL)
        x->next->prevp = x->prevp;
    else
        p->queue_tail = x->prevp;
    x->prevp = NULL;
    x->on = NULL;
    p->queued--;
}

static bool is_queued(const struct up_exchange *x) { return x->prevp != NULL; }

/* --- connections come and go --- */

static void free_conn(struct grave *g)
{
    struct conn *c = CONTAINER_OF(g, struct conn, grave);

    io_fini(&c->io);
    buf_fini(&c->request);
    OBJ_FINI(c, CONN_MAGIC);
    free(c);
}

static void serve_queue(struct up_h1 *p);

/* Its exchange has been taken off it. */
static void close_conn(struct conn *c)
{
    CHECK(c->x == NULL);
    become(c, CONN_CLOSED);
    c->pool->conns--;
    io_stop(&c->io);
    timer_cancel(c->pool->loop, &c->timer);
    loop_bury(c->pool->loop, &c->grave, free_conn);
}

static struct up_exchange *take_exchange(struct conn *c)
{
    struct up_exchange *x = c->x;

    c->x = NULL;
    if (x != NULL)
        x->on = NULL;
    return x;
}

static enum st connect_for(struct up_h1 *p, struct up_exchange *x, unsigned tries);

/* Closes c and tells its asker; a queued exchange may take its place. */
static void lose(struct conn *c, enum up_end why)
{
    struct up_h1 *p = c->pool;
    struct up_exchange *x = take_exchange(c);

    close_conn(c);
    if (x != NULL)
        x->sink->end(x, why);
    serve_queue(p);
}

/* The connection did not come about: the host's next address, if there is one. */
static void connect_failed(struct conn *c, enum up_end why)
{
    struct up_h1 *p = c->pool;
    unsigned tries = c->tries;
    struct up_exchange *x = take_exchange(c);

    close_conn(c);
    if (p->addr == c->addr)
        p->addr = (c->addr + 1) % p->host->n_addrs;
    if (x != NULL &&
        (why == UP_END_TIMEOUT || tries >= p->host->n_addrs || connect_for(p, x, tries) != ST_OK))
        x->sink->end(x, why);
    serve_queue(p);
}

/* The answer had not begun. An idle connection may have been closed by the origin just as we used
 * it: that is no failure of the origin. */
static void lose_unanswered(struct conn *c, enum up_end why)
{
    struct up_h1 *p = c->pool;
    struct up_exchange *x = c->x;

    if (x == NULL || !c->reused || x->retried) {
        lose(c, why);
        return;
    }
    (void)take_exchange(c);
    close_conn(c);
    x->retried = true;
    if (connect_for(p, x, 0) != ST_OK)
        x->sink->end(x, UP_END_CONNECT);
    serve_queue(p);
}

static void on_timer(struct loop *l, struct timer *t)
{
    struct conn *c = CONTAINER_OF(t, struct conn, timer);

    (void)l;
    if (c->state == CONN_CONNECTING)
        connect_failed(c, UP_END_TIMEOUT);
    else
        lose(c, UP_END_TIMEOUT); /* idle or draining */
}

/* --- asking --- */

static void put_field(struct buf *b, const char *name, const char *value)
{
    if (value != NULL)
        buf_printf(b, "%s: %s\r\n", name, value);
}

static void put_request(struct buf *b, const struct route_host *host, const struct up_exchange *x)
{
    buf_reset(b);
    buf_printf(b, "GET %s HTTP/1.1\r\nHost: %s\r\nAccept-Encoding: identity\r\n", x->path,
               host->authority);
    put_field(b, "If-None-Match", x->none_match);
    put_field(b, "If-Modified-Since", x->changed_since);
    if (x->if_range != NULL) {
        buf_printf(b, "Range: bytes=%llu-\r\n", (unsigned long long)x->range_from);
        put_field(b, "If-Range", x->if_range);
    }
    buf_puts(b, "\r\n");
}

static void begin(struct conn *c, struct up_exchange *x)
{
    become(c, CONN_BUSY); /* from CONNECTING or IDLE */
    timer_cancel(c->pool->loop, &c->timer);
    c->x = x;
    x->on = c;
    c->sent = 0;
    c->in_at = c->in_n = 0;
    c->left = (struct slice){ .p = NULL };
    c->paused = false;
    http1_resp_init(&c->resp, false);
    put_request(&c->request, c->pool->host, x);
    io_want(&c->io, IO_READ | IO_WRITE); /* sent from the loop, like everything else */
}

static void send_request(struct conn *c)
{
    struct iovec v = { .iov_base = c->request.data + c->sent, .iov_len = c->request.len - c->sent };
    size_t took;

    if (c->request.st != ST_OK) {
        lose(c, c->request.st == ST_ENOMEM ? UP_END_MEMORY : UP_END_SIZE);
        return;
    }
    if (io_writev(&c->io, &v, 1, &took) != ST_OK) {
        /* The answer may be there all the same: reading will tell. */
        io_want(&c->io, IO_READ);
        c->sent = c->request.len;
        return;
    }
    c->sent += took;
    if (c->sent < c->request.len)
        return;
    io_want(&c->io, IO_READ);
    c->x->sink->sent(c->x);
}

static void rest(struct conn *c)
{
    struct up_h1 *p = c->pool;

    c->reused = true;
    become(c, CONN_IDLE);
    timer_set(p->loop, &c->timer, loop_now(p->loop) + IDLE_US);
    io_want(&c->io, IO_READ);
    serve_queue(p);
}

/* --- the answer --- */

/* Nothing that comes before we have asked is an answer. */
static bool wants_input(const struct conn *c)
{
    return (c->state == CONN_BUSY && c->x != NULL && c->sent > 0 && !c->paused) ||
           c->state == CONN_DRAINING;
}

static void pause_reading(struct conn *c)
{
    c->paused = true;
    io_want(&c->io, c->sent < c->request.len ? IO_WRITE : 0);
}

static void no_room(struct conn *c, enum st st)
{
    if (st == ST_ENOMEM)
        pause_reading(c);
    else
        lose(c, UP_END_SIZE);
}

/* Copies c->left into the object, as far as there is memory. */
static void take_left(struct conn *c)
{
    struct up_exchange *x = c->x;

    while (c->left.n > 0 && wants_input(c)) {
        void *p;
        size_t cap;
        enum st st = x->sink->reserve(x, &p, &cap);

        if (st != ST_OK) {
            no_room(c, st);
            return;
        }
        if (cap > c->left.n)
            cap = c->left.n;
        memcpy(p, c->left.p, cap);
        c->left = slice_of(c->left.p + cap, c->left.n - cap);
        x->sink->commit(x, cap);
    }
}

static void whole(struct conn *c, const struct http1_event *ev)
{
    struct up_h1 *p = c->pool;
    struct up_exchange *x = take_exchange(c);
    bool keep = ev->reusable && c->in_at == c->in_n && c->sent == c->request.len;

    if (keep)
        rest(c);
    else
        close_conn(c);
    if (x != NULL)
        x->sink->end(x, ev->kind == HTTP1_END ? UP_END_WHOLE : UP_END_CLOSED);
    serve_queue(p);
}

static void on_body(struct conn *c, struct slice bytes)
{
    if (c->state == CONN_BUSY) {
        c->left = bytes;
        return;
    }
    c->drained += bytes.n;
    if (c->drained > DRAIN_BYTES)
        lose(c, UP_END_WHOLE);
}

/* One event out of the buffer. False: it is used up, or the exchange is over. */
static bool parse(struct conn *c)
{
    struct rd in = rd_init(c->in + c->in_at, c->in_n - c->in_at);
    struct http1_event ev;
    enum st st = http1_resp_next(&c->resp, &in, &ev);

    c->in_at = c->in_n - rd_left(&in);
    if (st == ST_MORE)
        return false;
    if (st != ST_OK) {
        lose(c, UP_END_PROTOCOL);
        return false;
    }
    switch (ev.kind) {
    case HTTP1_HEAD:
        if (c->x != NULL)
            c->x->sink->head(c->x, &c->resp.reply);
        return wants_input(c);
    case HTTP1_BODY:
        on_body(c, ev.bytes);
        return wants_input(c);
    case HTTP1_END:
    case HTTP1_END_BY_CLOSE:
        whole(c, &ev);
        return false;
    }
    return false;
}

static void ended(struct conn *c, enum st st)
{
    struct http1_event ev;

    if (st == ST_EOF)
        st = http1_resp_eof(&c->resp, &ev);
    else if (c->resp.state == HTTP1_IN_HEAD && c->resp.head_bytes == 0)
        st = ST_EOF;
    if (st == ST_OK)
        whole(c, &ev);
    else if (st == ST_EOF)
        lose_unanswered(c, UP_END_RESET);
    else
        lose(c, st == ST_EPROTO ? UP_END_SHORT : UP_END_RESET);
}

/* How much of what comes next is body and nothing else. */
static uint64_t plain_body(const struct conn *c)
{
    switch (c->resp.state) {
    case HTTP1_IN_LENGTH:
    case HTTP1_IN_CHUNK_DATA:
        return c->resp.left;
    case HTTP1_IN_CLOSE:
        return UINT64_MAX;
    default:
        return 0;
    }
}

static bool read_framing(struct conn *c, size_t *budget)
{
    enum st st = io_read(&c->io, c->in, sizeof c->in, &c->in_n);

    c->in_at = 0;
    if (st == ST_MORE)
        return false;
    if (st != ST_OK) {
        c->in_n = 0;
        ended(c, st);
        return false;
    }
    *budget -= c->in_n < *budget ? c->in_n : *budget;
    return true;
}

/* Into the object. False: nothing more to read now. */
static bool read_body(struct conn *c, uint64_t plain, size_t *budget)
{
    struct up_exchange *x = c->x;
    struct http1_event ev;
    size_t cap, got;
    void *p;
    enum st st = x->sink->reserve(x, &p, &cap);

    if (st == ST_ELIMIT && c->resp.state == HTTP1_IN_CLOSE)
        return read_framing(c, budget); /* full: what follows must be the end */
    if (st != ST_OK) {
        no_room(c, st);
        return false;
    }
    if (cap > plain)
        cap = (size_t)plain;
    st = io_read(&c->io, p, cap, &got);
    if (st == ST_MORE)
        return false;
    if (st != ST_OK) {
        ended(c, st);
        return false;
    }
    struct rd in = rd_init(p, got);
    st = http1_resp_next(&c->resp, &in, &ev);
    CHECK(st == ST_OK && ev.kind == HTTP1_BODY && ev.bytes.n == got);
    *budget -= got < *budget ? got : *budget;
    x->sink->commit(x, got);
    return true;
}

static void read_answer(struct conn *c)
{
    struct up_exchange *x = c->x;
    size_t budget = READ_BUDGET;
    bool more = true;

    while (more && wants_input(c)) {
        if (c->left.n > 0)
            take_left(c);
        else if (!parse(c) && wants_input(c)) {
            uint64_t plain = c->state == CONN_BUSY ? plain_body(c) : 0;

            if (plain > 0)
                more = budget > 0 && read_body(c, plain, &budget);
            else
                more = budget > 0 && read_framing(c, &budget);
        }
    }
    if (x != NULL && c->x == x)
        x->sink->burst(x);
}

/* Input that nobody waits for: the origin closes, or is out of step. */
static void read_unasked(struct conn *c)
{
    size_t got;

    if (io_read(&c->io, c->in, sizeof c->in, &got) == ST_MORE)
        return;
    if (c->state == CONN_BUSY)
        lose_unanswered(c, UP_END_PROTOCOL);
    else
        lose(c, UP_END_WHOLE);
}

static void opened(struct conn *c)
{
    c->pool->addr = c->addr;
    if (c->x != NULL)
        begin(c, c->x);
    else
        rest(c);
}

static void on_ready(struct io *io, unsigned what)
{
    struct conn *c = CONTAINER_OF(io, struct conn, io);

    OBJ_CHECK(c, CONN_MAGIC);
    if ((what & IO_DEAD) != 0) {
        connect_failed(c, UP_END_CONNECT);
        return;
    }
    if ((what & IO_OPEN) != 0)
        opened(c);
    if ((what & IO_READ) != 0 && wants_input(c))
        read_answer(c);
    else if ((what & IO_READ) != 0 && (c->state == CONN_IDLE || c->state == CONN_BUSY))
        read_unasked(c);
    if ((what & IO_WRITE) != 0 && c->state == CONN_BUSY && c->sent < c->request.len)
        send_request(c);
}

/* --- the pool --- */

static enum st connect_for(struct up_h1 *p, struct up_exchange *x, unsigned tries)
{
    const struct route_host *host = p->host;
    enum st st = ST_EIO;

    for (; tries < host->n_addrs; tries++, p->addr = (p->addr + 1) % host->n_addrs) {
        struct conn *c = calloc(1, sizeof *c);
        const struct addr_sock *to = &host->addr[p->addr];

        if (c == NULL)
            return ST_ENOMEM;
        st = io_connect_init(&c->io, p->loop, (const struct sockaddr *)&to->sa, to->len, host->tls,
                             host->tls != NULL ? host->name : NULL,
                             host->tls != NULL ? "http/1.1" : NULL, on_ready);
        if (st != ST_OK) {
            free(c);
            continue;
        }
        OBJ_INIT(c, CONN_MAGIC);
        c->pool = p;
        c->addr = p->addr;
        c->tries = tries + 1;
        c->state = CONN_CONNECTING;
        c->x = x;
        x->on = c;
        buf_init(&c->request, REQUEST_MAX);
        list_add(&p->others, c);
        p->conns++;
        c->timer.fire = on_timer;
        timer_set(p->loop, &c->timer, loop_now(p->loop) + limits(p)->connect_timeout_us);
        return ST_OK;
    }
    return st;
}

static void serve_queue(struct up_h1 *p)
{
    while (p->queue != NULL && (p->idle != NULL || p->conns < limits(p)->upstream_connections)) {
        struct up_exchange *x = p->queue;

        dequeue(p, x);
        if (p->idle != NULL)
            begin(p->idle, x);
        else if (connect_for(p, x, 0) != ST_OK)
            x->sink->end(x, UP_END_CONNECT);
    }
}

struct up_h1 *up_h1_new(struct loop *l, const struct route_host *host)
{
    struct up_h1 *p = calloc(1, sizeof *p);

    if (p == NULL)
        return NULL;
    OBJ_INIT(p, POOL_MAGIC);
    p->loop = l;
    p->host = host;
    p->queue_tail = &p->queue;
    return p;
}

static void free_pool(struct grave *g)
{
    struct up_h1 *p = CONTAINER_OF(g, struct up_h1, grave);

    OBJ_FINI(p, POOL_MAGIC);
    free(p);
}

void up_h1_free(struct up_h1 **pp)
{
    struct up_h1 *p = *pp;

    *pp = NULL;
    if (p == NULL)
        return;
    OBJ_CHECK(p, POOL_MAGIC);
    CHECK(p->queue == NULL);
    while (p->idle != NULL)
        close_conn(p->idle);
    while (p->others != NULL)
        close_conn(p->others); /* CHECKs that nobody is on it */
    loop_bury(p->loop, &p->grave, free_pool);
}

enum st up_h1_start(struct up_h1 *p, struct up_exchange *x)
{
    OBJ_CHECK(p, POOL_MAGIC);
    CHECK(x->on == NULL && x->prevp == NULL);
    x->retried = false;
    if (p->idle != NULL) {
        begin(p->idle, x);
        return ST_OK;
    }
    if (p->conns < limits(p)->upstream_connections)
        return connect_for(p, x, 0);
    if (p->queued >= limits(p)->pending_lookups)
        return ST_ELIMIT;
    enqueue(p, x);
    return ST_OK;
}

/* The connection that x is on, which has let go of it; NULL: it was on none. */
static struct conn *detach(struct up_exchange *x)
{
    struct conn *c = x->on;

    if (c == NULL)
        return NULL;
    if (is_queued(x)) {
        dequeue(x->on, x);
        return NULL;
    }
    OBJ_CHECK(c, CONN_MAGIC);
    (void)take_exchange(c);
    return c->state == CONN_CONNECTING ? NULL : c; /* it will be of use to somebody */
}

void up_h1_cancel(struct up_exchange *x)
{
    struct conn *c = detach(x);

    if (c == NULL)
        return;
    close_conn(c);
    serve_queue(c->pool);
}

void up_h1_drop(struct up_exchange *x)
{
    struct conn *c = detach(x);

    if (c == NULL)
        return;
    if (c->sent < c->request.len || c->resp.state == HTTP1_IN_HEAD || plain_body(c) > DRAIN_BYTES) {
        close_conn(c);
        serve_queue(c->pool);
        return;
    }
    become(c, CONN_DRAINING);
    c->left.n = 0;
    c->paused = false;
    c->drained = 0;
    timer_set(c->pool->loop, &c->timer, loop_now(c->pool->loop) + DRAIN_US);
    io_want(&c->io, IO_READ);
}

void up_h1_resume(struct up_exchange *x)
{
    struct conn *c = x->on;

    if (c == NULL || is_queued(x) || !c->paused)
        return;
    c->paused = false;
    io_want(&c->io, IO_READ | (c->sent < c->request.len ? IO_WRITE : 0));
    read_answer(c);
}
