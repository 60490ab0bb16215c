/* core/exchange.h - a loop's connection to another process of ours, and the exchanges on it
 *
 * Purpose   one HTTP/2 connection per (loop, peer), opened when it is first needed; on it one
 *           exchange per stream: the request body is FLV that the owner offers, the response body
 *           is records that go to the owner as they come. A worker behind a unix socket and a home
 *           in another data centre are reached alike. The owner decides what an end means.
 *           A connection that is lost takes its own exchanges along and no other: the link may
 *           have a new one before they have heard of it. One that the peer winds up (GOAWAY), that
 *           is full or that an owner gave up keeps what it has; the next exchange gets a new one.
 * Order     exchange_start, then ops->header and ->head, ops->record any number of times, then
 *           ops->ended once, from the loop or exchange_go_on() and never from inside
 *           exchange_start or exchange_cancel, and not before all that had come was taken.
 *           After exchange_cancel() no op comes.
 * Limits    a connection that does not come about in 3 s has failed; the next one goes to the
 *           peer's next address.
 * Owner     the session or uplink embeds struct exchange; who made a link frees it.
 * Thread    the loop's own.
 * Errors    exchange_start: ENOMEM, EIO (cannot connect: the peer is not there at all).
 * Tests     tests/unit/test_exchange.c
 */
#ifndef CORE_EXCHANGE_H
#define CORE_EXCHANGE_H

#include <openssl/types.h>
#include <stdbool.h>

#include "core/addr.h"
#include "core/h2.h"
#include "core/record.h"

struct loop;
struct exchange_link;
struct exchange;

/* Where, and what to say there. All that it points to outlives the link. */
struct exchange_peer {
    const struct addr_sock *addr; /* n of them, to be tried in this order */
    unsigned n_addrs;
    SSL_CTX *tls;          /* NULL: in the clear */
    const char *name;      /* whom its certificate must name */
    const char *authority; /* for :authority */
    const char *prefix;    /* of every path: "/_encode/" */
};

struct exchange_link *exchange_link_new(struct loop *l, const struct exchange_peer *peer);
void exchange_link_free(struct exchange_link **lp); /* its exchanges end (EXCHANGE_LOST) */
unsigned exchange_link_streams(const struct exchange_link *w);
/* Why its last connection failed, for logs; "" when it did not. */
const char *exchange_link_why(const struct exchange_link *w);

#define EXCHANGE_ENDS(X)                                \
    X(DONE, "all records have come")                    \
    X(FULL, "the other side has no room for it")        \
    X(REFUSED, "the other side refused the stream")     \
    X(LOST, "the other side or the connection is gone") \
    X(BROKEN, "the other side broke the protocol")

enum exchange_end {
#define X(n, text) EXCHANGE_##n,
    EXCHANGE_ENDS(X)
#undef X
};
const char *exchange_end_text(enum exchange_end e);

struct lane;
struct exchange_ops {
    void (*record)(struct exchange *x, const struct record_event *ev);
    void (*ended)(struct exchange *x, enum exchange_end why);
    /* The rest may be NULL. A field of the answer's head, its end (x->status), and once: the peer
     * takes no more on this connection, so whoever can go elsewhere should. */
    void (*header)(struct exchange *x, const char *name, size_t name_len, const char *value,
                   size_t value_len);
    void (*head)(struct exchange *x);
    void (*leaving)(struct exchange *x);
};

struct exchange {
    const struct exchange_ops *ops;
    struct h2_body *body; /* the owner's: what goes up */
    int status;           /* of the answer; 0: none yet. Good in ops->ended too */
    /* exchange.c's */
    struct exchange_link *link; /* NULL: not under way */
    struct lane *lane;          /* NULL: ended by the peer, but paused with records to deliver */
    uint64_t round;             /* how many it has been */
    struct exchange *next, **prevp;
    bool told_leaving;
    bool whole;
    bool paused;
    struct buf stash; /* came while paused; not yet returned to the peer's window */
    enum st broken;
    struct record_reader reader;
};

/* `path` is APP/STREAM; nv are the headers beside the pseudo ones. */
MUST_USE enum st exchange_start(struct exchange *x, struct exchange_link *w, const char *path,
                                const struct h2_nv *nv, size_t n);
void exchange_more(struct exchange *x);    /* the body has more, or its end */
void exchange_cancel(struct exchange *x);  /* no-op when it is not under way */
void exchange_give_up(struct exchange *x); /* the same; and nothing new goes on its connection */
/* Records stop coming (the peer's window fills up) until exchange_go_on(). Both from the loop;
 * pausing from inside ops->record holds from the next record on. */
void exchange_pause(struct exchange *x);
void exchange_go_on(struct exchange *x);
static inline bool exchange_is_on(const struct exchange *x) { return x->link != NULL; }

#endif
