/* A POP's publisher, and data centres that say what the test wants. */
#include "uplink_world.h"

static void a_home_learns_who_it_is_and_gets_numbered_tags(void **state)
{
    struct world *w = *state;
    struct pub p;

    pub_open(w, &p, "live/show");
    assert_int_equal(p.accepted, 0); /* never from inside */
    until(w, p.accepted == 1);
    struct said *s = w->said[0];
    assert_string_equal(s->path, "/_ingest/live/show");
    assert_int_equal(strlen(s->claim), 16);
    assert_string_equal(s->behind, "0");
    assert_string_equal(s->session, ""); /* no ticket yet */
    send_headers(&p);
    for (int i = 0; i < 60; i++)
        send_frame(&p, i % 25 == 0, 10);
    until(w, s->next == 63);
    assert_int_equal(s->first, 1);
    assert_int_equal(s->headers, 0); /* they are numbered, and in the body */
    assert_true(metric_get(&w->l.metrics->ingest_spool_bytes) > 60 * 26);
    assert_false(s->got_all);
    uplink_leave(&p.up, true);
    until(w, s->got_all);
    assert_int_equal(p.closed, 0);
}

static void acknowledged_tags_go_but_for_the_frames_that_a_new_home_would_need(void **state)
{
    struct world *w = *state;
    struct pub p;

    pub_open(w, &p, "live/show");
    until(w, p.accepted == 1);
    send_headers(&p);                    /* 1, 2 */
    for (int i = 0; i < 30; i++)         /* 3 to 32 */
        send_frame(&p, i % 10 == 0, 10); /* keys: 3, 13, 23 */
    until(w, w->said[0]->next == 33);
    say_ack(w->said[0], 20, 4, 200);
    steps(w);
    hang_up(w, w->said[0]->conn);
    until(w, w->saids == 2 && w->said[1]->next == 33);
    struct said *s = w->said[1];
    assert_int_equal(s->first, 13);
    assert_int_equal(s->first_byte, 0x17);
    assert_int_equal(s->headers, 2); /* in force, and not among the tags any more */
    assert_string_equal(s->claim, w->said[0]->claim);
    assert_string_equal(s->session, "m0abcdefghij1");
    assert_string_equal(s->epoch, s->dc == w->said[0]->dc ? "1001" : "?");
    assert_string_equal(s->period, "4"); /* as the ACK had it */
    assert_string_equal(s->high, "200");
    assert_string_equal(s->ast, "7");
    assert_int_equal(p.accepted, 1);
    until(w, metric_get(&w->l.metrics->ingest_reconnects[METRIC_RECONNECT_RESUMED]) == 1);
    /* an ACK beyond all numbers is none */
    say_ack(s, 5000, 4, 200);
    say(s, RECORD_ACK, "{\"tag\":\"x\"}");
    say(s, RECORD_HEALTH, "{}");
    steps(w);
    assert_false(s->closed);
    uplink_leave(&p.up, false);
    steps(w);
}

static void a_link_that_is_cut_after_any_tag_loses_none(void **state)
{
    struct world *w = *state;
    struct pub p;
    uint64_t have = 0; /* all up to here have come, to one home or another */

    pub_open(w, &p, "live/show");
    until(w, p.accepted == 1);
    send_headers(&p);
    for (int i = 0; i < 40; i++) {
        struct said *s;

        send_frame(&p, i % 7 == 0, (size_t)i);
        if (i % 3 == 0) /* sometimes it arrives before the cut, sometimes not */
            until(w, last_said(w)->next == p.sent + 1);
        s = last_said(w);
        have = s->next > have ? s->next : have;
        if (i % 2 == 0)
            say_ack(s, (unsigned)(s->next > 3 ? s->next - 2 : 0), 3, 100);
        steps(w);
        hang_up(w, s->conn);
        int n = w->saids;
        until(w, w->saids > n && last_said(w)->marked);
        assert_true(last_said(w)->first <= (have == 0 ? 1 : have)); /* no hole */
        for (int k = 0; k < 2; k++) { /* steady, so that no back-off comes */
            pass_ms(w, 3000);
            say_ack(last_said(w), 0, 3, 100);
        }
    }
    until(w, last_said(w)->next == p.sent + 1);
    assert_int_equal(metric_get(&w->l.metrics->ingest_spool_lost), 0);
    assert_int_equal(p.closed, 0);
    uplink_leave(&p.up, true);
    until(w, last_said(w)->got_all);
}

static void acks_may_come_in_pieces(void **state)
{
    struct world *w = *state;
    struct pub p;

    pub_open(w, &p, "live/show");
    until(w, p.accepted == 1);
    send_headers(&p);
    for (int i = 0; i < 20; i++)
        send_frame(&p, true, 100);
    struct said *s = w->said[0];
    until(w, s->next == 23);
    uint64_t before = metric_get(&w->l.metrics->ingest_spool_bytes);
    s->words.allowed = 0;
    say_ack(s, 20, 3, 100);
    for (; s->words.allowed < s->words.out.len; s->words.allowed++) {
        h2_resume(s->h2, s->id);
        step(w);
        assert_int_equal(metric_get(&w->l.metrics->ingest_spool_bytes), before);
    }
    h2_resume(s->h2, s->id);
    until(w, metric_get(&w->l.metrics->ingest_spool_bytes) < before / 4);
    uplink_leave(&p.up, false);
    until(w, s->closed);
    assert_true(s->reset); /* he may come back: no end */
    assert_false(s->got_all);
}

static int other(const struct said *s) { return 1 - s->dc; }

static void say_past(struct said *s, const char *text)
{
    record_put_text(&s->words.out, RECORD_PAST, 0, ++s->words.seq, "{}", 2, strlen(text));
    buf_add(&s->words.out, text, strlen(text));
    h2_resume(s->h2, s->id);
}

static void the_next_home_hears_what_the_last_one_told_players(void **state)
{
    struct world *w = *state;
    struct pub p;

    pub_open(w, &p, "live/show");
    until(w, p.accepted == 1);
    send_headers(&p);
    struct said *s = w->said[0];
    until(w, s->next == 3);
    assert_string_equal(s->past, "");
    say_past(s, "oldest of all");
    say_past(s, "older");
    say_past(s, "newer");
    steps(w);
    s->words.allowed = s->words.out.len + RECORD_FIXED + 8; /* and one that breaks off */
    say_past(s, "newest of all, but it is cut");
    steps(w);
    hang_up(w, s->conn);
    until(w, w->saids == 2 && last_said(w)->marked);
    assert_string_equal(last_said(w)->past, "newer");
    uplink_leave(&p.up, true);
    steps(w);
}

static void who_is_full_or_refuses_is_passed_over(void **state)
{
    struct world *w = *state;
    struct pub p;

    w->dc[0].status = w->dc[1].status = "503";
    pub_open(w, &p, "live/show");
    until(w, w->saids == 1);
    w->dc[other(w->said[0])].status = "200";
    until(w, p.accepted == 1);
    assert_int_equal(w->said[w->saids - 1]->dc, other(w->said[0]));
    assert_int_equal(p.closed, 0);
    uplink_leave(&p.up, true);
    steps(w);
}

static void a_home_may_know_a_better_one(void **state)
{
    struct world *w = *state;
    struct pub p;

    w->dc[0].status = "421";
    w->dc[0].elsewhere = w->dc[1].url;
    w->dc[1].status = "421";
    w->dc[1].elsewhere = w->dc[0].url;
    pub_open(w, &p, "live/show");
    until(w, w->saids == 1);
    w->dc[other(w->said[0])].status = "200";
    until(w, p.accepted == 1);
    assert_int_equal(w->saids, 2);
    assert_int_equal(w->said[1]->dc, other(w->said[0]));
    assert_int_equal(
        metric_get(&w->l.metrics->ingest_uplink_failures[METRIC_UPLINK_FAILURE_ELSEWHERE]), 1);
    uplink_leave(&p.up, true);
    steps(w);
}

static void who_was_replaced_is_let_go(void **state)
{
    struct world *w = *state;
    struct pub p;

    pub_open(w, &p, "live/show");
    until(w, p.accepted == 1);
    w->dc[0].status = w->dc[1].status = "409";
    w->dc[0].why = w->dc[1].why = "fenced";
    hang_up(w, w->said[0]->conn);
    until(w, p.closed == 1);
    assert_int_equal(p.why, UPLINK_FENCED);
    assert_int_equal(w->saids, 2);
}

static void the_last_word_of_a_home_says_why(void **state)
{
    static const struct {
        const char *word;
        enum uplink_why why;
    } table[] = { { "taken", UPLINK_TAKEN },
                  { "refused", UPLINK_REFUSED },
                  { "busy", UPLINK_BUSY },
                  { "expired", UPLINK_EXPIRED },
                  { "kicked", UPLINK_KICKED },
                  { "banned", UPLINK_BANNED },
                  { "quarantined", UPLINK_QUARANTINED } };
    struct world *w = *state;
    char text[40];
    struct pub p;

    for (size_t i = 0; i < sizeof table / sizeof table[0]; i++) {
        pub_open(w, &p, "live/show");
        until(w, p.accepted == 1);
        (void)snprintf(text, sizeof text, "{\"why\":\"%s\"}", table[i].word);
        say(last_said(w), RECORD_END, text);
        last_said(w)->words.last = true;
        h2_resume(last_said(w)->h2, last_said(w)->id);
        until(w, p.closed == 1);
        assert_int_equal(p.why, table[i].why);
    }
    /* a home that stops, or has no workers, is not the only one */
    pub_open(w, &p, "live/show");
    until(w, p.accepted == 1);
    int n = w->saids, was = last_said(w)->dc;
    say(last_said(w), RECORD_END, "{\"why\":\"stopping\"}");
    last_said(w)->words.last = true;
    h2_resume(last_said(w)->h2, last_said(w)->id);
    until(w, w->saids > n && last_said(w)->marked);
    assert_int_equal(last_said(w)->dc, 1 - was);
    assert_int_equal(p.closed, 0);
    uplink_leave(&p.up, true);
    steps(w);
}

static void a_home_that_winds_up_is_left_with_nothing_lost(void **state)
{
    struct world *w = *state;
    struct pub p;

    pub_open(w, &p, "live/show");
    until(w, p.accepted == 1);
    send_headers(&p);
    for (int i = 0; i < 10; i++)
        send_frame(&p, i == 0, 10);
    h2_shutdown(w->said[0]->h2);
    until(w, w->saids == 2 && w->said[1]->next == 13);
    assert_int_equal(w->said[1]->dc, other(w->said[0]));
    assert_int_equal(w->said[1]->first, 1);
    assert_true(w->said[0]->closed && w->said[0]->reset);
    assert_int_equal(
        metric_get(&w->l.metrics->ingest_uplink_failures[METRIC_UPLINK_FAILURE_DRAINING]), 1);
    assert_int_equal(p.closed, 0);
    uplink_leave(&p.up, true);
    steps(w);
}

static void a_home_that_says_nothing_is_given_up(void **state)
{
    struct world *w = *state;
    struct pub p;

    pub_open(w, &p, "live/show");
    until(w, p.accepted == 1);
    pass_ms(w, 3500);
    say_ack(w->said[0], 0, 3, 100);
    pass_ms(w, 3500);
    assert_int_equal(w->saids, 1);
    pass_ms(w, 1000);
    until(w, w->saids == 2);
    assert_int_equal(w->said[1]->dc, other(w->said[0]));
    assert_int_equal(
        metric_get(&w->l.metrics->ingest_uplink_failures[METRIC_UPLINK_FAILURE_SILENT]), 1);
    uplink_leave(&p.up, true);
    steps(w);
}

static void a_publisher_need_not_wait_for_homes_but_not_for_ever(void **state)
{
    struct world *w = *state;
    struct pub p;

    w->dc[0].status = w->dc[1].status = "503";
    pub_open(w, &p, "live/show");
    pass_ms(w, 1900);
    assert_int_equal(p.accepted, 0);
    pass_ms(w, 400);
    assert_int_equal(p.accepted, 1);
    pass_ms(w, 27000);
    assert_int_equal(p.closed, 0);
    pass_ms(w, 1500);
    assert_int_equal(p.closed, 1);
    assert_int_equal(p.why, UPLINK_NO_HOME);
    assert_true(w->saids > 10 && w->saids < 40); /* 0.1 s doubling to 5 s, two at a time */
    assert_int_equal(metric_get(&w->l.metrics->ingest_reconnects[METRIC_RECONNECT_GAVE_UP]), 1);
}

static void what_a_home_does_not_take_stays_within_the_limits(void **state)
{
    struct world *w = *state;
    struct pub p;

    w->dc[0].full = w->dc[1].full = true;
    pub_open(w, &p, "live/show");
    until(w, p.accepted == 1);
    send_headers(&p);
    for (int i = 0; i < 80; i++) { /* 16 MiB: the window has 8, the spool 1 */
        send_frame(&p, i % 10 == 0, 200 << 10);
        step(w);
        assert_true(metric_get(&w->l.metrics->ingest_spool_bytes) < 1300 << 10);
    }
    steps(w);
    assert_true(metric_get(&w->l.metrics->ingest_spool_lost) > 60);
    assert_int_equal(p.closed, 0);
    /* what is left is what a home gets that does take */
    w->dc[0].full = w->dc[1].full = false;
    until(w, last_said(w)->next == p.sent + 1);
    assert_true(w->saids > 1); /* what was about to be sent was gone: begun anew */
    uplink_leave(&p.up, true);
    until(w, last_said(w)->got_all);
}

static void what_waited_is_told_with_its_age(void **state)
{
    struct world *w = *state;
    struct pub p;

    w->dc[0].mute = w->dc[1].mute = true;
    pub_open(w, &p, "live/show");
    pass_ms(w, 2300); /* a far timer may be 256 ms late */
    assert_int_equal(p.accepted, 1);
    int64_t first_us = wall_us;
    send_headers(&p);
    for (int i = 0; i < 60; i++) {
        send_frame(&p, i % 10 == 0, 10);
        pass_ms(w, 40);
    }
    int n = w->saids;
    w->dc[0].mute = w->dc[1].mute = false;
    until(w, (pass_ms(w, 10), w->saids > n && last_said(w)->next == p.sent + 1));
    struct said *s = last_said(w);
    assert_int_equal(s->first, 1);
    /* give or take a frame */
    assert_true(labs(s->came_us - first_us - atol(s->behind) * 1000) < 60 * 1000);
    assert_true(atol(s->behind) > 2000);
    assert_true(labs(s->mark_arrival_us - first_us) < 60 * 1000);
    uplink_leave(&p.up, true);
    steps(w);
}

static void the_next_publisher_goes_where_the_last_one_was(void **state)
{
    struct world *w = *state;
    struct pub p;

    pub_open(w, &p, "live/show");
    until(w, p.accepted == 1);
    int first = w->said[0]->dc;
    hang_up(w, w->said[0]->conn);
    w->dc[first].status = "503";
    until(w, last_said(w)->dc != first && last_said(w)->marked);
    say_ack(last_said(w), 0, 9, 900);
    steps(w);
    uplink_leave(&p.up, false);
    steps(w);
    w->dc[first].status = "200"; /* back, but it knows nothing */
    int n = w->saids;
    pub_open(w, &p, "live/show");
    until(w, p.accepted == 1);
    assert_int_equal(w->said[n]->dc, 1 - first);
    assert_string_equal(w->said[n]->session, "m0abcdefghij1");
    assert_string_equal(w->said[n]->high, "900");
    assert_string_not_equal(w->said[n]->claim, w->said[0]->claim);
    /* somebody at another POP has taken it meanwhile: the newest of all is he who comes now */
    uplink_leave(&p.up, false);
    steps(w);
    w->dc[1 - first].status = "409";
    w->dc[1 - first].why = "fenced";
    n = w->saids;
    pub_open(w, &p, "live/show");
    until(w, w->saids == n + 1);
    w->dc[1 - first].status = "200";
    w->dc[1 - first].why = NULL;
    until(w, p.accepted == 1);
    assert_int_equal(w->said[n + 1]->dc, 1 - first);
    assert_string_equal(w->said[n + 1]->session, "");
    /* a broadcast that has ended is forgotten */
    uplink_leave(&p.up, true);
    steps(w);
    n = w->saids;
    pub_open(w, &p, "live/show");
    until(w, p.accepted == 1);
    assert_int_equal(w->said[n]->dc, first);
    assert_string_equal(w->said[n]->session, "");
    uplink_leave(&p.up, false);
    steps(w);
    /* and one that nobody comes back to, after the reconnect window */
    pass_ms(w, 31000);
    n = w->saids;
    pub_open(w, &p, "live/show");
    until(w, p.accepted == 1);
    assert_string_equal(w->said[n]->session, "");
    uplink_leave(&p.up, true);
    steps(w);
}

static void a_reload_moves_nobody(void **state)
{
    struct world *w = *state;
    struct dcs *dcs;
    struct err e;
    struct pub p;

    pub_open(w, &p, "live/show");
    until(w, p.accepted == 1);
    int first = w->said[0]->dc;
    w->dc[first].status = "503";
    hang_up(w, w->said[0]->conn);
    until(w, last_said(w)->dc != first && last_said(w)->marked);
    w->dc[first].status = "200";
    assert_int_equal(dcs_build(w->conf, NULL, &dcs, &e), ST_OK);
    uplinks_set_dcs(&w->l, dcs);
    steps(w);
    struct said *s = last_said(w);
    assert_false(s->closed); /* nor does it cut him off */
    int n = w->saids;
    hang_up(w, s->conn);
    until(w, w->saids > n && last_said(w)->marked);
    assert_int_equal(last_said(w)->dc, 1 - first);
    until(w, metric_get(&w->l.metrics->ingest_reconnects[METRIC_RECONNECT_RESUMED]) == 1);
    /* what is no POP any more takes nobody new, and keeps whom it has */
    uplinks_set_dcs(&w->l, NULL);
    assert_false(uplinks_ready(&w->l));
    n = w->saids;
    hang_up(w, last_said(w)->conn);
    until(w, w->saids > n && last_said(w)->marked);
    uplink_leave(&p.up, true);
    steps(w);
}

static void an_expired_key_is_let_in_by_a_home_only(void **state)
{
    struct uplink_key key = { .there = true, .digest = { 0xab, [15] = 0x01 }, .expired = true };
    struct world *w = *state;
    struct pub p = { .up = NULL };

    w->dc[0].mute = w->dc[1].mute = true;
    assert_int_equal(uplink_open(&w->l, "live/show", &key, &pub_ops, &p, &p.up), ST_OK);
    pass_ms(w, 3000);
    assert_int_equal(p.accepted, 0);
    assert_string_equal(w->said[0]->claim + 16, ".ab000000000000000000000000000001.expired");
    w->dc[0].mute = w->dc[1].mute = false;
    w->dc[0].status = w->dc[1].status = "403";
    w->dc[0].why = w->dc[1].why = "expired";
    until(w, (pass_ms(w, 10), p.closed == 1));
    assert_int_equal(p.why, UPLINK_EXPIRED);
    w->dc[0].status = w->dc[1].status = "200";
    w->dc[0].why = w->dc[1].why = NULL;
    p = (struct pub){ .up = NULL };
    assert_int_equal(uplink_open(&w->l, "live/show", &key, &pub_ops, &p, &p.up), ST_OK);
    until(w, p.accepted == 1);
    hang_up(w, last_said(w)->conn);
    int n = w->saids;
    until(w, w->saids > n);
    assert_string_equal(last_said(w)->claim + 16, ".ab000000000000000000000000000001");
    uplink_leave(&p.up, true);
    steps(w);
}

static void tickets_travel_as_header_fields(void **state)
{
    struct ticket t = { .session = "m0abcdefghij1", .epoch = 9, .ast_s = 8, .k = 7, .high = 6 };
    struct ticket back = { .epoch = 0 };
    struct h2_nv nv[TICKET_FIELDS];
    struct ticket_text text;

    (void)state;
    ticket_put(&t, &text, nv);
    for (int i = 0; i < TICKET_FIELDS; i++)
        assert_int_equal(
            ticket_set(&back, nv[i].name, nv[i].name_len, nv[i].value, nv[i].value_len), ST_OK);
    assert_memory_equal(&t, &back, sizeof t);
    assert_int_equal(ticket_set(&back, "freshet-epoc", 12, "1", 1), ST_ENOENT);
    assert_int_equal(ticket_set(&back, "freshet-epoch", 13, "", 0), ST_EPROTO);
    assert_int_equal(ticket_set(&back, "freshet-epoch", 13, "-1", 2), ST_EPROTO);
    assert_int_equal(ticket_set(&back, "freshet-epoch", 13, "1234567890123456789", 19), ST_EPROTO);
    assert_int_equal(ticket_set(&back, "freshet-session", 15, "m0abcdefghij", 12), ST_EPROTO);
}

int main(void)
{
#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(a_home_learns_who_it_is_and_gets_numbered_tags),
        TEST(acknowledged_tags_go_but_for_the_frames_that_a_new_home_would_need),
        TEST(a_link_that_is_cut_after_any_tag_loses_none),
        TEST(acks_may_come_in_pieces),
        TEST(the_next_home_hears_what_the_last_one_told_players),
        TEST(who_is_full_or_refuses_is_passed_over),
        TEST(a_home_may_know_a_better_one),
        TEST(who_was_replaced_is_let_go),
        TEST(the_last_word_of_a_home_says_why),
        TEST(a_home_that_winds_up_is_left_with_nothing_lost),
        TEST(a_home_that_says_nothing_is_given_up),
        TEST(a_publisher_need_not_wait_for_homes_but_not_for_ever),
        TEST(what_a_home_does_not_take_stays_within_the_limits),
        TEST(what_waited_is_told_with_its_age),
        TEST(the_next_publisher_goes_where_the_last_one_was),
        TEST(a_reload_moves_nobody),
        TEST(an_expired_key_is_let_in_by_a_home_only),
        cmocka_unit_test(tickets_travel_as_header_fields),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
