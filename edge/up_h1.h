/* edge/up_h1.h - HTTP/1.1 connections to one outside origin, on one loop
 *
 * Purpose   a pool: the connection used last is used first, so that the others may go. A GET that a
 *           kept connection drops before the first byte of its answer is sent again, once, on a new
 *           one: the origin was just closing it.
 * Spec      RFC 9112 section 9.
 * Limits    edge.limits.upstream_connections; as many exchanges as edge.limits.pending_lookups may
 *           wait for one of them; connect_timeout for a connection with its TLS handshake.
 *           Deadlines of the answer are the asker's.
 * Owner     edge/fetch.c, one per (loop, origin); the route_host outlives it.
 * Thread    the loop's.
 * Errors    up_h1_start: ELIMIT (too many wait), EIO (no connection), ENOMEM; then nothing follows.
 * Tests     tests/unit/test_fetch.c
 */
#ifndef EDGE_UP_H1_H
#define EDGE_UP_H1_H

#include "edge/upstream.h"

struct loop;
struct route_host;
struct up_h1;

struct up_h1 *up_h1_new(struct loop *l, const struct route_host *host); /* NULL: no memory */
void up_h1_free(struct up_h1 **pp); /* no exchange is under way; closes what is left */

MUST_USE enum st up_h1_start(struct up_h1 *p, struct up_exchange *x);
void up_h1_cancel(struct up_exchange *x); /* no-op when it is not under way; so below */
/* The rest of the answer is not wanted, but the connection is, if the rest is short. */
void up_h1_drop(struct up_exchange *x);
void up_h1_resume(struct up_exchange *x); /* there may be memory again */

#endif
