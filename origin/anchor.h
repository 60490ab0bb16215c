/* origin/anchor.h - where media time stands against the wall clock
 *
 * Purpose   the network can only delay a frame, so the smallest (arrival - media time) of the last
 *           while is the publisher's true offset. It counts once two seconds of it have been seen.
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
    int64_t first_us;             /* arrival of the first frame */
    bool any;
};

void anchor_init(struct anchor *a);
void anchor_add(struct anchor *a, int64_t arrival_us, int64_t media_ms);
bool anchor_settled(const struct anchor *a, int64_t now_us);
/* arrival - media time, the least of the window. Only after the first anchor_add(). */
int64_t anchor_us(const struct anchor *a, int64_t now_us);

#endif
