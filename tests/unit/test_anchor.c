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

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_least_delay_counts),
        cmocka_unit_test(it_settles_after_two_seconds),
        cmocka_unit_test(what_is_older_than_the_window_is_forgotten),
        cmocka_unit_test(silence_keeps_what_was_known),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
