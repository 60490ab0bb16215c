/* core/h2_guard.h - what an HTTP/2 peer may do how often, and what a request must look like
 *
 * Purpose   the counting half of core/h2.h: pure state, no library, so that each rule can be read
 *           and tested by itself. Also the tables of limits and of names.
 * Units     now_us: loop_now().
 * Owner     embedded in struct h2, whose limits it borrows.
 * Thread    one loop.
 * Errors    false: that was one too many, or is not allowed.
 * Tests     tests/unit/test_h2_limits.c
 */
#ifndef CORE_H2_GUARD_H
#define CORE_H2_GUARD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/h2.h"

enum { H2_HOST_MAX = 255 };

struct h2_rate {
    uint64_t start_us;
    uint32_t n;
};

struct h2_guard {
    const struct h2_limits *lim;
    struct h2_rate errors;
    struct h2_rate control;
    uint64_t reset_tokens; /* millionths */
    uint64_t reset_at_us;
    uint16_t authority_len; /* of the head being read: heads never interleave */
    char authority[H2_HOST_MAX];
};

void h2_guard_init(struct h2_guard *g, const struct h2_limits *lim, uint64_t now_us);

MUST_USE bool h2_guard_error(struct h2_guard *g, uint64_t now_us);
MUST_USE bool h2_guard_control(struct h2_guard *g, uint64_t now_us);
MUST_USE bool h2_guard_peer_reset(struct h2_guard *g, uint64_t now_us);

/* A request head begins; then each of its fields, in order. */
void h2_guard_head(struct h2_guard *g);
MUST_USE bool h2_guard_field(struct h2_guard *g, const char *name, size_t name_len,
                             const char *value, size_t value_len);

enum st h2_end_st(enum h2_end e);
bool h2_reset_is_error(enum h2_reset_reason r);

#endif
