/* core/ticket.h - what another home needs to go on with a session
 *
 * Purpose   a session's identity and how far it has got, small enough to travel in headers: the
 *           home gives it to whoever brings the tags, who hands it to the next home should this one
 *           be gone. The epoch says which of two claims on a stream is the newer one: each
 *           publisher that a home accepts is a claim, and gets max(last + 1, wall clock in ms).
 * Units     epoch: milliseconds since 1970 at least; ast_s: Unix seconds; k: of the newest Period;
 *           high: no segment number from here on has been used, and 64 more at least are free of
 *           suspicion.
 * Spec      on the wire it is five header fields of `POST /_ingest` and of its answer.
 * Thread    any; a value.
 * Errors    ticket_good: false for what no home has made; tickets come over the wire.
 *           ticket_set: ENOENT (not a field of a ticket), EPROTO (not a value of one).
 * Tests     tests/unit/test_home.c, tests/unit/test_uplink.c
 */
#ifndef CORE_TICKET_H
#define CORE_TICKET_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/status.h"

struct h2_nv;

enum {
    TICKET_SESSION_LEN = 13,
    TICKET_K_STEP = 16,  /* Periods that the last home may have opened without saying so */
    TICKET_RESERVE = 64, /* numbers likewise */
};
#define TICKET_EPOCH_MAX ((UINT64_C(1) << 53) - 1)
#define TICKET_AST_MAX (INT64_C(1) << 40)
#define TICKET_K_MAX (INT64_C(1) << 30)
#define TICKET_HIGH_MAX (UINT64_C(1) << 31)

struct ticket {
    char session[TICKET_SESSION_LEN + 1];
    uint64_t epoch;
    int64_t ast_s; /* 0: nothing has come yet */
    int64_t k;
    uint64_t high;
};

bool ticket_good(const struct ticket *t);

enum { TICKET_FIELDS = 5, TICKET_TEXT = 24 };
/* The digits that the header fields point at. */
struct ticket_text {
    char v[TICKET_FIELDS][TICKET_TEXT];
};
/* Fills nv[0..TICKET_FIELDS-1]; they live as long as `text`. */
void ticket_put(const struct ticket *t, struct ticket_text *text, struct h2_nv *nv);
/* One header field into a ticket that was zeroed at first. */
MUST_USE enum st ticket_set(struct ticket *t, const char *name, size_t name_len, const char *value,
                            size_t value_len);

#endif
