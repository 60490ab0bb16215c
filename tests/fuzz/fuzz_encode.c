/* encode/stream: hostile FLV makes records that can be read, the same however it is cut; and from
 * any state that was said, another worker starts without harm. The first byte chooses the pieces.
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <libavutil/log.h>

#include "core/check.h"
#include "core/hash.h"
#include "core/record.h"
#include "encode/stream.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const struct timeline_conf conf = { .ast_s = 1760000000,
                                           .segment_ms = 1000,
                                           .chunk_ms = 100 };

static enum st run(const uint8_t *p, size_t n, unsigned pieces, const json_t *resume,
                   struct buf *out)
{
    struct enc_stream *s = enc_stream_new(&conf, resume);
    uint64_t seed = pieces;
    enum st st = ST_MORE;

    CHECK(s != NULL);
    for (size_t at = 0, len = n; at < n && st == ST_MORE; at += len) {
        uint8_t *copy;

        if (pieces != 0) {
            seed = hash_mix(seed + at);
            len = 1 + (size_t)(seed % (pieces < 128 ? pieces : pieces * 8));
        }
        if (len > n - at)
            len = n - at;
        copy = malloc(len); /* exact size: ASan sees over-reads */
        CHECK(copy != NULL);
        memcpy(copy, p + at, len);
        st = enc_stream_feed(s, copy, len, out);
        free(copy);
    }
    if (st == ST_MORE)
        st = enc_stream_end(s, out);
    if (st != ST_OK)
        enc_stream_refuse(s, out);
    CHECK(out->st == ST_OK);
    enc_stream_free(&s);
    return st;
}

/* The last states; what is said must be records, with times that go forward. */
static json_t *read_records(const struct buf *out)
{
    struct rd in = rd_init(out->data != NULL ? out->data : (const uint8_t *)"", out->len);
    json_t *states = json_object();
    struct record_reader r;
    struct record_event ev;
    json_int_t end[2] = { 0, 0 };

    record_reader_init(&r, RECORD_BYTES_MAX);
    while (record_next(&r, &in, &ev) == ST_OK) {
        const char *rep = NULL;
        json_int_t t, d;
        json_t *state;
        int i;

        if (ev.what != RECORD_GOT_HEAD)
            continue;
        if (ev.head.type == RECORD_PERIOD)
            end[0] = end[1] = 0;
        if (ev.head.type != RECORD_CHUNK)
            continue;
        CHECK(json_unpack((json_t *)(uintptr_t)ev.json, "{s:s,s:I,s:I,s:o}", "rep", &rep, "t", &t,
                          "d", &d, "state", &state) == 0);
        i = rep[0] == 'a';
        CHECK(t >= end[i] && d > 0);
        end[i] = t + d;
        CHECK(json_object_set(states, rep, state) == 0);
    }
    CHECK(record_reader_end(&r) == ST_OK);
    record_reader_fini(&r);
    return states;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct buf whole, parts;
    json_t *states;
    enum st st;

    if (size == 0 || size > 1 << 16)
        return 0;
    av_log_set_level(AV_LOG_QUIET);
    buf_init(&whole, ENC_OUT_BYTES_MAX);
    buf_init(&parts, ENC_OUT_BYTES_MAX);
    st = run(data + 1, size - 1, 0, NULL, &whole);
    CHECK(run(data + 1, size - 1, data[0] + 1u, NULL, &parts) == st);
    CHECK(whole.len == parts.len);
    CHECK(whole.len == 0 || memcmp(whole.data, parts.data, whole.len) == 0);
    states = read_records(&whole);
    buf_reset(&parts);
    (void)run(data + 1, size - 1, 0, states, &parts);
    json_decref(states);
    states = read_records(&parts);
    json_decref(states);
    buf_fini(&whole);
    buf_fini(&parts);
    return 0;
}
