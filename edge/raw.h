/* edge/raw.h - an exchange on a tier listener that is no object: /_sub, /_ingest
 *
 * Purpose   the front takes connections, limits and HTTP/2 from a tier listener as from any other;
 *           what another machine of ours asks under /_ is given to front_hooks.raw as a stream of
 *           its own: a head, body bytes as they come, and an answer whose body is pulled. Everything
 *           else on such a listener is a request for an object, as a player would make it, but one
 *           that is answered from what is here and never passed on upstream.
 * Order     hooks.raw() must call raw_take(), or raw_respond() without a body, before it returns.
 *           After raw_take(): ops->data any number of times, ops->end when the request's body is
 *           whole, ops->gone once, whatever happened; then x is no more. raw_respond() once, then or
 *           later; raw_reset() may end it at any time (ops->gone follows, not from inside the call).
 * Owner     x is the front's; ctx and the body are the taker's and live until ops->gone.
 * Thread    the connection's loop, all of it.
 * Errors    raw_respond: as h2_respond(); the exchange is then reset, and ops->gone follows.
 * Tests     tests/unit/test_raw.c
 */
#ifndef EDGE_RAW_H
#define EDGE_RAW_H

#include <stddef.h>
#include <stdint.h>

#include "core/h2.h"
#include "core/status.h"

struct loop;
struct raw;

struct raw_ops {
    void (*data)(void *ctx, const uint8_t *p, size_t n); /* stream window until raw_consume() */
    void (*end)(void *ctx);
    void (*gone)(void *ctx);
};

void raw_take(struct raw *x, const struct raw_ops *ops, void *ctx);
MUST_USE enum st raw_respond(struct raw *x, int status, const struct h2_nv *nv, size_t n,
                             struct h2_body *body);
void raw_resume(struct raw *x); /* the answer's body has more, or its end */
void raw_consume(struct raw *x, size_t n);
void raw_reset(struct raw *x, enum h2_code code);

#endif
