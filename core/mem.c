#include "core/mem.h"

#include <stdlib.h>

#include "core/check.h"

void mem_pool_init(struct mem_pool *p, uint64_t limit_bytes)
{
    atomic_init(&p->used_bytes, 0);
    atomic_init(&p->limit_bytes, limit_bytes);
    atomic_init(&p->refused, 0);
}

void mem_pool_set_limit(struct mem_pool *p, uint64_t limit_bytes)
{
    atomic_store_explicit(&p->limit_bytes, limit_bytes, memory_order_relaxed);
}

uint64_t mem_pool_used(const struct mem_pool *p)
{
    return atomic_load_explicit(&p->used_bytes, memory_order_relaxed);
}

static uint64_t gross(uint32_t cap) { return sizeof(struct chunk) + cap; }

struct chunk *chunk_new(struct mem_pool *p, uint32_t cap)
{
    uint64_t n = gross(cap);
    uint64_t was = atomic_fetch_add_explicit(&p->used_bytes, n, memory_order_relaxed);
    struct chunk *c = NULL;

    if (was + n <= atomic_load_explicit(&p->limit_bytes, memory_order_relaxed))
        c = malloc(n);
    if (c == NULL) {
        (void)atomic_fetch_sub_explicit(&p->used_bytes, n, memory_order_relaxed);
        (void)atomic_fetch_add_explicit(&p->refused, 1, memory_order_relaxed);
        return NULL;
    }
    atomic_init(&c->next, NULL);
    c->pool = p;
    c->cap = cap;
    return c;
}

void chunk_free(struct chunk **cp)
{
    struct chunk *c = *cp;

    *cp = NULL;
    if (c == NULL)
        return;
    uint64_t was =
        atomic_fetch_sub_explicit(&c->pool->used_bytes, gross(c->cap), memory_order_relaxed);
    CHECK(was >= gross(c->cap));
    free(c);
}
