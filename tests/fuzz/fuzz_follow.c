/* edge/follow: a subscription's body does to the stream table the same whole as in pieces, whatever
 * is in it; and when it is lost nothing is left. The first byte chooses the pieces. */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/check.h"
#include "core/conf.h"
#include "core/hash.h"
#include "core/loop.h"
#include "core/mem.h"
#include "edge/follow.h"
#include "edge/gobj.h"
#include "edge/store.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static struct world {
    struct loop l;
    struct loop *loops[1];
    struct mem_pool pool;
    struct store *store;
    struct buf said;
} w;

static void nobody(void *ctx, struct loop *l, struct gobj *o) { (void)ctx, (void)l, (void)o; }

static const struct store_ops store_ops = { .want = nobody, .refresh = nobody, .unlinked = nobody };

static void open_world(void)
{
    struct store_cfg cfg = { .cap_bytes = 1 << 20, .object_bytes = 1 << 20, .ops = &store_ops };

    if (w.store != NULL)
        return;
    CHECK(loop_init(&w.l, 0, 1) == ST_OK);
    w.loops[0] = &w.l;
    mem_pool_init(&w.pool, 16 << 20);
    w.store = store_new(&cfg, &w.pool, w.loops, 1);
    CHECK(w.store != NULL && store_loop_start(w.store, &w.l) == ST_OK);
}

static bool on_snapshot(void *ctx, bool live, uint64_t epoch)
{
    (void)ctx;
    buf_printf(&w.said, "snapshot %d %llu\n", live, (unsigned long long)epoch);
    return epoch % 7 != 6;
}

static void on_in_force(void *ctx, bool full)
{
    (void)ctx;
    buf_printf(&w.said, "in force %d\n", full);
}

static void on_announced(void *ctx, const char *rep, uint64_t n)
{
    const struct follow *f = ctx;

    buf_printf(&w.said, "%s %llu\n", rep, (unsigned long long)n);
    CHECK(stream_where(w.store, f->name, strlen(f->name), f->session, rep, strlen(rep), n).where !=
          STREAM_AHEAD);
}

static void on_closed(void *ctx, const char *rep, uint64_t n, uint64_t size)
{
    (void)ctx;
    buf_printf(&w.said, "%s %llu %llu\n", rep, (unsigned long long)n, (unsigned long long)size);
}

static const struct follow_ops ops = { on_snapshot, on_in_force, on_announced, on_closed };

/* What was said, as text to be freed. */
static char *play(const uint8_t *data, size_t n, unsigned pieces)
{
    struct follow *f = malloc(sizeof *f);
    uint64_t seed = pieces;
    enum st st = ST_OK;
    char *said;

    CHECK(f != NULL);
    buf_init(&w.said, 1 << 24);
    follow_init(f, &w.l, w.store, "live/show", &ops, f);
    follow_begin(f, false);
    for (size_t at = 0, len = n; at < n && st == ST_OK; at += len) {
        uint8_t *own;

        if (pieces != 0) {
            seed = hash_mix(seed + at);
            len = 1 + (size_t)(seed % (pieces * 4));
        }
        if (len > n - at)
            len = n - at;
        own = malloc(len); /* exact size: ASan sees over-reads */
        CHECK(own != NULL);
        memcpy(own, data + at, len);
        st = follow_feed(f, own, len);
        free(own);
    }
    buf_printf(&w.said, "%s %llu %s %d%d%d\n", st_name(st), (unsigned long long)f->seq, f->logid,
               f->in_force, f->live, f->ended);
    follow_lost(f);
    follow_fini(f);
    free(f);
    CHECK(stream_count(w.store) == 0);
    CHECK(loop_turn_nowait(&w.l) == ST_OK);
    CHECK(w.said.st == ST_OK);
    said = strdup(buf_text(&w.said));
    CHECK(said != NULL);
    buf_fini(&w.said);
    return said;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char *whole, *parts;

    if (size == 0 || size > 1 << 16)
        return 0;
    open_world();
    whole = play(data + 1, size - 1, 0);
    parts = play(data + 1, size - 1, data[0] + 1u);
    CHECK(strcmp(whole, parts) == 0);
    free(whole);
    free(parts);
    return 0;
}
