#include "core/jscan.h"

#include <string.h>

struct jscan jscan_init(const char *text, size_t n)
{
    return (struct jscan){ .p = text, .end = text + n };
}

static void skip_space(struct jscan *s)
{
    while (s->p < s->end && (*s->p == ' ' || *s->p == '\t' || *s->p == '\n' || *s->p == '\r'))
        s->p++;
}

static bool take(struct jscan *s, char c)
{
    skip_space(s);
    if (s->p == s->end || *s->p != c)
        return false;
    s->p++;
    return true;
}

/* From behind the opening quote to behind the closing one. */
static bool skip_string(struct jscan *s)
{
    while (s->p < s->end && *s->p != '"') {
        if ((unsigned char)*s->p < 0x20)
            return false;
        s->p += *s->p == '\\' && s->end - s->p > 1 ? 2 : 1;
    }
    if (s->p == s->end)
        return false;
    s->p++;
    return true;
}

/* A number, true, false or null: what stands between the marks. */
static bool skip_word(struct jscan *s)
{
    const char *from = s->p;

    while (s->p < s->end && *s->p != '\0' && strchr(",:]}[{\" \t\r\n", *s->p) == NULL)
        s->p++;
    return s->p > from;
}

static enum st skip_value(struct jscan *s)
{
    char open[JSCAN_DEPTH];
    size_t depth = 0;

    do {
        char c;

        skip_space(s);
        if (s->p == s->end)
            return ST_EPROTO;
        c = *s->p;
        if (c == '{' || c == '[') {
            if (depth == JSCAN_DEPTH)
                return ST_ELIMIT;
            open[depth++] = c == '{' ? '}' : ']';
            s->p++;
        } else if (c == '}' || c == ']') {
            if (depth == 0 || open[depth - 1] != c)
                return ST_EPROTO;
            depth--;
            s->p++;
        } else if (c == '"') {
            s->p++;
            if (!skip_string(s))
                return ST_EPROTO;
        } else if ((c == ',' || c == ':') && depth > 0) {
            s->p++;
        } else if (!skip_word(s)) {
            return ST_EPROTO;
        }
    } while (depth > 0);
    return ST_OK;
}

static enum st read_member(struct jscan *s, struct jscan_member *m)
{
    enum st st;

    if (!take(s, '"'))
        return ST_EPROTO;
    m->key = s->p;
    if (!skip_string(s))
        return ST_EPROTO;
    m->key_n = (size_t)(s->p - 1 - m->key);
    if (memchr(m->key, '\\', m->key_n) != NULL || !take(s, ':'))
        return ST_EPROTO;
    skip_space(s);
    m->value = s->p;
    st = skip_value(s);
    m->n = (size_t)(s->p - m->value);
    return st;
}

enum st jscan_next(struct jscan *s, struct jscan_member *m)
{
    bool first = !s->begun;

    if (s->st != ST_OK)
        return s->st;
    s->begun = true;
    if (first && !take(s, '{')) {
        s->st = ST_EPROTO;
    } else if (take(s, '}')) {
        skip_space(s);
        s->st = s->p == s->end ? ST_EOF : ST_EPROTO;
    } else if (!first && !take(s, ',')) {
        s->st = ST_EPROTO;
    } else {
        s->st = read_member(s, m);
    }
    return s->st;
}

bool jscan_is(const struct jscan_member *m, const char *key)
{
    return m->key_n == strlen(key) && memcmp(m->key, key, m->key_n) == 0;
}

bool jscan_int(const struct jscan_member *m, int64_t *v)
{
    bool minus = m->n > 0 && m->value[0] == '-';
    uint64_t sum = 0;

    if (m->n - minus == 0 || m->n - minus > 18) /* 18 digits always fit */
        return false;
    for (size_t i = minus; i < m->n; i++) {
        if (m->value[i] < '0' || m->value[i] > '9' ||
            (m->value[i] == '0' && i == minus && m->n - minus > 1))
            return false;
        sum = sum * 10 + (uint64_t)(m->value[i] - '0');
    }
    *v = minus ? -(int64_t)sum : (int64_t)sum;
    return true;
}

bool jscan_text(const struct jscan_member *m, char *to, size_t room)
{
    if (m->n < 2 || m->value[0] != '"' || m->n - 2 >= room ||
        memchr(m->value, '\\', m->n) != NULL || memchr(m->value, '\0', m->n) != NULL)
        return false;
    memcpy(to, m->value + 1, m->n - 2);
    to[m->n - 2] = '\0';
    return true;
}

bool jscan_is_object(const struct jscan_member *m) { return m->n >= 2 && m->value[0] == '{'; }
