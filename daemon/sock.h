/* daemon/sock.h - making listening sockets
 *
 * Purpose   the system calls of daemon/listeners.c and daemon/admin.c, with words for what fails.
 * Owner     descriptors are the caller's; they do not block and are closed on exec.
 * Thread    the main thread (a unix socket is bound under a changed umask).
 * Errors    EIO: the kernel said no, and err says what.
 * Tests     tests/unit/test_listeners.c
 */
#ifndef DAEMON_SOCK_H
#define DAEMON_SOCK_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/stat.h>

#include "core/status.h"

/* The file of a dead process is replaced; a live one, or a file that is no socket, is left alone.
 */
MUST_USE enum st sock_listen_unix(const char *path, mode_t mode, int *fd, struct err *err);

/* `host` is an address. With `share`, other sockets of this process may have the address too.
 * *port 0: the kernel picks, and it is filled in. */
MUST_USE enum st sock_listen_tcp(const char *host, uint16_t *port, bool share, int *fd,
                                 struct err *err);

/* Does anybody, in this process or another, listen there? */
bool sock_is_taken(const char *host, uint16_t port);

#endif
