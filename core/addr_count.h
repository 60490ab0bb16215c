/* core/addr_count.h - how many of something each address has
 *
 * Purpose   limits per client address: connections, held requests. Where there is no such limit
 *           nothing here is touched.
 * Owner     edge/front.c, ingest/conn.c: one for the process each.
 * Thread    any: one mutex, taken only where such a limit is set.
 * Errors    take: false, over the limit or out of memory.
 * Tests     tests/unit/test_ingest.c, tests/e2e/test_hostile_connections.py
 */
#ifndef CORE_ADDR_COUNT_H
#define CORE_ADDR_COUNT_H

#include <stdbool.h>

#include "core/addr.h"

struct addr_count;
struct addr_count *addr_count_new(void);
void addr_count_free(struct addr_count **cp);

bool addr_count_take(struct addr_count *c, const struct addr *a, unsigned max);
void addr_count_return(struct addr_count *c, const struct addr *a); /* one that was taken */

#endif
