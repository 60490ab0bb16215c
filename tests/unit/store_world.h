/* tests/unit/store_world.h - the store with its insides open, and a world around it
 *
 * Purpose   includes the edge/ sources of the growing object, so that a test can run code at every
 *           SYNC_POINT, count letters, signals and locks, and read any field. Around them: loops
 *           that are turned by hand, a fetcher that does what it is told, and readers that check
 *           every byte they are given.
 * Bytes     content `id` has, at offset i, content_byte(id, i); the id travels in the ETag. Its
 *           final length is written in world.content[id] when the fill is complete, so a reader
 *           that is told COMPLETE knows how many bytes it must have seen.
 * Thread    one, but for what test_store_threads.c uses (the counters).
 */
#ifndef TESTS_UNIT_STORE_WORLD_H
#define TESTS_UNIT_STORE_WORLD_H

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <pthread.h>
#include <stdatomic.h>

#include "core/check.h"
#include "core/clock.h"
#include "core/hash.h"
#include "core/loop.h"
#include "core/mailbox.h"
#include "core/mem.h"

/* --- what the sources are made to tell us --- */

static void (*sync_hook)(const char *point);
static inline void sync_point(const char *point)
{
    if (sync_hook != NULL)
        sync_hook(point);
}
#define SYNC_POINT(name) sync_point(name)

static atomic_uint letters_pushed, signals_sent, flags_touched_plainly;
static _Thread_local unsigned locks_held;

static inline bool count_push(struct mailbox *mb, struct mail *m)
{
    (void)atomic_fetch_add(&letters_pushed, 1);
    return mailbox_push(mb, m);
}
static inline void count_signal(struct mailbox *mb)
{
    (void)atomic_fetch_add(&signals_sent, 1);
    mailbox_signal(mb);
}
static inline int count_lock(pthread_mutex_t *m)
{
    CHECK(locks_held == 0); /* never two together; and a test that would hang says so */
    int r = pthread_mutex_lock(m);
    locks_held++;
    return r;
}
static inline int count_unlock(pthread_mutex_t *m)
{
    locks_held--;
    return pthread_mutex_unlock(m);
}
static inline void note_plain(int is_flag)
{
    if (is_flag)
        (void)atomic_fetch_add(&flags_touched_plainly, 1);
}

/* Every atomic_int in these sources is a flag or a count that two sides change: exchanges and
 * fetch-and-add only. A plain load or store of one is noted. */
#define IS_FLAG(p) _Generic((p), atomic_int * : 1, const atomic_int * : 1, default : 0)
#undef atomic_load_explicit
#undef atomic_store_explicit
#ifdef __clang__
    #define atomic_load_explicit(p, mo) (note_plain(IS_FLAG(p)), __c11_atomic_load(p, mo))
    #define atomic_store_explicit(p, v, mo) (note_plain(IS_FLAG(p)), __c11_atomic_store(p, v, mo))
#else
    #define atomic_load_explicit(p, mo) (note_plain(IS_FLAG(p)), __atomic_load_n(p, mo))
    #define atomic_store_explicit(p, v, mo) (note_plain(IS_FLAG(p)), __atomic_store_n(p, v, mo))
    #undef atomic_init
    #define atomic_init(p, v) __atomic_store_n(p, v, __ATOMIC_RELAXED)
#endif
#define mailbox_push(mb, m) count_push(mb, m)
#define mailbox_signal(mb) count_signal(mb)
#define pthread_mutex_lock(m) count_lock(m)
#define pthread_mutex_unlock(m) count_unlock(m)

#include "edge/evict.c"
#include "edge/gobj.c"
#include "edge/store.c"
#include "edge/view.c"
#define find_locked stream_find_locked
#define bucket_of stream_bucket_of
#include "edge/stream.c"
#undef find_locked
#undef bucket_of
#undef mailbox_push
#undef mailbox_signal
#undef pthread_mutex_lock
#undef pthread_mutex_unlock

/* --- the world --- */

enum { WORLD_LOOPS = 3, WORLD_CONTENTS = 1 << 16, WORLD_KEY_MAX = 32, WORLD_WOKEN = 1 << 12 };
enum { WORLD_HOLD_US = 1500000, WORLD_NEGATIVE_US = 500000 };

struct fill {
    struct fill *next;
    struct gobj *o; /* a reference */
    unsigned id;    /* content; 0: not started */
    bool refreshes; /* o is COMPLETE and was stale */
};

struct world {
    struct mem_pool pool;
    struct loop loop[WORLD_LOOPS];
    struct loop *loops[WORLD_LOOPS];
    struct store *s;
    struct fill *fills;
    bool fetch_announced; /* an announced object that is wanted is fetched (SUBSCRIBED) */
    bool carry_on;        /* fills outlive the unlinking of their object */
    unsigned wants, refreshes, unlinked, evicted, held_over;
    uint64_t content[WORLD_CONTENTS]; /* final length + 1; 0: growing or never finished */
    unsigned contents;
    struct woken {
        const struct view *v;
        uint64_t last; /* parked_as of the reader that was woken last */
    } woken[WORLD_WOKEN];
};

static struct world w;
static uint64_t world_now_us = 1000 * SEC_US;
static inline uint64_t world_mono(void) { return world_now_us; }
static inline int64_t world_wall(void) { return (int64_t)world_now_us; }
static const struct clock_source world_clock = { world_mono, world_wall };

static inline uint8_t content_byte(unsigned id, uint64_t off)
{
    return (uint8_t)(id * 31 + off * 7 + (off >> 8));
}

/* --- the fetcher --- */

static inline struct fill *fill_of(const struct gobj *o) { return o->fill; }

static inline struct fill *fill_new(struct gobj *o)
{
    struct fill *f = calloc(1, sizeof *f);

    assert_non_null(f);
    assert_null(o->fill); /* one fill per object */
    f->o = gobj_ref(o);
    f->refreshes = gobj_now(o).state == GOBJ_COMPLETE;
    f->next = w.fills;
    w.fills = f;
    o->fill = f;
    return f;
}

static inline void fill_end(struct fill *f)
{
    struct fill **p = &w.fills;

    while (*p != f)
        p = &(*p)->next;
    *p = f->next;
    f->o->fill = NULL;
    gobj_unref(&f->o);
    free(f);
}

static inline struct loop *home_loop(const struct gobj *o) { return &w.loop[gobj_home(o)]; }

static inline struct gobj_head head_of(unsigned id, char *etag, size_t size, int64_t length)
{
    (void)snprintf(etag, size, "\"%u\"", id);
    return (struct gobj_head){ .status = 200, .length = length, .etag = etag };
}

static inline void object_start(struct gobj *o, unsigned *id, int64_t length, uint64_t fresh)
{
    char etag[16];

    *id = ++w.contents;
    assert_true(*id < WORLD_CONTENTS);
    struct gobj_head h = head_of(*id, etag, sizeof etag, length);
    assert_int_equal(gobj_start(o, &h, fresh), ST_OK);
}

static inline enum st object_append(struct gobj *o, unsigned id, size_t n)
{
    uint64_t at = gobj_now(o).published;
    uint8_t *p = malloc(n + (n == 0)); /* exact size: an over-read is seen */

    assert_non_null(p);
    for (size_t i = 0; i < n; i++)
        p[i] = content_byte(id, at + i);
    enum st st = gobj_append(o, p, n);
    free(p);
    return st;
}

static inline void object_complete(struct gobj *o, unsigned id)
{
    w.content[id] = gobj_now(o).published + 1;
    assert_int_equal(gobj_complete(o), ST_OK);
}

static inline void fill_start(struct fill *f, uint64_t fresh_us)
{
    object_start(f->o, &f->id, -1, fresh_us);
    store_notify(f->o);
}

static inline void fill_append(struct fill *f, size_t n)
{
    if (object_append(f->o, f->id, n) == ST_OK)
        store_notify(f->o);
}

static inline void fill_complete(struct fill *f)
{
    struct gobj *o = gobj_ref(f->o);

    object_complete(o, f->id);
    fill_end(f);
    store_notify(o);
    store_completed(home_loop(o), o);
    gobj_unref(&o);
}

static inline void fill_adopt(struct fill *f, uint64_t fresh_us)
{
    struct gobj *o = gobj_ref(f->o);

    assert_int_equal(gobj_adopt_prior(o, fresh_us), ST_OK);
    fill_end(f);
    store_notify(o);
    store_completed(home_loop(o), o);
    gobj_unref(&o);
}

static inline void fill_fail(struct fill *f)
{
    struct gobj *o = gobj_ref(f->o);

    fill_end(f);
    store_unlink(home_loop(o), o);
    gobj_fail(o);
    store_notify(o);
    gobj_unref(&o);
}

static inline void object_negative(struct gobj *o)
{
    const struct gobj_head h = { .status = 404, .length = -1 };

    assert_int_equal(gobj_negative(o, &h), ST_OK);
    store_notify(o);
    store_unlink_at(home_loop(o), o, world_now_us + WORLD_NEGATIVE_US);
}

static inline void fill_negative(struct fill *f)
{
    struct gobj *o = gobj_ref(f->o);

    fill_end(f);
    object_negative(o);
    gobj_unref(&o);
}

static inline void hold_is_over(struct loop *l, struct timer *t)
{
    struct gobj *o = CONTAINER_OF(t, struct gobj, timer);

    (void)l;
    assert_true(store_was_held(o)); /* an announced one has no such deadline */
    w.held_over++;
    object_negative(o);
}

static inline void on_want(void *ctx, struct loop *l, struct gobj *o)
{
    assert_ptr_equal(ctx, &w);
    assert_ptr_equal(l, home_loop(o));
    if (gobj_now(o).state == GOBJ_FETCHING) {
        w.wants++;
        (void)fill_new(o);
        return;
    }
    assert_int_equal(gobj_now(o).state, GOBJ_EXPECTED);
    assert_false(gobj_is_dead(o));
    if (store_was_held(o)) {
        if (timer_is_set(store_timer(o)))
            return;
        store_timer(o)->fire = hold_is_over;
        timer_set(l, store_timer(o), world_now_us + WORLD_HOLD_US);
    } else if (w.fetch_announced) {
        w.wants++;
        gobj_fetching(o);
        (void)fill_new(o);
    }
}

static inline void on_refresh(void *ctx, struct loop *l, struct gobj *o)
{
    assert_ptr_equal(ctx, &w);
    assert_ptr_equal(l, home_loop(o));
    assert_int_equal(gobj_now(o).state, GOBJ_COMPLETE);
    w.refreshes++; /* another loop may replace it at this moment: then on_unlinked() follows */
    (void)fill_new(o);
}

static inline void on_unlinked(void *ctx, struct loop *l, struct gobj *o)
{
    struct fill *f = o->fill;

    assert_ptr_equal(ctx, &w);
    assert_ptr_equal(l, home_loop(o));
    assert_true(gobj_is_dead(o));
    assert_ptr_equal(f->o, o);
    w.unlinked++;
    if (f->refreshes)
        fill_end(f);
    else if (!w.carry_on)
        fill_fail(f);
}

static inline void on_evicted(void *ctx, struct loop *l, struct gobj *o, bool capacity)
{
    assert_ptr_equal(ctx, &w);
    assert_ptr_equal(l, home_loop(o));
    assert_true(capacity);
    w.evicted++;
}

static const struct store_ops world_ops = { on_want, on_refresh, on_unlinked, on_evicted };

/* --- beginning, passing of time, end --- */

static inline void world_begin(uint64_t cap_bytes, uint64_t object_bytes, uint64_t pool_bytes)
{
    struct store_cfg cfg = {
        .cap_bytes = cap_bytes, .object_bytes = object_bytes, .ops = &world_ops, .ctx = &w
    };

    memset(&w, 0, sizeof w);
    sync_hook = NULL;
    clock_use(&world_clock);
    mem_pool_init(&w.pool, pool_bytes);
    for (int i = 0; i < WORLD_LOOPS; i++) {
        w.loops[i] = &w.loop[i];
        assert_int_equal(loop_init(&w.loop[i], i, WORLD_LOOPS), ST_OK);
    }
    w.s = store_new(&cfg, &w.pool, w.loops, WORLD_LOOPS);
    assert_non_null(w.s);
    for (int i = 0; i < WORLD_LOOPS; i++)
        assert_int_equal(store_loop_start(w.s, &w.loop[i]), ST_OK);
}

static inline void turn(int loop) { assert_int_equal(loop_turn_nowait(&w.loop[loop]), ST_OK); }

static inline bool loop_is_quiet(const struct loop *l)
{
    return atomic_load(&l->mailbox.newest) == NULL && l->graves == NULL;
}

/* Turns the loops that have letters or graves until none has. */
static inline void settle(void)
{
    unsigned quiet = 0;

    for (int i = 0; quiet < WORLD_LOOPS; i++) {
        assert_true(i < 300);
        if (loop_is_quiet(&w.loop[i % WORLD_LOOPS])) {
            quiet++;
            continue;
        }
        quiet = 0;
        turn(i % WORLD_LOOPS);
    }
}

static inline void pass_time(uint64_t us)
{
    world_now_us += us;
    for (int i = 0; i < WORLD_LOOPS; i++) {
        (void)loop_touch(&w.loop[i]);
        timer_wheel_sweep(&w.loop[i]);
    }
    settle();
}

static inline size_t world_views(void)
{
    size_t n = 0;

    for (int i = 0; i < WORLD_LOOPS; i++)
        n += store_loop_of(&w.loop[i])->all_views;
    return n;
}

static inline void assert_world_is_empty(void)
{
    assert_null(w.fills);
    assert_int_equal(mem_pool_used(&w.pool), 0);
    assert_int_equal(store_objects(w.s), 0);
    assert_int_equal(store_cache_bytes(w.s), 0);
    assert_int_equal(atomic_load(&w.s->evictable_bytes), 0);
    assert_int_equal(world_views(), 0);
    assert_int_equal(locks_held, 0);
}

static inline void world_end(void)
{
    sync_hook = NULL;
    while (w.fills != NULL)
        fill_end(w.fills);
    for (int i = 0; i < WORLD_LOOPS; i++)
        if (store_loop_of(&w.loop[i]) != NULL)
            store_loop_stop(&w.loop[i]);
    settle();
    store_free(&w.s);
    assert_null(w.s);
    assert_int_equal(mem_pool_used(&w.pool), 0);
    for (int i = 0; i < WORLD_LOOPS; i++)
        loop_fini(&w.loop[i]);
    clock_use(NULL);
}

/* --- asking --- */

static inline struct store_ask ask_for(const char *key, unsigned home)
{
    return (struct store_ask){ .key = key,
                               .len = strlen(key),
                               .hash = store_hash(w.s, key, strlen(key)),
                               .home = home,
                               .kind = GOBJ_MEDIA,
                               .miss = STORE_FETCH,
                               .now_us = world_now_us };
}

static inline struct gobj *lookup(const char *key)
{
    return store_lookup(w.s, key, strlen(key), store_hash(w.s, key, strlen(key)));
}

static inline struct view *find(int loop, const char *key)
{
    return view_find(&w.loop[loop], key, strlen(key), store_hash(w.s, key, strlen(key)));
}

static inline void unlink_key(const char *key)
{
    struct gobj *o = lookup(key);

    if (o == NULL)
        return;
    store_unlink(home_loop(o), o);
    gobj_unref(&o);
}

static inline struct gobj *expect(const char *key, unsigned home)
{
    struct gobj *o = NULL;

    assert_int_equal(
        store_expect(&w.loop[home], key, strlen(key), store_hash(w.s, key, strlen(key)), home, &o),
        ST_OK);
    return o;
}

/* A whole object, listed at once, as a document or a recorded segment is. */
static inline void publish(const char *key, unsigned home, enum gobj_kind kind, size_t n,
                           uint64_t fresh_us)
{
    struct gobj *o =
        store_make(w.s, key, strlen(key), store_hash(w.s, key, strlen(key)), home, kind);
    unsigned id;

    assert_non_null(o);
    object_start(o, &id, (int64_t)n, fresh_us);
    if (object_append(o, id, n) != ST_OK) { /* the cap: the old version stays */
        gobj_unref(&o);
        return;
    }
    object_complete(o, id);
    store_publish(&w.loop[home], o);
    store_completed(&w.loop[home], o);
    gobj_unref(&o);
}

/* --- readers --- */

enum outcome { IDLE, WAITING, DONE, NOT_FOUND, ABORTED, ASK_AGAIN };

struct reader {
    int loop;
    struct view *v; /* a reference while WAITING */
    struct view_waiter waiter;
    struct gobj_now seen;
    struct gobj_cursor cursor;
    unsigned id; /* content, once its head is there */
    uint64_t got;
    uint64_t parked_as; /* rises with every parking anywhere */
    unsigned wakes;
    enum outcome outcome;
    void (*on_wake)(struct reader *r); /* instead of reading on */
};

static inline void drop_view(struct view **vp)
{
    struct own *own = view_own(*vp);

    *vp = NULL;
    own_unref(&own);
}

static inline void reader_end(struct reader *r, enum outcome how)
{
    r->outcome = how;
    view_cancel(&r->waiter);
    drop_view(&r->v);
}

static inline void reader_take(struct reader *r, uint64_t published)
{
    const struct gobj *o = view_gobj(r->v);

    if (r->id == 0) {
        r->id = (unsigned)strtoul(gobj_head(o)->etag + 1, NULL, 10);
        assert_true(r->id > 0 && r->id <= w.contents);
    }
    while (r->got < published) {
        struct iovec v[3];
        int n = gobj_span(o, &r->cursor, r->got, published, v, 3);

        assert_true(n > 0);
        for (int i = 0; i < n; i++)
            for (size_t k = 0; k < v[i].iov_len; k++)
                if (((uint8_t *)v[i].iov_base)[k] != content_byte(r->id, r->got++))
                    fail_msg("wrong byte at %llu", (unsigned long long)(r->got - 1));
    }
}

/* Wakes come in the order of parking, on each view. Numbers only rise, so a view in the memory of
 * one that is gone passes too. */
static inline void check_order(const struct reader *r, const struct view *v)
{
    struct woken *at = &w.woken[((uintptr_t)v >> 4) % WORLD_WOKEN];

    if (at->v == v)
        assert_true(r->parked_as > at->last);
    at->v = v;
    at->last = r->parked_as;
}

static inline void reader_run(struct reader *r)
{
    static uint64_t parkings;

    for (;;) {
        struct gobj *o = view_gobj(r->v);

        r->seen = gobj_now(o);
        switch (r->seen.state) {
        case GOBJ_STREAMING:
        case GOBJ_RESUMING:
            reader_take(r, r->seen.published);
            break;
        case GOBJ_COMPLETE:
            reader_take(r, r->seen.published);
            assert_int_equal(r->got + 1, w.content[r->id]); /* all of it, and no more */
            reader_end(r, DONE);
            return;
        case GOBJ_NEGATIVE:
            assert_int_equal(gobj_head(o)->status, 404);
            reader_end(r, NOT_FOUND);
            return;
        case GOBJ_FAILED:
            reader_end(r, ABORTED);
            return;
        case GOBJ_EXPECTED:
            if (gobj_is_dead(o)) {
                reader_end(r, ASK_AGAIN);
                return;
            }
            break;
        case GOBJ_FETCHING:
            break;
        }
        r->parked_as = ++parkings;
        if (view_wait(r->v, &r->waiter, r->seen))
            return;
    }
}

static inline void reader_wake(struct view_waiter *waiter)
{
    struct reader *r = CONTAINER_OF(waiter, struct reader, waiter);

    assert_int_equal(r->outcome, WAITING); /* nobody is woken after it has left */
    assert_null(waiter->on);
    check_order(r, r->v);
    r->wakes++;
    if (r->on_wake != NULL)
        r->on_wake(r);
    else
        reader_run(r);
}

static inline void reader_ask(struct reader *r, int loop, const struct store_ask *ask)
{
    bool inserted;

    assert_int_not_equal(r->outcome, WAITING);
    *r = (struct reader){ .loop = loop, .outcome = WAITING, .on_wake = r->on_wake };
    r->waiter.wake = reader_wake;
    assert_int_equal(store_open(&w.loop[loop], ask, &r->v, &inserted), ST_OK);
    view_hit(r->v);
    reader_run(r);
}

static inline void reader_begin(struct reader *r, int loop, const char *key, unsigned home)
{
    struct store_ask ask = ask_for(key, home);

    reader_ask(r, loop, &ask);
}

static inline void reader_leave(struct reader *r)
{
    if (r->outcome == WAITING)
        reader_end(r, IDLE);
}

/* Everything has been delivered: a reader still waits only for what has not happened. */
static inline void assert_not_forgotten(const struct reader *r)
{
    struct gobj_now now;

    if (r->outcome != WAITING)
        return;
    now = gobj_now(view_gobj(r->v));
    if (!(r->seen.state == GOBJ_EXPECTED && now.state == GOBJ_FETCHING)) /* nothing to see */
        assert_int_equal(now.state, r->seen.state);
    assert_int_equal(now.published, r->seen.published);
    assert_false(now.state == GOBJ_EXPECTED && gobj_is_dead(view_gobj(r->v)));
}

#endif
