/* One session and its worker, which says what the test wants: takeovers, silence, reconnects,
 * records that come too late, and what ends a broadcast. */
#include "home_world.h"

#include <openssl/evp.h>

#include "core/flv.h"
#include "origin/hub_int.h"

static const char conf[] = "apps: {live: {publish: open}}\n";

static struct session *the(struct world *w) { return session_of(w, "live/show"); }

/* A publisher with n frames under way to a worker. */
static struct said *begin(struct world *w, struct pub *p, int n)
{
    pub_open(w, p, "live/show", NULL);
    pub_frames(w, p, n);
    until(w, w->saids == 1);
    return w->said[0];
}

static uint64_t ignored(struct world *w)
{
    return metric_get(&w->l.metrics->encoder_records_ignored);
}

/* The object of segment n. */
static struct gobj_now object(struct world *w, unsigned n)
{
    struct gobj_now now = { GOBJ_FAILED, 0 };
    struct gobj *o;
    char key[128];
    int len = snprintf(key, sizeof key, "/live/show/%s/v0/%u.m4s", the(w)->id, n);

    o = store_lookup(w->store, key, (size_t)len, store_hash(w->store, key, (size_t)len));
    if (o != NULL)
        now = gobj_now(o);
    gobj_unref(&o);
    return now;
}

/* Everything that went up, in short: "C" configuration, "M<tag>" a mark ("D<tag>" with a
 * discontinuity), "F" a frame. */
static void what_went_up(const struct said *s, char *out, size_t room)
{
    struct flv_reader r;
    struct flv_tag tag;
    struct rd in = rd_init(s->got.data, s->got.len);
    size_t n = 0;

    out[0] = '\0';
    flv_reader_init(&r, 1 << 20);
    while (flv_next(&r, &in, &tag) == ST_OK) {
        struct flv_mark m;

        if (tag.type == FLV_SCRIPT) {
            assert_int_equal(flv_mark_parse(&tag, &m), ST_OK);
            n += (size_t)snprintf(out + n, room - n, "%s%llu ", m.discontinuity ? "D" : "M",
                                  (unsigned long long)m.tag);
        } else {
            n += (size_t)snprintf(out + n, room - n, "%s ", tag.body[1] == 0 ? "C" : "F");
        }
        assert_true(n < room);
    }
    flv_reader_fini(&r);
}

/* --- documents --- */

static uint64_t seq_of(const struct hub_channel *c, const char *name)
{
    for (unsigned i = 0; i < c->n_docs; i++)
        if (strcmp(c->doc[i].name, name) == 0)
            return c->doc[i].seq;
    return 0;
}

static void both_manifests_are_told_when_one_has_changed_and_never_else(void **state)
{
    struct world *w = world_open(1, conf);
    struct hub_channel *c;
    struct said *s;
    struct pub p;
    char under[64];

    (void)state;
    s = begin(w, &p, 5);
    say_period(s, 0, 2000, 1, 1);
    until(w, the(w)->channel != NULL);
    c = the(w)->channel;
    (void)snprintf(under, sizeof under, "%s/manifest.mpd", the(w)->id);
    for (unsigned n = 1; n < 4; n++) {
        uint64_t was = seq_of(c, "manifest.mpd"), next;

        say_open(s, n, 2000 * (int)n);
        say_chunk(s, n, 2000 * (int)n, 2000, 2, "{}");
        say_close(s, n, 2000);
        until(w, seq_of(c, "manifest.mpd") > was);
        steps(w);
        assert_int_equal(seq_of(c, under), seq_of(c, "manifest.mpd") + 1);
        next = c->next;
        session_render_now(the(w)); /* there is nothing new */
        assert_int_equal(c->next, next);
    }
    pub_leave(w, &p, true);
    world_close(w);
}

/* --- takeovers --- */

static void a_takeover_hands_on_states_and_begins_at_the_lowest_tag(void **state)
{
    struct world *w = world_open(2, conf);
    struct said *s, *t;
    struct pub p;
    uint8_t text[1024];
    char up[512];
    int n;

    (void)state;
    s = begin(w, &p, 10);
    say_period(s, 0, 2000, 1, 1);
    say_open(s, 1, 2000);
    say_chunk(s, 1, 2000, 100, 4, "{\"n\":1,\"x\":[1,{\"y\":\"\\u00e9\"}]}");
    say_chunk(s, 1, 2100, 100, 7, "{\"n\":2,\"z\":1.5,\"t\":null}");
    until(w, p.acked == 6);
    hang_up(w, s->conn);
    until(w, (pass_ms(w, 10), w->saids == 2));
    t = w->said[1];
    assert_int_not_equal(t->worker, s->worker);
    n = EVP_DecodeBlock(text, (const uint8_t *)t->resume, (int)strlen(t->resume));
    assert_true(n > 0);
    assert_non_null(strstr((char *)text, "{\"v0\":{\"n\":2,\"z\":1.5,\"t\":null}}"));
    assert_string_equal(t->session, s->session);
    assert_string_equal(t->ast, s->ast);
    assert_int_equal(in_json(t->period, "k"), 0);
    until(w, (what_went_up(t, up, sizeof up), strlen(up) >= strlen("C M7 F F F F ")));
    assert_string_equal(up, "C M7 F F F F "); /* tags 7 to 10 */
    say_chunk(t, 1, 2200, 100, 9, "{}");
    until(w, p.acked == 8);
    assert_int_equal(object(w, 1).published, 3 * 1000);
    pub_leave(w, &p, true);
    world_close(w);
}

static void what_the_spool_has_lost_begins_a_new_period(void **state)
{
    struct world *w = world_open(2, "apps: {live: {publish: open}}\ningest: {spool: 1s}\n");
    struct said *s, *t;
    struct pub p;

    (void)state;
    s = begin(w, &p, 10);
    say_period(s, 0, 2000, 1, 1);
    say_open(s, 1, 2000);
    say_chunk(s, 1, 2000, 100, 4, "{}");
    until(w, p.acked == 3);
    w->said[0]->closed = false;
    the(w)->spool.limits.bytes = 400; /* what a worker needs goes too when there is no room */
    pub_frames(w, &p, 40);
    hang_up(w, s->conn);
    until(w, (pass_ms(w, 10), w->saids == 2));
    t = w->said[1];
    assert_string_equal(t->resume, "");
    assert_int_equal(in_json(t->period, "k"), 1);
    assert_true(in_json(t->period, "number") > 1);
    assert_int_equal(object(w, 1).state, GOBJ_COMPLETE); /* short, but whole */
    assert_int_equal(object(w, 1).published, 1000);
    pub_leave(w, &p, true);
    world_close(w);
}

static void a_worker_that_dies_before_its_first_chunk_starts_over(void **state)
{
    struct world *w = world_open(2, conf);
    struct said *s, *t;
    struct pub p;
    char up[512];

    (void)state;
    s = begin(w, &p, 5);
    hang_up(w, s->conn);
    until(w, (pass_ms(w, 10), w->saids == 2));
    t = w->said[1];
    assert_string_equal(t->resume, "");
    assert_int_equal(in_json(t->period, "k"), 0);
    until(w, (what_went_up(t, up, sizeof up), strchr(up, 'F') != NULL));
    assert_ptr_equal(strstr(up, "M1 "), up);
    pub_leave(w, &p, true);
    world_close(w);
}

/* --- silence and reconnects --- */

static void silence_closes_at_the_last_whole_chunk(void **state)
{
    struct world *w = world_open(1, conf);
    struct said *s;
    struct pub p;
    char up[1024];

    (void)state;
    s = begin(w, &p, 10);
    say_period(s, 0, 2000, 1, 1);
    say_open(s, 1, 2000);
    say_chunk(s, 1, 2000, 100, 4, "{}");
    until(w, p.acked == 3);
    assert_int_equal(object(w, 1).state, GOBJ_STREAMING);
    pass_ms(w, 1500);
    assert_int_equal(object(w, 1).state, GOBJ_COMPLETE);
    assert_int_equal(object(w, 1).published, 1000);
    /* what the worker still says of it comes too late */
    say_chunk(s, 1, 2100, 100, 7, "{}");
    say_close(s, 1, 200);
    until(w, ignored(w) == 2);
    assert_int_equal(object(w, 1).published, 1000);
    assert_int_equal(p.acked, 3);
    /* and when tags come again, something new begins, with the same worker */
    pub_frames(w, &p, 3);
    until(w, (what_went_up(s, up, sizeof up), strchr(up, 'D') != NULL));
    assert_non_null(strstr(up, "D11 F F F"));
    say_period(s, 1, 4000, 5, 11);
    say_open(s, 5, 4000);
    say_chunk(s, 5, 4000, 60, 13, "{}");
    until(w, p.acked == 12);
    assert_int_equal(w->saids, 1);
    pub_leave(w, &p, true);
    world_close(w);
}

static void a_reconnect_opens_a_period_in_the_same_exchange(void **state)
{
    struct world *w = world_open(1, conf);
    struct pub p, again;
    struct said *s;
    char up[1024], id[TICKET_SESSION_LEN + 1];

    (void)state;
    s = begin(w, &p, 10);
    memcpy(id, p.ticket.session, sizeof id);
    say_period(s, 0, 2000, 1, 1);
    say_open(s, 1, 2000);
    say_chunk(s, 1, 2000, 100, 4, "{}");
    until(w, p.acked == 3);
    pub_leave(w, &p, false);
    pass_ms(w, 5000);
    pub_open(w, &again, "live/show", NULL);
    assert_string_equal(again.ticket.session, id);
    pub_frames(w, &again, 3);
    until(w, (what_went_up(s, up, sizeof up), strchr(up, 'D') != NULL));
    assert_non_null(strstr(up, "D11 C F F"));
    assert_int_equal(w->saids, 1);
    /* its time goes on with the wall clock: 5 s later, give or take the frames */
    assert_true(the(w)->now_ms > 5000 && the(w)->now_ms < 6500);
    say_period(s, 1, 7000, 5, 11);
    say_open(s, 5, 7000);
    say_chunk(s, 5, 7000, 60, 13, "{}");
    until(w, again.acked == 2);
    assert_int_equal(model_current(the(w)->model)->k, 1);
    pub_leave(w, &again, true);
    world_close(w);
}

static void a_broadcast_ends_when_the_window_is_over(void **state)
{
    struct world *w = world_open(1, conf);
    struct said *s;
    struct pub p;

    (void)state;
    s = begin(w, &p, 10);
    pub_leave(w, &p, false);
    pass_ms(w, 29 * 1000);
    assert_int_equal(the(w)->phase, SESSION_LIVE);
    assert_false(s->got_all);
    pass_ms(w, 3 * 1000);
    assert_int_equal(the(w)->phase, SESSION_ENDED);
    until(w, s->got_all);
    finish(s);
    until(w, the(w)->over);
    world_close(w);
}

/* --- records that cannot be --- */

static void records_out_of_order_are_ignored_and_counted(void **state)
{
    struct world *w = world_open(1, conf);
    struct said *s;
    struct pub p;

    (void)state;
    s = begin(w, &p, 10);
    say_open(s, 1, 2000); /* no Period yet */
    until(w, ignored(w) == 1);
    say_period(s, 0, 2000, 1, 1);
    say_open(s, 7, 2000); /* a number is left out */
    until(w, ignored(w) == 2);
    say_open(s, 1, 2000);
    say_chunk(s, 1, 2000, 100, 4, "{}");
    say_chunk(s, 1, 2100, 100, 4000, "{}"); /* a tag that it cannot have seen */
    until(w, ignored(w) == 3);
    say_chunk(s, 1, 2050, 100, 7, "{}"); /* over what is there */
    until(w, ignored(w) == 4);
    say(s, RECORD_CHUNK, 10,
        "{\"rep\":\"v9\",\"n\":1,\"t\":0,\"d\":1,\"sap\":1,\"next_tag\":5,\"state\":{}}");
    until(w, ignored(w) == 5);
    say(s, RECORD_CLOSE, 0, "{}");
    until(w, ignored(w) == 6);
    say(s, RECORD_DOC, 0, "{}");
    until(w, ignored(w) == 7);
    assert_int_equal(object(w, 1).published, 1000);
    assert_int_equal(p.closed, 0);
    pub_leave(w, &p, true);
    world_close(w);
}

/* --- refusals --- */

static void what_the_worker_refuses_ends_the_broadcast(void **state)
{
    struct world *w = world_open(2, conf);
    struct said *s;
    struct pub p;

    (void)state;
    s = begin(w, &p, 10);
    say(s, RECORD_HEALTH, 0, "{\"refused\":\"key frames are too far apart\"}");
    finish(s);
    until(w, p.closed == 1);
    assert_int_equal(p.why, DOOR_REFUSED);
    assert_int_equal(w->saids, 1);
    pub_leave(w, &p, false);
    world_close(w);
}

static void a_full_worker_sends_the_stream_elsewhere(void **state)
{
    struct world *w = world_open(2, conf);
    unsigned full;
    struct pub p;

    (void)state;
    w->worker[0].status = w->worker[1].status = "503";
    pub_open(w, &p, "live/show", NULL);
    pub_frames(w, &p, 1);
    until(w, w->saids >= 1);
    full = (unsigned)w->said[0]->worker;
    w->worker[1 - full].status = "200";
    until(w, (pass_ms(w, 50), w->saids >= 2 && w->said[w->saids - 1]->worker == (int)(1 - full)));
    assert_int_equal(p.closed, 0);
    pub_leave(w, &p, true);
    world_close(w);
}

static void where_all_workers_are_full_the_publisher_is_told_after_a_while(void **state)
{
    struct world *w = world_open(1, conf);
    struct pub p;

    (void)state;
    w->worker[0].status = "503";
    pub_open(w, &p, "live/show", NULL);
    pub_frames(w, &p, 1);
    until(w, w->saids == 1);
    for (int i = 0; i < 110 && p.closed == 0; i++) {
        pass_ms(w, 100);
        assert_true(p.closed == 0 || i > 95);
    }
    until(w, p.closed == 1);
    assert_int_equal(p.why, DOOR_NO_WORKER);
    pub_leave(w, &p, false);
    world_close(w);
}

static void a_head_that_a_worker_refuses_is_final(void **state)
{
    struct world *w = world_open(2, conf);
    struct pub p;

    (void)state;
    w->worker[0].status = w->worker[1].status = "400";
    pub_open(w, &p, "live/show", NULL);
    pub_frames(w, &p, 1);
    until(w, p.closed == 1);
    assert_int_equal(p.why, DOOR_REFUSED);
    assert_int_equal(w->saids, 1);
    pub_leave(w, &p, false);
    world_close(w);
}

static void workers_that_break_the_protocol_again_and_again_end_it(void **state)
{
    struct world *w = world_open(2, conf);
    struct pub p;

    (void)state;
    pub_open(w, &p, "live/show", NULL);
    pub_frames(w, &p, 1);
    for (int i = 1; p.closed == 0; i++) {
        until(w, (pass_ms(w, 50), w->saids == i || p.closed > 0));
        if (p.closed == 0) {
            buf_add(&w->said[i - 1]->words.out, "no record at all, whatever it is", 32);
            h2_resume(w->said[i - 1]->h2, w->said[i - 1]->id);
            until(w, (pass_ms(w, 20), w->said[i - 1]->closed)); /* what goes up is paced */
        }
        assert_true(i < 10);
    }
    assert_int_equal(p.why, DOOR_REFUSED);
    assert_int_equal(w->saids, 6);
    pub_leave(w, &p, false);
    world_close(w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(both_manifests_are_told_when_one_has_changed_and_never_else),
        cmocka_unit_test(a_takeover_hands_on_states_and_begins_at_the_lowest_tag),
        cmocka_unit_test(what_the_spool_has_lost_begins_a_new_period),
        cmocka_unit_test(a_worker_that_dies_before_its_first_chunk_starts_over),
        cmocka_unit_test(silence_closes_at_the_last_whole_chunk),
        cmocka_unit_test(a_reconnect_opens_a_period_in_the_same_exchange),
        cmocka_unit_test(a_broadcast_ends_when_the_window_is_over),
        cmocka_unit_test(records_out_of_order_are_ignored_and_counted),
        cmocka_unit_test(what_the_worker_refuses_ends_the_broadcast),
        cmocka_unit_test(a_full_worker_sends_the_stream_elsewhere),
        cmocka_unit_test(where_all_workers_are_full_the_publisher_is_told_after_a_while),
        cmocka_unit_test(a_head_that_a_worker_refuses_is_final),
        cmocka_unit_test(workers_that_break_the_protocol_again_and_again_end_it),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
