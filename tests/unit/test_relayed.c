/* Publishers whom a POP brings, at their home: again and again, and whoever comes between. */
#include "tests/unit/home_world.h"

static const char conf[] = "ingest: {listen: [\"rtmp://127.0.0.1:0\"]}\n";
static int rooms;

static void on_room(void *ctx)
{
    (void)ctx;
    rooms++;
}

static const struct door_ops relay_ops = {
    .accepted = on_accepted, .acked = on_acked, .closed = on_closed, .room = on_room
};

static void arrive(struct world *w, struct pub *p, uint64_t publisher, const struct ticket *t)
{
    struct door_claim c = { .ticket = t, .publisher = publisher };

    *p = (struct pub){ .ts_ms = 0 };
    assert_int_equal(door_open(w->home, &w->l, "live/show", &c, &relay_ops, p, &p->door), ST_OK);
    until(w, p->accepted > 0 || p->closed > 0);
}

/* Tags first to last of the POP's numbers; number n is of the time 30 n. 0: the configuration. */
static void bring(struct world *w, struct pub *p, unsigned first, unsigned last)
{
    static const uint8_t config[] = { 0x17, 0, 0, 0, 0, 1, 0x64, 0, 31, 0xff, 0xe0, 0 };
    uint8_t frame[] = { 0x17, 1, 0, 0, 0, 0, 0, 0, 1, 0x65 };

    for (unsigned n = first; n <= last; n++) {
        struct flv_tag tag = { FLV_VIDEO, 30 * n, frame, sizeof frame };

        frame[4] = (uint8_t)n; /* so that they can be told apart */
        if (n == 0)
            tag = (struct flv_tag){ FLV_VIDEO, 30 * first, config, sizeof config };
        assert_true(door_tag_numbered(p->door, n, &tag, false, world_wall_us));
        door_flush(p->door);
        pass_ms(w, 30);
    }
}

/* What has come to a worker: the frames in their order, and how many discontinuities. */
struct came {
    uint8_t frame[200];
    unsigned n, configs, cuts;
};

static void look(const struct said *s, struct came *c)
{
    struct rd in = rd_init(s->got.data, s->got.len);
    struct flv_reader r;
    struct flv_mark m;
    struct flv_tag tag;

    *c = (struct came){ .n = 0 };
    flv_reader_init(&r, 1 << 20);
    while (flv_next(&r, &in, &tag) == ST_OK) {
        if (tag.type == FLV_SCRIPT) {
            assert_int_equal(flv_mark_parse(&tag, &m), ST_OK);
            c->cuts += m.discontinuity && c->n > 0;
        } else if (tag.body[1] == 0) {
            c->configs++;
        } else {
            assert_true(c->n < sizeof c->frame);
            c->frame[c->n++] = tag.body[4];
        }
    }
    flv_reader_fini(&r);
}

static struct came wait_frames(struct world *w, unsigned n)
{
    struct came c;

    until(w, w->saids > 0 && (look(w->said[0], &c), c.n >= n));
    steps(w);
    look(w->said[0], &c);
    assert_int_equal(c.n, n);
    return c;
}

static void the_same_publisher_goes_on_where_he_was(void **state)
{
    struct world *w = world_open(1, conf);
    struct pub a, b, c;
    struct came came;

    (void)state;
    arrive(w, &a, 77, NULL);
    bring(w, &a, 0, 10);
    assert_int_equal(wait_frames(w, 10).cuts, 0);
    pub_leave(w, &a, false); /* the link is gone; he is back at once, and with more than is new */
    arrive(w, &b, 77, &a.ticket);
    assert_true(b.ticket.epoch > a.ticket.epoch);
    bring(w, &b, 0, 0);
    bring(w, &b, 6, 14);
    came = wait_frames(w, 14);
    assert_int_equal(came.cuts, 0);
    assert_int_equal(came.configs, 1);
    for (unsigned i = 0; i < came.n; i++)
        assert_int_equal(came.frame[i], i + 1);
    assert_int_equal(metric_get(&w->l.metrics->relay_tags_repeated), 5);
    /* and by a new exchange while the old one still looks alive: our answer to the one between may
     * have been lost, so that his ticket is an old one */
    arrive(w, &c, 77, &a.ticket);
    assert_int_equal(c.accepted, 1);
    until(w, b.closed == 1);
    assert_int_equal(b.why, DOOR_TAKEN);
    bring(w, &c, 15, 16);
    assert_int_equal(wait_frames(w, 16).cuts, 0);
    assert_int_equal(metric_get(&w->l.metrics->fencing_rejections), 0);
    door_leave(&b.door, false);
    pub_leave(w, &c, false);
    world_close(w);
}

static void a_hole_begins_something_new(void **state)
{
    struct world *w = world_open(1, conf);
    struct pub a, b;
    struct came came;

    (void)state;
    arrive(w, &a, 77, NULL);
    bring(w, &a, 0, 10);
    pub_leave(w, &a, false);
    arrive(w, &b, 77, &a.ticket);
    bring(w, &b, 12, 14);
    came = wait_frames(w, 13);
    assert_int_equal(came.cuts, 1);
    /* his times go on */
    assert_int_equal(session_of(w, "live/show")->now_ms, 30 * 14 - 0);
    pub_leave(w, &b, false);
    world_close(w);
}

static void somebody_else_begins_something_new_and_fences_him(void **state)
{
    struct world *w = world_open(1, conf);
    struct pub a, b, zombie;
    struct came came;

    (void)state;
    arrive(w, &a, 77, NULL);
    bring(w, &a, 0, 10);
    arrive(w, &b, 88, NULL);
    until(w, a.closed == 1);
    assert_int_equal(a.why, DOOR_TAKEN);
    door_leave(&a.door, false);
    bring(w, &b, 0, 3); /* numbers of another POP */
    came = wait_frames(w, 13);
    assert_int_equal(came.cuts, 1);
    assert_int_equal(came.configs, 2);
    arrive(w, &zombie, 77, &a.ticket);
    assert_int_equal(zombie.accepted, 0);
    assert_int_equal(zombie.why, DOOR_FENCED);
    assert_int_equal(b.closed, 0);
    door_leave(&zombie.door, false);
    pub_leave(w, &b, false);
    world_close(w);
}

static void acknowledgements_have_the_numbers_of_the_pop(void **state)
{
    struct ticket from = {
        .session = "m0abcdefghij1", .epoch = 5, .ast_s = 1800000000, .k = 3, .high = 400
    };
    struct world *w = world_open(1, conf);
    struct pub a, b;
    struct said *s;

    (void)state;
    arrive(w, &a, 77, &from); /* a home that takes over: session numbers begin at 1 */
    bring(w, &a, 0, 0);
    bring(w, &a, 5000, 5009); /* 2 to 11 */
    until(w, w->saids == 1);
    s = w->said[0];
    say_period(s, 19, 2000, 500, 1);
    say_open(s, 500, 2000);
    say_chunk(s, 500, 2000, 200, 6, "{}");
    until(w, a.acked == 5004);
    pub_leave(w, &a, false);
    arrive(w, &b, 77, &a.ticket);
    say_chunk(s, 500, 2200, 100, 8, "{}"); /* before he has brought anything */
    until(w, b.acked == 5006);
    bring(w, &b, 5008, 5011); /* 5008 and 5009 are known; 12 and 13 */
    steps(w);
    say_chunk(s, 500, 2300, 100, 13, "{}");
    until(w, b.acked == 5011);
    pub_leave(w, &b, false);
    world_close(w);
}

/* --- the past --- */

static char told[4096]; /* what the home has said of it */

static void on_past(void *ctx, const char *text, size_t n)
{
    (void)ctx;
    assert_true(n < sizeof told);
    (void)snprintf(told, sizeof told, "%.*s", (int)n, text);
}

static const struct door_ops past_ops = { .accepted = on_accepted,
                                          .past = on_past,
                                          .closed = on_closed };

static void arrive_with(struct world *w, struct pub *p, const struct ticket *t, const char *past)
{
    struct door_claim c = { .ticket = t, .publisher = 77 };

    *p = (struct pub){ .ts_ms = 0 };
    assert_int_equal(door_open(w->home, &w->l, "live/show", &c, &past_ops, p, &p->door), ST_OK);
    until(w, p->accepted > 0);
    door_bring_past(p->door, past, strlen(past));
    bring(w, p, 0, 3);
    until(w, w->saids == 1);
}

/* A home has presented segments up to `last` and is no more. */
static struct ticket gone_home(unsigned last)
{
    struct world *w = world_open(1, conf);
    struct pub a;

    told[0] = '\0';
    arrive_with(w, &a, NULL, "");
    say_period(w->said[0], 0, 2000, 1, 1);
    for (unsigned n = 1; n <= last; n++) {
        say_open(w->said[0], n, 2000 * (int)n);
        say_chunk(w->said[0], n, 2000 * (int)n, 2000, 2, "{}");
        say_close(w->said[0], n, 2000);
    }
    until(w, (pass_ms(w, 50), told[0] != '\0'));
    pub_leave(w, &a, false);
    world_close(w);
    return a.ticket;
}

/* The next one begins, is brought that, and then something of its own comes. */
static const struct model *next_home(struct world *w, struct pub *p, const struct ticket *t,
                                     const char *past)
{
    struct said *s;
    unsigned n;

    arrive_with(w, p, t, past);
    s = w->said[0];
    n = (unsigned)in_json(s->period, "number");
    say_period(s, (int)in_json(s->period, "k"), 60000, n, 1);
    say_open(s, n, 60000);
    say_chunk(s, n, 60000, 200, 2, "{}");
    until(w, session_of(w, "live/show")->period_reps == 1);
    return session_of(w, "live/show")->model;
}

static void the_next_home_lists_what_players_were_told(void **state)
{
    struct ticket t = gone_home(3);
    struct world *w = world_open(1, conf);
    struct pub p;
    const struct model *m = next_home(w, &p, &t, told);
    const struct model_rep *v0 = model_rep(m->period[0], "v0");

    (void)state;
    assert_int_equal(m->n_periods, 2);
    assert_int_equal(m->period[0]->k, 0);
    assert_int_equal(v0->segments.n, 3);
    assert_int_equal(model_segment(v0, 2)->n, 3);
    assert_false(model_segment(v0, 2)->open);
    door_bring_past(p.door, told, strlen(told)); /* again, for the link has blinked */
    bring(w, &p, 4, 6);
    steps(w);
    assert_ptr_equal(session_of(w, "live/show")->model, m);
    assert_int_equal(m->n_periods, 2);
    pub_leave(w, &p, false);
    world_close(w);
}

static void a_past_that_is_none_harms_nobody(void **state)
{
    static const char *const bad[] = { "x", "{}", "{\"v\":1}" };
    struct ticket t = gone_home(2);
    char cut[sizeof told];

    (void)state;
    for (size_t i = 0; i <= sizeof bad / sizeof bad[0]; i++) {
        struct world *w = world_open(1, conf);
        struct pub p;

        (void)snprintf(cut, sizeof cut, "%.*s", (int)strlen(told) - 5, told);
        assert_int_equal(next_home(w, &p, &t, i > 0 ? bad[i - 1] : cut)->n_periods, 1);
        assert_int_equal(p.closed, 0);
        pub_leave(w, &p, false);
        world_close(w);
    }
}

/* Who has no ticket, or another session's, goes on with nothing. */
static void a_past_belongs_to_its_session(void **state)
{
    struct ticket t = gone_home(2);
    struct world *w = world_open(1, conf);
    struct pub p;

    (void)state;
    assert_int_equal(next_home(w, &p, NULL, told)->n_periods, 1);
    pub_leave(w, &p, false);
    world_close(w);
    t.session[0] = t.session[0] == 'z' ? 'y' : 'z';
    w = world_open(1, conf);
    assert_int_equal(next_home(w, &p, &t, told)->n_periods, 1);
    pub_leave(w, &p, false);
    world_close(w);
}

static void what_has_waited_at_the_pop_is_not_before_the_start_of_time(void **state)
{
    struct world *w = world_open(0, conf);
    struct door_claim c = { .publisher = 77, .behind_us = 7 * (int64_t)SEC_US };
    struct pub a = { .ts_ms = 0 };

    (void)state;
    assert_int_equal(door_open(w->home, &w->l, "live/show", &c, &relay_ops, &a, &a.door), ST_OK);
    until(w, a.accepted == 1);
    assert_int_equal(a.ticket.ast_s, world_wall_us / (int64_t)SEC_US - 9);
    pub_leave(w, &a, false);
    world_close(w);
}

static void whoever_waits_for_room_is_told(void **state)
{
    static uint8_t body[1 << 20] = { 0x17, 1 };
    struct world *w = world_open(0, conf);
    struct flv_tag tag = { FLV_VIDEO, 0, body, sizeof body };
    struct pub a;

    (void)state;
    rooms = 0;
    arrive(w, &a, 77, NULL);
    for (unsigned n = 1; n <= 5; n++) {
        (void)door_tag_numbered(a.door, n, &tag, false, world_wall_us);
        door_flush(a.door);
    }
    assert_false(door_may_read(a.door));
    assert_false(door_wait(a.door));
    until(w, rooms == 1);
    assert_true(door_may_read(a.door));
    assert_true(door_wait(a.door));
    pub_leave(w, &a, false);
    world_close(w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_same_publisher_goes_on_where_he_was),
        cmocka_unit_test(a_hole_begins_something_new),
        cmocka_unit_test(somebody_else_begins_something_new_and_fences_him),
        cmocka_unit_test(acknowledgements_have_the_numbers_of_the_pop),
        cmocka_unit_test(a_past_belongs_to_its_session),
        cmocka_unit_test(a_past_that_is_none_harms_nobody),
        cmocka_unit_test(the_next_home_lists_what_players_were_told),
        cmocka_unit_test(what_has_waited_at_the_pop_is_not_before_the_start_of_time),
        cmocka_unit_test(whoever_waits_for_room_is_told),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
