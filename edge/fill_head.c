#include <stdlib.h>
#include <string.h>

#include "core/check.h"
#include "core/clock.h"
#include "edge/cache_policy.h"
#include "edge/fetch_int.h"
#include "edge/range.h"
#include "edge/stream.h"

/* An origin may vouch for a missing page for a year; every one of them costs us memory. */
#define NEGATIVE_MAX_US (10 * SEC_US)

/* --- text --- */

static void put(struct head_text *t, struct slice s)
{
    CHECK(s.n < sizeof t->bytes - t->used); /* a head is smaller, and so are the names we add */
    if (s.n > 0)
        memcpy(t->bytes + t->used, s.p, s.n);
    t->used += s.n;
    t->bytes[t->used] = '\0';
}

const char *head_text_of(struct head_text *t, struct slice s)
{
    const char *at = t->bytes + t->used;

    put(t, s);
    t->used++;
    return at;
}

/* Fields that belong to the body, whoever passes it on. */
static const char *other_fields(struct head_text *t, const struct http_reply *r)
{
    static const struct {
        enum http_reply_field f;
        const char *name;
    } list[] = {
        { HTTP_REPLY_CONTENT_ENCODING, "content-encoding: " },
        { HTTP_REPLY_EXPIRES, "expires: " },
        { HTTP_REPLY_LOCATION, "location: " },
        { HTTP_REPLY_VARY, "vary: " },
    };
    const char *at = t->bytes + t->used;

    put(t, SLICE(""));
    for (size_t i = 0; i < sizeof list / sizeof list[0]; i++) {
        if (r->kept[list[i].f].p == NULL)
            continue;
        put(t, slice_of(list[i].name, strlen(list[i].name)));
        put(t, r->kept[list[i].f]);
        put(t, SLICE("\r\n"));
    }
    t->used++;
    return at;
}

/* --- judgement --- */

static struct cache_policy policy_of(const struct fill *fl, const struct http_reply *r)
{
    uint64_t now = loop_now(fl->fetch->loop);
    struct cache_request q = { .wall_s = clock_wall_us() / (int64_t)SEC_US,
                               .delay_us = now > fl->asked_us ? now - fl->asked_us : 0 };

    return cache_policy_of(r, &q);
}

static enum gobj_kind kind_of(const struct fill *fl)
{
    return gobj_kind(fl->o != NULL ? fl->o : fl->stale);
}

uint64_t head_segment_us(const struct fill *fl)
{
    const char *key = gobj_key(fl->o != NULL ? fl->o : fl->stale);

    return stream_where(fl->fetch->store, key + 1, fill_stream_name_len(key), NULL, NULL, 0, 0)
        .segment_us;
}

struct verdict head_of_reply(const struct fill *fl, const struct http_reply *r, struct gobj_head *h,
                             struct head_text *t)
{
    uint64_t now = loop_now(fl->fetch->loop);
    struct cache_policy p = policy_of(fl, r);

    t->used = 0;
    *h = (struct gobj_head){
        .status = r->status,
        .length = r->has_length ? (int64_t)r->length : -1,
        .etag = head_text_of(t, r->kept[HTTP_REPLY_ETAG]),
        .content_type = head_text_of(t, r->kept[HTTP_REPLY_CONTENT_TYPE]),
        .cache_control = head_text_of(t, r->kept[HTTP_REPLY_CACHE_CONTROL]),
        .last_modified = head_text_of(t, r->kept[HTTP_REPLY_LAST_MODIFIED]),
        .fields = other_fields(t, r),
        .born_us = now > p.age_us ? now - p.age_us : 0,
        .swr_us = p.while_revalidate_us,
        .sie_us = p.if_error_us,
        /* One that is stale at once and has no validator may still be joined while it fills. */
        .shared = p.refusal == CACHE_REFUSED_NONE || p.refusal == CACHE_REFUSED_USELESS,
        .has_age = kind_of(fl) == GOBJ_OUTSIDE,
    };
    if (kind_of(fl) == GOBJ_MEDIA) { /* named once, never changed */
        h->shared = true;
        return (struct verdict){ true, UINT64_MAX, h->born_us };
    }
    if (kind_of(fl) == GOBJ_DOC && head_segment_us(fl) > 0) {
        h->swr_us = head_segment_us(fl);
        h->sie_us = 4 * h->swr_us;
        return (struct verdict){ h->shared, now + h->swr_us / 2, h->born_us };
    }
    return (struct verdict){ h->shared, now + p.fresh_us, h->born_us };
}

/* A field that a 304 leaves out is as it was. */
static void inherit(struct http_reply *to, enum http_reply_field f, const struct http_reply *from,
                    const char *old)
{
    to->kept[f] = from->kept[f];
    if (to->kept[f].p == NULL && old[0] != '\0')
        to->kept[f] = slice_of(old, strlen(old));
}

struct verdict head_of_validation(const struct fill *fl, const struct http_reply *r,
                                  const struct gobj *old)
{
    const struct gobj_head *h = gobj_head(old);
    struct http_reply now_200;
    struct cache_policy p;
    uint64_t now = loop_now(fl->fetch->loop), born;

    http_reply_init(&now_200, r->major, r->minor, 200);
    now_200.set_cookie = r->set_cookie;
    inherit(&now_200, HTTP_REPLY_CACHE_CONTROL, r, h->cache_control);
    inherit(&now_200, HTTP_REPLY_ETAG, r, h->etag);
    inherit(&now_200, HTTP_REPLY_LAST_MODIFIED, r, h->last_modified);
    inherit(&now_200, HTTP_REPLY_AGE, r, "");
    inherit(&now_200, HTTP_REPLY_DATE, r, "");
    inherit(&now_200, HTTP_REPLY_EXPIRES, r, "");
    inherit(&now_200, HTTP_REPLY_VARY, r, "");
    p = policy_of(fl, &now_200);
    born = now > p.age_us ? now - p.age_us : 0;
    if (kind_of(fl) == GOBJ_MEDIA)
        return (struct verdict){ true, UINT64_MAX, born };
    return (struct verdict){ p.refusal == CACHE_REFUSED_NONE, now + p.fresh_us, born };
}

uint64_t head_negative_us(const struct fill *fl, const struct http_reply *r)
{
    uint64_t ttl = fetch_limits(fl->fetch)->not_found_ttl_us;

    if (kind_of(fl) == GOBJ_OUTSIDE) {
        struct cache_policy p = policy_of(fl, r);

        if (p.refusal == CACHE_REFUSED_NONE && p.fresh_us > ttl)
            ttl = p.fresh_us < NEGATIVE_MAX_US ? p.fresh_us : NEGATIVE_MAX_US;
    }
    return ttl;
}

/* --- the rest of a body that broke off --- */

/* Takes digits off the front of *s. */
static bool take_number(struct slice *s, uint64_t *out)
{
    size_t n = 0;

    while (n < s->n && is_digit(s->p[n]))
        n++;
    if (!slice_u64(slice_of(s->p, n), out))
        return false;
    *s = slice_of(s->p + n, s->n - n);
    return true;
}

static bool take_byte(struct slice *s, char c)
{
    if (s->n == 0 || s->p[0] != (uint8_t)c)
        return false;
    *s = slice_of(s->p + 1, s->n - 1);
    return true;
}

bool head_continues(const struct gobj *o, const struct http_reply *r, int64_t *total)
{
    const struct gobj_head *h = gobj_head(o);
    struct slice s = r->kept[HTTP_REPLY_CONTENT_RANGE];
    struct slice etag = r->kept[HTTP_REPLY_ETAG];
    uint64_t first, last, all = 0;
    bool open;

    *total = -1;
    if (r->status != 206 || !slice_eq(etag, slice_of(h->etag, strlen(h->etag))))
        return false;
    if (s.n < 6 || !slice_eq_nocase(slice_of(s.p, 6), SLICE("bytes ")))
        return false;
    s = slice_of(s.p + 6, s.n - 6);
    if (!take_number(&s, &first) || !take_byte(&s, '-') || !take_number(&s, &last) ||
        !take_byte(&s, '/'))
        return false;
    open = s.n == 1 && s.p[0] == '*';
    if (!open && (!take_number(&s, &all) || s.n != 0 || all > INT64_MAX))
        return false;
    if (first != gobj_written(o) || last < first)
        return false;
    if (open) /* to the end, wherever that is; anything else may be a part of the rest */
        return last == RANGE_OPEN_END || (h->length >= 0 && last + 1 == (uint64_t)h->length);
    *total = (int64_t)all;
    return last + 1 == all && (h->length < 0 || (uint64_t)h->length == all);
}
