/* encode/pool.h - the threads that do the work of a worker
 *
 * Purpose   one loop per thread, woken by letters only. A stream is bound to the thread that had
 *           the fewest when it came; its letters arrive in order.
 * Owner     main(): started before the first stream, stopped after the last letter has come back.
 * Thread    all functions: the I/O loop's thread.
 * Errors    pool_start: ENOMEM, EIO; nothing is left running.
 * Tests     tests/e2e/test_encode.py
 */
#ifndef ENCODE_POOL_H
#define ENCODE_POOL_H

#include <pthread.h>

#include "core/loop.h"
#include "core/status.h"

enum { POOL_THREADS_MAX = 64, POOL_STACK_BYTES = 1024 * 1024 };

struct pool_thread {
    struct mail stop;
    pthread_t id;
    unsigned streams; /* bound to it */
    struct loop loop;
};

struct pool {
    unsigned count;
    struct pool_thread *threads;
};

MUST_USE enum st pool_start(struct pool *p, unsigned threads);
void pool_stop(struct pool *p);

struct pool_thread *pool_bind(struct pool *p);
void pool_unbind(struct pool_thread *t);

#endif
