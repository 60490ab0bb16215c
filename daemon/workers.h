/* daemon/workers.h - the part that runs the encoder workers and keeps them running
 *
 * Purpose   `encode.workers` children of freshet-encode, each behind a listening unix socket that
 *           this process makes, keeps across restarts and passes as descriptor 3. A connection that
 *           arrives while a worker is down waits in the socket's queue. A worker that ends is
 *           started again after a back-off (0.1 to 5 s, from the start again when it has lived for
 *           10 s). One that hangs is killed, which makes it one that has ended.
 *           A stream that a worker had in hand at a crash (core/hand.h) is a suspect, and the home
 *           refuses it when that happens too often.
 *           Workers die with this process (PR_SET_PDEATHSIG).
 * Owner     the process; the sockets' files are in runtime_dir.
 * Thread    the main thread: it alone forks, and kills.
 * Errors    prepare: EIO, ECONF with text.
 * Tests     tests/e2e/test_encode.py, tests/e2e/test_home.py
 */
#ifndef DAEMON_WORKERS_H
#define DAEMON_WORKERS_H

#include "core/addr.h"
#include "daemon/part.h"

extern const struct part workers_part;

enum { WORKERS_MAX = 256 };

/* Where worker i listens; fixed for the life of the process. */
unsigned workers_count(const struct process *p);
const struct addr_sock *workers_addr(const struct process *p, unsigned i);
/* Any thread: worker i has been silent since then (monotonic); it is killed within a second, unless
 * it has been started since. */
void workers_hung(const struct process *p, unsigned i, uint64_t since_us);

#endif
