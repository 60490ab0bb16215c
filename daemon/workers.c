#include "daemon/workers.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "core/check.h"
#include "core/clock.h"
#include "core/hand.h"
#include "core/listen.h"
#include "core/log.h"
#include "core/metric.h"
#include "daemon/live_part.h"
#include "daemon/observe.h"
#include "daemon/process.h"
#include "origin/home.h"

enum { WORKER_FD = 3, HAND_FD = 4, BACKOFF_MIN_MS = 100, BACKOFF_MAX_MS = 5000, LIVED_S = 10 };

struct worker {
    pid_t pid; /* 0: not running */
    int fd;
    struct addr_sock addr;
    char path[ADDR_TEXT_MAX];
    uint64_t started_us;
    uint64_t start_at_us; /* when it is not running */
    uint64_t backoff_ms;
    int hand_fd;
    struct hand_page *hands;       /* what it writes of the streams in hand */
    bool killed;                   /* by us, because it hung */
    _Atomic uint64_t silent_since; /* written by loops; 0: it is not */
};

struct workers {
    unsigned n;
    char program[512];
    char log_level[16];
    struct worker w[WORKERS_MAX];
};

static struct workers *workers_of(const struct process *p)
{
    for (int i = 0; p->parts[i] != NULL; i++)
        if (p->parts[i] == &workers_part)
            return p->part[i];
    return NULL;
}

unsigned workers_count(const struct process *p)
{
    struct workers *ws = workers_of(p);

    return ws != NULL ? ws->n : 0;
}

const struct addr_sock *workers_addr(const struct process *p, unsigned i)
{
    struct workers *ws = workers_of(p);

    CHECK(ws != NULL && i < ws->n);
    return &ws->w[i].addr;
}

void workers_hung(const struct process *p, unsigned i, uint64_t since_us)
{
    struct workers *ws = workers_of(p);

    CHECK(ws != NULL && i < ws->n);
    atomic_store_explicit(&ws->w[i].silent_since, since_us, memory_order_relaxed);
}

/* --- one worker --- */

static void count_state(struct process *p, const struct workers *ws)
{
    struct metrics *m = observe_metrics(p);
    unsigned up = 0;

    for (unsigned i = 0; i < ws->n; i++)
        up += ws->w[i].pid != 0;
    if (m == NULL)
        return;
    metric_set(&m->encoder_workers[METRIC_WORKER_UP], up);
    metric_set(&m->encoder_workers[METRIC_WORKER_DOWN], ws->n - up);
}

static void count_end(struct process *p, const struct worker *w, int status)
{
    struct metrics *m = observe_metrics(p);

    if (m != NULL)
        metric_add(&m->encoder_restarts[w->killed             ? METRIC_RESTART_HUNG
                                        : WIFSIGNALED(status) ? METRIC_RESTART_CRASH
                                                              : METRIC_RESTART_EXIT],
                   1);
}

/* KILL and TERM say nothing about what the worker was doing. */
static bool is_crash(int sig)
{
    return sig == SIGSEGV || sig == SIGBUS || sig == SIGABRT || sig == SIGILL || sig == SIGFPE ||
           sig == SIGSYS;
}

static void suspect(struct process *p, const struct worker *w)
{
    struct home *h = live_home(p);
    struct metrics *m = observe_metrics(p);
    char name[HAND_SLOTS][HAND_NAME];
    unsigned n = hand_suspects(w->hands, name);

    for (unsigned i = 0; h != NULL && i < n; i++) {
        const struct log_ctx stream = { NULL, "stream", name[i], 0 };
        bool refused = home_crashed(h, name[i], p->conf->encode.quarantine_us);

        log_warn(observe_log(p), LOG_CTX_INT(&stream, "worker_pid", w->pid), "workers",
                 refused ? "in hand at a crash again: the stream is quarantined"
                         : "in hand at a crash");
        if (refused && m != NULL)
            metric_add(&m->encoder_quarantines, 1);
    }
}

/* What loops have told; a process that was started later is not meant. */
static void kill_if_hung(struct process *p, const struct workers *ws, struct worker *w)
{
    uint64_t since_us = atomic_exchange_explicit(&w->silent_since, 0, memory_order_relaxed);

    if (since_us == 0 || w->pid == 0 || w->killed || w->started_us > since_us)
        return;
    log_error(observe_log(p),
              LOG_CTX_INT(LOG_CTX_INT(NULL, "worker", w - ws->w), "worker_pid", w->pid), "workers",
              "hangs, and is killed");
    w->killed = true;
    (void)kill(w->pid, SIGKILL);
}

/* Between fork and exec of a process with threads: system calls only. */
_Noreturn static void become_worker(const struct workers *ws, const struct worker *w, pid_t parent)
{
    static char name[] = "freshet-encode";
    static char option[] = "--hands", hand_fd[] = "4";
    char *const argv[] = { name, option, hand_fd, NULL };
    const struct rlimit no_core = { 0, 0 }, few_files = { 1024, 1024 };
    sigset_t none;
    int sock, hands;

    (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (getppid() != parent) /* it died before that call */
        _exit(0);
    (void)sigemptyset(&none);
    (void)sigprocmask(SIG_SETMASK, &none, NULL);
    (void)prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
    (void)setrlimit(RLIMIT_CORE, &no_core);
    (void)setrlimit(RLIMIT_NOFILE, &few_files);
    /* out of the way first, for one may be where the other is to go */
    sock = fcntl(w->fd, F_DUPFD_CLOEXEC, HAND_FD + 1);
    hands = fcntl(w->hand_fd, F_DUPFD_CLOEXEC, HAND_FD + 1);
    if (sock < 0 || hands < 0 || dup2(sock, WORKER_FD) < 0 || dup2(hands, HAND_FD) < 0)
        _exit(126);
    (void)execv(ws->program, argv);
    _exit(127);
}

static void start(struct process *p, struct workers *ws, struct worker *w, uint64_t now_us)
{
    pid_t self = getpid(), pid;

    hand_page_clear(w->hands);
    pid = fork();
    if (pid == 0)
        become_worker(ws, w, self);
    w->started_us = now_us;
    if (pid < 0) {
        log_error(observe_log(p), LOG_CTX_TEXT(NULL, "error", strerror(errno)), "workers",
                  "cannot start a worker");
        w->start_at_us = now_us + BACKOFF_MAX_MS * MS_US;
        return;
    }
    w->pid = pid;
    w->killed = false;
    log_note(observe_log(p), LOG_CTX_INT(LOG_CTX_INT(NULL, "worker", w - ws->w), "worker_pid", pid),
             "workers", "started");
}

static void child_ended(struct process *p, void **mine, pid_t pid, int status)
{
    struct workers *ws = *mine;
    uint64_t now_us = clock_mono_us();

    for (unsigned i = 0; ws != NULL && i < ws->n; i++) {
        struct worker *w = &ws->w[i];

        if (w->pid != pid)
            continue;
        if (now_us - w->started_us >= LIVED_S * SEC_US)
            w->backoff_ms = BACKOFF_MIN_MS;
        w->start_at_us = now_us + w->backoff_ms * MS_US;
        w->backoff_ms = w->backoff_ms * 2 < BACKOFF_MAX_MS ? w->backoff_ms * 2 : BACKOFF_MAX_MS;
        if (WIFSIGNALED(status) && is_crash(WTERMSIG(status)))
            suspect(p, w);
        count_end(p, w, status);
        w->pid = 0;
        count_state(p, ws);
        const struct log_ctx who = { NULL, "worker", NULL, i },
                             of = { &who, "worker_pid", NULL, pid };
        log_warn(observe_log(p),
                 WIFSIGNALED(status) ? LOG_CTX_INT(&of, "signal", WTERMSIG(status))
                                     : LOG_CTX_INT(&of, "exit", WEXITSTATUS(status)),
                 "workers", "ended");
        return;
    }
}

static uint64_t tick(struct process *p, void **mine, uint64_t now_us)
{
    struct workers *ws = *mine;
    uint64_t next_us = UINT64_MAX;

    for (unsigned i = 0; ws != NULL && i < ws->n; i++) {
        struct worker *w = &ws->w[i];

        if (w->pid != 0) {
            kill_if_hung(p, ws, w);
            continue;
        }
        if (w->start_at_us <= now_us)
            start(p, ws, w, now_us);
        if (w->pid == 0 && w->start_at_us < next_us)
            next_us = w->start_at_us;
    }
    if (ws != NULL)
        count_state(p, ws);
    return next_us;
}

/* --- the part --- */

/* Beside our own binary, as it is built and installed. */
static enum st find_program(struct workers *ws, struct err *err)
{
    ssize_t n = readlink("/proc/self/exe", ws->program, sizeof ws->program - 32);
    char *slash;

    if (n <= 0)
        return err_set(err, ST_EIO, "cannot find out where this program is");
    ws->program[n] = '\0';
    slash = strrchr(ws->program, '/');
    CHECK(slash != NULL);
    (void)snprintf(slash + 1, 32, "freshet-encode");
    if (access(ws->program, X_OK) != 0)
        return err_set(err, ST_ECONF, "encode: %s: %s", ws->program, strerror(errno));
    return ST_OK;
}

static enum st open_socket(struct worker *w, unsigned i, const char *dir, struct err *err)
{
    static const struct listen_how how = { .mode = 0600 };
    struct err why;
    enum st st;

    if (snprintf(w->path, sizeof w->path, "%s/worker-%u.sock", dir, i) >= (int)sizeof w->path)
        return err_set(err, ST_ECONF, "runtime_dir: %s is too long for a socket", dir);
    st = addr_unix(w->path, &w->addr, err);
    if (st == ST_OK && (st = listen_open(&w->addr, &how, 1, &w->fd, &why)) != ST_OK)
        (void)err_set(err, st, "%s: %s", w->path, why.text);
    if (st == ST_OK && hand_page_new(&w->hand_fd, &w->hands) != ST_OK)
        st = err_set(err, ST_EIO, "encode: no shared memory for a worker: %s", strerror(errno));
    w->backoff_ms = BACKOFF_MIN_MS;
    return st;
}

static void fini(struct process *p, void **mine)
{
    struct workers *ws = *mine;

    (void)p;
    *mine = NULL;
    for (unsigned i = 0; ws != NULL && i < ws->n; i++) {
        struct worker *w = &ws->w[i];

        if (w->pid != 0) {
            (void)kill(w->pid, SIGKILL);
            (void)waitpid(w->pid, NULL, 0);
        }
        if (w->fd >= 0) {
            (void)close(w->fd);
            (void)unlink(w->path);
        }
        hand_page_free(&w->hand_fd, &w->hands);
    }
    free(ws);
}

/* `encode.workers` counts from the start of the process on: its key says restart. */
static enum st prepare(struct process *p, void **mine, const struct conf *fresh, struct err *err)
{
    struct workers *ws;
    enum st st;

    if (p->conf != NULL || fresh->encode.workers == 0)
        return ST_OK;
    if ((ws = calloc(1, sizeof *ws)) == NULL)
        return err_set(err, ST_ENOMEM, "out of memory");
    *mine = ws;
    st = find_program(ws, err);
    while (st == ST_OK && ws->n < fresh->encode.workers) {
        ws->w[ws->n].fd = -1;
        st = open_socket(&ws->w[ws->n], ws->n, fresh->runtime_dir, err);
        ws->n++;
    }
    if (st != ST_OK)
        fini(p, mine);
    return st;
}

static void abort_(struct process *p, void **mine)
{
    if (p->conf == NULL)
        fini(p, mine);
}

const struct part workers_part = {
    .name = "workers",
    .prepare = prepare,
    .abort = abort_,
    .tick = tick,
    .child_ended = child_ended,
    .fini = fini,
};
