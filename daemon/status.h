/* daemon/status.h - the state of this process as JSON: /api/v1/status and the status page
 *
 * Purpose   who we are, how our upstreams do, and the sums of all metrics.
 * Owner     a new reference.
 * Thread    status_json: the main thread. status_ask: a loop.
 * Errors    NULL: out of memory.
 * Tests     tests/e2e/test_status.py
 */
#ifndef DAEMON_STATUS_H
#define DAEMON_STATUS_H

#include <jansson.h>
#include <stdbool.h>

struct loop;
struct process;

/* Adds what this loop knows of the upstreams: for a census. */
void status_ask(struct loop *l, json_t *list);

/* seen: the answers of all loops (others' entries are passed over); whole: all have answered.
 * {"ok", "node", "version", "pid", "config", "generation", "loops", "uptime_s", "at_us", "whole",
 *  "upstreams": [{"url", "state", "fills", "ok_10s", "bad_10s", "loops_open"}], "metrics"} */
json_t *status_json(struct process *p, const json_t *seen, bool whole);

#endif
