/* ingest/auth: names of every bad kind, queries in every place, signatures and their times. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "ingest/auth.h"

#define N16 "0123456789abcdef"
#define N64 N16 N16 N16 N16
#define SIG "84d27aadfdbbb40febdf4b6e292b1f22343054a9dd80addb4799229cc772465c"
#define GOOD_QUERY "exp=1767225600&kid=k1&sig=" SIG

static uint8_t *copy_of(const char *s, size_t n)
{
    uint8_t *p = malloc(n > 0 ? n : 1);

    memcpy(p, s, n);
    return p;
}

/* From exact-size copies. */
static enum auth_why parse(const char *app, size_t app_n, const char *key, size_t key_n,
                           struct auth_target *t)
{
    uint8_t *a = copy_of(app, app_n), *k = copy_of(key, key_n);
    enum auth_why why = auth_parse(a, app_n, k, key_n, t);

    free(a);
    free(k);
    return why;
}

static void names_are_found_wherever_clients_put_them(void **state)
{
    static const struct {
        const char *app, *key;
        const char *want_app, *want_stream;
        bool is_signed;
    } table[] = {
        { "live", "show", "live", "show", false },
        { "live/", "show", "live", "show", false },
        { "live/inst", "show", "live", "show", false },
        { "live", "inst/show", "live", "show", false },
        { "", "live/show", "live", "show", false },
        { "", "live/inst/show", "live", "show", false },
        { "l%69ve", "sh%6Fw", "live", "show", false },
        { "0_-", "Z-_9", "0_-", "Z-_9", false },
        { N64, N64, N64, N64, false },
        { "live", "show?" GOOD_QUERY, "live", "show", true },
        { "live?" GOOD_QUERY, "show", "live", "show", true },
        { "live/?" GOOD_QUERY, "show", "live", "show", true },
        { "live?exp=1767225600&kid=k1", "show?sig=" SIG, "live", "show", true },
        { "", "live/show?" GOOD_QUERY, "live", "show", true },
        { "live", "show?token=a/b?c&x&" GOOD_QUERY, "live", "show", true },
        { "live", "show?exp=%31767225600&kid=%6b1&sig=" SIG, "live", "show", true },
        { "live?", "show?", "live", "show", false },
    };

    (void)state;
    for (size_t i = 0; i < sizeof table / sizeof table[0]; i++) {
        struct auth_target t;
        enum auth_why why =
            parse(table[i].app, strlen(table[i].app), table[i].key, strlen(table[i].key), &t);

        if (why != AUTH_OK || strcmp(t.app, table[i].want_app) != 0 ||
            strcmp(t.stream, table[i].want_stream) != 0 || t.is_signed != table[i].is_signed)
            fail_msg("%s + %s: %s, %s/%s %d", table[i].app, table[i].key, auth_why_text(why), t.app,
                     t.stream, t.is_signed);
        if (t.is_signed) {
            assert_true(t.exp_s == 1767225600);
            assert_string_equal(t.kid, "k1");
            assert_int_equal(t.sig[0], 0x84);
            assert_int_equal(t.sig[31], 0x5c);
        }
    }
}

static void names_of_every_bad_kind_are_refused(void **state)
{
    static const struct {
        const char *app;
        size_t app_n;
        const char *key;
        size_t key_n;
        enum auth_why why;
    } table[] = {
#define ROW(app, key, why) { app, sizeof app - 1, key, sizeof key - 1, why }
        ROW("", "", AUTH_PARTS),
        ROW("live", "", AUTH_PARTS),
        ROW("", "show", AUTH_PARTS),
        ROW("live/show", "", AUTH_PARTS),
        ROW("live/a/show", "?x=1", AUTH_PARTS),
        ROW("live/a/b", "show", AUTH_PARTS),
        ROW("live/a", "b/show", AUTH_PARTS),
        ROW("", "live/a/b/show", AUTH_PARTS),
        ROW("live//", "show", AUTH_NAME),
        ROW("/live", "show", AUTH_NAME),
        ROW("live", "/show", AUTH_NAME),
        ROW("live", "show/", AUTH_NAME),
        ROW("live", "../show", AUTH_NAME),
        ROW("live/..", "show", AUTH_NAME),
        ROW("..", "show", AUTH_NAME),
        ROW("live", ".", AUTH_NAME),
        ROW("live", "_show", AUTH_NAME),
        ROW("-live", "show", AUTH_NAME),
        ROW("live", "show\0", AUTH_NAME),
        ROW("live", "show\0.flv?" GOOD_QUERY, AUTH_NAME),
        ROW("live\0", "show", AUTH_NAME),
        ROW("live", "show%00", AUTH_NAME),
        ROW("live", "sh%2fow", AUTH_NAME),
        ROW("live", "show%", AUTH_NAME),
        ROW("live", "show%4", AUTH_NAME),
        ROW("live", "show%4x", AUTH_NAME),
        ROW("live", "sh ow", AUTH_NAME),
        ROW("live", "show\r\n", AUTH_NAME),
        ROW("live", "\x1b[31mshow", AUTH_NAME),
        ROW("live", "sh\xc3\xb6w", AUTH_NAME),
        ROW("live", "show;rm", AUTH_NAME),
        ROW("live", "show#1", AUTH_NAME),
        ROW("live", "show.flv", AUTH_NAME),
        ROW("live", N64 "x", AUTH_NAME),
        ROW(N64 "x", "show", AUTH_NAME),
        ROW("p", "show", AUTH_RESERVED),
        ROW("time", "show", AUTH_RESERVED),
        ROW("", "api/show", AUTH_RESERVED),
        ROW("%6detrics", "show", AUTH_RESERVED),
        ROW("live", "show?exp=1&exp=1&kid=k1&sig=" SIG, AUTH_QUERY),
        ROW("live?" GOOD_QUERY, "show?" GOOD_QUERY, AUTH_QUERY),
        ROW("live", "show?a=1&a=2", AUTH_QUERY),
        ROW("live", "show?" GOOD_QUERY "&", AUTH_QUERY),
        ROW("live", "show?&" GOOD_QUERY, AUTH_QUERY),
        ROW("live", "show?=x", AUTH_QUERY),
        ROW("live", "show?%65xp=1", AUTH_QUERY),
        ROW("live", "show?exp=1767225600", AUTH_QUERY),
        ROW("live", "show?exp=1767225600&kid=k1", AUTH_QUERY),
        ROW("live", "show?exp=&kid=k1&sig=" SIG, AUTH_QUERY),
        ROW("live", "show?exp&kid=k1&sig=" SIG, AUTH_QUERY),
        ROW("live", "show?exp=01&kid=k1&sig=" SIG, AUTH_QUERY),
        ROW("live", "show?exp=-1&kid=k1&sig=" SIG, AUTH_QUERY),
        ROW("live", "show?exp=+1&kid=k1&sig=" SIG, AUTH_QUERY),
        ROW("live", "show?exp=1.0&kid=k1&sig=" SIG, AUTH_QUERY),
        ROW("live", "show?exp=1234567890123456789&kid=k1&sig=" SIG, AUTH_QUERY),
        ROW("live", "show?exp=1&kid=K1&sig=" SIG, AUTH_QUERY),
        ROW("live", "show?exp=1&kid=&sig=" SIG, AUTH_QUERY),
        ROW("live", "show?exp=1&kid=" N16 "x&sig=" SIG, AUTH_QUERY),
        ROW("live", "show?exp=1&kid=k1&sig=" SIG "0", AUTH_QUERY),
        ROW("live", "show?exp=1&kid=k1&sig=" SIG "00", AUTH_QUERY),
        ROW("live", "show?exp=1&kid=k1&sig=" SIG "\0", AUTH_QUERY),
        ROW("live", "show?exp=1&kid=k1&sig=x" N16 N16 N16 "0123456789abcde", AUTH_QUERY),
        ROW("live", "show?exp=1&kid=k1&sig=" N16, AUTH_QUERY),
        ROW("live", "show?a&b&c&d&e&f&g&h&i&j&k&l&m&n&o&p&q", AUTH_QUERY),
#undef ROW
    };
    static char big[AUTH_TEXT_MAX + 1];
    struct auth_target t;

    (void)state;
    for (size_t i = 0; i < sizeof table / sizeof table[0]; i++) {
        enum auth_why why = parse(table[i].app, table[i].app_n, table[i].key, table[i].key_n, &t);

        if (why != table[i].why)
            fail_msg("%s + %s: %s", table[i].app, table[i].key, auth_why_text(why));
        assert_false(t.is_signed);
    }
    memset(big, 'x', sizeof big);
    assert_int_equal(parse("live", 4, big, sizeof big, &t), AUTH_LONG);
    assert_int_equal(parse(big, sizeof big, "show", 4, &t), AUTH_LONG);
    memcpy(big, "show?", 5);
    assert_int_equal(parse("live", 4, big, sizeof big - 1, &t), AUTH_OK);
}

static void an_application_is_looked_at_by_itself(void **state)
{
    static const struct {
        const char *app, *want;
        enum auth_why why;
    } table[] = {
        { "live", "live", AUTH_OK },   { "live/inst?x=1", "live", AUTH_OK },
        { "", "", AUTH_OK },           { "/", "", AUTH_OK },
        { "?x", "", AUTH_OK },         { "li ve", NULL, AUTH_NAME },
        { "a/b/c", NULL, AUTH_PARTS }, { "watch", NULL, AUTH_RESERVED },
        { N64 "x", NULL, AUTH_NAME },
    };
    char name[AUTH_NAME_MAX + 1];

    (void)state;
    for (size_t i = 0; i < sizeof table / sizeof table[0]; i++) {
        const char *app = table[i].app;
        uint8_t *a = copy_of(app, strlen(app));

        assert_int_equal(auth_parse_app(a, strlen(app), name), table[i].why);
        if (table[i].want != NULL)
            assert_string_equal(name, table[i].want);
        free(a);
    }
}

static struct auth_keys *two_keys(void)
{
    struct auth_key k[2];
    struct auth_keys *keys;

    assert_int_equal(auth_key_parse("old", "ffeeddccbbaa99887766554433221100", &k[0]), ST_OK);
    assert_int_equal(auth_key_parse("k1", " 000102030405060708090A0b0c0d0e0f\n", &k[1]), ST_OK);
    keys = auth_keys_new(k, 2);
    assert_non_null(keys);
    return keys;
}

static void signatures_are_checked_as_the_policy_says(void **state)
{
    static const struct {
        const char *what, *key;
        enum auth_mode mode;
        bool permanent, local;
        uint64_t now_s;
        enum auth_why why;
    } table[] = {
        { "open", "show", AUTH_OPEN, false, false, 0, AUTH_OK },
        { "open, with a key that is wrong", "show?exp=1&kid=k1&sig=" N64, AUTH_OPEN, false, false,
          5, AUTH_OK },
        { "nobody", "show?" GOOD_QUERY, AUTH_NOBODY, false, true, 0, AUTH_APP },
        { "local, from here", "show", AUTH_LOCAL, false, true, 0, AUTH_OK },
        { "local, from elsewhere", "show", AUTH_LOCAL, false, false, 0, AUTH_UNSIGNED },
        { "local, from elsewhere, signed", "show?" GOOD_QUERY, AUTH_LOCAL, false, false, 0,
          AUTH_OK },
        { "signed, from here, without", "show", AUTH_SIGNED, false, true, 0, AUTH_UNSIGNED },
        { "the last second", "show?" GOOD_QUERY, AUTH_SIGNED, false, false, 1767225600, AUTH_OK },
        { "a second later", "show?" GOOD_QUERY, AUTH_SIGNED, false, false, 1767225601,
          AUTH_EXPIRED },
        { "another stream", "shop?" GOOD_QUERY, AUTH_SIGNED, false, false, 0, AUTH_SIGNATURE },
        { "another time", "show?exp=1767225601&kid=k1&sig=" SIG, AUTH_SIGNED, false, false, 0,
          AUTH_SIGNATURE },
        { "another key", "show?exp=1767225600&kid=old&sig=" SIG, AUTH_SIGNED, false, false, 0,
          AUTH_SIGNATURE },
        { "a key that is gone", "show?exp=1767225600&kid=k0&sig=" SIG, AUTH_SIGNED, false, false, 0,
          AUTH_KID },
        { "one bit",
          "show?exp=1767225600&kid=k1&sig="
          "84d27aadfdbbb40febdf4b6e292b1f22343054a9dd80addb4799229cc772465d",
          AUTH_SIGNED, false, false, 0, AUTH_SIGNATURE },
    };
    struct auth_keys *keys = two_keys();

    (void)state;
    for (size_t i = 0; i < sizeof table / sizeof table[0]; i++) {
        struct auth_policy policy = { table[i].mode, table[i].permanent };
        struct auth_target t;
        enum auth_why why;

        assert_int_equal(parse("live", 4, table[i].key, strlen(table[i].key), &t), AUTH_OK);
        why = auth_check(&policy, keys, &t, table[i].local, table[i].now_s);
        if (why != table[i].why)
            fail_msg("%s: %s", table[i].what, auth_why_text(why));
    }
    struct auth_target t;
    struct auth_policy policy = { AUTH_SIGNED, false };
    assert_int_equal(parse("live", 4, "show?" GOOD_QUERY, strlen("show?" GOOD_QUERY), &t), AUTH_OK);
    assert_int_equal(auth_check(&policy, NULL, &t, false, 0), AUTH_KID);
    auth_keys_unref(&keys);
    assert_null(keys);
}

static void what_we_sign_is_accepted(void **state)
{
    struct auth_keys *keys = two_keys();
    struct auth_policy policy = { AUTH_SIGNED, false };
    struct auth_target t;
    struct auth_key k;
    char key[300] = "show?", small[10];

    (void)state;
    assert_int_equal(auth_key_parse("k1", "000102030405060708090a0b0c0d0e0f", &k), ST_OK);
    assert_int_equal(auth_sign(&k, "live", "show", 1767225600, key + 5, sizeof key - 5), ST_OK);
    assert_string_equal(key, "show?" GOOD_QUERY);
    assert_int_equal(auth_sign(&k, "live", "show", 0, key + 5, sizeof key - 5), ST_OK);
    assert_int_equal(parse("live", 4, key, strlen(key), &t), AUTH_OK);
    assert_int_equal(auth_check(&policy, keys, &t, false, 1), AUTH_PERMANENT);
    policy.permanent = true;
    assert_int_equal(auth_check(&policy, keys, &t, false, UINT64_MAX), AUTH_OK);
    assert_int_equal(auth_sign(&k, "live", "show", 0, small, sizeof small), ST_ELIMIT);
    assert_int_equal(auth_sign(&k, N64, N64, UINT64_MAX, key, sizeof key), ST_OK);
    assert_int_equal(auth_sign(&k, N64 "x", "show", 0, key, sizeof key), ST_ELIMIT);
    auth_keys_unref(&keys);
}

static void keys_are_hexadecimal_and_long_enough(void **state)
{
    static const struct {
        const char *kid, *hex;
        enum st st;
    } table[] = {
        { "k1", N16 N16, ST_OK },
        { "k1", "\n\t " N16 N16 " \r\n", ST_OK },
        { "k1", N64 N64, ST_OK },
        { "k1", N64 N64 "00", ST_ECONF },
        { "k1", N16 "0123456789abcd", ST_ECONF },
        { "k1", "", ST_ECONF },
        { "k1", "\n", ST_ECONF },
        { "k1", N16 N16 "0", ST_ECONF },
        { "k1", N16 " " N16, ST_ECONF },
        { "k1", "x" N16 N16 "0", ST_ECONF },
        { "", N16 N16, ST_ECONF },
        { "K1", N16 N16, ST_ECONF },
        { N16 "x", N16 N16, ST_ECONF },
        { N16, N16 N16, ST_OK },
    };

    (void)state;
    for (size_t i = 0; i < sizeof table / sizeof table[0]; i++) {
        struct auth_key k;

        if (auth_key_parse(table[i].kid, table[i].hex, &k) != table[i].st)
            fail_msg("row %zu", i);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(names_are_found_wherever_clients_put_them),
        cmocka_unit_test(names_of_every_bad_kind_are_refused),
        cmocka_unit_test(an_application_is_looked_at_by_itself),
        cmocka_unit_test(signatures_are_checked_as_the_policy_says),
        cmocka_unit_test(what_we_sign_is_accepted),
        cmocka_unit_test(keys_are_hexadecimal_and_long_enough),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
