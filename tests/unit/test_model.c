/* manifests/model: a broadcast as the records tell it, tables of what must be refused, and random
 * verbs. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "manifests/model.h"
#include "tests/unit/model_drive.h"

enum { V = 90000, A = 48000, START = 3 }; /* ticks; the first number */

static const struct model_init video = { .timescale = V,
                                         .codecs = "avc1.64001f",
                                         .hash = "0a1b2c3d",
                                         .width = 1280,
                                         .height = 720,
                                         .fps_num = 30,
                                         .fps_den = 1 };
static const struct model_init audio = { .timescale = A,
                                         .codecs = "mp4a.40.2",
                                         .hash = "99887766",
                                         .rate = 48000,
                                         .channels = 2,
                                         .bandwidth_bps = 64000 };

static enum st period_of(struct model *m, uint32_t k, int64_t start_us, uint64_t number)
{
    struct model_rep_start reps[] = { { "a0", start_us / 1000 * 48, number },
                                      { "v0", start_us / 1000 * 90, number } };

    return model_period(m, k, start_us, reps, 2);
}

/* p0 at 2 s with v0 and a0 from number 3, initialised. */
static struct model *begun(void)
{
    struct model *m = model_drive_new();

    assert_int_equal(period_of(m, 0, 2000000, START), ST_OK);
    assert_int_equal(model_init(m, "v0", &video), ST_OK);
    assert_int_equal(model_init(m, "a0", &audio), ST_OK);
    return m;
}

static void whole(struct model *m, const char *rep, uint64_t n, int64_t t, int64_t d, size_t bytes)
{
    assert_int_equal(model_open(m, rep, n, t, d), ST_OK);
    assert_int_equal(model_chunk(m, rep, n, t, d, true, bytes), ST_OK);
    assert_int_equal(model_close(m, rep, n, d), ST_OK);
}

static const struct model_rep *rep_of(const struct model *m, const char *name)
{
    const struct model_rep *r = model_rep(model_current(m), name);

    assert_non_null(r);
    return r;
}

static const struct model_segment *newest(const struct model *m, const char *name)
{
    const struct model_rep *r = rep_of(m, name);

    assert_true(r->segments.n > 0);
    return model_segment(r, r->segments.n - 1);
}

static void records_become_segments_and_parts(void **state)
{
    struct model *m = begun();
    const struct model_segment *s;
    const struct model_part *p;

    (void)state;
    assert_string_equal(model_current(m)->rep[0].name, "v0");
    assert_int_equal(model_open(m, "v0", 3, 2 * V, V), ST_OK);
    assert_int_equal(model_chunk(m, "v0", 3, 2 * V, V / 5, true, 1000), ST_OK);
    assert_int_equal(model_chunk(m, "v0", 3, 2 * V + V / 5, V / 5, false, 500), ST_OK);
    s = newest(m, "v0");
    assert_true(s->open && s->promised && !s->discontinuity);
    assert_int_equal(s->d, V);
    assert_int_equal(s->size, 1500);
    p = model_part(rep_of(m, "v0"), 1);
    assert_int_equal(p->at, 1000);
    assert_int_equal(p->size, 500);
    assert_false(p->independent);
    assert_int_equal(model_close(m, "v0", 3, V - 3000), ST_OK);
    s = newest(m, "v0");
    assert_false(s->open);
    assert_int_equal(s->d, V - 3000);
    whole(m, "v0", 4, 3 * V - 3000, V, 10);
    assert_int_equal(newest(m, "v0")->msn, 1);
    assert_true(model_sane(m));
    model_free(&m);
}

static void a_promise_moves_up_is_withdrawn_and_gives_way_to_the_truth(void **state)
{
    struct model *m = begun();

    (void)state;
    assert_int_equal(model_open(m, "v0", 3, 2 * V, V), ST_OK);
    assert_int_equal(model_open(m, "v0", 3, 2 * V, V), ST_OK);
    assert_int_equal(model_open(m, "v0", 3, 2 * V, V - 1), ST_EPROTO);
    assert_int_equal(model_open(m, "v0", 3, 2 * V + 1, V), ST_EPROTO);
    assert_int_equal(model_open(m, "v0", 3, 2 * V, 2 * V), ST_OK);
    assert_int_equal(newest(m, "v0")->d, 2 * V);
    assert_int_equal(model_open(m, "v0", 3, 2 * V, 0), ST_OK);
    assert_int_equal(newest(m, "v0")->d, 0);
    assert_false(newest(m, "v0")->promised);
    assert_int_equal(model_open(m, "v0", 3, 2 * V, V), ST_EPROTO); /* it was two once */
    assert_int_equal(model_open(m, "v0", 3, 2 * V, 2 * V), ST_OK);
    assert_int_equal(model_chunk(m, "v0", 3, 2 * V, 2 * V, true, 9), ST_OK);
    assert_true(newest(m, "v0")->promised); /* exactly what was said */
    assert_int_equal(model_chunk(m, "v0", 3, 4 * V, 1, true, 9), ST_OK);
    assert_int_equal(newest(m, "v0")->d, 0); /* beyond it */
    assert_false(newest(m, "v0")->promised);
    assert_int_equal(model_open(m, "v0", 3, 2 * V, 2 * V), ST_EPROTO);
    assert_int_equal(model_open(m, "v0", 3, 2 * V, 3 * V), ST_OK);
    assert_int_equal(model_close(m, "v0", 3, 2 * V), ST_EPROTO); /* there is more media */
    assert_int_equal(model_close(m, "v0", 3, 2 * V + 1), ST_OK);
    assert_int_equal(newest(m, "v0")->d, 2 * V + 1);
    model_free(&m);
}

static void what_is_late_or_unknown_is_to_be_ignored(void **state)
{
    struct model *m = begun();

    (void)state;
    whole(m, "v0", 3, 2 * V, V, 10);
    assert_int_equal(model_open(m, "v0", 3, 2 * V, V), ST_ENOENT);
    assert_int_equal(model_chunk(m, "v0", 3, 3 * V, V, true, 1), ST_ENOENT);
    assert_int_equal(model_close(m, "v0", 3, V), ST_ENOENT);
    assert_int_equal(model_open(m, "v1", 4, 3 * V, V), ST_ENOENT);
    assert_int_equal(model_init(m, "v1", &video), ST_ENOENT);
    assert_int_equal(model_chunk(m, "v1", 4, 3 * V, V, true, 1), ST_ENOENT);
    assert_int_equal(model_close(m, "v1", 4, V), ST_ENOENT);
    assert_int_equal(model_open(m, "v0", 4, 3 * V, V), ST_OK);
    assert_int_equal(model_close(m, "v0", 3, V), ST_ENOENT);
    model_free(&m);
}

static void wrong_numbers_and_times_are_refused(void **state)
{
    static const struct {
        uint64_t n;
        int64_t t, d;
        enum st st;
    } opens[] = {
        { 5, 3 * V, V, ST_EPROTO },
        { 1000, 3 * V, V, ST_EPROTO },
        { 2, 3 * V, V, ST_ENOENT },
        { 4, 3 * V - 1, V, ST_EPROTO },
        { 4, -1, V, ST_EPROTO },
        { 4, INT64_MIN, V, ST_EPROTO },
        { 4, INT64_MAX, V, ST_ELIMIT },
        { 4, 3 * V, -1, ST_EPROTO },
        { 4, 3 * V, INT64_MIN, ST_EPROTO },
        { 4, 3 * V, INT64_MAX, ST_ELIMIT },
        { 4, 3 * V, 60 * V + 1, ST_ELIMIT },
        { UINT64_MAX, 3 * V, V, ST_EPROTO },
    };
    static const struct {
        uint64_t n;
        int64_t t, d;
        size_t bytes;
        enum st st;
    } chunks[] = {
        { 4, 3 * V - 1, 9, 1, ST_EPROTO },     { 4, 3 * V, 0, 1, ST_EPROTO },
        { 4, 3 * V, -1, 1, ST_EPROTO },        { 4, 3 * V, 9, 0, ST_EPROTO },
        { 5, 3 * V, 9, 1, ST_EPROTO },         { 4, INT64_MAX, 9, 1, ST_ELIMIT },
        { 4, 3 * V, INT64_MAX, 1, ST_ELIMIT }, { 4, 62 * V, 2 * V, 1, ST_ELIMIT },
        { 4, 3 * V, 9, SIZE_MAX, ST_ELIMIT },  { 4, INT64_MIN, 9, 1, ST_EPROTO },
    };
    struct model *m = begun();
    uint64_t before;

    (void)state;
    whole(m, "v0", 3, 2 * V, V, 10);
    before = model_digest(m);
    for (size_t i = 0; i < sizeof opens / sizeof opens[0]; i++)
        assert_int_equal(model_open(m, "v0", opens[i].n, opens[i].t, opens[i].d), opens[i].st);
    assert_int_equal(model_chunk(m, "v0", 4, 3 * V, V, true, 1), ST_EPROTO);
    assert_int_equal(model_close(m, "v0", 4, V), ST_EPROTO);
    assert_int_equal(model_digest(m), before);
    assert_int_equal(model_open(m, "v0", 4, 3 * V, V), ST_OK);
    before = model_digest(m);
    assert_int_equal(model_open(m, "v0", 5, 4 * V, V), ST_EPROTO); /* one at a time */
    for (size_t i = 0; i < sizeof chunks / sizeof chunks[0]; i++)
        assert_int_equal(
            model_chunk(m, "v0", chunks[i].n, chunks[i].t, chunks[i].d, true, chunks[i].bytes),
            chunks[i].st);
    assert_int_equal(model_close(m, "v0", 5, V), ST_EPROTO);
    assert_int_equal(model_close(m, "v0", 4, -1), ST_EPROTO);
    assert_int_equal(model_close(m, "v0", 4, INT64_MAX), ST_ELIMIT);
    assert_int_equal(model_digest(m), before);
    model_free(&m);
}

static void hostile_inits_are_refused(void **state)
{
    static const char *const bad_codecs[] = { "",    "avc1\"", "a<b",      "a&b", "avc1,mp4a",
                                              "a b", "a'b",    "\xc3\xa9", "a\nb" };
    static const char *const bad_hashes[] = { "", "0a1b2c3", "0a1b2c3d4", "0A1B2C3D", "../../.." };
    struct model *m = model_drive_new();
    struct model_init i = video;
    char text[MODEL_CODECS_MAX + 2];

    (void)state;
    assert_int_equal(model_init(m, "v0", &video), ST_ENOENT);
    assert_int_equal(period_of(m, 0, 2000000, START), ST_OK);
    assert_int_equal(model_open(m, "v0", START, 2 * V, V), ST_EPROTO); /* no init yet */
    for (size_t k = 0; k < sizeof bad_codecs / sizeof bad_codecs[0]; k++) {
        i.codecs = bad_codecs[k];
        assert_int_equal(model_init(m, "v0", &i), ST_EPROTO);
    }
    memset(text, 'a', sizeof text - 1);
    text[sizeof text - 1] = 0;
    i.codecs = text;
    assert_int_equal(model_init(m, "v0", &i), ST_EPROTO);
    i = video;
    for (size_t k = 0; k < sizeof bad_hashes / sizeof bad_hashes[0]; k++) {
        i.hash = bad_hashes[k];
        assert_int_equal(model_init(m, "v0", &i), ST_EPROTO);
    }
#define REFUSED(from, field, value, status)                                             \
    do {                                                                                \
        i = from;                                                                       \
        i.field = value;                                                                \
        assert_int_equal(model_init(m, from.timescale == V ? "v0" : "a0", &i), status); \
    } while (0)
    REFUSED(video, timescale, 0, ST_EPROTO);
    REFUSED(video, timescale, UINT32_MAX, ST_ELIMIT);
    REFUSED(video, timescale, 48000, ST_EPROTO); /* presentationTimeOffset is elsewhere then */
    REFUSED(video, width, 0, ST_EPROTO);
    REFUSED(video, height, MODEL_DIMENSION_MAX + 1, ST_ELIMIT);
    REFUSED(video, sar_x, 1, ST_EPROTO);
    REFUSED(video, fps_den, 0, ST_EPROTO);
    REFUSED(video, fps_num, 2000, ST_EPROTO);
    REFUSED(audio, rate, 0, ST_EPROTO);
    REFUSED(audio, channels, 65, ST_EPROTO);
#undef REFUSED
    assert_int_equal(model_init(m, "v0", &video), ST_OK);
    assert_int_equal(model_init(m, "v0", &video), ST_OK);
    i = video;
    i.hash = "0a1b2c3e";
    assert_int_equal(model_init(m, "v0", &i), ST_EPROTO);
    model_free(&m);
}

static void hostile_periods_are_refused(void **state)
{
    struct model_rep_start reps[MODEL_TRACKS_MAX + 1];
    static char name[MODEL_TRACKS_MAX + 1][8];
    static const char *const bad[] = { "", "v", "v00", "v100", "x0", "v0 ", "i0", "../a0", "V0" };
    struct model *m = begun();
    uint64_t before;

    (void)state;
    whole(m, "v0", 3, 2 * V, V, 10);
    whole(m, "a0", 3, 2 * A, A + 1024, 10);
    before = model_digest(m);
    assert_int_equal(period_of(m, 0, 3000000, 100), ST_EPROTO); /* k does not rise */
    assert_int_equal(period_of(m, 1, 2999999, 100), ST_EPROTO); /* inside the video */
    assert_int_equal(period_of(m, 1, -1, 100), ST_EPROTO);
    assert_int_equal(period_of(m, 1, INT64_MAX, 100), ST_ELIMIT);
    assert_int_equal(period_of(m, 1, 3000000, 3), ST_EPROTO); /* numbers are never used again */
    assert_int_equal(period_of(m, 1, 3000000, UINT64_MAX), ST_ELIMIT);
    assert_int_equal(model_period(m, 1, 3000000, reps, 0), ST_EPROTO);
    for (unsigned i = 0; i <= MODEL_TRACKS_MAX; i++) {
        (void)snprintf(name[i], sizeof name[i], "v%u", i);
        reps[i] = (struct model_rep_start){ name[i], 3 * V, 100 };
    }
    assert_int_equal(model_period(m, 1, 3000000, reps, MODEL_TRACKS_MAX + 1), ST_ELIMIT);
    /* with a0 from before, one name too many */
    assert_int_equal(model_period(m, 1, 3000000, reps, MODEL_TRACKS_MAX), ST_ELIMIT);
    reps[1].name = "v0";
    assert_int_equal(model_period(m, 1, 3000000, reps, 2), ST_EPROTO);
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        reps[1].name = bad[i];
        assert_int_equal(model_period(m, 1, 3000000, reps, 2), ST_EPROTO);
    }
    assert_int_equal(model_digest(m), before);
    assert_int_equal(model_open(m, "v0", 4, 3 * V, V), ST_OK);
    assert_int_equal(period_of(m, 1, 5000000, 100), ST_EPROTO); /* something is open */
    model_cut(m);
    /* the audio sticks out by a frame, and that is fine */
    assert_int_equal(period_of(m, 1, 3000000, 100), ST_OK);
    assert_true(model_sane(m));
    model_free(&m);
}

static void a_new_period_counts_on_and_is_a_discontinuity(void **state)
{
    struct model *m = begun();

    (void)state;
    whole(m, "v0", 3, 2 * V, V, 10);
    whole(m, "v0", 4, 3 * V, V, 10);
    assert_int_equal(period_of(m, 1, 7000000, 68), ST_OK);
    assert_int_equal(m->n_periods, 2);
    assert_int_equal(model_init(m, "v0", &video), ST_OK);
    whole(m, "v0", 68, 7 * V, V, 10);
    assert_true(newest(m, "v0")->discontinuity);
    assert_int_equal(newest(m, "v0")->msn, 2);
    whole(m, "v0", 69, 8 * V, V, 10);
    assert_false(newest(m, "v0")->discontinuity);
    assert_int_equal(m->period[0]->rep[0].parts.n, 2); /* a playlist may still show them */
    assert_int_equal(period_of(m, 2, 11000000, 300), ST_OK);
    assert_int_equal(m->period[0]->rep[0].parts.n, 0);
    assert_int_equal(m->period[1]->rep[0].parts.n, 2);
    assert_true(model_sane(m));
    model_free(&m);
}

static void the_first_segment_may_straddle_the_start_and_no_more(void **state)
{
    struct model_rep_start far[] = { { "v0", INT64_MAX, 200 } };
    struct model *m = begun();

    (void)state;
    assert_int_equal(model_open(m, "a0", 3, A - 1, A), ST_EPROTO);
    assert_int_equal(model_open(m, "a0", 3, 2 * A - 512, A), ST_OK);
    assert_int_equal(model_open(m, "v0", 3, 0, V), ST_EPROTO);
    model_cut(m);
    assert_int_equal(model_period(m, 1, 3000000, far, 1), ST_OK);
    assert_int_equal(model_init(m, "v0", &video), ST_ELIMIT);
    model_free(&m);
}

static void empty_periods_do_not_pile_up(void **state)
{
    struct model *m = begun();

    (void)state;
    whole(m, "v0", 3, 2 * V, V, 10);
    for (uint32_t k = 1; k < 2 * MODEL_PERIODS_MAX; k++)
        assert_int_equal(period_of(m, k, 3000000 + (int64_t)k * 1000, 100), ST_OK);
    assert_int_equal(m->n_periods, 2);
    assert_int_equal(period_of(m, 9000, 3000000, 100), ST_EPROTO); /* time does not run back */
    model_free(&m);
}

static void an_empty_segment_never_was_but_its_number_is_used(void **state)
{
    struct model *m = begun();

    (void)state;
    whole(m, "v0", 3, 2 * V, V, 10);
    assert_int_equal(model_open(m, "v0", 4, 3 * V, V), ST_OK);
    assert_int_equal(newest(m, "v0")->msn, 1);
    model_cut(m);
    assert_int_equal(newest(m, "v0")->n, 3);
    assert_int_equal(model_open(m, "v0", 5, 3 * V, V), ST_EPROTO);
    assert_int_equal(model_open(m, "v0", 4, 3 * V, V), ST_ENOENT);
    assert_int_equal(period_of(m, 1, 4000000, 4), ST_EPROTO);
    assert_int_equal(period_of(m, 1, 4000000, 5), ST_OK);
    assert_int_equal(model_init(m, "v0", &video), ST_OK);
    whole(m, "v0", 5, 4 * V, V, 10);
    assert_int_equal(newest(m, "v0")->msn, 1);
    assert_true(model_sane(m));
    model_free(&m);
}

static void a_cut_closes_at_the_last_whole_chunk(void **state)
{
    struct model *m = begun();

    (void)state;
    assert_int_equal(model_open(m, "v0", 3, 2 * V, V), ST_OK);
    assert_int_equal(model_chunk(m, "v0", 3, 2 * V, V / 5, true, 1000), ST_OK);
    model_cut(m);
    assert_false(newest(m, "v0")->open);
    assert_int_equal(newest(m, "v0")->d, V / 5);
    assert_int_equal(model_open(m, "v0", 4, 3 * V, V), ST_OK);
    assert_int_equal(model_chunk(m, "v0", 4, 3 * V, V / 5, true, 1000), ST_OK);
    model_end(m);
    assert_true(m->ended);
    assert_false(newest(m, "v0")->open);
    assert_int_equal(model_open(m, "v0", 5, 4 * V, V), ST_EPROTO);
    assert_int_equal(model_chunk(m, "v0", 4, 4 * V, V, true, 1), ST_EPROTO);
    assert_int_equal(model_close(m, "v0", 4, V), ST_EPROTO);
    assert_int_equal(model_init(m, "v0", &video), ST_EPROTO);
    assert_int_equal(period_of(m, 1, 9000000, 100), ST_EPROTO);
    assert_int_equal(model_expire(m, 2200000), 1);
    assert_true(model_sane(m));
    model_free(&m);
}

static void expire_takes_what_ended_and_periods_that_are_empty(void **state)
{
    struct model *m = begun();
    uint64_t n;

    (void)state;
    assert_false(model_first(m, "v0", &n));
    for (unsigned i = 0; i < 5; i++)
        whole(m, "v0", 3 + i, (int64_t)(2 + i) * V, V, 10);
    assert_int_equal(model_expire(m, 3999999), 1);
    assert_true(model_first(m, "v0", &n));
    assert_int_equal(n, 4);
    assert_int_equal(model_expire(m, 4000000), 1);
    assert_int_equal(period_of(m, 1, 8000000, 100), ST_OK);
    assert_int_equal(model_init(m, "v0", &video), ST_OK);
    assert_int_equal(model_open(m, "v0", 100, 8 * V, 0), ST_OK);
    assert_int_equal(m->n_periods, 2);
    assert_int_equal(model_expire(m, MODEL_TIME_MAX_US), 3);
    assert_int_equal(m->n_periods, 1); /* the current one, with its open segment */
    assert_true(model_first(m, "v0", &n));
    assert_int_equal(n, 100);
    assert_int_equal(model_chunk(m, "v0", 100, 8 * V, V, true, 10), ST_OK);
    assert_int_equal(model_close(m, "v0", 100, V), ST_OK);
    assert_int_equal(model_expire(m, MODEL_TIME_MAX_US), 1);
    assert_int_equal(m->n_periods, 1); /* stays: its numbers and times still count */
    assert_int_equal(model_open(m, "v0", 101, 9 * V - 1, 0), ST_EPROTO);
    assert_int_equal(period_of(m, 2, 8999999, 200), ST_EPROTO);
    assert_true(model_sane(m));
    model_free(&m);
}

static void parts_and_segments_have_limits(void **state)
{
    struct model *m = begun();
    const struct model_rep *r = rep_of(m, "v0");

    (void)state;
    assert_int_equal(model_open(m, "v0", 3, 2 * V, 0), ST_OK);
    for (int i = 0; i < MODEL_PARTS_MAX; i++)
        assert_int_equal(model_chunk(m, "v0", 3, 2 * V + i, 1, false, 1), ST_OK);
    assert_int_equal(model_chunk(m, "v0", 3, 3 * V, 1, false, 1), ST_ELIMIT);
    assert_int_equal(model_close(m, "v0", 3, V), ST_OK);
    for (unsigned i = 1; i < m->conf.segments_max; i++)
        whole(m, "v0", 3 + i, (int64_t)(2 + i) * V, V, 10);
    assert_int_equal(r->parts.n, MODEL_PART_SEGMENTS + 1);
    assert_int_equal(model_open(m, "v0", 3 + m->conf.segments_max, 50 * V, V), ST_ELIMIT);
    assert_int_equal(model_expire(m, 3000000), 1);
    assert_int_equal(model_open(m, "v0", 3 + m->conf.segments_max, 50 * V, V), ST_OK);
    assert_int_equal(
        model_chunk(m, "v0", 3 + m->conf.segments_max, 50 * V, V, true, MODEL_SEGMENT_BYTES_MAX),
        ST_OK);
    assert_int_equal(model_chunk(m, "v0", 3 + m->conf.segments_max, 51 * V, V, true, 1), ST_ELIMIT);
    assert_int_equal(model_close(m, "v0", 3 + m->conf.segments_max, V), ST_OK);
    assert_int_equal(model_bandwidth(m, r), UINT32_MAX); /* 8.6 Gbit/s do not fit an MPD */
    assert_true(model_sane(m));
    model_free(&m);
}

static void bandwidth_is_the_peak_of_what_was_measured(void **state)
{
    struct model *m = begun();

    (void)state;
    assert_int_equal(model_bandwidth(m, rep_of(m, "a0")), 64000);
    assert_true(model_bandwidth(m, rep_of(m, "v0")) > 0); /* a guess: nobody told */
    assert_int_equal(model_open(m, "v0", 3, 2 * V, V), ST_OK);
    assert_int_equal(model_chunk(m, "v0", 3, 2 * V, V, true, 100000), ST_OK);
    assert_true(model_bandwidth(m, rep_of(m, "v0")) != 800000); /* not before it is whole */
    assert_int_equal(model_close(m, "v0", 3, V), ST_OK);
    assert_int_equal(model_bandwidth(m, rep_of(m, "v0")), 800000);
    whole(m, "v0", 4, 3 * V, V, 50000);
    assert_int_equal(model_bandwidth(m, rep_of(m, "v0")), 800000);
    whole(m, "v0", 5, 4 * V, V - 1, 100000);
    assert_int_equal(model_bandwidth(m, rep_of(m, "v0")), 800009); /* rounded up */
    whole(m, "v0", 6, 5 * V, V / 30, 60000); /* cut short: counts over half a second */
    assert_int_equal(model_bandwidth(m, rep_of(m, "v0")), 960000);
    assert_int_equal(period_of(m, 1, 9000000, 100), ST_OK);
    assert_int_equal(model_init(m, "v0", &video), ST_OK);
    assert_int_equal(model_bandwidth(m, rep_of(m, "v0")), 960000); /* a good guess now */
    whole(m, "v0", 100, 9 * V, V, 1000);
    assert_int_equal(model_bandwidth(m, rep_of(m, "v0")), 8000);
    model_free(&m);
}

static void times_convert_without_overflow(void **state)
{
    struct model *m = begun();
    const struct model_rep *r = rep_of(m, "v0");

    (void)state;
    assert_int_equal(model_us(r, 1), 11);
    assert_int_equal(model_us(r, V), 1000000);
    assert_int_equal(model_ticks(r, 1000000), V);
    assert_int_equal(model_ticks(r, 999999), V - 1);
    assert_int_equal(model_us(r, model_ticks(r, MODEL_TIME_MAX_US)), MODEL_TIME_MAX_US);
    model_free(&m);
}

static void senseless_configurations_are_refused(void **state)
{
    const struct model_conf good = { .session = "0mf3k2a9zq71x",
                                     .ast_s = 1760000000,
                                     .segment_us = 1000000,
                                     .chunk_us = 200000,
                                     .window_us = 10000000 };
    struct model_conf c;
    struct model *m;

    (void)state;
    assert_int_equal(model_new(&good, &m), ST_OK);
    model_free(&m);
#define REFUSED(field, value)                           \
    do {                                                \
        c = good;                                       \
        c.field = value;                                \
        assert_int_equal(model_new(&c, &m), ST_EPROTO); \
        assert_null(m);                                 \
    } while (0)
    REFUSED(session, "0mf3k2a9zq71");
    REFUSED(session, "0mf3k2a9zq71xx");
    REFUSED(session, "0mf3k2a9zq71X");
    REFUSED(session, "0mf3k2a9zq71x/");
    REFUSED(ast_s, -1);
    REFUSED(ast_s, INT64_MAX);
    REFUSED(segment_us, 0);
    REFUSED(segment_us, INT64_MAX);
    REFUSED(chunk_us, 0);
    REFUSED(chunk_us, 1000001);
    REFUSED(window_us, 0);
    REFUSED(segments_max, UINT32_MAX);
#undef REFUSED
    model_free(&m); /* NULL is fine */
}

static void random_verbs_leave_a_sane_model(void **state)
{
    static uint8_t bytes[1500];
    unsigned taken = 0, refused = 0, periods = 0, ended = 0;

    (void)state;
    for (uint64_t seed = 0; seed < 300; seed++) {
        struct model_drive d = { .m = model_drive_new() };

        model_drive_bytes(seed, bytes, sizeof bytes);
        model_drive_run(&d, bytes, sizeof bytes); /* checks every step */
        taken += d.taken;
        refused += d.refused;
        periods += d.m->n_periods;
        ended += d.m->ended;
        model_free(&d.m);
    }
    /* the generator reaches what it is for */
    assert_true(taken > 20000 && refused > 5000 && periods > 400 && ended > 10);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(records_become_segments_and_parts),
        cmocka_unit_test(a_promise_moves_up_is_withdrawn_and_gives_way_to_the_truth),
        cmocka_unit_test(what_is_late_or_unknown_is_to_be_ignored),
        cmocka_unit_test(wrong_numbers_and_times_are_refused),
        cmocka_unit_test(hostile_inits_are_refused),
        cmocka_unit_test(hostile_periods_are_refused),
        cmocka_unit_test(a_new_period_counts_on_and_is_a_discontinuity),
        cmocka_unit_test(the_first_segment_may_straddle_the_start_and_no_more),
        cmocka_unit_test(empty_periods_do_not_pile_up),
        cmocka_unit_test(an_empty_segment_never_was_but_its_number_is_used),
        cmocka_unit_test(a_cut_closes_at_the_last_whole_chunk),
        cmocka_unit_test(expire_takes_what_ended_and_periods_that_are_empty),
        cmocka_unit_test(parts_and_segments_have_limits),
        cmocka_unit_test(bandwidth_is_the_peak_of_what_was_measured),
        cmocka_unit_test(times_convert_without_overflow),
        cmocka_unit_test(senseless_configurations_are_refused),
        cmocka_unit_test(random_verbs_leave_a_sane_model),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
