/* Subscriptions: when there is one, where, for how long, and what it is good for. */
#include "tests/unit/upstream_world.h"

#include "edge/stream.h"
#include "tests/unit/sub_records.h"

#define MPD "/live/show/manifest.mpd"
#define SEGMENT(n) "/live/show/" SUB_SESSION "/v0/" #n ".m4s"

static struct world w;
static struct upstream up[3]; /* the connections of subscriptions */
static int n_up;
enum { WORDS = 48 };
static struct buf said[WORDS]; /* lives as long as the connection may send it */
static int n_said;

static struct buf *words(void)
{
    assert_true(n_said < WORDS);
    buf_init(&said[n_said], 1 << 20);
    return &said[n_said++];
}

static void open_with(int n, const char *limits)
{
    n_up = n;
    n_said = 0;
    open_tier(&w, up, n, true, limits);
}

static void close_all(void)
{
    close_tier(&w, up, n_up);
    while (n_said > 0)
        buf_fini(&said[--n_said]);
}

static struct view *want_mpd(void) { return want_as(&w, MPD, GOBJ_DOC, STORE_FETCH, true); }

static struct view *want_media(const char *key)
{
    return want_as(&w, key, GOBJ_MEDIA, STORE_FETCH, false);
}

/* The next subscription at u: what it asked for is in newest(u). */
static void subscribed(struct upstream *u)
{
    if (u->fd < 0)
        take_connection(u);
    else
        exchange(u);
    assert_true(asked(u, ":path: /_sub/live/show"));
}

static void tell(struct upstream *u, struct buf *b, bool last)
{
    assert_int_equal(b->st, ST_OK);
    go_on_with(u, newest(u), b->data, b->len, last);
}

static void begin_telling(struct upstream *u, struct buf *b)
{
    answer(u, newest(u), "200", NULL, NULL, NULL, NULL, b->data, b->len, false);
}

static void picture(struct buf *b, bool live, unsigned epoch, const char *mpd)
{
    sub_snapshot_of(b, 10, SUB_SESSION, live, epoch, 5, 7, 1);
    sub_doc(b, 9, "manifest.mpd", mpd);
}

/* Somebody watches at the first upstream, and is told. */
static struct view *follow(void)
{
    struct view *v = want_mpd();
    struct buf *b = words();

    subscribed(&up[0]);
    assert_true(asked(&up[0], ":path: /_sub/live/show\n"));
    IS(v, FETCHING);
    picture(b, true, 5, "<MPD 1>");
    begin_telling(&up[0], b);
    IS(v, COMPLETE);
    assert_string_equal(body_of(v), "<MPD 1>");
    assert_int_equal(COUNT(&w, push_subscriptions), 1);
    return v;
}

static void watch(const char *rep)
{
    stream_touch(w.store, "live/show", 9, rep, strlen(rep), loop_now(&w.l));
}

/* Time that passes for the connections too. */
static void pass(uint64_t us, int who)
{
    pass_time(&w, us);
    if (who >= 0)
        exchange(&up[who]);
}

static void is_mpd(const char *body)
{
    struct view *v = want_mpd();

    IS(v, COMPLETE);
    assert_string_equal(body_of(v), body);
    let_go(&v);
}

/* The fills' own connection to u. */
static struct upstream fills_of(const struct upstream *u)
{
    return (struct upstream){ .listen = u->listen, .fd = -1, .w = &w };
}

/* --- the first viewer --- */

static void the_first_viewer_subscribes_and_the_picture_answers_him(void **state)
{
    struct view *v, *second;

    (void)state;
    open_with(1, "");
    v = want_mpd();
    second = want_mpd(); /* while it is on its way */
    subscribed(&up[0]);
    assert_int_equal(up[0].calls, 1);
    picture(words(), true, 5, "<MPD 1>");
    begin_telling(&up[0], &said[0]);
    IS(v, COMPLETE);
    assert_string_equal(body_of(second), "<MPD 1>");
    assert_int_equal(up[0].calls, 1);
    assert_true(nobody_connects(&w, &up[0].listen)); /* no second GET */
    let_go(&v);
    let_go(&second);
    sub_doc(words(), 11, "manifest.mpd", "<MPD two>");
    tell(&up[0], &said[1], false);
    is_mpd("<MPD two>");
    assert_int_equal(up[0].calls, 1);
    close_all();
}

static void what_the_picture_does_not_have_is_asked_for(void **state)
{
    struct upstream fills;
    struct view *v, *other;

    (void)state;
    open_with(1, "");
    v = want_mpd();
    other = want_as(&w, "/live/show/master.m3u8", GOBJ_DOC, STORE_FETCH, true);
    subscribed(&up[0]);
    picture(words(), true, 5, "<MPD 1>");
    begin_telling(&up[0], &said[0]);
    IS(v, COMPLETE);
    IS(other, FETCHING);
    fills = fills_of(&up[0]);
    take_connection(&fills);
    assert_true(asked(&fills, ":path: /live/show/master.m3u8\n"));
    respond(&fills, newest(&fills), "404", NULL, NULL, "", true);
    is_negative(other, 404);
    let_go(&v);
    let_go(&other);
    drop_connection(&fills);
    close_all();
}

static void a_segment_alone_subscribes_too_but_does_not_wait(void **state)
{
    struct upstream fills = { .w = &w, .fd = -1 };
    struct view *v;

    (void)state;
    open_with(1, "");
    fills.listen = up[0].listen;
    v = want_media(SEGMENT(7));
    subscribed(&up[0]);
    take_connection(&fills);
    assert_true(asked(&fills, ":path: " SEGMENT(7) "\n"));
    respond(&fills, newest(&fills), "200", "\"e\"", NULL, "bytes", true);
    IS(v, COMPLETE);
    let_go(&v);
    drop_connection(&fills);
    close_all();
}

static void a_stream_that_nobody_has_is_404_for_a_second(void **state)
{
    struct view *v;

    (void)state;
    open_with(2, "");
    v = want_mpd();
    for (int i = 0; i < 2; i++) {
        subscribed(&up[i]);
        IS(v, FETCHING);
        respond(&up[i], newest(&up[i]), "404", NULL, NULL, "", true);
    }
    is_negative(v, 404);
    assert_int_equal(up[0].calls + up[1].calls, 2); /* and nothing but that was asked */
    assert_true(nobody_connects(&w, &up[0].listen));
    pass(600 * MS_US, -1);
    assert_false(gobj_is_dead(view_gobj(v)));
    pass(500 * MS_US, -1);
    assert_true(gobj_is_dead(view_gobj(v)));
    let_go(&v);
    close_all();
}

static void an_upstream_that_does_not_know_subscriptions_is_pulled_from(void **state)
{
    struct upstream fills;
    struct view *v;

    (void)state;
    open_with(1, "");
    v = want_mpd();
    subscribed(&up[0]);
    respond(&up[0], newest(&up[0]), "500", NULL, NULL, "", true);
    fills = fills_of(&up[0]);
    take_connection(&fills);
    assert_true(asked(&fills, ":path: " MPD "\n"));
    respond(&fills, newest(&fills), "200", "\"e\"", NULL, "<MPD p>", true);
    IS(v, COMPLETE);
    let_go(&v);
    drop_connection(&fills);
    close_all();
}

static void who_says_nothing_is_not_waited_for(void **state)
{
    struct upstream fills;
    struct view *v;

    (void)state;
    open_with(1, "");
    v = want_mpd();
    subscribed(&up[0]);
    pass(13 * SEC_US, 0);
    fills = fills_of(&up[0]);
    take_connection(&fills);
    assert_true(asked(&fills, ":path: " MPD "\n"));
    let_go(&v);
    drop_connection(&fills);
    close_all();
}

static void no_more_streams_are_followed_than_allowed(void **state)
{
    struct upstream fills;
    struct view *v, *other;

    (void)state;
    open_with(1, "    subscriptions: 1\n");
    v = follow();
    other = want_as(&w, "/live/b/manifest.mpd", GOBJ_DOC, STORE_FETCH, true);
    exchange(&up[0]);
    assert_int_equal(up[0].calls, 2); /* one more per loop than its share */
    let_go(&other);
    other = want_as(&w, "/live/c/manifest.mpd", GOBJ_DOC, STORE_FETCH, true);
    fills = fills_of(&up[0]);
    take_connection(&fills);
    assert_true(asked(&fills, ":path: /live/c/manifest.mpd\n"));
    assert_int_equal(COUNT(&w, limit_hits[METRIC_LIMIT_SUBSCRIPTIONS]), 1);
    let_go(&v);
    let_go(&other);
    drop_connection(&fills);
    close_all();
}

static void names_that_nobody_knows_do_not_keep_others_from_being_followed(void **state)
{
    struct upstream fills;
    struct view *v, *a, *b;

    (void)state;
    open_with(1, "    pending_lookups: 2\n");
    v = follow(); /* is none of them any more */
    a = want_as(&w, "/live/a/manifest.mpd", GOBJ_DOC, STORE_FETCH, true);
    b = want_as(&w, "/live/b/manifest.mpd", GOBJ_DOC, STORE_FETCH, true);
    exchange(&up[0]);
    assert_int_equal(up[0].calls, 3);
    let_go(&v);
    v = want_as(&w, "/live/c/manifest.mpd", GOBJ_DOC, STORE_FETCH, true);
    fills = fills_of(&up[0]);
    take_connection(&fills);
    assert_true(asked(&fills, ":path: /live/c/manifest.mpd\n"));
    assert_int_equal(COUNT(&w, limit_hits[METRIC_LIMIT_PENDING_LOOKUPS]), 1);
    let_go(&v);
    let_go(&a);
    let_go(&b);
    drop_connection(&fills);
    close_all();
}

/* --- announcements --- */

static void what_is_announced_is_fetched_when_its_rendition_is_watched(void **state)
{
    struct upstream fills;
    struct view *v;
    struct buf *b;

    (void)state;
    open_with(1, "");
    v = follow();
    let_go(&v);
    sub_announce(words(), 11, 8);
    tell(&up[0], &said[n_said - 1], false);
    assert_true(nobody_connects(&w, &up[0].listen)); /* nobody watches v0 */
    watch("v0");
    sub_announce(words(), 12, 9);
    tell(&up[0], &said[n_said - 1], false);
    fills = fills_of(&up[0]);
    take_connection(&fills);
    assert_int_equal(fills.calls, 1);
    assert_true(asked(&fills, ":path: " SEGMENT(9) "\n"));
    respond(&fills, newest(&fills), "200", "\"e\"", NULL, "first", false);
    v = want_media(SEGMENT(9));
    IS(v, STREAMING);
    assert_int_equal(gobj_written(view_gobj(v)), 5); /* of a chunk, shown when it is whole */
    exchange(&fills);
    assert_int_equal(fills.calls, 1); /* one fill, whoever asks */
    b = words();
    sub_close(b, 13, 9, 9);
    tell(&up[0], b, false);
    go_on(&fills, newest(&fills), " end", true);
    IS(v, COMPLETE);
    assert_string_equal(body_of(v), "first end");
    let_go(&v);
    pass(11 * SEC_US, -1); /* longer than anybody cares about a rendition */
    drop_connection(&fills);
    close_all();
}

static void a_body_shorter_than_its_upstream_says_is_never_complete(void **state)
{
    struct upstream fills;
    struct view *v;

    (void)state;
    open_with(1, "");
    v = follow();
    let_go(&v);
    watch("v0"); /* is not known to be a rendition before it is announced */
    v = want_media(SEGMENT(7));
    fills = fills_of(&up[0]);
    take_connection(&fills);
    respond(&fills, newest(&fills), "200", NULL, NULL, "12345", false);
    sub_close(words(), 11, 7, 6);
    tell(&up[0], &said[n_said - 1], false);
    go_on(&fills, newest(&fills), "", true);
    IS(v, FAILED);
    let_go(&v);
    drop_connection(&fills);
    close_all();
}

static void a_segment_of_another_size_is_dropped(void **state)
{
    struct upstream fills;
    struct view *v;

    (void)state;
    open_with(1, "");
    v = follow();
    let_go(&v);
    v = want_media(SEGMENT(7));
    fills = fills_of(&up[0]);
    take_connection(&fills);
    respond(&fills, newest(&fills), "200", NULL, NULL, "12345", true);
    IS(v, COMPLETE);
    sub_close(words(), 11, 7, 5);
    tell(&up[0], &said[n_said - 1], false);
    assert_false(gobj_is_dead(view_gobj(v)));
    sub_close(words(), 12, 7, 6);
    tell(&up[0], &said[n_said - 1], false);
    assert_true(gobj_is_dead(view_gobj(v)));
    let_go(&v);
    drop_connection(&fills);
    close_all();
}

/* --- losing and finding --- */

static void a_lost_subscription_goes_on_where_it_was(void **state)
{
    struct view *v;
    struct stream_answer a;

    (void)state;
    open_with(1, "");
    v = follow();
    sub_announce(words(), 11, 8);
    tell(&up[0], &said[n_said - 1], false);
    drop_connection(&up[0]);
    assert_int_equal(COUNT(&w, push_subscriptions), 0);
    a = stream_where(w.store, "live/show", 9, SUB_SESSION, "v0", 2, 8);
    assert_int_equal(a.where, STREAM_UNKNOWN);
    let_go(&v);
    v = want_mpd();
    assert_true(gobj_fresh_until(view_gobj(v)) == loop_now(&w.l) + SEC_US); /* half a segment */
    let_go(&v);
    assert_true(nobody_connects(&w, &up[0].listen)); /* not at once */
    pass(110 * MS_US, -1);
    subscribed(&up[0]);
    assert_true(asked(&up[0], "?since=" SUB_LOGID ".11\n"));
    sub_beat(words(), 11, true, 5);
    begin_telling(&up[0], &said[n_said - 1]);
    assert_int_equal(COUNT(&w, push_subscriptions), 1);
    assert_int_equal(COUNT(&w, push_resync[METRIC_RESYNC_PARTIAL]), 1);
    assert_int_equal(COUNT(&w, push_resync[METRIC_RESYNC_FULL]), 0);
    a = stream_where(w.store, "live/show", 9, SUB_SESSION, "v0", 2, 9);
    assert_int_equal(a.where, STREAM_NEXT);
    is_mpd("<MPD 1>");
    close_all();
}

static void or_is_told_everything_again(void **state)
{
    struct view *v;

    (void)state;
    open_with(1, "");
    v = follow();
    let_go(&v);
    drop_connection(&up[0]);
    pass(110 * MS_US, -1);
    subscribed(&up[0]);
    picture(words(), true, 6, "<MPD after>");
    begin_telling(&up[0], &said[n_said - 1]);
    assert_int_equal(COUNT(&w, push_resync[METRIC_RESYNC_FULL]), 1);
    is_mpd("<MPD after>");
    close_all();
}

static void three_missed_heartbeats_are_the_end(void **state)
{
    struct view *v;

    (void)state;
    open_with(1, "");
    v = follow();
    let_go(&v);
    for (int i = 0; i < 5; i++) {
        pass(1 * SEC_US, 0);
        sub_beat(words(), 10, true, 5);
        tell(&up[0], &said[n_said - 1], false);
    }
    assert_int_equal(COUNT(&w, push_subscriptions), 1);
    for (int i = 0; i < 3; i++)
        pass(1 * SEC_US, 0);
    assert_int_equal(COUNT(&w, push_subscriptions), 1);
    for (int i = 0; i < 2; i++)
        pass(1 * SEC_US, 0);
    assert_int_equal(COUNT(&w, push_subscriptions), 0);
    close_all();
}

static void a_line_that_is_dead_is_not_used_again(void **state)
{
    struct upstream fills;
    struct view *v, *seg;

    (void)state;
    open_with(1, "");
    v = follow();
    let_go(&v);
    seg = want_media(SEGMENT(7));
    fills = fills_of(&up[0]);
    take_connection(&fills);
    respond(&fills, newest(&fills), "200", "\"e\"", NULL, "be", false);
    for (int i = 0; i < 5; i++)
        pass(1 * SEC_US, 0);
    is_closed(&w, up[0].fd);
    is_closed(&w, fills.fd);
    IS(seg, RESUMING); /* on a new one */
    drop_connection(&up[0]);
    drop_connection(&fills);
    let_go(&seg);
    close_all();
}

static void whoever_asks_while_it_is_lost_pulls(void **state)
{
    struct upstream fills;
    struct view *v;

    (void)state;
    open_with(1, "");
    v = follow();
    let_go(&v);
    drop_connection(&up[0]);
    pass(110 * MS_US, -1);
    subscribed(&up[0]); /* no answer yet */
    pass(2 * SEC_US, 0);
    v = want_mpd();
    fills = fills_of(&up[0]);
    take_connection(&fills);
    assert_true(asked(&fills, ":path: " MPD "\n"));
    respond(&fills, newest(&fills), "200", "\"e\"", NULL, "<MPD p>", true);
    IS(v, COMPLETE);
    /* the rules of a lost subscription are for these too */
    assert_true(gobj_fresh_until(view_gobj(v)) == loop_now(&w.l) + SEC_US);
    assert_int_equal(gobj_head(view_gobj(v))->swr_us, 2 * SEC_US);
    let_go(&v);
    /* and the next document takes its place */
    picture(words(), true, 5, "<MPD s>");
    begin_telling(&up[0], &said[n_said - 1]);
    is_mpd("<MPD s>");
    drop_connection(&fills);
    close_all();
}

static void stale_manifests_are_served_for_four_segments_then_503(void **state)
{
    struct view *v;

    (void)state;
    open_with(1, "    linger: 1h\n");
    v = follow();
    let_go(&v);
    drop_connection(&up[0]);
    (void)close(up[0].listen.fd); /* and nobody answers any more */
    up[0].listen.fd = -1;
    for (int i = 0; i < 8; i++) { /* half a segment and four more: nine seconds */
        pass(1 * SEC_US, -1);
        v = want_mpd();
        settle(&w);
        IS(v, COMPLETE);
        assert_string_equal(body_of(v), "<MPD 1>");
        let_go(&v);
    }
    pass(2 * SEC_US, -1);
    v = want_mpd();
    settle(&w);
    is_negative(v, 503);
    assert_string_equal(gobj_head(view_gobj(v))->fields, "retry-after: 1\r\n");
    let_go(&v);
    up[0].listen = server_open();
    close_all();
}

/* A server on its way back knows nothing yet. */
static void a_home_that_has_forgotten_is_not_believed_at_once(void **state)
{
    struct upstream fills;
    struct view *v;

    (void)state;
    open_with(1, "");
    v = follow();
    let_go(&v);
    drop_connection(&up[0]);
    pass(110 * MS_US, -1);
    subscribed(&up[0]);
    respond(&up[0], newest(&up[0]), "404", NULL, NULL, "", true);
    pass(2 * SEC_US, 0);
    v = want_mpd();
    fills = fills_of(&up[0]);
    take_connection(&fills);
    respond(&fills, newest(&fills), "404", NULL, NULL, "", true);
    IS(v, COMPLETE);
    assert_string_equal(body_of(v), "<MPD 1>");
    let_go(&v);
    drop_connection(&fills);
    close_all();
}

static void nobody_watches_and_it_ends(void **state)
{
    struct view *v;

    (void)state;
    open_with(1, "    linger: 4s\n");
    v = follow();
    let_go(&v);
    for (int i = 0; i < 6; i++) {
        pass(1 * SEC_US, 0);
        watch("v0"); /* somebody does */
        sub_beat(words(), 10, true, 5);
        tell(&up[0], &said[n_said - 1], false);
    }
    assert_int_equal(COUNT(&w, push_subscriptions), 1);
    for (int i = 0; i < 6; i++) {
        sub_beat(words(), 10, true, 5);
        if (!newest(&up[0])->closed)
            tell(&up[0], &said[n_said - 1], false);
        pass(1 * SEC_US, 0);
    }
    assert_true(newest(&up[0])->closed);
    assert_int_equal(COUNT(&w, push_subscriptions), 0);
    assert_int_equal(stream_count(w.store), 0);
    close_all();
}

static void nonsense_is_not_followed(void **state)
{
    struct view *v;

    (void)state;
    open_with(1, "");
    v = follow();
    let_go(&v);
    sub_announce(words(), 99, 8);
    tell(&up[0], &said[n_said - 1], false);
    assert_int_equal(COUNT(&w, push_subscriptions), 0);
    assert_true(newest(&up[0])->closed);
    pass(110 * MS_US, 0);
    subscribed(&up[0]);
    assert_false(asked(&up[0], "since="));
    close_all();
}

/* --- which upstream --- */

static void the_one_that_has_it_is_found(void **state)
{
    struct view *v;

    (void)state;
    open_with(3, "");
    v = want_mpd();
    subscribed(&up[0]);
    respond(&up[0], newest(&up[0]), "404", NULL, NULL, "", true);
    subscribed(&up[1]);
    drop_connection(&up[1]); /* broke off: its turn is over */
    subscribed(&up[2]);
    picture(words(), true, 5, "<MPD 3>");
    begin_telling(&up[2], &said[n_said - 1]);
    IS(v, COMPLETE);
    let_go(&v);
    /* fills begin there too */
    struct upstream fills = fills_of(&up[2]);

    v = want_media(SEGMENT(7));
    take_connection(&fills);
    assert_true(asked(&fills, ":path: " SEGMENT(7) "\n"));
    let_go(&v);
    drop_connection(&fills);
    close_all();
}

static void who_is_misdirected_goes_where_he_is_sent(void **state)
{
    struct view *v;
    char url[64];

    (void)state;
    open_with(3, "");
    v = want_mpd();
    subscribed(&up[0]);
    (void)snprintf(url, sizeof url, "http://127.0.0.1:%u", (unsigned)up[2].listen.port);
    answer(&up[0], newest(&up[0]), "421", "freshet-home", url, NULL, NULL, "", 0, true);
    subscribed(&up[2]);
    assert_true(nobody_connects(&w, &up[1].listen));
    picture(words(), true, 5, "<MPD 3>");
    begin_telling(&up[2], &said[n_said - 1]);
    IS(v, COMPLETE);
    let_go(&v);
    close_all();
}

static void those_who_send_us_in_circles_are_left(void **state)
{
    struct view *v;
    char url[64];

    (void)state;
    open_with(1, "");
    (void)snprintf(url, sizeof url, "http://127.0.0.1:%u", (unsigned)up[0].listen.port);
    v = want_mpd();
    subscribed(&up[0]);
    for (int seen = 0; up[0].calls > seen; seen++)
        answer(&up[0], &up[0].call[seen], "421", "freshet-home", url, NULL, NULL, "", 0, true);
    assert_true(up[0].calls <= 2 * ROUTE_UPSTREAMS_MAX);
    is_negative(v, 404);
    let_go(&v);
    close_all();
}

static void one_without_a_publisher_is_followed_only_for_want_of_a_better_one(void **state)
{
    struct view *v;

    (void)state;
    open_with(2, "");
    v = want_mpd();
    subscribed(&up[0]);
    picture(words(), false, 5, "<MPD ended>");
    begin_telling(&up[0], &said[n_said - 1]);
    IS(v, FETCHING); /* the other one may be live */
    assert_true(newest(&up[0])->closed || up[0].calls == 1);
    subscribed(&up[1]);
    respond(&up[1], newest(&up[1]), "404", NULL, NULL, "", true);
    exchange(&up[0]);
    assert_int_equal(up[0].calls, 2);
    picture(words(), false, 5, "<MPD ended>");
    begin_telling(&up[0], &said[n_said - 1]);
    IS(v, COMPLETE);
    assert_string_equal(body_of(v), "<MPD ended>");
    let_go(&v);

    /* asked again, the other one has a publisher by now: with an older claim, then with a newer */
    for (int i = 0; i < 2; i++) {
        for (int k = 0; k < 6; k++) {
            pass(1 * SEC_US, 0);
            sub_beat(words(), 10, false, 5);
            tell(&up[0], &said[n_said - 1], false);
            buf_fini(&said[--n_said]);
            newest(&up[0])->n = newest(&up[0])->off = 0;
            exchange(&up[1]);
        }
        assert_int_equal(up[1].calls, 2 + i);
        picture(words(), true, i == 0 ? 4 : 6, "<MPD probe>");
        begin_telling(&up[1], &said[n_said - 1]);
        is_mpd("<MPD ended>");
    }
    exchange(&up[1]);
    assert_int_equal(up[1].calls, 4); /* in earnest */
    assert_false(asked(&up[1], "since="));
    picture(words(), true, 6, "<MPD live>");
    begin_telling(&up[1], &said[n_said - 1]);
    is_mpd("<MPD live>");
    exchange(&up[0]);
    assert_true(newest(&up[0])->closed);
    assert_int_equal(COUNT(&w, push_subscriptions), 1);
    close_all();
}

static void the_loop_may_stop_at_any_time(void **state)
{
    struct view *v, *waits;

    (void)state;
    open_with(1, "");
    v = follow();
    waits = want_as(&w, "/live/b/manifest.mpd", GOBJ_DOC, STORE_FETCH, true);
    exchange(&up[0]);
    let_go(&v);
    world_close_early(&w);
    IS(waits, FAILED);
    let_go(&waits);
    drop_connection(&up[0]);
    world_close_late(&w);
    (void)close(up[0].listen.fd);
    while (n_said > 0)
        buf_fini(&said[--n_said]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_first_viewer_subscribes_and_the_picture_answers_him),
        cmocka_unit_test(what_the_picture_does_not_have_is_asked_for),
        cmocka_unit_test(a_segment_alone_subscribes_too_but_does_not_wait),
        cmocka_unit_test(a_stream_that_nobody_has_is_404_for_a_second),
        cmocka_unit_test(an_upstream_that_does_not_know_subscriptions_is_pulled_from),
        cmocka_unit_test(who_says_nothing_is_not_waited_for),
        cmocka_unit_test(no_more_streams_are_followed_than_allowed),
        cmocka_unit_test(names_that_nobody_knows_do_not_keep_others_from_being_followed),
        cmocka_unit_test(what_is_announced_is_fetched_when_its_rendition_is_watched),
        cmocka_unit_test(a_body_shorter_than_its_upstream_says_is_never_complete),
        cmocka_unit_test(a_segment_of_another_size_is_dropped),
        cmocka_unit_test(a_lost_subscription_goes_on_where_it_was),
        cmocka_unit_test(or_is_told_everything_again),
        cmocka_unit_test(three_missed_heartbeats_are_the_end),
        cmocka_unit_test(a_line_that_is_dead_is_not_used_again),
        cmocka_unit_test(whoever_asks_while_it_is_lost_pulls),
        cmocka_unit_test(stale_manifests_are_served_for_four_segments_then_503),
        cmocka_unit_test(a_home_that_has_forgotten_is_not_believed_at_once),
        cmocka_unit_test(nobody_watches_and_it_ends),
        cmocka_unit_test(nonsense_is_not_followed),
        cmocka_unit_test(the_one_that_has_it_is_found),
        cmocka_unit_test(who_is_misdirected_goes_where_he_is_sent),
        cmocka_unit_test(those_who_send_us_in_circles_are_left),
        cmocka_unit_test(one_without_a_publisher_is_followed_only_for_want_of_a_better_one),
        cmocka_unit_test(the_loop_may_stop_at_any_time),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
