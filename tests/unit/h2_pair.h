/* tests/unit/h2_pair.h - two HTTP/2 sessions wired memory to memory, and an application on each
 *
 * Purpose   the server answers by what the path says, the client keeps what it gets. Bytes pass
 *           in exact-size heap copies of random lengths, so that every split is met sooner or
 * later. Thread    one; the clock is the test's.
 */
#ifndef TESTS_H2_PAIR_H
#define TESTS_H2_PAIR_H

#include <setjmp.h>
#include <stdarg.h> /* cmocka.h wants these four before it */
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdlib.h>
#include <string.h>
#include <sys/uio.h>

#include "core/clock.h"
#include "core/h2.h"
#include "core/loop.h"

static uint64_t test_now = 50 * SEC_US;
static uint64_t test_mono(void) { return test_now; }
static int64_t test_wall(void) { return 7; }
static const struct clock_source test_clock = { test_mono, test_wall };

static uint32_t seed = 7;
static inline uint32_t rnd(uint32_t n)
{
    seed = seed * 1664525u + 1013904223u;
    return (seed >> 8) % n;
}

static inline uint8_t byte_at(size_t i) { return (uint8_t)(i * 31 + (i >> 8) * 7 + (i >> 16)); }

/* A body in heap memory; what is left of it tells about references. */
struct source {
    struct h2_body b;
    struct own own;
    uint8_t *p;
    size_t size, published, off;
    size_t piece; /* a slice never crosses a multiple of this */
    bool complete, broken, refuse_take;
    int *freed;
};

static inline void source_last(struct own *o)
{
    struct source *s = CONTAINER_OF(o, struct source, own);

    ++*s->freed;
    free(s->p);
    free(s);
}

static inline enum st source_avail(struct h2_body *b, size_t max, size_t *n, bool *last)
{
    struct source *s = CONTAINER_OF(b, struct source, b);
    size_t have = s->published - s->off;

    if (s->broken && have == 0)
        return ST_EIO;
    *n = have < max ? have : max;
    if (*n > s->piece * (H2_SLICES_MAX - 1))
        *n = s->piece * (H2_SLICES_MAX - 1);
    *last = s->complete && *n == have;
    return *n > 0 || *last ? ST_OK : ST_MORE;
}

static inline int source_take(struct h2_body *b, size_t n, struct h2_slice *v, int max)
{
    struct source *s = CONTAINER_OF(b, struct source, b);
    int count = 0;

    if (s->refuse_take)
        return -1;
    while (n > 0) {
        size_t part = s->piece - s->off % s->piece;

        assert_true(count < max);
        part = part < n ? part : n;
        v[count++] = (struct h2_slice){ s->p + s->off, part, &s->own };
        s->off += part;
        n -= part;
    }
    return count;
}

static inline struct source *source_new(size_t size, size_t piece, int *freed)
{
    struct source *s = calloc(1, sizeof *s);

    s->b = (struct h2_body){ source_avail, source_take };
    own_init(&s->own, source_last);
    s->p = malloc(size > 0 ? size : 1);
    for (size_t i = 0; i < size; i++)
        s->p[i] = byte_at(i);
    s->size = s->published = size;
    s->complete = true;
    s->piece = piece;
    s->freed = freed;
    return s;
}

/* One exchange as an application sees it; both sides use it. */
struct call {
    int32_t id;
    struct h2 *h2;
    char path[80];
    char status[4];
    size_t fields, bytes;
    bool data_ok, head, ended, closed;
    bool stall; /* do not consume */
    struct h2_close why;
    struct source *src; /* one reference, dropped on close */
};

enum { CALLS = 256 };
struct app {
    struct loop loop;
    struct h2 *server, *client;
    struct call srv[CALLS], cli[CALLS];
    size_t srv_n;
    int freed;
    size_t budget, piece, split; /* split: bytes in one read at most */
    bool refuse;                 /* on_stream says no */
    bool hold;                   /* no answer by itself */
    bool stall;                  /* the server does not consume */
};

static inline void *app_stream(struct h2 *h2, void *ctx, int32_t id)
{
    struct app *a = ctx;
    struct call *c = &a->srv[a->srv_n];

    if (a->refuse)
        return NULL;
    a->srv_n = (a->srv_n + 1) % CALLS;
    *c = (struct call){ .id = id, .h2 = h2, .data_ok = true, .stall = a->stall };
    return c;
}

static inline void app_header(struct h2 *h2, void *stream, int32_t id, const char *name,
                              size_t name_len, const char *value, size_t value_len)
{
    struct call *c = stream;

    assert_ptr_equal(c->h2, h2);
    assert_int_equal(c->id, id);
    assert_false(c->head || c->closed);
    c->fields++;
    if (name_len == 5 && memcmp(name, ":path", 5) == 0 && value_len < sizeof c->path)
        memcpy(c->path, value, value_len);
    if (name_len == 7 && memcmp(name, ":status", 7) == 0) {
        assert_int_equal(value_len, 3);
        memcpy(c->status, value, 3);
    }
}

/* /N: N bytes. */
static inline void app_answer(struct app *a, struct call *c)
{
    static const struct h2_nv ok[] = { H2_NV(":status", "200"), H2_NV("server", "pair") };

    c->src = source_new((size_t)strtoul(c->path + 1, NULL, 10), a->piece, &a->freed);
    assert_int_equal(h2_respond(c->h2, c->id, ok, 2, &c->src->b), ST_OK);
}

static inline void app_head(struct h2 *h2, void *stream, int32_t id, bool last)
{
    struct call *c = stream;
    struct app *a = h2_ctx(h2);

    (void)id, (void)last;
    assert_false(c->head || c->closed);
    c->head = true;
    if (h2 == a->server && !a->hold)
        app_answer(a, c);
}

static inline void app_data(struct h2 *h2, void *stream, int32_t id, const uint8_t *p, size_t n)
{
    struct call *c = stream;

    assert_true(c->head && !c->ended && !c->closed);
    for (size_t i = 0; i < n; i++)
        c->data_ok = c->data_ok && p[i] == byte_at(c->bytes + i);
    c->bytes += n;
    if (!c->stall)
        h2_consume(h2, id, n);
}

static inline void app_end(struct h2 *h2, void *stream, int32_t id)
{
    struct call *c = stream;

    (void)h2, (void)id;
    assert_true(c->head && !c->ended && !c->closed);
    c->ended = true;
}

static inline void app_close(struct h2 *h2, void *stream, int32_t id, const struct h2_close *why)
{
    struct call *c = stream;

    (void)h2, (void)id;
    assert_false(c->closed);
    c->closed = true;
    c->why = *why;
    if (c->src != NULL) {
        struct own *mine = &c->src->own;

        c->src = NULL;
        own_unref(&mine);
    }
}

static const struct h2_ops app_ops = { app_stream, app_header, app_head,
                                       app_data,   app_end,    app_close };

static inline struct app *app_new(const struct h2_limits *server, const struct h2_limits *client)
{
    struct app *a = calloc(1, sizeof *a);

    clock_use(&test_clock);
    assert_int_equal(loop_init(&a->loop, 0, 1), ST_OK);
    a->budget = 256 * 1024;
    a->piece = 5000;
    a->split = 70000;
    if (server != NULL)
        a->server = h2_server_new(&a->loop, server, &app_ops, a);
    if (client != NULL)
        a->client = h2_client_new(&a->loop, client, &app_ops, a);
    return a;
}

static inline void app_free(struct app *a)
{
    h2_free(&a->client);
    h2_free(&a->server);
    loop_fini(&a->loop); /* checks that no queue holds a block */
    clock_use(NULL);
    free(a);
}

static inline void app_wait(struct app *a, uint64_t us)
{
    test_now += us;
    (void)loop_touch(&a->loop);
}

/* Takes at most n bytes off the head of the queue. */
static inline uint8_t *app_take(struct outq *q, size_t n)
{
    uint8_t *p = malloc(n);
    struct iovec v[8];

    for (size_t got = 0; got < n;) {
        int count = outq_iov(q, v, 8);

        assert_true(count > 0);
        for (int i = 0; i < count && got < n; i++) {
            size_t part = v[i].iov_len < n - got ? v[i].iov_len : n - got;

            memcpy(p + got, v[i].iov_base, part);
            outq_consume(q, part);
            got += part;
            if (part < v[i].iov_len)
                break;
        }
    }
    return p;
}

/* Moves some bytes; false: there was nothing to move. */
static inline bool app_carry(struct app *a, struct h2 *from, struct h2 *to)
{
    struct outq *q = h2_outq(from);

    if (h2_pump(from, a->budget) < ST_OK && outq_bytes(q) == 0)
        return false;
    if (outq_bytes(q) == 0)
        return false;
    size_t n = rnd((uint32_t)a->split) + 1;
    n = n < outq_bytes(q) ? n : outq_bytes(q);
    uint8_t *p = app_take(q, n);
    enum st st = h2_feed(to, p, n);

    (void)st; /* the tests ask h2_end_of() */
    free(p);
    return true;
}

static inline void app_run(struct app *a)
{
    bool more = true;

    while (more) {
        more = app_carry(a, a->client, a->server);
        more |= app_carry(a, a->server, a->client);
    }
}

static inline struct call *app_get(struct app *a, int i, const char *path)
{
    struct call *c = &a->cli[i];
    struct h2_nv nv[] = { H2_NV(":method", "GET"),
                          H2_NV(":scheme", "http"),
                          H2_NV(":authority", "pair"),
                          { .name = ":path", .name_len = 5 } };

    nv[3].value = path;
    nv[3].value_len = (uint32_t)strlen(path);
    *c = (struct call){ .h2 = a->client, .data_ok = true };
    assert_int_equal(h2_request(a->client, nv, 4, NULL, c, &c->id), ST_OK);
    return c;
}

#endif
