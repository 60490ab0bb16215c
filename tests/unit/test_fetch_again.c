/* What was fetched before: bodies that broke off and are resumed, stale ones that are asked about.
 */
#include "tests/unit/fetch_world.h"

static struct view *answer(struct world *w, struct view *v, int *fd, const char *bytes)
{
    *fd = accept_one(w, &w->origin);
    (void)read_request(w, *fd);
    say(w, *fd, bytes);
    return v;
}

#define HEAD "HTTP/1.1 200 OK\r\nETag: \"e\"\r\nCache-Control: max-age=60\r\n"

/* --- resuming --- */

static void a_broken_body_goes_on_where_it_stopped(void **state)
{
    static const char *const heads[] = { HEAD "Content-Length: 10\r\n\r\nhello",
                                         HEAD "Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n" };

    (void)state;
    for (size_t i = 0; i < 4; i++) {
        struct world w;
        struct view *v;
        int fd, again;
        const char *req;

        world_open(&w, "");
        v = answer(&w, want(&w, "/vod/a"), &fd, heads[i % 2]);
        if (i < 2)
            reset(&w, &fd);
        else
            hang_up(&w, &fd);
        IS(v, RESUMING);
        again = accept_one(&w, &w.origin);
        req = read_request(&w, again);
        assert_non_null(strstr(req, "\r\nRange: bytes=5-\r\n"));
        assert_non_null(strstr(req, "\r\nIf-Range: \"e\"\r\n"));
        assert_null(strstr(req, "If-None-Match"));
        say(&w, again,
            "HTTP/1.1 206 Partial\r\nETag: \"e\"\r\nContent-Range: bytes 5-9/10\r\n"
            "Content-Length: 5\r\n\r\nwo");
        IS(v, STREAMING);
        say(&w, again, "rld");
        IS(v, COMPLETE);
        assert_string_equal(body_of(v), "helloworld");
        assert_false(gobj_is_dead(view_gobj(v)));
        assert_int_equal(COUNT(&w, cache_fills[METRIC_TIER_EDGE]), 1);
        let_go(&v);
        hang_up(&w, &again);
        world_close(&w);
    }
}

static void only_the_exact_rest_continues_a_body(void **state)
{
    static const char *const rests[] = {
        "HTTP/1.1 200 OK\r\nETag: \"e\"\r\nContent-Length: 5\r\n\r\nworld",
        "HTTP/1.1 206 P\r\nETag: \"f\"\r\nContent-Range: bytes 5-9/10\r\nContent-Length: "
        "5\r\n\r\nworld",
        "HTTP/1.1 206 P\r\nETag: W/\"e\"\r\nContent-Range: bytes 5-9/10\r\nContent-Length: "
        "5\r\n\r\nworld",
        "HTTP/1.1 206 P\r\nContent-Range: bytes 5-9/10\r\nContent-Length: 5\r\n\r\nworld",
        "HTTP/1.1 206 P\r\nETag: \"e\"\r\nContent-Length: 5\r\n\r\nworld",
        "HTTP/1.1 206 P\r\nETag: \"e\"\r\nContent-Range: bytes 4-8/10\r\nContent-Length: "
        "5\r\n\r\nworld",
        "HTTP/1.1 206 P\r\nETag: \"e\"\r\nContent-Range: bytes 6-9/10\r\nContent-Length: "
        "4\r\n\r\norld",
        "HTTP/1.1 206 P\r\nETag: \"e\"\r\nContent-Range: bytes 5-8/10\r\nContent-Length: "
        "4\r\n\r\nworl",
        "HTTP/1.1 206 P\r\nETag: \"e\"\r\nContent-Range: bytes 5-9/11\r\nContent-Length: "
        "5\r\n\r\nworld",
        "HTTP/1.1 206 P\r\nETag: \"e\"\r\nContent-Range: bytes 5-11/12\r\nContent-Length: "
        "7\r\n\r\nworld!!",
        "HTTP/1.1 206 P\r\nETag: \"e\"\r\nContent-Range: bytes 5-8/*\r\nContent-Length: "
        "4\r\n\r\nworl",
        "HTTP/1.1 206 P\r\nETag: \"e\"\r\nContent-Range: bits 5-9/10\r\nContent-Length: "
        "5\r\n\r\nworld",
        "HTTP/1.1 206 P\r\nETag: \"e\"\r\nContent-Range: bytes 5-9/10 x\r\nContent-Length: "
        "5\r\n\r\nworld",
        "HTTP/1.1 206 P\r\nETag: \"e\"\r\nContent-Range: bytes 5-/10\r\nContent-Length: "
        "5\r\n\r\nworld",
        "HTTP/1.1 206 P\r\nETag: \"e\"\r\nContent-Range: bytes \r\nContent-Length: 5\r\n\r\nworld",
        "HTTP/1.1 416 No\r\nETag: \"e\"\r\nContent-Range: bytes */5\r\nContent-Length: 0\r\n\r\n",
        "HTTP/1.1 404 No\r\nETag: \"e\"\r\nContent-Length: 0\r\n\r\n",
    };

    (void)state;
    for (size_t i = 0; i < sizeof rests / sizeof rests[0]; i++) {
        struct world w;
        struct view *v;
        int fd, again;

        world_open(&w, "");
        v = answer(&w, want(&w, "/vod/a"), &fd, HEAD "Content-Length: 10\r\n\r\nhello");
        hang_up(&w, &fd);
        again = accept_one(&w, &w.origin);
        (void)read_request(&w, again);
        say(&w, again, rests[i]);
        if (strcmp(gobj_state_name(state_of(v)), "FAILED") != 0)
            fail_msg("%s", rests[i]);
        assert_string_equal(body_of(v), "hello");
        assert_int_equal(COUNT(&w, cache_fills[METRIC_TIER_EDGE]), 0);
        let_go(&v);
        hang_up(&w, &again);
        world_close(&w);
    }
}

/* Of a chunked body nobody knows the length: the 206 says it, and is held to it. */
static void a_rest_must_be_as_long_as_it_says(void **state)
{
    struct world w;
    struct view *v;
    int fd, again;

    (void)state;
    world_open(&w, "");
    v = answer(&w, want(&w, "/vod/a"), &fd,
               HEAD "Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n");
    hang_up(&w, &fd);
    again = accept_one(&w, &w.origin);
    (void)read_request(&w, again);
    say(&w, again,
        "HTTP/1.1 206 P\r\nETag: \"e\"\r\nContent-Range: bytes 5-9/10\r\nContent-Length: "
        "4\r\n\r\nworl");
    hang_up(&w, &again);
    again = accept_one(&w, &w.origin); /* the second time */
    assert_non_null(strstr(read_request(&w, again), "\r\nRange: bytes=9-\r\n"));
    say(&w, again,
        "HTTP/1.1 206 P\r\nETag: \"e\"\r\nContent-Range: bytes 9-9/10\r\n"
        "Transfer-Encoding: chunked\r\n\r\n1\r\nd\r\n0\r\n\r\n");
    IS(v, COMPLETE);
    assert_string_equal(body_of(v), "helloworld");
    let_go(&v);
    hang_up(&w, &again);
    world_close(&w);
}

static void without_a_strong_tag_nothing_is_resumed(void **state)
{
    static const char *const heads[] = {
        "HTTP/1.1 200 OK\r\nETag: W/\"e\"\r\nContent-Length: 10\r\n\r\nhello",
        "HTTP/1.1 200 OK\r\nLast-Modified: Sun, 06 Nov 1994 08:49:37 GMT\r\n"
        "Content-Length: 10\r\n\r\nhello",
    };

    (void)state;
    for (size_t i = 0; i < 2; i++) {
        struct world w;
        struct view *v;
        int fd;

        world_open(&w, "");
        v = answer(&w, want(&w, "/vod/a"), &fd, heads[i]);
        reset(&w, &fd);
        IS(v, FAILED);
        assert_true(nobody_connects(&w, &w.origin));
        let_go(&v);
        world_close(&w);
    }
}

static void a_body_is_resumed_twice_at_most(void **state)
{
    struct world w;
    struct view *v;
    int fd;

    (void)state;
    world_open(&w, "");
    v = answer(&w, want(&w, "/vod/a"), &fd, HEAD "Content-Length: 10\r\n\r\nhello");
    reset(&w, &fd);
    for (int i = 0; i < 2; i++) {
        IS(v, RESUMING);
        fd = accept_one(&w, &w.origin);
        (void)read_request(&w, fd);
        say(&w, fd,
            i == 0 ? "HTTP/1.1 206 P\r\nETag: \"e\"\r\nContent-Range: bytes 5-9/10\r\n\r\nw" : "");
        reset(&w, &fd);
    }
    IS(v, FAILED);
    assert_string_equal(body_of(v), "hellow");
    assert_true(nobody_connects(&w, &w.origin));
    assert_int_equal(COUNT(&w, cache_fill_errors[METRIC_FILL_ERROR_RESET]), 1);
    let_go(&v);
    world_close(&w);
}

static void a_stalled_body_is_resumed_and_its_late_bytes_are_lost(void **state)
{
    struct world w;
    struct view *v;
    int fd, again;

    (void)state;
    world_open(&w, "    fill_stall: 1s\n");
    v = answer(&w, want(&w, "/vod/a"), &fd, HEAD "Content-Length: 10\r\n\r\nhello");
    pass_time(&w, 1500 * MS_US);
    IS(v, RESUMING);
    again = accept_one(&w, &w.origin);
    (void)send(fd, "WORLD", 5, MSG_NOSIGNAL);
    settle(&w);
    assert_string_equal(body_of(v), "hello");
    (void)read_request(&w, again);
    say(&w, again,
        "HTTP/1.1 206 P\r\nETag: \"e\"\r\nContent-Range: bytes 5-9/*\r\nContent-Length: "
        "5\r\n\r\nworld");
    IS(v, COMPLETE);
    assert_string_equal(body_of(v), "helloworld");
    let_go(&v);
    hang_up(&w, &fd);
    hang_up(&w, &again);
    world_close(&w);
}

static void a_broken_body_is_asked_for_whatever_the_breaker_says(void **state)
{
    struct world w;
    struct view *v, *bad;
    char key[16];
    int fd, again;

    (void)state;
    world_open(&w, "");
    v = answer(&w, want(&w, "/vod/a"), &fd, HEAD "Content-Length: 10\r\n\r\nhello");
    for (int i = 0; i < 5; i++) {
        (void)snprintf(key, sizeof key, "/vod/%d", i);
        bad = answer(&w, want(&w, key), &again,
                     "HTTP/1.1 500 O\r\nConnection: close\r\nContent-Length: 0\r\n\r\n");
        let_go(&bad);
        hang_up(&w, &again);
    }
    hang_up(&w, &fd);
    again = accept_one(&w, &w.origin);
    (void)read_request(&w, again);
    say(&w, again, "HTTP/1.1 206 P\r\nETag: \"e\"\r\nContent-Range: bytes 5-9/10\r\n\r\nworld");
    hang_up(&w, &again);
    IS(v, COMPLETE);
    let_go(&v);
    world_close(&w);
}

static void second_attempts_are_limited_in_all(void **state)
{
    struct world w;
    int resumed = 0;

    (void)state;
    world_open(&w, "");
    for (int i = 0; i < 20; i++) {
        struct view *v;
        char key[16];
        int fd, again;

        (void)snprintf(key, sizeof key, "/vod/%d", i);
        v = answer(&w, want(&w, key), &fd, HEAD "Content-Length: 10\r\n\r\nhello");
        hang_up(&w, &fd);
        if (state_of(v) == GOBJ_RESUMING) {
            resumed++;
            again = accept_one(&w, &w.origin);
            (void)read_request(&w, again);
            say(&w, again,
                "HTTP/1.1 206 P\r\nConnection: close\r\nETag: \"e\"\r\n"
                "Content-Range: bytes 5-9/10\r\nContent-Length: 5\r\n\r\nworld");
            hang_up(&w, &again);
            IS(v, COMPLETE);
        } else {
            IS(v, FAILED);
        }
        let_go(&v);
    }
    assert_in_range(resumed, 10, 12); /* the purse, and what twenty fetches earn */
    world_close(&w);
}

/* --- revalidation --- */

static const char *const stale_head =
    "HTTP/1.1 200 OK\r\nETag: \"e\"\r\nLast-Modified: Sun, 06 Nov 1994 08:49:37 GMT\r\n"
    "Cache-Control: max-age=10, stale-while-revalidate=20, stale-if-error=100\r\n"
    "Content-Length: 5\r\n\r\nhello";

/* A COMPLETE object that has just gone stale, and the idle connection that brought it. */
static struct view *get_stale(struct world *w, int *fd)
{
    struct view *v = answer(w, want(w, "/vod/a"), fd, stale_head);

    IS(v, COMPLETE);
    let_go(&v);
    pass_time(w, 11 * SEC_US);
    return want_as(w, "/vod/a", GOBJ_OUTSIDE, STORE_FETCH, false); /* the stale one */
}

static void a_304_makes_the_old_body_good_again(void **state)
{
    struct world w;
    struct view *old, *v;
    const char *req;
    int fd;

    (void)state;
    world_open(&w, "");
    old = get_stale(&w, &fd);
    v = want(&w, "/vod/a");
    assert_ptr_not_equal(old, v);
    req = read_request(&w, fd);
    assert_non_null(strstr(req, "\r\nIf-None-Match: \"e\"\r\n"));
    assert_non_null(strstr(req, "\r\nIf-Modified-Since: Sun, 06 Nov 1994 08:49:37 GMT\r\n"));
    say(&w, fd, "HTTP/1.1 304 Not Modified\r\nETag: \"e\"\r\nCache-Control: max-age=30\r\n\r\n");
    IS(v, COMPLETE);
    assert_string_equal(body_of(v), "hello");
    assert_true(gobj_fresh_until(view_gobj(v)) == world_now_us + 30 * SEC_US);
    assert_int_equal(COUNT(&w, cache_fills[METRIC_TIER_EDGE]), 1); /* not filled again */
    assert_int_equal(COUNT(&w, upstream_requests[METRIC_UPSTREAM_3XX]), 1);
    let_go(&old);
    let_go(&v);
    pass_time(&w, 31 * SEC_US); /* and once more, a 304 that says nothing new */
    v = want(&w, "/vod/a");
    hang_up(&w, &fd);
    answer(&w, v, &fd, "HTTP/1.1 304 Not Modified\r\n\r\n");
    IS(v, COMPLETE);
    assert_true(gobj_fresh_until(view_gobj(v)) == world_now_us + 10 * SEC_US);
    let_go(&v);
    hang_up(&w, &fd);
    world_close(&w);
}

static void a_200_replaces_the_stale_body(void **state)
{
    struct world w;
    struct view *old, *v;
    int fd;

    (void)state;
    world_open(&w, "");
    old = get_stale(&w, &fd);
    v = want(&w, "/vod/a");
    (void)read_request(&w, fd);
    say(&w, fd, HEAD "Content-Length: 3\r\n\r\nnew");
    IS(v, COMPLETE);
    assert_string_equal(body_of(v), "new");
    assert_string_equal(body_of(old), "hello");
    let_go(&old);
    let_go(&v);
    hang_up(&w, &fd);
    world_close(&w);
}

static void a_stale_body_will_do_when_the_origin_fails(void **state)
{
    struct world w;
    struct view *v;
    int fd;

    (void)state;
    world_open(&w, "");
    v = get_stale(&w, &fd);
    let_go(&v);
    uint64_t good_until_us = world_now_us + 98 * SEC_US; /* 10 + 100 s, of which 11 are over */
    int served = 0;

    for (;; served++) {
        v = want(&w, "/vod/a");
        if (fd < 0)
            fd = accept_one(&w, &w.origin);
        (void)read_request(&w, fd);
        say(&w, fd, served % 2 == 0 ? "HTTP/1.1 500 Oops\r\nContent-Length: 0\r\n\r\n" : "");
        hang_up(&w, &fd);
        if (state_of(v) != GOBJ_COMPLETE)
            break;
        assert_string_equal(body_of(v), "hello");
        assert_true(gobj_fresh_until(view_gobj(v)) > world_now_us);
        assert_true(gobj_fresh_until(view_gobj(v)) < world_now_us + SEC_US);
        let_go(&v);
        assert_true(world_now_us <= good_until_us); /* it does not slide */
        pass_time(&w, 30 * SEC_US);
    }
    assert_int_equal(served, 4);
    assert_int_equal(state_of(v), GOBJ_NEGATIVE);
    let_go(&v);
    world_close(&w);
}

static void a_404_is_not_an_error_that_staleness_hides(void **state)
{
    struct world w;
    struct view *v;
    int fd;

    (void)state;
    world_open(&w, "");
    v = get_stale(&w, &fd);
    let_go(&v);
    v = want(&w, "/vod/a");
    (void)read_request(&w, fd);
    say(&w, fd, "HTTP/1.1 404 No\r\nContent-Length: 0\r\n\r\n");
    is_negative(v, 404);
    let_go(&v);
    hang_up(&w, &fd);
    world_close(&w);
}

static void a_refresh_in_the_background_freshens(void **state)
{
    struct world w;
    struct view *v;
    int fd;

    (void)state;
    world_open(&w, "");
    v = get_stale(&w, &fd);
    store_refresh(view_gobj(v));
    store_refresh(view_gobj(v));
    assert_non_null(strstr(read_request(&w, fd), "\r\nIf-None-Match: \"e\"\r\n"));
    store_refresh(view_gobj(v)); /* while one is under way */
    assert_true(nobody_connects(&w, &w.origin));
    IS(v, COMPLETE);
    say(&w, fd, "HTTP/1.1 304 Not Modified\r\n\r\n");
    assert_true(gobj_fresh_until(view_gobj(v)) == world_now_us + 10 * SEC_US);
    assert_false(gobj_is_dead(view_gobj(v)));
    assert_int_equal(fetch_fills(&w.l), 0);
    let_go(&v);
    hang_up(&w, &fd);
    world_close(&w);
}

static void a_refresh_shows_the_new_body_when_it_is_whole(void **state)
{
    struct world w;
    struct view *v, *now;
    int fd;

    (void)state;
    world_open(&w, "");
    v = get_stale(&w, &fd);
    store_refresh(view_gobj(v));
    (void)read_request(&w, fd);
    say(&w, fd, HEAD "Content-Length: 3\r\n\r\nne");
    now = want_as(&w, "/vod/a", GOBJ_OUTSIDE, STORE_FETCH, false);
    assert_ptr_equal(now, v);
    let_go(&now);
    say(&w, fd, "w");
    assert_true(gobj_is_dead(view_gobj(v)));
    now = want_as(&w, "/vod/a", GOBJ_OUTSIDE, STORE_FETCH, false);
    IS(now, COMPLETE);
    assert_string_equal(body_of(now), "new");
    assert_int_equal(COUNT(&w, cache_fills[METRIC_TIER_EDGE]), 2);
    let_go(&v);
    let_go(&now);
    hang_up(&w, &fd);
    world_close(&w);
}

static void a_refresh_that_fails_changes_nothing_and_rests(void **state)
{
    static const char *const answers[] = { "HTTP/1.1 500 Oops\r\nContent-Length: 0\r\n\r\n",
                                           HEAD "Content-Length: 3\r\n\r\nne", "" };

    (void)state;
    for (size_t i = 0; i < 3; i++) {
        struct world w;
        struct view *v;
        int fd;

        world_open(&w, "");
        v = get_stale(&w, &fd);
        store_refresh(view_gobj(v));
        for (int k = 0; k < 3; k++) { /* a broken body is resumed twice */
            if (fd < 0)
                fd = accept_one(&w, &w.origin);
            (void)read_request(&w, fd);
            say(&w, fd, k == 0 ? answers[i] : "");
            hang_up(&w, &fd);
            if (i != 1)
                break;
        }
        if (i == 2) { /* a kept connection that dies is tried again */
            fd = accept_one(&w, &w.origin);
            (void)read_request(&w, fd);
            hang_up(&w, &fd);
        }
        IS(v, COMPLETE);
        assert_string_equal(body_of(v), "hello");
        assert_false(gobj_is_dead(view_gobj(v)));
        assert_int_equal(fetch_fills(&w.l), 1);
        pass_time(&w, 200 * MS_US);
        store_refresh(view_gobj(v));
        assert_true(nobody_connects(&w, &w.origin));
        pass_time(&w, 200 * MS_US);
        assert_int_equal(fetch_fills(&w.l), 0);
        store_refresh(view_gobj(v));
        fd = accept_one(&w, &w.origin);
        let_go(&v);
        hang_up(&w, &fd);
        world_close(&w);
    }
}

static void a_refresh_that_finds_nothing_takes_the_body_away(void **state)
{
    static const char *const answers[] = {
        "HTTP/1.1 404 No\r\nContent-Length: 0\r\n\r\n",
        "HTTP/1.1 200 OK\r\nCache-Control: private\r\nContent-Length: 3\r\n\r\nnew",
        "HTTP/1.1 304 Not Modified\r\nCache-Control: no-store\r\n\r\n",
        "HTTP/1.1 200 OK\r\nETag: \"f\"\r\n\r\nnew",
    };

    (void)state;
    for (size_t i = 0; i < sizeof answers / sizeof answers[0]; i++) {
        struct world w;
        struct view *v;
        int fd;

        world_open(&w, "");
        v = get_stale(&w, &fd);
        store_refresh(view_gobj(v));
        (void)read_request(&w, fd);
        say(&w, fd, answers[i]);
        assert_true(gobj_is_dead(view_gobj(v)));
        assert_string_equal(body_of(v), "hello");
        assert_int_equal(fetch_fills(&w.l), 0);
        let_go(&v);
        hang_up(&w, &fd);
        world_close(&w);
    }
}

static void who_cannot_wait_for_the_refresh_takes_it_over(void **state)
{
    struct world w;
    struct view *old, *v;
    int fd, other;

    (void)state;
    world_open(&w, "");
    old = get_stale(&w, &fd);
    store_refresh(view_gobj(old));
    (void)read_request(&w, fd);
    pass_time(&w, 2 * SEC_US);
    v = want(&w, "/vod/a");
    other = accept_one(&w, &w.origin);
    is_closed(&w, fd);
    (void)read_request(&w, other);
    say(&w, other, "HTTP/1.1 304 Not Modified\r\n\r\n");
    IS(v, COMPLETE);
    assert_int_equal(fetch_fills(&w.l), 0);
    let_go(&old);
    let_go(&v);
    hang_up(&w, &fd);
    hang_up(&w, &other);
    world_close(&w);
}

static void a_refresh_ends_when_its_object_goes(void **state)
{
    struct world w;
    struct view *v;
    int fd;

    (void)state;
    world_open(&w, "");
    v = get_stale(&w, &fd);
    store_refresh(view_gobj(v));
    (void)read_request(&w, fd);
    store_unlink(&w.l, view_gobj(v));
    assert_int_equal(fetch_fills(&w.l), 0);
    IS(v, COMPLETE);
    is_closed(&w, fd);
    let_go(&v);
    hang_up(&w, &fd);
    world_close(&w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_broken_body_goes_on_where_it_stopped),
        cmocka_unit_test(only_the_exact_rest_continues_a_body),
        cmocka_unit_test(a_rest_must_be_as_long_as_it_says),
        cmocka_unit_test(without_a_strong_tag_nothing_is_resumed),
        cmocka_unit_test(a_body_is_resumed_twice_at_most),
        cmocka_unit_test(a_stalled_body_is_resumed_and_its_late_bytes_are_lost),
        cmocka_unit_test(a_broken_body_is_asked_for_whatever_the_breaker_says),
        cmocka_unit_test(second_attempts_are_limited_in_all),
        cmocka_unit_test(a_304_makes_the_old_body_good_again),
        cmocka_unit_test(a_200_replaces_the_stale_body),
        cmocka_unit_test(a_stale_body_will_do_when_the_origin_fails),
        cmocka_unit_test(a_404_is_not_an_error_that_staleness_hides),
        cmocka_unit_test(a_refresh_in_the_background_freshens),
        cmocka_unit_test(a_refresh_shows_the_new_body_when_it_is_whole),
        cmocka_unit_test(a_refresh_that_fails_changes_nothing_and_rests),
        cmocka_unit_test(a_refresh_that_finds_nothing_takes_the_body_away),
        cmocka_unit_test(who_cannot_wait_for_the_refresh_takes_it_over),
        cmocka_unit_test(a_refresh_ends_when_its_object_goes),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
