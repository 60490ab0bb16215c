/* core/metric: sums over loops, OpenMetrics text, buckets, and the table's own rules. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <pthread.h>

#include "core/metric.h"
#include "core/metric_json.h"

static struct metrics *all[3];

static int make(void **state)
{
    (void)state;
    for (int i = 0; i < 3; i++)
        all[i] = metrics_new();
    return all[0] == NULL || all[1] == NULL || all[2] == NULL;
}

static int drop(void **state)
{
    (void)state;
    for (int i = 0; i < 3; i++)
        metrics_free(&all[i]);
    return 0;
}

static char *exposition(void)
{
    struct buf b;
    size_t n;
    char *text;

    buf_init(&b, 1 << 20);
    metrics_write(&b, all, 3);
    text = (char *)buf_take(&b, &n);
    assert_non_null(text);
    return text;
}

static void assert_line(const char *text, const char *line)
{
    char want[256];

    (void)snprintf(want, sizeof want, "\n%s\n", line);
    if (strstr(text, want) == NULL)
        fail_msg("no line '%s' in:\n%s", line, text);
}

static void series_are_summed_over_all_loops(void **state)
{
    char *text;

    (void)state;
    metric_add(&all[0]->cache_requests[METRIC_TIER_ORIGIN][METRIC_CACHE_HIT_WAIT], 2);
    metric_add(&all[1]->cache_requests[METRIC_TIER_ORIGIN][METRIC_CACHE_HIT_WAIT], 5);
    metric_add(&all[0]->http_requests[METRIC_PROTO_H2][METRIC_CODE_206][METRIC_OBJECT_SEGMENT], 3);
    metric_add(&all[2]->http_requests[METRIC_PROTO_H1][metric_code_of(200)][METRIC_OBJECT_INIT], 1);
    metric_add(&all[2]->log_dropped, 7);
    text = exposition();
    assert_line(text, "freshet_cache_requests_total{tier=\"origin\",result=\"hit_wait\"} 7");
    assert_line(text, "freshet_cache_requests_total{tier=\"edge\",result=\"hit\"} 0");
    assert_line(text,
                "freshet_http_requests_total{proto=\"h2\",code=\"206\",object=\"segment\"} 3");
    assert_line(text, "freshet_http_requests_total{proto=\"h1\",code=\"200\",object=\"init\"} 1");
    assert_line(text, "freshet_log_dropped_total 7");
    /* a big family shows what has counted, a small one everything */
    assert_null(strstr(text, "code=\"505\""));
    assert_non_null(strstr(text, "freshet_http_closes_total{reason=\"reload\"} 0"));
    free(text);
}

static void a_gauge_may_be_lowered_by_another_loop(void **state)
{
    char *text;

    (void)state;
    metric_add(&all[0]->cache_bytes, 100);
    metric_sub(&all[1]->cache_bytes, 40);
    metric_set(&all[2]->config_generation, 12);
    metric_sub(&all[2]->cache_objects, 1); /* a moment between two loops' stores */
    text = exposition();
    assert_line(text, "freshet_cache_bytes 60");
    assert_line(text, "freshet_config_generation 12");
    assert_line(text, "freshet_cache_objects 0");
    free(text);
}

static void families_have_their_head_and_the_end_is_marked(void **state)
{
    static const char end[] = "\n# EOF\n";
    char *text = exposition();

    (void)state;
    assert_line(text, "# TYPE freshet_cache_fills counter");
    assert_line(text, "# TYPE freshet_http_response_bytes counter\n"
                      "# UNIT freshet_http_response_bytes bytes\n"
                      "# HELP freshet_http_response_bytes Bytes of responses written to clients, "
                      "with their framing.\n"
                      "freshet_http_response_bytes_total 0");
    assert_line(text, "# TYPE freshet_http_ttfb_seconds histogram\n"
                      "# UNIT freshet_http_ttfb_seconds seconds");
    assert_string_equal(text + strlen(text) - strlen(end), end);
    assert_ptr_equal(strstr(text, "# EOF"), text + strlen(text) - strlen("# EOF\n"));
    free(text);
}

static void histograms_are_cumulative_and_count_is_inf(void **state)
{
    char *text;

    (void)state;
    metric_observe(&all[0]->http_ttfb_seconds, 0);
    metric_observe(&all[0]->http_ttfb_seconds, 125);
    metric_observe(&all[1]->http_ttfb_seconds, 126);
    metric_observe(&all[1]->http_ttfb_seconds, 250);
    metric_observe(&all[1]->http_ttfb_seconds, 251);
    metric_observe(&all[2]->http_ttfb_seconds, 65536000);
    metric_observe(&all[2]->http_ttfb_seconds, 65536001);
    metric_observe(&all[2]->http_ttfb_seconds, UINT64_C(1) << 62);
    metric_sub(&all[2]->http_ttfb_seconds.sum, UINT64_C(1) << 62);
    text = exposition();
    assert_line(text, "freshet_http_ttfb_seconds_bucket{le=\"0.000125\"} 2\n"
                      "freshet_http_ttfb_seconds_bucket{le=\"0.000250\"} 4\n"
                      "freshet_http_ttfb_seconds_bucket{le=\"0.000500\"} 5");
    assert_line(text, "freshet_http_ttfb_seconds_bucket{le=\"32.768000\"} 5\n"
                      "freshet_http_ttfb_seconds_bucket{le=\"65.536000\"} 6\n"
                      "freshet_http_ttfb_seconds_bucket{le=\"+Inf\"} 8\n"
                      "freshet_http_ttfb_seconds_sum 131.072753\n"
                      "freshet_http_ttfb_seconds_count 8");
    free(text);
}

static json_t *at(json_t *j, const char *a, const char *b, const char *c)
{
    j = json_object_get(j, a);
    j = b != NULL ? json_object_get(j, b) : j;
    return c != NULL ? json_object_get(j, c) : j;
}

static void the_same_sums_are_told_as_json(void **state)
{
    json_t *j, *h;

    (void)state;
    metric_add(&all[0]->cache_requests[METRIC_TIER_ORIGIN][METRIC_CACHE_STALE], 3);
    metric_add(&all[2]->cache_requests[METRIC_TIER_ORIGIN][METRIC_CACHE_STALE], 4);
    metric_add(&all[1]->http_requests[METRIC_PROTO_H2][METRIC_CODE_404][METRIC_OBJECT_INIT], 5);
    metric_add(&all[0]->viewers, 2);
    metric_sub(&all[1]->viewers, 5);
    metric_sub(&all[0]->ingest_publishers, 1);
    metric_add(&all[1]->ingest_publishers, 3);
    metric_observe(&all[0]->http_ttfb_seconds, 126);
    metric_observe(&all[1]->http_ttfb_seconds, UINT64_C(1) << 40);
    j = metrics_json(all, 3);
    assert_non_null(j);
    assert_int_equal(json_integer_value(at(j, "cache_requests", "origin", "stale")), 7);
    assert_true(json_is_integer(at(j, "cache_requests", "edge", "hit"))); /* zeros are told */
    h = at(j, "http_requests", "h2", "404");
    assert_int_equal(json_object_size(h), 1); /* but not of large families */
    assert_int_equal(json_integer_value(json_object_get(h, "init")), 5);
    assert_int_equal(json_object_size(at(j, "http_requests", NULL, NULL)), 1);
    assert_int_equal(json_object_size(at(j, "http_requests", "h2", NULL)), 1);
    assert_int_equal(json_integer_value(at(j, "viewers", NULL, NULL)), 0); /* below zero: not yet */
    assert_int_equal(json_integer_value(at(j, "ingest_publishers", NULL, NULL)), 2);
    h = at(j, "http_ttfb_seconds", NULL, NULL);
    assert_int_equal(json_integer_value(json_object_get(h, "count")), 2);
    assert_int_equal(json_array_size(json_object_get(h, "buckets")), METRIC_HIST_BOUNDS + 1);
    assert_int_equal(json_integer_value(json_array_get(json_object_get(h, "buckets"), 1)), 1);
    assert_int_equal(
        json_integer_value(json_array_get(json_object_get(h, "buckets"), METRIC_HIST_BOUNDS)), 1);
    h = at(j, "histogram_bounds_seconds", NULL, NULL);
    assert_int_equal(json_array_size(h), METRIC_HIST_BOUNDS);
    assert_true(json_real_value(json_array_get(h, 0)) == 0.000125);
    json_decref(j);
}

static void every_bucket_bound_is_inclusive(void **state)
{
    (void)state;
    for (unsigned i = 0; i <= METRIC_HIST_BOUNDS; i++) {
        uint64_t bound = (uint64_t)METRIC_HIST_FIRST_US << i;

        metric_observe(&all[0]->loop_lag_seconds, bound);
        if (i > 0)
            metric_observe(&all[0]->loop_lag_seconds, bound / 2 + 1);
        assert_int_equal(metric_get(&all[0]->loop_lag_seconds.bucket[i]), i > 0 ? 2 : 1);
    }
}

static void odd_texts_are_escaped(void **state)
{
    struct buf b;

    (void)state;
    buf_init(&b, 100);
    metrics_put_escaped(&b, "a\"b\\c\nd");
    assert_string_equal(buf_text(&b), "a\\\"b\\\\c\\nd");
    buf_fini(&b);
}

static void unknown_codes_are_other(void **state)
{
    (void)state;
    assert_int_equal(metric_code_of(200), METRIC_CODE_200);
    assert_int_equal(metric_code_of(505), METRIC_CODE_505);
    assert_int_equal(metric_code_of(418), METRIC_CODE_OTHER);
    assert_int_equal(metric_code_of(-1), METRIC_CODE_OTHER);
    assert_string_equal(metric_label_text(METRIC_LABEL_CODE, METRIC_CODE_416), "416");
    assert_string_equal(metric_label_text(METRIC_LABEL_CLOSE, METRIC_CLOSE_H2_RAPID_RESET),
                        "h2_rapid_reset");
}

static bool ends_in(const char *s, const char *end)
{
    return strlen(s) > strlen(end) && strcmp(s + strlen(s) - strlen(end), end) == 0;
}

/* What OpenMetrics asks of names, which no compiler sees. */
static void the_table_keeps_the_rules_of_openmetrics(void **state)
{
    static const char *const units[] = { "", "_bytes", "_seconds", "_ratio" };
    static const char *const taken[] = { "_total", "_created", "_bucket", "_count",
                                         "_sum",   "_info",    "_gsum" };
    size_t n;
    const struct metric_desc *d = metric_descs(&n);

    (void)state;
    for (size_t i = 0; i < n; i++) {
        assert_true(d[i].unit == METRIC_UNIT_NONE || ends_in(d[i].name, units[d[i].unit]));
        for (size_t k = 0; k < sizeof taken / sizeof taken[0]; k++)
            assert_false(ends_in(d[i].name, taken[k]));
        assert_true(d[i].kind != METRIC_KIND_HISTOGRAM || d[i].unit == METRIC_UNIT_SECONDS);
        assert_true(strspn(d[i].name, "abcdefghijklmnopqrstuvwxyz0123456789_") ==
                    strlen(d[i].name));
        for (unsigned a = 0; a < d[i].labels; a++)
            for (unsigned b = 0; b < a; b++)
                assert_string_not_equal(metric_label_desc(d[i].label[a])->name,
                                        metric_label_desc(d[i].label[b])->name);
        /* a counter's _total is no other metric's name */
        for (size_t k = 0; k < n; k++)
            assert_true(k == i || strcmp(d[i].name, d[k].name) != 0);
    }
}

static void *count_up(void *arg)
{
    struct metrics *m = arg;

    for (int i = 0; i < 100000; i++) {
        metric_add(&m->http_response_bytes, 3);
        metric_observe(&m->loop_lag_seconds, (uint64_t)i);
    }
    return NULL;
}

static void readers_may_read_while_owners_count(void **state)
{
    pthread_t t[2];

    (void)state;
    for (int i = 0; i < 2; i++)
        assert_int_equal(pthread_create(&t[i], NULL, count_up, all[i]), 0);
    for (int i = 0; i < 20; i++)
        free(exposition());
    for (int i = 0; i < 2; i++)
        (void)pthread_join(t[i], NULL);
    char *text = exposition();
    assert_line(text, "freshet_http_response_bytes_total 600000");
    assert_line(text, "freshet_loop_lag_seconds_count 200000");
    free(text);
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, make, drop)
    const struct CMUnitTest tests[] = {
        T(series_are_summed_over_all_loops),
        T(a_gauge_may_be_lowered_by_another_loop),
        T(families_have_their_head_and_the_end_is_marked),
        T(histograms_are_cumulative_and_count_is_inf),
        T(the_same_sums_are_told_as_json),
        T(every_bucket_bound_is_inclusive),
        T(odd_texts_are_escaped),
        T(unknown_codes_are_other),
        T(the_table_keeps_the_rules_of_openmetrics),
        T(readers_may_read_while_owners_count),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
