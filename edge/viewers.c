#include "edge/viewers.h"

#include <stdlib.h>
#include <string.h>

#include "core/check.h"
#include "core/clock.h"
#include "core/hash.h"
#include "core/loop.h"
#include "core/metric.h"

enum { VIEWERS_MAGIC = 0x71e3e25a, BUCKETS = 4096 };
#define SWEEP_US SEC_US

struct viewer_stream {
    struct viewer_stream *next;
    uint64_t hash;
    unsigned n;
    size_t len;
    char name[];
};

/* Marks stand in the order of their times, to a second: a mark that is seen again within one stays
 * where it is, so that a busy viewer costs a store and no more. */
struct viewers {
    int magic;
    struct loop *loop;
    struct timer timer; /* runs while there is a mark */
    struct viewer *oldest, *newest;
    unsigned streams;
    struct viewer_stream *bucket[BUCKETS];
};

/* --- streams --- */

static struct viewer_stream **find(struct viewers *v, const char *name, size_t len, uint64_t hash)
{
    struct viewer_stream **p = &v->bucket[hash % BUCKETS];

    while (*p != NULL &&
           ((*p)->hash != hash || (*p)->len != len || memcmp((*p)->name, name, len) != 0))
        p = &(*p)->next;
    return p;
}

static struct viewer_stream *get(struct viewers *v, const char *name, size_t len)
{
    uint64_t hash = hash64(name, len, 0);
    struct viewer_stream **p = find(v, name, len, hash), *s = *p;

    if (s != NULL || v->streams >= VIEWER_STREAMS || (s = malloc(sizeof *s + len + 1)) == NULL)
        return s;
    *s = (struct viewer_stream){ .hash = hash, .len = len };
    memcpy(s->name, name, len);
    s->name[len] = '\0';
    *p = s;
    v->streams++;
    return s;
}

static void count(struct viewers *v, struct viewer_stream *s, bool up)
{
    struct viewer_stream **p;

    if (up) {
        s->n++;
        metric_add(&v->loop->metrics->viewers, 1);
        return;
    }
    metric_sub(&v->loop->metrics->viewers, 1);
    if (--s->n > 0)
        return;
    p = find(v, s->name, s->len, s->hash);
    CHECK(*p == s);
    *p = s->next;
    v->streams--;
    free(s);
}

/* --- marks --- */

static void unlink_mark(struct viewers *v, struct viewer *m)
{
    *(m->older != NULL ? &m->older->newer : &v->oldest) = m->newer;
    *(m->newer != NULL ? &m->newer->older : &v->newest) = m->older;
    m->older = m->newer = NULL;
}

static void link_newest(struct viewers *v, struct viewer *m, uint64_t now_us)
{
    m->seen_us = now_us;
    m->older = v->newest;
    m->newer = NULL;
    *(v->newest != NULL ? &v->newest->newer : &v->oldest) = m;
    v->newest = m;
}

static void forget(struct viewers *v, struct viewer *m)
{
    struct viewer_stream *s = m->of;

    if (s == NULL)
        return;
    unlink_mark(v, m);
    m->of = NULL;
    count(v, s, false);
}

static void sweep(struct loop *l, struct timer *t)
{
    struct viewers *v = CONTAINER_OF(t, struct viewers, timer);
    uint64_t now_us = loop_now(l);

    while (v->oldest != NULL && now_us - v->oldest->seen_us >= VIEWER_SECONDS * SEC_US)
        forget(v, v->oldest);
    if (v->oldest != NULL)
        timer_set(l, t, now_us + SWEEP_US);
}

static struct viewer *spare(struct viewers *v, struct viewer *mark)
{
    struct viewer *m = &mark[0];

    for (int i = 0; i < VIEWER_MARKS && m->of != NULL; i++)
        if (mark[i].of == NULL || mark[i].seen_us < m->seen_us)
            m = &mark[i];
    forget(v, m);
    return m;
}

void viewers_see(struct viewers *v, struct viewer *mark, const char *name, size_t len)
{
    uint64_t now_us = loop_now(v->loop);
    struct viewer_stream *s;
    struct viewer *m;

    OBJ_CHECK(v, VIEWERS_MAGIC);
    for (int i = 0; i < VIEWER_MARKS; i++) {
        m = &mark[i];
        if (m->of == NULL || m->of->len != len || memcmp(m->of->name, name, len) != 0)
            continue;
        if (now_us - m->seen_us >= SEC_US) {
            unlink_mark(v, m);
            link_newest(v, m, now_us);
        }
        return;
    }
    if (len > VIEWER_NAME_MAX || (s = get(v, name, len)) == NULL)
        return;
    count(v, s, true); /* before another mark may be the last of this stream */
    m = spare(v, mark);
    m->of = s;
    link_newest(v, m, now_us);
    if (!timer_is_set(&v->timer))
        timer_set(v->loop, &v->timer, now_us + SWEEP_US);
}

void viewers_leave(struct viewers *v, struct viewer *mark)
{
    OBJ_CHECK(v, VIEWERS_MAGIC);
    for (int i = 0; i < VIEWER_MARKS; i++)
        forget(v, &mark[i]);
}

/* --- life --- */

struct viewers *viewers_new(struct loop *l)
{
    struct viewers *v = calloc(1, sizeof *v);

    if (v == NULL)
        return NULL;
    OBJ_INIT(v, VIEWERS_MAGIC);
    v->loop = l;
    v->timer.fire = sweep;
    return v;
}

void viewers_free(struct viewers **vp)
{
    struct viewers *v = *vp;

    *vp = NULL;
    if (v == NULL)
        return;
    CHECK(v->oldest == NULL && v->streams == 0);
    timer_cancel(v->loop, &v->timer);
    OBJ_FINI(v, VIEWERS_MAGIC);
    free(v);
}

void viewers_each(struct viewers *v, void (*each)(void *arg, const char *name, unsigned n),
                  void *arg)
{
    OBJ_CHECK(v, VIEWERS_MAGIC);
    for (int i = 0; i < BUCKETS; i++)
        for (const struct viewer_stream *s = v->bucket[i]; s != NULL; s = s->next)
            each(arg, s->name, s->n);
}
