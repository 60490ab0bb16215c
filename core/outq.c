#include "core/outq.h"

#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/uio.h>

enum { BLOCK_MAGIC = 0x0b10c0e5, BLOCK_SLICES = 40 };

struct slice {
    const uint8_t *p;
    size_t n;
    struct own *own; /* our reference; NULL: static, or copied */
};

/* Slices fill up from 0 and are consumed from `head`; copied bytes are packed into `bytes`. A block
 * goes back to the pool when its last slice is consumed. */
struct outq_block {
    int magic;
    uint16_t head, count; /* slices [head, count) wait */
    uint16_t used;        /* of bytes[] */
    struct outq_block *next;
    struct slice slice[BLOCK_SLICES];
    uint8_t bytes[OUTQ_BLOCK_BYTES - 24 - BLOCK_SLICES * sizeof(struct slice)];
};

_Static_assert(sizeof(struct outq_block) == OUTQ_BLOCK_BYTES, "a block is what its name says");

void outq_init(struct outq *q, struct outq_pool *pool)
{
    CHECK(pool != NULL);
    *q = (struct outq){ .pool = pool };
}

static struct outq_block *add_block(struct outq *q)
{
    struct outq_pool *pool = q->pool;
    struct outq_block *b = pool->spare;

    if (b != NULL) {
        pool->spare = b->next;
        pool->spares--;
    } else if ((b = malloc(sizeof *b)) == NULL) {
        return NULL;
    }
    pool->in_use++;
    OBJ_INIT(b, BLOCK_MAGIC);
    b->head = b->count = b->used = 0;
    b->next = NULL;
    if (q->last != NULL)
        q->last->next = b;
    else
        q->first = b;
    q->last = b;
    return b;
}

static void drop_first_block(struct outq *q)
{
    struct outq_pool *pool = q->pool;
    struct outq_block *b = q->first;

    OBJ_FINI(b, BLOCK_MAGIC);
    q->first = b->next;
    if (q->first == NULL)
        q->last = NULL;
    pool->in_use--;
    if (pool->spares >= OUTQ_POOL_BLOCKS) {
        free(b);
        return;
    }
    b->next = pool->spare;
    pool->spare = b;
    pool->spares++;
}

static bool in_block(const struct outq_block *b, const uint8_t *p)
{
    return p >= b->bytes && p < b->bytes + sizeof b->bytes;
}

/* The slice that p would continue, or NULL. Copied and borrowed bytes never join: whether a slice
 * is copied is told by where it points. */
static struct slice *joins(const struct outq *q, const uint8_t *p, const struct own *own)
{
    struct outq_block *b = q->last;
    struct slice *s;

    if (b == NULL || b->count == b->head)
        return NULL;
    s = &b->slice[b->count - 1];
    if (s->p + s->n != p || s->own != own || in_block(b, s->p) != in_block(b, p))
        return NULL;
    return s;
}

static enum st add_slice(struct outq *q, const uint8_t *p, size_t n, struct own *own)
{
    struct slice *s = joins(q, p, own);
    struct outq_block *b = q->last;

    if (s != NULL) {
        s->n += n;
        q->bytes += n;
        return ST_OK;
    }
    if ((b == NULL || b->count == BLOCK_SLICES) && (b = add_block(q)) == NULL)
        return ST_ENOMEM;
    b->slice[b->count++] = (struct slice){ p, n, own != NULL ? own_ref(own) : NULL };
    q->bytes += n;
    return ST_OK;
}

enum st outq_borrow(struct outq *q, const void *p, size_t n, struct own *own)
{
    return n > 0 ? add_slice(q, p, n, own) : ST_OK;
}

enum st outq_copy(struct outq *q, const void *from, size_t n)
{
    const uint8_t *p = from;

    while (n > 0) {
        struct outq_block *b = q->last;

        /* both kinds of room, so that the slice lands beside its bytes */
        if ((b == NULL || b->used == sizeof b->bytes || b->count == BLOCK_SLICES) &&
            (b = add_block(q)) == NULL)
            return ST_ENOMEM;
        uint8_t *to = b->bytes + b->used;
        size_t room = sizeof b->bytes - b->used;
        size_t part = n < room ? n : room;

        memcpy(to, p, part);
        b->used = (uint16_t)(b->used + part);
        if (add_slice(q, to, part, NULL) != ST_OK)
            return ST_ENOMEM;
        q->copied_bytes += part;
        p += part;
        n -= part;
    }
    return ST_OK;
}

int outq_iov(const struct outq *q, struct iovec *v, int max)
{
    int n = 0;

    for (const struct outq_block *b = q->first; b != NULL && n < max; b = b->next) {
        OBJ_CHECK(b, BLOCK_MAGIC);
        for (int i = b->head; i < b->count && n < max; i++, n++) {
            v[n].iov_base = (void *)(uintptr_t)b->slice[i].p; /* writev() only reads */
            v[n].iov_len = b->slice[i].n;
        }
    }
    return n;
}

void outq_consume(struct outq *q, size_t n)
{
    CHECK(n <= q->bytes);
    q->bytes -= n;
    while (n > 0) {
        struct outq_block *b = q->first;

        OBJ_CHECK(b, BLOCK_MAGIC);
        CHECK(b->head < b->count);
        struct slice *s = &b->slice[b->head];
        size_t part = n < s->n ? n : s->n;

        if (in_block(b, s->p))
            q->copied_bytes -= part;
        n -= part;
        s->p += part;
        s->n -= part;
        if (s->n > 0)
            continue;
        b->head++;
        own_unref(&s->own); /* may free the body, never the queue */
        if (b->head == b->count)
            drop_first_block(q);
    }
}

void outq_clear(struct outq *q)
{
    outq_consume(q, q->bytes);
    CHECK_SLOW(q->first == NULL && q->copied_bytes == 0);
}

void outq_pool_fini(struct outq_pool *pool)
{
    CHECK(pool->in_use == 0);
    while (pool->spare != NULL) {
        struct outq_block *b = pool->spare;

        pool->spare = b->next;
        free(b);
    }
    pool->spares = 0;
}
