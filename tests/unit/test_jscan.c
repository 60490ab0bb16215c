/* Members of an object as slices, from heap copies of exactly their size. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "core/jscan.h"

/* Reads all of it: how it ends; the values, a bar after each, in `out`. */
static enum st scan(const char *text, char *out)
{
    size_t n = strlen(text);
    char *copy = malloc(n + 1); /* malloc(0) may be NULL */
    struct jscan_member m;
    struct jscan s;
    enum st st;

    assert_non_null(copy);
    copy = realloc(copy, n > 0 ? n : 1);
    assert_non_null(copy);
    memcpy(copy, text, n);
    s = jscan_init(copy, n);
    while ((st = jscan_next(&s, &m)) == ST_OK) {
        if (out != NULL) {
            (void)strncat(out, m.key, m.key_n);
            (void)strcat(out, "=");
            (void)strncat(out, m.value, m.n);
            (void)strcat(out, "|");
        }
    }
    assert_int_equal(jscan_next(&s, &m), st); /* it sticks */
    free(copy);
    return st;
}

static void members_come_in_order_as_they_stand_there(void **state)
{
    char out[200] = "";

    (void)state;
    assert_int_equal(
        scan(" {\"a\":1 , \"b\" : \"x,}\\\"\",\"c\":{\"d\":[1,{\"e\":\"]\"}]},\"f\":true} ", out),
        ST_EOF);
    assert_string_equal(out, "a=1|b=\"x,}\\\"\"|c={\"d\":[1,{\"e\":\"]\"}]}|f=true|");
    assert_int_equal(scan("{}", NULL), ST_EOF);
}

static void what_is_no_object_is_refused(void **state)
{
    static const char *const bad[] = {
        "",           "[]",        "1",           "{",          "{\"a\"}",      "{\"a\":}",
        "{\"a\":1",   "{\"a\":1,", "{,\"a\":1}",  "{\"a\":1}x", "{\"a\" 1}",    "{a:1}",
        "{\"a\":[1}", "{\"a\":{]", "{\"a\":\"x}", "{\"a\":]}",  "{\"a\\n\":1}", "{\"a\":1 2}",
        "{\"a\":,}",  "{\"a\":\"", "{\"a\":\"\\", "{\"a\":{",   "{\"a\":1}{}",  "{\"a\":\"\n\"}",
    };

    (void)state;
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        if (scan(bad[i], NULL) != ST_EPROTO)
            fail_msg("accepted: %s", bad[i]);
}

static void depth_is_limited(void **state)
{
    char text[2 * JSCAN_DEPTH + 16];

    (void)state;
    for (int depth = JSCAN_DEPTH; depth <= JSCAN_DEPTH + 1; depth++) {
        (void)strcpy(text, "{\"a\":");
        for (int i = 0; i < depth; i++)
            (void)strcat(text, "[");
        for (int i = 0; i < depth; i++)
            (void)strcat(text, "]");
        (void)strcat(text, "}");
        assert_int_equal(scan(text, NULL), depth <= JSCAN_DEPTH ? ST_EOF : ST_ELIMIT);
    }
}

static bool int_of(const char *text, int64_t *v)
{
    struct jscan_member m = { .value = text, .n = strlen(text) };

    return jscan_int(&m, v);
}

static void numbers_and_texts_are_read_strictly(void **state)
{
    static const char *const not_int[] = {
        "", "-", "01", "1.0", "1e3", "+1", "\"1\"", "1234567890123456789", "true", " 1",
    };
    struct jscan_member m = { .key = "rep", .key_n = 3, .value = "\"v0\"", .n = 4 };
    char to[3];
    int64_t v;

    (void)state;
    for (size_t i = 0; i < sizeof not_int / sizeof not_int[0]; i++)
        assert_false(int_of(not_int[i], &v));
    assert_true(int_of("-999999999999999999", &v));
    assert_int_equal(v, -999999999999999999);
    assert_true(int_of("0", &v));
    assert_int_equal(v, 0);
    assert_true(jscan_is(&m, "rep"));
    assert_false(jscan_is(&m, "re"));
    assert_true(jscan_text(&m, to, sizeof to));
    assert_string_equal(to, "v0");
    assert_false(jscan_text(&m, to, 2));
    m.value = "\"\\u\"";
    assert_false(jscan_text(&m, to, sizeof to));
    m.value = "{} x";
    assert_false(jscan_text(&m, to, sizeof to));
    assert_true(jscan_is_object(&m));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(members_come_in_order_as_they_stand_there),
        cmocka_unit_test(what_is_no_object_is_refused),
        cmocka_unit_test(depth_is_limited),
        cmocka_unit_test(numbers_and_texts_are_read_strictly),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
