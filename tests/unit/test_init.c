/* encode/init: what libavformat writes for us, read again by its demuxer. */
#include <stdlib.h>

#include "demux.h"
#include "encode/init.h"

static struct init *video_of(const char *hex)
{
    uint8_t conf[256];
    size_t n = unhex(hex, conf);
    struct init *i;

    assert_int_equal(init_video_new(conf, n, &i), ST_OK);
    return i;
}

static bool contains(const struct init *i, const char *fourcc)
{
    return memmem(i->bytes, i->n, fourcc, 4) != NULL;
}

static void size_and_shape_are_those_of_the_sps(void **state)
{
    struct init *i = video_of(avcc_322x182);
    struct demux d;

    (void)state;
    assert_string_equal(i->about, "\"codecs\":\"avc1.64000d\",\"timescale\":90000,\"w\":322,"
                                  "\"h\":182,\"sar\":\"4:3\",\"fps\":\"25\"");
    demux_open(&d, i->bytes, i->n);
    assert_int_equal(d.fc->nb_streams, 1);
    assert_int_equal(d.fc->streams[0]->id, INIT_VIDEO_TRACK);
    assert_int_equal(d.fc->streams[0]->codecpar->width, 322);
    assert_int_equal(d.fc->streams[0]->codecpar->height, 182);
    assert_int_equal(d.fc->streams[0]->sample_aspect_ratio.num, 4);
    assert_int_equal(d.fc->streams[0]->time_base.den, 90000);
    demux_close(&d);
    assert_int_equal(i->length_bytes, 4);
    init_unref(&i);
    assert_null(i);
}

static void audio_counts_in_samples(void **state)
{
    uint8_t conf[16];
    size_t n = unhex(asc_48k_mono, conf);
    struct init *i;
    struct demux d;

    (void)state;
    assert_int_equal(init_audio_new(conf, n, &i), ST_OK);
    assert_string_equal(
        i->about, "\"codecs\":\"mp4a.40.2\",\"timescale\":48000,\"rate\":48000,\"channels\":1");
    assert_int_equal(i->frame_ticks, 1024);
    demux_open(&d, i->bytes, i->n);
    assert_int_equal(d.fc->streams[0]->id, INIT_AUDIO_TRACK);
    assert_int_equal(d.fc->streams[0]->time_base.den, 48000);
    assert_int_equal(d.fc->streams[0]->codecpar->ch_layout.nb_channels, 1);
    assert_int_equal(d.fc->streams[0]->codecpar->extradata_size, (int)n);
    demux_close(&d);
    init_unref(&i);
}

static void only_fragments_and_no_edit_list(void **state)
{
    struct init *i = video_of(avcc_320x180);

    (void)state;
    assert_true(contains(i, "mvex") && contains(i, "cmfc"));
    assert_false(contains(i, "Lavf")); /* another version makes the same bytes */
    assert_false(contains(i, "edts") || contains(i, "sidx") || contains(i, "mdat"));
    init_unref(&i);
}

static void the_same_configuration_makes_the_same_bytes_and_name(void **state)
{
    struct init *a = video_of(avcc_320x180), *b = video_of(avcc_320x180);
    struct init *other = video_of(avcc_322x182), *kept = init_ref(a);

    (void)state;
    assert_int_equal(a->n, b->n);
    assert_memory_equal(a->bytes, b->bytes, a->n);
    assert_string_equal(a->hash, b->hash);
    assert_int_equal(strlen(a->hash), 8);
    assert_string_not_equal(a->hash, other->hash);
    init_unref(&a);
    assert_string_equal(kept->hash, b->hash);
    init_unref(&kept);
    init_unref(&b);
    init_unref(&other);
    init_unref(&other);
}

static void a_configuration_cut_short_is_refused(void **state)
{
    uint8_t conf[256];
    size_t n = unhex(avcc_320x180, conf);
    struct init *i;

    (void)state;
    for (size_t k = 0; k < n; k++) {
        uint8_t *copy = malloc(k > 0 ? k : 1);

        memcpy(copy, conf, k);
        assert_int_equal(init_video_new(copy, k, &i), ST_EPROTO);
        assert_null(i);
        if (k < 2)
            assert_int_equal(init_audio_new(copy, k, &i), ST_EPROTO);
        assert_null(i);
        free(copy);
    }
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(size_and_shape_are_those_of_the_sps),
        cmocka_unit_test(audio_counts_in_samples),
        cmocka_unit_test(only_fragments_and_no_edit_list),
        cmocka_unit_test(the_same_configuration_makes_the_same_bytes_and_name),
        cmocka_unit_test(a_configuration_cut_short_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
