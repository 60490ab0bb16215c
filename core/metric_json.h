/* core/metric_json.h - the sums of all metrics as one JSON object, for the status page
 *
 * Purpose   what /metrics says, in a shape that a script can look into: names as in the table, a
 *           level of objects per label, then the number. A family of many series leaves out those
 *           still at zero. A histogram is {"count", "sum", "buckets"}: the counts between the bounds
 *           of "histogram_bounds_seconds", and above the last one.
 * Units     as in /metrics: seconds and ratios are reals.
 * Owner     a new reference.
 * Thread    any.
 * Errors    NULL: out of memory.
 * Tests     tests/unit/test_metric.c
 */
#ifndef CORE_METRIC_JSON_H
#define CORE_METRIC_JSON_H

#include <jansson.h>

struct metrics;

json_t *metrics_json(struct metrics *const *all, int n);

#endif
