/* core/mailbox.h - how loops talk: many senders, one reader
 *
 * Purpose   a lock-free list of letters. A letter is embedded in what it is about (no allocation);
 *           it is in at most one mailbox at a time, and who may free it knows when it is delivered.
 *           The push that finds the box empty owes the reader one eventfd write, so a burst of
 *           letters costs one wake-up; a reader that is awake looks once more before it sleeps and
 *           is owed nothing, so what a loop writes to itself costs no system call. Push and signal
 *           are apart so that a sender may push under a lock (pointer work only) and make the
 *           system call after it.
 * Order     letters of one sender arrive in order.
 * Owner     the loop that reads it.
 * Thread    mailbox_push*, _signal, _post, _settle: any. The rest: the reader's loop.
 * Tests     tests/unit/test_loop.c
 */
#ifndef CORE_MAILBOX_H
#define CORE_MAILBOX_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>

#include "core/status.h"

struct loop;

struct mail {
    struct mail *next;
    void (*deliver)(struct loop *l, struct mail *m); /* may free the letter */
};

struct mailbox {
    _Atomic(struct mail *) newest;
    atomic_bool awake; /* the reader will look into the box before it waits */
    int efd;
};

MUST_USE enum st mailbox_init(struct mailbox *mb);
void mailbox_fini(struct mailbox *mb); /* must be empty */

/* True: the box was empty and its reader may sleep, the caller must mailbox_signal() soon. */
MUST_USE bool mailbox_push(struct mailbox *mb, struct mail *m);
void mailbox_signal(struct mailbox *mb);
void mailbox_post(struct mailbox *mb, struct mail *m); /* push, and signal where owed */

/* Whom a sender of many letters has yet to signal. Zeroed is empty. Until it is settled nobody who
 * posts to those boxes wakes their readers either, so: soon, and never waited for in between. */
struct mailbox_owed {
    struct mailbox *box[8];
    unsigned n;
};
void mailbox_push_owing(struct mailbox *mb, struct mail *m, struct mailbox_owed *o);
void mailbox_settle(struct mailbox_owed *o);

/* Delivers all that is there now, oldest first; the number of letters. */
unsigned mailbox_drain(struct mailbox *mb, struct loop *l);
void mailbox_clear(struct mailbox *mb); /* the signal; before a drain, so that none is lost */

/* The reader is at work, and will look once more. mailbox_rest() ends that: from then on it may wait
 * only after mailbox_has() said no. */
static inline void mailbox_wake(struct mailbox *mb)
{
    if (!atomic_load_explicit(&mb->awake, memory_order_relaxed)) /* only the reader writes it */
        atomic_store_explicit(&mb->awake, true, memory_order_relaxed);
}
static inline void mailbox_rest(struct mailbox *mb)
{
    atomic_store_explicit(&mb->awake, false, memory_order_seq_cst);
}
static inline bool mailbox_has(const struct mailbox *mb)
{
    return atomic_load_explicit(&mb->newest, memory_order_seq_cst) != NULL;
}

#endif
