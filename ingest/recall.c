#include "ingest/recall.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "core/check.h"
#include "core/hash.h"

enum { BUCKETS = 1024 };

struct node {
    struct node *next;
    uint64_t until_us;
    struct recall_entry e;
    char name[RECALL_NAME_MAX + 1];
};

struct recall {
    pthread_mutex_t lock;
    unsigned n;
    struct node *bucket[BUCKETS];
};

struct recall *recall_new(void)
{
    struct recall *r = calloc(1, sizeof *r);

    if (r != NULL)
        (void)pthread_mutex_init(&r->lock, NULL);
    return r;
}

void recall_free(struct recall **rp)
{
    struct recall *r = *rp;

    *rp = NULL;
    if (r == NULL)
        return;
    for (int i = 0; i < BUCKETS; i++)
        while (r->bucket[i] != NULL) {
            struct node *n = r->bucket[i];

            r->bucket[i] = n->next;
            free(n);
        }
    (void)pthread_mutex_destroy(&r->lock);
    free(r);
}

static void drop(struct recall *r, struct node **np)
{
    struct node *n = *np;

    *np = n->next;
    r->n--;
    free(n);
}

/* Where it hangs, or the end of its chain. What is out of date on the way goes, but for itself. */
static struct node **find(struct recall *r, const char *name, uint64_t now_us)
{
    struct node **np = &r->bucket[hash64(name, strlen(name), 0) % BUCKETS];

    while (*np != NULL && strcmp((*np)->name, name) != 0) {
        if ((*np)->until_us < now_us)
            drop(r, np);
        else
            np = &(*np)->next;
    }
    return np;
}

void recall_put(struct recall *r, const char *name, const struct recall_entry *e, uint64_t now_us,
                uint64_t until_us)
{
    struct node **np;

    CHECK(strlen(name) <= RECALL_NAME_MAX);
    (void)pthread_mutex_lock(&r->lock);
    np = find(r, name, now_us);
    if (*np == NULL && r->n < RECALL_MAX && (*np = calloc(1, sizeof **np)) != NULL) {
        memcpy((*np)->name, name, strlen(name) + 1);
        r->n++;
    }
    if (*np != NULL) {
        (*np)->e = *e;
        (*np)->until_us = until_us;
    }
    (void)pthread_mutex_unlock(&r->lock);
}

bool recall_get(struct recall *r, const char *name, uint64_t now_us, struct recall_entry *out)
{
    struct node **np;
    bool found;

    (void)pthread_mutex_lock(&r->lock);
    np = find(r, name, now_us);
    found = *np != NULL && (*np)->until_us >= now_us;
    if (found)
        *out = (*np)->e;
    (void)pthread_mutex_unlock(&r->lock);
    return found;
}

void recall_forget(struct recall *r, const char *name)
{
    struct node **np;

    (void)pthread_mutex_lock(&r->lock);
    np = find(r, name, 0);
    if (*np != NULL)
        drop(r, np);
    (void)pthread_mutex_unlock(&r->lock);
}
