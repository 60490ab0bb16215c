/* ingest/handshake: when the reply comes, what is in it, and who is at the wrong door. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "ingest/handshake.h"

enum { ALL = 1 + 2 * HANDSHAKE_BYTES };

static void the_reply_comes_whole_when_c1_is_whole(void **state)
{
    static const size_t steps[] = { 1, 7, 511, 1536, 1537, 3072, 3073, 4000 };
    uint8_t wire[ALL + 3];

    (void)state;
    for (size_t i = 0; i < sizeof wire; i++)
        wire[i] = (uint8_t)(i * 11);
    wire[0] = 3;
    for (size_t k = 0; k < sizeof steps / sizeof steps[0]; k++) {
        struct handshake h;
        struct buf out;
        enum st st = ST_MORE;
        size_t at = 0;

        buf_init(&out, 10000);
        handshake_init(&h, 7);
        while (st == ST_MORE) {
            size_t n = sizeof wire - at < steps[k] ? sizeof wire - at : steps[k];
            uint8_t *copy = malloc(n);
            struct rd in;

            memcpy(copy, wire + at, n);
            in = rd_init(copy, n);
            st = handshake_next(&h, &in, &out);
            at += n - rd_left(&in);
            free(copy);
            assert_int_equal(out.len, at <= HANDSHAKE_BYTES ? 0 : HANDSHAKE_REPLY);
        }
        assert_int_equal(st, ST_OK);
        assert_int_equal(at, ALL); /* what follows is left alone */
        assert_int_equal(out.data[0], 3);
        assert_memory_equal(out.data + 1, "\0\0\0\0\0\0\0\0", 8); /* time; version: no digest */
        assert_memory_equal(out.data + 1 + HANDSHAKE_BYTES, wire + 1, HANDSHAKE_BYTES);
        buf_fini(&out);
    }
}

static void two_connections_get_different_bytes(void **state)
{
    static uint8_t wire[1 + HANDSHAKE_BYTES] = { 3 };
    struct handshake h;
    struct buf a, b;
    struct rd in;

    (void)state;
    buf_init(&a, 10000);
    buf_init(&b, 10000);
    handshake_init(&h, 1);
    in = rd_init(wire, sizeof wire);
    assert_int_equal(handshake_next(&h, &in, &a), ST_MORE);
    handshake_init(&h, 2);
    in = rd_init(wire, sizeof wire);
    assert_int_equal(handshake_next(&h, &in, &b), ST_MORE);
    assert_memory_not_equal(a.data + 9, b.data + 9, HANDSHAKE_BYTES - 8);
    buf_fini(&a);
    buf_fini(&b);
}

static void who_is_at_the_wrong_door_is_told_apart(void **state)
{
    (void)state;
    for (unsigned c0 = 0; c0 < 256; c0++) {
        uint8_t byte = (uint8_t)c0;
        enum handshake_why want = HANDSHAKE_VERSION;
        struct handshake h;
        struct buf out;
        struct rd in = rd_init(&byte, 1);
        enum st st;

        if (c0 == 3)
            want = HANDSHAKE_GOOD;
        else if (c0 == 6 || c0 == 8 || c0 == 9)
            want = HANDSHAKE_RTMPE;
        else if (c0 == 0x16)
            want = HANDSHAKE_TLS;
        else if (c0 >= 'A' && c0 <= 'Z')
            want = HANDSHAKE_HTTP;
        buf_init(&out, 10000);
        handshake_init(&h, 1);
        st = handshake_next(&h, &in, &out);
        assert_int_equal(st, c0 == 3 ? ST_MORE : ST_EPROTO);
        assert_int_equal(h.why, want);
        in = rd_init(&byte, 1);
        if (c0 != 3)
            assert_int_equal(handshake_next(&h, &in, &out), ST_EPROTO); /* it sticks */
        assert_int_equal(out.len, 0);
        buf_fini(&out);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_reply_comes_whole_when_c1_is_whole),
        cmocka_unit_test(two_connections_get_different_bytes),
        cmocka_unit_test(who_is_at_the_wrong_door_is_told_apart),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
