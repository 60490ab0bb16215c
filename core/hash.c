#include "core/hash.h"

/* Odd, about half of the bits set; digits of e. */
#define K0 UINT64_C(0xadf85458a2bb4a9b)
#define K1 UINT64_C(0xafdc5620273d3cf1)
#define K2 UINT64_C(0xd8b9c583ce2d3695)
#define STABLE_SEED UINT64_C(0x66726573686574) /* "freshet" */

static uint64_t fold(uint64_t a, uint64_t b)
{
    unsigned __int128 m = (unsigned __int128)a * b;

    return (uint64_t)m ^ (uint64_t)(m >> 64);
}

/* Spelled out, a compiler makes one load of it. */
static uint64_t le4(const uint8_t *p)
{
    return (uint64_t)p[0] | (uint64_t)p[1] << 8 | (uint64_t)p[2] << 16 | (uint64_t)p[3] << 24;
}

static uint64_t le8(const uint8_t *p)
{
    return (uint64_t)p[0] | (uint64_t)p[1] << 8 | (uint64_t)p[2] << 16 | (uint64_t)p[3] << 24 |
           (uint64_t)p[4] << 32 | (uint64_t)p[5] << 40 | (uint64_t)p[6] << 48 |
           (uint64_t)p[7] << 56;
}

uint64_t hash_mix(uint64_t v)
{
    v ^= v >> 32;
    v *= K1;
    v ^= v >> 29;
    v *= K2;
    v ^= v >> 32;
    return v;
}

/* NB: one factor is keyed and the other carries the state so far, so that no input can make a
 * factor zero without knowing the seed. */
uint64_t hash64(const void *data, size_t n, uint64_t seed)
{
    const uint8_t *p = data;
    uint64_t key = hash_mix(seed + K0);
    uint64_t h = hash_mix(seed + K1) ^ (uint64_t)n * K2;
    uint64_t a = 0, b = 0;

    for (; n > 16; n -= 16, p += 16)
        h = fold(le8(p) ^ key, le8(p + 8) ^ h);
    if (n >= 8) { /* the two loads may overlap; the length is in h */
        a = le8(p);
        b = le8(p + n - 8);
    } else if (n >= 4) {
        a = le4(p);
        b = le4(p + n - 4);
    } else if (n > 0) {
        a = p[0];
        b = (uint64_t)p[n / 2] << 8 | p[n - 1];
    }
    return hash_mix(fold(a ^ key, b ^ h) ^ h);
}

uint64_t hash64_stable(const void *p, size_t n) { return hash64(p, n, STABLE_SEED); }
