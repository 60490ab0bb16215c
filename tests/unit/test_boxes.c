/* edge/boxes: whole chunks, in pieces of every size. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "edge/boxes.h"

/* styp, two chunks of which the second begins with prft, the beginning of a third */
static const uint8_t segment[] = "\0\0\0\x0cstyp...."
                                 "\0\0\0\x0amoof.."
                                 "\0\0\0\x0bmdat..."
                                 "\0\0\0\x09prft."
                                 "\0\0\0\x08moof"
                                 "\0\0\0\1mdat\0\0\0\0\0\0\0\x12.."
                                 "\0\0\0\x0amoof..";
enum { SEGMENT = sizeof segment - 1, ONE = 12 + 10 + 11, TWO = ONE + 9 + 8 + 18 };

/* From a copy of exactly its size. */
static uint64_t feed(struct boxes *b, const void *p, size_t n)
{
    void *copy = malloc(n > 0 ? n : 1);
    uint64_t whole;

    assert_non_null(copy);
    memcpy(copy, p, n);
    whole = boxes_feed(b, copy, n);
    free(copy);
    return whole;
}

static uint64_t expected(size_t seen) { return seen >= TWO ? TWO : seen >= ONE ? ONE : 0; }

static void only_what_ends_with_an_mdat_is_whole(void **state)
{
    (void)state;
    for (size_t n = 0; n <= SEGMENT; n++) {
        struct boxes b = { 0 };

        assert_int_equal(feed(&b, segment, n), expected(n));
    }
}

static void pieces_do_not_matter(void **state)
{
    (void)state;
    for (size_t i = 0; i <= SEGMENT; i++)
        for (size_t k = i; k <= SEGMENT; k++) {
            struct boxes b = { 0 };

            assert_int_equal(feed(&b, segment, i), expected(i));
            assert_int_equal(feed(&b, segment + i, k - i), expected(k));
            assert_int_equal(feed(&b, segment + k, SEGMENT - k), TWO);
        }
}

static void byte_by_byte(void **state)
{
    struct boxes b = { 0 };

    (void)state;
    for (size_t i = 0; i < SEGMENT; i++)
        assert_int_equal(feed(&b, segment + i, 1), expected(i + 1));
}

static void what_is_no_box_is_whole_at_once(void **state)
{
    static const struct {
        const char *p;
        size_t n;
    } bad[] = {
        { "\0\0\0\x07mdat", 8 },
        { "\0\0\0\2moof", 8 },
        { "\0\0\0\1mdat\0\0\0\0\0\0\0\x0f", 16 },
    };

    (void)state;
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        struct boxes b = { 0 };

        assert_int_equal(feed(&b, bad[i].p, bad[i].n - 1), 0);
        assert_int_equal(feed(&b, bad[i].p + bad[i].n - 1, 1), bad[i].n);
        assert_int_equal(feed(&b, "more", 4), bad[i].n + 4);
    }
}

static void a_box_without_a_size_never_ends(void **state)
{
    struct boxes b = { 0 };

    (void)state;
    assert_int_equal(feed(&b, "\0\0\0\x09mdat.\0\0\0\0mdat........", 25), 9);
    assert_int_equal(feed(&b, segment, SEGMENT), 9);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(only_what_ends_with_an_mdat_is_whole),
        cmocka_unit_test(pieces_do_not_matter),
        cmocka_unit_test(byte_by_byte),
        cmocka_unit_test(what_is_no_box_is_whole_at_once),
        cmocka_unit_test(a_box_without_a_size_never_ends),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
