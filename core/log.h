/* core/log.h - one line per event, for people and for machines
 *
 * Purpose   each loop, and main, owns one struct log. A line is a time (RFC 3339, UTC, ms), level,
 *           module, message, and the keys of its context, outermost first:
 *               2026-03-01T12:00:00.123Z warn http msg="slow reader" conn=81 stream=live/show
 *           or the same as one JSON object. Context is a chain of structs on the stack or in the
 *           objects, so a line logged deep inside still says which connection and stream it is
 *           about. Everything that is not printable ASCII is escaped: peers choose some values.
 *           Of one call site (its format string) five lines a second pass; the rest become one
 *           line with repeated=K when the second is over (debug lines all pass).
 *           The last 256 lines of each log stay in memory, info lines among them even when the
 *           level in force leaves them out: log_dump() shows them.
 * Limits    a line 4 KiB (then truncated=true), a message 1 KiB, 64 call sites watched at a time.
 * Owner     log_new()/_free() by main, before and after the threads.
 * Thread    the owning loop only; log_dump() from any, and from a signal handler.
 * Errors    log_new: NULL, no memory. Lines that the sink refuses are counted in `dropped` and
 *           reported in a later line.
 * Tests     tests/unit/test_log.c
 */
#ifndef CORE_LOG_H
#define CORE_LOG_H

#include <stdint.h>

#include "core/log_sink.h"

struct log;

struct log_ctx {
    const struct log_ctx *parent; /* NULL: outermost */
    const char *key;              /* of our own: [a-z0-9_]+ */
    const char *text;             /* NULL: the number counts */
    int64_t number;
};

/* For use in place: log_info(l, LOG_CTX_TEXT(&c->ctx, "reason", why), "http", "closed"). */
#define LOG_CTX_TEXT(parent, key, text) (&(const struct log_ctx){ (parent), (key), (text), 0 })
#define LOG_CTX_INT(parent, key, number) \
    (&(const struct log_ctx){ (parent), (key), NULL, (number) })

/* name: in the dump's headings, borrowed. dropped: a counter of the owner, or NULL. */
struct log *log_new(struct log_sink *s, const char *name, _Atomic uint64_t *dropped);
void log_free(struct log **lp); /* says what was held back */
/* For the main thread's log, which no peer can make shout: every line passes. */
void log_unlimited(struct log *l);

/* l == NULL: silent. module and fmt are literals, both are kept; equal formats may share a site. */
void log_msg(struct log *l, const struct log_ctx *ctx, enum log_level level, const char *module,
             const char *fmt, ...) __attribute__((format(printf, 5, 6)));
#define log_error(l, ctx, ...) log_msg((l), (ctx), LOG_ERROR, __VA_ARGS__)
#define log_warn(l, ctx, ...) log_msg((l), (ctx), LOG_WARN, __VA_ARGS__)
#define log_note(l, ctx, ...) log_msg((l), (ctx), LOG_NOTE, __VA_ARGS__)
#define log_info(l, ctx, ...) log_msg((l), (ctx), LOG_INFO, __VA_ARGS__)
#define log_debug(l, ctx, ...) log_msg((l), (ctx), LOG_DEBUG, __VA_ARGS__)

/* About once a second: the repeated=K and dropped=K lines that are due. */
void log_tick(struct log *l);

/* The rings of these logs, oldest line first, by write(2) alone. */
void log_dump(struct log *const *logs, int n, int fd);
/* The same to stderr when a CHECK fails. Before threads start; NULL, 0 takes it back. */
void log_dump_on_check(struct log *const *logs, int n);

#endif
