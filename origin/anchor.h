/* origin/anchor.h - where media time stands against the wall clock
 *
 * Purpose   the network can only delay a frame, so the smallest (arrival - media time) of the last
 *           while is the publisher's true offset. It has settled when it has not become much
 *           smaller for two seconds.
 *           After a silence most publishers send at once what they have kept, and their offset is
 *           what it was; a few go on where they stopped. What was known counts until the new has
 *           settled, so that the beginning of a backlog is not taken for the pace of the rest.
 * Units     microseconds; wall time since the Unix epoch, session time in milliseconds.
 * Owner     the session; a value.
 * Thread    the home loop.
 * Tests     tests/unit/test_anchor.c
 */
#ifndef ORIGIN_ANCHOR_H
#define ORIGIN_ANCHOR_H

#include <stdbool.h>
#include <stdint.h>

enum { ANCHOR_CELLS = 30 }; /* one second each: the window */

struct anchor {
    int64_t cell_min[ANCHOR_CELLS];
    int64_t cell_s[ANCHOR_CELLS]; /* which second the cell is of */
    int64_t fell_us;              /* arrival of the frame that made it much smaller */
    int64_t fell_to;              /* and what it was then */
    int64_t held;                 /* what was known before the silence */
    bool any, holds;
};

void anchor_init(struct anchor *a);
void anchor_add(struct anchor *a, int64_t arrival_us, int64_t media_ms);
/* A silence is over: the next anchor_add() is the first after it. */
void anchor_hold(struct anchor *a, int64_t now_us);
/* Once after anchor_hold(), when the new has settled: is it so much later than what was known that
 * nothing which follows can be in time? */
bool anchor_let_go(struct anchor *a, int64_t now_us);
bool anchor_settled(const struct anchor *a, int64_t now_us);
/* arrival - media time, the least of the window. Only after the first anchor_add(). */
int64_t anchor_us(const struct anchor *a, int64_t now_us);

#endif
