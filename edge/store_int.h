/* edge/store_int.h - the shapes shared by gobj.c, view.c, store.c, evict.c and stream.c only
 *
 * Purpose   one place where the locking of every field is written down.
 * Thread    said per field: (I) immutable once the object is in the index; (H) home loop only;
 *           (L) under the shard's lock; (A) atomic; (V) the view's own loop only.
 * Tests     tests/unit/test_store_model.c includes the .c files and so sees these too.
 */
#ifndef EDGE_STORE_INT_H
#define EDGE_STORE_INT_H

#include <pthread.h>
#include <stdalign.h>

#include "core/loop.h"
#include "core/mem.h"
#include "edge/gobj.h"
#include "edge/store.h"
#include "edge/view.h"

/* Where a test may hold a thread to force an interleaving; nothing in the product. */
#ifndef SYNC_POINT
    #define SYNC_POINT(name) ((void)0)
#endif

struct gobj {
    int magic;
    atomic_int refs;         /* (A) */
    struct store *store;     /* (I) */
    uint64_t hash;           /* (I) of the key */
    uint16_t home;           /* (I) */
    uint16_t kind;           /* (I) enum gobj_kind */
    bool owns_chunks;        /* (H) false: the bytes are those of `prior` */
    struct gobj *prior;      /* (I) the stale version this one replaces; a reference */
    struct gobj_head head;   /* (H) until STREAMING or NEGATIVE, then (I) */
    char *head_text;         /* (H) then (I): what head's strings point into */
    uint64_t vouched_us;     /* (H) fresh_until_us less what stale-if-error added */
    struct chunk *tail;      /* (H) */
    uint64_t tail_base;      /* (H) offset of tail's first byte */
    uint64_t capacity_bytes; /* (H) of all chunks */

    struct gobj *bucket_next; /* (L) */
    struct view *views;       /* (L) those to be told of changes */
    bool listed;              /* (L) in the index, which then holds a reference */

    struct mail want_mail;  /* posted once per want_posted 0 -> 1; holds a reference */
    atomic_int want_posted; /* (A) */
    atomic_bool held;       /* (A) EXPECTED because somebody asked, not because it was announced */

    struct timer timer;      /* (H) hold, negative lifetime */
    void *fill;              /* (H) edge/fetch.c's */
    struct gobj *fifo_next;  /* (H) edge/evict.c's queues */
    struct gobj **fifo_prev; /* (H) */
    uint8_t fifo;            /* (H) which queue; 0: none */
    uint8_t freq;            /* (H) */
    bool counted;            /* (H) in cache_bytes */
    bool windowed;           /* (H) a live stream's window decides, not the byte cap */

    alignas(64) _Atomic uint32_t state; /* (A) enum gobj_state; written by the home loop */
    _Atomic uint64_t published;         /* (A) */
    _Atomic uint64_t fresh_until_us;    /* (A) */
    _Atomic uint64_t born_us;           /* (A) */
    atomic_bool dead;                   /* (A) unlinked */
    _Atomic(struct chunk *) first;      /* (A) */
    uint32_t key_len;                   /* (I) */
    char key[];                         /* (I) */
};

struct view {
    int magic;
    struct own own;             /* (V) requests, output queues and the loop's table hold it */
    struct loop *loop;          /* (I) */
    struct gobj *o;             /* (I) a reference */
    struct view *table_next;    /* (V) */
    bool in_table;              /* (V) */
    bool gone;                  /* (V) unregistered; freed when its letter has come home */
    unsigned changes;           /* (V) */
    uint64_t touched_us;        /* (V) */
    struct view_waiter *first;  /* (V) */
    struct view_waiter **lastp; /* (V) */
    struct grave grave;         /* (V) */

    struct view *reg_next, **reg_prev; /* (L) on o->views */
    alignas(64) atomic_int armed;      /* (A) exchanges only: 1 = the letter is under way */
    atomic_uchar hits; /* (A) 0..3, written by the view's loop, cleared by evict.c */
    struct mail mail;  /* owned by whoever moved armed from 0 to 1 */
};

enum { SHARDS = 64, SHARD_BUCKETS = STORE_BUCKETS / SHARDS };

struct shard {
    alignas(64) pthread_mutex_t lock;
    struct gobj *bucket[SHARD_BUCKETS];
};

enum { VIEW_BUCKETS_MIN = 256 };

struct fifo {
    struct gobj *first, **lastp;
    uint64_t bytes;
};

enum { FIFO_NONE, FIFO_SMALL, FIFO_MAIN };
enum { GHOSTS = 4096 };

/* The loop's own part of the store (LOOP_STORE slot). */
struct store_loop {
    struct store *store;
    struct loop *loop;
    struct view **table; /* views by hash; doubles as it fills */
    size_t buckets, views;
    size_t all_views; /* with those that only wait to be freed */
    bool stopping;

    struct fifo small, main; /* COMPLETE objects whose home is here */
    uint64_t *ghost;         /* hashes of what small let go lately, direct-mapped */
};

/* "Somebody is over the byte cap: look whether it is you." */
struct trim_letter {
    struct mail mail;
    atomic_int posted;
};

struct store {
    int magic;
    struct store_cfg cfg;
    uint64_t seed;
    struct loop *const *loops; /* (I) */
    unsigned n_loops;
    struct mem_pool *pool;
    _Atomic uint64_t cap_bytes;       /* the byte cap for what is listed */
    _Atomic uint64_t cache_bytes;     /* listed and COMPLETE, by capacity */
    _Atomic uint64_t evictable_bytes; /* the same less what a live window holds */
    _Atomic uint64_t objects;         /* listed */
    _Atomic uint64_t object_limit_bytes;
    struct stream_table *streams;
    struct trim_letter *trim; /* one per loop */
    struct shard shard[SHARDS];
};

static inline struct shard *store_shard(struct store *s, uint64_t hash)
{
    return &s->shard[hash % SHARDS];
}
static inline struct store_loop *store_loop_of(struct loop *l) { return l->slot[LOOP_STORE]; }

/* gobj.c */
struct gobj *gobj_new(struct store *s, const char *key, size_t len, uint64_t hash, unsigned home,
                      enum gobj_kind kind, enum gobj_state initial, struct gobj *prior);

/* store.c; the home loop */
void store_settle_prior(struct gobj *o);

/* view.c */
struct view *view_new(struct loop *l); /* one reference: the table's */
void view_discard(struct view **vp);   /* one that was never registered */
void view_register_locked(struct view *v, struct gobj *o);
void view_adopt(struct view *v); /* own loop, after the lock: into the table */
void view_push_all_locked(struct gobj *o,
                          uint64_t *signal); /* bit per loop that is owed a signal */
void view_drop_loop(struct store_loop *sl);  /* shutdown */

/* evict.c; the home loop */
MUST_USE enum st evict_init(struct store_loop *sl);
void evict_fini(struct store_loop *sl);
void evict_enlist(struct store_loop *sl, struct gobj *o); /* COMPLETE and listed; may evict */
void evict_forget(struct store_loop *sl, struct gobj *o); /* no-op when not enlisted */

/* stream.c */
struct stream_table *stream_table_new(void);
void stream_table_free(struct stream_table **tp);

#endif
