/* The anchor: delays never count, drift and a window do. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <stdint.h>

#include "origin/anchor.h"

#define AT INT64_C(1700000000000000)

static void the_least_delay_counts(void **state)
{
    static const int64_t delay_us[] = { 90000, 40000, 3000, 70000, 5000, 250000 };
    struct anchor a;

    (void)state;
    anchor_init(&a);
    for (int i = 0; i < 6; i++)
        anchor_add(&a, AT + i * 500000 + delay_us[i], i * 500);
    assert_int_equal(anchor_us(&a, AT + 3000000), AT + 3000);
}

static void what_is_older_than_the_window_is_forgotten(void **state)
{
    struct anchor a;

    (void)state;
    anchor_init(&a);
    anchor_add(&a, AT, 0); /* a lucky frame */
    for (int i = 1; i <= 40; i++)
        anchor_add(&a, AT + i * 1000000 + 20000, i * 1000);
    assert_int_equal(anchor_us(&a, AT + 40 * INT64_C(1000000)), AT + 20000);
}

static void silence_keeps_what_was_known(void **state)
{
    struct anchor a;

    (void)state;
    anchor_init(&a);
    anchor_add(&a, AT + 7, 0);
    assert_int_equal(anchor_us(&a, AT + INT64_C(600000000)), AT + 7);
}

struct sent {
    int64_t at, ms; /* of the next frame */
    int stale, anew, good;
};

/* n frames of 40 ms, each step_us after the one before; as a session does. */
static void send(struct anchor *a, struct sent *x, int n, int64_t step_us)
{
    for (int i = 0; i < n; i++, x->at += step_us, x->ms += 40) {
        enum anchor_verdict v = anchor_judge(a, x->at, x->ms);

        x->stale += v == ANCHOR_STALE;
        x->anew += v == ANCHOR_ANEW;
        x->good += v == ANCHOR_GOOD;
        if (v != ANCHOR_STALE)
            anchor_add(a, x->at, x->ms);
    }
}

/* Four seconds in time, then silence for five. */
static struct sent fall_silent(struct anchor *a)
{
    struct sent x = { .at = AT };

    anchor_init(a);
    send(a, &x, 100, 40000);
    assert_int_equal(x.good, 100);
    anchor_pause(a, x.at);
    x.at += 5000000;
    x.good = 0;
    return x;
}

static void a_backlog_is_dropped_but_for_what_players_still_want(void **state)
{
    struct anchor a;
    struct sent x = fall_silent(&a);

    (void)state;
    send(&a, &x, 125, 1000); /* all at once */
    /* 5 s late at first, then less by 39 ms with each: at most two seconds is good enough */
    assert_int_equal(x.stale, 77);
    assert_int_equal(x.good, 48);
    assert_int_equal(anchor_us(&a, x.at), AT);
    assert_false(a.back);
    send(&a, &x, 100, 40000);
    assert_int_equal(x.stale + x.anew, 77);
    assert_in_range(anchor_us(&a, x.at), AT, AT + 125000);
}

static void a_backlog_that_comes_slowly_is_waited_for_while_it_shrinks(void **state)
{
    struct anchor a;
    struct sent x = fall_silent(&a);

    (void)state;
    send(&a, &x, 245, 20000); /* at double speed */
    assert_int_equal(x.anew, 0);
    assert_int_equal(x.stale, 150);
    assert_int_equal(anchor_us(&a, x.at), AT);
    x = fall_silent(&a);
    send(&a, &x, 300, 32000); /* a quarter faster: it would take 20 s */
    assert_int_equal(x.anew, 1);
    assert_in_range(x.stale, 30, 33); /* a second of them */
    assert_in_range(anchor_us(&a, x.at), AT + 2000000, AT + 4800000);
}

static void who_goes_on_where_he_stopped_is_late_from_then_on(void **state)
{
    struct anchor a;
    struct sent x = fall_silent(&a);

    (void)state;
    send(&a, &x, 25, 40000);
    assert_int_equal(x.stale, 25);
    send(&a, &x, 75, 40000);
    assert_int_equal(x.stale, 25);
    assert_int_equal(x.anew, 1);
    assert_int_equal(x.good, 74);
    assert_int_equal(anchor_us(&a, x.at), AT + 5000000);
    /* late by less than players are behind: nothing is lost meanwhile */
    x = fall_silent(&a);
    x.at -= 3500000;
    send(&a, &x, 100, 40000);
    assert_int_equal(x.stale, 0);
    assert_int_equal(x.anew, 1);
    assert_int_equal(anchor_us(&a, x.at), AT + 1500000);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_least_delay_counts),
        cmocka_unit_test(what_is_older_than_the_window_is_forgotten),
        cmocka_unit_test(silence_keeps_what_was_known),
        cmocka_unit_test(a_backlog_is_dropped_but_for_what_players_still_want),
        cmocka_unit_test(a_backlog_that_comes_slowly_is_waited_for_while_it_shrinks),
        cmocka_unit_test(who_goes_on_where_he_stopped_is_late_from_then_on),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
