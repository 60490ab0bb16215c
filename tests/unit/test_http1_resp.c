/* Responses of an upstream that nobody trusts: heads, framing, ends. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "edge/http1_resp.h"

#define OK11 "HTTP/1.1 200 OK\r\n"
#define CHUNKED OK11 "Transfer-Encoding: chunked\r\n\r\n"

static struct http1_resp resp;

/* What came of one response, whatever the cuts. */
struct outcome {
    enum st st;
    enum http_refusal refusal;
    unsigned status, heads, ends;
    enum http1_event_kind end;
    bool reusable;
    size_t body_n, left; /* left: input not consumed */
    char body[64];
};

static void note(struct outcome *o, const struct http1_event *ev)
{
    if (ev->kind == HTTP1_HEAD) {
        assert_int_equal(o->body_n + o->ends, 0);
        o->heads++;
        o->status = resp.reply.status;
        return;
    }
    assert_int_equal(o->heads, 1);
    assert_int_equal(o->ends, 0);
    if (ev->kind == HTTP1_BODY) {
        assert_true(ev->bytes.n > 0 && o->body_n + ev->bytes.n <= sizeof o->body);
        memcpy(o->body + o->body_n, ev->bytes.p, ev->bytes.n);
        o->body_n += ev->bytes.n;
        return;
    }
    o->ends++;
    o->end = ev->kind;
    o->reusable = ev->reusable;
}

/* The first piece has `first` bytes, the others `step`; each is an exact-size heap copy. */
static struct outcome feed(const char *text, size_t n, size_t first, size_t step, bool to_head,
                           bool eof)
{
    struct outcome o = { .st = ST_MORE };
    struct http1_event ev;

    http1_resp_init(&resp, to_head);
    for (size_t done = 0, take = first; o.st == ST_MORE; take = step) {
        uint8_t *copy;
        struct rd in;

        take = take < n - done ? take : n - done;
        copy = malloc(take + (take == 0));
        memcpy(copy, text + done, take);
        in = rd_init(copy, take);
        while ((o.st = http1_resp_next(&resp, &in, &ev)) == ST_OK)
            note(&o, &ev);
        done += take;
        if (o.ends > 0) {
            o.left = rd_left(&in) + n - done;
            free(copy);
            break;
        }
        assert_true(o.st != ST_MORE || rd_left(&in) == 0);
        free(copy);
        if (done == n)
            break;
    }
    if (eof && o.st == ST_MORE && o.ends == 0) {
        o.st = http1_resp_eof(&resp, &ev);
        if (o.st == ST_OK)
            note(&o, &ev);
    }
    o.refusal = resp.reply.refusal;
    return o;
}

struct whole {
    const char *text, *body;
    unsigned status;
    enum http1_event_kind end;
    bool reusable, to_head;
    size_t left;
};

static const struct whole wholes[] = {
    { OK11 "Content-Length: 5\r\n\r\nhello", "hello", 200, HTTP1_END, true, false, 0 },
    { OK11 "Content-Length: 5\r\n\r\nhelloX", "hello", 200, HTTP1_END, true, false, 1 },
    { OK11 "Content-Length: 0\r\n\r\n", "", 200, HTTP1_END, true, false, 0 },
    { OK11 "Content-Length: 5\r\n\r\n", "", 200, HTTP1_END, true, true, 0 },
    { CHUNKED, "", 200, HTTP1_END, true, true, 0 },
    { CHUNKED "5\r\nhello\r\n0\r\n\r\n", "hello", 200, HTTP1_END, true, false, 0 },
    { CHUNKED "1\r\nh\r\n4\r\nello\r\n0\r\n\r\nHT", "hello", 200, HTTP1_END, true, false, 2 },
    { CHUNKED "005;a=b;c=\"d\"\r\nhello\r\n000;x\r\nT: u\r\nV:\r\n\r\n", "hello", 200, HTTP1_END,
      true, false, 0 },
    { CHUNKED "a\r\n0123456789\r\nA\r\n0123456789\r\n0\r\n\r\n", "01234567890123456789", 200,
      HTTP1_END, true, false, 0 },
    { CHUNKED "0\r\n\r\n", "", 200, HTTP1_END, true, false, 0 },
    { OK11 "\r\nhello", "hello", 200, HTTP1_END_BY_CLOSE, false, false, 0 },
    { "HTTP/1.0 200 OK\r\n\r\nhello", "hello", 200, HTTP1_END_BY_CLOSE, false, false, 0 },
    { "HTTP/1.0 200 OK\r\nContent-Length: 1\r\n\r\nh", "h", 200, HTTP1_END, false, false, 0 },
    { "HTTP/1.0 200 OK\r\nContent-Length: 1\r\nConnection: keep-alive\r\n\r\nh", "h", 200,
      HTTP1_END, true, false, 0 },
    { OK11 "Content-Length: 1\r\nConnection: x, Close\r\n\r\nh", "h", 200, HTTP1_END, false, false,
      0 },
    { "HTTP/1.1 204 \r\n\r\n", "", 204, HTTP1_END, true, false, 0 },
    { "HTTP/1.1 204\r\nContent-Length: 5\r\n\r\nhello", "", 204, HTTP1_END, false, false, 5 },
    { "HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\n", "", 304, HTTP1_END, true, false,
      0 },
    { "HTTP/1.1 304 Not Modified\r\n\r\n", "", 304, HTTP1_END, true, false, 0 },
    { "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early\r\nLink: x\r\n\r\n" OK11
      "Content-Length: 2\r\n\r\nhi",
      "hi", 200, HTTP1_END, true, false, 0 },
    { "HTTP/1.1 416 x\r\nContent-Length: 0\r\n\r\n", "", 416, HTTP1_END, true, false, 0 },
    { "HTTP/1.1 599 x\r\nContent-Length: 0\r\n\r\n", "", 599, HTTP1_END, true, false, 0 },
    { CHUNKED "F\r\n0123456789abcde\r\nf\r\n0123456789abcde\r\n0\r\n\r\n",
      "0123456789abcde0123456789abcde", 200, HTTP1_END, true, false, 0 },
    { "HTTP/1.1 404\r\nContent-Length: 0\r\n\r\n", "", 404, HTTP1_END, true, false, 0 },
};

static void responses_are_read_at_any_cut(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof wholes / sizeof wholes[0]; i++) {
        const struct whole *w = &wholes[i];
        size_t n = strlen(w->text);

        for (size_t cut = 0; cut <= n + 1; cut++) {
            struct outcome o = feed(w->text, n, cut <= n ? cut : 0, cut <= n ? n : 1, w->to_head,
                                    w->end == HTTP1_END_BY_CLOSE);

            if (o.ends != 1 || o.status != w->status || o.end != w->end ||
                o.reusable != w->reusable || o.left != w->left || o.body_n != strlen(w->body) ||
                memcmp(o.body, w->body, o.body_n) != 0) {
                print_error("response %zu cut %zu: %s %s, ends %u kind %d left %zu body %.*s\n", i,
                            cut, st_name(o.st), http_refusal_name(o.refusal), o.ends, (int)o.end,
                            o.left, (int)o.body_n, o.body);
                fail();
            }
        }
    }
}

static void short_is_never_complete(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof wholes / sizeof wholes[0]; i++) {
        const struct whole *w = &wholes[i];

        if (w->end == HTTP1_END_BY_CLOSE)
            continue;
        for (size_t n = 0; n < strlen(w->text) - w->left; n++) {
            struct outcome o = feed(w->text, n, n, 1, w->to_head, true);

            assert_int_equal(o.ends, 0);
            assert_true(n == 0 ? o.st == ST_EOF : o.st == ST_EPROTO || o.st == ST_EOF);
            /* EOF only where nothing was under way */
            assert_true(o.st != ST_EOF || resp.head_bytes == 0);
        }
    }
}

#define SHAPE(text, why)                           \
    {                                              \
        text, sizeof(text) - 1, HTTP_REFUSED_##why \
    }

static const struct {
    const char *text;
    size_t n;
    enum http_refusal why;
} hostile[] = {
    SHAPE("\r\n" OK11 "\r\n", STATUS_LINE),
    SHAPE("HTTP/1.1\r\n\r\n", STATUS_LINE),
    SHAPE("HTTP/1.1 20\r\n\r\n", STATUS_LINE),
    SHAPE("HTTP/1.1 2000\r\n\r\n", STATUS_LINE),
    SHAPE("HTTP/1.1 099\r\n\r\n", STATUS_LINE),
    SHAPE("HTTP/1.1 600\r\n\r\n", STATUS_LINE),
    SHAPE("HTTP/1.1  200 OK\r\n\r\n", STATUS_LINE),
    SHAPE("HTTP/x.1 200 OK\r\n\r\n", STATUS_LINE),
    SHAPE("HTTP/1x1 200 OK\r\n\r\n", STATUS_LINE),
    SHAPE("HTTP/1.x 200 OK\r\n\r\n", STATUS_LINE),
    SHAPE("HTTP/1.1x200 OK\r\n\r\n", STATUS_LINE),
    SHAPE("HTTP/1.1 2x0 OK\r\n\r\n", STATUS_LINE),
    SHAPE("HTTP/1.1 20x OK\r\n\r\n", STATUS_LINE),
    SHAPE("http/1.1 200 OK\r\n\r\n", STATUS_LINE),
    SHAPE("ICY 200 OK\r\nicy: x\r\n\r\n", STATUS_LINE),
    SHAPE("HTTP/2.0 200 OK\r\n\r\n", VERSION),
    SHAPE("HTTP/0.9 200 OK\r\n\r\n", VERSION),
    SHAPE("HTTP/1.1 101 Switching\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n", INTERIM),
    SHAPE("HTTP/1.1 200 OK\nContent-Length: 0\r\n\r\n", BARE_LF),
    SHAPE(OK11 "A: b\rC: d\r\n\r\n", BARE_CR),
    SHAPE(OK11 "A: \0\r\n\r\n", CONTROL),
    SHAPE(OK11 "A: b\r\n c\r\n\r\n", FOLDED),
    SHAPE(OK11 "A : b\r\n\r\n", SPACE_BEFORE_COLON),
    SHAPE(OK11 ": b\r\n\r\n", NO_NAME),
    SHAPE(OK11 "Ab\r\n\r\n", NO_COLON),
    SHAPE(OK11 "A@: b\r\n\r\n", NAME_SYNTAX),
    SHAPE(OK11 "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n", LENGTH_AND_CODING),
    SHAPE(OK11 "Content-Length: 5\r\nContent-Length: 6\r\n\r\n", LENGTH_TWICE),
    SHAPE(OK11 "Content-Length: 5\r\nContent-Length: 5\r\n\r\n", LENGTH_TWICE),
    SHAPE(OK11 "Content-Length: 5, 5\r\n\r\n", LENGTH_SYNTAX),
    SHAPE(OK11 "Content-Length: -1\r\n\r\n", LENGTH_SYNTAX),
    SHAPE(OK11 "Content-Length: \r\n\r\n", LENGTH_SYNTAX),
    SHAPE(OK11 "Content-Length: 9223372036854775808\r\n\r\n", LENGTH_SYNTAX),
    SHAPE(OK11 "Transfer-Encoding: gzip\r\n\r\n", CODING),
    SHAPE(OK11 "Transfer-Encoding: gzip, chunked\r\n\r\n", CODING),
    SHAPE(OK11 "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n", CODING),
    SHAPE("HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", CODING),
    SHAPE(CHUNKED "\r\n", CHUNK_SIZE),
    SHAPE(CHUNKED "g\r\n", CHUNK_SIZE),
    SHAPE(CHUNKED "-1\r\n", CHUNK_SIZE),
    SHAPE(CHUNKED "+1\r\n", CHUNK_SIZE),
    SHAPE(CHUNKED "0x1\r\n", CHUNK_SIZE),
    SHAPE(CHUNKED " 1\r\n", CHUNK_SIZE),
    SHAPE(CHUNKED "1 \r\n", CHUNK_SIZE),
    SHAPE(CHUNKED ";x\r\n", CHUNK_SIZE),
    SHAPE(CHUNKED "1000000000000000\r\n", CHUNK_SIZE),
    SHAPE(CHUNKED "5\nhello", CHUNK_SIZE),
    SHAPE(CHUNKED "5\rhello", BARE_CR),
    SHAPE(CHUNKED "5;a\nhello", BARE_LF),
    SHAPE(CHUNKED "5;a\0\r\nhello", CONTROL),
    SHAPE(CHUNKED "5\r\nhello0\r\n\r\n", CHUNK_END),
    SHAPE(CHUNKED "5\r\nhello\n0\r\n\r\n", CHUNK_END),
    SHAPE(CHUNKED "5\r\nhello\r0\r\n\r\n", BARE_CR),
    SHAPE(CHUNKED "4\r\nhello\r\n0\r\n\r\n", CHUNK_END),
    SHAPE(CHUNKED "0\r\nA: b\n\r\n", BARE_LF),
    SHAPE(CHUNKED "0\r\n\n", BARE_LF),
    SHAPE(CHUNKED "0\r\nA: b\rC", BARE_CR),
    SHAPE(CHUNKED "0\r\n\rx", BARE_CR),
    SHAPE(CHUNKED "0\r\n : b\r\n\r\n", FOLDED),
    SHAPE(CHUNKED "0\r\n: b\r\n\r\n", NO_NAME),
    SHAPE(CHUNKED "0\r\nA: \x01\r\n\r\n", CONTROL),
};

static void every_hostile_shape_has_its_refusal(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof hostile / sizeof hostile[0]; i++) {
        size_t n = hostile[i].n;

        for (size_t cut = 0; cut <= n + 1; cut++) {
            struct outcome o =
                feed(hostile[i].text, n, cut <= n ? cut : 0, cut <= n ? n : 1, false, false);
            struct http1_event ev;
            struct rd none = rd_init("", 0);

            if (o.st >= ST_OK || o.refusal != hostile[i].why || o.ends > 0) {
                print_error("shape %zu cut %zu: %s %s instead of %s\n", i, cut, st_name(o.st),
                            http_refusal_name(o.refusal), http_refusal_name(hostile[i].why));
                fail();
            }
            assert_int_equal(http1_resp_next(&resp, &none, &ev), o.st); /* stays broken */
        }
    }
}

static void is_kept(enum http_reply_field f, const char *value)
{
    struct slice s = resp.reply.kept[f];

    assert_int_equal(s.n, strlen(value));
    assert_memory_equal(s.p, value, s.n);
}

static void headers_of_interest_are_kept(void **state)
{
    static const char text[] =
        OK11 "Content-Type: video/mp4\r\nETag: \"a\"\r\nEtag: \"b\"\r\ncache-control: public\r\n"
             "Cache-Control: max-age=5\r\nCACHE-CONTROL:\r\nVary: Origin\r\nVary: Accept\r\n"
             "Set-Cookie: a=b\r\nAge: \t7 \r\nContent-Range: bytes 0-4/9\r\nX-Y: z\r\n"
             "Content-Length: 5\r\n\r\nhello";

    (void)state;
    for (size_t step = 1; step < sizeof text; step++) {
        struct outcome o = feed(text, sizeof text - 1, 0, step, false, false);

        assert_int_equal(o.ends, 1);
        assert_int_equal(resp.reply.fields, 13);
        assert_true(resp.reply.set_cookie && resp.reply.has_length);
        assert_int_equal(resp.reply.length, 5);
        is_kept(HTTP_REPLY_CONTENT_TYPE, "video/mp4");
        is_kept(HTTP_REPLY_ETAG, "\"a\"");
        is_kept(HTTP_REPLY_CACHE_CONTROL, "public, max-age=5, ");
        is_kept(HTTP_REPLY_VARY, "Origin, Accept");
        is_kept(HTTP_REPLY_AGE, "7");
        is_kept(HTTP_REPLY_CONTENT_RANGE, "bytes 0-4/9");
        assert_null(resp.reply.kept[HTTP_REPLY_DATE].p);
    }
}

static size_t repeat(char *out, const char *head, const char *piece, size_t times, const char *tail)
{
    size_t n = strlen(head), k = strlen(piece);

    memcpy(out, head, n);
    for (size_t i = 0; i < times; i++, n += k)
        memcpy(out + n, piece, k);
    memcpy(out + n, tail, strlen(tail));
    return n + strlen(tail);
}

static void limited(const char *text, size_t n, enum http_refusal why)
{
    static const size_t steps[] = { 1, 1000, 1u << 20 };

    for (size_t i = 0; i < 3; i++) {
        struct outcome o = feed(text, n, 0, steps[i], false, false);

        assert_true((why == HTTP_REFUSED_NONE) == (o.ends == 1));
        assert_int_equal(o.refusal, why);
    }
}

static void limits_are_exact(void **state)
{
    static char t[40000];
    const char *end = "Content-Length: 0\r\n\r\n";
    size_t fixed = strlen(OK11 "A: \r\n") + strlen(end);

    (void)state;
    limited(t, repeat(t, OK11, "A: b\r\n", 99, end), HTTP_REFUSED_NONE);
    limited(t, repeat(t, OK11, "A: b\r\n", 100, end), HTTP_REFUSED_FIELDS);
    limited(t, repeat(t, OK11 "A: ", "x", 16384 - fixed, "\r\nContent-Length: 0\r\n\r\n"),
            HTTP_REFUSED_NONE);
    limited(t, repeat(t, OK11 "A: ", "x", 16385 - fixed, "\r\nContent-Length: 0\r\n\r\n"),
            HTTP_REFUSED_HEAD_LONG);
    limited(t, repeat(t, OK11, "Vary: 12345678\r\n", 13, end), HTTP_REFUSED_NONE);
    limited(t, repeat(t, OK11, "Vary: 12345678\r\n", 20, end), HTTP_REFUSED_HEAD_LONG);
    limited(t, repeat(t, "", "HTTP/1.1 100 C\r\n\r\n", 8, OK11 "Content-Length: 0\r\n\r\n"),
            HTTP_REFUSED_NONE);
    limited(t, repeat(t, "", "HTTP/1.1 100 C\r\n\r\n", 9, OK11 "Content-Length: 0\r\n\r\n"),
            HTTP_REFUSED_INTERIM);
    limited(t, repeat(t, CHUNKED "0;", "x", 4095, "\r\n\r\n"), HTTP_REFUSED_NONE);
    limited(t, repeat(t, CHUNKED "0;", "x", 4096, "\r\n\r\n"), HTTP_REFUSED_CHUNK_SIZE);
    limited(t, repeat(t, CHUNKED, "1;1234567\r\nx\r\n", 60, "0\r\n\r\n"), HTTP_REFUSED_NONE);
    limited(t, repeat(t, CHUNKED "0\r\n", "x", 4094, "\r\n\r\n"), HTTP_REFUSED_NONE);
    limited(t, repeat(t, CHUNKED "0\r\n", "x", 4095, "\r\n\r\n"), HTTP_REFUSED_TRAILERS);
}

static void extensions_are_bounded_over_the_whole_body(void **state)
{
    struct http1_event ev;
    struct rd in = rd_init(CHUNKED, strlen(CHUNKED));
    enum st st;
    unsigned chunks = 0;

    (void)state;
    http1_resp_init(&resp, false);
    assert_int_equal(http1_resp_next(&resp, &in, &ev), ST_OK);
    do {
        in = rd_init("1;1234567\r\nx\r\n", 14);
        while ((st = http1_resp_next(&resp, &in, &ev)) == ST_OK)
            chunks++;
    } while (st == ST_MORE && chunks < 100000);
    assert_int_equal(st, ST_EPROTO);
    assert_int_equal(chunks, HTTP1_RESP_EXTENSIONS_MAX / 8);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(responses_are_read_at_any_cut),
        cmocka_unit_test(short_is_never_complete),
        cmocka_unit_test(every_hostile_shape_has_its_refusal),
        cmocka_unit_test(headers_of_interest_are_kept),
        cmocka_unit_test(limits_are_exact),
        cmocka_unit_test(extensions_are_bounded_over_the_whole_body),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
