/* Request heads: what is accepted, what is refused and how, however the bytes are cut. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "edge/http1_req.h"
#include "edge/http1_scan.h"

#define H "GET / HTTP/1.1\r\nHost: a\r\n"
#define SHAPE(text, why)                           \
    {                                              \
        text, sizeof(text) - 1, HTTP_REFUSED_##why \
    }

static const struct http_limits limits = HTTP_LIMITS_DEFAULT;

struct shape {
    const char *text;
    size_t n;
    enum http_refusal why;
};

/* Parses exact-size heap copies that grow by `step`; the head borrows from *kept. */
static enum st feed(const char *text, size_t n, size_t first, size_t step,
                    const struct http_limits *lim, struct http_head *h, size_t *used,
                    uint8_t **kept)
{
    struct http1_req r = { .start = 0 };
    enum st st = ST_MORE;

    *kept = NULL;
    for (size_t have = first; st == ST_MORE; have += step) {
        if (have > n)
            have = n;
        free(*kept);
        *kept = malloc(have + (have == 0));
        memcpy(*kept, text, have);
        st = http1_req_parse(&r, *kept, have, lim, h, used);
        if (have == n)
            break;
    }
    if (st == ST_OK)
        assert_true(r.start == 0 && r.line == 0 && r.at == 0 && r.blank_lines == 0 && !r.in_fields);
    return st;
}

static void is_text(struct slice s, const char *text)
{
    if (text == NULL) {
        assert_null(s.p);
        return;
    }
    assert_int_equal(s.n, strlen(text));
    assert_memory_equal(s.p, text, s.n);
}

static const char browser[] =
    "GET /live/cam1/manifest.mpd?dvr=1h HTTP/1.1\r\n"
    "Host: pop7.example.net:8443\r\n"
    "Connection: keep-alive\r\n"
    "sec-ch-ua-platform: \"Linux\"\r\n"
    "User-Agent: Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 Chrome/131.0 Safari/537.36\r\n"
    "Accept: */*\r\n"
    "Origin: https://watch.example.net\r\n"
    "Sec-Fetch-Site: same-site\r\n"
    "Sec-Fetch-Mode: cors\r\n"
    "Referer: https://watch.example.net/\r\n"
    "Accept-Encoding: gzip, deflate, br\r\n"
    "Accept-Language: en-GB,en;q=0.9\r\n"
    "If-None-Match: \"0011223344556677\"\r\n"
    "Range: \tbytes=0-99 \t\r\n"
    "CMCD-Session: sid=\"a\"\r\n"
    "\r\n";

static void a_browsers_head_is_split(void **state)
{
    struct http_head h;
    uint8_t *buf;
    size_t used, n = sizeof browser - 1;

    (void)state;
    for (size_t cut = 0; cut <= n; cut++) {
        assert_int_equal(feed(browser, n, cut, n, &limits, &h, &used, &buf), ST_OK);
        assert_int_equal(used, n);
        assert_int_equal(h.method, HTTP_METHOD_GET);
        assert_int_equal(h.minor, 1);
        assert_int_equal(h.fields, 14);
        assert_true(h.keep_alive);
        assert_false(h.authorization || h.cookie || h.hop || h.has_length);
        is_text(h.target, "/live/cam1/manifest.mpd?dvr=1h");
        is_text(h.host, "pop7.example.net:8443");
        is_text(http_head_get(&h, HTTP_FIELD_RANGE), "bytes=0-99");
        is_text(http_head_get(&h, HTTP_FIELD_IF_NONE_MATCH), "\"0011223344556677\"");
        is_text(http_head_get(&h, HTTP_FIELD_ORIGIN), "https://watch.example.net");
        is_text(http_head_get(&h, HTTP_FIELD_CMCD_SESSION), "sid=\"a\"");
        is_text(http_head_get(&h, HTTP_FIELD_IF_RANGE), NULL);
        is_text(http_head_get(&h, HTTP_FIELD_HOST), NULL);
        free(buf);
    }
    assert_int_equal(feed(browser, n, 0, 1, &limits, &h, &used, &buf), ST_OK);
    assert_int_equal(used, n);
    free(buf);
}

static void an_unfinished_head_wants_more(void **state)
{
    struct http_head h;
    uint8_t *buf;
    size_t used;

    (void)state;
    for (size_t n = 0; n < sizeof browser - 1; n++) {
        assert_int_equal(feed(browser, n, n, 1, &limits, &h, &used, &buf), ST_MORE);
        assert_int_equal(used, 0);
        free(buf);
    }
}

static void the_next_request_is_left_alone(void **state)
{
    static const char two[] = "\r\nGET /1 HTTP/1.1\r\nHost: a\r\n\r\nGET /2 HTTP/1.0\r\n\r\nGE";
    struct http1_req r = { .start = 0 };
    struct http_head h;
    const uint8_t *p = (const uint8_t *)two;
    size_t used, n = sizeof two - 1;

    (void)state;
    assert_int_equal(http1_req_parse(&r, p, n, &limits, &h, &used), ST_OK);
    is_text(h.target, "/1");
    p += used;
    n -= used;
    assert_int_equal(http1_req_parse(&r, p, n, &limits, &h, &used), ST_OK);
    is_text(h.target, "/2");
    is_text(h.host, NULL);
    assert_false(h.keep_alive);
    p += used;
    n -= used;
    assert_int_equal(n, 2);
    assert_int_equal(http1_req_parse(&r, p, n, &limits, &h, &used), ST_MORE);
}

static const struct shape hostile[] = {
    SHAPE("GET / HTTP/1.1\r\nHost: a\rX: b\r\n\r\n", BARE_CR),
    SHAPE("GET / HTTP/1.1\r\nHost: a\r\r\n\r\n", BARE_CR),
    SHAPE("GET / HTTP/1.1\rHost: a\r\n\r\n", BARE_CR),
    SHAPE("GET / HTTP/1.1\nHost: a\n\n", BARE_LF),
    SHAPE("GET / HTTP/1.1\r\nHost: a\nX: b\r\n\r\n", BARE_LF),
    SHAPE("\nGET / HTTP/1.1\r\nHost: a\r\n\r\n", BARE_LF),
    SHAPE(H "X: a\0b\r\n\r\n", CONTROL),
    SHAPE(H "X: a\x7f\r\n\r\n", CONTROL),
    SHAPE(H "Connection: close\x01\r\n\r\n", CONTROL),
    SHAPE(H "X\0: a\r\n\r\n", CONTROL),
    SHAPE("GET /\0 HTTP/1.1\r\nHost: a\r\n\r\n", CONTROL),
    SHAPE("GET /\x1b HTTP/1.1\r\nHost: a\r\n\r\n", CONTROL),
    SHAPE("\r\n\r\n\r\n" H "\r\n", BLANK_LINES),
    SHAPE("get / HTTP/1.1\r\nHost: a\r\n\r\n", METHOD_SYNTAX),
    SHAPE("GeT / HTTP/1.1\r\nHost: a\r\n\r\n", METHOD_SYNTAX),
    SHAPE("G@T / HTTP/1.1\r\nHost: a\r\n\r\n", METHOD_SYNTAX),
    SHAPE(" GET / HTTP/1.1\r\nHost: a\r\n\r\n", METHOD_SYNTAX),
    SHAPE("\xd3\x01 / HTTP/1.1\r\nHost: a\r\n\r\n", METHOD_SYNTAX),
    SHAPE("ZAP / HTTP/1.1\r\nHost: a\r\n\r\n", METHOD_UNKNOWN),
    SHAPE("M-SEARCH / HTTP/1.1\r\nHost: a\r\n\r\n", METHOD_UNKNOWN),
    SHAPE("A_B / HTTP/1.1\r\nHost: a\r\n\r\n", METHOD_UNKNOWN),
    SHAPE("BREW / HTTP/1.1\r\nHost: a\r\n\r\n", METHOD_UNKNOWN),
    SHAPE("PROPFIND / HTTP/1.1\r\nHost: a\r\n\r\n", METHOD_UNKNOWN),
    SHAPE("SOURCE / HTTP/1.1\r\nHost: a\r\n\r\n", METHOD_UNKNOWN),
    SHAPE("POST / HTTP/1.1\r\nHost: a\r\n\r\n", METHOD_REFUSED),
    SHAPE("CONNECT a:80 HTTP/1.1\r\nHost: a\r\n\r\n", METHOD_REFUSED),
    SHAPE("TRACE / HTTP/1.1\r\nHost: a\r\n\r\n", METHOD_REFUSED),
    SHAPE("GET  / HTTP/1.1\r\nHost: a\r\n\r\n", REQUEST_LINE),
    SHAPE("GET /  HTTP/1.1\r\nHost: a\r\n\r\n", REQUEST_LINE),
    SHAPE("GET /a b HTTP/1.1\r\nHost: a\r\n\r\n", REQUEST_LINE),
    SHAPE("GET HTTP/1.1\r\nHost: a\r\n\r\n", REQUEST_LINE),
    SHAPE("GET\t/\tHTTP/1.1\r\nHost: a\r\n\r\n", NO_VERSION),
    SHAPE("GET /\r\n", NO_VERSION),
    SHAPE("GET / \r\n", NO_VERSION),
    SHAPE("GET\r\n", NO_VERSION),
    SHAPE("GET / http/1.1\r\nHost: a\r\n\r\n", NO_VERSION),
    SHAPE("GET / HTTP/1.1 \r\nHost: a\r\n\r\n", NO_VERSION),
    SHAPE("GET / HTTP/1.10\r\nHost: a\r\n\r\n", NO_VERSION),
    SHAPE("GET / HTTP/11\r\nHost: a\r\n\r\n", NO_VERSION),
    SHAPE("GET / ICE/1.0\r\nHost: a\r\n\r\n", NO_VERSION),
    SHAPE("GET / HTTP/0.9\r\n", VERSION),
    SHAPE("GET / HTTP/2.0\r\n", VERSION),
    SHAPE("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", VERSION),
    SHAPE("GET / HTTP/1.2\r\n", VERSION),
    SHAPE("GET /\xc3\xa9 HTTP/1.1\r\nHost: a\r\n\r\n", TARGET_BYTES),
    SHAPE("GET /#x HTTP/1.1\r\nHost: a\r\n\r\n", TARGET_BYTES),
    SHAPE("GET * HTTP/1.1\r\nHost: a\r\n\r\n", TARGET_FORM),
    SHAPE("GET a:80 HTTP/1.1\r\nHost: a\r\n\r\n", TARGET_FORM),
    SHAPE("GET a/b HTTP/1.1\r\nHost: a\r\n\r\n", TARGET_FORM),
    SHAPE("GET http://a?x HTTP/1.1\r\nHost: a\r\n\r\n", TARGET_FORM),
    SHAPE("GET http:/// HTTP/1.1\r\nHost: a\r\n\r\n", HOST_SYNTAX),
    SHAPE("GET ftp://a/ HTTP/1.1\r\nHost: a\r\n\r\n", TARGET_FORM),
    SHAPE("GET http://u@a/ HTTP/1.1\r\nHost: a\r\n\r\n", HOST_SYNTAX),
    SHAPE("GET http://b/ HTTP/1.1\r\nHost: a\r\n\r\n", HOST_MISMATCH),
    SHAPE("GET http://a:80/ HTTP/1.1\r\nHost: a\r\n\r\n", HOST_MISMATCH),
    SHAPE("GET http://a/ HTTP/1.1\r\n\r\n", HOST_MISSING),
    SHAPE("GET / HTTP/1.1\r\n\r\n", HOST_MISSING),
    SHAPE("GET / HTTP/1.1\r\nHost:\r\n\r\n", HOST_SYNTAX),
    SHAPE("GET / HTTP/1.0\r\nHost: \r\n\r\n", HOST_SYNTAX),
    SHAPE("GET / HTTP/1.1\r\nHost: a b\r\n\r\n", HOST_SYNTAX),
    SHAPE("GET / HTTP/1.1\r\nHost: a,b\r\n\r\n", HOST_SYNTAX),
    SHAPE("GET / HTTP/1.1\r\nHost: a/b\r\n\r\n", HOST_SYNTAX),
    SHAPE("GET / HTTP/1.1\r\nHost: u@a\r\n\r\n", HOST_SYNTAX),
    SHAPE("GET / HTTP/1.1\r\nHost: a:65536\r\n\r\n", HOST_SYNTAX),
    SHAPE("GET / HTTP/1.1\r\nHost: a:065535\r\n\r\n", HOST_SYNTAX),
    SHAPE("GET / HTTP/1.1\r\nHost: []\r\n\r\n", HOST_SYNTAX),
    SHAPE("GET / HTTP/1.1\r\nHost: a:8x\r\n\r\n", HOST_SYNTAX),
    SHAPE("GET / HTTP/1.1\r\nHost: :80\r\n\r\n", HOST_SYNTAX),
    SHAPE("GET / HTTP/1.1\r\nHost: [::1\r\n\r\n", HOST_SYNTAX),
    SHAPE("GET / HTTP/1.1\r\nHost: [::1]x\r\n\r\n", HOST_SYNTAX),
    SHAPE("GET / HTTP/1.1\r\nHost: [g::1]\r\n\r\n", HOST_SYNTAX),
    SHAPE(H "Host: a\r\n\r\n", HOST_TWICE),
    SHAPE(H "host: b\r\n\r\n", HOST_TWICE),
    SHAPE(H "X: a\r\n b\r\n\r\n", FOLDED),
    SHAPE(H "X: a\r\n\tb\r\n\r\n", FOLDED),
    SHAPE("GET / HTTP/1.1\r\n Host: a\r\n\r\n", FOLDED),
    SHAPE("GET / HTTP/1.1\r\nHost : a\r\n\r\n", SPACE_BEFORE_COLON),
    SHAPE(H "X\t: a\r\n\r\n", SPACE_BEFORE_COLON),
    SHAPE(H ": a\r\n\r\n", NO_NAME),
    SHAPE(H ":\r\n\r\n", NO_NAME),
    SHAPE(H "X\r\n\r\n", NO_COLON),
    SHAPE(H "X(: a\r\n\r\n", NAME_SYNTAX),
    SHAPE(H "X\xc3: a\r\n\r\n", NAME_SYNTAX),
    SHAPE(H "\"X\": a\r\n\r\n", NAME_SYNTAX),
    SHAPE(H "Content-Length: 0\r\nContent-Length: 0\r\n\r\n", LENGTH_TWICE),
    SHAPE(H "Content-Length: 5\r\nContent-Length: 6\r\n\r\n", LENGTH_TWICE),
    SHAPE(H "Content-Length: 5, 5\r\n\r\n", LENGTH_SYNTAX),
    SHAPE(H "Content-Length: +5\r\n\r\n", LENGTH_SYNTAX),
    SHAPE(H "Content-Length: -0\r\n\r\n", LENGTH_SYNTAX),
    SHAPE(H "Content-Length: 0x0\r\n\r\n", LENGTH_SYNTAX),
    SHAPE(H "Content-Length:\r\n\r\n", LENGTH_SYNTAX),
    SHAPE(H "Content-Length: 18446744073709551616\r\n\r\n", LENGTH_SYNTAX),
    SHAPE(H "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n", LENGTH_AND_CODING),
    SHAPE(H "Transfer-Encoding: chunked\r\nContent-Length: 0\r\n\r\n", LENGTH_AND_CODING),
    SHAPE(H "Transfer-Encoding: gzip, chunked\r\n\r\n", CODING),
    SHAPE(H "Transfer-Encoding: chunked, identity\r\n\r\n", CODING),
    SHAPE(H "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n", CODING),
    SHAPE(H "Transfer-Encoding: xchunked\r\n\r\n", CODING),
    SHAPE(H "Transfer-Encoding:\r\n\r\n", CODING),
    SHAPE(H "Transfer-Encoding: chunked;x\r\n\r\n", CODING),
    SHAPE("GET / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n", CODING),
    SHAPE(H "Transfer-Encoding: chunked\r\n\r\n", BODY),
    SHAPE(H "transfer-encoding:\tChunked \r\n\r\n", BODY),
    SHAPE(H "Content-Length: 1\r\n\r\n", BODY),
    SHAPE(H "Expect: 100-continue\r\nContent-Length: 1\r\n\r\n", BODY),
    SHAPE(H "Expect: tea\r\n\r\n", EXPECT),
};

static void every_hostile_shape_has_its_refusal(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof hostile / sizeof hostile[0]; i++) {
        const struct shape *s = &hostile[i];

        for (size_t cut = 0; cut <= s->n + 1; cut++) { /* s->n + 1: one byte at a time */
            struct http_head h;
            uint8_t *buf;
            size_t used;
            enum st st = feed(s->text, s->n, cut <= s->n ? cut : 0, cut <= s->n ? s->n : 1, &limits,
                              &h, &used, &buf);

            if (st >= ST_OK || h.refusal != s->why) {
                print_error("shape %zu cut %zu: %s, %s instead of %s\n", i, cut, st_name(st),
                            st >= ST_OK ? "" : http_refusal_name(h.refusal),
                            http_refusal_name(s->why));
                fail();
            }
            assert_int_equal(used, 0);
            free(buf);
        }
    }
}

static void refusals_have_their_status(void **state)
{
    (void)state;
    assert_int_equal(http_refusal_status(HTTP_REFUSED_BODY), 413);
    assert_int_equal(http_refusal_status(HTTP_REFUSED_TARGET_LONG), 414);
    assert_int_equal(http_refusal_status(HTTP_REFUSED_HEAD_LONG), 431);
    assert_int_equal(http_refusal_status(HTTP_REFUSED_METHOD_REFUSED), 405);
    assert_int_equal(http_refusal_status(HTTP_REFUSED_METHOD_UNKNOWN), 501);
    assert_int_equal(http_refusal_status(HTTP_REFUSED_VERSION), 505);
    assert_int_equal(http_refusal_status(HTTP_REFUSED_HOST_TWICE), 400);
    assert_string_equal(http_refusal_name(HTTP_REFUSED_FOLDED), "FOLDED");
    assert_string_equal(http_refusal_text(HTTP_REFUSED_BODY), "a body");
}

static void what_looks_odd_but_is_legal_is_accepted(void **state)
{
    static const struct {
        const char *text, *target, *host;
        bool keep_alive;
    } legal[] = {
        { "GET / HTTP/1.0\r\n\r\n", "/", NULL, false },
        { "GET / HTTP/1.0\r\nConnection: Keep-Alive\r\n\r\n", "/", NULL, true },
        { H "Connection: close\r\n\r\n", "/", "a", false },
        { H "Connection: x, ,CLOSE ,y\r\n\r\n", "/", "a", false },
        { H "Connection: close, keep-alive\r\n\r\n", "/", "a", false },
        { H "Connection: xclose\r\n\r\n", "/", "a", true },
        { H "Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AA\r\n\r\n",
          "/", "a", true },
        { H "Upgrade: websocket\r\nConnection: upgrade\r\n\r\n", "/", "a", true },
        { H "Expect: 100-continue\r\n\r\n", "/", "a", true },
        { H "Content-Length: 0\r\n\r\n", "/", "a", true },
        { H "X:\r\nY: \r\nZ:z\r\n\r\n", "/", "a", true },
        { H "X: \xc3\xa9\t\xff\r\n\r\n", "/", "a", true },
        { "\r\n\r\nHEAD /x?a=b?c HTTP/1.1\r\nHost:a\r\n\r\n", "/x?a=b?c", "a", true },
        { "OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n", "*", "a", true },
        { "GET http://A.b:80/c?d HTTP/1.1\r\nHost: a.B:80\r\n\r\n", "/c?d", "a.B:80", true },
        { "GET HTTPS://a HTTP/1.1\r\nHost: a\r\n\r\n", "/", "a", true },
        { "GET //x/%2e HTTP/1.1\r\nHost: [2001:db8::1]:8080\r\n\r\n", "//x/%2e",
          "[2001:db8::1]:8080", true },
        { "GET / HTTP/1.1\r\nHost: a_b-c.d:\r\n\r\n", "/", "a_b-c.d:", true },
        { "GET / HTTP/1.1\r\nHost: AZaz09:65535\r\n\r\n", "/", "AZaz09:65535", true },
        { "GET / HTTP/1.1\r\nHost: [::]\r\n\r\n", "/", "[::]", true },
        { "GET / HTTP/1.1\r\nHost: [aF0::9]\r\n\r\n", "/", "[aF0::9]", true },
        { "GET https://a:1/ HTTP/1.1\r\nHost: a:1\r\n\r\n", "/", "a:1", true },
        { H "!#$%&'*+-.^_`|~09AZaz: x\r\n\r\n", "/", "a", true },
    };

    (void)state;
    for (size_t i = 0; i < sizeof legal / sizeof legal[0]; i++) {
        struct http_head h;
        uint8_t *buf;
        size_t used, n = strlen(legal[i].text);

        assert_int_equal(feed(legal[i].text, n, 0, 1, &limits, &h, &used, &buf), ST_OK);
        assert_int_equal(used, n);
        is_text(h.target, legal[i].target);
        is_text(h.host, legal[i].host);
        assert_int_equal(h.keep_alive, legal[i].keep_alive);
        free(buf);
    }
}

static void flags_and_repeats_are_noted(void **state)
{
    static const char text[] = H "Cookie: a\r\nauthorization: Basic x\r\nFreshet-Hop: 1\r\n"
                                 "Origin: o1\r\nOrigin: o2\r\nRange: bytes=0-1\r\n"
                                 "If-Range: \"x\"\r\nRange: bytes=2-3\r\n\r\n";
    struct http_head h;
    uint8_t *buf;
    size_t used;

    (void)state;
    assert_int_equal(feed(text, sizeof text - 1, 0, 1, &limits, &h, &used, &buf), ST_OK);
    assert_true(h.cookie && h.authorization && h.hop);
    is_text(http_head_get(&h, HTTP_FIELD_ORIGIN), "o1");
    is_text(http_head_get(&h, HTTP_FIELD_RANGE), NULL);
    is_text(http_head_get(&h, HTTP_FIELD_IF_RANGE), NULL);
    free(buf);
}

static void a_range_that_comes_twice_is_none(void **state)
{
    static const struct {
        const char *text;
        bool kept;
    } all[] = {
        { H "Range: bytes=0-1\r\nIf-Range: \"x\"\r\n\r\n", true },
        { H "Range: bytes=0-1\r\nIf-Range: \"x\"\r\nOrigin: a\r\nOrigin: b\r\n\r\n", true },
        { H "Range: bytes=0-1\r\nRange: bytes=0-1\r\n\r\n", false },
        { H "If-Range: \"x\"\r\nRange: bytes=0-1\r\nIf-Range: \"y\"\r\n\r\n", false },
    };

    (void)state;
    for (size_t i = 0; i < sizeof all / sizeof all[0]; i++) {
        struct http_head h;
        uint8_t *buf;
        size_t used;

        assert_int_equal(feed(all[i].text, strlen(all[i].text), 0, 9, &limits, &h, &used, &buf),
                         ST_OK);
        is_text(http_head_get(&h, HTTP_FIELD_RANGE), all[i].kept ? "bytes=0-1" : NULL);
        is_text(http_head_get(&h, HTTP_FIELD_IF_RANGE), all[i].kept ? "\"x\"" : NULL);
        free(buf);
    }
}

static bool agrees(bool response, const char *text, unsigned fields, unsigned minor)
{
    return http1_llhttp_agrees(response, (const uint8_t *)text, strlen(text), fields, minor);
}

static void llhttp_has_its_own_opinion(void **state)
{
    (void)state;
    assert_true(agrees(false, H "\r\n", 1, 1));
    assert_true(agrees(false, "GET / HTTP/1.0\r\n\r\n", 0, 0));
    assert_true(agrees(false, H "A:\r\nContent-Length: 5\r\n\r\n", 3, 1));
    assert_true(agrees(true, "HTTP/1.1 200 OK\r\nA: b\r\n\r\n", 1, 1));
    assert_false(agrees(false, H "\r\n", 2, 1));
    assert_false(agrees(false, H "\r\n", 0, 1));
    assert_false(agrees(false, H "\r\n", 1, 0));
    assert_false(agrees(false, H, 1, 1));
    assert_false(agrees(false, H "A(: b\r\n\r\n", 2, 1));
    assert_false(agrees(false, H "A: \x01\r\n\r\n", 2, 1));
    assert_false(agrees(true, H "\r\n", 1, 1));
    assert_false(agrees(false, "HTTP/1.1 200 OK\r\nA: b\r\n\r\n", 1, 1));
}

static void every_field_finds_itself(void **state)
{
    static const struct {
        const char *text;
        enum http_field f;
    } all[] = {
#define X(name, text) { text, HTTP_FIELD_##name },
        HTTP_KEPT(X) HTTP_JUDGED(X)
#undef X
    };
    char upper[32];

    (void)state;
    for (size_t i = 0; i < sizeof all / sizeof all[0]; i++) {
        size_t n = strlen(all[i].text);

        for (size_t k = 0; k < n; k++) {
            char c = all[i].text[k];

            upper[k] = (char)(c >= 'a' && c <= 'z' ? c - 32 : c);
        }
        assert_int_equal(http_field_find(slice_of(all[i].text, n)), all[i].f);
        assert_int_equal(http_field_find(slice_of(upper, n)), all[i].f);
        assert_int_equal(http_field_find(slice_of(upper, n - 1)), HTTP_FIELD_OTHER);
        upper[n - 1] = '_';
        assert_int_equal(http_field_find(slice_of(upper, n)), HTTP_FIELD_OTHER);
    }
}

/* Builds "GET /xxx HTTP/1.1 / Host: a / N headers", one of them padded. */
static size_t build(char *out, size_t cap, size_t target, unsigned fields, size_t pad)
{
    size_t n = (size_t)snprintf(out, cap, "GET /");

    for (size_t i = 1; i < target; i++)
        out[n++] = 'x';
    n += (size_t)snprintf(out + n, cap - n, " HTTP/1.1\r\nHost: a\r\n");
    for (unsigned i = 1; i < fields; i++)
        n += (size_t)snprintf(out + n, cap - n, "X-%u: y\r\n", i);
    if (pad > 0) {
        n += (size_t)snprintf(out + n, cap - n, "P: ");
        memset(out + n, 'p', pad);
        n += pad;
        n += (size_t)snprintf(out + n, cap - n, "\r\n");
    }
    return n + (size_t)snprintf(out + n, cap - n, "\r\n");
}

static void refused_at_any_cut(const char *text, size_t n, enum http_refusal why)
{
    static const size_t cuts[] = { 1, 7, 255, 8191, 8224, 16383, 16384, 16385, 1u << 20 };
    struct http_head h;
    uint8_t *buf;
    size_t used;

    for (size_t i = 0; i < sizeof cuts / sizeof cuts[0]; i++) {
        assert_int_equal(feed(text, n, 0, cuts[i], &limits, &h, &used, &buf), ST_ELIMIT);
        assert_int_equal(h.refusal, why);
        free(buf);
    }
}

static void limits_are_exact(void **state)
{
    static char text[40000];
    struct http_head h;
    uint8_t *buf;
    size_t used, n;

    (void)state;
    n = build(text, sizeof text, 8192, 1, 0);
    assert_int_equal(feed(text, n, 0, 100, &limits, &h, &used, &buf), ST_OK);
    free(buf);
    refused_at_any_cut(text, build(text, sizeof text, 8193, 1, 0), HTTP_REFUSED_TARGET_LONG);
    refused_at_any_cut(text, build(text, sizeof text, 30000, 1, 0), HTTP_REFUSED_TARGET_LONG);

    /* and an endless one as soon as it is too long */
    (void)build(text, sizeof text, 30000, 1, 0);
    refused_at_any_cut(text, 8192 + 32, HTTP_REFUSED_TARGET_LONG);
    assert_int_equal(feed(text, 8192 + 31, 0, 1000, &limits, &h, &used, &buf), ST_MORE);
    free(buf);

    n = build(text, sizeof text, 1, 100, 0);
    assert_int_equal(feed(text, n, 0, 100, &limits, &h, &used, &buf), ST_OK);
    assert_int_equal(h.fields, 100);
    free(buf);
    refused_at_any_cut(text, build(text, sizeof text, 1, 101, 0), HTTP_REFUSED_FIELDS);

    n = build(text, sizeof text, 1, 1, 1);
    n = build(text, sizeof text, 1, 1, 1 + 16384 - n);
    assert_int_equal(n, 16384);
    assert_int_equal(feed(text, n, 0, 100, &limits, &h, &used, &buf), ST_OK);
    free(buf);
    n = build(text, sizeof text, 1, 1, 1);
    n = build(text, sizeof text, 1, 1, 2 + 16384 - n);
    refused_at_any_cut(text, n, HTTP_REFUSED_HEAD_LONG);
    /* without an end: refused as soon as the limit is full */
    refused_at_any_cut(text, 16384, HTTP_REFUSED_HEAD_LONG);
    n = build(text, sizeof text, 1, 1, 30000);
    text[20000] = '\0'; /* past the limit, so never looked at */
    refused_at_any_cut(text, n, HTTP_REFUSED_HEAD_LONG);
}

struct pair {
    const char *name, *value;
};

static enum st fill2(struct http_head *h, const struct http_limits *lim, const struct pair *all,
                     size_t n)
{
    enum st st = ST_OK;

    http_head_init(h, 2, 0);
    for (size_t i = 0; i < n && all[i].name != NULL && st == ST_OK; i++)
        st = http_head_add(h, lim, all[i].name, strlen(all[i].name), all[i].value,
                           strlen(all[i].value));
    return st == ST_OK ? http_head_finish(h, lim) : st;
}

#define GET2 \
    { ":method", "GET" }, { ":scheme", "https" }, { ":path", "/a?b" }

static void http2_heads_fill_the_same_struct(void **state)
{
    static const struct pair good[] = { GET2,
                                        { ":authority", "A:1" },
                                        { "host", "a:1" },
                                        { "te", "trailers" },
                                        { "cookie", "x" },
                                        { "cookie", "y" },
                                        { "range", " bytes=1-2" } };
    static const struct pair host_only[] = { GET2, { "host", "a" } };
    struct http_head h;

    (void)state;
    assert_int_equal(fill2(&h, &limits, good, sizeof good / sizeof good[0]), ST_OK);
    assert_int_equal(h.method, HTTP_METHOD_GET);
    assert_int_equal(h.fields, 5);
    assert_true(h.cookie && h.keep_alive);
    is_text(h.target, "/a?b");
    is_text(h.host, "a:1");
    is_text(http_head_get(&h, HTTP_FIELD_RANGE), "bytes=1-2");
    assert_int_equal(fill2(&h, &limits, host_only, 4), ST_OK);
    is_text(h.host, "a");
}

static void http2_heads_are_refused_too(void **state)
{
    static const struct {
        struct pair all[7];
        enum http_refusal why;
    } bad[] = {
        { { GET2 }, HTTP_REFUSED_HOST_MISSING },
        { { GET2, { ":authority", "a" }, { "host", "b" } }, HTTP_REFUSED_HOST_MISMATCH },
        { { GET2, { ":authority", "u@a" } }, HTTP_REFUSED_HOST_SYNTAX },
        { { GET2, { ":authority", "a" }, { "host", "" } }, HTTP_REFUSED_HOST_SYNTAX },
        { { GET2, { ":authority", "" } }, HTTP_REFUSED_PSEUDO },
        { { GET2, { ":authority", "a" }, { ":authority", "a" } }, HTTP_REFUSED_PSEUDO },
        { { GET2, { ":status", "200" } }, HTTP_REFUSED_PSEUDO },
        { { GET2, { ":protocol", "websocket" } }, HTTP_REFUSED_PSEUDO },
        { { GET2, { "x", "y" }, { ":authority", "a" } }, HTTP_REFUSED_PSEUDO },
        { { { ":method", "GET" }, { ":path", "/" }, { ":authority", "a" } }, HTTP_REFUSED_PSEUDO },
        { { { ":method", "GET" }, { ":scheme", "http" }, { "host", "a" } }, HTTP_REFUSED_PSEUDO },
        { { { ":path", "/" }, { ":scheme", "http" }, { "host", "a" } }, HTTP_REFUSED_PSEUDO },
        { { { ":method", "CONNECT" }, { ":authority", "a" } }, HTTP_REFUSED_PSEUDO },
        { { { ":method", "GET" }, { ":scheme", "ftp" }, { ":path", "/" }, { "host", "a" } },
          HTTP_REFUSED_PSEUDO },
        { { { ":method", "GET" }, { ":scheme", "http" }, { ":path", "a" }, { "host", "a" } },
          HTTP_REFUSED_TARGET_FORM },
        { { { ":method", "GET" }, { ":scheme", "http" }, { ":path", "/\xff" }, { "host", "a" } },
          HTTP_REFUSED_TARGET_BYTES },
        { { { ":method", "get" }, { ":scheme", "http" }, { ":path", "/" }, { "host", "a" } },
          HTTP_REFUSED_METHOD_SYNTAX },
        { { { ":method", "POST" }, { ":scheme", "http" }, { ":path", "/" }, { "host", "a" } },
          HTTP_REFUSED_METHOD_REFUSED },
        { { GET2, { "host", "a" }, { "connection", "close" } }, HTTP_REFUSED_CONNECTION_FIELD },
        { { GET2, { "host", "a" }, { "keep-alive", "5" } }, HTTP_REFUSED_CONNECTION_FIELD },
        { { GET2, { "host", "a" }, { "upgrade", "h2c" } }, HTTP_REFUSED_CONNECTION_FIELD },
        { { GET2, { "host", "a" }, { "proxy-connection", "x" } }, HTTP_REFUSED_CONNECTION_FIELD },
        { { GET2, { "host", "a" }, { "transfer-encoding", "chunked" } },
          HTTP_REFUSED_CONNECTION_FIELD },
        { { GET2, { "host", "a" }, { "te", "trailers, gzip" } }, HTTP_REFUSED_CONNECTION_FIELD },
        { { GET2, { "host", "a" }, { "X", "y" } }, HTTP_REFUSED_NAME_SYNTAX },
        { { GET2, { "host", "a" }, { "xZ", "y" } }, HTTP_REFUSED_NAME_SYNTAX },
        { { GET2, { "host", "a" }, { "x\x7f", "y" } }, HTTP_REFUSED_NAME_SYNTAX },
        { { GET2, { "host", "a" }, { "x:y", "y" } }, HTTP_REFUSED_NAME_SYNTAX },
        { { GET2, { "host", "a" }, { "x", "a\x7f" } }, HTTP_REFUSED_CONTROL },
        { { { ":method", "GET" }, { ":scheme", "http" }, { ":path", "/a b" }, { "host", "a" } },
          HTTP_REFUSED_TARGET_BYTES },
        { { GET2, { "host", "a" }, { "x y", "y" } }, HTTP_REFUSED_NAME_SYNTAX },
        { { GET2, { "host", "a" }, { "", "y" } }, HTTP_REFUSED_NO_NAME },
        { { GET2, { "host", "a" }, { "x", "a\r\nb" } }, HTTP_REFUSED_CONTROL },
        { { GET2, { "host", "a" }, { "content-length", "1" } }, HTTP_REFUSED_BODY },
        { { GET2, { "host", "a" }, { "content-length", "x" } }, HTTP_REFUSED_LENGTH_SYNTAX },
    };
    struct http_head h;

    (void)state;
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        assert_true(fill2(&h, &limits, bad[i].all, 7) < ST_OK);
        if (h.refusal != bad[i].why) {
            print_error("head %zu: %s\n", i, http_refusal_name(h.refusal));
            fail();
        }
    }
}

static void a_tier_may_post_over_http2_only(void **state)
{
    static const struct http_limits tier = { 16384, 8192, 100, .post = true };
    static const struct pair post[] = { { ":method", "POST" },
                                        { ":scheme", "http" },
                                        { ":path", "/_ingest/a/b" },
                                        { "host", "x" },
                                        { "content-length", "7" } };
    static const char post1[] = "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 7\r\n\r\n";
    struct http_head h;
    uint8_t *buf;
    size_t used;

    (void)state;
    assert_int_equal(fill2(&h, &tier, post, 5), ST_OK);
    assert_int_equal(h.method, HTTP_METHOD_POST);
    assert_int_equal(h.length, 7);
    assert_int_equal(feed(post1, sizeof post1 - 1, 0, 1, &tier, &h, &used, &buf), ST_ELIMIT);
    assert_int_equal(h.refusal, HTTP_REFUSED_BODY);
    free(buf);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_browsers_head_is_split),
        cmocka_unit_test(an_unfinished_head_wants_more),
        cmocka_unit_test(the_next_request_is_left_alone),
        cmocka_unit_test(every_hostile_shape_has_its_refusal),
        cmocka_unit_test(refusals_have_their_status),
        cmocka_unit_test(what_looks_odd_but_is_legal_is_accepted),
        cmocka_unit_test(flags_and_repeats_are_noted),
        cmocka_unit_test(a_range_that_comes_twice_is_none),
        cmocka_unit_test(llhttp_has_its_own_opinion),
        cmocka_unit_test(every_field_finds_itself),
        cmocka_unit_test(limits_are_exact),
        cmocka_unit_test(http2_heads_fill_the_same_struct),
        cmocka_unit_test(http2_heads_are_refused_too),
        cmocka_unit_test(a_tier_may_post_over_http2_only),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
