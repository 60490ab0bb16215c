/* tests/load/request.h - the head of a GET or HEAD, as slow_origin reads it
 *
 * Purpose   what the scripted origin needs of a request, and nothing else.
 * Spec      RFC 9112, section 3; bodies are refused.
 * Owner     the caller; everything is copied.
 * Thread    any; pure.
 * Errors    EPROTO: not a request that slow_origin answers (400).
 * Tests     tests/unit/test_request.c
 */
#ifndef TESTS_LOAD_REQUEST_H
#define TESTS_LOAD_REQUEST_H

#include <stdbool.h>

#include "core/status.h"

struct request {
    bool head_only, http10, close;
    char target[4096]; /* printable, without quotes and backslashes: it is put into JSON */
    char range[64], if_range[160], if_none_match[512]; /* empty: not there */
};

/* `head`: the lines up to the empty one, as one string; it is cut to pieces. */
MUST_USE enum st request_parse(struct request *r, char *head);

#endif
