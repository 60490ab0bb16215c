/* edge/http_head.h - what one request says, whichever version of HTTP it came by
 *
 * Purpose   the one shape in which HTTP/1.1 (edge/http1_req.h) and HTTP/2 hand a request on, and
 *           the rules that hold for both: one host, a target we can serve, no body, no header we
 *           would have to guess about. Headers we have no use for are counted and forgotten.
 * Spec      RFC 9110 sections 4.2, 7.2, 8.6, 10.1.1; RFC 9113 section 8.2-8.3.
 * Owner     every slice borrows from the buffer that the head was parsed from (HTTP/2: from the
 *           bytes given to http_head_add); nothing is copied, nothing is to be freed.
 * Thread    a value; any one thread.
 * Errors    EPROTO or ELIMIT, and `refusal` says which rule: http_refusal_status() is what to
 *           answer. The first one is kept. After a refusal an HTTP/1.1 connection must be closed.
 * Tests     tests/unit/test_http1_req.c, tests/fuzz/fuzz_http1_req.c
 */
#ifndef EDGE_HTTP_HEAD_H
#define EDGE_HTTP_HEAD_H

#include "core/status.h"
#include "edge/slice.h"

/*  name               status  enum st  what the peer did                                    */
#define HTTP_REFUSALS(X)                                                                        \
    X(NONE, 200, OK, "nothing")                                                                 \
    X(BARE_CR, 400, EPROTO, "a CR without LF")                                                  \
    X(BARE_LF, 400, EPROTO, "a LF without CR")                                                  \
    X(CONTROL, 400, EPROTO, "a control character")                                              \
    X(BLANK_LINES, 400, EPROTO, "too many empty lines before the request")                      \
    X(METHOD_SYNTAX, 400, EPROTO, "a method that is not upper-case letters")                    \
    X(METHOD_UNKNOWN, 501, EPROTO, "a method that does not exist")                              \
    X(METHOD_REFUSED, 405, EPROTO, "a method that is not allowed here")                         \
    X(REQUEST_LINE, 400, EPROTO, "a request line that is not three words")                      \
    X(NO_VERSION, 400, EPROTO, "a request line without a version")                              \
    X(VERSION, 505, EPROTO, "a version that is neither 1.0 nor 1.1")                            \
    X(TARGET_LONG, 414, ELIMIT, "a target over the limit")                                      \
    X(TARGET_BYTES, 400, EPROTO, "a target with bytes outside of visible ASCII, or a fragment") \
    X(TARGET_FORM, 400, EPROTO, "a target that is neither a path nor our own absolute URL")     \
    X(FOLDED, 400, EPROTO, "a folded header line")                                              \
    X(SPACE_BEFORE_COLON, 400, EPROTO, "a space before the colon")                              \
    X(NO_NAME, 400, EPROTO, "a header without a name")                                          \
    X(NO_COLON, 400, EPROTO, "a header without a colon")                                        \
    X(NAME_SYNTAX, 400, EPROTO, "a header name with bytes that no name may have")               \
    X(HOST_MISSING, 400, EPROTO, "no host")                                                     \
    X(HOST_TWICE, 400, EPROTO, "two hosts")                                                     \
    X(HOST_SYNTAX, 400, EPROTO, "a host that is no host")                                       \
    X(HOST_MISMATCH, 400, EPROTO, "a target or :authority that names another host")             \
    X(LENGTH_SYNTAX, 400, EPROTO, "a content-length that is no number")                         \
    X(LENGTH_TWICE, 400, EPROTO, "two content-lengths")                                         \
    X(LENGTH_AND_CODING, 400, EPROTO, "content-length and transfer-encoding")                   \
    X(CODING, 400, EPROTO, "a transfer-encoding other than one chunked")                        \
    X(BODY, 413, ELIMIT, "a body")                                                              \
    X(EXPECT, 417, EPROTO, "an expectation other than 100-continue")                            \
    X(HEAD_LONG, 431, ELIMIT, "a head over the limit")                                          \
    X(FIELDS, 431, ELIMIT, "too many headers")                                                  \
    X(PSEUDO, 400, EPROTO, "a pseudo-header missing, twice, late, unknown or wrong")            \
    X(CONNECTION_FIELD, 400, EPROTO, "a connection header in HTTP/2")                           \
    X(STATUS_LINE, 502, EPROTO, "a status line that is none")                                   \
    X(INTERIM, 502, EPROTO, "too many interim responses, or a switch of protocols")             \
    X(CHUNK_SIZE, 502, EPROTO, "a chunk size or extension that is wrong or too long")           \
    X(CHUNK_END, 502, EPROTO, "a chunk that does not end where it said")                        \
    X(TRAILERS, 502, ELIMIT, "trailers over the limit")                                         \
    X(SHORT, 502, EPROTO, "an end before the end")                                              \
    X(GRAMMAR, 400, EPROTO, "something the grammar does not have")

enum http_refusal {
#define X(name, status, st, text) HTTP_REFUSED_##name,
    HTTP_REFUSALS(X)
#undef X
};

const char *http_refusal_name(enum http_refusal r);
const char *http_refusal_text(enum http_refusal r);
unsigned http_refusal_status(enum http_refusal r); /* to answer when a request was refused */
enum st http_refusal_st(enum http_refusal r);

enum http_method {
    HTTP_METHOD_NONE,
    HTTP_METHOD_GET,
    HTTP_METHOD_HEAD,
    HTTP_METHOD_OPTIONS,
    HTTP_METHOD_POST,  /* only where the limits say so */
    HTTP_METHOD_OTHER, /* refused: 405 or 501 */
};

/* Headers whose value is kept; of a repeated one, the first. A Range or If-Range that comes twice
 * is dropped with its partner: the answer is then the whole object, which is always right. */
#define HTTP_KEPT(X)                          \
    X(RANGE, "range")                         \
    X(IF_RANGE, "if-range")                   \
    X(IF_NONE_MATCH, "if-none-match")         \
    X(IF_MODIFIED_SINCE, "if-modified-since") \
    X(ORIGIN, "origin")                       \
    X(USER_AGENT, "user-agent")               \
    X(REFERER, "referer")                     \
    X(CMCD_REQUEST, "cmcd-request")           \
    X(CMCD_OBJECT, "cmcd-object")             \
    X(CMCD_STATUS, "cmcd-status")             \
    X(CMCD_SESSION, "cmcd-session")           \
    X(FRESHET_SESSION, "freshet-session")     \
    X(FRESHET_EPOCH, "freshet-epoch")         \
    X(FRESHET_AST, "freshet-ast")             \
    X(FRESHET_PERIOD, "freshet-period")       \
    X(FRESHET_HIGH, "freshet-high")           \
    X(FRESHET_CLAIM, "freshet-claim")         \
    X(FRESHET_BEHIND, "freshet-behind")

/* Headers that are judged or noted, but whose value nobody needs later. */
#define HTTP_JUDGED(X)                        \
    X(HOST, "host")                           \
    X(CONNECTION, "connection")               \
    X(CONTENT_LENGTH, "content-length")       \
    X(TRANSFER_ENCODING, "transfer-encoding") \
    X(EXPECT, "expect")                       \
    X(AUTHORIZATION, "authorization")         \
    X(COOKIE, "cookie")                       \
    X(FRESHET_HOP, "freshet-hop")             \
    X(TE, "te")                               \
    X(UPGRADE, "upgrade")                     \
    X(KEEP_ALIVE, "keep-alive")               \
    X(PROXY_CONNECTION, "proxy-connection")

enum http_field {
#define X(name, text) HTTP_FIELD_##name,
    HTTP_KEPT(X) HTTP_FIELDS_KEPT, /* how many; no field */
    HTTP_JUDGED(X)
#undef X
        HTTP_FIELD_OTHER,
};

struct http_limits {
    uint32_t head_bytes;   /* HTTP/1: request line and headers */
    uint32_t target_bytes; /* path and query */
    uint16_t fields;
    bool post; /* between our tiers: POST, and a body (HTTP/2 only) */
};

#define HTTP_LIMITS_DEFAULT                                                     \
    {                                                                           \
        .head_bytes = 16384, .target_bytes = 8192, .fields = 100, .post = false \
    }

struct http_head {
    enum http_method method;
    enum http_refusal refusal;
    uint8_t major; /* 1 or 2 */
    uint8_t minor;
    uint16_t fields;                     /* headers seen, pseudo-headers not counted */
    bool keep_alive;                     /* HTTP/1: the connection may carry another request */
    bool authorization;                  /* present: an outside origin's answer is not shared */
    bool cookie;                         /* likewise */
    bool hop;                            /* freshet-hop: came from a peer, never forward sideways */
    bool has_length;                     /* content-length was there (0 is allowed) */
    uint64_t length;                     /* and its value; more than 0 only with limits.post */
    struct slice target;                 /* path and query, or "*"; never an absolute URL */
    struct slice host;                   /* as sent, with its port; absent in some HTTP/1.0 */
    struct slice kept[HTTP_FIELDS_KEPT]; /* by enum http_field; trimmed */

    /* while it is being filled */
    struct slice method_text;
    struct slice authority; /* from :authority or an absolute target */
    struct slice scheme;
    uint32_t seen; /* BIT(enum http_field) */
    bool close_token, keep_alive_token, drop_range;
};

static inline struct slice http_head_get(const struct http_head *h, enum http_field f)
{
    return f < HTTP_FIELDS_KEPT ? h->kept[f] : (struct slice){ .p = NULL };
}

void http_head_init(struct http_head *h, unsigned major, unsigned minor);

/* HTTP/2: one header or pseudo-header, in the order they came; the bytes must outlive the head. */
MUST_USE enum st http_head_add(struct http_head *h, const struct http_limits *lim, const void *name,
                               size_t name_len, const void *value, size_t value_len);

/* All headers are in: judges the whole. */
MUST_USE enum st http_head_finish(struct http_head *h, const struct http_limits *lim);

/* For the parsers: HTTP_FIELD_OTHER when we have no use for it; any case. */
enum http_field http_field_find(struct slice name);
/* One header, already split and trimmed. */
MUST_USE enum st http_head_set(struct http_head *h, const struct http_limits *lim,
                               enum http_field f, struct slice value);
/* Keeps the first refusal; returns its enum st. */
MUST_USE enum st http_head_refuse(struct http_head *h, enum http_refusal r);

#endif
