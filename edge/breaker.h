/* edge/breaker.h - when not to ask an upstream
 *
 * Purpose   a host that fails again and again is left alone for a moment, then asked once, and only
 *           an answer brings the rest back. And a purse for second attempts, so that a broken
 *           origin is not asked much more often than a sound one.
 * Rules     opens after BREAKER_ROW failures in a row, or when of at least BREAKER_MIN results in
 *           ten seconds more than half were failures; half-open after BREAKER_OPEN_US. A trial that
 *           never reports back is given up after BREAKER_TRIAL_US.
 * Units     loop_now() microseconds.
 * Owner     values; nothing to free. Zeroed memory is a closed breaker; a purse begins full.
 * Thread    one loop.
 * Tests     tests/unit/test_breaker.c
 */
#ifndef EDGE_BREAKER_H
#define EDGE_BREAKER_H

#include <stdbool.h>
#include <stdint.h>

#include "core/clock.h"

enum { BREAKER_ROW = 5, BREAKER_MIN = 20, BREAKER_SLOTS = 10 };
#define BREAKER_OPEN_US SEC_US
#define BREAKER_TRIAL_US (30 * SEC_US)

struct breaker {
    unsigned row;                   /* failures since the last success */
    uint64_t open_us;               /* until then nobody may ask; 0: closed */
    uint64_t trial_us;              /* since when one is under way to tell; 0: none */
    uint64_t slot_s[BREAKER_SLOTS]; /* the second that ok[] and bad[] of this slot are of */
    unsigned ok[BREAKER_SLOTS], bad[BREAKER_SLOTS];
};

/* May the host be asked? True while half-open is the one trial: breaker_result() must follow, or
 * breaker_undecided(). */
bool breaker_allows(struct breaker *b, uint64_t now_us);
void breaker_result(struct breaker *b, uint64_t now_us, bool ok);
/* The results of the last ten seconds. */
void breaker_recent(const struct breaker *b, uint64_t now_us, unsigned *ok, unsigned *bad);
void breaker_undecided(struct breaker *b); /* the exchange was given up by us */

/* Second attempts: each first one earns a tenth of one. */
enum { PURSE_FULL = 100, PURSE_PRICE = 10 };
struct purse {
    unsigned tenths;
};
static inline void purse_earn(struct purse *p) { p->tenths += p->tenths < PURSE_FULL; }
static inline bool purse_spend(struct purse *p)
{
    if (p->tenths < PURSE_PRICE)
        return false;
    p->tenths -= PURSE_PRICE;
    return true;
}

#endif
