/* daemon/census.h - the main thread asks every loop something
 *
 * Purpose   what only the loops know (sessions, viewers), or only they may do (purge), for commands
 *           and admin pages: a letter to each loop, which answers into a list of its own; the lists
 *           become one. A loop may take many turns over its answer.
 * Owner     the list is a new reference. A letter that comes late outlives who asked.
 * Thread    census_take: the main thread, which waits. The callback: each loop.
 * Errors    NULL: out of memory. A loop that does not answer in time is left out: *whole is false.
 * Tests     tests/e2e/test_box.py, tests/e2e/test_purge.py
 */
#ifndef DAEMON_CENSUS_H
#define DAEMON_CENSUS_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct loop;
struct process;

struct census_turn {
    const char *text; /* what the asker said */
    size_t at;        /* the callback's own between its turns; 0 at first */
    json_t *list;     /* this loop's answer */
};

/* ask: true when the loop has said all; else it is called again in its next turn. */
json_t *census_take(struct process *p, bool (*ask)(struct loop *l, struct census_turn *t),
                    const char *text, uint64_t patience_us, bool *whole);

#endif
