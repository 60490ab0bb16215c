/* encode/worker.h - the I/O side of freshet-encode: POST /_encode, many streams, one loop
 *
 * Purpose   HTTP/2 on a listening socket. A request that makes an exchange is answered at once; its
 *           body goes to a thread of the pool, records come back as the body of the answer.
 * Flow      what has come for a stream waits here while its thread is busy with what came before:
 *           one letter per stream is under way, there and back. The stream's receive window is
 *           returned when its thread is done with the bytes, and nothing is handed over while
 *           WORKER_OUT_HIGH bytes of records have not been taken: so each queue is bounded, and a
 *           home that does not read stops its own stream only.
 *           A refusal is said at once; its answer ends when the request does, and what still comes
 * is thrown away. Limits    streams, and WORKER_CONNS connections: more are refused (503, closed).
 * Owner     main(). The loop and the pool outlive it. worker_stop(), one turn of the loop without
 *           waiting, more until worker_idle(), worker_free().
 * Thread    the loop's.
 * Errors    worker_new: NULL, no memory or no descriptor.
 * Tests     tests/e2e/test_encode.py
 */
#ifndef ENCODE_WORKER_H
#define ENCODE_WORKER_H

#include <stdbool.h>

#include "core/loop.h"
#include "encode/pool.h"

enum {
    WORKER_CONNS = 64,
    WORKER_WINDOW_BYTES = 1024 * 1024,
    WORKER_OUT_HIGH = 4 * 1024 * 1024,
    WORKER_HEALTH_US = 1000 * 1000,
};

struct worker;
struct hand_page;
/* fd: listening; borrowed, as is hands (core/hand.h), which may be NULL. */
struct worker *worker_new(struct loop *l, struct pool *p, int fd, unsigned streams,
                          struct hand_page *hands);
void worker_stop(struct worker *w); /* all connections are closed as they are */
bool worker_idle(const struct worker *w);
void worker_free(struct worker **wp);

#endif
