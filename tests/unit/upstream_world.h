/* tests/unit/upstream_world.h - fetch_world.h with upstreams of ours that say what a test says
 *
 * Purpose   the test is each upstream: it takes the connection, sees the requests and answers them
 *           over HTTP/2, all on loopback and in the loop's own thread.
 */
#ifndef TESTS_UNIT_UPSTREAM_WORLD_H
#define TESTS_UNIT_UPSTREAM_WORLD_H

#include "tests/unit/fetch_world.h"

#include <sys/uio.h>

#include "core/h2.h"

/* --- an upstream that says what the test says --- */

enum { CALLS = 256, TEXT = 512 };

struct call {
    struct h2_body body;
    struct own own;
    int32_t id;
    char request[TEXT]; /* "name: value\n" each */
    bool closed, last;
    struct h2_close why;
    const char *bytes; /* what may be sent */
    size_t n, off;
};

struct upstream {
    struct server listen;
    int fd; /* of the connection in use; -1: none */
    struct h2 *h2;
    struct world *w;
    struct call call[CALLS];
    int calls;
};

static inline void keep(struct own *o) { (void)o; }

static inline void *on_stream(struct h2 *h2, void *ctx, int32_t id)
{
    struct upstream *u = ctx;
    struct call *c = &u->call[u->calls++];

    (void)h2;
    assert_true(u->calls <= CALLS);
    memset(c, 0, sizeof *c);
    c->id = id;
    own_init(&c->own, keep);
    return c;
}

static inline void on_header(struct h2 *h2, void *stream, int32_t id, const char *name,
                             size_t name_len, const char *value, size_t value_len)
{
    struct call *c = stream;
    size_t n = strlen(c->request);

    (void)h2, (void)id;
    (void)snprintf(c->request + n, sizeof c->request - n, "%.*s: %.*s\n", (int)name_len, name,
                   (int)value_len, value);
}

static inline void on_head(struct h2 *h2, void *stream, int32_t id, bool last)
{
    (void)h2, (void)stream, (void)id;
    assert_true(last);
}

static inline void on_data(struct h2 *h2, void *stream, int32_t id, const uint8_t *p, size_t n)
{
    (void)h2, (void)stream, (void)id, (void)p, (void)n;
}

static inline void on_end(struct h2 *h2, void *stream, int32_t id)
{
    (void)h2, (void)stream, (void)id;
}

static inline void on_close(struct h2 *h2, void *stream, int32_t id, const struct h2_close *why)
{
    struct call *c = stream;

    (void)h2, (void)id;
    c->closed = true;
    c->why = *why;
}

static const struct h2_ops server_ops = {
    .on_stream = on_stream,
    .on_header = on_header,
    .on_head = on_head,
    .on_data = on_data,
    .on_end = on_end,
    .on_close = on_close,
};

static inline enum st avail(struct h2_body *b, size_t max, size_t *n, bool *last)
{
    struct call *c = CONTAINER_OF(b, struct call, body);

    *n = c->n - c->off < max ? c->n - c->off : max;
    *last = c->last && *n == c->n - c->off;
    return *n > 0 || *last ? ST_OK : ST_MORE;
}

static inline int take(struct h2_body *b, size_t n, struct h2_slice *s, int max)
{
    struct call *c = CONTAINER_OF(b, struct call, body);

    (void)max;
    s[0] = (struct h2_slice){ c->bytes + c->off, n, NULL };
    c->off += n;
    return 1;
}

/* Moves what both sides have to say. */
static inline void exchange(struct upstream *u)
{
    for (int i = 0; i < 8; i++) {
        char in[1 << 16];
        ssize_t r;

        settle(u->w);
        while (u->fd >= 0 && (r = recv(u->fd, in, sizeof in, 0)) > 0)
            (void)(h2_feed(u->h2, in, (size_t)r) == ST_OK);
        if (u->fd < 0)
            continue;
        (void)(h2_pump(u->h2, 1 << 20) == ST_OK);
        struct outq *q = h2_outq(u->h2);

        while (outq_bytes(q) > 0) {
            struct iovec v[16];
            int n = outq_iov(q, v, 16);

            r = writev(u->fd, v, n);
            if (r <= 0)
                break;
            outq_consume(q, (size_t)r);
        }
    }
    settle(u->w);
}

static inline void take_connection(struct upstream *u)
{
    u->fd = accept_one(u->w, &u->listen);
    u->h2 = h2_server_new(&u->w->l, &h2_limits_tier, &server_ops, u);
    assert_non_null(u->h2);
    exchange(u);
}

static inline void drop_connection(struct upstream *u)
{
    if (u->fd >= 0)
        (void)close(u->fd);
    u->fd = -1;
    h2_free(&u->h2);
    settle(u->w);
}

static inline struct call *newest(struct upstream *u)
{
    assert_true(u->calls > 0);
    return &u->call[u->calls - 1];
}

static inline bool asked(struct upstream *u, const char *line)
{
    return strstr(newest(u)->request, line) != NULL;
}

/* The head, with one more field or two, and the first bytes; more with go_on(). */
static inline void answer(struct upstream *u, struct call *c, const char *status, const char *name,
                          const char *value, const char *name2, const char *value2,
                          const void *bytes, size_t len, bool last)
{
    struct h2_nv nv[3] = { H2_NV(":status", "") };
    size_t n = 1;

    nv[0].value = status;
    nv[0].value_len = 3;
    if (value != NULL)
        nv[n++] =
            (struct h2_nv){ name, value, (uint16_t)strlen(name), (uint32_t)strlen(value), false };
    if (value2 != NULL)
        nv[n++] = (struct h2_nv){ name2, value2, (uint16_t)strlen(name2), (uint32_t)strlen(value2),
                                  false };
    c->body = (struct h2_body){ avail, take };
    c->bytes = bytes;
    c->n = len;
    c->last = last;
    assert_int_equal(h2_respond(u->h2, c->id, nv, n, &c->body), ST_OK);
    exchange(u);
}

static inline void respond(struct upstream *u, struct call *c, const char *status, const char *etag,
                           const char *content_range, const char *bytes, bool last)
{
    answer(u, c, status, "etag", etag, "content-range", content_range, bytes, strlen(bytes), last);
}

static inline void go_on_with(struct upstream *u, struct call *c, const void *bytes, size_t len,
                              bool last)
{
    c->bytes = bytes;
    c->n = len;
    c->off = 0;
    c->last = last;
    h2_resume(u->h2, c->id);
    exchange(u);
}

static inline void go_on(struct upstream *u, struct call *c, const char *bytes, bool last)
{
    go_on_with(u, c, bytes, strlen(bytes), last);
}

/* A world with n upstreams; up[0] is the first in rank for live/show. */
static inline void open_tier(struct world *w, struct upstream *up, int n, bool push,
                             const char *limits)
{
    char edge[512], line[64];
    const struct route_host *ranked[ROUTE_UPSTREAMS_MAX];
    struct routes *r;
    struct err e;

    memset(up, 0, (size_t)n * sizeof *up);
    w->origin = server_open();
    (void)snprintf(edge, sizeof edge, "  push: %s\n  upstream: [", push ? "yes" : "no");
    for (int i = 0; i < n; i++) {
        up[i].listen = server_open();
        up[i].fd = -1;
        up[i].w = w;
        (void)snprintf(line, sizeof line, "%s\"http://127.0.0.1:%u\"", i > 0 ? ", " : "",
                       (unsigned)up[i].listen.port);
        (void)strcat(edge, line);
    }
    (void)strcat(edge, "]\n");
    world_open_with(w, limits, edge);
    assert_int_equal(routes_build(w->conf, NULL, NULL, &r, &e), ST_OK);
    assert_int_equal(routes_rank(r, "live/show", 9, ranked), n);
    for (int i = 0; i < n; i++)
        for (int k = i; k < n; k++) {
            (void)snprintf(line, sizeof line, ":%u", (unsigned)up[k].listen.port);
            if (strstr(ranked[i]->url, line) != NULL) {
                struct server s = up[i].listen;

                up[i].listen = up[k].listen;
                up[k].listen = s;
            }
        }
    routes_unref(&r);
}

static inline void close_tier(struct world *w, struct upstream *up, int n)
{
    for (int i = 0; i < n; i++) {
        drop_connection(&up[i]);
        (void)close(up[i].listen.fd);
    }
    world_close(w);
}

#endif
