/* core/bits.h - a bounds-checked reader of bits with one sticky error
 *
 * Purpose   as core/rd.h, for codec headers: read a whole header, then test bits.bad once. After
 *           the first short read every further read returns 0 and moves nothing.
 * Owner     borrows the bytes: they must outlive the reader.
 * Thread    a value; any one thread.
 * Tests     tests/unit/test_avc.c, tests/unit/test_aac.c
 */
#ifndef CORE_BITS_H
#define CORE_BITS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct bits {
    const uint8_t *p;
    size_t n;  /* in all */
    size_t at; /* read so far */
    bool bad;
};

static inline struct bits bits_init(const uint8_t *p, size_t n_bytes)
{
    return (struct bits){ .p = p, .n = n_bytes * 8, .at = 0, .bad = false };
}

static inline size_t bits_left(const struct bits *b) { return b->n - b->at; }

/* Unsigned, of 1..32 bits, the first one highest; 0 when short. */
static inline uint32_t bits_get(struct bits *b, unsigned n)
{
    uint32_t v = 0;

    if (b->bad || n > bits_left(b)) {
        b->bad = true;
        return 0;
    }
    for (; n > 0; n--, b->at++)
        v = v << 1 | (b->p[b->at / 8] >> (7 - b->at % 8) & 1u);
    return v;
}

static inline bool bits_flag(struct bits *b) { return bits_get(b, 1) != 0; }

/* Exp-Golomb as in H.264, 9.1: below 2^32 - 1. */
static inline uint32_t bits_ue(struct bits *b)
{
    unsigned zeros = 0;

    while (!b->bad && !bits_flag(b))
        if (++zeros == 32)
            b->bad = true;
    if (b->bad || zeros == 0)
        return 0;
    return (uint32_t)((UINT64_C(1) << zeros) - 1) + bits_get(b, zeros);
}

static inline int64_t bits_se(struct bits *b)
{
    uint32_t v = bits_ue(b);

    return (v & 1) != 0 ? ((int64_t)v + 1) / 2 : -(int64_t)(v / 2);
}

#endif
