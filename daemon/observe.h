/* daemon/observe.h - the part that lets people look: logs, counters, the pulse of each loop
 *
 * Purpose   gives every loop its struct log and struct metrics before anything else uses them, puts
 *           the log level and format in force, and keeps a pulse: each loop ticks once a second, so
 *           that /readyz can tell a process whose loops turn from one that hangs.
 * Owner     the process; first in the table of parts.
 * Thread    observe_write_metrics(), observe_ready(): any loop. The rest: as daemon/part.h says.
 * Errors    ENOMEM.
 * Tests     tests/e2e/test_admin.py
 */
#ifndef DAEMON_OBSERVE_H
#define DAEMON_OBSERVE_H

#include <jansson.h>
#include <stdbool.h>

#include "core/buf.h"
#include "core/metric.h"
#include "daemon/part.h"

extern const struct part observe_part;

struct observe;
struct observe *observe_of(const struct process *p);
/* The main thread's; NULL before the part has started. */
struct log *observe_log(const struct process *p);

/* All loops' counters and those given in `now`, which the caller has just filled in. */
void observe_write_metrics(struct observe *o, struct buf *out, struct metrics *now);
json_t *observe_metrics_json(struct observe *o, struct metrics *now); /* NULL: no memory */
bool observe_ready(struct observe *o); /* every loop has ticked in the last five seconds */
/* The main thread's own counters; NULL before the part has started. */
struct metrics *observe_metrics(const struct process *p);
void observe_count_reload(struct process *p, bool ok);
void observe_dump(const struct process *p); /* SIGUSR1: the last lines of every log, to stderr */

#endif
