/* ingest/normalise: clocks that wrap, step, jump and disagree. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "ingest/normalise.h"

enum { A = NORMALISE_AUDIO, V = NORMALISE_VIDEO, D = NORMALISE_DATA };

struct step {
    int kind;
    uint32_t ts_ms;
    uint64_t at_ms;
    int64_t want_ms;
    const char *flags; /* "b" begins, "r" repaired */
};

static void run(const char *what, int64_t base_ms, const struct step *s, size_t n)
{
    struct normalise norm;

    normalise_init(&norm, base_ms);
    for (size_t i = 0; i < n; i++) {
        struct normalised out;

        assert_int_equal(normalise_next(&norm, (enum normalise_kind)s[i].kind, s[i].ts_ms,
                                        s[i].at_ms * 1000, &out),
                         ST_OK);
        if (out.ms != s[i].want_ms || out.begins != (strchr(s[i].flags, 'b') != NULL) ||
            out.repaired != (strchr(s[i].flags, 'r') != NULL))
            fail_msg("%s, step %zu: %lld%s%s", what, i, (long long)out.ms,
                     out.begins ? " begins" : "", out.repaired ? " repaired" : "");
    }
}
#define RUN(what, base, ...)                                    \
    do {                                                        \
        static const struct step steps[] = { __VA_ARGS__ };     \
        run(what, base, steps, sizeof steps / sizeof steps[0]); \
    } while (0)

static void the_first_tag_is_put_at_the_base_and_all_share_its_offset(void **state)
{
    (void)state;
    RUN("from zero", 0, { V, 0, 0, 0, "b" }, { A, 0, 0, 0, "" }, { A, 23, 20, 23, "" },
        { V, 40, 40, 40, "" });
    RUN("from uptime", 7000, { A, 86400000, 0, 7000, "b" }, { V, 86400010, 0, 7010, "" },
        { A, 86400023, 20, 7023, "" });
    RUN("the other kind begins a little earlier", 100, { V, 5000, 0, 100, "b" },
        { A, 4990, 0, 100, "r" }, { A, 5013, 20, 113, "" });
}

static void the_clock_wraps_unnoticed(void **state)
{
    (void)state;
    RUN("24 bits", 0, { V, 16777000, 0, 0, "b" }, { V, 16777200, 200, 200, "" },
        { V, 16777400, 400, 400, "" });
    RUN("32 bits", 0, { V, UINT32_C(4294960000), 0, 0, "b" },
        { A, UINT32_C(4294967290), 7290, 7290, "" }, { V, 14, 7300, 7310, "" },
        { A, UINT32_C(4294967295), 7300, 7295, "" }, { A, 100, 7400, 7396, "" });
    RUN("31 bits", 0, { V, 2147483600, 0, 0, "b" }, { A, 2147483640, 40, 40, "" },
        { V, 2, 50, 50, "" }, { A, 2147483646, 50, 46, "" }, { V, 42, 90, 90, "" },
        { A, 20, 90, 68, "" }, { V, 5042, 5090, 5090, "" }, { V, 14042, 14090, 14090, "" },
        { D, 14000, 14100, 14048, "" });
    RUN("half way round", 0, { V, UINT32_C(2147483640), 0, 0, "b" },
        { V, UINT32_C(2147483660), 20, 20, "" });
}

static void a_small_step_back_is_repaired(void **state)
{
    (void)state;
    RUN("one late tag", 0, { V, 1000, 0, 0, "b" }, { V, 1040, 40, 40, "" },
        { V, 1020, 41, 41, "r" }, { V, 1080, 80, 80, "" });
    RUN("a second, to the millisecond", 0, { V, 2000, 0, 0, "b" }, { V, 1000, 1, 1, "r" },
        { V, 1020, 20, 2, "r" }, { V, 2010, 30, 10, "" });
    RUN("equal times are no step", 0, { V, 40, 0, 0, "b" }, { V, 40, 0, 0, "" });
    RUN("kinds do not hold each other up", 0, { V, 1000, 0, 0, "b" }, { A, 1500, 0, 500, "" },
        { V, 1040, 0, 40, "" });
}

static void small_steps_back_do_not_add_up(void **state)
{
    (void)state;
    RUN("half a second each", 0, { V, 5000, 0, 0, "b" }, { V, 4500, 40, 1, "r" },
        { V, 4000, 80, 2, "r" }, { V, 3500, 1080, 1002, "b" }, { V, 3540, 1120, 1042, "" });
}

static void a_jump_begins_a_timeline_that_follows_the_wall(void **state)
{
    (void)state;
    RUN("back", 0, { V, 50000, 0, 0, "b" }, { V, 50040, 40, 40, "" }, { V, 0, 1040, 1040, "b" },
        { A, 3, 1040, 1043, "" }, { V, 40, 1080, 1080, "" });
    RUN("on", 0, { V, 0, 0, 0, "b" }, { V, 10000, 40, 10000, "" }, { V, 20001, 80, 10040, "b" },
        { V, 20041, 120, 10080, "" });
    RUN("no time at all passed", 0, { V, 50000, 0, 0, "b" }, { V, 0, 0, 1, "b" });
    RUN("the other kind was ahead", 0, { V, 50000, 0, 0, "b" }, { A, 50500, 0, 500, "" },
        { V, 0, 10, 510, "b" }, { A, 0, 10, 510, "" });
    RUN("a publisher that was frozen for an hour", 0, { V, 0, 0, 0, "b" },
        { V, 3600000, 3600000, 3600000, "b" }, { V, 3600040, 3600040, 3600040, "" });
}

static void data_moves_nothing(void **state)
{
    (void)state;
    RUN("hints", 500, { D, 99, 0, 500, "" }, { V, 7000, 0, 500, "b" }, { V, 7400, 400, 900, "" },
        { D, 0, 400, 900, "" }, { D, 7200, 400, 900, "" }, { V, 7440, 440, 940, "" },
        { D, 7420, 440, 920, "" }, { D, UINT32_C(4000000000), 440, 940, "" },
        { A, 7410, 440, 910, "" });
}

static void clocks_that_have_nothing_to_do_with_each_other_are_refused(void **state)
{
    struct normalise n;
    struct normalised out;
    unsigned begun = 0;
    enum st st = ST_OK;

    (void)state;
    normalise_init(&n, 0);
    for (uint32_t i = 0; i < 100 && st == ST_OK; i++) {
        st = normalise_next(&n, i % 2 == 0 ? NORMALISE_VIDEO : NORMALISE_AUDIO,
                            i * 20 + (i % 2) * 3600000, (uint64_t)i * 20000, &out);
        begun += out.begins;
    }
    assert_int_equal(st, ST_ELIMIT);
    assert_int_equal(begun, NORMALISE_JUMPS + 1);

    /* but one jump in each minute is nobody's fault */
    normalise_init(&n, 0);
    for (uint32_t i = 0; i < 100; i++)
        assert_int_equal(
            normalise_next(&n, NORMALISE_VIDEO, i * 100000, (uint64_t)i * 61000000, &out), ST_OK);
    assert_int_equal(n.timelines, 99);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_first_tag_is_put_at_the_base_and_all_share_its_offset),
        cmocka_unit_test(the_clock_wraps_unnoticed),
        cmocka_unit_test(a_small_step_back_is_repaired),
        cmocka_unit_test(small_steps_back_do_not_add_up),
        cmocka_unit_test(a_jump_begins_a_timeline_that_follows_the_wall),
        cmocka_unit_test(data_moves_nothing),
        cmocka_unit_test(clocks_that_have_nothing_to_do_with_each_other_are_refused),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
