/* How a change on one loop reaches a request on another
 *
 *   writer (home loop)                          viewer (view's loop)
 *   ------------------                          --------------------
 *   bytes; published; state                     view registered under the shard's lock,
 *   lock                                        then gobj_now(): sees all that was published
 *     for each registered view:                 before, or is on the list for what comes after
 *       exchange(armed, 1) == 0 ? push letter   ...
 *   unlock                                      letter: exchange(armed, 0), then gobj_now():
 *   one eventfd write per loop that             what was published before the exchange is seen
 *   was owed one                                now, what comes after posts a new letter
 *
 * `armed` is 1 exactly while the view's letter is in the mailbox or about to be delivered, so a
 * letter is never queued twice. A letter is pushed under the lock, and only for a registered view:
 * once a view has unregistered, no new letter can start, and exchange(armed, 1) tells whether one
 * is still on its way. If so the view waits for it (`gone`) and is freed by the delivery.
 */
#include "edge/view.h"

#include <stdlib.h>
#include <string.h>

#include "core/check.h"
#include "core/clock.h"
#include "edge/store_int.h"

enum { VIEW_MAGIC = 0x71e30b5d };

struct gobj *view_gobj(const struct view *v) { return v->o; }
struct own *view_own(struct view *v) { return &v->own; }

void view_hit(struct view *v)
{
    unsigned char h = atomic_load_explicit(&v->hits, memory_order_relaxed);

    if (h < 3) /* saturates, so the steady state writes nothing */
        atomic_store_explicit(&v->hits, (unsigned char)(h + 1), memory_order_relaxed);
}

bool view_touch(struct view *v, uint64_t now_us)
{
    if (v->touched_us != 0 && now_us - v->touched_us < SEC_US)
        return false;
    v->touched_us = now_us;
    return true;
}

/* --- the loop's table --- */

static struct view **slot_of(struct store_loop *sl, uint64_t hash)
{
    return &sl->table[(hash / SHARDS) & (sl->buckets - 1)];
}

static void table_grow(struct store_loop *sl)
{
    size_t n = sl->buckets * 2;
    struct view **old = sl->table, **fresh = calloc(n, sizeof *fresh);

    if (fresh == NULL)
        return; /* longer chains, nothing worse */
    size_t had = sl->buckets;
    sl->table = fresh;
    sl->buckets = n;
    for (size_t i = 0; i < had; i++)
        while (old[i] != NULL) {
            struct view *v = old[i], **to = slot_of(sl, v->o->hash);

            old[i] = v->table_next;
            v->table_next = *to;
            *to = v;
        }
    free(old);
}

static void table_add(struct store_loop *sl, struct view *v)
{
    if (sl->views >= sl->buckets)
        table_grow(sl);
    struct view **to = slot_of(sl, v->o->hash);

    v->table_next = *to;
    *to = v;
    v->in_table = true;
    sl->views++;
}

/* The table lets go: the view lives as long as somebody else holds it. */
static void table_remove(struct store_loop *sl, struct view *v)
{
    struct own *own = &v->own;

    struct view **p = slot_of(sl, v->o->hash);

    while (*p != v) {
        CHECK(*p != NULL); /* the view is in the table */
        p = &(*p)->table_next;
    }
    *p = v->table_next;
    v->in_table = false;
    sl->views--;
    own_unref(&own);
}

struct view *view_find(struct loop *l, const char *key, size_t len, uint64_t hash)
{
    struct store_loop *sl = store_loop_of(l);

    struct view *next;

    for (struct view *v = *slot_of(sl, hash); v != NULL; v = next) {
        next = v->table_next;
        if (v->o->hash != hash || v->o->key_len != len || memcmp(v->o->key, key, len) != 0)
            continue;
        if (!gobj_is_dead(v->o))
            return v;
        table_remove(sl, v); /* and look on: its successor may stand behind it */
    }
    return NULL;
}

/* --- life --- */

static void free_view(struct grave *g)
{
    struct view *v = CONTAINER_OF(g, struct view, grave);

    store_loop_of(v->loop)->all_views--;
    OBJ_FINI(v, VIEW_MAGIC);
    gobj_unref(&v->o);
    free(v);
}

/* Nobody holds it any more. */
static void view_last(struct own *own)
{
    struct view *v = CONTAINER_OF(own, struct view, own);
    struct shard *sh = store_shard(v->o->store, v->o->hash);

    OBJ_CHECK(v, VIEW_MAGIC);
    CHECK(v->first == NULL && !v->in_table);
    (void)pthread_mutex_lock(&sh->lock);
    *v->reg_prev = v->reg_next;
    if (v->reg_next != NULL)
        v->reg_next->reg_prev = v->reg_prev;
    (void)pthread_mutex_unlock(&sh->lock);
    SYNC_POINT("last:unregistered");
    if (atomic_exchange_explicit(&v->armed, 1, memory_order_acq_rel) == 0)
        loop_bury(v->loop, &v->grave, free_view);
    else
        v->gone = true; /* its letter is on the way */
}

static void deliver(struct loop *l, struct mail *m);

struct view *view_new(struct loop *l)
{
    struct view *v = aligned_alloc(64, (sizeof *v + 63) / 64 * 64);

    if (v == NULL)
        return NULL;
    memset(v, 0, sizeof *v);
    OBJ_INIT(v, VIEW_MAGIC);
    own_init(&v->own, view_last);
    v->loop = l;
    v->lastp = &v->first;
    v->mail.deliver = deliver;
    atomic_init(&v->armed, 0);
    atomic_init(&v->hits, 0);
    return v;
}

void view_register_locked(struct view *v, struct gobj *o)
{
    v->o = gobj_ref(o);
    v->reg_next = o->views;
    v->reg_prev = &o->views;
    if (o->views != NULL)
        o->views->reg_prev = &v->reg_next;
    o->views = v;
}

void view_adopt(struct view *v)
{
    struct store_loop *sl = store_loop_of(v->loop);

    sl->all_views++;
    table_add(sl, v);
}

void view_discard(struct view **vp)
{
    free(*vp);
    *vp = NULL;
}

void view_push_all_locked(struct gobj *o, uint64_t *signal)
{
    for (struct view *v = o->views; v != NULL; v = v->reg_next) {
        if (atomic_exchange_explicit(&v->armed, 1, memory_order_acq_rel) != 0)
            continue;
        SYNC_POINT("push:armed");
        if (mailbox_push(&v->loop->mailbox, &v->mail))
            signal[v->loop->index / 64] |= UINT64_C(1) << (v->loop->index % 64);
    }
}

/* --- waiting --- */

/* Dead, and with no writer left that could ever change it again. */
static bool is_over(const struct gobj *o, enum gobj_state state)
{
    const unsigned grows = GOBJ_BIT(FETCHING) | GOBJ_BIT(STREAMING) | GOBJ_BIT(RESUMING);

    return gobj_is_dead(o) && (1u << state & grows) == 0;
}

bool view_wait(struct view *v, struct view_waiter *w, struct gobj_now seen)
{
    struct gobj_now now;

    OBJ_CHECK(v, VIEW_MAGIC);
    CHECK(w->on == NULL && w->wake != NULL);
    w->on = v;
    w->since = v->changes;
    w->next = NULL;
    w->prevp = v->lastp;
    *v->lastp = w;
    v->lastp = &w->next;
    SYNC_POINT("wait:registered");
    now = gobj_now(v->o); /* registered, then look again */
    if (now.state == seen.state && now.published == seen.published && !is_over(v->o, now.state))
        return true;
    view_cancel(w);
    return false;
}

void view_cancel(struct view_waiter *w)
{
    struct view *v = w->on;

    if (v == NULL)
        return;
    *w->prevp = w->next;
    if (w->next != NULL)
        w->next->prevp = w->prevp;
    else
        v->lastp = w->prevp;
    w->on = NULL;
}

/* The waiters stand in the order they came; those that park again during the walk carry the new
 * change count, stand behind all the others, and end it. */
static void wake_all(struct view *v)
{
    v->changes++;
    while (v->first != NULL && v->first->since != v->changes) {
        struct view_waiter *w = v->first;

        view_cancel(w);
        w->wake(w);
    }
}

static void deliver(struct loop *l, struct mail *m)
{
    struct view *v = CONTAINER_OF(m, struct view, mail);
    struct own *held;

    OBJ_CHECK(v, VIEW_MAGIC);
    CHECK(v->loop == l);
    if (v->gone) {
        loop_bury(l, &v->grave, free_view);
        return;
    }
    SYNC_POINT("deliver:arrived");
    (void)atomic_exchange_explicit(&v->armed, 0, memory_order_acq_rel); /* then look */
    SYNC_POINT("deliver:disarmed");
    held = own_ref(&v->own);
    wake_all(v);
    if (v->in_table && gobj_is_dead(v->o))
        table_remove(store_loop_of(l), v);
    own_unref(&held);
}

void view_drop_loop(struct store_loop *sl)
{
    for (size_t i = 0; i < sl->buckets; i++)
        while (sl->table[i] != NULL)
            table_remove(sl, sl->table[i]);
}
