/* edge/front_int.h - what front.c, request*.c, answer.c, http1_conn.c and http2_conn.c share
 *
 * Thread    a loop's own, but for struct front's atomics.
 * Tests     those of edge/front.h.
 */
#ifndef EDGE_FRONT_INT_H
#define EDGE_FRONT_INT_H

#include <stdatomic.h>

#include "core/addr.h"
#include "core/addr_count.h"
#include "core/clock.h"
#include "core/conf.h"
#include "core/h2.h"
#include "core/io.h"
#include "core/listen.h"
#include "core/log.h"
#include "core/loop.h"
#include "core/metric.h"
#include "core/outq.h"
#include "edge/access.h"
#include "edge/front.h"
#include "edge/http1_req.h"
#include "edge/http_date.h"
#include "edge/request.h"
#include "edge/token.h"
#include "edge/viewers.h"

struct front {
    int magic;
    struct store *store;
    struct front_hooks hooks;
    struct addr_count *per_address;      /* connections */
    struct addr_count *held_per_address; /* requests */
    _Atomic uint64_t connections;        /* all but the tier's */
    _Atomic uint64_t tier_connections;
};

enum { FRONT_READ_BYTES = 64 << 10, FRONT_POOL_REQUESTS = 256 };
/* Input of an HTTP/1 connection: the largest head, and the empty lines that may stand before it. */
enum { HTTP1_IN_BYTES = (16 << 10) + 8 };

struct front_loop {
    int magic;
    struct front *front;
    struct loop *loop;
    struct store *store;
    struct tls_set *tls;
    SSL_CTX *tier_tls;
    struct auth_keys *play_keys;
    struct access_log *access;
    uint64_t access_seen; /* requests, for sampling */
    struct viewers *viewers;
    struct token_memo *tokens; /* once there was one */
    struct listener *listeners;
    struct conn *conns;
    uint64_t n_conns;
    uint64_t date_s;              /* of the text below */
    char date[HTTP_DATE_LEN + 1]; /* "Sun, 22 Nov 2026 01:02:03 GMT" */
    struct http1_ex *spare_ex;    /* HTTP/1 exchanges to use again */
    unsigned spare_ex_n;
    struct h2_ex *spare_h2;
    unsigned spare_h2_n;
    struct blob *player;                /* dash.js, once somebody has asked for it */
    uint8_t read_buf[FRONT_READ_BYTES]; /* what a connection has just read; nobody keeps it */
};

static inline struct front_loop *front_loop_of(struct loop *l) { return l->slot[LOOP_FRONT]; }
static inline const struct conf_edge_limits *front_limits(const struct front_loop *f)
{
    return &f->loop->conf->edge.limits;
}
const char *front_date(struct front_loop *f);

/* --- connections --- */

enum conn_proto { CONN_NEW, CONN_HTTP1, CONN_HTTP2 };

/*  what it waits for: each phase has a deadline */
enum conn_phase {
    CONN_HANDSHAKE, /* TLS */
    CONN_HEAD,      /* the first byte, or the rest of a head */
    CONN_IDLE,      /* keep-alive */
    CONN_BUSY,      /* a request is in hand */
    CONN_LINGER,    /* the last answer is out: wait for the peer's FIN, so that it arrives */
    CONN_CLOSED,
};

struct conn {
    int magic;
    enum conn_proto proto;
    enum conn_phase phase;
    enum front_profile profile;
    bool tls, counted_address;
    uint8_t torn; /* bytes of the HTTP/2 preface that came so far, below 4 */
    enum metric_close why;
    struct io io;
    struct front_loop *f;
    struct conn *next, **prevp;
    struct timer timer;
    struct grave grave;
    struct addr peer;
    struct viewer viewer[VIEWER_MARKS];

    /* the slow reader's clock: runs while bytes of ours wait for the peer */
    bool blocked;                     /* they do */
    bool watched;                     /* and the rest of this is set */
    uint64_t taken_bytes;             /* by io, in all */
    uint64_t moved_bytes;             /* of those, what the peer had at the last look */
    uint64_t moved_us;                /* when that last grew */
    uint64_t window_bytes, window_us; /* the same when the window began */

    union {
        struct http1 *h1;
        struct http2 *h2;
    };
};

void conn_close(struct conn *c, enum metric_close why); /* first reason counts; freed later */
void conn_become(struct conn *c, enum conn_phase next);
void conn_linger(struct conn *c, enum metric_close why); /* FIN after what is written, then close */
/* Writes what is queued; false: the connection was closed. Keeps the slow reader's clock. */
bool conn_flush(struct conn *c, struct outq *q);
/* Bytes of ours, in the queue or encrypted already, are not in the kernel yet. */
static inline bool conn_unsent(const struct conn *c, const struct outq *q)
{
    return outq_bytes(q) > 0 || !io_flushed(&c->io);
}
/* What a reader must take; 0: any rate will do. Between our machines a line may be shared by
 * thousands of viewers and slow for all of them: only one that stands still is given up. */
static inline uint64_t conn_slow_rate(const struct conn *c)
{
    return c->profile == FRONT_TIER ? 0 : front_limits(c->f)->slow_rate_bytes_s;
}

/* http1_conn.c: data are the first bytes that came. */
MUST_USE enum st http1_start(struct conn *c);
void http1_on_io(struct conn *c, unsigned what);
void http1_input(struct conn *c, const uint8_t *p, size_t n); /* also the first bytes */
void http1_fini(struct conn *c);
void http1_free(struct conn *c);
void http1_loop_fini(struct front_loop *f);

/* http2_conn.c */
MUST_USE enum st http2_start(struct conn *c);
void http2_on_io(struct conn *c, unsigned what);
void http2_input(struct conn *c, const uint8_t *p, size_t n);
void http2_fini(struct conn *c);
void http2_free(struct conn *c);
void http2_goodbye(struct conn *c); /* idle for too long: GOAWAY, then close */
void http2_check_streams(struct conn *c, uint64_t now_us); /* slow readers, each by itself */
void http2_loop_fini(struct front_loop *f);

/* answer.c */
enum { ANSWER_H1_MAX = 8192 };
/* The HTTP/1 head as text; its length, 0 when it does not fit. */
size_t answer_h1(struct front_loop *f, const struct request *r, bool chunked, bool keep_alive,
                 char *buf, size_t cap);
/* The HTTP/2 head; numbers are written into `scratch`. How many fields. */
enum { ANSWER_SCRATCH = 64 };
size_t answer_h2(struct front_loop *f, const struct request *r, struct h2_nv *nv,
                 char scratch[ANSWER_SCRATCH]);

void front_count_answer(struct conn *c, struct request *r, enum metric_proto proto);

#endif
