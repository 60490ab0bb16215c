#include "core/buf.h"

#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/check.h"

enum { FIRST_BYTES = 256 };

void buf_init(struct buf *b, size_t limit) { *b = (struct buf){ .limit = limit, .st = ST_OK }; }

void buf_fini(struct buf *b)
{
    free(b->data);
    buf_init(b, b->limit);
}

void buf_reset(struct buf *b)
{
    b->len = 0;
    b->st = ST_OK;
    if (b->data != NULL)
        b->data[0] = 0;
}

void buf_recycle(struct buf *b)
{
    if (b->room > BUF_KEEP_BYTES)
        buf_fini(b);
    else
        buf_reset(b);
}

/* Room for n more bytes and the zero after them. */
static bool reserve(struct buf *b, size_t n)
{
    size_t room = b->room;
    uint8_t *data;

    if (b->st != ST_OK)
        return false;
    if (n > b->limit - b->len) {
        b->st = ST_ELIMIT;
        return false;
    }
    if (n < room - b->len)
        return true; /* NB: strictly, for the zero */
    room = room > 0 ? room : FIRST_BYTES;
    while (room - b->len <= n)
        room += room / 2;
    data = realloc(b->data, room);
    if (data == NULL) {
        b->st = ST_ENOMEM;
        return false;
    }
    b->data = data;
    b->room = room;
    return true;
}

uint8_t *buf_grow(struct buf *b, size_t n)
{
    uint8_t *p;

    if (!reserve(b, n))
        return NULL;
    p = b->data + b->len;
    b->len += n;
    b->data[b->len] = 0;
    return p;
}

void buf_add(struct buf *b, const void *p, size_t n)
{
    uint8_t *to = buf_grow(b, n);

    if (to != NULL && n > 0)
        memcpy(to, p, n);
}

void buf_expect(struct buf *b, size_t n)
{
    size_t room = b->limit - b->len;

    n = n < BUF_EXPECT_BYTES ? n : BUF_EXPECT_BYTES;
    (void)reserve(b, n < room ? n : room);
}

void buf_puts(struct buf *b, const char *text) { buf_add(b, text, strlen(text)); }

void buf_printf(struct buf *b, const char *fmt, ...)
{
    va_list ap, again;
    size_t left;
    int n;

    va_start(ap, fmt);
    va_copy(again, ap);
    if (reserve(b, 0)) {
        left = b->room - b->len;
        n = vsnprintf((char *)b->data + b->len, left, fmt, ap);
        CHECK(n >= 0);
        if (reserve(b, (size_t)n)) {
            if ((size_t)n >= left)
                (void)vsnprintf((char *)b->data + b->len, b->room - b->len, fmt, again);
            b->len += (size_t)n;
        } else {
            b->data[b->len] = 0; /* nothing stays of what does not fit */
        }
    }
    va_end(again);
    va_end(ap);
}

void buf_be(struct buf *b, uint64_t v, size_t n)
{
    uint8_t *p = buf_grow(b, n);

    CHECK(n >= 1 && n <= 8);
    for (size_t i = n; p != NULL && i > 0; v >>= 8)
        p[--i] = (uint8_t)v;
}

const char *buf_text(const struct buf *b)
{
    return b->st == ST_OK && b->data != NULL ? (const char *)b->data : "";
}

uint8_t *buf_take(struct buf *b, size_t *len)
{
    uint8_t *p = b->st == ST_OK ? b->data : NULL;

    *len = p != NULL ? b->len : 0;
    if (p == NULL)
        free(b->data);
    buf_init(b, b->limit);
    return p;
}
