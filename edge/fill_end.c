/* How a fill ends: what becomes of its object, and of those who wait for it.
 *
 * Each way goes through fill_finish(): it takes the fill off its object first, so that nothing that
 * is done to the object afterwards can come back to a fill that is over. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/check.h"
#include "edge/fetch_int.h"
#include "edge/sub.h"

/* Failures are forgotten at different moments, or all would ask again in the same one. */
uint64_t fill_error_ttl_us(struct fetch *f)
{
    uint64_t ttl = fetch_limits(f)->error_ttl_us;

    f->jitter = f->jitter * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
    return ttl + (f->jitter >> 33) % (ttl / 2 + 1);
}

static void free_fill(struct grave *g)
{
    struct fill *fl = CONTAINER_OF(g, struct fill, grave);

    OBJ_FINI(fl, FILL_MAGIC);
    free(fl);
}

/* The fill is over; its object, with the reference, is the caller's. */
struct gobj *fill_finish(struct fill *fl)
{
    struct fetch *f = fl->fetch;
    struct gobj *o = fl->o;

    OBJ_CHECK(fl, FILL_MAGIC);
    fill_cancel_exchange(fl);
    sub_leave(fl);
    timer_cancel(f->loop, &fl->timer);
    *store_fill(fill_subject(fl)) = NULL;
    fl->o = NULL;
    gobj_unref(&fl->stale);
    *fl->prevp = fl->next;
    if (fl->next != NULL)
        fl->next->prevp = fl->prevp;
    f->n_fills--;
    loop_bury(f->loop, &fl->grave, free_fill);
    return o;
}

void fill_fail_object(struct loop *l, struct gobj *o)
{
    store_unlink(l, o); /* first: nobody is to find a failed one */
    gobj_fail(o);
    store_notify(o);
}

void fill_settle(struct fetch *f, struct gobj *o, int status, const char *retry_after,
                 uint64_t ttl_us)
{
    char fields[64] = "";
    struct gobj_head h = { .status = status,
                           .length = 0,
                           .fields = fields,
                           .born_us = loop_now(f->loop),
                           .shared = true };

    if (retry_after != NULL && strlen(retry_after) < 32)
        (void)snprintf(fields, sizeof fields, "retry-after: %s\r\n", retry_after);
    if (gobj_negative(o, &h) != ST_OK) {
        fill_fail_object(f->loop, o);
        return;
    }
    store_notify(o);
    if (ttl_us == 0)
        store_unlink(f->loop, o); /* a timer would come a turn too late */
    else
        store_unlink_at(f->loop, o, loop_now(f->loop) + ttl_us);
}

/* May the version that o replaces be served although the origin does not answer? */
static bool stale_will_do(const struct fetch *f, const struct gobj *o)
{
    const struct gobj *prior = gobj_prior(o);

    return prior != NULL &&
           loop_now(f->loop) < gobj_vouched_until(prior) + gobj_head(prior)->sie_us;
}

static void serve_stale(struct fetch *f, struct gobj *o)
{
    if (gobj_adopt_stale(o, loop_now(f->loop) + fill_error_ttl_us(f)) != ST_OK) {
        fill_fail_object(f->loop, o);
        return;
    }
    store_notify(o);
    store_completed(f->loop, o);
}

/* In the background nobody waits. What is served stays, but is not asked about again at once. */
void fill_background_failed(struct fill *fl)
{
    fill_cancel_exchange(fl);
    gobj_unref(&fl->o);
    fill_enter(fl, FILL_RESTING, fill_error_ttl_us(fl->fetch));
}

void fill_drop_stale(struct fill *fl)
{
    struct gobj *stale = gobj_ref(fl->stale);
    struct loop *l = fill_loop(fl);
    struct gobj *o = fill_finish(fl);

    gobj_unref(&o);
    store_unlink(l, stale);
    gobj_unref(&stale);
}

/* There will be no body. is_error: the origin is at fault, and what is stale may do instead. */
void fill_without_body(struct fill *fl, int status, const char *retry_after, uint64_t ttl_us,
                       bool is_error)
{
    struct fetch *f = fl->fetch;

    if (fl->stale != NULL && is_error) {
        fill_background_failed(fl);
    } else if (fl->stale != NULL) {
        fill_drop_stale(fl);
    } else {
        bool doc = fill_is_native(fl) && gobj_kind(fill_subject(fl)) == GOBJ_DOC;
        struct gobj *o = fill_finish(fl);

        if (doc && status >= 500) { /* a player is to come back, whatever it was */
            status = 503;
            retry_after = retry_after != NULL ? retry_after : "1";
        }
        if (is_error && stale_will_do(f, o))
            serve_stale(f, o);
        else
            fill_settle(f, o, status, retry_after, ttl_us);
        gobj_unref(&o);
    }
}

void fill_complete(struct fill *fl)
{
    struct fetch *f = fl->fetch;
    struct gobj *stale = fl->stale != NULL ? gobj_ref(fl->stale) : NULL;
    bool forget = fl->forget;
    struct gobj *o;

    if ((fl->total >= 0 && (uint64_t)fl->total != gobj_now(fl->o).published) ||
        gobj_complete(fl->o) != ST_OK) {
        fill_broke(fl, UP_END_SHORT);
        gobj_unref(&stale);
        return;
    }
    o = fill_finish(fl);
    if (gobj_kind(o) != GOBJ_DOC)
        FETCH_COUNT(f, cache_fills[METRIC_TIER_EDGE]);
    if (stale != NULL && !gobj_is_dead(stale))
        store_publish(f->loop, o);
    store_notify(o);
    store_completed(f->loop, o);
    if (forget)
        store_unlink(f->loop, o);
    gobj_unref(&o);
    gobj_unref(&stale);
}

/* --- a document that a subscription has brought --- */

static enum st copy_body(struct gobj *o, const struct gobj *doc)
{
    struct gobj_cursor c = { .at = NULL };
    uint64_t off = 0;
    struct iovec v[8];
    int n;
    enum st st = gobj_start(o, gobj_head(doc), gobj_fresh_until(doc));

    while (st == ST_OK && (n = gobj_span(doc, &c, off, UINT64_MAX, v, 8)) > 0)
        for (int i = 0; i < n && st == ST_OK; i++) {
            st = gobj_append(o, v[i].iov_base, v[i].iov_len);
            off += v[i].iov_len;
        }
    return st == ST_OK ? gobj_complete(o) : st;
}

void fill_doc(struct fill *fl, const struct gobj *doc)
{
    struct loop *l = fill_loop(fl);
    struct gobj *o = fill_finish(fl);

    if (copy_body(o, doc) == ST_OK) {
        store_notify(o);
        store_completed(l, o);
    } else {
        fill_fail_object(l, o);
    }
    gobj_unref(&o);
}

void fill_unknown(struct fill *fl, uint64_t ttl_us)
{
    fill_without_body(fl, 404, NULL, ttl_us, true);
}

void fill_end_now(struct fill *fl)
{
    struct loop *l = fill_loop(fl);
    struct gobj *o;

    OBJ_CHECK(fl, FILL_MAGIC);
    if (fl->stale != NULL) {
        o = fill_finish(fl);
        gobj_unref(&o);
        return;
    }
    o = fill_finish(fl);
    fill_fail_object(l, o);
    gobj_unref(&o);
}
