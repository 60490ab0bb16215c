/* The growing object on real loops: three threads run loop_run() and do, in random order, what
 * loops do: ask, hold, revalidate, leave, look, fill, fail, announce, publish, unlink; with a byte
 * cap that evicts all the time. Then each loop lets go and stops while the others still work.
 *
 * Under TSan this proves the memory orders and the locks; under ASan the lifetimes. Each loop acts
 * by a letter that it posts to itself, so nothing sleeps; the run is bounded by a count.
 * FRESHET_ACTS=n makes it longer.
 */
#include <sched.h>

#include "tests/unit/store_world.h"

enum { KIB = 1024, KEYS = 6, CROWD = 8 };

struct job { /* a fill */
    struct job *next;
    struct gobj *o;
    unsigned id;
    bool refreshes;
};

struct actor {
    struct mail mail; /* to itself */
    struct loop *loop;
    uint64_t rnd;
    unsigned left;
    struct job *jobs;
    unsigned contents;
    struct guest {
        struct actor *actor;
        struct view *v;
        struct view_waiter waiter;
        struct gobj_cursor cursor;
        uint64_t got;
    } guest[CROWD];
    unsigned wakes, done;
    pthread_t thread;
};

static struct mem_pool pool;
static struct loop loops[WORLD_LOOPS];
static struct loop *loop_ptrs[WORLD_LOOPS];
static struct store *store;
static struct actor actors[WORLD_LOOPS];

/* Points widen the windows between threads. */
static _Thread_local unsigned passed;
static void yield_now_and_then(const char *point)
{
    (void)point;
    if (++passed % 7 == 0)
        (void)sched_yield();
}

static unsigned rnd(struct actor *a, unsigned n)
{
    a->rnd = a->rnd * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
    return (unsigned)((a->rnd >> 33) % n);
}

static struct actor *actor_of(const struct loop *l) { return &actors[l->index]; }

/* --- the fetcher --- */

static struct job *job_new(struct gobj *o, bool refreshes)
{
    struct actor *a = &actors[gobj_home(o)];
    struct job *j = calloc(1, sizeof *j);

    CHECK(j != NULL && *store_fill(o) == NULL);
    j->o = gobj_ref(o);
    j->refreshes = refreshes;
    j->next = a->jobs;
    a->jobs = j;
    *store_fill(o) = j;
    return j;
}

static void job_end(struct job *j)
{
    struct job **p = &actors[gobj_home(j->o)].jobs;

    while (*p != j)
        p = &(*p)->next;
    *p = j->next;
    *store_fill(j->o) = NULL;
    gobj_unref(&j->o);
    free(j);
}

static void job_fail(struct job *j)
{
    struct gobj *o = gobj_ref(j->o);
    bool refreshes = j->refreshes;

    job_end(j);
    if (!refreshes) {
        store_unlink(&loops[gobj_home(o)], o);
        gobj_fail(o);
        store_notify(o);
    }
    gobj_unref(&o);
}

static void say_no(struct gobj *o)
{
    const struct gobj_head h = { .status = 404, .length = -1 };

    CHECK(gobj_negative(o, &h) == ST_OK);
    store_notify(o);
    store_unlink_at(&loops[gobj_home(o)], o, loop_now(&loops[gobj_home(o)]) + 5 * MS_US);
}

static void hold_over(struct loop *l, struct timer *t)
{
    (void)l;
    say_no(CONTAINER_OF(t, struct gobj, timer));
}

static void want(void *ctx, struct loop *l, struct gobj *o)
{
    (void)ctx;
    if (gobj_now(o).state == GOBJ_FETCHING) {
        (void)job_new(o, false);
    } else if (store_was_held(o)) {
        if (!timer_is_set(store_timer(o))) {
            store_timer(o)->fire = hold_over;
            timer_set(l, store_timer(o), loop_now(l) + 10 * MS_US);
        }
    } else {
        gobj_fetching(o);
        (void)job_new(o, false);
    }
}

static void refresh(void *ctx, struct loop *l, struct gobj *o)
{
    (void)ctx, (void)l;
    (void)job_new(o, true);
}

static void unlinked(void *ctx, struct loop *l, struct gobj *o)
{
    struct job *j = *store_fill(o);

    (void)ctx;
    if (j->refreshes)
        job_end(j);
    else if (rnd(actor_of(l), 2) == 0)
        job_fail(j); /* or goes on for those who read it */
}

static const struct store_ops ops = { want, refresh, unlinked, NULL };

static void start(struct actor *a, struct gobj *o, unsigned *id)
{
    char etag[16];

    *id = (unsigned)(a->loop->index + WORLD_LOOPS * (int)++a->contents);
    const struct gobj_head h = head_of(*id, etag, sizeof etag, -1);
    CHECK(gobj_start(o, &h, loop_now(a->loop) + rnd(a, 20) * MS_US) == ST_OK);
}

static void finish(struct actor *a, struct gobj *o)
{
    CHECK(gobj_complete(o) == ST_OK);
    store_notify(o);
    store_completed(a->loop, o);
}

static void job_step(struct actor *a, struct job *j)
{
    enum gobj_state s = gobj_now(j->o).state;
    struct gobj *o = gobj_ref(j->o);
    unsigned what = rnd(a, 12);

    if (j->refreshes) {
        gobj_freshen(o, loop_now(a->loop) + 5 * MS_US);
        job_end(j);
    } else if (what == 0) {
        job_fail(j);
    } else if (s == GOBJ_FETCHING && gobj_prior(o) != NULL && what < 5) {
        CHECK(gobj_adopt_prior(o, loop_now(a->loop) + 5 * MS_US) == ST_OK);
        job_end(j);
        store_notify(o);
        store_completed(a->loop, o);
    } else if (s == GOBJ_FETCHING && what == 5) {
        job_end(j);
        say_no(o);
    } else if (s == GOBJ_FETCHING) {
        start(a, o, &j->id);
        store_notify(o);
    } else if (what < 9) {
        if (object_append(o, j->id, 1 + rnd(a, 9000)) == ST_OK)
            store_notify(o);
    } else {
        job_end(j);
        finish(a, o);
    }
    gobj_unref(&o);
}

/* --- the crowd --- */

static void guest_leave(struct guest *g)
{
    if (g->v == NULL)
        return;
    view_cancel(&g->waiter);
    drop_view(&g->v);
}

static void guest_read(struct guest *g)
{
    for (;;) {
        struct gobj *o = view_gobj(g->v);
        struct gobj_now now = gobj_now(o);

        if (now.state == GOBJ_STREAMING || now.state == GOBJ_COMPLETE) {
            unsigned id = (unsigned)strtoul(gobj_head(o)->etag + 1, NULL, 10);
            struct iovec v[4];
            int n;

            while ((n = gobj_span(o, &g->cursor, g->got, now.published, v, 4)) > 0)
                for (int i = 0; i < n; i++)
                    for (size_t k = 0; k < v[i].iov_len; k++)
                        CHECK(((uint8_t *)v[i].iov_base)[k] == content_byte(id, g->got++));
            CHECK(g->got == now.published);
        }
        bool over = now.state == GOBJ_EXPECTED && gobj_is_dead(o);
        if (now.state >= GOBJ_COMPLETE || over) {
            g->actor->done++;
            guest_leave(g);
            return;
        }
        if (view_wait(g->v, &g->waiter, now))
            return;
    }
}

static void guest_wake(struct view_waiter *waiter)
{
    struct guest *g = CONTAINER_OF(waiter, struct guest, waiter);

    CHECK(g->v != NULL);
    g->actor->wakes++;
    guest_read(g);
}

static struct store_ask random_ask(struct actor *a)
{
    static const char *const keys[KEYS] = { "/0", "/1", "/2", "/3", "/4", "/5" };
    unsigned k = rnd(a, KEYS);

    return (struct store_ask){ .key = keys[k],
                               .len = 2,
                               .hash = store_hash(store, keys[k], 2),
                               .home = k % WORLD_LOOPS,
                               .kind = GOBJ_OUTSIDE,
                               .miss = rnd(a, 4) == 0 ? STORE_HOLD : STORE_FETCH,
                               .now_us = loop_now(a->loop),
                               .revalidate = rnd(a, 2) == 0 };
}

static void guest_step(struct actor *a, struct guest *g)
{
    struct store_ask ask = random_ask(a);
    bool inserted;

    if (g->v != NULL) {
        if (rnd(a, 3) == 0)
            guest_leave(g);
        return;
    }
    *g = (struct guest){ .actor = a, .waiter.wake = guest_wake };
    CHECK(store_open(a->loop, &ask, &g->v, &inserted) == ST_OK);
    view_hit(g->v);
    guest_read(g);
}

/* --- the home --- */

static void publish_version(struct actor *a, const struct store_ask *ask)
{
    struct gobj *o = store_make(store, ask->key, ask->len, ask->hash, ask->home, GOBJ_DOC);
    unsigned id;

    CHECK(o != NULL);
    start(a, o, &id);
    if (object_append(o, id, 1 + rnd(a, 9000)) == ST_OK) {
        CHECK(gobj_complete(o) == ST_OK);
        store_publish(a->loop, o);
        store_completed(a->loop, o);
    }
    gobj_unref(&o);
}

static void home_step(struct actor *a)
{
    struct store_ask ask = random_ask(a);
    struct gobj *o;

    if (ask.home != (unsigned)a->loop->index)
        return;
    switch (rnd(a, 4)) {
    case 0:
        CHECK(store_expect(a->loop, ask.key, ask.len, ask.hash, ask.home, &o) == ST_OK);
        break;
    case 1:
        publish_version(a, &ask);
        return;
    default:
        o = store_lookup(store, ask.key, ask.len, ask.hash);
        if (o != NULL && rnd(a, 2) == 0)
            store_unlink(a->loop, o);
        break;
    }
    gobj_unref(&o);
}

static void peek(struct actor *a)
{
    struct store_ask ask = random_ask(a);
    struct gobj *o = store_lookup(store, ask.key, ask.len, ask.hash);

    if (o != NULL && gobj_now(o).state == GOBJ_COMPLETE)
        store_refresh(o);
    gobj_unref(&o);
}

/* --- acting --- */

/* After the last turn: letters that came in it may have begun fills. */
static void end_acting(struct actor *a)
{
    for (unsigned i = 0; i < CROWD; i++)
        guest_leave(&a->guest[i]);
    while (a->jobs != NULL)
        job_fail(a->jobs);
    store_loop_stop(a->loop);
}

static void act(struct loop *l, struct mail *m)
{
    struct actor *a = CONTAINER_OF(m, struct actor, mail);
    unsigned what = rnd(a, 10), nth = rnd(a, 4);
    struct job *j = a->jobs;

    if (a->left-- == 0) {
        loop_stop(l);
        return;
    }
    if (what < 5) {
        guest_step(a, &a->guest[rnd(a, CROWD)]);
    } else if (what < 8) {
        while (j != NULL && j->next != NULL && nth-- > 0)
            j = j->next;
        if (j != NULL)
            job_step(a, j);
    } else if (what == 8) {
        home_step(a);
    } else {
        peek(a);
    }
    mailbox_post(&l->mailbox, &a->mail);
}

static void *run(void *arg)
{
    struct actor *a = arg;

    CHECK(loop_run(a->loop) == ST_OK);
    end_acting(a);
    return NULL;
}

static void three_loops_at_once(void **state)
{
    const char *acts = getenv("FRESHET_ACTS");
    unsigned n = acts != NULL ? (unsigned)strtoul(acts, NULL, 10) : 30000;
    struct store_cfg cfg = { .cap_bytes = 60 * KIB, .object_bytes = 200 * KIB, .ops = &ops };
    unsigned wakes = 0, done = 0;

    (void)state;
    mem_pool_init(&pool, 600 * KIB);
    for (int i = 0; i < WORLD_LOOPS; i++) {
        loop_ptrs[i] = &loops[i];
        assert_int_equal(loop_init(&loops[i], i, WORLD_LOOPS), ST_OK);
    }
    store = store_new(&cfg, &pool, loop_ptrs, WORLD_LOOPS);
    assert_non_null(store);
    sync_hook = yield_now_and_then;
    for (int i = 0; i < WORLD_LOOPS; i++) {
        actors[i] = (struct actor){ .mail.deliver = act,
                                    .loop = &loops[i],
                                    .rnd = (uint64_t)i + 1,
                                    .left = n - (unsigned)i * n / 10 };
        assert_int_equal(store_loop_start(store, &loops[i]), ST_OK);
        mailbox_post(&loops[i].mailbox, &actors[i].mail);
    }
    for (int i = 0; i < WORLD_LOOPS; i++)
        assert_int_equal(pthread_create(&actors[i].thread, NULL, run, &actors[i]), 0);
    for (int i = 0; i < WORLD_LOOPS; i++)
        assert_int_equal(pthread_join(actors[i].thread, NULL), 0);
    sync_hook = NULL;
    for (int i = 0; i < WORLD_LOOPS; i++) {
        assert_int_equal(loop_turn_nowait(&loops[i]), ST_OK);
        wakes += actors[i].wakes;
        done += actors[i].done;
    }
    assert_true(wakes > n / 20 && done > n / 20); /* it was alive */
    store_free(&store);
    assert_int_equal(mem_pool_used(&pool), 0);
    for (int i = 0; i < WORLD_LOOPS; i++)
        loop_fini(&loops[i]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(three_loops_at_once),
    };

    cmocka_set_test_filter(getenv("FRESHET_TEST")); /* NULL: all */
    return cmocka_run_group_tests(tests, NULL, NULL);
}
