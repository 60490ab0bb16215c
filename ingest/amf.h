/* ingest/amf.h - AMF0 values: a reader that cannot be nested to death, and a writer
 *
 * Purpose   the reader walks through a message and hands out one event per value, object members
 *           with their keys; its only memory is a stack of AMF_DEPTH bytes, so 60,000 nested
 *           objects cost what one does. The writer adds values to a buffer.
 * Spec      Action Message Format AMF0 (2007): all markers but movieclip and recordset. After the
 *           switch to AMF3 (0x11) one value that holds no others: publishers send no more there.
 *           References are seen, not followed.
 * Limits    depth AMF_DEPTH, AMF_KEYS members and elements per message, strings AMF_STRING_MAX.
 * Owner     borrows the message; events point into it.
 * Thread    a value; any one thread.
 * Errors    amf_next: EOF (between values, nothing left), EPROTO (unknown marker, cut short),
 *           ELIMIT; a failure sticks.
 * Tests     tests/unit/test_amf.c, tests/fuzz/fuzz_amf.c
 */
#ifndef INGEST_AMF_H
#define INGEST_AMF_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/buf.h"
#include "core/rd.h"
#include "core/status.h"

enum { AMF_DEPTH = 8, AMF_KEYS = 256, AMF_STRING_MAX = 8192 };

enum amf_kind {
    AMF_NUMBER,
    AMF_BOOL,
    AMF_STRING, /* also long ones, and XML */
    AMF_NULL,   /* also undefined, unsupported */
    AMF_DATE,   /* number: ms since 1970 */
    AMF_REF,
    AMF_OBJECT, /* also typed ones and ECMA arrays: members follow, then AMF_END */
    AMF_ARRAY,  /* strict: elements without keys follow, then AMF_END */
    AMF_END,
};

struct amf_event {
    enum amf_kind kind;
    unsigned depth; /* of the value: 0 at the top; of an END: of what it ends */
    bool member;    /* key is one */
    const uint8_t *key;
    size_t key_n;
    double number;
    bool yes;
    const uint8_t *s;
    size_t n;
};

struct amf {
    struct rd r;
    enum st st;
    unsigned depth, keys;
    bool array[AMF_DEPTH];
    uint32_t left[AMF_DEPTH]; /* elements of an array to come */
};

struct amf amf_init(const uint8_t *p, size_t n);
MUST_USE enum st amf_next(struct amf *a, struct amf_event *ev);

bool amf_key_is(const struct amf_event *ev, const char *name);
bool amf_string_is(const struct amf_event *ev, const char *text);

void amf_put_number(struct buf *b, double v);
void amf_put_bool(struct buf *b, bool v);
void amf_put_string(struct buf *b, const char *s); /* below 64 KiB */
void amf_put_null(struct buf *b);
void amf_put_undefined(struct buf *b);
void amf_put_object(struct buf *b); /* then keys with values, then amf_put_end() */
void amf_put_key(struct buf *b, const char *key);
void amf_put_end(struct buf *b);

#endif
