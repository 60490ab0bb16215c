/* ingest/uplink_int.h - what uplink.c and uplink_list.c share
 *
 * Thread    the uplink's loop's own.
 * Tests     those of ingest/uplink.h.
 */
#ifndef INGEST_UPLINK_INT_H
#define INGEST_UPLINK_INT_H

#include "core/buf.h"
#include "core/exchange.h"
#include "core/loop.h"
#include "core/spool_body.h"
#include "core/ticket.h"
#include "ingest/links.h"
#include "ingest/recall.h"
#include "ingest/uplink.h"

enum { UPLINK_MAGIC = 0x0b51c4a3, UPLINK_GOPS = 64, UPLINK_WORD_MAX = 16 };

struct uplinks {
    struct recall *recall;
};

struct uplink_loop {
    struct uplinks *all;
    struct loop *loop;
    struct links *links; /* NULL: no data centres */
    struct uplink *first;
};

enum uplink_phase { UPLINK_ASKING, UPLINK_UP, UPLINK_WAITING, UPLINK_OVER };

/* What comes in: the time that runs, and the one before it. */
struct uplink_meter {
    uint64_t since_us, bytes; /* since 0: nothing has come */
    uint64_t before_us, before_bytes;
};

struct uplink {
    int magic;
    enum uplink_phase phase;
    struct uplink_loop *f;
    struct uplink *next, **prevp;
    struct grave grave;
    char name[UPLINK_NAME_MAX + 1];
    const struct uplink_ops *ops; /* NULL: the publisher is gone */
    void *ctx;
    bool told;  /* accepted() */
    bool ended; /* he has ended the broadcast */

    struct links *links;
    int order[DCS_MAX];
    unsigned at;    /* in the order */
    int last_home;  /* index of the one that accepted him last; -1: none */
    unsigned tries; /* since it was steady */
    uint64_t claim; /* random */
    struct uplink_key key;
    bool claimed; /* a home has accepted it */
    bool has_ticket;
    struct ticket ticket, fresh; /* fresh: of the answer that is coming in */
    bool fresh_bad;

    struct spool spool;
    struct spool_body body;
    struct exchange x;
    size_t counted;            /* bytes of the spool, as they were counted */
    uint64_t lost;             /* tags, likewise */
    int64_t now_ms;            /* session time of the newest tag */
    int64_t last_us;           /* and when it arrived, wall clock */
    int64_t marked_ms;         /* of the last mark */
    bool any;                  /* a tag has come */
    uint64_t gop[UPLINK_GOPS]; /* numbers of the last key frames: a ring */
    unsigned gops;

    struct buf past, coming;    /* what the home has told players; the same, while it comes in */
    char said[UPLINK_WORD_MAX]; /* the home's last word, or "" */
    char elsewhere[RECALL_URL_MAX]; /* freshet-home, or "" */
    struct timer timer;
    uint64_t heard_us;    /* when the home last said something */
    uint64_t up_us;       /* since when it is UP */
    uint64_t homeless_us; /* since when there is no home; 0: there is one */
    uint64_t retry_us, accept_us, left_us;

    /* for people */
    uint64_t begun_us;
    unsigned times_lost, times_moved; /* UP no more; taken by another home than the last */
    char why[RECALL_URL_MAX + 100];   /* the last attempt that came to nothing: "URL: REASON" */
    struct uplink_meter meter;
};

static inline const struct dc *uplink_dc(const struct uplink *u)
{
    return dcs_get(u->links->dcs, (unsigned)u->order[u->at]);
}

void uplink_meter_add(struct uplink_meter *m, size_t bytes, uint64_t now_us);

#endif
