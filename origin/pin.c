/* The pin: which worker a session's exchange is with. Rendezvous by name, so that a home that
 * starts again finds the streams where they were; bounded load, because there are few workers and a
 * stream is heavy; kept while its exchange lasts, because to move costs a takeover. A worker that has failed the session is
 * left out until another one has made a chunk. */
#include <string.h>

#include "core/check.h"
#include "origin/home_int.h"

enum { PIN_PERCENT = 110 };

static unsigned count(const struct home *h)
{
    return h->cfg.n_workers < RDV_NODES_MAX ? h->cfg.n_workers : RDV_NODES_MAX;
}

static bool all_failed(const struct session *s, unsigned n)
{
    for (unsigned i = 0; i < n; i++)
        if (!s->failed[i])
            return false;
    return true;
}

void pin_take(struct session *s)
{
    struct home *h = s->hl->home;
    int n = (int)count(h), order[RDV_NODES_MAX], at;
    struct rdv_node nodes[RDV_NODES_MAX];
    uint64_t load[RDV_NODES_MAX];

    CHECK(n > 0);
    pin_release(s);
    if (all_failed(s, (unsigned)n)) /* there is nobody better than the one before the last */
        for (int i = 0; i < n; i++)
            s->failed[i] = n > 1 && i == (int)s->worker;
    for (int i = 0; i < n; i++) {
        nodes[i] = s->hl->nodes[i];
        if (s->failed[i])
            nodes[i].weight = 0;
        load[i] = atomic_load_explicit(&h->load[i], memory_order_relaxed);
    }
    rdv_rank(nodes, n, s->name, strlen(s->name), order);
    at = rdv_pick_bounded(nodes, n, order, load, 1, PIN_PERCENT, -1);
    CHECK(at >= 0); /* at least one has not failed */
    s->worker = (unsigned)at;
    s->pinned = true;
    (void)atomic_fetch_add_explicit(&h->load[at], 1, memory_order_relaxed);
}

void pin_release(struct session *s)
{
    if (s->pinned)
        (void)atomic_fetch_sub_explicit(&s->hl->home->load[s->worker], 1, memory_order_relaxed);
    s->pinned = false;
}

void pin_failed(struct session *s)
{
    if (s->pinned)
        s->failed[s->worker] = true;
}

void pin_works(struct session *s) { memset(s->failed, 0, sizeof s->failed); }
