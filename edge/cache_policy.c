#include "edge/cache_policy.h"

#include "core/clock.h"
#include "edge/http_date.h"

#define DELTA_MAX (UINT64_C(1) << 31) /* seconds; RFC 9111 section 1.2.2 */
#define ABSENT UINT64_MAX

struct directives {
    bool no_store, no_cache, is_private, revalidate;
    uint64_t max_age, s_maxage, while_revalidate, if_error; /* seconds, ABSENT */
};

/* Takes name[=value] off the front of *list; a quoted value may hold commas. */
static bool take_directive(struct slice *list, struct slice *name, struct slice *value)
{
    size_t i = 0, eq;
    bool quoted = false;

    while (list->n > 0 && (is_blank(list->p[0]) || list->p[0] == ',')) {
        list->p++;
        list->n--;
    }
    if (list->n == 0)
        return false;
    for (; i < list->n && (quoted || list->p[i] != ','); i++) {
        if (list->p[i] == '\\' && quoted)
            i += i + 1 < list->n;
        else if (list->p[i] == '"')
            quoted = !quoted;
    }
    if (quoted) { /* a quote that never ends quotes nothing: it must not hide a directive */
        const uint8_t *comma = memchr(list->p, ',', list->n);

        i = comma != NULL ? (size_t)(comma - list->p) : list->n;
    }
    for (eq = 0; eq < i && list->p[eq] != '=';)
        eq++;
    *name = slice_trim(slice_of(list->p, eq));
    *value = eq < i ? slice_trim(slice_of(list->p + eq + 1, i - eq - 1)) : slice_of(list->p, 0);
    if (value->n >= 2 && value->p[0] == '"' && value->p[value->n - 1] == '"')
        *value = slice_of(value->p + 1, value->n - 2);
    list->p += i;
    list->n -= i;
    return true;
}

/* A value that is no number counts as 0: expired. Of two, the smaller. */
static void take_delta(uint64_t *delta, struct slice value)
{
    uint64_t v;

    if (!slice_u64(value, &v))
        v = 0;
    if (v > DELTA_MAX)
        v = DELTA_MAX;
    if (*delta == ABSENT || v < *delta)
        *delta = v;
}

static struct directives read_cache_control(struct slice list)
{
    struct directives d = {
        .max_age = ABSENT, .s_maxage = ABSENT, .while_revalidate = ABSENT, .if_error = ABSENT
    };
    struct slice name, value;

    while (take_directive(&list, &name, &value)) {
        if (slice_eq_nocase(name, SLICE("no-store")))
            d.no_store = true;
        else if (slice_eq_nocase(name, SLICE("no-cache")))
            d.no_cache = true; /* also when limited to some headers: we keep no such list */
        else if (slice_eq_nocase(name, SLICE("private")))
            d.is_private = true;
        else if (slice_eq_nocase(name, SLICE("must-revalidate")) ||
                 slice_eq_nocase(name, SLICE("proxy-revalidate")))
            d.revalidate = true;
        else if (slice_eq_nocase(name, SLICE("max-age")))
            take_delta(&d.max_age, value);
        else if (slice_eq_nocase(name, SLICE("s-maxage")))
            take_delta(&d.s_maxage, value);
        else if (slice_eq_nocase(name, SLICE("stale-while-revalidate")))
            take_delta(&d.while_revalidate, value);
        else if (slice_eq_nocase(name, SLICE("stale-if-error")))
            take_delta(&d.if_error, value);
    }
    return d;
}

static bool status_is_storable(unsigned status)
{
    switch (status) {
    case 200:
    case 203:
    case 204:
    case 301:
    case 308:
    case 404:
    case 410:
        return true;
    default:
        return false;
    }
}

/* We ask upstream for no coding, so accept-encoding makes no difference between two of our
 * requests; everything else may. */
static bool varies(struct slice vary)
{
    struct slice name;

    while (slice_list_next(&vary, &name)) {
        if (!slice_eq_nocase(name, SLICE("accept-encoding")))
            return true;
    }
    return false;
}

static enum cache_refusal judge(const struct http_reply *r, const struct cache_request *q,
                                const struct directives *d)
{
    if (!status_is_storable(r->status))
        return CACHE_REFUSED_STATUS;
    if (d->no_store)
        return CACHE_REFUSED_NO_STORE;
    if (d->is_private)
        return CACHE_REFUSED_PRIVATE;
    if (r->set_cookie)
        return CACHE_REFUSED_COOKIE;
    if (varies(r->kept[HTTP_REPLY_VARY]))
        return CACHE_REFUSED_VARY;
    if (q->authorization)
        return CACHE_REFUSED_AUTHORIZATION;
    return r->kept[HTTP_REPLY_CONTENT_RANGE].p != NULL ? CACHE_REFUSED_PARTIAL : CACHE_REFUSED_NONE;
}

/* Freshness as the origin counts it, from its Date on. */
static uint64_t lifetime_us(const struct http_reply *r, const struct cache_request *q,
                            const struct directives *d, int64_t date_s)
{
    struct slice expires = r->kept[HTTP_REPLY_EXPIRES];
    int64_t expires_s;

    if (d->no_cache)
        return 0;
    if (d->s_maxage != ABSENT)
        return d->s_maxage * SEC_US;
    if (d->max_age != ABSENT)
        return d->max_age * SEC_US;
    if (expires.p == NULL)
        return q->default_us;
    /* what is no date ("0", "-1") is in the past */
    if (!http_date_parse(expires, q->wall_s, &expires_s) || expires_s <= date_s)
        return 0;
    return ((uint64_t)(expires_s - date_s) < DELTA_MAX ? (uint64_t)(expires_s - date_s)
                                                       : DELTA_MAX) *
           SEC_US;
}

/* How old the response was when it arrived. */
static uint64_t age_us(const struct http_reply *r, const struct cache_request *q, int64_t date_s)
{
    struct slice list = r->kept[HTTP_REPLY_AGE], first;
    uint64_t age = 0, apparent = q->wall_s > date_s ? (uint64_t)(q->wall_s - date_s) : 0;

    if (!slice_list_next(&list, &first) || !slice_u64(first, &age))
        age = 0;
    if (age > DELTA_MAX)
        age = DELTA_MAX;
    if (apparent > DELTA_MAX)
        apparent = DELTA_MAX;
    age = age * SEC_US + q->delay_us;
    return age > apparent * SEC_US ? age : apparent * SEC_US;
}

/* What is left of a stale-* allowance, given how long the response has been stale already. */
static uint64_t stale_us(uint64_t delta, uint64_t stale_for_us)
{
    uint64_t us = delta == ABSENT ? 0 : delta * SEC_US;

    return us > stale_for_us ? us - stale_for_us : 0;
}

struct cache_policy cache_policy_of(const struct http_reply *r, const struct cache_request *q)
{
    struct directives d = read_cache_control(r->kept[HTTP_REPLY_CACHE_CONTROL]);
    struct cache_policy p = { .refusal = judge(r, q, &d) };
    bool stale_allowed = d.while_revalidate != ABSENT || d.if_error != ABSENT;
    int64_t date_s = q->wall_s;
    uint64_t lifetime, age;

    if (p.refusal != CACHE_REFUSED_NONE)
        return p;
    (void)http_date_parse(r->kept[HTTP_REPLY_DATE], q->wall_s, &date_s);
    lifetime = lifetime_us(r, q, &d, date_s);
    age = p.age_us = age_us(r, q, date_s);
    p.fresh_us = lifetime > age ? lifetime - age : 0;
    p.must_revalidate = d.no_cache || d.revalidate || (d.s_maxage != ABSENT && !stale_allowed);
    if (!p.must_revalidate) {
        uint64_t stale_for = age > lifetime ? age - lifetime : 0;

        p.while_revalidate_us = stale_us(d.while_revalidate, stale_for);
        p.if_error_us = stale_us(d.if_error, stale_for);
    }
    if (p.fresh_us == 0 && p.while_revalidate_us == 0 && r->kept[HTTP_REPLY_ETAG].p == NULL &&
        r->kept[HTTP_REPLY_LAST_MODIFIED].p == NULL)
        p.refusal = CACHE_REFUSED_USELESS;
    return p;
}

const char *cache_refusal_name(enum cache_refusal r)
{
    static const char *const names[] = {
#define X(name, text) #name,
        CACHE_REFUSALS(X)
#undef X
    };

    return names[r];
}
