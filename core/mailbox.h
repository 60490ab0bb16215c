/* core/mailbox.h - how loops talk: many senders, one reader
 *
 * Purpose   a lock-free list of letters. A letter is embedded in what it is about (no allocation);
 *           it is in at most one mailbox at a time, and who may free it knows when it is delivered.
 *           The push that finds the box empty owes the reader one eventfd write, so a burst of
 *           letters costs one wake-up. Push and signal are apart so that a sender may push under a
 *           lock (pointer work only) and make the system call after it.
 * Order     letters of one sender arrive in order.
 * Owner     the loop that reads it.
 * Thread    mailbox_push, _signal, _post: any. mailbox_drain: the reader's loop.
 * Tests     tests/unit/test_loop.c
 */
#ifndef CORE_MAILBOX_H
#define CORE_MAILBOX_H

#include <stdatomic.h>
#include <stdbool.h>

#include "core/status.h"

struct loop;

struct mail {
    struct mail *next;
    void (*deliver)(struct loop *l, struct mail *m); /* may free the letter */
};

struct mailbox {
    _Atomic(struct mail *) newest;
    int efd;
};

MUST_USE enum st mailbox_init(struct mailbox *mb);
void mailbox_fini(struct mailbox *mb); /* must be empty */

/* True: the box was empty, the caller must mailbox_signal() soon. */
MUST_USE bool mailbox_push(struct mailbox *mb, struct mail *m);
void mailbox_signal(struct mailbox *mb);
void mailbox_post(struct mailbox *mb, struct mail *m); /* push, and signal where owed */

/* Delivers all that is there now, oldest first; the number of letters. */
unsigned mailbox_drain(struct mailbox *mb, struct loop *l);

#endif
