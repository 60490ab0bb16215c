#include "core/exchange.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/check.h"
#include "core/clock.h"
#include "core/io.h"
#include "core/loop.h"

enum { LINK_MAGIC = 0x3ec0de71, READ_BYTES = 256 << 10, OUT_HIGH = 256 << 10 };
enum { HEADERS_MAX = 12, STASH_MAX = 16 << 20, WHY_MAX = 128 };
#define CONNECT_US (3 * SEC_US)

/* Tags of many streams go out together: the first at once, what follows it within this time at the
 * end of it. A chunk is many times as long. */
#define PACE_US (12 * MS_US)

/* One connection; a lost one is buried and the link makes another when it is needed. */
struct exchange_conn {
    int magic;
    struct io io;
    struct h2 *h2;
    struct exchange_link *link; /* NULL: lost */
    struct exchange_conn *next, **prevp;
    struct loop *loop;
    struct timer timer; /* until it is open */
    struct grave grave;
    struct timer pace; /* set: there may be something to send */
    uint64_t sent_us;
    bool busy; /* h2_feed() or h2_pump() is on the stack */
    bool open;
    bool lost;
};

struct exchange_link {
    struct loop *loop;
    struct exchange_peer peer;
    unsigned at;                 /* which of the peer's addresses is next */
    struct exchange_conn *conns; /* those that live, */
    struct exchange_conn *conn;  /* and the one that takes exchanges; NULL: none */
    struct exchange *first;
    unsigned streams;
    uint8_t *read_buf;
    char why[WHY_MAX];
};

/* What the HTTP/2 session knows of an exchange: it outlives one that was cancelled. */
struct lane {
    struct exchange *x;         /* NULL: cancelled, or over */
    struct exchange_conn *conn; /* its own: the link may have another one by now */
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

/* --- the owner's side of HTTP/2 --- */

static void push(struct exchange_conn *c);

static void on_header(struct h2 *h2, void *stream, int32_t id, const char *name, size_t name_len,
                      const char *value, size_t value_len)
{
    struct exchange *x = ((struct lane *)stream)->x;

    (void)h2, (void)id;
    if (x == NULL)
        return;
    if (name_len != 7 || memcmp(name, ":status", 7) != 0) {
        if (x->ops->header != NULL)
            x->ops->header(x, name, name_len, value, value_len);
        return;
    }
    for (size_t i = 0; i < value_len; i++)
        x->status = x->status * 10 + (value[i] - '0');
}

static void on_head(struct h2 *h2, void *stream, int32_t id, bool last)
{
    struct exchange *x = ((struct lane *)stream)->x;

    (void)h2, (void)id, (void)last;
    if (x != NULL && x->ops->head != NULL)
        x->ops->head(x);
}

/* Takes what it can; the rest waits while the owner has paused us. After a failure nothing more
 * is read. False: the owner has cancelled the exchange, touch it no more. */
static bool take_records(struct exchange *x, const uint8_t *p, size_t n, size_t *took)
{
    struct rd in = rd_init(p, n);
    struct record_event ev;
    uint64_t round = x->round;
    enum st st = x->broken;

    /* a record may make the owner pause or cancel the exchange, or begin another one in it */
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
    struct exchange_conn *c = lane != NULL && !lane->conn->lost ? lane->conn : NULL;
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
    } else if (lane == NULL && ours && !x->paused) { /* the peer has ended it meanwhile */
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
    struct exchange_conn *c = CONTAINER_OF(g, struct exchange_conn, grave);

    h2_free(&c->h2); /* closes the streams that are left: their exchanges end */
    io_fini(&c->io);
    OBJ_FINI(c, LINK_MAGIC);
    free(c);
}

static void lose(struct exchange_conn *c)
{
    struct exchange_link *w = c->link;

    if (c->lost)
        return;
    c->lost = true;
    *c->prevp = c->next;
    if (c->next != NULL)
        c->next->prevp = c->prevp;
    if (w->conn == c)
        w->conn = NULL;
    if (!c->open)
        w->at = (w->at + 1) % w->peer.n_addrs;
    c->link = NULL;
    timer_cancel(c->loop, &c->timer);
    io_stop(&c->io);
    timer_cancel(c->loop, &c->pace);
    loop_bury(c->loop, &c->grave, free_conn);
}

static void note_why(struct exchange_conn *c, const char *why)
{
    (void)snprintf(c->link->why, sizeof c->link->why, "%s", why);
}

static void too_late(struct loop *l, struct timer *t)
{
    struct exchange_conn *c = CONTAINER_OF(t, struct exchange_conn, timer);

    (void)l;
    note_why(c, "no connection in time");
    lose(c);
}

/* Takes no new exchange; ends with the last that it has. */
static void retire(struct exchange_conn *c)
{
    if (c->link->conn == c)
        c->link->conn = NULL;
    h2_shutdown(c->h2);
}

/* An op may cancel any exchange and start others, so the list is begun anew after each. */
static void tell_leaving(struct exchange_conn *c)
{
    struct exchange *x = c->link->first;

    if (c->link->conn == c)
        retire(c);
    while (x != NULL) {
        if (x->told_leaving || x->lane == NULL || x->lane->conn != c) {
            x = x->next;
            continue;
        }
        x->told_leaving = true;
        if (x->ops->leaving != NULL)
            x->ops->leaving(x);
        if (c->lost)
            return;
        x = c->link->first;
    }
}

static void push(struct exchange_conn *c)
{
    enum st pumped, flushed;

    if (c->busy || c->lost)
        return;
    c->busy = true;
    do {
        pumped = h2_pump(c->h2, OUT_HIGH);
        flushed = io_write_queue(&c->io, h2_outq(c->h2));
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
    struct exchange_conn *c = CONTAINER_OF(t, struct exchange_conn, pace);

    c->sent_us = loop_now(l);
    push(c);
}

static void push_soon(struct exchange_conn *c)
{
    uint64_t now_us = loop_now(c->loop);

    if (c->lost || timer_is_set(&c->pace))
        return;
    if (now_us - c->sent_us >= PACE_US)
        on_pace(c->loop, &c->pace);
    else
        timer_set(c->loop, &c->pace, c->sent_us + PACE_US);
}

static void read_all(struct exchange_conn *c)
{
    uint8_t *buf = c->link->read_buf;

    for (int rounds = 0; rounds < 4 && !c->lost; rounds++) {
        size_t got;
        enum st st = io_read(&c->io, buf, READ_BYTES, &got);

        if (st == ST_MORE)
            return;
        if (st != ST_OK) {
            if (st != ST_EOF)
                note_why(c, io_why(&c->io));
            lose(c);
            return;
        }
        c->busy = true;
        st = h2_feed(c->h2, buf, got);
        c->busy = false;
        if (c->lost) /* an op has freed the link */
            return;
        if (h2_going_away(c->h2))
            tell_leaving(c);
        if (st < ST_OK || st == ST_EOF)
            lose(c);
        else
            push_soon(c);
    }
}

static void on_ready(struct io *io, unsigned what)
{
    struct exchange_conn *c = CONTAINER_OF(io, struct exchange_conn, io);

    OBJ_CHECK(c, LINK_MAGIC);
    if ((what & IO_DEAD) != 0) {
        note_why(c, io_why(&c->io));
        lose(c);
        return;
    }
    if ((what & IO_OPEN) != 0) {
        c->open = true;
        timer_cancel(c->loop, &c->timer);
        c->link->why[0] = '\0';
    }
    if ((what & (IO_OPEN | IO_WRITE)) != 0)
        push(c);
    if ((what & IO_READ) != 0 && !c->lost)
        read_all(c);
}

static enum st connect_link(struct exchange_link *w)
{
    const struct exchange_peer *to = &w->peer;
    const struct addr_sock *at = &to->addr[w->at];
    struct exchange_conn *c = calloc(1, sizeof *c);
    enum st st = ST_ENOMEM;

    if (c == NULL)
        return ST_ENOMEM;
    OBJ_INIT(c, LINK_MAGIC);
    c->loop = w->loop;
    c->pace.fire = on_pace;
    c->link = w;
    c->h2 = h2_client_new(w->loop, &h2_limits_tier, &session_ops, c);
    if (c->h2 != NULL)
        st = io_connect_init(&c->io, w->loop, (const struct sockaddr *)&at->sa, at->len, to->tls,
                             to->name, to->tls != NULL ? "h2" : NULL, on_ready);
    if (st != ST_OK) {
        if (c->h2 != NULL)
            note_why(c, io_why(&c->io));
        w->at = (w->at + 1) % to->n_addrs;
        h2_free(&c->h2);
        free(c);
        return st;
    }
    w->conn = c;
    c->prevp = &w->conns;
    c->next = w->conns;
    if (c->next != NULL)
        c->next->prevp = &c->next;
    w->conns = c;
    c->timer.fire = too_late;
    timer_set(c->loop, &c->timer, loop_now(c->loop) + CONNECT_US);
    io_want(&c->io, IO_READ | IO_WRITE);
    return ST_OK;
}

/* --- the contract --- */

struct exchange_link *exchange_link_new(struct loop *l, const struct exchange_peer *peer)
{
    struct exchange_link *w = calloc(1, sizeof *w);

    CHECK(peer->n_addrs > 0);
    if (w == NULL)
        return NULL;
    w->loop = l;
    w->peer = *peer;
    w->read_buf = malloc(READ_BYTES);
    if (w->read_buf == NULL) {
        free(w);
        return NULL;
    }
    return w;
}

void exchange_link_free(struct exchange_link **lp)
{
    struct exchange_link *w = *lp;

    *lp = NULL;
    if (w == NULL)
        return;
    while (w->conns != NULL)
        lose(w->conns);
    while (w->first != NULL)
        end(w->first, EXCHANGE_LOST);
    free(w->read_buf);
    free(w);
}

unsigned exchange_link_streams(const struct exchange_link *w) { return w->streams; }

const char *exchange_link_why(const struct exchange_link *w) { return w->why; }

enum st exchange_start(struct exchange *x, struct exchange_link *w, const char *path,
                       const struct h2_nv *nv, size_t n)
{
    struct h2_nv all[4 + HEADERS_MAX] = {
        H2_NV(":method", "POST"),
        { .name = ":scheme", .name_len = 7 },
        { .name = ":authority", .name_len = 10 },
        { .name = ":path", .name_len = 5 },
    };
    char target[160];
    int len = snprintf(target, sizeof target, "%s%s", w->peer.prefix, path);
    enum st st = ST_OK;

    CHECK(x->link == NULL && n <= HEADERS_MAX && len > 0 && len < (int)sizeof target);
    all[1].value = w->peer.tls != NULL ? "https" : "http";
    all[1].value_len = (uint32_t)strlen(all[1].value);
    all[2].value = w->peer.authority;
    all[2].value_len = (uint32_t)strlen(w->peer.authority);
    all[3].value = target;
    all[3].value_len = (uint32_t)len;
    if (n > 0)
        memcpy(all + 4, nv, n * sizeof *nv);
    struct lane *lane = malloc(sizeof *lane);
    if (lane == NULL)
        return ST_ENOMEM;
    lane->x = x;
    if (w->conn != NULL && !h2_accepts(w->conn->h2)) {
        struct exchange_conn *full = w->conn;

        retire(full);
        push(full);
    }
    if (w->conn == NULL)
        st = connect_link(w);
    x->status = 0;
    x->whole = false;
    x->told_leaving = false;
    x->broken = ST_OK;
    if (st == ST_OK)
        st = h2_request(w->conn->h2, all, 4 + n, x->body, lane, &lane->id);
    if (st != ST_OK) {
        free(lane);
        return st == ST_ENOMEM ? st : ST_EIO;
    }
    lane->conn = w->conn;
    x->lane = lane;
    x->round++;
    record_reader_init(&x->reader, RECORD_BYTES_MAX);
    x->reader.raw_chunks = true;
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

void exchange_give_up(struct exchange *x)
{
    struct exchange_conn *c = x->lane != NULL ? x->lane->conn : NULL;

    if (c != NULL && !c->lost && c->link->conn == c)
        retire(c);
    exchange_cancel(x);
}
