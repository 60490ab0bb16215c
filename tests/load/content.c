#include "tests/load/content.h"

#include <string.h>

static uint64_t word_at(uint64_t seed, uint64_t k)
{
    uint64_t z = seed + (k + 1) * UINT64_C(0x9e3779b97f4a7c15);

    z = (z ^ z >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ z >> 27) * UINT64_C(0x94d049bb133111eb);
    return z ^ z >> 31;
}

static uint64_t little_endian(uint64_t w)
{
    return __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__ ? w : __builtin_bswap64(w);
}

static uint8_t byte_at(uint64_t seed, uint64_t offset)
{
    return (uint8_t)(word_at(seed, offset / 8) >> 8 * (offset % 8));
}

uint64_t content_seed(const char *path, size_t len)
{
    uint64_t h = UINT64_C(0xcbf29ce484222325);

    for (size_t i = 0; i < len && path[i] != '?'; i++)
        h = (h ^ (uint8_t)path[i]) * UINT64_C(0x100000001b3);
    return h;
}

void content_fill(uint64_t seed, uint64_t offset, uint8_t *dst, size_t n)
{
    for (; n > 0 && offset % 8 != 0; n--)
        *dst++ = byte_at(seed, offset++);
    for (; n >= 8; n -= 8, offset += 8, dst += 8) {
        uint64_t w = little_endian(word_at(seed, offset / 8));

        memcpy(dst, &w, 8);
    }
    for (; n > 0; n--)
        *dst++ = byte_at(seed, offset++);
}

size_t content_match(uint64_t seed, uint64_t offset, const uint8_t *p, size_t n)
{
    size_t i = 0;

    for (; i < n && (offset + i) % 8 != 0; i++) {
        if (p[i] != byte_at(seed, offset + i))
            return i;
    }
    for (; n - i >= 8; i += 8) {
        uint64_t w = little_endian(word_at(seed, (offset + i) / 8)), got;

        memcpy(&got, p + i, 8);
        if (got != w)
            break; /* the tail loop finds which byte */
    }
    for (; i < n && p[i] == byte_at(seed, offset + i); i++)
        ;
    return i;
}
