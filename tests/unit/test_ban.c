/* Bans and quarantine: what counts, for how long, and when the table is full. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdio.h>

#include "origin/ban.h"

#define S UINT64_C(1000000)
#define NOW (5000 * S)

static int setup(void **state) { return (*state = ban_list_new()) != NULL ? 0 : 1; }

static int teardown(void **state)
{
    struct ban_list *b = *state;

    ban_list_free(&b);
    assert_null(b);
    return 0;
}

static bool is(struct ban_list *b, const char *name, uint64_t at, enum ban_why wanted)
{
    enum ban_why why;

    return ban_is(b, name, at, &why) && why == wanted;
}

static void a_ban_holds_until_its_end(void **state)
{
    struct ban_list *b = *state;
    enum ban_why why;

    assert_int_equal(ban_put(b, "live/a", NOW, NOW + 10 * S), ST_OK);
    assert_true(is(b, "live/a", NOW + 10 * S - 1, BAN_OPERATOR));
    assert_false(ban_is(b, "live/a", NOW + 10 * S, &why));
    assert_false(ban_is(b, "live/b", NOW, &why));
    assert_int_equal(ban_put(b, "live/a", NOW, NOW + 20 * S), ST_OK);
    assert_true(is(b, "live/a", NOW + 15 * S, BAN_OPERATOR));
    assert_int_equal(ban_put(b, "live/a", NOW, NOW), ST_OK);
    assert_false(ban_is(b, "live/a", NOW, &why));
    assert_int_equal(ban_put(b, "live/never", NOW, NOW), ST_OK);
}

static void three_crashes_within_a_minute_are_a_quarantine(void **state)
{
    struct ban_list *b = *state;
    enum ban_why why;

    assert_false(ban_crash(b, "live/a", NOW, 600 * S));
    assert_false(ban_crash(b, "live/a", NOW + 30 * S, 600 * S));
    assert_false(ban_crash(b, "live/a", NOW + 60 * S, 600 * S)); /* the first no longer counts */
    assert_false(ban_is(b, "live/a", NOW + 60 * S, &why));
    assert_true(ban_crash(b, "live/a", NOW + 60 * S, 600 * S));
    assert_true(is(b, "live/a", NOW + 659 * S, BAN_QUARANTINE));
    assert_false(ban_is(b, "live/a", NOW + 660 * S, &why));
}

static void crashes_of_others_do_not_count(void **state)
{
    struct ban_list *b = *state;

    for (int i = 0; i < 2; i++) {
        assert_false(ban_crash(b, "live/a", NOW, 600 * S));
        assert_false(ban_crash(b, "live/b", NOW, 600 * S));
    }
    assert_true(ban_crash(b, "live/b", NOW, 600 * S));
}

static void no_quarantine_where_it_is_off(void **state)
{
    for (int i = 0; i < 10; i++)
        assert_false(ban_crash(*state, "live/a", NOW, 0));
}

static void lifting_forgets_the_crashes(void **state)
{
    struct ban_list *b = *state;

    for (int i = 0; i < 3; i++)
        (void)ban_crash(b, "live/a", NOW, 600 * S);
    assert_int_equal(ban_put(b, "live/a", NOW, 0), ST_OK);
    assert_false(ban_crash(b, "live/a", NOW, 600 * S));
}

static void a_full_table_refuses_bans_but_not_quarantine(void **state)
{
    struct ban_list *b = *state;
    enum ban_why why;
    char name[32];

    for (int i = 0; i < BAN_MAX; i++) {
        (void)snprintf(name, sizeof name, "live/s%d", i);
        assert_false(ban_crash(b, name, NOW, 600 * S)); /* suspects give way */
    }
    for (int i = 0; i < BAN_MAX; i++) {
        (void)snprintf(name, sizeof name, "live/b%d", i);
        assert_int_equal(ban_put(b, name, NOW, NOW + (uint64_t)(100 + i) * S), ST_OK);
    }
    assert_int_equal(ban_put(b, "live/more", NOW, NOW + 900 * S), ST_ELIMIT);
    for (int i = 0; i < 3; i++)
        (void)ban_crash(b, "live/more", NOW, 600 * S);
    assert_true(is(b, "live/more", NOW, BAN_QUARANTINE));
    assert_false(ban_is(b, "live/b0", NOW, &why)); /* it would have ended first */
    assert_true(is(b, "live/b1", NOW, BAN_OPERATOR));
}

static void what_is_refused_is_shown(void **state)
{
    struct ban_list *b = *state;
    json_t *list = json_array(), *one;

    assert_int_equal(ban_put(b, "live/a", NOW, NOW + 10 * S), ST_OK);
    assert_int_equal(ban_put(b, "live/over", NOW, NOW + S), ST_OK);
    (void)ban_crash(b, "live/suspect", NOW, 600 * S);
    ban_show(b, NOW + 4 * S, list);
    assert_int_equal(json_array_size(list), 1);
    one = json_array_get(list, 0);
    assert_string_equal(json_string_value(json_object_get(one, "name")), "live/a");
    assert_string_equal(json_string_value(json_object_get(one, "why")), "banned");
    assert_int_equal(json_integer_value(json_object_get(one, "left_s")), 6);
    json_decref(list);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_ban_holds_until_its_end, setup, teardown),
        cmocka_unit_test_setup_teardown(three_crashes_within_a_minute_are_a_quarantine, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(crashes_of_others_do_not_count, setup, teardown),
        cmocka_unit_test_setup_teardown(no_quarantine_where_it_is_off, setup, teardown),
        cmocka_unit_test_setup_teardown(lifting_forgets_the_crashes, setup, teardown),
        cmocka_unit_test_setup_teardown(a_full_table_refuses_bans_but_not_quarantine, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(what_is_refused_is_shown, setup, teardown),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
