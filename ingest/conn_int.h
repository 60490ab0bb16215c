/* ingest/conn_int.h - what conn.c and door.c share
 *
 * Thread    a loop's own, but for struct ingest's atomic.
 * Tests     those of ingest/conn.h.
 */
#ifndef INGEST_CONN_INT_H
#define INGEST_CONN_INT_H

#include <stdatomic.h>

#include "core/addr_count.h"
#include "core/clock.h"
#include "core/conf.h"
#include "core/io.h"
#include "core/listen.h"
#include "core/loop.h"
#include "ingest/conn.h"

enum { INGEST_READ_BYTES = 64 << 10 };

/* Publishers are not waited for one by one: a message is small, and there are many. All of a loop
 * are read this often; a chunk is several times as long. */
#define INGEST_SWEEP_US (50 * MS_US)
/* But for the first seconds: from when its first pictures come it follows where a Period is. */
#define INGEST_FRESH_US (3 * SEC_US)

struct ingest {
    int magic;
    struct ingest_sink sink;
    struct addr_count *per_address;
    _Atomic uint64_t unpublished; /* connections that do not publish */
};

struct ingest_loop {
    int magic;
    struct ingest *ingest;
    struct loop *loop;
    struct tls_set *tls;
    struct auth_keys *keys;
    struct listener *listeners;
    struct ingest_conn *conns;
    uint64_t serial;
    struct timer sweep;                  /* set while somebody publishes */
    uint8_t read_buf[INGEST_READ_BYTES]; /* what a connection has just read; nobody keeps it */
};

/*  phase, may be followed by */
#define PHASES(X)                                                                 \
    X(HANDSHAKE, 1u << PHASE_COMMANDS | 1u << PHASE_LINGER | 1u << PHASE_CLOSED)  \
    X(COMMANDS, 1u << PHASE_PUBLISHING | 1u << PHASE_LINGER | 1u << PHASE_CLOSED) \
    X(PUBLISHING, 1u << PHASE_COMMANDS | 1u << PHASE_LINGER | 1u << PHASE_CLOSED) \
    X(LINGER, 1u << PHASE_CLOSED)                                                 \
    X(CLOSED, 0)

enum phase {
#define X(n, next) PHASE_##n,
    PHASES(X)
#undef X
};

struct ingest_conn {
    int magic;
    enum phase phase;
    bool tls, counted_address, counted_unpublished;
    bool asked;     /* the sink has not answered */
    bool feeding;   /* feed() is on the stack */
    bool caught_up; /* the last read was all there was */
    bool swept;     /* publishes, and had nothing more to read: the sweep looks again */
    bool ended;     /* the broadcaster said that it is over */
    bool fin;       /* ours is sent */
    bool heard;     /* a request got as far as names */
    enum metric_ingest_close why;
    struct io io;
    struct outq out;
    struct rtmp_session *session;
    struct ingest_loop *f;
    const struct conf *conf; /* that it began with */
    struct ingest_conn *next, **prevp;
    struct timer timer;
    struct grave grave;
    struct addr peer;
    uint64_t serial;
    uint64_t since_us; /* of publishing */
    uint8_t *rest;     /* read, and not taken while the sink thinks */
    size_t rest_n;
    size_t memory;          /* as it was counted */
    struct rtmp_stats seen; /* as they were counted */
    void *user;
    char app[AUTH_NAME_MAX + 1], stream[AUTH_NAME_MAX + 1];
};

static inline struct metrics *ingest_metrics(struct ingest_conn *c) { return c->f->loop->metrics; }

/* conn.c. NULL: out of memory; fd is then the caller's. */
struct ingest_conn *ingest_conn_new(struct ingest_loop *f, const struct addr *peer);
void ingest_conn_drop(struct ingest_conn **cp); /* one that has not begun */
MUST_USE enum st ingest_conn_open(struct ingest_conn *c, int fd, SSL_CTX *ctx);
void ingest_conn_begin(struct ingest_conn *c);
void ingest_sweep(struct loop *l, struct timer *t);
void ingest_conn_close(struct ingest_conn *c, enum metric_ingest_close why);

#endif
