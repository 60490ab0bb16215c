/* ingest/recall.h - what a POP remembers of streams whose publisher may come back
 *
 * Purpose   the ticket and the data centre that a stream had last, so that the next publisher goes
 *           on with it, on whatever loop he arrives. Touched when a home accepts a publisher, when
 *           the ticket changes (every few segments) and when he leaves.
 * Units     until_us: monotonic time; what is older is forgotten.
 * Limits    RECALL_MAX streams; more are not remembered.
 * Owner     struct uplinks.
 * Thread    any; one lock inside, held for a look.
 * Tests     tests/unit/test_uplink.c
 */
#ifndef INGEST_RECALL_H
#define INGEST_RECALL_H

#include <stdbool.h>
#include <stdint.h>

#include "core/ticket.h"

enum { RECALL_MAX = 20000, RECALL_NAME_MAX = 64 + 1 + 64, RECALL_URL_MAX = 300 };

struct recall;

struct recall_entry {
    struct ticket ticket;
    char url[RECALL_URL_MAX + 1]; /* of the data centre */
};

struct recall *recall_new(void); /* NULL: out of memory */
void recall_free(struct recall **rp);
void recall_put(struct recall *r, const char *name, const struct recall_entry *e, uint64_t now_us,
                uint64_t until_us);
bool recall_get(struct recall *r, const char *name, uint64_t now_us, struct recall_entry *out);
void recall_forget(struct recall *r, const char *name);

#endif
