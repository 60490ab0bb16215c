/* daemon/part.h - how a role plugs into the process
 *
 * Purpose   a part is what the configuration makes or changes at start and at each reload: the
 *           listeners, the certificates, the edge. A reload is all or nothing: every part's
 *           prepare(), and only when all went well every commit(); else every abort() of those
 *           that were prepared, and nothing has changed.
 *           Start is the same with process.conf NULL. The table is in daemon/parts.c.
 * Owner     *mine is the part's own state, NULL at first; it makes and frees it.
 * Thread    the main thread, all of them. Loops are reached by letter; what is posted in commit()
 *           has arrived when the reload returns. loop_start(), loop_stop(): their threads are not
 *           running then, so the loop is the caller's.
 * Errors    check, prepare: any failure, with err filled for people; a prepare that fails has
 *           undone what it did. commit and abort cannot fail: whatever can is done in prepare().
 * Tests     tests/unit/test_reload.c
 */
#ifndef DAEMON_PART_H
#define DAEMON_PART_H

#include "core/conf.h"
#include "core/loop.h"
#include "core/status.h"

struct process;

struct part {
    const char *name;
    /* Does all that can be done without touching anything; `freshet check` runs it too. */
    enum st (*check)(const struct conf *fresh, struct err *err);
    enum st (*loop_start)(struct process *p, void **mine, struct loop *l, struct err *err);
    enum st (*prepare)(struct process *p, void **mine, const struct conf *fresh, struct err *err);
    void (*commit)(struct process *p, void **mine, const struct conf *fresh);
    void (*abort)(struct process *p, void **mine);
    void (*loop_stop)(struct process *p, void **mine, struct loop *l);
    void (*fini)(struct process *p, void **mine);
}; /* each may be NULL */

enum { PARTS_MAX = 16 };
extern const struct part *const parts[]; /* NULL ends it; also the order of prepare and commit */

#endif
