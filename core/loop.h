/* core/loop.h - one event loop, one thread, and everything that thread owns
 *
 * Purpose   the share-nothing unit: connections, views, timers, counters and the configuration in
 *           force belong to exactly one loop. Other threads send a letter (core/mailbox.h).
 *           Nothing is freed inside its own callback: it is buried and freed after the turn.
 * Units     now_us: monotonic microseconds, read at each wake-up of the loop.
 * Owner     main() makes the loops before the threads and frees them after joining.
 * Thread    the loop's own thread only, but for the last part (mailbox).
 * Errors    loop_init: ENOMEM, EIO.
 * Tests     tests/unit/test_loop.c
 */
#ifndef CORE_LOOP_H
#define CORE_LOOP_H

#include <stdalign.h>
#include <stdbool.h>
#include <stdint.h>

#include "core/mailbox.h"
#include "core/outq.h"
#include "core/status.h"
#include "core/timer.h"

struct event_base;
struct event;
struct conf;
struct metrics;
struct log;

/* Something to be freed at the end of the turn, never inside its own callback. */
struct grave {
    struct grave *next;
    void (*free_fn)(struct grave *g);
};

/* What modules keep per loop; each slot is made, used and freed by the module it is named for. */
enum loop_slot {
    LOOP_STORE,
    LOOP_FRONT,
    LOOP_FETCH,
    LOOP_HOME,
    LOOP_INGEST,
    LOOP_UPLINK,
    LOOP_TLS_STAGE,
    LOOP_SLOTS
};

struct loop {
    int magic;
    int index; /* 0..count-1 */
    int count;
    bool stopping;
    struct event_base *base; /* libevent, EVENT_BASE_FLAG_NOLOCK */
    struct event *mail_ev;
    struct event *tick_ev;
    uint64_t now_us;
    uint64_t turns;
    struct timer_wheel timers;
    struct grave *graves;
    struct mailbox_owed owed;   /* signals of loop_post() */
    struct outq_pool outq_pool; /* spare blocks of every output queue on this loop */
    const struct conf *conf;    /* adopted by letter; one reference */
    struct metrics *metrics;    /* this loop's counters; NULL in tests that need none */
    struct log *log;            /* this loop's log; NULL: silent */
    void *slot[LOOP_SLOTS];

    alignas(64) struct mailbox mailbox; /* other threads post here */
};

MUST_USE enum st loop_init(struct loop *l, int index, int count);
void loop_fini(struct loop *l); /* after the thread has ended and the modules have let go */

/* One turn: wait at most until the next timer or event, dispatch, then free the dead. */
MUST_USE enum st loop_turn(struct loop *l);
/* The same without waiting. For tests, and for draining at the end. */
MUST_USE enum st loop_turn_nowait(struct loop *l);
/* Turns until loop_stop() or a failure. */
MUST_USE enum st loop_run(struct loop *l);
void loop_stop(struct loop *l); /* own thread; from another one, by letter */

/* Every callback that libevent makes starts with this; returns the fresh now_us. */
uint64_t loop_touch(struct loop *l);
static inline uint64_t loop_now(const struct loop *l) { return l->now_us; }

/* A letter to another loop that comes in a crowd of them: one wake-up a turn. `to` gets it when this
 * turn ends, so nothing in the turn may wait for what comes of it. */
static inline void loop_post(struct loop *from, struct loop *to, struct mail *m)
{
    mailbox_push_owing(&to->mailbox, m, &from->owed);
}

void loop_bury(struct loop *l, struct grave *g, void (*free_fn)(struct grave *));

/* For core/timer.c: make the loop wake up for this tick. */
void loop_wake_at_tick(struct loop *l, uint64_t tick);

#endif
