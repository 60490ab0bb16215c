/* edge/range.h - Range, If-Range and If-None-Match, for objects that may still grow
 *
 * Purpose   read a Range header and say what it means for an object of which `published` bytes are
 *           there and maybe more to come; compare entity tags.
 * Spec      RFC 9110 sections 8.8.3, 13.1, 14; RFC 8673 (a-9007199254740991: the rest, as it
 *           comes). A header that is malformed, of another unit or of several ranges is ignored:
 *           the answer is a plain 200.
 * Units     bytes; a span's last byte is included, as on the wire.
 * Thread    pure.
 * Tests     tests/unit/test_range.c
 */
#ifndef EDGE_RANGE_H
#define EDGE_RANGE_H

#include "core/status.h"
#include "edge/slice.h"

#define RANGE_OPEN_END UINT64_C(9007199254740991) /* 2^53 - 1 */

enum range_kind {
    RANGE_NONE,   /* no header, or one to ignore */
    RANGE_CLOSED, /* a-b */
    RANGE_FROM,   /* a- */
    RANGE_SUFFIX, /* -n: the last n bytes */
};

struct range {
    enum range_kind kind;
    uint64_t first;
    uint64_t last; /* CLOSED; numbers past 64 bits are UINT64_MAX */
    uint64_t suffix;
};

enum range_answer {
    RANGE_WHOLE, /* 200; streaming while the object grows */
    RANGE_PART,  /* 206 of span.first..span.last, all published */
    RANGE_REST,  /* 206 from span.first on, at once, to wherever the object ends */
    RANGE_WAIT,  /* ask again when `published` or the state moved; 416 when the wait is over */
    RANGE_UNSATISFIED, /* 416 */
};

struct span {
    uint64_t first;
    uint64_t last;
};

/* value may be absent. */
struct range range_parse(struct slice value);

/* total counts only when complete (it then equals published). */
enum range_answer range_resolve(const struct range *r, uint64_t published, bool complete,
                                uint64_t total, struct span *out);

#define CONTENT_RANGE_MAX 72

/* The value of Content-Range for PART, REST and UNSATISFIED, without a trailing NUL; its length.
 * 0: send none (416 while the length is unknown). */
size_t range_content_text(enum range_answer a, const struct span *s, bool complete, uint64_t total,
                          char out[CONTENT_RANGE_MAX]);

/* If-None-Match against our tag (with its quotes): weak comparison, lists and "*". True: 304. */
bool etag_matches(struct slice if_none_match, struct slice etag);

/* If-Range against our tag, or Last-Modified (absent when we sent none). False: ignore Range. An
 * absent If-Range is true. Only strong tags match, and dates only byte for byte. */
bool if_range_matches(struct slice if_range, struct slice etag, struct slice last_modified);

#endif
