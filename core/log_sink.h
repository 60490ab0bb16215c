/* core/log_sink.h - lines to a file descriptor, without anybody waiting for its reader
 *
 * Purpose   loops put whole lines into a bounded queue; one thread writes them out. When the
 *           reader of a pipe sleeps, the queue fills and further lines are refused (the log that
 *           put them counts and later says so); a line once taken is written, in order, even if
 *           the descriptor fails for a while (a full disk).
 *           The level and the format in force live here, so a reload changes them in one place.
 * Owner     main(): made before the loops, freed after all logs. The descriptor is borrowed.
 * Thread    log_sink_put, _set, _level, _format: any. The others: main.
 * Errors    log_sink_new: NULL when there is no memory or no thread to be had.
 * Tests     tests/unit/test_log.c
 */
#ifndef CORE_LOG_SINK_H
#define CORE_LOG_SINK_H

#include <stdbool.h>
#include <stddef.h>

#include "core/status.h"

/*  enum, word, what belongs there */
#define LOG_LEVELS(X)                                               \
    X(ERROR, "error", "something failed and somebody should look")  \
    X(WARN, "warn", "works, but not as it should")                  \
    X(NOTE, "note", "rare and worth knowing: start, reload, drain") \
    X(INFO, "info", "one line per session or connection")           \
    X(DEBUG, "debug", "what a developer wants to see")

enum log_level {
#define X(n, w, d) LOG_##n,
    LOG_LEVELS(X)
#undef X
};
enum log_format { LOG_TEXT, LOG_JSON };

enum { LOG_QUEUE_BYTES = 256 * 1024 }; /* twice: one half fills while the other is written */

struct log_sink;
struct log;

struct log_sink *log_sink_new(int fd, enum log_level level, enum log_format format);
/* Writes what is queued; gives up when the reader takes nothing for a second. */
void log_sink_free(struct log_sink **sp);

void log_sink_set(struct log_sink *s, enum log_level level, enum log_format format);
enum log_level log_sink_level(struct log_sink *s);
enum log_format log_sink_format(struct log_sink *s);

/* False: the queue is full. */
bool log_sink_put(struct log_sink *s, const char *line, size_t n);

const char *log_level_name(enum log_level level);
MUST_USE enum st log_level_parse(const char *word, enum log_level *level); /* ENOENT */

#endif
