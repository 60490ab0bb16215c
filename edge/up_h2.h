/* edge/up_h2.h - the HTTP/2 connection to one of our own upstreams, on one loop
 *
 * Purpose   all fills of a loop from an upstream share a connection, opened when first needed. A
 *           stream's window is returned as its bytes go into the object, so one that stands still
 *           starves no other. A connection that the upstream winds up (GOAWAY) serves what it has,
 *           and what it refused is asked again, once, on the next one.
 * Spec      RFC 9113; by ALPN over TLS, with prior knowledge in the clear.
 * Limits    connect_timeout; pending_lookups exchanges may wait for the connection. After a failure
 *           nothing is tried for 0.1 s, doubling to 5 s.
 * Owner     edge/fetch.c, one per (loop, upstream); the route_host outlives it.
 * Thread    the loop's.
 * Errors    up_h2_start: ELIMIT (too many wait, or no connection has room), EIO (no connection
 *           now), ENOMEM; then nothing follows.
 * Tests     tests/unit/test_fetch_h2.c
 */
#ifndef EDGE_UP_H2_H
#define EDGE_UP_H2_H

#include "edge/upstream.h"

struct loop;
struct route_host;
struct up_h2;

struct up_h2 *up_h2_new(struct loop *l, const struct route_host *host); /* NULL: no memory */
void up_h2_free(struct up_h2 **pp); /* no exchange is under way; closes what is left */

MUST_USE enum st up_h2_start(struct up_h2 *p, struct up_exchange *x);
void up_h2_cancel(struct up_exchange *x); /* no-op when it is not under way */
/* Somebody who should have heard has not: a connection on which nothing has come for so long is
 * closed soon, not from inside this call, and what is under way on it is lost. */
void up_h2_doubt(struct up_h2 *p, uint64_t silent_us);

#endif
