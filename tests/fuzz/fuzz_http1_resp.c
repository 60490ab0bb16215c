/* Input: one byte of step size and flags, then the wire. Properties: events, body and consumed
 * input do not depend on how the bytes are cut; one head, then body, then at most one end; with a
 * length, the end comes after exactly so many bytes. */
#include "core/check.h"
#include "edge/http1_resp.h"

struct digest {
    enum st st;
    enum http_refusal why;
    unsigned status, heads, ends;
    bool reusable;
    uint64_t body_bytes, hash;
    size_t used;
};

static void note(struct digest *d, const struct http1_resp *r, const struct http1_event *ev,
                 bool to_head)
{
    CHECK(d->ends == 0 && (ev->kind == HTTP1_HEAD) == (d->heads == 0));
    if (ev->kind == HTTP1_HEAD) {
        d->heads++;
        d->status = r->reply.status;
        for (int f = 0; f < HTTP_REPLY_FIELDS; f++) {
            for (size_t i = 0; i < r->reply.kept[f].n; i++)
                d->hash = (d->hash ^ r->reply.kept[f].p[i]) * UINT64_C(1099511628211);
        }
    } else if (ev->kind == HTTP1_BODY) {
        CHECK(ev->bytes.n > 0 && !to_head);
        d->body_bytes += ev->bytes.n;
        for (size_t i = 0; i < ev->bytes.n; i++)
            d->hash = (d->hash ^ ev->bytes.p[i]) * UINT64_C(1099511628211);
    } else {
        d->ends++;
        d->reusable = ev->reusable;
        if (r->reply.has_length && !to_head && d->status != 204 && d->status != 304)
            CHECK(d->body_bytes == r->reply.length);
    }
}

static struct digest run(const uint8_t *p, size_t n, size_t step, bool to_head)
{
    static struct http1_resp r;
    struct digest d = { .st = ST_MORE };
    struct http1_event ev;

    http1_resp_init(&r, to_head);
    while (d.st == ST_MORE && d.used < n && d.ends == 0) {
        size_t take = step < n - d.used ? step : n - d.used;
        struct rd in = rd_init(p + d.used, take);

        while ((d.st = http1_resp_next(&r, &in, &ev)) == ST_OK)
            note(&d, &r, &ev, to_head);
        d.used += take - rd_left(&in);
    }
    if (d.st == ST_MORE && d.ends == 0) {
        d.st = http1_resp_eof(&r, &ev);
        if (d.st == ST_OK)
            note(&d, &r, &ev, to_head);
        if (d.ends > 0)
            CHECK(r.by_close && !d.reusable);
    }
    d.why = r.reply.refusal;
    return d;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct digest a, b;
    bool to_head;

    if (size < 2 || data[0] < 2)
        return 0;
    to_head = (data[0] & 1) != 0;
    a = run(data + 1, size - 1, size, to_head);
    b = run(data + 1, size - 1, data[0] / 2, to_head);
    CHECK(a.st == b.st && a.why == b.why && a.heads == b.heads && a.ends == b.ends);
    CHECK(a.status == b.status && a.reusable == b.reusable);
    CHECK(a.body_bytes == b.body_bytes && a.hash == b.hash);
    if (a.st >= ST_OK) /* refused input is not worth counting */
        CHECK(a.used == b.used);
    return 0;
}
