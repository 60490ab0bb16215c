/* edge/purge.h - takes what is cached below a prefix out of the index
 *
 * Purpose   an operator knows that something upstream has changed, or must not be seen any more.
 *           Each loop goes through the objects whose home it is, a few buckets in a turn. Who reads
 *           an object keeps its bytes, also those that are still on their way; who asks next gets
 *           it anew. The window of a stream that is live and made in this process stays: nobody
 *           could make it again.
 * Units     bytes: of bodies.
 * Thread    the loop.
 * Errors    purge_prefix: EPROTO, ELIMIT: no path that a key could begin with.
 * Tests     tests/unit/test_purge.c, tests/e2e/test_purge.py
 */
#ifndef EDGE_PURGE_H
#define EDGE_PURGE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/status.h"
#include "edge/slice.h"

struct loop;

struct purge_sum {
    uint64_t objects, bytes; /* taken out */
    uint64_t kept;           /* of live windows */
};

/* The prefix in the spelling of keys: a path, perhaps with the beginning of a query. */
MUST_USE enum st purge_prefix(struct slice text, char *out, size_t cap);

/* One turn's work from *at on (0 at first), added to *sum; true: that was the last. */
bool purge_turn(struct loop *l, const char *prefix, size_t *at, struct purge_sum *sum);

#endif
