/* origin/spool.h - the last tags of a stream, numbered, for a worker that has to start over
 *
 * Purpose   every tag of a session gets a number and is kept until no worker can need it any more,
 *           but no longer than the limits say. The sequence headers in force are kept apart, since
 *           each worker begins with them.
 * Units     numbers count tags of the session from 1; milliseconds of session time; bytes.
 * Owner     the session. A tag is loop-local memory with a reference count, so that an output queue
 *           may hold it longer than the spool does.
 * Thread    the session's home loop.
 * Errors    spool_add: ENOMEM.
 * Tests     tests/unit/test_spool.c
 */
#ifndef ORIGIN_SPOOL_H
#define ORIGIN_SPOOL_H

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
    uint32_t ms; /* of what a worker no longer needs, this much is kept all the same */
};

/* Kinds of tag that stay in force until another one of their kind comes. */
enum spool_header { SPOOL_VIDEO_HEADER, SPOOL_AUDIO_HEADER, SPOOL_HEADERS };

struct spool {
    struct spool_limits limits;
    struct spool_tag *first, *last;
    struct spool_tag *found; /* by spool_find(): the next is asked for next; NULL: none */
    uint64_t next_number;
    uint64_t bytes;
    uint64_t needed; /* tags below this one no worker needs */
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
/* Workers have dealt with all below `number`. */
void spool_release(struct spool *s, uint64_t number);
/* The tag of that number; NULL: not here any more, or not yet. */
struct spool_tag *spool_find(struct spool *s, uint64_t number);
uint64_t spool_oldest(const struct spool *s); /* next_number when it is empty */

#endif
