/* edge/stream.h - the stream table: what exists of each live stream, and the verbs that say so
 *
 * Purpose   answers "does this segment exist, will it, did it?" for any loop without asking
 *           upstream. Driven by whoever knows: the home (origin/), which makes the segments, or the
 *           subscription client, which hears of them.
 * Units     numbers are segment numbers of one rendition (design.md section 6).
 * Owner     the table belongs to the store. A stream is referenced by the table and by its driver.
 * Thread    the verbs: the stream's home loop only (stream_home()). stream_where(): any loop; it
 *           takes the table's lock for a short look and is called only when a loop's own table of
 *           views had no answer.
 * Errors    ELIMIT: too many streams or renditions, a name too long; EPROTO: a number beyond
 *           STREAM_NUMBER_MAX, a verb out of order; ENOMEM. stream_append passes on what
 *           gobj_append says: the caller closes the segment at its last whole chunk. Of documents
 *           and init segments the STREAM_DOCS_MAX put last are kept apart from the byte cap.
 * Tests     tests/unit/test_store_model.c, tests/unit/test_stream.c
 */
#ifndef EDGE_STREAM_H
#define EDGE_STREAM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/status.h"

enum {
    STREAM_REPS_MAX = 32,
    STREAM_DOCS_MAX = 64,
    STREAM_DOC_RING = 4,
    STREAMS_MAX = 200000,
    STREAM_NAME_MAX = 64 + 1 + 64, /* APP/STREAM */
    STREAM_SESSION_LEN = 13,
    STREAM_SPAN_MAX = 20000,      /* latest - first + 1; announcing further expires the oldest */
    STREAM_HOLD_MAX_US = 3000000, /* of a request for the next segment */
};
#define STREAM_NUMBER_MAX ((UINT64_C(1) << 53) - 1) /* what JSON carries exactly */

struct loop;
struct gobj;
struct gobj_head;
struct store;
struct stream;

enum stream_source {
    STREAM_HERE,       /* this process makes the segments: nothing is ever fetched */
    STREAM_SUBSCRIBED, /* an upstream tells us, and has the bytes */
};

enum stream_where {
    STREAM_UNKNOWN, /* no such stream, session or rendition, or nobody tells us: go upstream */
    STREAM_ABSENT,  /* known not to exist here, and nowhere else */
    STREAM_WINDOW,  /* first..latest: fetch it (STREAM_HERE: it is in the index or gone) */
    STREAM_NEXT,    /* latest + 1: hold the request */
    STREAM_AHEAD,   /* further: 404 at once */
    STREAM_BEHIND,  /* before first: 410 */
};

struct stream_answer {
    enum stream_where where;
    enum stream_source source;
    unsigned home;       /* loop index */
    uint64_t hold_us;    /* STREAM_NEXT: how long at most, 1.5 segments but STREAM_HOLD_MAX_US */
    uint64_t segment_us; /* 0: not known */
};

/* Any loop. name is APP/STREAM, session NULL for documents. */
struct stream_answer stream_where(struct store *s, const char *name, size_t name_len,
                                  const char *session, const char *rep, size_t rep_len,
                                  uint64_t number);
/* Requests held for one stream, on all loops; false: that would be over max. */
bool stream_hold_take(struct store *s, const char *name, size_t name_len, unsigned max);
void stream_hold_return(struct store *s, const char *name, size_t name_len);
/* It is on the air, and its segments are made in this process. */
bool stream_is_live_here(struct store *s, const char *name, size_t name_len);
unsigned stream_home(const struct store *s, const char *name, size_t name_len);
size_t stream_count(struct store *s);

/* Somebody watches it, this rendition (n 0: only a document). Any loop; not for every hit. */
void stream_touch(struct store *s, const char *name, size_t name_len, const char *rep,
                  size_t rep_len, uint64_t now_us);

/* --- the verbs --- */
struct stream *stream_ref(struct stream *st);
void stream_unref(struct stream **sp);
/* A session begins; a new one ends the old one and unlinks what was announced of it. +1 */
MUST_USE enum st stream_begin(struct loop *l, const char *name, const char *session,
                              uint64_t segment_us, enum stream_source source, struct stream **out);
/* Segment n of rep will exist: its object is EXPECTED before anybody is told its name. */
MUST_USE enum st stream_announce(struct loop *l, struct stream *st, const char *rep, uint64_t n);
/* What an upstream has of rep by now: first..latest, of which the last is announced. */
MUST_USE enum st stream_window(struct loop *l, struct stream *st, const char *rep, uint64_t first,
                               uint64_t latest);
/* STREAM_HERE: the bytes. n was announced; open makes it STREAMING. */
MUST_USE enum st stream_open(struct loop *l, struct stream *st, const char *rep, uint64_t n,
                             const struct gobj_head *head);
MUST_USE enum st stream_append(struct loop *l, struct stream *st, const char *rep, const void *p,
                               size_t n);
/* What is being appended to: its number and how long it is by now. */
bool stream_is_open(const struct stream *st, const char *rep, uint64_t *n, uint64_t *bytes);
MUST_USE enum st stream_close(struct loop *l, struct stream *st, const char *rep);
/* A whole object of the session: init segments. path is relative to /APP/STREAM/SESSION/. */
MUST_USE enum st stream_object(struct loop *l, struct stream *st, const char *path,
                               const struct gobj_head *head, const void *p, size_t n);
/* A new version of a document; name is relative to /APP/STREAM/. The newest is served; the last
 * STREAM_DOC_RING stay in memory for whoever is to be told what changed. */
MUST_USE enum st stream_doc(struct loop *l, struct stream *st, const char *name,
                            const struct gobj_head *head, const void *p, size_t n);
/* The newest version that was put; +1, NULL: none. */
struct gobj *stream_newest(const struct stream *st, const char *name);
enum stream_source stream_source(const struct stream *st);
/* When it was touched last, by anybody or for one rendition; 0: never. */
uint64_t stream_touched(struct stream *st);
uint64_t stream_rep_touched(struct stream *st, const char *rep);
/* Numbers of rep below first are gone. */
void stream_expire(struct loop *l, struct stream *st, const char *rep, uint64_t first);
/* Nobody tells us any more: what was announced and is not here is forgotten, its waiters fetch;
 * documents are fresh for half a segment, until stream_begin() with the same session. */
void stream_lost(struct loop *l, struct stream *st);
/* The broadcast is over: nothing will follow; what is complete is kept as the byte cap allows. */
void stream_end(struct loop *l, struct stream *st);
/* Ended, and nothing of it is to be known any more: out of the table, documents unlinked. */
void stream_forget(struct loop *l, struct stream *st);

#endif
