/* edge/sub.h - subscriptions: which streams are followed, and where
 *
 * Purpose   a stream that somebody here wants is followed at the upstream that has it: one long GET
 *           (edge/follow.h reads it), on a connection apart from the fills. Its documents answer
 *           those who asked before it began; its announcements start the fills of renditions that
 *           are watched here. While there is none, and for whatever it does not know, fills ask as
 *           they would without: push is never a condition.
 * Rules     upstreams in rank order: 404 means the next one, 421 the one it names. One where nobody
 *           publishes is followed only when no other has a publisher, and the others are asked again
 *           every 5 s. Three missed heartbeats, or any end: the stream is lost (edge/stream.h), and
 *           all are asked again after 0.1 s, doubling to 5 s, with the place that was reached. Nobody
 *           has watched for edge.limits.linger: it ends and the stream is forgotten.
 * Owner     the loop's struct fetch.
 * Thread    the stream's home loop.
 * Limits    edge.limits.subscriptions, shared evenly by the loops; and of those that nobody has told
 *           of anything yet, edge.limits.pending_lookups a loop. Who is over it is not followed.
 * Tests     tests/unit/test_sub.c, tests/e2e/test_tiers.py
 */
#ifndef EDGE_SUB_H
#define EDGE_SUB_H

#include <stddef.h>

struct fetch;
struct fill;
struct gobj;
struct subs;

/* How a document that is not here comes. */
enum sub_answer {
    SUB_PULL, /* ask for it */
    SUB_WAIT, /* it is on the way: fill_doc(), fill_pull() or fill_unknown() follows */
    SUB_DOC,  /* *doc (+1) is it */
};
enum sub_answer sub_want(struct fetch *f, struct fill *fl, struct gobj **doc);
void sub_leave(struct fill *fl); /* it waits no longer; no-op when it did not */
/* Somebody asks for something of this stream. name: APP/STREAM */
void sub_start(struct fetch *f, const char *name, size_t len);
/* The url of the upstream that has the stream; NULL: not known. */
const char *sub_followed_at(struct fetch *f, const char *name, size_t len);
void sub_end_all(struct fetch *f);

#endif
