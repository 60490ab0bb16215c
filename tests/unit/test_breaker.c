/* When a host is left alone, and when it is asked again. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "edge/breaker.h"

#define T0 (1000 * SEC_US)

static void five_failures_in_a_row_open_it(void **state)
{
    struct breaker b = { .row = 0 };

    (void)state;
    for (int i = 0; i < 4; i++)
        breaker_result(&b, T0, false);
    breaker_result(&b, T0, true);
    for (int i = 0; i < 4; i++)
        breaker_result(&b, T0, false);
    assert_true(breaker_allows(&b, T0));
    breaker_result(&b, T0, false);
    assert_false(breaker_allows(&b, T0));
    assert_false(breaker_allows(&b, T0 + BREAKER_OPEN_US - 1));
}

static void half_open_lets_one_through(void **state)
{
    struct breaker b = { .row = 0 };
    uint64_t now = T0 + BREAKER_OPEN_US;

    (void)state;
    for (int i = 0; i < 5; i++)
        breaker_result(&b, T0, false);
    assert_true(breaker_allows(&b, now));
    assert_false(breaker_allows(&b, now + 10)); /* the trial is under way */
    breaker_result(&b, now + 20, false);
    assert_false(breaker_allows(&b, now + BREAKER_OPEN_US)); /* open again */
    now += BREAKER_OPEN_US + 20;
    assert_true(breaker_allows(&b, now));
    breaker_result(&b, now, true);
    assert_true(breaker_allows(&b, now));
    assert_true(breaker_allows(&b, now));
    breaker_result(&b, now, false); /* nothing is remembered of the bad time */
    assert_true(breaker_allows(&b, now));
}

static void a_trial_that_was_given_up_makes_way_for_another(void **state)
{
    struct breaker b = { .row = 0 };
    uint64_t now = T0 + BREAKER_OPEN_US;

    (void)state;
    for (int i = 0; i < 5; i++)
        breaker_result(&b, T0, false);
    assert_true(breaker_allows(&b, now));
    breaker_undecided(&b);
    assert_true(breaker_allows(&b, now));
    assert_false(breaker_allows(&b, now + BREAKER_TRIAL_US - 1)); /* one that never reports */
    assert_true(breaker_allows(&b, now + BREAKER_TRIAL_US));
}

static void more_than_half_of_many_open_it(void **state)
{
    struct breaker b = { .row = 0 };

    (void)state;
    for (int i = 0; i < 10; i++) {
        breaker_result(&b, T0, true);
        breaker_result(&b, T0, false);
    }
    assert_true(breaker_allows(&b, T0)); /* just half */
    breaker_result(&b, T0 + SEC_US, false);
    assert_false(breaker_allows(&b, T0 + SEC_US));
}

static void what_is_ten_seconds_old_does_not_count(void **state)
{
    struct breaker b = { .row = 0 };

    (void)state;
    for (int i = 0; i < 10; i++) {
        breaker_result(&b, T0, true);
        breaker_result(&b, T0, false);
    }
    breaker_result(&b, T0 + 10 * SEC_US, false);
    assert_true(breaker_allows(&b, T0 + 10 * SEC_US));
}

static void few_results_say_little(void **state)
{
    struct breaker b = { .row = 0 };

    (void)state;
    for (int i = 0; i < 6; i++) { /* 18 results, two thirds bad */
        breaker_result(&b, T0, false);
        breaker_result(&b, T0, true);
        breaker_result(&b, T0, false);
    }
    assert_true(breaker_allows(&b, T0));
}

static void the_purse_pays_a_tenth_of_what_is_asked(void **state)
{
    struct purse p = { .tenths = PURSE_FULL };
    int paid = 0;

    (void)state;
    while (purse_spend(&p))
        paid++;
    assert_int_equal(paid, 10);
    for (int i = 0; i < 9; i++)
        purse_earn(&p);
    assert_false(purse_spend(&p));
    purse_earn(&p);
    assert_true(purse_spend(&p));
    for (int i = 0; i < 1000; i++)
        purse_earn(&p);
    assert_int_equal(p.tenths, PURSE_FULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(five_failures_in_a_row_open_it),
        cmocka_unit_test(half_open_lets_one_through),
        cmocka_unit_test(a_trial_that_was_given_up_makes_way_for_another),
        cmocka_unit_test(more_than_half_of_many_open_it),
        cmocka_unit_test(what_is_ten_seconds_old_does_not_count),
        cmocka_unit_test(few_results_say_little),
        cmocka_unit_test(the_purse_pays_a_tenth_of_what_is_asked),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
