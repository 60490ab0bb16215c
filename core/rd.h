/* core/rd.h - a bounds-checked reader with one sticky error
 *
 * Purpose   read a whole header without testing each field, then test rd.bad once. After the first
 *           short read every further read returns 0 and moves nothing.
 * Owner     borrows the bytes: they must outlive the reader.
 * Thread    a value; any one thread.
 * Tests     tests/unit/test_loop.c
 */
#ifndef CORE_RD_H
#define CORE_RD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct rd {
    const uint8_t *p;
    const uint8_t *end;
    bool bad;
};

static inline struct rd rd_init(const void *p, size_t n)
{
    return (struct rd){ .p = p, .end = (const uint8_t *)p + n, .bad = false };
}

static inline size_t rd_left(const struct rd *r) { return (size_t)(r->end - r->p); }

/* Returns n borrowed bytes, or NULL (and r->bad) when fewer are left. */
static inline const uint8_t *rd_bytes(struct rd *r, size_t n)
{
    const uint8_t *p = r->p;

    if (r->bad || n > rd_left(r)) {
        r->bad = true;
        return NULL;
    }
    r->p += n;
    return p;
}

/* Big-endian unsigned of 1..8 bytes; 0 when short. */
static inline uint64_t rd_be(struct rd *r, size_t n)
{
    const uint8_t *p = rd_bytes(r, n);
    uint64_t v = 0;

    for (size_t i = 0; p != NULL && i < n; i++)
        v = (v << 8) | p[i];
    return v;
}

static inline uint8_t rd_u8(struct rd *r) { return (uint8_t)rd_be(r, 1); }
static inline uint16_t rd_u16be(struct rd *r) { return (uint16_t)rd_be(r, 2); }
static inline uint32_t rd_u32be(struct rd *r) { return (uint32_t)rd_be(r, 4); }

static inline uint32_t rd_u32le(struct rd *r)
{
    const uint8_t *p = rd_bytes(r, 4);

    if (p == NULL)
        return 0;
    return (uint32_t)p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24;
}

#endif
