#include "tests/load/script.h"

#include <stdlib.h>
#include <string.h>

#include "core/clock.h"

#define MAX_NUMBER (INT64_C(1) << 40)
#define MAX_TIME_MS INT64_C(3600000)

enum kind { NUMBER, FLAG, TEXT, IGNORED };

/* Parameters that only store a value; the others are in special(). */
static const struct param {
    const char *name;
    enum kind kind;
    size_t field;
} params[] = {
    { "delay", NUMBER, offsetof(struct script, delay_ms) },
    { "over", NUMBER, offsetof(struct script, over_ms) },
    { "step", NUMBER, offsetof(struct script, step_ms) },
    { "status", NUMBER, offsetof(struct script, status) },
    { "times", NUMBER, offsetof(struct script, times) },
    { "die", NUMBER, offsetof(struct script, die_at) },
    { "stall", NUMBER, offsetof(struct script, stall_at) },
    { "flip", NUMBER, offsetof(struct script, flip_at) },
    { "at", NUMBER, offsetof(struct script, gate_at) },
    { "close", FLAG, offsetof(struct script, close) },
    { "ranges", FLAG, offsetof(struct script, ranges) },
    { "etag_seq", FLAG, offsetof(struct script, etag_seq) },
    { "cc", TEXT, offsetof(struct script, cc) },
    { "etag", TEXT, offsetof(struct script, etag) },
    { "type", TEXT, offsetof(struct script, type) },
    { "gate", TEXT, offsetof(struct script, gate) },
    { "x", IGNORED, 0 },
};

struct text {
    const char *p;
    size_t n;
};

static bool is(struct text t, const char *s)
{
    return t.n == strlen(s) && memcmp(t.p, s, t.n) == 0;
}

static bool number(struct text t, int64_t *out)
{
    int64_t v = 0;

    for (size_t i = 0; i < t.n; i++) {
        if (t.p[i] < '0' || t.p[i] > '9')
            return false;
        v = v * 10 + (t.p[i] - '0');
        if (v > MAX_NUMBER)
            return false;
    }
    *out = v;
    return t.n > 0;
}

static int hex(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    c = (char)(c | 0x20);
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* Percent-decodes; what could break out of a header line or a JSON string is refused. */
static bool decode(struct text t, char dst[SCRIPT_TEXT_BYTES])
{
    size_t n = 0;

    for (size_t i = 0; i < t.n; i++) {
        char c = t.p[i];

        if (c == '%') {
            int hi = t.n - i > 2 ? hex(t.p[i + 1]) : -1, lo = hi >= 0 ? hex(t.p[i + 2]) : -1;

            if (lo < 0)
                return false;
            c = (char)(hi << 4 | lo);
            i += 2;
        }
        if (c < ' ' || c > '~' || c == '"' || c == '\\' || n + 1 == SCRIPT_TEXT_BYTES)
            return false;
        dst[n++] = c;
    }
    dst[n] = '\0';
    return n > 0;
}

/* MORE: not one of these. */
static enum st special(struct script *s, struct text name, struct text value)
{
    bool one = is(value, "1"), flag = one || is(value, "0");

    if (is(name, "cl")) {
        s->frame = one ? FRAME_LENGTH : FRAME_CHUNKED;
        return flag ? ST_OK : ST_EPROTO;
    }
    if (is(name, "eof")) {
        s->frame = one ? FRAME_EOF : s->frame;
        return flag ? ST_OK : ST_EPROTO;
    }
    if (is(name, "how")) {
        s->die_fin = is(value, "fin");
        return s->die_fin || is(value, "rst") ? ST_OK : ST_EPROTO;
    }
    if (is(name, "die") && is(value, "head")) {
        s->die_at = SCRIPT_DIE_HEAD;
        return ST_OK;
    }
    return ST_MORE;
}

static enum st set(struct script *s, struct text name, struct text value)
{
    enum st st = special(s, name, value);

    if (st != ST_MORE)
        return st;
    for (size_t i = 0; i < sizeof params / sizeof params[0]; i++) {
        void *field = (char *)s + params[i].field;

        if (!is(name, params[i].name))
            continue;
        switch (params[i].kind) {
        case NUMBER:
            return number(value, field) ? ST_OK : ST_EPROTO;
        case TEXT:
            return decode(value, field) ? ST_OK : ST_EPROTO;
        case FLAG:
            *(bool *)field = is(value, "1");
            return is(value, "1") || is(value, "0") ? ST_OK : ST_EPROTO;
        case IGNORED:
            return ST_OK;
        }
    }
    return ST_EPROTO;
}

/* Takes the text up to `sep` off the front of *t. */
static struct text cut(struct text *t, char sep)
{
    const char *end = t->n > 0 ? memchr(t->p, sep, t->n) : NULL;
    struct text head = { t->p, end != NULL ? (size_t)(end - t->p) : t->n };
    size_t used = head.n + (end != NULL);

    t->p += used;
    t->n -= used;
    return head;
}

static enum st set_pair(struct script *s, struct text pair)
{
    struct text name = cut(&pair, '=');

    return set(s, name, pair);
}

enum st script_parse(struct script *s, const char *target, size_t len)
{
    struct text rest = { target, len }, path = cut(&rest, '?');

    *s = (struct script){ .status = 200,
                          .step_ms = 50,
                          .die_at = -1,
                          .stall_at = -1,
                          .flip_at = -1,
                          .gate_at = -1,
                          .ranges = true,
                          .type = "application/octet-stream",
                          .path_len = path.n };
    if (path.n == 0 || cut(&path, '/').n != 0 || cut(&path, '/').n == 0)
        return ST_ENOENT;
    struct text shape = cut(&path, '/'), size = cut(&path, '/');

    if ((!is(shape, "b") && !is(shape, "drip")) || !number(size, &s->size))
        return ST_ENOENT;
    s->frame = is(shape, "b") ? FRAME_LENGTH : FRAME_CHUNKED;
    while (path.n > 0) {
        struct text seg = cut(&path, '/');

        if (seg.n > 0 && memchr(seg.p, '=', seg.n) != NULL && set_pair(s, seg) != ST_OK)
            return ST_EPROTO;
    }
    while (rest.n > 0) {
        if (set_pair(s, cut(&rest, '&')) != ST_OK)
            return ST_EPROTO;
    }
    if (s->status < 200 || s->status > 599 || s->step_ms < 1 || s->step_ms > MAX_TIME_MS ||
        s->over_ms > MAX_TIME_MS || s->delay_ms > MAX_TIME_MS)
        return ST_EPROTO;
    return ST_OK;
}

int64_t script_due_bytes(const struct script *s, int64_t len, uint64_t since_us, uint64_t *next_us)
{
    int64_t gaps = s->over_ms / s->step_ms; /* pieces = gaps + 1, the last exactly at over_ms */

    if (gaps == 0 || since_us >= (uint64_t)s->over_ms * MS_US)
        return len;
    int64_t passed = (int64_t)since_us * gaps / (s->over_ms * (int64_t)MS_US);

    *next_us = (uint64_t)((passed + 1) * s->over_ms * (int64_t)MS_US + gaps - 1) / (uint64_t)gaps;
    return len / (gaps + 1) * (passed + 1);
}

enum st script_range(const char *value, int64_t size, int64_t *first, int64_t *len)
{
    struct text t = { value, strlen(value) }, unit = cut(&t, '=');
    bool dash = memchr(t.p, '-', t.n) != NULL;
    struct text from = cut(&t, '-');
    int64_t a, b = size - 1;

    if (!is(unit, "bytes") || !dash || (from.n == 0 && t.n == 0))
        return ST_MORE;
    if (from.n == 0) {
        if (!number(t, &b))
            return ST_MORE;
        if (b == 0 || size == 0)
            return ST_ENOENT;
        *len = b < size ? b : size;
        *first = size - *len;
        return ST_OK;
    }
    if (!number(from, &a))
        return ST_MORE;
    if (t.n > 0) {
        /* Larger than we count, as in "to the end, wherever that will be": all the rest. */
        if (strspn(t.p, "0123456789") != t.n)
            return ST_MORE;
        if (!number(t, &b))
            b = MAX_NUMBER;
        if (b < a)
            return ST_MORE;
    }
    if (a >= size)
        return ST_ENOENT;
    *first = a;
    *len = (b < size ? b : size - 1) - a + 1;
    return ST_OK;
}
