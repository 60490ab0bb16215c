/* Claims on a stream: tickets from another home, epochs, what is told to who brings the tags. */
#include "home_world.h"

static const char conf[] = "apps: {live: {publish: open}}\n";

static const struct ticket from_elsewhere = {
    .session = "0k1234567abcd", .epoch = 7, .ast_s = 1799990000, .k = 3, .high = 5000
};

static void without_a_ticket_a_session_is_new(void **state)
{
    struct world *w = world_open(0, conf);
    struct pub p;

    (void)state;
    pub_open(w, &p, "live/show", NULL);
    assert_int_equal(p.accepted, 1);
    assert_true(ticket_good(&p.ticket));
    assert_true(p.ticket.epoch >= (uint64_t)world_wall_us / 1000);
    assert_int_equal(p.ticket.ast_s, 0);
    pub_leave(w, &p, false);
    world_close(w);
}

static void a_session_goes_on_from_a_ticket(void **state)
{
    struct world *w = world_open(1, conf);
    struct pub p;
    char ast[32];

    (void)state;
    pub_open(w, &p, "live/show", &from_elsewhere);
    assert_int_equal(p.accepted, 1);
    assert_string_equal(p.ticket.session, from_elsewhere.session);
    assert_int_equal(p.ticket.ast_s, from_elsewhere.ast_s);
    assert_true(p.ticket.epoch > from_elsewhere.epoch);
    assert_true(p.ticket.high >= from_elsewhere.high + TICKET_RESERVE);
    pub_frames(w, &p, 3);
    until(w, w->saids == 1);
    (void)snprintf(ast, sizeof ast, "%lld", (long long)from_elsewhere.ast_s);
    assert_string_equal(w->said[0]->session, from_elsewhere.session);
    assert_string_equal(w->said[0]->ast, ast);
    assert_int_equal(in_json(w->said[0]->period, "k"), from_elsewhere.k + TICKET_K_STEP);
    assert_int_equal(in_json(w->said[0]->period, "number"), (int64_t)from_elsewhere.high);
    pub_leave(w, &p, false);
    world_close(w);
}

static void the_epoch_rises_with_every_claim(void **state)
{
    struct world *w = world_open(0, conf);
    struct ticket far = from_elsewhere;
    struct pub a, b, c;

    (void)state;
    far.epoch = (uint64_t)world_wall_us / 1000 + 1000000; /* a clock that is ahead of ours */
    pub_open(w, &a, "live/show", &far);
    assert_true(a.ticket.epoch > far.epoch);
    pub_open(w, &b, "live/show", NULL);
    assert_true(b.ticket.epoch > a.ticket.epoch);
    assert_string_equal(b.ticket.session, a.ticket.session);
    pub_open(w, &c, "live/show", NULL);
    assert_true(c.ticket.epoch > b.ticket.epoch);
    pub_leave(w, &a, false);
    pub_leave(w, &b, false);
    pub_leave(w, &c, false);
    world_close(w);
}

static void an_older_claim_is_refused_and_disturbs_nobody(void **state)
{
    struct world *w = world_open(0, conf);
    struct pub old, young, zombie;

    (void)state;
    pub_open(w, &old, "live/show", NULL);
    pub_open(w, &young, "live/show", NULL);
    until(w, old.closed == 1);
    assert_int_equal(old.why, DOOR_TAKEN);
    pub_open(w, &zombie, "live/show", &old.ticket);
    assert_int_equal(zombie.accepted, 0);
    assert_int_equal(zombie.why, DOOR_FENCED);
    assert_int_equal(metric_get(&w->l.metrics->fencing_rejections), 1);
    steps(w);
    assert_int_equal(young.closed, 0);
    pub_leave(w, &old, false);
    pub_leave(w, &young, false);
    pub_leave(w, &zombie, false);
    world_close(w);
}

static void the_same_claim_may_come_again(void **state)
{
    struct world *w = world_open(0, conf);
    struct pub a, again;

    (void)state;
    pub_open(w, &a, "live/show", NULL);
    pub_open(w, &again, "live/show", &a.ticket); /* its connection was cut, we have not noticed */
    assert_int_equal(again.accepted, 1);
    assert_string_equal(again.ticket.session, a.ticket.session);
    until(w, a.closed == 1);
    pub_leave(w, &a, false);
    pub_leave(w, &again, false);
    world_close(w);
}

static void a_claim_that_another_home_has_had_meanwhile_goes_before_ours(void **state)
{
    struct world *w = world_open(1, conf);
    struct ticket newer;
    struct pub here, back;

    (void)state;
    pub_open(w, &here, "live/show", NULL);
    pub_frames(w, &here, 2);
    until(w, w->saids == 1);
    newer = here.ticket;
    newer.ast_s = 1799990000;
    newer.epoch += 1000;
    newer.k = 20;
    newer.high = 9000;
    pub_open(w, &back, "live/show", &newer);
    assert_int_equal(back.accepted, 1);
    until(w, here.closed == 1);
    assert_string_equal(back.ticket.session, newer.session);
    pub_frames(w, &back, 2);
    until(w, w->saids == 2);
    assert_int_equal(in_json(w->said[1]->period, "k"), 20 + TICKET_K_STEP);
    assert_int_equal(in_json(w->said[1]->period, "number"), 9000);
    pub_leave(w, &here, false);
    pub_leave(w, &back, false);
    world_close(w);
}

static void what_has_ended_is_not_begun_again(void **state)
{
    struct world *w = world_open(0, conf);
    struct pub a, b;

    (void)state;
    pub_open(w, &a, "live/show", NULL);
    pub_leave(w, &a, true);
    pub_open(w, &b, "live/show", &a.ticket);
    assert_int_equal(b.accepted, 1);
    assert_string_not_equal(b.ticket.session, a.ticket.session);
    assert_true(b.ticket.epoch > a.ticket.epoch);
    pub_leave(w, &b, true);
    world_close(w);
}

static void acknowledgements_count_the_tags_of_the_door(void **state)
{
    struct world *w = world_open(1, conf);
    struct pub a, b;
    struct said *s;

    (void)state;
    pub_open(w, &a, "live/show", NULL);
    pub_frames(w, &a, 10); /* session numbers 1 to 10 */
    until(w, w->saids == 1);
    s = w->said[0];
    say_period(s, 0, 2000, 1, 1);
    say_open(s, 1, 2000);
    say_chunk(s, 1, 2000, 200, 6, "{}");
    until(w, a.acked == 5);
    assert_true(a.high >= 1 + TICKET_RESERVE);
    pub_leave(w, &a, false);

    pub_open(w, &b, "live/show", NULL);
    pub_frames(w, &b, 4); /* 11 to 14 */
    until(w, s->got.len > 0 && !s->closed);
    say_chunk(s, 1, 2200, 100, 9, "{}"); /* of the publisher before: nothing of b's yet */
    until(w, session_of(w, "live/show")->resume[0].next_tag == 9);
    steps(w);
    assert_int_equal(b.acked, 0);
    say_close(s, 1, 300);
    say_period(s, 1, 4000, 10, 11);
    say_open(s, 10, 4000);
    say_chunk(s, 10, 4000, 66, 13, "{}");
    until(w, b.acked == 2);
    assert_int_equal(b.k, 1);
    assert_true(b.high > 10);
    pub_leave(w, &b, true);
    world_close(w);
}

static void tickets_from_the_wire_are_looked_at(void **state)
{
    struct ticket t = from_elsewhere;

    (void)state;
    assert_true(ticket_good(&t));
    t.session[3] = 'A';
    assert_false(ticket_good(&t));
    t = from_elsewhere;
    t.session[12] = '\0';
    assert_false(ticket_good(&t));
    t = from_elsewhere;
    t.session[13] = 'a';
    assert_false(ticket_good(&t));
    t = from_elsewhere;
    t.epoch = TICKET_EPOCH_MAX + 1;
    assert_false(ticket_good(&t));
    t = from_elsewhere;
    t.ast_s = -1;
    assert_false(ticket_good(&t));
    t.ast_s = TICKET_AST_MAX + 1;
    assert_false(ticket_good(&t));
    t = from_elsewhere;
    t.k = -1;
    assert_false(ticket_good(&t));
    t.k = TICKET_K_MAX + 1;
    assert_false(ticket_good(&t));
    t = from_elsewhere;
    t.high = TICKET_HIGH_MAX + 1;
    assert_false(ticket_good(&t));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(without_a_ticket_a_session_is_new),
        cmocka_unit_test(a_session_goes_on_from_a_ticket),
        cmocka_unit_test(the_epoch_rises_with_every_claim),
        cmocka_unit_test(an_older_claim_is_refused_and_disturbs_nobody),
        cmocka_unit_test(the_same_claim_may_come_again),
        cmocka_unit_test(a_claim_that_another_home_has_had_meanwhile_goes_before_ours),
        cmocka_unit_test(what_has_ended_is_not_begun_again),
        cmocka_unit_test(acknowledgements_count_the_tags_of_the_door),
        cmocka_unit_test(tickets_from_the_wire_are_looked_at),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
