/* core/hand.h - which stream a worker has in hand, for whoever finds it dead
 *
 * Purpose   a page of memory that the daemon makes and a worker writes: one slot per codec thread,
 *           with the name of the stream whose bytes it is reading. When the worker has crashed, the
 *           streams in hand are suspects; when none was, the one that was in hand last is.
 * Owner     the daemon (a memfd, sealed against changes of its size, mapped for the child's life).
 *           A worker may write anything into it: names are held to their alphabet when read.
 * Thread    a slot is its thread's. hand_suspects(): when the worker is dead.
 * Errors    hand_page_new: EIO. hand_page_map: EIO, not such a page.
 * Tests     tests/unit/test_hand.c
 */
#ifndef CORE_HAND_H
#define CORE_HAND_H

#include <stdatomic.h>
#include <stdint.h>

#include "core/status.h"

enum { HAND_SLOTS = 64, HAND_NAME = 136 };

struct hand_slot {
    _Atomic uint64_t turn; /* 0: never used */
    _Atomic uint32_t busy;
    char name[HAND_NAME];
};

struct hand_page {
    _Atomic uint64_t turns;
    struct hand_slot slot[HAND_SLOTS];
};

/* The daemon's side: all zero. */
MUST_USE enum st hand_page_new(int *fd, struct hand_page **out);
void hand_page_clear(struct hand_page *p); /* before another worker gets it */
void hand_page_free(int *fd, struct hand_page **pp);
/* Names are APP/STREAM; returns how many. */
unsigned hand_suspects(const struct hand_page *p, char name[HAND_SLOTS][HAND_NAME]);

/* The worker's side; a NULL page is a no-op. */
MUST_USE enum st hand_page_map(int fd, struct hand_page **out); /* closes fd */
void hand_take(struct hand_page *p, unsigned slot, const char *name);
void hand_drop(struct hand_page *p, unsigned slot);

#endif
