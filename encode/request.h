/* encode/request.h - the head of POST /_encode/APP/STREAM
 *
 * Purpose   take the fields as they come, then say whether they make an exchange.
 *             freshet-session  13 of [0-9a-z]
 *             freshet-ast      Unix time of availabilityStartTime, whole seconds
 *             freshet-ladder   {"copy": true, "segment": MS, "chunk": MS}
 *             freshet-period   {"k": K, "number": N, "start": MS}: of the next Period that opens: its
 *                              k, and at least this number and start (since AST). Absent: zeros.
 *             freshet-resume   base64 of {"v0": STATE, "a0": STATE}, each the `state` of the last
 *                              CHUNK of its rendition. Absent: a new stream.
 * Limits    ENC_FIELD_MAX bytes for a value; the session limits the whole head.
 * Owner     whoever calls _init and _fini. resume may be taken (set to NULL).
 * Thread    one at a time.
 * Errors    as an HTTP status: 200; 400 (which field), 404, 405, 501 (a ladder that is not a copy).
 * Tests     tests/unit/test_enc_request.c
 */
#ifndef ENCODE_REQUEST_H
#define ENCODE_REQUEST_H

#include <jansson.h>
#include <stddef.h>

#include "encode/timeline.h"

enum {
    ENC_FIELD_MAX = 12 * 1024,
    ENC_NAME_MAX = 64,
    ENC_SESSION_CHARS = 13,
};

enum enc_field {
    ENC_METHOD,
    ENC_PATH,
    ENC_SESSION,
    ENC_AST,
    ENC_LADDER,
    ENC_PERIOD,
    ENC_RESUME,
    ENC_FIELDS
};

struct enc_request {
    char *field[ENC_FIELDS]; /* NULL: not there */
    bool bad;                /* a field twice or too long, or no memory */
    /* after a good enc_request_read() */
    char name[2 * ENC_NAME_MAX + 2]; /* APP/STREAM */
    struct timeline_conf conf;
    json_t *resume; /* NULL: none */
};

void enc_request_init(struct enc_request *r);
void enc_request_fini(struct enc_request *r);
/* Fields that it does not know are passed over. */
void enc_request_field(struct enc_request *r, const char *name, size_t name_len, const char *value,
                       size_t value_len);
/* What to answer; *why: for the body of a refusal. Frees the fields. */
int enc_request_read(struct enc_request *r, const char **why);

#endif
