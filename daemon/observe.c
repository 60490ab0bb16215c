#include "daemon/observe.h"

#include <stdlib.h>
#include <unistd.h>

#include "core/check.h"
#include "core/clock.h"
#include "core/log.h"
#include "core/metric_json.h"
#include "daemon/process.h"

enum { TICK_US = 1000 * 1000, PULSE_US = 5 * 1000 * 1000 };

struct pulse {
    struct timer timer;
    uint64_t due_us;
    _Atomic uint64_t ticked_us;
};

struct observe {
    struct log_sink *sink;
    struct log *logs[CONF_LOOPS_MAX + 1]; /* the last one is main's */
    struct metrics *metrics[CONF_LOOPS_MAX + 1];
    struct pulse pulse[CONF_LOOPS_MAX];
    int loops_n;
};

struct observe *observe_of(const struct process *p)
{
    for (int i = 0; p->parts != NULL && p->parts[i] != NULL; i++)
        if (p->parts[i] == &observe_part)
            return p->part[i];
    return NULL;
}

struct log *observe_log(const struct process *p)
{
    struct observe *o = observe_of(p);

    return o != NULL ? o->logs[o->loops_n] : NULL;
}

static void fini(struct process *p, void **mine)
{
    struct observe *o = *mine;

    (void)p;
    *mine = NULL;
    if (o == NULL)
        return;
    log_dump_on_check(NULL, 0);
    for (int i = 0; i <= o->loops_n; i++) {
        log_free(&o->logs[i]);
        metrics_free(&o->metrics[i]);
    }
    log_sink_free(&o->sink);
    free(o);
}

static enum st make_one(struct observe *o, int i, const char *name)
{
    o->metrics[i] = metrics_new();
    if (o->metrics[i] == NULL)
        return ST_ENOMEM;
    o->logs[i] = log_new(o->sink, name, &o->metrics[i]->log_dropped);
    return o->logs[i] != NULL ? ST_OK : ST_ENOMEM;
}

static enum st make(struct process *p, void **mine)
{
    struct observe *o = calloc(1, sizeof *o);
    enum st st = ST_OK;

    if (o == NULL)
        return ST_ENOMEM;
    *mine = o;
    o->loops_n = p->loops_n;
    o->sink = log_sink_new(STDERR_FILENO, LOG_NOTE, LOG_TEXT);
    if (o->sink == NULL)
        return ST_ENOMEM;
    for (int i = 0; i < o->loops_n && st == ST_OK; i++)
        st = make_one(o, i, "loop");
    if (st == ST_OK)
        st = make_one(o, o->loops_n, "main");
    if (st == ST_OK)
        log_unlimited(o->logs[o->loops_n]);
    if (st == ST_OK)
        log_dump_on_check(o->logs, o->loops_n + 1);
    return st;
}

static void tick(struct loop *l, struct timer *t)
{
    struct pulse *pulse = CONTAINER_OF(t, struct pulse, timer);

    metric_observe(&l->metrics->loop_lag_seconds,
                   l->now_us > pulse->due_us ? l->now_us - pulse->due_us : 0);
    atomic_store_explicit(&pulse->ticked_us, l->now_us, memory_order_relaxed);
    log_tick(l->log);
    pulse->due_us = l->now_us + TICK_US;
    timer_set(l, t, pulse->due_us);
}

static enum st loop_start(struct process *p, void **mine, struct loop *l, struct err *err)
{
    struct observe *o;

    if (*mine == NULL && make(p, mine) != ST_OK)
        return err_set(err, ST_ENOMEM, "out of memory");
    o = *mine;
    l->metrics = o->metrics[l->index];
    l->log = o->logs[l->index];
    struct pulse *pulse = &o->pulse[l->index];
    pulse->timer.fire = tick;
    pulse->due_us = loop_now(l) + TICK_US;
    atomic_store_explicit(&pulse->ticked_us, loop_now(l), memory_order_relaxed);
    timer_set(l, &pulse->timer, pulse->due_us);
    return ST_OK;
}

static void loop_stop_(struct process *p, void **mine, struct loop *l)
{
    struct observe *o = *mine;

    (void)p;
    if (o != NULL)
        timer_cancel(l, &o->pulse[l->index].timer);
}

static void commit(struct process *p, void **mine, const struct conf *fresh)
{
    struct observe *o = *mine;

    (void)p;
    log_sink_set(o->sink, (enum log_level)fresh->log.level, (enum log_format)fresh->log.format);
    metric_set(&o->metrics[o->loops_n]->config_generation, fresh->generation);
}

const struct part observe_part = {
    .name = "observe",
    .loop_start = loop_start,
    .commit = commit,
    .loop_stop = loop_stop_,
    .fini = fini,
};

static int everybody(struct observe *o, struct metrics *now, struct metrics *all[])
{
    int n = o->loops_n + 1;

    for (int i = 0; i < n; i++)
        all[i] = o->metrics[i];
    all[n] = now;
    return n + 1;
}

void observe_write_metrics(struct observe *o, struct buf *out, struct metrics *now)
{
    struct metrics *all[CONF_LOOPS_MAX + 2];
    int n = everybody(o, now, all);

    metrics_write(out, all, n);
}

json_t *observe_metrics_json(struct observe *o, struct metrics *now)
{
    struct metrics *all[CONF_LOOPS_MAX + 2];
    int n = everybody(o, now, all);

    return metrics_json(all, n);
}

bool observe_ready(struct observe *o)
{
    uint64_t now_us = clock_mono_us();

    for (int i = 0; i < o->loops_n; i++) {
        uint64_t at = atomic_load_explicit(&o->pulse[i].ticked_us, memory_order_relaxed);

        if (now_us > at + PULSE_US)
            return false;
    }
    return true;
}

struct metrics *observe_metrics(const struct process *p)
{
    struct observe *o = observe_of(p);

    return o != NULL ? o->metrics[o->loops_n] : NULL;
}

void observe_count_reload(struct process *p, bool ok)
{
    struct metrics *m = observe_metrics(p);

    if (m != NULL)
        metric_add(&m->config_reload[ok ? METRIC_RELOAD_OK : METRIC_RELOAD_FAILED], 1);
}

void observe_dump(const struct process *p)
{
    struct observe *o = observe_of(p);

    if (o != NULL)
        log_dump(o->logs, o->loops_n + 1, STDERR_FILENO);
}
