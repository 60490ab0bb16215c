/* The bytes of the scripted origin: the same from every offset, and one wrong byte is found. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "tests/load/content.h"

/* Behaviour tests in other languages compute these too. */
static void the_function_is_pinned(void **state)
{
    static const uint8_t first[11] = { 0x2b, 0xf4, 0xdc, 0x89, 0x85, 0xaf,
                                       0x0b, 0xc8, 0x6f, 0x7e, 0xd9 };
    uint8_t got[11];

    (void)state;
    assert_true(content_seed("", 0) == UINT64_C(0xcbf29ce484222325));
    assert_true(content_seed("/vod/b/100", 10) == UINT64_C(0xeff090eb3ae52772));
    content_fill(content_seed("/vod/b/100", 10), 0, got, sizeof got);
    assert_memory_equal(got, first, sizeof first);
}

static void the_query_makes_no_difference(void **state)
{
    (void)state;
    assert_true(content_seed("/a/b/1?x=2", 10) == content_seed("/a/b/1", 6));
    assert_true(content_seed("/a/b/1", 6) != content_seed("/a/b/2", 6));
}

static void every_piece_equals_the_whole(void **state)
{
    uint8_t whole[64];

    (void)state;
    content_fill(7, 1000, whole, sizeof whole);
    for (size_t from = 0; from <= sizeof whole; from++) {
        for (size_t n = 0; from + n <= sizeof whole; n++) {
            uint8_t *piece = malloc(n + (n == 0));

            content_fill(7, 1000 + from, piece, n);
            assert_memory_equal(piece, whole + from, n);
            assert_int_equal(content_match(7, 1000 + from, piece, n), n);
            free(piece);
        }
    }
}

static void one_wrong_bit_is_found_where_it_is(void **state)
{
    (void)state;
    for (size_t n = 1; n < 40; n++) {
        for (size_t bad = 0; bad < n; bad++) {
            uint8_t *p = malloc(n);

            content_fill(9, 3, p, n);
            p[bad] ^= 0x10;
            assert_int_equal(content_match(9, 3, p, n), bad);
            free(p);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_function_is_pinned),
        cmocka_unit_test(the_query_makes_no_difference),
        cmocka_unit_test(every_piece_equals_the_whole),
        cmocka_unit_test(one_wrong_bit_is_found_where_it_is),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
