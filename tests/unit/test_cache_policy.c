/* Dates of HTTP, and what an outside origin's answer allows a shared cache. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

#include "core/clock.h"
#include "edge/cache_policy.h"
#include "edge/http_date.h"

#define NOW INT64_C(784111777) /* Sun, 06 Nov 1994 08:49:37 GMT */
#define NOW_TEXT "Sun, 06 Nov 1994 08:49:37 GMT"
#define IN_10_S "Sun, 06 Nov 1994 08:49:47 GMT"
#define AGO_10_S "Sun, 06 Nov 1994 08:49:27 GMT"

static bool parse(const char *text, int64_t now, int64_t *out)
{
    size_t n = strlen(text);
    uint8_t *copy = malloc(n + (n == 0));
    bool ok;

    memcpy(copy, text, n);
    ok = http_date_parse(slice_of(copy, n), now, out);
    free(copy);
    return ok;
}

static void dates_are_read_in_all_three_forms(void **state)
{
    static const struct {
        const char *text;
        int64_t s;
    } good[] = {
        { NOW_TEXT, NOW },
        { "Sunday, 06-Nov-94 08:49:37 GMT", NOW },
        { "Sun Nov  6 08:49:37 1994", NOW },
        { "Sun Nov 16 08:49:37 1994", NOW + 864000 },
        { "Thu, 01 Jan 1970 00:00:00 GMT", 0 },
        { "Wed, 31 Dec 1969 23:59:59 GMT", -1 },
        { "Tue, 29 Feb 2000 00:00:00 GMT", 951782400 },
        { "Wed, 01 Mar 2000 00:00:00 GMT", 951868800 },
        { "Mon, 01 Mar 2100 00:00:00 GMT", 4107542400 },
        { "Fri, 31 Dec 9999 23:59:59 GMT", 253402300799 },
        { "Tue, 19 Jan 2038 03:14:08 GMT", INT64_C(1) << 31 },
        { "Sat, 31 Dec 2016 23:59:60 GMT", 1483228800 },
        { "Friday, 01-Jan-44 00:00:00 GMT", 2335219200 },
        { "Sunday, 01-Jan-45 00:00:00 GMT", -788918400 },
    };

    (void)state;
    for (size_t i = 0; i < sizeof good / sizeof good[0]; i++) {
        int64_t s = -77;

        if (!parse(good[i].text, NOW, &s) || s != good[i].s) {
            print_error("%s: %lld\n", good[i].text, (long long)s);
            fail();
        }
    }
}

static void what_is_no_date_is_refused(void **state)
{
    static const char *const bad[] = {
        "",
        "0",
        "-1",
        "Sun, 06 Nov 1994 08:49:37 GM",
        "Sun, 06 Nov 1994 08:49:37 GMTx",
        "Sun, 06 Nov 1994 08:49:37 CET",
        "Sux, 06 Nov 1994 08:49:37 GMT",
        "Sun, 06 Nox 1994 08:49:37 GMT",
        "Sun, 06 nov 1994 08:49:37 GMT",
        "Sun, 6 Nov 1994 08:49:37 GMT",
        "Sun, 00 Nov 1994 08:49:37 GMT",
        "Sun, 31 Nov 1994 08:49:37 GMT",
        "Tue, 29 Feb 1900 00:00:00 GMT",
        "Tue, 29 Feb 2001 00:00:00 GMT",
        "Sun, 06 Nov 1994 24:00:00 GMT",
        "Sun, 06 Nov 1994 08:60:00 GMT",
        "Sun, 06 Nov 1994 08:49:61 GMT",
        "Sun, 06 Nov 0000 08:49:37 GMT",
        "Sun, +6 Nov 1994 08:49:37 GMT",
        "Sun Nov 6 08:49:37 1994",
        "Sun Nov    08:49:37 1994",
        "Sund, 06-Nov-94 08:49:37 GMT",
        "Sunday, 06-Nov-1994 08:49:37 GMT",
        "Sunday",
        " Sun, 06 Nov 1994 08:49:37 GMT",
    };
    int64_t s = 5;

    (void)state;
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        if (parse(bad[i], NOW, &s)) {
            print_error("a date: %s\n", bad[i]);
            fail();
        }
    }
    assert_int_equal(s, 5);
}

/* Every day of 1,000 years, against libc's calendar, and back again. */
static void dates_are_written_as_the_calendar_has_it(void **state)
{
    (void)state;
    for (int64_t day = -40000; day < 365250; day++) {
        int64_t s = day * 86400 + (day * 7919 % 86400 + 86400) % 86400, back = 0;
        char out[HTTP_DATE_LEN + 1], want[64];
        time_t t = (time_t)s;
        struct tm tm;

        http_date_format(s, out);
        out[HTTP_DATE_LEN] = '\0';
        (void)strftime(want, sizeof want, "%a, %d %b %Y %H:%M:%S GMT", gmtime_r(&t, &tm));
        assert_string_equal(out, want);
        assert_true(http_date_parse(slice_of(out, HTTP_DATE_LEN), NOW, &back) && back == s);
    }
}

struct judged {
    unsigned status;
    const char *headers; /* name, NUL, value, NUL ... NUL */
    enum cache_refusal refusal;
    bool must_revalidate;
    unsigned fresh_s, while_s, error_s;
};

static struct cache_policy judge(unsigned status, const char *headers,
                                 const struct cache_request *q)
{
    static struct http_reply r;

    http_reply_init(&r, 1, 1, status);
    for (const char *p = headers; *p != '\0';) {
        struct slice name = slice_of(p, strlen(p)), value;

        p += name.n + 1;
        value = slice_of(p, strlen(p));
        p += value.n + 1;
        assert_int_equal(http_reply_set(&r, 100, name, value), ST_OK);
    }
    return cache_policy_of(&r, q);
}

#define CC "Cache-Control\0"
#define TAG "ETag\0\"a\"\0"
#define SHARED CACHE_REFUSED_NONE

static const struct judged table[] = {
    { 200, CC "max-age=10\0", SHARED, false, 10, 0, 0 },
    { 200, CC "max-age=10\0" CC "no-store\0", CACHE_REFUSED_NO_STORE, false, 0, 0, 0 },
    { 200, CC "public, MAX-AGE = \"10\"\0", SHARED, false, 10, 0, 0 },
    { 200, CC "max-age=10, s-maxage=20\0", SHARED, true, 20, 0, 0 },
    { 200, CC "s-maxage=0, max-age=9\0" TAG, SHARED, true, 0, 0, 0 },
    { 200, CC "s-maxage=9, stale-if-error=5\0", SHARED, false, 9, 0, 5 },
    { 200, CC "max-age=5, max-age=10\0", SHARED, false, 5, 0, 0 },
    { 200, CC "a=\\, private, max-age=10\0", CACHE_REFUSED_PRIVATE, false, 0, 0, 0 },
    { 200, CC "max-age=5\"\0" TAG, SHARED, false, 0, 0, 0 },
    { 200, CC "max-age=\"5\0" TAG, SHARED, false, 0, 0, 0 },
    { 200, CC "max-age=10, max-age=5\0", SHARED, false, 5, 0, 0 },
    { 200, CC "max-age=x\0" TAG, SHARED, false, 0, 0, 0 },
    { 200, CC "max-age=-1\0" TAG, SHARED, false, 0, 0, 0 },
    { 200, CC "max-age\0" TAG, SHARED, false, 0, 0, 0 },
    { 200, CC "max-age=99999999999999999999\0", SHARED, false, 1u << 31, 0, 0 },
    { 200, CC "max-age=5, must-revalidate, stale-if-error=9\0", SHARED, true, 5, 0, 0 },
    { 200, CC "max-age=5, proxy-revalidate\0", SHARED, true, 5, 0, 0 },
    { 200, CC "max-age=5, stale-while-revalidate=3, stale-if-error=9\0", SHARED, false, 5, 3, 9 },
    { 200,
      CC "max-age=5, stale-while-revalidate=3\0Age\0"
         "7\0",
      SHARED, false, 0, 1, 0 },
    { 200, CC "no-cache\0" TAG, SHARED, true, 0, 0, 0 },
    { 200, CC "max-age=5, no-cache=\"Set-Cookie\"\0" TAG, SHARED, true, 0, 0, 0 },
    { 200, CC "no-cache\0", CACHE_REFUSED_USELESS, true, 0, 0, 0 },
    { 200, CC "max-age=0\0", CACHE_REFUSED_USELESS, false, 0, 0, 0 },
    { 200, CC "max-age=0\0Last-Modified\0" AGO_10_S "\0", SHARED, false, 0, 0, 0 },
    { 200, CC "no-store, max-age=5\0", CACHE_REFUSED_NO_STORE, false, 0, 0, 0 },
    { 200, CC "private, max-age=5\0", CACHE_REFUSED_PRIVATE, false, 0, 0, 0 },
    { 200, CC "private=\"X-A, X-B\", max-age=5\0", CACHE_REFUSED_PRIVATE, false, 0, 0, 0 },
    { 200, CC "ext=\"private, no-store\", max-age=5\0", SHARED, false, 5, 0, 0 },
    { 200, CC "ext=\"a\\\", private\", max-age=5\0", SHARED, false, 5, 0, 0 },
    { 200, CC "ext=\"a, private, max-age=5\0", CACHE_REFUSED_PRIVATE, false, 0, 0, 0 },
    { 200, CC "xprivate, no-stored, max-age=5\0", SHARED, false, 5, 0, 0 },
    { 200, CC ", ,max-age=5,\0", SHARED, false, 5, 0, 0 },
    { 200, CC "max-age=5\0Set-Cookie\0a=b\0", CACHE_REFUSED_COOKIE, false, 0, 0, 0 },
    { 200, CC "max-age=5\0Vary\0*\0", CACHE_REFUSED_VARY, false, 0, 0, 0 },
    { 200, CC "max-age=5\0Vary\0Origin\0", CACHE_REFUSED_VARY, false, 0, 0, 0 },
    { 200, CC "max-age=5\0Vary\0Accept-Encoding\0Vary\0Cookie\0", CACHE_REFUSED_VARY, false, 0, 0,
      0 },
    { 200, CC "max-age=5\0Vary\0Accept-Encoding, accept-encoding\0", SHARED, false, 5, 0, 0 },
    { 200, CC "max-age=5\0Content-Range\0bytes 0-1/2\0", CACHE_REFUSED_PARTIAL, false, 0, 0, 0 },
    { 206, CC "max-age=5\0Content-Range\0bytes 0-1/2\0", CACHE_REFUSED_STATUS, false, 0, 0, 0 },
    { 302, CC "max-age=5\0", CACHE_REFUSED_STATUS, false, 0, 0, 0 },
    { 500, CC "max-age=5\0", CACHE_REFUSED_STATUS, false, 0, 0, 0 },
    { 203, CC "max-age=5\0", SHARED, false, 5, 0, 0 },
    { 204, CC "max-age=5\0", SHARED, false, 5, 0, 0 },
    { 301, CC "max-age=5\0", SHARED, false, 5, 0, 0 },
    { 308, CC "max-age=5\0", SHARED, false, 5, 0, 0 },
    { 404, CC "max-age=5\0", SHARED, false, 5, 0, 0 },
    { 410, CC "max-age=5\0", SHARED, false, 5, 0, 0 },
    { 200, "Date\0" NOW_TEXT "\0Expires\0" IN_10_S "\0", SHARED, false, 10, 0, 0 },
    { 200, "Expires\0" IN_10_S "\0", SHARED, false, 10, 0, 0 },
    { 200, "Date\0" AGO_10_S "\0Expires\0" IN_10_S "\0", SHARED, false, 10, 0, 0 },
    { 200, "Date\0" IN_10_S "\0Expires\0" IN_10_S "\0" TAG, SHARED, false, 0, 0, 0 },
    { 200, "Date\0nonsense\0Expires\0" IN_10_S "\0", SHARED, false, 10, 0, 0 },
    { 200,
      "Expires\0"
      "0\0" TAG,
      SHARED, false, 0, 0, 0 },
    { 200, "Expires\0" AGO_10_S "\0" TAG, SHARED, false, 0, 0, 0 },
    { 200, CC "max-age=3\0Expires\0" IN_10_S "\0", SHARED, false, 3, 0, 0 },
    { 200,
      CC "max-age=10\0Age\0"
         "4\0",
      SHARED, false, 6, 0, 0 },
    { 200,
      CC "max-age=10\0Age\0"
         "4, 9\0",
      SHARED, false, 6, 0, 0 },
    { 200, CC "max-age=10\0Age\0x\0", SHARED, false, 10, 0, 0 },
    { 200,
      CC "max-age=10\0Age\0"
         "99999999999999999999\0" TAG,
      SHARED, false, 0, 0, 0 },
    { 200,
      CC "max-age=30\0Age\0"
         "4\0Date\0" AGO_10_S "\0",
      SHARED, false, 20, 0, 0 },
    { 200, TAG, SHARED, false, 0, 0, 0 },
    { 200, "Last-Modified\0" AGO_10_S "\0", SHARED, false, 0, 0, 0 },
    { 200, "", CACHE_REFUSED_USELESS, false, 0, 0, 0 },
};

static void answers_are_shared_as_their_origin_allows(void **state)
{
    const struct cache_request q = { .wall_s = NOW };

    (void)state;
    for (size_t i = 0; i < sizeof table / sizeof table[0]; i++) {
        const struct judged *x = &table[i];
        struct cache_policy p = judge(x->status, x->headers, &q);

        if (p.refusal != x->refusal || p.must_revalidate != x->must_revalidate ||
            p.fresh_us != x->fresh_s * SEC_US || p.while_revalidate_us != x->while_s * SEC_US ||
            p.if_error_us != x->error_s * SEC_US) {
            print_error("row %zu: %s, revalidate %d, fresh %llu, stale %llu %llu\n", i,
                        cache_refusal_name(p.refusal), p.must_revalidate,
                        (unsigned long long)p.fresh_us, (unsigned long long)p.while_revalidate_us,
                        (unsigned long long)p.if_error_us);
            fail();
        }
    }
}

static void the_request_counts_too(void **state)
{
    struct cache_request q = { .wall_s = NOW, .default_us = 2 * SEC_US };
    struct cache_policy p;

    (void)state;
    p = judge(200, "", &q); /* no word about freshness: the app's default */
    assert_int_equal(p.refusal, SHARED);
    assert_true(p.fresh_us == 2 * SEC_US);
    p = judge(200,
              "Expires\0"
              "0\0" TAG,
              &q); /* a word: no default */
    assert_true(p.fresh_us == 0);
    q.delay_us = SEC_US / 2;
    p = judge(200,
              CC "max-age=10\0Age\0"
                 "4\0",
              &q);
    assert_true(p.fresh_us == 11 * SEC_US / 2);
    q.authorization = true;
    p = judge(200, CC "public, max-age=10\0", &q);
    assert_int_equal(p.refusal, CACHE_REFUSED_AUTHORIZATION);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(dates_are_read_in_all_three_forms),
        cmocka_unit_test(what_is_no_date_is_refused),
        cmocka_unit_test(dates_are_written_as_the_calendar_has_it),
        cmocka_unit_test(answers_are_shared_as_their_origin_allows),
        cmocka_unit_test(the_request_counts_too),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
