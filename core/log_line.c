#include "core/log_line.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "core/check.h"
#include "core/clock.h"

enum { CLOSING_BYTES = 64 }; /* kept for quotes, truncated=true and the end of the line */

/* NB: a closing quote may have gone past the room. */
static size_t left(const struct log_line *o) { return o->n < o->room ? o->room - o->n : 0; }

/* All of it or nothing. */
static bool put(struct log_line *o, const char *p, size_t n)
{
    if (n > left(o)) {
        o->cut = true;
        return false;
    }
    memcpy(o->b + o->n, p, n);
    o->n += n;
    return true;
}

/* What ends a value always fits: it comes out of the closing bytes. */
static void close_with(struct log_line *o, const char *s)
{
    size_t n = strlen(s);

    CHECK(n <= sizeof o->b - o->n);
    memcpy(o->b + o->n, s, n);
    o->n += n;
}

static bool plain(unsigned char c) { return c >= 0x20 && c < 0x7f && c != '"' && c != '\\'; }

static void put_escaped(struct log_line *o, const char *p, size_t n)
{
    static const char hex[] = "0123456789abcdef";
    bool fits = true;

    for (size_t i = 0; fits && i < n; i++) {
        unsigned char c = (unsigned char)p[i];
        char e[6] = { '\\', 'u', '0', '0', hex[c >> 4], hex[c & 15] };

        if (plain(c)) {
            fits = put(o, p + i, 1);
        } else if (c == '"' || c == '\\') {
            e[1] = (char)c;
            fits = put(o, e, 2);
        } else if (o->json) {
            fits = put(o, e, 6);
        } else {
            e[1] = 'x';
            memmove(e + 2, e + 4, 2);
            fits = put(o, e, 4);
        }
    }
}

static bool wants_quotes(const char *p, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (!plain((unsigned char)p[i]) || p[i] == ' ' || p[i] == '=')
            return true;
    return n == 0;
}

/* The key with what stands before its value, or nothing. */
static bool put_key(struct log_line *o, const char *key, bool quoted)
{
    char head[80];
    int n = snprintf(head, sizeof head, o->json ? ",\"%s\":%s" : " %s=%s", key, quoted ? "\"" : "");

    CHECK(n > 0 && (size_t)n < sizeof head);
    return put(o, head, (size_t)n);
}

void log_line_text(struct log_line *o, const char *key, const char *p, size_t n, bool quoted)
{
    quoted = quoted || o->json || wants_quotes(p, n);
    if (!put_key(o, key, quoted))
        return;
    put_escaped(o, p, n);
    if (quoted)
        close_with(o, "\"");
}

void log_line_word(struct log_line *o, const char *key, const char *word)
{
    if (o->json)
        log_line_text(o, key, word, strlen(word), true);
    else if (put(o, " ", 1))
        put_escaped(o, word, strlen(word));
}

void log_line_number(struct log_line *o, const char *key, int64_t number)
{
    char text[120];
    int n = snprintf(text, sizeof text, o->json ? ",\"%s\":%" PRId64 : " %s=%" PRId64, key, number);

    CHECK(n > 0 && (size_t)n < sizeof text);
    (void)put(o, text, (size_t)n); /* a number is whole or absent */
}

void log_line_begin(struct log_line *o, bool json)
{
    int64_t us = clock_wall_us();
    time_t s = (time_t)(us / (int64_t)SEC_US);
    int ms = (int)(us % (int64_t)SEC_US / (int64_t)MS_US);
    struct tm tm;
    char head[80];
    int n;

    o->n = 0;
    o->room = sizeof o->b - CLOSING_BYTES;
    o->cut = false;
    o->json = json;
    (void)gmtime_r(&s, &tm);
    n = snprintf(head, sizeof head,
                 json ? "{\"time\":\"%04d-%02d-%02dT%02d:%02d:%02d.%03dZ\""
                      : "%04d-%02d-%02dT%02d:%02d:%02d.%03dZ",
                 tm.tm_year + 1900, tm.tm_mon + 1, tm.tm_mday, tm.tm_hour, tm.tm_min, tm.tm_sec,
                 ms);
    CHECK(n > 0 && (size_t)n < sizeof head);
    (void)put(o, head, (size_t)n);
}

void log_line_end(struct log_line *o)
{
    if (o->cut)
        close_with(o, o->json ? ",\"truncated\":true" : " truncated=true");
    close_with(o, o->json ? "}\n" : "\n");
}
