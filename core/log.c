#include "core/log.h"

#include <errno.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "core/check.h"
#include "core/clock.h"
#include "core/log_line.h"
#include "core/metric.h"

enum {
    LOG_MAGIC = 0x10610610,
    MSG_BYTES = 1024,
    DEPTH_MAX = 16,
    RING_LINES = 256,
    RING_WORDS = 64,
    SITES = 64,
    SITE_BURST = 5
};

/* A line in the ring. Written by the owner, read by a dump from anywhere at any time: all words are
 * atomic, and seq is odd while they change, so a reader knows a torn line and leaves it out. */
struct ring_line {
    _Atomic uint64_t seq;
    _Atomic uint64_t len;
    _Atomic uint64_t word[RING_WORDS];
};

struct site {
    const char *fmt; /* NULL: free */
    const char *module;
    enum log_level level;
    uint64_t since_us;
    uint64_t passed;
    uint64_t held;
};

struct log {
    int magic;
    struct log_sink *sink;
    const char *name;
    _Atomic uint64_t *dropped;
    uint64_t lost; /* refused by the sink and not yet reported */
    int holding;   /* sites with held > 0 */
    bool unlimited;
    struct site sites[SITES];
    _Atomic uint64_t lines; /* ever put into the ring */
    struct ring_line ring[RING_LINES];
};

/* ---- one line ---- */

static void put_ctx(struct log_line *o, const struct log_ctx *ctx)
{
    const struct log_ctx *chain[DEPTH_MAX];
    int depth = 0;

    for (; ctx != NULL; ctx = ctx->parent) {
        CHECK(depth < DEPTH_MAX);
        chain[depth++] = ctx;
    }
    while (depth > 0) {
        const struct log_ctx *c = chain[--depth];

        if (c->text == NULL)
            log_line_number(o, c->key, c->number);
        else
            log_line_text(o, c->key, c->text, strlen(c->text), false);
    }
}

static void line_begin(struct log_line *o, const struct log *l, enum log_level level,
                       const char *module, const char *msg)
{
    log_line_begin(o, log_sink_format(l->sink) == LOG_JSON);
    log_line_word(o, "level", log_level_name(level));
    log_line_word(o, "module", module);
    log_line_text(o, "msg", msg, strlen(msg), true);
}

/* ---- where lines go ---- */

static void ring_put(struct log *l, const struct log_line *o)
{
    uint64_t at = atomic_load_explicit(&l->lines, memory_order_relaxed);
    struct ring_line *r = &l->ring[at % RING_LINES];
    uint64_t seq = atomic_load_explicit(&r->seq, memory_order_relaxed);
    size_t len = o->n < sizeof r->word ? o->n : sizeof r->word;

    atomic_store_explicit(&r->seq, seq + 1, memory_order_relaxed);
    atomic_thread_fence(memory_order_release);
    atomic_store_explicit(&r->len, len, memory_order_relaxed);
    for (size_t i = 0; i * 8 < len; i++) {
        uint64_t w; /* NB: o->b is longer than the ring's line, and a multiple of 8 */

        memcpy(&w, o->b + i * 8, sizeof w);
        atomic_store_explicit(&r->word[i], w, memory_order_relaxed);
    }
    atomic_store_explicit(&r->seq, seq + 2, memory_order_release);
    atomic_store_explicit(&l->lines, at + 1, memory_order_release);
}

static bool sink_put(struct log *l, const struct log_line *o)
{
    return log_sink_put(l->sink, o->b, o->n);
}

static void report_lost(struct log *l)
{
    struct log_line o;

    line_begin(&o, l, LOG_WARN, "log", "lines lost, the reader of the log is too slow");
    log_line_number(&o, "dropped", (int64_t)l->lost);
    log_line_end(&o);
    if (sink_put(l, &o))
        l->lost = 0;
}

static void emit(struct log *l, const struct log_line *o)
{
    if (l->lost > 0)
        report_lost(l);
    if (l->lost > 0 || !sink_put(l, o)) { /* not out of order: the loss is told first */
        l->lost++;
        if (l->dropped != NULL)
            metric_add(l->dropped, 1);
    }
}

static void publish(struct log *l, const struct log_line *o, enum log_level level)
{
    ring_put(l, o);
    if (level <= log_sink_level(l->sink))
        emit(l, o);
}

/* ---- repeats ---- */

static void site_end(struct log *l, struct site *s)
{
    struct log_line o;

    if (s->held > 0) {
        line_begin(&o, l, s->level, s->module, s->fmt);
        log_line_number(&o, "repeated", (int64_t)s->held);
        log_line_end(&o);
        publish(l, &o, s->level);
        l->holding--;
    }
    s->fmt = NULL;
    s->held = 0;
}

static void sites_end_due(struct log *l, uint64_t now_us)
{
    for (int i = 0; l->holding > 0 && i < SITES; i++)
        if (l->sites[i].held > 0 && now_us - l->sites[i].since_us >= SEC_US)
            site_end(l, &l->sites[i]);
}

/* The site's entry; else a free one, or the oldest, whose count is told first. */
static struct site *site_get(struct log *l, const char *fmt, uint64_t now_us)
{
    struct site *pick = &l->sites[0];

    for (int i = 0; i < SITES; i++) {
        struct site *s = &l->sites[i];

        if (s->fmt == fmt) {
            pick = s;
            break;
        }
        if (pick->fmt != NULL && (s->fmt == NULL || s->since_us < pick->since_us))
            pick = s;
    }
    if (pick->fmt != fmt || now_us - pick->since_us >= SEC_US) {
        site_end(l, pick);
        *pick = (struct site){ .fmt = fmt, .since_us = now_us };
    }
    return pick;
}

static bool may_pass(struct log *l, enum log_level level, const char *module, const char *fmt)
{
    uint64_t now_us = clock_mono_us();
    struct site *s;

    if (l->holding > 0)
        sites_end_due(l, now_us);
    if (level == LOG_DEBUG || l->unlimited)
        return true;
    s = site_get(l, fmt, now_us);
    if (s->passed < SITE_BURST) {
        s->passed++;
        return true;
    }
    s->module = module;
    s->level = level;
    l->holding += s->held == 0;
    s->held++;
    return false;
}

void log_msg(struct log *l, const struct log_ctx *ctx, enum log_level level, const char *module,
             const char *fmt, ...)
{
    char msg[MSG_BYTES];
    struct log_line o;
    va_list ap;
    int n;

    if (l == NULL)
        return;
    OBJ_CHECK(l, LOG_MAGIC);
    if (level > LOG_INFO && level > log_sink_level(l->sink))
        return;
    if (!may_pass(l, level, module, fmt))
        return; /* before any work: this is what a flood meets */
    va_start(ap, fmt);
    n = vsnprintf(msg, sizeof msg, fmt, ap);
    va_end(ap);
    CHECK(n >= 0);
    line_begin(&o, l, level, module, msg);
    put_ctx(&o, ctx);
    o.cut = o.cut || (size_t)n >= sizeof msg;
    log_line_end(&o);
    publish(l, &o, level);
}

void log_tick(struct log *l)
{
    if (l == NULL)
        return;
    OBJ_CHECK(l, LOG_MAGIC);
    sites_end_due(l, clock_mono_us());
    if (l->lost > 0)
        report_lost(l);
}

/* ---- life, and the dump ---- */

struct log *log_new(struct log_sink *s, const char *name, _Atomic uint64_t *dropped)
{
    struct log *l = calloc(1, sizeof *l);

    if (l == NULL)
        return NULL;
    OBJ_INIT(l, LOG_MAGIC);
    l->sink = s;
    l->name = name;
    l->dropped = dropped;
    return l;
}

void log_unlimited(struct log *l) { l->unlimited = true; }

void log_free(struct log **lp)
{
    struct log *l = *lp;

    *lp = NULL;
    if (l == NULL)
        return;
    for (int i = 0; i < SITES; i++)
        site_end(l, &l->sites[i]);
    if (l->lost > 0)
        report_lost(l);
    OBJ_FINI(l, LOG_MAGIC);
    free(l);
}

static void dump_bytes(int fd, const char *p, size_t n)
{
    ssize_t done;

    while (n > 0 && (done = write(fd, p, n)) > 0) {
        p += done;
        n -= (size_t)done;
    }
}

/* False: the owner is writing this line now, or has not yet. */
static bool ring_read(struct ring_line *r, char text[RING_WORDS * 8 + 1], size_t *len)
{
    uint64_t before = atomic_load_explicit(&r->seq, memory_order_acquire);

    *len = atomic_load_explicit(&r->len, memory_order_relaxed);
    if (before == 0 || before % 2 != 0 || *len > RING_WORDS * 8)
        return false;
    for (size_t i = 0; i * 8 < *len; i++) {
        uint64_t w = atomic_load_explicit(&r->word[i], memory_order_relaxed);

        memcpy(text + i * 8, &w, sizeof w);
    }
    atomic_thread_fence(memory_order_acquire);
    return atomic_load_explicit(&r->seq, memory_order_relaxed) == before;
}

void log_dump(struct log *const *logs, int n, int fd)
{
    int saved = errno; /* we may be in a signal handler */

    for (int i = 0; i < n; i++) {
        struct log *l = logs[i];
        uint64_t end = atomic_load_explicit(&l->lines, memory_order_acquire);
        char text[RING_WORDS * 8 + 1];
        size_t len;

        dump_bytes(fd, "--- log of ", strlen("--- log of "));
        dump_bytes(fd, l->name, strlen(l->name));
        dump_bytes(fd, "\n", 1);
        for (uint64_t k = end > RING_LINES ? end - RING_LINES : 0; k < end; k++) {
            if (!ring_read(&l->ring[k % RING_LINES], text, &len))
                continue;
            if (text[len - 1] != '\n')
                text[len++] = '\n'; /* cut to the ring's width */
            dump_bytes(fd, text, len);
        }
    }
    errno = saved;
}

static struct log *const *check_logs;
static int check_logs_n;

static void dump_now(void) { log_dump(check_logs, check_logs_n, STDERR_FILENO); }

void log_dump_on_check(struct log *const *logs, int n)
{
    check_logs = logs;
    check_logs_n = n;
    check_set_dump(n > 0 ? dump_now : NULL);
}
