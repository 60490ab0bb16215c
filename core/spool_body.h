/* core/spool_body.h - a spool as the body of an exchange
 *
 * Purpose   what a worker and a home get alike: the FLV header, tags of the caller's own if he has
 *           any, the sequence headers in force, a mark that says what number the next tag has
 *           (together: the hello), then the tags from there on, as they come.
 * Owner     the session or uplink, beside its spool; spool_body_fini() when it is not in use any
 *           more. What is on its way to a socket has references of its own.
 * Thread    its loop's own.
 * Errors    spool_body_begin: ENOMEM. A tag that the spool has dropped before it was sent breaks
 *           the body off (ELIMIT): the exchange ends, and begins anew from what there is.
 * Tests     tests/unit/test_uplink.c, tests/unit/test_home.c
 */
#ifndef CORE_SPOOL_BODY_H
#define CORE_SPOOL_BODY_H

#include "core/h2.h"
#include "core/spool.h"

struct spool_hello;

struct spool_body {
    struct h2_body h2; /* for the exchange */
    struct spool *spool;
    struct spool_hello *hello;
    size_t hello_sent;
    uint64_t cursor; /* number of the tag being sent */
    size_t cursor_sent;
    bool last; /* the newest tag is the last one: the body ends after it */
};

/* From tag number `from`, to which the mark belongs: its number is put in. own: whole tags that go
 * before all others, or NULL. */
MUST_USE enum st spool_body_begin(struct spool_body *b, struct spool *s, uint64_t from,
                                  const struct flv_mark *mark, const struct buf *own);
void spool_body_fini(struct spool_body *b);
bool spool_body_sent(const struct spool_body *b); /* nothing is left to be taken */

#endif
