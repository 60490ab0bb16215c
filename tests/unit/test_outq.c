/* Output queues: order, packing, references, and what an empty queue owns. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/uio.h>

#include <cmocka.h>

#include "core/outq.h"

static uint32_t seed = 1;
static uint32_t rnd(uint32_t n)
{
    seed = seed * 1664525u + 1013904223u;
    return (seed >> 8) % n;
}

struct body {
    struct own own;
    int *freed;
    size_t n;
    uint8_t *p; /* exact size */
};
static void body_last(struct own *o)
{
    struct body *b = CONTAINER_OF(o, struct body, own);

    ++*b->freed;
    free(b->p);
    free(b);
}
static struct body *body_new(size_t n, int *freed)
{
    struct body *b = malloc(sizeof *b);

    own_init(&b->own, body_last);
    b->freed = freed;
    b->n = n;
    b->p = malloc(n);
    for (size_t i = 0; i < n; i++)
        b->p[i] = (uint8_t)rnd(256);
    return b;
}

static size_t gather(const struct outq *q, uint8_t *to, size_t max, int iovs)
{
    struct iovec v[64];
    int n = outq_iov(q, v, iovs);
    size_t sum = 0;

    for (int i = 0; i < n && sum < max; i++) {
        size_t part = v[i].iov_len < max - sum ? v[i].iov_len : max - sum;

        memcpy(to + sum, v[i].iov_base, part);
        sum += part;
    }
    return sum;
}

static void bytes_come_out_as_they_went_in(void **state)
{
    static uint8_t in[4 << 20], out[4 << 20];
    struct outq_pool pool = { 0 };
    struct outq q;
    size_t put = 0, got = 0;
    int made = 0, freed = 0;

    (void)state;
    outq_init(&q, &pool);
    while (put < sizeof in - 70000) {
        size_t n = rnd(4) == 0 ? rnd(60000) + 1 : rnd(40) + 1;

        if (rnd(3) == 0) {
            struct body *b = body_new(n, &freed);
            struct own *mine = &b->own;
            size_t half = rnd((uint32_t)n + 1);

            made++;
            memcpy(in + put, b->p, n);
            assert_int_equal(outq_borrow(&q, b->p, half, mine), ST_OK);
            assert_int_equal(outq_borrow(&q, b->p + half, n - half, mine), ST_OK);
            own_unref(&mine);
        } else {
            uint8_t *piece = malloc(n);

            for (size_t i = 0; i < n; i++)
                piece[i] = in[put + i] = (uint8_t)rnd(256);
            assert_int_equal(outq_copy(&q, piece, n), ST_OK);
            free(piece);
        }
        put += n;
        assert_int_equal(outq_bytes(&q), put - got);
        while (outq_bytes(&q) > 0 && rnd(3) != 0) {
            size_t max = rnd(50000) + 1, part = gather(&q, out + got, max, (int)rnd(64) + 1);

            outq_consume(&q, part);
            got += part;
        }
    }
    while (outq_bytes(&q) > 0) {
        size_t part = gather(&q, out + got, sizeof out - got, 64);

        outq_consume(&q, part);
        got += part;
    }
    assert_int_equal(got, put);
    assert_memory_equal(in, out, put);
    assert_true(made > 10);
    assert_int_equal(freed, made);
    assert_int_equal(outq_copied_bytes(&q), 0);
    outq_pool_fini(&pool);
}

static void small_pieces_are_packed(void **state)
{
    struct outq_pool pool = { 0 };
    struct outq q;
    struct iovec v[8];

    (void)state;
    outq_init(&q, &pool);
    for (int i = 0; i < 50; i++)
        assert_int_equal(outq_copy(&q, "nine byte", 9), ST_OK);
    assert_int_equal(outq_iov(&q, v, 8), 1); /* one slice, one block */
    assert_int_equal(pool.in_use, 1);
    assert_int_equal(outq_copied_bytes(&q), 450);
    outq_consume(&q, 449);
    assert_int_equal(outq_copied_bytes(&q), 1);
    assert_int_equal(outq_iov(&q, v, 8), 1);
    assert_int_equal(*(char *)v[0].iov_base, 'e');
    outq_clear(&q);
    outq_pool_fini(&pool);
}

static void what_joins_on_becomes_one_slice(void **state)
{
    static const char text[] = "static bytes need no owner";
    struct outq_pool pool = { 0 };
    struct outq q;
    struct iovec v[8];
    int freed = 0;
    struct body *a = body_new(100, &freed);
    struct own *mine = &a->own;

    (void)state;
    outq_init(&q, &pool);
    assert_int_equal(outq_borrow(&q, a->p, 40, mine), ST_OK);
    assert_int_equal(outq_borrow(&q, a->p + 40, 60, mine), ST_OK);
    assert_int_equal(a->own.refs, 2); /* one more, not two */
    assert_int_equal(outq_iov(&q, v, 8), 1);
    assert_int_equal(v[0].iov_len, 100);

    /* not: a gap, another owner, nothing at all */
    assert_int_equal(outq_borrow(&q, text, 3, NULL), ST_OK);
    assert_int_equal(outq_borrow(&q, text + 4, 3, NULL), ST_OK);
    assert_int_equal(outq_borrow(&q, text + 7, 3, mine), ST_OK);
    assert_int_equal(outq_borrow(&q, text + 10, 0, mine), ST_OK);
    assert_int_equal(outq_iov(&q, v, 8), 4);
    own_unref(&mine);
    outq_clear(&q);
    assert_int_equal(freed, 1);
    outq_pool_fini(&pool);
}

static void a_reference_is_held_to_the_last_byte(void **state)
{
    struct outq_pool pool = { 0 };
    struct outq q;
    int freed = 0;
    struct body *b = body_new(1000, &freed);
    struct own *mine = &b->own;

    (void)state;
    outq_init(&q, &pool);
    assert_int_equal(outq_copy(&q, "head", 4), ST_OK);
    assert_int_equal(outq_borrow(&q, b->p, 1000, mine), ST_OK);
    own_unref(&mine);
    outq_consume(&q, 4);
    outq_consume(&q, 999);
    assert_int_equal(freed, 0);
    outq_consume(&q, 1);
    assert_int_equal(freed, 1);
    outq_pool_fini(&pool);
}

static void an_empty_queue_owns_nothing_and_the_pool_is_bounded(void **state)
{
    static uint8_t big[2 << 20];
    struct outq_pool pool = { 0 };
    struct outq q;

    (void)state;
    outq_init(&q, &pool);
    assert_null(q.first);
    assert_int_equal(outq_copy(&q, big, sizeof big), ST_OK);
    assert_true(pool.in_use > OUTQ_POOL_BLOCKS);
    outq_consume(&q, sizeof big);
    assert_null(q.first);
    assert_null(q.last);
    assert_int_equal(pool.in_use, 0);
    assert_int_equal(pool.spares, OUTQ_POOL_BLOCKS);
    assert_int_equal(outq_copy(&q, big, 10), ST_OK); /* from the spares */
    assert_int_equal(pool.spares, OUTQ_POOL_BLOCKS - 1);
    outq_clear(&q);
    outq_pool_fini(&pool);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(bytes_come_out_as_they_went_in),
        cmocka_unit_test(small_pieces_are_packed),
        cmocka_unit_test(what_joins_on_becomes_one_slice),
        cmocka_unit_test(a_reference_is_held_to_the_last_byte),
        cmocka_unit_test(an_empty_queue_owns_nothing_and_the_pool_is_bounded),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
