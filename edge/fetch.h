/* edge/fetch.h - filling growing objects from upstream: one fill per object
 *
 * Purpose   the store's ops. A miss asks the app's outside origin (HTTP/1.1) or, for a stream, the
 *           upstreams in rank order (HTTP/2); bytes go into the object as they come. Knows when to
 *           revalidate, to resume, to try the next one, to serve what is stale and to give up.
 * Promises  whatever happens, an object that somebody waits for comes to an end: COMPLETE, NEGATIVE
 *           or FAILED. Nothing short becomes COMPLETE. After an exchange was given up no byte of it
 *           reaches an object.
 * Order     fetch_loop_start() after store_loop_start(), fetch_loop_stop() before
 *           store_loop_stop(). Without routes everything is answered 404.
 * Owner     daemon/.
 * Thread    start, set_routes, stop: on the loop, or before its thread runs.
 * Errors    fetch_loop_start: ENOMEM.
 * Tests     tests/unit/test_fetch.c and its sisters: _again, _h2, _threads, _tls
 */
#ifndef EDGE_FETCH_H
#define EDGE_FETCH_H

#include <stdbool.h>

#include "core/status.h"

struct loop;
struct routes;
struct store;
struct store_ops;

extern const struct store_ops fetch_ops; /* for struct store_cfg; its ctx is not used */

MUST_USE enum st fetch_loop_start(struct loop *l, struct store *s);
/* Takes a reference. Exchanges that are under way go on; connections to servers that are gone from
 * the routes, or whose addresses or certificates have changed, serve nothing new. */
void fetch_loop_set_routes(struct loop *l, struct routes *r);
/* Ends all fills (their objects FAILED) and closes all connections. */
void fetch_loop_stop(struct loop *l);

/* A server as this loop has come to know it. */
struct fetch_upstream {
    const char *url;
    unsigned fills;   /* that are asking it */
    unsigned ok, bad; /* results of the last ten seconds */
    bool open;        /* it is left alone for a moment (edge/breaker.h) */
};
void fetch_each_upstream(struct loop *l, void (*each)(void *arg, const struct fetch_upstream *u),
                         void *arg);

unsigned fetch_fills(const struct loop *l); /* under way on this loop */

#endif
