/* encode/timeline_int.h - what timeline.c, timeline_period.c and timeline_state.c share
 *
 * Thread    as encode/timeline.h.
 * Tests     those of encode/timeline.h.
 */
#ifndef ENCODE_TIMELINE_INT_H
#define ENCODE_TIMELINE_INT_H

#include "core/buf.h"
#include "encode/timeline.h"

#define TL_NONE INT64_MIN
enum {
    TL_NUMBER_BITS = 48, /* what a state may say stays below 2^48 */
    TL_STATE_TEXT_MAX = 1024,
    TL_EQUAL_MAX = 4096,
    TL_TIMESCALE_MIN = 1000,
    TL_TIMESCALE_MAX = 96000,
    TICKS_PER_MS = INIT_VIDEO_TIMESCALE / 1000,
    REGULAR_AFTER = 3, /* equal GOPs */
};

/* One rendition. */
struct track {
    enum tl_rep rep;
    struct init *latest; /* the newest configuration; NULL: none yet */
    uint64_t next_tag;   /* after a resume: earlier ones are used up */

    /* of the Period */
    bool started;
    int64_t n;         /* of the segment at hand, or of the last one */
    bool in_segment;   /* between the first frame of a segment and its CLOSE */
    bool opened;       /* and it has been announced: it has a chunk */
    int64_t segment_t; /* its first time */
    int64_t promised;  /* its duration; 0: no promise */
    int64_t end;       /* of the last chunk that went out */
    uint32_t sequence; /* fragments so far */

    /* the chunk at hand */
    struct cmaf_sample samples[TL_CHUNK_SAMPLES_MAX];
    size_t count;
    struct buf media;
    int64_t t;
    int64_t cell;
    uint64_t last_tag;

    /* video */
    int64_t shift;
    int64_t dts; /* of the last frame taken */
    int64_t dur; /* of the one before it; 0: not known */
    int64_t idr_t, gop;
    bool trusted;    /* no two GOPs of this Period that follow each other differ */
    int64_t equal;   /* GOPs in a row that were alike, */
    int64_t since_t; /* and when the first of them began */

    /* audio */
    int64_t next;    /* time of the next frame, in samples */
    bool ahead;      /* the counter was: frames are dropped until it is not */
    int64_t last_ms; /* session time of the last frame; TL_NONE: none yet */
    /* what the last chunk of sound has seen of pictures, as promised, in their ticks; 0: nothing is */
    int64_t pictures_end; /* of the segment; TL_NONE: there was no chunk yet */
    int64_t pictures_d;   /* of the one after it */
};

struct timeline {
    int magic;
    struct timeline_conf conf;
    const struct timeline_ops *ops;
    void *ctx;
    int64_t off_ms;            /* of the anchor in force */
    uint64_t tag;              /* of the frame at hand */
    bool running;              /* in a Period, else waiting for a frame to begin one */
    bool announced;            /* and it has been said */
    bool hurried;              /* not announced, and media come faster than time goes, */
    int64_t look_ms, look_off; /* at the last look: session time and anchor */
    bool resumed;              /* not yet known whether the input fits the states */
    char resume_hash[TL_REPS][INIT_HASH_TEXT];
    int64_t idr_ms;         /* session time of the last IDR, or when the wait began; TL_NONE */
    int64_t audio_since_ms; /* of the first audio in this wait; TL_NONE */
    struct tl_period period;
    struct track track[TL_REPS];
    char text[TL_STATE_TEXT_MAX];
    struct timeline_counts counts;
};

/* The state of a rendition after a chunk that ends at `end`, as JSON in tl->text. */
const char *tl_state_text(struct timeline *tl, const struct track *tr, int64_t end,
                          uint64_t next_tag);
/* --- timeline_period.c --- */

/* Where the next Period may begin, as far as this rendition is concerned: not before this one has
 * ended. Sound may reach over the edge of a Period with pictures a little; players cut it there. */
int64_t tl_end_ms(enum tl_rep rep, bool has_video, int64_t end, int64_t timescale);
/* A Period from this frame on. False: it would begin before the last one ended. */
bool tl_begin_period(struct timeline *tl, const struct tl_frame *f, bool video);
/* Puts a rendition at the beginning of the Period. */
void tl_track_begin(struct timeline *tl, struct track *tr);
void tl_empty_chunk(struct track *tr);
/* The Period is not to be announced yet, so nothing can go out that would end before this frame. */
bool tl_held_back(struct timeline *tl, const struct tl_frame *f);
/* To where the Period is by the anchor in force, with all that has been taken. */
void tl_move_period(struct timeline *tl);
bool tl_same_init(const struct init *a, const struct init *b);
bool tl_audio_present(const struct timeline *tl, int64_t ms);
/* At an IDR: is a new Period due because of what is being sent? */
bool tl_tracks_changed(const struct timeline *tl, int64_t ms);
/* How much later than the Period says the media comes by now; 0 while nothing may be done. */
int64_t tl_drift_ms(const struct timeline *tl, int64_t ms);

static inline int64_t tl_div_floor(int64_t a, int64_t b)
{
    return a / b - (a % b != 0 && (a < 0) != (b < 0));
}
static inline int64_t tl_div_round(int64_t a, int64_t b) { return tl_div_floor(a + b / 2, b); }
static inline int64_t tl_div_ceil(int64_t a, int64_t b) { return tl_div_floor(a + b - 1, b); }

#endif
