/* origin/ticket.h - what another home needs to go on with a session
 *
 * Purpose   a session's identity and how far it has got, small enough to travel in headers: the
 *           home gives it to whoever brings the tags, who hands it to the next home should this one
 *           be gone. The epoch says which of two claims on a stream is the newer one: each
 *           publisher that a home accepts is a claim, and gets max(last + 1, wall clock in ms).
 * Units     epoch: milliseconds since 1970 at least; ast_s: Unix seconds; k: of the newest Period;
 *           high: no segment number from here on has been used, and 64 more at least are free of
 *           suspicion.
 * Thread    any; a value.
 * Errors    ticket_good: false for what no home has made; tickets come over the wire.
 * Tests     tests/unit/test_home.c
 */
#ifndef ORIGIN_TICKET_H
#define ORIGIN_TICKET_H

#include <stdbool.h>
#include <stdint.h>

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

#endif
