/* encode/cmaf.h - what stands before the media bytes of a CMAF chunk
 *
 * Purpose   styp (first chunk of a segment), prft, moof and the head of mdat, for one run of
 *           samples of one track. The media bytes follow as they are. The state of a muxer could
 *           not be handed to another worker in the middle of a segment; this has none.
 * Spec      ISO/IEC 14496-12 (8.8 fragments, 8.16.2 styp, 8.16.5 prft), 23000-19 (CMAF): default
 *           base is moof, tfdt version 1 (64 bits, absolute), trun version 1 (composition offsets
 *           may be negative), no edit list to rely on.
 * Units     tfdt, duration and cts in ticks of the track; sizes in bytes.
 * Owner     samples are borrowed for the call.
 * Thread    any; no state.
 * Errors    in b->st.
 * Tests     tests/unit/test_cmaf.c
 */
#ifndef ENCODE_CMAF_H
#define ENCODE_CMAF_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/buf.h"

struct cmaf_sample {
    uint32_t size_bytes;
    uint32_t duration;
    int32_t cts;     /* presentation minus decoding time */
    bool sync;       /* a player may start here */
    bool disposable; /* nothing refers to it */
};

struct cmaf_chunk {
    uint32_t track;
    uint32_t sequence; /* of the fragment, from 1 */
    bool first;        /* of its segment: with styp */
    int64_t tfdt;
    uint64_t ntp; /* cmaf_ntp() of the first sample */
    const struct cmaf_sample *samples;
    size_t count;             /* at least 1 */
    uint32_t sample_duration; /* not 0: all have this, are sync and cts 0 (audio) */
};

/* Wall clock of media time t as NTP: seconds since 1900 (modulo 2^32) and a binary fraction. */
uint64_t cmaf_ntp(int64_t ast_s, int64_t t, uint32_t timescale);

/* Up to the head of mdat; the sum of the sample sizes must be what follows, below 2^32 - 16. */
void cmaf_put_head(struct buf *b, const struct cmaf_chunk *c);

#endif
