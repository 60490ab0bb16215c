#include "edge/purge.h"

#include <string.h>

#include "edge/store_int.h"
#include "edge/stream.h"
#include "edge/target.h"

enum { BUCKETS_PER_TURN = 1024, PER_BUCKET = 64 };

enum st purge_prefix(struct slice text, char *out, size_t cap)
{
    uint8_t spelling[2 * TARGET_PATH_MAX];
    struct target t;
    enum st st;

    if (text.n == 0 || text.p[0] != '/')
        return ST_EPROTO;
    st = target_parse(text, spelling, sizeof spelling, &t);
    if (st != ST_OK)
        return st;
    if (t.path.n + 1 + t.query.n + 1 > cap)
        return ST_ELIMIT;
    memcpy(out, t.path.p, t.path.n);
    out[t.path.n] = '\0';
    if (t.query.p != NULL) {
        out[t.path.n] = '?';
        memcpy(out + t.path.n + 1, t.query.p, t.query.n);
        out[t.path.n + 1 + t.query.n] = '\0';
    }
    return ST_OK;
}

/* Whether it is of the window of a stream that is live here; the key is /APP/STREAM/... */
static bool must_stay(struct gobj *o)
{
    const char *end = o->key + o->key_len, *name = o->key + 1, *slash;

    if (!o->windowed)
        return false;
    slash = memchr(name, '/', (size_t)(end - name));
    slash = slash != NULL ? memchr(slash + 1, '/', (size_t)(end - slash) - 1) : NULL;
    return slash != NULL && stream_is_live_here(o->store, name, (size_t)(slash - name));
}

static void purge_one(struct loop *l, struct gobj *o, struct purge_sum *sum)
{
    if (must_stay(o)) {
        sum->kept++;
        return;
    }
    sum->objects++;
    sum->bytes += gobj_now(o).published;
    store_detach(l, o);
}

bool purge_turn(struct loop *l, const char *prefix, size_t *at, struct purge_sum *sum)
{
    size_t end = *at + BUCKETS_PER_TURN, len = strlen(prefix);
    struct gobj *found[PER_BUCKET];

    for (; *at < end && *at < STORE_BUCKETS; ++*at) {
        size_t n = store_list(l, *at, prefix, len, found, PER_BUCKET);
        uint64_t before = sum->objects;

        for (size_t i = 0; i < n; i++) {
            purge_one(l, found[i], sum);
            gobj_unref(&found[i]);
        }
        if (n == PER_BUCKET && sum->objects > before) /* hardly ever: there may be more */
            return false;
    }
    return *at >= STORE_BUCKETS;
}
