/* edge/fetch_int.h - the shapes shared by fetch.c, fill*.c and sub*.c only
 *
 * Purpose   fetch.c keeps what a loop has (servers, the list of fills) and takes the store's
 *           orders; fill.c is the life of one fill, fill_end.c its ways out; fill_head.c turns a
 *           response head into an object's. sub.c follows streams and answers fills.
 * Thread    the loop's own, all of it.
 * Tests     tests/unit/test_fetch.c and its sisters: _again, _h2, _threads, _tls
 */
#ifndef EDGE_FETCH_INT_H
#define EDGE_FETCH_INT_H

#include "core/conf.h"
#include "core/loop.h"
#include "core/metric.h"
#include "edge/breaker.h"
#include "edge/gobj.h"
#include "edge/routes.h"
#include "edge/store.h"
#include "edge/upstream.h"

struct up_h1;
struct up_h2;

/* A server as this loop knows it. */
struct peer {
    int magic;
    struct peer *next; /* those that the routes in force name */
    bool listed;
    unsigned fills;        /* that are asking it */
    struct routes *routes; /* holds host */
    const struct route_host *host;
    struct up_h1 *h1; /* one of the two */
    struct up_h2 *h2;
    struct up_h2 *subs; /* the connection of subscriptions; NULL: there were none */
    struct breaker breaker;
    struct grave grave;
};

struct fetch {
    struct loop *loop;
    struct store *store;
    struct routes *routes; /* NULL: none yet */
    struct peer *peers;
    struct fill *fills;
    unsigned n_fills;
    struct purse purse;
    struct subs *subs; /* NULL: there were none */
    uint64_t jitter;
};

/*  phase    what is awaited                                  the timer says */
#define FILL_PHASES(X)                                                                  \
    X(SUBSCRIBING, "documents of a subscription")           /* ask for it */            \
    X(ASKING, "a connection, then the head")                /* no answer */             \
    X(BODY, "more of the body")                             /* it stands still */       \
    X(NO_MEMORY, "memory for the body")                     /* try again, or give up */ \
    X(RESTING, "the moment to try again in the background") /* it has come */

enum fill_phase {
#define X(n, text) FILL_##n,
    FILL_PHASES(X)
#undef X
};

enum { FILL_MAGIC = 0x0f111e4a };

/* One object being filled. Of `o` and `stale` one holds the pointer to the fill (store_fill()):
 * `stale` when it is still served while `o`, not yet listed, is to take its place. */
struct fill {
    int magic;
    struct fetch *fetch;
    struct fill *next, **prevp;
    struct grave grave;
    struct gobj *o;     /* what grows; NULL: in the background, before there is a head */
    struct gobj *stale; /* in the background; else NULL */
    struct up_exchange x;
    struct peer *peer; /* NULL: no exchange is under way */
    struct timer timer;
    enum fill_phase phase;
    bool unanswered; /* the peer's breaker waits for our word */
    bool own_unlink; /* not shared: it goes on although it is unlinked */
    bool forget;     /* complete only because the connection ended: not to be kept */
    bool dirty;      /* published and not told */
    bool no_push;    /* the subscription was of no help */
    struct fill *sub_next, **sub_prevp; /* those who wait for the same; prevp NULL: does not */
    unsigned resumes;
    unsigned rank;    /* native: how far down the list of upstreams we are */
    int error_status; /* native: one further up has failed so; 0: none */
    uint64_t asked_us;
    uint64_t dry_since_us; /* NO_MEMORY */
    int64_t total;         /* what a 206 says of the whole; -1: nothing */
};

static inline const struct conf_edge_limits *fetch_limits(const struct fetch *f)
{
    return &f->loop->conf->edge.limits;
}
static inline struct loop *fill_loop(const struct fill *fl) { return fl->fetch->loop; }
/* What it is about. */
static inline struct gobj *fill_subject(const struct fill *fl)
{
    return fl->stale != NULL ? fl->stale : fl->o;
}
static inline bool fill_is_native(const struct fill *fl)
{
    return gobj_kind(fill_subject(fl)) != GOBJ_OUTSIDE;
}
#define FETCH_COUNT(f, metric)                          \
    do {                                                \
        if ((f)->loop->metrics != NULL)                 \
            metric_add(&(f)->loop->metrics->metric, 1); \
    } while (0)

/* fetch.c */
struct peer *peer_get(struct fetch *f, const struct route_host *host); /* NULL: no memory */
void peer_put(struct fetch *f, struct peer **pp);

void fetch_want(struct loop *l, struct gobj *o); /* somebody will want it: the store's want */

/* fill.c */
size_t fill_stream_name_len(const char *key); /* of APP/STREAM, behind the first slash */
void fill_begin(struct fetch *f, struct gobj *o, struct gobj *stale);
/* It has waited for a subscription: ask as if there were none. */
void fill_pull(struct fill *fl);
void fill_expect(struct fill *fl, uint64_t size); /* the upstream says how long it is */
void fill_enter(struct fill *fl, enum fill_phase phase, uint64_t in_us);
void fill_cancel_exchange(struct fill *fl);
void fill_broke(struct fill *fl, enum up_end why); /* the exchange is over, or never was */

/* fill_end.c. Failures are forgotten after this, or asked again; each after another while. */
uint64_t fill_error_ttl_us(struct fetch *f);
/* The fill is over; its object, with the reference, is the caller's. */
struct gobj *fill_finish(struct fill *fl);
void fill_complete(struct fill *fl);
/* There will be no body. is_error: the origin is at fault, and what is stale may do instead. */
void fill_without_body(struct fill *fl, int status, const char *retry_after, uint64_t ttl_us,
                       bool is_error);
void fill_fail_object(struct loop *l, struct gobj *o);
/* In the background nobody waits. What is served stays, but is not asked about again at once. */
void fill_background_failed(struct fill *fl);
void fill_drop_stale(struct fill *fl);
void fill_doc(struct fill *fl, const struct gobj *doc); /* a subscription has brought it */
void fill_unknown(struct fill *fl, uint64_t ttl_us);    /* nobody has the stream */
void fill_end_now(struct fill *fl); /* the object is not wanted, or the loop ends */
/* An answer without a body for an object that has none yet. */
void fill_settle(struct fetch *f, struct gobj *o, int status, const char *retry_after,
                 uint64_t ttl_us);

/* fill_head.c */
enum { HEAD_TEXT_BYTES = 20 << 10 };
struct head_text {
    size_t used;
    char bytes[HEAD_TEXT_BYTES];
};
struct verdict {
    bool shared;
    uint64_t fresh_until_us, born_us;
};
/* What the object is to say and how long: *h borrows from *t. */
struct verdict head_of_reply(const struct fill *fl, const struct http_reply *r, struct gobj_head *h,
                             struct head_text *t);
/* A 304 for `old`. */
struct verdict head_of_validation(const struct fill *fl, const struct http_reply *r,
                                  const struct gobj *old);
/* How long a 404 or 410 of the origin's may be remembered. */
uint64_t head_negative_us(const struct fill *fl, const struct http_reply *r);
/* Does this 206 go on where o has stopped, and to its end? *total: of the whole, or -1. */
bool head_continues(const struct gobj *o, const struct http_reply *r, int64_t *total);
const char *head_text_of(struct head_text *t, struct slice s); /* "" when absent */

#endif
