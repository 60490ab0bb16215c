/* edge/upstream.h - one request to an upstream and its answer, whichever HTTP carries it
 *
 * Purpose   what edge/fetch.c asks for and edge/up_h1.c and edge/up_h2.c carry. Body bytes go
 *           straight into memory that the asker names, so nothing lies in between that could grow.
 * Calls     sink functions come from the loop, never from inside the call that started, cancelled
 *           or dropped the exchange (resume may call them). In order: sent, head, any number of
 *           (reserve, commit), end; burst at the end of each read. After `end`, and after a cancel
 *           or drop, nothing more comes: bytes that arrive later cannot reach the asker.
 *           Any of them may cancel or drop the exchange, or start another one.
 * Memory    when reserve says ENOMEM the carrier stops reading until up_resume(), or (HTTP/2, whose
 *           bytes cannot be left where they are) ends the exchange with UP_END_MEMORY. Any other
 *           failure ends it with UP_END_SIZE.
 * Owner     the asker embeds the struct and keeps it, and what it points to, until the end.
 * Thread    one loop.
 * Tests     tests/unit/test_fetch.c and its sisters: _again, _h2, _threads, _tls
 */
#ifndef EDGE_UPSTREAM_H
#define EDGE_UPSTREAM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/status.h"
#include "edge/http_reply.h"

/* How an exchange ended.
 *  name      fill error  the host's fault  meaning */
#define UP_ENDS(X)                                                              \
    X(WHOLE, SHORT, false, "all of it came")                                    \
    X(CLOSED, SHORT, false, "a body without a length ended with a clean close") \
    X(CONNECT, CONNECT, true, "no connection")                                  \
    X(TIMEOUT, TIMEOUT, true, "no answer, or a body that stands still")         \
    X(SHORT, SHORT, true, "the connection ended before the body did")           \
    X(RESET, RESET, true, "the connection was reset")                           \
    X(PROTOCOL, PROTOCOL, true, "an answer that HTTP does not allow")           \
    X(MEMORY, MEMORY, false, "no memory for the body")                          \
    X(SIZE, SIZE, false, "larger than an object may be")

enum up_end {
#define X(n, metric, fault, text) UP_END_##n,
    UP_ENDS(X)
#undef X
};

struct up_exchange;

struct up_sink {
    void (*sent)(struct up_exchange *x); /* from here on the upstream is to answer */
    void (*head)(struct up_exchange *x, const struct http_reply *reply);
    enum st (*reserve)(struct up_exchange *x, void **p, size_t *cap);
    void (*commit)(struct up_exchange *x, size_t n);
    void (*burst)(struct up_exchange *x);
    void (*end)(struct up_exchange *x, enum up_end why);
};

struct up_exchange {
    const struct up_sink *sink;
    const char *path;          /* and query: visible ASCII */
    const char *none_match;    /* If-None-Match; NULL: absent, as below */
    const char *changed_since; /* If-Modified-Since */
    const char *if_range;      /* with range_from */
    uint64_t range_from;       /* only with if_range */

    /* the rest is the carrier's */
    void *on; /* connection or stream; NULL: waits in the queue, or is over */
    struct up_exchange *next, **prevp;
    bool retried;
};

#endif
