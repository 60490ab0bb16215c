/* ingest/amf: what publishers send, values of every kind, limits, and messages cut anywhere. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "ingest/amf.h"

/* Writes what the reader says about an exact-size copy; the last status. */
static enum st read_all(const void *p, size_t n, struct buf *said)
{
    uint8_t *copy = malloc(n > 0 ? n : 1);
    struct amf_event ev;
    struct amf a;
    enum st st;

    memcpy(copy, p, n);
    a = amf_init(copy, n);
    while ((st = amf_next(&a, &ev)) == ST_OK) {
        buf_printf(said, "%u", ev.depth);
        if (ev.member)
            buf_printf(said, "%.*s=", (int)ev.key_n, (const char *)ev.key);
        if (ev.kind == AMF_NUMBER || ev.kind == AMF_DATE)
            buf_printf(said, "%g", ev.number);
        else if (ev.kind == AMF_BOOL)
            buf_puts(said, ev.yes ? "yes" : "no");
        else if (ev.kind == AMF_STRING)
            buf_printf(said, "'%.*s'", (int)ev.n, (const char *)ev.s);
        else
            buf_puts(said, ev.kind == AMF_OBJECT  ? "{"
                           : ev.kind == AMF_ARRAY ? "["
                           : ev.kind == AMF_END   ? "}"
                           : ev.kind == AMF_REF   ? "ref"
                                                  : "null");
        buf_puts(said, ";");
    }
    assert_int_equal(amf_next(&a, &ev), st); /* it sticks */
    free(copy);
    return st;
}

static void values_of_every_kind_are_read(void **state)
{
    static const struct {
        const char *what, *bytes;
        size_t n;
        const char *said;
    } table[] = {
#define ROW(what, bytes, said) { what, bytes, sizeof bytes - 1, said }
        ROW("nothing", "", ""),
        ROW("number", "\0\x3f\xf8\0\0\0\0\0\0", "01.5;"),
        ROW("bools", "\1\0\1\1\1\7", "0no;0yes;0yes;"),
        ROW("string", "\2\0\3abc", "0'abc';"),
        ROW("empty string", "\2\0\0", "0'';"),
        ROW("long string", "\x0c\0\0\0\3abc", "0'abc';"),
        ROW("XML", "\x0f\0\0\0\3<a>", "0'<a>';"),
        ROW("null, undefined, unsupported", "\5\6\x0d", "0null;0null;0null;"),
        ROW("reference", "\7\0\1", "0ref;"),
        ROW("date", "\x0b\x40\x59\0\0\0\0\0\0\0\0", "0100;"),
        ROW("object", "\3\0\1a\1\1\0\1b\2\0\1x\0\0\x09", "0{;1a=yes;1b='x';0};"),
        ROW("ECMA array of a wrong count", "\x08\xff\xff\xff\xff\0\1a\5\0\0\x09", "0{;1a=null;0};"),
        ROW("typed object", "\x10\0\2Cl\0\1a\5\0\0\x09", "0{;1a=null;0};"),
        ROW("strict array", "\x0a\0\0\0\2\5\2\0\1x", "0[;1null;1'x';0};"),
        ROW("empty strict array", "\x0a\0\0\0\0\5", "0[;0};0null;"),
        ROW("an empty key that is none", "\3\0\0\5\0\0\x09", "0{;1=null;0};"),
        ROW("nested", "\3\0\1o\3\0\1a\x0a\0\0\0\1\3\0\0\x09\0\0\x09\0\0\x09\5",
            "0{;1o={;2a=[;3{;3};2};1};0};0null;"),
        ROW("AMF3", "\x11\0\x11\1\x11\2\x11\3\x11\4\x81\x48\x11\6\7abc\x11\6\0",
            "0null;0null;0no;0yes;0200;0'abc';0ref;"),
        ROW("AMF3 numbers", "\x11\4\xff\xff\xff\xff\x11\5\x3f\xf8\0\0\0\0\0\0", "0-1;01.5;"),
#undef ROW
    };

    (void)state;
    for (size_t i = 0; i < sizeof table / sizeof table[0]; i++) {
        struct buf said;
        enum st st;

        buf_init(&said, 1000);
        st = read_all(table[i].bytes, table[i].n, &said);
        if (st != ST_EOF || strcmp(buf_text(&said), table[i].said) != 0)
            fail_msg("%s: %s %s", table[i].what, st_name(st), buf_text(&said));
        buf_fini(&said);
    }
}

static void a_value_that_is_cut_anywhere_is_refused(void **state)
{
    static const char connect[] = "\3\0\3app\2\0\4live\0\1n\0\x40\x59\0\0\0\0\0\0\0\1o\3\0\1a\1\1"
                                  "\0\0\x09\0\1s\x0a\0\0\0\1\5\0\1d\x0b\0\0\0\0\0\0\0\0\0\0"
                                  "\0\1l\x0c\0\0\0\1x\0\1t\x10\0\1C\0\0\x09\0\1q\x11\6\5hi\0\0\x09";

    (void)state;
    for (size_t n = 1; n < sizeof connect - 1; n++) {
        struct buf said;

        buf_init(&said, 1000);
        if (read_all(connect, n, &said) != ST_EPROTO)
            fail_msg("cut at %zu: %s", n, buf_text(&said));
        buf_fini(&said);
    }
    struct buf said;
    buf_init(&said, 1000);
    assert_int_equal(read_all(connect, sizeof connect - 1, &said), ST_EOF);
    buf_fini(&said);
}

static enum st status_of(const struct buf *b)
{
    struct buf said;
    enum st st;

    buf_init(&said, 1 << 20);
    st = read_all(b->data, b->len, &said);
    assert_int_equal(said.st, ST_OK);
    buf_fini(&said);
    return st;
}

static void unknown_markers_are_refused(void **state)
{
    (void)state;
    for (unsigned marker = 0; marker < 256; marker++) {
        static const uint8_t known[] = { 0, 1, 2, 3, 5, 6, 7, 8, 10, 11, 12, 13, 15, 16, 17 };
        uint8_t bytes[64] = { (uint8_t)marker };
        struct buf said;
        enum st st;

        buf_init(&said, 10000);
        st = read_all(bytes, sizeof bytes, &said);
        if (memchr(known, (int)marker, sizeof known) == NULL) {
            assert_int_equal(st, ST_EPROTO);
            assert_int_equal(said.len, 0);
        } else {
            assert_true(said.len > 0);
        }
        buf_fini(&said);
    }
}

static void depth_keys_and_strings_have_limits(void **state)
{
    struct buf b;

    (void)state;
    for (int array = 0; array < 2; array++) {
        for (unsigned depth = 1; depth <= 60000; depth = depth < 20 ? depth + 1 : depth * 40) {
            buf_init(&b, 1 << 20);
            for (unsigned i = 0; i < depth; i++) {
                buf_add(&b, array ? "\x0a\0\0\0\1" : "\3\0\1k", array ? 5 : 4);
            }
            buf_be(&b, 5, 1);
            for (unsigned i = 0; i < depth && !array; i++)
                buf_be(&b, 9, 3);
            assert_int_equal(status_of(&b), depth <= AMF_DEPTH ? ST_EOF : ST_ELIMIT);
            buf_fini(&b);
        }
        for (unsigned keys = 254; keys < 260; keys++) {
            buf_init(&b, 1 << 20);
            buf_be(&b, array ? 10 : 3, 1);
            if (array)
                buf_be(&b, keys, 4);
            for (unsigned i = 0; i < keys; i++)
                buf_add(&b, array ? "\5" : "\0\0\5", array ? 1 : 3);
            if (!array)
                buf_be(&b, 9, 3);
            assert_int_equal(status_of(&b), keys <= AMF_KEYS ? ST_EOF : ST_ELIMIT);
            buf_fini(&b);
        }
    }
    for (unsigned n = AMF_STRING_MAX - 1; n < AMF_STRING_MAX + 2; n++) {
        for (int wide = 0; wide < 2; wide++) {
            buf_init(&b, 1 << 20);
            buf_be(&b, wide ? 12 : 2, 1);
            buf_be(&b, n, wide ? 4 : 2);
            memset(buf_grow(&b, n), 'x', n);
            assert_int_equal(status_of(&b), n <= AMF_STRING_MAX ? ST_EOF : ST_ELIMIT);
            buf_fini(&b);
        }
    }
}

static void what_is_written_reads_back(void **state)
{
    struct buf b, said;

    (void)state;
    buf_init(&b, 1000);
    buf_init(&said, 1000);
    amf_put_string(&b, "_result");
    amf_put_number(&b, -2.5);
    amf_put_null(&b);
    amf_put_undefined(&b);
    amf_put_object(&b);
    amf_put_key(&b, "level");
    amf_put_string(&b, "status");
    amf_put_key(&b, "ok");
    amf_put_bool(&b, true);
    amf_put_end(&b);
    assert_int_equal(read_all(b.data, b.len, &said), ST_EOF);
    assert_string_equal(buf_text(&said),
                        "0'_result';0-2.5;0null;0null;0{;1level='status';1ok=yes;0};");
    buf_fini(&b);
    buf_fini(&said);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(values_of_every_kind_are_read),
        cmocka_unit_test(a_value_that_is_cut_anywhere_is_refused),
        cmocka_unit_test(unknown_markers_are_refused),
        cmocka_unit_test(depth_keys_and_strings_have_limits),
        cmocka_unit_test(what_is_written_reads_back),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
