/* origin/anchor.h - where media time stands against the wall clock
 *
 * Purpose   the network can only delay a frame, so the smallest (arrival - media time) of the last
 *           while is the publisher's true offset.
 *           After a silence most publishers send at once what they have kept. It is known by its
 *           lag behind the offset; what is older than players are behind anyhow is of no use to
 *           anybody (STALE). A few go on where they stopped: their lag does not fall, and is their
 *           new offset (ANEW).
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
    int64_t known;                /* the offset before the silence */
    int64_t look_us, look_lag;    /* when the lag was last looked at, and what it was */
    bool any;
    bool back;  /* after a silence, and not yet in time again */
    bool looks; /* and the first frame after it has come */
};

enum anchor_verdict { ANCHOR_GOOD, ANCHOR_STALE, ANCHOR_ANEW };

void anchor_init(struct anchor *a);
void anchor_add(struct anchor *a, int64_t arrival_us, int64_t media_ms);
/* A silence is over; now_us: when it began. */
void anchor_pause(struct anchor *a, int64_t now_us);
/* Before anchor_add(). STALE: not to be added. ANEW: all that was known is forgotten. */
enum anchor_verdict anchor_judge(struct anchor *a, int64_t arrival_us, int64_t media_ms);
/* arrival - media time, the least of the window. Only after the first anchor_add(). */
int64_t anchor_us(const struct anchor *a, int64_t now_us);

#endif
