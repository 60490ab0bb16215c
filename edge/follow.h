/* edge/follow.h - the records of a subscription, and what they do to the stream table
 *
 * Purpose   takes the body of GET /_sub/APP/STREAM in pieces of any size and plays it into the verbs
 *           of edge/stream.h. A SNAPSHOT and its documents come into force together, when the last
 *           has come: windows and announcements first, then the manifests that name them. Keeps the
 *           place in the upstream's log, so that a body that broke off can be resumed.
 * Use       follow_begin() for each body, follow_feed() as it comes; when it broke off follow_lost(),
 *           and again. follow_since() is what to ask the next one for.
 * Units     microseconds; the upstream's wall clock where said.
 * Owner     edge/sub.c embeds it. The stream belongs to it from the first SNAPSHOT to follow_fini().
 * Thread    the stream's home loop. Callbacks come from inside follow_feed() and may not call fini.
 * Limits    FOLLOW_DOCS documents and FOLLOW_DOC_BYTES in a SNAPSHOT.
 * Errors    follow_feed: EPROTO (what is said makes no sense; the place is forgotten), ELIMIT,
 *           ENOMEM, EOF (ops->snapshot wants none of it; the stream is made here). Then only lost.
 * Tests     tests/unit/test_follow.c, tests/fuzz/fuzz_follow.c
 */
#ifndef EDGE_FOLLOW_H
#define EDGE_FOLLOW_H

#include <jansson.h>

#include "core/buf.h"
#include "core/record.h"
#include "edge/stream.h"

enum { FOLLOW_LOGID_LEN = 16, FOLLOW_DOCS = 128, FOLLOW_DOC_BYTES = 16 << 20 };

struct follow_ops {
    /* A picture comes: live, and of which claim. False: not wanted. */
    bool (*snapshot)(void *ctx, bool live, uint64_t epoch);
    /* What was said counts: after a whole SNAPSHOT, or because the place was good. */
    void (*in_force)(void *ctx, bool full);
    void (*announced)(void *ctx, const char *rep, uint64_t n);
    void (*closed)(void *ctx, const char *rep, uint64_t n, uint64_t size);
};

struct follow_doc {
    json_t *json;
    uint8_t *p;
    size_t n;
};

struct follow {
    int magic;
    struct loop *loop;
    struct store *store;
    const struct follow_ops *ops;
    void *ctx;
    char name[STREAM_NAME_MAX + 1];

    struct stream *stream; /* NULL: there was no SNAPSHOT yet */
    char session[STREAM_SESSION_LEN + 1];
    char logid[FOLLOW_LOGID_LEN + 1]; /* "": no place to resume from */
    uint64_t seq;
    uint64_t segment_us;
    uint64_t epoch;
    bool live;     /* somebody publishes there */
    bool ended;    /* and nobody will any more */
    bool in_force; /* since follow_begin() */
    bool known;    /* the stream table takes our word for it */

    bool asked_since; /* this body was asked for with a place */
    int64_t begun_us; /* when it was asked for, wall clock; 0: that has been used */
    bool timed;
    int64_t offset_us; /* the upstream's clock minus ours */
    uint64_t rtt_us;   /* how well that is known */

    json_t *snapshot; /* being collected */
    uint64_t snapshot_seq;
    unsigned docs_due, docs_n;
    size_t docs_bytes;
    struct follow_doc doc[FOLLOW_DOCS];

    struct record_reader reader;
    struct record_head head;
    json_t *json; /* of the record whose bytes are coming */
    struct buf bytes;
};

void follow_init(struct follow *f, struct loop *l, struct store *s, const char *name,
                 const struct follow_ops *ops, void *ctx);
void follow_fini(struct follow *f); /* the stream is forgotten, unless it is made here by now */

/* "LOGID.SEQ"; false: there is no place. */
bool follow_since(const struct follow *f, char out[48]);
void follow_begin(struct follow *f, bool since); /* since: the body was asked for with the place */
void follow_sent(struct follow *f);              /* the request has gone out now */
MUST_USE enum st follow_feed(struct follow *f, const void *p, size_t n);
void follow_lost(struct follow *f);

#endif
