#include "edge/stream.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/check.h"
#include "edge/store_int.h"

enum { STREAM_MAGIC = 0x57e4a311, REP_NAME_MAX = 8, TABLE_SHARDS = 16, TABLE_BUCKETS = 1024 };
enum { NAMED_MAX = STREAM_DOCS_MAX, PATH_MAX_BYTES = 160 };
enum { KEY_MAX = 1 + STREAM_NAME_MAX + 1 + PATH_MAX_BYTES };

struct rep {
    char name[REP_NAME_MAX];
    uint64_t first, latest;
    bool any; /* something was announced */
    uint64_t touched_us;
    struct gobj *open; /* (home) being appended to; a reference */
};

/* A document's versions or an init segment (one version); the home's references. */
struct named {
    char path[PATH_MAX_BYTES]; /* relative to /APP/STREAM/ */
    struct gobj *ring[STREAM_DOC_RING];
    unsigned newest;
};

struct stream {
    int magic;
    atomic_int refs;
    struct store *store;
    unsigned home;
    char name[STREAM_NAME_MAX + 1];

    /* home loop only */
    struct named *named[NAMED_MAX];
    unsigned n_named;

    /* under the shard's lock; written by the home only, which may read without it */
    struct stream *next;
    bool listed;
    char session[STREAM_SESSION_LEN + 1];
    enum stream_source source;
    bool known; /* somebody tells us what happens */
    bool live;
    uint64_t segment_us;
    unsigned held;
    uint64_t touched_us; /* by whoever watches, on any loop */
    struct rep rep[STREAM_REPS_MAX];
    unsigned n_reps;
};

struct stream_shard {
    pthread_mutex_t lock;
    struct stream *bucket[TABLE_BUCKETS];
};

struct stream_table {
    atomic_size_t count;
    struct stream_shard shard[TABLE_SHARDS];
};

struct stream_table *stream_table_new(void)
{
    struct stream_table *t = calloc(1, sizeof *t);

    for (size_t i = 0; t != NULL && i < TABLE_SHARDS; i++)
        (void)pthread_mutex_init(&t->shard[i].lock, NULL);
    return t;
}

void stream_table_free(struct stream_table **tp)
{
    struct stream_table *t = *tp;

    *tp = NULL;
    if (t == NULL)
        return;
    for (size_t i = 0; i < TABLE_SHARDS; i++) {
        for (size_t k = 0; k < TABLE_BUCKETS; k++)
            while (t->shard[i].bucket[k] != NULL) {
                struct stream *st = t->shard[i].bucket[k];

                t->shard[i].bucket[k] = st->next;
                st->listed = false;
                stream_unref(&st);
            }
        (void)pthread_mutex_destroy(&t->shard[i].lock);
    }
    free(t);
}

static struct stream_shard *shard_of(struct store *s, uint64_t hash)
{
    return &s->streams->shard[hash % TABLE_SHARDS];
}

static struct stream **bucket_of(struct stream_shard *sh, uint64_t hash)
{
    return &sh->bucket[(hash / TABLE_SHARDS) % TABLE_BUCKETS];
}

static struct stream *find_locked(struct stream_shard *sh, uint64_t hash, const char *name,
                                  size_t len)
{
    for (struct stream *st = *bucket_of(sh, hash); st != NULL; st = st->next)
        if (strlen(st->name) == len && memcmp(st->name, name, len) == 0)
            return st;
    return NULL;
}

static struct stream_shard *lock(struct store *s, uint64_t hash)
{
    struct stream_shard *sh = shard_of(s, hash);

    (void)pthread_mutex_lock(&sh->lock);
    return sh;
}

static void unlock(struct stream_shard *sh) { (void)pthread_mutex_unlock(&sh->lock); }

static struct stream_shard *lock_stream(struct stream *st)
{
    return lock(st->store, store_hash(st->store, st->name, strlen(st->name)));
}

/* --- any loop --- */

bool stream_is_live_here(struct store *s, const char *name, size_t name_len)
{
    uint64_t hash = store_hash(s, name, name_len);
    struct stream_shard *sh = lock(s, hash);
    const struct stream *st = find_locked(sh, hash, name, name_len);
    bool live = st != NULL && st->live && st->source == STREAM_HERE;

    unlock(sh);
    return live;
}

unsigned stream_home(const struct store *s, const char *name, size_t name_len)
{
    return store_home(s, store_hash(s, name, name_len));
}

size_t stream_count(struct store *s)
{
    return atomic_load_explicit(&s->streams->count, memory_order_relaxed);
}

static const struct rep *find_rep(const struct stream *st, const char *rep, size_t len)
{
    for (unsigned i = 0; i < st->n_reps; i++)
        if (strlen(st->rep[i].name) == len && memcmp(st->rep[i].name, rep, len) == 0)
            return &st->rep[i];
    return NULL;
}

static enum stream_where where_in(const struct stream *st, const char *session, const char *rep,
                                  size_t rep_len, uint64_t number)
{
    const struct rep *r;

    if (!st->known)
        return STREAM_UNKNOWN;
    if (session == NULL || strcmp(session, st->session) != 0)
        return st->source == STREAM_HERE ? STREAM_ABSENT : STREAM_UNKNOWN;
    r = find_rep(st, rep, rep_len);
    if (r == NULL || !r->any)
        return st->source == STREAM_HERE ? STREAM_ABSENT : STREAM_UNKNOWN;
    if (number < r->first)
        return STREAM_BEHIND;
    if (number <= r->latest)
        return STREAM_WINDOW;
    if (!st->live)
        return STREAM_ABSENT;
    return number == r->latest + 1 ? STREAM_NEXT : STREAM_AHEAD;
}

struct stream_answer stream_where(struct store *s, const char *name, size_t name_len,
                                  const char *session, const char *rep, size_t rep_len,
                                  uint64_t number)
{
    uint64_t hash = store_hash(s, name, name_len);
    struct stream_answer a = { .where = STREAM_UNKNOWN,
                               .source = STREAM_SUBSCRIBED,
                               .home = store_home(s, hash) };
    struct stream_shard *sh = lock(s, hash);
    const struct stream *st = find_locked(sh, hash, name, name_len);

    if (st != NULL) {
        a.where = where_in(st, session, rep, rep_len, number);
        a.source = st->source;
        a.segment_us = st->segment_us;
        a.hold_us = st->segment_us < STREAM_HOLD_MAX_US / 3 * 2
                        ? st->segment_us + st->segment_us / 2
                        : STREAM_HOLD_MAX_US;
    }
    unlock(sh);
    return a;
}

bool stream_hold_take(struct store *s, const char *name, size_t name_len, unsigned max)
{
    uint64_t hash = store_hash(s, name, name_len);
    struct stream_shard *sh = lock(s, hash);
    struct stream *st = find_locked(sh, hash, name, name_len);
    bool ok = st != NULL && st->held < max;

    if (ok)
        st->held++;
    unlock(sh);
    return ok;
}

void stream_hold_return(struct store *s, const char *name, size_t name_len)
{
    uint64_t hash = store_hash(s, name, name_len);
    struct stream_shard *sh = lock(s, hash);
    struct stream *st = find_locked(sh, hash, name, name_len);

    if (st != NULL && st->held > 0)
        st->held--;
    unlock(sh);
}

void stream_touch(struct store *s, const char *name, size_t name_len, const char *rep,
                  size_t rep_len, uint64_t now_us)
{
    uint64_t hash = store_hash(s, name, name_len);
    struct stream_shard *sh = lock(s, hash);
    struct stream *st = find_locked(sh, hash, name, name_len);

    if (st != NULL)
        st->touched_us = now_us;
    for (unsigned i = 0; st != NULL && i < st->n_reps; i++)
        if (strlen(st->rep[i].name) == rep_len && memcmp(st->rep[i].name, rep, rep_len) == 0)
            st->rep[i].touched_us = now_us;
    unlock(sh);
}

/* --- life --- */

struct stream *stream_ref(struct stream *st)
{
    OBJ_CHECK(st, STREAM_MAGIC);
    (void)atomic_fetch_add_explicit(&st->refs, 1, memory_order_relaxed);
    return st;
}

static void forget_version(struct named *n, unsigned i) { gobj_unref(&n->ring[i]); }

static void free_named(struct named *n)
{
    for (unsigned i = 0; i < STREAM_DOC_RING; i++)
        forget_version(n, i);
    free(n);
}

void stream_unref(struct stream **sp)
{
    struct stream *st = *sp;

    *sp = NULL;
    if (st == NULL)
        return;
    OBJ_CHECK(st, STREAM_MAGIC);
    if (atomic_fetch_sub_explicit(&st->refs, 1, memory_order_acq_rel) > 1)
        return;
    CHECK(!st->listed);
    for (unsigned i = 0; i < st->n_reps; i++)
        gobj_unref(&st->rep[i].open);
    for (unsigned i = 0; i < st->n_named; i++)
        free_named(st->named[i]);
    OBJ_FINI(st, STREAM_MAGIC);
    free(st);
}

/* --- the segments of a rendition --- */

static size_t segment_key(char *key, const struct stream *st, const char *rep, uint64_t n)
{
    int len = snprintf(key, KEY_MAX, "/%s/%s/%s/%llu.m4s", st->name, st->session, rep,
                       (unsigned long long)n);

    CHECK(len > 0 && len < KEY_MAX);
    return (size_t)len;
}

static struct gobj *segment_lookup(struct stream *st, const char *rep, uint64_t n)
{
    char key[KEY_MAX];
    size_t len = segment_key(key, st, rep, n);

    return store_lookup(st->store, key, len, store_hash(st->store, key, len));
}

/* What is to become of the listed segments [from, to] of a rendition. */
enum sweep { SWEEP_ALL, SWEEP_EXPECTED, SWEEP_TO_CAP };

static void sweep(struct loop *l, struct stream *st, const struct rep *r, uint64_t from,
                  uint64_t to, enum sweep how)
{
    CHECK(from <= to && to - from <= STREAM_SPAN_MAX && to <= STREAM_NUMBER_MAX + 1);
    for (uint64_t n = from; n <= to; n++) {
        struct gobj *o = segment_lookup(st, r->name, n);

        if (o == NULL)
            continue;
        if (how == SWEEP_ALL || gobj_now(o).state == GOBJ_EXPECTED)
            store_unlink(l, o);
        else if (how == SWEEP_TO_CAP)
            store_set_windowed(l, o, false);
        gobj_unref(&o);
    }
}

static void sweep_stream(struct loop *l, struct stream *st, enum sweep how)
{
    for (unsigned i = 0; i < st->n_reps; i++) {
        struct rep *r = &st->rep[i];

        if (!r->any)
            continue;
        /* the one beyond may be held by a request */
        sweep(l, st, r, r->first, r->latest + 1, how);
    }
}

/* An open segment whose maker is gone is closed where it is: whole chunks only were published. */
static void close_open(struct loop *l, struct rep *r)
{
    if (r->open == NULL)
        return;
    if (gobj_complete(r->open) == ST_OK) {
        store_notify(r->open);
        store_completed(l, r->open);
    } else {
        store_unlink(l, r->open);
        gobj_fail(r->open);
        store_notify(r->open); /* it may have been unlinked long ago */
    }
    gobj_unref(&r->open);
}

/* The stream forgets the path; the object itself stays as far as the byte cap allows, or goes. */
static void drop_named(struct loop *l, struct stream *st, unsigned i, bool unlink)
{
    struct named *n = st->named[i];
    struct gobj *newest = n->ring[n->newest];

    st->n_named--;
    memmove(st->named + i, st->named + i + 1, (st->n_named - i) * sizeof st->named[0]);
    if (unlink)
        store_unlink(l, newest);
    else
        store_set_windowed(l, newest, false);
    free_named(n);
}

/* Documents are versions that nobody would renew; an init segment is what it is for ever. */
static void release_named(struct loop *l, struct stream *st)
{
    while (st->n_named > 0) {
        const struct named *n = st->named[0];

        drop_named(l, st, 0, gobj_kind(n->ring[n->newest]) == GOBJ_DOC);
    }
}

static void release_session_named(struct loop *l, struct stream *st)
{
    for (unsigned i = st->n_named; i-- > 0;)
        if (strncmp(st->named[i]->path, st->session, STREAM_SESSION_LEN) == 0 &&
            st->named[i]->path[STREAM_SESSION_LEN] == '/')
            drop_named(l, st, i, false);
}

static void freshen_docs(struct stream *st, uint64_t until_us)
{
    for (unsigned i = 0; i < st->n_named; i++) {
        struct gobj *o = st->named[i]->ring[st->named[i]->newest];

        if (gobj_kind(o) == GOBJ_DOC)
            gobj_freshen(o, until_us);
    }
}

/* --- the verbs --- */

static struct stream *insert(struct loop *l, const char *name)
{
    struct store *s = store_loop_of(l)->store;
    uint64_t hash = store_hash(s, name, strlen(name));
    struct stream *st = calloc(1, sizeof *st);
    struct stream_shard *sh;

    if (st == NULL)
        return NULL;
    OBJ_INIT(st, STREAM_MAGIC);
    atomic_init(&st->refs, 1);
    st->store = s;
    st->home = store_home(s, hash);
    memcpy(st->name, name, strlen(name) + 1);
    sh = lock(s, hash);
    st->next = *bucket_of(sh, hash);
    *bucket_of(sh, hash) = st;
    st->listed = true;
    unlock(sh);
    (void)atomic_fetch_add_explicit(&s->streams->count, 1, memory_order_relaxed);
    return st;
}

/* The session's segments stay for those who read them, as far as the byte cap allows. What is asked
 * for is answered by the new state first, then the objects go: those who are woken ask again. */
static void end_session(struct loop *l, struct stream *st)
{
    struct stream_shard *sh;

    for (unsigned i = 0; i < st->n_reps; i++)
        close_open(l, &st->rep[i]);
    sh = lock_stream(st);
    st->live = false;
    unlock(sh);
    SYNC_POINT("end:told");
    sweep_stream(l, st, SWEEP_TO_CAP);
}

enum st stream_begin(struct loop *l, const char *name, const char *session, uint64_t segment_us,
                     enum stream_source source, struct stream **out)
{
    struct store *s = store_loop_of(l)->store;
    uint64_t hash = store_hash(s, name, strlen(name));
    struct stream_shard *sh;
    struct stream *st;

    CHECK(strlen(name) <= STREAM_NAME_MAX && strlen(session) == STREAM_SESSION_LEN);
    CHECK(store_home(s, hash) == (unsigned)l->index);
    sh = lock(s, hash);
    st = find_locked(sh, hash, name, strlen(name));
    unlock(sh);
    if (st == NULL) {
        if (stream_count(s) >= STREAMS_MAX)
            return ST_ELIMIT;
        if ((st = insert(l, name)) == NULL)
            return ST_ENOMEM;
    }
    bool again = strcmp(st->session, session) == 0;
    if (!again) {
        end_session(l, st);
        release_session_named(l, st);
    }
    /* of another session: until the first manifest of this one comes, and not for ever */
    freshen_docs(st, again ? UINT64_MAX : loop_now(l) + segment_us / 2);
    sh = lock_stream(st);
    st->source = source;
    st->segment_us = segment_us;
    st->known = st->live = true;
    if (!again) {
        memcpy(st->session, session, STREAM_SESSION_LEN + 1);
        memset(st->rep, 0, sizeof st->rep);
        st->n_reps = 0;
    }
    unlock(sh);
    *out = stream_ref(st);
    return ST_OK;
}

static struct rep *rep_of(struct stream *st, const char *rep)
{
    for (unsigned i = 0; i < st->n_reps; i++)
        if (strcmp(st->rep[i].name, rep) == 0)
            return &st->rep[i];
    return NULL;
}

static enum st rep_add(struct stream *st, const char *rep, struct rep **out)
{
    struct stream_shard *sh;

    if (st->n_reps == STREAM_REPS_MAX || strlen(rep) >= REP_NAME_MAX)
        return ST_ELIMIT;
    sh = lock_stream(st);
    *out = &st->rep[st->n_reps++];
    memcpy((*out)->name, rep, strlen(rep) + 1);
    unlock(sh);
    return ST_OK;
}

enum st stream_announce(struct loop *l, struct stream *st, const char *rep, uint64_t n)
{
    struct rep *r = rep_of(st, rep);
    struct stream_shard *sh;
    struct gobj *o;
    char key[KEY_MAX];
    uint64_t first;
    size_t len;
    enum st res;

    OBJ_CHECK(st, STREAM_MAGIC);
    CHECK(st->home == (unsigned)l->index);
    if (n > STREAM_NUMBER_MAX)
        return ST_EPROTO;
    if (r == NULL && (res = rep_add(st, rep, &r)) != ST_OK)
        return res;
    if (r->any && n <= r->latest)
        return ST_OK;
    len = segment_key(key, st, rep, n);
    res = store_expect(l, key, len, store_hash(st->store, key, len), st->home, &o);
    if (res != ST_OK)
        return res;
    store_set_windowed(l, o, true);
    gobj_unref(&o);
    SYNC_POINT("announce:expected");
    first = r->any ? r->first : n;
    if (n - first >= STREAM_SPAN_MAX)
        first = n - STREAM_SPAN_MAX + 1;
    stream_expire(l, st, rep, first);
    sh = lock_stream(st); /* the object first, then its name: nobody asks upstream in between */
    r->first = first;
    r->latest = n;
    r->any = true;
    unlock(sh);
    return ST_OK;
}

enum st stream_window(struct loop *l, struct stream *st, const char *rep, uint64_t first,
                      uint64_t latest)
{
    enum st res = first <= latest ? stream_announce(l, st, rep, latest) : ST_EPROTO;
    struct rep *r;

    if (res != ST_OK)
        return res;
    r = rep_of(st, rep);
    if (first < r->first && r->latest - first < STREAM_SPAN_MAX) {
        struct stream_shard *sh = lock_stream(st);

        r->first = first;
        unlock(sh);
    } else {
        stream_expire(l, st, rep, first);
    }
    return ST_OK;
}

enum st stream_open(struct loop *l, struct stream *st, const char *rep, uint64_t n,
                    const struct gobj_head *head)
{
    struct rep *r = rep_of(st, rep);
    struct gobj *o;
    enum st res;

    CHECK(st->source == STREAM_HERE && st->home == (unsigned)l->index);
    if (r == NULL || r->open != NULL || n != r->latest)
        return ST_EPROTO;
    o = segment_lookup(st, rep, n);
    if (o == NULL || gobj_now(o).state != GOBJ_EXPECTED) {
        gobj_unref(&o);
        return ST_EPROTO;
    }
    res = gobj_start(o, head, UINT64_MAX);
    if (res != ST_OK) {
        gobj_unref(&o);
        return res;
    }
    r->open = o;
    store_notify(o);
    return ST_OK;
}

enum st stream_append(struct loop *l, struct stream *st, const char *rep, const void *p, size_t n)
{
    struct rep *r = rep_of(st, rep);
    enum st res;

    CHECK(st->home == (unsigned)l->index);
    if (r == NULL || r->open == NULL)
        return ST_EPROTO;
    res = gobj_append(r->open, p, n);
    if (res == ST_OK)
        store_notify(r->open);
    return res;
}

bool stream_is_open(const struct stream *st, const char *rep, uint64_t *n, uint64_t *bytes)
{
    const struct rep *r = find_rep(st, rep, strlen(rep));

    if (r == NULL || r->open == NULL)
        return false;
    *n = r->latest;
    *bytes = gobj_now(r->open).published;
    return true;
}

enum st stream_close(struct loop *l, struct stream *st, const char *rep)
{
    struct rep *r = rep_of(st, rep);

    CHECK(st->home == (unsigned)l->index);
    if (r == NULL || r->open == NULL)
        return ST_EPROTO;
    close_open(l, r);
    return ST_OK;
}

/* The slot for a path, as the last in the row; the one put longest ago gives way when all are
 * taken: of a live stream that is never a document. */
static struct named *named_slot(struct loop *l, struct stream *st, const char *path)
{
    struct named *n = NULL;
    unsigned i;

    for (i = 0; i < st->n_named && n == NULL; i++)
        if (strcmp(st->named[i]->path, path) == 0)
            n = st->named[i];
    if (n != NULL) {
        memmove(st->named + i - 1, st->named + i, (st->n_named - i) * sizeof st->named[0]);
        st->named[st->n_named - 1] = n;
        return n;
    }
    if ((n = calloc(1, sizeof *n)) == NULL)
        return NULL;
    memcpy(n->path, path, strlen(path) + 1);
    if (st->n_named == NAMED_MAX)
        drop_named(l, st, 0, false);
    st->named[st->n_named++] = n;
    return n;
}

static enum st make_whole(struct stream *st, const char *path, enum gobj_kind kind,
                          const struct gobj_head *head, const void *p, size_t n, struct gobj **out)
{
    struct gobj_head h = *head;
    char key[KEY_MAX];
    int len = snprintf(key, sizeof key, "/%s/%s", st->name, path);
    struct gobj *o;
    enum st res;

    CHECK(len > 0 && len < KEY_MAX);
    o = store_make(st->store, key, (size_t)len, store_hash(st->store, key, (size_t)len), st->home,
                   kind);
    if (o == NULL)
        return ST_ENOMEM;
    h.length = (int64_t)n;
    res = gobj_start(o, &h, UINT64_MAX);
    if (res == ST_OK)
        res = gobj_append(o, p, n);
    if (res == ST_OK)
        res = gobj_complete(o);
    if (res != ST_OK)
        gobj_unref(&o);
    *out = o;
    return res;
}

static enum st put_named(struct loop *l, struct stream *st, const char *path, enum gobj_kind kind,
                         const struct gobj_head *head, const void *p, size_t n)
{
    struct named *slot;
    struct gobj *o;
    enum st res;

    CHECK(st->home == (unsigned)l->index);
    if (strlen(path) >= PATH_MAX_BYTES)
        return ST_ELIMIT;
    res = make_whole(st, path, kind, head, p, n, &o);
    if (res != ST_OK)
        return res;
    slot = named_slot(l, st, path);
    if (slot == NULL) {
        gobj_unref(&o);
        return ST_ENOMEM;
    }
    o->windowed = true;
    store_publish(l, o);
    store_completed(l, o);
    slot->newest = (slot->newest + 1) % STREAM_DOC_RING;
    forget_version(slot, slot->newest);
    slot->ring[slot->newest] = o;
    return ST_OK;
}

enum st stream_doc(struct loop *l, struct stream *st, const char *name,
                   const struct gobj_head *head, const void *p, size_t n)
{
    return put_named(l, st, name, GOBJ_DOC, head, p, n);
}

enum st stream_object(struct loop *l, struct stream *st, const char *path,
                      const struct gobj_head *head, const void *p, size_t n)
{
    char full[PATH_MAX_BYTES];
    int len = snprintf(full, sizeof full, "%s/%s", st->session, path);

    if (len < 0 || len >= (int)sizeof full)
        return ST_ELIMIT;
    return put_named(l, st, full, GOBJ_MEDIA, head, p, n);
}

struct gobj *stream_newest(const struct stream *st, const char *name)
{
    for (unsigned i = 0; i < st->n_named; i++)
        if (strcmp(st->named[i]->path, name) == 0)
            return gobj_ref(st->named[i]->ring[st->named[i]->newest]);
    return NULL;
}

enum stream_source stream_source(const struct stream *st) { return st->source; }

uint64_t stream_touched(struct stream *st)
{
    struct stream_shard *sh = lock_stream(st);
    uint64_t at = st->touched_us;

    unlock(sh);
    return at;
}

uint64_t stream_rep_touched(struct stream *st, const char *rep)
{
    struct stream_shard *sh = lock_stream(st);
    const struct rep *r = find_rep(st, rep, strlen(rep));
    uint64_t at = r != NULL ? r->touched_us : 0;

    unlock(sh);
    return at;
}

void stream_expire(struct loop *l, struct stream *st, const char *rep, uint64_t first)
{
    struct rep *r = rep_of(st, rep);
    struct stream_shard *sh;
    uint64_t from;

    CHECK(st->home == (unsigned)l->index);
    if (r == NULL || !r->any)
        return;
    if (first > r->latest + 1)
        first = r->latest + 1;
    if (first <= r->first)
        return;
    from = r->first;
    sh = lock_stream(st); /* first the answer 410, then the objects go */
    r->first = first;
    unlock(sh);
    SYNC_POINT("expire:told");
    sweep(l, st, r, from, first - 1, SWEEP_ALL);
}

void stream_lost(struct loop *l, struct stream *st)
{
    struct stream_shard *sh = lock_stream(st);

    CHECK(st->home == (unsigned)l->index);
    st->known = false;
    unlock(sh);
    SYNC_POINT("lost:told");
    freshen_docs(st, loop_now(l) + st->segment_us / 2);
    sweep_stream(l, st, SWEEP_EXPECTED);
}

void stream_end(struct loop *l, struct stream *st)
{
    CHECK(st->home == (unsigned)l->index);
    end_session(l, st);
}

void stream_forget(struct loop *l, struct stream *st)
{
    uint64_t hash = store_hash(st->store, st->name, strlen(st->name));
    struct stream_shard *sh;
    struct stream *self = st;

    CHECK(st->home == (unsigned)l->index);
    sh = lock(st->store, hash);
    bool was_listed = st->listed;
    for (struct stream **p = bucket_of(sh, hash); *p != NULL; p = &(*p)->next)
        if (*p == st) {
            *p = st->next;
            break;
        }
    st->listed = false;
    unlock(sh);
    if (!was_listed)
        return;
    end_session(l, st);
    release_named(l, st);
    (void)atomic_fetch_sub_explicit(&st->store->streams->count, 1, memory_order_relaxed);
    stream_unref(&self);
}
