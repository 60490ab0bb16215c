#include "origin/ban.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "core/check.h"
#include "edge/stream.h"

struct ban {
    char name[STREAM_NAME_MAX + 1]; /* "": free */
    uint64_t until_us;              /* 0: only suspected */
    enum ban_why why;
    uint64_t crash_us[BAN_CRASHES - 1]; /* the newest first */
};

struct ban_list {
    pthread_mutex_t lock;
    struct ban v[BAN_MAX];
};

struct ban_list *ban_list_new(void)
{
    struct ban_list *b = calloc(1, sizeof *b);

    if (b != NULL)
        (void)pthread_mutex_init(&b->lock, NULL);
    return b;
}

void ban_list_free(struct ban_list **bp)
{
    struct ban_list *b = *bp;

    *bp = NULL;
    if (b == NULL)
        return;
    (void)pthread_mutex_destroy(&b->lock);
    free(b);
}

static struct ban *find_locked(struct ban_list *b, const char *name)
{
    for (int i = 0; i < BAN_MAX; i++)
        if (strcmp(b->v[i].name, name) == 0)
            return &b->v[i];
    return NULL;
}

/* How much a place is worth: a ban until its end, a suspicion while it may still count. */
static uint64_t worth(const struct ban *e, uint64_t now_us)
{
    if (e->name[0] == '\0')
        return 0;
    if (e->until_us > now_us)
        return UINT64_MAX / 2 + e->until_us;
    return e->crash_us[0] != 0 && e->crash_us[0] + BAN_CRASH_US > now_us ? e->crash_us[0] : 0;
}

/* The place of that name, or the one that is worth least. */
static struct ban *place_locked(struct ban_list *b, const char *name, uint64_t now_us)
{
    struct ban *e = find_locked(b, name);

    if (e != NULL)
        return e;
    e = &b->v[0];
    for (int i = 1; i < BAN_MAX; i++)
        if (worth(&b->v[i], now_us) < worth(e, now_us))
            e = &b->v[i];
    return e;
}

static void begin(struct ban *e, const char *name)
{
    if (strcmp(e->name, name) == 0)
        return;
    CHECK(strlen(name) <= STREAM_NAME_MAX);
    memset(e, 0, sizeof *e);
    memcpy(e->name, name, strlen(name) + 1);
}

enum st ban_put(struct ban_list *b, const char *name, uint64_t now_us, uint64_t until_us)
{
    enum st st = ST_OK;

    (void)pthread_mutex_lock(&b->lock);
    struct ban *e = until_us > now_us ? place_locked(b, name, now_us) : find_locked(b, name);
    if (e != NULL && strcmp(e->name, name) != 0 && e->until_us > now_us) {
        st = ST_ELIMIT;
    } else if (e != NULL && until_us <= now_us) {
        memset(e, 0, sizeof *e);
    } else if (e != NULL) {
        begin(e, name);
        e->until_us = until_us;
        e->why = BAN_OPERATOR;
    }
    (void)pthread_mutex_unlock(&b->lock);
    return st;
}

bool ban_crash(struct ban_list *b, const char *name, uint64_t now_us, uint64_t quarantine_us)
{
    bool now;

    (void)pthread_mutex_lock(&b->lock);
    struct ban *e = place_locked(b, name, now_us);
    begin(e, name);
    uint64_t oldest = e->crash_us[BAN_CRASHES - 2];
    now = oldest != 0 && oldest + BAN_CRASH_US > now_us && quarantine_us > 0;
    memmove(e->crash_us + 1, e->crash_us, sizeof e->crash_us - sizeof e->crash_us[0]);
    e->crash_us[0] = now_us;
    if (now && now_us + quarantine_us > e->until_us) {
        e->until_us = now_us + quarantine_us;
        e->why = BAN_QUARANTINE;
    }
    (void)pthread_mutex_unlock(&b->lock);
    return now;
}

bool ban_is(struct ban_list *b, const char *name, uint64_t now_us, enum ban_why *why)
{
    (void)pthread_mutex_lock(&b->lock);
    const struct ban *e = find_locked(b, name);
    bool is = e != NULL && e->until_us > now_us;
    if (is)
        *why = e->why;
    (void)pthread_mutex_unlock(&b->lock);
    return is;
}

void ban_show(struct ban_list *b, uint64_t now_us, json_t *list)
{
    (void)pthread_mutex_lock(&b->lock);
    for (int i = 0; i < BAN_MAX; i++) {
        const struct ban *e = &b->v[i];

        if (e->name[0] == '\0' || e->until_us <= now_us)
            continue;
        (void)json_array_append_new(
            list, json_pack("{s:s, s:s, s:I}", "name", e->name, "why",
                            e->why == BAN_OPERATOR ? "banned" : "quarantined", "left_s",
                            (json_int_t)((e->until_us - now_us) / 1000000)));
    }
    (void)pthread_mutex_unlock(&b->lock);
}
