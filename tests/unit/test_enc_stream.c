/* encode/stream: FLV bytes in pieces of any size to records; what it refuses and why. */
#include <stdlib.h>

#include "core/flv.h"
#include "core/hash.h"
#include "core/record.h"
#include "demux.h"
#include "encode/stream.h"

enum { AST_S = 1760000000, FLV_MAX = 8 << 20 };

static const struct timeline_conf conf = { .ast_s = AST_S, .segment_ms = 2000, .chunk_ms = 200 };

static uint32_t seed = 7;
static uint32_t rnd(uint32_t n)
{
    seed = seed * 1664525u + 1013904223u;
    return (seed >> 8) % n;
}

/* --- FLV --- */

static struct buf flv;

static void put_tag(enum flv_type type, int64_t ms, const void *body, size_t n)
{
    const struct flv_tag tag = { .type = type, .ts_ms = (uint32_t)ms, .body = body, .n = n };

    flv_put_tag(&flv, &tag);
}

static void put_config(const char *hex, bool video)
{
    uint8_t body[256] = { video ? 0x17 : 0xaf, 0 };
    size_t head = video ? 5 : 2, n = unhex(hex, body + head);

    put_tag(video ? FLV_VIDEO : FLV_AUDIO, 0, body, head + n);
}

static void put_mark(uint64_t tag, int64_t ms, bool discontinuity)
{
    const struct flv_mark m = { .tag = tag,
                                .base_ms = ms,
                                .discontinuity = discontinuity,
                                .has_anchor = true,
                                .anchor_us = (AST_S + 3) * INT64_C(1000000) };

    flv_put_mark(&flv, &m);
}

/* One slice of n bytes; what is in it tells the frame's number. */
static void put_video(int64_t ms, int32_t cts, bool idr, uint32_t n)
{
    uint8_t body[8192] = { idr ? 0x17 : 0x27, 1, (uint8_t)(cts >> 16), (uint8_t)(cts >> 8),
                           (uint8_t)cts };

    body[7] = (uint8_t)(n >> 8);
    body[8] = (uint8_t)n;
    body[9] = idr ? 0x65 : 0x41;
    for (uint32_t i = 1; i < n; i++)
        body[9 + i] = (uint8_t)(ms + i);
    put_tag(FLV_VIDEO, ms, body, 9 + n);
}

static void put_audio(int64_t ms, uint32_t n)
{
    uint8_t body[1024] = { 0xaf, 1 };

    for (uint32_t i = 0; i < n; i++)
        body[2 + i] = (uint8_t)(ms + i);
    put_tag(FLV_AUDIO, ms, body, 2 + n);
}

/* 30 frames a second, a GOP a second, 48 kHz; tags are numbered from `tag` on. */
static uint64_t put_show(int64_t from_ms, int64_t to_ms, uint64_t tag)
{
    for (int64_t v = 0, a = 0;; tag++) {
        int64_t v_ms = from_ms + v * 1000 / 30, a_ms = from_ms + a * 1024 / 48;

        if ((v_ms < a_ms ? v_ms : a_ms) >= to_ms)
            return tag;
        if (tag % 40 == 0)
            put_mark(tag, v_ms, false);
        if (a_ms < v_ms) {
            put_audio(a_ms, 100 + (uint32_t)(a++ * 7 % 50));
        } else {
            put_video(v_ms, 0, v % 30 == 0, 300 + (uint32_t)(v * 11 % 90));
            v++;
        }
    }
}

static void begin_flv(void)
{
    buf_reset(&flv);
    flv_put_header(&flv);
    put_config(avcc_320x180, true);
    put_config(asc_48k_mono, false);
    put_mark(1, 0, false);
}

/* --- in pieces --- */

/* pieces 0: at once. The end, or the refusal, is in it. */
static enum st run(const uint8_t *p, size_t n, unsigned pieces, const json_t *resume,
                   struct buf *out)
{
    struct enc_stream *s = enc_stream_new(&conf, resume);
    enum st st = ST_MORE;

    assert_non_null(s);
    for (size_t at = 0, len = n; at < n && st == ST_MORE; at += len) {
        uint8_t *copy;

        if (pieces > 0)
            len = 1 + rnd(pieces);
        if (len > n - at)
            len = n - at;
        copy = malloc(len);
        memcpy(copy, p + at, len);
        st = enc_stream_feed(s, copy, len, out);
        free(copy);
    }
    if (st == ST_MORE)
        st = enc_stream_end(s, out);
    if (st != ST_OK)
        enc_stream_refuse(s, out);
    assert_int_equal(out->st, ST_OK);
    enc_stream_free(&s);
    return st;
}

struct heard {
    size_t count[8]; /* by type */
    char refused[128];
    json_t *state[2];
    uint64_t next_tag[2];
    size_t offset[2];    /* of the end of the last chunk's record */
    struct buf media[2]; /* init segment and chunks */
};

static void hear(const struct buf *out, struct heard *h)
{
    struct record_reader r;
    struct record_event ev;
    struct rd in = rd_init(out->data, out->len);
    uint64_t seq = 0;
    int rep = 0;
    bool chunk = false;

    memset(h, 0, sizeof *h);
    buf_init(&h->media[0], FLV_MAX);
    buf_init(&h->media[1], FLV_MAX);
    record_reader_init(&r, RECORD_BYTES_MAX);
    while (record_next(&r, &in, &ev) == ST_OK) {
        if (ev.what == RECORD_GOT_BYTES)
            buf_add(&h->media[rep], ev.bytes, ev.n);
        if (ev.what == RECORD_GOT_ALL && chunk)
            h->offset[rep] = (size_t)(in.p - out->data);
        if (ev.what != RECORD_GOT_HEAD)
            continue;
        const char *name = json_string_value(json_object_get(ev.json, "rep"));
        const char *why = json_string_value(json_object_get(ev.json, "refused"));

        assert_int_equal(ev.head.seq, ++seq);
        h->count[ev.head.type]++;
        rep = name != NULL && name[0] == 'a';
        if (why != NULL)
            (void)snprintf(h->refused, sizeof h->refused, "%s", why);
        chunk = ev.head.type == RECORD_CHUNK;
        if (chunk) {
            json_decref(h->state[rep]);
            h->state[rep] = json_incref(json_object_get(ev.json, "state"));
            h->next_tag[rep] = (uint64_t)json_integer_value(json_object_get(ev.json, "next_tag"));
            assert_int_equal(json_integer_value(json_object_get(h->state[rep], "next")),
                             h->next_tag[rep]);
        }
    }
    assert_int_equal(record_reader_end(&r), ST_OK);
    record_reader_fini(&r);
}

static void forget(struct heard *h)
{
    for (int i = 0; i < 2; i++) {
        json_decref(h->state[i]);
        buf_fini(&h->media[i]);
    }
}

static void any_split_makes_the_same_bytes(void **state)
{
    static const unsigned pieces[] = { 1, 7, 100, 3000, 100000 };
    struct buf whole, parts;

    (void)state;
    buf_init(&whole, ENC_OUT_BYTES_MAX);
    buf_init(&parts, ENC_OUT_BYTES_MAX);
    begin_flv();
    (void)put_show(0, 5000, 1);
    assert_int_equal(run(flv.data, flv.len, 0, NULL, &whole), ST_OK);
    for (size_t i = 0; i < sizeof pieces / sizeof pieces[0]; i++) {
        buf_reset(&parts);
        assert_int_equal(run(flv.data, flv.len, pieces[i], NULL, &parts), ST_OK);
        assert_int_equal(parts.len, whole.len);
        assert_memory_equal(parts.data, whole.data, whole.len);
    }
    buf_fini(&whole);
    buf_fini(&parts);
}

static void a_demuxer_finds_every_frame_again(void **state)
{
    AVPacket *pkt = av_packet_alloc();
    struct heard h;
    struct buf out;

    (void)state;
    buf_init(&out, ENC_OUT_BYTES_MAX);
    begin_flv();
    (void)put_show(0, 5000, 1);
    assert_int_equal(run(flv.data, flv.len, 0, NULL, &out), ST_OK);
    hear(&out, &h);
    assert_int_equal(h.count[RECORD_PERIOD], 1);
    assert_int_equal(h.count[RECORD_INIT], 2);
    assert_int_equal(h.count[RECORD_OPEN], 6);
    assert_int_equal(h.count[RECORD_CLOSE], 6);
    for (int rep = 0; rep < 2; rep++) {
        struct demux d;
        int64_t n = 0;

        demux_open(&d, h.media[rep].data, h.media[rep].len);
        for (; av_read_frame(d.fc, pkt) == 0; n++) {
            int64_t ms = rep == 0 ? n * 1000 / 30 : n * 1024 / 48;

            assert_int_equal(pkt->pts, rep == 0 ? (3000 + ms) * 90 : 3000 * 48 + n * 1024);
            if (rep == 0) {
                assert_int_equal(pkt->size, 4 + 300 + n * 11 % 90);
                assert_int_equal((pkt->flags & AV_PKT_FLAG_KEY) != 0, n % 30 == 0);
            }
            assert_int_equal(pkt->data[pkt->size - 1],
                             (uint8_t)(ms + pkt->size - (rep == 0 ? 5 : 1)));
            av_packet_unref(pkt);
        }
        assert_int_equal(n, rep == 0 ? 150 : 235);
        demux_close(&d);
    }
    forget(&h);
    av_packet_free(&pkt);
    buf_fini(&out);
}

static void another_worker_continues_the_bytes(void **state)
{
    struct heard h, again;
    struct buf whole, rest;
    json_t *states;
    uint64_t tag = 100;
    size_t cut;

    (void)state;
    buf_init(&whole, ENC_OUT_BYTES_MAX);
    buf_init(&rest, ENC_OUT_BYTES_MAX);
    begin_flv();
    tag = put_show(0, 3100, 1);
    cut = flv.len;
    (void)put_show(3100, 6000, tag);
    assert_int_equal(run(flv.data, flv.len, 0, NULL, &whole), ST_OK);
    { /* killed: what it said until then */
        struct enc_stream *s = enc_stream_new(&conf, NULL);

        assert_int_equal(enc_stream_feed(s, flv.data, cut, &rest), ST_MORE);
        enc_stream_free(&s);
    }
    assert_memory_equal(rest.data, whole.data, rest.len);
    hear(&rest, &h);
    states = json_pack("{s:O,s:O}", "v0", h.state[0], "a0", h.state[1]);
    /* The home sends what it has, from a mark at or before the lowest `next`. */
    begin_flv();
    tag = put_show(0, 3100, 1);
    (void)put_show(3100, 6000, tag);
    buf_reset(&rest);
    assert_int_equal(run(flv.data, flv.len, 500, states, &rest), ST_OK);
    hear(&rest, &again);
    assert_int_equal(again.count[RECORD_PERIOD], 0);
    assert_int_equal(again.count[RECORD_INIT], 0);
    for (int i = 0; i < 2; i++) {
        struct heard all;

        hear(&whole, &all);
        assert_int_equal(all.media[i].len, h.media[i].len + again.media[i].len);
        assert_memory_equal(all.media[i].data + h.media[i].len, again.media[i].data,
                            again.media[i].len);
        forget(&all);
    }
    forget(&again);
    /* Tags that nobody has numbered: a state is of no use. */
    buf_reset(&flv);
    flv_put_header(&flv);
    put_config(avcc_320x180, true);
    put_video(0, 0, true, 300);
    put_video(33, 0, false, 300);
    buf_reset(&rest);
    assert_int_equal(run(flv.data, flv.len, 0, states, &rest), ST_OK);
    hear(&rest, &again);
    assert_int_equal(again.count[RECORD_PERIOD], 1);
    forget(&again);
    put_mark(1000, 66, false); /* too late */
    (void)put_show(66, 500, 1000);
    buf_reset(&rest);
    assert_int_equal(run(flv.data, flv.len, 0, states, &rest), ST_OK);
    hear(&rest, &again);
    assert_int_equal(again.count[RECORD_PERIOD], 1);
    assert_in_range(again.next_tag[0], 1010, 1040);
    forget(&again);
    forget(&h);
    json_decref(states);
    buf_fini(&whole);
    buf_fini(&rest);
}

static void frames_that_are_none_are_left_out(void **state)
{
    static const struct {
        const char *body;
    } broken[] = {
        { "2701000000" },                   /* nothing */
        { "27010000000000000341" },         /* longer than it is */
        { "270100000000000001" },           /* no byte of it */
        { "2701000000000000000000000141" }, /* an empty NAL unit */
        { "27010000000000000109" },         /* no slice */
        { "2701000000000000010000024141" }, /* Annex B */
        { "2701" },
        { "27" },
    };
    struct heard h;
    struct buf out;

    (void)state;
    buf_init(&out, ENC_OUT_BYTES_MAX);
    for (size_t i = 0; i < sizeof broken / sizeof broken[0]; i++) {
        uint8_t body[64];
        size_t n = unhex(broken[i].body, body);

        begin_flv();
        put_video(0, 0, true, 300);
        put_tag(FLV_VIDEO, 33, body, n);
        put_video(66, 0, false, 300);
        put_tag(FLV_AUDIO, 70, "\xaf\x01", 2); /* nothing in it */
        buf_reset(&out);
        assert_int_equal(run(flv.data, flv.len, 0, NULL, &out), ST_OK);
        hear(&out, &h);
        assert_int_equal(h.count[RECORD_CHUNK], 1);
        /* two frames in trun: sizes 304 and 304 */
        const uint8_t *mdat = memmem(h.media[0].data, h.media[0].len, "mdat", 4);

        assert_non_null(mdat);
        assert_ptr_equal(mdat + 4 + 2 * 304, h.media[0].data + h.media[0].len);
        forget(&h);
    }
    buf_fini(&out);
}

static void what_is_refused_is_said_with_advice(void **state)
{
    static const struct {
        const char *body;
        enum flv_type type;
        enum st st;
        const char *advice;
    } table[] = {
        { "1c000000000101", FLV_VIDEO, ST_EPROTO, "H.264" },    /* H.265, the old way */
        { "9068766331010203", FLV_VIDEO, ST_EPROTO, "H.264" },  /* and the new */
        { "2f00", FLV_AUDIO, ST_EPROTO, "AAC" },                /* MP3 */
        { "17000000000142c00d", FLV_VIDEO, ST_EPROTO, "8192" }, /* half a configuration */
        { "af0000", FLV_AUDIO, ST_EPROTO, "AAC" },
    };
    struct heard h;
    struct buf out;

    (void)state;
    buf_init(&out, ENC_OUT_BYTES_MAX);
    for (size_t i = 0; i < sizeof table / sizeof table[0]; i++) {
        uint8_t body[64];
        size_t n = unhex(table[i].body, body);

        begin_flv();
        (void)put_show(0, 1000, 1);
        put_tag(table[i].type, 1000, body, n);
        buf_reset(&out);
        assert_int_equal(run(flv.data, flv.len, 0, NULL, &out), table[i].st);
        hear(&out, &h);
        assert_non_null(strstr(h.refused, table[i].advice));
        assert_int_equal(h.count[RECORD_CLOSE], 2); /* what there is, is whole */
        forget(&h);
    }
    begin_flv(); /* cut off in the middle */
    (void)put_show(0, 1000, 1);
    buf_reset(&out);
    assert_int_equal(run(flv.data, flv.len - 5, 0, NULL, &out), ST_EPROTO);
    hear(&out, &h);
    assert_non_null(strstr(h.refused, "middle"));
    forget(&h);
    begin_flv();
    buf_add(&flv, "\x09\x80\x00\x01\0\0\0\0\0\0\0", 11); /* 8 MiB and a byte */
    buf_reset(&out);
    assert_int_equal(run(flv.data, flv.len, 0, NULL, &out), ST_ELIMIT);
    buf_reset(&out);
    assert_int_equal(run((const uint8_t *)"GET / HTTP/1.1", 14, 0, NULL, &out), ST_EPROTO);
    hear(&out, &h);
    assert_string_equal(h.refused, "this is not FLV");
    forget(&h);
    begin_flv();
    put_mark(5, (INT64_C(1) << 40) + 1, false);
    buf_reset(&out);
    assert_int_equal(run(flv.data, flv.len, 0, NULL, &out), ST_EPROTO);
    begin_flv();
    for (int i = 0; i < 900; i++) /* 33 days at a time */
        put_tag(FLV_SCRIPT, (int64_t)i * 2000000000, "\x02\0\x01x", 4);
    buf_reset(&out);
    assert_int_equal(run(flv.data, flv.len, 0, NULL, &out), ST_EPROTO);
    buf_fini(&out);
}

static void a_discontinuity_comes_through(void **state)
{
    struct heard h;
    struct buf out;
    uint64_t tag;

    (void)state;
    buf_init(&out, ENC_OUT_BYTES_MAX);
    begin_flv();
    tag = put_show(0, 3000, 1);
    put_mark(tag, 4000, true);
    (void)put_show(4000, 7000, tag);
    assert_int_equal(run(flv.data, flv.len, 0, NULL, &out), ST_OK);
    hear(&out, &h);
    assert_int_equal(h.count[RECORD_PERIOD], 2);
    assert_int_equal(h.count[RECORD_INIT], 4);
    forget(&h);
    buf_fini(&out);
}

static void health_says_how_it_does(void **state)
{
    struct enc_stream *s = enc_stream_new(&conf, NULL);
    struct buf out;

    (void)state;
    buf_init(&out, ENC_OUT_BYTES_MAX);
    enc_stream_health(s, 1205, 7, &out);
    assert_string_equal((const char *)out.data + RECORD_FIXED,
                        "{\"speed\":12.05,\"lag_ms\":7,\"repaired\":0,\"dropped\":0}");
    enc_stream_free(&s);
    buf_fini(&out);
}

static int begin(void **state)
{
    (void)state;
    buf_init(&flv, FLV_MAX);
    return 0;
}

static int end(void **state)
{
    (void)state;
    buf_fini(&flv);
    return 0;
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(any_split_makes_the_same_bytes),
        cmocka_unit_test(a_demuxer_finds_every_frame_again),
        cmocka_unit_test(another_worker_continues_the_bytes),
        cmocka_unit_test(frames_that_are_none_are_left_out),
        cmocka_unit_test(what_is_refused_is_said_with_advice),
        cmocka_unit_test(a_discontinuity_comes_through),
        cmocka_unit_test(health_says_how_it_does),
    };
    return cmocka_run_group_tests(tests, begin, end);
}
