#include "edge/http1_resp.h"

#include "edge/http1_scan.h"

void http1_resp_init(struct http1_resp *r, bool to_head)
{
    memset(r, 0, offsetof(struct http1_resp, head));
    http_reply_init(&r->reply, 1, 1, 0);
    r->to_head = to_head;
}

static enum st refuse(struct http1_resp *r, enum http_refusal why)
{
    r->state = HTTP1_IS_BROKEN;
    return http_reply_refuse(&r->reply, why);
}

/* "HTTP/1.x NNN" and then nothing, or a space and anything. */
static enum http_refusal read_status_line(struct slice line, struct http_reply *reply)
{
    const uint8_t *p = line.p;

    if (line.n < 12 || memcmp(p, "HTTP/", 5) != 0 || !is_digit(p[5]) || p[6] != '.' ||
        !is_digit(p[7]) || p[8] != ' ' || p[9] < '1' || p[9] > '5' || !is_digit(p[10]) ||
        !is_digit(p[11]) || (line.n > 12 && p[12] != ' '))
        return HTTP_REFUSED_STATUS_LINE;
    if (p[5] != '1' || p[7] > '1')
        return HTTP_REFUSED_VERSION;
    http_reply_init(reply, 1, (unsigned)(p[7] - '0'),
                    (unsigned)((p[9] - '0') * 100 + (p[10] - '0') * 10 + (p[11] - '0')));
    return HTTP_REFUSED_NONE;
}

static enum st fill(struct http1_resp *r)
{
    const uint8_t *p = r->head;
    size_t n = r->head_bytes;
    size_t line_n = (size_t)((const uint8_t *)memchr(p, '\r', n) - p);
    struct http_reply *reply = &r->reply;
    enum http_refusal bad = read_status_line(slice_of(p, line_n), reply);

    for (size_t at = line_n + 2; bad == HTTP_REFUSED_NONE && at < n - 2; at += line_n + 2) {
        struct slice name, value;

        line_n = (size_t)((const uint8_t *)memchr(p + at, '\r', n - at) - (p + at));
        bad = http1_scan_field(slice_of(p + at, line_n), &name, &value);
        if (bad == HTTP_REFUSED_NONE &&
            http_reply_set(reply, HTTP1_RESP_FIELDS_MAX, name, value) != ST_OK)
            bad = reply->refusal;
    }
    if (bad == HTTP_REFUSED_NONE && reply->chunked && reply->has_length)
        bad = HTTP_REFUSED_LENGTH_AND_CODING;
    if (bad == HTTP_REFUSED_NONE && reply->chunked && reply->minor == 0)
        bad = HTTP_REFUSED_CODING;
    if (bad == HTTP_REFUSED_NONE && reply->status == 101)
        bad = HTTP_REFUSED_INTERIM; /* we never ask to switch */
    if (bad == HTTP_REFUSED_NONE && !http1_llhttp_agrees(true, p, n, reply->fields, reply->minor))
        bad = HTTP_REFUSED_GRAMMAR;
    return bad == HTTP_REFUSED_NONE ? ST_OK : refuse(r, bad);
}

/* Copies head bytes and looks for the end. OK: r->head is one whole head, input stands behind it.
 */
static enum st gather_head(struct http1_resp *r, struct rd *in)
{
    size_t before = r->head_bytes, room = sizeof r->head - before, n = rd_left(in);
    enum http_refusal why = HTTP_REFUSED_NONE;

    if (n > room)
        n = room;
    if (n > 0)
        memcpy(r->head + before, in->p, n);
    n += before;
    for (;;) {
        size_t at = r->at;
        enum st st = http1_scan_line(r->head, n, &at, &why);

        r->at = (uint32_t)at;
        if (st == ST_MORE && n == sizeof r->head)
            return refuse(r, HTTP_REFUSED_HEAD_LONG);
        if (st == ST_MORE) {
            in->p += n - before;
            r->head_bytes = (uint32_t)n;
            return ST_MORE;
        }
        if (st != ST_OK)
            return refuse(r, why);
        r->at = (uint32_t)at + 2;
        if (at == r->line)
            break;
        r->line = r->at;
    }
    if (r->at == 2) /* an empty line where the status line belongs */
        return refuse(r, HTTP_REFUSED_STATUS_LINE);
    in->p += r->at - before;
    r->head_bytes = r->at;
    return ST_OK;
}

static void begin_body(struct http1_resp *r)
{
    const struct http_reply *reply = &r->reply;
    bool none = r->to_head || reply->status == 204 || reply->status == 304;

    /* A 204 must not announce a body; who does may well send it. */
    r->unsound = reply->status == 204 && (reply->chunked || reply->length > 0);
    r->left = reply->length;
    if (none || (reply->has_length && reply->length == 0))
        r->state = HTTP1_AT_END;
    else if (reply->chunked)
        r->state = HTTP1_IN_CHUNK_SIZE;
    else if (reply->has_length)
        r->state = HTTP1_IN_LENGTH;
    else
        r->state = HTTP1_IN_CLOSE;
    r->by_close = r->state == HTTP1_IN_CLOSE;
    r->left = r->state == HTTP1_IN_LENGTH ? reply->length : 0;
}

static enum st next_head(struct http1_resp *r, struct rd *in, struct http1_event *ev)
{
    for (;;) {
        enum st st = gather_head(r, in);

        if (st == ST_OK)
            st = fill(r);
        if (st != ST_OK)
            return st;
        if (r->reply.status >= 200)
            break;
        if (++r->interim > HTTP1_RESP_INTERIM_MAX)
            return refuse(r, HTTP_REFUSED_INTERIM);
        r->head_bytes = r->line = r->at = 0;
    }
    begin_body(r);
    *ev = (struct http1_event){ .kind = HTTP1_HEAD };
    return ST_OK;
}

static enum st next_bytes(struct http1_resp *r, struct rd *in, struct http1_event *ev)
{
    size_t n = rd_left(in);

    if (n == 0)
        return ST_MORE;
    if (r->state != HTTP1_IN_CLOSE) {
        if (n > r->left)
            n = (size_t)r->left;
        r->left -= n;
        if (r->left == 0)
            r->state = r->state == HTTP1_IN_LENGTH ? HTTP1_AT_END : HTTP1_IN_CHUNK_DATA_CR;
    }
    *ev = (struct http1_event){ .kind = HTTP1_BODY, .bytes = slice_of(in->p, n) };
    in->p += n;
    return ST_OK;
}

static int hex(uint8_t c)
{
    if (is_digit(c))
        return c - '0';
    c = ascii_lower(c);
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

static enum http_refusal chunk_size_byte(struct http1_resp *r, uint8_t c)
{
    int digit = hex(c);

    if (digit >= 0) {
        /* 15 digits: no body is larger, and the shift cannot overflow */
        if (++r->digits > 15)
            return HTTP_REFUSED_CHUNK_SIZE;
        r->left = r->left << 4 | (unsigned)digit;
        return HTTP_REFUSED_NONE;
    }
    if (r->digits == 0 || (c != ';' && c != '\r'))
        return HTTP_REFUSED_CHUNK_SIZE;
    r->state = c == ';' ? HTTP1_IN_CHUNK_EXTENSION : HTTP1_IN_CHUNK_SIZE_LF;
    return HTTP_REFUSED_NONE;
}

static bool is_text(uint8_t c) { return (c >= 0x20 && c != 0x7f) || c == '\t'; }

static enum http_refusal trailer_byte(struct http1_resp *r, uint8_t c)
{
    if (++r->trailers > HTTP1_RESP_TRAILERS_MAX)
        return HTTP_REFUSED_TRAILERS;
    if (r->state == HTTP1_IN_TRAILER_START) {
        if (c == '\r') {
            r->state = HTTP1_IN_LAST_LF;
            return HTTP_REFUSED_NONE;
        }
        if (is_blank(c))
            return HTTP_REFUSED_FOLDED;
        if (c == ':')
            return HTTP_REFUSED_NO_NAME;
    }
    if (c != '\r' && !is_text(c))
        return c == '\n' ? HTTP_REFUSED_BARE_LF : HTTP_REFUSED_CONTROL;
    r->state = c == '\r' ? HTTP1_IN_TRAILER_LF : HTTP1_IN_TRAILER;
    return HTTP_REFUSED_NONE;
}

static enum http_refusal extension_byte(struct http1_resp *r, uint8_t c)
{
    if (++r->extensions > HTTP1_RESP_EXTENSIONS_MAX)
        return HTTP_REFUSED_CHUNK_SIZE;
    if (c == '\r')
        r->state = HTTP1_IN_CHUNK_SIZE_LF;
    else if (!is_text(c))
        return c == '\n' ? HTTP_REFUSED_BARE_LF : HTTP_REFUSED_CONTROL;
    return HTTP_REFUSED_NONE;
}

static enum http_refusal expect(struct http1_resp *r, uint8_t c, uint8_t want,
                                enum http1_resp_state next)
{
    if (c != want)
        return want == '\n' ? HTTP_REFUSED_BARE_CR : HTTP_REFUSED_CHUNK_END;
    r->state = next;
    return HTTP_REFUSED_NONE;
}

static enum http_refusal framing_byte(struct http1_resp *r, uint8_t c)
{
    switch (r->state) {
    case HTTP1_IN_CHUNK_SIZE:
        return chunk_size_byte(r, c);
    case HTTP1_IN_CHUNK_EXTENSION:
        return extension_byte(r, c);
    case HTTP1_IN_CHUNK_SIZE_LF:
        return expect(r, c, '\n', r->left > 0 ? HTTP1_IN_CHUNK_DATA : HTTP1_IN_TRAILER_START);
    case HTTP1_IN_CHUNK_DATA_CR:
        return expect(r, c, '\r', HTTP1_IN_CHUNK_DATA_LF);
    case HTTP1_IN_CHUNK_DATA_LF:
        r->digits = 0;
        return expect(r, c, '\n', HTTP1_IN_CHUNK_SIZE);
    case HTTP1_IN_TRAILER_LF:
        return expect(r, c, '\n', HTTP1_IN_TRAILER_START);
    case HTTP1_IN_LAST_LF:
        return expect(r, c, '\n', HTTP1_AT_END);
    default:
        return trailer_byte(r, c);
    }
}

static enum st end(struct http1_resp *r, enum http1_event_kind kind, struct http1_event *ev)
{
    const struct http_reply *reply = &r->reply;

    r->state = HTTP1_IS_OVER;
    *ev = (struct http1_event){ .kind = kind };
    ev->reusable = kind == HTTP1_END && !r->unsound && !reply->close_token &&
                   (reply->minor >= 1 || reply->keep_alive_token);
    return ST_OK;
}

enum st http1_resp_next(struct http1_resp *r, struct rd *in, struct http1_event *ev)
{
    for (;;) {
        enum http_refusal bad;

        switch (r->state) {
        case HTTP1_IN_HEAD:
            return next_head(r, in, ev);
        case HTTP1_IN_LENGTH:
        case HTTP1_IN_CLOSE:
        case HTTP1_IN_CHUNK_DATA:
            return next_bytes(r, in, ev);
        case HTTP1_AT_END:
            return end(r, HTTP1_END, ev);
        case HTTP1_IS_OVER:
            return ST_MORE;
        case HTTP1_IS_BROKEN:
            return http_refusal_st(r->reply.refusal);
        default:
            break;
        }
        if (rd_left(in) == 0)
            return ST_MORE;
        bad = framing_byte(r, rd_u8(in));
        if (bad != HTTP_REFUSED_NONE)
            return refuse(r, bad);
    }
}

enum st http1_resp_eof(struct http1_resp *r, struct http1_event *ev)
{
    if (r->state == HTTP1_IN_CLOSE)
        return end(r, HTTP1_END_BY_CLOSE, ev);
    if (r->state == HTTP1_IS_OVER || (r->state == HTTP1_IN_HEAD && r->head_bytes == 0))
        return ST_EOF;
    if (r->state == HTTP1_AT_END) /* nobody asked for the end yet, but it is there */
        return end(r, HTTP1_END, ev);
    return refuse(r, HTTP_REFUSED_SHORT);
}
