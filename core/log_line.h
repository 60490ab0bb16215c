/* core/log_line.h - one line of a log, put together key by key
 *
 * Purpose   what the log of events (core/log.h) and the log of accesses (edge/access.h) have in
 *           common: the time, then key=value or a JSON object, everything that is not printable
 *           ASCII escaped, and an end that is always whole.
 * Limits    LOG_LINE_BYTES; what does not fit is cut or left out, and truncated=true says so.
 * Owner     the caller's stack.
 * Thread    pure, but for the wall clock.
 * Errors    none.
 * Tests     tests/unit/test_log.c
 */
#ifndef CORE_LOG_LINE_H
#define CORE_LOG_LINE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { LOG_LINE_BYTES = 4096 };

struct log_line {
    char b[LOG_LINE_BYTES];
    size_t n;
    size_t room; /* for what may be cut */
    bool json;
    bool cut;
};

void log_line_begin(struct log_line *o, bool json); /* the time: RFC 3339, UTC, ms */
/* A word of our own, without its key in the text format. */
void log_line_word(struct log_line *o, const char *key, const char *word);
/* Any bytes. quoted: always, in the text format; else where they need it. */
void log_line_text(struct log_line *o, const char *key, const char *p, size_t n, bool quoted);
void log_line_number(struct log_line *o, const char *key, int64_t number);
void log_line_end(struct log_line *o); /* o->b has o->n bytes, the last one a newline */

#endif
