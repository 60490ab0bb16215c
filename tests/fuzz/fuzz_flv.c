/* core/flv: a stream read in pieces gives the tags of the stream read whole; what was read can be
 * written and is the same bytes; media headers stay inside their body; a mark that parses can be
 * written and parses the same, a past too. The first byte chooses the pieces. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "core/check.h"
#include "core/flv.h"
#include "core/hash.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { LIMIT = 1 << 22, BODY_LIMIT = 1 << 16 };

static void look_for_a_past(const struct flv_tag *tag)
{
    struct buf b;
    const char *text;
    size_t n;

    if (flv_past_parse(tag, &text, &n) != ST_OK)
        return;
    buf_init(&b, 2 * FLV_PAST_MAX);
    flv_put_past(&b, text, n);
    CHECK(b.st == ST_OK && b.len == FLV_TAG_HEAD_BYTES + tag->n + FLV_TAG_TAIL_BYTES &&
          memcmp(b.data + FLV_TAG_HEAD_BYTES, tag->body, tag->n) == 0);
    buf_fini(&b);
}

static void look_inside(const struct flv_tag *tag)
{
    uint8_t *body = malloc(tag->n > 0 ? tag->n : 1); /* exact size: ASan sees over-reads */
    struct flv_tag own = *tag;
    struct flv_media m;
    struct flv_mark mark, again;

    CHECK(body != NULL);
    if (tag->n > 0)
        memcpy(body, tag->body, tag->n);
    own.body = body;
    look_for_a_past(&own);
    if (flv_video_parse(body, own.n, &m) == ST_OK)
        CHECK(m.data >= body && m.data + m.n == body + own.n);
    if (flv_audio_parse(body, own.n, &m) == ST_OK)
        CHECK(m.data >= body && m.data + m.n == body + own.n);
    if (flv_mark_parse(&own, &mark) == ST_OK) {
        struct buf b;

        buf_init(&b, FLV_MARK_MAX);
        flv_put_mark(&b, &mark);
        CHECK(b.st == ST_OK);
        own.body = b.data + FLV_TAG_HEAD_BYTES;
        own.n = b.len - FLV_TAG_HEAD_BYTES - FLV_TAG_TAIL_BYTES;
        CHECK(flv_mark_parse(&own, &again) == ST_OK);
        CHECK(again.tag == mark.tag && again.base_ms == mark.base_ms &&
              again.discontinuity == mark.discontinuity && again.arrival_us == mark.arrival_us &&
              again.has_anchor == mark.has_anchor && again.anchor_us == mark.anchor_us);
        buf_fini(&b);
    }
    free(body);
}

static enum st read_all(const uint8_t *p, size_t n, unsigned pieces, struct buf *copy)
{
    struct flv_reader r;
    uint64_t seed = pieces;
    enum st st = ST_MORE;

    flv_reader_init(&r, BODY_LIMIT);
    for (size_t at = 0, len = n; at < n && st == ST_MORE; at += len) {
        uint8_t *own;
        struct flv_tag tag;
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
        while ((st = flv_next(&r, &in, &tag)) == ST_OK) {
            CHECK(tag.n <= BODY_LIMIT);
            flv_put_tag(copy, &tag);
            if (pieces == 0)
                look_inside(&tag);
        }
        CHECK(st != ST_MORE || rd_left(&in) == 0);
        free(own);
    }
    if (st == ST_MORE)
        st = flv_reader_end(&r);
    flv_reader_fini(&r);
    return st;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct buf whole, parts;
    enum st st;

    if (size == 0 || size > 1 << 17)
        return 0;
    buf_init(&whole, LIMIT);
    buf_init(&parts, LIMIT);
    st = read_all(data + 1, size - 1, 0, &whole);
    CHECK(read_all(data + 1, size - 1, data[0] + 1u, &parts) == st);
    CHECK(whole.st == ST_OK && whole.len == parts.len);
    CHECK(whole.len == 0 || memcmp(whole.data, parts.data, whole.len) == 0);
    CHECK(whole.len == 0 || memcmp(whole.data, data + 1 + FLV_HEADER_BYTES, whole.len) == 0);
    if (st == ST_OK && size > 1)
        CHECK(whole.len == size - 1 - FLV_HEADER_BYTES);
    buf_fini(&whole);
    buf_fini(&parts);
    return 0;
}
