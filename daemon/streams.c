#include "daemon/streams.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "core/clock.h"
#include "core/conf_key.h"
#include "core/log.h"
#include "daemon/census.h"
#include "daemon/live_part.h"
#include "daemon/observe.h"
#include "daemon/process.h"
#include "daemon/status.h"
#include "edge/front.h"
#include "edge/request.h"
#include "ingest/auth.h"
#include "ingest/uplink.h"
#include "origin/home.h"

#define PATIENCE_US (500 * MS_US)
#define EVERY_US (2 * SEC_US)

struct page {
    char *text; /* NULL: none yet */
    size_t len;
};

struct streams {
    pthread_mutex_t lock;
    struct page list, status; /* under lock */
    uint64_t due_us;
};

static void add_watched(void *arg, const char *name, unsigned n)
{
    (void)json_array_append_new(arg, json_pack("{s:s, s:i}", "watched", name, "viewers", (int)n));
}

/* The sessions of this loop, the publishers it relays, what is watched through it, wherever its home
 * is, and upstreams. */
static bool asked(struct loop *l, struct census_turn *t)
{
    home_loop_list(l, t->list);
    uplinks_loop_list(l, t->list);
    status_ask(l, t->list);
    if (l->slot[LOOP_FRONT] != NULL)
        front_each_watched(l, add_watched, t->list);
    return true;
}

static const char *text(const json_t *j, const char *name)
{
    return json_string_value(json_object_get(j, name));
}

/* The entry of that stream; a new one if nothing is known of it yet. */
static json_t *entry(json_t *by_key, json_t *out, const char *name)
{
    json_t *stream = json_object_get(by_key, name);

    if (stream != NULL)
        return stream;
    stream = json_pack("{s:s, s:s, s:i}", "name", name, "state", "elsewhere", "viewers", 0);
    (void)json_object_set(by_key, name, stream);
    (void)json_array_append_new(out, stream);
    return stream;
}

/* He whom a newer publisher of the same stream replaces may still be there for a moment. */
static bool is_newer(const json_t *a, const json_t *b)
{
    return json_real_value(json_object_get(a, "uptime_s")) <
           json_real_value(json_object_get(b, "uptime_s"));
}

static void add_relayed(json_t *by_key, json_t *out, const json_t *list)
{
    json_t *newest = json_object(), *one, *stream;
    const char *name;
    size_t i;

    json_array_foreach(list, i, one)
    {
        if ((name = text(one, "relayed")) != NULL &&
            (json_object_get(newest, name) == NULL || is_newer(one, json_object_get(newest, name))))
            (void)json_object_set(newest, name, one);
    }
    json_object_foreach(newest, name, one)
    {
        stream = entry(by_key, out, name);
        if (strcmp(text(stream, "state"), "live") == 0) { /* we relay to ourselves */
            (void)json_object_set(stream, "relay", json_object_get(one, "relay"));
        } else {
            (void)json_object_update(stream, one);
            (void)json_object_del(stream, "relayed");
        }
    }
    json_decref(newest);
}

/* One entry per stream: those whose home is here, those that are relayed, and those that are only
 * watched here. The viewers of all loops are added up. */
static json_t *merged(const json_t *list)
{
    json_t *by_key = json_object(), *out = json_array(), *one;
    size_t i;

    json_array_foreach(list, i, one)
    {
        if (json_object_get(one, "name") == NULL)
            continue;
        (void)json_object_set_new(one, "viewers", json_integer(0));
        (void)json_object_set(by_key, text(one, "name"), one);
        (void)json_array_append(out, one);
    }
    add_relayed(by_key, out, list);
    json_array_foreach(list, i, one)
    {
        json_t *stream;

        if (text(one, "watched") == NULL)
            continue;
        stream = entry(by_key, out, text(one, "watched"));
        (void)json_object_set_new(
            stream, "viewers",
            json_integer(json_integer_value(json_object_get(stream, "viewers")) +
                         json_integer_value(json_object_get(one, "viewers"))));
    }
    json_decref(by_key);
    return out;
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

/* Out of what all loops have said. */
static json_t *list_of(const struct process *p, const json_t *seen, bool whole)
{
    json_t *refused = json_array();

    if (live_home(p) != NULL)
        home_list_bans(live_home(p), refused);
    return json_pack("{s:b, s:s, s:b, s:I, s:o, s:o?}", "ok", 1, "node", p->conf->node.id, "whole",
                     whole, "at_us", (json_int_t)clock_wall_us(), "streams", sorted(merged(seen)),
                     "refused", refused);
}

json_t *streams_list(struct process *p)
{
    bool whole;
    json_t *seen = census_take(p, asked, "", PATIENCE_US, &whole), *list;

    if (seen == NULL)
        return NULL;
    list = list_of(p, seen, whole);
    json_decref(seen);
    return list;
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
    free(s->list.text);
    free(s->status.text);
    free(s);
}

static void put(struct streams *s, struct page *page, json_t *j)
{
    char *text = j != NULL ? json_dumps(j, JSON_COMPACT) : NULL, *old;

    json_decref(j);
    (void)pthread_mutex_lock(&s->lock);
    old = page->text;
    page->text = text;
    page->len = text != NULL ? strlen(text) : 0;
    (void)pthread_mutex_unlock(&s->lock);
    free(old);
}

static uint64_t tick(struct process *p, void **mine, uint64_t now_us)
{
    struct streams *s = *mine;
    json_t *seen;
    bool whole;

    if (now_us < s->due_us)
        return s->due_us;
    s->due_us = now_us + EVERY_US;
    if (p->conf->admin.listen_n == 0)
        return s->due_us;
    seen = census_take(p, asked, "", PATIENCE_US, &whole);
    put(s, &s->list, seen != NULL ? list_of(p, seen, whole) : NULL);
    put(s, &s->status, seen != NULL ? status_json(p, seen, whole) : NULL);
    json_decref(seen);
    return s->due_us;
}

const struct part streams_part = {
    .name = "streams",
    .loop_start = loop_start,
    .fini = fini,
    .tick = tick,
};

static struct streams *streams_of(const struct process *p)
{
    for (int i = 0; p->parts[i] != NULL; i++)
        if (p->parts[i] == &streams_part)
            return p->part[i];
    return NULL;
}

static struct blob *get(struct streams *s, const struct page *page)
{
    struct blob *b = NULL;

    (void)pthread_mutex_lock(&s->lock);
    if (page->text != NULL)
        b = blob_new(page->text, page->len);
    (void)pthread_mutex_unlock(&s->lock);
    return b;
}

struct blob *streams_page(const struct process *p)
{
    struct streams *s = streams_of(p);

    return s != NULL ? get(s, &s->list) : NULL;
}

struct blob *streams_status_page(const struct process *p)
{
    struct streams *s = streams_of(p);

    return s != NULL ? get(s, &s->status) : NULL;
}
