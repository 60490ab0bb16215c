#include "edge/store.h"

#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "core/check.h"
#include "core/clock.h"
#include "core/hash.h"
#include "edge/store_int.h"
#include "edge/stream.h"

enum { STORE_MAGIC = 0x5703e0aa };

/* --- life --- */

struct store *store_new(const struct store_cfg *cfg, struct mem_pool *pool,
                        struct loop *const *loops, unsigned n_loops)
{
    struct store *s = aligned_alloc(64, (sizeof *s + 63) / 64 * 64);

    if (s == NULL)
        return NULL;
    memset(s, 0, sizeof *s);
    OBJ_INIT(s, STORE_MAGIC);
    CHECK(n_loops > 0 && n_loops <= STORE_LOOPS_MAX);
    s->cfg = *cfg;
    if (getrandom(&s->seed, sizeof s->seed, 0) != (ssize_t)sizeof s->seed)
        s->seed = (uint64_t)clock_wall_us(); /* weaker against flooding, nothing else */
    s->loops = loops;
    s->n_loops = n_loops;
    s->pool = pool;
    store_set_limits(s, cfg->cap_bytes, cfg->object_bytes);
    for (size_t i = 0; i < SHARDS; i++)
        (void)pthread_mutex_init(&s->shard[i].lock, NULL);
    s->streams = stream_table_new();
    s->trim = calloc(n_loops, sizeof *s->trim);
    if (s->streams == NULL || s->trim == NULL)
        store_free(&s);
    return s;
}

/* What only the home keeps of an object, undone when it has left the index. */
static void home_cleanup(struct store_loop *sl, struct gobj *o)
{
    CHECK(o->home == sl->loop->index);
    timer_cancel(sl->loop, &o->timer);
    evict_forget(sl, o);
}

static void let_go(struct loop *l, struct gobj *o, bool end_fill)
{
    const struct store_cfg *cfg = &o->store->cfg;

    home_cleanup(store_loop_of(l), o);
    if (o->fill != NULL && end_fill)
        cfg->ops->unlinked(cfg->ctx, l, o);
}

/* The version that o replaced, which another loop may have taken out of the index on its home's
 * behalf: the home's queue and timer must not keep it when its last reference goes. */
void store_settle_prior(struct gobj *o)
{
    struct loop *l = o->store->loops[o->home];

    if (o->prior != NULL && store_loop_of(l) != NULL)
        let_go(l, o->prior, true);
}

/* The loops have ended: their part of every object can be undone from here. */
static void free_bucket(struct store *s, struct gobj **bucket)
{
    while (*bucket != NULL) {
        struct gobj *o = *bucket;

        *bucket = o->bucket_next;
        CHECK(o->views == NULL && o->fifo == FIFO_NONE);
        o->listed = false;
        (void)atomic_fetch_sub_explicit(&s->objects, 1, memory_order_relaxed);
        gobj_unref(&o);
    }
}

void store_free(struct store **sp)
{
    struct store *s = *sp;

    *sp = NULL;
    if (s == NULL)
        return;
    OBJ_CHECK(s, STORE_MAGIC);
    for (unsigned i = 0; i < s->n_loops; i++) /* letters hold references: see the header */
        CHECK(atomic_load_explicit(&s->loops[i]->mailbox.newest, memory_order_acquire) == NULL);
    stream_table_free(&s->streams);
    for (size_t i = 0; i < SHARDS; i++) {
        for (size_t k = 0; k < SHARD_BUCKETS; k++)
            free_bucket(s, &s->shard[i].bucket[k]);
        (void)pthread_mutex_destroy(&s->shard[i].lock);
    }
    free(s->trim);
    OBJ_FINI(s, STORE_MAGIC);
    free(s);
}

enum st store_loop_start(struct store *s, struct loop *l)
{
    struct store_loop *sl = calloc(1, sizeof *sl);

    OBJ_CHECK(s, STORE_MAGIC);
    CHECK(l->slot[LOOP_STORE] == NULL);
    if (sl == NULL)
        return ST_ENOMEM;
    sl->store = s;
    sl->loop = l;
    sl->buckets = VIEW_BUCKETS_MIN;
    sl->table = calloc(sl->buckets, sizeof(struct view *));
    if (sl->table == NULL || evict_init(sl) != ST_OK) {
        free(sl->table);
        free(sl);
        return ST_ENOMEM;
    }
    l->slot[LOOP_STORE] = sl;
    return ST_OK;
}

/* Objects whose home is here stay in the index for the other loops, without their home's timers
 * and queues: nobody will fill or evict them any more, and store_free() lets go of them. */
static void orphan_my_objects(struct store_loop *sl)
{
    struct store *s = sl->store;

    for (size_t i = 0; i < SHARDS; i++) {
        struct shard *sh = &s->shard[i];

        (void)pthread_mutex_lock(&sh->lock);
        for (size_t k = 0; k < SHARD_BUCKETS; k++)
            for (struct gobj *o = sh->bucket[k]; o != NULL; o = o->bucket_next)
                if (o->home == sl->loop->index) {
                    home_cleanup(sl, o);
                    if (o->prior != NULL)
                        home_cleanup(sl, o->prior);
                }
        (void)pthread_mutex_unlock(&sh->lock);
    }
}

void store_loop_stop(struct loop *l)
{
    struct store_loop *sl = store_loop_of(l);

    sl->stopping = true;
    view_drop_loop(sl);
    orphan_my_objects(sl);
    /* Views whose letters are on the way are freed by them. The letters are here, if not always
     * their signals, and no new one can start. */
    for (int round = 0; round == 0 || sl->all_views > 0; round++) {
        CHECK(round < 3); /* somebody on this loop still holds a view */
        (void)mailbox_drain(&l->mailbox, l);
        CHECK(loop_turn_nowait(l) == ST_OK);
    }
    evict_fini(sl);
    free(sl->table);
    free(sl);
    l->slot[LOOP_STORE] = NULL;
}

void store_set_limits(struct store *s, uint64_t cap_bytes, uint64_t object_bytes)
{
    atomic_store_explicit(&s->cap_bytes, cap_bytes, memory_order_relaxed);
    atomic_store_explicit(&s->object_limit_bytes, object_bytes, memory_order_relaxed);
}

uint64_t store_hash(const struct store *s, const char *key, size_t len)
{
    return hash64(key, len, s->seed);
}

unsigned store_home(const struct store *s, uint64_t hash)
{
    return (unsigned)((hash >> 32) % s->n_loops);
}

uint64_t store_cache_bytes(const struct store *s)
{
    return atomic_load_explicit(&s->cache_bytes, memory_order_relaxed);
}
uint64_t store_objects(const struct store *s)
{
    return atomic_load_explicit(&s->objects, memory_order_relaxed);
}

/* --- the index --- */

static struct gobj **bucket_of(struct store *s, uint64_t hash)
{
    return &store_shard(s, hash)->bucket[(hash / SHARDS) % SHARD_BUCKETS];
}

static struct gobj *find_locked(struct store *s, const char *key, size_t len, uint64_t hash)
{
    for (struct gobj *o = *bucket_of(s, hash); o != NULL; o = o->bucket_next)
        if (o->hash == hash && o->key_len == len && memcmp(o->key, key, len) == 0)
            return o;
    return NULL;
}

/* The index takes a reference. */
static void insert_locked(struct store *s, struct gobj *o)
{
    struct gobj **b = bucket_of(s, o->hash);

    CHECK_SLOW(find_locked(s, o->key, o->key_len, o->hash) == NULL);
    o->bucket_next = *b;
    *b = gobj_ref(o);
    o->listed = true;
    (void)atomic_fetch_add_explicit(&s->objects, 1, memory_order_relaxed);
}

/* The index's reference is the caller's now. Its viewers are told: an idle view lets go, a waiter
 * of an EXPECTED object asks again. */
static void remove_locked(struct store *s, struct gobj *o, uint64_t *signal)
{
    struct gobj **p = bucket_of(s, o->hash);

    while (*p != o) {
        CHECK(*p != NULL); /* a listed object is in its bucket */
        p = &(*p)->bucket_next;
    }
    *p = o->bucket_next;
    o->bucket_next = NULL;
    o->listed = false;
    (void)atomic_fetch_sub_explicit(&s->objects, 1, memory_order_relaxed);
    atomic_store_explicit(&o->dead, true, memory_order_release);
    view_push_all_locked(o, signal);
}

enum { SIGNAL_WORDS = STORE_LOOPS_MAX / 64 };

static void send_signals(struct store *s, const uint64_t *signal)
{
    SYNC_POINT("signal:before");
    for (unsigned w = 0; w < SIGNAL_WORDS; w++)
        for (uint64_t bits = signal[w]; bits != 0; bits &= bits - 1)
            mailbox_signal(&s->loops[w * 64 + (unsigned)__builtin_ctzll(bits)]->mailbox);
}

void store_notify(struct gobj *o)
{
    struct shard *sh = store_shard(o->store, o->hash);
    uint64_t signal[SIGNAL_WORDS] = { 0 };

    SYNC_POINT("notify:before");
    (void)pthread_mutex_lock(&sh->lock);
    view_push_all_locked(o, signal);
    (void)pthread_mutex_unlock(&sh->lock);
    send_signals(o->store, signal);
}

struct gobj *store_lookup(struct store *s, const char *key, size_t len, uint64_t hash)
{
    struct shard *sh = store_shard(s, hash);
    struct gobj *o;

    (void)pthread_mutex_lock(&sh->lock);
    o = find_locked(s, key, len, hash);
    if (o != NULL)
        o = gobj_ref(o);
    (void)pthread_mutex_unlock(&sh->lock);
    SYNC_POINT("lookup:unlocked");
    return o;
}

/* --- being wanted --- */

/* The state may have moved on since the letter was posted: an announced object that was filled
 * meanwhile is not fetched again, nor is one refreshed that is fresh by now. A dead EXPECTED is
 * forgotten (its waiters ask again); a dead FETCHING has waiters that only a fill can answer. */
static void serve_want(struct loop *l, struct gobj *o)
{
    const struct store_cfg *cfg = &o->store->cfg;
    enum gobj_state state = gobj_now(o).state;

    store_settle_prior(o);
    if (o->fill != NULL)
        return; /* somebody is at it: a second letter was posted while it was EXPECTED or stale */
    if (state == GOBJ_FETCHING || (state == GOBJ_EXPECTED && !gobj_is_dead(o)))
        cfg->ops->want(cfg->ctx, l, o);
    else if (state == GOBJ_COMPLETE && !gobj_is_dead(o) && gobj_fresh_until(o) <= loop_now(l))
        cfg->ops->refresh(cfg->ctx, l, o);
}

static void want_delivered(struct loop *l, struct mail *m)
{
    struct gobj *o = CONTAINER_OF(m, struct gobj, want_mail);
    const struct store_loop *sl = store_loop_of(l);

    (void)atomic_exchange_explicit(&o->want_posted, 0, memory_order_acq_rel);
    if (sl != NULL && !sl->stopping) /* else nobody fetches any more */
        serve_want(l, o);
    gobj_unref(&o);
}

static void post_want(struct gobj *o)
{
    if (atomic_exchange_explicit(&o->want_posted, 1, memory_order_acq_rel) != 0)
        return;
    SYNC_POINT("want:marked");
    o->want_mail.deliver = want_delivered;
    mailbox_post(&o->store->loops[gobj_ref(o)->home]->mailbox, &o->want_mail);
}

void store_refresh(struct gobj *o) { post_want(o); }

size_t store_list(struct loop *l, size_t at, const char *prefix, size_t len, struct gobj **out,
                  size_t max)
{
    struct store *s = store_loop_of(l)->store;
    struct shard *sh = &s->shard[at / SHARD_BUCKETS];
    size_t n = 0;

    CHECK(at < STORE_BUCKETS);
    (void)pthread_mutex_lock(&sh->lock);
    for (struct gobj *o = sh->bucket[at % SHARD_BUCKETS]; o != NULL && n < max; o = o->bucket_next)
        if (o->home == l->index && o->key_len >= len && memcmp(o->key, prefix, len) == 0)
            out[n++] = gobj_ref(o);
    (void)pthread_mutex_unlock(&sh->lock);
    return n;
}

/* --- the asking loop --- */

static bool must_replace(const struct gobj *o, const struct store_ask *ask)
{
    return ask->revalidate && gobj_now(o).state == GOBJ_COMPLETE &&
           gobj_fresh_until(o) <= ask->now_us;
}

/* Under the lock: what is there, or `fresh` listed (its reference from gobj_new stays with the
 * caller), in which case *fresh_used. */
static struct gobj *find_or_insert_locked(struct store *s, const struct store_ask *ask,
                                          struct gobj *fresh, bool *fresh_used, uint64_t *signal)
{
    struct gobj *o = find_locked(s, ask->key, ask->len, ask->hash);

    *fresh_used = false;
    if (o != NULL && !must_replace(o, ask))
        return o;
    if (fresh == NULL)
        return NULL;
    if (o != NULL) {
        remove_locked(s, o, signal);
        fresh->prior = o; /* with the index's reference */
    }
    insert_locked(s, fresh);
    *fresh_used = true;
    return fresh;
}

static struct gobj *new_for(struct store *s, const struct store_ask *ask)
{
    struct gobj *o = gobj_new(s, ask->key, ask->len, ask->hash, ask->home, ask->kind,
                              ask->miss == STORE_HOLD ? GOBJ_EXPECTED : GOBJ_FETCHING, NULL);

    if (o != NULL)
        atomic_init(&o->held, ask->miss == STORE_HOLD);
    return o;
}

/* A view of what the index has for the key; the loop's `old` one when it turns out to be the same
 * object after all (a 304 came in between). */
static enum st open_view(struct loop *l, const struct store_ask *ask, struct view *old,
                         struct view **out, bool *inserted)
{
    struct store *s = store_loop_of(l)->store;
    struct shard *sh = store_shard(s, ask->hash);
    uint64_t signal[SIGNAL_WORDS] = { 0 };
    struct gobj *o = NULL, *fresh = NULL;
    struct view *v = view_new(l);

    if (v == NULL)
        return ST_ENOMEM;
    for (int tries = 0; o == NULL; tries++) {
        if (tries > 0 && (ask->miss == STORE_NONE || (fresh = new_for(s, ask)) == NULL)) {
            view_discard(&v);
            return ask->miss == STORE_NONE ? ST_ENOENT : ST_ENOMEM;
        }
        SYNC_POINT("open:looking");
        (void)pthread_mutex_lock(&sh->lock);
        o = find_or_insert_locked(s, ask, fresh, inserted, signal);
        if (o != NULL && (old == NULL || o != old->o))
            view_register_locked(v, o); /* the reference is taken under the lock */
        (void)pthread_mutex_unlock(&sh->lock);
    }
    send_signals(s, signal);
    gobj_unref(&fresh); /* used or not, the index and the view have their own */
    SYNC_POINT("open:registered");
    if (v->o == NULL) {
        view_discard(&v);
        v = old;
    } else {
        view_adopt(v);
    }
    *out = v;
    return ST_OK;
}

enum st store_open(struct loop *l, const struct store_ask *ask, struct view **out, bool *inserted)
{
    struct view *v = view_find(l, ask->key, ask->len, ask->hash);

    *inserted = false;
    if (v == NULL || must_replace(v->o, ask)) {
        enum st st = open_view(l, ask, v, &v, inserted);

        if (st != ST_OK)
            return st;
    }
    CHECK(v != NULL);
    if (*inserted || gobj_now(v->o).state == GOBJ_EXPECTED)
        post_want(v->o);
    (void)own_ref(&v->own);
    *out = v;
    return ST_OK;
}

/* --- the home loop --- */

static void unlink_from_home(struct loop *l, struct gobj *o, bool end_fill)
{
    struct store *s = o->store;
    struct shard *sh = store_shard(s, o->hash);
    uint64_t signal[SIGNAL_WORDS] = { 0 };
    bool was_listed;

    CHECK(o->home == l->index);
    (void)pthread_mutex_lock(&sh->lock);
    was_listed = o->listed;
    if (was_listed)
        remove_locked(s, o, signal);
    (void)pthread_mutex_unlock(&sh->lock);
    if (!was_listed) { /* another loop replaced it: store_settle_prior() does the rest */
        home_cleanup(store_loop_of(l), o);
        return;
    }
    send_signals(s, signal);
    let_go(l, o, end_fill);
    store_settle_prior(o);
    gobj_unref(&o);
}

void store_unlink(struct loop *l, struct gobj *o) { unlink_from_home(l, o, true); }

void store_detach(struct loop *l, struct gobj *o)
{
    enum gobj_state state = gobj_now(o).state;

    unlink_from_home(l, o,
                     state != GOBJ_FETCHING && state != GOBJ_STREAMING && state != GOBJ_RESUMING);
}

static void lifetime_over(struct loop *l, struct timer *t)
{
    store_unlink(l, CONTAINER_OF(t, struct gobj, timer));
}

void store_unlink_at(struct loop *l, struct gobj *o, uint64_t at_us)
{
    CHECK(o->home == l->index);
    if (gobj_is_dead(o))
        return; /* nothing would cancel the timer before the last reference goes */
    timer_cancel(l, &o->timer);
    o->timer.fire = lifetime_over;
    timer_set(l, &o->timer, at_us);
}

/* One attempt: NULL and *killed when a NEGATIVE answer stood there and was taken away. */
static struct gobj *expect_once(struct loop *l, struct gobj *fresh, bool *killed)
{
    struct store *s = fresh->store;
    struct shard *sh = store_shard(s, fresh->hash);
    struct gobj *o;

    *killed = false;
    (void)pthread_mutex_lock(&sh->lock);
    o = find_locked(s, fresh->key, fresh->key_len, fresh->hash);
    if (o == NULL) {
        insert_locked(s, fresh);
        o = fresh;
    }
    o = gobj_ref(o);
    (void)pthread_mutex_unlock(&sh->lock);
    SYNC_POINT("expect:found");
    if (gobj_now(o).state == GOBJ_NEGATIVE) {
        store_unlink(l, o);
        gobj_unref(&o);
        *killed = true;
    }
    return o;
}

enum st store_expect(struct loop *l, const char *key, size_t len, uint64_t hash, unsigned home,
                     struct gobj **out)
{
    struct store *s = store_loop_of(l)->store;
    struct gobj *fresh = gobj_new(s, key, len, hash, home, GOBJ_MEDIA, GOBJ_EXPECTED, NULL);
    struct gobj *o;
    bool killed;

    CHECK(home == (unsigned)l->index);
    if (fresh == NULL)
        return ST_ENOMEM;
    do
        o = expect_once(l, fresh, &killed);
    while (killed);
    gobj_unref(&fresh);
    if (atomic_exchange_explicit(&o->held, false, memory_order_acq_rel) &&
        gobj_now(o).state == GOBJ_EXPECTED) {
        timer_cancel(l, &o->timer); /* held no longer: it will come */
        post_want(o);               /* and somebody waits for it */
    }
    *out = o;
    return ST_OK;
}

struct gobj *store_make(struct store *s, const char *key, size_t len, uint64_t hash, unsigned home,
                        enum gobj_kind kind)
{
    return gobj_new(s, key, len, hash, home, kind, GOBJ_EXPECTED, NULL);
}

void store_publish(struct loop *l, struct gobj *o)
{
    struct store *s = o->store;
    struct shard *sh = store_shard(s, o->hash);
    uint64_t signal[SIGNAL_WORDS] = { 0 };
    struct gobj *old;

    CHECK(o->home == l->index && !o->listed && !gobj_is_dead(o));
    (void)pthread_mutex_lock(&sh->lock);
    old = find_locked(s, o->key, o->key_len, o->hash);
    if (old != NULL)
        remove_locked(s, old, signal); /* no moment without either of them */
    insert_locked(s, o);
    (void)pthread_mutex_unlock(&sh->lock);
    send_signals(s, signal);
    if (old == NULL)
        return;
    let_go(l, old, true);
    store_settle_prior(old);
    gobj_unref(&old);
}

void store_completed(struct loop *l, struct gobj *o)
{
    CHECK(o->home == l->index && gobj_now(o).state == GOBJ_COMPLETE);
    if (!gobj_is_dead(o))
        evict_enlist(store_loop_of(l), o);
}

void store_set_windowed(struct loop *l, struct gobj *o, bool windowed)
{
    CHECK(o->home == l->index);
    if (o->windowed == windowed)
        return;
    evict_forget(store_loop_of(l), o);
    o->windowed = windowed;
    if (!gobj_is_dead(o) && gobj_now(o).state == GOBJ_COMPLETE)
        evict_enlist(store_loop_of(l), o);
}

struct timer *store_timer(struct gobj *o) { return &o->timer; }
struct gobj *store_timer_gobj(struct timer *t) { return CONTAINER_OF(t, struct gobj, timer); }
void **store_fill(struct gobj *o) { return &o->fill; }
bool store_was_held(const struct gobj *o)
{
    return atomic_load_explicit(&o->held, memory_order_acquire);
}
