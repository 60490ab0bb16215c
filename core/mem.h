/* core/mem.h - chunks of memory under one hard cap
 *
 * Purpose   every byte of media that we keep lives in a chunk, and all chunks of the process count
 *           against one limit, so that no peer can make us grow past it. A chunk belongs to the
 *           growing object that made it (edge/gobj.h), which is the reference-counted thing; bytes
 *           below the object's `published` never change again.
 * Units     bytes; a chunk's head counts too.
 * Owner     whoever made the chunk, until chunk_free().
 * Thread    any: the gauge is atomic. The list pointer `next` is written once by the producer.
 * Errors    NULL: over the limit, or the kernel has none.
 * Tests     tests/unit/test_gobj.c
 */
#ifndef CORE_MEM_H
#define CORE_MEM_H

#include <stdatomic.h>
#include <stdint.h>

struct mem_pool {
    _Atomic uint64_t used_bytes;
    _Atomic uint64_t limit_bytes;
    _Atomic uint64_t refused; /* how often the limit said no */
};

struct chunk {
    _Atomic(struct chunk *) next;
    struct mem_pool *pool;
    uint32_t cap; /* bytes in data */
    uint8_t data[];
};

void mem_pool_init(struct mem_pool *p, uint64_t limit_bytes);
void mem_pool_set_limit(struct mem_pool *p, uint64_t limit_bytes);
uint64_t mem_pool_used(const struct mem_pool *p);

struct chunk *chunk_new(struct mem_pool *p, uint32_t cap);
void chunk_free(struct chunk **cp); /* this one, not its successors */

#endif
