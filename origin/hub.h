/* origin/hub.h - what the edges that follow a stream are told
 *
 * Purpose   GET /_sub/APP/STREAM: the answer's body is records (design.md section 9) for as long
 *           as the stream is known here. Per stream there is a channel: what is the case (window of
 *           each rendition, newest documents) and a ring of the last records, immutable and counted.
 *           The home loop writes; a subscriber, on whatever loop, reads from a place of its own.
 * Slow ones nothing is queued for anybody: who has fallen off the ring is given a SNAPSHOT of what
 *           is the case by now, as is who comes anew or with a `since` that is not in the ring.
 * Records   SNAPSHOT {logid, session, epoch, live, segment (us), now, reps: {rep: {first, latest,
 *           open}}, docs: n}, n DOCs, and END when the broadcast is over · DOC {name, type, etag,
 *           max_age, at} + body, or DOC {name, replaced: true} where a newer version of it comes
 *           later in the log · ANNOUNCE {session, rep, n, at} · CLOSE {session, rep, n, size} ·
 *           EXPIRE {rep, first} · END · HEARTBEAT {now, live, epoch} every second, and first of all
 *           when a `since` was good. now, at: the home's wall clock, us. Init segments are DOCs, so
 *           that an edge has them before anybody asks. seq: of the log; what is made for one
 *           subscriber (SNAPSHOT, HEARTBEAT) carries his place in it.
 * Owner     daemon/ has the hub, a session its channel; subscribers belong to their connections.
 * Thread    hub_open and the verbs: the stream's home loop. hub_serve: any loop.
 * Limits    HUB_RING records and HUB_RING_BYTES a channel; origin.limits.subscriptions in all.
 * Errors    hub_open: ENOMEM. The verbs cannot fail: without memory for a record all subscribers
 *           get a SNAPSHOT instead.
 * Tests     tests/unit/test_hub.c, tests/e2e/test_tiers.py
 */
#ifndef ORIGIN_HUB_H
#define ORIGIN_HUB_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/status.h"

struct http_head;
struct hub;
struct hub_channel;
struct loop;
struct raw;
struct target;

/* For an edge that was cut off for some seconds: after more of them everything is told again, which is
 * two documents and a list. */
enum { HUB_RING = 64, HUB_RING_BYTES = 512 << 10 };

struct hub *hub_new(struct loop *const *loops, unsigned n_loops); /* NULL: no memory */
void hub_free(struct hub **hp);                                   /* nobody is left */
size_t hub_subscribers(const struct hub *h);

/* name: APP/STREAM; one that has the name already gives way. */
MUST_USE enum st hub_open(struct hub *h, const char *name, const char *session, uint64_t segment_us,
                          struct hub_channel **out);
/* The stream is forgotten: subscriptions end. NULL is a no-op. */
void hub_close(struct hub_channel **cp);

/* A publisher has claimed the stream, or left it. */
void hub_claim(struct hub_channel *c, uint64_t epoch, bool live);
void hub_announce(struct hub_channel *c, const char *rep, uint64_t n);
void hub_closed(struct hub_channel *c, const char *rep, uint64_t n, uint64_t size);
void hub_expire(struct hub_channel *c, const char *rep, uint64_t first);
/* name: relative to /APP/STREAM/; etag without quotes. */
struct hub_doc {
    const char *name, *type, *etag;
    unsigned max_age_s;
    const void *p;
    size_t n;
};
void hub_doc(struct hub_channel *c, const struct hub_doc *d);
void hub_end(struct hub_channel *c);

/* Takes or answers x: a request under /_sub/. */
void hub_serve(struct hub *h, struct loop *l, struct raw *x, const struct http_head *head,
               const struct target *target, bool last);

#endif
