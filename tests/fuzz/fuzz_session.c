/* ingest/session: a whole session from its bytes. Taken in pieces it does what it does whole; what
 * comes out is legal whatever came in: marks before tags, numbers and times that rise, one end for
 * each beginning, and replies that are a chunk stream. The first byte chooses the pieces; its top
 * bit puts the handshake in front. */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/uio.h>

#include "core/check.h"
#include "core/hash.h"
#include "ingest/chunk.h"
#include "ingest/session.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { LIMIT = 1 << 22 };

struct world {
    struct rtmp_session *s;
    struct outq_pool pool;
    struct outq out;
    struct buf said, replies;
    bool live, marked;
    uint64_t tags;
    int64_t last_ms;
};

static bool on_app(void *ctx, const char *app)
{
    (void)ctx;
    CHECK(strlen(app) <= AUTH_NAME_MAX);
    return true;
}

static void on_publish(void *ctx, const struct auth_target *t)
{
    struct world *w = ctx;

    CHECK(!w->live);
    buf_printf(&w->said, "publish %s/%s\n", t->app, t->stream);
    w->live = true;
    w->marked = false;
    w->tags = 0;
    w->last_ms = 0;
    rtmp_session_accept(w->s, 0);
}

static void on_mark(void *ctx, const struct flv_mark *m)
{
    struct world *w = ctx;

    CHECK(w->live && m->tag == w->tags && m->base_ms >= 0);
    buf_printf(&w->said, "mark %" PRId64 " %d\n", m->base_ms, m->discontinuity);
    w->marked = true;
    w->last_ms = m->base_ms;
}

static void on_tag(void *ctx, const struct flv_tag *t, const struct flv_media *m)
{
    struct world *w = ctx;

    CHECK(w->live && w->marked && t->n > 0 && t->n <= FLV_BODY_MAX);
    CHECK((m == NULL) == (t->type == FLV_SCRIPT));
    w->tags++;
    buf_printf(&w->said, "%d %" PRIu32 " %" PRIx64 "\n", (int)t->type, t->ts_ms,
               hash64(t->body, t->n, 0));
}

static void on_unpublish(void *ctx, enum rtmp_how how)
{
    struct world *w = ctx;

    CHECK(w->live);
    w->live = false;
    buf_printf(&w->said, "unpublish %d\n", (int)how);
}

static void on_refused(void *ctx, enum auth_why why)
{
    struct world *w = ctx;

    buf_printf(&w->said, "refused %d\n", (int)why);
}

static const struct rtmp_ops ops = { .app = on_app,
                                     .publish = on_publish,
                                     .mark = on_mark,
                                     .tag = on_tag,
                                     .unpublish = on_unpublish,
                                     .refused = on_refused };

static void take_replies(struct world *w)
{
    struct iovec v[16];
    int n;

    while ((n = outq_iov(&w->out, v, 16)) > 0) {
        size_t sum = 0;

        for (int i = 0; i < n; i++) {
            buf_add(&w->replies, v[i].iov_base, v[i].iov_len);
            sum += v[i].iov_len;
        }
        outq_consume(&w->out, sum);
    }
}

static void check_replies(const struct buf *b)
{
    struct chunk_limits lim = { 1 << 20, 1 << 20, 1 << 20 };
    struct chunk_demux *d = chunk_demux_new(&lim);
    struct rtmp_msg m;
    struct rd in;
    enum st st;

    CHECK(d != NULL);
    if (b->len > 0) {
        CHECK(b->len >= 3073);
        in = rd_init(b->data + 3073, b->len - 3073);
        while ((st = chunk_next(d, &in, &m)) == ST_OK) {
            struct rd body = rd_init(m.body, m.n);

            if (m.type == RTMP_SET_CHUNK_SIZE)
                CHECK(chunk_demux_set_size(d, rd_u32be(&body)) == ST_OK);
        }
        CHECK(st == ST_MORE && chunk_why(d) == CHUNK_GOOD);
    }
    chunk_demux_free(&d);
}

static enum st feed(struct world *w, const uint8_t *p, size_t n)
{
    struct rtmp_now now = { 1000000, 1 };
    uint8_t *own = malloc(n > 0 ? n : 1);
    struct rd in;
    enum st st;

    CHECK(own != NULL);
    memcpy(own, p, n);
    in = rd_init(own, n);
    st = rtmp_session_feed(w->s, &in, &now);
    CHECK(st != ST_OK || rd_left(&in) == 0);
    CHECK((st == ST_OK) == (rtmp_session_state(w->s) != RTMP_CLOSING));
    CHECK(rtmp_session_memory(w->s) < (9u << 20) + (64u << 10));
    take_replies(w);
    free(own);
    return st;
}

static void run(const uint8_t *p, size_t n, unsigned pieces, bool hello, struct buf *said)
{
    static const uint8_t hands[3073] = { 3 };
    struct rtmp_limits lim = RTMP_LIMITS_DEFAULT;
    struct world w = { .live = false };
    uint64_t seed = pieces;
    enum st st = ST_OK;

    outq_init(&w.out, &w.pool);
    buf_init(&w.said, LIMIT);
    buf_init(&w.replies, LIMIT);
    lim.commands_s = 1000000;
    w.s = rtmp_session_new(&ops, &w, &w.out, 1, &lim);
    CHECK(w.s != NULL);
    if (hello)
        st = feed(&w, hands, sizeof hands);
    for (size_t at = 0, len = n; at < n && st == ST_OK; at += len) {
        if (pieces != 0) {
            seed = hash_mix(seed + at);
            len = 1 + (size_t)(seed % (pieces < 64 ? pieces : pieces * 16));
        }
        if (len > n - at)
            len = n - at;
        st = feed(&w, p + at, len);
    }
    buf_printf(&w.said, "end %d %d\n", (int)st, (int)rtmp_session_why(w.s));
    CHECK(st == ST_OK || !w.live);
    rtmp_session_free(&w.s);
    CHECK(!w.live && w.said.st == ST_OK);
    check_replies(&w.replies);
    buf_add(said, w.said.data, w.said.len);
    buf_fini(&w.said);
    buf_fini(&w.replies);
    outq_clear(&w.out);
    outq_pool_fini(&w.pool);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct buf whole, parts;
    bool hello;

    if (size == 0 || size > 1 << 14)
        return 0;
    hello = (data[0] & 0x80) != 0;
    buf_init(&whole, LIMIT);
    buf_init(&parts, LIMIT);
    run(data + 1, size - 1, 0, hello, &whole);
    run(data + 1, size - 1, (data[0] & 0x7fu) + 1, hello, &parts);
    CHECK(whole.st == ST_OK && strcmp(buf_text(&whole), buf_text(&parts)) == 0);
    buf_fini(&whole);
    buf_fini(&parts);
    return 0;
}
