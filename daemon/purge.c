#include "daemon/purge.h"

#include <string.h>

#include "core/clock.h"
#include "core/metric.h"
#include "daemon/admin.h"
#include "daemon/census.h"
#include "daemon/process.h"
#include "edge/purge.h"

#define PATIENCE_US (10 * SEC_US)

/* One object per turn, which the asker adds up: a loop's turns share nothing but their cursor. */
static bool asked(struct loop *l, struct census_turn *t)
{
    struct purge_sum sum = { .objects = 0 };
    bool done;

    if (l->slot[LOOP_STORE] == NULL) /* a late letter: the process stops */
        return true;
    done = purge_turn(l, t->text, &t->at, &sum);
    metric_add(&l->metrics->cache_evictions[METRIC_EVICT_PURGE], sum.objects);
    if (sum.objects + sum.kept > 0)
        (void)json_array_append_new(
            t->list, json_pack("{s:I, s:I, s:I}", "purged", (json_int_t)sum.objects, "bytes",
                               (json_int_t)sum.bytes, "kept", (json_int_t)sum.kept));
    return done;
}

json_t *purge_run(struct process *p, const char *prefix)
{
    static const char *const names[] = { "purged", "bytes", "kept" };
    char spelled[ADMIN_LINE];
    json_int_t sum[3] = { 0 };
    json_t *list, *one;
    bool whole;
    size_t i;

    if (purge_prefix(slice_of(prefix, strlen(prefix)), spelled, sizeof spelled) != ST_OK)
        return json_pack("{s:b, s:s}", "ok", 0, "error",
                         "a prefix is the beginning of a path, as in /live/ or /live/cam");
    list = census_take(p, asked, spelled, PATIENCE_US, &whole);
    if (list == NULL)
        return NULL;
    json_array_foreach(list, i, one)
    {
        for (int k = 0; k < 3; k++)
            sum[k] += json_integer_value(json_object_get(one, names[k]));
    }
    json_decref(list);
    return json_pack("{s:b, s:s, s:I, s:I, s:I, s:b}", "ok", 1, "prefix", spelled, names[0], sum[0],
                     names[1], sum[1], names[2], sum[2], "whole", whole);
}
