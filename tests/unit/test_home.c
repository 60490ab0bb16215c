/* Claims on a stream: tickets from another home, epochs, what is told to who brings the tags. */
#include "home_world.h"

#include <fcntl.h>
#include <sys/stat.h>

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

/* --- what is written down --- */

static bool record_exists(struct world *w, const char *name)
{
    char path[200];

    (void)snprintf(path, sizeof path, "%s/streams/%s.json", w->state_dir, name);
    return access(path, F_OK) == 0;
}

/* A session with its first segment, as a process leaves it that is killed; its last number is 40.
 */
static struct ticket killed_session(struct world *w, const struct door_claim *c)
{
    struct pub p;

    pub_claim(w, &p, "live/show", c);
    pub_frames(w, &p, 2);
    until(w, w->saids == 1);
    say_period(w->said[0], 0, 2000, 40, 1);
    say_open(w->said[0], 40, 2000);
    say_chunk(w->said[0], 40, 2000, 30, 2, "{}");
    until(w, session_of(w, "live/show")->resume[0].next_tag == 2);
    home_end(w, &p);
    home_begin(w);
    return p.ticket;
}

static void a_home_that_was_killed_goes_on_with_its_sessions(void **state)
{
    struct world *w = world_open(1, conf);
    struct ticket before = killed_session(w, NULL);
    struct pub p;

    (void)state;
    pass_ms(w, 20 * 1000);
    pub_open(w, &p, "live/show", NULL);
    assert_string_equal(p.ticket.session, before.session);
    assert_true(p.ticket.epoch > before.epoch);
    assert_true(p.ticket.ast_s != 0);
    pub_frames(w, &p, 2);
    until(w, w->saids == 1);
    assert_string_equal(w->said[0]->session, before.session);
    assert_true(in_json(w->said[0]->period, "k") >= TICKET_K_STEP);
    assert_true(in_json(w->said[0]->period, "number") > 40);
    assert_int_equal(atoll(w->said[0]->ast), p.ticket.ast_s);
    pub_leave(w, &p, true);
    world_close(w);
}

static void after_the_reconnect_window_it_is_over(void **state)
{
    struct world *w = world_open(1, conf);
    struct ticket before = killed_session(w, NULL);
    struct pub p;

    (void)state;
    pass_ms(w, 36 * 1000);
    pub_open(w, &p, "live/show", NULL);
    assert_string_not_equal(p.ticket.session, before.session);
    pub_leave(w, &p, true);
    world_close(w);
}

/* The test's time runs faster than a disk. */
static void frames_and_disk(struct world *w, struct pub *p, int seconds)
{
    until(w, w->said[0] != NULL); /* the exchange begins when the first record is there */
    for (int i = 0; i < seconds; i++) {
        pub_frames(w, p, 34);
        say(w->said[0], RECORD_HEALTH, 0, "{\"speed\":1}");
        until(w, !session_of(w, "live/show")->job_busy);
    }
}

static void the_record_is_kept_fresh_while_somebody_publishes(void **state)
{
    struct world *w = world_open(1, conf);
    struct stat st;
    struct pub p;
    char path[200];

    (void)state;
    pub_open(w, &p, "live/show", NULL);
    (void)snprintf(path, sizeof path, "%s/streams/live/show.json", w->state_dir);
    pub_frames(w, &p, 2);
    until(w, stat(path, &st) == 0 && w->saids == 1);
    frames_and_disk(w, &p, 18);
    until(w, stat(path, &st) == 0 && st.st_mtime >= world_wall_us / (int64_t)SEC_US - 6);
    assert_int_equal(unlink(path), 0); /* an operator who tidies up */
    frames_and_disk(w, &p, 9);
    until(w, stat(path, &st) == 0);
    pub_leave(w, &p, true);
    world_close(w);
}

static void a_broadcast_that_has_ended_leaves_no_record(void **state)
{
    struct world *w = world_open(1, conf);
    struct pub p;

    (void)state;
    pub_open(w, &p, "live/show", NULL);
    pub_frames(w, &p, 2);
    until(w, record_exists(w, "live/show"));
    pub_leave(w, &p, true);
    until(w, !record_exists(w, "live/show"));
    world_close(w);
}

static void a_ticket_and_a_record_of_one_session_are_joined(void **state)
{
    struct world *w = world_open(1, conf);
    struct ticket t = killed_session(w, NULL), old = t;
    struct pub p;

    (void)state;
    old.epoch--;
    pub_open(w, &p, "live/show", &old);
    assert_int_equal(p.why, DOOR_FENCED);
    pub_leave(w, &p, false);
    t.ast_s = 1799990000;
    t.high = 7;
    t.k = 500;
    pub_open(w, &p, "live/show", &t);
    pub_frames(w, &p, 2);
    until(w, w->saids == 1);
    assert_int_equal(in_json(w->said[0]->period, "k"), 500 + TICKET_K_STEP);
    assert_true(in_json(w->said[0]->period, "number") > 40);
    pub_leave(w, &p, true);
    world_close(w);
}

static void a_record_that_is_not_one_of_ours_is_ignored(void **state)
{
#define TEXT(v, id, epoch, high) \
    "{\"v\":" v ",\"session\":\"" id "\",\"epoch\":" epoch ",\"ast\":1,\"k\":0,\"high\":" high
    static const char *const texts[] = {
        "",
        "{",
        "[]",
        "{\"v\":1}",
        TEXT("2", "0123456789abc", "1", "1}"),
        TEXT("1", "0123456789ABC", "1", "1}"),
        TEXT("1", "0123456789abcd", "1", "1}"),
        TEXT("1", "0123456789abc", "-1", "1}"),
        TEXT("1", "0123456789abc", "1", "-1}"),
        TEXT("1", "0123456789abc", "1", "1,\"key\":\"ab\"}"),
    };
    static const char good[] =
        TEXT("1", "0123456789abc", "1", "1,\"key\":\"000102030405060708090a0b0c0d0e0f\"}");
#undef TEXT
    struct known k;

    (void)state;
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++)
        assert_false(known_parse(texts[i], strlen(texts[i]), &k));
    assert_true(known_parse(good, strlen(good), &k));
    assert_true(k.has_key && k.key[0] == 0 && k.key[15] == 15);
    assert_int_equal(k.ticket.high, 1);
}

static void what_nobody_came_back_for_is_swept_away(void **state)
{
    struct world *w = world_open(1, conf);

    (void)state;
    (void)killed_session(w, NULL);
    pass_ms(w, 60 * 1000);
    steps(w);
    assert_true(record_exists(w, "live/show"));
    pass_ms(w, 40 * 1000);
    until(w, (pass_ms(w, 1000), !record_exists(w, "live/show")));
    world_close(w);
}

/* --- two publishers --- */

static void the_first_publisher_stays_where_the_oldest_wins(void **state)
{
    struct world *w = world_open(1, "apps: {live: {publish: open}}\ningest: {takeover: oldest}\n");
    struct pub first, second;

    (void)state;
    pub_open(w, &first, "live/show", NULL);
    pub_frames(w, &first, 40);
    pub_open(w, &second, "live/show", NULL);
    assert_int_equal(second.why, DOOR_BUSY);
    assert_int_equal(first.closed, 0);
    pub_leave(w, &second, false);
    pub_open(w, &second, "live/show", &first.ticket); /* the same one on another connection */
    assert_int_equal(second.accepted, 1);
    until(w, first.closed == 1);
    pub_leave(w, &first, false);
    pass_ms(w, 2500); /* it has fallen silent */
    pub_open(w, &first, "live/show", NULL);
    assert_int_equal(first.accepted, 1);
    until(w, second.closed == 1);
    pub_leave(w, &first, true);
    pub_leave(w, &second, true);
    world_close(w);
}

static void no_more_broadcasts_than_the_limit_says(void **state)
{
    struct world *w =
        world_open(0, "apps: {live: {publish: open}}\ningest: {limits: {streams: 2}}\n");
    struct pub p[3];

    (void)state;
    pub_open(w, &p[0], "live/a", NULL);
    pub_open(w, &p[1], "live/b", NULL);
    pub_open(w, &p[2], "live/c", NULL);
    assert_int_equal(p[2].why, DOOR_LIMIT);
    assert_int_equal(metric_get(&w->l.metrics->limit_hits[METRIC_LIMIT_INGEST_STREAMS]), 1);
    assert_int_equal(p[0].closed + p[1].closed, 0);
    for (int i = 0; i < 3; i++)
        pub_leave(w, &p[i], true);
    world_close(w);
}

/* --- kicks and bans --- */

static void a_kick_leaves_the_broadcast_waiting_and_a_ban_ends_it(void **state)
{
    struct world *w = world_open(1, conf);
    struct pub p, again;
    struct said *s;

    (void)state;
    pub_open(w, &p, "live/show", NULL);
    pub_frames(w, &p, 5);
    until(w, w->saids == 1);
    s = w->said[0];
    home_kick(w->home, "live/show", DOOR_KICKED, false);
    until(w, p.closed == 1);
    assert_int_equal(p.why, DOOR_KICKED);
    pub_leave(w, &p, false);
    pub_open(w, &again, "live/show", NULL);
    assert_string_equal(again.ticket.session, p.ticket.session);
    assert_int_equal(home_ban(w->home, "live/show", world_mono_us + 10 * SEC_US), ST_OK);
    until(w, again.closed == 1);
    assert_int_equal(again.why, DOOR_BANNED);
    pub_leave(w, &again, false);
    until(w, s->closed); /* the worker has nothing more to do for it */
    pub_open(w, &p, "live/show", NULL);
    assert_int_equal(p.why, DOOR_BANNED);
    pub_leave(w, &p, false);
    pass_ms(w, 10 * 1000);
    pub_open(w, &p, "live/show", NULL);
    assert_int_equal(p.accepted, 1);
    assert_string_not_equal(p.ticket.session, again.ticket.session);
    home_kick(w->home, "live/other", DOOR_KICKED, true); /* nobody there */
    pub_leave(w, &p, true);
    world_close(w);
}

static void ignore_letter(struct loop *l, struct mail *m) { (void)l, (void)m; }

static void a_slow_disk_does_not_bring_a_banned_broadcast_back(void **state)
{
    struct world *w = world_open(1, conf);
    struct disk_job stuck = { .mail.deliver = ignore_letter, .loop = &w->l };
    struct pub p;
    char fifo[64];
    int fd;

    (void)state;
    pub_open(w, &p, "live/show", NULL);
    pub_frames(w, &p, 5);
    until(w, w->saids == 1 && !session_of(w, "live/show")->job_busy);
    (void)snprintf(fifo, sizeof fifo, "%s/fifo", w->dir);
    assert_int_equal(mkfifo(fifo, 0600), 0);
    assert_int_equal(disk_read(w->disk, &stuck, fifo), ST_OK); /* until somebody writes */
    session_record_now(session_of(w, "live/show"));
    assert_int_equal(home_ban(w->home, "live/show", world_mono_us + 2 * SEC_US), ST_OK);
    until(w, p.closed == 1);
    pub_leave(w, &p, false);
    pass_ms(w, 5000);
    assert_non_null(session_of(w, "live/show"));
    assert_true((fd = open(fifo, O_WRONLY)) >= 0);
    (void)close(fd);
    until(w, (pass_ms(w, 100), session_of(w, "live/show") == NULL));
    assert_false(record_exists(w, "live/show"));
    world_close(w);
}

static void without_a_publisher_a_kicked_broadcast_ends_in_its_window(void **state)
{
    struct world *w = world_open(1, conf);
    struct pub p;

    (void)state;
    pub_open(w, &p, "live/show", NULL);
    pub_frames(w, &p, 5);
    home_kick(w->home, "live/show", DOOR_KICKED, false);
    until(w, p.closed == 1);
    pub_leave(w, &p, false);
    pass_ms(w, 29 * 1000);
    assert_int_equal(session_of(w, "live/show")->phase, SESSION_LIVE);
    pass_ms(w, 3 * 1000);
    assert_int_equal(session_of(w, "live/show")->phase, SESSION_ENDED);
    world_close(w);
}

/* --- the pin --- */

static const char *name_of(int i)
{
    static char name[32];

    (void)snprintf(name, sizeof name, "live/s%d", i);
    return name;
}

/* n publishers, each with an exchange; on[i]: how many each worker has. */
static void spread(struct world *w, struct pub *p, int n, int on[WORKERS])
{
    memset(on, 0, WORKERS * sizeof *on);
    for (int i = 0; i < n; i++) {
        pub_open(w, &p[i], name_of(i), NULL);
        pub_frames(w, &p[i], 2);
        until(w, w->saids == i + 1);
        on[w->said[i]->worker]++;
    }
}

static void workers_get_their_share_and_a_tenth_at_most(void **state)
{
    enum { N = 30 };
    struct world *w = world_open(3, "apps: {live: {publish: open}}\n");
    struct pub p[N];
    int on[WORKERS];

    (void)state;
    spread(w, p, N, on);
    for (int i = 0; i < 3; i++)
        assert_true(on[i] >= 6 && on[i] <= 11); /* ceil(1.1 * 30 / 3) */
    for (int i = 0; i < N; i++)
        pub_leave(w, &p[i], false);
    world_close(w);
}

static void a_stream_keeps_its_worker_while_it_works(void **state)
{
    struct world *w = world_open(3, "apps: {live: {publish: open}}\n");
    struct pub p[6], again;
    unsigned was;
    int on[WORKERS];

    (void)state;
    spread(w, p, 6, on);
    was = session_of(w, name_of(0))->worker;
    for (int i = 1; i < 6; i++) /* now its worker is the only one with a load */
        pub_leave(w, &p[i], true);
    pub_leave(w, &p[0], false);
    pub_open(w, &again, name_of(0), NULL);
    pub_frames(w, &again, 3);
    steps(w);
    assert_int_equal(session_of(w, name_of(0))->worker, was);
    assert_int_equal(w->saids, 6);
    pub_leave(w, &again, true);
    world_close(w);
}

static void streams_of_a_dead_worker_go_to_the_others_and_those_stay(void **state)
{
    enum { N = 12 };
    struct world *w = world_open(3, "apps: {live: {publish: open}}\n");
    unsigned was[N], dead, now[WORKERS] = { 0 };
    struct pub p[N];
    int on[WORKERS];

    (void)state;
    spread(w, p, N, on);
    dead = session_of(w, name_of(0))->worker;
    for (int i = 0; i < N; i++)
        was[i] = session_of(w, name_of(i))->worker;
    for (int i = 0; i < w->conns; i++)
        if (w->conn[i].worker == (int)dead)
            hang_up(w, i);
    until(w, (pass_ms(w, 10), w->saids == N + on[dead]));
    for (int i = 0; i < N; i++) {
        unsigned at = session_of(w, name_of(i))->worker;

        if (was[i] == dead)
            assert_int_not_equal(at, dead);
        else
            assert_int_equal(at, was[i]);
        now[at]++;
    }
    for (int i = 0; i < 3; i++)
        assert_true(now[i] <= 7); /* ceil(1.1 * 12 / 2) */
    for (int i = 0; i < N; i++)
        pub_leave(w, &p[i], true);
    world_close(w);
}

static void with_one_worker_a_stream_comes_back_to_it(void **state)
{
    struct world *w = world_open(1, "apps: {live: {publish: open}}\n");
    struct pub p;

    (void)state;
    pub_open(w, &p, "live/show", NULL);
    pub_frames(w, &p, 2);
    until(w, w->saids == 1);
    for (int i = 0; i < 3; i++) {
        hang_up(w, w->said[i]->conn);
        until(w, (pass_ms(w, 100), w->saids == i + 2));
    }
    pub_leave(w, &p, true);
    world_close(w);
}

/* --- workers that hang --- */

static void a_silent_worker_is_left_and_reported(void **state)
{
    struct world *w = world_open(2, conf);
    struct said *s, *t;
    struct pub p;

    (void)state;
    pub_open(w, &p, "live/show", NULL);
    pub_frames(w, &p, 10);
    until(w, w->saids == 1);
    s = w->said[0];
    say_period(s, 0, 2000, 1, 1);
    say_open(s, 1, 2000);
    say_chunk(s, 1, 2000, 200, 6, "{\"x\":1}");
    pub_frames(w, &p, 60);
    say(s, RECORD_HEALTH, 0, "{\"speed\":1}"); /* a word is enough */
    pub_frames(w, &p, 90);
    assert_int_equal(w->saids, 1);
    assert_int_equal(w->hung[s->worker], 0);
    pub_frames(w, &p, 70);
    assert_int_equal(w->hung[s->worker], 1);
    until(w, (pass_ms(w, 10), w->saids == 2));
    t = w->said[1];
    assert_int_not_equal(t->worker, s->worker);
    assert_true(strlen(t->resume) > 0);
    until(w, s->closed);
    say_chunk(t, 1, 2200, 100, 9, "{}"); /* the same segment goes on */
    until(w, p.acked == 8);
    pub_leave(w, &p, true);
    world_close(w);
}

static void a_worker_has_no_need_to_speak_when_nothing_comes(void **state)
{
    struct world *w = world_open(1, conf);
    struct pub p;

    (void)state;
    pub_open(w, &p, "live/show", NULL);
    pub_frames(w, &p, 10);
    until(w, w->saids == 1);
    pass_ms(w, 20 * 1000);
    assert_int_equal(w->hung[0], 0);
    pub_frames(w, &p, 50); /* its silence counts from here */
    assert_int_equal(w->hung[0], 0);
    say(w->said[0], RECORD_HEALTH, 0, "{\"speed\":1}");
    pub_leave(w, &p, false);
    pass_ms(w, 10 * 1000);
    pub_open(w, &p, "live/show", NULL);
    pub_frames(w, &p, 50);
    assert_int_equal(w->hung[0], 0);
    assert_int_equal(w->saids, 1);
    pub_leave(w, &p, true);
    world_close(w);
}

static void a_broadcast_ends_though_its_worker_hangs(void **state)
{
    struct world *w = world_open(1, conf);
    struct pub p;

    (void)state;
    pub_open(w, &p, "live/show", NULL);
    pub_frames(w, &p, 10);
    until(w, w->saids == 1);
    say_period(w->said[0], 0, 2000, 1, 1);
    say_open(w->said[0], 1, 2000);
    say_chunk(w->said[0], 1, 2000, 200, 6, "{}");
    until(w, p.acked == 5);
    pub_leave(w, &p, true);
    pass_ms(w, 2000);
    assert_false(session_of(w, "live/show")->over);
    pass_ms(w, 3000);
    assert_true(session_of(w, "live/show")->over);
    assert_int_equal(w->hung[0], 1);
    pass_ms(w, 60 * 1000);
    until(w, (pass_ms(w, 100), session_of(w, "live/show") == NULL));
    world_close(w);
}

/* --- what the configuration says --- */

static void a_session_keeps_the_configuration_it_began_with(void **state)
{
    static const char other[] =
        "apps: {live: {publish: open, ladder: short}}\n"
        "encode: {chunk: 100ms, ladders: {short: {copy: true, segment: 1s}}}\n";
    struct world *w = world_open(1, "apps: {live: {publish: open}}\n");
    const struct conf *before = w->conf;
    struct conf *c;
    struct pub p;

    (void)state;
    pub_open(w, &p, "live/show", NULL);
    assert_int_equal(conf_parse("test", other, strlen(other), 2, &c, stderr), ST_OK);
    w->l.conf = w->conf = c;
    pub_frames(w, &p, 2);
    until(w, w->saids == 1);
    assert_int_equal(in_json(w->said[0]->ladder, "segment"), 2000);
    assert_int_equal(in_json(w->said[0]->ladder, "chunk"), 200);
    pub_leave(w, &p, true);
    pub_open(w, &p, "live/show", NULL);
    pub_frames(w, &p, 2);
    until(w, w->saids == 2);
    assert_int_equal(in_json(w->said[1]->ladder, "segment"), 1000);
    assert_int_equal(in_json(w->said[1]->ladder, "chunk"), 100);
    pub_leave(w, &p, true);
    conf_unref(&before);
    world_close(w);
}

/* --- keys that have expired --- */

static const struct door_claim with_key = { .has_key = true, .key = "0123456789abcde" };
static const struct door_claim with_expired = { .has_key = true,
                                                .key = "0123456789abcde",
                                                .expired = true };
static const struct door_claim with_another = { .has_key = true,
                                                .key = "another key....",
                                                .expired = true };

static void an_expired_key_opens_nothing(void **state)
{
    struct world *w = world_open(0, conf);
    struct pub p;

    (void)state;
    pub_claim(w, &p, "live/show", &with_expired);
    assert_int_equal(p.accepted, 0);
    assert_int_equal(p.why, DOOR_EXPIRED);
    assert_null(session_of(w, "live/show"));
    pub_leave(w, &p, false);
    world_close(w);
}

static void an_expired_key_may_return_into_its_own_session_only(void **state)
{
    struct world *w = world_open(0, conf);
    struct pub p, q;

    (void)state;
    pub_claim(w, &p, "live/show", &with_key);
    pub_claim(w, &q, "live/show", &with_another);
    assert_int_equal(q.why, DOOR_EXPIRED);
    assert_int_equal(p.closed, 0);
    pub_leave(w, &q, false);
    pub_leave(w, &p, false);
    pub_claim(w, &q, "live/show", &with_expired);
    assert_int_equal(q.accepted, 1);
    assert_string_equal(q.ticket.session, p.ticket.session);
    pub_leave(w, &q, true);
    pub_claim(w, &p, "live/show", &with_expired); /* it is over: that would be a new one */
    assert_int_equal(p.why, DOOR_EXPIRED);
    pub_leave(w, &p, true);
    world_close(w);
}

static void an_expired_key_is_good_after_the_home_was_killed_too(void **state)
{
    struct world *w = world_open(1, conf);
    struct ticket before = killed_session(w, &with_key);
    struct pub p;

    (void)state;
    pub_claim(w, &p, "live/show", &with_another);
    assert_int_equal(p.why, DOOR_EXPIRED);
    pub_leave(w, &p, false);
    pub_claim(w, &p, "live/show", &with_expired);
    assert_int_equal(p.accepted, 1);
    assert_string_equal(p.ticket.session, before.session);
    pub_leave(w, &p, true);
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
        cmocka_unit_test(a_home_that_was_killed_goes_on_with_its_sessions),
        cmocka_unit_test(after_the_reconnect_window_it_is_over),
        cmocka_unit_test(the_record_is_kept_fresh_while_somebody_publishes),
        cmocka_unit_test(a_broadcast_that_has_ended_leaves_no_record),
        cmocka_unit_test(a_ticket_and_a_record_of_one_session_are_joined),
        cmocka_unit_test(a_record_that_is_not_one_of_ours_is_ignored),
        cmocka_unit_test(what_nobody_came_back_for_is_swept_away),
        cmocka_unit_test(the_first_publisher_stays_where_the_oldest_wins),
        cmocka_unit_test(no_more_broadcasts_than_the_limit_says),
        cmocka_unit_test(a_kick_leaves_the_broadcast_waiting_and_a_ban_ends_it),
        cmocka_unit_test(a_slow_disk_does_not_bring_a_banned_broadcast_back),
        cmocka_unit_test(without_a_publisher_a_kicked_broadcast_ends_in_its_window),
        cmocka_unit_test(workers_get_their_share_and_a_tenth_at_most),
        cmocka_unit_test(a_stream_keeps_its_worker_while_it_works),
        cmocka_unit_test(streams_of_a_dead_worker_go_to_the_others_and_those_stay),
        cmocka_unit_test(with_one_worker_a_stream_comes_back_to_it),
        cmocka_unit_test(a_silent_worker_is_left_and_reported),
        cmocka_unit_test(a_worker_has_no_need_to_speak_when_nothing_comes),
        cmocka_unit_test(a_broadcast_ends_though_its_worker_hangs),
        cmocka_unit_test(a_session_keeps_the_configuration_it_began_with),
        cmocka_unit_test(an_expired_key_opens_nothing),
        cmocka_unit_test(an_expired_key_may_return_into_its_own_session_only),
        cmocka_unit_test(an_expired_key_is_good_after_the_home_was_killed_too),
        cmocka_unit_test(tickets_from_the_wire_are_looked_at),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
