/* ingest/normalise.h - a broadcaster's time stamps, made into session time
 *
 * Purpose   whatever a publisher's clock does, session time does not go back and says where it
 *           jumped: the wrap at 32 bits (and at 31) is undone; the first tag is put at `base_ms`
 *           and all kinds share its offset; a tag that is up to a second late is moved to a
 *           millisecond after the last of its kind; a larger step back, or one of more than ten
 *           seconds on, begins a new timeline that goes on from the clock on the wall (a
 *           discontinuity). Data tags are hints: they are put between the others and move nothing.
 * Units     milliseconds; `now_us` is monotonic.
 * Owner     a value, embedded in the session.
 * Thread    one loop.
 * Errors    ELIMIT: NORMALISE_JUMPS new timelines within NORMALISE_WINDOW_US: audio and video that
 *           have nothing to do with each other, or somebody who wants us to make Periods.
 * Tests     tests/unit/test_normalise.c
 */
#ifndef INGEST_NORMALISE_H
#define INGEST_NORMALISE_H

#include <stdbool.h>
#include <stdint.h>

#include "core/status.h"

enum {
    NORMALISE_BACK_MS = 1000,
    NORMALISE_JUMP_MS = 10 * 1000,
    NORMALISE_JUMPS = 30,
    NORMALISE_WINDOW_US = 60 * 1000 * 1000,
};

enum normalise_kind { NORMALISE_AUDIO, NORMALISE_VIDEO, NORMALISE_DATA, NORMALISE_KINDS };

struct normalise {
    bool started;
    int64_t base_ms;
    int64_t offset_ms; /* from the publisher's unwrapped time to session time */
    int64_t in_ms;     /* the last one, unwrapped */
    int64_t out_ms;    /* the highest given out */
    uint64_t at_us;    /* when that was */
    struct {
        bool seen;       /* on this timeline */
        int64_t high_ms; /* highest of the publisher's */
        int64_t out_ms;  /* last of ours */
    } kind[NORMALISE_KINDS];
    unsigned jumps; /* since window_us */
    uint64_t window_us;

    /* counters */
    uint64_t repaired, timelines;
};

struct normalised {
    int64_t ms;
    bool begins;   /* a new timeline: before any other tag's, after the first a discontinuity */
    bool repaired; /* it was late and was moved */
};

void normalise_init(struct normalise *n, int64_t base_ms);
MUST_USE enum st normalise_next(struct normalise *n, enum normalise_kind kind, uint32_t ts_ms,
                                uint64_t now_us, struct normalised *out);

#endif
