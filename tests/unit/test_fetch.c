/* Fills from outside origins over HTTP/1.1. */
#include "tests/unit/fetch_world.h"

static void a_body_with_a_length_is_filled_while_it_arrives(void **state)
{
    struct world w;
    struct view *v;
    int fd;

    (void)state;
    world_open(&w, "");
    v = want(&w, "/vod/a?x=1");
    fd = accept_one(&w, &w.origin);
    const char *req = read_request(&w, fd);
    char host[64];

    (void)snprintf(host, sizeof host, "\r\nHost: 127.0.0.1:%u\r\n", (unsigned)w.origin.port);
    assert_true(strncmp(req, "GET /vod/a?x=1 HTTP/1.1\r\n", 25) == 0);
    assert_non_null(strstr(req, host));
    assert_non_null(strstr(req, "\r\nAccept-Encoding: identity\r\n"));
    assert_null(strstr(req, "Range:"));
    IS(v, FETCHING);
    say(&w, fd,
        "HTTP/1.1 200 OK\r\nContent-Length: 10\r\nContent-Type: text/x\r\nETag: \"e\"\r\n"
        "Cache-Control: max-age=60\r\nContent-Encoding: gzip\r\nSet-Trap: 1\r\n\r\nhello");
    IS(v, STREAMING);
    assert_string_equal(body_of(v), "hello");
    const struct gobj_head *h = gobj_head(view_gobj(v));

    assert_int_equal(h->status, 200);
    assert_int_equal(h->length, 10);
    assert_string_equal(h->etag, "\"e\"");
    assert_string_equal(h->content_type, "text/x");
    assert_string_equal(h->cache_control, "max-age=60");
    assert_string_equal(h->fields, "content-encoding: gzip\r\n");
    assert_true(h->shared && h->has_age);
    assert_int_equal(COUNT(&w, cache_fills[METRIC_TIER_EDGE]), 0);
    say(&w, fd, "world");
    IS(v, COMPLETE);
    assert_string_equal(body_of(v), "helloworld");
    assert_true(gobj_fresh_until(view_gobj(v)) == world_now_us + 60 * SEC_US);
    assert_int_equal(COUNT(&w, cache_fills[METRIC_TIER_EDGE]), 1);
    assert_int_equal(COUNT(&w, upstream_requests[METRIC_UPSTREAM_2XX]), 1);
    assert_int_equal(fetch_fills(&w.l), 0);
    let_go(&v);
    hang_up(&w, &fd);
    world_close(&w);
}

static void a_chunked_body_is_complete_with_its_last_chunk(void **state)
{
    struct world w;
    struct view *v;
    int fd;

    (void)state;
    world_open(&w, "");
    v = want(&w, "/vod/a");
    fd = accept_one(&w, &w.origin);
    (void)read_request(&w, fd);
    say(&w, fd,
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nETag: \"e\"\r\n\r\n5\r\nhello\r\n");
    assert_string_equal(body_of(v), "hello");
    assert_int_equal(gobj_head(view_gobj(v))->length, -1);
    say(&w, fd, "7\r\n, wor");
    assert_string_equal(body_of(v), "hello, wor");
    say(&w, fd, "ld\r\n0\r\n");
    assert_string_equal(body_of(v), "hello, world");
    IS(v, STREAMING);
    say(&w, fd, "\r\n");
    IS(v, COMPLETE);
    let_go(&v);
    hang_up(&w, &fd);
    world_close(&w);
}

static void a_body_that_ends_early_is_never_complete(void **state)
{
    static const char *const heads[] = {
        "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhello",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n",
    };

    (void)state;
    for (size_t i = 0; i < 2 * sizeof heads / sizeof heads[0]; i++) {
        struct world w;
        struct view *v;
        int fd;

        world_open(&w, "");
        v = want(&w, "/vod/a");
        fd = accept_one(&w, &w.origin);
        (void)read_request(&w, fd);
        say(&w, fd, heads[i / 2]);
        assert_string_equal(body_of(v), "hello");
        if (i % 2 == 0)
            hang_up(&w, &fd);
        else
            reset(&w, &fd);
        IS(v, FAILED);
        assert_true(gobj_is_dead(view_gobj(v)));
        assert_int_equal(COUNT(&w, cache_fills[METRIC_TIER_EDGE]), 0);
        assert_int_equal(
            COUNT(
                &w,
                cache_fill_errors[i % 2 == 0 ? METRIC_FILL_ERROR_SHORT : METRIC_FILL_ERROR_RESET]),
            1);
        let_go(&v);
        world_close(&w);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_body_with_a_length_is_filled_while_it_arrives),
        cmocka_unit_test(a_chunked_body_is_complete_with_its_last_chunk),
        cmocka_unit_test(a_body_that_ends_early_is_never_complete),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
