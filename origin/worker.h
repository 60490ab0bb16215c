/* origin/worker.h - a loop's connection to an encoder worker, and the exchanges on it
 *
 * Purpose   one HTTP/2 connection per (loop, worker), opened when it is first needed; on it one
 *           exchange per stream: the request body is FLV that the session offers, the response body
 *           is records that go to the session as they come. The session decides what an end means.
 *           A connection that is lost takes its own exchanges along and no other: the link may
 *           have a new one before they have heard of it.
 * Order     exchange_start, then ops->record any number of times, then ops->ended once, from the
 *           loop or exchange_go_on() and never from inside exchange_start or exchange_cancel, and
 *           not before all that had come was taken. After exchange_cancel() no op comes.
 * Owner     the session embeds struct exchange; links belong to the loop's home.
 * Thread    the home loop.
 * Errors    exchange_start: ENOMEM, EIO (cannot connect: the worker is not there at all).
 * Tests     tests/unit/test_worker.c
 */
#ifndef ORIGIN_WORKER_H
#define ORIGIN_WORKER_H

#include <stdbool.h>

#include "core/addr.h"
#include "core/h2.h"
#include "core/record.h"

struct loop;
struct worker_link;
struct exchange;

struct worker_link *worker_link_new(struct loop *l, const struct addr_sock *addr, unsigned index);
void worker_link_free(struct worker_link **lp); /* its exchanges end (EXCHANGE_LOST) */
unsigned worker_link_streams(const struct worker_link *w);

#define EXCHANGE_ENDS(X)                            \
    X(DONE, "all records have come")                \
    X(FULL, "the worker has no room for it")        \
    X(REFUSED, "the worker refused the stream")     \
    X(LOST, "the worker or its connection is gone") \
    X(BROKEN, "the worker broke the protocol")

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
};

struct exchange {
    const struct exchange_ops *ops;
    struct h2_body body; /* the session's: what goes up */
    /* worker.c's */
    struct worker_link *link; /* NULL: not under way */
    struct lane *lane;        /* NULL: ended by the worker, but paused with records to deliver */
    uint64_t round;           /* how many it has been */
    struct exchange *next, **prevp;
    int status;
    bool whole;
    bool paused;
    struct buf stash; /* came while paused; not yet returned to the worker's window */
    enum st broken;
    struct record_reader reader;
};

/* `path` is APP/STREAM; nv are the headers beside the pseudo ones. */
MUST_USE enum st exchange_start(struct exchange *x, struct worker_link *w, const char *path,
                                const struct h2_nv *nv, size_t n);
void exchange_more(struct exchange *x);   /* the body has more, or its end */
void exchange_cancel(struct exchange *x); /* no-op when it is not under way */
/* Records stop coming (the worker's window fills up) until exchange_go_on(). Both from the loop;
 * pausing from inside ops->record holds from the next record on. */
void exchange_pause(struct exchange *x);
void exchange_go_on(struct exchange *x);
static inline bool exchange_is_on(const struct exchange *x) { return x->link != NULL; }

#endif
