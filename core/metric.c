#include "core/metric.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/check.h"

enum { LINE_BYTES = 64, ALL_SHOWN_MAX = 64 };
#define MILLION UINT64_C(1000000)

#define VALUE_TEXT(list, name, text) text,
#define VALUE_TEXTS(low, list, label) \
    static const char *const text_##low[] = { METRIC_LIST_##list(VALUE_TEXT, list) };
METRIC_LABELS(VALUE_TEXTS)

#define LABEL_DESC(low, list, label) \
    [METRIC_LABEL_##list] = { label, text_##low, METRIC_##list##_N },
static const struct metric_label_desc labels[] = { METRIC_LABELS(LABEL_DESC) };

#define DESC(kind, name, unit, n, help, ...) \
    { #name,                                 \
      METRIC_KIND_##kind,                    \
      METRIC_UNIT_##unit,                    \
      n,                                     \
      { __VA_ARGS__ },                       \
      help,                                  \
      offsetof(struct metrics, name) },
#define DESC0(kind, name, unit, help) DESC(kind, name, unit, 0, help, 0)
#define DESC1(kind, name, unit, a, help) DESC(kind, name, unit, 1, help, METRIC_LABEL_##a)
#define DESC2(kind, name, unit, a, b, help) \
    DESC(kind, name, unit, 2, help, METRIC_LABEL_##a, METRIC_LABEL_##b)
#define DESC3(kind, name, unit, a, b, c, help) \
    DESC(kind, name, unit, 3, help, METRIC_LABEL_##a, METRIC_LABEL_##b, METRIC_LABEL_##c)
static const struct metric_desc descs[] = { METRIC_TABLE(DESC0, DESC1, DESC2, DESC3) };

const struct metric_desc *metric_descs(size_t *count)
{
    *count = sizeof descs / sizeof descs[0];
    return descs;
}

const struct metric_label_desc *metric_label_desc(enum metric_label label)
{
    CHECK(label < METRIC_LABEL_N);
    return &labels[label];
}

const char *metric_label_text(enum metric_label label, unsigned value)
{
    const struct metric_label_desc *d = metric_label_desc(label);

    CHECK(value < d->count);
    return d->values[value];
}

struct metrics *metrics_new(void)
{
    size_t size = (sizeof(struct metrics) + LINE_BYTES - 1) / LINE_BYTES * LINE_BYTES;
    struct metrics *m = aligned_alloc(LINE_BYTES, size);

    if (m != NULL)
        memset(m, 0, size);
    return m;
}

void metrics_free(struct metrics **mp)
{
    free(*mp);
    *mp = NULL;
}

enum metric_code metric_code_of(int http_status)
{
    switch (http_status) {
#define X(list, code, text) \
    case code:              \
        return METRIC_##list##_##code;
        METRIC_HTTP_CODES(X, CODE)
#undef X
    default:
        return METRIC_CODE_OTHER;
    }
}

void metrics_put_escaped(struct buf *out, const char *text)
{
    for (; *text != 0; text++) {
        if (*text == '\n')
            buf_puts(out, "\\n");
        else if (*text == '\\' || *text == '"')
            buf_printf(out, "\\%c", *text);
        else
            buf_add(out, text, 1);
    }
}

struct writer {
    struct buf *out;
    struct metrics *const *all;
    int n;
    const struct metric_desc *d;
};

uint64_t metrics_sum(struct metrics *const *all, int n, const struct metric_desc *d, size_t word)
{
    uint64_t sum = 0;

    for (int i = 0; i < n; i++)
        sum += metric_get((_Atomic uint64_t *)(void *)((char *)all[i] + d->offset) + word);
    return sum;
}

static uint64_t sum_word(const struct writer *w, size_t word)
{
    return metrics_sum(w->all, w->n, w->d, word);
}

/* NB: a gauge is a sum modulo 2^64, so a loop below zero and one above it come out right; what is
 * below zero in all can only be a short moment between two loops' stores. */
static void put_value(const struct writer *w, uint64_t v)
{
    if (w->d->kind == METRIC_KIND_GAUGE && v > INT64_MAX)
        v = 0;
    if (w->d->unit == METRIC_UNIT_SECONDS || w->d->unit == METRIC_UNIT_RATIO)
        buf_printf(w->out, "%" PRIu64 ".%06" PRIu64 "\n", v / MILLION, v % MILLION);
    else
        buf_printf(w->out, "%" PRIu64 "\n", v);
}

/* freshet_NAME<suffix>{labels of this series, le}<space> */
static void put_series(const struct writer *w, const char *suffix, size_t series, const char *le)
{
    size_t below = 1;
    const char *sep = "{";

    buf_printf(w->out, "freshet_%s%s", w->d->name, suffix);
    for (unsigned i = 0; i < w->d->labels; i++)
        below *= labels[w->d->label[i]].count;
    for (unsigned i = 0; i < w->d->labels; i++) {
        const struct metric_label_desc *l = &labels[w->d->label[i]];

        below /= l->count;
        buf_printf(w->out, "%s%s=\"", sep, l->name);
        metrics_put_escaped(w->out, l->values[series / below % l->count]);
        buf_puts(w->out, "\"");
        sep = ",";
    }
    if (le != NULL)
        buf_printf(w->out, "%sle=\"%s\"", sep, le);
    buf_puts(w->out, w->d->labels > 0 || le != NULL ? "} " : " ");
}

static void put_hist(const struct writer *w, size_t series)
{
    size_t first = series * (sizeof(struct metric_hist) / sizeof(uint64_t));
    uint64_t count = 0;

    for (size_t i = 0; i <= METRIC_HIST_BOUNDS; i++) {
        uint64_t bound_us = (uint64_t)METRIC_HIST_FIRST_US << i;
        char le[32] = "+Inf";

        if (i < METRIC_HIST_BOUNDS)
            (void)snprintf(le, sizeof le, "%" PRIu64 ".%06" PRIu64, bound_us / MILLION,
                           bound_us % MILLION);
        count += sum_word(w, first + i);
        put_series(w, "_bucket", series, le);
        buf_printf(w->out, "%" PRIu64 "\n", count);
    }
    put_series(w, "_sum", series, NULL);
    put_value(w, sum_word(w, first + METRIC_HIST_BOUNDS + 1));
    put_series(w, "_count", series, NULL);
    buf_printf(w->out, "%" PRIu64 "\n", count);
}

static void put_family(const struct writer *w)
{
    static const char *const kinds[] = { "counter", "gauge", "histogram" };
    static const char *const units[] = { NULL, "bytes", "seconds", "ratio" };
    size_t series = 1;

    buf_printf(w->out, "# TYPE freshet_%s %s\n", w->d->name, kinds[w->d->kind]);
    if (units[w->d->unit] != NULL)
        buf_printf(w->out, "# UNIT freshet_%s %s\n", w->d->name, units[w->d->unit]);
    buf_printf(w->out, "# HELP freshet_%s ", w->d->name);
    metrics_put_escaped(w->out, w->d->help);
    buf_puts(w->out, "\n");
    for (unsigned i = 0; i < w->d->labels; i++)
        series *= labels[w->d->label[i]].count;
    for (size_t s = 0; s < series; s++) {
        uint64_t v;

        if (w->d->kind == METRIC_KIND_HISTOGRAM) {
            put_hist(w, s);
            continue;
        }
        v = sum_word(w, s);
        if (v == 0 && series > ALL_SHOWN_MAX)
            continue;
        put_series(w, w->d->kind == METRIC_KIND_COUNTER ? "_total" : "", s, NULL);
        put_value(w, v);
    }
}

void metrics_write(struct buf *out, struct metrics *const *all, int n)
{
    for (size_t i = 0; i < sizeof descs / sizeof descs[0]; i++) {
        struct writer w = { out, all, n, &descs[i] };

        put_family(&w);
    }
    buf_puts(out, "# EOF\n");
}
