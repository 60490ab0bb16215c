/* tests/load/resp.h - one HTTP/1.x response, as its bytes come
 *
 * Purpose   the client side of the load tools: status, framing and body of a GET's response.
 *           Deliberately not the parser of the product: each checks the other.
 * Spec      RFC 9112, sections 4, 6 and 7. Trailers are skipped, 1xx responses are skipped.
 * Units     bytes; -1: not given.
 * Owner     embedded; nothing on the heap.
 * Thread    one.
 * Errors    EPROTO: not a response, or a line of more than 4 KiB. After it, only _init().
 * Tests     tests/unit/test_resp.c
 */
#ifndef TESTS_LOAD_RESP_H
#define TESTS_LOAD_RESP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/status.h"

enum resp_phase {
    RESP_STATUS,
    RESP_HEADER,
    RESP_LENGTH,   /* body of a known length, or to the end of the connection */
    RESP_CHUNK,    /* a chunk-size line */
    RESP_DATA,     /* bytes of a chunk */
    RESP_DATA_END, /* the empty line after them */
    RESP_TRAILER,
    RESP_DONE,
};

struct resp {
    enum resp_phase phase;
    int status;
    bool keep, chunked;
    int64_t length; /* Content-Length */
    int64_t first;  /* of Content-Range; else 0 */
    int64_t left;   /* of the body or of the chunk; -1: until the connection ends */
    uint64_t body_bytes;
    size_t line_len;
    char line[4096];
};

typedef void resp_body_fn(void *ctx, const uint8_t *p, size_t n);

void resp_init(struct resp *r);

/* Takes the bytes of this response off the front of *p; body bytes go to fn. OK: complete, what
 * is left is not its. MORE: everything was taken and more is to come. */
MUST_USE enum st resp_feed(struct resp *r, const uint8_t **p, size_t *n, resp_body_fn *fn,
                           void *ctx);

/* The connection ended cleanly. OK: so the body is complete. EPROTO: it was cut short. */
MUST_USE enum st resp_end(struct resp *r);

#endif
