/* daemon/admin.h - RUNTIME_DIR/admin.sock: one command line in, one line of JSON out
 *
 * Purpose   how the command line reaches a running process. The socket has mode 0600: who can open
 *           it may change things. Commands: dump, listeners, purge PREFIX,
 *           reload, streams.
 *           A lock on the directory makes sure that only one process uses it; the kernel drops the
 *           lock with the process, so nothing is left behind by a crash.
 * Owner     main(); the client side is one call.
 * Thread    the main thread. A client that says nothing for five seconds, or reads nothing for one,
 *           is dropped; eight are served at a time.
 * Errors    EIO, with err for people.
 * Tests     tests/e2e/test_process.py
 */
#ifndef DAEMON_ADMIN_H
#define DAEMON_ADMIN_H

#include <jansson.h>
#include <poll.h>
#include <stdint.h>

#include "core/status.h"

enum { ADMIN_CLIENTS = 8, ADMIN_LINE = 4096, ADMIN_POLLS = ADMIN_CLIENTS + 1 };

struct admin_client {
    int fd; /* -1: free */
    uint64_t until_us;
    size_t n;
    char line[ADMIN_LINE];
};

struct admin {
    int dir_fd, fd;
    char path[128];
    struct admin_client client[ADMIN_CLIENTS];
    /* The reply to a command; a new object. NULL: out of memory. */
    json_t *(*answer)(void *arg, const char *command);
    void *arg;
};

/* Makes the directory where it is missing, locks it, listens. */
MUST_USE enum st admin_open(struct admin *a, const char *runtime_dir, struct err *err);
void admin_close(struct admin *a);

/* For poll(2): fills p and returns how many; then hand the same back. */
nfds_t admin_polls(const struct admin *a, struct pollfd p[ADMIN_POLLS]);
void admin_serve(struct admin *a, const struct pollfd *p, nfds_t n);

/* The other side: what a running process says to `command`. */
MUST_USE enum st admin_ask(const char *runtime_dir, const char *command, json_t **reply,
                           struct err *err);

#endif
