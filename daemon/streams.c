#include "daemon/streams.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "core/check.h"
#include "core/clock.h"
#include "core/conf_key.h"
#include "core/log.h"
#include "daemon/live_part.h"
#include "daemon/observe.h"
#include "daemon/process.h"
#include "edge/request.h"
#include "ingest/auth.h"
#include "origin/home.h"

#define PATIENCE_US (500 * MS_US)
#define EVERY_US (2 * SEC_US)

struct census;
struct question {
    struct mail mail;
    struct census *all;
};

/* On the heap, because a late letter may outlive who asked. */
struct census {
    pthread_mutex_t lock;
    pthread_cond_t done;
    int left;     /* letters without an answer; under lock, as the next */
    json_t *list; /* NULL: nobody waits any more */
    atomic_int refs;
    struct question letter[];
};

struct streams {
    pthread_mutex_t lock;
    char *text; /* under lock */
    size_t len;
    uint64_t due_us;
};

/* ---- asking the loops ---- */

static void census_unref(struct census *c)
{
    if (atomic_fetch_sub_explicit(&c->refs, 1, memory_order_acq_rel) > 1)
        return;
    (void)pthread_cond_destroy(&c->done);
    (void)pthread_mutex_destroy(&c->lock);
    free(c);
}

static void asked(struct loop *l, struct mail *m)
{
    struct census *c = CONTAINER_OF(m, struct question, mail)->all;
    json_t *mine = json_array();

    home_loop_list(l, mine);
    (void)pthread_mutex_lock(&c->lock);
    if (c->list != NULL)
        (void)json_array_extend(c->list, mine);
    c->left--;
    json_decref(mine); /* under the lock: what is in it is the asker's from here on */
    (void)pthread_cond_signal(&c->done);
    (void)pthread_mutex_unlock(&c->lock);
    census_unref(c);
}

static struct census *census_new(int n)
{
    struct census *c = calloc(1, sizeof *c + (size_t)n * sizeof c->letter[0]);
    pthread_condattr_t attr;

    if (c == NULL)
        return NULL;
    c->list = json_array();
    if (c->list == NULL) {
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
static json_t *census_wait(struct census *c, bool *whole)
{
    struct timespec until;
    json_t *list;
    int rc = 0;

    (void)clock_gettime(CLOCK_MONOTONIC, &until);
    until.tv_nsec += (long)PATIENCE_US * 1000;
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

static int by_name(const void *a, const void *b)
{
    const json_t *const *x = a, *const *y = b;

    return strcmp(json_string_value(json_object_get(*x, "name")),
                  json_string_value(json_object_get(*y, "name")));
}

static json_t *sorted(json_t *list)
{
    size_t n = json_array_size(list), i;
    json_t **v = calloc(n + 1, sizeof(json_t *)), *out = json_array(), *one;

    if (v == NULL || out == NULL) {
        free(v);
        json_decref(out);
        return list; /* in the order of the loops, then */
    }
    json_array_foreach(list, i, one) v[i] = one;
    qsort(v, n, sizeof(json_t *), by_name);
    for (i = 0; i < n; i++)
        (void)json_array_append(out, v[i]);
    free(v);
    json_decref(list);
    return out;
}

json_t *streams_list(struct process *p)
{
    struct census *c = census_new(p->loops_n);
    json_t *list, *refused = json_array();
    bool whole;

    if (c == NULL) {
        json_decref(refused);
        return NULL;
    }
    if (live_home(p) != NULL)
        home_list_bans(live_home(p), refused);
    for (int i = 0; i < p->loops_n; i++) {
        c->letter[i] = (struct question){ .mail.deliver = asked, .all = c };
        mailbox_post(&p->loop[i]->mailbox, &c->letter[i].mail);
    }
    list = census_wait(c, &whole);
    census_unref(c);
    return json_pack("{s:b, s:s, s:b, s:I, s:o, s:o?}", "ok", 1, "node", p->conf->node.id, "whole",
                     whole, "at_us", (json_int_t)clock_wall_us(), "streams", sorted(list),
                     "refused", refused);
}

/* ---- closing one ---- */

static json_t *no(const char *why)
{
    return json_pack("{s:b, s:o}", "ok", 0, "error", json_sprintf("%s\n", why));
}

static bool is_live(struct process *p, const char *name)
{
    json_t *all = streams_list(p), *one;
    bool live = false;
    size_t i;

    json_array_foreach(json_object_get(all, "streams"), i, one)
    {
        const char *state = json_string_value(json_object_get(one, "state"));

        if (strcmp(json_string_value(json_object_get(one, "name")), name) == 0)
            live = strcmp(state, "live") == 0;
    }
    json_decref(all);
    return live;
}

/* The form of the names is that of a publish. */
static bool read_name(const char *words, char name[2 * AUTH_NAME_MAX + 2])
{
    size_t n = strcspn(words, " "), slash = strcspn(words, "/");
    struct auth_target t;

    if (slash >= n || strcspn(words, "?%") < n ||
        auth_parse((const uint8_t *)words, slash, (const uint8_t *)words + slash + 1, n - slash - 1,
                   &t) != AUTH_OK)
        return false;
    (void)snprintf(name, 2 * AUTH_NAME_MAX + 2, "%s/%s", t.app, t.stream);
    return true;
}

json_t *streams_kick(struct process *p, const char *words)
{
    static const struct conf_key time = { .path = "--ban",
                                          .type = CONF_TIME,
                                          .size = sizeof(uint64_t),
                                          .max = 366 * 24 * 3600 * SEC_US };
    const char *ban = strchr(words, ' ');
    struct home *h = live_home(p);
    char name[2 * AUTH_NAME_MAX + 2], why[CONF_WHY];
    uint64_t for_us = 0;
    struct conf_mem none = { NULL };

    if (!read_name(words, name))
        return no("this is not the name of a stream: APP/STREAM");
    if (ban != NULL && conf_value_parse(&time, ban + 1, &for_us, &none, why) != ST_OK)
        return no(why);
    if (h == NULL)
        return no("this process is no home of streams");
    if (ban == NULL) {
        if (!is_live(p, name))
            return no("nobody publishes this stream here");
        home_kick(h, name, DOOR_KICKED, false);
    } else if (home_ban(h, name, clock_mono_us() + for_us) != ST_OK) {
        return no("too many streams are refused already");
    }
    log_note(observe_log(p), LOG_CTX_TEXT(NULL, "stream", name), "daemon",
             ban == NULL  ? "kicked"
             : for_us > 0 ? "kicked and banned"
                          : "banned no longer");
    return json_pack("{s:b, s:s, s:I}", "ok", 1, "stream", name, "banned_s",
                     (json_int_t)(for_us / SEC_US));
}

/* ---- the part ---- */

static enum st loop_start(struct process *p, void **mine, struct loop *l, struct err *err)
{
    struct streams *s;

    (void)p, (void)l;
    if (*mine != NULL)
        return ST_OK;
    if ((s = calloc(1, sizeof *s)) == NULL)
        return err_set(err, ST_ENOMEM, "out of memory");
    (void)pthread_mutex_init(&s->lock, NULL);
    *mine = s;
    return ST_OK;
}

static void fini(struct process *p, void **mine)
{
    struct streams *s = *mine;

    (void)p;
    *mine = NULL;
    if (s == NULL)
        return;
    (void)pthread_mutex_destroy(&s->lock);
    free(s->text);
    free(s);
}

static uint64_t tick(struct process *p, void **mine, uint64_t now_us)
{
    struct streams *s = *mine;
    json_t *list;
    char *text, *old;

    if (now_us < s->due_us)
        return s->due_us;
    s->due_us = now_us + EVERY_US;
    if (p->conf->admin.listen_n == 0)
        return s->due_us;
    list = streams_list(p);
    text = list != NULL ? json_dumps(list, JSON_COMPACT) : NULL;
    json_decref(list);
    (void)pthread_mutex_lock(&s->lock);
    old = s->text;
    s->text = text;
    s->len = text != NULL ? strlen(text) : 0;
    (void)pthread_mutex_unlock(&s->lock);
    free(old);
    return s->due_us;
}

const struct part streams_part = {
    .name = "streams",
    .loop_start = loop_start,
    .fini = fini,
    .tick = tick,
};

struct blob *streams_page(const struct process *p)
{
    struct blob *b = NULL;

    for (int i = 0; p->parts[i] != NULL; i++) {
        struct streams *s = p->part[i];

        if (p->parts[i] != &streams_part || s == NULL)
            continue;
        (void)pthread_mutex_lock(&s->lock);
        if (s->text != NULL)
            b = blob_new(s->text, s->len);
        (void)pthread_mutex_unlock(&s->lock);
    }
    return b;
}
