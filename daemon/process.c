#include "daemon/process.h"

#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>

#include "core/check.h"
#include "core/clock.h"

/* ---- all parts, or none ---- */

static int parts_count(const struct process *p)
{
    int n = 0;

    while (p->parts[n] != NULL)
        n++;
    CHECK(n <= PARTS_MAX);
    return n;
}

static void abort_parts(struct process *p, int n)
{
    while (n-- > 0)
        if (p->parts[n]->abort != NULL)
            p->parts[n]->abort(p, &p->part[n]);
}

static enum st prepare_parts(struct process *p, const struct conf *fresh, FILE *report)
{
    for (int i = 0; i < parts_count(p); i++) {
        struct err err = { .text = "" };
        enum st st = ST_OK;

        if (p->parts[i]->prepare != NULL)
            st = p->parts[i]->prepare(p, &p->part[i], fresh, &err);
        if (st == ST_OK)
            continue;
        (void)fprintf(report, "%s%s%s\n", fresh->path, fresh->path[0] != '\0' ? ": " : "",
                      err.text[0] != '\0' ? err.text : st_name(st));
        abort_parts(p, i);
        return st;
    }
    return ST_OK;
}

/* Letters of the parts, then the snapshot: when the loops have that, they have the letters. */
static void commit_parts(struct process *p, struct conf *fresh)
{
    const struct conf *before = p->conf;

    for (int i = 0; p->parts[i] != NULL; i++)
        if (p->parts[i]->commit != NULL)
            p->parts[i]->commit(p, &p->part[i], fresh);
    p->conf = fresh;
    conf_publish(p->loop, p->loops_n, fresh, NULL);
    conf_unref(&before);
}

enum st process_check(const struct part *const *list, const struct conf *c, FILE *report)
{
    enum st worst = ST_OK;

    for (; *list != NULL; list++) {
        struct err err = { .text = "" };
        enum st st = (*list)->check != NULL ? (*list)->check(c, &err) : ST_OK;

        if (st == ST_OK)
            continue;
        (void)fprintf(report, "%s%s%s\n", c->path, c->path[0] != '\0' ? ": " : "", err.text);
        worst = st;
    }
    return worst;
}

/* ---- loops and threads ---- */

static int loops_wanted(const struct conf *c)
{
    cpu_set_t cores;

    if (c->loops > 0)
        return (int)c->loops;
    if (sched_getaffinity(0, sizeof cores, &cores) != 0)
        return 1;
    return CPU_COUNT(&cores) < CONF_LOOPS_MAX ? CPU_COUNT(&cores) : CONF_LOOPS_MAX;
}

static void *turn_for_ever(void *arg)
{
    struct process_loop *pl = arg;

    CHECK(loop_run(&pl->loop) == ST_OK); /* without its loop the process serves nobody */
    return NULL;
}

static enum st make_loops(struct process *p, const struct conf *c)
{
    int n = loops_wanted(c);

    p->loops = aligned_alloc(alignof(struct process_loop), (size_t)n * sizeof *p->loops);
    if (p->loops == NULL)
        return ST_ENOMEM;
    memset(p->loops, 0, (size_t)n * sizeof *p->loops);
    for (int i = 0; i < n; i++) {
        enum st st = loop_init(&p->loops[i].loop, i, n);

        if (st != ST_OK) {
            loop_fini(&p->loops[i].loop);
            return st;
        }
        p->loop[p->loops_n++] = &p->loops[i].loop;
    }
    return ST_OK;
}

static enum st start_parts_on_loops(struct process *p, FILE *report)
{
    for (int i = 0; i < p->loops_n; i++)
        for (int k = 0; p->parts[k] != NULL; k++) {
            struct err err = { .text = "" };
            enum st st = ST_OK;

            if (p->parts[k]->loop_start != NULL)
                st = p->parts[k]->loop_start(p, &p->part[k], p->loop[i], &err);
            if (st != ST_OK) {
                (void)fprintf(report, "%s: %s\n", p->parts[k]->name, err.text);
                return st;
            }
        }
    return ST_OK;
}

static enum st start_threads(struct process *p)
{
    for (; p->threads_n < p->loops_n; p->threads_n++) {
        struct process_loop *pl = &p->loops[p->threads_n];
        char name[16];

        if (pthread_create(&pl->thread, NULL, turn_for_ever, pl) != 0)
            return ST_ENOMEM;
        (void)snprintf(name, sizeof name, "loop-%d", pl->loop.index);
        (void)pthread_setname_np(pl->thread, name);
    }
    return ST_OK;
}

static void stop_loop(struct loop *l, struct mail *m)
{
    (void)m;
    loop_stop(l);
}

static void join_threads(struct process *p)
{
    struct timespec until;

    for (int i = 0; i < p->threads_n; i++) {
        p->loops[i].stop.deliver = stop_loop;
        mailbox_post(&p->loops[i].loop.mailbox, &p->loops[i].stop);
    }
    (void)clock_gettime(CLOCK_REALTIME, &until);
    until.tv_sec += 10;
    for (int i = 0; i < p->threads_n; i++)
        CHECK(pthread_timedjoin_np(p->loops[i].thread, NULL, &until) == 0);
    p->threads_n = 0;
}

/* ---- the three doors ---- */

enum st process_start(struct process *p, const struct part *const *list, struct conf *first,
                      FILE *report)
{
    const struct conf *drop = first;
    enum st st;

    *p = (struct process){ .parts = list, .started_us = clock_wall_us() };
    st = make_loops(p, first);
    if (st == ST_OK)
        st = start_parts_on_loops(p, report);
    if (st == ST_OK)
        st = prepare_parts(p, first, report);
    if (st != ST_OK) {
        conf_unref(&drop);
        process_stop(p);
        return st;
    }
    for (int i = 0; i < p->loops_n; i++)
        p->loop[i]->conf = conf_ref(first); /* no loop ever turns without one */
    st = start_threads(p);
    if (st != ST_OK) {
        (void)fprintf(report, "cannot start %d threads\n", p->loops_n);
        abort_parts(p, parts_count(p));
        conf_unref(&drop);
        process_stop(p);
        return st;
    }
    commit_parts(p, first);
    return ST_OK;
}

/* Loops write to each other; what was under way when they stopped is delivered here. */
static void drain_letters(struct process *p)
{
    unsigned letters;

    do {
        letters = 0;
        for (int i = 0; i < p->loops_n; i++)
            letters += mailbox_drain(&p->loop[i]->mailbox, p->loop[i]);
    } while (letters > 0);
}

void process_stop(struct process *p)
{
    int n = parts_count(p);

    join_threads(p);
    drain_letters(p);
    for (int i = 0; i < p->loops_n; i++)
        for (int k = n; k-- > 0;)
            if (p->parts[k]->loop_stop != NULL)
                p->parts[k]->loop_stop(p, &p->part[k], p->loop[i]);
    drain_letters(p);
    for (int i = 0; i < p->loops_n; i++) {
        conf_unref(&p->loop[i]->conf);
        loop_fini(p->loop[i]);
    }
    while (n-- > 0)
        if (p->parts[n]->fini != NULL)
            p->parts[n]->fini(p, &p->part[n]);
    conf_unref(&p->conf);
    free(p->loops);
    p->loops = NULL;
    p->loops_n = 0;
}

enum st process_reload(struct process *p, const char *file, FILE *report,
                       void (*changed)(void *arg, const struct conf_change *ch), void *arg)
{
    struct conf *fresh;
    const struct conf *drop;
    enum st st = conf_load(file, p->conf->generation + 1, &fresh, report);

    if (st != ST_OK)
        return st;
    drop = fresh;
    st = process_check(p->parts, fresh, report);
    if (st == ST_OK)
        st = conf_diff(p->conf, fresh, changed, arg);
    if (st == ST_OK)
        st = conf_keep_restart(fresh, p->conf); /* after the comparison, which names them */
    if (st == ST_OK)
        st = prepare_parts(p, fresh, report);
    if (st != ST_OK) {
        if (st == ST_ENOMEM)
            (void)fprintf(report, "out of memory\n");
        conf_unref(&drop);
        return st;
    }
    commit_parts(p, fresh);
    return ST_OK;
}

/* ---- the main thread's turns ---- */

int process_tick(struct process *p, int most)
{
    uint64_t now_us = clock_mono_us(), next_us = UINT64_MAX;

    for (int i = 0; p->parts[i] != NULL; i++) {
        uint64_t at = UINT64_MAX;

        if (p->parts[i]->tick != NULL)
            at = p->parts[i]->tick(p, &p->part[i], now_us);
        if (at < next_us)
            next_us = at;
    }
    if (next_us == UINT64_MAX || next_us > now_us + (uint64_t)most * MS_US)
        return most;
    return next_us > now_us ? (int)((next_us - now_us) / MS_US) + 1 : 0;
}

void process_reap(struct process *p)
{
    pid_t pid;
    int status;

    while ((pid = waitpid(-1, &status, WNOHANG)) > 0)
        for (int i = 0; p->parts[i] != NULL; i++)
            if (p->parts[i]->child_ended != NULL)
                p->parts[i]->child_ended(p, &p->part[i], pid, status);
}
