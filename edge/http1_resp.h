/* edge/http1_resp.h - an HTTP/1.x response as it arrives
 *
 * Purpose   turn what an upstream sends into a head, body bytes and an end, without trusting it:
 *           framing that two readers could see differently is refused, and a body is never called
 *           complete that is not.
 * Spec      RFC 9112; stricter: CRLF only (chunk lines too), no folding, one Content-Length, no
 *           transfer coding but chunked, no spaces around a chunk size, never 101.
 * Units     bytes.
 * Owner     the connection to the upstream, one struct (about 18 KiB) for its current exchange. The
 *           reply borrows from it until the next _init(); body slices borrow from the input.
 * Thread    one loop; no allocation.
 * Errors    MORE (all input is consumed), EPROTO, ELIMIT: reply.refusal says why; then close. The
 *           events do not depend on how the bytes were cut, except that body bytes come in pieces.
 * Tests     tests/unit/test_http1_resp.c, tests/fuzz/fuzz_http1_resp.c
 */
#ifndef EDGE_HTTP1_RESP_H
#define EDGE_HTTP1_RESP_H

#include "core/rd.h"
#include "edge/http_reply.h"

enum {
    HTTP1_RESP_HEAD_MAX = 16384,
    HTTP1_RESP_FIELDS_MAX = 100,
    HTTP1_RESP_INTERIM_MAX = 8,       /* 1xx heads before the real one */
    HTTP1_RESP_EXTENSIONS_MAX = 4096, /* of all chunks of a body together */
    HTTP1_RESP_TRAILERS_MAX = 4096,
};

enum http1_event_kind {
    HTTP1_HEAD,         /* resp.reply is there */
    HTTP1_BODY,         /* event.bytes */
    HTTP1_END,          /* complete: all of a length, the last chunk, or no body by definition */
    HTTP1_END_BY_CLOSE, /* only the transport knows whether that was all: see design, section 4 */
};

struct http1_event {
    enum http1_event_kind kind;
    struct slice bytes;
    bool reusable; /* END: the connection may carry another request, if no input is left over */
};

enum http1_resp_state {
    HTTP1_IN_HEAD,
    HTTP1_IN_LENGTH,
    HTTP1_IN_CLOSE,
    HTTP1_IN_CHUNK_SIZE,
    HTTP1_IN_CHUNK_EXTENSION,
    HTTP1_IN_CHUNK_SIZE_LF,
    HTTP1_IN_CHUNK_DATA,
    HTTP1_IN_CHUNK_DATA_CR,
    HTTP1_IN_CHUNK_DATA_LF,
    HTTP1_IN_TRAILER_START, /* of a line */
    HTTP1_IN_TRAILER,
    HTTP1_IN_TRAILER_LF,
    HTTP1_IN_LAST_LF,
    HTTP1_AT_END,
    HTTP1_IS_OVER,
    HTTP1_IS_BROKEN,
};

struct http1_resp {
    struct http_reply reply;
    enum http1_resp_state state;
    bool to_head; /* the request was HEAD */
    bool by_close;
    bool unsound; /* framing we got along with, but would not reuse */
    uint8_t interim;
    uint8_t digits;      /* of the chunk size */
    uint16_t extensions; /* bytes */
    uint16_t trailers;
    uint64_t left; /* of the body, or of the chunk */
    uint32_t head_bytes, line, at;
    uint8_t head[HTTP1_RESP_HEAD_MAX];
};

void http1_resp_init(struct http1_resp *r, bool to_head);

/* OK: one event. Body bytes may be as many as the input has. */
MUST_USE enum st http1_resp_next(struct http1_resp *r, struct rd *in, struct http1_event *ev);

/* The transport ended. OK: *ev is END_BY_CLOSE. EOF: nothing was under way. EPROTO: short. */
MUST_USE enum st http1_resp_eof(struct http1_resp *r, struct http1_event *ev);

#endif
