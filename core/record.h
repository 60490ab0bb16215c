/* core/record.h - records: what our processes say to each other inside an HTTP body
 *
 * Purpose   a record is a header, a JSON object, and bytes (media, a document). The reader takes
 *           the body in pieces of any size and hands out: GOT_HEAD when header and JSON are
 *           whole, GOT_BYTES for each run of bytes as it comes (borrowed from the input, never
 *           copied or collected), GOT_ALL at its end. So a segment flows on while it arrives, and
 *           memory is the JSON's only, growing as it arrives. A CHUNK comes ten times a second and
 *           stream: who sets raw_chunks reads its JSON with core/jscan.h, and no tree is made.
 * Spec      u32be length of all that follows it, u8 type, u8 flags, u16 zero, u64be seq, u16be
 *           length of the JSON, JSON, bytes. Strict: an unknown type, a reserved field that is not
 *           zero, a length that does not hold its parts, and JSON that is absent or no object
 *           (a raw chunk: does not begin like one) are EPROTO. Flags are ignored by who does not know them and handed on: a meaning that an
 *           old reader may not ignore takes a new type.
 * Units     bytes; a record is at most RECORD_BYTES_MAX after its length field.
 * Owner     record_reader belongs to who calls _init and _fini. ev->json and ev->text are borrowed until the next
 *           record_next(), ev->bytes lives as long as the input.
 * Thread    one at a time.
 * Errors    record_next: MORE (all input taken), EPROTO, ELIMIT (over `limit` or the JSON's limit),
 *           ENOMEM; a failure sticks. record_reader_end: EPROTO in the middle of a record.
 * Tests     tests/unit/test_record.c, tests/fuzz/fuzz_record.c
 */
#ifndef CORE_RECORD_H
#define CORE_RECORD_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/buf.h"
#include "core/rd.h"
#include "core/status.h"

/*  name, number on the wire, name in logs */
#define RECORD_TYPES(X)           \
    X(PERIOD, 1, "period")        \
    X(INIT, 2, "init")            \
    X(OPEN, 3, "open")            \
    X(CHUNK, 4, "chunk")          \
    X(CLOSE, 5, "close")          \
    X(HEALTH, 6, "health")        \
    X(SNAPSHOT, 32, "snapshot")   \
    X(DOC, 33, "doc")             \
    X(ANNOUNCE, 34, "announce")   \
    X(SCLOSE, 35, "sclose")       \
    X(EXPIRE, 36, "expire")       \
    X(END, 37, "end")             \
    X(HEARTBEAT, 38, "heartbeat") \
    X(ACK, 64, "ack")             \
    X(PAST, 65, "past")

enum record_type {
#define X(n, v, d) RECORD_##n = (v),
    RECORD_TYPES(X)
#undef X
};

enum {
    RECORD_BYTES_MAX = 9 * 1024 * 1024, /* what the length field may say */
    RECORD_FIXED = 4 + 1 + 1 + 2 + 8 + 2,
    RECORD_JSON_MAX = 65535
};

struct record_head {
    enum record_type type;
    uint8_t flags;
    uint64_t seq;
    size_t payload; /* bytes after the JSON */
};

enum record_what { RECORD_GOT_HEAD, RECORD_GOT_BYTES, RECORD_GOT_ALL };

struct record_event {
    enum record_what what;
    struct record_head head; /* of the record at hand, for all three */
    const json_t *json;      /* RECORD_GOT_HEAD: an object; NULL for a raw chunk */
    const char *text;        /* RECORD_GOT_HEAD: the same as it came, */
    size_t text_n;           /* a zero behind it */
    const uint8_t *bytes;    /* RECORD_GOT_BYTES: never empty */
    size_t n;
};

struct record_reader {
    int magic;
    enum st st;
    int state;
    size_t limit;
    bool raw_chunks; /* set after _init */
    uint8_t fixed[RECORD_FIXED];
    size_t have; /* of fixed[] */
    size_t left; /* of the part at hand: JSON or payload */
    struct buf text;
    json_t *json;
    struct record_head head;
};

/* limit: of the length field, at most RECORD_BYTES_MAX. */
void record_reader_init(struct record_reader *r, size_t limit);
void record_reader_fini(struct record_reader *r);
/* Moves `in` past what the event covers. MORE: `in` is empty. */
MUST_USE enum st record_next(struct record_reader *r, struct rd *in, struct record_event *ev);
/* The body has ended: OK between records only. */
MUST_USE enum st record_reader_end(struct record_reader *r);

/* Adds header and JSON; the caller sends `payload` bytes after it. ELIMIT in b->st when it would
 * be too long for a record. */
void record_put(struct buf *b, enum record_type type, uint8_t flags, uint64_t seq,
                const json_t *json, size_t payload);
/* The same with JSON text that is ready: "{...}". */
void record_put_text(struct buf *b, enum record_type type, uint8_t flags, uint64_t seq,
                     const char *json, size_t json_len, size_t payload);

const char *record_type_name(enum record_type type);

#endif
