/* core/flv: the wire byte by byte, every split point, hostile tags, media headers and the mark. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <inttypes.h>

#include "core/flv.h"

/* Feeds n bytes in pieces of `step` from exact-size copies; what came is written into said. */
static enum st read_in_steps(struct flv_reader *r, const uint8_t *p, size_t n, size_t step,
                             struct buf *said)
{
    enum st st = ST_MORE;

    for (size_t at = 0; at < n && st == ST_MORE; at += step) {
        size_t len = n - at < step ? n - at : step;
        uint8_t *copy = malloc(len);
        struct flv_tag tag;
        struct rd in;

        memcpy(copy, p + at, len);
        in = rd_init(copy, len);
        while ((st = flv_next(r, &in, &tag)) == ST_OK) {
            buf_printf(said, "%d@%" PRIu32 ":", (int)tag.type, tag.ts_ms);
            buf_add(said, tag.body, tag.n);
            buf_puts(said, ";");
        }
        assert_true(st != ST_MORE || rd_left(&in) == 0);
        free(copy);
    }
    return st;
}

static void put(struct buf *b, enum flv_type type, uint32_t ts_ms, const char *body)
{
    flv_put_tag(
        b, &(struct flv_tag){
               .type = type, .ts_ms = ts_ms, .body = (const uint8_t *)body, .n = strlen(body) });
}

static void put_sample(struct buf *b)
{
    flv_put_header(b);
    put(b, FLV_SCRIPT, 0, "meta");
    put(b, FLV_AUDIO, 0x00ffffff, "");
    put(b, FLV_VIDEO, 0x01000000, "a key frame that is a little longer than the rest");
    put(b, FLV_AUDIO, UINT32_MAX, "x");
    assert_int_equal(b->st, ST_OK);
}

static const char said_of_sample[] =
    "18@0:meta;8@16777215:;9@16777216:a key frame that is a little longer than the rest;"
    "8@4294967295:x;";

static void the_wire_is_flv(void **state)
{
    static const uint8_t want[] = { 'F', 'L', 'V', 1,   5,   0, 0,    0,    9,    0,    0,
                                    0,   0,   9,   0,   0,   3, 0x34, 0x56, 0x78, 0x12, 0,
                                    0,   0,   'a', 'b', 'c', 0, 0,    0,    14 };
    struct buf b;

    (void)state;
    buf_init(&b, 100);
    flv_put_header(&b);
    put(&b, FLV_VIDEO, 0x12345678, "abc");
    assert_int_equal(b.len, sizeof want);
    assert_memory_equal(b.data, want, sizeof want);
    buf_fini(&b);
}

static void tags_are_the_same_at_every_split_point(void **state)
{
    struct buf wire, said;

    (void)state;
    buf_init(&wire, 1000);
    buf_init(&said, 1000);
    put_sample(&wire);
    for (size_t step = 1; step <= wire.len; step++) {
        struct flv_reader r;

        buf_reset(&said);
        flv_reader_init(&r, 1000);
        assert_int_equal(read_in_steps(&r, wire.data, wire.len, step, &said), ST_MORE);
        assert_int_equal(flv_reader_end(&r), ST_OK);
        assert_string_equal(buf_text(&said), said_of_sample);
        flv_reader_fini(&r);
    }
    buf_fini(&wire);
    buf_fini(&said);
}

static void a_stream_may_end_between_tags_only(void **state)
{
    size_t whole = 0;
    struct buf wire, said;

    (void)state;
    buf_init(&wire, 1000);
    buf_init(&said, 1000);
    put_sample(&wire);
    for (size_t n = 0; n <= wire.len; n++) {
        struct flv_reader r;

        flv_reader_init(&r, 1000);
        assert_int_equal(read_in_steps(&r, wire.data, n, 1000, &said), ST_MORE);
        whole += flv_reader_end(&r) == ST_OK;
        flv_reader_fini(&r);
    }
    assert_int_equal(whole, 6); /* nothing, the header, four tags */
    buf_fini(&wire);
    buf_fini(&said);
}

#define HEADER "FLV\1\5\0\0\0\x09\0\0\0\0"

static void hostile_streams_get_their_status(void **state)
{
    static const struct {
        const char *what;
        const char *wire;
        size_t n;
        enum st st;
    } table[] = {
#define ROW(what, wire, st) { what, wire, sizeof wire - 1, st }
        ROW("good", HEADER "\x08\0\0\1\0\0\0\0\0\0\0x\0\0\0\x0c", ST_MORE),
        ROW("RTMP", "\3LV\1\5\0\0\0\x09\0\0\0\0", ST_EPROTO),
        ROW("version 2", "FLV\2\5\0\0\0\x09\0\0\0\0", ST_EPROTO),
        ROW("reserved flags", "FLV\1\x0d\0\0\0\x09\0\0\0\0", ST_EPROTO),
        ROW("a longer header", "FLV\1\5\0\0\0\x0a\0\0\0\0", ST_EPROTO),
        ROW("a tag before the first", "FLV\1\5\0\0\0\x09\0\0\0\1", ST_EPROTO),
        ROW("type 0", HEADER "\0\0\0\1\0\0\0\0\0\0\0x\0\0\0\x0c", ST_EPROTO),
        ROW("encrypted", HEADER "\x28\0\0\1\0\0\0\0\0\0\0x\0\0\0\x0c", ST_EPROTO),
        ROW("a stream id", HEADER "\x08\0\0\1\0\0\0\0\0\0\1x\0\0\0\x0c", ST_EPROTO),
        ROW("wrong size after it", HEADER "\x08\0\0\1\0\0\0\0\0\0\0x\0\0\0\x0b", ST_EPROTO),
        ROW("wrong high byte after it", HEADER "\x08\0\0\1\0\0\0\0\0\0\0x\1\0\0\x0c", ST_EPROTO),
        ROW("over the limit", HEADER "\x09\0\0\x81\0\0\0\0\0\0\0", ST_ELIMIT),
        ROW("far over the limit", HEADER "\x09\xff\xff\xff\0\0\0\0\0\0\0", ST_ELIMIT),
#undef ROW
    };

    (void)state;
    for (size_t i = 0; i < sizeof table / sizeof table[0]; i++) {
        for (size_t step = 1; step <= table[i].n; step++) {
            struct flv_reader r;
            struct flv_tag tag;
            struct buf said;
            struct rd in = rd_init("", 0);

            buf_init(&said, 1000);
            flv_reader_init(&r, 128);
            if (read_in_steps(&r, (const uint8_t *)table[i].wire, table[i].n, step, &said) !=
                table[i].st)
                fail_msg("%s, in steps of %zu", table[i].what, step);
            /* and a failure sticks */
            assert_int_equal(flv_next(&r, &in, &tag), table[i].st);
            assert_int_equal(flv_reader_end(&r), table[i].st == ST_MORE ? ST_OK : table[i].st);
            flv_reader_fini(&r);
            buf_fini(&said);
        }
    }
}

static void a_declared_size_takes_no_memory_until_the_bytes_come(void **state)
{
    static const char wire[] = HEADER "\x09\xff\xff\xff\0\0\0\0\0\0\0some";
    struct flv_reader r;
    struct flv_tag tag;
    struct rd in = rd_init(wire, sizeof wire - 1);

    (void)state;
    flv_reader_init(&r, FLV_BODY_MAX);
    assert_int_equal(flv_next(&r, &in, &tag), ST_MORE);
    assert_true(r.body.room < 1000);
    assert_int_equal(flv_reader_end(&r), ST_EPROTO);
    flv_reader_fini(&r);
}

static void a_whole_tag_is_borrowed_from_the_input(void **state)
{
    struct buf wire;
    struct flv_reader r;
    struct flv_tag tag;
    struct rd in;

    (void)state;
    buf_init(&wire, 1000);
    flv_put_header(&wire);
    put(&wire, FLV_VIDEO, 1, "frame");
    in = rd_init(wire.data, wire.len);
    flv_reader_init(&r, 1000);
    assert_int_equal(flv_next(&r, &in, &tag), ST_OK);
    assert_ptr_equal(tag.body, wire.data + FLV_HEADER_BYTES + FLV_TAG_HEAD_BYTES);
    assert_null(r.body.data);
    flv_reader_fini(&r);
    buf_fini(&wire);
}

static void times_unwrap_to_the_nearest(void **state)
{
    (void)state;
    assert_true(flv_unwrap(0, 5) == 5);
    assert_true(flv_unwrap(0, UINT32_MAX) == -1);
    assert_true(flv_unwrap(INT64_C(4294967290), 4) == INT64_C(4294967300));
    assert_true(flv_unwrap(INT64_C(4294967300), UINT32_MAX - 5) == INT64_C(4294967290));
    assert_true(flv_unwrap(INT64_C(3) << 32, 0x7fffffff) == (INT64_C(3) << 32) + 0x7fffffff);
    assert_true(flv_unwrap(-10, 0) == 0);
}

struct media_row {
    const char *what;
    const char *body;
    size_t n;
    enum st st;
    struct flv_media want; /* data: how far into the body */
    size_t data_at;
};

#define ROW(what, body, st, at, ...)                         \
    {                                                        \
        what, body, sizeof body - 1, st, { __VA_ARGS__ }, at \
    }

static void check_media(const struct media_row *row,
                        enum st (*parse)(const uint8_t *, size_t, struct flv_media *))
{
    uint8_t *copy = malloc(row->n > 0 ? row->n : 1);
    struct flv_media m;
    enum st st;

    memcpy(copy, row->body, row->n);
    st = parse(copy, row->n, &m);
    if (st != row->st)
        fail_msg("%s: %s", row->what, st_name(st));
    if (st == ST_OK && (m.codec != row->want.codec || m.packet != row->want.packet ||
                        m.key != row->want.key || m.cts_ms != row->want.cts_ms ||
                        m.data != copy + row->data_at || m.n != row->n - row->data_at))
        fail_msg("%s: codec %x packet %d key %d cts %d at %d", row->what, (unsigned)m.codec,
                 (int)m.packet, m.key, (int)m.cts_ms, (int)(m.data - copy));
    free(copy);
}

static void video_headers_say_what_follows(void **state)
{
    static const struct media_row table[] = {
        ROW("empty", "", ST_EPROTO, 0, 0),
        ROW("AVC configuration", "\x17\0\0\0\0c", ST_OK, 5, .codec = FLV_AVC1, .packet = FLV_CONFIG,
            .key = true),
        ROW("AVC key frame", "\x17\1\0\0\x28k", ST_OK, 5, .codec = FLV_AVC1, .packet = FLV_FRAME,
            .key = true, .cts_ms = 40),
        ROW("AVC frame, cts below zero", "\x27\1\xff\xff\xffk", ST_OK, 5, .codec = FLV_AVC1,
            .packet = FLV_FRAME, .cts_ms = -1),
        ROW("the lowest cts", "\x27\1\x80\0\0k", ST_OK, 5, .codec = FLV_AVC1, .packet = FLV_FRAME,
            .cts_ms = -8388608),
        ROW("AVC end", "\x17\2\0\0\0", ST_OK, 5, .codec = FLV_AVC1, .packet = FLV_END, .key = true),
        ROW("AVC end with rubbish for a cts", "\x17\2\0\1\0", ST_OK, 5, .codec = FLV_AVC1,
            .packet = FLV_END, .key = true),
        ROW("AVC packet of no known type", "\x27\3\0\0\0", ST_OK, 5, .codec = FLV_AVC1,
            .packet = FLV_OTHER),
        ROW("AVC cut", "\x17\1\0\0", ST_EPROTO, 0, 0),
        ROW("a command", "\x57\0", ST_OK, 1, .codec = 7, .packet = FLV_OTHER),
        ROW("another codec", "\x12q", ST_OK, 1, .codec = 2, .packet = FLV_FRAME, .key = true),
        ROW("enhanced start",
            "\x90"
            "avc1c",
            ST_OK, 5, .codec = FLV_AVC1, .packet = FLV_CONFIG, .key = true),
        ROW("enhanced frame",
            "\xa1"
            "avc1\0\0\1f",
            ST_OK, 8, .codec = FLV_AVC1, .packet = FLV_FRAME, .cts_ms = 1),
        ROW("enhanced frame, no cts",
            "\x93"
            "avc1f",
            ST_OK, 5, .codec = FLV_AVC1, .packet = FLV_FRAME, .key = true),
        ROW("enhanced end",
            "\x92"
            "avc1",
            ST_OK, 5, .codec = FLV_AVC1, .packet = FLV_END, .key = true),
        ROW("enhanced HEVC", "\x90hvc1c", ST_OK, 5, .codec = FLV_FOURCC('h', 'v', 'c', '1'),
            .packet = FLV_CONFIG, .key = true),
        ROW("enhanced metadata",
            "\x94"
            "avc1",
            ST_OK, 1, .packet = FLV_OTHER, .key = true),
        ROW("more tracks", "\x96\0", ST_OK, 1, .packet = FLV_OTHER, .key = true),
        ROW("enhanced command", "\xd1", ST_OK, 1, .packet = FLV_OTHER),
        ROW("enhanced cut",
            "\x90"
            "avc",
            ST_EPROTO, 0, 0),
        ROW("enhanced frame, cts cut",
            "\x91"
            "avc1\0\0",
            ST_EPROTO, 0, 0),
    };

    (void)state;
    for (size_t i = 0; i < sizeof table / sizeof table[0]; i++)
        check_media(&table[i], flv_video_parse);
}

static void audio_headers_say_what_follows(void **state)
{
    static const struct media_row table[] = {
        ROW("empty", "", ST_EPROTO, 0, 0),
        ROW("AAC configuration", "\xaf\0\x12\x10", ST_OK, 2, .codec = FLV_MP4A,
            .packet = FLV_CONFIG),
        ROW("AAC frame", "\xaf\1r", ST_OK, 2, .codec = FLV_MP4A, .packet = FLV_FRAME),
        ROW("AAC of no known type", "\xaf\2", ST_OK, 2, .codec = FLV_MP4A, .packet = FLV_OTHER),
        ROW("AAC cut", "\xaf", ST_EPROTO, 0, 0),
        ROW("MP3", "\x2f\0", ST_OK, 1, .codec = 2, .packet = FLV_FRAME),
        ROW("enhanced start", "\x90mp4ac", ST_OK, 5, .codec = FLV_MP4A, .packet = FLV_CONFIG),
        ROW("enhanced frame", "\x91mp4af", ST_OK, 5, .codec = FLV_MP4A, .packet = FLV_FRAME),
        ROW("enhanced end", "\x92mp4a", ST_OK, 5, .codec = FLV_MP4A, .packet = FLV_END),
        ROW("enhanced Opus", "\x91Opusf", ST_OK, 5, .codec = FLV_FOURCC('O', 'p', 'u', 's'),
            .packet = FLV_FRAME),
        ROW("channels", "\x94mp4a", ST_OK, 1, .codec = 9, .packet = FLV_OTHER),
        ROW("enhanced cut", "\x90mp4", ST_EPROTO, 0, 0),
    };

    (void)state;
    for (size_t i = 0; i < sizeof table / sizeof table[0]; i++)
        check_media(&table[i], flv_audio_parse);
}
#undef ROW

static void parse_back(const struct buf *wire, struct flv_mark *got)
{
    struct flv_reader r;
    struct flv_tag tag;
    struct buf file;
    struct rd in;

    buf_init(&file, 1000);
    flv_put_header(&file);
    buf_add(&file, wire->data, wire->len);
    flv_reader_init(&r, 1000);
    in = rd_init(file.data, file.len);
    assert_int_equal(flv_next(&r, &in, &tag), ST_OK);
    assert_int_equal(tag.type, FLV_SCRIPT);
    assert_int_equal(flv_mark_parse(&tag, got), ST_OK);
    flv_reader_fini(&r);
    buf_fini(&file);
}

static void a_mark_comes_back_as_it_was_written(void **state)
{
    static const struct flv_mark table[] = {
        { .tag = 0, .base_ms = 0, .arrival_us = INT64_C(1763769600123456) },
        { .tag = (UINT64_C(1) << 53) - 1,
          .base_ms = (INT64_C(1) << 53) - 1,
          .discontinuity = true,
          .arrival_us = -((INT64_C(1) << 53) - 1) },
        { .tag = 77,
          .base_ms = INT64_C(4294967296) + 40,
          .arrival_us = 1,
          .has_anchor = true,
          .anchor_us = -5 },
    };

    (void)state;
    for (size_t i = 0; i < sizeof table / sizeof table[0]; i++) {
        struct flv_mark got;
        struct buf b;

        buf_init(&b, FLV_MARK_MAX);
        flv_put_mark(&b, &table[i]);
        assert_int_equal(b.st, ST_OK);
        parse_back(&b, &got);
        assert_true(got.tag == table[i].tag && got.base_ms == table[i].base_ms);
        assert_true(got.arrival_us == table[i].arrival_us);
        assert_true(got.anchor_us == table[i].anchor_us);
        assert_int_equal(got.discontinuity, table[i].discontinuity);
        assert_int_equal(got.has_anchor, table[i].has_anchor);
        buf_fini(&b);
    }
}

#define NAME "\2\0\x08_freshet"
#define V "\0\1v\0\x3f\xf0\0\0\0\0\0\0"
#define V2 "\0\1v\0\x40\0\0\0\0\0\0\0"
#define TAG "\0\3tag\0\x40\x14\0\0\0\0\0\0"      /* 5 */
#define BASE "\0\7base_ms\0\x40\x1c\0\0\0\0\0\0" /* 7 */
#define DISC \
    "\0\x0d" \
    "discontinuity\1\1"
#define ARR  \
    "\0\x0a" \
    "arrival_us\0\x40\x22\0\0\0\0\0\0"
#define END "\0\0\x09"

static void hostile_marks_get_their_status(void **state)
{
    static const struct {
        const char *what;
        const char *body;
        size_t n;
        enum st st;
    } table[] = {
#define ROW(what, body, st) { what, body, sizeof body - 1, st }
        ROW("an object", NAME "\3" V TAG BASE DISC ARR END, ST_OK),
        ROW("an array with a wrong count", NAME "\x08\xff\0\0\0" V TAG BASE DISC ARR END, ST_OK),
        ROW("more keys",
            NAME "\3" V TAG "\0\1x\2\0\2hi\0\1y\1\0\0\1z\0\0\0\0\0\0\0\0\0" BASE DISC ARR END,
            ST_OK),
        ROW("empty", "", ST_ENOENT),
        ROW("no string", "\5", ST_ENOENT),
        ROW("another name", "\2\0\x0aonMetaData\3\0\0\x09", ST_ENOENT),
        ROW("a longer name", "\2\0\x09_freshet1\3" V TAG BASE DISC ARR END, ST_ENOENT),
        ROW("a name that is cut", "\2\0\x08_fresh", ST_ENOENT),
        ROW("nothing after the name", NAME, ST_EPROTO),
        ROW("null after the name", NAME "\5", ST_EPROTO),
        ROW("another version", NAME "\3" V2 TAG BASE DISC ARR END, ST_EPROTO),
        ROW("no version", NAME "\3" TAG BASE DISC ARR END, ST_EPROTO),
        ROW("no arrival", NAME "\3" V TAG BASE DISC END, ST_EPROTO),
        ROW("a key twice", NAME "\3" V TAG TAG BASE DISC ARR END, ST_EPROTO),
        ROW("a key of another type",
            NAME "\3" V TAG BASE "\0\x0d"
                 "discontinuity\0\0\0\0\0\0\0\0\0" ARR END,
            ST_EPROTO),
        ROW("no end", NAME "\3" V TAG BASE DISC ARR, ST_EPROTO),
        ROW("bytes after the end", NAME "\3" V TAG BASE DISC ARR END "\0", ST_EPROTO),
        ROW("an object inside", NAME "\3" V TAG BASE DISC ARR "\0\1o\3\0\0\x09" END, ST_EPROTO),
        ROW("a fraction", NAME "\3" V TAG BASE DISC ARR "\0\1q\0\x3f\xe0\0\0\0\0\0\0" END,
            ST_EPROTO),
        ROW("not a number", NAME "\3" V TAG BASE DISC ARR "\0\1q\0\x7f\xf8\0\0\0\0\0\0" END,
            ST_EPROTO),
        ROW("infinite", NAME "\3" V TAG BASE DISC ARR "\0\1q\0\x7f\xf0\0\0\0\0\0\0" END, ST_EPROTO),
        ROW("2^53", NAME "\3" V TAG BASE DISC ARR "\0\1q\0\x43\x40\0\0\0\0\0\0" END, ST_EPROTO),
        ROW("tag below zero", NAME "\3" V "\0\3tag\0\xc0\x14\0\0\0\0\0\0" BASE DISC ARR END,
            ST_EPROTO),
#undef ROW
    };

    (void)state;
    for (size_t i = 0; i < sizeof table / sizeof table[0]; i++) {
        /* and every shorter one of a good one must fail, from a copy of exactly its size */
        for (size_t n = table[i].st == ST_OK ? 0 : table[i].n; n <= table[i].n; n++) {
            uint8_t *copy = malloc(n > 0 ? n : 1);
            struct flv_tag tag = { FLV_SCRIPT, 7, copy, n };
            struct flv_mark m;
            enum st st;

            memcpy(copy, table[i].body, n);
            st = flv_mark_parse(&tag, &m);
            if (n == table[i].n ? st != table[i].st : st == ST_OK)
                fail_msg("%s: %s at %zu", table[i].what, st_name(st), n);
            free(copy);
        }
    }
}

static void a_mark_must_stand_at_its_own_time(void **state)
{
    static const char body[] = NAME "\3" V TAG BASE DISC ARR END;
    struct flv_tag tag = { FLV_SCRIPT, 8, (const uint8_t *)body, sizeof body - 1 };
    struct flv_mark m;

    (void)state;
    assert_int_equal(flv_mark_parse(&tag, &m), ST_EPROTO);
    tag.ts_ms = 7;
    assert_int_equal(flv_mark_parse(&tag, &m), ST_OK);
    assert_true(m.tag == 5 && m.base_ms == 7 && m.arrival_us == 9 && m.discontinuity);
    assert_false(m.has_anchor);
    tag.type = FLV_AUDIO;
    assert_int_equal(flv_mark_parse(&tag, &m), ST_ENOENT);
}

static void a_past_comes_back_as_it_was_written(void **state)
{
    static const size_t sizes[] = { 0, 1, 777, FLV_PAST_MAX };
    static char text[FLV_PAST_MAX];

    (void)state;
    memset(text, '{', sizeof text);
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        struct buf b;
        const char *got;
        size_t n;

        buf_init(&b, 2 * FLV_PAST_MAX);
        flv_put_past(&b, text, sizes[i]);
        assert_int_equal(b.st, ST_OK);
        size_t whole = b.len - FLV_TAG_HEAD_BYTES - FLV_TAG_TAIL_BYTES;
        for (size_t len = whole > 900 ? whole - 900 : 0; len <= whole; len++) {
            uint8_t *copy = malloc(len > 0 ? len : 1);
            struct flv_tag tag = { FLV_SCRIPT, 0, copy, len };
            struct flv_mark m;

            memcpy(copy, b.data + FLV_TAG_HEAD_BYTES, len);
            enum st st = flv_past_parse(&tag, &got, &n);
            if (len < whole) {
                assert_true(st == ST_EPROTO || st == ST_ENOENT);
            } else {
                assert_int_equal(st, ST_OK);
                assert_int_equal(n, sizes[i]);
                assert_memory_equal(got, text, n);
                assert_int_equal(flv_mark_parse(&tag, &m), ST_ENOENT);
                tag.type = FLV_AUDIO;
                assert_int_equal(flv_past_parse(&tag, &got, &n), ST_ENOENT);
            }
            free(copy);
        }
        buf_fini(&b);
    }
}

static void hostile_pasts_get_their_status(void **state)
{
#define PAST "\2\0\x0d_freshet_past"
    static const struct {
        const char *body;
        size_t n;
        enum st st;
    } table[] = {
#define ROW(body, st) { body, sizeof body - 1, st }
        ROW("\2\0\x08_freshet\2\0\2hi", ST_ENOENT),
        ROW(PAST "\2\0\2hi", ST_OK),
        ROW(PAST "\2\0\2hi!", ST_EPROTO),
        ROW(PAST "\2\0\3hi", ST_EPROTO),
        ROW(PAST "\3\0\2hi", ST_EPROTO),
        ROW(PAST, ST_EPROTO),
        ROW(PAST "\2\xff\xff", ST_EPROTO),
#undef ROW
    };
    uint8_t *much = calloc(1, 16 + 3 + FLV_PAST_MAX + 1);
    struct flv_tag tag = { FLV_SCRIPT, 0, much, 16 + 3 + FLV_PAST_MAX + 1 };
    const char *text;
    size_t n;

    (void)state;
    for (size_t i = 0; i < sizeof table / sizeof table[0]; i++) {
        struct flv_tag t = { FLV_SCRIPT, 0, (const uint8_t *)table[i].body, table[i].n };

        assert_int_equal(flv_past_parse(&t, &text, &n), table[i].st);
    }
    memcpy(much, PAST "\2\x80\1", 19);
    assert_int_equal(flv_past_parse(&tag, &text, &n), ST_EPROTO);
    free(much);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_wire_is_flv),
        cmocka_unit_test(tags_are_the_same_at_every_split_point),
        cmocka_unit_test(a_stream_may_end_between_tags_only),
        cmocka_unit_test(hostile_streams_get_their_status),
        cmocka_unit_test(a_declared_size_takes_no_memory_until_the_bytes_come),
        cmocka_unit_test(a_whole_tag_is_borrowed_from_the_input),
        cmocka_unit_test(times_unwrap_to_the_nearest),
        cmocka_unit_test(video_headers_say_what_follows),
        cmocka_unit_test(audio_headers_say_what_follows),
        cmocka_unit_test(a_mark_comes_back_as_it_was_written),
        cmocka_unit_test(hostile_marks_get_their_status),
        cmocka_unit_test(a_mark_must_stand_at_its_own_time),
        cmocka_unit_test(a_past_comes_back_as_it_was_written),
        cmocka_unit_test(hostile_pasts_get_their_status),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
