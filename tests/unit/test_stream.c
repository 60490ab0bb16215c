/* The stream table: what it answers in every state, and what its verbs do to the objects. */
#include "tests/unit/store_world.h"

enum { KIB = 1024, MIB = 1024 * 1024, SEGMENT_US = 2000000 };
static const char NAME[] = "live/cam";
static const char S1[] = "0123456789abc", S2[] = "zzzzzzzzzzzzz";

static struct stream *st;
static struct loop *home;

static void start_session(const char *session, enum stream_source source)
{
    unsigned h = stream_home(w.s, NAME, strlen(NAME));

    stream_unref(&st);
    home = &w.loop[h];
    assert_int_equal(stream_begin(home, NAME, session, SEGMENT_US, source, &st), ST_OK);
}

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

static enum stream_where where(const char *session, const char *rep, uint64_t n)
{
    return stream_where(w.s, NAME, strlen(NAME), session, rep, strlen(rep), n).where;
}

static void announce(const char *rep, uint64_t n)
{
    assert_int_equal(stream_announce(home, st, rep, n), ST_OK);
}

static const char *segment(const char *session, const char *rep, uint64_t n)
{
    static char key[KEY_MAX];

    (void)snprintf(key, sizeof key, "/%s/%s/%s/%llu.m4s", NAME, session, rep,
                   (unsigned long long)n);
    return key;
}

/* The state of what is listed, or -1. */
static int state_of_key(const char *key)
{
    struct gobj *o = lookup(key);
    int s = o != NULL ? (int)gobj_now(o).state : -1;

    gobj_unref(&o);
    return s;
}

static void put_segment(const char *rep, uint64_t n, size_t size)
{
    const struct gobj_head head = { .status = 200, .length = -1, .etag = "\"e\"" };
    char *p = calloc(1, size);

    announce(rep, n);
    assert_int_equal(stream_open(home, st, rep, n, &head), ST_OK);
    assert_int_equal(stream_append(home, st, rep, p, size), ST_OK);
    assert_int_equal(stream_close(home, st, rep), ST_OK);
    free(p);
}

static void put_doc(const char *name, const char *text)
{
    const struct gobj_head head = { .status = 200, .etag = "\"d\"" };

    assert_int_equal(stream_doc(home, st, name, &head, text, strlen(text)), ST_OK);
}

static void assert_doc(const char *name, const char *text)
{
    char key[KEY_MAX];
    struct gobj_cursor c = { 0 };
    struct iovec v[2];

    (void)snprintf(key, sizeof key, "/%s/%s", NAME, name);
    struct gobj *o = lookup(key);
    assert_non_null(o);
    assert_int_equal(gobj_now(o).state, GOBJ_COMPLETE);
    assert_int_equal(gobj_span(o, &c, 0, UINT64_MAX, v, 2), 1);
    assert_int_equal(v[0].iov_len, strlen(text));
    assert_memory_equal(v[0].iov_base, text, strlen(text));
    gobj_unref(&o);
}

/* A request at one of the two loops that are not the home. */
static void wait_for(struct reader *r, const char *key, enum store_miss miss)
{
    struct store_ask ask = ask_for(key, (unsigned)home->index);

    ask.miss = miss;
    reader_ask(r, (home->index + 1) % WORLD_LOOPS, &ask);
    settle();
}

/* --- answers --- */

static void nothing_is_known_of_a_stream_that_has_not_begun(void **state)
{
    (void)state;
    assert_int_equal(where(S1, "v0", 1), STREAM_UNKNOWN);
    assert_int_equal(stream_count(w.s), 0);
    start_session(S1, STREAM_HERE);
    assert_int_equal(stream_count(w.s), 1);
    assert_int_equal(stream_where(w.s, NAME, strlen(NAME) - 1, S1, "v0", 2, 1).where,
                     STREAM_UNKNOWN);
    assert_int_equal(stream_where(w.s, NAME, strlen(NAME), S1, "v0", 2, 1).home, home->index);
}

static void the_number_decides_what_is_answered(void **state)
{
    static const struct {
        uint64_t n;
        enum stream_where live, ended;
    } rows[] = {
        { 0, STREAM_BEHIND, STREAM_BEHIND },  { 9, STREAM_BEHIND, STREAM_BEHIND },
        { 10, STREAM_WINDOW, STREAM_WINDOW }, { 11, STREAM_WINDOW, STREAM_WINDOW },
        { 15, STREAM_WINDOW, STREAM_WINDOW }, { 16, STREAM_NEXT, STREAM_ABSENT },
        { 17, STREAM_AHEAD, STREAM_ABSENT },  { UINT64_MAX, STREAM_AHEAD, STREAM_ABSENT },
    };

    (void)state;
    for (enum stream_source src = STREAM_HERE; src <= STREAM_SUBSCRIBED; src++) {
        start_session(src == STREAM_HERE ? S1 : S2, src);
        const char *s = src == STREAM_HERE ? S1 : S2, *not_s = src == STREAM_HERE ? S2 : S1;
        enum stream_where none = src == STREAM_HERE ? STREAM_ABSENT : STREAM_UNKNOWN;

        assert_int_equal(where(s, "v0", 1), none); /* nothing announced yet */
        for (uint64_t n = 8; n <= 15; n++)
            announce("v0", n);
        stream_expire(home, st, "v0", 10);
        for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++)
            assert_int_equal(where(s, "v0", rows[i].n), rows[i].live);
        assert_int_equal(where(not_s, "v0", 12), none);
        assert_int_equal(where(NULL, "v0", 12), none);
        assert_int_equal(where(s, "v", 12), none);
        assert_int_equal(where(s, "v00", 12), none);
        stream_end(home, st);
        for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++)
            assert_int_equal(where(s, "v0", rows[i].n), rows[i].ended);
        stream_lost(home, st);
        for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++)
            assert_int_equal(where(s, "v0", rows[i].n), STREAM_UNKNOWN);
        stream_forget(home, st);
        assert_int_equal(where(s, "v0", 12), STREAM_UNKNOWN);
        assert_int_equal(stream_count(w.s), 0);
        stream_forget(home, st); /* once is enough */
        assert_int_equal(stream_count(w.s), 0);
    }
}

static void a_hold_lasts_one_and_a_half_segments_but_three_seconds(void **state)
{
    static const uint64_t us[][2] = { { 1000000, 1500000 },
                                      { 1999998, 2999997 },
                                      { 2000000, 3000000 },
                                      { 10000000, 3000000 },
                                      { UINT64_MAX, 3000000 } };

    (void)state;
    for (size_t i = 0; i < sizeof us / sizeof us[0]; i++) {
        start_session(S1, STREAM_HERE);
        stream_unref(&st);
        assert_int_equal(stream_begin(home, NAME, S1, us[i][0], STREAM_HERE, &st), ST_OK);
        assert_int_equal(stream_where(w.s, NAME, strlen(NAME), S1, "v0", 2, 0).hold_us, us[i][1]);
    }
}

static void renditions_have_their_own_numbers(void **state)
{
    (void)state;
    start_session(S1, STREAM_HERE);
    announce("v0", 5);
    announce("a0", 50);
    assert_int_equal(where(S1, "v0", 6), STREAM_NEXT);
    assert_int_equal(where(S1, "a0", 6), STREAM_BEHIND);
    assert_int_equal(where(S1, "a0", 51), STREAM_NEXT);
    stream_expire(home, st, "v0", 6); /* all that was announced */
    stream_expire(home, st, "v0", 600);
    stream_expire(home, st, "none", 600);
    assert_int_equal(where(S1, "v0", 5), STREAM_BEHIND);
    assert_int_equal(where(S1, "v0", 6), STREAM_NEXT);
    assert_int_equal(where(S1, "a0", 50), STREAM_WINDOW);
}

static void a_period_jumps_over_numbers(void **state)
{
    (void)state;
    start_session(S1, STREAM_HERE);
    put_segment("v0", 10, 10);
    put_segment("v0", 74, 10);
    assert_int_equal(where(S1, "v0", 10), STREAM_WINDOW);
    assert_int_equal(where(S1, "v0", 40), STREAM_WINDOW); /* not in the index: gone */
    assert_int_equal(state_of_key(segment(S1, "v0", 40)), -1);
    assert_int_equal(where(S1, "v0", 75), STREAM_NEXT);
    announce("v0", 30); /* late news change nothing */
    assert_int_equal(where(S1, "v0", 75), STREAM_NEXT);
    stream_expire(home, st, "v0", 74);
    assert_int_equal(state_of_key(segment(S1, "v0", 10)), -1);
    assert_int_equal(state_of_key(segment(S1, "v0", 74)), GOBJ_COMPLETE);
}

static void thousands_of_numbers_leave_nothing_behind(void **state)
{
    (void)state;
    start_session(S1, STREAM_HERE);
    for (uint64_t n = 1; n <= 3000; n++) {
        put_segment("v0", n, 100);
        if (n > 30)
            stream_expire(home, st, "v0", n - 29);
    }
    settle();
    assert_int_equal(store_objects(w.s), 30);
    stream_expire(home, st, "v0", 3001);
    settle();
    assert_world_is_empty();
}

static void a_wide_gap_expires_what_is_behind_it(void **state)
{
    (void)state;
    start_session(S1, STREAM_SUBSCRIBED);
    announce("v0", 1);
    announce("v0", STREAM_SPAN_MAX);
    assert_int_equal(where(S1, "v0", 1), STREAM_WINDOW);
    announce("v0", STREAM_SPAN_MAX + 1);
    assert_int_equal(where(S1, "v0", 1), STREAM_BEHIND);
    assert_int_equal(where(S1, "v0", 2), STREAM_WINDOW);
    assert_int_equal(state_of_key(segment(S1, "v0", 1)), -1);
    announce("v0", STREAM_NUMBER_MAX); /* from a peer that has lost its mind: no long walk */
    assert_int_equal(where(S1, "v0", STREAM_SPAN_MAX + 1), STREAM_BEHIND);
    assert_int_equal(store_objects(w.s), 1);
    assert_int_equal(stream_announce(home, st, "v0", STREAM_NUMBER_MAX + 1), ST_EPROTO);
    assert_int_equal(stream_announce(home, st, "v0", UINT64_MAX), ST_EPROTO);
    stream_lost(home, st);
    assert_int_equal(store_objects(w.s), 0);
    stream_end(home, st);
    settle();
    assert_world_is_empty();
}

/* --- limits --- */

static void renditions_are_limited(void **state)
{
    char rep[REP_NAME_MAX + 1];

    (void)state;
    start_session(S1, STREAM_SUBSCRIBED);
    for (unsigned i = 0; i < STREAM_REPS_MAX; i++) {
        (void)snprintf(rep, sizeof rep, "v%u", i);
        announce(rep, 1);
    }
    assert_int_equal(stream_announce(home, st, "one", 1), ST_ELIMIT);
    announce("v0", 2);
    start_session(S2, STREAM_SUBSCRIBED); /* a new session begins with none */
    memset(rep, 'r', REP_NAME_MAX);
    rep[REP_NAME_MAX] = '\0';
    assert_int_equal(stream_announce(home, st, rep, 1), ST_ELIMIT);
    rep[REP_NAME_MAX - 1] = '\0';
    announce(rep, 1);
    assert_int_equal(where(S2, rep, 1), STREAM_WINDOW);
}

static void streams_are_limited(void **state)
{
    struct stream *more = NULL;

    (void)state;
    start_session(S1, STREAM_HERE);
    atomic_store(&w.s->streams->count, STREAMS_MAX);
    unsigned h = stream_home(w.s, "live/b", 6);
    assert_int_equal(stream_begin(&w.loop[h], "live/b", S1, SEGMENT_US, STREAM_HERE, &more),
                     ST_ELIMIT);
    start_session(S2, STREAM_HERE); /* one that is there may go on */
    atomic_store(&w.s->streams->count, 1);
    assert_int_equal(stream_begin(&w.loop[h], "live/b", S1, SEGMENT_US, STREAM_HERE, &more), ST_OK);
    assert_int_equal(stream_count(w.s), 2);
    stream_forget(&w.loop[h], more);
    stream_unref(&more);
    assert_int_equal(stream_count(w.s), 1);
}

static void holds_are_counted_for_each_stream(void **state)
{
    (void)state;
    assert_false(stream_hold_take(w.s, NAME, strlen(NAME), 2)); /* nobody knows it */
    stream_hold_return(w.s, NAME, strlen(NAME));
    start_session(S1, STREAM_HERE);
    assert_true(stream_hold_take(w.s, NAME, strlen(NAME), 2));
    assert_true(stream_hold_take(w.s, NAME, strlen(NAME), 2));
    assert_false(stream_hold_take(w.s, NAME, strlen(NAME), 2));
    stream_hold_return(w.s, NAME, strlen(NAME));
    assert_true(stream_hold_take(w.s, NAME, strlen(NAME), 2));
    for (int i = 0; i < 3; i++) /* one too many: not below zero */
        stream_hold_return(w.s, NAME, strlen(NAME));
    assert_true(stream_hold_take(w.s, NAME, strlen(NAME), 1));
    assert_false(stream_hold_take(w.s, NAME, strlen(NAME), 1));
    assert_false(stream_hold_take(w.s, NAME, strlen(NAME), 0));
}

/* --- segments --- */

static void a_segment_is_expected_before_it_is_named(void **state)
{
    struct reader r = { 0 };
    const struct gobj_head head = { .status = 200, .length = -1, .etag = "\"1\"" };

    (void)state;
    start_session(S1, STREAM_HERE);
    assert_int_equal(stream_open(home, st, "v0", 1, &head), ST_EPROTO); /* never announced */
    announce("v0", 1);
    assert_int_equal(state_of_key(segment(S1, "v0", 1)), GOBJ_EXPECTED);
    wait_for(&r, segment(S1, "v0", 1), STORE_FETCH);
    assert_int_equal(r.outcome, WAITING);
    assert_int_equal(w.wants, 0);
    w.contents = 1; /* the bytes below are those of content 1 */
    assert_int_equal(stream_open(home, st, "v0", 1, &head), ST_OK);
    assert_int_equal(stream_open(home, st, "v0", 1, &head), ST_EPROTO);
    uint8_t bytes[300];
    for (size_t i = 0; i < sizeof bytes; i++)
        bytes[i] = content_byte(1, i);
    assert_int_equal(stream_append(home, st, "v0", bytes, 200), ST_OK);
    settle();
    assert_int_equal(r.got, 200);
    assert_int_equal(stream_append(home, st, "v0", bytes + 200, 100), ST_OK);
    w.content[1] = 301;
    assert_int_equal(stream_close(home, st, "v0"), ST_OK);
    settle();
    assert_int_equal(r.outcome, DONE);
    assert_int_equal(stream_close(home, st, "v0"), ST_EPROTO);
    assert_int_equal(stream_append(home, st, "v0", bytes, 1), ST_EPROTO);
    assert_int_equal(stream_append(home, st, "a0", bytes, 1), ST_EPROTO);
    assert_int_equal(stream_open(home, st, "v0", 1, &head), ST_EPROTO); /* not again */
    assert_int_equal(stream_open(home, st, "v0", 2, &head), ST_EPROTO);
}

static const char *asked_while;
static int asked_state;
static enum stream_where asked_where;
static uint64_t asked_n;
static void ask_at(const char *point)
{
    if (strcmp(point, asked_while) != 0)
        return;
    asked_where = where(S1, "v0", asked_n);
    asked_state = state_of_key(segment(S1, "v0", asked_n));
}

static void ask_during(const char *point, uint64_t n)
{
    asked_while = point;
    asked_n = n;
    asked_state = -2;
    sync_hook = ask_at;
}

static void the_answer_and_the_objects_change_in_the_right_order(void **state)
{
    (void)state;
    start_session(S1, STREAM_SUBSCRIBED);
    announce("v0", 1);
    ask_during("announce:expected", 2); /* the object first, then its name */
    announce("v0", 2);
    assert_int_equal(asked_state, GOBJ_EXPECTED);
    assert_int_equal(asked_where, STREAM_NEXT);
    ask_during("expire:told", 1); /* first the answer, then the object goes */
    stream_expire(home, st, "v0", 2);
    assert_int_equal(asked_state, GOBJ_EXPECTED);
    assert_int_equal(asked_where, STREAM_BEHIND);
    ask_during("lost:told", 2);
    stream_lost(home, st);
    assert_int_equal(asked_state, GOBJ_EXPECTED);
    assert_int_equal(asked_where, STREAM_UNKNOWN);
    start_session(S1, STREAM_SUBSCRIBED);
    announce("v0", 3);
    ask_during("end:told", 4);
    stream_end(home, st);
    assert_int_equal(asked_where, STREAM_ABSENT);
    start_session(S1, STREAM_SUBSCRIBED);
    ask_during("end:told", 4);
    start_session(S2, STREAM_SUBSCRIBED);
    assert_int_equal(asked_where, STREAM_ABSENT);
    assert_int_equal(asked_state, -1);
}

/* Each way in which an announced object that never came is forgotten. */
enum parting { EXPIRED, ENDED, NEW_SESSION, LOST, FORGOTTEN, PARTINGS };

static void waiters_of_what_will_not_come_ask_again(void **state)
{
    (void)state;
    for (enum parting how = EXPIRED; how < PARTINGS; how++) {
        struct reader announced = { 0 }, held = { 0 };

        start_session(S1, STREAM_HERE);
        announce("v0", 5);
        wait_for(&announced, segment(S1, "v0", 5), STORE_FETCH);
        wait_for(&held, segment(S1, "v0", 6), STORE_HOLD); /* latest + 1 */
        switch (how) {
        case EXPIRED:
            stream_expire(home, st, "v0", 6);
            break;
        case ENDED:
            stream_end(home, st);
            break;
        case NEW_SESSION:
            start_session(S2, STREAM_HERE);
            break;
        case LOST:
            stream_lost(home, st);
            break;
        case FORGOTTEN:
            stream_forget(home, st);
            break;
        case PARTINGS:
            break;
        }
        settle();
        assert_int_equal(announced.outcome, ASK_AGAIN);
        assert_int_equal(held.outcome, how == EXPIRED ? WAITING : ASK_AGAIN);
        pass_time(WORLD_HOLD_US + SEC_US);
        pass_time(WORLD_NEGATIVE_US + SEC_US);
        assert_int_equal(held.outcome, how == EXPIRED ? NOT_FOUND : ASK_AGAIN);
        if (how != FORGOTTEN)
            stream_forget(home, st);
        settle();
        assert_world_is_empty();
    }
}

static void an_open_segment_is_closed_with_its_session(void **state)
{
    const struct gobj_head head = { .status = 200, .length = -1 };
    const struct gobj_head promised = { .status = 200, .length = 100 };

    (void)state;
    start_session(S1, STREAM_HERE);
    announce("v0", 1);
    announce("a0", 1);
    assert_int_equal(stream_open(home, st, "v0", 1, &head), ST_OK);
    assert_int_equal(stream_append(home, st, "v0", "abc", 3), ST_OK);
    assert_int_equal(stream_open(home, st, "a0", 1, &promised), ST_OK);
    assert_int_equal(stream_append(home, st, "a0", "abc", 3), ST_OK);
    start_session(S2, STREAM_HERE);
    assert_int_equal(state_of_key(segment(S1, "v0", 1)), GOBJ_COMPLETE);
    assert_int_equal(state_of_key(segment(S1, "a0", 1)), -1); /* short: never complete */
    assert_int_equal(where(S2, "v0", 1), STREAM_ABSENT);
}

static void a_failed_open_segment_wakes_its_readers_also_when_unlinked(void **state)
{
    const struct gobj_head promised = { .status = 200, .length = 100, .etag = "\"1\"" };
    struct reader r = { 0 };

    (void)state;
    start_session(S1, STREAM_HERE);
    announce("v0", 1);
    wait_for(&r, segment(S1, "v0", 1), STORE_FETCH);
    w.contents = 1;
    assert_int_equal(stream_open(home, st, "v0", 1, &promised), ST_OK);
    settle();
    stream_expire(home, st, "v0", 2); /* unlinked while it is open */
    settle();
    assert_int_equal(r.outcome, WAITING);
    assert_int_equal(stream_close(home, st, "v0"), ST_OK);
    settle();
    assert_int_equal(r.outcome, ABORTED);
    assert_world_is_empty();
}

static void complete_segments_outlive_their_session_as_the_cap_allows(void **state)
{
    (void)state;
    start_session(S1, STREAM_HERE);
    for (uint64_t n = 1; n <= 20; n++)
        put_segment("v0", n, 16 * KIB);
    store_set_limits(w.s, 5 * 17 * KIB, MIB);
    put_segment("v0", 21, 16 * KIB);
    settle();
    assert_int_equal(store_objects(w.s), 21); /* the window decides */
    stream_end(home, st);
    settle();
    assert_in_range(store_objects(w.s), 1, 5);
    assert_int_equal(state_of_key(segment(S1, "v0", 21)), GOBJ_COMPLETE);
}

static void memory_that_runs_out_is_said_and_the_segment_can_be_closed(void **state)
{
    const struct gobj_head head = { .status = 200, .length = -1 };
    static char big[100 * KIB];

    (void)state;
    start_session(S1, STREAM_HERE);
    announce("v0", 1);
    assert_int_equal(stream_open(home, st, "v0", 1, &head), ST_OK);
    assert_int_equal(stream_append(home, st, "v0", "abc", 3), ST_OK);
    mem_pool_set_limit(&w.pool, 0);
    assert_int_equal(stream_append(home, st, "v0", big, sizeof big), ST_ENOMEM);
    mem_pool_set_limit(&w.pool, MIB);
    store_set_limits(w.s, MIB, 50 * KIB);
    assert_int_equal(stream_append(home, st, "v0", big, sizeof big), ST_ELIMIT);
    assert_int_equal(stream_close(home, st, "v0"), ST_OK);
    struct gobj *o = lookup(segment(S1, "v0", 1));
    assert_int_equal(gobj_now(o).state, GOBJ_COMPLETE);
    assert_int_equal(gobj_now(o).published, 3); /* the last whole chunk */
    gobj_unref(&o);
}

/* --- documents and init segments --- */

static void the_newest_document_is_served_and_the_ring_is_bounded(void **state)
{
    char text[200];
    uint64_t used = 0;

    (void)state;
    start_session(S1, STREAM_HERE);
    for (unsigned i = 0; i < 50; i++) {
        (void)snprintf(text, sizeof text, "version %03u", i);
        put_doc("manifest.mpd", text);
        assert_doc("manifest.mpd", text);
        if (i == STREAM_DOC_RING)
            used = mem_pool_used(&w.pool);
    }
    settle();
    assert_int_equal(mem_pool_used(&w.pool), used);
    assert_int_equal(used, STREAM_DOC_RING * (sizeof(struct chunk) + strlen(text)));
    assert_int_equal(store_objects(w.s), 1);
    stream_forget(home, st);
    settle();
    assert_world_is_empty();
}

static void a_live_document_does_not_give_way_to_init_segments(void **state)
{
    const struct gobj_head head = { .status = 200 };
    char path[32];

    (void)state;
    start_session(S1, STREAM_HERE);
    store_set_limits(w.s, 0, MIB); /* whatever may be evicted is, at once */
    for (unsigned i = 0; i < 3 * STREAM_DOCS_MAX; i++) {
        put_doc("manifest.mpd", i % 2 ? "odd" : "even");
        (void)snprintf(path, sizeof path, "v0/init-%08u.mp4", i);
        assert_int_equal(stream_object(home, st, path, &head, "init", 4), ST_OK);
        assert_doc("manifest.mpd", i % 2 ? "odd" : "even");
    }
    assert_int_equal(store_objects(w.s), STREAM_DOCS_MAX);
    assert_doc("0123456789abc/v0/init-00000191.mp4", "init");
    start_session(S2, STREAM_HERE); /* the old session's go, the stream's documents stay */
    assert_int_equal(store_objects(w.s), 1);
    assert_doc("manifest.mpd", "odd");
    memset(path, 'x', sizeof path);
    char longest[PATH_MAX_BYTES + 1];
    memset(longest, 'x', sizeof longest);
    longest[PATH_MAX_BYTES] = '\0';
    assert_int_equal(stream_doc(home, st, longest, &head, "", 0), ST_ELIMIT);
    assert_int_equal(stream_object(home, st, longest, &head, "", 0), ST_ELIMIT);
    longest[PATH_MAX_BYTES - 1] = '\0';
    assert_int_equal(stream_doc(home, st, longest, &head, "", 0), ST_OK);
}

static void documents_of_a_lost_stream_grow_stale_and_recover(void **state)
{
    (void)state;
    start_session(S1, STREAM_SUBSCRIBED);
    put_doc("manifest.mpd", "text");
    struct gobj *o = lookup("/live/cam/manifest.mpd");
    assert_int_equal(gobj_fresh_until(o), UINT64_MAX);
    (void)loop_touch(home);
    stream_lost(home, st);
    assert_int_equal(gobj_fresh_until(o), world_now_us + SEGMENT_US / 2);
    start_session(S1, STREAM_SUBSCRIBED);
    assert_int_equal(gobj_fresh_until(o), UINT64_MAX);
    stream_forget(home, st);
    assert_true(gobj_is_dead(o)); /* nobody would renew it */
    gobj_unref(&o);
    settle();
    assert_world_is_empty();
}

static void a_pulled_document_gives_way_to_a_pushed_one(void **state)
{
    struct reader r = { 0 };

    (void)state;
    start_session(S1, STREAM_SUBSCRIBED);
    wait_for(&r, "/live/cam/manifest.mpd", STORE_FETCH);
    assert_int_equal(w.wants, 1);
    put_doc("manifest.mpd", "pushed");
    assert_int_equal(w.unlinked, 1); /* its fill is told to end */
    settle();
    assert_int_equal(r.outcome, ABORTED);
    assert_doc("manifest.mpd", "pushed");
}

static void a_document_without_memory_leaves_the_old_one(void **state)
{
    const struct gobj_head head = { .status = 200 };

    (void)state;
    start_session(S1, STREAM_HERE);
    put_doc("manifest.mpd", "old");
    mem_pool_set_limit(&w.pool, 0);
    assert_int_equal(stream_doc(home, st, "manifest.mpd", &head, "new", 3), ST_ENOMEM);
    assert_doc("manifest.mpd", "old");
}

/* --- what an upstream tells --- */

static void a_window_is_known_although_nobody_announced_it(void **state)
{
    (void)state;
    start_session(S1, STREAM_SUBSCRIBED);
    assert_int_equal(stream_window(home, st, "v0", 5, 7), ST_OK);
    assert_int_equal(where(S1, "v0", 4), STREAM_BEHIND);
    assert_int_equal(where(S1, "v0", 5), STREAM_WINDOW);
    assert_int_equal(where(S1, "v0", 8), STREAM_NEXT);
    assert_int_equal(state_of_key(segment(S1, "v0", 7)), GOBJ_EXPECTED);
    assert_int_equal(state_of_key(segment(S1, "v0", 6)), -1);
    /* it moves on, and may reach further back than what was announced here */
    assert_int_equal(stream_window(home, st, "v0", 6, 9), ST_OK);
    assert_int_equal(where(S1, "v0", 5), STREAM_BEHIND);
    assert_int_equal(where(S1, "v0", 9), STREAM_WINDOW);
    announce("v1", 50);
    assert_int_equal(stream_window(home, st, "v1", 40, 50), ST_OK);
    assert_int_equal(where(S1, "v1", 40), STREAM_WINDOW);
    assert_int_equal(stream_window(home, st, "v1", 2, 1), ST_EPROTO);
    /* never wider than what may be walked through */
    assert_int_equal(stream_window(home, st, "v2", 0, STREAM_NUMBER_MAX), ST_OK);
    assert_int_equal(where(S1, "v2", STREAM_NUMBER_MAX - 1), STREAM_BEHIND);
}

static void interest_is_noted_for_the_stream_and_the_rendition(void **state)
{
    (void)state;
    stream_touch(w.s, NAME, strlen(NAME), "v0", 2, 5); /* nobody there yet: no harm */
    start_session(S1, STREAM_SUBSCRIBED);
    announce("v0", 1);
    announce("a0", 1);
    assert_int_equal(stream_touched(st), 0);
    stream_touch(w.s, NAME, strlen(NAME), NULL, 0, 10);
    assert_int_equal(stream_touched(st), 10);
    assert_int_equal(stream_rep_touched(st, "v0"), 0);
    stream_touch(w.s, NAME, strlen(NAME), "v0", 2, 20);
    assert_int_equal(stream_touched(st), 20);
    assert_int_equal(stream_rep_touched(st, "v0"), 20);
    assert_int_equal(stream_rep_touched(st, "a0"), 0);
    assert_int_equal(stream_rep_touched(st, "v9"), 0);
}

static void the_manifest_of_the_last_session_is_not_fresh_for_ever(void **state)
{
    struct gobj *o;

    (void)state;
    start_session(S1, STREAM_SUBSCRIBED);
    put_doc("manifest.mpd", "one");
    start_session(S2, STREAM_SUBSCRIBED);
    o = stream_newest(st, "manifest.mpd");
    assert_non_null(o);
    assert_int_equal(gobj_fresh_until(o), loop_now(home) + SEGMENT_US / 2);
    gobj_unref(&o);
    assert_null(stream_newest(st, "other.mpd"));
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, begin, end)
    const struct CMUnitTest tests[] = {
        T(nothing_is_known_of_a_stream_that_has_not_begun),
        T(the_number_decides_what_is_answered),
        T(a_hold_lasts_one_and_a_half_segments_but_three_seconds),
        T(renditions_have_their_own_numbers),
        T(a_period_jumps_over_numbers),
        T(thousands_of_numbers_leave_nothing_behind),
        T(a_wide_gap_expires_what_is_behind_it),
        T(renditions_are_limited),
        T(streams_are_limited),
        T(holds_are_counted_for_each_stream),
        T(a_segment_is_expected_before_it_is_named),
        T(the_answer_and_the_objects_change_in_the_right_order),
        T(waiters_of_what_will_not_come_ask_again),
        T(an_open_segment_is_closed_with_its_session),
        T(a_failed_open_segment_wakes_its_readers_also_when_unlinked),
        T(complete_segments_outlive_their_session_as_the_cap_allows),
        T(memory_that_runs_out_is_said_and_the_segment_can_be_closed),
        T(the_newest_document_is_served_and_the_ring_is_bounded),
        T(a_live_document_does_not_give_way_to_init_segments),
        T(documents_of_a_lost_stream_grow_stale_and_recover),
        T(a_pulled_document_gives_way_to_a_pushed_one),
        T(a_document_without_memory_leaves_the_old_one),
        T(a_window_is_known_although_nobody_announced_it),
        T(interest_is_noted_for_the_stream_and_the_rendition),
        T(the_manifest_of_the_last_session_is_not_fresh_for_ever),
    };

    cmocka_set_test_filter(getenv("FRESHET_TEST")); /* NULL: all */
    return cmocka_run_group_tests(tests, NULL, NULL);
}
