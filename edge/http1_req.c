/* Two sweeps. The first only looks for line ends and for bytes that must not be there; it is
 * resumable and keeps nothing but offsets, so the buffer may grow and move meanwhile. When the
 * empty line has come, the second splits the lines, and llhttp reads the same bytes on its own:
 * the head is good when both say so and both counted the same headers. */
#include "edge/http1_req.h"

#include "edge/http1_scan.h"

enum {
    BLANK_LINES_MAX = 2,     /* some clients end a POST with a CRLF too many */
    REQUEST_LINE_EXTRA = 32, /* longest method we name, two spaces, version, CRLF */
};

/* "... HTTP/1.x" at the end of a request line; seen as soon as the line is, because a client of
 * HTTP/0.9 would wait for ever after it. */
static enum http_refusal judge_version(struct slice line)
{
    const uint8_t *v = line.n >= 9 ? line.p + line.n - 9 : NULL;

    if (v == NULL || memcmp(v, " HTTP/", 6) != 0 || !is_digit(v[6]) || v[7] != '.' ||
        !is_digit(v[8]))
        return HTTP_REFUSED_NO_VERSION;
    return v[6] == '1' && v[8] <= '1' ? HTTP_REFUSED_NONE : HTTP_REFUSED_VERSION;
}

/* Takes "http://host" off the front of an absolute target. */
static enum http_refusal split_absolute(struct http_head *h)
{
    struct slice t = h->target;
    size_t scheme = 0, end;

    if (t.n == 0 || t.p[0] == '/' || t.p[0] == '*')
        return HTTP_REFUSED_NONE;
    if (t.n > 7 && slice_eq_nocase(slice_of(t.p, 7), SLICE("http://")))
        scheme = 7;
    else if (t.n > 8 && slice_eq_nocase(slice_of(t.p, 8), SLICE("https://")))
        scheme = 8;
    else
        return HTTP_REFUSED_TARGET_FORM;
    for (end = scheme; end < t.n && t.p[end] != '/' && t.p[end] != '?' && t.p[end] != '#';)
        end++;
    h->authority = slice_of(t.p + scheme, end - scheme);
    h->target = end == t.n ? SLICE("/") : slice_of(t.p + end, t.n - end);
    return HTTP_REFUSED_NONE;
}

static enum http_refusal split_request_line(struct http_head *h, struct slice line)
{
    const uint8_t *space = memchr(line.p, ' ', line.n);
    size_t method = (size_t)(space - line.p); /* there is one: judge_version() found it */
    struct slice rest = slice_of(space + 1, line.n - method - 1);

    if (rest.n <= 9) /* the space before the version is the only one */
        return HTTP_REFUSED_REQUEST_LINE;
    h->method_text = slice_of(line.p, method);
    h->target = slice_of(rest.p, rest.n - 9);
    h->minor = (uint8_t)(line.p[line.n - 1] - '0');
    if (memchr(h->target.p, ' ', h->target.n) != NULL)
        return HTTP_REFUSED_REQUEST_LINE;
    /* A method that a target may be hiding behind: CONNECT and the unknown are told first. */
    return slice_eq(h->method_text, SLICE("CONNECT")) ? HTTP_REFUSED_METHOD_REFUSED
                                                      : split_absolute(h);
}

/* The whole head, from the request line to the empty line, all lines known to end in CRLF. */
static enum st fill(struct http_head *h, const uint8_t *p, size_t n, const struct http_limits *lim)
{
    size_t line_n = (size_t)((const uint8_t *)memchr(p, '\r', n) - p);
    enum http_refusal bad = split_request_line(h, slice_of(p, line_n));
    enum st st;

    if (bad != HTTP_REFUSED_NONE)
        return http_head_refuse(h, bad);
    for (size_t at = line_n + 2; at < n - 2; at += line_n + 2) {
        struct slice name, value;

        line_n = (size_t)((const uint8_t *)memchr(p + at, '\r', n - at) - (p + at));
        bad = http1_scan_field(slice_of(p + at, line_n), &name, &value);
        if (bad != HTTP_REFUSED_NONE)
            return http_head_refuse(h, bad);
        st = http_head_set(h, lim, http_field_find(name), value);
        if (st != ST_OK)
            return st;
    }
    st = http_head_finish(h, lim);
    if (st == ST_OK && !http1_llhttp_agrees(false, p, n, h->fields, h->minor))
        return http_head_refuse(h, HTTP_REFUSED_GRAMMAR);
    return st;
}

/* First sweep: OK when r->at is just behind the empty line. */
static enum st find_end(struct http1_req *r, const uint8_t *p, size_t n,
                        const struct http_limits *lim, enum http_refusal *why)
{
    for (;;) {
        size_t cap = (size_t)r->start + lim->head_bytes, at = r->at;
        size_t line_cap = (size_t)r->start + lim->target_bytes + REQUEST_LINE_EXTRA;
        enum st st;

        /* Looking no further than the limit makes the answer independent of the cut. */
        if (!r->in_fields && line_cap < cap)
            cap = line_cap;
        if (!r->in_fields && r->line < n && p[r->line] >= 0x20 &&
            (p[r->line] < 'A' || p[r->line] > 'Z')) {
            *why = HTTP_REFUSED_METHOD_SYNTAX; /* TLS or noise: do not wait for a line end */
            return ST_EPROTO;
        }
        st = http1_scan_line(p, n < cap ? n : cap, &at, why);
        r->at = (uint32_t)at;
        if (st == ST_MORE && n >= cap) {
            *why = r->in_fields ? HTTP_REFUSED_HEAD_LONG : HTTP_REFUSED_TARGET_LONG;
            return ST_ELIMIT;
        }
        if (st != ST_OK)
            return st;
        r->at = (uint32_t)at + 2;
        if (at == r->line && r->in_fields)
            return ST_OK;
        if (at == r->line) {
            r->start = r->at;
            if (++r->blank_lines > BLANK_LINES_MAX) {
                *why = HTTP_REFUSED_BLANK_LINES;
                return ST_EPROTO;
            }
        } else if (!r->in_fields) {
            *why = judge_version(slice_of(p + r->line, at - r->line));
            if (*why != HTTP_REFUSED_NONE)
                return ST_EPROTO;
            r->in_fields = true;
        }
        r->line = r->at;
    }
}

enum st http1_req_parse(struct http1_req *r, const uint8_t *p, size_t n,
                        const struct http_limits *lim, struct http_head *out, size_t *used)
{
    enum http_refusal why = HTTP_REFUSED_NONE;
    enum st st = find_end(r, p, n, lim, &why);

    *used = 0;
    if (st == ST_MORE)
        return st;
    http_head_init(out, 1, 1);
    if (st != ST_OK)
        return http_head_refuse(out, why);
    st = fill(out, p + r->start, r->at - r->start, lim);
    if (st == ST_OK) {
        *used = r->at;
        *r = (struct http1_req){ .start = 0 };
    }
    return st;
}
