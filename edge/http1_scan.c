#include "edge/http1_scan.h"

#include <endian.h>
#include <llhttp.h>

#define EACH_BYTE UINT64_C(0x0101010101010101)

/* tchar of RFC 9110. */
static const bool token[256] = {
    ['!'] = true,         ['#' ... '\''] = true, ['*' ... '+'] = true,
    ['-' ... '.'] = true, ['0' ... '9'] = true,  ['A' ... 'Z'] = true,
    ['^' ... 'z'] = true, ['|'] = true,          ['~'] = true,
};

/* Index of the next byte below 0x20 or equal to 0x7f; n when there is none. */
static size_t next_control(const uint8_t *p, size_t at, size_t n)
{
    for (; n - at >= 8; at += 8) {
        uint64_t v, del, hit;

        memcpy(&v, p + at, 8);
        v = le64toh(v);
        /* A borrow can only mark bytes above a true hit, so the lowest mark is always true. */
        del = v ^ 0x7f * EACH_BYTE;
        hit = ((v - 0x20 * EACH_BYTE) & ~v) | ((del - EACH_BYTE) & ~del);
        hit &= 0x80 * EACH_BYTE;
        if (hit != 0)
            return at + (size_t)__builtin_ctzll(hit) / 8;
    }
    for (; at < n; at++) {
        if (p[at] < 0x20 || p[at] == 0x7f)
            break;
    }
    return at;
}

enum st http1_scan_line(const uint8_t *p, size_t n, size_t *at, enum http_refusal *why)
{
    for (;;) {
        size_t i = next_control(p, *at, n);

        *at = i;
        if (i == n)
            return ST_MORE;
        if (p[i] == '\t') {
            *at = i + 1;
            continue;
        }
        if (p[i] != '\r') {
            *why = p[i] == '\n' ? HTTP_REFUSED_BARE_LF : HTTP_REFUSED_CONTROL;
            return ST_EPROTO;
        }
        if (i + 1 == n)
            return ST_MORE;
        if (p[i + 1] == '\n')
            return ST_OK;
        *why = HTTP_REFUSED_BARE_CR;
        return ST_EPROTO;
    }
}

enum http_refusal http1_scan_field(struct slice line, struct slice *name, struct slice *value)
{
    size_t n = 0;

    while (n < line.n && token[line.p[n]])
        n++;
    if (n == line.n)
        return HTTP_REFUSED_NO_COLON;
    if (n == 0 && is_blank(line.p[0]))
        return HTTP_REFUSED_FOLDED;
    if (n == 0 && line.p[0] == ':')
        return HTTP_REFUSED_NO_NAME;
    if (is_blank(line.p[n]))
        return HTTP_REFUSED_SPACE_BEFORE_COLON;
    if (line.p[n] != ':')
        return HTTP_REFUSED_NAME_SYNTAX;
    *name = slice_of(line.p, n);
    *value = slice_trim(slice_of(line.p + n + 1, line.n - n - 1));
    return HTTP_REFUSED_NONE;
}

struct opinion {
    unsigned fields;
    bool complete;
};

static int count_field(llhttp_t *l)
{
    ((struct opinion *)l->data)->fields++;
    return 0;
}

static int note_complete(llhttp_t *l)
{
    ((struct opinion *)l->data)->complete = true;
    return 1; /* no body: a request of ours has none, and those of responses we read ourselves */
}

bool http1_llhttp_agrees(bool response, const uint8_t *p, size_t n, unsigned fields, unsigned minor)
{
    static const llhttp_settings_t callbacks = {
        .on_header_value_complete = count_field,
        .on_headers_complete = note_complete,
    };
    struct opinion o = { .fields = 0 };
    llhttp_t l;

    llhttp_init(&l, response ? HTTP_RESPONSE : HTTP_REQUEST, &callbacks);
    l.data = &o;
    (void)llhttp_execute(&l, (const char *)p, n);
    return o.complete && o.fields == fields && l.http_major == 1 && l.http_minor == minor;
}
