/* daemon/process.h - the process: its loops, its threads, the configuration in force
 *
 * Purpose   start, reload and stop, in the order that makes each of them all or nothing. Knows no
 *           role by name: those are parts (daemon/part.h).
 * Owner     main().
 * Thread    the main thread, which is not a loop and may wait.
 * Errors    process_start, process_reload: the report says why, for people; after a failed reload
 *           everything is as it was.
 * Tests     tests/unit/test_reload.c, tests/e2e/test_process.py
 */
#ifndef DAEMON_PROCESS_H
#define DAEMON_PROCESS_H

#include <pthread.h>
#include <stdint.h>
#include <stdio.h>

#include "core/conf.h"
#include "core/loop.h"
#include "core/status.h"
#include "daemon/part.h"

struct process_loop {
    struct loop loop;
    struct mail stop;
    pthread_t thread;
};

struct process {
    const struct conf *conf; /* in force; NULL until the first commit */
    const struct part *const *parts;
    void *part[PARTS_MAX]; /* the parts' own state, in the order of the table */
    struct process_loop *loops;
    struct loop *loop[CONF_LOOPS_MAX];
    int loops_n;   /* initialised */
    int threads_n; /* running */
    int64_t started_us;
};

/* Takes `first`, in both cases. */
MUST_USE enum st process_start(struct process *p, const struct part *const *parts,
                               struct conf *first, FILE *report);
/* Stops and joins the loops; a loop that does not come back in ten seconds is a bug, and fatal. */
void process_stop(struct process *p);

/* Loads `file` and puts it in force. Calls back for each key that changes before anything is done
 * about it: only when ST_OK comes back have they changed. */
MUST_USE enum st process_reload(struct process *p, const char *file, FILE *report,
                                void (*changed)(void *arg, const struct conf_change *ch),
                                void *arg);

/* What `freshet check` does after reading the file: every part's check(). */
MUST_USE enum st process_check(const struct part *const *parts, const struct conf *c, FILE *report);

#endif
