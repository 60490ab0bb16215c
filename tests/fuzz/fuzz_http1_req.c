/* Input: one byte of step size, then the wire. Properties: the result does not depend on how the
 * bytes are cut; an accepted head, written down again from what we understood, is accepted again
 * with the same meaning; nothing that HTTP/1 cannot carry is in it. */
#include <stdio.h>
#include <stdlib.h>

#include "core/check.h"
#include "edge/http1_req.h"

static const struct http_limits lim = { .head_bytes = 2048, .target_bytes = 512, .fields = 20 };

static const char *const names[] = {
#define X(name, text) [HTTP_FIELD_##name] = text,
    HTTP_KEPT(X)
#undef X
};

static enum st in_pieces(const uint8_t *p, size_t n, size_t step, struct http_head *h, size_t *used)
{
    struct http1_req r = { .start = 0 };

    for (size_t have = 0;;) {
        enum st st;

        have = n - have > step ? have + step : n;
        st = http1_req_parse(&r, p, have, &lim, h, used);
        if (st != ST_MORE || have == n)
            return st;
    }
}

/* The same request if the slices hold the same bytes, wherever they are. */
static void check_same(const struct http_head *a, const struct http_head *b)
{
    CHECK(a->method == b->method && a->minor == b->minor && a->keep_alive == b->keep_alive);
    CHECK(a->authorization == b->authorization && a->cookie == b->cookie && a->hop == b->hop);
    CHECK(slice_eq(a->target, b->target) && slice_eq(a->host, b->host));
    for (int f = 0; f < HTTP_FIELDS_KEPT; f++) {
        CHECK((a->kept[f].p == NULL) == (b->kept[f].p == NULL));
        CHECK(slice_eq(a->kept[f], b->kept[f]));
    }
}

static size_t write_slice(char *out, const char *name, struct slice s)
{
    size_t n = strlen(name);

    for (size_t i = 0; i < s.n; i++)
        CHECK((s.p[i] >= 0x20 || s.p[i] == '\t') && s.p[i] != 0x7f);
    memcpy(out, name, n);
    memcpy(out + n, ": ", 2);
    memcpy(out + n + 2, s.p, s.n);
    memcpy(out + n + 2 + s.n, "\r\n", 2);
    return n + s.n + 4;
}

static void check_rewritten(const struct http_head *h)
{
    static char wire[8192];
    const struct http_limits wide = HTTP_LIMITS_DEFAULT;
    struct http1_req r = { .start = 0 };
    struct http_head again;
    size_t used, n = 0;

    n += (size_t)snprintf(wire, sizeof wire, "%.*s %.*s HTTP/1.%u\r\nConnection: %s\r\n",
                          (int)h->method_text.n, (const char *)h->method_text.p, (int)h->target.n,
                          (const char *)h->target.p, h->minor,
                          h->keep_alive ? "keep-alive" : "close");
    if (h->host.p != NULL)
        n += write_slice(wire + n, "host", h->host);
    for (int f = 0; f < HTTP_FIELDS_KEPT; f++) {
        if (h->kept[f].p != NULL)
            n += write_slice(wire + n, names[f], h->kept[f]);
    }
    if (h->authorization)
        n += write_slice(wire + n, "authorization", SLICE("x"));
    if (h->cookie)
        n += write_slice(wire + n, "cookie", SLICE("x"));
    if (h->hop)
        n += write_slice(wire + n, "freshet-hop", SLICE("1"));
    memcpy(wire + n, "\r\n", 2);
    n += 2;
    CHECK(http1_req_parse(&r, (const uint8_t *)wire, n, &wide, &again, &used) == ST_OK);
    CHECK(used == n);
    check_same(h, &again);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct http_head whole, pieces;
    size_t used = 0, used_pieces = 0;
    enum st st;

    if (size < 2 || data[0] == 0)
        return 0;
    st = in_pieces(data + 1, size - 1, size, &whole, &used);
    CHECK(in_pieces(data + 1, size - 1, data[0], &pieces, &used_pieces) == st);
    if (st == ST_MORE)
        return 0;
    CHECK(whole.refusal == pieces.refusal && used == used_pieces);
    CHECK((st == ST_OK) == (whole.refusal == HTTP_REFUSED_NONE));
    if (st != ST_OK)
        return 0;
    CHECK(used >= 18 && memcmp(data + 1 + used - 4, "\r\n\r\n", 4) == 0);
    check_same(&whole, &pieces);
    check_rewritten(&whole);
    return 0;
}
