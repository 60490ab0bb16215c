/* encode/timeline.h - from frames with milliseconds to segments and chunks with exact ticks
 *
 * Purpose   Periods, segments, chunks and their numbers for one stream that is passed through.
 *           Everything that is cut, and where, follows from the media times, the tags' numbers and
 *           the marks, never from how the input was split or when it came: equal input makes equal
 *           output on any worker, and one that starts from the state in a chunk goes on, in the
 *           same segment, as if nothing had happened.
 * Rules     design.md section 6.
 *           Video: decoding time = milliseconds x 90, moved up by the composition offset of the
 *           Period's first frame, so that a segment's first time is its earliest presentation time;
 *           a frame's duration is known when the next one comes. Segments are cut on IDRs.
 *           Audio: a sample counter, set anew when it is more than 100 ms off. Its segments end with
 *           those of video, at the first frame that begins later, as far as these are promised, and
 *           else as sound alone does: once per segment duration.
 *           A Period is announced with its first chunk: what configuration has come by then is in
 *           it. An OPEN goes right before the first chunk of a segment, so none is ever empty.
 *           Until it is announced a Period can be moved. While media come faster than time goes (a
 *           publisher who begins with what it has kept; the anchor falls by it) nothing is said,
 *           and each IDR begins the Period anew; then it stands where the anchor is by then. A
 *           Period that would begin before the last one ended waits for the IDR that does not.
 *           A duration is promised from the first segment on: GOPs are taken to be as in the Period
 *           before, else as long as a segment, until two that follow each other differ; then only
 *           after three equal ones.
 * Resume    a state says `next`: the first tag that its rendition has not used up. The stream goes
 *           on from the lowest of them. A rendition of the Period without a chunk needs the tags
 *           from the Period's first_tag on.
 * Units     milliseconds since AST for Periods, ticks since AST of the rendition elsewhere.
 * Owner     the stream. Chunks, their bytes and state are borrowed for the call of the op.
 * Thread    one at a time.
 * Errors    ELIMIT: no IDR for 20 s, ENOMEM; after that only timeline_end() and _free().
 *           timeline_resume: EPROTO, a state that cannot be ours; start without it.
 * Tests     tests/unit/test_timeline.c, tests/unit/test_resume.c
 */
#ifndef ENCODE_TIMELINE_H
#define ENCODE_TIMELINE_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/status.h"
#include "encode/cmaf.h"
#include "encode/init.h"

enum tl_rep { TL_VIDEO, TL_AUDIO, TL_REPS };
extern const char *const tl_rep_name[TL_REPS]; /* "v0", "a0" */

enum {
    TL_CHUNK_BYTES_MAX = 8 * 1024 * 1024, /* of media; a frame is at most that */
    TL_CHUNK_SAMPLES_MAX = 512,
    TL_SEGMENT_MS_MAX = 60 * 1000,
    TL_IDR_WAIT_MS = 20 * 1000,
    TL_JUMP_MS = 10 * 1000,
    TL_BACKSTEP_MS = 1000,
    TL_AUDIO_OFF_MS = 100,         /* what the sample counter may be off */
    TL_AUDIO_GONE_MS = 5 * 1000,   /* so long without audio: a Period without it */
    TL_AUDIO_ONLY_MS = 2 * 1000,   /* so long without a video configuration: only audio */
    TL_HURRY_MS = 500,             /* so much media at a time show that a hurry is over */
    TL_DRIFT_MS = 100,             /* a lag that a new Period corrects, */
    TL_DRIFT_EVERY_MS = 60 * 1000, /* and how often that may be */
    TL_MS_BITS = 40,               /* session times and anchors stay below 2^40 ms of AST */
};

struct timeline_conf {
    int64_t ast_s;
    int64_t segment_ms, chunk_ms;
    int64_t k;           /* of the first Period that is opened */
    int64_t number;      /* at least this for its segments */
    int64_t earliest_ms; /* and this for its start */
};

struct tl_frame {
    uint64_t tag;
    int64_t ms; /* session time, not wrapped: decoding time */
    int32_t cts_ms;
    bool sync; /* video: an IDR */
    bool disposable;
    const uint8_t *data;
    size_t n; /* at most TL_CHUNK_BYTES_MAX */
};

struct tl_period {
    int64_t k;
    int64_t start_ms;
    int64_t off_ms; /* AST time minus session time */
    uint64_t first_tag;
    uint64_t said_tag;          /* with which it was announced: nothing is cut before it */
    int64_t number;             /* of the first segment of each rendition */
    int64_t gop;                /* ticks, as it is taken to be; 0: it cannot be known */
    struct init *init[TL_REPS]; /* NULL: not in this Period */
};
/* presentationTimeOffset: the Period's start in ticks. */
int64_t tl_period_pto(const struct tl_period *p, enum tl_rep rep);

struct tl_chunk {
    enum tl_rep rep;
    int64_t n; /* the segment's number */
    int64_t d; /* ticks */
    bool sap;  /* begins with a sync sample */
    uint64_t next_tag;
    const char *state; /* JSON object */
    struct cmaf_chunk cmaf;
    const uint8_t *media;
    size_t media_bytes;
};

struct timeline_ops {
    void (*period)(void *ctx, const struct tl_period *p);
    /* d 0: no promise; may come again for the open segment, with a larger d. */
    void (*open)(void *ctx, enum tl_rep rep, int64_t n, int64_t t, int64_t d);
    void (*chunk)(void *ctx, const struct tl_chunk *c);
    void (*close)(void *ctx, enum tl_rep rep, int64_t n, int64_t d);
};

struct timeline_counts {
    uint64_t repaired; /* frames whose time was moved */
    uint64_t dropped;  /* frames that went nowhere */
    uint64_t periods;
    int64_t media_ms; /* AST time of the end of the newest chunk */
};

struct timeline;
struct timeline *timeline_new(const struct timeline_conf *conf, const struct timeline_ops *ops,
                              void *ctx); /* NULL: out of memory */
void timeline_free(struct timeline **tp);

/* Before the first frame: an object with the last state of each rendition. May close segments. */
MUST_USE enum st timeline_resume(struct timeline *tl, const json_t *states);

/* A configuration has come; one like the last changes nothing. Takes a reference of its own. */
void timeline_config(struct timeline *tl, struct init *init);
/* Wall clock of session time zero, from here on. */
void timeline_anchor(struct timeline *tl, int64_t anchor_us);
/* What comes, from this tag on, does not belong to what was: drop what has not been said, wait for
 * an IDR. */
void timeline_discontinuity(struct timeline *tl, uint64_t tag);
MUST_USE enum st timeline_video(struct timeline *tl, const struct tl_frame *f);
MUST_USE enum st timeline_audio(struct timeline *tl, const struct tl_frame *f);
/* The end: everything out, everything closed. */
void timeline_end(struct timeline *tl);

const struct timeline_counts *timeline_counts(const struct timeline *tl);

#endif
