#include "core/metric_json.h"

#include <stdbool.h>

#include "core/metric.h"

enum { ALL_SHOWN_MAX = 64 };

struct writer {
    struct metrics *const *all;
    int n;
    const struct metric_desc *d;
    bool sparse;
};

static json_t *number(const struct writer *w, uint64_t v)
{
    if (w->d->kind == METRIC_KIND_GAUGE && v > INT64_MAX)
        v = 0; /* a short moment between two loops' stores */
    if (w->d->unit == METRIC_UNIT_SECONDS || w->d->unit == METRIC_UNIT_RATIO)
        return json_real((double)v / 1e6);
    return json_integer((json_int_t)v);
}

static json_t *histogram(const struct writer *w, size_t series)
{
    size_t first = series * (sizeof(struct metric_hist) / sizeof(uint64_t));
    json_t *buckets = json_array();
    uint64_t count = 0;

    for (size_t i = 0; i <= METRIC_HIST_BOUNDS; i++) {
        uint64_t v = metrics_sum(w->all, w->n, w->d, first + i);

        count += v;
        (void)json_array_append_new(buckets, json_integer((json_int_t)v));
    }
    return json_pack("{s:I, s:o, s:o}", "count", (json_int_t)count, "sum",
                     number(w, metrics_sum(w->all, w->n, w->d, first + METRIC_HIST_BOUNDS + 1)),
                     "buckets", buckets);
}

/* The series of one value of each label before `label`; NULL: a zero that is left out. */
static json_t *level(const struct writer *w, unsigned label, size_t series)
{
    const struct metric_label_desc *l;
    json_t *o;

    if (label == w->d->labels) {
        uint64_t v;

        if (w->d->kind == METRIC_KIND_HISTOGRAM)
            return histogram(w, series);
        v = metrics_sum(w->all, w->n, w->d, series);
        return w->sparse && v == 0 ? NULL : number(w, v);
    }
    l = metric_label_desc(w->d->label[label]);
    o = json_object();
    for (unsigned i = 0; i < l->count; i++) {
        json_t *below = level(w, label + 1, series * l->count + i);

        if (below != NULL)
            (void)json_object_set_new(o, l->values[i], below);
    }
    if (w->sparse && json_object_size(o) == 0) {
        json_decref(o);
        return NULL;
    }
    return o;
}

static json_t *bounds(void)
{
    json_t *list = json_array();

    for (int i = 0; i < METRIC_HIST_BOUNDS; i++)
        (void)json_array_append_new(list,
                                    json_real((double)((uint64_t)METRIC_HIST_FIRST_US << i) / 1e6));
    return list;
}

json_t *metrics_json(struct metrics *const *all, int n)
{
    json_t *out = json_object();
    size_t count;
    const struct metric_desc *d = metric_descs(&count);

    if (out == NULL)
        return NULL;
    for (size_t i = 0; i < count; i++) {
        struct writer w = { .all = all, .n = n, .d = &d[i] };
        size_t series = 1;
        json_t *family;

        for (unsigned k = 0; k < d[i].labels; k++)
            series *= metric_label_desc(d[i].label[k])->count;
        w.sparse = series > ALL_SHOWN_MAX;
        family = level(&w, 0, 0);
        (void)json_object_set_new(out, d[i].name, family != NULL ? family : json_object());
    }
    (void)json_object_set_new(out, "histogram_bounds_seconds", bounds());
    return out;
}
