#include "core/spool_body.h"

#include <stdlib.h>
#include <string.h>

#include "core/check.h"

enum { HELLO_MAX = 1 << 20 };

struct spool_hello {
    struct own own;
    size_t n;
    uint8_t data[];
};

static void free_hello(struct own *o) { free(CONTAINER_OF(o, struct spool_hello, own)); }

void spool_body_fini(struct spool_body *b)
{
    struct own *own = b->hello != NULL ? &b->hello->own : NULL;

    b->hello = NULL;
    own_unref(&own);
}

/* The configuration first: the mark says what number the next tag has. */
static enum st make_hello(struct spool_body *b, const struct flv_mark *mark, const struct buf *own)
{
    struct buf h;

    buf_init(&h, HELLO_MAX);
    flv_put_header(&h);
    if (own != NULL)
        buf_add(&h, own->data, own->len);
    for (int i = 0; i < SPOOL_HEADERS; i++) {
        const struct spool_tag *t = b->spool->header[i];

        if (t != NULL && t->number < b->cursor)
            buf_add(&h, t->wire + t->tag_at, t->n - t->tag_at);
    }
    flv_put_mark(&h, mark);
    if (h.st == ST_OK && (b->hello = malloc(sizeof *b->hello + h.len)) != NULL) {
        own_init(&b->hello->own, free_hello);
        b->hello->n = h.len;
        memcpy(b->hello->data, h.data, h.len);
    }
    buf_fini(&h);
    return b->hello != NULL ? ST_OK : ST_ENOMEM;
}

static enum st body_avail(struct h2_body *h2, size_t max, size_t *n, bool *last)
{
    struct spool_body *b = CONTAINER_OF(h2, struct spool_body, h2);
    struct spool_tag *t = spool_find(b->spool, b->cursor);
    int slices = 1;

    if (t == NULL && b->cursor < spool_oldest(b->spool))
        return ST_ELIMIT; /* the spool has lost what we were about to send */
    *n = b->hello->n - b->hello_sent;
    for (; t != NULL && *n < max && slices < H2_SLICES_MAX; t = t->next, slices++)
        *n += t->n - (t->number == b->cursor ? b->cursor_sent : 0);
    *last = b->last && t == NULL && *n <= max;
    if (*n > max)
        *n = max;
    return *n > 0 || *last ? ST_OK : ST_MORE;
}

static int body_take(struct h2_body *h2, size_t n, struct h2_slice *v, int max)
{
    struct spool_body *b = CONTAINER_OF(h2, struct spool_body, h2);
    int k = 0;

    if (b->hello_sent < b->hello->n) {
        size_t part = b->hello->n - b->hello_sent < n ? b->hello->n - b->hello_sent : n;

        v[k++] = (struct h2_slice){ b->hello->data + b->hello_sent, part, &b->hello->own };
        b->hello_sent += part;
        n -= part;
    }
    for (struct spool_tag *t = spool_find(b->spool, b->cursor); n > 0 && k < max; t = t->next) {
        size_t part;

        CHECK(t != NULL); /* body_avail() has counted it */
        part = t->n - b->cursor_sent < n ? t->n - b->cursor_sent : n;
        v[k++] = (struct h2_slice){ t->wire + b->cursor_sent, part, &t->own };
        n -= part;
        b->cursor_sent += part;
        if (b->cursor_sent < t->n)
            break;
        b->cursor = t->number + 1;
        b->cursor_sent = 0;
    }
    CHECK(n == 0);
    return k;
}

enum st spool_body_begin(struct spool_body *b, struct spool *s, uint64_t from,
                         const struct flv_mark *mark, const struct buf *own)
{
    struct flv_mark m = *mark;

    spool_body_fini(b);
    *b = (struct spool_body){ .h2 = { .avail = body_avail, .take = body_take },
                              .spool = s,
                              .cursor = from };
    m.tag = from;
    m.discontinuity = false;
    return make_hello(b, &m, own);
}

bool spool_body_sent(const struct spool_body *b)
{
    return b->hello != NULL && b->hello_sent == b->hello->n && b->cursor == spool_next(b->spool);
}
