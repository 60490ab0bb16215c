/* edge/cache_policy.h - may an outside origin's response be shared, and for how long
 *
 * Purpose   RFC 9111 for a shared cache, on the careful side: what is unclear is not shared, or is
 *           asked about again. Our own streams do not come here: their lifetimes are known.
 *           Without a word about freshness there is no guessing from Last-Modified: the app's
 *           default_us applies, and its default is 0 (ask the origin at each use).
 * Spec      RFC 9111 sections 3, 4.2, 5.2; RFC 5861. s-maxage forbids stale use as
 *           proxy-revalidate does, unless the same response allows some by a stale-* directive.
 * Units     microseconds from the arrival of the response head; wall clock in seconds.
 * Thread    pure.
 * Tests     tests/unit/test_cache_policy.c
 */
#ifndef EDGE_CACHE_POLICY_H
#define EDGE_CACHE_POLICY_H

#include "edge/http_reply.h"

/*  name            why a response is not shared                                    */
#define CACHE_REFUSALS(X)                                        \
    X(NONE, "it is")                                             \
    X(STATUS, "a status other than 200 203 204 301 308 404 410") \
    X(NO_STORE, "no-store")                                      \
    X(PRIVATE, "private")                                        \
    X(COOKIE, "it sets a cookie")                                \
    X(VARY, "it varies by more than accept-encoding")            \
    X(AUTHORIZATION, "the request carried credentials")          \
    X(PARTIAL, "it is a part of something")                      \
    X(USELESS, "neither fresh for any time nor with anything to ask again by")

enum cache_refusal {
#define X(name, text) CACHE_REFUSED_##name,
    CACHE_REFUSALS(X)
#undef X
};

struct cache_request {
    bool authorization; /* the request that was sent upstream had it */
    int64_t wall_s;     /* when the response head arrived */
    uint64_t delay_us;  /* from the request sent to the response head */
    uint64_t default_us;
};

struct cache_policy {
    enum cache_refusal refusal;   /* NONE: store it, share it */
    bool must_revalidate;         /* never serve it stale */
    uint64_t age_us;              /* what it had lived when it arrived */
    uint64_t fresh_us;            /* 0: ask the origin before each use */
    uint64_t while_revalidate_us; /* stale use after fresh_us: while asking; */
    uint64_t if_error_us;         /* when asking failed */
};

struct cache_policy cache_policy_of(const struct http_reply *r, const struct cache_request *q);

const char *cache_refusal_name(enum cache_refusal r);

#endif
