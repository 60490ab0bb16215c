/* ingest/uplink.h - a publisher at a POP: his tags to the home of the stream, wherever that is
 *
 * Purpose   the same part for a publisher as the home's door plays in a data centre. Tags get
 *           numbers and stay in a spool until the home says that nobody needs them any more; an
 *           exchange (`POST /_ingest`, core/exchange.h) carries them to the first data centre that
 *           takes them. When the link or the data centre dies, is full or winds up, the next
 *           attempt goes on with the ticket and what was not acknowledged, first to the same (a
 *           link may just blink), then down the stream's rank order. The publisher notices nothing.
 *           What is kept for the next home begins with a key frame, so that it can use all of it.
 * Claim     each publisher has a random one; it tells a home that an exchange is the same publisher
 *           again, and not somebody who takes the stream over.
 * Tickets   what a stream's last publisher got to know here stays for `reconnect_window`, so the
 *           next one goes to the same home, or to another one with the ticket.
 * Limits    ingest.spool, ingest.limits.spool: what is over them is dropped, oldest first, and
 *           counted. No home for reconnect_window: closed (NO_HOME). Attempts: at once for each
 *           data centre, then after 0.1 s, doubling to 5 s. A home that says nothing for 4 s is
 *           given up. RECALL_MAX remembered streams; beyond that nothing is remembered.
 * Owner     daemon/: uplinks_new() once, uplinks_loop_start() per loop. An uplink outlives its
 *           uplink_leave() by what it takes to send the rest, a few seconds at most.
 * Thread    uplinks_new/_free: main. The rest: the loop's own.
 * Errors    uplink_open, uplink_tag: ENOMEM. Everything else is told through ops->closed().
 * Tests     tests/unit/test_uplink.c, tests/unit/test_uplink_list.c, tests/e2e/test_relay.py
 */
#ifndef INGEST_UPLINK_H
#define INGEST_UPLINK_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/flv.h"
#include "core/status.h"

struct dcs;
struct loop;
struct uplink;
struct uplinks;

enum { UPLINK_NAME_MAX = 64 + 1 + 64 };

struct uplinks *uplinks_new(void);
void uplinks_free(struct uplinks **up);
MUST_USE enum st uplinks_loop_start(struct uplinks *u, struct loop *l);
void uplinks_loop_stop(struct loop *l); /* ends every uplink here, without ceremony */
/* For what begins or begins anew from now on; takes the reference. NULL: this is no POP. */
void uplinks_set_dcs(struct loop *l, struct dcs *d);
bool uplinks_ready(const struct loop *l); /* there are data centres to relay to */
/* Adds an object for each publisher of this loop; for people, so the names are the contract:
 * daemon/streams.h has them. "relayed" is the stream's name. */
void uplinks_loop_list(struct loop *l, json_t *list);

/* Why an uplink lets its publisher go, and the word for it of a home that has said so. */
#define UPLINK_WHYS(X)                                                   \
    X(TAKEN, "taken", "a newer publisher has taken the stream over")     \
    X(FENCED, "fenced", "somebody newer has claimed the stream")         \
    X(REFUSED, "refused", "the encoder refuses the stream")              \
    X(EXPIRED, "expired", "the key has expired")                         \
    X(BUSY, "busy", "somebody else publishes this stream")               \
    X(KICKED, "kicked", "the operator has closed this publication")      \
    X(BANNED, "banned", "the operator refuses this stream for now")      \
    X(QUARANTINED, "quarantined",                                        \
      "encoders have crashed on this stream: it is refused for a while") \
    X(NO_HOME, "", "no data centre takes the stream")                    \
    X(STOPPING, "", "the server stops")

enum uplink_why {
#define X(n, word, text) UPLINK_##n,
    UPLINK_WHYS(X)
#undef X
};
const char *uplink_why_text(enum uplink_why why);

struct uplink_ops {
    /* A home has accepted it, or none has said anything for two seconds: publishing may start. */
    void (*accepted)(void *ctx);
    void (*closed)(void *ctx,
                   enum uplink_why why); /* the publisher is to go; then uplink_leave() */
};

enum { UPLINK_KEY_BYTES = 16 };

/* What he signed in with, as his home has to know it. */
struct uplink_key {
    bool there;
    uint8_t digest[UPLINK_KEY_BYTES];
    bool
        expired; /* good for nothing but the session that was begun with the same: the home knows */
};

/* name is APP/STREAM and valid. ops come from the loop until uplink_leave(). */
MUST_USE enum st uplink_open(struct loop *l, const char *name, const struct uplink_key *key,
                             const struct uplink_ops *ops, void *ctx, struct uplink **out);
/* One audio or video tag, times normalised. Sent with the burst. */
MUST_USE enum st uplink_tag(struct uplink *u, const struct flv_tag *tag, bool discontinuity,
                            int64_t arrival_us);
void uplink_flush(struct uplink *u); /* the end of a burst */
/* ended: the broadcast is over (FCUnpublish, deleteStream); else the publisher may come back. */
void uplink_leave(struct uplink **up, bool ended);

#endif
