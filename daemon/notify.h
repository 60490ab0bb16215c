/* daemon/notify.h - what the service manager is told
 *
 * Purpose   says that the process serves, or is about to end, to whoever started it and asked for
 *           that: systemd with Type=notify, which goes on with what waits for us only then.
 * Spec      sd_notify(3): one datagram to the unix socket that NOTIFY_SOCKET names, a path or
 *           "@" and an abstract name. Without the variable nobody asked: nothing is done.
 * Thread    the main thread; it may wait.
 * Errors    EIO, with words for people. The process can do without.
 * Tests     tests/e2e/test_process.py
 */
#ifndef DAEMON_NOTIFY_H
#define DAEMON_NOTIFY_H

#include "core/status.h"

MUST_USE enum st notify_tell(const char *state, struct err *e); /* "READY=1", "STOPPING=1" */

#endif
