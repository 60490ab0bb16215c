/* core/timer.h - a timer wheel per loop
 *
 * Purpose   deadlines for tens of thousands of connections: setting, moving and cancelling are
 *           O(1) and need no system call. Moving a deadline later only writes the new time; the
 *           wheel puts the timer in its new slot when it meets it.
 * Units     microseconds of loop_now() (monotonic). Resolution 8 ms; a deadline more than 1 s away
 *           may fire up to 256 ms late, never early, so that ten thousand of them share wake-ups.
 * Owner     the struct that embeds the timer; cancel before freeing it.
 * Thread    the loop's own.
 * Tests     tests/unit/test_loop.c
 */
#ifndef CORE_TIMER_H
#define CORE_TIMER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct loop;

struct timer {
    struct timer *next, **prevp; /* prevp NULL: not set */
    uint64_t at_us;
    void (*fire)(struct loop *l,
                 struct timer *t); /* not set any more; may set it, free its owner */
};

enum { TIMER_SLOTS = 1024, TIMER_TICK_US = 8192 };

struct timer_wheel {
    struct timer *slot[TIMER_SLOTS];
    uint64_t filled[TIMER_SLOTS / 64];
    uint64_t done_tick; /* every slot up to this tick has been swept */
    uint64_t wake_tick; /* the tick the loop will wake up for; UINT64_MAX: none */
};

void timer_set(struct loop *l, struct timer *t, uint64_t at_us);
void timer_cancel(struct loop *l, struct timer *t); /* no-op when not set */
static inline bool timer_is_set(const struct timer *t) { return t->prevp != NULL; }

/* For core/loop.c. */
void timer_wheel_init(struct timer_wheel *w, uint64_t now_us);
void timer_wheel_sweep(struct loop *l);                    /* fires what is due at loop_now() */
uint64_t timer_wheel_next_us(const struct timer_wheel *w); /* UINT64_MAX: nothing set */

#endif
