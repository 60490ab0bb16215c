/* core/avc: configurations of a real encoder, sets built bit by bit, hostile and cut ones. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "core/avc.h"

static size_t unhex(const char *hex, uint8_t *out)
{
    size_t n = 0;
    unsigned v;

    for (; sscanf(hex, "%2x", &v) == 1; hex += 2)
        out[n++] = (uint8_t)v;
    return n;
}

/* From a copy of exactly its size. */
static enum st parse(const uint8_t *p, size_t n, struct avc_config *c)
{
    uint8_t *copy = malloc(n > 0 ? n : 1);
    enum st st;

    memcpy(copy, p, n);
    st = avc_config_parse(copy, n, c);
    free(copy);
    return st;
}

static const char hd[] = "0164001fffe1001a6764001facd9405005bb0110000003001000000303c0f183196001"
                         "000668ebe3cb22c0fdf8f800";

static void what_encoders_send_is_understood(void **state)
{
    static const struct {
        const char *hex, *codecs;
        struct avc_sps want;
    } table[] = {
        { hd,
          "avc1.64001f",
          { .width = 1280,
            .height = 720,
            .sar_num = 1,
            .sar_den = 1,
            .frame_num = 60,
            .frame_den = 2 } },
        { "014d4028ffe10018674d4028eca03c0113f2e022000007d20001d4c01e30632c01000568ebe3cb20",
          "avc1.4d4028",
          { .width = 1920,
            .height = 1080,
            .sar_num = 1,
            .sar_den = 1,
            .frame_num = 60000,
            .frame_den = 2002 } },
        { "0142c01effe100196742c01ed900d83de6f011000003000100000300320f162e4801000568cb83cb20",
          "avc1.42c01e",
          { .width = 854,
            .height = 480,
            .sar_num = 1,
            .sar_den = 1,
            .frame_num = 50,
            .frame_den = 2 } },
        { "0164001effe1001c6764001eacd940b424dff8020001688000000300800000190f8a14cb01000668fba3cb"
          "22c0fdf8f800",
          "avc1.64001e",
          { .width = 720,
            .height = 576,
            .sar_num = 64,
            .sar_den = 45,
            .interlaced = true,
            .frame_num = 50,
            .frame_den = 2 } },
        { "01f4001fffe1001b67f4001f919b281405ff1380880000030008000003032078c18cb001000668ebe3c448"
          "44fff8f800",
          "avc1.f4001f",
          { .width = 640,
            .height = 360,
            .sar_num = 1,
            .sar_den = 1,
            .frame_num = 100,
            .frame_den = 2 } },
        { "017a001fffe1001a677a001fb6cd940a02ff9f0110000003001000000640f183196001000668ebe3cb22c0"
          "fefafa00",
          "avc1.7a001f",
          { .width = 640,
            .height = 362,
            .sar_num = 1,
            .sar_den = 1,
            .frame_num = 100,
            .frame_den = 2 } },
        { "01640016ffe1001967640016f2d0340b7c5f80b640000003004000000783c58ba801000568ce0fc40cfcf8"
          "f800",
          "avc1.640016",
          { .width = 406,
            .height = 720,
            .sar_num = 1,
            .sar_den = 1,
            .frame_num = 30,
            .frame_den = 2 } },
    };

    (void)state;
    for (size_t i = 0; i < sizeof table / sizeof table[0]; i++) {
        const struct avc_sps *w = &table[i].want;
        char text[AVC_CODECS_TEXT];
        struct avc_config c;
        uint8_t raw[200];
        enum st st = parse(raw, unhex(table[i].hex, raw), &c);

        if (st != ST_OK || c.length_bytes != 4 || c.sps_count != 1 || c.pps_count != 1)
            fail_msg("row %zu: %s", i, st_name(st));
        assert_string_equal(avc_codecs(&c.info, text), table[i].codecs);
        if (c.info.width != w->width || c.info.height != w->height ||
            c.info.sar_num * w->sar_den != c.info.sar_den * w->sar_num ||
            c.info.interlaced != w->interlaced || c.info.fixed_rate != w->fixed_rate ||
            c.info.frame_num != w->frame_num || c.info.frame_den != w->frame_den)
            fail_msg("row %zu: %ux%u sar %u:%u %d rate %u/%u %d", i, c.info.width, c.info.height,
                     c.info.sar_num, c.info.sar_den, c.info.interlaced, c.info.frame_num,
                     c.info.frame_den, c.info.fixed_rate);
    }
}

static void a_record_that_is_cut_is_refused(void **state)
{
    struct avc_config c;
    uint8_t raw[200];
    size_t n = unhex(hd, raw);

    (void)state;
    for (size_t i = 0; i < n - 4; i++)
        assert_int_equal(parse(raw, i, &c), ST_EPROTO);
    /* what follows the sets for the high profiles says nothing new, and some leave it out */
    for (size_t i = n - 4; i <= n; i++)
        assert_int_equal(parse(raw, i, &c), ST_OK);
}

static void hostile_records_get_their_status(void **state)
{
#define SPS "001a6764001facd9405005bb0110000003001000000303c0f1831960"
    static const struct {
        const char *what, *hex;
        enum st st;
    } table[] = {
        { "good", "0164001fffe1" SPS "01000668ebe3cb22c0", ST_OK },
        { "one-byte lengths", "0164001ffce1" SPS "01000668ebe3cb22c0", ST_OK },
        { "two sets of each", "0164001fffe2" SPS SPS "02000668ebe3cb22c0000268eb", ST_OK },
        { "version 0", "0064001fffe1" SPS "01000668ebe3cb22c0", ST_EPROTO },
        { "start codes", "000000016764001facd9405005bb01", ST_EPROTO },
        { "three-byte lengths", "0164001ffee1" SPS "01000668ebe3cb22c0", ST_EPROTO },
        { "no SPS", "0164001fffe001000668ebe3cb22c0", ST_EPROTO },
        { "no PPS", "0164001fffe1" SPS "00", ST_EPROTO },
        { "an empty SPS", "0164001fffe1000001000668ebe3cb22c0", ST_EPROTO },
        { "a PPS for an SPS", "0164001fffe1000668ebe3cb22c001000668ebe3cb22c0", ST_EPROTO },
        { "an SPS for a PPS", "0164001fffe1" SPS "01000667ebe3cb22c0", ST_EPROTO },
        { "forbidden bit",
          "0164001fffe1001ae764001facd9405005bb0110000003001000000303c0f1831960"
          "01000668ebe3cb22c0",
          ST_EPROTO },
        { "a length beyond the end", "0164001fffe1ffff6764001f", ST_EPROTO },
        { "an SPS of its header only", "0164001fffe100046764001f01000668ebe3cb22c0", ST_EPROTO },
        { "an SPS of zeros", "0164001fffe1000a6764001f00000000000001000668ebe3cb22c0", ST_EPROTO },
    };

    (void)state;
    for (size_t i = 0; i < sizeof table / sizeof table[0]; i++) {
        struct avc_config c;
        uint8_t raw[300];
        enum st st = parse(raw, unhex(table[i].hex, raw), &c);

        if (st != table[i].st)
            fail_msg("%s: %s", table[i].what, st_name(st));
    }
}

/* A set bit by bit. */
struct put {
    uint8_t p[256];
    size_t at;
};

static void u(struct put *w, unsigned n, uint32_t v)
{
    for (; n > 0; n--, w->at++)
        if ((v >> (n - 1) & 1) != 0)
            w->p[w->at / 8] |= (uint8_t)(0x80 >> w->at % 8);
}

static void ue(struct put *w, uint32_t v)
{
    unsigned bits = 32 - (unsigned)__builtin_clz(v + 1);

    u(w, bits - 1, 0);
    u(w, bits, v + 1);
}

static void head(struct put *w, uint32_t profile)
{
    *w = (struct put){ .at = 0 };
    u(w, 8, 0x67);
    u(w, 8, profile);
    u(w, 8, 0);
    u(w, 8, 40);
    ue(w, 0);
}

/* From the order of pictures to the size. */
static void body(struct put *w, uint32_t mbs_wide, uint32_t mbs_high, uint32_t frames_only)
{
    ue(w, 0); /* log2_max_frame_num */
    ue(w, 2);
    ue(w, 1);
    u(w, 1, 0);
    ue(w, mbs_wide - 1);
    ue(w, mbs_high - 1);
    u(w, 1, frames_only);
    if (frames_only == 0)
        u(w, 1, 0);
    u(w, 1, 1);
}

static void crop(struct put *w, uint32_t l, uint32_t r, uint32_t t, uint32_t b)
{
    u(w, 1, 1);
    ue(w, l);
    ue(w, r);
    ue(w, t);
    ue(w, b);
}

static enum st read_sps(struct put *w, struct avc_sps *s)
{
    size_t n = (w->at + 8) / 8; /* with the stop bit */
    uint8_t *copy = malloc(n * 2);
    size_t len = 0, zeros = 0;
    enum st st;

    u(w, 1, 1);
    for (size_t i = 0; i < n; i++) { /* emulation prevention */
        if (zeros == 2 && w->p[i] <= 3) {
            copy[len++] = 3;
            zeros = 0;
        }
        zeros = w->p[i] == 0 ? zeros + 1 : 0;
        copy[len++] = w->p[i];
    }
    copy = realloc(copy, len);
    st = avc_sps_parse(copy, len, s);
    free(copy);
    return st;
}

static void sizes_are_what_is_shown_and_have_limits(void **state)
{
    static const struct {
        uint32_t wide, high, frames_only, crop[4];
        enum st st;
        uint32_t w, h;
    } table[] = {
        { 120, 68, 1, { 0, 0, 0, 4 }, ST_OK, 1920, 1080 },
        { 120, 34, 0, { 0, 0, 0, 2 }, ST_OK, 1920, 1080 },
        { 120, 68, 1, { 10, 10, 1, 3 }, ST_OK, 1880, 1080 },
        { 1, 1, 1, { 0, 0, 0, 0 }, ST_OK, 16, 16 },
        { 512, 270, 1, { 0, 0, 0, 0 }, ST_OK, 8192, 4320 },
        { 270, 512, 1, { 0, 0, 0, 0 }, ST_OK, 4320, 8192 },
        { 512, 271, 1, { 0, 0, 0, 8 }, ST_OK, 8192, 4320 },
        { 512, 271, 1, { 0, 0, 0, 7 }, ST_ELIMIT, 0, 0 },
        { 513, 270, 1, { 0, 0, 0, 0 }, ST_ELIMIT, 0, 0 },
        { 512, 512, 1, { 0, 0, 0, 0 }, ST_ELIMIT, 0, 0 },
        { 4096, 270, 1, { 0, 28672, 0, 0 }, ST_ELIMIT, 0, 0 }, /* cropped, but coded */
        { 1 << 28, 1 << 28, 1, { 0, 0, 0, 0 }, ST_ELIMIT, 0, 0 },
        { 0x7fffffff, 0x7fffffff, 0, { 0, 0, 0, 0 }, ST_ELIMIT, 0, 0 },
        { 1, 1, 1, { 8, 0, 0, 0 }, ST_EPROTO, 0, 0 },
        { 1, 1, 1, { 0, 0, 0x7ffffffe, 0x7ffffffe }, ST_EPROTO, 0, 0 },
        { 1, 1, 1, { 0, 0, 7, 0 }, ST_OK, 16, 2 },
    };

    (void)state;
    for (size_t i = 0; i < sizeof table / sizeof table[0]; i++) {
        struct avc_sps s;
        struct put w;
        enum st st;

        head(&w, 77);
        body(&w, table[i].wide, table[i].high, table[i].frames_only);
        crop(&w, table[i].crop[0], table[i].crop[1], table[i].crop[2], table[i].crop[3]);
        u(&w, 1, 0);
        st = read_sps(&w, &s);
        if (st != table[i].st || (st == ST_OK && (s.width != table[i].w || s.height != table[i].h)))
            fail_msg("row %zu: %s %ux%u", i, st_name(st), s.width, s.height);
    }
}

static void scaling_lists_and_odd_picture_orders_are_skipped(void **state)
{
    struct avc_sps s;
    struct put w;

    (void)state;
    head(&w, 100);
    ue(&w, 3); /* 4:4:4 */
    u(&w, 1, 1);
    ue(&w, 0);
    ue(&w, 0);
    u(&w, 1, 0);
    u(&w, 1, 1);
    for (int i = 0; i < 12; i++) {
        u(&w, 1, i % 2 == 0);
        if (i == 0) {
            for (int k = 0; k < 16; k++)
                ue(&w, 1); /* one more each time */
        } else if (i % 2 == 0) {
            ue(&w, 16); /* -8: the default list */
        }
    }
    ue(&w, 4);
    ue(&w, 1); /* order type 1 */
    u(&w, 1, 0);
    ue(&w, 3);
    ue(&w, 4);
    ue(&w, 2);
    ue(&w, 5);
    ue(&w, 6);
    ue(&w, 1);
    u(&w, 1, 0);
    ue(&w, 39);
    ue(&w, 29);
    u(&w, 1, 1);
    u(&w, 1, 1);
    crop(&w, 1, 2, 3, 4); /* in single pixels: the planes are separate */
    u(&w, 1, 0);
    assert_int_equal(read_sps(&w, &s), ST_OK);
    assert_int_equal(s.width, 640 - 3);
    assert_int_equal(s.height, 480 - 7);
}

static void aspect_ratios_are_read_where_there_are_any(void **state)
{
    static const struct {
        uint32_t idc, num, den, want_num, want_den;
    } table[] = { { 0, 0, 0, 1, 1 },   { 1, 0, 0, 1, 1 },      { 14, 0, 0, 4, 3 },
                  { 16, 0, 0, 2, 1 },  { 17, 0, 0, 1, 1 },     { 255, 3, 7, 3, 7 },
                  { 255, 0, 7, 1, 1 }, { 255, 65535, 0, 1, 1 } };

    (void)state;
    for (size_t i = 0; i < sizeof table / sizeof table[0]; i++) {
        struct avc_sps s;
        struct put w;

        head(&w, 66);
        body(&w, 40, 30, 1);
        u(&w, 1, 0);
        u(&w, 1, 1);
        u(&w, 1, 1);
        u(&w, 8, table[i].idc);
        if (table[i].idc == 255) {
            u(&w, 16, table[i].num);
            u(&w, 16, table[i].den);
        }
        u(&w, 4, 0); /* nothing else, and no timing */
        u(&w, 1, 0);
        assert_int_equal(read_sps(&w, &s), ST_OK);
        assert_int_equal(s.sar_num, table[i].want_num);
        assert_int_equal(s.sar_den, table[i].want_den);
        assert_int_equal(s.frame_num, 0);
    }
}

static void timing_is_in_fields_and_may_be_cut_off(void **state)
{
    static const struct {
        uint32_t tick, scale, num, den;
    } table[] = { { 1001, 60000, 60000, 2002 },
                  { 0, 60, 0, 0 },
                  { 1, 0, 0, 0 },
                  { UINT32_MAX, 60, 0, 0 },
                  { UINT32_MAX / 2, UINT32_MAX, UINT32_MAX, UINT32_MAX - 1 } };

    (void)state;
    for (size_t i = 0; i < sizeof table / sizeof table[0]; i++) {
        struct avc_sps s;
        struct put w;

        head(&w, 66);
        body(&w, 40, 30, 1);
        u(&w, 1, 0);
        u(&w, 1, 1);
        u(&w, 4, 0);
        u(&w, 1, 1);
        u(&w, 32, table[i].tick);
        u(&w, 32, table[i].scale);
        u(&w, 1, 1);
        assert_int_equal(read_sps(&w, &s), ST_OK);
        assert_int_equal(s.frame_num, table[i].num);
        assert_int_equal(s.frame_den, table[i].den);
        assert_int_equal(s.fixed_rate, table[i].num != 0);
    }
    struct avc_sps s;
    struct put w;
    head(&w, 66);
    body(&w, 40, 30, 1);
    u(&w, 1, 0);
    u(&w, 1, 1);
    u(&w, 4, 0);
    u(&w, 1, 1);
    u(&w, 32, 1); /* and no scale */
    assert_int_equal(read_sps(&w, &s), ST_OK);
    assert_int_equal(s.frame_num, 0);
    assert_int_equal(s.width, 640);
}

static void impossible_values_are_refused(void **state)
{
    struct avc_sps s;
    struct put w;
    static uint8_t large[AVC_SET_MAX + 1] = { 0x67, 77, 0, 40 };

    (void)state;
    head(&w, 100);
    ue(&w, 4); /* no such chroma format */
    ue(&w, 0);
    ue(&w, 0);
    u(&w, 2, 0);
    body(&w, 40, 30, 1);
    u(&w, 2, 0);
    assert_int_equal(read_sps(&w, &s), ST_EPROTO);

    head(&w, 77);
    ue(&w, 0);
    ue(&w, 3); /* no such order type */
    ue(&w, 1);
    u(&w, 1, 0);
    ue(&w, 39);
    ue(&w, 29);
    u(&w, 4, 0xc);
    assert_int_equal(read_sps(&w, &s), ST_EPROTO);

    head(&w, 77);
    ue(&w, 0);
    ue(&w, 2);
    ue(&w, 17); /* reference frames */
    u(&w, 1, 0);
    ue(&w, 39);
    ue(&w, 29);
    u(&w, 4, 0xc);
    assert_int_equal(read_sps(&w, &s), ST_EPROTO);

    assert_int_equal(avc_sps_parse(large, sizeof large, &s), ST_ELIMIT);
    assert_int_equal(avc_sps_parse(large, sizeof large - 1, &s), ST_EPROTO);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_encoders_send_is_understood),
        cmocka_unit_test(a_record_that_is_cut_is_refused),
        cmocka_unit_test(hostile_records_get_their_status),
        cmocka_unit_test(sizes_are_what_is_shown_and_have_limits),
        cmocka_unit_test(scaling_lists_and_odd_picture_orders_are_skipped),
        cmocka_unit_test(aspect_ratios_are_read_where_there_are_any),
        cmocka_unit_test(timing_is_in_fields_and_may_be_cut_off),
        cmocka_unit_test(impossible_values_are_refused),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
