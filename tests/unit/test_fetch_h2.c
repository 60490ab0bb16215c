/* Fills of streams from our own upstreams over HTTP/2: who is asked, and what becomes of it. */
#include "tests/unit/upstream_world.h"

#include "edge/stream.h"

#define SESSION "m0abcdefghij1"
#define SEGMENT(n) "/live/show/" SESSION "/v0/" #n ".m4s"

static struct view *want_media(struct world *w, const char *key)
{
    return want_as(w, key, GOBJ_MEDIA, STORE_FETCH, false);
}

/* --- tests --- */

/* Readers see whole chunks. */
static void a_segment_is_filled_as_it_comes(void **state)
{
    struct world w;
    struct upstream up;
    struct view *v, *second;
    static const char chunk[] = "\0\0\0\x0dmdathello";

    (void)state;
    open_tier(&w, &up, 1, false, "");
    v = want_media(&w, SEGMENT(7));
    take_connection(&up);
    assert_int_equal(up.calls, 1);
    assert_true(asked(&up, ":method: GET\n"));
    assert_true(asked(&up, ":path: " SEGMENT(7) "\n"));
    assert_true(asked(&up, ":scheme: http\n"));
    assert_false(asked(&up, "range"));
    answer(&up, &up.call[0], "200", "etag", "\"e\"", "content-range", NULL, chunk, sizeof chunk - 1,
           false);
    IS(v, STREAMING);
    assert_memory_equal(body_of(v), chunk, sizeof chunk - 1);
    assert_int_equal(gobj_now(view_gobj(v)).published, sizeof chunk - 1);
    assert_string_equal(gobj_head(view_gobj(v))->etag, "\"e\"");
    second = want_media(&w, SEGMENT(8)); /* on the same connection */
    exchange(&up);
    assert_int_equal(up.calls, 2);
    go_on(&up, &up.call[0], "the beginning ", false);
    assert_int_equal(gobj_now(view_gobj(v)).published, sizeof chunk - 1);
    go_on(&up, &up.call[0], "and the rest", true);
    IS(v, COMPLETE);
    assert_string_equal(body_of(v) + sizeof chunk - 1, "the beginning and the rest");
    assert_true(gobj_fresh_until(view_gobj(v)) == UINT64_MAX);
    assert_true(gobj_head(view_gobj(v))->shared);
    assert_int_equal(COUNT(&w, cache_fills[METRIC_TIER_EDGE]), 1);
    let_go(&v);
    let_go(&second);
    close_tier(&w, &up, 1);
}

static void a_manifest_lives_as_long_as_it_says_and_is_no_fill(void **state)
{
    struct world w;
    struct upstream up;
    struct view *v;

    (void)state;
    open_tier(&w, &up, 1, false, "");
    v = want_as(&w, "/live/show/manifest.mpd", GOBJ_DOC, STORE_FETCH, false);
    take_connection(&up);
    respond(&up, &up.call[0], "200", "\"e\"", NULL, "<MPD/>", true);
    IS(v, COMPLETE);
    assert_true(gobj_fresh_until(view_gobj(v)) == world_now_us); /* nothing was said */
    assert_int_equal(COUNT(&w, cache_fills[METRIC_TIER_EDGE]), 0);
    let_go(&v);
    close_tier(&w, &up, 1);
}

static void a_stream_that_one_does_not_have_is_asked_of_the_next(void **state)
{
    struct world w;
    struct upstream up[3];
    struct view *v;

    (void)state;
    open_tier(&w, up, 3, false, "");
    v = want_media(&w, SEGMENT(1));
    for (int i = 0; i < 3; i++) {
        take_connection(&up[i]);
        assert_true(asked(&up[i], ":path: " SEGMENT(1) "\n"));
        IS(v, FETCHING);
        if (i < 2)
            respond(&up[i], &up[i].call[0], "404", NULL, NULL, "no", true);
        else
            respond(&up[i], &up[i].call[0], "200", "\"e\"", NULL, "ok", true);
    }
    IS(v, COMPLETE);
    assert_int_equal(COUNT(&w, upstream_requests[METRIC_UPSTREAM_4XX]), 2);
    let_go(&v);
    close_tier(&w, up, 3);
}

static void what_none_of_them_has_is_not_there(void **state)
{
    struct world w;
    struct upstream up[2];
    struct view *v;

    (void)state;
    open_tier(&w, up, 2, false, "");
    v = want_media(&w, SEGMENT(1));
    for (int i = 0; i < 2; i++) {
        take_connection(&up[i]);
        respond(&up[i], &up[i].call[0], "404", NULL, NULL, "", true);
    }
    is_negative(v, 404);
    pass_time(&w, 600 * MS_US);
    assert_true(gobj_is_dead(view_gobj(v)));
    let_go(&v);
    close_tier(&w, up, 2);
}

static void one_that_does_not_answer_may_have_it(void **state)
{
    struct world w;
    struct upstream up[2];
    struct view *v;

    (void)state;
    open_tier(&w, up, 2, false, "");
    (void)close(up[0].listen.fd); /* the first refuses connections */
    up[0].listen.fd = -1;
    v = want_media(&w, SEGMENT(1));
    take_connection(&up[1]);
    respond(&up[1], &up[1].call[0], "404", NULL, NULL, "", true);
    is_negative(v, 502);
    let_go(&v);
    up[0].listen = server_open();
    close_tier(&w, up, 2);
}

static void a_reset_stream_is_resumed_to_its_end(void **state)
{
    struct world w;
    struct upstream up;
    struct view *v;

    (void)state;
    open_tier(&w, &up, 1, false, "");
    v = want_media(&w, SEGMENT(1));
    take_connection(&up);
    respond(&up, &up.call[0], "200", "\"e\"", NULL, "hello", false);
    h2_reset(up.h2, up.call[0].id, H2_INTERNAL_ERROR, H2_RESET_BROKEN_BODY);
    exchange(&up);
    IS(v, RESUMING);
    assert_int_equal(up.calls, 2);
    assert_true(asked(&up, "range: bytes=5-9007199254740991\n"));
    assert_true(asked(&up, "if-range: \"e\"\n"));
    respond(&up, &up.call[1], "206", "\"e\"", "bytes 5-9007199254740991/*", " wor", false);
    IS(v, STREAMING);
    go_on(&up, &up.call[1], "ld", true);
    IS(v, COMPLETE);
    assert_string_equal(body_of(v), "hello world");
    assert_int_equal(COUNT(&w, cache_fills[METRIC_TIER_EDGE]), 1);
    let_go(&v);
    close_tier(&w, &up, 1);
}

static void a_body_that_breaks_again_is_resumed_from_the_next_upstream(void **state)
{
    struct world w;
    struct upstream up[2];
    struct view *v;

    (void)state;
    open_tier(&w, up, 2, false, "");
    v = want_media(&w, SEGMENT(1));
    take_connection(&up[0]);
    respond(&up[0], &up[0].call[0], "200", "\"e\"", NULL, "ab", false);
    for (int i = 0; i < 2; i++) {
        h2_reset(up[0].h2, newest(&up[0])->id, H2_INTERNAL_ERROR, H2_RESET_BROKEN_BODY);
        exchange(&up[0]);
        IS(v, RESUMING);
    }
    take_connection(&up[1]);
    assert_true(asked(&up[1], "range: bytes=2-9007199254740991\n"));
    respond(&up[1], &up[1].call[0], "206", "\"e\"", "bytes 2-3/4", "cd", true);
    IS(v, COMPLETE);
    assert_string_equal(body_of(v), "abcd");
    let_go(&v);
    close_tier(&w, up, 2);
}

static void a_lost_connection_resumes_all_its_bodies_on_the_next(void **state)
{
    struct world w;
    struct upstream up;
    struct view *a, *b;

    (void)state;
    open_tier(&w, &up, 1, false, "");
    a = want_media(&w, SEGMENT(1));
    b = want_media(&w, SEGMENT(2));
    take_connection(&up);
    assert_int_equal(up.calls, 2);
    respond(&up, &up.call[0], "200", "\"1\"", NULL, "aa", false);
    respond(&up, &up.call[1], "200", "\"2\"", NULL, "bbb", false);
    drop_connection(&up);
    IS(a, RESUMING);
    IS(b, RESUMING);
    take_connection(&up);
    assert_int_equal(up.calls, 4);
    for (int i = 2; i < 4; i++) {
        bool is_a = strstr(up.call[i].request, SEGMENT(1)) != NULL;

        respond(&up, &up.call[i], "206", is_a ? "\"1\"" : "\"2\"",
                is_a ? "bytes 2-9007199254740991/*" : "bytes 3-9007199254740991/*",
                is_a ? "A" : "B", true);
    }
    IS(a, COMPLETE);
    IS(b, COMPLETE);
    assert_string_equal(body_of(a), "aaA");
    assert_string_equal(body_of(b), "bbbB");
    let_go(&a);
    let_go(&b);
    close_tier(&w, &up, 1);
}

static void many_bodies_on_a_lost_connection_are_one_failure(void **state)
{
    struct world w;
    struct upstream up;
    struct view *v[8];

    (void)state;
    open_tier(&w, &up, 1, false, "");
    for (int i = 0; i < 8; i++) {
        char key[64];

        (void)snprintf(key, sizeof key, "/live/show/" SESSION "/v0/%d.m4s", i);
        v[i] = want_media(&w, key);
    }
    take_connection(&up);
    for (int i = 0; i < 8; i++)
        respond(&up, &up.call[i], "200", "\"e\"", NULL, "ab", false);
    drop_connection(&up);
    take_connection(&up);
    assert_int_equal(up.calls, 16);
    for (int i = 8; i < 16; i++)
        respond(&up, &up.call[i], "206", "\"e\"", "bytes 2-9007199254740991/*", "cd", true);
    up.calls = 0;
    struct view *next = want_media(&w, SEGMENT(9)); /* the host is not suspected */

    exchange(&up);
    assert_non_null(strstr(up.call[0].request, SEGMENT(9)));
    IS(next, FETCHING);
    let_go(&next);
    for (int i = 0; i < 8; i++) {
        IS(v[i], COMPLETE);
        assert_string_equal(body_of(v[i]), "abcd");
        let_go(&v[i]);
    }
    close_tier(&w, &up, 1);
}

static void a_lost_connection_that_had_not_answered_is_opened_once_more(void **state)
{
    struct world w;
    struct upstream up;
    struct view *first, *v;

    (void)state;
    open_tier(&w, &up, 1, false, "");
    first = want_media(&w, SEGMENT(1));
    take_connection(&up);
    respond(&up, &up.call[0], "200", "\"e\"", NULL, "ok", true);
    IS(first, COMPLETE);
    v = want_media(&w, SEGMENT(2));
    exchange(&up);
    assert_int_equal(up.calls, 2);
    drop_connection(&up);
    IS(v, FETCHING);
    take_connection(&up);
    assert_int_equal(up.calls, 3);
    drop_connection(&up); /* and this time it is a failure */
    is_negative(v, 502);
    let_go(&first);
    let_go(&v);
    close_tier(&w, &up, 1);
}

static void an_upstream_that_leaves_the_routes_ends_with_its_last_body(void **state)
{
    struct world w;
    struct upstream up;
    struct view *v;

    (void)state;
    open_tier(&w, &up, 1, false, "");
    v = want_media(&w, SEGMENT(1));
    take_connection(&up);
    respond(&up, &up.call[0], "200", "\"e\"", NULL, "hello", false);
    fetch_loop_set_routes(&w.l, NULL);
    IS(v, STREAMING);
    go_on(&up, &up.call[0], " world", true);
    IS(v, COMPLETE);
    is_closed(&w, up.fd);
    let_go(&v);
    v = want_media(&w, SEGMENT(2));
    settle(&w);
    is_negative(v, 404);
    let_go(&v);
    close_tier(&w, &up, 1);
}

static void a_request_that_was_refused_is_sent_again_once(void **state)
{
    struct world w;
    struct upstream up;
    struct view *v;

    (void)state;
    open_tier(&w, &up, 1, false, "");
    v = want_media(&w, SEGMENT(1));
    take_connection(&up);
    for (int i = 0; i < 2; i++) {
        IS(v, FETCHING);
        assert_int_equal(up.calls, i + 1);
        h2_reset(up.h2, newest(&up)->id, H2_REFUSED_STREAM, H2_RESET_REFUSED);
        exchange(&up);
    }
    is_negative(v, 502);
    assert_int_equal(up.calls, 2);
    let_go(&v);
    close_tier(&w, &up, 1);
}

static void a_connection_that_is_wound_up_serves_what_it_has(void **state)
{
    struct world w;
    struct upstream up, old;
    struct view *a, *b;

    (void)state;
    open_tier(&w, &up, 1, false, "");
    a = want_media(&w, SEGMENT(1));
    take_connection(&up);
    respond(&up, &up.call[0], "200", "\"1\"", NULL, "aa", false);
    h2_shutdown(up.h2);
    exchange(&up);
    h2_shutdown(up.h2);
    exchange(&up);
    IS(a, STREAMING);
    b = want_media(&w, SEGMENT(2));
    settle(&w);
    /* the old one stays where it is; its ops find it through its streams only */
    old.fd = up.fd;
    old.h2 = up.h2;
    take_connection(&up);
    assert_int_equal(up.calls, 2);
    respond(&up, &up.call[1], "200", "\"2\"", NULL, "bb", true);
    IS(b, COMPLETE);
    struct upstream fresh = { .fd = up.fd, .h2 = up.h2 };

    up.fd = old.fd;
    up.h2 = old.h2;
    go_on(&up, &up.call[0], "AA", true);
    IS(a, COMPLETE);
    assert_string_equal(body_of(a), "aaAA");
    is_closed(&w, up.fd); /* and then it goes */
    drop_connection(&up);
    up.fd = fresh.fd;
    up.h2 = fresh.h2;
    let_go(&a);
    let_go(&b);
    close_tier(&w, &up, 1);
}

static void without_memory_the_rest_is_asked_for_later(void **state)
{
    struct world w;
    struct upstream up;
    struct view *v;

    (void)state;
    open_tier(&w, &up, 1, false, "    fill_stall: 3s\n");
    v = want_media(&w, SEGMENT(1));
    take_connection(&up);
    mem_pool_set_limit(&w.pool, 1);
    respond(&up, &up.call[0], "200", "\"e\"", NULL, "hello", true);
    IS(v, STREAMING);
    assert_true(up.call[0].closed);
    pass_time(&w, 1000 * MS_US);
    exchange(&up);
    assert_int_equal(up.calls, 1);
    mem_pool_set_limit(&w.pool, 64 << 20);
    pass_time(&w, 50 * MS_US);
    exchange(&up);
    assert_int_equal(up.calls, 2);
    assert_true(asked(&up, "range: bytes=0-9007199254740991\n"));
    respond(&up, &up.call[1], "206", "\"e\"", "bytes 0-4/5", "hello", true);
    IS(v, COMPLETE);
    let_go(&v);
    v = want_media(&w, SEGMENT(2)); /* and when there never is any */
    exchange(&up);
    mem_pool_set_limit(&w.pool, 1);
    respond(&up, &up.call[2], "200", "\"e\"", NULL, "hello", true);
    for (int k = 0; k < 60; k++)
        pass_time(&w, 50 * MS_US);
    IS(v, FAILED);
    assert_int_equal(COUNT(&w, cache_fill_errors[METRIC_FILL_ERROR_MEMORY]), 1);
    let_go(&v);
    close_tier(&w, &up, 1);
}

static void an_answer_in_time_may_be_a_held_one(void **state)
{
    struct world w;
    struct upstream up;
    struct view *v;

    (void)state;
    open_tier(&w, &up, 1, false, "    response_timeout: 2s\n    hold: 3s\n");
    v = want_media(&w, SEGMENT(1));
    take_connection(&up);
    pass_time(&w, 4500 * MS_US);
    exchange(&up);
    IS(v, FETCHING);
    pass_time(&w, 800 * MS_US);
    exchange(&up);
    is_negative(v, 504);
    /* nothing was heard on it for so long: it is given up, and the next fill opens another */
    pass_time(&w, 10 * MS_US);
    is_closed(&w, up.fd);
    let_go(&v);
    close_tier(&w, &up, 1);
}

static void a_fill_that_is_unlinked_resets_its_stream_only(void **state)
{
    struct world w;
    struct upstream up;
    struct view *a, *b;

    (void)state;
    open_tier(&w, &up, 1, false, "");
    a = want_media(&w, SEGMENT(1));
    b = want_media(&w, SEGMENT(2));
    take_connection(&up);
    respond(&up, &up.call[0], "200", "\"1\"", NULL, "aa", false);
    respond(&up, &up.call[1], "200", "\"2\"", NULL, "bb", false);
    store_unlink(&w.l, view_gobj(a));
    exchange(&up);
    IS(a, FAILED);
    assert_true(up.call[0].closed && up.call[0].why.by_peer);
    assert_int_equal(up.call[0].why.code, H2_CANCEL);
    go_on(&up, &up.call[1], "BB", true);
    IS(b, COMPLETE);
    let_go(&a);
    let_go(&b);
    close_tier(&w, &up, 1);
}

static void a_bad_head_fails_its_stream_only(void **state)
{
    struct world w;
    struct upstream up;
    struct view *a, *b;

    (void)state;
    open_tier(&w, &up, 1, false, "");
    a = want_media(&w, SEGMENT(1));
    b = want_media(&w, SEGMENT(2));
    take_connection(&up);
    char *large = malloc(20000);

    assert_non_null(large);
    memset(large, 'x', 19999);
    large[19999] = '\0';
    respond(&up, &up.call[0], "200", large, NULL, "aa", true);
    is_negative(a, 502);
    respond(&up, &up.call[1], "200", "\"2\"", NULL, "bb", true);
    IS(b, COMPLETE);
    free(large);
    let_go(&a);
    let_go(&b);
    close_tier(&w, &up, 1);
}

static void an_upstream_that_refuses_is_not_tried_at_once_again(void **state)
{
    struct world w;
    struct upstream up;
    struct view *v;
    uint16_t port;

    (void)state;
    open_tier(&w, &up, 1, false, "");
    (void)close(up.listen.fd);
    v = want_media(&w, SEGMENT(1));
    TURN_UNTIL(&w, state_of(v) == GOBJ_NEGATIVE);
    is_negative(v, 502);
    let_go(&v);
    /* the same port, open again */
    struct sockaddr_in in = { .sin_family = AF_INET, .sin_port = htons(up.listen.port) };

    port = up.listen.port;
    in.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    up.listen = (struct server){ socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0), port };
    (void)setsockopt(up.listen.fd, SOL_SOCKET, SO_REUSEADDR, &(int){ 1 }, sizeof(int));
    assert_int_equal(bind(up.listen.fd, (struct sockaddr *)&in, sizeof in), 0);
    assert_int_equal(listen(up.listen.fd, 4), 0);
    v = want_media(&w, SEGMENT(2));
    assert_true(nobody_connects(&w, &up.listen));
    is_negative(v, 502);
    let_go(&v);
    pass_time(&w, 120 * MS_US);
    v = want_media(&w, SEGMENT(3));
    take_connection(&up);
    respond(&up, &up.call[0], "200", "\"2\"", NULL, "bb", true);
    IS(v, COMPLETE);
    let_go(&v);
    close_tier(&w, &up, 1);
}

static void an_upstream_that_only_hangs_up_is_not_tried_at_once_again(void **state)
{
    struct world w;
    struct upstream up;
    struct view *v;

    (void)state;
    open_tier(&w, &up, 1, false, "");
    v = want_media(&w, SEGMENT(1));
    take_connection(&up);
    drop_connection(&up); /* before it has answered anything: a certificate it does not like? */
    is_negative(v, 502);
    let_go(&v);
    v = want_media(&w, SEGMENT(2));
    assert_true(nobody_connects(&w, &up.listen));
    is_negative(v, 502);
    let_go(&v);
    pass_time(&w, 120 * MS_US);
    v = want_media(&w, SEGMENT(3));
    take_connection(&up);
    IS(v, FETCHING);
    let_go(&v);
    close_tier(&w, &up, 1);
}

static void a_body_larger_than_the_window_comes_through(void **state)
{
    enum { SIZE = 12 << 20 };
    struct world w;
    struct upstream up;
    struct view *v;
    char *large = malloc(SIZE + 1);

    (void)state;
    assert_non_null(large);
    memset(large, 'x', SIZE);
    large[SIZE] = '\0';
    open_tier(&w, &up, 1, false, "");
    store_set_limits(w.store, 64 << 20, 32 << 20);
    v = want_media(&w, SEGMENT(1));
    take_connection(&up);
    respond(&up, &up.call[0], "200", "\"e\"", NULL, large, true);
    for (int i = 0; i < 1000 && state_of(v) == GOBJ_STREAMING; i++)
        exchange(&up);
    IS(v, COMPLETE);
    assert_true(gobj_now(view_gobj(v)).published == SIZE);
    let_go(&v);
    free(large);
    close_tier(&w, &up, 1);
}

/* --- what the stream table knows --- */

static struct stream *begin(struct world *w, enum stream_source source)
{
    struct stream *st;

    assert_int_equal(stream_begin(&w->l, "live/show", SESSION, SEC_US, source, &st), ST_OK);
    return st;
}

static void what_is_announced_and_wanted_is_fetched(void **state)
{
    struct world w;
    struct upstream up;
    struct stream *st;
    struct view *v, *held;

    (void)state;
    open_tier(&w, &up, 1, false, "");
    st = begin(&w, STREAM_SUBSCRIBED);
    assert_int_equal(stream_announce(&w.l, st, "v0", 5), ST_OK);
    assert_true(nobody_connects(&w, &up.listen)); /* announced, but nobody wants it */
    v = want_media(&w, SEGMENT(5));
    take_connection(&up);
    IS(v, FETCHING);
    respond(&up, &up.call[0], "200", "\"5\"", NULL, "five", true);
    IS(v, COMPLETE);
    held = want_as(&w, SEGMENT(6), GOBJ_MEDIA, STORE_HOLD, false);
    exchange(&up);
    IS(held, EXPECTED);
    assert_int_equal(up.calls, 1);
    assert_int_equal(stream_announce(&w.l, st, "v0", 6), ST_OK);
    exchange(&up);
    assert_int_equal(up.calls, 2);
    pass_time(&w, 5 * SEC_US); /* it is held no longer */
    IS(held, FETCHING);
    respond(&up, &up.call[1], "200", "\"6\"", NULL, "six", true);
    IS(held, COMPLETE);
    let_go(&v);
    let_go(&held);
    stream_forget(&w.l, st);
    stream_unref(&st);
    close_tier(&w, &up, 1);
}

static void a_held_request_is_let_go_in_time(void **state)
{
    (void)state;
    for (int i = 0; i < 2; i++) {
        struct world w;
        struct upstream up;
        struct stream *st;
        struct view *v;

        open_tier(&w, &up, 1, false, i == 0 ? "    hold: 10s\n" : "    hold: 1s\n");
        st = begin(&w, STREAM_SUBSCRIBED);
        assert_int_equal(stream_announce(&w.l, st, "v0", 5), ST_OK);
        v = want_as(&w, SEGMENT(6), GOBJ_MEDIA, STORE_HOLD, false);
        pass_time(&w, 600 * MS_US);
        let_go(&v);
        v = want_as(&w, SEGMENT(6), GOBJ_MEDIA, STORE_HOLD, false); /* does not begin anew */
        pass_time(&w, i == 0 ? 600 * MS_US : 200 * MS_US);
        IS(v, EXPECTED);
        pass_time(&w, 800 * MS_US); /* 1.5 segments, or the limit */
        is_negative(v, 404);
        assert_true(nobody_connects(&w, &up.listen));
        assert_int_equal(stream_announce(&w.l, st, "v0", 6), ST_OK); /* ends the 404 */
        assert_true(gobj_is_dead(view_gobj(v)));
        let_go(&v);
        stream_forget(&w.l, st);
        stream_unref(&st);
        close_tier(&w, &up, 1);
    }
}

static void what_is_made_here_is_never_fetched(void **state)
{
    struct world w;
    struct upstream up;
    struct stream *st;
    struct view *v, *gone;

    (void)state;
    open_tier(&w, &up, 1, false, "");
    st = begin(&w, STREAM_HERE);
    assert_int_equal(stream_announce(&w.l, st, "v0", 5), ST_OK);
    v = want_media(&w, SEGMENT(5));
    gone = want_media(&w, SEGMENT(4));
    assert_true(nobody_connects(&w, &up.listen));
    IS(v, EXPECTED);
    is_negative(gone, 404);
    let_go(&v);
    let_go(&gone);
    stream_forget(&w.l, st);
    stream_unref(&st);
    close_tier(&w, &up, 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_segment_is_filled_as_it_comes),
        cmocka_unit_test(a_manifest_lives_as_long_as_it_says_and_is_no_fill),
        cmocka_unit_test(a_stream_that_one_does_not_have_is_asked_of_the_next),
        cmocka_unit_test(what_none_of_them_has_is_not_there),
        cmocka_unit_test(one_that_does_not_answer_may_have_it),
        cmocka_unit_test(a_reset_stream_is_resumed_to_its_end),
        cmocka_unit_test(a_body_that_breaks_again_is_resumed_from_the_next_upstream),
        cmocka_unit_test(a_lost_connection_resumes_all_its_bodies_on_the_next),
        cmocka_unit_test(many_bodies_on_a_lost_connection_are_one_failure),
        cmocka_unit_test(a_lost_connection_that_had_not_answered_is_opened_once_more),
        cmocka_unit_test(an_upstream_that_leaves_the_routes_ends_with_its_last_body),
        cmocka_unit_test(a_request_that_was_refused_is_sent_again_once),
        cmocka_unit_test(a_connection_that_is_wound_up_serves_what_it_has),
        cmocka_unit_test(without_memory_the_rest_is_asked_for_later),
        cmocka_unit_test(an_answer_in_time_may_be_a_held_one),
        cmocka_unit_test(a_fill_that_is_unlinked_resets_its_stream_only),
        cmocka_unit_test(a_bad_head_fails_its_stream_only),
        cmocka_unit_test(an_upstream_that_refuses_is_not_tried_at_once_again),
        cmocka_unit_test(an_upstream_that_only_hangs_up_is_not_tried_at_once_again),
        cmocka_unit_test(a_body_larger_than_the_window_comes_through),
        cmocka_unit_test(what_is_announced_and_wanted_is_fetched),
        cmocka_unit_test(a_held_request_is_let_go_in_time),
        cmocka_unit_test(what_is_made_here_is_never_fetched),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
