/* encode/cmaf: chunks as bytes, and as a demuxer that is not ours reads them. */
#include <stdlib.h>

#include "demux.h"
#include "encode/cmaf.h"
#include "encode/init.h"

static uint32_t seed = 7;
static uint32_t rnd(uint32_t n)
{
    seed = seed * 1664525u + 1013904223u;
    return (seed >> 8) % n;
}

static void a_chunk_is_these_bytes(void **state)
{
    static const char want[] =
        /* styp */ "0000002473747970"
                   "6d736468"
                   "00000000"
                   "6d736468"
                   "6d736978"
                   "636d6673"
                   "636d6666"
                   "636d666c"
                   /* prft */ "0000002070726674"
                   "01000018"
                   "00000001"
                   "0000000080000000"
                   "0000000000000bb8"
                   /* moof */ "000000886d6f6f66"
                   /* mfhd */ "000000106d666864"
                   "00000000"
                   "00000005"
                   /* traf */ "0000007074726166"
                   /* tfhd */ "0000001074666864"
                   "00020000"
                   "00000001"
                   /* tfdt */ "0000001474666474"
                   "01000000"
                   "0000000000000bb8"
                   /* trun */ "000000447472756e"
                   "01000f01"
                   "00000003"
                   "00000090"
                   "00000bb8"
                   "0000000a"
                   "02400000"
                   "00000bb8"
                   "00000bb9"
                   "0000000b"
                   "01810000"
                   "fffff448"
                   "00000bb7"
                   "0000000c"
                   "01410000"
                   "00000000"
                   /* mdat */ "000000296d646174";
    static const struct cmaf_sample samples[] = {
        { .size_bytes = 10, .duration = 3000, .cts = 3000, .sync = true },
        { .size_bytes = 11, .duration = 3001, .cts = -3000, .disposable = true },
        { .size_bytes = 12, .duration = 2999 },
    };
    const struct cmaf_chunk c = { .track = 1,
                                  .sequence = 5,
                                  .first = true,
                                  .tfdt = 3000,
                                  .ntp = UINT64_C(1) << 31,
                                  .samples = samples,
                                  .count = 3 };
    uint8_t bytes[512];
    size_t n = unhex(want, bytes);
    struct buf b;

    (void)state;
    buf_init(&b, 4096);
    cmaf_put_head(&b, &c);
    assert_int_equal(b.st, ST_OK);
    assert_int_equal(b.len, n);
    assert_memory_equal(b.data, bytes, n);
    buf_fini(&b);
}

static void audio_needs_sizes_only(void **state)
{
    struct cmaf_sample s[2] = { { 100, 1024, 0, true, false }, { 101, 1024, 0, true, false } };
    struct cmaf_chunk c = { .track = 2, .sequence = 1, .samples = s, .count = 2 };
    size_t full;
    struct buf b;

    (void)state;
    buf_init(&b, 4096);
    cmaf_put_head(&b, &c);
    full = b.len;
    buf_reset(&b);
    c.sample_duration = 1024;
    cmaf_put_head(&b, &c);
    assert_int_equal(b.len, full + 8 - 2 * 12);
    buf_fini(&b);
}

static void wall_clock_is_counted_from_1900(void **state)
{
    (void)state;
    assert_int_equal(cmaf_ntp(0, 0, 90000) >> 32, 2208988800u);
    assert_int_equal(cmaf_ntp(10, 45000, 90000), UINT64_C(2208988810) << 32 | 0x80000000u);
    /* 2036: the seconds start again */
    assert_int_equal(cmaf_ntp(2085978496, 3 * 48000, 48000) >> 32, 3);
}

/* Chunks of random samples, one after the other, behind a real init segment. */
static void a_demuxer_reads_what_was_written(void **state)
{
    enum { CHUNKS = 60, MOST = 8, LOWEST_CTS = -3000 };
    uint8_t conf[128], media[64] = { 0 };
    size_t conf_n = unhex(avcc_320x180, conf), total = 0;
    static struct cmaf_sample all[CHUNKS * MOST];
    int64_t start = INT64_C(1760000000000) * 90, dts = start;
    struct init *init;
    struct demux d;
    struct buf b;
    AVPacket *pkt = av_packet_alloc();

    (void)state;
    buf_init(&b, 1 << 20);
    assert_int_equal(init_video_new(conf, conf_n, &init), ST_OK);
    buf_add(&b, init->bytes, init->n);
    for (uint32_t k = 0; k < CHUNKS; k++) {
        struct cmaf_sample *s = &all[total];
        struct cmaf_chunk c = { .track = INIT_VIDEO_TRACK,
                                .sequence = k + 1,
                                .first = k % 5 == 0,
                                .tfdt = dts,
                                .ntp = cmaf_ntp(1760000000, dts, 90000),
                                .samples = s,
                                .count = 1 + rnd(MOST) };

        for (size_t i = 0; i < c.count; i++) {
            s[i] = (struct cmaf_sample){ .size_bytes = 1 + rnd(60),
                                         .duration = 1 + rnd(6000),
                                         .cts = (int32_t)rnd(9000) + LOWEST_CTS,
                                         .sync = i == 0 && c.first,
                                         .disposable = rnd(2) == 1 };
            dts += s[i].duration;
        }
        all[0].cts = LOWEST_CTS;
        cmaf_put_head(&b, &c);
        for (size_t i = 0; i < c.count; i++)
            buf_add(&b, media, s[i].size_bytes);
        total += c.count;
    }
    assert_int_equal(b.st, ST_OK);
    demux_open(&d, b.data, b.len);
    dts = start;
    for (size_t i = 0; i < total; i++) {
        assert_int_equal(av_read_frame(d.fc, pkt), 0);
        /* NB: where offsets are negative it moves all times up by the lowest one. */
        assert_int_equal(pkt->pts + LOWEST_CTS, dts + all[i].cts);
        assert_int_equal(pkt->size, all[i].size_bytes);
        assert_int_equal((pkt->flags & AV_PKT_FLAG_KEY) != 0, all[i].sync);
        dts += all[i].duration;
        av_packet_unref(pkt);
    }
    assert_int_equal(av_read_frame(d.fc, pkt), AVERROR_EOF);
    av_packet_free(&pkt);
    demux_close(&d);
    init_unref(&init);
    buf_fini(&b);
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_chunk_is_these_bytes),
        cmocka_unit_test(audio_needs_sizes_only),
        cmocka_unit_test(wall_clock_is_counted_from_1900),
        cmocka_unit_test(a_demuxer_reads_what_was_written),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
