#include "core/timer.h"

#include <string.h>

#include "core/check.h"
#include "core/clock.h"
#include "core/loop.h"

enum { FAR_TICKS = 32 }; /* far deadlines gather on multiples of this */

void timer_wheel_init(struct timer_wheel *w, uint64_t now_us)
{
    memset(w, 0, sizeof *w);
    w->done_tick = now_us / TIMER_TICK_US;
    w->wake_tick = UINT64_MAX;
}

/* The first tick at which `at` is certainly over. */
static uint64_t tick_of(const struct loop *l, uint64_t at_us)
{
    uint64_t tick = at_us / TIMER_TICK_US + 1;

    if (at_us > l->now_us + SEC_US)
        tick = (tick + FAR_TICKS - 1) / FAR_TICKS * FAR_TICKS;
    return tick > l->timers.done_tick ? tick : l->timers.done_tick + 1;
}

static void unlink_timer(struct timer_wheel *w, struct timer *t)
{
    struct timer **head = t->prevp;

    *t->prevp = t->next;
    if (t->next != NULL)
        t->next->prevp = t->prevp;
    if (t->next == NULL && head >= w->slot && head < w->slot + TIMER_SLOTS) {
        size_t i = (size_t)(head - w->slot);

        w->filled[i / 64] &= ~(UINT64_C(1) << (i % 64));
    }
    t->prevp = NULL;
}

static void link_timer(struct loop *l, struct timer *t)
{
    struct timer_wheel *w = &l->timers;
    uint64_t tick = tick_of(l, t->at_us);
    size_t i = tick % TIMER_SLOTS;

    t->next = w->slot[i];
    t->prevp = &w->slot[i];
    if (t->next != NULL)
        t->next->prevp = &t->next;
    w->slot[i] = t;
    w->filled[i / 64] |= UINT64_C(1) << (i % 64);
    if (tick < w->wake_tick)
        loop_wake_at_tick(l, tick);
}

void timer_set(struct loop *l, struct timer *t, uint64_t at_us)
{
    CHECK(t->fire != NULL);
    if (t->prevp != NULL && at_us >= t->at_us) {
        t->at_us = at_us; /* later: the sweep will move it */
        return;
    }
    timer_cancel(l, t);
    t->at_us = at_us;
    link_timer(l, t);
}

void timer_cancel(struct loop *l, struct timer *t)
{
    if (t->prevp != NULL)
        unlink_timer(&l->timers, t);
}

/* Detaches the slot's list, so that callbacks may set and cancel anything meanwhile: those that
 * are still on the detached list keep prevp into it. */
static void sweep_slot(struct loop *l, size_t i)
{
    struct timer_wheel *w = &l->timers;
    struct timer *list = w->slot[i];

    if (list == NULL)
        return;
    list->prevp = &list;
    w->slot[i] = NULL;
    w->filled[i / 64] &= ~(UINT64_C(1) << (i % 64));
    while (list != NULL) {
        struct timer *t = list;

        unlink_timer(w, t);
        if (t->at_us <= l->now_us)
            t->fire(l, t);
        else
            link_timer(l, t);
    }
}

void timer_wheel_sweep(struct loop *l)
{
    struct timer_wheel *w = &l->timers;
    uint64_t now_tick = l->now_us / TIMER_TICK_US;
    uint64_t from = w->done_tick + 1;

    if (now_tick >= from + TIMER_SLOTS) /* we slept over a whole turn: each slot once is enough */
        from = now_tick - TIMER_SLOTS + 1;
    for (uint64_t tick = from; tick <= now_tick; tick++) {
        w->done_tick = tick;
        sweep_slot(l, tick % TIMER_SLOTS);
    }
}

uint64_t timer_wheel_next_us(const struct timer_wheel *w)
{
    for (uint64_t n = 1; n <= TIMER_SLOTS;) {
        size_t i = (w->done_tick + n) % TIMER_SLOTS;
        uint64_t rest = w->filled[i / 64] >> (i % 64);

        if (rest != 0)
            return (w->done_tick + n + (uint64_t)__builtin_ctzll(rest)) * TIMER_TICK_US;
        n += 64 - i % 64;
    }
    return UINT64_MAX;
}
