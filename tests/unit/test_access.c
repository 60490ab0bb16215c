/* edge/access: nothing that may be a token comes through. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "edge/access.h"

#define N16 "0123456789abcdef"
#define N63 N16 N16 N16 "0123456789abcde"
#define N64 N63 "f"

static const char *mask(const char *in, size_t cap)
{
    static char out[400];
    size_t n = strlen(in), got;
    char *copy = malloc(n + (n == 0)); /* exact size */
    bool cut;

    memcpy(copy, in, n);
    got = access_mask(slice_of(copy, n), out, cap, &cut);
    assert_true(got <= cap);
    if (cut)
        assert_int_equal(got, cap);
    out[got] = '\0';
    free(copy);
    return out;
}

static void what_may_be_a_token_is_masked(void **state)
{
    static const struct {
        const char *in, *out;
    } table[] = {
        { "", "" },
        { "/live/cam/manifest.mpd", "/live/cam/manifest.mpd" },
        { "/" N63 "/x", "/" N63 "/x" },
        { "/" N64 "/x", "/~a8ae6e6e/x" }, /* sha256(N64) */
        { N64, "~a8ae6e6e" },
        { "/p/" N63 "%66/x", "/p/~bb6eb907/x" },
        { N64 "\x01" N64, "~a8ae6e6e\x01~a8ae6e6e" },
        { "\x80\xff\"\n", "\x80\xff\"\n" },
    };

    (void)state;
    for (size_t i = 0; i < sizeof table / sizeof table[0]; i++)
        assert_string_equal(mask(table[i].in, 300), table[i].out);
    assert_null(strstr(mask("/p/1767225600-k1-" N64 "/live/cam", 300), N16));
}

static void what_does_not_fit_is_cut(void **state)
{
    (void)state;
    assert_string_equal(mask("/live/cam", 5), "/live");
    assert_string_equal(mask("/" N64, 4), "/~a8");
    assert_string_equal(mask("abc", 0), "");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_may_be_a_token_is_masked),
        cmocka_unit_test(what_does_not_fit_is_cut),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
