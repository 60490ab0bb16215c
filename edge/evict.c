/* S3-FIFO over the COMPLETE objects whose home is this loop, by bytes: newcomers pass through a
 * small queue (a tenth), what was asked for twice in there moves to the main one, what was not is
 * remembered by its hash for a while. Scrubbing through a recording therefore does not push the
 * popular out. Objects of a live stream's window are counted but not queued: the window decides.
 *
 * The byte cap is one number for the process; a loop that finds it passed evicts its own down to
 * its share, and else asks the others by letter: one of them must be above its share. */
#include <stdlib.h>

#include "core/check.h"
#include "edge/store_int.h"

static struct fifo *queue_of(struct store_loop *sl, int which)
{
    return which == FIFO_SMALL ? &sl->small : &sl->main;
}

static uint64_t weight(const struct gobj *o)
{
    return sizeof *o + o->key_len + o->capacity_bytes; /* also when the chunks are its prior's */
}

static void enqueue(struct store_loop *sl, struct gobj *o, int which)
{
    struct fifo *q = queue_of(sl, which);

    CHECK(o->fifo == FIFO_NONE);
    o->fifo = (uint8_t)which;
    o->fifo_next = NULL;
    o->fifo_prev = q->lastp;
    *q->lastp = o;
    q->lastp = &o->fifo_next;
    q->bytes += weight(o);
}

static void dequeue(struct store_loop *sl, struct gobj *o)
{
    struct fifo *q = queue_of(sl, o->fifo);

    *o->fifo_prev = o->fifo_next;
    if (o->fifo_next != NULL)
        o->fifo_next->fifo_prev = o->fifo_prev;
    else
        q->lastp = o->fifo_prev;
    q->bytes -= weight(o);
    o->fifo = FIFO_NONE;
}

enum st evict_init(struct store_loop *sl)
{
    sl->small.lastp = &sl->small.first;
    sl->main.lastp = &sl->main.first;
    sl->ghost = calloc(GHOSTS, sizeof *sl->ghost);
    return sl->ghost != NULL ? ST_OK : ST_ENOMEM;
}

void evict_fini(struct store_loop *sl)
{
    CHECK(sl->small.first == NULL && sl->main.first == NULL);
    free(sl->ghost);
}

/* How often the views were hit since the last look, at most 3. */
static unsigned take_hits(struct store_loop *sl, struct gobj *o)
{
    struct shard *sh = store_shard(sl->store, o->hash);
    unsigned hits = o->freq;

    (void)pthread_mutex_lock(&sh->lock);
    for (struct view *v = o->views; v != NULL; v = v->reg_next) {
        hits += atomic_load_explicit(&v->hits, memory_order_relaxed);
        atomic_store_explicit(&v->hits, 0, memory_order_relaxed);
    }
    (void)pthread_mutex_unlock(&sh->lock);
    return hits < 3 ? hits : 3;
}

static void evict_one(struct store_loop *sl, struct gobj *o)
{
    const struct store_cfg *cfg = &sl->store->cfg;
    struct gobj *held = gobj_ref(o);
    bool replaced = gobj_is_dead(o); /* by another loop: it was only still in the queue */

    store_unlink(sl->loop, o);
    if (cfg->ops->evicted != NULL && !replaced)
        cfg->ops->evicted(cfg->ctx, sl->loop, held, true);
    gobj_unref(&held);
}

static void evict_from_small(struct store_loop *sl)
{
    struct gobj *o = sl->small.first;

    if (take_hits(sl, o) > 1) {
        dequeue(sl, o);
        o->freq = 0;
        enqueue(sl, o, FIFO_MAIN);
        return;
    }
    sl->ghost[o->hash % GHOSTS] = o->hash;
    evict_one(sl, o);
}

static void evict_from_main(struct store_loop *sl)
{
    struct gobj *o = sl->main.first;
    unsigned hits = take_hits(sl, o);

    if (hits == 0) {
        evict_one(sl, o);
        return;
    }
    dequeue(sl, o);
    o->freq = (uint8_t)(hits - 1);
    enqueue(sl, o, FIFO_MAIN);
}

static uint64_t total(const struct store *s)
{
    return atomic_load_explicit(&s->evictable_bytes, memory_order_relaxed);
}

static void trim_own(struct store_loop *sl, uint64_t cap)
{
    uint64_t share = cap / sl->store->n_loops;

    while (total(sl->store) > cap && sl->small.bytes + sl->main.bytes > share) {
        uint64_t small_share = (sl->small.bytes + sl->main.bytes) / 10;

        if (sl->small.first != NULL && (sl->small.bytes > small_share || sl->main.first == NULL))
            evict_from_small(sl);
        else
            evict_from_main(sl);
    }
}

static void trim_delivered(struct loop *l, struct mail *m)
{
    struct trim_letter *t = CONTAINER_OF(m, struct trim_letter, mail);
    struct store_loop *sl = store_loop_of(l);

    (void)atomic_exchange_explicit(&t->posted, 0, memory_order_acq_rel);
    if (sl != NULL) /* NULL: the loop is ending */
        trim_own(sl, atomic_load_explicit(&sl->store->cap_bytes, memory_order_relaxed));
}

static void evict_trim(struct store_loop *sl)
{
    struct store *s = sl->store;
    uint64_t cap = atomic_load_explicit(&s->cap_bytes, memory_order_relaxed);

    if (total(s) <= cap)
        return;
    trim_own(sl, cap);
    for (unsigned i = 0; i < s->n_loops && total(s) > cap; i++) {
        if (s->loops[i] == sl->loop ||
            atomic_exchange_explicit(&s->trim[i].posted, 1, memory_order_acq_rel) != 0)
            continue;
        s->trim[i].mail.deliver = trim_delivered;
        mailbox_post(&s->loops[i]->mailbox, &s->trim[i].mail);
    }
}

void evict_enlist(struct store_loop *sl, struct gobj *o)
{
    struct store *s = sl->store;
    uint64_t *ghost = &sl->ghost[o->hash % GHOSTS];

    CHECK(o->fifo == FIFO_NONE && !o->counted);
    o->counted = true;
    (void)atomic_fetch_add_explicit(&s->cache_bytes, weight(o), memory_order_relaxed);
    if (o->windowed)
        return;
    (void)atomic_fetch_add_explicit(&s->evictable_bytes, weight(o), memory_order_relaxed);
    enqueue(sl, o, *ghost == o->hash ? FIFO_MAIN : FIFO_SMALL);
    evict_trim(sl);
}

void evict_forget(struct store_loop *sl, struct gobj *o)
{
    struct store *s = sl->store;

    if (!o->counted)
        return;
    o->counted = false;
    (void)atomic_fetch_sub_explicit(&s->cache_bytes, weight(o), memory_order_relaxed);
    if (o->fifo == FIFO_NONE)
        return;
    dequeue(sl, o);
    (void)atomic_fetch_sub_explicit(&s->evictable_bytes, weight(o), memory_order_relaxed);
}
