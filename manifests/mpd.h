/* manifests/mpd.h - the DASH manifest of a presentation
 *
 * Purpose   writes the MPD that the model describes: SegmentTemplate with SegmentTimeline and
 *           $Number$, the segments in progress listed while the duration of pictures is promised
 *           (sound never runs ahead of them by a segment that pictures do not have), a Period per
 *           publisher, type="static" once the broadcast has ended. A function of its arguments:
 *           the same model and options give the same bytes on any machine.
 *           A Period comes into the document when each of its renditions has something to list (or
 *           one of them two whole segments: the others may never come), because players choose
 *           their tracks when they first see it. A static document begins where its media begins.
 * Spec      ISO/IEC 23009-1; design.md section 6. BaseURL SESSION/ in every Period, none with
 *           in_session. Latency is what the newest segments allow: chunks of a promised segment,
 *           or whole segments. availabilityTimeOffset is one for the whole document, which players
 *           may hold against maxSegmentDuration; neither comes nearer again.
 * Units     publish_us Unix microseconds, window_us microseconds of media, latency_ms
 *           milliseconds.
 * Owner     the caller owns the buffer and its limit.
 * Thread    one at a time per model and buffer; no state.
 * Errors    MORE: nothing to list yet; ENOENT: nothing, and nothing will come; ELIMIT, ENOMEM: from
 *           the buffer. Bytes of a failed call are not to be sent.
 * Tests     tests/unit/test_mpd.c, tests/unit/mpd_schema.sh, tests/fuzz/fuzz_model.c
 */
#ifndef MANIFESTS_MPD_H
#define MANIFESTS_MPD_H

#include "core/buf.h"
#include "manifests/model.h"

struct mpd_opts {
    int64_t publish_us;  /* when this content came to be: see mpd_same() */
    int64_t window_us;   /* media to list; 0: the model's window, or all of it once ended */
    uint32_t latency_ms; /* target where chunks allow it; 0: 1.5 s or 5 chunks, the longer */
    bool in_session;     /* the document lives under SESSION/ */
};

/* Adds the document to b. */
MUST_USE enum st mpd_write(struct buf *b, const struct model *m, const struct mpd_opts *o);

/* Two documents that differ at most in publishTime. A new one that is the same as the one in force
 * is to be dropped: so publishTime, ETag and caches change with content only. */
bool mpd_same(const void *a, size_t a_len, const void *b, size_t b_len);

#endif
