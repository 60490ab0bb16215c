/* ingest/chunk: a stream taken in pieces gives the messages of the stream taken whole, in memory
 * that has its limit; what was read can be sent, and read again. The first byte chooses the
 * pieces. Set Chunk Size and Abort are obeyed. */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "core/check.h"
#include "core/hash.h"
#include "ingest/chunk.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { LIMIT = 1 << 22 };
static const struct chunk_limits limits = { .media_bytes = 1 << 16,
                                            .other_bytes = 1 << 12,
                                            .memory_bytes = 1 << 17 };

static enum st obey(struct chunk_demux *d, const struct rtmp_msg *m)
{
    struct rd body = rd_init(m->body, m->n);
    uint32_t v = rd_u32be(&body);

    if (body.bad)
        return ST_OK;
    if (m->type == RTMP_SET_CHUNK_SIZE)
        return chunk_demux_set_size(d, v);
    if (m->type == RTMP_ABORT)
        chunk_demux_abort(d, v);
    return ST_OK;
}

static void send_again(const struct rtmp_msg *m)
{
    uint32_t size = 1 + (uint32_t)(m->n + m->ts_ms) % 300;
    struct chunk_demux *d = chunk_demux_new(&limits);
    struct rtmp_msg back;
    struct buf b;
    struct rd in;

    CHECK(d != NULL && chunk_demux_set_size(d, size) == ST_OK);
    buf_init(&b, LIMIT);
    chunk_put(&b, 5, m, size);
    in = rd_init(b.data, b.len);
    CHECK(b.st == ST_OK && chunk_next(d, &in, &back) == ST_OK && rd_left(&in) == 0);
    CHECK(back.ts_ms == m->ts_ms && back.msid == m->msid && back.type == m->type);
    CHECK(back.n == m->n && memcmp(back.body, m->body, m->n) == 0);
    buf_fini(&b);
    chunk_demux_free(&d);
}

static enum st read_all(const uint8_t *p, size_t n, unsigned pieces, struct buf *said)
{
    struct chunk_demux *d = chunk_demux_new(&limits);
    uint64_t seed = pieces;
    enum st st = ST_MORE;
    size_t bare;

    CHECK(d != NULL);
    bare = chunk_demux_memory(d);
    for (size_t at = 0, len = n; at < n && st == ST_MORE; at += len) {
        struct rtmp_msg m;
        uint8_t *own;
        struct rd in;

        if (pieces != 0) {
            seed = hash_mix(seed + at);
            len = 1 + (size_t)(seed % (pieces < 128 ? pieces : pieces * 4));
        }
        if (len > n - at)
            len = n - at;
        own = malloc(len);
        CHECK(own != NULL);
        memcpy(own, p + at, len);
        in = rd_init(own, len);
        while ((st = chunk_next(d, &in, &m)) == ST_OK) {
            buf_printf(said, "%u %" PRIu32 " %" PRIu32 " %zu %" PRIx64 "\n", m.type, m.msid,
                       m.ts_ms, m.n, hash64(m.body, m.n, 0));
            if (pieces == 0)
                send_again(&m);
            st = obey(d, &m);
            if (st != ST_OK)
                break;
        }
        CHECK(st != ST_MORE || rd_left(&in) == 0);
        CHECK(chunk_demux_memory(d) <= bare + limits.memory_bytes);
        free(own);
    }
    CHECK((st < ST_OK) == (chunk_why(d) != CHUNK_GOOD));
    chunk_demux_free(&d);
    return st;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct buf whole, parts;

    if (size == 0 || size > 1 << 14)
        return 0;
    buf_init(&whole, LIMIT);
    buf_init(&parts, LIMIT);
    CHECK(read_all(data + 1, size - 1, 0, &whole) ==
          read_all(data + 1, size - 1, data[0] + 1u, &parts));
    CHECK(whole.st == ST_OK && strcmp(buf_text(&whole), buf_text(&parts)) == 0);
    buf_fini(&whole);
    buf_fini(&parts);
    return 0;
}
