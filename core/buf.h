/* core/buf.h - bytes that grow up to a limit
 *
 * Purpose   build a text or a message piece by piece and test once at the end: after the first
 *           failure every further call does nothing, and st says why. Nothing is ever truncated in
 *           silence: a failed buffer is not to be sent.
 * Units     limit and len in bytes; the terminating zero of buf_text() is not in len.
 * Owner     whoever calls buf_init(); buf_fini() frees, buf_take() hands the memory over.
 * Thread    one at a time.
 * Errors    st: ELIMIT, ENOMEM.
 * Tests     tests/unit/test_buf.c
 */
#ifndef CORE_BUF_H
#define CORE_BUF_H

#include <stddef.h>
#include <stdint.h>

#include "core/status.h"

enum { BUF_KEEP_BYTES = 4096, BUF_EXPECT_BYTES = 64 * 1024 };

struct buf {
    uint8_t *data; /* NULL while nothing was added */
    size_t len;
    size_t room; /* allocated, one more than may be used */
    size_t limit;
    enum st st; /* OK until the first failure */
};

void buf_init(struct buf *b, size_t limit);
void buf_fini(struct buf *b);  /* empty again, with the same limit */
void buf_reset(struct buf *b); /* empty and OK; keeps its memory */
/* The same, and memory over BUF_KEEP_BYTES goes: for a buffer that waits longer than it works, of
 * which there are many. */
void buf_recycle(struct buf *b);

/* n bytes at the end to be written by the caller, or NULL. */
uint8_t *buf_grow(struct buf *b, size_t n);
void buf_add(struct buf *b, const void *p, size_t n);
/* About n bytes are to come: room for them at once, but no more than BUF_EXPECT_BYTES, since who says
 * so may be wrong. */
void buf_expect(struct buf *b, size_t n);
void buf_puts(struct buf *b, const char *text);
void buf_printf(struct buf *b, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
void buf_be(struct buf *b, uint64_t v, size_t n); /* big-endian, 1..8 bytes */

/* Zero-terminated view, valid until the next call; "" when empty or failed. */
const char *buf_text(const struct buf *b);
/* Moves the bytes out (free() them); NULL when empty or failed. The buffer is as after _fini. */
uint8_t *buf_take(struct buf *b, size_t *len);

#endif
