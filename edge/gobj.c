#include "edge/gobj.h"

#include <stdlib.h>
#include <string.h>

#include "core/check.h"
#include "edge/store_int.h"

enum { GOBJ_MAGIC = 0x60b1ec70 };

/* A body of known length is one chunk up to this size: the fewer pieces, the cheaper the send. */
enum { CHUNK_MIN = 16 << 10, CHUNK_MAX = 256 << 10, CHUNK_KNOWN_MAX = 1 << 20 };

static const struct {
    const char *name;
    unsigned next;
} states[] = {
#define X(n, nx) [GOBJ_##n] = { #n, nx },
    GOBJ_STATES(X)
#undef X
};

const char *gobj_state_name(enum gobj_state s) { return states[s].name; }

static enum gobj_state state_of(const struct gobj *o)
{
    return (enum gobj_state)atomic_load_explicit(&o->state, memory_order_acquire);
}

static void become(struct gobj *o, enum gobj_state next)
{
    OBJ_CHECK(o, GOBJ_MAGIC);
    CHECK((states[state_of(o)].next & 1u << next) != 0);
    atomic_store_explicit(&o->state, (uint32_t)next, memory_order_release);
}

struct gobj *gobj_new(struct store *s, const char *key, size_t len, uint64_t hash, unsigned home,
                      enum gobj_kind kind, enum gobj_state initial, struct gobj *prior)
{
    struct gobj *o = aligned_alloc(64, (sizeof *o + len + 1 + 63) / 64 * 64);

    if (o == NULL)
        return NULL;
    memset(o, 0, sizeof *o);
    OBJ_INIT(o, GOBJ_MAGIC);
    atomic_init(&o->refs, 1);
    o->store = s;
    o->hash = hash;
    o->home = (uint16_t)home;
    o->kind = (uint16_t)kind;
    o->owns_chunks = true;
    o->prior = prior;
    o->head.length = -1;
    atomic_init(&o->state, (uint32_t)initial);
    atomic_init(&o->published, 0);
    o->vouched_us = UINT64_MAX;
    atomic_init(&o->fresh_until_us, UINT64_MAX);
    atomic_init(&o->born_us, 0);
    atomic_init(&o->dead, false);
    atomic_init(&o->first, NULL);
    o->key_len = (uint32_t)len;
    memcpy(o->key, key, len);
    o->key[len] = '\0';
    return o;
}

static void free_chunks(struct gobj *o)
{
    struct chunk *c = atomic_load_explicit(&o->first, memory_order_relaxed);

    while (c != NULL) {
        struct chunk *next = atomic_load_explicit(&c->next, memory_order_relaxed);

        chunk_free(&c);
        c = next;
    }
}

struct gobj *gobj_ref(struct gobj *o)
{
    OBJ_CHECK(o, GOBJ_MAGIC);
    int was = atomic_fetch_add_explicit(&o->refs, 1, memory_order_relaxed);

    CHECK(was > 0);
    return o;
}

void gobj_unref(struct gobj **op)
{
    struct gobj *o = *op;

    *op = NULL;
    while (o != NULL) { /* a loop, for the prior that may go with it */
        OBJ_CHECK(o, GOBJ_MAGIC);
        SYNC_POINT("unref:dropping");
        int was = atomic_fetch_sub_explicit(&o->refs, 1, memory_order_acq_rel);

        CHECK(was > 0);
        if (was > 1)
            return;
        struct gobj *prior = o->prior; /* not before: until then the home may let go of it */

        CHECK(!o->listed && o->views == NULL && !timer_is_set(&o->timer) && o->fifo == 0);
        if (o->owns_chunks)
            free_chunks(o);
        free(o->head_text);
        OBJ_FINI(o, GOBJ_MAGIC);
        free(o);
        o = prior;
    }
}

struct gobj_now gobj_now(const struct gobj *o)
{
    struct gobj_now now;

    now.state = state_of(o); /* the state first: see the header */
    SYNC_POINT("now:between");
    now.published = atomic_load_explicit(&o->published, memory_order_acquire);
    return now;
}

bool gobj_is_dead(const struct gobj *o)
{
    return atomic_load_explicit(&o->dead, memory_order_acquire);
}

const char *gobj_key(const struct gobj *o) { return o->key; }
enum gobj_kind gobj_kind(const struct gobj *o) { return (enum gobj_kind)o->kind; }
unsigned gobj_home(const struct gobj *o) { return o->home; }
struct gobj *gobj_prior(const struct gobj *o) { return o->prior; }

const struct gobj_head *gobj_head(const struct gobj *o)
{
    CHECK_SLOW(state_of(o) != GOBJ_EXPECTED && state_of(o) != GOBJ_FETCHING);
    return &o->head;
}

uint64_t gobj_fresh_until(const struct gobj *o)
{
    return atomic_load_explicit(&o->fresh_until_us, memory_order_relaxed);
}

uint64_t gobj_vouched_until(const struct gobj *o) { return o->vouched_us; }

uint64_t gobj_born(const struct gobj *o)
{
    return atomic_load_explicit(&o->born_us, memory_order_relaxed);
}

void gobj_reborn(struct gobj *o, uint64_t born_us)
{
    atomic_store_explicit(&o->born_us, born_us, memory_order_relaxed);
}

void gobj_freshen(struct gobj *o, uint64_t fresh_until_us)
{
    o->vouched_us = fresh_until_us;
    atomic_store_explicit(&o->fresh_until_us, fresh_until_us, memory_order_relaxed);
}

/* --- the head --- */

static const char *put_text(char **at, const char *s)
{
    size_t n = s != NULL ? strlen(s) : 0;
    char *to = *at;

    if (n > 0)
        memcpy(to, s, n);
    to[n] = '\0';
    *at += n + 1;
    return to;
}

static size_t text_len(const char *s) { return s != NULL ? strlen(s) + 1 : 1; }

static enum st set_head(struct gobj *o, const struct gobj_head *h)
{
    char *at;

    CHECK(o->head_text == NULL);
    at = malloc(text_len(h->etag) + text_len(h->content_type) + text_len(h->cache_control) +
                text_len(h->last_modified) + text_len(h->fields));
    if (at == NULL)
        return ST_ENOMEM;
    o->head_text = at;
    o->head = *h;
    gobj_reborn(o, h->born_us);
    o->head.etag = put_text(&at, h->etag);
    o->head.content_type = put_text(&at, h->content_type);
    o->head.cache_control = put_text(&at, h->cache_control);
    o->head.last_modified = put_text(&at, h->last_modified);
    o->head.fields = put_text(&at, h->fields);
    return ST_OK;
}

void gobj_fetching(struct gobj *o) { become(o, GOBJ_FETCHING); }

enum st gobj_start(struct gobj *o, const struct gobj_head *h, uint64_t fresh_until_us)
{
    enum st st = set_head(o, h);

    if (st != ST_OK)
        return st;
    gobj_freshen(o, fresh_until_us);
    store_settle_prior(o);
    gobj_unref(&o->prior); /* a body of its own: the stale one may go */
    become(o, GOBJ_STREAMING);
    return ST_OK;
}

enum st gobj_negative(struct gobj *o, const struct gobj_head *h)
{
    enum st st = set_head(o, h);

    if (st != ST_OK)
        return st;
    become(o, GOBJ_NEGATIVE);
    return ST_OK;
}

enum st gobj_adopt_prior(struct gobj *o, uint64_t fresh_until_us)
{
    struct gobj *prior = o->prior;
    struct gobj_head h;

    CHECK(prior != NULL && state_of(prior) == GOBJ_COMPLETE);
    h = prior->head;
    enum st st = set_head(o, &h);
    if (st != ST_OK)
        return st;
    gobj_reborn(o, gobj_born(prior));
    store_settle_prior(o);
    if (!prior->owns_chunks) { /* no chains: hold the one that has the bytes */
        o->prior = gobj_ref(prior->prior);
        gobj_unref(&prior);
        prior = o->prior;
    }
    o->owns_chunks = false;
    o->capacity_bytes = prior->capacity_bytes;
    atomic_store_explicit(&o->first, atomic_load_explicit(&prior->first, memory_order_relaxed),
                          memory_order_release);
    gobj_freshen(o, fresh_until_us);
    atomic_store_explicit(&o->published, gobj_now(prior).published, memory_order_release);
    SYNC_POINT("adopt:published");
    become(o, GOBJ_STREAMING);
    become(o, GOBJ_COMPLETE);
    return ST_OK;
}

enum st gobj_adopt_stale(struct gobj *o, uint64_t fresh_until_us)
{
    uint64_t vouched_us = o->prior->vouched_us;
    enum st st = gobj_adopt_prior(o, fresh_until_us);

    if (st == ST_OK)
        o->vouched_us = vouched_us;
    return st;
}

/* --- the bytes --- */

static uint32_t next_chunk_cap(const struct gobj *o, uint64_t published)
{
    uint64_t cap = published;

    if (o->head.length >= 0) {
        cap = (uint64_t)o->head.length - published;
        return (uint32_t)(cap < CHUNK_KNOWN_MAX ? cap : CHUNK_KNOWN_MAX);
    }
    if (cap < CHUNK_MIN)
        cap = CHUNK_MIN;
    return (uint32_t)(cap < CHUNK_MAX ? cap : CHUNK_MAX);
}

/* Steps (*c, *base) on to the chunk that begins at `at`: the successor, which may be there from an
 * append that failed later on, or a new one. */
static enum st step_chunk(struct gobj *o, struct chunk **c, uint64_t *base, uint64_t at)
{
    _Atomic(struct chunk *) *link = *c != NULL ? &(*c)->next : &o->first;
    struct chunk *next = atomic_load_explicit(link, memory_order_relaxed);

    if (next == NULL) {
        next = chunk_new(o->store->pool, next_chunk_cap(o, at));
        if (next == NULL)
            return ST_ENOMEM;
        atomic_store_explicit(link, next, memory_order_release);
        o->capacity_bytes += next->cap;
    }
    *c = next;
    *base = at;
    return ST_OK;
}

/* How much the object may hold at all. */
static uint64_t size_limit(const struct gobj *o)
{
    uint64_t limit = atomic_load_explicit(&o->store->object_limit_bytes, memory_order_relaxed);

    return o->head.length >= 0 && (uint64_t)o->head.length < limit ? (uint64_t)o->head.length
                                                                   : limit;
}

uint64_t gobj_written(const struct gobj *o)
{
    return atomic_load_explicit(&o->published, memory_order_relaxed) + o->held_back;
}

enum st gobj_reserve(struct gobj *o, void **p, size_t *cap)
{
    uint64_t written = gobj_written(o);
    uint64_t limit = size_limit(o);
    uint64_t room;

    OBJ_CHECK(o, GOBJ_MAGIC);
    CHECK(state_of(o) == GOBJ_STREAMING && o->owns_chunks);
    if (written >= limit)
        return ST_ELIMIT;
    if (o->tail == NULL || written == o->tail_base + o->tail->cap) {
        enum st st = step_chunk(o, &o->tail, &o->tail_base, written);

        if (st != ST_OK)
            return st;
    }
    room = o->tail_base + o->tail->cap - written;
    if (room > limit - written)
        room = limit - written;
    *p = o->tail->data + (written - o->tail_base);
    *cap = (size_t)room;
    return ST_OK;
}

void gobj_commit_to(struct gobj *o, size_t n, uint64_t whole)
{
    uint64_t published = atomic_load_explicit(&o->published, memory_order_relaxed);
    uint64_t written = published + o->held_back + n;

    CHECK(state_of(o) == GOBJ_STREAMING && o->tail != NULL);
    CHECK(written <= o->tail_base + o->tail->cap && whole <= written);
    CHECK(o->head.length < 0 || written <= (uint64_t)o->head.length);
    if (whole < published)
        whole = published;
    o->held_back = written - whole;
    if (whole > published)
        atomic_store_explicit(&o->published, whole, memory_order_release);
}

void gobj_commit(struct gobj *o, size_t n) { gobj_commit_to(o, n, gobj_written(o) + n); }

/* Whole or not at all: a worker's chunk becomes visible with its last byte. */
enum st gobj_append(struct gobj *o, const void *p, size_t n)
{
    uint64_t published = atomic_load_explicit(&o->published, memory_order_relaxed);
    uint64_t limit = size_limit(o);
    struct chunk *c = o->tail;
    uint64_t base = o->tail_base;
    const uint8_t *from = p;

    OBJ_CHECK(o, GOBJ_MAGIC);
    CHECK(state_of(o) == GOBJ_STREAMING && o->owns_chunks && o->held_back == 0);
    if (n > limit || published > limit - n)
        return ST_ELIMIT;
    for (size_t done = 0; done < n;) {
        uint64_t at = published + done;
        size_t room;

        if (c == NULL || at == base + c->cap) {
            enum st st = step_chunk(o, &c, &base, at);

            if (st != ST_OK)
                return st; /* what was copied lies above `published` and will be written over */
        }
        room = (size_t)(base + c->cap - at);
        if (room > n - done)
            room = n - done;
        memcpy(c->data + (at - base), from + done, room);
        done += room;
    }
    o->tail = c;
    o->tail_base = base;
    SYNC_POINT("append:written");
    atomic_store_explicit(&o->published, published + n, memory_order_release);
    return ST_OK;
}

enum st gobj_complete(struct gobj *o)
{
    uint64_t written = gobj_written(o);

    if (o->head.length >= 0 && (uint64_t)o->head.length != written)
        return ST_EPROTO;
    if (o->held_back > 0)
        atomic_store_explicit(&o->published, written, memory_order_release);
    o->held_back = 0;
    become(o, GOBJ_COMPLETE);
    return ST_OK;
}

enum st gobj_cut(struct gobj *o)
{
    if (o->head.length >= 0)
        return ST_EPROTO;
    o->held_back = 0;
    if (state_of(o) == GOBJ_RESUMING)
        become(o, GOBJ_STREAMING);
    become(o, GOBJ_COMPLETE);
    return ST_OK;
}

void gobj_resuming(struct gobj *o) { become(o, GOBJ_RESUMING); }
void gobj_resumed(struct gobj *o)
{
    CHECK(state_of(o) == GOBJ_RESUMING); /* from the others it is gobj_start(), with a head */
    become(o, GOBJ_STREAMING);
}
void gobj_fail(struct gobj *o) { become(o, GOBJ_FAILED); }

/* --- reading --- */

int gobj_span(const struct gobj *o, struct gobj_cursor *c, uint64_t off, uint64_t end,
              struct iovec *v, int max)
{
    uint64_t published = atomic_load_explicit(&o->published, memory_order_acquire);
    int n = 0;

    if (end > published)
        end = published;
    if (off >= end)
        return 0;
    if (c->at == NULL || off < c->base) {
        c->at = atomic_load_explicit(&o->first, memory_order_acquire);
        c->base = 0;
    }
    while (off < end && n < max) {
        uint64_t in;

        CHECK(c->at != NULL);
        in = off - c->base;
        if (in >= c->at->cap) {
            c->base += c->at->cap;
            c->at = atomic_load_explicit(&c->at->next, memory_order_acquire);
            continue;
        }
        uint64_t len = c->at->cap - in;
        if (len > end - off)
            len = end - off;
        v[n++] = (struct iovec){ .iov_base = c->at->data + in, .iov_len = (size_t)len };
        off += len;
    }
    return n;
}
