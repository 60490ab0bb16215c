/* The client's response parser: the same result from every split, and no mercy. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "tests/load/resp.h"

struct got {
    char body[64];
    size_t n;
};

static void collect(void *ctx, const uint8_t *p, size_t n)
{
    struct got *g = ctx;

    assert_true(g->n + n <= sizeof g->body);
    memcpy(g->body + g->n, p, n);
    g->n += n;
}

/* Feeds text in two pieces from exact-size copies; *left is what was not the response's. */
static enum st feed(struct resp *r, struct got *g, const char *text, size_t split, size_t *left)
{
    size_t len = strlen(text), sizes[2] = { split, len - split };
    enum st st = ST_MORE;

    resp_init(r);
    g->n = *left = 0;
    for (int i = 0; i < 2; i++) {
        uint8_t *copy = malloc(sizes[i] + (sizes[i] == 0));
        const uint8_t *p = copy;
        size_t n = sizes[i];

        memcpy(copy, text + (i == 0 ? 0 : split), n);
        if (st == ST_MORE)
            st = resp_feed(r, &p, &n, collect, g);
        *left += n;
        free(copy);
    }
    return st;
}

static const struct {
    const char *text;
    enum st st;
    int status;
    const char *body;
    size_t left;
    bool keep;
    enum st at_end;
} table[] = {
    { "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabcHTTP", ST_OK, 200, "abc", 4, true, ST_OK },
    { "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nabc", ST_MORE, 200, "abc", 0, true, ST_EPROTO },
    { "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3;x\r\nabc\r\nA\r\n0123456789\r\n0\r\n"
      "T: 1\r\n\r\n",
      ST_OK, 200, "abc0123456789", 0, true, ST_OK },
    { "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n", ST_MORE, 200, "abc", 0,
      true, ST_EPROTO },
    { "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n", ST_MORE, 200, "abc",
      0, true, ST_EPROTO },
    { "HTTP/1.0 200 OK\r\n\r\nall", ST_MORE, 200, "all", 0, false, ST_OK },
    { "HTTP/1.1 204 No\r\nConnection: close\r\n\r\n", ST_OK, 204, "", 0, false, ST_OK },
    { "HTTP/1.1 100 C\r\n\r\nHTTP/1.1 404 N\r\nContent-Length: 0\r\n\r\n", ST_OK, 404, "", 0, true,
      ST_OK },
    { "HTTP/1.1 206 P\r\nContent-Range: bytes 7-8/9\r\nContent-Length: 2\r\n\r\nhi", ST_OK, 206,
      "hi", 0, true, ST_OK },
    { "HTTP/1.1 200", ST_MORE, 0, "", 0, true, ST_EPROTO },
    { "HTTP/2 200\r\n", ST_EPROTO, 0, "", 0, true, ST_EPROTO },
    { "HTTP/1.1 999 x\r\n", ST_EPROTO, 999, "", 0, true, ST_EPROTO },
    { "HTTP/1.1 200 OK\r\nno colon\r\n", ST_EPROTO, 200, "", 0, true, ST_EPROTO },
    { "HTTP/1.1 200 OK\r\nContent-Length: -1\r\n", ST_EPROTO, 200, "", 0, true, ST_EPROTO },
    { "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n", ST_EPROTO, 200,
      "", 0, true, ST_EPROTO },
    { "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\n", ST_EPROTO, 200, "", 0, true,
      ST_EPROTO },
    { "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nabc\r\n", ST_EPROTO, 200, "a", 0,
      true, ST_EPROTO },
};

static void every_split_gives_the_same(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof table / sizeof table[0]; i++) {
        for (size_t split = 0; split <= strlen(table[i].text); split++) {
            struct resp r;
            struct got g;
            size_t left;

            assert_int_equal(feed(&r, &g, table[i].text, split, &left), table[i].st);
            assert_int_equal(g.n, strlen(table[i].body));
            assert_memory_equal(g.body, table[i].body, g.n);
            if (table[i].st < 0)
                continue;
            assert_int_equal(r.status, table[i].status);
            assert_int_equal(left, table[i].left);
            assert_int_equal(r.keep, table[i].keep);
            assert_int_equal(r.first, r.status == 206 ? 7 : 0);
            assert_int_equal(resp_end(&r), table[i].at_end);
        }
    }
}

static void a_line_without_end_is_refused(void **state)
{
    struct resp r;
    struct got g = { .n = 0 };
    uint8_t *big = malloc(5000);
    const uint8_t *p = big;
    size_t n = 5000;

    (void)state;
    memset(big, 'H', 5000);
    resp_init(&r);
    assert_int_equal(resp_feed(&r, &p, &n, collect, &g), ST_EPROTO);
    free(big);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_split_gives_the_same),
        cmocka_unit_test(a_line_without_end_is_refused),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
