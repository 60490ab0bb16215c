#include "core/conf.h"

#include <pthread.h>
#include <stdalign.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "core/check.h"
#include "core/conf_key.h"
#include "core/loop.h"

enum { CONF_MAGIC = 0x5b1c90a3 };

/* ---- memory of a snapshot ---- */

struct conf_block {
    struct conf_block *next;
    alignas(max_align_t) char bytes[];
};

void *conf_mem_get(struct conf_mem *m, size_t n)
{
    struct conf_block *b = calloc(1, sizeof *b + n);

    if (b == NULL)
        return NULL;
    b->next = m->blocks;
    m->blocks = b;
    return b->bytes;
}

char *conf_mem_text(struct conf_mem *m, const char *s, size_t n)
{
    char *copy = conf_mem_get(m, n + 1);

    if (copy != NULL)
        memcpy(copy, s, n);
    return copy;
}

void conf_mem_free(struct conf_mem *m)
{
    while (m->blocks != NULL) {
        struct conf_block *b = m->blocks;

        m->blocks = b->next;
        free(b);
    }
}

/* ---- life ---- */

bool conf_path_below(const char *path, const char *prefix, const char **rest)
{
    size_t n = strlen(prefix);

    if (n == 0) {
        *rest = path;
        return true;
    }
    if (strncmp(path, prefix, n) != 0 || path[n] != '.')
        return false;
    *rest = path + n + 1;
    return true;
}

/* A default of a list is one element, or none. */
static enum st put_default(struct conf_mem *m, const struct conf_key *k, void *base)
{
    bool is_list = k->off_n != 0;
    void *field = (char *)base + k->off;
    char why[CONF_WHY];
    enum st st;

    if (is_list && k->def[0] == '\0') {
        conf_list_put(k, base, NULL, 0);
        return ST_OK;
    }
    if (is_list) {
        field = conf_mem_get(m, conf_element_size(k));
        if (field == NULL)
            return ST_ENOMEM;
        conf_list_put(k, base, field, 1);
    }
    st = conf_value_parse(k, k->def, field, m, why);
    CHECK(st != ST_ECONF); /* the table itself is wrong */
    return st;
}

enum st conf_put_defaults(struct conf_mem *m, const char *prefix, void *base)
{
    enum st st = ST_OK;
    const char *rest;

    for (size_t i = 0; i < conf_keys_n && st == ST_OK; i++) {
        const struct conf_key *k = &conf_keys[i];

        if (!conf_path_below(k->path, prefix, &rest) || strchr(rest, '*') != NULL)
            continue;
        if (k->type != CONF_SECTION)
            st = put_default(m, k, base);
    }
    return st;
}

/* node.id when the file does not say; what the table's alphabet refuses becomes "-". */
static enum st name_of_host(struct conf_mem *m, const char **id)
{
    char host[65] = "";
    char *copy;

    (void)gethostname(host, sizeof host - 1);
    for (char *p = host; *p != '\0'; p++)
        if (!((*p >= 'a' && *p <= 'z') || (*p >= 'A' && *p <= 'Z') || (*p >= '0' && *p <= '9') ||
              *p == '.' || *p == '_'))
            *p = '-';
    copy = conf_mem_text(m, host[0] != '\0' ? host : "localhost",
                         host[0] != '\0' ? strlen(host) : strlen("localhost"));
    *id = copy;
    return copy != NULL ? ST_OK : ST_ENOMEM;
}

enum st conf_new(uint64_t generation, struct conf **out)
{
    struct conf *c = calloc(1, sizeof *c);
    struct conf_mem m = { NULL };
    enum st st;

    *out = NULL;
    if (c == NULL)
        return ST_ENOMEM;
    st = conf_put_defaults(&m, "", c);
    if (st == ST_OK)
        st = name_of_host(&m, &c->node.id);
    if (st != ST_OK) {
        conf_mem_free(&m);
        free(c);
        return st;
    }
    OBJ_INIT(c, CONF_MAGIC);
    atomic_init(&c->refs, 1);
    c->generation = generation;
    c->path = "";
    c->blocks = m.blocks;
    *out = c;
    return ST_OK;
}

struct conf *conf_defaults(uint64_t generation)
{
    struct conf *c;

    return conf_new(generation, &c) == ST_OK ? c : NULL;
}

const struct conf_ladder *conf_ladder(const struct conf *c, const char *name)
{
    static const struct conf_ladder source = { "source", CONF_YES, 2000 * 1000 };

    for (size_t i = 0; i < c->encode.ladders_n; i++)
        if (strcmp(c->encode.ladders[i].name, name) == 0)
            return &c->encode.ladders[i];
    return strcmp(name, source.name) == 0 ? &source : NULL;
}

const struct conf_app *conf_app(const struct conf *c, const char *name, size_t len)
{
    for (size_t i = 0; i < c->apps_n; i++)
        if (strlen(c->apps[i].name) == len && memcmp(c->apps[i].name, name, len) == 0)
            return &c->apps[i];
    return NULL;
}

/* The count is the one field that changes in a snapshot that is out. */
static struct conf *mut(const struct conf *c) { return (struct conf *)(uintptr_t)c; }

const struct conf *conf_ref(const struct conf *c)
{
    int was;

    OBJ_CHECK(c, CONF_MAGIC);
    was = atomic_fetch_add_explicit(&mut(c)->refs, 1, memory_order_relaxed);
    CHECK(was > 0);
    return c;
}

void conf_unref(const struct conf **cp)
{
    struct conf *c = mut(*cp);
    struct conf_mem m;
    int was;

    *cp = NULL;
    if (c == NULL)
        return;
    OBJ_CHECK(c, CONF_MAGIC);
    was = atomic_fetch_sub_explicit(&c->refs, 1, memory_order_acq_rel);
    CHECK(was > 0);
    if (was > 1)
        return;
    OBJ_FINI(c, CONF_MAGIC);
    m.blocks = c->blocks;
    conf_mem_free(&m);
    free(c);
}

/* ---- putting one in force ---- */

struct adoption {
    struct mail mail;
    struct publication *all;
};

struct publication {
    pthread_mutex_t lock;
    pthread_cond_t done;
    int left; /* under lock */
    const struct conf *conf;
    void (*adopted)(struct loop *l, const struct conf *before);
    struct adoption letter[CONF_LOOPS_MAX];
};

static void adopt(struct loop *l, struct mail *m)
{
    struct publication *all = CONTAINER_OF(m, struct adoption, mail)->all;
    const struct conf *before = l->conf;

    l->conf = conf_ref(all->conf);
    if (all->adopted != NULL)
        all->adopted(l, before);
    conf_unref(&before);
    (void)pthread_mutex_lock(&all->lock);
    all->left--;
    (void)pthread_cond_signal(&all->done);
    (void)pthread_mutex_unlock(&all->lock); /* the publication may be gone now */
}

void conf_publish(struct loop *const *loops, int n, const struct conf *c,
                  void (*adopted)(struct loop *l, const struct conf *before))
{
    /* On the stack, letters and all: we stay until the last one is delivered. */
    struct publication all = { .left = n, .conf = c, .adopted = adopted };

    OBJ_CHECK(c, CONF_MAGIC);
    CHECK(n >= 0 && n <= CONF_LOOPS_MAX);
    (void)pthread_mutex_init(&all.lock, NULL);
    (void)pthread_cond_init(&all.done, NULL);
    for (int i = 0; i < n; i++) {
        all.letter[i] = (struct adoption){ .mail.deliver = adopt, .all = &all };
        mailbox_post(&loops[i]->mailbox, &all.letter[i].mail);
    }
    (void)pthread_mutex_lock(&all.lock);
    while (all.left > 0)
        (void)pthread_cond_wait(&all.done, &all.lock);
    (void)pthread_mutex_unlock(&all.lock);
    (void)pthread_cond_destroy(&all.done);
    (void)pthread_mutex_destroy(&all.lock);
}
