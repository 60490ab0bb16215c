/* core/buf: growth, the limit, and failure that sticks. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "core/buf.h"

static void a_buffer_grows_by_every_kind_of_piece(void **state)
{
    static const char want[] = "head 7 \x01\x02\x03";
    struct buf b;

    (void)state;
    buf_init(&b, 100);
    assert_string_equal(buf_text(&b), "");
    buf_puts(&b, "head");
    buf_printf(&b, " %d ", 7);
    buf_be(&b, 0x010203, 3);
    assert_int_equal(b.st, ST_OK);
    assert_int_equal(b.len, sizeof want - 1);
    assert_string_equal(buf_text(&b), want);
    buf_reset(&b);
    assert_string_equal(buf_text(&b), "");
    buf_fini(&b);
}

static void long_texts_are_printed_whole(void **state)
{
    struct buf b;

    (void)state;
    buf_init(&b, 10000);
    for (int n = 0; n < 700; n++) { /* over the first allocation, and one by one over its edge */
        buf_reset(&b);
        buf_printf(&b, "%*d", n + 1, 5);
        assert_int_equal(b.len, n + 1);
        assert_int_equal(strlen(buf_text(&b)), n + 1);
        assert_int_equal(b.data[n], '5');
        if (n % 7 == 0)
            buf_fini(&b);
    }
    buf_fini(&b);
}

static void the_limit_is_exact_and_failure_sticks(void **state)
{
    struct buf b;
    size_t n;

    (void)state;
    buf_init(&b, 8);
    buf_puts(&b, "12345678");
    assert_int_equal(b.st, ST_OK);
    buf_printf(&b, "%s", "");
    assert_int_equal(b.st, ST_OK);
    buf_printf(&b, "%d", 9);
    assert_int_equal(b.st, ST_ELIMIT);
    assert_int_equal(b.len, 8);
    assert_string_equal(buf_text(&b), "");
    assert_null(buf_grow(&b, 0));
    buf_puts(&b, "");
    assert_null(buf_take(&b, &n)); /* and frees */
    assert_int_equal(n, 0);
    assert_int_equal(b.st, ST_OK);
    buf_add(&b, "123456789", 9);
    assert_int_equal(b.st, ST_ELIMIT);
    assert_int_equal(b.len, 0);
    buf_fini(&b);
}

static void taken_bytes_belong_to_the_taker(void **state)
{
    struct buf b;
    size_t n;
    uint8_t *p;

    (void)state;
    buf_init(&b, 8);
    buf_puts(&b, "abc");
    p = buf_take(&b, &n);
    assert_int_equal(n, 3);
    assert_memory_equal(p, "abc", 4);
    assert_null(b.data);
    free(p);
}

static void a_recycled_buffer_keeps_little(void **state)
{
    struct buf b;

    (void)state;
    buf_init(&b, 1 << 20);
    buf_puts(&b, "little");
    buf_recycle(&b);
    assert_non_null(b.data);
    assert_int_equal(b.len, 0);
    assert_non_null(buf_grow(&b, BUF_KEEP_BYTES + 1));
    buf_recycle(&b);
    assert_null(b.data);
    assert_int_equal(b.room, 0);
    assert_int_equal(b.limit, 1 << 20);
    assert_null(buf_grow(&b, 2 << 20));
    buf_recycle(&b);
    assert_int_equal(b.st, ST_OK);
    buf_fini(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_recycled_buffer_keeps_little),
        cmocka_unit_test(a_buffer_grows_by_every_kind_of_piece),
        cmocka_unit_test(long_texts_are_printed_whole),
        cmocka_unit_test(the_limit_is_exact_and_failure_sticks),
        cmocka_unit_test(taken_bytes_belong_to_the_taker),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
