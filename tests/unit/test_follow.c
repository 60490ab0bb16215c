/* Records into the stream table: what is believed, in which order it counts, and what is not. */
#include "tests/unit/fetch_world.h"

#include "edge/follow.h"
#include "tests/unit/sub_records.h"

#define MPD "/live/show/manifest.mpd"
#define INIT SUB_SESSION "/v0/init-00112233.mp4"

static struct {
    struct world w;
    struct follow f;
    struct buf b;
    bool want; /* what ops->snapshot says */
    int snapshots, full, partial, announced, closed;
    uint64_t n, size;
    bool live;
    uint64_t epoch;
} t;

static bool on_snapshot(void *ctx, bool live, uint64_t epoch)
{
    (void)ctx;
    t.snapshots++;
    t.live = live;
    t.epoch = epoch;
    return t.want;
}

static void on_in_force(void *ctx, bool full)
{
    (void)ctx;
    *(full ? &t.full : &t.partial) += 1;
}

static void on_announced(void *ctx, const char *rep, uint64_t n)
{
    (void)ctx;
    assert_string_equal(rep, "v0");
    t.announced++;
    t.n = n;
}

static void on_closed(void *ctx, const char *rep, uint64_t n, uint64_t size)
{
    (void)ctx;
    assert_string_equal(rep, "v0");
    t.closed++;
    t.n = n;
    t.size = size;
}

static const struct follow_ops ops = { on_snapshot, on_in_force, on_announced, on_closed };

static int begin(void **state)
{
    (void)state;
    memset(&t, 0, sizeof t);
    t.want = true;
    world_open(&t.w, "");
    buf_init(&t.b, 64 << 20);
    follow_init(&t.f, &t.w.l, t.w.store, "live/show", &ops, NULL);
    follow_begin(&t.f, false);
    return 0;
}

static int end(void **state)
{
    (void)state;
    follow_lost(&t.f);
    follow_fini(&t.f);
    assert_int_equal(stream_count(t.w.store), 0);
    buf_fini(&t.b);
    world_close(&t.w);
    return 0;
}

/* What is in the buffer, from a heap copy of just that size. */
static enum st feed(void)
{
    uint8_t *p = malloc(t.b.len);
    enum st st;

    assert_int_equal(t.b.st, ST_OK);
    memcpy(p, t.b.data, t.b.len);
    st = follow_feed(&t.f, p, t.b.len);
    free(p);
    buf_reset(&t.b);
    return st;
}

static enum stream_where where(unsigned n)
{
    return stream_where(t.w.store, "live/show", 9, SUB_SESSION, "v0", 2, n).where;
}

static struct gobj *get(const char *key)
{
    return store_lookup(t.w.store, key, strlen(key), store_hash(t.w.store, key, strlen(key)));
}

static void is_doc(const char *key, const char *body)
{
    struct gobj *o = get(key);
    struct gobj_cursor c = { .at = NULL };
    struct iovec v[2];

    if (body == NULL) {
        assert_null(o);
        return;
    }
    assert_non_null(o);
    assert_int_equal(gobj_now(o).state, GOBJ_COMPLETE);
    assert_int_equal(gobj_span(o, &c, 0, UINT64_MAX, v, 2), 1);
    assert_int_equal(v[0].iov_len, strlen(body));
    assert_memory_equal(v[0].iov_base, body, strlen(body));
    gobj_unref(&o);
}

static void follow_from_5_to_7(void)
{
    sub_snapshot(&t.b, 10, 5, 7, 1);
    sub_doc(&t.b, 9, "manifest.mpd", "<MPD 1>");
    assert_int_equal(feed(), ST_OK);
    assert_int_equal(t.full, 1);
}

/* --- tests --- */

static void a_picture_counts_when_the_last_document_has_come(void **state)
{
    struct gobj *o;

    (void)state;
    sub_snapshot(&t.b, 10, 5, 7, 3);
    sub_doc(&t.b, 3, INIT, "init");
    sub_doc(&t.b, 9, "manifest.mpd", "<MPD 1>");
    assert_int_equal(feed(), ST_OK);
    assert_int_equal(t.snapshots, 1);
    assert_int_equal(t.epoch, 5);
    assert_int_equal(t.full, 0);
    assert_int_equal(stream_count(t.w.store), 0);
    is_doc(MPD, NULL);
    sub_doc(&t.b, 8, SUB_SESSION "/manifest.mpd", "<MPD s>");
    assert_int_equal(feed(), ST_OK);
    assert_int_equal(t.full, 1);
    assert_true(t.f.in_force && t.f.live);
    is_doc(MPD, "<MPD 1>");
    is_doc("/live/show/" SUB_SESSION "/manifest.mpd", "<MPD s>");
    is_doc("/live/show/" INIT, "init");
    assert_int_equal(where(4), STREAM_BEHIND);
    assert_int_equal(where(5), STREAM_WINDOW);
    assert_int_equal(where(7), STREAM_WINDOW);
    assert_int_equal(where(8), STREAM_NEXT);
    o = get("/live/show/" SUB_SESSION "/v0/7.m4s");
    assert_int_equal(gobj_now(o).state, GOBJ_EXPECTED);
    gobj_unref(&o);
}

static void documents_carry_the_rules_for_when_nobody_tells_us(void **state)
{
    struct gobj *o;

    (void)state;
    follow_from_5_to_7();
    o = get(MPD);
    assert_string_equal(gobj_head(o)->etag, "\"e7\"");
    assert_string_equal(gobj_head(o)->content_type, "application/dash+xml");
    assert_string_equal(gobj_head(o)->cache_control, "max-age=1");
    assert_true(gobj_fresh_until(o) == UINT64_MAX);
    assert_int_equal(gobj_head(o)->swr_us, 2 * SEC_US);
    assert_int_equal(gobj_head(o)->sie_us, 8 * SEC_US);
    follow_lost(&t.f);
    assert_int_equal(gobj_fresh_until(o), loop_now(&t.w.l) + SEC_US);
    assert_int_equal(where(7), STREAM_UNKNOWN);
    gobj_unref(&o);
}

static void the_log_moves_the_stream(void **state)
{
    (void)state;
    follow_from_5_to_7();
    sub_announce(&t.b, 11, 8);
    sub_doc(&t.b, 12, "manifest.mpd", "<MPD two>");
    sub_close(&t.b, 13, 7, 4711);
    sub_expire(&t.b, 14, 6);
    sub_beat(&t.b, 14, true, 6);
    assert_int_equal(feed(), ST_OK);
    assert_int_equal(t.announced, 1);
    assert_int_equal(t.closed, 1);
    assert_int_equal(t.size, 4711);
    assert_int_equal(t.f.epoch, 6);
    is_doc(MPD, "<MPD two>");
    assert_int_equal(where(5), STREAM_BEHIND);
    assert_int_equal(where(8), STREAM_WINDOW);
    sub_end(&t.b, 15);
    assert_int_equal(feed(), ST_OK);
    assert_int_equal(where(9), STREAM_ABSENT);
    assert_false(t.f.live);
}

static void an_end_may_belong_to_the_picture(void **state)
{
    (void)state;
    sub_snapshot_of(&t.b, 10, SUB_SESSION, false, 5, 5, 7, 0);
    sub_end(&t.b, 10);
    assert_int_equal(feed(), ST_OK);
    assert_true(t.f.ended);
    assert_int_equal(where(8), STREAM_ABSENT);
}

static void a_body_that_broke_off_is_gone_on_from(void **state)
{
    char since[48];

    (void)state;
    assert_false(follow_since(&t.f, since));
    follow_from_5_to_7();
    sub_announce(&t.b, 11, 8);
    assert_int_equal(feed(), ST_OK);
    follow_lost(&t.f);
    assert_true(follow_since(&t.f, since));
    assert_string_equal(since, SUB_LOGID ".11");
    follow_begin(&t.f, true);
    sub_beat(&t.b, 11, true, 5);
    sub_announce(&t.b, 12, 9);
    assert_int_equal(feed(), ST_OK);
    assert_int_equal(t.partial, 1);
    assert_int_equal(where(8), STREAM_WINDOW);
    assert_int_equal(where(9), STREAM_WINDOW);
    assert_int_equal(where(5), STREAM_WINDOW);
}

static void a_picture_may_come_at_any_time(void **state)
{
    (void)state;
    follow_from_5_to_7();
    sub_snapshot(&t.b, 900, 50, 60, 1);
    sub_doc(&t.b, 890, "manifest.mpd", "<MPD 900>");
    sub_announce(&t.b, 901, 61);
    assert_int_equal(feed(), ST_OK);
    assert_int_equal(t.full, 2);
    assert_int_equal(where(49), STREAM_BEHIND);
    assert_int_equal(where(61), STREAM_WINDOW);
    is_doc(MPD, "<MPD 900>");
}

static void a_new_session_ends_the_old_one(void **state)
{
    (void)state;
    follow_from_5_to_7();
    sub_snapshot_of(&t.b, 3, "m9zzzzzzzzzzz", true, 9, 1, 1, 1);
    sub_doc(&t.b, 3, "manifest.mpd", "<MPD new>");
    assert_int_equal(feed(), ST_OK);
    assert_int_equal(where(7), STREAM_UNKNOWN);
    assert_int_equal(stream_where(t.w.store, "live/show", 9, "m9zzzzzzzzzzz", "v0", 2, 1).where,
                     STREAM_WINDOW);
    is_doc(MPD, "<MPD new>");
}

static void another_home_may_go_on_with_the_session(void **state)
{
    static const char json[] =
        "{\"logid\":\"ffffffffffffffff\",\"session\":\"" SUB_SESSION
        "\",\"epoch\":9,\"live\":true,\"segment\":2000000,\"now\":1,\"docs\":0,\"reps\":"
        "{\"v0\":{\"first\":80,\"latest\":81},\"v1\":{\"first\":80,\"latest\":81}}}";

    (void)state;
    follow_from_5_to_7();
    follow_lost(&t.f);
    follow_begin(&t.f, false);
    sub_text(&t.b, RECORD_SNAPSHOT, 3, json);
    assert_int_equal(feed(), ST_OK);
    assert_int_equal(where(5), STREAM_WINDOW); /* who is in the middle of it may finish */
    assert_int_equal(where(81), STREAM_WINDOW);
    assert_int_equal(where(82), STREAM_NEXT);
    assert_int_equal(stream_where(t.w.store, "live/show", 9, SUB_SESSION, "v1", 2, 79).where,
                     STREAM_BEHIND);
    sub_expire(&t.b, 4, 81);
    assert_int_equal(feed(), ST_OK);
    assert_int_equal(where(80), STREAM_BEHIND);
}

static void a_picture_that_is_not_wanted_changes_nothing(void **state)
{
    (void)state;
    t.want = false;
    sub_snapshot(&t.b, 10, 5, 7, 0);
    assert_int_equal(feed(), ST_EOF);
    assert_int_equal(stream_count(t.w.store), 0);
}

static void a_stream_that_is_made_here_is_left_alone(void **state)
{
    struct stream *st;

    (void)state;
    follow_from_5_to_7();
    assert_int_equal(
        stream_begin(&t.w.l, "live/show", "m9zzzzzzzzzzz", 2 * SEC_US, STREAM_HERE, &st), ST_OK);
    sub_announce(&t.b, 11, 8);
    assert_int_equal(feed(), ST_EOF);
    follow_begin(&t.f, false);
    sub_snapshot(&t.b, 10, 5, 7, 0);
    assert_int_equal(feed(), ST_EOF);
    follow_begin(&t.f, true);
    sub_beat(&t.b, 10, true, 5);
    assert_int_equal(feed(), ST_EOF);
    follow_lost(&t.f);
    assert_int_equal(stream_where(t.w.store, "live/show", 9, "m9zzzzzzzzzzz", "v0", 2, 1).source,
                     STREAM_HERE);
    stream_forget(&t.w.l, st);
    stream_unref(&st);
}

static void the_lag_is_measured_with_the_homes_clock(void **state)
{
    char json[128];

    (void)state;
    follow_sent(&t.f);
    follow_from_5_to_7();
    assert_int_equal(t.f.offset_us, 0);
    (void)snprintf(json, sizeof json,
                   "{\"session\":\"" SUB_SESSION "\",\"rep\":\"v0\",\"n\":8,\"at\":%lld}",
                   (long long)(SUB_NOW - 1500));
    sub_text(&t.b, RECORD_ANNOUNCE, 11, json);
    assert_int_equal(feed(), ST_OK);
    assert_int_equal(COUNT(&t.w, push_lag_seconds.sum), 1500);
    /* its clock is an hour ahead of ours: set there, or found out later */
    (void)snprintf(json, sizeof json, "{\"now\":%lld,\"live\":true,\"epoch\":5}",
                   (long long)(SUB_NOW + 3600 * (int64_t)SEC_US));
    sub_text(&t.b, RECORD_HEARTBEAT, 11, json);
    (void)snprintf(json, sizeof json,
                   "{\"session\":\"" SUB_SESSION "\",\"rep\":\"v0\",\"n\":9,\"at\":%lld}",
                   (long long)(SUB_NOW + 3600 * (int64_t)SEC_US - 500));
    sub_text(&t.b, RECORD_ANNOUNCE, 12, json);
    assert_int_equal(feed(), ST_OK);
    assert_int_equal(COUNT(&t.w, push_lag_seconds.sum), 2000);
    /* and it is set back */
    sub_beat(&t.b, 12, true, 5);
    (void)snprintf(json, sizeof json,
                   "{\"session\":\"" SUB_SESSION "\",\"rep\":\"v0\",\"n\":10,\"at\":%lld}",
                   (long long)(SUB_NOW - 100));
    sub_text(&t.b, RECORD_ANNOUNCE, 13, json);
    assert_int_equal(feed(), ST_OK);
    assert_int_equal(COUNT(&t.w, push_lag_seconds.sum), 2100);
}

/* --- what makes no sense --- */

static void refused(enum record_type type, uint64_t seq, const char *json)
{
    char since[48];

    sub_text(&t.b, type, seq, json);
    assert_int_equal(feed(), ST_EPROTO);
    assert_false(follow_since(&t.f, since)); /* only a whole picture will do after that */
    follow_lost(&t.f);
    follow_begin(&t.f, false);
}

static void pictures_that_make_no_sense_are_refused(void **state)
{
#define PICTURE(session, logid, segment, docs, reps)                                \
    "{\"logid\":\"" logid "\",\"session\":\"" session                               \
    "\",\"epoch\":1,\"live\":true,\"segment\":" segment ",\"now\":1,\"docs\":" docs \
    ",\"reps\":" reps "}"
    static const char *const bad[] = {
        "{}",
        PICTURE("short", SUB_LOGID, "2000000", "0", "{}"),
        PICTURE("m0abcdefghij/", SUB_LOGID, "2000000", "0", "{}"),
        PICTURE(SUB_SESSION, "00112233", "2000000", "0", "{}"),
        PICTURE(SUB_SESSION, "0011223344 566aa", "2000000", "0", "{}"),
        PICTURE(SUB_SESSION, SUB_LOGID, "0", "0", "{}"),
        PICTURE(SUB_SESSION, SUB_LOGID, "-1", "0", "{}"),
        PICTURE(SUB_SESSION, SUB_LOGID, "60000001", "0", "{}"),
        PICTURE(SUB_SESSION, SUB_LOGID, "2000000", "129", "{}"),
        PICTURE(SUB_SESSION, SUB_LOGID, "2000000", "\"1\"", "{}"),
        PICTURE(SUB_SESSION, SUB_LOGID, "2000000", "0", "[]"),
        PICTURE(SUB_SESSION, SUB_LOGID, "2000000", "0", "{\"v0\":{\"first\":2,\"latest\":1}}"),
        PICTURE(SUB_SESSION, SUB_LOGID, "2000000", "0", "{\"v0\":{\"first\":2}}"),
        PICTURE(SUB_SESSION, SUB_LOGID, "2000000", "0", "{\"v0/x\":{\"first\":1,\"latest\":1}}"),
        PICTURE(SUB_SESSION, SUB_LOGID, "2000000", "0",
                "{\"v0\":{\"first\":1,\"latest\":9007199254740992}}"),
    };

    (void)state;
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        refused(RECORD_SNAPSHOT, 1, bad[i]);
    assert_int_equal(t.snapshots, 0);
}

static void records_that_make_no_sense_are_refused(void **state)
{
    static const struct {
        enum record_type type;
        uint64_t seq;
        const char *json;
    } bad[] = {
        { RECORD_ANNOUNCE, 12, "{\"session\":\"" SUB_SESSION "\",\"rep\":\"v0\",\"n\":8}" },
        { RECORD_ANNOUNCE, 10, "{\"session\":\"" SUB_SESSION "\",\"rep\":\"v0\",\"n\":8}" },
        { RECORD_ANNOUNCE, 11, "{\"session\":\"m9zzzzzzzzzzz\",\"rep\":\"v0\",\"n\":8}" },
        { RECORD_ANNOUNCE, 11, "{\"session\":\"" SUB_SESSION "\",\"rep\":\"x0\",\"n\":8}" },
        { RECORD_ANNOUNCE, 11, "{\"session\":\"" SUB_SESSION "\",\"rep\":\"v0\",\"n\":-8}" },
        { RECORD_SCLOSE, 11, "{\"session\":\"" SUB_SESSION "\",\"rep\":\"v0\",\"n\":8}" },
        { RECORD_EXPIRE, 11, "{\"rep\":\"v0\"}" },
        { RECORD_DOC, 11,
          "{\"name\":\"manifest.mpd\",\"type\":\"a/b\",\"etag\":\"e\",\"max_age\":1}" },
        { RECORD_HEARTBEAT, 10, "{\"now\":1}" },
        { RECORD_PERIOD, 11, "{}" },
        { RECORD_ACK, 11, "{}" },
    };

    (void)state;
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        sub_snapshot(&t.b, 10, 5, 7, 0);
        assert_int_equal(feed(), ST_OK);
        refused(bad[i].type, bad[i].seq, bad[i].json);
    }
    refused(RECORD_ANNOUNCE, 1, bad[0].json); /* before there is a picture */
    refused(RECORD_HEARTBEAT, 1, "{\"now\":1,\"live\":true,\"epoch\":1}");
    sub_snapshot(&t.b, 10, 5, 7, 1);
    assert_int_equal(feed(), ST_OK);
    refused(RECORD_ANNOUNCE, 11, bad[0].json); /* where a document is due */
}

static void the_place_of_a_replaced_document_is_passed(void **state)
{
    static const char json[] = "{\"name\":\"manifest.mpd\",\"replaced\":true}";

    (void)state;
    follow_from_5_to_7();
    record_put_text(&t.b, RECORD_DOC, 0, 11, json, sizeof json - 1, 0);
    assert_int_equal(feed(), ST_OK);
    is_doc(MPD, "<MPD 1>");
    sub_doc(&t.b, 12, "manifest.mpd", "<MPD 3>");
    assert_int_equal(feed(), ST_OK);
    is_doc(MPD, "<MPD 3>");
    refused(RECORD_DOC, 12, json); /* only in its place */
}

static void documents_may_have_names_of_this_stream_only(void **state)
{
    static const char *const bad[] = { "",
                                       "/manifest.mpd",
                                       "../other/manifest.mpd",
                                       "a b.mpd",
                                       "manifest.mpd?x=1",
                                       "manifest%2empd",
                                       "x.js",
                                       SUB_SESSION "/v0/7.m4s",
                                       "m9zzzzzzzzzzz/v0/init-00112233.mp4",
                                       "./manifest.mpd",
                                       "manifest.mpd/" };

    (void)state;
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        sub_snapshot(&t.b, 10, 5, 7, 0);
        sub_doc(&t.b, 11, bad[i], "x");
        assert_int_equal(feed(), ST_EPROTO);
        follow_lost(&t.f);
        follow_begin(&t.f, false);
    }
}

static void a_picture_is_bounded_in_bytes(void **state)
{
    char *much = malloc((6 << 20) + 1);

    (void)state;
    memset(much, 'x', 6 << 20);
    much[6 << 20] = '\0';
    sub_snapshot(&t.b, 10, 5, 7, 3);
    for (int i = 0; i < 3; i++)
        sub_doc(&t.b, 9, "manifest.mpd", much);
    assert_int_equal(feed(), ST_ELIMIT);
    free(much);
}

/* --- every way to cut it --- */

static void script(struct buf *b)
{
    sub_snapshot(b, 10, 5, 7, 2);
    sub_doc(b, 3, INIT, "init");
    sub_doc(b, 9, "manifest.mpd", "<MPD 1>");
    sub_beat(b, 10, true, 5);
    sub_announce(b, 11, 8);
    sub_doc(b, 12, "manifest.mpd", "<MPD two>");
    sub_close(b, 13, 7, 4711);
    sub_expire(b, 14, 6);
}

static void came_out_right(void)
{
    is_doc(MPD, "<MPD two>");
    is_doc("/live/show/" INIT, "init");
    assert_int_equal(where(5), STREAM_BEHIND);
    assert_int_equal(where(8), STREAM_WINDOW);
    assert_int_equal(where(9), STREAM_NEXT);
    assert_int_equal(t.f.seq, 14);
    assert_int_equal(t.announced, 1);
    assert_int_equal(t.closed, 1);
    t.announced = t.closed = 0;
}

static void it_makes_no_difference_how_it_is_cut(void **state)
{
    struct buf b;

    (void)state;
    buf_init(&b, 1 << 16);
    script(&b);
    for (size_t cut = 0; cut <= b.len; cut++) {
        size_t pieces[3] = { cut, b.len - cut, 0 };
        const uint8_t *at = b.data;

        follow_begin(&t.f, false);
        for (int i = 0; i < 2; at += pieces[i], i++) {
            uint8_t *p = malloc(pieces[i] > 0 ? pieces[i] : 1);

            memcpy(p, at, pieces[i]);
            assert_int_equal(follow_feed(&t.f, p, pieces[i]), ST_OK);
            free(p);
        }
        came_out_right();
        follow_lost(&t.f);
        follow_fini(&t.f);
        follow_init(&t.f, &t.w.l, t.w.store, "live/show", &ops, NULL);
    }
    follow_begin(&t.f, false);
    for (size_t i = 0; i < b.len; i++) { /* one byte at a time */
        uint8_t *p = malloc(1);

        *p = b.data[i];
        assert_int_equal(follow_feed(&t.f, p, 1), ST_OK);
        free(p);
    }
    came_out_right();
    buf_fini(&b);
}

/* A subscription may be cut anywhere: nothing of a half record counts. */
static void it_may_end_anywhere(void **state)
{
    struct buf b;

    (void)state;
    buf_init(&b, 1 << 16);
    script(&b);
    for (size_t cut = 0; cut < b.len; cut++) {
        uint8_t *p = malloc(cut > 0 ? cut : 1);

        memcpy(p, b.data, cut);
        follow_begin(&t.f, false);
        assert_int_equal(follow_feed(&t.f, p, cut), ST_OK);
        free(p);
        follow_lost(&t.f);
        assert_int_equal(where(8), STREAM_UNKNOWN);
    }
    buf_fini(&b);
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, begin, end)
    const struct CMUnitTest tests[] = {
        T(a_picture_counts_when_the_last_document_has_come),
        T(documents_carry_the_rules_for_when_nobody_tells_us),
        T(the_log_moves_the_stream),
        T(an_end_may_belong_to_the_picture),
        T(a_body_that_broke_off_is_gone_on_from),
        T(a_picture_may_come_at_any_time),
        T(a_new_session_ends_the_old_one),
        T(another_home_may_go_on_with_the_session),
        T(a_picture_that_is_not_wanted_changes_nothing),
        T(a_stream_that_is_made_here_is_left_alone),
        T(the_lag_is_measured_with_the_homes_clock),
        T(pictures_that_make_no_sense_are_refused),
        T(records_that_make_no_sense_are_refused),
        T(the_place_of_a_replaced_document_is_passed),
        T(documents_may_have_names_of_this_stream_only),
        T(a_picture_is_bounded_in_bytes),
        T(it_makes_no_difference_how_it_is_cut),
        T(it_may_end_anywhere),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
