/* manifests/model.h - the presentation log: what a session consists of, as documents tell it
 *
 * Purpose   takes the verbs that a worker's records say (period, init, open, chunk, close), in
 *           their order, and keeps Periods, renditions, segments and parts. The manifest writers
 *           read it and nothing else. It holds no bytes of media and no wall clock.
 * Spec      design.md section 6: numbers are consecutive per rendition inside a Period and rise
 *           for ever, Periods follow each other, at most one segment of a rendition is open. An
 *           open segment has a duration only while one is promised: OPEN again with a larger one
 *           moves the promise, without one (or media beyond it) withdraws it, CLOSE says the true
 *           one. A segment closed without media never was: its number stays used and its rendition
 *           is over for this Period. Video of the Period before ends before the next one starts;
 *           its audio may stick out, players clip it.
 * Units     media time is ticks of the rendition since availabilityStartTime (AST); Period start
 *           and windows are microseconds since AST; AST is Unix seconds.
 * Owner     the home. Others read; pointers live until the next verb.
 * Thread    one at a time.
 * Errors    after a refusal the model is as it was. EPROTO: wrong order, numbers that fall, times
 *           that overlap, texts outside their alphabet, anything but expire after the end. ENOENT:
 *           no such rendition in this Period, or a number that is already closed: to be ignored
 *           and counted. ELIMIT: one of the limits below. ENOMEM.
 * Tests     tests/unit/test_model.c, tests/fuzz/fuzz_model.c
 */
#ifndef MANIFESTS_MODEL_H
#define MANIFESTS_MODEL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/status.h"

enum {
    MODEL_SESSION_LEN = 13,
    MODEL_REP_MAX = 3, /* "v0" "a12" */
    MODEL_HASH_LEN = 8,
    MODEL_CODECS_MAX = 63,
    MODEL_TRACKS_MAX = 32, /* names in a session, renditions in a Period */
    MODEL_PERIODS_MAX = 4096,
    MODEL_SEGMENTS_MAX = 200000, /* per rendition and Period; 24 h of DVR is 86,400 of 1 s */
    MODEL_PARTS_MAX = 1024,      /* per segment */
    MODEL_PART_SEGMENTS = 4,     /* closed segments that still have their parts */
    MODEL_TIMESCALE_MAX = 10000000,
    MODEL_DIMENSION_MAX = 8192,
    MODEL_SEGMENT_BYTES_MAX = 1 << 30
};
#define MODEL_TIME_MAX_US INT64_C(315576000000000) /* ten years after AST */
#define MODEL_LONGEST_US INT64_C(60000000)         /* a segment */
#define MODEL_NUMBER_MAX UINT64_C(4294967295)      /* what an MPD's startNumber holds */

struct model_conf {
    const char *session; /* 13 of [0-9a-z]; copied */
    int64_t ast_s;
    int64_t segment_us; /* target duration */
    int64_t chunk_us;
    int64_t window_us;
    uint32_t segments_max; /* 0: MODEL_SEGMENTS_MAX */
};

struct model_segment {
    uint64_t n;
    uint64_t msn; /* HLS media sequence number: counts on over the whole session */
    int64_t t;
    int64_t d;          /* open: the promise, 0 when there is none; closed: the true one */
    uint64_t size;      /* bytes so far */
    bool open;          /* the last one of its rendition only */
    bool promised;      /* its duration was told before its end, and not withdrawn */
    bool discontinuity; /* the first of a later Period */
};

/* A chunk, as LL-HLS wants it: a range of its segment's bytes. */
struct model_part {
    uint64_t n;
    int64_t t, d;
    uint64_t at;
    uint32_t size;
    bool independent;
};

struct model_list {
    void *v;
    size_t head, n, room;
};

/* What INIT says. Texts are copied. */
struct model_init {
    uint32_t timescale;
    const char *codecs;        /* RFC 6381, one codec: "avc1.64001f" */
    const char *hash;          /* 8 hex digits, of init-HASH8.mp4 */
    uint32_t width, height;    /* video */
    uint32_t sar_x, sar_y;     /* video; both 0: not told */
    uint32_t fps_num, fps_den; /* video; both 0: not told, or varying */
    uint32_t rate, channels;   /* audio */
    uint32_t bandwidth_bps;    /* an estimate until segments are measured; 0: none */
};

struct model_rep {
    char name[MODEL_REP_MAX + 1];
    bool video;
    bool inited;
    bool stopped; /* nothing opens any more in this Period */
    bool between; /* the last segment was closed in good order, and the next is to follow at once */
    unsigned track;
    int64_t pto;     /* presentationTimeOffset: the Period's start */
    uint64_t number; /* of the first segment */
    uint64_t next;   /* to be opened */
    int64_t end; /* of the last closed segment; before there is one: where the first may begin */

    struct model_init init; /* its texts are these two: */
    char codecs[MODEL_CODECS_MAX + 1];
    char hash[MODEL_HASH_LEN + 1];

    int64_t reached;   /* open: the end of its last chunk */
    int64_t promise;   /* of the last segment: the largest duration that was promised */
    uint32_t n_parts;  /* open: of this segment */
    uint32_t peak_bps; /* over closed segments; 0: none yet */
    int64_t longest;   /* closed segment */
    struct model_list segments, parts;
};

struct model_period {
    uint32_t k;
    int64_t start_us;
    unsigned n_reps;
    struct model_rep rep[]; /* video first, then by number */
};

struct model_track {
    char name[MODEL_REP_MAX + 1];
    bool used;
    uint64_t last; /* used: the highest number ever opened */
    uint64_t msn;  /* of the next segment */
    uint32_t bps;  /* the last Period's figure, for a start */
};

struct model {
    int magic;
    struct model_conf conf; /* session points to the next field */
    char session[MODEL_SESSION_LEN + 1];
    bool ended;
    struct model_period **period; /* in time; the last one is current */
    unsigned n_periods, periods_room;
    bool any;           /* there was a Period: */
    uint32_t last_k;    /* of the newest, which may be gone */
    int64_t floor_us;   /* where the next Period may start, but for the current one's media */
    int64_t longest_us; /* of all segments ever, as promised and as they were; never falls */
    struct model_track track[MODEL_TRACKS_MAX];
    unsigned n_tracks;
};

/* EPROTO: the configuration makes no sense; ENOMEM. */
MUST_USE enum st model_new(const struct model_conf *conf, struct model **out);
void model_free(struct model **mp);

/* --- the verbs, as the records say them --- */
struct model_rep_start {
    const char *name;
    int64_t pto;
    uint64_t number;
};

/* Every segment must be closed. k rises; pto is start_us within a millisecond (checked at INIT). */
MUST_USE enum st model_period(struct model *m, uint32_t k, int64_t start_us,
                              const struct model_rep_start *reps, size_t n_reps);
/* Once per rendition and Period; again with the same content is OK. */
MUST_USE enum st model_init(struct model *m, const char *rep, const struct model_init *init);
/* d 0: no promise. */
MUST_USE enum st model_open(struct model *m, const char *rep, uint64_t n, int64_t t, int64_t d);
MUST_USE enum st model_chunk(struct model *m, const char *rep, uint64_t n, int64_t t, int64_t d,
                             bool independent, size_t bytes);
MUST_USE enum st model_close(struct model *m, const char *rep, uint64_t n, int64_t d);

/* --- the home's own --- */
/* Closes what is open at its last whole chunk. */
void model_cut(struct model *m);
/* Forgets closed segments that end at before_us or earlier, and Periods (never the current one)
 * that have none left. Returns how many segments went. */
size_t model_expire(struct model *m, int64_t before_us);
/* The broadcast is over: cuts; only expire is possible from now on. */
void model_end(struct model *m);

/* --- looking --- */
const struct model_period *model_current(const struct model *m); /* NULL: none yet */
const struct model_rep *model_rep(const struct model_period *p, const char *name); /* or NULL */
const struct model_segment *model_segment(const struct model_rep *r, size_t i);
const struct model_part *model_part(const struct model_rep *r, size_t i);
/* The lowest number that is still there, in any Period; false: none is. */
bool model_first(const struct model *m, const char *rep, uint64_t *n);
/* Peak of the closed segments; before there is one the estimate, or a guess. Never 0. */
uint32_t model_bandwidth(const struct model *m, const struct model_rep *r);
/* Rounded down; the arguments are within the limits above. */
int64_t model_us(const struct model_rep *r, int64_t ticks);
int64_t model_ticks(const struct model_rep *r, int64_t us);
/* Everything this header promises holds. Slow: for tests and CHECK_SLOW. */
bool model_sane(const struct model *m);

#endif
