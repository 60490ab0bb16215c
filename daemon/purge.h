/* daemon/purge.h - `freshet purge PREFIX`
 *
 * Purpose   asks every loop to take out what it has below the prefix (edge/purge.h), and adds up.
 * Owner     the answer is a new reference.
 * Thread    the main thread, which waits at most ten seconds.
 * Errors    NULL: out of memory. A prefix that is none: "ok": false and the reason.
 * Tests     tests/e2e/test_purge.py
 */
#ifndef DAEMON_PURGE_H
#define DAEMON_PURGE_H

#include <jansson.h>

struct process;

/* {"ok", "prefix", "purged", "bytes", "kept", "whole"}; prefix as keys are spelled. */
json_t *purge_run(struct process *p, const char *prefix);

#endif
