/* manifests/mpd: what each state of a broadcast must and must not say. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "manifests/mpd.h"
#include "tests/unit/model_drive.h"

enum { V = 90000, A = 48000, START = 3 };
#define PUBLISH INT64_C(1760000003123456)

static const struct model_init video = { .timescale = V,
                                         .codecs = "avc1.64001f",
                                         .hash = "0a1b2c3d",
                                         .width = 1280,
                                         .height = 720,
                                         .sar_x = 4,
                                         .sar_y = 2,
                                         .fps_num = 60000,
                                         .fps_den = 2002 };
static const struct model_init audio = { .timescale = A,
                                         .codecs = "mp4a.40.2",
                                         .hash = "99887766",
                                         .rate = 44100,
                                         .channels = 2,
                                         .bandwidth_bps = 64000 };

/* v0 and a0, initialised; whole milliseconds. */
static void begin(struct model *m, uint32_t k, int64_t start_us, uint64_t number)
{
    struct model_rep_start reps[] = { { "v0", start_us / 1000 * 90, number },
                                      { "a0", start_us / 1000 * 48, number } };

    assert_int_equal(model_period(m, k, start_us, reps, 2), ST_OK);
    assert_int_equal(model_init(m, "v0", &video), ST_OK);
    assert_int_equal(model_init(m, "a0", &audio), ST_OK);
}

static struct model *begun(void)
{
    struct model *m = model_drive_new();

    begin(m, 0, 2000000, START);
    return m;
}

static void whole(struct model *m, const char *rep, uint64_t n, int64_t t, int64_t d, size_t bytes)
{
    assert_int_equal(model_open(m, rep, n, t, d), ST_OK);
    assert_int_equal(model_chunk(m, rep, n, t, d, true, bytes), ST_OK);
    assert_int_equal(model_close(m, rep, n, d), ST_OK);
}

/* One second of both. */
static void second(struct model *m, uint64_t n, int64_t at_s)
{
    whole(m, "v0", n, at_s * V, V, 100000);
    whole(m, "a0", n, at_s * A, A, 8000);
}

/* The document, checked for its form; free() it. */
static char *written(const struct model *m, const struct mpd_opts *o)
{
    struct buf b;
    size_t n;

    buf_init(&b, 1 << 20);
    assert_int_equal(mpd_write(&b, m, o), ST_OK);
    assert_true(xml_well_formed(buf_text(&b)));
    return (char *)buf_take(&b, &n);
}

static char *doc(const struct model *m)
{
    return written(m, &(struct mpd_opts){ .publish_us = PUBLISH });
}

static unsigned count(const char *text, const char *what)
{
    unsigned n = 0;

    while ((text = strstr(text, what)) != NULL) {
        text++;
        n++;
    }
    return n;
}

/* How often `what` is in the document of m. */
static unsigned said(const struct model *m, const char *what)
{
    char *text = doc(m);
    unsigned n = count(text, what);

    free(text);
    return n;
}

static void nothing_is_written_before_there_is_something(void **state)
{
    struct model *m = model_drive_new();
    const struct mpd_opts o = { .publish_us = PUBLISH };
    struct buf b;

    (void)state;
    buf_init(&b, 1 << 16);
    assert_int_equal(mpd_write(&b, m, &o), ST_MORE);
    begin(m, 0, 2000000, START);
    assert_int_equal(mpd_write(&b, m, &o), ST_MORE);
    assert_int_equal(model_open(m, "v0", START, 2 * V, 0), ST_OK);
    assert_int_equal(mpd_write(&b, m, &o), ST_MORE);
    model_end(m);
    assert_int_equal(mpd_write(&b, m, &o), ST_ENOENT);
    assert_int_equal(b.len, 0);
    model_free(&m);
    buf_fini(&b);
}

static void a_live_document_says_what_players_need(void **state)
{
    static const char *const wanted[] = {
        " type=\"dynamic\" availabilityStartTime=\"2025-10-09T08:53:20Z\""
        " publishTime=\"2025-10-09T08:53:23.123Z\" minimumUpdatePeriod=\"PT1S\""
        " timeShiftBufferDepth=\"PT10S\" maxSegmentDuration=\"PT1S\" minBufferTime=\"PT1S\"",
        "<Latency referenceId=\"0\" target=\"1500\" min=\"750\" max=\"6000\"/>",
        "<PlaybackRate min=\"0.96\" max=\"1.04\"/>",
        "<Period id=\"p0\" start=\"PT2S\">\n<BaseURL>0mf3k2a9zq71x/</BaseURL>",
        "<AdaptationSet id=\"0\" contentType=\"video\" mimeType=\"video/mp4\""
        " segmentAlignment=\"true\" startWithSAP=\"1\">",
        "<AdaptationSet id=\"100\" contentType=\"audio\" mimeType=\"audio/mp4\"",
        "<Representation id=\"v0\" bandwidth=\"800000\" codecs=\"avc1.64001f\" width=\"1280\""
        " height=\"720\" sar=\"2:1\" frameRate=\"30000/1001\">",
        "<Representation id=\"a0\" bandwidth=\"64000\" codecs=\"mp4a.40.2\""
        " audioSamplingRate=\"44100\"><AudioChannelConfiguration"
        " schemeIdUri=\"urn:mpeg:mpegB:cicp:ChannelConfiguration\" value=\"2\"/>",
        "<Resync type=\"0\" dT=\"18000\"/>",
        "<Resync type=\"0\" dT=\"9600\"/>",
        "<SegmentTemplate timescale=\"90000\" presentationTimeOffset=\"180000\""
        " availabilityTimeOffset=\"0.75\" availabilityTimeComplete=\"false\""
        " startNumber=\"3\" initialization=\"$RepresentationID$/init-0a1b2c3d.mp4\""
        " media=\"$RepresentationID$/$Number$.m4s\">",
        "<S t=\"180000\" d=\"90000\"/>",
        "</Period>\n<UTCTiming schemeIdUri=\"urn:mpeg:dash:utc:http-iso:2014\" value=\"/time\"/>",
    };
    struct model *m = begun();
    char *text;

    (void)state;
    second(m, 3, 2);
    text = doc(m);
    for (size_t i = 0; i < sizeof wanted / sizeof wanted[0]; i++)
        if (count(text, wanted[i]) != 1)
            fail_msg("not once: %s\nin: %s", wanted[i], text);
    /* its own UTCTiming: else Shaka Player reads the date as an NTP number, and is a century late */
    assert_int_equal(count(text, "presentationTime=\"0\"><UTCTiming "
                                 "schemeIdUri=\"urn:mpeg:dash:utc:http-iso:2014\""),
                     2);
    assert_int_equal(count(text, "<ProducerReferenceTime id=\"0\" type=\"encoder\" wallClockTime="
                                 "\"2025-10-09T08:53:20Z\" presentationTime=\"0\">"),
                     2);
    assert_int_equal(count(text, "suggestedPresentationDelay"), 0);
    assert_int_equal(count(text, "mediaPresentationDuration"), 0);
    assert_int_equal(count(text, "<SupplementalProperty"), 0);
    free(text);
    model_free(&m);
}

static void elements_come_in_the_order_of_the_schema(void **state)
{
    static const char *const order[] = { "<MPD",
                                         "<ServiceDescription",
                                         "<Scope",
                                         "<Latency",
                                         "<PlaybackRate",
                                         "<Period id=\"p0\"",
                                         "<Period id=\"p1\"",
                                         "<BaseURL",
                                         "<AdaptationSet id=\"0\"",
                                         "<SupplementalProperty",
                                         "<ProducerReferenceTime",
                                         "<Representation id=\"v0\"",
                                         "<Resync",
                                         "<SegmentTemplate",
                                         "<SegmentTimeline",
                                         "<AdaptationSet id=\"100\"",
                                         "<Representation id=\"a0\"",
                                         "<AudioChannelConfiguration",
                                         "<Resync",
                                         "<SegmentTemplate",
                                         "<UTCTiming",
                                         "</MPD>" };
    struct model *m = begun();
    const char *at;
    char *text;

    (void)state;
    second(m, 3, 2);
    begin(m, 1, 5000000, 70);
    second(m, 70, 5);
    at = text = doc(m);
    for (size_t i = 0; i < sizeof order / sizeof order[0]; i++) {
        at = strstr(at, order[i]);
        if (at == NULL)
            fail_msg("%s is missing or too early in: %s", order[i], text);
    }
    free(text);
    model_free(&m);
}

static const char growing[] = " availabilityTimeComplete=\"false\"";

static void a_segment_in_progress_is_listed_while_it_is_promised(void **state)
{
    struct model *m = begun();

    (void)state;
    second(m, 3, 2);
    model_cut(m); /* the publisher has fallen silent */
    assert_int_equal(said(m, growing), 0);
    assert_int_equal(model_open(m, "v0", 4, 3 * V, V), ST_OK);
    assert_int_equal(said(m, growing), 1);
    assert_int_equal(said(m, "<S t=\"180000\" d=\"90000\" r=\"1\"/>"), 1);
    assert_int_equal(model_open(m, "v0", 4, 3 * V, V + 9000), ST_OK);
    assert_int_equal(said(m, growing), 1);
    assert_int_equal(said(m, "<S t=\"180000\" d=\"90000\"/><S d=\"99000\"/>"), 1);
    assert_int_equal(model_open(m, "v0", 4, 3 * V, 0), ST_OK);
    assert_int_equal(said(m, "availabilityTime"), 0);
    assert_int_equal(said(m, "<S t=\"180000\" d=\"90000\"/></SegmentTimeline>"), 1);
    assert_int_equal(model_chunk(m, "v0", 4, 3 * V, V + 9001, true, 5), ST_OK);
    assert_int_equal(model_close(m, "v0", 4, V + 9001), ST_OK);
    assert_int_equal(said(m, "availabilityTime"), 0);
    assert_int_equal(said(m, "<S d=\"99001\"/>"), 1);
    /* too short to be asked for before it is whole */
    assert_int_equal(model_open(m, "a0", 4, 3 * A, A / 4), ST_OK);
    assert_int_equal(said(m, "availabilityTime"), 0);
    assert_int_equal(said(m, "<S t=\"96000\" d=\"48000\"/></SegmentTimeline>"), 1);
    model_free(&m);
}

static void between_two_segments_nothing_changes(void **state)
{
    struct model *m = begun();

    (void)state;
    assert_int_equal(model_open(m, "v0", 3, 2 * V, V), ST_OK);
    assert_int_equal(model_open(m, "a0", 3, 2 * A, A), ST_OK);
    assert_int_equal(said(m, growing), 2);
    assert_int_equal(model_chunk(m, "v0", 3, 2 * V, V - 3000, true, 5), ST_OK);
    assert_int_equal(model_chunk(m, "a0", 3, 2 * A, A, true, 5), ST_OK);
    assert_int_equal(model_close(m, "v0", 3, V - 3000), ST_OK); /* a little shorter than promised */
    assert_int_equal(model_close(m, "a0", 3, A), ST_OK);
    assert_int_equal(said(m, growing), 2);
    assert_int_equal(model_open(m, "v0", 4, 3 * V, 0), ST_OK); /* not promised: so is the sound */
    assert_int_equal(said(m, "availabilityTime"), 0);
    assert_int_equal(model_chunk(m, "v0", 4, 3 * V, V, true, 5), ST_OK);
    assert_int_equal(model_close(m, "v0", 4, V), ST_OK);
    assert_int_equal(said(m, growing), 1);
    model_cut(m);
    assert_int_equal(said(m, growing), 0);
    whole(m, "v0", 5, 4 * V, V, 1);
    assert_int_equal(said(m, growing), 1);
    begin(m, 1, 5000000, 70); /* nothing follows in the Period before */
    assert_int_equal(said(m, growing), 0);
    model_end(m);
    assert_int_equal(said(m, "availabilityTime"), 0);
    model_free(&m);
}

/* Who comes while a publisher is away, or has come back, gets as near to him as all others. */
static void one_offset_holds_for_all_of_it(void **state)
{
    static const char of_a_second[] = " availabilityTimeOffset=\"0.75\"";
    struct model *m = begun();

    (void)state;
    second(m, 3, 2);
    assert_int_equal(said(m, of_a_second), 2);
    model_cut(m);
    assert_int_equal(said(m, of_a_second), 2);
    begin(m, 1, 5000000, 70);
    assert_int_equal(said(m, of_a_second), 2); /* nothing of the new one is to be seen */
    second(m, 70, 5);
    assert_int_equal(said(m, of_a_second), 4);
    assert_int_equal(said(m, growing), 2);
    model_end(m);
    assert_int_equal(said(m, "availabilityTime"), 0);
    model_free(&m);
}

/* With pictures in long segments and sound in short ones, too; and it does not come nearer again. */
static void the_offset_is_that_of_the_longest_segment_ever(void **state)
{
    static const char of_two_seconds[] = " availabilityTimeOffset=\"1.75\"";
    struct model *m = begun();

    (void)state;
    assert_int_equal(model_open(m, "v0", 3, 2 * V, V), ST_OK);
    whole(m, "a0", 3, 2 * A, A, 8000);
    assert_int_equal(said(m, " availabilityTimeOffset=\"0.75\""), 2);
    assert_int_equal(model_open(m, "v0", 3, 2 * V, 2 * V), ST_OK);
    assert_int_equal(said(m, of_two_seconds), 2);
    assert_int_equal(said(m, " maxSegmentDuration=\"PT2S\""), 1);
    assert_int_equal(model_chunk(m, "v0", 3, 2 * V, V, true, 5), ST_OK);
    assert_int_equal(model_close(m, "v0", 3, V), ST_OK); /* it was none, after all */
    assert_int_equal(said(m, of_two_seconds), 2);
    second(m, 4, 3);
    assert_int_equal(model_expire(m, 3000000), 2); /* and by now it is gone */
    assert_int_equal(said(m, of_two_seconds), 2);
    assert_int_equal(said(m, " maxSegmentDuration=\"PT2S\""), 1);
    model_free(&m);
}

static void sound_waits_for_pictures_in_progress(void **state)
{
    struct model *m = begun();

    (void)state;
    second(m, 3, 2);
    assert_int_equal(model_open(m, "v0", 4, 3 * V, 0), ST_OK);
    assert_int_equal(model_open(m, "a0", 4, 3 * A, A), ST_OK);
    assert_int_equal(said(m, "availabilityTime"), 0);
    assert_int_equal(said(m, "<S t=\"96000\" d=\"48000\"/></SegmentTimeline>"), 1);
    assert_int_equal(model_open(m, "v0", 4, 3 * V, V), ST_OK); /* both, as soon as one can be */
    assert_int_equal(said(m, "availabilityTime"), 4);
    assert_int_equal(said(m, "<S t=\"96000\" d=\"48000\" r=\"1\"/></SegmentTimeline>"), 1);
    assert_int_equal(model_open(m, "v0", 4, 3 * V, 0), ST_OK);
    assert_int_equal(model_chunk(m, "v0", 4, 3 * V, 2 * V, true, 5), ST_OK);
    assert_int_equal(model_chunk(m, "a0", 4, 3 * A, A, true, 5), ST_OK);
    assert_int_equal(model_close(m, "a0", 4, A), ST_OK); /* but what is whole is listed */
    assert_int_equal(said(m, "<S t=\"96000\" d=\"48000\" r=\"1\"/></SegmentTimeline>"), 1);
    assert_int_equal(said(m, "<S t=\"180000\" d=\"90000\"/></SegmentTimeline>"), 1);
    /* sound alone waits for nothing */
    model_cut(m);
    assert_int_equal(model_period(m, 1, 7000000, &(struct model_rep_start){ "a0", 7 * A, 140 }, 1),
                     ST_OK);
    assert_int_equal(model_init(m, "a0", &audio), ST_OK);
    assert_int_equal(model_open(m, "a0", 140, 7 * A, A), ST_OK);
    assert_int_equal(said(m, "availabilityTimeComplete"), 1);
    model_free(&m);
}

static void equal_segments_are_one_run_and_gaps_have_a_time(void **state)
{
    struct model *m = begun();

    (void)state;
    whole(m, "a0", 3, 2 * A, A, 1);
    for (unsigned i = 0; i < 3; i++)
        whole(m, "v0", 3 + i, (2 + i) * V, V, 1);
    whole(m, "v0", 6, 5 * V, V + 1, 1);
    whole(m, "v0", 7, 6 * V + 2, V + 1, 1); /* a tick is missing */
    whole(m, "v0", 8, 7 * V + 3, V + 1, 1);
    assert_int_equal(said(m, "<SegmentTimeline><S t=\"180000\" d=\"90000\" r=\"2\"/>"
                             "<S d=\"90001\"/><S t=\"540002\" d=\"90001\" r=\"1\"/>"
                             "</SegmentTimeline>"),
                     1);
    model_free(&m);
}

static void a_reconnect_is_a_period_of_its_own(void **state)
{
    struct model *m = begun();
    struct model_init other = video;
    struct model_rep_start reps[] = { { "v0", 9 * V, 140 }, { "a0", 9 * A, 140 } };

    (void)state;
    second(m, 3, 2);
    begin(m, 1, 5123000, 70);
    assert_int_equal(said(m, "<Period "), 1);
    whole(m, "v0", 70, 5123 * 90, V, 1);
    assert_int_equal(said(m, "<Period "), 1); /* its audio may come yet */
    whole(m, "a0", 70, 5123 * 48, A, 1);
    assert_int_equal(said(m, "<Period "), 2);
    assert_int_equal(said(m, "<Period id=\"p1\" start=\"PT5.123S\">"), 1);
    assert_int_equal(said(m, "<BaseURL>0mf3k2a9zq71x/</BaseURL>"), 2);
    assert_int_equal(said(m, " presentationTimeOffset=\"461070\" availabilityTimeOffset=\"0.75\""
                             " availabilityTimeComplete=\"false\" startNumber=\"70\""),
                     1);
    assert_int_equal(said(m, "urn:mpeg:dash:period-connectivity:2015\" value=\"p0\"/>"), 2);
    /* other bytes at the front: only the audio goes on with its decoder */
    assert_int_equal(model_period(m, 7, 9000000, reps, 2), ST_OK);
    other.hash = "ffffffff";
    assert_int_equal(model_init(m, "v0", &other), ST_OK);
    assert_int_equal(model_init(m, "a0", &audio), ST_OK);
    second(m, 140, 9);
    assert_int_equal(said(m, "<Period "), 3);
    assert_int_equal(said(m, "urn:mpeg:dash:period-connectivity:2015\" value=\"p1\"/>"), 1);
    /* never a Period that is not there */
    (void)model_expire(m, 6200000);
    assert_int_equal(said(m, "<Period "), 1);
    assert_int_equal(said(m, "period-connectivity"), 0);
    model_free(&m);
}

static void a_period_does_not_wait_for_ever_for_a_silent_track(void **state)
{
    struct model *m = begun();
    const struct mpd_opts o = { .publish_us = PUBLISH };
    struct buf b;

    (void)state;
    buf_init(&b, 1 << 16);
    whole(m, "v0", 3, 2 * V, V, 1);
    assert_int_equal(model_open(m, "v0", 4, 3 * V, V), ST_OK);
    assert_int_equal(mpd_write(&b, m, &o), ST_MORE);
    assert_int_equal(model_chunk(m, "v0", 4, 3 * V, V, true, 1), ST_OK);
    assert_int_equal(model_close(m, "v0", 4, V), ST_OK);
    assert_int_equal(said(m, "contentType=\"video\""), 1);
    assert_int_equal(said(m, "contentType=\"audio\""), 0);
    whole(m, "a0", 3, 4 * A, A, 1);
    assert_int_equal(said(m, "contentType=\"audio\""), 1);
    for (unsigned i = 0; i < 20; i++) /* and is not undone when one falls silent later */
        whole(m, "v0", 5 + i, (4 + i) * V, V, 1);
    assert_int_equal(said(m, "contentType=\"video\""), 1);
    assert_int_equal(said(m, "contentType=\"audio\""), 0);
    model_free(&m);
    buf_fini(&b);
}

static void a_segment_that_never_was_is_no_reason_to_show_a_period(void **state)
{
    struct model *m = begun();
    const struct mpd_opts o = { .publish_us = PUBLISH };
    struct buf b;

    (void)state;
    buf_init(&b, 1 << 16);
    whole(m, "v0", 3, 2 * V, V, 1);
    assert_int_equal(model_open(m, "a0", 3, 2 * A, A), ST_OK);
    model_cut(m);
    assert_int_equal(mpd_write(&b, m, &o), ST_MORE);
    whole(m, "v0", 4, 3 * V, V, 1);
    assert_int_equal(said(m, "contentType=\"video\""), 1);
    /* a track that was not shown before has nothing to be connected to */
    begin(m, 1, 5000000, 70);
    second(m, 70, 5);
    assert_int_equal(said(m, "<Period "), 2);
    assert_int_equal(said(m, "period-connectivity"), 1);
    model_free(&m);
    buf_fini(&b);
}

static void alignment_is_judged_by_number(void **state)
{
    (void)state;
    for (unsigned turn = 0; turn < 2; turn++) { /* the later one comes first, then second */
        const char *late = turn == 0 ? "v0" : "v1", *early = turn == 0 ? "v1" : "v0";
        struct model_rep_start reps[] = { { late, 2 * V, 4 }, { early, 2 * V, 3 } };
        struct model *m = model_drive_new();

        assert_int_equal(model_period(m, 0, 2000000, reps, 2), ST_OK);
        assert_int_equal(model_init(m, "v0", &video), ST_OK);
        assert_int_equal(model_init(m, "v1", &video), ST_OK);
        whole(m, late, 4, 3 * V, V, 1);
        whole(m, early, 3, 2 * V, V, 1);
        assert_int_equal(said(m, " segmentAlignment=\"true\""), 1);
        whole(m, early, 4, 3 * V + 1000, V, 1);
        assert_int_equal(said(m, " segmentAlignment=\"false\""), 1);
        model_free(&m);
    }
}

static void the_end_makes_a_static_document(void **state)
{
    static const char *const live_only[] = { "minimumUpdatePeriod",   "timeShiftBufferDepth",
                                             "availabilityTime ",     "availabilityTimeOffset",
                                             "ServiceDescription",    "UTCTiming",
                                             "ProducerReferenceTime", "Resync" };
    struct model *m = begun();
    char *text;

    (void)state;
    for (unsigned i = 0; i < 20; i++)
        second(m, 3 + i, 2 + i);
    assert_int_equal(model_open(m, "v0", 23, 22 * V, V), ST_OK);
    assert_int_equal(model_chunk(m, "v0", 23, 22 * V, V / 5, true, 1), ST_OK);
    model_end(m);
    text = doc(m);
    assert_int_equal(count(text, " type=\"static\""), 1);
    assert_int_equal(count(text, " mediaPresentationDuration=\"PT22.2S\""), 1);
    for (size_t i = 0; i < sizeof live_only / sizeof live_only[0]; i++)
        assert_int_equal(count(text, live_only[i]), 0);
    /* all there is, window or not; the last one with what it has */
    assert_int_equal(count(text, "<Period id=\"p0\" start=\"PT2S\">"), 1);
    assert_int_equal(count(text, "<S t=\"180000\" d=\"90000\" r=\"19\"/><S d=\"18000\"/>"), 1);
    free(text);
    /* what begins later says so, at the same presentation times */
    (void)model_expire(m, 4000000);
    text = doc(m);
    assert_int_equal(count(text, "<Period id=\"p0\" start=\"PT4S\">"), 1);
    assert_int_equal(count(text, " presentationTimeOffset=\"360000\" startNumber=\"5\""), 1);
    assert_int_equal(count(text, " presentationTimeOffset=\"192000\" startNumber=\"5\""), 1);
    free(text);
    model_free(&m);
}

static void the_window_can_be_wider_and_narrower(void **state)
{
    struct model *m = begun();
    char *text;

    (void)state;
    for (unsigned i = 0; i < 20; i++)
        second(m, 3 + i, 2 + i);
    assert_int_equal(said(m, " startNumber=\"13\""), 2);               /* 10 s: 12..22 */
    assert_int_equal(said(m, "<Period id=\"p0\" start=\"PT2S\">"), 1); /* live: does not move */
    text = written(m, &(struct mpd_opts){ .window_us = 3600000000, .in_session = true });
    assert_int_equal(count(text, " timeShiftBufferDepth=\"PT3600S\""), 1);
    assert_int_equal(count(text, " startNumber=\"3\""), 2);
    assert_int_equal(count(text, "BaseURL"), 0);
    free(text);
    text = written(m, &(struct mpd_opts){ .window_us = 2500000 });
    assert_int_equal(count(text, " timeShiftBufferDepth=\"PT2.5S\""), 1);
    assert_int_equal(count(text, " startNumber=\"20\""), 2);
    free(text);
    model_free(&m);
}

static void latency_is_what_the_segments_allow(void **state)
{
    struct model *m = begun();
    char *text;

    (void)state;
    second(m, 3, 2);
    assert_int_equal(said(m, "lowlatency"), 1);
    text = written(m, &(struct mpd_opts){ .latency_ms = 1000 });
    assert_int_equal(count(text, " target=\"1000\" min=\"500\" max=\"4000\""), 1);
    free(text);
    assert_int_equal(model_open(m, "v0", 4, 3 * V, 0), ST_OK); /* whole segments only, now */
    assert_int_equal(said(m, "lowlatency"), 0);
    assert_int_equal(said(m, " target=\"3000\""), 1);
    assert_int_equal(model_chunk(m, "v0", 4, 3 * V, 4 * V, true, 1), ST_OK);
    assert_int_equal(model_close(m, "v0", 4, 4 * V), ST_OK);
    assert_int_equal(said(m, " maxSegmentDuration=\"PT4S\""), 1);
    whole(m, "v0", 5, 7 * V, V, 1);
    assert_int_equal(said(m, " maxSegmentDuration=\"PT4S\""), 1);
    assert_int_equal(model_open(m, "v0", 6, 8 * V, 5 * V), ST_OK);
    assert_int_equal(said(m, " maxSegmentDuration=\"PT5S\""), 1);
    assert_int_equal(model_open(m, "v0", 6, 8 * V, 0), ST_OK);
    assert_int_equal(said(m, " target=\"9000\""), 1);
    model_free(&m);
}

static void short_segments_are_refreshed_more_often(void **state)
{
    const struct model_conf conf = { .session = "0mf3k2a9zq71x",
                                     .ast_s = 951782399, /* a second before a leap day */
                                     .segment_us = 480000,
                                     .chunk_us = 400000,
                                     .window_us = 60000000 };
    struct model *m;

    (void)state;
    assert_int_equal(model_new(&conf, &m), ST_OK);
    begin(m, 0, 2000000, START);
    second(m, 3, 2);
    assert_int_equal(said(m, " minimumUpdatePeriod=\"PT0.48S\" timeShiftBufferDepth=\"PT60S\""), 1);
    assert_int_equal(said(m, " availabilityStartTime=\"2000-02-28T23:59:59Z\""), 1);
    assert_int_equal(said(m, " target=\"2000\""), 1); /* five chunks */
    model_free(&m);
}

static void video_is_grouped_by_codec_and_audio_is_not(void **state)
{
    static const char *const names[] = { "v10", "a1", "v1", "v2", "v0", "a0", "a2" };
    struct model_rep_start reps[7];
    struct model_init hevc = video, plain = video, mono = audio, wide = audio, round = audio;
    struct model *m = model_drive_new();

    (void)state;
    hevc.codecs = "hvc1.1.6.L93.B0";
    plain.sar_x = plain.sar_y = 0;
    plain.fps_num = plain.fps_den = 0;
    mono.channels = 1;
    wide.channels = 9;
    round.channels = 8;
    for (unsigned i = 0; i < 7; i++)
        reps[i] = (struct model_rep_start){ names[i], names[i][0] == 'v' ? 2 * V : 2 * A, 3 };
    assert_int_equal(model_period(m, 0, 2000000, reps, 7), ST_OK);
    assert_int_equal(model_init(m, "v0", &video), ST_OK);
    assert_int_equal(model_init(m, "v1", &hevc), ST_OK);
    assert_int_equal(model_init(m, "v2", &plain), ST_OK);
    assert_int_equal(model_init(m, "v10", &hevc), ST_OK);
    assert_int_equal(model_init(m, "a0", &mono), ST_OK);
    assert_int_equal(model_init(m, "a1", &wide), ST_OK);
    assert_int_equal(model_init(m, "a2", &round), ST_OK);
    for (unsigned i = 0; i < 7; i++)
        whole(m, names[i], 3, (names[i][0] == 'v' ? 2 * V : 2 * A) + (i == 0), V / 2, 1);
    assert_int_equal(said(m, "<AdaptationSet "), 5);
    assert_int_equal(said(m, "<AdaptationSet id=\"0\" contentType=\"video\" mimeType=\"video/mp4\""
                             " segmentAlignment=\"true\""),
                     1);
    /* v10 began a tick after v1 */
    assert_int_equal(said(m, "<AdaptationSet id=\"1\" contentType=\"video\" mimeType=\"video/mp4\""
                             " segmentAlignment=\"false\""),
                     1);
    assert_int_equal(said(m, "<AdaptationSet id=\"100\""), 1);
    assert_int_equal(said(m, "<AdaptationSet id=\"101\""), 1);
    assert_int_equal(said(m, " height=\"720\">"), 1);
    assert_int_equal(said(m, "ChannelConfiguration\" value=\"1\"/>"), 1);
    assert_int_equal(said(m, "ChannelConfiguration\" value=\"7\"/>"), 1); /* 7.1 */
    assert_int_equal(said(m, "<AudioChannelConfiguration"), 2); /* no usual layout of nine */
    model_free(&m);
}

static void only_content_makes_a_new_document(void **state)
{
    struct model *m = begun();
    char *a, *b;

    (void)state;
    second(m, 3, 2);
    assert_int_equal(model_open(m, "v0", 4, 3 * V, V + 100), ST_OK);
    a = doc(m);
    assert_int_equal(model_chunk(m, "v0", 4, 3 * V, V / 5, true, 100), ST_OK);
    b = written(m, &(struct mpd_opts){ .publish_us = PUBLISH + 99000000 });
    assert_string_not_equal(a, b);
    assert_true(mpd_same(a, strlen(a), b, strlen(b)));
    free(b);
    assert_int_equal(model_open(m, "v0", 4, 3 * V, V + 200), ST_OK);
    b = doc(m);
    assert_int_equal(strlen(a), strlen(b));
    assert_false(mpd_same(a, strlen(a), b, strlen(b)));
    assert_false(mpd_same(a, strlen(a), b, strlen(b) - 1));
    assert_false(mpd_same(b, strlen(b), b, strlen(b) - 1));
    b[strlen(b) - strlen("/MPD>\n")] = '!';
    free(a);
    a = doc(m);
    assert_false(mpd_same(a, strlen(a), b, strlen(b)));
    memcpy(b, a, strlen(a));
    assert_true(mpd_same(a, strlen(a), b, strlen(b)));
    b[2] = 'X'; /* before publishTime */
    assert_false(mpd_same(a, strlen(a), b, strlen(b)));
    assert_false(mpd_same("x", 1, "y", 1));
    assert_true(mpd_same(NULL, 0, NULL, 0));
    free(a);
    free(b);
    model_free(&m);
}

static void a_document_over_the_limit_is_refused_whole(void **state)
{
    const struct mpd_opts o = { .publish_us = PUBLISH };
    struct model *m = begun();
    char *text;
    struct buf b;

    (void)state;
    second(m, 3, 2);
    text = doc(m);
    for (size_t limit = 0; limit < strlen(text); limit++) {
        buf_init(&b, limit);
        assert_int_equal(mpd_write(&b, m, &o), ST_ELIMIT);
        buf_fini(&b);
    }
    buf_init(&b, strlen(text));
    assert_int_equal(mpd_write(&b, m, &o), ST_OK);
    buf_fini(&b);
    free(text);
    model_free(&m);
}

static void the_form_check_itself_finds_faults(void **state)
{
#define HEAD "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n"
    (void)state;
    assert_true(xml_well_formed(HEAD "<a b=\"c\"><d/>e</a>\n"));
    assert_false(xml_well_formed("<a/>"));
    assert_false(xml_well_formed(HEAD));
    assert_false(xml_well_formed(HEAD "<a><b></a></b>"));
    assert_false(xml_well_formed(HEAD "<a>"));
    assert_false(xml_well_formed(HEAD "<a/><b/>"));
    assert_false(xml_well_formed(HEAD "<a b=\"<\"/>"));
    assert_false(xml_well_formed(HEAD "<a b=\"1\" b=\"1\"/>"));
    assert_false(xml_well_formed(HEAD "<a b=1/>"));
    assert_false(xml_well_formed(HEAD "<a>&</a>"));
    assert_false(xml_well_formed(HEAD "<a/>x"));
#undef HEAD
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(nothing_is_written_before_there_is_something),
        cmocka_unit_test(a_live_document_says_what_players_need),
        cmocka_unit_test(elements_come_in_the_order_of_the_schema),
        cmocka_unit_test(a_segment_in_progress_is_listed_while_it_is_promised),
        cmocka_unit_test(between_two_segments_nothing_changes),
        cmocka_unit_test(one_offset_holds_for_all_of_it),
        cmocka_unit_test(the_offset_is_that_of_the_longest_segment_ever),
        cmocka_unit_test(sound_waits_for_pictures_in_progress),
        cmocka_unit_test(equal_segments_are_one_run_and_gaps_have_a_time),
        cmocka_unit_test(a_reconnect_is_a_period_of_its_own),
        cmocka_unit_test(a_period_does_not_wait_for_ever_for_a_silent_track),
        cmocka_unit_test(a_segment_that_never_was_is_no_reason_to_show_a_period),
        cmocka_unit_test(alignment_is_judged_by_number),
        cmocka_unit_test(the_end_makes_a_static_document),
        cmocka_unit_test(the_window_can_be_wider_and_narrower),
        cmocka_unit_test(latency_is_what_the_segments_allow),
        cmocka_unit_test(short_segments_are_refreshed_more_often),
        cmocka_unit_test(video_is_grouped_by_codec_and_audio_is_not),
        cmocka_unit_test(only_content_makes_a_new_document),
        cmocka_unit_test(a_document_over_the_limit_is_refused_whole),
        cmocka_unit_test(the_form_check_itself_finds_faults),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
