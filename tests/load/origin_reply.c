/* What slow_origin says: heads, bodies piece by piece, and when the next piece may go. */
#include "tests/load/origin.h"

#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>

#include "core/check.h"
#include "core/clock.h"
#include "tests/load/content.h"

static void say(struct conn *c, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
static void say(struct conn *c, const char *fmt, ...)
{
    va_list ap;
    int n;

    va_start(ap, fmt);
    n = vsnprintf((char *)c->out + c->out_len, OUT_BYTES - c->out_len, fmt, ap);
    va_end(ap);
    CHECK(n >= 0 && (size_t)n < OUT_BYTES - c->out_len);
    c->out_len += (size_t)n;
}

static const char *reason(int64_t status)
{
    switch (status) {
    case 200:
        return "OK";
    case 206:
        return "Partial Content";
    case 304:
        return "Not Modified";
    case 400:
        return "Bad Request";
    case 404:
        return "Not Found";
    case 416:
        return "Range Not Satisfiable";
    case 503:
        return "Service Unavailable";
    default:
        return "Scripted";
    }
}

static void say_head(struct conn *c, int64_t status)
{
    time_t now = (time_t)(clock_wall_us() / (int64_t)SEC_US);
    struct tm tm;
    char date[40];

    (void)strftime(date, sizeof date, "%a, %d %b %Y %T GMT", gmtime_r(&now, &tm));
    say(c, "HTTP/1.1 %" PRId64 " %s\r\nServer: slow_origin\r\nDate: %s\r\n", status, reason(status),
        date);
    if (!c->keep)
        say(c, "Connection: close\r\n");
}

/* After a head that answers HEAD there is nothing, not even a last chunk. */
static void head_only(struct conn *c)
{
    if (c->req.head_only) {
        c->body_len = 0;
        c->script.frame = FRAME_LENGTH;
    }
}

void reply_page(struct conn *c, int64_t status, char *doc)
{
    CHECK(doc != NULL);
    c->doc = doc;
    c->script = (struct script){ .frame = FRAME_LENGTH,
                                 .die_at = -1,
                                 .stall_at = -1,
                                 .flip_at = -1,
                                 .gate_at = -1,
                                 .step_ms = 1 };
    c->first = 0;
    c->body_len = (int64_t)strlen(doc);
    say_head(c, status);
    say(c,
        "Content-Type: application/json\r\nCache-Control: no-store\r\nContent-Length: %" PRId64
        "\r\n\r\n",
        c->body_len);
    c->head_out = true;
    c->phase = SENDING;
    head_only(c);
}

static bool etag_listed(const char *list, const char *etag)
{
    const char *opaque = strncmp(etag, "W/", 2) == 0 ? etag + 2 : etag;

    return strcmp(list, "*") == 0 || strstr(list, opaque) != NULL;
}

void reply_begin(struct conn *c)
{
    const struct script *sc = &c->script;
    int64_t status = c->faults ? sc->status : 200;
    char etag[SCRIPT_TEXT_BYTES + 32] = "", seq[24] = "";
    bool weak = strncmp(sc->etag, "W/", 2) == 0;

    if (sc->etag_seq)
        (void)snprintf(seq, sizeof seq, "-%" PRIu64, c->nth);
    if (sc->etag[0] != '\0')
        (void)snprintf(etag, sizeof etag, "%s\"%s%s\"", weak ? "W/" : "", sc->etag + (weak ? 2 : 0),
                       seq);
    c->first = 0;
    c->body_len = sc->size;
    if (status == 200 && etag[0] != '\0' && etag_listed(c->req.if_none_match, etag) &&
        c->req.if_none_match[0] != '\0')
        status = 304;
    bool if_range = c->req.if_range[0] == '\0' || (!weak && strcmp(c->req.if_range, etag) == 0);

    if (status == 200 && sc->ranges && c->req.range[0] != '\0' && if_range) {
        enum st st = script_range(c->req.range, sc->size, &c->first, &c->body_len);

        if (st != ST_MORE)
            status = st == ST_OK ? 206 : 416;
    }
    bool bare = status == 304 || status == 204, none = bare || status == 416;

    if (none)
        c->body_len = 0;
    if (c->req.http10 && sc->frame == FRAME_CHUNKED)
        c->script.frame = FRAME_EOF;
    if (none)
        c->script.frame = FRAME_LENGTH;
    c->keep = c->keep && sc->frame != FRAME_EOF && !sc->close;
    say_head(c, status);
    if (etag[0] != '\0')
        say(c, "ETag: %s\r\n", etag);
    if (sc->cc[0] != '\0')
        say(c, "Cache-Control: %s\r\n", sc->cc);
    if (sc->ranges)
        say(c, "Accept-Ranges: bytes\r\n");
    if (!none)
        say(c, "Content-Type: %s\r\n", sc->type);
    if (status == 206)
        say(c, "Content-Range: bytes %" PRId64 "-%" PRId64 "/%" PRId64 "\r\n", c->first,
            c->first + c->body_len - 1, sc->size);
    if (status == 416)
        say(c, "Content-Range: bytes */%" PRId64 "\r\n", sc->size);
    if (sc->frame == FRAME_LENGTH && !bare)
        say(c, "Content-Length: %" PRId64 "\r\n", c->body_len);
    if (sc->frame == FRAME_CHUNKED)
        say(c, "Transfer-Encoding: chunked\r\n");
    say(c, "\r\n");
    c->head_out = true;
    head_only(c);
}

static int64_t lesser(int64_t a, int64_t b) { return a < b ? a : b; }

int64_t reply_allowed(struct server *s, struct conn *c)
{
    const struct script *sc = &c->script;
    uint64_t since = clock_mono_us() - c->head_us, next_us = 0;
    int64_t n = script_due_bytes(sc, c->body_len, since, &next_us);

    c->due_us = 0;
    if (n < c->body_len)
        origin_due_at(s, c, c->head_us + next_us);
    if (sc->gate_at >= 0 && !origin_gate_is_open(s, sc->gate))
        n = lesser(n, sc->gate_at);
    if (c->faults && sc->die_at >= 0)
        n = lesser(n, sc->die_at);
    if (c->faults && sc->stall_at >= 0)
        n = lesser(n, sc->stall_at);
    return n;
}

/* One more piece of body into `out`, which has room for it and its chunk framing. */
void reply_body(struct conn *c, int64_t n)
{
    const struct script *sc = &c->script;
    int64_t room = (int64_t)(OUT_BYTES - c->out_len) - 64, at = c->first + c->sent;
    bool chunked = sc->frame == FRAME_CHUNKED;

    n = lesser(n, room);
    if (chunked)
        say(c, "%" PRIx64 "\r\n", (uint64_t)n);
    uint8_t *dst = c->out + c->out_len;

    if (c->doc != NULL)
        memcpy(dst, c->doc + at, (size_t)n);
    else
        content_fill(c->seed, (uint64_t)at, dst, (size_t)n);
    if (c->faults && sc->flip_at >= at && sc->flip_at < at + n)
        dst[sc->flip_at - at] ^= 0x20;
    c->out_len += (size_t)n;
    c->sent += n;
    if (chunked)
        say(c, "\r\n");
    if (c->tally != NULL)
        c->tally->body_bytes += (uint64_t)n;
}

enum st reply_flush(struct conn *c)
{
    while (c->out_pos < c->out_len) {
        ssize_t n = send(c->fd, c->out + c->out_pos, c->out_len - c->out_pos, MSG_NOSIGNAL);

        if (n < 0)
            return errno == EAGAIN ? ST_MORE : ST_EIO;
        c->out_pos += (size_t)n;
    }
    c->out_pos = c->out_len = 0;
    return ST_OK;
}

void reply_last_chunk(struct conn *c) { say(c, "0\r\n\r\n"); }
