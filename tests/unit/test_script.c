/* The language of the scripted origin: its URLs, its drip, its ranges. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "core/clock.h"
#include "tests/load/script.h"

/* From an exact-size heap copy, so that ASan sees an over-read. */
static enum st parse(struct script *s, const char *target)
{
    size_t n = strlen(target);
    char *copy = malloc(n + (n == 0));
    enum st st;

    memcpy(copy, target, n);
    st = script_parse(s, copy, n);
    free(copy);
    return st;
}

static void plain_and_dripped_objects_have_their_defaults(void **state)
{
    struct script s;

    (void)state;
    assert_int_equal(parse(&s, "/vod/b/250000"), ST_OK);
    assert_int_equal(s.size, 250000);
    assert_int_equal(s.frame, FRAME_LENGTH);
    assert_int_equal(s.status, 200);
    assert_int_equal(s.die_at, -1);
    assert_true(s.ranges);
    assert_int_equal(s.path_len, strlen("/vod/b/250000"));
    assert_int_equal(parse(&s, "/vod/drip/10/name.m4s?over=2000"), ST_OK);
    assert_int_equal(s.frame, FRAME_CHUNKED);
    assert_int_equal(s.over_ms, 2000);
}

static void parameters_work_in_the_query_and_in_the_path(void **state)
{
    struct script s;

    (void)state;
    assert_int_equal(parse(&s, "/a/b/9/delay=300/k/cc=max-age%3D60?die=head&how=fin&x=77&cl=0"),
                     ST_OK);
    assert_int_equal(s.delay_ms, 300);
    assert_string_equal(s.cc, "max-age=60");
    assert_int_equal(s.die_at, SCRIPT_DIE_HEAD);
    assert_true(s.die_fin);
    assert_int_equal(s.frame, FRAME_CHUNKED);
    assert_int_equal(s.path_len, strlen("/a/b/9/delay=300/k/cc=max-age%3D60"));
    assert_int_equal(parse(&s, "/a/b/9?gate=g&at=4&etag=W/q&etag_seq=1&times=2&ranges=0&close=1"
                               "&eof=1&stall=5&flip=6&status=503&type=video/mp4&step=7"),
                     ST_OK);
    assert_string_equal(s.gate, "g");
    assert_int_equal(s.gate_at, 4);
    assert_string_equal(s.etag, "W/q");
    assert_true(s.etag_seq && s.close && !s.ranges);
    assert_int_equal(s.times, 2);
    assert_int_equal(s.frame, FRAME_EOF);
    assert_int_equal(s.stall_at, 5);
    assert_int_equal(s.flip_at, 6);
    assert_int_equal(s.status, 503);
    assert_string_equal(s.type, "video/mp4");
    assert_int_equal(s.step_ms, 7);
}

static void what_is_not_in_the_language_is_refused(void **state)
{
    static const struct {
        const char *target;
        enum st st;
    } table[] = {
        { "", ST_ENOENT },
        { "/", ST_ENOENT },
        { "/vod", ST_ENOENT },
        { "/vod/b", ST_ENOENT },
        { "/vod/b/", ST_ENOENT },
        { "/vod/b/x", ST_ENOENT },
        { "/vod/b/-1", ST_ENOENT },
        { "/vod/b/99999999999999999999", ST_ENOENT },
        { "//b/1", ST_ENOENT },
        { "/vod/c/1", ST_ENOENT },
        { "/vod/b/1?dealy=3", ST_EPROTO },
        { "/vod/b/1?delay", ST_EPROTO },
        { "/vod/b/1?delay=", ST_EPROTO },
        { "/vod/b/1?delay=3s", ST_EPROTO },
        { "/vod/b/1?delay=3600001", ST_EPROTO },
        { "/vod/b/1?step=0", ST_EPROTO },
        { "/vod/b/1?status=199", ST_EPROTO },
        { "/vod/b/1?status=600", ST_EPROTO },
        { "/vod/b/1?cl=2", ST_EPROTO },
        { "/vod/b/1?how=no", ST_EPROTO },
        { "/vod/b/1?close=yes", ST_EPROTO },
        { "/vod/b/1?cc=a%0d%0ab", ST_EPROTO },
        { "/vod/b/1?cc=%4", ST_EPROTO },
        { "/vod/b/1?etag=%22", ST_EPROTO },
        { "/vod/b/1/k=v", ST_EPROTO },
    };
    struct script s;

    (void)state;
    for (size_t i = 0; i < sizeof table / sizeof table[0]; i++)
        assert_int_equal(parse(&s, table[i].target), table[i].st);
}

static int pieces_of(const char *target, uint64_t end_us)
{
    struct script s;
    uint64_t next = 0, now = 0, unused;
    int pieces = 0;

    assert_int_equal(parse(&s, target), ST_OK);
    for (int64_t last = 0; last < s.size; pieces++) {
        int64_t n = script_due_bytes(&s, s.size, now, &next);

        assert_true(n > last);
        last = n;
        if (n == s.size)
            continue;
        assert_true(next > now);
        assert_int_equal(script_due_bytes(&s, s.size, next - 1, &unused), n); /* never early */
        now = next;
    }
    assert_int_equal(now, end_us);
    return pieces;
}

static void a_drip_starts_with_the_head_and_ends_on_time(void **state)
{
    (void)state;
    assert_int_equal(pieces_of("/vod/drip/1003?over=2000", 2000 * MS_US), 41);
    assert_int_equal(pieces_of("/vod/drip/1003?over=1000&step=30", 1000 * MS_US), 34);
    assert_int_equal(pieces_of("/vod/drip/10", 0), 1);
}

static void ranges_are_exact(void **state)
{
    static const struct {
        const char *value;
        enum st st;
        int64_t first, len;
    } table[] = {
        { "bytes=0-0", ST_OK, 0, 1 },
        { "bytes=0-99", ST_OK, 0, 100 },
        { "bytes=10-1000", ST_OK, 10, 90 },
        { "bytes=99-", ST_OK, 99, 1 },
        { "bytes=-1", ST_OK, 99, 1 },
        { "bytes=-1000", ST_OK, 0, 100 },
        { "bytes=7-9007199254740991", ST_OK, 7, 93 },
        { "bytes=100-", ST_ENOENT, 0, 0 },
        { "bytes=100-200", ST_ENOENT, 0, 0 },
        { "bytes=-0", ST_ENOENT, 0, 0 },
        { "bytes=5", ST_MORE, 0, 0 },
        { "bytes=5-4", ST_MORE, 0, 0 },
        { "bytes=0-1,3-4", ST_MORE, 0, 0 },
        { "bytes=-", ST_MORE, 0, 0 },
        { "items=0-1", ST_MORE, 0, 0 },
        { "", ST_MORE, 0, 0 },
    };

    (void)state;
    for (size_t i = 0; i < sizeof table / sizeof table[0]; i++) {
        int64_t first = 0, len = 0;

        assert_int_equal(script_range(table[i].value, 100, &first, &len), table[i].st);
        if (table[i].st == ST_OK) {
            assert_int_equal(first, table[i].first);
            assert_int_equal(len, table[i].len);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(plain_and_dripped_objects_have_their_defaults),
        cmocka_unit_test(parameters_work_in_the_query_and_in_the_path),
        cmocka_unit_test(what_is_not_in_the_language_is_refused),
        cmocka_unit_test(a_drip_starts_with_the_head_and_ends_on_time),
        cmocka_unit_test(ranges_are_exact),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
