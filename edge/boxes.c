#include "edge/boxes.h"

#include <string.h>

enum { HEAD = 8, LARGE_HEAD = 16 };

static uint64_t be(const uint8_t *p, size_t n)
{
    uint64_t v = 0;

    for (size_t i = 0; i < n; i++)
        v = v << 8 | p[i];
    return v;
}

/* How many the head has, as far as it is known. */
static unsigned head_bytes(const struct boxes *b)
{
    return b->n >= HEAD && be(b->head, 4) == 1 ? LARGE_HEAD : HEAD;
}

static bool is_mdat(const struct boxes *b) { return memcmp(b->head + 4, "mdat", 4) == 0; }

/* The head is there: how much of the box follows? False: that cannot be. */
static bool measure(struct boxes *b)
{
    uint64_t size = be(b->head, 4);

    if (size == 1)
        size = be(b->head + HEAD, 8);
    else if (size == 0)
        size = UINT64_MAX; /* to the end, wherever that is */
    if (size < b->n)
        return false;
    b->left = size - b->n;
    return true;
}

static void end_of_box(struct boxes *b, size_t ahead)
{
    if (is_mdat(b))
        b->whole = b->seen - ahead;
    b->n = 0;
}

uint64_t boxes_feed(struct boxes *b, const void *p, size_t n)
{
    const uint8_t *at = p, *end = at + n;

    b->seen += n;
    while (at < end && !b->lost) {
        if (b->n < head_bytes(b)) {
            b->head[b->n++] = *at++;
            if (b->n < head_bytes(b))
                continue;
            b->lost = !measure(b);
        } else {
            size_t step = (size_t)(end - at);

            if (step > b->left)
                step = (size_t)b->left;
            at += step;
            b->left -= step;
        }
        if (!b->lost && b->left == 0)
            end_of_box(b, (size_t)(end - at));
    }
    if (b->lost)
        b->whole = b->seen;
    return b->whole;
}
