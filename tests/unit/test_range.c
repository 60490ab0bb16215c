/* Ranges of objects that grow, and the tags that guard them. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "edge/range.h"

static struct slice text(const char *s) { return slice_of(s, s != NULL ? strlen(s) : 0); }

/* From an exact-size heap copy: ASan sees an over-read. */
static struct range parse(const char *s)
{
    size_t n = strlen(s);
    uint8_t *copy = malloc(n + (n == 0));
    struct range r;

    memcpy(copy, s, n);
    r = range_parse(slice_of(copy, n));
    free(copy);
    return r;
}

static void one_range_is_read(void **state)
{
    static const struct {
        const char *in;
        struct range r;
    } good[] = {
        { "bytes=0-0", { RANGE_CLOSED, 0, 0, 0 } },
        { "bytes=5-99", { RANGE_CLOSED, 5, 99, 0 } },
        { "BYTES=5-99", { RANGE_CLOSED, 5, 99, 0 } },
        { "bytes= 5-99 ", { RANGE_CLOSED, 5, 99, 0 } },
        { "bytes=,5-99 ,", { RANGE_CLOSED, 5, 99, 0 } },
        { "bytes=7-", { RANGE_FROM, 7, 0, 0 } },
        { "bytes=-0", { RANGE_SUFFIX, 0, 0, 0 } },
        { "bytes=-12", { RANGE_SUFFIX, 0, 0, 12 } },
        { "bytes=1-9007199254740991", { RANGE_CLOSED, 1, RANGE_OPEN_END, 0 } },
        { "bytes=0-18446744073709551616", { RANGE_CLOSED, 0, UINT64_MAX, 0 } },
        { "bytes=99999999999999999999999-", { RANGE_FROM, UINT64_MAX, 0, 0 } },
        { "bytes=007-8", { RANGE_CLOSED, 7, 8, 0 } },
    };

    (void)state;
    for (size_t i = 0; i < sizeof good / sizeof good[0]; i++) {
        struct range r = parse(good[i].in);

        assert_int_equal(r.kind, good[i].r.kind);
        assert_true(r.first == good[i].r.first && r.last == good[i].r.last);
        assert_true(r.suffix == good[i].r.suffix);
    }
}

static void what_is_no_single_range_is_ignored(void **state)
{
    static const char *const bad[] = {
        "",           "bytes",         "bytes=",        "bytes=-",   "bytes=a-b",  "bytes=5",
        "bytes=5-4",  "bytes=0-1,2-3", "bytes 0-1",     "items=0-1", "bytes=+1-2", "bytes=1- 2",
        "bytes=1 -2", "bytes=1-2-3",   "bytes=0x1-2",   "bytes=--1", "bytes=1-2;", " bytes=1-2",
        "bytes =1-2", "bytes=,",       "bytes=1-2, -1", "bytes=-1a",
    };

    (void)state;
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        if (parse(bad[i]).kind != RANGE_NONE) {
            print_error("not ignored: %s\n", bad[i]);
            fail();
        }
    }
    assert_int_equal(range_parse(text(NULL)).kind, RANGE_NONE);
}

struct resolved {
    const char *in;
    uint64_t published;
    bool complete;
    enum range_answer answer;
    uint64_t first, last;
    const char *content_range;
};

static void growing_objects_answer_as_designed(void **state)
{
    static const struct resolved all[] = {
        { "", 10, false, RANGE_WHOLE, 0, 0, "" },
        { "", 10, true, RANGE_WHOLE, 0, 0, "" },
        { "bytes=0-", 10, false, RANGE_WHOLE, 0, 0, "" },
        { "bytes=0-", 0, false, RANGE_WHOLE, 0, 0, "" },
        { "bytes=1-", 10, false, RANGE_WAIT, 0, 0, "" },
        { "bytes=-5", 10, false, RANGE_WAIT, 0, 0, "" },
        { "bytes=0-9", 10, false, RANGE_PART, 0, 9, "bytes 0-9/*" },
        { "bytes=0-10", 10, false, RANGE_WAIT, 0, 0, "" },
        { "bytes=50-60", 10, false, RANGE_WAIT, 0, 0, "" },
        { "bytes=50-9007199254740990", 100, false, RANGE_WAIT, 0, 0, "" },
        { "bytes=3-9007199254740991", 10, false, RANGE_REST, 3, RANGE_OPEN_END,
          "bytes 3-9007199254740991/*" },
        { "bytes=50-9007199254740991", 10, false, RANGE_REST, 50, RANGE_OPEN_END,
          "bytes 50-9007199254740991/*" },
        { "bytes=0-", 10, true, RANGE_PART, 0, 9, "bytes 0-9/10" },
        { "bytes=1-", 10, true, RANGE_PART, 1, 9, "bytes 1-9/10" },
        { "bytes=9-", 10, true, RANGE_PART, 9, 9, "bytes 9-9/10" },
        { "bytes=10-", 10, true, RANGE_UNSATISFIED, 0, 0, "bytes */10" },
        { "bytes=0-9", 10, true, RANGE_PART, 0, 9, "bytes 0-9/10" },
        { "bytes=2-3", 10, true, RANGE_PART, 2, 3, "bytes 2-3/10" },
        { "bytes=2-10", 10, true, RANGE_PART, 2, 9, "bytes 2-9/10" },
        { "bytes=3-9007199254740991", 10, true, RANGE_PART, 3, 9, "bytes 3-9/10" },
        { "bytes=10-9007199254740991", 10, true, RANGE_UNSATISFIED, 0, 0, "bytes */10" },
        { "bytes=2-99999999999999999999", 10, true, RANGE_PART, 2, 9, "bytes 2-9/10" },
        { "bytes=99999999999999999999-", 10, true, RANGE_UNSATISFIED, 0, 0, "bytes */10" },
        { "bytes=-3", 10, true, RANGE_PART, 7, 9, "bytes 7-9/10" },
        { "bytes=-10", 10, true, RANGE_PART, 0, 9, "bytes 0-9/10" },
        { "bytes=-11", 10, true, RANGE_PART, 0, 9, "bytes 0-9/10" },
        { "bytes=-0", 10, true, RANGE_UNSATISFIED, 0, 0, "bytes */10" },
        { "bytes=-3", 0, true, RANGE_UNSATISFIED, 0, 0, "bytes */0" },
        { "bytes=0-", 0, true, RANGE_UNSATISFIED, 0, 0, "bytes */0" },
    };

    (void)state;
    for (size_t i = 0; i < sizeof all / sizeof all[0]; i++) {
        const struct resolved *x = &all[i];
        struct range r = parse(x->in);
        struct span s;
        char out[CONTENT_RANGE_MAX];
        enum range_answer a = range_resolve(&r, x->published, x->complete, x->published, &s);
        size_t n = range_content_text(a, &s, x->complete, x->published, out);

        if (a != x->answer || (a == RANGE_PART && (s.first != x->first || s.last != x->last)) ||
            (a == RANGE_REST && s.first != x->first) || n != strlen(x->content_range) ||
            memcmp(out, x->content_range, n) != 0) {
            print_error("%s of %d: %d, %.*s\n", x->in, (int)x->published, (int)a, (int)n, out);
            fail();
        }
    }
    /* the wait is over and nobody knows the length: no Content-Range */
    assert_int_equal(range_content_text(RANGE_UNSATISFIED, &(struct span){ .first = 0 }, false, 0,
                                        (char[CONTENT_RANGE_MAX]){ 0 }),
                     0);
}

/* Whatever the header, what is sent lies within what is there. */
static void no_span_leaves_the_object(void **state)
{
    char in[64];

    (void)state;
    for (uint64_t total = 0; total < 6; total++) {
        for (unsigned a = 0; a < 8; a++) {
            for (unsigned b = 0; b < 8; b++) {
                for (int form = 0; form < 6; form++) {
                    struct range r;
                    struct span s;
                    enum range_answer x;

                    if (form % 3 == 0)
                        (void)snprintf(in, sizeof in, "bytes=%u-%u", a, b);
                    else
                        (void)snprintf(in, sizeof in, form % 3 == 1 ? "bytes=%u-" : "bytes=-%u", a);
                    r = parse(in);
                    x = range_resolve(&r, total, form < 3, total, &s);
                    if (x == RANGE_PART)
                        assert_true(s.first <= s.last && s.last < total);
                    if (form < 3)
                        assert_true(x != RANGE_WAIT && x != RANGE_REST);
                }
            }
        }
    }
}

static void tags_match_weakly_and_in_lists(void **state)
{
    static const struct {
        const char *list, *etag;
        bool match;
    } all[] = {
        { "\"a\"", "\"a\"", true },
        { "\"", "\"", false },
        { "W/\"a\"", "\"a\"", true },
        { "\"a\"", "W/\"a\"", true },
        { "\"b\", \"a\"", "\"a\"", true },
        { "\"b\",W/\"a\" ,\"c\"", "\"a\"", true },
        { "\"b,\"a\"", "\"a\"", false },
        { ",, \"a\"", "\"a\"", true },
        { "*", "\"a\"", true },
        { "\"b\"", "\"a\"", false },
        { "\"aa\"", "\"a\"", false },
        { "\"a", "\"a\"", false },
        { "a", "\"a\"", false },
        { "w/\"a\"", "\"a\"", false },
        { "", "\"a\"", false },
        { "\"\"", "\"\"", true },
        { "x, \"a\"", "\"a\"", false },
        { "\"a, b\"", "\"a, b\"", true },
        { "*, \"b\"", "\"a\"", false },
        { "\"", "\"a\"", false },
        { "W/", "\"a\"", false },
    };

    (void)state;
    for (size_t i = 0; i < sizeof all / sizeof all[0]; i++) {
        size_t n = strlen(all[i].list);
        uint8_t *copy = malloc(n + (n == 0));

        memcpy(copy, all[i].list, n);
        if (etag_matches(slice_of(copy, n), text(all[i].etag)) != all[i].match) {
            print_error("%s against %s\n", all[i].list, all[i].etag);
            fail();
        }
        free(copy);
    }
    assert_false(etag_matches(text(NULL), text("\"a\"")));
}

static void if_range_is_strong(void **state)
{
    struct slice tag = SLICE("\"a\""), date = SLICE("Sun, 06 Nov 1994 08:49:37 GMT");
    struct slice none = { .p = NULL };

    (void)state;
    assert_true(if_range_matches(none, tag, none));
    assert_true(if_range_matches(SLICE("\"a\""), tag, date));
    assert_false(if_range_matches(SLICE("\"b\""), tag, date));
    assert_false(if_range_matches(SLICE("W/\"a\""), tag, date));
    assert_false(if_range_matches(SLICE("W/\"a\""), SLICE("W/\"a\""), date));
    assert_true(if_range_matches(date, tag, date));
    assert_false(if_range_matches(SLICE("W/"), tag, SLICE("W/")));
    assert_false(if_range_matches(date, tag, none));
    assert_false(if_range_matches(SLICE("Sun, 06 Nov 1994 08:49:38 GMT"), tag, date));
    assert_false(if_range_matches(SLICE(""), tag, none));
    assert_false(if_range_matches(SLICE(""), tag, date));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(one_range_is_read),
        cmocka_unit_test(what_is_no_single_range_is_ignored),
        cmocka_unit_test(growing_objects_answer_as_designed),
        cmocka_unit_test(no_span_leaves_the_object),
        cmocka_unit_test(tags_match_weakly_and_in_lists),
        cmocka_unit_test(if_range_is_strong),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
