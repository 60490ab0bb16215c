#include "daemon/census.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "core/clock.h"
#include "daemon/process.h"

struct census;
struct question {
    struct mail mail;
    struct census *all;
    struct census_turn turn; /* the loop's own */
};

/* On the heap, because a late letter may outlive who asked. */
struct census {
    pthread_mutex_t lock;
    pthread_cond_t done;
    int left;     /* loops that have not said all; under lock, as the next */
    json_t *list; /* NULL: nobody waits any more */
    bool (*ask)(struct loop *l, struct census_turn *t);
    char *text;
    atomic_int refs;
    struct question letter[];
};

static void census_unref(struct census *c)
{
    if (atomic_fetch_sub_explicit(&c->refs, 1, memory_order_acq_rel) > 1)
        return;
    (void)pthread_cond_destroy(&c->done);
    (void)pthread_mutex_destroy(&c->lock);
    free(c->text);
    free(c);
}

static void asked(struct loop *l, struct mail *m)
{
    struct question *q = CONTAINER_OF(m, struct question, mail);
    struct census *c = q->all;

    if (q->turn.list == NULL)
        q->turn.list = json_array();
    if (!c->ask(l, &q->turn)) {
        mailbox_post(&l->mailbox, m);
        return;
    }
    (void)pthread_mutex_lock(&c->lock);
    if (c->list != NULL)
        (void)json_array_extend(c->list, q->turn.list);
    c->left--;
    json_decref(q->turn.list); /* under the lock: what is in it is the asker's from here on */
    (void)pthread_cond_signal(&c->done);
    (void)pthread_mutex_unlock(&c->lock);
    census_unref(c);
}

static struct census *census_new(int n, const char *text)
{
    struct census *c = calloc(1, sizeof *c + (size_t)n * sizeof c->letter[0]);
    pthread_condattr_t attr;

    if (c == NULL)
        return NULL;
    c->list = json_array();
    c->text = strdup(text);
    if (c->list == NULL || c->text == NULL) {
        json_decref(c->list);
        free(c->text);
        free(c);
        return NULL;
    }
    (void)pthread_condattr_init(&attr);
    (void)pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    (void)pthread_cond_init(&c->done, &attr);
    (void)pthread_condattr_destroy(&attr);
    (void)pthread_mutex_init(&c->lock, NULL);
    c->left = n;
    atomic_init(&c->refs, n + 1);
    return c;
}

/* The answers so far, at the latest when we have no more patience. */
static json_t *census_wait(struct census *c, uint64_t patience_us, bool *whole)
{
    struct timespec until;
    json_t *list;
    int rc = 0;

    (void)clock_gettime(CLOCK_MONOTONIC, &until);
    until.tv_sec += (time_t)(patience_us / SEC_US);
    until.tv_nsec += (long)(patience_us % SEC_US) * 1000;
    until.tv_sec += until.tv_nsec / 1000000000;
    until.tv_nsec %= 1000000000;
    (void)pthread_mutex_lock(&c->lock);
    while (c->left > 0 && rc == 0)
        rc = pthread_cond_timedwait(&c->done, &c->lock, &until);
    *whole = c->left == 0;
    list = c->list;
    c->list = NULL;
    (void)pthread_mutex_unlock(&c->lock);
    return list;
}

json_t *census_take(struct process *p, bool (*ask)(struct loop *l, struct census_turn *t),
                    const char *text, uint64_t patience_us, bool *whole)
{
    struct census *c = census_new(p->loops_n, text);
    json_t *list;

    *whole = false;
    if (c == NULL)
        return NULL;
    c->ask = ask;
    for (int i = 0; i < p->loops_n; i++) {
        c->letter[i] =
            (struct question){ .mail.deliver = asked, .all = c, .turn = { .text = c->text } };
        mailbox_post(&p->loop[i]->mailbox, &c->letter[i].mail);
    }
    list = census_wait(c, patience_us, whole);
    census_unref(c);
    return list;
}
