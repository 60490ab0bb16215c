/* encode/stream.h - FLV in, records out: one broadcast that is passed through
 *
 * Purpose   reads tags, checks that frames are what they say, gives them to the timeline, and
 *           writes what it says as records (core/record.h): the body of the answer to POST /_encode.
 * Records   PERIOD {k, start, next_tag, reps: {REP: {pto, number}}}; start in ms since AST,
 *           next_tag: the first that the Period needs
 *           INIT {rep, codecs, timescale, w, h, sar, fps? | rate, channels, hash} + bytes, after each
 *           PERIOD for each of its renditions
 *           OPEN {rep, n, t, d?}; CHUNK {rep, n, t, d, sap, next_tag, state} + bytes;
 *           CLOSE {rep, n, d}; an OPEN or CLOSE may be said again after a resume
 *           HEALTH {speed, lag_ms, repaired, dropped, refused?}; `refused` says what to do about it,
 *           and is the last record
 * Numbers   tags are numbered by the marks between them (core/flv.h). Configurations that are sent
 *           again at the start of a body come before its first mark. A resume takes effect with the
 *           first mark; frames before it, or a state that is not ours, and it is as if there had been
 *           none.
 * Limits    a tag ENC_TAG_BYTES_MAX; what waits for its chunk TL_CHUNK_BYTES_MAX per rendition; the
 *           records of one call ENC_OUT_BYTES_MAX.
 * Units     as design.md section 9: ticks of the rendition.
 * Owner     whoever made it. Threads may hand it over between calls.
 * Thread    one at a time.
 * Errors    enc_stream_feed, _end: EPROTO (no FLV, no configuration), ELIMIT (too large, no IDR),
 *           ENOMEM. Then only enc_stream_refuse() and _free().
 * Tests     tests/unit/test_enc_stream.c, tests/fuzz/fuzz_encode.c
 */
#ifndef ENCODE_STREAM_H
#define ENCODE_STREAM_H

#include <jansson.h>
#include <stddef.h>
#include <stdint.h>

#include "core/buf.h"
#include "core/status.h"
#include "encode/timeline.h"

enum {
    ENC_TAG_BYTES_MAX = TL_CHUNK_BYTES_MAX,
    ENC_OUT_BYTES_MAX = 64 * 1024 * 1024,
};

struct enc_stream;

/* resume: an object of states, or NULL; borrowed for the stream's life. NULL: out of memory. */
struct enc_stream *enc_stream_new(const struct timeline_conf *conf, const json_t *resume);
void enc_stream_free(struct enc_stream **sp);

/* Records are added to `out`, whose limit is at least ENC_OUT_BYTES_MAX. MORE: all taken. */
MUST_USE enum st enc_stream_feed(struct enc_stream *s, const void *p, size_t n, struct buf *out);
/* The body has ended: OK when everything is out and closed. */
MUST_USE enum st enc_stream_end(struct enc_stream *s, struct buf *out);
/* After a failure: everything that is whole goes out and is closed, and why it goes no further. */
void enc_stream_refuse(struct enc_stream *s, struct buf *out);

/* How the worker does: media time over working time, in percent, and how long input waited. */
void enc_stream_health(struct enc_stream *s, uint32_t speed_percent, uint32_t lag_ms,
                       struct buf *out);
const struct timeline_counts *enc_stream_counts(const struct enc_stream *s);

#endif
