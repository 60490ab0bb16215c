#include "ingest/auth.h"

#include <ctype.h>
#include <inttypes.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/check.h"

enum { KEYS_MAGIC = 0x0a074e75, PARTS_MAX = 3, MESSAGE_MAX = 8 + 2 * AUTH_NAME_MAX + 2 + 24 };

struct auth_keys {
    int magic;
    atomic_int refs;
    size_t n;
    struct auth_key key[];
};

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

/* Decimal without leading zeros, so that there is one way to write what was signed. */
static bool parse_exp(const char *s, uint64_t *out)
{
    uint64_t v = 0;

    if (s[0] == '\0' || strlen(s) > 18 || (s[0] == '0' && s[1] != '\0'))
        return false;
    for (; *s != '\0'; s++) {
        if (*s < '0' || *s > '9')
            return false;
        v = v * 10 + (uint64_t)(*s - '0');
    }
    *out = v;
    return true;
}

static bool good_kid(const char *kid)
{
    size_t n = strlen(kid);

    if (n == 0 || n > AUTH_KID_MAX)
        return false;
    for (; *kid != '\0'; kid++)
        if (!(*kid >= 'a' && *kid <= 'z') && !(*kid >= '0' && *kid <= '9'))
            return false;
    return true;
}

static bool parse_sig(const char *s, uint8_t sig[AUTH_SIG_BYTES])
{
    if (strlen(s) != (size_t)2 * AUTH_SIG_BYTES)
        return false;
    for (size_t i = 0; i < AUTH_SIG_BYTES; i++) {
        int high = hex_digit((uint8_t)s[2 * i]), low = hex_digit((uint8_t)s[2 * i + 1]);

        if (high < 0 || low < 0)
            return false;
        sig[i] = (uint8_t)(high * 16 + low);
    }
    return true;
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
        return parse_exp(value, &t->exp_s) ? AUTH_OK : AUTH_QUERY;
    }
    if (named(&name, "sig")) {
        q->sig = true;
        return parse_sig(value, t->sig) ? AUTH_OK : AUTH_QUERY;
    }
    q->kid = true;
    if (!good_kid(value))
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

/* --- keys --- */

enum st auth_key_parse(const char *kid, const char *hex, struct auth_key *out)
{
    size_t len = strlen(hex);

    *out = (struct auth_key){ .n = 0 };
    while (len > 0 && isspace((unsigned char)hex[len - 1]))
        len--;
    for (; len > 0 && isspace((unsigned char)*hex); hex++)
        len--;
    if (!good_kid(kid) || len % 2 != 0 || len / 2 < AUTH_KEY_MIN || len / 2 > AUTH_KEY_MAX)
        return ST_ECONF;
    for (size_t i = 0; i < len; i += 2) {
        int high = hex_digit((uint8_t)hex[i]), low = hex_digit((uint8_t)hex[i + 1]);

        if (high < 0 || low < 0)
            return ST_ECONF;
        out->bytes[out->n++] = (uint8_t)(high * 16 + low);
    }
    (void)snprintf(out->kid, sizeof out->kid, "%.*s", AUTH_KID_MAX, kid);
    return ST_OK;
}

struct auth_keys *auth_keys_new(const struct auth_key *keys, size_t n)
{
    struct auth_keys *k = calloc(1, sizeof *k + n * sizeof *keys);

    if (k == NULL)
        return NULL;
    OBJ_INIT(k, KEYS_MAGIC);
    atomic_init(&k->refs, 1);
    k->n = n;
    if (n > 0)
        memcpy(k->key, keys, n * sizeof *keys);
    return k;
}

struct auth_keys *auth_keys_ref(struct auth_keys *k)
{
    OBJ_CHECK(k, KEYS_MAGIC);
    (void)atomic_fetch_add_explicit(&k->refs, 1, memory_order_relaxed);
    return k;
}

void auth_keys_unref(struct auth_keys **kp)
{
    struct auth_keys *k = *kp;

    *kp = NULL;
    if (k == NULL)
        return;
    OBJ_CHECK(k, KEYS_MAGIC);
    if (atomic_fetch_sub_explicit(&k->refs, 1, memory_order_acq_rel) > 1)
        return;
    OPENSSL_cleanse(k->key, k->n * sizeof k->key[0]);
    OBJ_FINI(k, KEYS_MAGIC);
    free(k);
}

/* --- signatures --- */

static bool signature(const struct auth_key *key, const char *app, const char *stream,
                      uint64_t exp_s, uint8_t sig[AUTH_SIG_BYTES])
{
    char message[MESSAGE_MAX];
    unsigned len = 0;
    int n = snprintf(message, sizeof message, "publish\n%s/%s\n%" PRIu64, app, stream, exp_s);

    CHECK(n > 0 && (size_t)n < sizeof message);
    return HMAC(EVP_sha256(), key->bytes, (int)key->n, (const unsigned char *)message, (size_t)n,
                sig, &len) != NULL &&
           len == AUTH_SIG_BYTES;
}

enum auth_why auth_check(const struct auth_policy *policy, const struct auth_keys *keys,
                         const struct auth_target *t, bool local, uint64_t now_s)
{
    uint8_t want[AUTH_SIG_BYTES];
    const struct auth_key *key = NULL;

    if (policy->mode == AUTH_NOBODY)
        return AUTH_APP;
    if (policy->mode == AUTH_OPEN || (policy->mode == AUTH_LOCAL && local))
        return AUTH_OK;
    if (!t->is_signed)
        return AUTH_UNSIGNED;
    for (size_t i = 0; keys != NULL && i < keys->n; i++)
        if (strcmp(keys->key[i].kid, t->kid) == 0)
            key = &keys->key[i];
    if (key == NULL)
        return AUTH_KID;
    if (!signature(key, t->app, t->stream, t->exp_s, want) ||
        CRYPTO_memcmp(want, t->sig, sizeof want) != 0)
        return AUTH_SIGNATURE;
    if (t->exp_s == 0)
        return policy->permanent ? AUTH_OK : AUTH_PERMANENT;
    return now_s > t->exp_s ? AUTH_EXPIRED : AUTH_OK;
}

enum st auth_sign(const struct auth_key *key, const char *app, const char *stream, uint64_t exp_s,
                  char *out, size_t cap)
{
    uint8_t sig[AUTH_SIG_BYTES];
    char hex[2 * AUTH_SIG_BYTES + 1];
    int n;

    if (strlen(app) > AUTH_NAME_MAX || strlen(stream) > AUTH_NAME_MAX)
        return ST_ELIMIT;
    if (!signature(key, app, stream, exp_s, sig))
        return ST_ENOMEM;
    for (size_t i = 0; i < sizeof sig; i++)
        (void)snprintf(hex + 2 * i, 3, "%02x", sig[i]);
    n = snprintf(out, cap, "exp=%" PRIu64 "&kid=%s&sig=%s", exp_s, key->kid, hex);
    return n > 0 && (size_t)n < cap ? ST_OK : ST_ELIMIT;
}
