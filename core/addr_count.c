#include "core/addr_count.h"

#include <pthread.h>
#include <stdlib.h>
#include <sys/random.h>

#include "core/check.h"

struct entry {
    struct entry *next;
    struct addr addr;
    unsigned n;
};

enum { BUCKETS = 4096 };

struct addr_count {
    pthread_mutex_t lock;
    uint64_t seed;
    struct entry *bucket[BUCKETS];
};

struct addr_count *addr_count_new(void)
{
    struct addr_count *c = calloc(1, sizeof *c);

    if (c == NULL)
        return NULL;
    (void)pthread_mutex_init(&c->lock, NULL);
    ssize_t got = getrandom(&c->seed, sizeof c->seed, 0);
    (void)got; /* without it the buckets can be guessed, nothing else */
    return c;
}

void addr_count_free(struct addr_count **cp)
{
    struct addr_count *c = *cp;

    *cp = NULL;
    if (c == NULL)
        return;
    for (size_t i = 0; i < BUCKETS; i++)
        while (c->bucket[i] != NULL) {
            struct entry *e = c->bucket[i];

            c->bucket[i] = e->next;
            free(e);
        }
    (void)pthread_mutex_destroy(&c->lock);
    free(c);
}

static struct entry **find_locked(struct addr_count *c, const struct addr *who)
{
    struct entry **p = &c->bucket[addr_hash(who, c->seed) % BUCKETS];

    while (*p != NULL && !addr_eq(&(*p)->addr, who))
        p = &(*p)->next;
    return p;
}

bool addr_count_take(struct addr_count *c, const struct addr *a, unsigned max)
{
    struct addr who = addr_subscriber(a);
    bool ok = false;

    (void)pthread_mutex_lock(&c->lock);
    struct entry **p = find_locked(c, &who);
    if (*p == NULL && max > 0 && (*p = calloc(1, sizeof **p)) != NULL)
        (*p)->addr = who;
    if (*p != NULL && (*p)->n < max) {
        (*p)->n++;
        ok = true;
    }
    (void)pthread_mutex_unlock(&c->lock);
    return ok;
}

void addr_count_return(struct addr_count *c, const struct addr *a)
{
    struct addr who = addr_subscriber(a);

    (void)pthread_mutex_lock(&c->lock);
    struct entry **p = find_locked(c, &who), *e = *p;
    CHECK(e != NULL && e->n > 0);
    if (--e->n == 0) {
        *p = e->next;
        free(e);
    }
    (void)pthread_mutex_unlock(&c->lock);
}
