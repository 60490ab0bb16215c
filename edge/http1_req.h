/* edge/http1_req.h - the head of an HTTP/1.x request
 *
 * Purpose   find, check and split one request head in a buffer. llhttp judges the grammar; on top
 *           sit the checks that keep two readers of the same bytes from disagreeing: both must
 *           accept. Never reads past the head, so what is left belongs to the next request.
 * Spec      RFC 9112; stricter: CRLF only, no folding, no body at all, HTTP/1.0 and 1.1 only.
 * Units     bytes.
 * Owner     the caller's buffer; the head borrows from it. The buffer may move between calls that
 *           return MORE (only offsets are kept).
 * Thread    a value; any one thread.
 * Errors    MORE (head not complete), EPROTO, ELIMIT: out->refusal; answer it and close. The
 *           result does not depend on how the bytes were cut into calls.
 * Tests     tests/unit/test_http1_req.c, tests/fuzz/fuzz_http1_req.c
 */
#ifndef EDGE_HTTP1_REQ_H
#define EDGE_HTTP1_REQ_H

#include "edge/http_head.h"

/* Where the search for the end of the head stands. All zero before the first byte of a request;
 * OK leaves it so for the next one. */
struct http1_req {
    uint32_t start; /* of the request line */
    uint32_t line;  /* of the line being read */
    uint32_t at;    /* of the first byte not looked at */
    uint8_t blank_lines;
    bool in_fields; /* the request line is complete */
};

/* p[0..n) is everything received since the last head, from its first byte. OK: *out is filled and
 * *used bytes (leading empty lines included) belong to this request. */
MUST_USE enum st http1_req_parse(struct http1_req *r, const uint8_t *p, size_t n,
                                 const struct http_limits *lim, struct http_head *out,
                                 size_t *used);

#endif
