/* ingest/chunk.h - the RTMP chunk stream: messages out of chunks, and our messages into chunks
 *
 * Purpose   put messages together from interleaved chunks; knows nothing of sockets, commands or
 *           media. Takes any pieces. A message that lies whole in the input, in one chunk, is
 *           borrowed from there; others are collected in memory that grows as their bytes arrive.
 * Spec      Adobe RTMP 1.0 (2012), 5.3.1 and 5.4.1, with the habits of the field:
 *           - a type 3 chunk repeats an extended time stamp, or not: four bytes are taken for one
 *             only when they are the one before (or, where a message begins, up to a minute on,
 *             from writers that put the new time there);
 *           - a message begun with type 3 straight after type 0 has the same time, not twice it.
 * Units     time stamps in milliseconds modulo 2^32; sizes in bytes.
 * Owner     the connection. msg->body is borrowed: until the next call here, and no longer than the
 *           input.
 * Thread    one loop.
 * Errors    chunk_next: MORE (all input taken), ENOMEM, EPROTO and ELIMIT: chunk_why() says which
 *           rule. A failure sticks.
 * Tests     tests/unit/test_chunk.c, tests/fuzz/fuzz_chunk.c
 */
#ifndef INGEST_CHUNK_H
#define INGEST_CHUNK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/buf.h"
#include "core/rd.h"
#include "core/status.h"

enum {
    CHUNK_STREAMS = 64, /* different chunk stream ids of a connection */
    CHUNK_SIZE_FIRST = 128,
    CHUNK_SIZE_MAX = 16 << 20,
    CHUNK_HEADER_MAX = 3 + 11 + 4,
};

/* RTMP message types. */
enum {
    RTMP_SET_CHUNK_SIZE = 1,
    RTMP_ABORT = 2,
    RTMP_ACK = 3,
    RTMP_USER_CONTROL = 4,
    RTMP_WINDOW_ACK_SIZE = 5,
    RTMP_SET_PEER_BANDWIDTH = 6,
    RTMP_AUDIO = 8,
    RTMP_VIDEO = 9,
    RTMP_DATA_AMF3 = 15,
    RTMP_COMMAND_AMF3 = 17,
    RTMP_DATA = 18,
    RTMP_COMMAND = 20,
    RTMP_AGGREGATE = 22,
};

struct chunk_limits {
    uint32_t media_bytes;  /* a message of type 8, 9 or 22 */
    uint32_t other_bytes;  /* any other */
    uint32_t memory_bytes; /* of all messages being put together */
};

enum chunk_why {
    CHUNK_GOOD,
    CHUNK_NO_HEADER,  /* types 1 to 3 on an id that had no type 0 */
    CHUNK_IN_MESSAGE, /* a header inside an unfinished message */
    CHUNK_MANY_IDS,   /* more than CHUNK_STREAMS */
    CHUNK_LONG,       /* a message over its limit */
    CHUNK_MEMORY,     /* unfinished messages over theirs */
    CHUNK_SIZE_ZERO,  /* a chunk size of 0 */
    CHUNK_OUT_OF_MEMORY,
};

struct rtmp_msg {
    uint32_t ts_ms;
    uint32_t msid;
    uint8_t type;
    const uint8_t *body;
    size_t n;
};

struct chunk_demux;
struct chunk_demux *chunk_demux_new(const struct chunk_limits *lim); /* NULL: out of memory */
void chunk_demux_free(struct chunk_demux **dp);
/* For messages that begin after it. */
void chunk_demux_set_limits(struct chunk_demux *d, const struct chunk_limits *lim);
/* OK: one message; call again with the same input. */
MUST_USE enum st chunk_next(struct chunk_demux *d, struct rd *in, struct rtmp_msg *msg);
enum chunk_why chunk_why(const struct chunk_demux *d);
size_t chunk_demux_memory(const struct chunk_demux *d); /* held now, itself included */

/* What the peer's Set Chunk Size and Abort say. */
MUST_USE enum st chunk_demux_set_size(struct chunk_demux *d, uint32_t value);
void chunk_demux_abort(struct chunk_demux *d, uint32_t csid);

/* Adds a message: type 0, then type 3 chunks. csid: 2 to 63. */
void chunk_put(struct buf *b, unsigned csid, const struct rtmp_msg *msg, uint32_t chunk_size);

#endif
