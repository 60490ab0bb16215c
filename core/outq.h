/* core/outq.h - bytes waiting for a socket
 *
 * Purpose   an ordered queue of slices: small pieces are copied and packed into blocks (so a
 *           9-byte frame head costs no allocation), bodies are borrowed with a reference
 *           (core/own.h) that is held until the kernel has taken their last byte. What joins on to
 *           the slice before it, in memory and in owner, becomes one slice with it.
 *           An empty queue owns no memory: blocks come from and return to the loop's pool.
 * Units     bytes. copied_bytes counts what outq_copy() put in and nobody has consumed: frame
 *           heads and control frames, the part that a peer who does not read can make grow.
 * Owner     the connection; outq_clear() before it goes. The pool: the loop (loop->outq_pool);
 *           it outlives its queues. Zeroed memory is a valid pool.
 * Thread    one loop.
 * Errors    ENOMEM: what did fit is queued, so the byte stream is broken; close the connection.
 * Tests     tests/unit/test_outq.c
 */
#ifndef CORE_OUTQ_H
#define CORE_OUTQ_H

#include <stddef.h>

#include "core/own.h"
#include "core/status.h"

struct iovec;
struct outq_block;

enum {
    OUTQ_BLOCK_BYTES = 2048, /* of which about half for copied pieces, half for slices */
    OUTQ_POOL_BLOCKS = 256,  /* spare blocks that a pool keeps at most */
};

struct outq_pool {
    struct outq_block *spare;
    unsigned spares;
    unsigned in_use; /* gauge */
};

struct outq {
    struct outq_block *first, *last;
    struct outq_pool *pool;
    size_t bytes;
    size_t copied_bytes;
};

void outq_init(struct outq *q, struct outq_pool *pool);

MUST_USE enum st outq_copy(struct outq *q, const void *p, size_t n);
/* Takes a reference of its own; NULL: the bytes outlive the queue (static). */
MUST_USE enum st outq_borrow(struct outq *q, const void *p, size_t n, struct own *own);

/* The head of the queue, for writev(); the number of entries filled (0: empty). */
int outq_iov(const struct outq *q, struct iovec *v, int max);
/* The first n bytes are gone; n is at most outq_bytes(). */
void outq_consume(struct outq *q, size_t n);
void outq_clear(struct outq *q); /* drops everything and every reference */

static inline size_t outq_bytes(const struct outq *q) { return q->bytes; }
static inline size_t outq_copied_bytes(const struct outq *q) { return q->copied_bytes; }

/* Frees the spare blocks; no queue may hold a block any more. */
void outq_pool_fini(struct outq_pool *pool);

#endif
