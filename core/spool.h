/* core/spool.h - the last tags of a stream, numbered, for whoever has to start over with it
 *
 * Purpose   every tag gets a number and is kept until nobody can need it any more, but no longer
 *           than the limits say: at home for the next worker, at a POP for the next home. The
 *           sequence headers in force are kept apart, since everybody begins with them.
 * Units     numbers count tags from 1; milliseconds of the tags' time; bytes.
 * Owner     the session or uplink. A tag is loop-local memory with a reference count, so that an
 *           output queue may hold it longer than the spool does.
 * Thread    its loop's own.
 * Errors    spool_add: ENOMEM.
 * Tests     tests/unit/test_spool.c
 */
#ifndef CORE_SPOOL_H
#define CORE_SPOOL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/flv.h"
#include "core/own.h"
#include "core/status.h"

/* One FLV tag as it goes over the wire, head and tail included; a mark (core/flv.h) that was due
 * stands before it. */
struct spool_tag {
    struct own own;
    struct spool_tag *next;
    uint64_t number;
    uint32_t ts_ms;
    size_t n;
    size_t tag_at; /* where the tag itself begins, behind the mark */
    uint8_t wire[];
};

struct spool_limits {
    uint64_t bytes;
    uint32_t ms;        /* of what nobody needs any more, this much is kept all the same */
    uint32_t needed_ms; /* no more than this is kept even if it is needed; 0: bytes alone say */
};

/* Kinds of tag that stay in force until another one of their kind comes. */
enum spool_header { SPOOL_VIDEO_HEADER, SPOOL_AUDIO_HEADER, SPOOL_HEADERS };

struct spool {
    struct spool_limits limits;
    struct spool_tag *first, *last;
    struct spool_tag *found; /* by spool_find(): the next is asked for next; NULL: none */
    uint64_t next_number;
    uint64_t bytes;
    uint64_t needed; /* tags below this one nobody needs */
    uint64_t lost;   /* how many were dropped although they were needed */
    struct spool_tag *header[SPOOL_HEADERS];
};

void spool_init(struct spool *s, const struct spool_limits *limits);
void spool_fini(struct spool *s);

/* The number that the next tag gets. */
static inline uint64_t spool_next(const struct spool *s) { return s->next_number; }
/* mark: a whole tag that goes before this one, or NULL. Drops what is over the limits, oldest
 * first. *out is borrowed. */
MUST_USE enum st spool_add(struct spool *s, const struct flv_tag *tag, const struct buf *mark,
                           struct spool_tag **out);
/* The tag is a sequence header, and in force from now on. */
void spool_set_header(struct spool *s, enum spool_header which, struct spool_tag *tag);
/* The same if it is one; t is what spool_add() made of tag. */
void spool_note_header(struct spool *s, struct spool_tag *t, const struct flv_tag *tag);
/* All below `number` has been dealt with. */
void spool_release(struct spool *s, uint64_t number);
/* The tag of that number; NULL: not here any more, or not yet. */
struct spool_tag *spool_find(struct spool *s, uint64_t number);
uint64_t spool_oldest(const struct spool *s); /* next_number when it is empty */

#endif
