#include "encode/pool.h"

#include <stdlib.h>
#include <string.h>

#include "core/check.h"

static void *thread_main(void *arg)
{
    struct pool_thread *t = arg;

    CHECK(loop_run(&t->loop) == ST_OK);
    return NULL;
}

static void on_stop(struct loop *l, struct mail *m)
{
    (void)m;
    loop_stop(l);
}

static enum st start(struct pool_thread *t, int index)
{
    pthread_attr_t attr;
    enum st st = loop_init(&t->loop, index, 1);
    int r;

    if (st == ST_OK && pthread_attr_init(&attr) == 0) {
        (void)pthread_attr_setstacksize(&attr, POOL_STACK_BYTES);
        r = pthread_create(&t->id, &attr, thread_main, t);
        (void)pthread_attr_destroy(&attr);
        if (r == 0)
            return ST_OK;
        st = ST_EIO;
    }
    loop_fini(&t->loop);
    return st != ST_OK ? st : ST_ENOMEM;
}

enum st pool_start(struct pool *p, unsigned threads)
{
    enum st st = ST_OK;

    CHECK(threads >= 1 && threads <= POOL_THREADS_MAX);
    p->count = 0;
    p->threads = aligned_alloc(_Alignof(struct pool_thread), threads * sizeof *p->threads);
    if (p->threads == NULL)
        return ST_ENOMEM;
    memset(p->threads, 0, threads * sizeof *p->threads);
    for (unsigned i = 0; i < threads && st == ST_OK; i++) {
        st = start(&p->threads[i], (int)i);
        p->count += st == ST_OK;
    }
    if (st != ST_OK)
        pool_stop(p);
    return st;
}

void pool_stop(struct pool *p)
{
    for (unsigned i = 0; i < p->count; i++) {
        struct pool_thread *t = &p->threads[i];

        t->stop.deliver = on_stop;
        mailbox_post(&t->loop.mailbox, &t->stop);
        CHECK(pthread_join(t->id, NULL) == 0);
        loop_fini(&t->loop);
    }
    free(p->threads);
    *p = (struct pool){ .count = 0 };
}

struct pool_thread *pool_bind(struct pool *p)
{
    struct pool_thread *t = &p->threads[0];

    for (unsigned i = 1; i < p->count; i++)
        if (p->threads[i].streams < t->streams)
            t = &p->threads[i];
    t->streams++;
    return t;
}

void pool_unbind(struct pool_thread *t)
{
    CHECK(t->streams > 0);
    t->streams--;
}
