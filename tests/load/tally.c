#include "tests/load/tally.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

struct tally *tally_find(struct tallies *ts, const char *path, size_t len)
{
    for (size_t i = 0; i < ts->n; i++) {
        if (strlen(ts->all[i].path) == len && memcmp(ts->all[i].path, path, len) == 0)
            return &ts->all[i];
    }
    return NULL;
}

struct tally *tally_get(struct tallies *ts, const char *path, size_t len)
{
    struct tally *t = tally_find(ts, path, len);

    if (t != NULL || ts->n == TALLY_MAX_PATHS)
        return t;
    t = &ts->all[ts->n];
    *t = (struct tally){ .path = strndup(path, len) };
    if (t->path == NULL)
        return NULL;
    ts->n++;
    return t;
}

void tallies_print(const struct tallies *ts, FILE *out)
{
    (void)fputs("{", out);
    for (size_t i = 0; i < ts->n; i++) {
        const struct tally *t = &ts->all[i];

        (void)fprintf(
            out,
            "%s\n\"%s\": {\"requests\": %" PRIu64 ", \"done\": %" PRIu64 ", \"aborted\": %" PRIu64
            ", \"cut\": %" PRIu64 ", \"in_flight\": %" PRIu64 ", \"in_flight_max\": %" PRIu64
            ", \"ranges\": %" PRIu64 ", \"conditional\": %" PRIu64 ", \"body_bytes\": %" PRIu64
            ", \"last_range\": \"%s\"}",
            i > 0 ? "," : "", t->path, t->requests, t->done, t->aborted, t->cut, t->in_flight,
            t->in_flight_max, t->ranges, t->conditional, t->body_bytes, t->last_range);
    }
    (void)fputs("}", out);
}

void tallies_clear(struct tallies *ts)
{
    for (size_t i = 0; i < ts->n; i++)
        free(ts->all[i].path);
    ts->n = 0;
}
