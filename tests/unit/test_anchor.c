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

static void it_settles_after_two_seconds(void **state)
{
    struct anchor a;

    (void)state;
    anchor_init(&a);
    assert_false(anchor_settled(&a, AT));
    anchor_add(&a, AT, 0);
    assert_false(anchor_settled(&a, AT + 1999999));
    assert_true(anchor_settled(&a, AT + 2000000));
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

/* Adds a frame each 40 ms of media from `ms` on, the first one at `at`, in steps of step_us. */
static int64_t send(struct anchor *a, int64_t at, int64_t ms, int n, int64_t step_us)
{
    for (int i = 0; i < n; i++, at += step_us)
        anchor_add(a, at, ms + i * 40);
    return at;
}

static void a_backlog_is_not_taken_for_the_pace(void **state)
{
    struct anchor a;

    (void)state;
    anchor_init(&a);
    send(&a, AT, 0, 100, 40000); /* 4 s, then silence for 5 */
    anchor_hold(&a, AT + 4000000);
    int64_t now = AT + 9000000;
    for (int i = 0; i < 125; i++, now += 1000) {
        anchor_add(&a, now, 4000 + i * 40);
        assert_int_equal(anchor_us(&a, now), AT);
        assert_false(anchor_let_go(&a, now));
    }
    send(&a, AT + 9125000, 9000, 60, 40000);
    assert_false(anchor_let_go(&a, AT + 11500000));
    assert_in_range(anchor_us(&a, AT + 11500000), AT, AT + 125000);
}

static void who_goes_on_where_he_stopped_is_late_from_then_on(void **state)
{
    struct anchor a;

    (void)state;
    anchor_init(&a);
    send(&a, AT, 0, 100, 40000);
    anchor_hold(&a, AT + 4000000);
    send(&a, AT + 9000000, 4000, 50, 40000);
    assert_false(anchor_let_go(&a, AT + 10999999));
    assert_int_equal(anchor_us(&a, AT + 10999999), AT);
    assert_true(anchor_let_go(&a, AT + 11000000));
    assert_false(anchor_let_go(&a, AT + 11000000));
    assert_int_equal(anchor_us(&a, AT + 11000000), AT + 5000000);
}

static void it_does_not_settle_while_somebody_catches_up(void **state)
{
    struct anchor a;

    (void)state;
    anchor_init(&a);
    send(&a, AT, 0, 100, 40000);
    anchor_hold(&a, AT + 4000000);
    int64_t now = send(&a, AT + 9000000, 4000, 250, 20000); /* 5 s at double speed */
    assert_false(anchor_let_go(&a, now));
    assert_int_equal(anchor_us(&a, now), AT);
    now = send(&a, now, 14000, 60, 40000);
    assert_false(anchor_let_go(&a, now));
    assert_in_range(anchor_us(&a, now), AT, AT + 100000);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_least_delay_counts),
        cmocka_unit_test(it_settles_after_two_seconds),
        cmocka_unit_test(what_is_older_than_the_window_is_forgotten),
        cmocka_unit_test(silence_keeps_what_was_known),
        cmocka_unit_test(a_backlog_is_not_taken_for_the_pace),
        cmocka_unit_test(who_goes_on_where_he_stopped_is_late_from_then_on),
        cmocka_unit_test(it_does_not_settle_while_somebody_catches_up),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
