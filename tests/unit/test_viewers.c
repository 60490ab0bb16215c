/* edge/viewers: who counts, for how long, and how often. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "core/clock.h"
#include "core/loop.h"
#include "core/metric.h"
#include "edge/viewers.h"

static uint64_t now_us;
static uint64_t test_mono(void) { return now_us; }
static int64_t test_wall(void) { return (int64_t)now_us; }
static const struct clock_source test_clock = { test_mono, test_wall };

static struct loop loop;
static struct viewers *v;
static struct viewer conn[4][VIEWER_MARKS];

static int begin(void **state)
{
    (void)state;
    now_us = 1000 * SEC_US;
    clock_use(&test_clock);
    memset(conn, 0, sizeof conn);
    if (loop_init(&loop, 0, 1) != ST_OK || (loop.metrics = metrics_new()) == NULL)
        return 1;
    v = viewers_new(&loop);
    return v == NULL;
}

static int end(void **state)
{
    (void)state;
    for (int i = 0; i < 4; i++)
        viewers_leave(v, conn[i]);
    viewers_free(&v);
    metrics_free(&loop.metrics);
    loop_fini(&loop);
    clock_use(NULL);
    return 0;
}

static void see(int i, const char *name) { viewers_see(v, conn[i], name, strlen(name)); }

static void pass(uint64_t us)
{
    for (uint64_t until = now_us + us; now_us < until;) {
        now_us += SEC_US / 4;
        (void)loop_touch(&loop);
        timer_wheel_sweep(&loop);
    }
}

struct seen {
    const char *name;
    unsigned n, streams;
};

static void look(void *arg, const char *name, unsigned n)
{
    struct seen *s = arg;

    s->streams++;
    assert_true(n > 0);
    if (strcmp(name, s->name) == 0)
        s->n = n;
}

static unsigned watching(const char *name)
{
    struct seen s = { .name = name };

    viewers_each(v, look, &s);
    return s.n;
}

static unsigned streams(void)
{
    struct seen s = { .name = "" };

    viewers_each(v, look, &s);
    return s.streams;
}

static uint64_t in_all(void) { return metric_get(&loop.metrics->viewers); }

static void a_connection_counts_once_per_stream(void **state)
{
    (void)state;
    assert_int_equal(streams(), 0);
    for (int i = 0; i < 5; i++)
        see(0, "live/a");
    see(1, "live/a");
    see(2, "live/ab");
    assert_int_equal(watching("live/a"), 2);
    assert_int_equal(watching("live/ab"), 1);
    assert_int_equal(streams(), 2);
    assert_int_equal(in_all(), 3);
    viewers_leave(v, conn[0]);
    viewers_leave(v, conn[0]);
    viewers_leave(v, conn[3]);
    assert_int_equal(watching("live/a"), 1);
    viewers_leave(v, conn[1]);
    assert_int_equal(streams(), 1);
    assert_int_equal(in_all(), 1);
}

static void who_asks_no_more_is_forgotten_after_ten_seconds(void **state)
{
    (void)state;
    see(0, "live/a");
    see(1, "live/a");
    for (int i = 0; i < 40; i++) {
        pass(SEC_US / 2);
        see(0, "live/a");
        if (i < 16)
            assert_int_equal(watching("live/a"), 2);
        if (i > 24)
            assert_int_equal(watching("live/a"), 1);
    }
    pass(8 * SEC_US);
    assert_int_equal(in_all(), 1);
    pass(4 * SEC_US);
    assert_int_equal(in_all(), 0);
    assert_int_equal(streams(), 0);
    see(0, "live/a"); /* and is counted when it is back */
    assert_int_equal(in_all(), 1);
    pass(12 * SEC_US);
    assert_int_equal(in_all(), 0);
}

static void of_many_streams_of_a_connection_the_latest_count(void **state)
{
    (void)state;
    see(0, "live/a");
    pass(SEC_US);
    see(0, "live/b");
    pass(SEC_US);
    see(0, "live/c");
    assert_int_equal(watching("live/a"), 0);
    assert_int_equal(watching("live/b"), 1);
    assert_int_equal(watching("live/c"), 1);
    pass(SEC_US);
    see(0, "live/b");
    pass(SEC_US);
    see(0, "live/d");
    assert_int_equal(watching("live/b"), 1);
    assert_int_equal(watching("live/c"), 0);
    assert_int_equal(in_all(), 2);
}

static void streams_have_a_limit(void **state)
{
    static struct viewer many[VIEWER_STREAMS + 10][VIEWER_MARKS];
    char name[200];

    (void)state;
    for (int i = 0; i < VIEWER_STREAMS + 10; i++) {
        (void)snprintf(name, sizeof name, "live/%d", i);
        viewers_see(v, many[i], name, strlen(name));
    }
    assert_int_equal(streams(), VIEWER_STREAMS);
    assert_int_equal(in_all(), VIEWER_STREAMS);
    memset(name, 'x', sizeof name);
    viewers_see(v, conn[0], name, VIEWER_NAME_MAX + 1);
    assert_int_equal(in_all(), VIEWER_STREAMS);
    pass(12 * SEC_US);
    assert_int_equal(streams(), 0);
    for (int i = 0; i < VIEWER_STREAMS + 10; i++)
        viewers_leave(v, many[i]);
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, begin, end)
    const struct CMUnitTest tests[] = {
        T(a_connection_counts_once_per_stream),
        T(who_asks_no_more_is_forgotten_after_ten_seconds),
        T(of_many_streams_of_a_connection_the_latest_count),
        T(streams_have_a_limit),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
