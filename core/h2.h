/* core/h2.h - an HTTP/2 connection, server or client, over nghttp2
 *
 * Purpose   everything of HTTP/2 that does not touch a socket: the owner feeds the bytes that
 *           arrived and takes the bytes to send out of an output queue. Bodies are pulled, frame by
 *           frame, and never copied. All limits that the library lacks are kept here, each with a
 *           name for the log.
 * Use       after each read, and after anything else that may have made output (h2_respond,
 *           h2_resume, h2_consume, h2_reset ...): h2_pump(), then write h2_outq(). Write, pump and
 *           write again until the pump has nothing more or the socket is full.
 *               h2_feed -> ops -> h2_respond ... ; h2_pump -> body->avail, ->take, ops->on_close
 *           When h2_feed or h2_pump fails the GOAWAY is in the queue already: flush with a short
 *           deadline, close, h2_free. (A breach that the library finds by itself shows in the pump
 *           after the feed.) The same when h2_done() says that both sides have finished.
 * Streams   each has a `stream` pointer of the owner's. ops->on_close comes exactly once for each
 *           (from h2_feed, h2_pump or h2_free), and then h2 has forgotten the pointer and the body.
 *           Their bytes may still wait in the queue: the queue's own references hold them.
 * Windows   a connection's receive window is returned on receipt; a stream's only as the owner
 *           calls h2_consume(). So a stream that nobody drains stops itself and no other.
 * Reentry   an op or a body may call h2_respond, h2_request, h2_reset, h2_resume, h2_consume,
 *           h2_priority, h2_shutdown and h2_terminate; not h2_feed, h2_pump or h2_free.
 * Units     bytes; microseconds of loop_now().
 * Owner     the connection that made it; the loop, the ops and ctx outlive it.
 * Thread    the loop's.
 * Errors    EPROTO (the peer broke HTTP/2), ELIMIT (a limit: h2_end_of()), ENOMEM, EOF (ended by
 *           h2_terminate); ENOENT: there is no such stream any more (no harm done).
 * Tests     tests/unit/test_h2.c, tests/unit/test_h2_limits.c, tests/fuzz/fuzz_h2.c
 */
#ifndef CORE_H2_H
#define CORE_H2_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/outq.h"
#include "core/own.h"
#include "core/status.h"

struct h2;
struct loop;

/* Why a connection ended.
 *  name            st      fault   meaning */
#define H2_ENDS(X)                                                                        \
    X(NONE, OK, "-", "not ended")                                                         \
    X(TERMINATED, EOF, "us", "h2_terminate()")                                            \
    X(PROTOCOL, EPROTO, "peer", "the peer broke HTTP/2 for the whole connection")         \
    X(RAPID_RESET, ELIMIT, "peer", "streams opened and reset again and again")            \
    X(ERRORS, ELIMIT, "peer", "errors and the resets they made us send")                  \
    X(CONTROL_FLOOD, ELIMIT, "peer", "PING, SETTINGS, PRIORITY, empty DATA and the like") \
    X(CONTROL_QUEUE, ELIMIT, "peer", "control frames that the peer does not read")        \
    X(CONTINUATIONS, ELIMIT, "peer", "too many CONTINUATION frames")                      \
    X(SETTINGS, ELIMIT, "peer", "too many entries in one SETTINGS frame")                 \
    X(NOMEM, ENOMEM, "us", "no memory")

enum h2_end {
#define X(n, s, f, d) H2_END_##n,
    H2_ENDS(X)
#undef X
        H2_END_COUNT
};

/* Why a stream was reset from our side.
 *  name            counts towards `errors`   meaning */
#define H2_RESETS(X)                                                             \
    X(NONE, false, "not reset by us")                                            \
    X(CANCELLED, false, "its owner lost interest")                               \
    X(ANSWERED, false, "answered without waiting for the rest of the request")   \
    X(BROKEN_BODY, false, "our body broke off; never shown as complete")         \
    X(REFUSED, false, "not accepted: load, policy")                              \
    X(SLOW_READER, false, "the peer took too little for too long")               \
    X(NOMEM, false, "no memory")                                                 \
    X(SHUTDOWN, false, "the connection ended under it")                          \
    X(BAD_REQUEST, true, "message against the rules: authority, fields, length") \
    X(HEADER_LIST, true, "header list over the limit")                           \
    X(PROTOCOL, true, "the peer broke HTTP/2 on this stream")

enum h2_reset_reason {
#define X(n, c, d) H2_RESET_##n,
    H2_RESETS(X)
#undef X
        H2_RESET_COUNT
};

const char *h2_end_name(enum h2_end e);
const char *h2_reset_name(enum h2_reset_reason r);

/* Error codes of RFC 9113, section 7. */
enum h2_code {
    H2_NO_ERROR = 0,
    H2_PROTOCOL_ERROR = 1,
    H2_INTERNAL_ERROR = 2,
    H2_REFUSED_STREAM = 7,
    H2_CANCEL = 8,
    H2_ENHANCE_YOUR_CALM = 11,
};

struct h2_limits {
    uint32_t max_streams;         /* that the peer may have open; 0 for clients */
    uint32_t stream_window_bytes; /* what we take before h2_consume() */
    uint32_t conn_window_bytes;
    uint32_t max_frame_bytes;    /* that we accept; at least 16,384 */
    uint32_t max_data_bytes;     /* payload of a DATA frame that we send */
    uint32_t max_header_bytes;   /* decoded: name + value + 32 for each field */
    uint32_t max_continuations;  /* per header block */
    uint32_t max_settings;       /* entries per SETTINGS frame */
    uint32_t max_control_bytes;  /* queued and not read by the peer */
    uint32_t max_resets;         /* by the peer: burst, and */
    uint32_t max_resets_per_s;   /* what it may keep up */
    uint32_t max_errors;         /* per rate_us */
    uint32_t max_control_frames; /* per rate_us */
    uint64_t rate_us;
};

/* facts-security.md rows 13, 16-18; the second one is for connections between our own machines. */
extern const struct h2_limits h2_limits_player;
extern const struct h2_limits h2_limits_tier;

/* A header field. Both strings are borrowed for the call only. */
struct h2_nv {
    const char *name; /* lower case */
    const char *value;
    uint16_t name_len;
    uint32_t value_len;
    bool once; /* not worth a place in the compressor's table: the value will not come again */
};
#define H2_NV(n, v)                                                                      \
    {                                                                                    \
        .name = (n), .value = (v), .name_len = sizeof(n) - 1, .value_len = sizeof(v) - 1 \
    }
enum {
    H2_NV_MAX = 32,
    H2_HEAD_MAX = 48 * 1024, /* bytes of names and values that we send in one head */
};

struct h2_slice {
    const void *p;
    size_t n;
    struct own *own; /* the queue takes its own reference; NULL: static bytes */
};
enum { H2_SLICES_MAX = 32 };

/* Where a body comes from; embedded in the owner's stream. Used until on_close or h2_reset(). */
struct h2_body {
    /* How much of the next `max` bytes is there: OK with *n > 0, or with *last (no byte follows
     * these n; then END_STREAM goes on the same frame). MORE: nothing yet, h2_resume() when there
     * is. A failure: RST_STREAM(INTERNAL_ERROR), never END_STREAM. */
    enum st (*avail)(struct h2_body *b, size_t max, size_t *n, bool *last);
    /* Follows each avail() with n > 0 at once: exactly those n bytes, in at most `max` slices; the
     * number of slices, or negative to break off. avail() must offer no more than fits. */
    int (*take)(struct h2_body *b, size_t n, struct h2_slice *s, int max);
};

struct h2_close {
    uint32_t code;               /* of the RST_STREAM; whether the message was whole: on_end */
    bool by_peer;                /* the peer's RST_STREAM, or GOAWAY before it got to the stream */
    enum h2_reset_reason reason; /* NONE unless it was us */
};

/* All must be there but on_stream, which clients do not need. After h2_reset() of a stream the only
 * op that still comes for it is on_close. */
struct h2_ops {
    /* Server: a request begins. Returns the owner's `stream`; NULL: REFUSED_STREAM. */
    void *(*on_stream)(struct h2 *h2, void *ctx, int32_t id);
    /* A field of the request or final response, pseudo fields (":path", ":status") first. Names
     * are in lower case; neither string is zero-terminated. Trailers and 1xx are not shown. */
    void (*on_header)(struct h2 *h2, void *stream, int32_t id, const char *name, size_t name_len,
                      const char *value, size_t value_len);
    /* The head is complete. `last`: no body follows (on_end comes next). A request has exactly one
     * each of :method (never CONNECT), :scheme and :path, and an authority without userinfo, as
     * :authority, host or both with the same value. */
    void (*on_head)(struct h2 *h2, void *stream, int32_t id, bool last);
    /* Body bytes; stream window until h2_consume(). */
    void (*on_data)(struct h2 *h2, void *stream, int32_t id, const uint8_t *p, size_t n);
    /* The peer has sent all of it: content-length, where given, agrees. */
    void (*on_end)(struct h2 *h2, void *stream, int32_t id);
    void (*on_close)(struct h2 *h2, void *stream, int32_t id, const struct h2_close *why);
};

/* SETTINGS (and a client's preface) are queued by the first pump. NULL: out of memory. */
struct h2 *h2_server_new(struct loop *l, const struct h2_limits *lim, const struct h2_ops *ops,
                         void *ctx);
struct h2 *h2_client_new(struct loop *l, const struct h2_limits *lim, const struct h2_ops *ops,
                         void *ctx);
void h2_free(struct h2 **hp); /* closes every stream that is left; sets *hp to NULL */

MUST_USE enum st h2_feed(struct h2 *h2, const void *p, size_t n);
/* Moves frames into the queue until it holds `budget` bytes (one frame may go over) or nothing can
 * be sent. OK: nothing left; MORE: the budget is used up; else the connection has failed. */
MUST_USE enum st h2_pump(struct h2 *h2, size_t budget);
struct outq *h2_outq(struct h2 *h2);
void *h2_ctx(struct h2 *h2);

/* Server: the head of the answer, once; body NULL: there is none. When the answer is complete and
 * the request is not, the rest of it is refused (RST_STREAM NO_ERROR, ANSWERED). ELIMIT: over
 * H2_HEAD_MAX. */
MUST_USE enum st h2_respond(struct h2 *h2, int32_t id, const struct h2_nv *nv, size_t n,
                            struct h2_body *body);
/* Client: *id is the new stream, `stream` its owner's. ELIMIT: over H2_HEAD_MAX, or this connection
 * takes no more (h2_accepts() said so). on_close follows only if the answer is OK. */
MUST_USE enum st h2_request(struct h2 *h2, const struct h2_nv *nv, size_t n, struct h2_body *body,
                            void *stream, int32_t *id);
void h2_resume(struct h2 *h2, int32_t id);            /* its body has more; else a no-op */
void h2_consume(struct h2 *h2, int32_t id, size_t n); /* on_data bytes that are dealt with */
/* The body is not touched again; on_close follows from the next pump. First reset counts. */
void h2_reset(struct h2 *h2, int32_t id, enum h2_code code, enum h2_reset_reason why);
/* Server, RFC 9218: 0 (first) to 7, default 3; overrides what the client asked for. */
void h2_priority(struct h2 *h2, int32_t id, int urgency, bool incremental);

/* GOAWAY, and let the open streams end. A server calls it twice: the first announces it, the
 * second, a round trip or more later, refuses what still comes. */
void h2_shutdown(struct h2 *h2);
/* GOAWAY with this code; nothing more is read. The owner flushes and closes. */
void h2_terminate(struct h2 *h2, enum h2_code code);

bool h2_wants_read(const struct h2 *h2);
bool h2_wants_write(const struct h2 *h2); /* the pump or the socket has work */
bool h2_idle(const struct h2 *h2);        /* no stream open, nothing to write */
bool h2_done(const struct h2 *h2);        /* finished on both sides: close */
bool h2_accepts(const struct h2 *h2);     /* client: a request would go out at once */
bool h2_going_away(const struct h2 *h2);  /* client: the peer has said GOAWAY */
unsigned h2_streams_open(const struct h2 *h2);
enum h2_end h2_end_of(const struct h2 *h2);

/* For the owner's slow-reader clock: body bytes that the peer has taken off us (up to what the
 * queue holds), and since when it is the peer's turn to take more. */
struct h2_progress {
    uint64_t body_bytes; /* moved into the queue since the response began */
    uint64_t since_us;   /* of the last such byte, or of the resume after a wait for the body */
    bool waiting;        /* for our own response or body: the peer is not to blame */
    bool starved;        /* of window, the stream's or the connection's: the peer is to blame */
};
MUST_USE enum st h2_stream_progress(const struct h2 *h2, int32_t id, struct h2_progress *out);

/* What has happened on this connection, for the log line and the metrics at its end. */
struct h2_counts {
    uint64_t streams;
    uint64_t peer_resets;
    uint64_t errors;
    uint64_t control_frames;
    uint64_t data_frames_out;
    uint64_t resets[H2_RESET_COUNT];
};
const struct h2_counts *h2_counts(const struct h2 *h2);

#endif
