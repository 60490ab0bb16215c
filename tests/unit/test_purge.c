/* edge/purge: which objects go, which stay, who keeps reading; and what a prefix may be. */
#include "tests/unit/store_world.h"

#include "edge/purge.c"

enum { MIB = 1024 * 1024 };
static const char NAME[] = "live/cam";
static const char SESSION[] = "0123456789abc";

static struct stream *st;

static int begin(void **state)
{
    (void)state;
    world_begin(64 * MIB, 16 * MIB, 256 * MIB);
    st = NULL;
    return 0;
}

static int end(void **state)
{
    (void)state;
    stream_unref(&st);
    world_end();
    return 0;
}

/* All loops, to the end. */
static struct purge_sum purge(const char *prefix)
{
    struct purge_sum sum = { .objects = 0 };

    for (int i = 0; i < WORLD_LOOPS; i++) {
        size_t at = 0;
        int turns = 1;

        while (!purge_turn(&w.loop[i], prefix, &at, &sum))
            turns++;
        assert_true(turns >= STORE_BUCKETS / BUCKETS_PER_TURN);
    }
    settle();
    return sum;
}

static bool is_listed(const char *key)
{
    struct gobj *o = lookup(key);
    bool there = o != NULL;

    gobj_unref(&o);
    return there;
}

static void what_begins_with_the_prefix_goes_and_nothing_else(void **state)
{
    static const char *const keys[] = { "/vod/a/1", "/vod/a/2", "/vod/a?x=1", "/vod/ab/3",  "/vod",
                                        "/voda/1",  "/vo",      "/VOD/a/1",   "/live/vod/a" };
    struct purge_sum sum;

    (void)state;
    for (unsigned i = 0; i < sizeof keys / sizeof keys[0]; i++)
        publish(keys[i], i % WORLD_LOOPS, GOBJ_OUTSIDE, 1000 + i, UINT64_MAX);
    sum = purge("/vod/a/");
    assert_int_equal(sum.objects, 2);
    assert_int_equal(sum.bytes, 2001);
    assert_int_equal(sum.kept, 0);
    for (unsigned i = 0; i < sizeof keys / sizeof keys[0]; i++)
        assert_int_equal(is_listed(keys[i]), i >= 2);
    assert_int_equal(purge("/vod/a?x=").objects, 1);
    assert_int_equal(purge("/vod/a/").objects, 0);
    assert_int_equal(purge("/vod").objects, 3);
    assert_true(is_listed("/vo") && is_listed("/VOD/a/1") && is_listed("/live/vod/a"));
    assert_int_equal(purge("/").objects, 3);
    assert_int_equal(store_objects(w.s), 0);
    assert_int_equal(store_cache_bytes(w.s), 0);
}

static void a_bucket_with_many_is_emptied_too(void **state)
{
    char key[32];

    (void)state;
    for (int i = 0; i < 3 * PER_BUCKET; i++) {
        struct gobj *o;

        (void)snprintf(key, sizeof key, "/vod/%d", i);
        o = store_make(w.s, key, strlen(key), 77, 0, GOBJ_OUTSIDE); /* one hash for all */
        assert_non_null(o);
        store_publish(&w.loop[0], o);
        gobj_unref(&o);
    }
    assert_int_equal(purge("/vod/").objects, 3 * PER_BUCKET);
    assert_int_equal(store_objects(w.s), 0);
}

static void who_reads_keeps_the_bytes_that_are_still_on_their_way(void **state)
{
    struct reader early = { .outcome = IDLE }, late = { .outcome = IDLE };
    struct fill *f;

    (void)state;
    reader_begin(&early, 1, "/vod/a", 0);
    settle();
    f = w.fills;
    fill_start(f, UINT64_MAX);
    fill_append(f, 5000);
    settle();
    assert_int_equal(early.got, 5000);
    assert_int_equal(purge("/vod/").objects, 1);
    assert_int_equal(w.unlinked, 0);
    reader_begin(&late, 2, "/vod/a", 0);
    settle();
    assert_int_equal(w.wants, 2); /* anew */
    fill_append(f, 5000);
    fill_complete(f);
    settle();
    assert_int_equal(early.outcome, DONE);
    assert_int_equal(early.got, 10000);
    assert_int_equal(late.outcome, WAITING);
    fill_start(w.fills, UINT64_MAX);
    fill_complete(w.fills);
    settle();
    assert_int_equal(late.outcome, DONE);
    assert_true(is_listed("/vod/a"));
}

static void who_waits_for_a_head_gets_it(void **state)
{
    struct reader r = { .outcome = IDLE };
    struct fill *f;

    (void)state;
    reader_begin(&r, 1, "/vod/a", 0);
    settle();
    assert_int_equal(purge("/vod/").objects, 1);
    f = w.fills;
    assert_non_null(f);
    fill_negative(f);
    settle();
    assert_int_equal(r.outcome, NOT_FOUND);
    assert_int_equal(store_objects(w.s), 0);
}

static void a_refresh_of_what_is_purged_ends(void **state)
{
    struct reader r = { .outcome = IDLE };

    (void)state;
    publish("/vod/a", 0, GOBJ_OUTSIDE, 100, world_now_us + 10);
    pass_time(20);
    struct gobj *o = lookup("/vod/a");
    store_refresh(o);
    gobj_unref(&o);
    settle();
    assert_int_equal(w.refreshes, 1);
    assert_int_equal(purge("/vod/").objects, 1);
    assert_int_equal(w.unlinked, 1);
    assert_null(w.fills);
    reader_begin(&r, 1, "/vod/a", 0);
    settle();
    assert_int_equal(w.wants, 1);
    reader_leave(&r);
}

static void session(enum stream_source source, struct loop **home)
{
    struct gobj_head head = { .status = 200, .length = -1, .etag = "\"x\"" };

    *home = &w.loop[stream_home(w.s, NAME, strlen(NAME))];
    assert_int_equal(stream_begin(*home, NAME, SESSION, 2000000, source, &st), ST_OK);
    assert_int_equal(stream_doc(*home, st, "manifest.mpd", &head, "<MPD/>", 6), ST_OK);
    assert_int_equal(stream_announce(*home, st, "v0", 1), ST_OK);
    assert_int_equal(stream_announce(*home, st, "v0", 2), ST_OK);
}

static void the_window_of_a_stream_that_is_live_here_stays(void **state)
{
    struct purge_sum sum;
    struct loop *home;

    (void)state;
    session(STREAM_HERE, &home);
    publish("/live/cam/zzzzzzzzzzzzz/v0/7.m4s", (unsigned)home->index, GOBJ_MEDIA, 10, UINT64_MAX);
    publish("/live/cam2/manifest.mpd", 0, GOBJ_DOC, 10, UINT64_MAX);
    sum = purge("/live/cam");
    assert_int_equal(sum.objects, 2); /* of another session, of another stream */
    assert_int_equal(sum.kept, 3);
    assert_true(is_listed("/live/cam/manifest.mpd"));
    assert_true(is_listed("/live/cam/0123456789abc/v0/2.m4s"));
    stream_end(home, st);
    settle();
    sum = purge("/live/cam/");
    assert_int_equal(sum.kept, 0);
    assert_int_equal(store_objects(w.s), 0);
    stream_forget(home, st);
}

static void what_an_upstream_has_goes_and_is_fetched_again(void **state)
{
    struct reader r = { .outcome = IDLE };
    struct gobj_head head = { .status = 200, .length = -1, .etag = "\"y\"" };
    struct loop *home;

    (void)state;
    session(STREAM_SUBSCRIBED, &home);
    assert_int_equal(purge("/live/").objects, 3);
    assert_int_equal(store_objects(w.s), 0);
    reader_begin(&r, 0, "/live/cam/0123456789abc/v0/2.m4s", (unsigned)home->index);
    settle();
    assert_int_equal(w.wants, 1);
    reader_leave(&r);
    /* and what the stream table still refers to does no harm when it goes its way */
    assert_int_equal(stream_doc(home, st, "manifest.mpd", &head, "<MPD />", 7), ST_OK);
    assert_true(is_listed("/live/cam/manifest.mpd"));
    stream_expire(home, st, "v0", 2);
    stream_end(home, st);
    stream_forget(home, st);
    settle();
}

static void a_prefix_is_spelled_as_keys_are(void **state)
{
    static const struct {
        const char *in, *out;
        enum st st;
    } table[] = {
        { "/", "/", ST_OK },
        { "/vod/", "/vod/", ST_OK },
        { "/vod/%7ea", "/vod/~a", ST_OK },
        { "/vod/a%2Bb", "/vod/a%2Bb", ST_OK },
        { "/vod/a?x=1&CMCD=y", "/vod/a?x=1", ST_OK },
        { "/vod/a?", "/vod/a?", ST_OK },
        { "", NULL, ST_EPROTO },
        { "vod/", NULL, ST_EPROTO },
        { "*", NULL, ST_EPROTO },
        { "/vod/../", NULL, ST_EPROTO },
        { "/vod//", NULL, ST_EPROTO },
        { "/vod/%2", NULL, ST_EPROTO },
        { "/vod/a b", NULL, ST_EPROTO },
        { "/vod/a\x01", NULL, ST_EPROTO },
        { "/0123456789012345678901234567890123456789", NULL, ST_ELIMIT },
    };

    (void)state;
    for (size_t i = 0; i < sizeof table / sizeof table[0]; i++) {
        size_t n = strlen(table[i].in);
        char out[40], *in = malloc(n + (n == 0)); /* exact size */

        memcpy(in, table[i].in, n);
        if (purge_prefix(slice_of(in, n), out, sizeof out) != table[i].st)
            fail_msg("%s", table[i].in);
        if (table[i].out != NULL)
            assert_string_equal(out, table[i].out);
        free(in);
    }
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, begin, end)
    const struct CMUnitTest tests[] = {
        T(what_begins_with_the_prefix_goes_and_nothing_else),
        T(a_bucket_with_many_is_emptied_too),
        T(who_reads_keeps_the_bytes_that_are_still_on_their_way),
        T(who_waits_for_a_head_gets_it),
        T(a_refresh_of_what_is_purged_ends),
        T(the_window_of_a_stream_that_is_live_here_stays),
        T(what_an_upstream_has_goes_and_is_fetched_again),
        cmocka_unit_test(a_prefix_is_spelled_as_keys_are),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
