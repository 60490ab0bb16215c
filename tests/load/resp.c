#include "tests/load/resp.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>

void resp_init(struct resp *r)
{
    r->phase = RESP_STATUS;
    r->status = 0;
    r->keep = true;
    r->chunked = false;
    r->length = r->left = -1;
    r->first = 0;
    r->body_bytes = 0;
    r->line_len = 0;
}

/* Digits of the base up to `end`; -1: none, other characters, or too large. */
static int64_t digits(const char *p, const char *end, int base)
{
    char *stop;
    uint64_t v;

    if (p == end ||
        strspn(p, base == 16 ? "0123456789abcdefABCDEF" : "0123456789") != (size_t)(end - p) ||
        end - p > 15)
        return -1;
    v = strtoull(p, &stop, base);
    return (int64_t)v;
}

static enum st status_line(struct resp *r)
{
    const char *l = r->line;

    if (strncmp(l, "HTTP/1.", 7) != 0 || (l[7] != '0' && l[7] != '1') || l[8] != ' ')
        return ST_EPROTO;
    r->keep = l[7] == '1';
    r->status = (int)digits(l + 9, l + 9 + strcspn(l + 9, " "), 10);
    if (r->status < 100 || r->status > 599)
        return ST_EPROTO;
    r->phase = RESP_HEADER;
    return ST_OK;
}

static const char *value_of(const char *line, const char *name)
{
    size_t n = strlen(name);

    if (strncasecmp(line, name, n) != 0 || line[n] != ':')
        return NULL;
    return line + n + 1 + strspn(line + n + 1, " \t");
}

static enum st header_line(struct resp *r)
{
    const char *v;

    if (r->line[0] == ' ' || strchr(r->line, ':') == NULL)
        return ST_EPROTO;
    if ((v = value_of(r->line, "Content-Length")) != NULL) {
        r->length = digits(v, v + strlen(v), 10);
        return r->length >= 0 ? ST_OK : ST_EPROTO;
    }
    if ((v = value_of(r->line, "Transfer-Encoding")) != NULL) {
        r->chunked = strcasecmp(v, "chunked") == 0;
        return r->chunked ? ST_OK : ST_EPROTO;
    }
    if ((v = value_of(r->line, "Connection")) != NULL && strcasestr(v, "close") != NULL)
        r->keep = false;
    if ((v = value_of(r->line, "Content-Range")) != NULL && strncmp(v, "bytes ", 6) == 0 &&
        v[6] != '*') {
        r->first = digits(v + 6, v + 6 + strcspn(v + 6, "-"), 10);
        return r->first >= 0 ? ST_OK : ST_EPROTO;
    }
    return ST_OK;
}

static enum st head_over(struct resp *r)
{
    if (r->status < 200) {
        resp_init(r);
        return ST_OK;
    }
    if (r->chunked && r->length >= 0)
        return ST_EPROTO;
    if (r->status == 204 || r->status == 304) {
        r->phase = RESP_DONE;
    } else if (r->chunked) {
        r->phase = RESP_CHUNK;
    } else {
        r->left = r->length;
        r->keep = r->keep && r->length >= 0;
        r->phase = r->length == 0 ? RESP_DONE : RESP_LENGTH;
    }
    return ST_OK;
}

static enum st chunk_line(struct resp *r)
{
    r->left = digits(r->line, r->line + strcspn(r->line, "; \t"), 16);
    if (r->left < 0)
        return ST_EPROTO;
    r->phase = r->left == 0 ? RESP_TRAILER : RESP_DATA;
    return ST_OK;
}

static enum st on_line(struct resp *r)
{
    bool empty = r->line[0] == '\0';

    switch (r->phase) {
    case RESP_STATUS:
        return status_line(r);
    case RESP_HEADER:
        return empty ? head_over(r) : header_line(r);
    case RESP_CHUNK:
        return chunk_line(r);
    case RESP_DATA_END:
        r->phase = RESP_CHUNK;
        return empty ? ST_OK : ST_EPROTO;
    case RESP_TRAILER:
        r->phase = empty ? RESP_DONE : RESP_TRAILER;
        return ST_OK;
    case RESP_LENGTH:
    case RESP_DATA:
    case RESP_DONE:
        break;
    }
    return ST_EPROTO;
}

/* Up to and with the next newline. */
static enum st take_line(struct resp *r, const uint8_t **p, size_t *n)
{
    const uint8_t *nl = memchr(*p, '\n', *n);
    size_t len = nl != NULL ? (size_t)(nl - *p) : *n;

    if (r->line_len + len >= sizeof r->line)
        return ST_EPROTO;
    memcpy(r->line + r->line_len, *p, len);
    r->line_len += len;
    *p += len + (nl != NULL);
    *n -= len + (nl != NULL);
    if (nl == NULL)
        return ST_MORE;
    if (r->line_len > 0 && r->line[r->line_len - 1] == '\r')
        r->line_len--;
    r->line[r->line_len] = '\0';
    r->line_len = 0;
    return on_line(r);
}

static void take_body(struct resp *r, const uint8_t **p, size_t *n, resp_body_fn *fn, void *ctx)
{
    size_t take = r->left >= 0 && (uint64_t)r->left < *n ? (size_t)r->left : *n;

    fn(ctx, *p, take);
    r->body_bytes += take;
    *p += take;
    *n -= take;
    if (r->left < 0)
        return;
    r->left -= (int64_t)take;
    if (r->left == 0)
        r->phase = r->phase == RESP_DATA ? RESP_DATA_END : RESP_DONE;
}

enum st resp_feed(struct resp *r, const uint8_t **p, size_t *n, resp_body_fn *fn, void *ctx)
{
    while (r->phase != RESP_DONE && *n > 0) {
        enum st st = ST_OK;

        if (r->phase == RESP_LENGTH || r->phase == RESP_DATA)
            take_body(r, p, n, fn, ctx);
        else
            st = take_line(r, p, n);
        if (st < 0)
            return st;
    }
    return r->phase == RESP_DONE ? ST_OK : ST_MORE;
}

enum st resp_end(struct resp *r)
{
    if (r->phase == RESP_LENGTH && r->left < 0)
        r->phase = RESP_DONE;
    return r->phase == RESP_DONE ? ST_OK : ST_EPROTO;
}
