/* edge/gobj.h - the growing object: bytes that arrive while they are being read
 *
 * Purpose   one append-only body with a head, a state and readers at their own offsets. It serves a
 *           segment fill, low-latency chunks, held requests and finished files alike.
 * States    see GOBJ_STATES; the shape is design.md, section 4. Only become() in gobj.c writes one.
 * Units     bytes; monotonic microseconds.
 * Owner     atomic references: the index holds one, every view (edge/view.h) one, the fill one. The
 *           last gobj_unref() frees, on any thread.
 * Thread    **one writer**: after the object is in the index only its home loop changes it. Any
 *           thread reads. Bytes below `published` never change: the writer stores the bytes, then
 *           `published` (release), then the state (release); gobj_now() loads the state before
 *           `published`, so whoever sees COMPLETE sees all of the bytes.
 *           Nothing here wakes anybody: after a change the writer calls store_notify(). To fail:
 *           store_unlink(), gobj_fail(), store_notify(), so that nobody finds a failed object.
 * Errors    gobj_append: ENOMEM (the pool's cap), ELIMIT (object_bytes, or more than the head's
 *           length). gobj_complete: EPROTO, a length was promised and has not come: the caller must
 *           fail the object. Nothing short can become COMPLETE.
 * Tests     tests/unit/test_gobj.c, tests/unit/test_store_model.c
 */
#ifndef EDGE_GOBJ_H
#define EDGE_GOBJ_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

#include "core/mem.h"
#include "core/status.h"

/* state       may be followed by                                        what it means */
#define GOBJ_STATES(X)                                                                           \
    X(EXPECTED, GOBJ_BIT(FETCHING) | GOBJ_BIT(STREAMING) | GOBJ_BIT(NEGATIVE)) /* will exist */  \
    X(FETCHING, GOBJ_BIT(STREAMING) | GOBJ_BIT(NEGATIVE) | GOBJ_BIT(FAILED))   /* no head yet */ \
    X(STREAMING, GOBJ_BIT(RESUMING) | GOBJ_BIT(COMPLETE) | GOBJ_BIT(FAILED))   /* growing */     \
    X(RESUMING, GOBJ_BIT(STREAMING) | GOBJ_BIT(FAILED)) /* upstream died, asking for the rest */ \
    X(COMPLETE, 0)                                                                               \
    X(NEGATIVE, 0) /* an answer without a body of ours: 404, 502 ... for a short while */        \
    X(FAILED, 0)   /* unlinked; readers are aborted */

#define GOBJ_BIT(n) (1u << GOBJ_##n)
enum gobj_state {
#define X(n, next) GOBJ_##n,
    GOBJ_STATES(X)
#undef X
};

enum gobj_kind {
    GOBJ_MEDIA,   /* segment or init of a native stream */
    GOBJ_DOC,     /* manifest or playlist: an immutable version */
    GOBJ_OUTSIDE, /* from somebody else's HTTP origin */
};

/* Fixed before the state becomes STREAMING or NEGATIVE, immutable after. The strings are copied in
 * by gobj_start() and gobj_negative(); empty means absent. */
struct gobj_head {
    int status;       /* 200; NEGATIVE: what to answer */
    int64_t length;   /* -1: known only when COMPLETE */
    const char *etag; /* with its quotes */
    const char *content_type;
    const char *cache_control; /* passed on to the client */
    const char *last_modified;
    const char *fields;      /* further header lines, "name: value\r\n" each, names lower case */
    uint64_t born_us;        /* monotonic: arrival of the response, less its Age; gobj_born() */
    uint64_t swr_us, sie_us; /* stale-while-revalidate, stale-if-error */
    bool shared;             /* false: answers only those who were waiting, is never a hit */
    bool has_age;            /* send Age: it came from an outside origin */
};

struct gobj;
struct store;

struct gobj *gobj_ref(struct gobj *o);
void gobj_unref(struct gobj **op); /* NULL is a no-op; sets *op to NULL */

struct gobj_now {
    enum gobj_state state;
    uint64_t published;
};
struct gobj_now gobj_now(const struct gobj *o);
bool gobj_is_dead(const struct gobj *o); /* unlinked: no new request may use it */
const char *gobj_state_name(enum gobj_state s);
const char *gobj_key(const struct gobj *o);
enum gobj_kind gobj_kind(const struct gobj *o);
unsigned gobj_home(const struct gobj *o);                /* index of the loop that writes it */
const struct gobj_head *gobj_head(const struct gobj *o); /* only from STREAMING or NEGATIVE on */

/* What Age counts from: born_us of the head, or of the last 304. */
uint64_t gobj_born(const struct gobj *o);
/* Monotonic time until which a COMPLETE object may be served without asking; moves with a 304. */
uint64_t gobj_fresh_until(const struct gobj *o);
/* The same, as the origin said; the above may be later while stale-if-error is used. Home loop. */
uint64_t gobj_vouched_until(const struct gobj *o);

/* --- the home loop --- */
void gobj_fetching(struct gobj *o); /* EXPECTED -> FETCHING */
MUST_USE enum st gobj_start(struct gobj *o, const struct gobj_head *h, uint64_t fresh_until_us);
/* Where the next bytes may be written (at least 1): then gobj_commit() publishes n of them. */
MUST_USE enum st gobj_reserve(struct gobj *o, void **p, size_t *cap);
void gobj_commit(struct gobj *o, size_t n);
/* The same, but only what lies below `whole` is published; the rest waits, for gobj_complete() at
 * the latest. What was written goes on behind gobj_written() after RESUMING, too. */
void gobj_commit_to(struct gobj *o, size_t n, uint64_t whole);
uint64_t gobj_written(const struct gobj *o);
MUST_USE enum st gobj_append(struct gobj *o, const void *p, size_t n);
MUST_USE enum st gobj_complete(struct gobj *o);
/* There will be no more: it ends where it is published. Also from RESUMING. EPROTO as above. */
MUST_USE enum st gobj_cut(struct gobj *o);
void gobj_resuming(struct gobj *o);
void gobj_resumed(struct gobj *o);
void gobj_fail(struct gobj *o);
MUST_USE enum st gobj_negative(struct gobj *o, const struct gobj_head *h);
void gobj_freshen(struct gobj *o, uint64_t fresh_until_us);
void gobj_reborn(struct gobj *o, uint64_t born_us);
/* A FETCHING object that replaced a stale one takes its body and head: the origin said that it is
 * still good (304), or said nothing of use (stale-if-error). It is as old as the stale one. */
MUST_USE enum st gobj_adopt_prior(struct gobj *o, uint64_t fresh_until_us);
MUST_USE enum st gobj_adopt_stale(struct gobj *o, uint64_t fresh_until_us);
struct gobj *gobj_prior(const struct gobj *o); /* borrowed; NULL: none */

/* --- any thread: reading --- */
struct gobj_cursor {
    struct chunk *at;
    uint64_t base; /* offset of its first byte */
};
/* Fills v with bytes [off, min(end, published)); returns how many entries. A cursor starts as {0}
 * and makes ascending reads O(1); the caller holds a reference while it uses the bytes. */
int gobj_span(const struct gobj *o, struct gobj_cursor *c, uint64_t off, uint64_t end,
              struct iovec *v, int max);

#endif
