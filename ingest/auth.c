#include "ingest/auth.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

enum { PARTS_MAX = 3 };

struct text {
    const uint8_t *p;
    size_t n;
};

const char *auth_why_text(enum auth_why why)
{
    switch (why) {
#define X(n, d)    \
    case AUTH_##n: \
        return d;
        AUTH_WHYS(X)
#undef X
    case AUTH_WHY_N:
        break;
    }
    return "?";
}

/* --- names --- */

static int hex_digit(uint8_t c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    if (c >= 'a' && c <= 'f')
        return c - 'a' + 10;
    if (c >= 'A' && c <= 'F')
        return c - 'A' + 10;
    return -1;
}

/* Percent-decodes into out, zero-terminated; false: broken, a zero byte, or too long. */
static bool decode(const struct text *t, char *out, size_t cap)
{
    size_t len = 0;

    for (size_t i = 0; i < t->n; i++) {
        uint8_t c = t->p[i];

        if (c == '%') {
            int high = t->n - i > 2 ? hex_digit(t->p[i + 1]) : -1;
            int low = t->n - i > 2 ? hex_digit(t->p[i + 2]) : -1;

            if (high < 0 || low < 0)
                return false;
            c = (uint8_t)(high * 16 + low);
            i += 2;
        }
        if (c == 0 || len + 1 >= cap)
            return false;
        out[len++] = (char)c;
    }
    out[len] = '\0';
    return true;
}

static bool is_plain(char c)
{
    return (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9');
}

static bool decode_name(const struct text *t, char out[AUTH_NAME_MAX + 1])
{
    if (!decode(t, out, AUTH_NAME_MAX + 1) || !is_plain(out[0]))
        return false;
    for (const char *p = out; *p != '\0'; p++)
        if (!is_plain(*p) && *p != '_' && *p != '-')
            return false;
    return true;
}

static bool is_reserved(const char *app)
{
    static const char *const taken[] = { "p", "time", "api", "metrics", "status", "watch" };

    for (size_t i = 0; i < sizeof taken / sizeof taken[0]; i++)
        if (strcmp(app, taken[i]) == 0)
            return true;
    return false;
}

/* What comes before `sep`; *t moves behind it, *more: there was one. */
static struct text cut(struct text *t, char sep, bool *more)
{
    const uint8_t *at = t->n > 0 ? memchr(t->p, sep, t->n) : NULL;
    struct text head = *t;

    *more = at != NULL;
    if (at != NULL) {
        head.n = (size_t)(at - t->p);
        *t = (struct text){ at + 1, t->n - head.n - 1 };
    } else {
        *t = (struct text){ NULL, 0 };
    }
    return head;
}

struct parts {
    struct text part[PARTS_MAX];
    unsigned n;
};

static enum auth_why add_parts(struct parts *all, struct text path)
{
    bool more = path.n > 0;

    while (more) {
        struct text one = cut(&path, '/', &more);

        if (all->n == PARTS_MAX)
            return AUTH_PARTS;
        all->part[all->n++] = one;
    }
    return AUTH_OK;
}

/* "rtmp://host/app/" is a common way to write it: one slash at its end is nothing. */
static struct text app_path(struct text app)
{
    bool query;
    struct text path = cut(&app, '?', &query);

    if (path.n > 0 && path.p[path.n - 1] == '/')
        path.n--;
    return path;
}

/* --- the query --- */

struct query {
    struct text name[AUTH_PARAMS_MAX];
    unsigned n;
    bool exp, kid, sig;
};

static bool same(const struct text *a, const struct text *b)
{
    return a->n == b->n && (a->n == 0 || memcmp(a->p, b->p, a->n) == 0);
}

static bool named(const struct text *t, const char *name)
{
    return t->n == strlen(name) && memcmp(t->p, name, t->n) == 0;
}

static enum auth_why one_param(struct query *q, struct text param, struct auth_target *t)
{
    char value[2 * AUTH_SIG_BYTES + 1];
    bool has_value;
    struct text name = cut(&param, '=', &has_value);

    if (name.n == 0 || q->n == AUTH_PARAMS_MAX || memchr(name.p, '%', name.n) != NULL)
        return AUTH_QUERY;
    for (unsigned i = 0; i < q->n; i++)
        if (same(&q->name[i], &name))
            return AUTH_QUERY;
    q->name[q->n++] = name;
    if (!named(&name, "exp") && !named(&name, "kid") && !named(&name, "sig"))
        return AUTH_OK; /* somebody else's */
    if (!has_value || !decode(&param, value, sizeof value))
        return AUTH_QUERY;
    if (named(&name, "exp")) {
        q->exp = true;
        return auth_exp_parse(value, &t->exp_s) ? AUTH_OK : AUTH_QUERY;
    }
    if (named(&name, "sig")) {
        q->sig = true;
        return auth_sig_parse(value, t->sig) ? AUTH_OK : AUTH_QUERY;
    }
    q->kid = true;
    if (!auth_kid_is_good(value))
        return AUTH_QUERY;
    (void)snprintf(t->kid, sizeof t->kid, "%.*s", AUTH_KID_MAX, value);
    return AUTH_OK;
}

static enum auth_why parse_query(struct query *q, struct text whole, struct auth_target *t)
{
    bool more;
    enum auth_why why = AUTH_OK;

    (void)cut(&whole, '?', &more);
    more = whole.n > 0;
    while (more && why == AUTH_OK)
        why = one_param(q, cut(&whole, '&', &more), t);
    return why;
}

static enum auth_why first_name(const struct text *part, char app[AUTH_NAME_MAX + 1])
{
    if (!decode_name(part, app))
        return AUTH_NAME;
    return is_reserved(app) ? AUTH_RESERVED : AUTH_OK;
}

enum auth_why auth_parse_app(const uint8_t *app, size_t n, char name[AUTH_NAME_MAX + 1])
{
    struct text whole = { app, n };
    struct parts all = { .n = 0 };
    enum auth_why why;

    name[0] = '\0';
    if (n > AUTH_TEXT_MAX)
        return AUTH_LONG;
    why = add_parts(&all, app_path(whole));
    if (why != AUTH_OK || all.n == 0)
        return why;
    return all.n > 2 ? AUTH_PARTS : first_name(&all.part[0], name);
}

enum auth_why auth_parse(const uint8_t *app, size_t app_n, const uint8_t *key, size_t key_n,
                         struct auth_target *out)
{
    struct text a = { app, app_n }, k = { key, key_n }, path = k;
    struct parts all = { .n = 0 };
    struct query q = { .n = 0 };
    char instance[AUTH_NAME_MAX + 1];
    enum auth_why why;
    unsigned app_parts;
    bool more;

    *out = (struct auth_target){ .exp_s = 0 };
    if (app_n > AUTH_TEXT_MAX || key_n > AUTH_TEXT_MAX)
        return AUTH_LONG;
    why = add_parts(&all, app_path(a));
    app_parts = all.n;
    if (why == AUTH_OK)
        why = add_parts(&all, cut(&path, '?', &more));
    if (why != AUTH_OK || all.n < 2 || all.n == app_parts) /* NB: an empty key names nothing */
        return why != AUTH_OK ? why : AUTH_PARTS;
    why = first_name(&all.part[0], out->app);
    if (why == AUTH_OK && all.n == 3 && !decode_name(&all.part[1], instance))
        why = AUTH_NAME;
    if (why == AUTH_OK && !decode_name(&all.part[all.n - 1], out->stream))
        why = AUTH_NAME;
    if (why == AUTH_OK)
        why = parse_query(&q, a, out);
    if (why == AUTH_OK)
        why = parse_query(&q, k, out);
    if (why == AUTH_OK && (q.exp || q.kid || q.sig) && !(q.exp && q.kid && q.sig))
        why = AUTH_QUERY;
    out->is_signed = why == AUTH_OK && q.sig;
    return why;
}

/* --- signatures --- */

enum auth_why auth_check(const struct auth_policy *policy, const struct auth_keys *keys,
                         const struct auth_target *t, bool local, uint64_t now_s)
{
    const struct auth_key *key;

    if (policy->mode == AUTH_NOBODY)
        return AUTH_APP;
    if (policy->mode == AUTH_OPEN || (policy->mode == AUTH_LOCAL && local))
        return AUTH_OK;
    if (!t->is_signed)
        return AUTH_UNSIGNED;
    if ((key = auth_keys_find(keys, t->kid)) == NULL)
        return AUTH_KID;
    if (!auth_key_verify(key, "publish", t->app, t->stream, t->exp_s, t->sig))
        return AUTH_SIGNATURE;
    if (t->exp_s == 0)
        return policy->permanent ? AUTH_OK : AUTH_PERMANENT;
    return now_s > t->exp_s ? AUTH_EXPIRED : AUTH_OK;
}

enum st auth_sign(const struct auth_key *key, const char *app, const char *stream, uint64_t exp_s,
                  char *out, size_t cap)
{
    char hex[2 * AUTH_SIG_BYTES + 1];
    enum st st = auth_key_sign(key, "publish", app, stream, exp_s, hex);
    int n;

    if (st != ST_OK)
        return st;
    n = snprintf(out, cap, "exp=%" PRIu64 "&kid=%s&sig=%s", exp_s, key->kid, hex);
    return n > 0 && (size_t)n < cap ? ST_OK : ST_ELIMIT;
}
