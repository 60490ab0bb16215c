/* core/record: every split point, hostile headers, limits, and the writer against the reader. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <inttypes.h>

#include "core/record.h"

/* Feeds n bytes in pieces of `step` from exact-size copies; what came is written into said. */
static enum st read_in_steps(struct record_reader *r, const uint8_t *p, size_t n, size_t step,
                             struct buf *said)
{
    enum st st = ST_MORE;

    for (size_t at = 0; at < n && st == ST_MORE; at += step) {
        size_t len = n - at < step ? n - at : step;
        uint8_t *copy = malloc(len);
        struct record_event ev;
        struct rd in;

        memcpy(copy, p + at, len);
        in = rd_init(copy, len);
        while ((st = record_next(r, &in, &ev)) == ST_OK) {
            if (ev.what == RECORD_GOT_HEAD) {
                char *json = json_dumps(ev.json, JSON_COMPACT);

                buf_printf(said, "%s/%x/%" PRIx64 "/%zu%s", record_type_name(ev.head.type),
                           ev.head.flags, ev.head.seq, ev.head.payload, json);
                free(json);
            } else if (ev.what == RECORD_GOT_BYTES) {
                buf_add(said, ev.bytes, ev.n);
            } else {
                buf_puts(said, ";");
            }
        }
        assert_true(st != ST_MORE || rd_left(&in) == 0);
        free(copy);
    }
    return st;
}

static void put_sample(struct buf *b)
{
    json_t *j = json_pack("{s:s,s:I}", "rep", "v0", "n", (json_int_t)7);

    record_put(b, RECORD_CHUNK, 5, UINT64_C(0x0102030405060708), j, 11);
    buf_puts(b, "media bytes");
    record_put_text(b, RECORD_END, 0, 2, "{ }", 3, 0);
    record_put(b, RECORD_OPEN, 0, 3, j, 1);
    buf_puts(b, "x");
    json_decref(j);
    assert_int_equal(b->st, ST_OK);
}

static const char said_of_sample[] =
    "chunk/5/102030405060708/11{\"rep\":\"v0\",\"n\":7}media bytes;end/0/2/0{};"
    "open/0/3/1{\"rep\":\"v0\",\"n\":7}x;";

static void the_wire_is_what_the_design_says(void **state)
{
    static const uint8_t want[] = { 0, 0, 0, 19, 38, 0, 0,   0,   0,   0,   0,  0,
                                    0, 0, 1, 2,  0,  2, '{', '}', 'a', 'b', 'c' };
    struct buf b;

    (void)state;
    buf_init(&b, 100);
    record_put_text(&b, RECORD_HEARTBEAT, 0, 258, "{}", 2, 3);
    buf_puts(&b, "abc");
    assert_int_equal(b.len, sizeof want);
    assert_memory_equal(b.data, want, sizeof want);
    buf_fini(&b);
}

static void records_are_the_same_at_every_split_point(void **state)
{
    struct buf wire, said;

    (void)state;
    buf_init(&wire, 1000);
    buf_init(&said, 1000);
    put_sample(&wire);
    for (size_t step = 1; step <= wire.len; step++) {
        struct record_reader r;

        buf_reset(&said);
        record_reader_init(&r, 1000);
        assert_int_equal(read_in_steps(&r, wire.data, wire.len, step, &said), ST_MORE);
        assert_int_equal(record_reader_end(&r), ST_OK);
        assert_string_equal(buf_text(&said), said_of_sample);
        record_reader_fini(&r);
    }
    buf_fini(&wire);
    buf_fini(&said);
}

static void a_body_that_ends_inside_a_record_is_refused(void **state)
{
    size_t whole = 0;
    struct buf wire, said;

    (void)state;
    buf_init(&wire, 1000);
    buf_init(&said, 1000);
    put_sample(&wire);
    for (size_t n = 0; n <= wire.len; n++) {
        struct record_reader r;

        record_reader_init(&r, 1000);
        buf_reset(&said);
        assert_int_equal(read_in_steps(&r, wire.data, n, 1000, &said), ST_MORE);
        whole += record_reader_end(&r) == ST_OK;
        if (n > 0 && said.len > 0 && said.data[said.len - 1] != ';') {
            assert_int_equal(record_reader_end(&r), ST_EPROTO);
        }
        record_reader_fini(&r);
    }
    assert_int_equal(whole, 4); /* none, one, two, three */
    buf_fini(&wire);
    buf_fini(&said);
}

#define HEAD(len, type, zero, json) "\0\0\0" len type "\0" zero "\0\0\0\0\0\0\0\1\0" json

static void hostile_records_get_their_status(void **state)
{
    static const struct {
        const char *what;
        const char *wire;
        size_t n;
        enum st st;
    } table[] = {
#define ROW(what, wire, st) { what, wire, sizeof(wire) - 1, st }
        ROW("good", HEAD("\x10", "\x01", "\0\0", "\x02") "{}", ST_MORE),
        ROW("unknown flags are ignored", "\0\0\0\x10\x01\xff\0\0\0\0\0\0\0\0\0\1\0\x02{}", ST_MORE),
        ROW("no room for the header", HEAD("\x0d", "\x01", "\0\0", "\x02"), ST_EPROTO),
        ROW("length 0", HEAD("\0", "\x01", "\0\0", "\0"), ST_EPROTO),
        ROW("JSON beyond the record", HEAD("\x10", "\x01", "\0\0", "\x03") "{ }", ST_EPROTO),
        ROW("type 0", HEAD("\x10", "\0", "\0\0", "\x02") "{}", ST_EPROTO),
        ROW("type 7", HEAD("\x10", "\x07", "\0\0", "\x02") "{}", ST_EPROTO),
        ROW("type 255", HEAD("\x10", "\xff", "\0\0", "\x02") "{}", ST_EPROTO),
        ROW("reserved, high", HEAD("\x10", "\x01", "\1\0", "\x02") "{}", ST_EPROTO),
        ROW("reserved, low", HEAD("\x10", "\x01", "\0\1", "\x02") "{}", ST_EPROTO),
        ROW("no JSON", HEAD("\x0e", "\x01", "\0\0", "\0"), ST_EPROTO),
        ROW("JSON that is no object", HEAD("\x10", "\x01", "\0\0", "\x02") "[]", ST_EPROTO),
        ROW("JSON with a tail", HEAD("\x11", "\x01", "\0\0", "\x03") "{}x", ST_EPROTO),
        ROW("JSON with a NUL", HEAD("\x11", "\x01", "\0\0", "\x03") "{}\0", ST_EPROTO),
        ROW("JSON cut", HEAD("\x0f", "\x01", "\0\0", "\x01") "{", ST_EPROTO),
        ROW("JSON not UTF-8", HEAD("\x16", "\x01", "\0\0", "\x08") "{\"\xff\":0} ", ST_EPROTO),
        ROW("a key twice", HEAD("\x1b", "\x01", "\0\0", "\x0d") "{\"a\":1,\"a\":2}", ST_EPROTO),
        ROW("over the reader's limit", "\0\0\0\x81\x01\0\0\0\0\0\0\0\0\0\0\1\0\x02{}", ST_ELIMIT),
        ROW("huge", "\xff\xff\xff\xff\x01\0\0\0\0\0\0\0\0\0\0\1\0\x02{}", ST_ELIMIT),
#undef ROW
    };

    (void)state;
    for (size_t i = 0; i < sizeof table / sizeof table[0]; i++) {
        for (size_t step = 1; step <= table[i].n; step++) {
            struct record_reader r;
            struct record_event ev;
            struct buf said;
            struct rd in = rd_init("", 0);

            buf_init(&said, 1000);
            record_reader_init(&r, 128);
            if (read_in_steps(&r, (const uint8_t *)table[i].wire, table[i].n, step, &said) !=
                table[i].st)
                fail_msg("%s, in steps of %zu", table[i].what, step);
            /* and a failure sticks */
            assert_int_equal(record_next(&r, &in, &ev), table[i].st);
            assert_int_equal(record_reader_end(&r), table[i].st == ST_MORE ? ST_OK : table[i].st);
            record_reader_fini(&r);
            buf_fini(&said);
        }
    }
}

static void payload_is_handed_on_without_waiting_or_copying(void **state)
{
    struct record_reader r;
    struct record_event ev;
    struct buf wire;
    struct rd in;
    static const uint8_t run[1000];

    (void)state;
    buf_init(&wire, 1000);
    record_put_text(&wire, RECORD_CHUNK, 0, 1, "{}", 2, 8 << 20);
    record_reader_init(&r, RECORD_BYTES_MAX);
    in = rd_init(wire.data, wire.len);
    assert_int_equal(record_next(&r, &in, &ev), ST_OK);
    assert_int_equal(ev.what, RECORD_GOT_HEAD);
    assert_int_equal(ev.head.payload, 8 << 20);
    assert_int_equal(record_next(&r, &in, &ev), ST_MORE);
    for (int left = 8 << 20; left > 0; left -= (int)ev.n) {
        in = rd_init(run, sizeof run);
        assert_int_equal(record_next(&r, &in, &ev), ST_OK);
        assert_int_equal(ev.what, RECORD_GOT_BYTES);
        assert_ptr_equal(ev.bytes, run);
        assert_int_equal(ev.n, left < 1000 ? left : 1000);
        assert_int_equal(ev.head.type, RECORD_CHUNK);
    }
    in = rd_init(run, 0);
    assert_int_equal(record_next(&r, &in, &ev), ST_OK);
    assert_int_equal(ev.what, RECORD_GOT_ALL);
    assert_true(r.text.room < 1000);
    record_reader_fini(&r);
    buf_fini(&wire);
}

static void the_writer_refuses_what_no_reader_takes(void **state)
{
    static char json[RECORD_JSON_MAX + 1];
    struct record_reader r;
    struct record_event ev;
    struct buf b;
    struct rd in;

    (void)state;
    buf_init(&b, 1 << 20);
    memset(json, ' ', sizeof json);
    json[0] = '{';
    json[RECORD_JSON_MAX - 1] = '}';
    record_put_text(&b, RECORD_DOC, 0, 1, json, RECORD_JSON_MAX,
                    RECORD_BYTES_MAX - (RECORD_FIXED - 4) - RECORD_JSON_MAX);
    assert_int_equal(b.st, ST_OK);
    record_reader_init(&r, RECORD_BYTES_MAX);
    in = rd_init(b.data, b.len);
    assert_int_equal(record_next(&r, &in, &ev), ST_OK);
    record_reader_fini(&r);
    record_put_text(&b, RECORD_DOC, 0, 1, "{}", 2, RECORD_BYTES_MAX - (RECORD_FIXED - 4) - 1);
    assert_int_equal(b.st, ST_ELIMIT);
    buf_reset(&b);
    json[RECORD_JSON_MAX] = '}';
    record_put_text(&b, RECORD_DOC, 0, 1, json, RECORD_JSON_MAX + 1, 0);
    assert_int_equal(b.st, ST_ELIMIT);
    buf_fini(&b);
}

static void the_text_of_a_raw_chunk_is_not_parsed(void **state)
{
    static const char text[] = "{\"no json\"", other[] = "[1]";
    struct record_reader r;
    struct record_event ev;
    struct buf b;
    struct rd in;

    (void)state;
    buf_init(&b, 1000);
    record_put_text(&b, RECORD_CHUNK, 0, 1, text, sizeof text - 1, 0);
    record_reader_init(&r, RECORD_BYTES_MAX);
    r.raw_chunks = true;
    in = rd_init(b.data, b.len);
    assert_int_equal(record_next(&r, &in, &ev), ST_OK);
    assert_null(ev.json);
    assert_int_equal(ev.text_n, sizeof text - 1);
    assert_memory_equal(ev.text, text, sizeof text);
    assert_int_equal(record_next(&r, &in, &ev), ST_OK);
    assert_int_equal(ev.what, RECORD_GOT_ALL);

    memcpy(b.data + RECORD_FIXED, other, sizeof other - 1); /* begins like something else */
    in = rd_init(b.data, b.len);
    assert_int_equal(record_next(&r, &in, &ev), ST_EPROTO);
    record_reader_fini(&r);
    record_reader_init(&r, RECORD_BYTES_MAX);
    in = rd_init(b.data, b.len);
    assert_int_equal(record_next(&r, &in, &ev), ST_EPROTO);
    record_reader_fini(&r);
    buf_fini(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_text_of_a_raw_chunk_is_not_parsed),
        cmocka_unit_test(the_wire_is_what_the_design_says),
        cmocka_unit_test(records_are_the_same_at_every_split_point),
        cmocka_unit_test(a_body_that_ends_inside_a_record_is_refused),
        cmocka_unit_test(hostile_records_get_their_status),
        cmocka_unit_test(payload_is_handed_on_without_waiting_or_copying),
        cmocka_unit_test(the_writer_refuses_what_no_reader_takes),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
