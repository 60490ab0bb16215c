/* edge/slice.h - borrowed bytes with a length
 *
 * Purpose   name a part of somebody else's buffer without copying it. An absent value has p ==
 *           NULL; an empty one has n == 0 and p != NULL.
 * Owner     whoever owns the bytes; a slice is valid as long as they are.
 * Thread    a value; any.
 * Tests     tests/unit/test_http1_req.c
 */
#ifndef EDGE_SLICE_H
#define EDGE_SLICE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

struct slice {
    const uint8_t *p;
    size_t n;
};

/* From a string literal. */
#define SLICE(lit) ((struct slice){ .p = (const uint8_t *)("" lit), .n = sizeof(lit) - 1 })

static inline struct slice slice_of(const void *p, size_t n)
{
    return (struct slice){ .p = p, .n = n };
}

static inline bool slice_eq(struct slice a, struct slice b)
{
    return a.n == b.n && (a.n == 0 || memcmp(a.p, b.p, a.n) == 0);
}

static inline uint8_t ascii_lower(uint8_t c)
{
    return c >= 'A' && c <= 'Z' ? (uint8_t)(c | 0x20) : c;
}

/* ASCII letters only; never the locale's idea of case. */
static inline bool slice_eq_nocase(struct slice a, struct slice b)
{
    if (a.n != b.n)
        return false;
    for (size_t i = 0; i < a.n; i++) {
        if (ascii_lower(a.p[i]) != ascii_lower(b.p[i]))
            return false;
    }
    return true;
}

static inline bool is_digit(uint8_t c) { return c >= '0' && c <= '9'; }
static inline bool is_blank(uint8_t c) { return c == ' ' || c == '\t'; }

/* Without the spaces and tabs around it. */
static inline struct slice slice_trim(struct slice s)
{
    while (s.n > 0 && is_blank(s.p[0])) {
        s.p++;
        s.n--;
    }
    while (s.n > 0 && is_blank(s.p[s.n - 1]))
        s.n--;
    return s;
}

/* Takes the next member of a comma-separated list off *list, trimmed; empty members are skipped.
 * Knows nothing of quoted commas: for lists of tokens. False: no member is left. */
static inline bool slice_list_next(struct slice *list, struct slice *member)
{
    while (list->n > 0) {
        const uint8_t *comma = memchr(list->p, ',', list->n);
        size_t n = comma != NULL ? (size_t)(comma - list->p) : list->n;

        *member = slice_trim(slice_of(list->p, n));
        n += comma != NULL;
        list->p += n;
        list->n -= n;
        if (member->n > 0)
            return true;
    }
    return false;
}

/* All digits, at least one. A number past 64 bits becomes UINT64_MAX: larger than any size. */
static inline bool slice_u64(struct slice s, uint64_t *out)
{
    uint64_t v = 0;

    for (size_t i = 0; i < s.n; i++) {
        unsigned d = (unsigned)s.p[i] - '0';

        if (d > 9)
            return false;
        v = v > (UINT64_MAX - d) / 10 ? UINT64_MAX : v * 10 + d;
    }
    *out = v;
    return s.n > 0;
}

#endif
