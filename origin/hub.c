/* How a record reaches a subscriber on another loop
 *
 *   home loop                               subscriber's loop
 *   ---------                               -----------------
 *   lock                                    its body is pulled: lock, take the record behind
 *     record into the ring                  `seq`, unlock; none: MORE, and h2 waits for resume
 *     for each subscriber:                  ...
 *       exchange(armed, 1) == 0 ? letter    letter: exchange(armed, 0), then raw_resume(): what
 *   unlock                                  came before the exchange is pulled now, what comes
 *   one eventfd write per loop              after posts a new letter
 *
 * A letter is pushed under the lock, and only for a listed subscriber: one that has taken itself
 * off the list learns from exchange(armed, 1) whether its letter is still on the way, and if so is
 * freed by the delivery. */
#include "origin/hub.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "core/check.h"
#include "core/clock.h"
#include "core/hash.h"
#include "core/record.h"
#include "origin/hub_int.h"

enum { CHANNEL_MAGIC = 0x4b0b0c4a, BUCKETS = 4096 };

/* --- the table --- */

struct hub *hub_new(struct loop *const *loops, unsigned n_loops)
{
    struct hub *h = calloc(1, sizeof *h);

    if (h == NULL)
        return NULL;
    h->loops = loops;
    h->n_loops = n_loops;
    (void)pthread_mutex_init(&h->lock, NULL);
    h->bucket = calloc(BUCKETS, sizeof(struct hub_channel *));
    if (h->bucket == NULL)
        hub_free(&h);
    return h;
}

void hub_free(struct hub **hp)
{
    struct hub *h = *hp;

    *hp = NULL;
    if (h == NULL)
        return;
    for (size_t i = 0; h->bucket != NULL && i < BUCKETS; i++)
        CHECK(h->bucket[i] == NULL);
    CHECK(hub_subscribers(h) == 0);
    (void)pthread_mutex_destroy(&h->lock);
    free(h->bucket);
    free(h);
}

size_t hub_subscribers(const struct hub *h)
{
    return atomic_load_explicit(&h->subscribers, memory_order_relaxed);
}

static struct hub_channel **bucket_of(struct hub *h, const char *name, size_t len)
{
    return &h->bucket[hash64_stable(name, len) % BUCKETS];
}

struct hub_channel *hub_find(struct hub *h, const char *name, size_t len)
{
    struct hub_channel *c;

    (void)pthread_mutex_lock(&h->lock);
    c = *bucket_of(h, name, len);
    while (c != NULL && (strlen(c->name) != len || memcmp(c->name, name, len) != 0))
        c = c->chain;
    if (c != NULL)
        (void)atomic_fetch_add_explicit(&c->refs, 1, memory_order_relaxed);
    (void)pthread_mutex_unlock(&h->lock);
    return c;
}

/* --- records --- */

struct hub_record *hub_record_ref(struct hub_record *r)
{
    (void)atomic_fetch_add_explicit(&r->refs, 1, memory_order_relaxed);
    return r;
}

void hub_record_unref(struct hub_record **rp)
{
    struct hub_record *r = *rp;

    *rp = NULL;
    if (r != NULL && atomic_fetch_sub_explicit(&r->refs, 1, memory_order_acq_rel) == 1)
        free(r);
}

/* NULL: no memory, or more than a record may hold. */
static struct hub_record *make_record(enum record_type type, uint64_t seq, const char *json,
                                      const void *p, size_t n)
{
    struct hub_record *r = NULL;
    struct buf head;

    buf_init(&head, RECORD_FIXED + RECORD_JSON_MAX);
    record_put_text(&head, type, 0, seq, json, strlen(json), n);
    if (head.st == ST_OK)
        r = malloc(sizeof *r + head.len + n);
    if (r != NULL) {
        atomic_init(&r->refs, 1);
        r->n = head.len + n;
        memcpy(r->bytes, head.data, head.len);
        if (n > 0)
            memcpy(r->bytes + head.len, p, n);
    }
    buf_fini(&head);
    return r;
}

/* --- the log --- */

static void drop_oldest(struct hub_channel *c)
{
    struct hub_record **r = &c->ring[c->first % HUB_RING];

    c->ring_bytes -= (*r)->n;
    hub_record_unref(r);
    c->first++;
}

/* r NULL: there was no memory for it. The log begins anew behind it, and nobody is left on it. */
static void append_locked(struct hub_channel *c, struct hub_record *r)
{
    while (c->first < c->next &&
           (r == NULL || c->next - c->first == HUB_RING || c->ring_bytes + r->n > HUB_RING_BYTES))
        drop_oldest(c);
    if (r == NULL) {
        c->first = ++c->next;
        return;
    }
    c->ring[c->next % HUB_RING] = r;
    c->ring_bytes += r->n;
    c->next++;
}

/* Whoever is still to come to the place of a document that has a newer version needs only the place. */
static void replaced_locked(struct hub_channel *c, const struct hub_named *d)
{
    struct hub_record **r = &c->ring[d->seq % HUB_RING], *place;
    char json[512];

    if (d->record == NULL || d->seq < c->first)
        return;
    (void)snprintf(json, sizeof json, "{\"name\":\"%s\",\"replaced\":true}", d->name);
    place = make_record(RECORD_DOC, d->seq, json, NULL, 0);
    if (place == NULL)
        return;
    c->ring_bytes -= (*r)->n - place->n;
    hub_record_unref(r);
    *r = place;
}

static void wake_locked(struct hub_channel *c, uint64_t *signal)
{
    for (struct hub_sub *s = c->subs; s != NULL; s = s->next) {
        if (atomic_exchange_explicit(&s->armed, 1, memory_order_acq_rel) != 0)
            continue;
        SYNC_POINT("hub:armed");
        if (mailbox_push(&s->loop->mailbox, &s->mail))
            signal[s->loop->index / 64] |= UINT64_C(1) << (s->loop->index % 64);
    }
}

enum { SIGNAL_WORDS = 4 }; /* CONF_LOOPS_MAX bits */

/* Unlocks. */
static void publish(struct hub_channel *c, uint64_t signal[SIGNAL_WORDS])
{
    struct hub *h = c->hub;

    wake_locked(c, signal);
    (void)pthread_mutex_unlock(&c->lock);
    SYNC_POINT("hub:signal");
    for (unsigned w = 0; w < SIGNAL_WORDS; w++)
        for (uint64_t bits = signal[w]; bits != 0; bits &= bits - 1)
            mailbox_signal(&h->loops[w * 64 + (unsigned)__builtin_ctzll(bits)]->mailbox);
}

static void say(struct hub_channel *c, enum record_type type, const char *json)
{
    uint64_t signal[SIGNAL_WORDS] = { 0 };
    struct hub_record *r = make_record(type, c->next, json, NULL, 0);

    append_locked(c, r);
    publish(c, signal);
}

static void lock(struct hub_channel *c)
{
    OBJ_CHECK(c, CHANNEL_MAGIC);
    (void)pthread_mutex_lock(&c->lock);
}

/* --- channels --- */

void hub_channel_unref(struct hub_channel **cp)
{
    struct hub_channel *c = *cp;

    *cp = NULL;
    if (c == NULL)
        return;
    OBJ_CHECK(c, CHANNEL_MAGIC);
    if (atomic_fetch_sub_explicit(&c->refs, 1, memory_order_acq_rel) > 1)
        return;
    CHECK(c->subs == NULL);
    while (c->first < c->next)
        drop_oldest(c);
    for (unsigned i = 0; i < c->n_docs; i++) {
        free(c->doc[i].name);
        hub_record_unref(&c->doc[i].record);
    }
    (void)pthread_mutex_destroy(&c->lock);
    OBJ_FINI(c, CHANNEL_MAGIC);
    free(c);
}

/* True: it was listed, and its reference is the caller's now. */
static bool unlist(struct hub_channel *c)
{
    struct hub *h = c->hub;
    struct hub_channel **p;
    bool was;

    (void)pthread_mutex_lock(&h->lock);
    p = bucket_of(h, c->name, strlen(c->name));
    while (*p != NULL && *p != c)
        p = &(*p)->chain;
    was = *p != NULL;
    if (was)
        *p = c->chain;
    (void)pthread_mutex_unlock(&h->lock);
    return was;
}

static void end_subscriptions(struct hub_channel *c)
{
    uint64_t signal[SIGNAL_WORDS] = { 0 };

    lock(c);
    c->closed = true;
    publish(c, signal);
}

static void take_name(struct hub *h, const char *name)
{
    struct hub_channel *old = hub_find(h, name, strlen(name)), *listed;

    if (old == NULL)
        return;
    listed = unlist(old) ? old : NULL;
    end_subscriptions(old);
    hub_channel_unref(&listed);
    hub_channel_unref(&old);
}

enum st hub_open(struct hub *h, const char *name, const char *session, uint64_t segment_us,
                 struct hub_channel **out)
{
    struct hub_channel *c = calloc(1, sizeof *c), **b;
    uint64_t id;

    if (c == NULL)
        return ST_ENOMEM;
    CHECK(strlen(name) <= STREAM_NAME_MAX && strlen(session) == STREAM_SESSION_LEN);
    OBJ_INIT(c, CHANNEL_MAGIC);
    atomic_init(&c->refs, 2);
    c->hub = h;
    memcpy(c->name, name, strlen(name) + 1);
    memcpy(c->session, session, STREAM_SESSION_LEN + 1);
    if (getrandom(&id, sizeof id, 0) != (ssize_t)sizeof id)
        id = (uint64_t)clock_wall_us();
    (void)snprintf(c->logid, sizeof c->logid, "%016llx", (unsigned long long)id);
    c->segment_us = segment_us;
    c->first = c->next = 1;
    (void)pthread_mutex_init(&c->lock, NULL);
    take_name(h, name);
    (void)pthread_mutex_lock(&h->lock);
    b = bucket_of(h, name, strlen(name));
    c->chain = *b;
    *b = c;
    (void)pthread_mutex_unlock(&h->lock);
    *out = c;
    return ST_OK;
}

void hub_close(struct hub_channel **cp)
{
    struct hub_channel *c = *cp, *listed;

    *cp = NULL;
    if (c == NULL)
        return;
    listed = unlist(c) ? c : NULL;
    end_subscriptions(c);
    hub_channel_unref(&listed);
    hub_channel_unref(&c);
}

/* --- the verbs --- */

void hub_claim(struct hub_channel *c, uint64_t epoch, bool live)
{
    lock(c);
    c->epoch = epoch;
    c->live = live;
    (void)pthread_mutex_unlock(&c->lock); /* the next HEARTBEAT says it */
}

static struct hub_rep *rep_of(struct hub_channel *c, const char *rep)
{
    for (unsigned i = 0; i < c->n_reps; i++)
        if (strcmp(c->rep[i].name, rep) == 0)
            return &c->rep[i];
    return NULL;
}

void hub_announce(struct hub_channel *c, const char *rep, uint64_t n)
{
    struct hub_rep *r;
    char json[160];

    lock(c);
    r = rep_of(c, rep);
    if (r == NULL && c->n_reps < STREAM_REPS_MAX && strlen(rep) < sizeof r->name) {
        r = &c->rep[c->n_reps++];
        memcpy(r->name, rep, strlen(rep) + 1);
        r->first = n;
    }
    if (r != NULL) {
        r->latest = n;
        r->open = true;
    }
    (void)snprintf(json, sizeof json, "{\"session\":\"%s\",\"rep\":\"%s\",\"n\":%llu,\"at\":%lld}",
                   c->session, rep, (unsigned long long)n, (long long)clock_wall_us());
    say(c, RECORD_ANNOUNCE, json);
}

void hub_closed(struct hub_channel *c, const char *rep, uint64_t n, uint64_t size)
{
    struct hub_rep *r;
    char json[160];

    lock(c);
    r = rep_of(c, rep);
    if (r != NULL && r->latest == n)
        r->open = false;
    (void)snprintf(json, sizeof json,
                   "{\"session\":\"%s\",\"rep\":\"%s\",\"n\":%llu,\"size\":%llu}", c->session, rep,
                   (unsigned long long)n, (unsigned long long)size);
    say(c, RECORD_SCLOSE, json);
}

void hub_expire(struct hub_channel *c, const char *rep, uint64_t first)
{
    struct hub_rep *r;
    char json[80];

    lock(c);
    r = rep_of(c, rep);
    if (r == NULL || r->first >= first) {
        (void)pthread_mutex_unlock(&c->lock);
        return;
    }
    r->first = first;
    (void)snprintf(json, sizeof json, "{\"rep\":\"%s\",\"first\":%llu}", rep,
                   (unsigned long long)first);
    say(c, RECORD_EXPIRE, json);
}

/* The place of a document, as the last in the row: the one said longest ago gives way when all are
 * taken, which of a live stream is an init segment that is out of its window. NULL: no memory. */
static struct hub_named *doc_slot(struct hub_channel *c, const char *name)
{
    struct hub_named d = { .name = NULL };
    unsigned i = 0;

    while (i < c->n_docs && strcmp(c->doc[i].name, name) != 0)
        i++;
    if (i == c->n_docs) {
        d.name = strdup(name);
        if (d.name == NULL)
            return NULL;
        if (c->n_docs < STREAM_DOCS_MAX) {
            c->doc[c->n_docs++] = d;
            return &c->doc[c->n_docs - 1];
        }
        i = 0;
        free(c->doc[0].name);
        hub_record_unref(&c->doc[0].record);
        c->doc[0] = d;
    }
    d = c->doc[i];
    memmove(c->doc + i, c->doc + i + 1, (c->n_docs - 1 - i) * sizeof c->doc[0]);
    c->doc[c->n_docs - 1] = d;
    return &c->doc[c->n_docs - 1];
}

void hub_doc(struct hub_channel *c, const struct hub_doc *d)
{
    uint64_t signal[SIGNAL_WORDS] = { 0 };
    struct hub_record *r;
    struct hub_named *slot;
    char json[512];
    int n = snprintf(json, sizeof json,
                     "{\"name\":\"%s\",\"type\":\"%s\",\"etag\":\"%s\",\"max_age\":%u,"
                     "\"at\":%lld}",
                     d->name, d->type, d->etag, d->max_age_s, (long long)clock_wall_us());

    CHECK(n > 0 && (size_t)n < sizeof json);
    /* seq is the home's alone: nobody else moves it */
    r = make_record(RECORD_DOC, c->next, json, d->p, d->n);
    lock(c);
    slot = r != NULL ? doc_slot(c, d->name) : NULL;
    if (slot != NULL) {
        replaced_locked(c, slot);
        hub_record_unref(&slot->record);
        slot->record = hub_record_ref(r);
        slot->seq = c->next;
    }
    append_locked(c, r);
    publish(c, signal);
}

void hub_end(struct hub_channel *c)
{
    lock(c);
    c->ended = true;
    c->live = false;
    say(c, RECORD_END, "{}");
}
