/* edge/store.h - the index of growing objects, shared by all loops
 *
 * Purpose   one object per key, however many ask and on whatever loop: whoever misses first inserts
 *           it under the shard's lock and mails its home loop, which fetches; everyone else finds
 *           it there, from before the response's first byte on.
 * Locks     one mutex per shard guards the bucket chains, `listed` and each object's list of views;
 *           it is held for pointer work only and never together with another one. A lookup takes
 *           its reference under it. A loop takes it once per object; later hits use its view.
 * Order     insert < start < append* < complete|fail; unlink at any time. Each change is told with
 *           store_notify(): one letter per view, one eventfd write per loop at most.
 * Owner     daemon/ makes the store before the loops start. At the end each thread, when its
 *           loop_run() has returned, lets go of its requests and fills and calls
 *           store_loop_stop(). When all threads are joined, loop_turn_nowait() on each loop
 *           delivers the letters that are left (they hold references); then store_free(), then
 *           loop_fini().
 * Thread    said per function.
 * Errors    store_open: ENOMEM, ENOENT (STORE_NONE); store_expect: ENOMEM. How many may be asked
 *           for at once is the asker's limit.
 * Tests     tests/unit/test_store_model.c (every rule of the growing object)
 */
#ifndef EDGE_STORE_H
#define EDGE_STORE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/status.h"
#include "edge/gobj.h"

struct loop;
struct mem_pool;
struct view;
struct store;
struct stream_table;

enum { STORE_LOOPS_MAX = 256, STORE_BUCKETS = 64 * 2048 };

/* What the store asks of its owner; called on the object's home loop. */
struct store_ops {
    /* Somebody wants o: FETCHING, just inserted (gobj_prior(o): revalidate that), or EXPECTED and
     * listed. Not while store_fill() is set; an EXPECTED one without a fill perhaps more than
     * once. A FETCHING one may be dead by now: those who wait for it still need an answer. */
    void (*want)(void *ctx, struct loop *l, struct gobj *o);
    /* A COMPLETE object is past its freshness and was served stale: ask upstream meanwhile. Not
     * while store_fill() is set. */
    void (*refresh)(void *ctx, struct loop *l, struct gobj *o);
    /* The fill of o must end: o was unlinked while it was under way. Clears store_fill(). */
    void (*unlinked)(void *ctx, struct loop *l, struct gobj *o);
    void (*evicted)(void *ctx, struct loop *l, struct gobj *o, bool capacity);
};

struct store_cfg {
    uint64_t cap_bytes;    /* what may be kept when nobody reads it */
    uint64_t object_bytes; /* the largest object */
    const struct store_ops *ops;
    void *ctx;
};

struct store *store_new(const struct store_cfg *cfg, struct mem_pool *pool,
                        struct loop *const *loops, unsigned n_loops);
void store_free(struct store **sp); /* after every store_loop_stop() */
MUST_USE enum st store_loop_start(struct store *s, struct loop *l); /* before the thread runs */
/* In the loop's thread, after loop_run() has returned: frees its views. */
void store_loop_stop(struct loop *l);
void store_set_limits(struct store *s, uint64_t cap_bytes, uint64_t object_bytes); /* any thread */

/* --- any thread --- */
uint64_t store_hash(const struct store *s, const char *key, size_t len);
unsigned store_home(const struct store *s, uint64_t hash); /* loop index */
uint64_t store_cache_bytes(const struct store *s);
uint64_t store_objects(const struct store *s);
struct gobj *store_lookup(struct store *s, const char *key, size_t len, uint64_t hash); /* +1 */

/* --- the asking loop --- */
enum store_miss {
    STORE_FETCH, /* insert it FETCHING */
    STORE_HOLD,  /* insert it EXPECTED, held */
    STORE_NONE,  /* insert nothing: ENOENT */
};
struct store_ask {
    const char *key;
    size_t len;
    uint64_t hash;
    unsigned home;
    enum gobj_kind kind;
    enum store_miss miss; /* what to insert where there is nothing: FETCHING or EXPECTED */
    uint64_t now_us;
    bool revalidate; /* do not use a stale one: replace it, its body may be adopted */
};
/* The loop's view of the object (one reference, through view_own()), made at first touch;
 * *inserted: this call made the object. An EXPECTED one gets its home told that it is wanted. */
MUST_USE enum st store_open(struct loop *l, const struct store_ask *ask, struct view **out,
                            bool *inserted);
void store_refresh(struct gobj *o); /* any thread: post the refresh op, once while it is pending */

/* --- the object's home loop --- */
/* Finds or inserts an EXPECTED object; announced, unless one was held (then it is announced now).
 * A NEGATIVE one is killed. +1 reference. */
MUST_USE enum st store_expect(struct loop *l, const char *key, size_t len, uint64_t hash,
                              unsigned home, struct gobj **out);
/* An EXPECTED object that is not listed: to be filled first and published then. +1; NULL: ENOMEM */
struct gobj *store_make(struct store *s, const char *key, size_t len, uint64_t hash, unsigned home,
                        enum gobj_kind kind);
void store_publish(struct loop *l, struct gobj *o); /* lists it; the old one is unlinked */
void store_notify(struct gobj *o);
void store_completed(struct loop *l, struct gobj *o); /* after gobj_complete(): enters eviction */
void store_unlink(struct loop *l, struct gobj *o);    /* no-op when it is not listed */
/* The same, but bytes on their way go on to those who read them. */
void store_detach(struct loop *l, struct gobj *o);
/* The listed objects of one bucket (at: 0 to STORE_BUCKETS - 1) whose home is this loop and whose
 * key begins with the prefix: at most max, +1 each; how many. */
size_t store_list(struct loop *l, size_t at, const char *prefix, size_t len, struct gobj **out,
                  size_t max);
void store_unlink_at(struct loop *l, struct gobj *o, uint64_t at_us); /* no-op on a dead one */
void store_set_windowed(struct loop *l, struct gobj *o, bool windowed);
struct timer *store_timer(struct gobj *o); /* the home loop's one per object; set on listed ones
                                              only: unlinking cancels it */
struct gobj *store_timer_gobj(struct timer *t);
void **store_fill(struct gobj *o); /* the fetcher's own pointer */
bool store_was_held(const struct gobj *o);

#endif
