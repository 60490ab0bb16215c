/* Everything that makes output only asks for IO_WRITE; push() is called by the loop and moves it.
 * So no sink is ever called from inside up_h2_start() or up_h2_cancel(). */
#include "edge/up_h2.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/check.h"
#include "core/clock.h"
#include "core/conf.h"
#include "core/h2.h"
#include "core/io.h"
#include "core/loop.h"
#include "edge/range.h"
#include "edge/routes.h"

enum { POOL_MAGIC = 0x4b002222, CONN_MAGIC = 0x4b00c022 };
enum {
    HEAD_BYTES = 16 << 10,
    FIELDS_MAX = 100,
    READ_BYTES = 64 << 10,
    READ_BUDGET = 1 << 20,
    PUMP_BYTES = 64 << 10,
    OLD_MAX = 4, /* connections that are winding up */
};
#define BACKOFF_MIN_US (100 * MS_US)
#define BACKOFF_MAX_US (5 * SEC_US)

/* A response head on its way in: dropped when it is there. */
struct head {
    struct http_reply reply;
    bool bad;
    size_t used;
    uint8_t bytes[HEAD_BYTES];
};

struct stream {
    struct conn *conn;
    struct up_exchange *x; /* NULL: nobody cares any more */
    int32_t id;
    bool answered; /* its head has come */
    uint64_t sent_us;
    struct head *head;
    struct stream *touched_next;
    bool touched, fresh, dirty; /* the asker is to hear: sent; burst */
};

enum conn_state { CONN_CONNECTING, CONN_OPEN, CONN_CLOSED };

struct conn {
    int magic;
    struct io io;
    struct up_h2 *pool;
    struct conn *next, **prevp;
    struct timer timer; /* connecting */
    struct grave grave;
    enum conn_state state;
    unsigned addr, tries;
    struct h2 *h2; /* OPEN */
    struct stream *touched;
    uint64_t heard_us;
    bool useful; /* it has answered something */
    bool doomed; /* it will be closed at once: no more requests */
};

struct up_h2 {
    int magic;
    struct loop *loop;
    const struct route_host *host;
    struct conn *conns; /* the first is the one in use, if any is */
    unsigned n_conns, addr;
    struct up_exchange *queue, **queue_tail; /* wait for it to open */
    unsigned queued;
    uint64_t backoff_us, not_before_us; /* no new connection until then */
    uint8_t *in;                        /* one read of any of them */
    struct grave grave;
};

static const struct conf_edge_limits *limits(const struct up_h2 *p)
{
    return &p->loop->conf->edge.limits;
}

/* --- the queue --- */

static bool is_queued(const struct up_exchange *x) { return x->prevp != NULL; }

static void enqueue(struct up_h2 *p, struct up_exchange *x)
{
    x->next = NULL;
    x->prevp = p->queue_tail;
    *p->queue_tail = x;
    p->queue_tail = &x->next;
    p->queued++;
    x->on = p;
}

static void dequeue(struct up_h2 *p, struct up_exchange *x)
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

/* --- streams --- */

static struct up_exchange *take_exchange(struct stream *s)
{
    struct up_exchange *x = s->x;

    s->x = NULL;
    if (x != NULL)
        x->on = NULL;
    return x;
}

static void end_exchange(struct stream *s, enum up_end why)
{
    struct up_exchange *x = take_exchange(s);

    if (x != NULL)
        x->sink->end(x, why);
}

static void reset(struct stream *s, enum h2_reset_reason why)
{
    if (s->conn->state != CONN_OPEN)
        return; /* the connection is being closed under it */
    h2_reset(s->conn->h2, s->id, H2_CANCEL, why);
    io_want(&s->conn->io, IO_READ | IO_WRITE);
}

static void touch(struct stream *s)
{
    if (s->touched)
        return;
    s->touched = true;
    s->touched_next = s->conn->touched;
    s->conn->touched = s;
}

static void untouch(struct stream *s)
{
    struct stream **p = &s->conn->touched;

    while (s->touched && *p != s)
        p = &(*p)->touched_next;
    if (s->touched)
        *p = s->touched_next;
    s->touched = false;
}

static void on_header(struct h2 *h2, void *stream, int32_t id, const char *name, size_t name_len,
                      const char *value, size_t value_len)
{
    struct stream *s = stream;
    struct head *h = s->head;
    uint8_t *at;
    uint64_t status;

    (void)h2, (void)id;
    if (h == NULL || h->bad)
        return;
    if (name_len == 7 && memcmp(name, ":status", 7) == 0) {
        h->bad = value_len != 3 || !slice_u64(slice_of(value, value_len), &status) || status < 200;
        if (!h->bad)
            http_reply_init(&h->reply, 2, 0, (unsigned)status);
        return;
    }
    if (name_len + value_len > sizeof h->bytes - h->used) {
        h->bad = true;
        return;
    }
    at = h->bytes + h->used;
    memcpy(at, name, name_len);
    if (value_len > 0)
        memcpy(at + name_len, value, value_len);
    h->used += name_len + value_len;
    h->bad = http_reply_set(&h->reply, FIELDS_MAX, slice_of(at, name_len),
                            slice_of(at + name_len, value_len)) != ST_OK;
}

static void on_head(struct h2 *h2, void *stream, int32_t id, bool last)
{
    struct stream *s = stream;
    struct head *h = s->head;

    (void)h2, (void)id, (void)last;
    s->head = NULL;
    s->answered = true;
    s->conn->useful = true;
    s->conn->pool->backoff_us = 0;
    if (s->x != NULL && h->bad) {
        reset(s, H2_RESET_PROTOCOL);
        end_exchange(s, UP_END_PROTOCOL);
    } else if (s->x != NULL) {
        s->dirty = true;
        touch(s);
        s->x->sink->head(s->x, &h->reply);
    }
    free(h);
}

static void on_data(struct h2 *h2, void *stream, int32_t id, const uint8_t *p, size_t n)
{
    struct stream *s = stream;
    size_t all = n;

    while (n > 0 && s->x != NULL) {
        void *to;
        size_t cap;
        enum st st = s->x->sink->reserve(s->x, &to, &cap);

        if (st != ST_OK) {
            reset(s, H2_RESET_CANCELLED);
            end_exchange(s, st == ST_ENOMEM ? UP_END_MEMORY : UP_END_SIZE);
            return;
        }
        if (cap > n)
            cap = n;
        memcpy(to, p, cap);
        p += cap;
        n -= cap;
        s->x->sink->commit(s->x, cap);
    }
    if (s->x == NULL)
        return;
    h2_consume(h2, id, all);
    s->dirty = true;
    touch(s);
}

static void on_end(struct h2 *h2, void *stream, int32_t id)
{
    (void)h2, (void)id;
    end_exchange(stream, UP_END_WHOLE);
}

static void on_close(struct h2 *h2, void *stream, int32_t id, const struct h2_close *why)
{
    struct stream *s = stream;
    struct up_h2 *p = s->conn->pool;
    struct up_exchange *x = take_exchange(s);
    bool again = !s->answered && x != NULL && !x->retried &&
                 ((why->by_peer && why->code == H2_REFUSED_STREAM) ||
                  why->reason == H2_RESET_SHUTDOWN); /* the connection was lost under it */

    (void)h2, (void)id;
    untouch(s);
    free(s->head);
    free(s);
    if (x == NULL)
        return;
    if (again && up_h2_start(p, x) == ST_OK) {
        x->retried = true;
        return;
    }
    x->sink->end(x, why->reason == H2_RESET_NONE || why->reason == H2_RESET_SHUTDOWN
                        ? UP_END_RESET
                        : UP_END_PROTOCOL);
}

static const struct h2_ops ops = {
    .on_header = on_header,
    .on_head = on_head,
    .on_data = on_data,
    .on_end = on_end,
    .on_close = on_close,
};

/* --- requests --- */

struct request {
    struct h2_nv nv[8];
    size_t n;
};

static void put(struct request *r, const char *name, const char *value, bool once)
{
    r->nv[r->n++] = (struct h2_nv){ .name = name,
                                    .value = value,
                                    .name_len = (uint16_t)strlen(name),
                                    .value_len = (uint32_t)strlen(value),
                                    .once = once };
}

static enum st submit(struct conn *c, struct stream *s, const struct up_exchange *x)
{
    const struct route_host *host = c->pool->host;
    struct request r = { .n = 0 };
    char range[64];

    put(&r, ":method", "GET", false);
    put(&r, ":scheme", host->tls != NULL ? "https" : "http", false);
    put(&r, ":authority", host->authority, false);
    put(&r, ":path", x->path, true);
    if (x->none_match != NULL)
        put(&r, "if-none-match", x->none_match, true);
    if (x->changed_since != NULL)
        put(&r, "if-modified-since", x->changed_since, true);
    if (x->if_range != NULL) {
        (void)snprintf(range, sizeof range, "bytes=%llu-%llu", (unsigned long long)x->range_from,
                       (unsigned long long)RANGE_OPEN_END);
        put(&r, "range", range, true);
        put(&r, "if-range", x->if_range, true);
    }
    return h2_request(c->h2, r.nv, r.n, NULL, s, &s->id);
}

static enum st begin(struct conn *c, struct up_exchange *x)
{
    struct stream *s = calloc(1, sizeof *s);
    enum st st = ST_ENOMEM;

    if (s != NULL)
        s->head = malloc(sizeof *s->head);
    if (s != NULL && s->head != NULL) {
        s->head->bad = false;
        s->head->used = 0;
        http_reply_init(&s->head->reply, 2, 0, 0);
        s->conn = c;
        st = submit(c, s, x);
    }
    if (st != ST_OK) {
        if (s != NULL)
            free(s->head);
        free(s);
        return st;
    }
    s->x = x;
    x->on = s;
    s->sent_us = loop_now(c->pool->loop);
    s->fresh = true;
    touch(s);
    io_want(&c->io, IO_READ | IO_WRITE);
    return ST_OK;
}

/* --- connections --- */

static void free_conn(struct grave *g)
{
    struct conn *c = CONTAINER_OF(g, struct conn, grave);

    io_fini(&c->io);
    OBJ_FINI(c, CONN_MAGIC);
    free(c);
}

/* Ends all that is on it. */
static void close_conn(struct conn *c)
{
    struct up_h2 *p = c->pool;

    OBJ_CHECK(c, CONN_MAGIC);
    if (c->state == CONN_CLOSED)
        return;
    c->state = CONN_CLOSED;
    *c->prevp = c->next;
    if (c->next != NULL)
        c->next->prevp = c->prevp;
    p->n_conns--;
    io_stop(&c->io);
    timer_cancel(p->loop, &c->timer);
    loop_bury(p->loop, &c->grave, free_conn);
    h2_free(&c->h2);
}

static void back_off(struct up_h2 *p)
{
    p->backoff_us = p->backoff_us == 0 ? BACKOFF_MIN_US : p->backoff_us * 2;
    if (p->backoff_us > BACKOFF_MAX_US)
        p->backoff_us = BACKOFF_MAX_US;
    p->not_before_us = loop_now(p->loop) + p->backoff_us;
}

static enum st connect_to(struct up_h2 *p, unsigned tries);

static void connect_failed(struct conn *c, enum up_end why)
{
    struct up_h2 *p = c->pool;
    unsigned tries = c->tries;

    close_conn(c);
    p->addr = (c->addr + 1) % p->host->n_addrs;
    if (why != UP_END_TIMEOUT && tries < p->host->n_addrs && p->queue != NULL &&
        connect_to(p, tries) == ST_OK)
        return;
    back_off(p);
    while (p->queue != NULL) { /* up_h2_start() refuses from here on */
        struct up_exchange *x = p->queue;

        dequeue(p, x);
        x->sink->end(x, why);
    }
}

/* An open connection is over. One that was of no use is not opened again at once: it may be that
 * the upstream does not accept our certificate. */
static void lose(struct conn *c)
{
    if (!c->useful)
        back_off(c->pool);
    close_conn(c);
}

static void on_timer(struct loop *l, struct timer *t)
{
    struct conn *c = CONTAINER_OF(t, struct conn, timer);

    (void)l;
    if (c->state == CONN_OPEN)
        lose(c); /* doomed */
    else
        connect_failed(c, UP_END_TIMEOUT);
}

/* Once per read or write for each stream, however many frames there were. */
static void tell(struct conn *c)
{
    while (c->state == CONN_OPEN && c->touched != NULL) {
        struct stream *s = c->touched;
        bool fresh = s->fresh, dirty = s->dirty;
        struct up_exchange *x = s->x;

        untouch(s);
        s->fresh = s->dirty = false;
        if (fresh && x != NULL)
            x->sink->sent(x);
        if (dirty && x != NULL && s->x == x)
            x->sink->burst(x);
    }
}

/* Out with what there is. False: the connection is gone. */
static bool push(struct conn *c)
{
    enum st st = h2_pump(c->h2, PUMP_BYTES);

    if (io_write_queue(&c->io, h2_outq(c->h2)) < ST_OK || (st != ST_OK && st != ST_MORE) ||
        h2_done(c->h2)) {
        lose(c);
        return false;
    }
    io_want(&c->io, IO_READ | (h2_wants_write(c->h2) ? IO_WRITE : 0));
    tell(c);
    return true;
}

static void read_in(struct conn *c)
{
    size_t budget = READ_BUDGET, got = 0;
    enum st st = ST_OK;

    while (st == ST_OK && budget > 0) {
        st = io_read(&c->io, c->pool->in, READ_BYTES, &got);
        if (st != ST_OK)
            break;
        c->heard_us = loop_now(c->pool->loop);
        budget -= got < budget ? got : budget;
        st = h2_feed(c->h2, c->pool->in, got);
        if (st != ST_OK)
            st = ST_EPROTO;
    }
    tell(c);
    if (push(c) && st != ST_OK && st != ST_MORE)
        lose(c);
}

static void opened(struct conn *c)
{
    struct up_h2 *p = c->pool;

    timer_cancel(p->loop, &c->timer);
    if (p->host->tls != NULL && strcmp(io_alpn(&c->io), "h2") != 0) {
        connect_failed(c, UP_END_CONNECT);
        return;
    }
    c->h2 = h2_client_new(p->loop, &h2_limits_tier, &ops, c);
    if (c->h2 == NULL) {
        connect_failed(c, UP_END_CONNECT);
        return;
    }
    c->state = CONN_OPEN;
    c->heard_us = loop_now(p->loop);
    io_want(&c->io, IO_READ | IO_WRITE);
    while (p->queue != NULL && h2_accepts(c->h2)) {
        struct up_exchange *x = p->queue;
        enum st st;

        dequeue(p, x);
        st = begin(c, x);
        if (st != ST_OK)
            x->sink->end(x, st == ST_ENOMEM ? UP_END_MEMORY : UP_END_SIZE);
    }
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
    if ((what & IO_READ) != 0 && c->state == CONN_OPEN)
        read_in(c); /* and pushes */
    else if ((what & IO_WRITE) != 0 && c->state == CONN_OPEN)
        (void)push(c);
}

static enum st connect_to(struct up_h2 *p, unsigned tries)
{
    const struct route_host *host = p->host;
    enum st st = ST_EIO;

    for (; tries < host->n_addrs; tries++, p->addr = (p->addr + 1) % host->n_addrs) {
        struct conn *c = calloc(1, sizeof *c);
        const struct addr_sock *to = &host->addr[p->addr];

        if (c == NULL)
            return ST_ENOMEM;
        st = io_connect_init(&c->io, p->loop, (const struct sockaddr *)&to->sa, to->len, host->tls,
                             host->tls != NULL ? host->name : NULL, host->tls != NULL ? "h2" : NULL,
                             on_ready);
        if (st != ST_OK) {
            free(c);
            continue;
        }
        OBJ_INIT(c, CONN_MAGIC);
        c->pool = p;
        c->addr = p->addr;
        c->tries = tries + 1;
        c->next = p->conns;
        c->prevp = &p->conns;
        if (c->next != NULL)
            c->next->prevp = &c->next;
        p->conns = c;
        p->n_conns++;
        c->timer.fire = on_timer;
        timer_set(p->loop, &c->timer, loop_now(p->loop) + limits(p)->connect_timeout_us);
        return ST_OK;
    }
    return st;
}

/* --- the upstream --- */

struct up_h2 *up_h2_new(struct loop *l, const struct route_host *host)
{
    struct up_h2 *p = calloc(1, sizeof *p);

    if (p == NULL)
        return NULL;
    OBJ_INIT(p, POOL_MAGIC);
    p->loop = l;
    p->host = host;
    p->queue_tail = &p->queue;
    p->in = malloc(READ_BYTES);
    if (p->in == NULL) {
        free(p);
        return NULL;
    }
    return p;
}

static void free_pool(struct grave *g)
{
    struct up_h2 *p = CONTAINER_OF(g, struct up_h2, grave);

    free(p->in);
    OBJ_FINI(p, POOL_MAGIC);
    free(p);
}

void up_h2_free(struct up_h2 **pp)
{
    struct up_h2 *p = *pp;

    *pp = NULL;
    if (p == NULL)
        return;
    OBJ_CHECK(p, POOL_MAGIC);
    CHECK(p->queue == NULL);
    while (p->conns != NULL)
        close_conn(p->conns);
    loop_bury(p->loop, &p->grave, free_pool);
}

enum st up_h2_start(struct up_h2 *p, struct up_exchange *x)
{
    struct conn *c = p->conns;
    enum st st;

    OBJ_CHECK(p, POOL_MAGIC);
    CHECK(x->on == NULL && x->prevp == NULL);
    x->retried = false;
    if (c != NULL && c->state == CONN_OPEN && !c->doomed && h2_accepts(c->h2))
        return begin(c, x);
    if (c == NULL || c->state != CONN_CONNECTING) {
        if (loop_now(p->loop) < p->not_before_us)
            return ST_EIO;
        if (p->n_conns > OLD_MAX)
            return ST_ELIMIT;
        st = connect_to(p, 0);
        if (st != ST_OK)
            return st;
    }
    if (p->queued >= limits(p)->pending_lookups)
        return ST_ELIMIT;
    enqueue(p, x);
    return ST_OK;
}

/* A connection on which nothing was heard for as long as an answer may take is dead: nobody else is
 * to wait for it. */
static bool is_dead(const struct conn *c, const struct stream *s)
{
    return c->heard_us <= s->sent_us &&
           loop_now(c->pool->loop) >= s->sent_us + limits(c->pool)->response_timeout_us;
}

static void doom(struct conn *c)
{
    if (c->doomed)
        return;
    c->doomed = true;
    timer_set(c->pool->loop, &c->timer, loop_now(c->pool->loop));
}

void up_h2_doubt(struct up_h2 *p, uint64_t silent_us)
{
    struct conn *c = p->conns;

    OBJ_CHECK(p, POOL_MAGIC);
    if (c != NULL && c->state == CONN_OPEN && loop_now(p->loop) - c->heard_us >= silent_us)
        doom(c);
}

void up_h2_cancel(struct up_exchange *x)
{
    struct stream *s = x->on;

    if (s == NULL)
        return;
    if (is_queued(x)) {
        dequeue(x->on, x);
        return;
    }
    (void)take_exchange(s);
    reset(s, H2_RESET_CANCELLED);
    if (is_dead(s->conn, s))
        doom(s->conn);
}
