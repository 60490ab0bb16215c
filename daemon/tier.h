/* daemon/tier.h - who answers what under /_ on a tier listener
 *
 * Purpose   the front's raw hook (edge/raw.h): finds the handler of a path by its first segment.
 *           What nobody serves is 404.
 * Thread    the connection's loop.
 * Tests     tests/e2e/test_tiers.py
 */
#ifndef DAEMON_TIER_H
#define DAEMON_TIER_H

#include <stdbool.h>

struct http_head;
struct loop;
struct process;
struct raw;
struct target;

void tier_raw(struct process *p, struct loop *l, struct raw *x, const struct http_head *head,
              const struct target *target, bool last);

#endif
