/* origin/hub_int.h - what hub.c (channels) and hub_sub.c (subscribers) share
 *
 * Thread    said per field: (I) immutable; (L) under the channel's lock; (T) under the hub's; (A)
 *           atomic; (S) the subscriber's loop only.
 * Tests     those of origin/hub.h.
 */
#ifndef ORIGIN_HUB_INT_H
#define ORIGIN_HUB_INT_H

#include <pthread.h>
#include <stdatomic.h>

#include "core/buf.h"
#include "core/h2.h"
#include "core/loop.h"
#include "core/own.h"
#include "edge/stream.h"
#include "origin/hub.h"

/* Where a test may hold a thread to force an interleaving; nothing in the product. */
#ifndef SYNC_POINT
    #define SYNC_POINT(name) ((void)0)
#endif

/* A whole record as it goes over the wire. */
struct hub_record {
    atomic_int refs;
    size_t n;
    uint8_t bytes[];
};

struct hub_rep {
    char name[8];
    uint64_t first, latest;
    bool open;
};

struct hub_named {
    char *name;
    struct hub_record *record; /* its newest version; a reference */
    uint64_t seq;              /* of that */
};

struct hub_channel {
    int magic;
    atomic_int refs;                      /* the home's, the table's, each subscriber's */
    struct hub *hub;                      /* (I) */
    struct hub_channel *chain;            /* (T) */
    char name[STREAM_NAME_MAX + 1];       /* (I) */
    char session[STREAM_SESSION_LEN + 1]; /* (I) */
    char logid[17];                       /* (I) */
    uint64_t segment_us;                  /* (I) */

    pthread_mutex_t lock;
    uint64_t epoch; /* (L) and all below */
    bool live, ended, closed;
    struct hub_rep rep[STREAM_REPS_MAX];
    unsigned n_reps;
    struct hub_named doc[STREAM_DOCS_MAX];
    unsigned n_docs;
    struct hub_record *ring[HUB_RING]; /* record seq is in ring[seq % HUB_RING] */
    uint64_t first, next;              /* seq of the oldest that is kept, of the next to come */
    size_t ring_bytes;
    struct hub_sub *subs;
};

struct hub_sub {
    int magic;
    struct hub_channel *channel;   /* (I) a reference */
    struct loop *loop;             /* (I) */
    struct raw *x;                 /* (S) NULL: gone */
    struct hub_sub *next, **prevp; /* (L) */

    /* (S) */
    struct h2_body body;
    struct piece *piece; /* being sent */
    size_t off;
    uint64_t seq; /* the last record that was taken off the log */
    bool anew;    /* wants a SNAPSHOT */
    bool beat;    /* wants a HEARTBEAT */
    bool say_end; /* wants an END that is no longer, or not only, in the log */
    bool over;
    struct hub_record *doc[STREAM_DOCS_MAX]; /* of the SNAPSHOT, yet to be sent; references */
    unsigned n_docs, docs_sent;
    struct timer timer;
    struct grave grave;

    atomic_int armed; /* (A) exchanges only: 1 = the letter is under way */
    struct mail mail; /* owned by whoever moved armed from 0 to 1 */
};

struct hub {
    struct loop *const *loops;
    unsigned n_loops;
    atomic_size_t subscribers;
    pthread_mutex_t lock;
    struct hub_channel **bucket; /* (T) */
};

/* hub.c */
struct hub_channel *hub_find(struct hub *h, const char *name, size_t len); /* +1; NULL: none */
void hub_channel_unref(struct hub_channel **cp);
struct hub_record *hub_record_ref(struct hub_record *r);
void hub_record_unref(struct hub_record **rp);

#endif
