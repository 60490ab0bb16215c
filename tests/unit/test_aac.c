/* core/aac: configurations that encoders send, and those that nobody should. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "core/aac.h"

static const struct row {
    const char *what, *bytes;
    size_t n;
    enum st st;
    const char *codecs;
    struct aac_config want;
} table[] = {
#define GOOD(what, bytes, codecs, ...)                                \
    {                                                                 \
        what, bytes, sizeof bytes - 1, ST_OK, codecs, { __VA_ARGS__ } \
    }
#define BAD(what, bytes)                                              \
    {                                                                 \
        what, bytes, sizeof bytes - 1, ST_EPROTO, NULL, { .rate = 0 } \
    }
    GOOD("44.1 kHz stereo", "\x12\x10", "mp4a.40.2", .rate = 44100, .output_rate = 44100,
         .channels = 2, .frame_samples = 1024),
    GOOD("48 kHz mono", "\x11\x88", "mp4a.40.2", .rate = 48000, .output_rate = 48000, .channels = 1,
         .frame_samples = 1024),
    GOOD("48 kHz 5.1", "\x11\xb0", "mp4a.40.2", .rate = 48000, .output_rate = 48000, .channels = 6,
         .frame_samples = 1024),
    GOOD("48 kHz 7.1", "\x11\xb8", "mp4a.40.2", .rate = 48000, .output_rate = 48000, .channels = 8,
         .frame_samples = 1024),
    GOOD("frames of 960", "\x12\x14", "mp4a.40.2", .rate = 44100, .output_rate = 44100,
         .channels = 2, .frame_samples = 960),
    GOOD("a core coder", "\x12\x12\x00\x00", "mp4a.40.2", .rate = 44100, .output_rate = 44100,
         .channels = 2, .frame_samples = 1024),
    GOOD("an explicit rate", "\x17\x80\x5d\xc0\x10", "mp4a.40.2", .rate = 48000,
         .output_rate = 48000, .channels = 2, .frame_samples = 1024),
    GOOD("HE", "\x2b\x11\x88\x00", "mp4a.40.5", .sbr = true, .rate = 24000, .output_rate = 48000,
         .channels = 2, .frame_samples = 1024),
    GOOD("HE v2", "\xeb\x09\x88\x00", "mp4a.40.29", .sbr = true, .ps = true, .rate = 24000,
         .output_rate = 48000, .channels = 1, .frame_samples = 1024),
    GOOD("SBR behind", "\x13\x10\x56\xe5\x98", "mp4a.40.2", .sbr = true, .rate = 24000,
         .output_rate = 48000, .channels = 2, .frame_samples = 1024),
    GOOD("SBR and PS behind", "\x13\x08\x56\xe5\x9d\x48\x80", "mp4a.40.2", .sbr = true, .ps = true,
         .rate = 24000, .output_rate = 48000, .channels = 1, .frame_samples = 1024),
    GOOD("no SBR, said behind", "\x12\x10\x56\xe5\x00", "mp4a.40.2", .rate = 44100,
         .output_rate = 44100, .channels = 2, .frame_samples = 1024),
    GOOD("SBR of no rate behind", "\x13\x10\x56\xe5\xe8", "mp4a.40.2", .rate = 24000,
         .output_rate = 24000, .channels = 2, .frame_samples = 1024),
    GOOD("padding", "\x12\x10\x00\x00\x00", "mp4a.40.2", .rate = 44100, .output_rate = 44100,
         .channels = 2, .frame_samples = 1024),
    BAD("nothing", ""),
    BAD("one byte", "\x12"),
    BAD("object type 0", "\x02\x10"),
    BAD("Main", "\x0a\x10"),
    BAD("ALS, an escaped type", "\xf8\x84\x20\x00\x00"),
    BAD("rate 13", "\x16\x90"),
    BAD("an explicit rate of zero", "\x17\x80\x00\x00\x10"),
    BAD("an explicit rate too high", "\x17\xff\xff\xff\x90"),
    BAD("an explicit rate that is cut", "\x17\x80\x5d"),
    BAD("a layout of its own", "\x12\x00\x00\x00"),
    BAD("layout 8", "\x12\x40"),
    BAD("HE over something else", "\x2b\x11\x84\x00"),
    BAD("HE of no rate", "\x2b\x16\x88\x00"),
    BAD("HE that is cut", "\x2b\x11"),
};

static void configurations_say_what_they_are(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof table / sizeof table[0]; i++) {
        const struct row *r = &table[i];
        uint8_t *copy = malloc(r->n > 0 ? r->n : 1);
        char text[AAC_CODECS_TEXT];
        struct aac_config c;
        enum st st;

        memcpy(copy, r->bytes, r->n);
        st = aac_config_parse(copy, r->n, &c);
        free(copy);
        if (st != r->st)
            fail_msg("%s: %s", r->what, st_name(st));
        if (st != ST_OK)
            continue;
        assert_string_equal(aac_codecs(&c, text), r->codecs);
        if (c.rate != r->want.rate || c.output_rate != r->want.output_rate ||
            c.channels != r->want.channels || c.frame_samples != r->want.frame_samples ||
            c.sbr != r->want.sbr || c.ps != r->want.ps)
            fail_msg("%s: %u/%u Hz, %u channels, %u samples, sbr %d, ps %d", r->what, c.rate,
                     c.output_rate, c.channels, c.frame_samples, c.sbr, c.ps);
    }
}

static void two_good_bytes_are_enough_and_one_is_not(void **state)
{
    struct aac_config c;
    static uint8_t long_one[4096] = { 0x12, 0x10 };

    (void)state;
    assert_int_equal(aac_config_parse(long_one, sizeof long_one, &c), ST_OK);
    assert_int_equal(aac_config_parse(long_one, 2, &c), ST_OK);
    assert_int_equal(aac_config_parse(long_one, 1, &c), ST_EPROTO);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(configurations_say_what_they_are),
        cmocka_unit_test(two_good_bytes_are_enough_and_one_is_not),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
