/* The spool: numbers, limits, what a worker that starts over still finds. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#include "core/spool.h"

static const struct spool_limits limits = { .bytes = 10000, .ms = 1000 };

static struct spool_tag *add(struct spool *s, uint32_t ts_ms, size_t n)
{
    static uint8_t body[4096];
    struct flv_tag tag = { .type = FLV_VIDEO, .ts_ms = ts_ms, .body = body, .n = n };
    struct spool_tag *t;

    assert_int_equal(spool_add(s, &tag, NULL, &t), ST_OK);
    return t;
}

static void tags_are_numbered_and_found(void **state)
{
    struct spool s;

    (void)state;
    spool_init(&s, &limits);
    assert_int_equal(spool_next(&s), 1);
    assert_null(spool_find(&s, 1));
    assert_int_equal(spool_oldest(&s), 1);
    for (uint32_t i = 0; i < 20; i++)
        assert_int_equal(add(&s, i * 10, 50)->number, i + 1);
    for (uint64_t n = 1; n <= 20; n++)
        assert_int_equal(spool_find(&s, n)->ts_ms, (n - 1) * 10);
    for (uint64_t n = 20; n > 0; n--)
        assert_int_equal(spool_find(&s, n)->ts_ms, (n - 1) * 10);
    assert_null(spool_find(&s, 0));
    assert_null(spool_find(&s, 21));
    assert_int_equal(spool_find(&s, 2)->number, 2);
    spool_release(&s, 20);
    (void)add(&s, 5000, 50); /* 1 to 19 are old, and nobody needs them */
    assert_null(spool_find(&s, 2));
    assert_int_equal(spool_find(&s, 20)->number, 20);
    spool_fini(&s);
}

static void a_tag_is_what_goes_over_the_wire(void **state)
{
    static const uint8_t body[3] = { 7, 8, 9 };
    struct flv_tag tag = { .type = FLV_AUDIO, .ts_ms = 0x12345678, .body = body, .n = 3 }, back;
    struct flv_mark mark = { .tag = 1, .base_ms = 5, .discontinuity = true }, told;
    struct flv_reader r;
    struct spool_tag *t;
    struct buf before;
    struct spool s;

    (void)state;
    spool_init(&s, &limits);
    buf_init(&before, FLV_MARK_MAX);
    flv_put_mark(&before, &mark);
    assert_int_equal(spool_add(&s, &tag, &before, &t), ST_OK);
    assert_int_equal(t->tag_at, before.len);
    flv_reader_init(&r, 1000);
    uint8_t head[FLV_HEADER_BYTES];
    struct buf b;

    buf_init(&b, 1000);
    flv_put_header(&b);
    memcpy(head, b.data, sizeof head);
    struct rd in = rd_init(head, sizeof head);
    assert_int_equal(flv_next(&r, &in, &back), ST_MORE);
    in = rd_init(t->wire, t->n);
    assert_int_equal(flv_next(&r, &in, &back), ST_OK);
    assert_int_equal(flv_mark_parse(&back, &told), ST_OK);
    assert_true(told.discontinuity);
    assert_int_equal(flv_next(&r, &in, &back), ST_OK);
    assert_int_equal(back.ts_ms, 0x12345678);
    assert_int_equal(back.n, 3);
    assert_memory_equal(back.body, body, 3);
    assert_int_equal(rd_left(&in), 0);
    flv_reader_fini(&r);
    buf_fini(&b);
    buf_fini(&before);
    spool_fini(&s);
}

static void what_is_needed_outlives_its_time_but_not_the_byte_limit(void **state)
{
    struct spool s;

    (void)state;
    spool_init(&s, &limits);
    for (uint32_t i = 0; i < 30; i++)
        (void)add(&s, i * 100, 10); /* 2.9 s; nobody has released anything */
    assert_int_equal(spool_oldest(&s), 1);
    spool_release(&s, 25); /* now what is older than a second goes */
    assert_int_equal(spool_oldest(&s), 20);
    (void)add(&s, 3000, 4000);
    (void)add(&s, 3001, 4000);
    (void)add(&s, 3002, 4000); /* over 10,000 bytes: needed or not */
    assert_true(s.bytes <= limits.bytes);
    assert_int_equal(spool_oldest(&s), 32);
    spool_fini(&s);
    assert_int_equal(s.bytes, 0);
}

static void where_time_is_a_limit_too_the_oldest_goes_and_is_counted(void **state)
{
    struct spool_limits strict = { .bytes = 10000, .ms = 0, .needed_ms = 1000 };
    struct spool s;

    (void)state;
    spool_init(&s, &strict);
    for (uint32_t i = 0; i < 11; i++)
        (void)add(&s, i * 100, 10);
    assert_int_equal(spool_oldest(&s), 1);
    spool_release(&s, 4); /* what is not needed does not stay */
    assert_int_equal(spool_oldest(&s), 4);
    assert_int_equal(s.lost, 0);
    (void)add(&s, 1500, 10);
    assert_int_equal(spool_oldest(&s), 6);
    assert_int_equal(s.lost, 2);
    spool_fini(&s);
}

static void the_newest_tag_always_stays(void **state)
{
    struct spool_limits tiny = { .bytes = 10, .ms = 0 };
    struct spool s;

    (void)state;
    spool_init(&s, &tiny);
    (void)add(&s, 0, 1000);
    (void)add(&s, 9, 1000);
    assert_int_equal(spool_oldest(&s), 2);
    assert_non_null(spool_find(&s, 2));
    spool_fini(&s);
}

static void headers_stay_in_force_when_their_tags_are_gone(void **state)
{
    struct spool s;

    (void)state;
    spool_init(&s, &limits);
    spool_set_header(&s, SPOOL_VIDEO_HEADER, add(&s, 0, 40));
    for (uint32_t i = 1; i < 10; i++)
        (void)add(&s, i * 1000, 10);
    spool_release(&s, spool_next(&s));
    assert_null(spool_find(&s, 1));
    assert_int_equal(s.header[SPOOL_VIDEO_HEADER]->number, 1);
    assert_int_equal(s.header[SPOOL_VIDEO_HEADER]->n, FLV_TAG_HEAD_BYTES + 40 + FLV_TAG_TAIL_BYTES);
    spool_fini(&s);
}

static void times_may_wrap(void **state)
{
    struct spool s;

    (void)state;
    spool_init(&s, &limits);
    (void)add(&s, UINT32_MAX - 500, 10);
    (void)add(&s, 400, 10); /* 901 ms later */
    spool_release(&s, spool_next(&s));
    assert_int_equal(spool_oldest(&s), 1);
    (void)add(&s, 600, 10);
    spool_release(&s, spool_next(&s));
    assert_int_equal(spool_oldest(&s), 2);
    spool_fini(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(tags_are_numbered_and_found),
        cmocka_unit_test(a_tag_is_what_goes_over_the_wire),
        cmocka_unit_test(what_is_needed_outlives_its_time_but_not_the_byte_limit),
        cmocka_unit_test(where_time_is_a_limit_too_the_oldest_goes_and_is_counted),
        cmocka_unit_test(the_newest_tag_always_stays),
        cmocka_unit_test(headers_stay_in_force_when_their_tags_are_gone),
        cmocka_unit_test(times_may_wrap),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
