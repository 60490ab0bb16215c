/* core/metric.h - counters that cost nothing to bump and are summed by whoever reads
 *
 * Purpose   each loop, and the main thread, owns one struct metrics made from the table
 *           (core/metric_table.h); an update is a relaxed load and store of a word that nobody else
 *           writes, so there is no locked instruction and no shared cache line. A reader adds up
 *           all of them and writes OpenMetrics text.
 *           Labels are array indexes: &m->cache_requests[METRIC_TIER_EDGE][METRIC_CACHE_HIT].
 *           A gauge is a sum too: each loop adds and subtracts what it holds, or sets its part;
 *           one loop may go below zero when another frees what it added.
 * Spec      OpenMetrics 1.0 text. A family of more than 64 series leaves out those still at zero.
 * Units     by the table: seconds are kept in microseconds, ratios in millionths.
 * Owner     metrics_new()/_free() by main(), before and after the threads.
 * Thread    metric_add, _sub, _set, _observe: the owner of that struct metrics only. Others: any.
 * Errors    metrics_write: the buffer's st.
 * Tests     tests/unit/test_metric.c; doc.metrics compares doc/METRICS.md with the table.
 */
#ifndef CORE_METRIC_H
#define CORE_METRIC_H

#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>

#include "core/buf.h"
#include "core/metric_table.h"

enum metric_kind { METRIC_KIND_COUNTER, METRIC_KIND_GAUGE, METRIC_KIND_HISTOGRAM };
enum metric_unit { METRIC_UNIT_NONE, METRIC_UNIT_BYTES, METRIC_UNIT_SECONDS, METRIC_UNIT_RATIO };

/* enum metric_tier { METRIC_TIER_EDGE, ..., METRIC_TIER_N }, and so on for each list. */
#define METRIC_ENUM_VALUE(list, name, text) METRIC_##list##_##name,
#define METRIC_ENUM(low, list, label) \
    enum metric_##low{ METRIC_LIST_##list(METRIC_ENUM_VALUE, list) METRIC_##list##_N };
METRIC_LABELS(METRIC_ENUM)

#define METRIC_LABEL_ID(low, list, label) METRIC_LABEL_##list,
enum metric_label { METRIC_LABELS(METRIC_LABEL_ID) METRIC_LABEL_N };

/* Upper bounds 125 us * 2^i for i = 0..19 (65.536 s), then everything above. */
enum { METRIC_HIST_FIRST_US = 125, METRIC_HIST_BOUNDS = 20 };

struct metric_hist {
    _Atomic uint64_t bucket[METRIC_HIST_BOUNDS + 1]; /* not cumulative */
    _Atomic uint64_t sum;
};

#define METRIC_TYPE_COUNTER _Atomic uint64_t
#define METRIC_TYPE_GAUGE _Atomic uint64_t
#define METRIC_TYPE_HISTOGRAM struct metric_hist
#define METRIC_FIELD0(kind, name, unit, help) METRIC_TYPE_##kind name;
#define METRIC_FIELD1(kind, name, unit, a, help) METRIC_TYPE_##kind name[METRIC_##a##_N];
#define METRIC_FIELD2(kind, name, unit, a, b, help) \
    METRIC_TYPE_##kind name[METRIC_##a##_N][METRIC_##b##_N];
#define METRIC_FIELD3(kind, name, unit, a, b, c, help) \
    METRIC_TYPE_##kind name[METRIC_##a##_N][METRIC_##b##_N][METRIC_##c##_N];

struct metrics {
    METRIC_TABLE(METRIC_FIELD0, METRIC_FIELD1, METRIC_FIELD2, METRIC_FIELD3)
};

/* The table as data, for the writers and for doc/METRICS.md. */
struct metric_desc {
    const char *name; /* without freshet_ and _total */
    enum metric_kind kind;
    enum metric_unit unit;
    unsigned labels;
    enum metric_label label[3];
    const char *help;
    size_t offset; /* of the field, in bytes */
};
struct metric_label_desc {
    const char *name;
    const char *const *values;
    unsigned count;
};
const struct metric_desc *metric_descs(size_t *count);
const struct metric_label_desc *metric_label_desc(enum metric_label label);
/* The word of a label value, for logs: metric_label_text(METRIC_LABEL_CLOSE, why). */
const char *metric_label_text(enum metric_label label, unsigned value);

struct metrics *metrics_new(void); /* all zero, on cache lines of its own; NULL: no memory */
void metrics_free(struct metrics **mp);

static inline void metric_set(_Atomic uint64_t *m, uint64_t v)
{
    atomic_store_explicit(m, v, memory_order_relaxed);
}
static inline uint64_t metric_get(_Atomic uint64_t *m)
{
    return atomic_load_explicit(m, memory_order_relaxed);
}
static inline void metric_add(_Atomic uint64_t *m, uint64_t n) { metric_set(m, metric_get(m) + n); }
static inline void metric_sub(_Atomic uint64_t *m, uint64_t n) { metric_set(m, metric_get(m) - n); }

static inline void metric_observe(struct metric_hist *h, uint64_t us)
{
    uint64_t steps = us == 0 ? 0 : (us - 1) / METRIC_HIST_FIRST_US;
    unsigned i = steps == 0 ? 0 : 64 - (unsigned)__builtin_clzll(steps);

    metric_add(&h->bucket[i < METRIC_HIST_BOUNDS ? i : METRIC_HIST_BOUNDS], 1);
    metric_add(&h->sum, us);
}

enum metric_code metric_code_of(int http_status);

/* The sum over n structs of one word of a metric: of a series, in the order of its labels' values,
 * or of a histogram's bucket. Below zero, modulo 2^64, for a gauge that is just changing. */
uint64_t metrics_sum(struct metrics *const *all, int n, const struct metric_desc *d, size_t word);
/* The sum over n structs of everything, as one exposition with its # EOF. */
void metrics_write(struct buf *out, struct metrics *const *all, int n);
/* One label value with its escapes, for series that are not in the table. */
void metrics_put_escaped(struct buf *out, const char *text);

#endif
