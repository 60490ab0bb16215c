/* Input: one byte of flags, one byte of piece size, then wire bytes for a session. Property: no
 * crash, and feeding in pieces shows the same messages as feeding at once.
 * Flags: 1: the peer has said its preface already; 2: the session is a client with four requests
 * open; 4: answers are pumped between the pieces (then the runs may differ, and only survive). */
#include <stdlib.h>
#include <string.h>

#include "core/check.h"
#include "core/clock.h"
#include "core/h2.h"
#include "core/loop.h"

static uint64_t fixed_mono(void) { return 99 * SEC_US; }
static int64_t fixed_wall(void) { return 0; }
static const struct clock_source fixed_clock = { fixed_mono, fixed_wall };

static uint64_t fnv(uint64_t h, const void *p, size_t n)
{
    const uint8_t *b = p;

    for (size_t i = 0; i < n; i++)
        h = (h ^ b[i]) * UINT64_C(1099511628211);
    return h;
}

struct run {
    uint64_t digest;
    unsigned open;
    bool server;
    bool deaf; /* the peer said goodbye and was idle: what it still sends is not read */
};

struct msg {
    struct h2_body body;
    uint64_t data;
    size_t left;
    int closed;
};

static enum st avail(struct h2_body *b, size_t max, size_t *n, bool *last)
{
    struct msg *m = CONTAINER_OF(b, struct msg, body);

    *n = m->left < max ? m->left : max;
    *last = *n == m->left;
    return ST_OK;
}

static int take(struct h2_body *b, size_t n, struct h2_slice *s, int max)
{
    static const uint8_t bytes[20000];
    struct msg *m = CONTAINER_OF(b, struct msg, body);

    (void)max;
    CHECK(n <= sizeof bytes);
    m->left -= n;
    *s = (struct h2_slice){ bytes, n, NULL };
    return 1;
}

static void *on_stream(struct h2 *h2, void *ctx, int32_t id)
{
    struct run *r = ctx;
    struct msg *m = calloc(1, sizeof *m);

    (void)h2, (void)id;
    if (m == NULL)
        abort();
    m->body = (struct h2_body){ avail, take };
    m->left = 20000;
    r->open++;
    return m;
}

static void on_header(struct h2 *h2, void *stream, int32_t id, const char *name, size_t nl,
                      const char *value, size_t vl)
{
    struct run *r = h2_ctx(h2);

    CHECK(((struct msg *)stream)->closed == 0);
    r->digest = fnv(r->digest, &id, sizeof id);
    r->digest = fnv(fnv(r->digest, name, nl), value, vl);
}

static void on_head(struct h2 *h2, void *stream, int32_t id, bool last)
{
    static const struct h2_nv ok[] = { H2_NV(":status", "200") };
    struct run *r = h2_ctx(h2);
    struct msg *m = stream;

    r->digest = fnv(r->digest, &last, sizeof last);
    if (r->server && id % 3 != 0)
        CHECK(h2_respond(h2, id, ok, 1, id % 5 != 0 ? &m->body : NULL) == ST_OK);
    else if (r->server && id % 9 == 0)
        h2_reset(h2, id, H2_CANCEL, H2_RESET_CANCELLED);
}

static void on_data(struct h2 *h2, void *stream, int32_t id, const uint8_t *p, size_t n)
{
    struct msg *m = stream;

    m->data = fnv(m->data, p, n);
    if (id % 7 != 0)
        h2_consume(h2, id, n);
}

static void on_end(struct h2 *h2, void *stream, int32_t id)
{
    struct run *r = h2_ctx(h2);
    struct msg *m = stream;

    r->digest = fnv(fnv(r->digest, &id, sizeof id), &m->data, sizeof m->data);
}

static void on_close(struct h2 *h2, void *stream, int32_t id, const struct h2_close *why)
{
    struct run *r = h2_ctx(h2);
    struct msg *m = stream;

    (void)id, (void)why;
    CHECK(m->closed++ == 0);
    r->open--;
    free(m);
}

static const struct h2_ops ops = { on_stream, on_header, on_head, on_data, on_end, on_close };

static void ask(struct h2 *h2, struct run *r)
{
    static const struct h2_nv get[] = { H2_NV(":method", "GET"), H2_NV(":scheme", "http"),
                                        H2_NV(":path", "/"), H2_NV(":authority", "a") };

    for (int i = 0; i < 4; i++) {
        struct msg *m = on_stream(h2, r, 0);
        int32_t id;

        CHECK(h2_request(h2, get, 4, i == 3 ? &m->body : NULL, m, &id) == ST_OK);
    }
    CHECK(h2_pump(h2, 1 << 20) == ST_OK);
}

static struct run run(const uint8_t *p, size_t n, size_t step, uint8_t flags)
{
    static const uint8_t hello[] =
        "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\4\0\0\0\0\0\0\0\0\4\1\0\0\0\0";
    struct run r = { .digest = 14695981039346656037u, .server = (flags & 2) == 0 };
    struct loop l;
    struct h2 *h2;
    enum st st = ST_OK;

    CHECK(loop_init(&l, 0, 1) == ST_OK);
    h2 = r.server ? h2_server_new(&l, &h2_limits_player, &ops, &r)
                  : h2_client_new(&l, &h2_limits_player, &ops, &r);
    CHECK(h2 != NULL);
    if (!r.server)
        ask(h2, &r);
    if ((flags & 1) != 0 && r.server)
        CHECK(h2_feed(h2, hello, sizeof hello - 1) == ST_OK);
    for (size_t at = 0; at < n && st == ST_OK; at += step) {
        size_t part = step < n - at ? step : n - at;
        uint8_t *copy = malloc(part);

        memcpy(copy, p + at, part);
        r.deaf = r.deaf || !h2_wants_read(h2);
        st = h2_feed(h2, copy, part);
        free(copy);
        if ((flags & 4) != 0 && st == ST_OK) {
            st = h2_pump(h2, 50000);
            if (at % 2 == 0)
                outq_consume(h2_outq(h2), outq_bytes(h2_outq(h2)));
            st = st == ST_MORE ? ST_OK : st;
        }
    }
    st = h2_pump(h2, 1 << 20);
    enum h2_end end = h2_end_of(h2);
    r.digest = fnv(r.digest, &end, sizeof end);
    CHECK((end == H2_END_NONE) == (st >= ST_OK));
    CHECK(h2_streams_open(h2) == r.open);
    h2_free(&h2);
    CHECK(r.open == 0);
    loop_fini(&l);
    return r;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 3 || data[1] == 0 || size > 8192) /* so few frames never fill the control queue */
        return 0;
    clock_use(&fixed_clock);
    struct run whole = run(data + 2, size - 2, size, data[0]);
    struct run pieces = run(data + 2, size - 2, data[1], data[0]);
    CHECK((data[0] & 4) != 0 || pieces.deaf || whole.digest == pieces.digest);
    return 0;
}
