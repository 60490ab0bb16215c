/* Fills from outside origins over HTTP/1.1. */
#include "tests/unit/fetch_world.h"

#include "edge/up_h1.h"
#include "edge/up_h2.h"

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

/* Asks for key, takes the request and answers with these bytes. */
static struct view *answer(struct world *w, const char *key, int *fd, const char *bytes)
{
    struct view *v = want(w, key);

    *fd = accept_one(w, &w->origin);
    (void)read_request(w, *fd);
    say(w, *fd, bytes);
    return v;
}

static void two_who_ask_are_one_request(void **state)
{
    struct world w;
    struct view *a, *b;
    int fd;

    (void)state;
    world_open(&w, "");
    a = want(&w, "/vod/a");
    b = want(&w, "/vod/a");
    assert_ptr_equal(a, b);
    fd = accept_one(&w, &w.origin);
    assert_true(nobody_connects(&w, &w.origin));
    (void)read_request(&w, fd);
    say(&w, fd, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\nETag: \"e\"\r\n\r\n");
    IS(a, COMPLETE);
    let_go(&a);
    let_go(&b);
    hang_up(&w, &fd);
    world_close(&w);
}

static void every_cut_of_an_answer_gives_the_same_body(void **state)
{
    static const char bytes[] =
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nETag: \"e\"\r\n\r\n"
        "5\r\nhello\r\n7;x=y\r\n, world\r\n0\r\nX: y\r\n\r\n";

    (void)state;
    for (size_t cut = 1; cut < sizeof bytes - 1; cut++) {
        struct world w;
        struct view *v;
        char part[sizeof bytes];
        int fd;

        memcpy(part, bytes, cut);
        part[cut] = '\0';
        world_open(&w, "");
        v = answer(&w, "/vod/a", &fd, part);
        say(&w, fd, bytes + cut);
        IS(v, COMPLETE);
        assert_string_equal(body_of(v), "hello, world");
        let_go(&v);
        hang_up(&w, &fd);
        world_close(&w);
    }
}

static void a_body_that_ends_with_the_connection_is_not_kept(void **state)
{
    struct world w;
    struct view *v;
    int fd;

    (void)state;
    world_open(&w, "");
    v = answer(&w, "/vod/a", &fd,
               "HTTP/1.1 200 OK\r\nETag: \"e\"\r\nCache-Control: max-age=60\r\n\r\nhello");
    IS(v, STREAMING);
    assert_false(gobj_is_dead(view_gobj(v))); /* those who come now may join */
    hang_up(&w, &fd);
    IS(v, COMPLETE);
    assert_string_equal(body_of(v), "hello");
    assert_true(gobj_is_dead(view_gobj(v)));
    let_go(&v);
    world_close(&w);
}

static void a_body_that_ends_with_a_reset_fails(void **state)
{
    struct world w;
    struct view *v;
    int fd;

    (void)state;
    world_open(&w, "");
    v = answer(&w, "/vod/a", &fd, "HTTP/1.1 200 OK\r\n\r\nhello");
    reset(&w, &fd);
    IS(v, FAILED);
    let_go(&v);
    world_close(&w);
}

static void bytes_past_the_length_are_not_of_the_body(void **state)
{
    struct world w;
    struct view *v, *next;
    int fd, other;

    (void)state;
    world_open(&w, "");
    v = answer(&w, "/vod/a", &fd,
               "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nETag: \"e\"\r\n\r\nhello"
               "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil");
    IS(v, COMPLETE);
    assert_string_equal(body_of(v), "hello");
    is_closed(&w, fd);
    next = want(&w, "/vod/b");
    other = accept_one(&w, &w.origin); /* a connection that is out of step is not used again */
    let_go(&v);
    let_go(&next);
    hang_up(&w, &fd);
    hang_up(&w, &other);
    world_close(&w);
}

static void what_http_does_not_allow_is_a_bad_gateway(void **state)
{
    static const char *const answers[] = {
        "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello",
        "HTTP/1.1 200 OK\nContent-Length: 5\n\nhello",
        "HTTP/1.1 101 Switching\r\n\r\n",
        "HTTP/1.1 206 Partial\r\nContent-Range: bytes 0-4/9\r\nContent-Length: 5\r\n\r\nhello",
        "HTTP/1.1 304 Not Modified\r\n\r\n",
        "SSH-2.0-x\r\n\r\n",
    };

    (void)state;
    for (size_t i = 0; i < sizeof answers / sizeof answers[0]; i++) {
        struct world w;
        struct view *v;
        int fd;

        world_open(&w, "");
        v = answer(&w, "/vod/a", &fd, answers[i]);
        is_negative(v, 502);
        let_go(&v);
        hang_up(&w, &fd);
        world_close(&w);
    }
}

static void a_missing_page_is_remembered_for_a_moment(void **state)
{
    struct world w;
    struct view *v;
    int fd;

    (void)state;
    world_open(&w, "    not_found_ttl: 500ms\n");
    v = answer(&w, "/vod/a", &fd, "HTTP/1.1 404 Not Found\r\nContent-Length: 4\r\n\r\ngone");
    is_negative(v, 404);
    pass_time(&w, 400 * MS_US);
    assert_false(gobj_is_dead(view_gobj(v)));
    pass_time(&w, 200 * MS_US);
    assert_true(gobj_is_dead(view_gobj(v)));
    let_go(&v);
    v = want(&w, "/vod/a"); /* the page was drained: the same connection serves */
    assert_non_null(strstr(read_request(&w, fd), "GET /vod/a "));
    say(&w, fd,
        "HTTP/1.1 410 Gone\r\nCache-Control: max-age=5\r\nETag: \"x\"\r\nContent-Length: "
        "0\r\n\r\n");
    is_negative(v, 410);
    pass_time(&w, 4 * SEC_US);
    assert_false(gobj_is_dead(view_gobj(v)));
    pass_time(&w, 2 * SEC_US);
    assert_true(gobj_is_dead(view_gobj(v)));
    let_go(&v);
    hang_up(&w, &fd);
    world_close(&w);
}

static void failures_are_passed_on_and_soon_forgotten(void **state)
{
    static const struct {
        const char *answer;
        int status;
    } t[] = {
        { "HTTP/1.1 500 Oops\r\nContent-Length: 0\r\n\r\n", 500 },
        { "HTTP/1.1 503 Busy\r\nRetry-After: 7\r\nContent-Length: 0\r\n\r\n", 503 },
        { "HTTP/1.1 403 No\r\nContent-Length: 0\r\n\r\n", 403 },
        { "HTTP/1.1 300 Many\r\nContent-Length: 0\r\n\r\n", 502 },
    };

    (void)state;
    for (size_t i = 0; i < sizeof t / sizeof t[0]; i++) {
        struct world w;
        struct view *v;
        int fd;

        world_open(&w, "");
        v = answer(&w, "/vod/a", &fd, t[i].answer);
        is_negative(v, t[i].status);
        if (t[i].status == 503)
            assert_string_equal(gobj_head(view_gobj(v))->fields, "retry-after: 7\r\n");
        pass_time(&w, 200 * MS_US);
        assert_false(gobj_is_dead(view_gobj(v)));
        pass_time(&w, 250 * MS_US);
        assert_true(gobj_is_dead(view_gobj(v)));
        let_go(&v);
        hang_up(&w, &fd);
        world_close(&w);
    }
}

static void an_origin_that_refuses_is_a_bad_gateway(void **state)
{
    struct world w;
    struct view *v;

    (void)state;
    w.origin = server_open();
    (void)close(w.origin.fd);
    w.origin.fd = -1;
    world_open_with(&w, "", "");
    v = want(&w, "/vod/a");
    TURN_UNTIL(&w, state_of(v) == GOBJ_NEGATIVE);
    is_negative(v, 502);
    assert_int_equal(COUNT(&w, cache_fill_errors[METRIC_FILL_ERROR_CONNECT]), 1);
    assert_int_equal(COUNT(&w, upstream_requests[METRIC_UPSTREAM_ERROR]), 1);
    let_go(&v);
    world_close(&w);
}

/* A host of our own making: nobody listens at the first of its addresses. */
struct probe {
    struct up_exchange x;
    bool sent;
};

static void on_sent(struct up_exchange *x) { CONTAINER_OF(x, struct probe, x)->sent = true; }

static void each_address_of_a_host_is_tried(void **state)
{
    static const struct up_sink sink = { .sent = on_sent };
    struct world w;
    struct server gone = server_open();
    struct route_host host = { .url = "http://x:1", .authority = "x", .name = "x", .n_addrs = 2 };
    struct err e;
    int n, fd;

    (void)state;
    world_open(&w, "");
    assert_int_equal(addr_resolve("127.0.0.1", gone.port, &host.addr[0], 1, &n, &e), ST_OK);
    assert_int_equal(addr_resolve("127.0.0.1", w.origin.port, &host.addr[1], 1, &n, &e), ST_OK);
    (void)close(gone.fd);
    for (int h2 = 0; h2 < 2; h2++) {
        struct probe p = { .x = { .sink = &sink, .path = "/" } };
        struct up_h1 *one = h2 == 0 ? up_h1_new(&w.l, &host) : NULL;
        struct up_h2 *two = h2 == 1 ? up_h2_new(&w.l, &host) : NULL;

        assert_int_equal(h2 == 0 ? up_h1_start(one, &p.x) : up_h2_start(two, &p.x), ST_OK);
        fd = accept_one(&w, &w.origin);
        TURN_UNTIL(&w, p.sent);
        if (h2 == 0)
            up_h1_cancel(&p.x);
        else
            up_h2_cancel(&p.x);
        p.sent = false;
        hang_up(&w, &fd);
        pass_time(&w, 200 * MS_US); /* an upstream that never answered is left alone for 0.1 s */
        assert_int_equal(h2 == 0 ? up_h1_start(one, &p.x) : up_h2_start(two, &p.x), ST_OK);
        fd = accept_one(&w, &w.origin); /* the one that answered is tried first */
        if (h2 == 0)
            up_h1_cancel(&p.x);
        else
            up_h2_cancel(&p.x);
        up_h1_free(&one);
        up_h2_free(&two);
        hang_up(&w, &fd);
    }
    world_close(&w);
}

static void an_app_without_an_origin_has_nothing(void **state)
{
    struct world w;
    struct view *v;

    (void)state;
    world_open(&w, "");
    v = want(&w, "/other/a");
    settle(&w);
    is_negative(v, 404);
    let_go(&v);
    world_close(&w);
}

static void an_origin_that_does_not_answer_in_time_is_given_up(void **state)
{
    struct world w;
    struct view *v;
    int fd;

    (void)state;
    world_open(&w, "    response_timeout: 3s\n");
    v = want(&w, "/vod/a");
    fd = accept_one(&w, &w.origin);
    (void)read_request(&w, fd);
    pass_time(&w, 2500 * MS_US);
    IS(v, FETCHING);
    pass_time(&w, 800 * MS_US);
    is_negative(v, 504);
    is_closed(&w, fd);
    assert_int_equal(COUNT(&w, cache_fill_errors[METRIC_FILL_ERROR_TIMEOUT]), 1);
    let_go(&v);
    hang_up(&w, &fd);
    world_close(&w);
}

static void a_body_that_stands_still_is_given_up(void **state)
{
    struct world w;
    struct view *v;
    int fd;

    (void)state;
    world_open(&w, "    fill_stall: 3s\n");
    v = answer(&w, "/vod/a", &fd, "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhel");
    pass_time(&w, 2500 * MS_US);
    say(&w, fd, "lo"); /* this moves the deadline */
    pass_time(&w, 2500 * MS_US);
    IS(v, STREAMING);
    pass_time(&w, 800 * MS_US);
    IS(v, FAILED);
    is_closed(&w, fd);
    let_go(&v);
    hang_up(&w, &fd);
    world_close(&w);
}

static void an_answer_that_says_nothing_is_joined_while_it_fills(void **state)
{
    struct world w;
    struct view *v, *joined;
    int fd;

    (void)state;
    world_open(&w, "");
    v = answer(&w, "/vod/a", &fd, "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhel");
    IS(v, STREAMING);
    joined = want(&w, "/vod/a");
    assert_ptr_equal(v, joined);
    say(&w, fd, "lo");
    IS(v, COMPLETE);
    assert_true(gobj_fresh_until(view_gobj(v)) <= clock_mono_us()); /* asked again next time */
    let_go(&v);
    let_go(&joined);
    hang_up(&w, &fd);
    world_close(&w);
}

static void an_answer_that_is_somebodys_is_not_shared(void **state)
{
    static const char *const heads[] = { "Set-Cookie: a=b\r\n", "Cache-Control: private\r\n",
                                         "Cache-Control: no-store\r\n", "Vary: Cookie\r\n" };

    (void)state;
    for (size_t i = 0; i < sizeof heads / sizeof heads[0]; i++) {
        struct world w;
        struct view *v, *later;
        char bytes[256];
        int fd, other;

        world_open(&w, "");
        (void)snprintf(bytes, sizeof bytes, "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n%s\r\nhel",
                       heads[i]);
        v = answer(&w, "/vod/a", &fd, bytes);
        IS(v, STREAMING);
        assert_false(gobj_head(view_gobj(v))->shared);
        assert_null(strstr(gobj_head(view_gobj(v))->fields, "cookie"));
        later = want(&w, "/vod/a");
        assert_ptr_not_equal(v, later);
        other = accept_one(&w, &w.origin);
        say(&w, fd, "lo"); /* those who waited get all of it */
        IS(v, COMPLETE);
        assert_string_equal(body_of(v), "hello");
        IS(later, FETCHING);
        let_go(&v);
        let_go(&later);
        hang_up(&w, &fd);
        hang_up(&w, &other);
        world_close(&w);
    }
}

static void redirects_are_passed_on(void **state)
{
    struct world w;
    struct view *v;
    int fd;

    (void)state;
    world_open(&w, "");
    v = answer(&w, "/vod/a", &fd,
               "HTTP/1.1 301 Moved\r\nLocation: /vod/b\r\nCache-Control: max-age=60\r\n"
               "Content-Length: 7\r\n\r\nthere->");
    IS(v, COMPLETE);
    assert_int_equal(gobj_head(view_gobj(v))->status, 301);
    assert_string_equal(gobj_head(view_gobj(v))->fields, "location: /vod/b\r\n");
    assert_string_equal(body_of(v), "");
    assert_false(gobj_is_dead(view_gobj(v)));
    let_go(&v);
    v = want(&w, "/vod/c");
    (void)read_request(&w, fd);
    say(&w, fd, "HTTP/1.1 302 Found\r\nLocation: /vod/b\r\nContent-Length: 0\r\n\r\n");
    IS(v, COMPLETE);
    assert_true(gobj_is_dead(view_gobj(v)));
    let_go(&v);
    hang_up(&w, &fd);
    world_close(&w);
}

static void what_is_too_large_is_refused(void **state)
{
    struct world w;
    struct view *v;
    int fd;
    char *big = malloc(600000);

    (void)state;
    assert_non_null(big);
    memset(big, 'x', 599999);
    big[599999] = '\0';
    world_open(&w, "");
    v = answer(&w, "/vod/a", &fd, "HTTP/1.1 200 OK\r\nContent-Length: 8388609\r\n\r\n");
    is_negative(v, 502);
    assert_int_equal(COUNT(&w, limit_hits[METRIC_LIMIT_OBJECT_BYTES]), 1);
    let_go(&v);
    hang_up(&w, &fd);
    store_set_limits(w.store, 64 << 20, 500000);
    v = answer(&w, "/vod/b", &fd, "HTTP/1.1 200 OK\r\nETag: \"e\"\r\n\r\n");
    say(&w, fd, big);
    IS(v, FAILED); /* it had not said how large it is */
    assert_int_equal(COUNT(&w, limit_hits[METRIC_LIMIT_OBJECT_BYTES]), 2);
    assert_int_equal(COUNT(&w, cache_fill_errors[METRIC_FILL_ERROR_SIZE]), 2);
    let_go(&v);
    hang_up(&w, &fd);
    world_close(&w);
    free(big);
}

static void without_memory_it_waits_and_goes_on(void **state)
{
    static const char *const framing[] = { "Content-Length: 40000\r\n",
                                           "Transfer-Encoding: chunked\r\n" };
    char *body = malloc(40001);

    (void)state;
    assert_non_null(body);
    memset(body, 'x', 40000);
    body[40000] = '\0';
    for (int i = 0; i < 4; i++) {
        struct world w;
        struct view *v;
        char head[128];
        int fd;

        world_open(&w, "    fill_stall: 3s\n");
        (void)snprintf(head, sizeof head, "HTTP/1.1 200 OK\r\nETag: \"e\"\r\n%s\r\n%s",
                       framing[i % 2], i % 2 == 0 ? "" : "9c40\r\n");
        mem_pool_set_limit(&w.pool, 1);
        v = answer(&w, "/vod/a", &fd, head);
        say(&w, fd, body);
        if (i % 2 == 1)
            say(&w, fd, "\r\n0\r\n\r\n");
        IS(v, STREAMING);
        assert_string_equal(body_of(v), "");
        pass_time(&w, 1000 * MS_US);
        IS(v, STREAMING);
        assert_int_equal(COUNT(&w, limit_hits[METRIC_LIMIT_MEMORY]), 1);
        if (i < 2) {
            mem_pool_set_limit(&w.pool, 64 << 20);
            pass_time(&w, 50 * MS_US);
            IS(v, COMPLETE);
            assert_int_equal(strlen(body_of(v)), 40000);
        } else {
            for (int k = 0; k < 60; k++)
                pass_time(&w, 50 * MS_US);
            IS(v, FAILED);
            assert_int_equal(COUNT(&w, cache_fill_errors[METRIC_FILL_ERROR_MEMORY]), 1);
        }
        let_go(&v);
        hang_up(&w, &fd);
        world_close(&w);
    }
    free(body);
}

static void an_object_that_is_unlinked_ends_its_fill(void **state)
{
    struct world w;
    struct view *v;
    int fd;

    (void)state;
    world_open(&w, "");
    v = answer(&w, "/vod/a", &fd,
               "HTTP/1.1 200 OK\r\nETag: \"e\"\r\nContent-Length: 10\r\n\r\nhello");
    store_unlink(&w.l, view_gobj(v));
    IS(v, FAILED);
    is_closed(&w, fd);
    assert_int_equal(fetch_fills(&w.l), 0);
    let_go(&v);
    v = want(&w, "/vod/b");
    settle(&w);
    store_unlink(&w.l, view_gobj(v)); /* before there is a head */
    IS(v, FAILED);
    let_go(&v);
    hang_up(&w, &fd);
    world_close(&w);
}

static void the_end_of_the_loop_ends_what_is_under_way(void **state)
{
    struct world w;
    struct view *a, *b;
    struct gobj *oa, *ob;
    int fd;

    (void)state;
    world_open(&w, "");
    a = answer(&w, "/vod/a", &fd,
               "HTTP/1.1 200 OK\r\nETag: \"e\"\r\nContent-Length: 10\r\n\r\nhello");
    b = want(&w, "/vod/b");
    settle(&w);
    oa = gobj_ref(view_gobj(a));
    ob = gobj_ref(view_gobj(b));
    let_go(&a);
    let_go(&b);
    world_close_early(&w);
    assert_int_equal(gobj_now(oa).state, GOBJ_FAILED);
    assert_int_equal(gobj_now(ob).state, GOBJ_FAILED);
    gobj_unref(&oa);
    gobj_unref(&ob);
    world_close_late(&w);
    (void)close(fd);
}

/* --- connections --- */

static void a_connection_is_used_again(void **state)
{
    struct world w;
    struct view *v;
    int fd = -1;

    (void)state;
    world_open(&w, "");
    for (int i = 0; i < 3; i++) {
        char key[16];

        (void)snprintf(key, sizeof key, "/vod/%d", i);
        v = want(&w, key);
        if (i == 0)
            fd = accept_one(&w, &w.origin);
        assert_non_null(strstr(read_request(&w, fd), key));
        say(&w, fd, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nETag: \"e\"\r\n\r\nok");
        IS(v, COMPLETE);
        let_go(&v);
    }
    assert_true(nobody_connects(&w, &w.origin));
    pass_time(&w, 29 * SEC_US);
    assert_int_equal(recv(fd, &(char){ 0 }, 1, 0), -1);
    pass_time(&w, 2 * SEC_US);
    is_closed(&w, fd);
    hang_up(&w, &fd);
    world_close(&w);
}

static void a_connection_that_is_to_be_closed_is_not_used_again(void **state)
{
    static const char *const answers[] = {
        "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\nETag: \"e\"\r\n\r\nok",
        "HTTP/1.0 200 OK\r\nContent-Length: 2\r\nETag: \"e\"\r\n\r\nok",
    };

    (void)state;
    for (size_t i = 0; i < sizeof answers / sizeof answers[0]; i++) {
        struct world w;
        struct view *v;
        int fd;

        world_open(&w, "");
        v = answer(&w, "/vod/a", &fd, answers[i]);
        IS(v, COMPLETE);
        is_closed(&w, fd);
        let_go(&v);
        hang_up(&w, &fd);
        world_close(&w);
    }
}

static void a_kept_connection_that_dies_is_tried_once_more(void **state)
{
    struct world w;
    struct view *v;
    int fd, other;

    (void)state;
    world_open(&w, "");
    v = answer(&w, "/vod/a", &fd, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nETag: \"e\"\r\n\r\nok");
    let_go(&v);
    v = want(&w, "/vod/b");
    (void)read_request(&w, fd);
    hang_up(&w, &fd); /* instead of an answer */
    other = accept_one(&w, &w.origin);
    assert_non_null(strstr(read_request(&w, other), "GET /vod/b "));
    IS(v, FETCHING);
    hang_up(&w, &other); /* a new connection: this is the origin's failure */
    is_negative(v, 502);
    assert_true(nobody_connects(&w, &w.origin));
    assert_int_equal(COUNT(&w, upstream_requests[METRIC_UPSTREAM_ERROR]), 1);
    let_go(&v);
    world_close(&w);
}

static void no_more_connections_than_allowed_and_no_longer_queue(void **state)
{
    struct world w;
    struct view *v[4];
    int fd[2];
    char key[16];

    (void)state;
    world_open(&w, "    upstream_connections: 2\n    pending_lookups: 1\n");
    for (int i = 0; i < 4; i++) {
        (void)snprintf(key, sizeof key, "/vod/%d", i);
        v[i] = want(&w, key);
        if (i < 2)
            fd[i] = accept_one(&w, &w.origin);
    }
    assert_true(nobody_connects(&w, &w.origin));
    is_negative(v[3], 503);
    assert_int_equal(COUNT(&w, limit_hits[METRIC_LIMIT_PENDING_LOOKUPS]), 1);
    IS(v[2], FETCHING);
    (void)read_request(&w, fd[1]);
    say(&w, fd[1], "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nETag: \"e\"\r\n\r\nok");
    assert_non_null(strstr(read_request(&w, fd[1]), "GET /vod/2 ")); /* its turn */
    say(&w, fd[1], "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nETag: \"e\"\r\n\r\nok");
    IS(v[2], COMPLETE);
    hang_up(&w, &fd[0]);
    hang_up(&w, &fd[1]);
    for (int i = 0; i < 4; i++)
        let_go(&v[i]);
    world_close(&w);
}

static void what_comes_before_the_request_is_no_answer(void **state)
{
    struct world w;
    struct view *v;
    int fd, other;

    (void)state;
    world_open(&w, "");
    v = answer(&w, "/vod/a", &fd, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nETag: \"e\"\r\n\r\nok");
    let_go(&v);
    v = want(&w, "/vod/b"); /* its letter is read before what now comes on the idle connection */
    say(&w, fd, "HTTP/1.1 200 OK\r\nContent-Length: 4\r\nETag: \"e\"\r\n\r\nevil");
    other = accept_one(&w, &w.origin);
    (void)read_request(&w, other);
    IS(v, FETCHING);
    is_closed(&w, fd);
    let_go(&v);
    hang_up(&w, &fd);
    hang_up(&w, &other);
    world_close(&w);
}

static void a_connection_that_closes_makes_room_for_the_next(void **state)
{
    struct world w;
    struct view *v, *next;
    int fd;

    (void)state;
    world_open(&w, "    upstream_connections: 1\n");
    v = want(&w, "/vod/a");
    next = want(&w, "/vod/b");
    fd = accept_one(&w, &w.origin);
    (void)read_request(&w, fd);
    say(&w, fd,
        "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\nETag: \"e\"\r\n\r\nok");
    IS(v, COMPLETE);
    hang_up(&w, &fd);
    fd = accept_one(&w, &w.origin);
    assert_non_null(strstr(read_request(&w, fd), "GET /vod/b "));
    let_go(&v);
    let_go(&next);
    hang_up(&w, &fd);
    world_close(&w);
}

static void a_long_page_nobody_wants_costs_the_connection(void **state)
{
    struct world w;
    struct view *v;
    int fd;

    (void)state;
    world_open(&w, "");
    v = answer(&w, "/vod/a", &fd, "HTTP/1.1 404 Not Found\r\nContent-Length: 100000\r\n\r\n");
    is_negative(v, 404);
    is_closed(&w, fd);
    let_go(&v);
    hang_up(&w, &fd);
    char *page = malloc(70001);

    assert_non_null(page);
    memset(page, 'x', 70000);
    page[70000] = '\0';
    v = answer(&w, "/vod/c", &fd,
               "HTTP/1.1 404 Not Found\r\nTransfer-Encoding: chunked\r\n\r\n11170\r\n");
    is_negative(v, 404);
    say(&w, fd, page); /* it did not say how long it would be */
    is_closed(&w, fd);
    let_go(&v);
    hang_up(&w, &fd);
    free(page);
    v = answer(&w, "/vod/b", &fd, "HTTP/1.1 404 Not Found\r\nContent-Length: 100\r\n\r\n");
    pass_time(&w, 1500 * MS_US); /* drained for a while */
    assert_int_equal(recv(fd, &(char){ 0 }, 1, 0), -1);
    pass_time(&w, 1500 * MS_US);
    is_closed(&w, fd);
    let_go(&v);
    hang_up(&w, &fd);
    world_close(&w);
}

static void an_origin_that_keeps_failing_is_left_alone(void **state)
{
    struct world w;
    struct view *v;
    char key[16];
    int fd;

    (void)state;
    world_open(&w, "");
    for (int i = 0; i < 5; i++) {
        (void)snprintf(key, sizeof key, "/vod/%d", i);
        v = answer(&w, key, &fd,
                   "HTTP/1.1 500 Oops\r\nConnection: close\r\nContent-Length: 0\r\n\r\n");
        is_negative(v, 500);
        let_go(&v);
        hang_up(&w, &fd);
    }
    v = want(&w, "/vod/x");
    assert_true(nobody_connects(&w, &w.origin));
    is_negative(v, 502);
    let_go(&v);
    pass_time(&w, 1100 * MS_US);
    v = want(&w, "/vod/y"); /* one is let through */
    fd = accept_one(&w, &w.origin);
    struct view *other = want(&w, "/vod/z");
    settle(&w);
    is_negative(other, 502);
    (void)read_request(&w, fd);
    say(&w, fd, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\nETag: \"e\"\r\n\r\n");
    IS(v, COMPLETE);
    let_go(&v);
    let_go(&other);
    v = want(&w, "/vod/u");
    (void)read_request(&w, fd); /* and then all are */
    let_go(&v);
    hang_up(&w, &fd);
    world_close(&w);
}

static void a_trial_that_is_given_up_is_not_the_last(void **state)
{
    struct world w;
    struct view *v;
    char key[16];
    int fd, other;

    (void)state;
    world_open(&w, "");
    for (int i = 0; i < 5; i++) {
        (void)snprintf(key, sizeof key, "/vod/%d", i);
        v = answer(&w, key, &fd,
                   "HTTP/1.1 500 Oops\r\nConnection: close\r\nContent-Length: 0\r\n\r\n");
        let_go(&v);
        hang_up(&w, &fd);
    }
    pass_time(&w, 1100 * MS_US);
    v = want(&w, "/vod/x");
    fd = accept_one(&w, &w.origin);
    (void)read_request(&w, fd);       /* or its connection would serve the next one */
    store_unlink(&w.l, view_gobj(v)); /* nobody will hear what the host would have said */
    let_go(&v);
    v = want(&w, "/vod/y");
    other = accept_one(&w, &w.origin);
    IS(v, FETCHING);
    let_go(&v);
    hang_up(&w, &fd);
    hang_up(&w, &other);
    world_close(&w);
}

struct sleeper {
    struct view_waiter wait;
    int woken;
};

static void count_wake(struct view_waiter *w) { CONTAINER_OF(w, struct sleeper, wait)->woken++; }

static void who_waits_is_woken_once_for_each_read(void **state)
{
    struct world w;
    struct view *v;
    struct sleeper s = { .wait = { .wake = count_wake } };
    int fd;

    (void)state;
    world_open(&w, "");
    v = want(&w, "/vod/a");
    fd = accept_one(&w, &w.origin);
    (void)read_request(&w, fd);
    static const char *const parts[] = {
        "HTTP/1.1 200 OK\r\nETag: \"e\"\r\nTransfer-Encoding: chunked\r\n\r\n",
        "1\r\na\r\n1\r\nb\r\n1\r\nc\r\n",
        "1\r\nd\r\n",
        "0\r\n\r\n",
    };

    for (int i = 0; i < 4; i++) {
        assert_true(view_wait(v, &s.wait, gobj_now(view_gobj(v))));
        say(&w, fd, parts[i]);
        assert_int_equal(s.woken, i + 1);
    }
    assert_string_equal(body_of(v), "abcd");
    let_go(&v);
    hang_up(&w, &fd);
    world_close(&w);
}

static void other_routes_leave_what_is_under_way_alone(void **state)
{
    struct world w;
    struct view *v, *next;
    struct server second = server_open();
    struct routes *r;
    struct conf *c;
    struct err e;
    char text[128];
    int fd, other;

    (void)state;
    world_open(&w, "");
    v = answer(&w, "/vod/a", &fd,
               "HTTP/1.1 200 OK\r\nETag: \"e\"\r\nContent-Length: 10\r\n\r\nhello");
    int n = snprintf(text, sizeof text, "apps:\n  vod: {origin: \"http://127.0.0.1:%u\"}\n",
                     (unsigned)second.port);

    assert_int_equal(conf_parse("t", text, (size_t)n, 2, &c, stderr), ST_OK);
    assert_int_equal(routes_build(c, NULL, NULL, &r, &e), ST_OK);
    fetch_loop_set_routes(&w.l, r);
    routes_unref(&r);
    next = want(&w, "/vod/b");
    other = accept_one(&w, &second);
    say(&w, fd, "world");
    IS(v, COMPLETE);
    is_closed(&w, fd); /* of no use any more */
    let_go(&v);
    let_go(&next);
    hang_up(&w, &fd);
    hang_up(&w, &other);
    (void)close(second.fd);
    const struct conf *cc = c;

    conf_unref(&cc);
    world_close(&w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_body_with_a_length_is_filled_while_it_arrives),
        cmocka_unit_test(a_chunked_body_is_complete_with_its_last_chunk),
        cmocka_unit_test(a_body_that_ends_early_is_never_complete),
        cmocka_unit_test(two_who_ask_are_one_request),
        cmocka_unit_test(every_cut_of_an_answer_gives_the_same_body),
        cmocka_unit_test(a_body_that_ends_with_the_connection_is_not_kept),
        cmocka_unit_test(a_body_that_ends_with_a_reset_fails),
        cmocka_unit_test(bytes_past_the_length_are_not_of_the_body),
        cmocka_unit_test(what_http_does_not_allow_is_a_bad_gateway),
        cmocka_unit_test(a_missing_page_is_remembered_for_a_moment),
        cmocka_unit_test(failures_are_passed_on_and_soon_forgotten),
        cmocka_unit_test(an_origin_that_refuses_is_a_bad_gateway),
        cmocka_unit_test(each_address_of_a_host_is_tried),
        cmocka_unit_test(an_app_without_an_origin_has_nothing),
        cmocka_unit_test(an_origin_that_does_not_answer_in_time_is_given_up),
        cmocka_unit_test(a_body_that_stands_still_is_given_up),
        cmocka_unit_test(an_answer_that_says_nothing_is_joined_while_it_fills),
        cmocka_unit_test(an_answer_that_is_somebodys_is_not_shared),
        cmocka_unit_test(redirects_are_passed_on),
        cmocka_unit_test(what_is_too_large_is_refused),
        cmocka_unit_test(without_memory_it_waits_and_goes_on),
        cmocka_unit_test(an_object_that_is_unlinked_ends_its_fill),
        cmocka_unit_test(the_end_of_the_loop_ends_what_is_under_way),
        cmocka_unit_test(a_connection_is_used_again),
        cmocka_unit_test(a_connection_that_is_to_be_closed_is_not_used_again),
        cmocka_unit_test(a_kept_connection_that_dies_is_tried_once_more),
        cmocka_unit_test(no_more_connections_than_allowed_and_no_longer_queue),
        cmocka_unit_test(what_comes_before_the_request_is_no_answer),
        cmocka_unit_test(a_connection_that_closes_makes_room_for_the_next),
        cmocka_unit_test(a_long_page_nobody_wants_costs_the_connection),
        cmocka_unit_test(an_origin_that_keeps_failing_is_left_alone),
        cmocka_unit_test(a_trial_that_is_given_up_is_not_the_last),
        cmocka_unit_test(who_waits_is_woken_once_for_each_read),
        cmocka_unit_test(other_routes_leave_what_is_under_way_alone),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
