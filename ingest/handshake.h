/* ingest/handshake.h - how an RTMP connection begins
 *
 * Purpose   the simple handshake: C0 and C1 in any pieces, S0, S1 and S2 in one go as soon as C1 is
 *           whole (some clients send C2 only then, others do not wait), C2 taken and not looked at.
 *           S1's version is zero, so that clients that know the digest handshake ask for none.
 *           Who is at the wrong door is told apart by the first byte.
 * Spec      Adobe RTMP 1.0 (2012), 5.2.
 * Owner     embedded; 1.5 KiB of it is needed until it is done.
 * Thread    one loop.
 * Errors    handshake_next: MORE (all input taken), EPROTO: handshake_why(). OK: done, and `in` is
 *           at the first chunk.
 * Tests     tests/unit/test_handshake.c, tests/fuzz/fuzz_session.c
 */
#ifndef INGEST_HANDSHAKE_H
#define INGEST_HANDSHAKE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/buf.h"
#include "core/rd.h"
#include "core/status.h"

enum { HANDSHAKE_BYTES = 1536, HANDSHAKE_REPLY = 1 + 2 * HANDSHAKE_BYTES };

enum handshake_why {
    HANDSHAKE_GOOD,
    HANDSHAKE_HTTP,
    HANDSHAKE_TLS,
    HANDSHAKE_RTMPE,
    HANDSHAKE_VERSION, /* anything else */
};

struct handshake {
    uint64_t seed;
    enum handshake_why why;
    bool begun;  /* C0 has come */
    size_t have; /* of C1, then C2 */
    uint8_t c1[HANDSHAKE_BYTES];
};

/* seed: whatever makes connections differ; the bytes made from it are no secret. */
void handshake_init(struct handshake *h, uint64_t seed);
/* Adds the reply to `out` when C1 is whole. */
MUST_USE enum st handshake_next(struct handshake *h, struct rd *in, struct buf *out);

#endif
