/* edge/http_reply.h - what the head of an upstream's response says
 *
 * Purpose   the one shape in which a response reaches the cache, whichever version of HTTP it came
 *           by; the headers that a cache or a player needs, nothing else.
 * Spec      RFC 9110; repeated Cache-Control and Vary lines are one list, as section 5.3 has it.
 * Owner     slices borrow from the bytes given to http_reply_set(), or, where lines were joined,
 *           from the struct itself: do not copy it.
 * Thread    a value; any one thread.
 * Errors    as in edge/http_head.h; the caller tells its own client 502.
 * Tests     tests/unit/test_http1_resp.c
 */
#ifndef EDGE_HTTP_REPLY_H
#define EDGE_HTTP_REPLY_H

#include "edge/http_head.h"

/* Of a repeated one, the first counts; the lists are joined. */
#define HTTP_REPLY_KEPT(X)                  \
    X(CACHE_CONTROL, "cache-control")       \
    X(VARY, "vary")                         \
    X(ACCEPT_RANGES, "accept-ranges")       \
    X(AGE, "age")                           \
    X(CONTENT_ENCODING, "content-encoding") \
    X(CONTENT_RANGE, "content-range")       \
    X(CONTENT_TYPE, "content-type")         \
    X(DATE, "date")                         \
    X(ETAG, "etag")                         \
    X(EXPIRES, "expires")                   \
    X(LAST_MODIFIED, "last-modified")       \
    X(FRESHET_HOME, "freshet-home")         \
    X(LOCATION, "location")                 \
    X(RETRY_AFTER, "retry-after")

enum http_reply_field {
#define X(name, text) HTTP_REPLY_##name,
    HTTP_REPLY_KEPT(X)
#undef X
        HTTP_REPLY_FIELDS,
};

struct http_reply {
    enum http_refusal refusal;
    uint16_t status;
    uint8_t major;
    uint8_t minor;
    uint16_t fields;
    bool has_length;
    bool chunked;    /* HTTP/1 */
    bool set_cookie; /* the response is somebody's: never shared */
    bool close_token, keep_alive_token;
    uint64_t length;
    struct slice kept[HTTP_REPLY_FIELDS]; /* trimmed; p == NULL: absent */
    uint16_t joined_bytes;
    uint8_t joined[1024];
};

void http_reply_init(struct http_reply *r, unsigned major, unsigned minor, unsigned status);

/* One header, name in any case, value trimmed. `fields` is the limit on their number. */
MUST_USE enum st http_reply_set(struct http_reply *r, unsigned fields, struct slice name,
                                struct slice value);

/* Keeps the first refusal; returns its enum st. */
MUST_USE enum st http_reply_refuse(struct http_reply *r, enum http_refusal why);

#endif
