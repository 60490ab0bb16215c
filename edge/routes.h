/* edge/routes.h - where an edge fetches from
 *
 * Purpose   from a configuration: which app has an outside origin, and which upstreams have our
 *           streams, with their addresses. Names are looked up here, once, by the main thread; a
 *           loop never waits for DNS. Immutable, so that all loops may read the same one.
 * Owner     atomic references; the last routes_unref(), on any thread, frees. A route_host belongs
 *           to its routes.
 * Thread    routes_build(): main (it may wait for DNS). The rest: any.
 * Errors    routes_build: ECONF, ENOENT (a name does not resolve), ENOMEM; with text.
 * Tests     tests/unit/test_routes.c
 */
#ifndef EDGE_ROUTES_H
#define EDGE_ROUTES_H

#include <openssl/types.h>
#include <stdbool.h>
#include <stddef.h>

#include "core/addr.h"
#include "core/rdv.h"
#include "core/status.h"

struct conf;
struct routes;

enum { ROUTE_ADDRS_MAX = 8, ROUTE_UPSTREAMS_MAX = 64 };

/* One server that we may ask. Its url names it: two with the same url are the same server. */
struct route_host {
    const char *url;       /* canonical, as in conf_url.text */
    const char *authority; /* for Host and :authority */
    const char *name;      /* whom its certificate must name */
    SSL_CTX *tls;          /* NULL: in the clear */
    bool h2;               /* one of our own: HTTP/2; else HTTP/1.1 */
    unsigned n_addrs;      /* at least 1, to be tried in this order */
    struct addr_sock addr[ROUTE_ADDRS_MAX];
};

/* outside: a client context for foreign https origins. tier: for our own https upstreams; NULL
 * where the configuration names none. Both are referenced, not taken. */
MUST_USE enum st routes_build(const struct conf *c, SSL_CTX *outside, SSL_CTX *tier,
                              struct routes **out, struct err *e);
struct routes *routes_ref(struct routes *r);
void routes_unref(struct routes **rp); /* NULL is a no-op; sets *rp to NULL */

/* The outside origin of an app; NULL: it has none. */
const struct route_host *routes_origin(const struct routes *r, const char *app, size_t len);
/* The server with this url; NULL: none. */
const struct route_host *routes_host(const struct routes *r, const char *url);
/* The upstreams in the order in which to ask for a stream (name: APP/STREAM); how many. */
unsigned routes_rank(const struct routes *r, const char *name, size_t len,
                     const struct route_host *out[ROUTE_UPSTREAMS_MAX]);

#endif
