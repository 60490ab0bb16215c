#include "edge/range.h"

#include <inttypes.h>
#include <stdio.h>

struct range range_parse(struct slice value)
{
    static const struct range none = { .kind = RANGE_NONE };
    struct range r = none;
    struct slice spec, first, last;
    const uint8_t *dash;

    if (value.n < 6 || !slice_eq_nocase(slice_of(value.p, 6), SLICE("bytes=")))
        return none;
    /* A list may have empty members, "bytes= ,1-2,": one range is what counts. */
    spec = slice_of(value.p + 6, value.n - 6);
    if (!slice_list_next(&spec, &first) || slice_list_next(&spec, &last))
        return none;
    spec = first;
    dash = memchr(spec.p, '-', spec.n);
    if (dash == NULL)
        return none;
    first = slice_of(spec.p, (size_t)(dash - spec.p));
    last = slice_of(dash + 1, spec.n - first.n - 1);
    if (first.n == 0) {
        r.kind = RANGE_SUFFIX;
        return slice_u64(last, &r.suffix) ? r : none;
    }
    if (!slice_u64(first, &r.first))
        return none;
    if (last.n == 0) {
        r.kind = RANGE_FROM;
        return r;
    }
    r.kind = RANGE_CLOSED;
    return slice_u64(last, &r.last) && r.first <= r.last ? r : none;
}

static enum range_answer resolve_growing(const struct range *r, uint64_t published,
                                         struct span *out)
{
    if (r->kind == RANGE_FROM && r->first == 0)
        return RANGE_WHOLE; /* as good as the 206 that would have to wait for the length */
    if (r->kind != RANGE_CLOSED)
        return RANGE_WAIT;
    *out = (struct span){ .first = r->first, .last = r->last };
    if (r->last == RANGE_OPEN_END)
        return RANGE_REST;
    return r->last < published ? RANGE_PART : RANGE_WAIT;
}

enum range_answer range_resolve(const struct range *r, uint64_t published, bool complete,
                                uint64_t total, struct span *out)
{
    *out = (struct span){ .first = 0 };
    if (r->kind == RANGE_NONE)
        return RANGE_WHOLE;
    if (!complete)
        return resolve_growing(r, published, out);
    if (total == 0 || (r->kind == RANGE_SUFFIX ? r->suffix == 0 : r->first >= total))
        return RANGE_UNSATISFIED;
    *out = (struct span){ .first = r->first, .last = total - 1 };
    if (r->kind == RANGE_SUFFIX)
        out->first = r->suffix < total ? total - r->suffix : 0;
    else if (r->kind == RANGE_CLOSED && r->last < total)
        out->last = r->last;
    return RANGE_PART;
}

size_t range_content_text(enum range_answer a, const struct span *s, bool complete, uint64_t total,
                          char out[CONTENT_RANGE_MAX])
{
    char of[24] = "*";
    int n = 0;

    if (complete)
        (void)snprintf(of, sizeof of, "%" PRIu64, total);
    if (a == RANGE_PART || a == RANGE_REST)
        n = snprintf(out, CONTENT_RANGE_MAX, "bytes %" PRIu64 "-%" PRIu64 "/%s", s->first, s->last,
                     of);
    else if (a == RANGE_UNSATISFIED && complete)
        n = snprintf(out, CONTENT_RANGE_MAX, "bytes */%s", of);
    return (size_t)n;
}

/* Takes one entity tag off the front of *list; *opaque keeps its quotes. */
static bool take_etag(struct slice *list, struct slice *opaque, bool *weak)
{
    struct slice s = *list;
    const uint8_t *end;

    while (s.n > 0 && (is_blank(s.p[0]) || s.p[0] == ',')) {
        s.p++;
        s.n--;
    }
    *weak = s.n >= 2 && s.p[0] == 'W' && s.p[1] == '/';
    if (*weak) {
        s.p += 2;
        s.n -= 2;
    }
    end = s.n >= 2 && s.p[0] == '"' ? memchr(s.p + 1, '"', s.n - 1) : NULL;
    if (end == NULL)
        return false;
    *opaque = slice_of(s.p, (size_t)(end - s.p) + 1);
    *list = slice_of(end + 1, s.n - opaque->n);
    return true;
}

bool etag_matches(struct slice if_none_match, struct slice etag)
{
    struct slice ours, theirs;
    bool weak;

    if (slice_eq(if_none_match, SLICE("*")))
        return true;
    if (!take_etag(&etag, &ours, &weak))
        return false;
    while (take_etag(&if_none_match, &theirs, &weak)) {
        if (slice_eq(theirs, ours))
            return true;
    }
    return false;
}

bool if_range_matches(struct slice if_range, struct slice etag, struct slice last_modified)
{
    if (if_range.p == NULL)
        return true;
    if (if_range.n > 0 && if_range.p[0] == '"')
        return slice_eq(if_range, etag);
    if (if_range.n >= 2 && if_range.p[0] == 'W' && if_range.p[1] == '/')
        return false;
    return last_modified.n > 0 && slice_eq(if_range, last_modified);
}
