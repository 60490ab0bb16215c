/* edge/view.h - what one loop sees of one object
 *
 * Purpose   the hit path: a request finds its object in the loop's own table, without a lock, an
 *           allocation or a write that another core would see. The first touch of an object on a
 *           loop (store_open()) makes the view and takes the shard's lock, once.
 *           Also the waking: requests wait on the view; the object's home loop posts one letter per
 *           view and change, and the view wakes all its waiters, oldest first, once per change.
 * Lifetime  a view is freed by its own loop only: when its object is dead and nobody holds it,
 *           after it was unregistered under the lock and never while its letter is on its way. An
 *           idle view of a dead object pins nothing.
 * Owner     own_ref/own_unref on view_own(); the loop's table holds one while the object lives.
 * Thread    the view's loop, but for view_push_all_locked() (store_int.h).
 * Tests     tests/unit/test_store_model.c
 */
#ifndef EDGE_VIEW_H
#define EDGE_VIEW_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/own.h"
#include "edge/gobj.h"

struct loop;
struct view;

/* A request parked on a view. Embedded in the request; wake() may park it again, cancel others,
 * drop the view and bury its request. Parked requests hold the view themselves. */
struct view_waiter {
    struct view_waiter *next, **prevp;
    struct view *on; /* NULL: not parked */
    unsigned since;  /* the view's change count when parked */
    void (*wake)(struct view_waiter *w);
};

/* The loop's view of a live object with this key; NULL: none here, ask store_open(). Borrowed:
 * take a reference before the turn ends. */
struct view *view_find(struct loop *l, const char *key, size_t len, uint64_t hash);

struct gobj *view_gobj(const struct view *v);
struct own *view_own(struct view *v);
void view_hit(struct view *v); /* tell the eviction that it was wanted */
/* True at its first use and then once a second: the moment to tell others that it is in use. */
bool view_touch(struct view *v, uint64_t now_us);

/* Parks w until the object is no longer as `seen` (from gobj_now()) or is unlinked. It registers,
 * then looks again: false, and not parked, when it has changed already, or when it is dead and
 * nobody will change it any more (all states but FETCHING, STREAMING, RESUMING): look, ask again.
 * A COMPLETE document may be waited on: the next version unlinks it. */
bool view_wait(struct view *v, struct view_waiter *w, struct gobj_now seen);
void view_cancel(struct view_waiter *w); /* no-op when not parked */

#endif
