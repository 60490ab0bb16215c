/* What the scripted origin reads of a request, and what it refuses. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "tests/load/request.h"

static enum st parse(struct request *r, const char *text)
{
    char *copy = strdup(text);
    enum st st = request_parse(r, copy);

    free(copy);
    return st;
}

static void what_tests_send_is_read(void **state)
{
    struct request r;

    (void)state;
    assert_int_equal(parse(&r, "GET /vod/b/1?x=2 HTTP/1.1\r\nHost: h\r\nrange:bytes=1-2\r\n"
                               "If-Range: \"q\"\r\nIf-None-Match:\t*\r\n\r\n"),
                     ST_OK);
    assert_string_equal(r.target, "/vod/b/1?x=2");
    assert_string_equal(r.range, "bytes=1-2");
    assert_string_equal(r.if_range, "\"q\"");
    assert_string_equal(r.if_none_match, "*");
    assert_false(r.head_only || r.http10 || r.close);
    assert_int_equal(parse(&r, "HEAD / HTTP/1.1\r\nConnection: TE, Close\r\n\r\n"), ST_OK);
    assert_true(r.head_only && r.close);
    assert_string_equal(r.range, "");
}

static void old_clients_close_unless_they_say_otherwise(void **state)
{
    struct request r;

    (void)state;
    assert_int_equal(parse(&r, "GET / HTTP/1.0\r\n\r\n"), ST_OK);
    assert_true(r.http10 && r.close);
    assert_int_equal(parse(&r, "GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n"), ST_OK);
    assert_true(r.http10 && !r.close);
}

static void what_it_cannot_answer_is_refused(void **state)
{
    static const char *const table[] = {
        "",
        "\r\n\r\n",
        "GET /\r\n\r\n",
        "GET / HTTP/2.0\r\n\r\n",
        "POST / HTTP/1.1\r\n\r\n",
        "GET http://h/ HTTP/1.1\r\n\r\n",
        "GET /\" HTTP/1.1\r\n\r\n",
        "GET /\\ HTTP/1.1\r\n\r\n",
        "GET /\x80 HTTP/1.1\r\n\r\n",
        "GET / HTTP/1.1\r\nContent-Length: 3\r\n\r\n",
        "GET / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n",
    };
    struct request r;

    (void)state;
    for (size_t i = 0; i < sizeof table / sizeof table[0]; i++)
        assert_int_equal(parse(&r, table[i]), ST_EPROTO);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_tests_send_is_read),
        cmocka_unit_test(old_clients_close_unless_they_say_otherwise),
        cmocka_unit_test(what_it_cannot_answer_is_refused),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
