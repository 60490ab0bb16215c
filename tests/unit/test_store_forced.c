/* The growing object under every interleaving we can name, and under many we cannot.
 *
 * Forced: for each scene, for each operation A of one loop, for each SYNC_POINT that A passes and
 * for each operation B of another loop, B runs in one piece while A stands at that point. At a
 * point where A holds a shard's lock only those B run that take none. Then everything is delivered
 * and finished, and the world must be right: every reader has its answer and the right bytes,
 * nothing and nobody is left over.
 *
 * Random: seeded steps of readers, fills and homes over three loops and a few keys, checked the
 * same way at every pause. A failure prints its seed; FRESHET_SEED=n runs that one alone,
 * FRESHET_ROUNDS=n more of them.
 *
 * What a reader checks for itself (store_world.h): its bytes are a prefix of the right content,
 * COMPLETE comes with all of them, it is woken in the order of parking and never after it left.
 */
#include "tests/unit/store_world.h"

enum { KIB = 1024, MIB = 1024 * 1024 };
enum { HOME, V, W, ANY, PARTIES };

/* ---------------------------------------------------------------- forced */

static const char K[] = "/k";
static struct reader reader[WORLD_LOOPS];

static struct fill *fill_on_k(void)
{
    struct gobj *o = lookup(K);
    struct fill *f = o != NULL ? fill_of(o) : NULL;

    gobj_unref(&o);
    return f != NULL ? f : w.fills;
}
static enum gobj_state fill_state(void) { return gobj_now(fill_on_k()->o).state; }
static bool filling(void) { return fill_on_k() != NULL && !fill_on_k()->refreshes; }
static bool listed(enum gobj_state s)
{
    struct gobj *o = lookup(K);
    bool is = o != NULL && gobj_now(o).state == s;

    gobj_unref(&o);
    return is;
}

/* the home */
static bool can_start(void) { return filling() && fill_state() == GOBJ_FETCHING; }
static void start(void) { fill_start(fill_on_k(), world_now_us + SEC_US); }
static bool can_append(void) { return filling() && fill_state() == GOBJ_STREAMING; }
static void append(void) { fill_append(fill_on_k(), 100); }
static void complete(void) { fill_complete(fill_on_k()); }
static bool can_fail(void) { return filling(); }
static void fail_fill(void) { fill_fail(fill_on_k()); }
static void negative(void) { fill_negative(fill_on_k()); }
static bool can_adopt(void) { return can_start() && gobj_prior(fill_on_k()->o) != NULL; }
static void adopt(void) { fill_adopt(fill_on_k(), world_now_us + SEC_US); }
static void resume(void)
{
    struct fill *f = fill_on_k();

    gobj_resuming(f->o);
    store_notify(f->o);
    gobj_resumed(f->o);
    store_notify(f->o);
}
static bool always(void) { return true; }
static void unlink_k(void) { unlink_key(K); }
static void announce(void)
{
    struct gobj *o = expect(K, HOME);

    gobj_unref(&o);
}
static void put_version(void) { publish(K, HOME, GOBJ_MEDIA, 70, world_now_us + SEC_US); }
static bool can_evict(void) { return listed(GOBJ_COMPLETE); }
static void evict(void)
{
    struct gobj *o = lookup(K);

    if (o->fifo != FIFO_NONE)
        evict_one(store_loop_of(&w.loop[HOME]), o);
    gobj_unref(&o);
}
static bool can_freshen(void) { return listed(GOBJ_COMPLETE); }
static void freshen(void)
{
    struct gobj *o = lookup(K);

    gobj_freshen(o, world_now_us + SEC_US);
    gobj_unref(&o);
}
static void turn_home(void) { turn(HOME); }

/* the viewers */
static bool idle(int loop) { return reader[loop].outcome != WAITING; }
static void ask(int loop, enum store_miss miss, bool revalidate)
{
    struct store_ask a = ask_for(K, HOME);

    a.miss = miss;
    a.revalidate = revalidate;
    reader_ask(&reader[loop], loop, &a);
}
static void stop(int loop)
{
    reader_leave(&reader[loop]);
    store_loop_stop(&w.loop[loop]);
    assert_int_equal(store_loop_start(w.s, &w.loop[loop]), ST_OK);
}
static void look(int loop)
{
    struct reader *r = &reader[loop];
    struct gobj_now now = gobj_now(view_gobj(r->v));

    view_hit(r->v);
    if (now.state >= GOBJ_STREAMING && now.state <= GOBJ_COMPLETE)
        reader_take(r, now.published);
}
#define VIEWER(X)                                                    \
    static bool X##_idle(void) { return idle(X); }                   \
    static bool X##_waits(void) { return !idle(X); }                 \
    static void X##_asks(void) { ask(X, STORE_FETCH, false); }       \
    static void X##_holds(void) { ask(X, STORE_HOLD, false); }       \
    static void X##_revalidates(void) { ask(X, STORE_FETCH, true); } \
    static void X##_leaves(void) { reader_leave(&reader[X]); }       \
    static void X##_looks(void) { look(X); }                         \
    static void X##_turns(void) { turn(X); }                         \
    static void X##_stops(void) { stop(X); }
VIEWER(V)
VIEWER(W)

/* any thread */
static void look_up(void)
{
    struct gobj *o = lookup(K);

    if (o != NULL)
        (void)gobj_now(o);
    gobj_unref(&o);
}
static void ask_refresh(void)
{
    struct gobj *o = lookup(K);

    if (o != NULL && gobj_now(o).state == GOBJ_COMPLETE)
        store_refresh(o);
    gobj_unref(&o);
}

static const struct op {
    const char *name;
    int party;
    bool lockless; /* may run while another party holds a shard's lock */
    bool (*can)(void);
    void (*run)(void);
} ops[] = {
    { "home starts", HOME, false, can_start, start },
    { "home appends", HOME, false, can_append, append },
    { "home completes", HOME, false, can_append, complete },
    { "home fails", HOME, false, can_fail, fail_fill },
    { "home says no", HOME, false, can_start, negative },
    { "home adopts", HOME, false, can_adopt, adopt },
    { "home resumes", HOME, false, can_append, resume },
    { "home unlinks", HOME, false, always, unlink_k },
    { "home announces", HOME, false, always, announce },
    { "home publishes", HOME, false, always, put_version },
    { "home evicts", HOME, false, can_evict, evict },
    { "home freshens", HOME, false, can_freshen, freshen },
    { "home turns", HOME, false, always, turn_home },
    { "V asks", V, false, V_idle, V_asks },
    { "V holds", V, false, V_idle, V_holds },
    { "V revalidates", V, false, V_idle, V_revalidates },
    { "V leaves", V, false, V_waits, V_leaves },
    { "V looks", V, true, V_waits, V_looks },
    { "V turns", V, false, always, V_turns },
    { "V stops", V, false, always, V_stops },
    { "W asks", W, false, W_idle, W_asks },
    { "W holds", W, false, W_idle, W_holds },
    { "W revalidates", W, false, W_idle, W_revalidates },
    { "W leaves", W, false, W_waits, W_leaves },
    { "W looks", W, true, W_waits, W_looks },
    { "W turns", W, false, always, W_turns },
    { "W stops", W, false, always, W_stops },
    { "somebody looks up", ANY, false, always, look_up },
    { "somebody refreshes", ANY, false, always, ask_refresh },
};
enum { OPS = sizeof ops / sizeof ops[0] };

/* --- scenes --- */

static void nothing(void) {}
static void fetching(void)
{
    W_asks();
    settle();
}
static void wanted(void) { W_asks(); } /* the letter is under way */
static void streaming(void)
{
    V_asks();
    W_asks();
    settle();
    start();
    append();
    settle();
}
static void streaming_with_letters(void)
{
    streaming();
    append();
}
static void idle_view(int loop)
{
    ask(loop, STORE_FETCH, false);
    assert_int_equal(reader[loop].outcome, DONE);
}
static void stale(void)
{
    put_version();
    idle_view(V);
    idle_view(W);
    world_now_us += 2 * SEC_US;
}
static void stale_replaced(void)
{
    stale();
    W_revalidates();
}
static void revalidating(void)
{
    stale_replaced();
    settle();
}
static void announced(void)
{
    announce();
    W_asks();
    settle();
}
static void announced_by_upstream(void)
{
    w.fetch_announced = true;
    announce();
    W_asks(); /* the letter is under way */
}
static void held(void)
{
    W_holds();
    settle();
}
static void no(void)
{
    fetching();
    negative();
    settle();
}
static void dead_and_growing(void)
{
    streaming();
    w.carry_on = true;
    unlink_k();
    settle();
}

static const struct scene {
    const char *name;
    void (*set)(void);
} scenes[] = {
    { "nothing", nothing },
    { "fetching", fetching },
    { "wanted", wanted },
    { "streaming", streaming },
    { "streaming with letters", streaming_with_letters },
    { "stale", stale },
    { "stale, replaced", stale_replaced },
    { "revalidating", revalidating },
    { "announced", announced },
    { "announced by upstream", announced_by_upstream },
    { "held", held },
    { "negative", no },
    { "dead and growing", dead_and_growing },
};
enum { SCENES = sizeof scenes / sizeof scenes[0] };

/* --- one run --- */

static const struct op *intruder;
static unsigned stop_at, points, ran;
static const char *stopped_at;
static void intrude(const char *point)
{
    if (points++ != stop_at)
        return;
    sync_hook = NULL;
    stopped_at = point;
    if ((locks_held == 0 || intruder->lockless) && intruder->can()) {
        intruder->run();
        ran++;
    }
    sync_hook = intrude;
}

static void finish(void)
{
    sync_hook = NULL;
    settle();
    for (int i = 0; i < WORLD_LOOPS; i++)
        assert_not_forgotten(&reader[i]);
    for (int i = 0; w.fills != NULL; i++) {
        struct fill *f = w.fills;

        assert_true(i < 20);
        if (f->refreshes) {
            fill_end(f);
            continue;
        }
        if (f->id == 0)
            fill_start(f, world_now_us + SEC_US);
        fill_append(f, 30);
        settle();
        fill_complete(f);
        settle();
    }
    if (listed(GOBJ_EXPECTED))
        unlink_k();
    settle();
    for (int i = 0; i < WORLD_LOOPS; i++) {
        assert_not_forgotten(&reader[i]);
        assert_int_not_equal(reader[i].outcome, WAITING);
    }
    assert_true(store_objects(w.s) <= 1);
    unlink_k();
    settle();
    assert_world_is_empty();
}

static void reset(void)
{
    memset(w.content, 0, (w.contents + 1) * sizeof w.content[0]);
    w.contents = 0;
    w.carry_on = w.fetch_announced = false;
    memset(reader, 0, sizeof reader);
}

/* Goes through A's points one by one; the number of runs. */
static unsigned force(const struct scene *scene, const struct op *a, const struct op *b)
{
    unsigned runs = 0;

    for (stop_at = 0;; stop_at++) {
        reset();
        scene->set();
        if (!a->can()) {
            finish();
            return runs;
        }
        points = 0;
        stopped_at = NULL;
        intruder = b;
        sync_hook = intrude;
        a->run();
        finish();
        runs++;
        if (points <= stop_at)
            return runs;
    }
}

static const struct op *doing_a, *doing_b;
static const struct scene *doing_in;
static void say_where(void)
{
    print_error("scene '%s': '%s' stands at %u (%s), '%s' runs\n", doing_in->name, doing_a->name,
                stop_at, stopped_at != NULL ? stopped_at : "its end", doing_b->name);
}

static void every_operation_at_every_point_of_every_other(void **state)
{
    unsigned runs = 0;

    (void)state;
    world_begin(64 * MIB, 16 * MIB, 256 * MIB);
    check_set_dump(say_where);
    ran = 0;
    for (size_t s = 0; s < SCENES; s++)
        for (size_t a = 0; a < OPS; a++)
            for (size_t b = 0; b < OPS; b++) {
                if (ops[a].party == ops[b].party && ops[a].party != ANY)
                    continue;
                doing_in = &scenes[s], doing_a = &ops[a], doing_b = &ops[b];
                runs += force(&scenes[s], &ops[a], &ops[b]);
            }
    check_set_dump(NULL);
    doing_in = NULL;
    print_message("%u runs, %u of them with an intrusion\n", runs, ran);
    assert_true(runs > 10000 && ran > 5000); /* the table is alive */
    world_end();
}

static int say_where_if_failed(void **state)
{
    (void)state;
    check_set_dump(NULL);
    if (doing_in != NULL)
        say_where();
    return 0;
}

/* ---------------------------------------------------------------- random */

enum { KEYS = 5, READERS = 14, DEPTH = 3 };

#ifdef __has_feature
    #if __has_feature(thread_sanitizer)
        #define SLOW_BUILD 1 /* one thread here: it has nothing to find */
    #endif
#endif
#ifdef SLOW_BUILD
enum { ROUNDS = 5 };
#else
enum { ROUNDS = 40 };
#endif

static uint64_t rnd_state;
static unsigned rnd(unsigned n)
{
    rnd_state = rnd_state * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
    return (unsigned)((rnd_state >> 33) % n);
}

static struct reader crowd[READERS];
static bool busy[WORLD_LOOPS]; /* in the middle of something */
static unsigned depth;

static const char *key_of(unsigned i)
{
    static const char *const key[KEYS] = { "/a", "/b", "/c", "/d", "/e" };

    return key[i];
}
static unsigned home_of(unsigned i) { return i % WORLD_LOOPS; }

static void reader_step(struct reader *r)
{
    unsigned k = rnd(KEYS);
    struct store_ask a = ask_for(key_of(k), home_of(k));

    if (r->outcome == WAITING) {
        if (rnd(4) == 0)
            reader_leave(r);
        else
            view_hit(r->v);
        return;
    }
    a.miss = rnd(4) == 0 ? STORE_HOLD : STORE_FETCH;
    a.revalidate = rnd(3) == 0;
    reader_ask(r, r->loop, &a);
}

static uint64_t soon(void) { return world_now_us + rnd(400) * MS_US; }

static void fill_step(struct fill *f)
{
    enum gobj_state s = gobj_now(f->o).state;
    unsigned what = rnd(10);

    if (f->refreshes) {
        if (what < 5)
            gobj_freshen(f->o, soon());
        fill_end(f);
    } else if (s == GOBJ_FETCHING && what < 2 && gobj_prior(f->o) != NULL) {
        fill_adopt(f, soon());
    } else if (s == GOBJ_FETCHING && what == 2) {
        fill_negative(f);
    } else if (what == 3 && rnd(3) == 0) {
        fill_fail(f);
    } else if (s == GOBJ_FETCHING) {
        fill_start(f, soon());
    } else if (s == GOBJ_RESUMING) {
        gobj_resumed(f->o);
        store_notify(f->o);
    } else if (what == 4) {
        gobj_resuming(f->o);
        store_notify(f->o);
    } else if (what < 7) {
        fill_append(f, 1 + rnd(20000));
    } else if (what == 7) {
        fill_complete(f);
    }
}

static void open_announced(struct gobj *o)
{
    if (gobj_now(o).state == GOBJ_EXPECTED && !store_was_held(o) && o->fill == NULL)
        fill_start(fill_new(o), soon());
}

static void home_step(unsigned k)
{
    struct loop *l = &w.loop[home_of(k)];
    struct gobj *o = lookup(key_of(k));

    switch (rnd(8)) {
    case 0:
        gobj_unref(&o);
        o = expect(key_of(k), home_of(k));
        break;
    case 1:
        publish(key_of(k), home_of(k), GOBJ_DOC, 1 + rnd(30000), soon());
        break;
    case 2:
        if (o != NULL)
            store_unlink(l, o);
        break;
    case 3:
        if (o != NULL)
            store_set_windowed(l, o, rnd(2) == 0);
        break;
    case 4:
        if (o != NULL && gobj_now(o).state == GOBJ_COMPLETE)
            store_unlink_at(l, o, soon());
        break;
    case 5:
        if (o != NULL && gobj_now(o).state == GOBJ_COMPLETE)
            store_refresh(o);
        break;
    default:
        if (o != NULL)
            open_announced(o);
        break;
    }
    gobj_unref(&o);
}

static void step(void);
static void step_at_a_point(const char *point)
{
    (void)point;
    if (locks_held == 0 && depth < DEPTH && rnd(6) == 0)
        step();
}

/* One operation of one loop that is not in the middle of another. */
static void step(void)
{
    unsigned what = rnd(12), k = rnd(KEYS), nth = rnd(4);
    struct reader *r = &crowd[rnd(READERS)];
    struct fill *f = w.fills;
    unsigned loop = rnd(WORLD_LOOPS);

    if (what < 4) {
        loop = (unsigned)r->loop;
    } else if (what < 8) {
        while (f != NULL && f->next != NULL && nth-- > 0)
            f = f->next;
        if (f == NULL)
            return;
        loop = gobj_home(f->o);
    } else if (what == 8) {
        loop = home_of(k);
    }
    if (busy[loop])
        return;
    busy[loop] = true;
    depth++;
    if (what < 4)
        reader_step(r);
    else if (what < 8)
        fill_step(f);
    else if (what == 8)
        home_step(k);
    else
        turn((int)loop);
    depth--;
    busy[loop] = false;
}

static void pause_and_check(bool time_passes)
{
    sync_hook = NULL;
    settle();
    if (time_passes)
        pass_time(rnd(600) * MS_US);
    for (unsigned i = 0; i < READERS; i++)
        assert_not_forgotten(&crowd[i]);
    sync_hook = step_at_a_point;
}

static void random_world(uint64_t seed)
{
    rnd_state = seed * 7919 + 1;
    world_begin(150 * KIB, 200 * KIB, rnd(2) ? MIB : 300 * KIB);
    w.carry_on = rnd(2) == 0;
    w.fetch_announced = rnd(2) == 0;
    memset(crowd, 0, sizeof crowd);
    for (unsigned i = 0; i < READERS; i++)
        crowd[i].loop = (int)(i % WORLD_LOOPS);
    for (unsigned i = 0; i < 2500; i++) {
        sync_hook = step_at_a_point;
        step();
        if (i % 50 == 49)
            pause_and_check(rnd(2) == 0);
    }
    pause_and_check(true);
    sync_hook = NULL;
    for (unsigned i = 0; i < READERS; i++)
        reader_leave(&crowd[i]);
    for (unsigned k = 0; k < KEYS; k++)
        unlink_key(key_of(k));
    settle();
    while (w.fills != NULL) {
        if (w.fills->refreshes)
            fill_end(w.fills);
        else
            fill_fail(w.fills);
    }
    settle();
    assert_world_is_empty();
    world_end();
}

static uint64_t running_seed;
static void say_seed(void) { print_error("FRESHET_SEED=%llu\n", (unsigned long long)running_seed); }

static void random_worlds_hold_every_promise(void **state)
{
    const char *one = getenv("FRESHET_SEED"), *rounds = getenv("FRESHET_ROUNDS");
    uint64_t from = one != NULL ? strtoull(one, NULL, 10) : 1;
    uint64_t n = one != NULL ? 1 : rounds != NULL ? strtoull(rounds, NULL, 10) : ROUNDS;

    (void)state;
    check_set_dump(say_seed);
    for (running_seed = from; running_seed < from + n; running_seed++)
        random_world(running_seed);
    check_set_dump(NULL);
    running_seed = 0;
}

static int say_seed_if_failed(void **state)
{
    (void)state;
    check_set_dump(NULL);
    if (running_seed != 0)
        say_seed();
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_teardown(every_operation_at_every_point_of_every_other,
                                  say_where_if_failed),
        cmocka_unit_test_teardown(random_worlds_hold_every_promise, say_seed_if_failed),
    };

    cmocka_set_test_filter(getenv("FRESHET_TEST")); /* NULL: all */
    return cmocka_run_group_tests(tests, NULL, NULL);
}
