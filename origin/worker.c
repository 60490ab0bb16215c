#include "origin/worker.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/check.h"
#include "core/clock.h"
#include "core/io.h"
#include "core/loop.h"

enum { LINK_MAGIC = 0x3ec0de71, READ_BYTES = 256 << 10, OUT_HIGH = 256 << 10, FLUSH_IOV = 64 };
enum { HEADERS_MAX = 12, STASH_MAX = 16 << 20 };

/* Tags of many streams go out together: the first at once, what follows it within this time at the
 * end of it. A chunk is many times as long. */
#define PACE_US (12 * MS_US)

/* One connection; a lost one is buried and the link makes another when it is needed. */
struct worker_conn {
    int magic;
    struct io io;
    struct h2 *h2;
    struct worker_link *link; /* NULL: lost */
    struct loop *loop;
    struct grave grave;
    struct timer pace; /* set: there may be something to send */
    uint64_t sent_us;
    bool busy; /* h2_feed() or h2_pump() is on the stack */
    bool lost;
};

struct worker_link {
    struct loop *loop;
    struct addr_sock addr;
    unsigned index;
    struct worker_conn *conn; /* NULL: none */
    struct exchange *first;
    unsigned streams;
    uint8_t *read_buf;
};

/* What the HTTP/2 session knows of an exchange: it outlives one that was cancelled. */
struct lane {
    struct exchange *x;       /* NULL: cancelled, or over */
    struct worker_conn *conn; /* its own: the link may have another one by now */
    int32_t id;
};

const char *exchange_end_text(enum exchange_end e)
{
    static const char *const texts[] = {
#define X(n, text) [EXCHANGE_##n] = text,
        EXCHANGE_ENDS(X)
#undef X
    };

    return texts[e];
}

/* --- exchanges --- */

static void unlink_exchange(struct exchange *x)
{
    *x->prevp = x->next;
    if (x->next != NULL)
        x->next->prevp = x->prevp;
    x->link->streams--;
    x->link = NULL;
    if (x->lane != NULL)
        x->lane->x = NULL;
    x->lane = NULL;
    record_reader_fini(&x->reader);
    buf_fini(&x->stash);
}

static void end(struct exchange *x, enum exchange_end why)
{
    unlink_exchange(x);
    x->ops->ended(x, why);
}

/* --- the session's side of HTTP/2 --- */

static void push(struct worker_conn *c);

static void on_header(struct h2 *h2, void *stream, int32_t id, const char *name, size_t name_len,
                      const char *value, size_t value_len)
{
    struct exchange *x = ((struct lane *)stream)->x;

    (void)h2, (void)id;
    if (x == NULL || name_len != 7 || memcmp(name, ":status", 7) != 0)
        return;
    for (size_t i = 0; i < value_len; i++)
        x->status = x->status * 10 + (value[i] - '0');
}

static void on_head(struct h2 *h2, void *stream, int32_t id, bool last)
{
    (void)h2, (void)stream, (void)id, (void)last;
}

/* Takes what it can; the rest waits while the session has paused us. After a failure nothing more
 * is read. False: the session has cancelled the exchange, touch it no more. */
static bool take_records(struct exchange *x, const uint8_t *p, size_t n, size_t *took)
{
    struct rd in = rd_init(p, n);
    struct record_event ev;
    uint64_t round = x->round;
    enum st st = x->broken;

    /* a record may make the session pause or cancel the exchange, or begin another one in it */
    while (!x->paused && st == ST_OK && (st = record_next(&x->reader, &in, &ev)) == ST_OK) {
        x->ops->record(x, &ev);
        if (x->link == NULL || x->round != round) {
            *took = n;
            return false;
        }
    }
    *took = n - rd_left(&in);
    if (x->paused && rd_left(&in) > 0 && st >= ST_OK) {
        buf_add(&x->stash, in.p, rd_left(&in));
        st = x->stash.st;
    }
    if (st < ST_OK && x->broken == ST_OK) {
        x->broken = st;
        if (x->lane != NULL)
            h2_reset(x->lane->conn->h2, x->lane->id, H2_PROTOCOL_ERROR, H2_RESET_PROTOCOL);
    }
    return true;
}

static void on_data(struct h2 *h2, void *stream, int32_t id, const uint8_t *p, size_t n)
{
    struct exchange *x = ((struct lane *)stream)->x;
    size_t took = n;

    if (x != NULL && x->status == 200)
        (void)take_records(x, p, n, &took);
    h2_consume(h2, id, took);
}

void exchange_pause(struct exchange *x) { x->paused = true; }

static enum exchange_end end_of(struct exchange *x)
{
    if (x->broken != ST_OK)
        return EXCHANGE_BROKEN;
    if (x->status != 0 && x->status != 200)
        return x->status == 503 ? EXCHANGE_FULL : EXCHANGE_REFUSED;
    return x->whole && record_reader_end(&x->reader) == ST_OK ? EXCHANGE_DONE : EXCHANGE_LOST;
}

void exchange_go_on(struct exchange *x)
{
    struct lane *lane = x->lane;
    struct worker_conn *c = lane != NULL && !lane->conn->lost ? lane->conn : NULL;
    struct buf had = x->stash;
    size_t took;
    bool ours, outermost = c != NULL && !c->busy;

    x->paused = false;
    if (x->link == NULL)
        return;
    buf_init(&x->stash, STASH_MAX);
    if (outermost)
        c->busy = true; /* nothing is sent, so no stream ends, while we use the lane */
    ours = take_records(x, had.data, had.len, &took);
    buf_fini(&had);
    if (outermost)
        c->busy = false;
    if (c != NULL) {
        if (ours)
            h2_consume(c->h2, lane->id, took);
        push(c);
    } else if (lane == NULL && ours && !x->paused) { /* the worker has ended it meanwhile */
        end(x, end_of(x));
    }
}

static void on_end(struct h2 *h2, void *stream, int32_t id)
{
    struct exchange *x = ((struct lane *)stream)->x;

    (void)h2, (void)id;
    if (x != NULL)
        x->whole = true;
}

static void on_close(struct h2 *h2, void *stream, int32_t id, const struct h2_close *why)
{
    struct lane *lane = stream;
    struct exchange *x = lane->x;

    (void)h2, (void)id, (void)why;
    free(lane);
    if (x == NULL)
        return;
    x->lane = NULL;
    if (x->paused && x->stash.len > 0 && x->broken == ST_OK)
        return; /* exchange_go_on() ends it: what has come counts */
    end(x, end_of(x));
}

static const struct h2_ops session_ops = {
    .on_header = on_header,
    .on_head = on_head,
    .on_data = on_data,
    .on_end = on_end,
    .on_close = on_close,
};

/* --- the connection --- */

static void free_conn(struct grave *g)
{
    struct worker_conn *c = CONTAINER_OF(g, struct worker_conn, grave);

    h2_free(&c->h2); /* closes the streams that are left: their exchanges end */
    io_fini(&c->io);
    OBJ_FINI(c, LINK_MAGIC);
    free(c);
}

static void lose(struct worker_conn *c)
{
    if (c->lost)
        return;
    c->lost = true;
    if (c->link != NULL && c->link->conn == c)
        c->link->conn = NULL;
    io_stop(&c->io);
    timer_cancel(c->loop, &c->pace);
    loop_bury(c->loop, &c->grave, free_conn);
}

static enum st flush(struct worker_conn *c)
{
    struct outq *q = h2_outq(c->h2);

    while (outq_bytes(q) > 0) {
        struct iovec v[FLUSH_IOV];
        int n = outq_iov(q, v, FLUSH_IOV);
        size_t sum = 0, took;

        for (int i = 0; i < n; i++)
            sum += v[i].iov_len;
        if (io_writev(&c->io, v, n, &took) != ST_OK)
            return ST_EIO;
        outq_consume(q, took);
        if (took < sum)
            return ST_MORE;
    }
    return ST_OK;
}

static void push(struct worker_conn *c)
{
    enum st pumped, flushed;

    if (c->busy || c->lost)
        return;
    c->busy = true;
    do {
        pumped = h2_pump(c->h2, OUT_HIGH);
        flushed = flush(c);
    } while (pumped == ST_MORE && flushed == ST_OK);
    c->busy = false;
    if (flushed < ST_OK || pumped < ST_OK || pumped == ST_EOF || h2_done(c->h2)) {
        lose(c);
        return;
    }
    io_want(&c->io, IO_READ | (flushed == ST_MORE ? IO_WRITE : 0u));
}

static void on_pace(struct loop *l, struct timer *t)
{
    struct worker_conn *c = CONTAINER_OF(t, struct worker_conn, pace);

    c->sent_us = loop_now(l);
    push(c);
}

static void push_soon(struct worker_conn *c)
{
    uint64_t now_us = loop_now(c->loop);

    if (timer_is_set(&c->pace))
        return;
    if (now_us - c->sent_us >= PACE_US)
        on_pace(c->loop, &c->pace);
    else
        timer_set(c->loop, &c->pace, c->sent_us + PACE_US);
}

static void read_all(struct worker_conn *c)
{
    uint8_t *buf = c->link->read_buf;

    for (int rounds = 0; rounds < 4 && !c->lost; rounds++) {
        size_t got;
        enum st st = io_read(&c->io, buf, READ_BYTES, &got);

        if (st == ST_MORE)
            return;
        if (st != ST_OK) {
            lose(c);
            return;
        }
        c->busy = true;
        st = h2_feed(c->h2, buf, got);
        c->busy = false;
        if (st < ST_OK || st == ST_EOF)
            lose(c);
        else
            push_soon(c);
    }
}

static void on_ready(struct io *io, unsigned what)
{
    struct worker_conn *c = CONTAINER_OF(io, struct worker_conn, io);

    OBJ_CHECK(c, LINK_MAGIC);
    if ((what & IO_DEAD) != 0) {
        lose(c);
        return;
    }
    if ((what & (IO_OPEN | IO_WRITE)) != 0)
        push(c);
    if ((what & IO_READ) != 0 && !c->lost)
        read_all(c);
}

static enum st connect_link(struct worker_link *w)
{
    struct worker_conn *c = calloc(1, sizeof *c);
    enum st st = ST_ENOMEM;

    if (c == NULL)
        return ST_ENOMEM;
    OBJ_INIT(c, LINK_MAGIC);
    c->loop = w->loop;
    c->pace.fire = on_pace;
    c->link = w;
    c->h2 = h2_client_new(w->loop, &h2_limits_tier, &session_ops, c);
    if (c->h2 != NULL)
        st = io_connect_init(&c->io, w->loop, (const struct sockaddr *)&w->addr.sa, w->addr.len,
                             NULL, NULL, NULL, on_ready);
    if (st != ST_OK) {
        h2_free(&c->h2);
        free(c);
        return st;
    }
    w->conn = c;
    io_want(&c->io, IO_READ | IO_WRITE);
    return ST_OK;
}

/* --- the contract --- */

struct worker_link *worker_link_new(struct loop *l, const struct addr_sock *addr, unsigned index)
{
    struct worker_link *w = calloc(1, sizeof *w);

    if (w == NULL)
        return NULL;
    w->loop = l;
    w->addr = *addr;
    w->index = index;
    w->read_buf = malloc(READ_BYTES);
    if (w->read_buf == NULL) {
        free(w);
        return NULL;
    }
    return w;
}

void worker_link_free(struct worker_link **lp)
{
    struct worker_link *w = *lp;

    *lp = NULL;
    if (w == NULL)
        return;
    if (w->conn != NULL) {
        struct worker_conn *c = w->conn;

        lose(c);
        c->link = NULL;
    }
    while (w->first != NULL)
        end(w->first, EXCHANGE_LOST);
    free(w->read_buf);
    free(w);
}

unsigned worker_link_streams(const struct worker_link *w) { return w->streams; }

enum st exchange_start(struct exchange *x, struct worker_link *w, const char *path,
                       const struct h2_nv *nv, size_t n)
{
    struct h2_nv all[4 + HEADERS_MAX] = {
        H2_NV(":method", "POST"),
        H2_NV(":scheme", "http"),
        H2_NV(":authority", "worker"),
        { .name = ":path", .name_len = 5 },
    };
    char target[160];
    int len = snprintf(target, sizeof target, "/_encode/%s", path);
    enum st st = ST_OK;

    CHECK(x->link == NULL && n <= HEADERS_MAX && len > 0 && len < (int)sizeof target);
    all[3].value = target;
    all[3].value_len = (uint32_t)len;
    if (n > 0)
        memcpy(all + 4, nv, n * sizeof *nv);
    struct lane *lane = malloc(sizeof *lane);
    if (lane == NULL)
        return ST_ENOMEM;
    lane->x = x;
    if (w->conn == NULL)
        st = connect_link(w);
    x->status = 0;
    x->whole = false;
    x->broken = ST_OK;
    if (st == ST_OK)
        st = h2_request(w->conn->h2, all, 4 + n, &x->body, lane, &lane->id);
    if (st != ST_OK) {
        free(lane);
        return st == ST_ENOMEM ? st : ST_EIO;
    }
    lane->conn = w->conn;
    x->lane = lane;
    x->round++;
    record_reader_init(&x->reader, RECORD_BYTES_MAX);
    buf_init(&x->stash, STASH_MAX);
    x->paused = false;
    x->link = w;
    x->next = w->first;
    x->prevp = &w->first;
    if (x->next != NULL)
        x->next->prevp = &x->next;
    w->first = x;
    w->streams++;
    push(w->conn);
    return ST_OK;
}

void exchange_more(struct exchange *x)
{
    struct lane *lane = x->link != NULL ? x->lane : NULL;

    if (lane == NULL || lane->conn->lost)
        return;
    h2_resume(lane->conn->h2, lane->id);
    push_soon(lane->conn);
}

void exchange_cancel(struct exchange *x)
{
    struct lane *lane = x->lane;

    if (x->link == NULL)
        return;
    unlink_exchange(x);
    if (lane == NULL || lane->conn->lost)
        return;
    h2_reset(lane->conn->h2, lane->id, H2_CANCEL, H2_RESET_CANCELLED);
    push(lane->conn);
}
