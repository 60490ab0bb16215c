/* tests/load/script.h - what slow_origin is to do, read from the URL
 *
 * Purpose   /APP/b/SIZE[/...] and /APP/drip/SIZE[/...]: SIZE bytes of tests/load/content.h, with
 *           parameters `name=value` in the query or as path segments after SIZE (other segments
 *           there only make another object). An unknown parameter is an error, so that a typo in
 *           a test cannot pass for "no such behaviour".
 *
 *           delay=MS     wait before the head          over=MS    spread the body over MS: first
 *           step=MS      piece interval (50)                      piece with the head, last at MS
 *           cl=1|0       Content-Length | chunked (b: 1, drip: 0)
 *           eof=1        neither: the body ends with the connection
 *           close=1      Connection: close             ranges=0   pretend not to know Range
 *           status=N     another status line           type=T     Content-Type
 *           cc=VALUE     Cache-Control                 etag=V     ETag "V" (W/V: weak)
 *           etag_seq=1   ETag "V-N", N the number of this request for the path
 *           die=BYTES    cut the connection after BYTES of this body; die=head: before the head
 *           how=rst|fin  the way it is cut (rst)       stall=BYTES  send no more after BYTES
 *           flip=OFFSET  one wrong byte at OFFSET of the object
 *           times=N      status, die, stall and flip only in the first N requests for the path
 *           gate=NAME    wait before the head until /__open/NAME; with at=BYTES: before that
 *                        byte of this body
 *           x=ANY        nothing: makes another key
 * Units     milliseconds, bytes; -1: not asked for.
 * Thread    any; pure functions.
 * Errors    ENOENT: not a path of ours (404). EPROTO: a parameter is wrong (400).
 * Tests     tests/unit/test_script.c
 */
#ifndef TESTS_LOAD_SCRIPT_H
#define TESTS_LOAD_SCRIPT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/status.h"

#define SCRIPT_DIE_HEAD INT64_C(-2)
#define SCRIPT_TEXT_BYTES 128

enum script_frame { FRAME_LENGTH, FRAME_CHUNKED, FRAME_EOF };

struct script {
    int64_t size;
    int64_t delay_ms, over_ms, step_ms;
    int64_t status, times;
    int64_t die_at, stall_at, flip_at, gate_at;
    enum script_frame frame;
    bool close, ranges, etag_seq, die_fin;
    char cc[SCRIPT_TEXT_BYTES], etag[SCRIPT_TEXT_BYTES], type[SCRIPT_TEXT_BYTES];
    char gate[SCRIPT_TEXT_BYTES];
    size_t path_len; /* of the target, without the query */
};

MUST_USE enum st script_parse(struct script *s, const char *target, size_t len);

/* How many of `len` body bytes may be out `since_us` after the head, and, when that is not all,
 * after how long the next piece is due. */
int64_t script_due_bytes(const struct script *s, int64_t len, uint64_t since_us, uint64_t *next_us);

/* One range of an entity of `size` bytes. OK: *first and *len are set. MORE: not a single byte
 * range, serve all of it. ENOENT: cannot be satisfied (416). */
MUST_USE enum st script_range(const char *value, int64_t size, int64_t *first, int64_t *len);

#endif
