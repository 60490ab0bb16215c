/* manifests/model_text: what is written is read back as it was, and nothing else is believed. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "manifests/model_text.h"
#include "manifests/mpd.h"
#include "tests/unit/model_drive.h"

enum { V = 90000, A = 48000, TEXT_MAX = 64 << 10 };

static const struct model_conf conf = { .session = "mflm0qk2a1b2c",
                                        .ast_s = 1760000000,
                                        .segment_us = 1000000,
                                        .chunk_us = 200000,
                                        .window_us = 60000000 };
static const struct model_init video = { .timescale = V,
                                         .codecs = "avc1.64001f",
                                         .hash = "0a1b2c3d",
                                         .width = 1280,
                                         .height = 720,
                                         .sar_x = 4,
                                         .sar_y = 3,
                                         .fps_num = 30000,
                                         .fps_den = 1001 };
static const struct model_init audio = { .timescale = A,
                                         .codecs = "mp4a.40.2",
                                         .hash = "99887766",
                                         .rate = 48000,
                                         .channels = 2,
                                         .bandwidth_bps = 64000 };

static struct model *fresh(void)
{
    struct model *m;

    assert_int_equal(model_new(&conf, &m), ST_OK);
    return m;
}

static void begin(struct model *m, uint32_t k, int64_t start_s, uint64_t number)
{
    struct model_rep_start reps[] = { { "v0", start_s * V, number },
                                      { "a0", start_s * A, number } };

    assert_int_equal(model_period(m, k, start_s * 1000000, reps, 2), ST_OK);
    assert_int_equal(model_init(m, "v0", &video), ST_OK);
    assert_int_equal(model_init(m, "a0", &audio), ST_OK);
}

static void whole(struct model *m, const char *rep, uint64_t n, int64_t t, int64_t d, size_t bytes)
{
    assert_int_equal(model_open(m, rep, n, t, d), ST_OK);
    assert_int_equal(model_chunk(m, rep, n, t, d / 2, true, bytes / 2), ST_OK);
    assert_int_equal(model_chunk(m, rep, n, t + d / 2, d - d / 2, false, bytes - bytes / 2), ST_OK);
    assert_int_equal(model_close(m, rep, n, d), ST_OK);
}

static void seconds(struct model *m, uint64_t number, int64_t at_s, int n)
{
    for (int i = 0; i < n; i++) {
        whole(m, "v0", number + (uint64_t)i, (at_s + i) * V, V, 250000 + (size_t)i);
        whole(m, "a0", number + (uint64_t)i, (at_s + i) * A, A, 8000);
    }
}

static void write_to(const struct model *m, struct buf *b)
{
    buf_init(b, TEXT_MAX);
    model_write(m, b);
    assert_int_equal(b->st, ST_OK);
}

/* Through a copy of exactly its size. */
static enum st read_from(struct model *m, const char *text, size_t n)
{
    char *copy = malloc(n);
    enum st st;

    assert_non_null(copy);
    memcpy(copy, text, n);
    st = model_read(m, copy, n);
    free(copy);
    return st;
}

static struct model *again(const struct model *m)
{
    struct model *back = fresh();
    struct buf b;

    write_to(m, &b);
    assert_int_equal(read_from(back, (char *)b.data, b.len), ST_OK);
    assert_true(model_sane(back));
    buf_fini(&b);
    return back;
}

static void assert_same_manifest(const struct model *a, const struct model *b)
{
    struct mpd_opts o = { .publish_us = 1760000100000000 };
    struct buf x, y;

    buf_init(&x, 1 << 20);
    buf_init(&y, 1 << 20);
    assert_int_equal(mpd_write(&x, a, &o), ST_OK);
    assert_int_equal(mpd_write(&y, b, &o), ST_OK);
    assert_string_equal(buf_text(&x), buf_text(&y));
    buf_fini(&x);
    buf_fini(&y);
}

static void the_manifest_is_the_same_after_a_restart(void **state)
{
    struct model *m = fresh(), *back;

    (void)state;
    begin(m, 0, 2, 3);
    seconds(m, 3, 2, 5);
    begin(m, 16, 20, 80);
    seconds(m, 80, 20, 4);
    back = again(m);
    assert_int_equal(back->n_periods, 2);
    assert_same_manifest(m, back);
    model_free(&m);
    model_free(&back);
}

/* Players hold on to the longest segment that they have heard of: a restart must not make it less. */
static void the_longest_is_told_also_when_it_is_gone(void **state)
{
    struct model *m = fresh(), *back;

    (void)state;
    begin(m, 0, 2, 3);
    assert_int_equal(model_open(m, "v0", 3, 2 * V, 3 * V), ST_OK); /* promised, and never so */
    assert_int_equal(model_chunk(m, "v0", 3, 2 * V, V, true, 1000), ST_OK);
    assert_int_equal(model_close(m, "v0", 3, V), ST_OK);
    whole(m, "a0", 3, 2 * A, A, 8000);
    seconds(m, 4, 3, 2);
    back = again(m);
    assert_int_equal(back->longest_us, 3000000);
    assert_same_manifest(m, back);
    model_free(&m);
    model_free(&back);
}

static void a_segment_that_was_open_is_not_told(void **state)
{
    struct model *m = fresh(), *back;

    (void)state;
    begin(m, 0, 2, 3);
    seconds(m, 3, 2, 2);
    assert_int_equal(model_open(m, "v0", 5, 4 * V, V), ST_OK);
    assert_int_equal(model_chunk(m, "v0", 5, 4 * V, V / 5, true, 1000), ST_OK);
    back = again(m);
    assert_int_equal(model_current(back)->rep[0].segments.n, 2);
    model_free(&m);
    model_free(&back);
}

static void the_next_period_follows_what_was_read(void **state)
{
    struct model_rep_start low[] = { { "v0", 9 * V, 7 } }, early[] = { { "v0", 6 * V, 90 } };
    struct model *m = fresh(), *back;

    (void)state;
    begin(m, 0, 2, 3);
    seconds(m, 3, 2, 5);
    back = again(m);
    assert_int_equal(model_period(back, 0, 9000000, low, 1), ST_EPROTO);
    assert_int_equal(model_period(back, 16, 9000000, low, 1), ST_EPROTO); /* a used number */
    assert_int_equal(model_period(back, 16, 6000000, early, 1), ST_EPROTO);
    begin(back, 16, 9, 90);
    seconds(back, 90, 9, 1);
    assert_true(model_segment(&model_current(back)->rep[0], 0)->discontinuity);
    assert_int_equal(model_segment(&model_current(back)->rep[0], 0)->msn, 5);
    model_free(&m);
    model_free(&back);
}

static void only_the_newest_are_told_and_numbers_go_on(void **state)
{
    struct model *m = fresh(), *back;
    const struct model_rep *v;

    (void)state;
    for (uint32_t k = 0; k < MODEL_TEXT_PERIODS + 3; k++) {
        begin(m, k, 2 + 10 * k, 3 + 20 * (uint64_t)k);
        seconds(m, 3 + 20 * (uint64_t)k, 2 + 10 * k, 1);
    }
    back = again(m);
    assert_int_equal(back->n_periods, MODEL_TEXT_PERIODS);
    assert_int_equal(back->period[0]->k, 3);
    model_free(&back);
    seconds(m, 204, 103, 2 * MODEL_TEXT_SEGMENTS);
    back = again(m);
    assert_int_equal(back->n_periods, 1);
    v = &model_current(back)->rep[0];
    assert_int_equal(v->segments.n, MODEL_TEXT_SEGMENTS);
    assert_int_equal(v->next, model_current(m)->rep[0].next);
    assert_int_equal(model_segment(v, 0)->msn, 11 + 2 * MODEL_TEXT_SEGMENTS - MODEL_TEXT_SEGMENTS);
    assert_int_equal(v->peak_bps, model_current(m)->rep[0].peak_bps);
    model_free(&m);
    model_free(&back);
}

static void a_model_without_segments_is_a_text_without_periods(void **state)
{
    struct model *m = fresh(), *back = again(m);

    (void)state;
    assert_int_equal(back->n_periods, 0);
    model_free(&m);
    model_free(&back);
}

static const char good[] =
    "{\"v\":2,\"session\":\"mflm0qk2a1b2c\",\"ast\":1760000000,\"longest\":4000000,"
    "\"periods\":[{\"k\":0,\"start\":2000000,\"reps\":[{\"name\":\"v0\",\"pto\":180000,\"number\":"
    "3,\"msn\":0,\"peak\":9,"
    "\"timescale\":90000,\"codecs\":\"avc1.64001f\",\"hash\":\"0a1b2c3d\",\"size\":[1280,720],"
    "\"sar\":[0,0],\"fps\":[30,1],\"rate\":0,\"channels\":0,\"bandwidth\":0,\"segments\":[[180000,"
    "90000,1000],[270000,90000,1000]]}]}]}";

/* The good text with one place changed. */
static const struct {
    const char *from, *to;
} wrong[] = {
    { "\"v\":2", "\"v\":1" },
    { "\"v\":2,", "" },
    { "\"longest\":4000000,", "" },
    { "4000000", "-1" },
    { "4000000", "60000001" },
    { "mflm0qk2a1b2c", "mflm0qk2a1b2d" }, /* another session's */
    { "1760000000", "1760000001" },
    { "{\"k\":0,", "{" },
    { "\"k\":0", "\"k\":-1" },
    { "\"k\":0", "\"k\":4294967296" },
    { "\"k\":0", "\"k\":\"0\"" },
    { "\"k\":0", "\"k\":0,\"more\":1" },
    { "2000000", "-1" },
    { "2000000", "9223372036854775807" },
    { "2000000", "9223372036854775808" },
    { "2000000", "3000000" }, /* pto is elsewhere */
    { "180000,\"number\"", "-1,\"number\"" },
    { "\"number\":3", "\"number\":-3" },
    { "\"number\":3", "\"number\":4294967295" }, /* the second one is beyond */
    { "\"number\":3", "\"number\":3.5" },
    { "\"msn\":0", "\"msn\":-1" },
    { "\"msn\":0", "\"msn\":4294967296" },
    { "\"peak\":9", "\"peak\":-9" },
    { "\"peak\":9", "\"peak\":4294967296" },
    { "\"v0\"", "\"x0\"" },
    { "\"v0\"", "\"v0123456\"" },
    { "\"v0\"", "7" },
    { "\"timescale\":90000", "\"timescale\":0" },
    { "\"timescale\":90000", "\"timescale\":4294967295" },
    { "avc1.64001f", "avc1,mp4a" },
    { "avc1.64001f", "\\\"><evil/>" },
    { "avc1.64001f", "" },
    { "0a1b2c3d", "0A1B2C3D" },
    { "0a1b2c3d", "../../etc" },
    { "[1280,720]", "[1280]" },
    { "[1280,720]", "[1280,720,1]" },
    { "[1280,720]", "[0,720]" },
    { "[1280,720]", "[1280,99999]" },
    { "[0,0]", "[4,0]" },
    { "[30,1]", "[30,0]" },
    { "[30,1]", "null" },
    { "\"segments\":[[180000,90000,1000],[270000,90000,1000]]", "\"segments\":[]" },
    { "\"segments\":[[180000,90000,1000],[270000,90000,1000]]", "\"segments\":{}" },
    { "[180000,90000,1000]", "[180000,90000]" },
    { "[180000,90000,1000]", "[180000,90000,1000,1]" },
    { "[180000,90000,1000]", "180000" },
    { "[180000,90000,1000]", "[180000,0,1000]" },
    { "[180000,90000,1000]", "[180000,-90000,1000]" },
    { "[180000,90000,1000]", "[180000,90001,1000]" }, /* overlaps the next */
    { "[180000,90000,1000]", "[-180000,90000,1000]" },
    { "[270000,90000,1000]", "[270000,90000,0]" },
    { "[270000,90000,1000]", "[270000,90000,-1]" },
    { "[270000,90000,1000]", "[270000,90000,1073741825]" },
    { "[270000,90000,1000]", "[270000,9223372036854775807,1000]" },
    { "[270000,90000,1000]", "[9223372036854775807,90000,1000]" },
    { "}]}]}", "}]}]" },
    { "}]}]}", "}]}]}x" },
    { "\"reps\":[{", "\"reps\":[],\"x\":[{" },
};

static void every_field_is_checked(void **state)
{
    struct model *m = fresh();

    (void)state;
    assert_int_equal(read_from(m, good, sizeof good - 1), ST_OK);
    assert_int_equal(read_from(m, good, sizeof good - 1), ST_EPROTO); /* twice */
    model_free(&m);
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        const char *at = strstr(good, wrong[i].from);
        char text[2 * sizeof good];
        int n;

        assert_non_null(at);
        n = snprintf(text, sizeof text, "%.*s%s%s", (int)(at - good), good, wrong[i].to,
                     at + strlen(wrong[i].from));
        m = fresh();
        if (read_from(m, text, (size_t)n) >= ST_OK)
            fail_msg("%s was taken for %s", wrong[i].to, wrong[i].from);
        assert_true(model_sane(m));
        model_free(&m);
    }
}

static void no_part_of_a_text_is_one(void **state)
{
    (void)state;
    for (size_t n = 0; n < sizeof good - 1; n++) {
        struct model *m = fresh();

        assert_int_equal(read_from(m, good, n), ST_EPROTO);
        model_free(&m);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_manifest_is_the_same_after_a_restart),
        cmocka_unit_test(the_longest_is_told_also_when_it_is_gone),
        cmocka_unit_test(a_segment_that_was_open_is_not_told),
        cmocka_unit_test(the_next_period_follows_what_was_read),
        cmocka_unit_test(only_the_newest_are_told_and_numbers_go_on),
        cmocka_unit_test(a_model_without_segments_is_a_text_without_periods),
        cmocka_unit_test(every_field_is_checked),
        cmocka_unit_test(no_part_of_a_text_is_one),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
