/* edge/token: vectors, every bad kind, time and grace, what a memo remembers and what not. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "edge/token.h"

#define EXP 1767225600
#define SIG "e95b42833e86021ec0489677b15521620f22dbd66e27d18e490bc3329ab83db7"
#define OLD_SIG "63775b428fb28e658f4af0f8b98b8990651920d452c8393e01d027a47f864e16"
#define GOOD "1767225600-k1-" SIG
#define OLD "1767225600-old-" OLD_SIG
#define N16 "0123456789abcdef"

static struct auth_keys *two_keys(void)
{
    struct auth_key k[2];
    struct auth_keys *keys;

    assert_int_equal(auth_key_parse("old", "ffeeddccbbaa99887766554433221100", &k[0]), ST_OK);
    assert_int_equal(auth_key_parse("k1", "000102030405060708090a0b0c0d0e0f", &k[1]), ST_OK);
    keys = auth_keys_new(k, 2);
    assert_non_null(keys);
    return keys;
}

/* From an exact-size copy, so that a sanitizer sees a byte too many. */
static enum metric_play check_n(struct token_memo *memo, const struct auth_keys *keys,
                                const char *text, size_t n, const char *stream, uint64_t now_s,
                                uint64_t grace_s)
{
    uint8_t *copy = malloc(n > 0 ? n : 1);
    enum metric_play why;

    memcpy(copy, text, n);
    why = token_check(memo, keys, slice_of(copy, n), SLICE("live"),
                      slice_of(stream, strlen(stream)), now_s, grace_s);
    free(copy);
    return why;
}

static enum metric_play check(struct token_memo *memo, const struct auth_keys *keys,
                              const char *text, const char *stream, uint64_t now_s)
{
    return check_n(memo, keys, text, strlen(text), stream, now_s, 0);
}

static void what_we_make_is_the_vector_and_is_accepted(void **state)
{
    struct auth_keys *keys = two_keys();
    char out[TOKEN_TEXT_MAX + 1], name[AUTH_NAME_MAX + 2];

    (void)state;
    assert_int_equal(token_make(auth_keys_find(keys, "k1"), "live", "show", EXP, out), ST_OK);
    assert_string_equal(out, GOOD);
    assert_int_equal(token_make(auth_keys_find(keys, "old"), "live", "show", EXP, out), ST_OK);
    assert_string_equal(out, OLD);
    assert_int_equal(check(NULL, keys, GOOD, "show", 0), METRIC_PLAY_ACCEPTED);
    assert_int_equal(check(NULL, keys, OLD, "show", 0), METRIC_PLAY_ACCEPTED);
    memset(name, 'x', sizeof name);
    name[AUTH_NAME_MAX + 1] = '\0';
    assert_int_equal(token_make(auth_keys_find(keys, "k1"), "live", name, EXP, out), ST_ELIMIT);
    auth_keys_unref(&keys);
}

static void tokens_of_every_bad_kind_are_refused(void **state)
{
    static const struct {
        const char *text;
        size_t n;
        enum metric_play why;
    } table[] = {
#define ROW(text, why) { text, sizeof text - 1, METRIC_PLAY_##why }
        ROW("", MALFORMED),
        ROW("-", MALFORMED),
        ROW("--", MALFORMED),
        ROW(SIG, MALFORMED),
        ROW("-k1-" SIG, MALFORMED),
        ROW("1767225600--" SIG, MALFORMED),
        ROW("1767225600-k1-", MALFORMED),
        ROW("1767225600-k1", MALFORMED),
        ROW("1767225600-k1-" SIG "0", MALFORMED),
        ROW("1767225600-k1-" SIG "-", MALFORMED),
        ROW("-1767225600-k1-" SIG, MALFORMED),
        ROW("+1767225600-k1-" SIG, MALFORMED),
        ROW("01767225600-k1-" SIG, MALFORMED),
        ROW("0x17-k1-" SIG, MALFORMED),
        ROW("1767225600 -k1-" SIG, MALFORMED),
        ROW("1767225600\0-k1-" SIG, MALFORMED),
        ROW("1767225600-k1\0-" SIG, MALFORMED),
        ROW("1767225600-k1-\0" N16 N16 N16 "0123456789abcde", MALFORMED),
        ROW("1234567890123456789-k1-" SIG, MALFORMED),
        ROW("99999999999999999999999999-k1-" SIG, MALFORMED),
        ROW("1767225600-K1-" SIG, MALFORMED),
        ROW("1767225600-k_-" SIG, MALFORMED),
        ROW("1767225600-" N16 "x-" SIG, MALFORMED),
        ROW("1767225600-k1-g" N16 N16 N16 "0123456789abcde", MALFORMED),
        ROW("1767225600-k2-" SIG, KID),
        ROW("1767225600-" N16 "-" SIG, KID),
        ROW("1767225600-old-" SIG, SIGNATURE),
        ROW("1767225601-k1-" SIG, SIGNATURE),
        ROW("0-k1-" SIG, SIGNATURE),
        ROW("999999999999999999-k1-" SIG, SIGNATURE),
        ROW("1767225600-k1-" OLD_SIG, SIGNATURE),
        ROW("1767225600-k1-e95b42833e86021ec0489677b15521620f22dbd66e27d18e490bc3329ab83db6",
            SIGNATURE),
        ROW("1767225600-k1-f95b42833e86021ec0489677b15521620f22dbd66e27d18e490bc3329ab83db7",
            SIGNATURE),
#undef ROW
    };
    struct auth_keys *keys = two_keys();
    struct token_memo *memo = token_memo_new();

    (void)state;
    assert_non_null(memo);
    assert_int_equal(check(memo, keys, GOOD, "show", 0), METRIC_PLAY_ACCEPTED);
    for (size_t i = 0; i < sizeof table / sizeof table[0]; i++)
        for (int with = 0; with < 2; with++) {
            enum metric_play why =
                check_n(with ? memo : NULL, keys, table[i].text, table[i].n, "show", 0, UINT64_MAX);

            if (why != table[i].why)
                fail_msg("%s: %s", table[i].text, metric_label_text(METRIC_LABEL_PLAY, why));
        }
    assert_int_equal(token_check(memo, keys, slice_of(NULL, 0), SLICE("live"), SLICE("show"), 0, 0),
                     METRIC_PLAY_MISSING);
    token_memo_free(&memo);
    auth_keys_unref(&keys);
}

static void no_part_of_a_token_is_a_token(void **state)
{
    struct auth_keys *keys = two_keys();

    (void)state;
    for (size_t n = 0; n < strlen(GOOD); n++) {
        assert_int_equal(check_n(NULL, keys, GOOD, n, "show", 0, 0), METRIC_PLAY_MALFORMED);
        if (n > 0)
            assert_int_not_equal(check(NULL, keys, &GOOD[n], "show", 0), METRIC_PLAY_ACCEPTED);
    }
    auth_keys_unref(&keys);
}

static void a_token_is_for_one_stream_of_one_app(void **state)
{
    struct auth_keys *keys = two_keys();
    struct token_memo *memo = token_memo_new();

    (void)state;
    for (int with = 0; with < 2; with++) {
        assert_int_equal(check(memo, keys, GOOD, "show", 0), METRIC_PLAY_ACCEPTED);
        assert_int_equal(check(memo, keys, GOOD, "shop", 0), METRIC_PLAY_SIGNATURE);
        assert_int_equal(check(memo, keys, GOOD, "sho", 0), METRIC_PLAY_SIGNATURE);
        assert_int_equal(token_check(memo, keys, SLICE(GOOD), SLICE("evil"), SLICE("show"), 0, 0),
                         METRIC_PLAY_SIGNATURE);
    }
    token_memo_free(&memo);
    auth_keys_unref(&keys);
}

static void a_token_ends_and_media_go_on_for_the_grace(void **state)
{
    static const struct {
        uint64_t now_s, grace_s;
        enum metric_play why;
    } table[] = {
        { EXP, 0, METRIC_PLAY_ACCEPTED },
        { EXP + 1, 0, METRIC_PLAY_EXPIRED },
        { EXP + 1, 1, METRIC_PLAY_ACCEPTED },
        { EXP + 43200, 43200, METRIC_PLAY_ACCEPTED },
        { EXP + 43201, 43200, METRIC_PLAY_EXPIRED },
        { UINT64_MAX, 43200, METRIC_PLAY_EXPIRED },
        { 0, 0, METRIC_PLAY_ACCEPTED },
    };
    struct auth_keys *keys = two_keys();
    struct token_memo *memo = token_memo_new();

    (void)state;
    for (size_t i = 0; i < sizeof table / sizeof table[0]; i++)
        for (int with = 0; with < 2; with++)
            assert_int_equal(check_n(with ? memo : NULL, keys, GOOD, strlen(GOOD), "show",
                                     table[i].now_s, table[i].grace_s),
                             table[i].why);
    /* whoever guesses is not told that it would have been too late */
    assert_int_equal(check(NULL, keys, "1-k1-" SIG, "show", EXP), METRIC_PLAY_SIGNATURE);
    token_memo_free(&memo);
    auth_keys_unref(&keys);
}

static void what_was_good_is_remembered_until_the_keys_change(void **state)
{
    struct auth_keys *keys = two_keys();
    struct token_memo *memo = token_memo_new();

    (void)state;
    assert_int_equal(check(memo, NULL, GOOD, "show", 0), METRIC_PLAY_KID);
    assert_int_equal(check(memo, keys, GOOD, "show", 0), METRIC_PLAY_ACCEPTED);
    assert_int_equal(check(memo, NULL, GOOD, "show", 0), METRIC_PLAY_ACCEPTED); /* no signature */
    assert_int_equal(check(memo, NULL, "1767225601-k1-" SIG, "show", 0), METRIC_PLAY_KID);
    assert_int_equal(check(memo, NULL, "1767225600-k2-" SIG, "show", 0), METRIC_PLAY_KID);
    token_memo_clear(memo);
    assert_int_equal(check(memo, NULL, GOOD, "show", 0), METRIC_PLAY_KID);
    token_memo_free(&memo);
    assert_null(memo);
    auth_keys_unref(&keys);
}

static void a_log_shows_the_beginning_of_its_hash(void **state)
{
    char out[TOKEN_HASH_LEN + 1];

    (void)state;
    token_hash(SLICE("abc"), out);
    assert_string_equal(out, "ba7816bf");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_we_make_is_the_vector_and_is_accepted),
        cmocka_unit_test(tokens_of_every_bad_kind_are_refused),
        cmocka_unit_test(no_part_of_a_token_is_a_token),
        cmocka_unit_test(a_token_is_for_one_stream_of_one_app),
        cmocka_unit_test(a_token_ends_and_media_go_on_for_the_grace),
        cmocka_unit_test(what_was_good_is_remembered_until_the_keys_change),
        cmocka_unit_test(a_log_shows_the_beginning_of_its_hash),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
