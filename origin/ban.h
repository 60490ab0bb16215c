/* origin/ban.h - streams that are refused for a while
 *
 * Purpose   by the operator (freshet kick --ban), or because the encoder has crashed on them: a
 *           stream that was in hand at BAN_CRASHES crashes within BAN_CRASH_US is quarantined.
 * Units     monotonic microseconds.
 * Owner     the home. At most BAN_MAX names; suspects give way to bans, and the ban that ends
 *           first to a new quarantine, so that a crash always counts.
 * Thread    any: a lock, for a short look at publish.
 * Errors    ban_put: ELIMIT.
 * Tests     tests/unit/test_ban.c
 */
#ifndef ORIGIN_BAN_H
#define ORIGIN_BAN_H

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

#include "core/status.h"

enum { BAN_MAX = 1024, BAN_CRASHES = 3, BAN_CRASH_US = 60 * 1000 * 1000 };

enum ban_why { BAN_OPERATOR, BAN_QUARANTINE };

struct ban_list;
struct ban_list *ban_list_new(void); /* NULL: out of memory */
void ban_list_free(struct ban_list **bp);

/* until_us in the past lifts it, and forgets crashes. */
MUST_USE enum st ban_put(struct ban_list *b, const char *name, uint64_t now_us, uint64_t until_us);
/* A crash with this stream in hand. True: it is quarantined now, for quarantine_us. */
bool ban_crash(struct ban_list *b, const char *name, uint64_t now_us, uint64_t quarantine_us);
bool ban_is(struct ban_list *b, const char *name, uint64_t now_us, enum ban_why *why);
/* Adds {"name", "why", "left_s"} for each. */
void ban_show(struct ban_list *b, uint64_t now_us, json_t *list);

#endif
