#include "edge/fetch.h"

#include <stdlib.h>
#include <string.h>

#include "core/check.h"
#include "edge/fetch_int.h"
#include "edge/stream.h"
#include "edge/sub.h"
#include "edge/target.h"
#include "edge/up_h1.h"
#include "edge/up_h2.h"

enum { PEER_MAGIC = 0x1ee40b57 };

static struct fetch *fetch_of(const struct loop *l) { return l->slot[LOOP_FETCH]; }

/* --- servers --- */

static void free_peer(struct grave *g)
{
    struct peer *p = CONTAINER_OF(g, struct peer, grave);

    up_h1_free(&p->h1);
    up_h2_free(&p->h2);
    up_h2_free(&p->subs);
    routes_unref(&p->routes);
    OBJ_FINI(p, PEER_MAGIC);
    free(p);
}

/* In no list, and nobody asks it. It may be its own connection that told us so: that one is closed
 * when the turn is over. */
static void bury_if_unused(struct fetch *f, struct peer *p)
{
    if (p->listed || p->fills > 0)
        return;
    loop_bury(f->loop, &p->grave, free_peer);
}

struct peer *peer_get(struct fetch *f, const struct route_host *host)
{
    struct peer *p = f->peers;

    while (p != NULL && strcmp(p->host->url, host->url) != 0)
        p = p->next;
    if (p == NULL) {
        p = calloc(1, sizeof *p);
        if (p == NULL)
            return NULL;
        OBJ_INIT(p, PEER_MAGIC);
        p->host = host;
        if (host->h2)
            p->h2 = up_h2_new(f->loop, host);
        else
            p->h1 = up_h1_new(f->loop, host);
        if (p->h1 == NULL && p->h2 == NULL) {
            free(p);
            return NULL;
        }
        p->routes = routes_ref(f->routes);
        p->listed = true;
        p->next = f->peers;
        f->peers = p;
    }
    OBJ_CHECK(p, PEER_MAGIC);
    p->fills++;
    return p;
}

void peer_put(struct fetch *f, struct peer **pp)
{
    struct peer *p = *pp;

    *pp = NULL;
    OBJ_CHECK(p, PEER_MAGIC);
    CHECK(p->fills > 0);
    p->fills--;
    bury_if_unused(f, p);
}

static bool is_same(const struct route_host *a, const struct route_host *b)
{
    if (strcmp(a->url, b->url) != 0 || a->tls != b->tls || a->h2 != b->h2 ||
        a->n_addrs != b->n_addrs)
        return false;
    for (unsigned i = 0; i < a->n_addrs; i++)
        if (a->addr[i].len != b->addr[i].len ||
            memcmp(&a->addr[i].sa, &b->addr[i].sa, a->addr[i].len) != 0)
            return false;
    return true;
}

/* Those that `r` does not have as they are leave the list; fills that ask them keep them. */
static void drop_peers(struct fetch *f, const struct routes *r)
{
    struct peer **p = &f->peers;

    while (*p != NULL) {
        struct peer *it = *p;
        const struct route_host *now = r != NULL ? routes_host(r, it->host->url) : NULL;

        if (now != NULL && is_same(now, it->host)) {
            p = &it->next;
            continue;
        }
        *p = it->next;
        it->listed = false;
        bury_if_unused(f, it);
    }
}

/* --- the loop's part --- */

enum st fetch_loop_start(struct loop *l, struct store *s)
{
    struct fetch *f = calloc(1, sizeof *f);

    CHECK(l->slot[LOOP_FETCH] == NULL);
    if (f == NULL)
        return ST_ENOMEM;
    f->loop = l;
    f->store = s;
    f->purse.tenths = PURSE_FULL;
    f->jitter = loop_now(l) + (uint64_t)l->index;
    l->slot[LOOP_FETCH] = f;
    return ST_OK;
}

void fetch_loop_set_routes(struct loop *l, struct routes *r)
{
    struct fetch *f = fetch_of(l);

    drop_peers(f, r);
    routes_unref(&f->routes);
    f->routes = r != NULL ? routes_ref(r) : NULL;
}

void fetch_loop_stop(struct loop *l)
{
    struct fetch *f = fetch_of(l);

    while (f->fills != NULL)
        fill_end_now(f->fills);
    sub_end_all(f);
    fetch_loop_set_routes(l, NULL);
    l->slot[LOOP_FETCH] = NULL;
    free(f);
}

unsigned fetch_fills(const struct loop *l) { return fetch_of(l)->n_fills; }

/* --- what the store asks for --- */

/* What is known of a native object without asking upstream. */
static struct stream_answer where_is(const struct fetch *f, const struct gobj *o)
{
    struct stream_answer unknown = { .where = STREAM_UNKNOWN, .source = STREAM_SUBSCRIBED };
    const char *key = gobj_key(o);
    char session[STREAM_SESSION_LEN + 1] = "";
    struct target t;

    if (gobj_kind(o) == GOBJ_OUTSIDE ||
        target_parse(slice_of(key, strlen(key)), NULL, 0, &t) != ST_OK || t.stream.p == NULL)
        return unknown;
    if (t.session.n == STREAM_SESSION_LEN)
        memcpy(session, t.session.p, STREAM_SESSION_LEN);
    return stream_where(f->store, key + 1, t.app.n + 1 + t.stream.n,
                        session[0] != '\0' ? session : NULL, (const char *)t.rep.p, t.rep.n,
                        t.number);
}

static void hold_over(struct loop *l, struct timer *t)
{
    struct gobj *o = store_timer_gobj(t);
    struct fetch *f = fetch_of(l);

    if (f != NULL && gobj_now(o).state == GOBJ_EXPECTED)
        fill_settle(f, o, 404, NULL, fetch_limits(f)->not_found_ttl_us);
}

/* A request waits for what nobody has announced: so long, and no longer. */
static void hold(struct fetch *f, struct gobj *o, const struct stream_answer *a)
{
    uint64_t most_us = fetch_limits(f)->hold_us;
    struct timer *t = store_timer(o);

    if (timer_is_set(t))
        return;
    if (a->hold_us > 0 && a->hold_us < most_us)
        most_us = a->hold_us;
    t->fire = hold_over;
    timer_set(f->loop, t, loop_now(f->loop) + most_us);
}

static void want(void *ctx, struct loop *l, struct gobj *o)
{
    struct fetch *f = fetch_of(l);
    enum gobj_state state = gobj_now(o).state;
    struct stream_answer a;

    (void)ctx;
    if (*store_fill(o) != NULL || (state != GOBJ_FETCHING && state != GOBJ_EXPECTED))
        return;
    if (f == NULL) { /* this loop has stopped fetching */
        if (state == GOBJ_EXPECTED)
            gobj_fetching(o);
        store_unlink(l, o);
        gobj_fail(o);
        store_notify(o);
        return;
    }
    a = where_is(f, o);
    if (state == GOBJ_EXPECTED && store_was_held(o)) {
        hold(f, o, &a);
    } else if (a.source == STREAM_HERE) {
        if (state == GOBJ_FETCHING) /* what is not here is nowhere; EXPECTED comes by itself */
            fill_settle(f, o, 404, NULL, fetch_limits(f)->not_found_ttl_us);
    } else {
        if (state == GOBJ_EXPECTED)
            gobj_fetching(o);
        if (a.where == STREAM_UNKNOWN && gobj_kind(o) == GOBJ_MEDIA)
            sub_start(f, gobj_key(o) + 1, fill_stream_name_len(gobj_key(o)));
        fill_begin(f, o, NULL);
    }
}

void fetch_want(struct loop *l, struct gobj *o) { want(NULL, l, o); }

static void refresh(void *ctx, struct loop *l, struct gobj *o)
{
    (void)ctx;
    if (*store_fill(o) == NULL && fetch_of(l) != NULL && !gobj_is_dead(o))
        fill_begin(fetch_of(l), NULL, o);
}

static void unlinked(void *ctx, struct loop *l, struct gobj *o)
{
    struct fill *fl = *store_fill(o);

    (void)ctx, (void)l;
    if (!fl->own_unlink)
        fill_end_now(fl);
}

static void evicted(void *ctx, struct loop *l, struct gobj *o, bool capacity)
{
    (void)ctx, (void)o;
    FETCH_COUNT(fetch_of(l),
                cache_evictions[capacity ? METRIC_EVICT_CAPACITY : METRIC_EVICT_EXPIRED]);
}

void fetch_each_upstream(struct loop *l, void (*each)(void *arg, const struct fetch_upstream *u),
                         void *arg)
{
    uint64_t now_us = loop_now(l);

    for (const struct peer *p = fetch_of(l)->peers; p != NULL; p = p->next) {
        struct fetch_upstream u = { .url = p->host->url,
                                    .fills = p->fills,
                                    .open = p->breaker.open_us > now_us };

        breaker_recent(&p->breaker, now_us, &u.ok, &u.bad);
        each(arg, &u);
    }
}

const struct store_ops fetch_ops = {
    .want = want,
    .refresh = refresh,
    .unlinked = unlinked,
    .evicted = evicted,
};
