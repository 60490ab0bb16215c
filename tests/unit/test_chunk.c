/* ingest/chunk: every form of header, every split point, the habits of the field, hostile chunks.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <inttypes.h>

#include "ingest/chunk.h"

static const struct chunk_limits limits = { .media_bytes = 8 << 20,
                                            .other_bytes = 64 << 10,
                                            .memory_bytes = 8 << 20 };

/* Set Chunk Size and Abort are obeyed, as a session does. */
static enum st read_in_steps(struct chunk_demux *d, const uint8_t *p, size_t n, size_t step,
                             struct buf *said)
{
    enum st st = ST_MORE;

    for (size_t at = 0; at < n && st == ST_MORE; at += step) {
        size_t len = n - at < step ? n - at : step;
        uint8_t *copy = malloc(len);
        struct rtmp_msg m;
        struct rd in;

        memcpy(copy, p + at, len);
        in = rd_init(copy, len);
        while ((st = chunk_next(d, &in, &m)) == ST_OK) {
            if (m.type == RTMP_SET_CHUNK_SIZE || m.type == RTMP_ABORT) {
                struct rd body = rd_init(m.body, m.n);
                uint32_t v = rd_u32be(&body);

                if (m.type == RTMP_ABORT)
                    chunk_demux_abort(d, v);
                else if ((st = chunk_demux_set_size(d, v)) != ST_OK)
                    break;
                continue;
            }
            buf_printf(said, "%d/%" PRIu32 "@%" PRIu32 ":", m.type, m.msid, m.ts_ms);
            buf_add(said, m.body, m.n);
            buf_puts(said, ";");
        }
        assert_true(st != ST_MORE || rd_left(&in) == 0);
        free(copy);
    }
    return st;
}

struct row {
    const char *what, *wire;
    size_t n;
    enum st st;
    const char *said;
    enum chunk_why why;
};

static void check_rows(const struct row *table, size_t rows)
{
    for (size_t i = 0; i < rows; i++) {
        for (size_t step = 1; step <= table[i].n; step++) {
            struct chunk_demux *d = chunk_demux_new(&limits);
            struct rtmp_msg m;
            struct rd in = rd_init("", 0);
            struct buf said;
            enum st st;

            buf_init(&said, 1000);
            st = read_in_steps(d, (const uint8_t *)table[i].wire, table[i].n, step, &said);
            if (st != table[i].st || strcmp(buf_text(&said), table[i].said) != 0 ||
                chunk_why(d) != table[i].why)
                fail_msg("%s, in steps of %zu: %s (%d) %s", table[i].what, step, st_name(st),
                         (int)chunk_why(d), buf_text(&said));
            assert_int_equal(chunk_next(d, &in, &m), table[i].st); /* it sticks */
            chunk_demux_free(&d);
            assert_null(d);
            buf_fini(&said);
        }
    }
}

#define GOOD(what, wire, said)                                 \
    {                                                          \
        what, wire, sizeof wire - 1, ST_MORE, said, CHUNK_GOOD \
    }
#define BAD(what, wire, st, said, why)             \
    {                                              \
        what, wire, sizeof wire - 1, st, said, why \
    }
#define SIZE(n) "\2\0\0\0\0\0\4\1\0\0\0\0\0\0\0" n

static void every_form_of_header_is_read(void **state)
{
    static const struct row table[] = {
        GOOD("type 0", "\4\0\0\5\0\0\2\x08\1\0\0\0ab", "8/1@5:ab;"),
        GOOD("a stream id is little-endian", "\4\0\0\5\0\0\1\x08\1\2\3\4a", "8/67305985@5:a;"),
        GOOD("type 1", "\4\0\0\5\0\0\2\x08\1\0\0\0ab\x44\0\0\7\0\0\1\x09x", "8/1@5:ab;9/1@12:x;"),
        GOOD("type 2", "\4\0\0\5\0\0\2\x08\1\0\0\0ab\x84\0\0\7xy", "8/1@5:ab;8/1@12:xy;"),
        GOOD("type 3 begins a message with the last delta",
             "\4\0\0\5\0\0\2\x08\1\0\0\0ab\x84\0\0\7xy\xc4zw\xc4uv",
             "8/1@5:ab;8/1@12:xy;8/1@19:zw;8/1@26:uv;"),
        GOOD("type 3 after type 0 has the same time",
             "\4\0\1\0\0\0\2\x08\1\0\0\0ab\xc4zw\x84\0\0\1uv", "8/1@256:ab;8/1@256:zw;8/1@257:uv;"),
        GOOD("a new type 0 ends the deltas",
             "\4\0\0\5\0\0\1\x08\1\0\0\0a\x84\0\0\7x\4\0\0\x14\0\0\1\x08\1\0\0\0b\xc4y",
             "8/1@5:a;8/1@12:x;8/1@20:b;8/1@20:y;"),
        GOOD("two-byte ids", "\0\0\0\0\5\0\0\1\x08\1\0\0\0a\xc0\0b\x80\0\0\0\3c",
             "8/1@5:a;8/1@5:b;8/1@8:c;"),
        GOOD("two-byte ids differ",
             "\0\1\0\0\5\0\0\1\x08\1\0\0\0a\0\2\0\0\7\0\0\1\x08\1\0\0\0b\xc0\1x",
             "8/1@5:a;8/1@7:b;8/1@5:x;"),
        GOOD("three-byte ids, and the same id in two bytes",
             "\1\1\0\0\0\5\0\0\1\x08\1\0\0\0a\xc0\1b\1\1\1\0\0\7\0\0\1\x08\1\0\0\0c\xc1\1\0d",
             "8/1@5:a;8/1@5:b;8/1@7:c;8/1@5:d;"),
        GOOD("empty messages", "\4\0\0\5\0\0\0\x08\1\0\0\0\xc4\x84\0\0\1", "8/1@5:;8/1@5:;8/1@6:;"),
        GOOD("extended", "\4\xff\xff\xff\0\0\1\x08\1\0\0\0\1\0\0\0a", "8/1@16777216:a;"),
        GOOD("extended, and no more than 24 bits",
             "\4\xff\xff\xff\0\0\1\x08\1\0\0\0\0\xff\xff\xff"
             "a",
             "8/1@16777215:a;"),
        GOOD("an extended delta",
             "\4\0\0\5\0\0\1\x08\1\0\0\0a\x84\xff\xff\xff\1\0\0\0x\xc4\1\0\0\0y",
             "8/1@5:a;8/1@16777221:x;8/1@33554437:y;"),
        GOOD("times wrap",
             "\4\xff\xff\xff\0\0\1\x08\1\0\0\0\xff\xff\xff\xf0"
             "a\x84\0\0\x20z",
             "8/1@4294967280:a;8/1@16:z;"),
    };

    (void)state;
    check_rows(table, sizeof table / sizeof table[0]);
}

static void chunks_of_messages_come_together(void **state)
{
    static const struct row table[] = {
        GOOD("in chunks of 3",
             SIZE("\3") "\4\0\0\5\0\0\7\x09\1\0\0\0abc\xc4"
                        "def\xc4g",
             "9/1@5:abcdefg;"),
        GOOD("interleaved",
             SIZE("\3") "\4\0\0\5\0\0\7\x09\1\0\0\0abc\5\0\0\6\0\0\4\x08\1\0\0\0xyz\xc4"
                        "def"
                        "\xc5w\xc4g",
             "8/1@6:xyzw;9/1@5:abcdefg;"),
        GOOD("the top bit of a size is nothing",
             "\2\0\0\0\0\0\4\1\0\0\0\0\x80\0\0\1\4\0\0\5\0\0\2\x09\1\0\0\0a\xc4"
             "b",
             "9/1@5:ab;"),
        GOOD("a size that grows between the chunks of a message",
             SIZE("\1") "\4\0\0\5\0\0\4\x09\1\0\0\0a\2\0\0\0\0\0\4\1\0\0\0\0\0\xc2\0\xc2\0\xc2\3"
                        "\xc4"
                        "bcd",
             "9/1@5:abcd;"),
        GOOD("aborted",
             SIZE("\4") "\4\0\0\5\0\0\5\x09\1\0\0\0abcd\2\0\0\0\0\0\4\2\0\0\0\0\0\0\0\4"
                        "\x44\0\0\1\0\0\1\x09x",
             "9/1@6:x;"),
        GOOD("aborting what is not there",
             SIZE("\4") "\4\0\0\5\0\0\5\x09\1\0\0\0abcd\2\0\0\0\0\0\4\2\0\0\0\0\0\0\0\7\xc4"
                        "e",
             "9/1@5:abcde;"),
        GOOD("unfinished", "\4\0\0\5\0\0\5\x09\1\0\0\0abcd", ""),
    };

    (void)state;
    check_rows(table, sizeof table / sizeof table[0]);
}

static void extended_times_on_type_3_may_be_there_or_not(void **state)
{
    static const struct row table[] = {
        GOOD("repeated",
             SIZE("\3") "\4\xff\xff\xff\0\0\7\x09\1\0\0\0\1\0\0\0abc\xc4\1\0\0\0"
                        "def\xc4\1\0\0\0g",
             "9/1@16777216:abcdefg;"),
        GOOD("left out",
             SIZE("\5") "\4\xff\xff\xff\0\0\x0b\x09\1\0\0\0\1\0\0\0abcde\xc4"
                        "fghij\xc4k"
                        "\4\0\0\1\0\0\1\x09\1\0\0\0x",
             "9/1@16777216:abcdefghijk;9/1@1:x;"),
        GOOD("left out of chunks shorter than the field, with other headers behind",
             SIZE("\1") "\5\0\0\1\0\0\3\x08\1\0\0\0x\4\xff\xff\xff\0\0\3\x09\1\0\0\0\1\0\0\0a"
                        "\xc4"
                        "b\xc5y\xc4"
                        "c\xc5z\xc5p\xc5q\xc5r",
             "9/1@16777216:abc;8/1@1:xyz;8/1@1:pqr;"),
        GOOD("left out of two ids at once",
             SIZE("\1") "\5\xff\xff\xff\0\0\3\x08\1\0\0\0\1\0\0\1x"
                        "\4\xff\xff\xff\0\0\3\x09\1\0\0\0\1\0\0\2"
                        "a\xc4"
                        "b\xc5y\xc4"
                        "c\xc5z"
                        "\4\0\0\1\0\0\1\x09\1\0\0\0x",
             "9/1@16777218:abc;8/1@16777217:xyz;9/1@1:x;"),
        GOOD("a message begun with type 3 that repeats it",
             "\4\xff\xff\xff\0\0\1\x09\1\0\0\0\1\0\0\0a\xc4\1\0\0\0b",
             "9/1@16777216:a;9/1@16777216:b;"),
        GOOD("a message begun with type 3 that holds the new time",
             "\4\xff\xff\xff\0\0\1\x09\1\0\0\0\1\0\0\0a\xc4\1\0\0\x28"
             "b\xc4\1\0\0\x50"
             "c",
             "9/1@16777216:a;9/1@16777256:b;9/1@16777296:c;"),
        GOOD("a message begun with type 3 that leaves it out",
             "\4\xff\xff\xff\0\0\4\x09\1\0\0\0\1\0\0\0abcd\xc4zyxw",
             "9/1@16777216:abcd;9/1@16777216:zyxw;"),
        GOOD("an empty message in between",
             "\4\xff\xff\xff\0\0\0\x09\1\0\0\0\1\0\0\0\xc4\5\0\0\1\0\0\1\x08\1\0\0\0x"
             "\5\0\0\2\0\0\1\x08\1\0\0\0y",
             "9/1@16777216:;9/1@16777216:;8/1@1:x;8/1@2:y;"),
    };

    (void)state;
    check_rows(table, sizeof table / sizeof table[0]);
}

static void hostile_chunks_get_their_status(void **state)
{
    static const struct row table[] = {
        BAD("type 1 first", "\x44\0\0\7\0\0\1\x09x", ST_EPROTO, "", CHUNK_NO_HEADER),
        BAD("type 2 first", "\x84\0\0\7", ST_EPROTO, "", CHUNK_NO_HEADER),
        BAD("type 3 first", "\xc4", ST_EPROTO, "", CHUNK_NO_HEADER),
        BAD("type 3 on another id", "\4\0\0\5\0\0\1\x08\1\0\0\0a\xc5", ST_EPROTO, "8/1@5:a;",
            CHUNK_NO_HEADER),
        BAD("a longer message inside one",
            SIZE("\2") "\4\0\0\5\0\0\4\x09\1\0\0\0ab\x44\0\0\0\0\1\0\x09", ST_EPROTO, "",
            CHUNK_IN_MESSAGE),
        BAD("another type inside one",
            SIZE("\2") "\4\0\0\5\0\0\4\x09\1\0\0\0ab\4\0\0\5\0\0\4\x08\1\0\0\0", ST_EPROTO, "",
            CHUNK_IN_MESSAGE),
        BAD("a delta inside one", SIZE("\2") "\4\0\0\5\0\0\4\x09\1\0\0\0ab\x84\0\0\5", ST_EPROTO,
            "", CHUNK_IN_MESSAGE),
        BAD("a size of 0", SIZE("\0"), ST_EPROTO, "", CHUNK_SIZE_ZERO),
        BAD("a size of 0 below the top bit", "\2\0\0\0\0\0\4\1\0\0\0\0\x80\0\0\0", ST_EPROTO, "",
            CHUNK_SIZE_ZERO),
        BAD("a long command", "\3\0\0\0\1\0\1\x14\0\0\0\0", ST_ELIMIT, "", CHUNK_LONG),
        BAD("a long key frame", "\4\0\0\0\x80\0\1\x09\1\0\0\0", ST_ELIMIT, "", CHUNK_LONG),
        BAD("the longest key frame", "\4\0\0\0\xff\xff\xff\x09\1\0\0\0", ST_ELIMIT, "", CHUNK_LONG),
        BAD("media type through type 1", "\3\0\0\0\0\0\0\x09\1\0\0\0\x43\0\0\0\1\0\1\x14",
            ST_ELIMIT, "9/1@0:;", CHUNK_LONG),
    };

    (void)state;
    check_rows(table, sizeof table / sizeof table[0]);
}

static void a_connection_has_so_many_ids_and_no_more(void **state)
{
    struct chunk_demux *d = chunk_demux_new(&limits);
    struct rtmp_msg m;

    (void)state;
    for (unsigned id = 0; id <= CHUNK_STREAMS; id++) {
        uint8_t wire[] = { 0, (uint8_t)(id * 3), 0, 0, 0, 0, 0, 1, 8, 1, 0, 0, 0, 'x' };
        struct rd in = rd_init(wire, sizeof wire);

        assert_int_equal(chunk_next(d, &in, &m), id < CHUNK_STREAMS ? ST_OK : ST_ELIMIT);
    }
    assert_int_equal(chunk_why(d), CHUNK_MANY_IDS);
    chunk_demux_free(&d);
}

static void memory_is_taken_as_bytes_arrive_and_has_a_limit(void **state)
{
    static const uint8_t big[] = { 2, 0, 0, 0, 0, 0, 4, 1, 0, 0, 0, 0, 0x7f, 0xff, 0xff, 0xff };
    static uint8_t run[1 << 16];
    struct chunk_limits lim = { .media_bytes = 1 << 20, .other_bytes = 1, .memory_bytes = 1 << 18 };
    struct chunk_demux *d = chunk_demux_new(&limits);
    size_t bare = chunk_demux_memory(d);
    struct rd in = rd_init(big, sizeof big);
    struct rtmp_msg m;

    (void)state;
    assert_true(bare < 8192);
    assert_int_equal(chunk_next(d, &in, &m), ST_OK);
    assert_int_equal(chunk_demux_set_size(d, 0x7fffffff), ST_OK);
    /* forty ids, each of which says that a megabyte will come */
    chunk_demux_set_limits(d, &lim);
    assert_int_equal(chunk_demux_set_size(d, 1), ST_OK);
    for (uint8_t id = 3; id < 43; id++) {
        uint8_t wire[] = { id, 0, 0, 0, 0x10, 0, 0, 9, 1, 0, 0, 0, 'x' };

        in = rd_init(wire, sizeof wire);
        assert_int_equal(chunk_next(d, &in, &m), ST_MORE);
    }
    assert_true(chunk_demux_memory(d) <= bare + (size_t)40 * 4096);
    /* then one of them does come */
    assert_int_equal(chunk_demux_set_size(d, 0x7fffffff), ST_OK);
    in = rd_init("\xc5", 1);
    assert_int_equal(chunk_next(d, &in, &m), ST_MORE);
    in = rd_init(run, sizeof run);
    assert_int_equal(chunk_next(d, &in, &m), ST_ELIMIT);
    assert_int_equal(chunk_why(d), CHUNK_MEMORY);
    assert_true(chunk_demux_memory(d) <= bare + lim.memory_bytes);
    chunk_demux_free(&d);
}

static void a_message_that_is_done_gives_its_memory_back(void **state)
{
    static uint8_t run[1 << 16];
    static const uint8_t wire[] = { 4, 0, 0, 0, 0, 0xff, 0xff, 9, 1, 0, 0, 0 };
    struct chunk_demux *d = chunk_demux_new(&limits);
    size_t bare = chunk_demux_memory(d);
    struct rtmp_msg m;
    struct rd in;

    (void)state;
    assert_int_equal(chunk_demux_set_size(d, 1 << 20), ST_OK);
    in = rd_init(wire, sizeof wire);
    assert_int_equal(chunk_next(d, &in, &m), ST_MORE);
    in = rd_init(run, 1000);
    assert_int_equal(chunk_next(d, &in, &m), ST_MORE);
    in = rd_init(run, sizeof run);
    assert_int_equal(chunk_next(d, &in, &m), ST_OK);
    assert_int_equal(m.n, 0xffff);
    assert_true(chunk_demux_memory(d) > bare);
    in = rd_init("", 0);
    assert_int_equal(chunk_next(d, &in, &m), ST_MORE);
    assert_int_equal(chunk_demux_memory(d), bare);
    chunk_demux_free(&d);
}

static void what_we_send_reads_back(void **state)
{
    static const uint32_t times[] = { 0, 0xfffffe, 0xffffff, 0x1000000, UINT32_MAX };

    (void)state;
    for (size_t i = 0; i < sizeof times / sizeof times[0]; i++) {
        for (uint32_t size = 1; size < 200; size += 9) {
            for (size_t n = 0; n < 300; n += 37) {
                struct rtmp_msg out = { .ts_ms = times[i], .msid = 1, .type = 20, .n = n }, m;
                struct chunk_demux *d = chunk_demux_new(&limits);
                uint8_t body[300];
                struct buf b;
                struct rd in;

                for (size_t k = 0; k < n; k++)
                    body[k] = (uint8_t)(k * 7);
                out.body = body;
                buf_init(&b, 10000);
                chunk_put(&b, 3, &out, size);
                assert_int_equal(b.st, ST_OK);
                assert_int_equal(chunk_demux_set_size(d, size), ST_OK);
                in = rd_init(b.data, b.len);
                assert_int_equal(chunk_next(d, &in, &m), ST_OK);
                assert_int_equal(rd_left(&in), 0);
                assert_true(m.n == n && m.ts_ms == times[i] && m.msid == 1 && m.type == 20);
                assert_memory_equal(m.body, body, n);
                chunk_demux_free(&d);
                buf_fini(&b);
            }
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_form_of_header_is_read),
        cmocka_unit_test(chunks_of_messages_come_together),
        cmocka_unit_test(extended_times_on_type_3_may_be_there_or_not),
        cmocka_unit_test(hostile_chunks_get_their_status),
        cmocka_unit_test(a_connection_has_so_many_ids_and_no_more),
        cmocka_unit_test(memory_is_taken_as_bytes_arrive_and_has_a_limit),
        cmocka_unit_test(a_message_that_is_done_gives_its_memory_back),
        cmocka_unit_test(what_we_send_reads_back),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
