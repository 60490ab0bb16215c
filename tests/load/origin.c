/* tests/load/origin.c - slow_origin: an HTTP/1.1 origin that does what the URL says
 *
 *     slow_origin [--port N | --unix PATH] [--with-parent]
 *
 * It prints one line, its base URL ("http://127.0.0.1:40123" or "unix:PATH"), when it listens.
 * The objects and their behaviour are in tests/load/script.h, their bytes in tests/load/content.h.
 * GET and HEAD; keep-alive and pipelining; one range, If-Range, If-None-Match. And for tests:
 *
 *     /__stats              counts as JSON: in all, and per path (without the query)
 *     /__reset              forgets the counts and shuts all gates
 *     /__open/NAME          lets go what waits at gate NAME, from now on
 *     /__wait/N/PATH        answers when PATH has been asked for N times; with ?for=done or
 *                           ?for=aborted: when N responses for it were sent or left by the client
 *
 * Why epoll and not core/loop.h: what measures the product shares no code with it, and its times
 * are exact to a millisecond. Timers are found by looking at every connection: there are a few
 * thousand at most, and a heap would cost more lines than that costs time.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <linux/sockios.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include "core/check.h"
#include "core/clock.h"
#include "tests/load/content.h"
#include "tests/load/script.h"

#define CONN_MAGIC 0x6f726967
#define IN_BYTES 16384
#define OUT_BYTES 65536
#define MAX_CONNS 32768
#define MAX_PATHS 4096
#define MAX_GATES 64
#define CUT_GIVE_UP_US (2 * SEC_US)

enum phase {
    READING, /* a request head */
    WAITING, /* for its time, its gate or a count */
    SENDING, /* the head and the body */
    CUTTING, /* until the peer has all that was sent; then the connection is cut */
};

/* Counts for one path. */
struct tally {
    char *path;
    uint64_t requests, ranges, conditional, done, aborted, cut, body_bytes;
    uint64_t in_flight, in_flight_max;
    char last_range[64];
};

struct request {
    bool head_only, http10, close;
    char target[4096];
    char range[64], if_range[SCRIPT_TEXT_BYTES + 8], if_none_match[512];
};

struct conn {
    int magic;
    int fd;
    size_t slot; /* in server.conns */
    enum phase phase;
    uint32_t mask;
    bool keep, head_out, last_out;
    uint64_t due_us, cut_by_us; /* 0: nothing is due */
    uint64_t head_us;           /* when the head went out: the drip counts from here */
    struct request req;
    struct script script;
    struct tally *tally; /* NULL: one of the /__ pages */
    bool faults;         /* times= still allows them */
    uint64_t nth;
    char *doc; /* body of a /__ page; else content */
    char wait_path[1024];
    uint64_t wait_n;
    size_t wait_field; /* of struct tally */
    uint64_t seed;
    int64_t first, body_len, sent;
    size_t in_len, out_pos, out_len;
    char in[IN_BYTES];
    uint8_t out[OUT_BYTES];
};

struct server {
    int epfd, listener;
    bool unix_socket, shaken; /* a gate opened or a count moved: look at who waits */
    struct conn *conns[MAX_CONNS];
    size_t n_conns;
    uint64_t accepted, requests, next_due_us;
    struct tally tallies[MAX_PATHS];
    size_t n_tallies;
    char gates[MAX_GATES][SCRIPT_TEXT_BYTES];
    size_t n_gates;
};

static struct tally *tally_find(struct server *s, const char *path, size_t len)
{
    for (size_t i = 0; i < s->n_tallies; i++) {
        if (strlen(s->tallies[i].path) == len && memcmp(s->tallies[i].path, path, len) == 0)
            return &s->tallies[i];
    }
    return NULL;
}

static struct tally *tally_get(struct server *s, const char *path, size_t len)
{
    struct tally *t = tally_find(s, path, len);

    if (t != NULL || s->n_tallies == MAX_PATHS)
        return t;
    t = &s->tallies[s->n_tallies];
    *t = (struct tally){ .path = strndup(path, len) };
    if (t->path == NULL)
        return NULL;
    s->n_tallies++;
    return t;
}

/* ---- connections ---- */

static void watch(struct server *s, struct conn *c, bool writable)
{
    uint32_t mask = (c->in_len < IN_BYTES ? EPOLLIN : 0u) | (writable ? EPOLLOUT : 0u);
    struct epoll_event ev = { .events = mask, .data.ptr = c };

    if (mask != c->mask)
        CHECK(epoll_ctl(s->epfd, EPOLL_CTL_MOD, c->fd, &ev) == 0);
    c->mask = mask;
}

static void due_at(struct server *s, struct conn *c, uint64_t at_us)
{
    c->due_us = at_us;
    if (at_us < s->next_due_us)
        s->next_due_us = at_us;
}

static void response_over(struct server *s, struct conn *c, size_t counter)
{
    if (c->tally != NULL) {
        c->tally->in_flight--;
        ++*(uint64_t *)(void *)((char *)c->tally + counter);
        c->tally = NULL;
        s->shaken = true;
    }
    free(c->doc);
    c->doc = NULL;
    c->due_us = 0;
}

/* The conn is freed here: whoever calls this returns at once. Events of this turn cannot name it
 * again, because each connection has one event per epoll_wait and close() takes it off. */
static void conn_close(struct server *s, struct conn *c, bool reset)
{
    OBJ_CHECK(c, CONN_MAGIC);
    if (c->phase != READING)
        response_over(s, c,
                      c->phase == CUTTING ? offsetof(struct tally, cut)
                                          : offsetof(struct tally, aborted));
    if (reset) {
        struct linger now = { .l_onoff = 1, .l_linger = 0 };

        (void)setsockopt(c->fd, SOL_SOCKET, SO_LINGER, &now, sizeof now);
    }
    (void)close(c->fd);
    s->conns[c->slot] = s->conns[--s->n_conns];
    s->conns[c->slot]->slot = c->slot;
    OBJ_FINI(c, CONN_MAGIC);
    free(c);
}

static void accept_all(struct server *s)
{
    for (;;) {
        int fd = accept4(s->listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC), on = 1;
        struct conn *c;

        if (fd < 0)
            return;
        c = s->n_conns < MAX_CONNS ? malloc(sizeof *c) : NULL;
        if (c == NULL) {
            (void)close(fd);
            continue;
        }
        memset(c, 0, offsetof(struct conn, in)); /* the buffers are large, and fill as they go */
        OBJ_INIT(c, CONN_MAGIC);
        c->fd = fd;
        c->mask = EPOLLIN;
        c->slot = s->n_conns;
        s->conns[s->n_conns++] = c;
        s->accepted++;
        if (!s->unix_socket)
            (void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
        CHECK(epoll_ctl(s->epfd, EPOLL_CTL_ADD, fd,
                        &(struct epoll_event){ .events = EPOLLIN, .data.ptr = c }) == 0);
    }
}

/* ---- what goes out ---- */

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

/* A page of our own (text and JSON); takes the heap string. */
static void answer(struct conn *c, int64_t status, char *doc)
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

/* Decides status and range, writes the head of a scripted object. */
static void begin_object(struct conn *c)
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

static bool gate_is_open(const struct server *s, const char *name)
{
    for (size_t i = 0; i < s->n_gates; i++) {
        if (strcmp(s->gates[i], name) == 0)
            return true;
    }
    return false;
}

static int64_t lesser(int64_t a, int64_t b) { return a < b ? a : b; }

/* How far the body may go now. Sets the timer when more will be due by time alone. */
static int64_t allowed(struct server *s, struct conn *c)
{
    const struct script *sc = &c->script;
    uint64_t since = clock_mono_us() - c->head_us, next_us = 0;
    int64_t n = script_due_bytes(sc, c->body_len, since, &next_us);

    c->due_us = 0;
    if (n < c->body_len)
        due_at(s, c, c->head_us + next_us);
    if (sc->gate_at >= 0 && !gate_is_open(s, sc->gate))
        n = lesser(n, sc->gate_at);
    if (c->faults && sc->die_at >= 0)
        n = lesser(n, sc->die_at);
    if (c->faults && sc->stall_at >= 0)
        n = lesser(n, sc->stall_at);
    return n;
}

/* One more piece of body into `out`, which has room for it and its chunk framing. */
static void fill(struct conn *c, int64_t n)
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

/* OK: all of `out` went. MORE: the socket is full. */
static enum st flush(struct conn *c)
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

/* ---- requests ---- */

/* Copies a header's value if the line has that name. */
static void header(const char *line, const char *name, char *dst, size_t cap)
{
    size_t n = strlen(name);

    if (strncasecmp(line, name, n) == 0 && line[n] == ':')
        (void)snprintf(dst, cap, "%s", line + n + 1 + strspn(line + n + 1, " \t"));
}

static enum st parse_request(struct request *r, char *head)
{
    char *save = NULL, *line = strtok_r(head, "\r\n", &save);
    char method[8] = "", version[12] = "", connection[64] = "", length[24] = "", coding[24] = "";

    *r = (struct request){ 0 };
    if (line == NULL || sscanf(line, "%7s %4095s %11s", method, r->target, version) != 3)
        return ST_EPROTO;
    r->head_only = strcmp(method, "HEAD") == 0;
    r->http10 = strcmp(version, "HTTP/1.0") == 0;
    if ((!r->head_only && strcmp(method, "GET") != 0) || r->target[0] != '/' ||
        (!r->http10 && strcmp(version, "HTTP/1.1") != 0))
        return ST_EPROTO;
    for (const char *p = r->target; *p != '\0'; p++) {
        if (*p < '!' || *p > '~' || *p == '"' || *p == '\\')
            return ST_EPROTO; /* the path is printed in JSON */
    }
    while ((line = strtok_r(NULL, "\r\n", &save)) != NULL) {
        header(line, "Range", r->range, sizeof r->range);
        header(line, "If-Range", r->if_range, sizeof r->if_range);
        header(line, "If-None-Match", r->if_none_match, sizeof r->if_none_match);
        header(line, "Connection", connection, sizeof connection);
        header(line, "Content-Length", length, sizeof length);
        header(line, "Transfer-Encoding", coding, sizeof coding);
    }
    if ((length[0] != '\0' && strcmp(length, "0") != 0) || coding[0] != '\0')
        return ST_EPROTO; /* bodies are none of our business, and would be read as requests */
    r->close = strcasestr(connection, "close") != NULL ||
               (r->http10 && strcasestr(connection, "keep-alive") == NULL);
    return ST_OK;
}

static char *stats_json(const struct server *s)
{
    char *text = NULL;
    size_t len = 0;
    FILE *f = open_memstream(&text, &len);

    CHECK(f != NULL);
    (void)fprintf(f,
                  "{\"connections_total\": %" PRIu64 ", \"connections\": %zu, "
                  "\"requests\": %" PRIu64 ", \"paths\": {",
                  s->accepted, s->n_conns, s->requests);
    for (size_t i = 0; i < s->n_tallies; i++) {
        const struct tally *t = &s->tallies[i];

        (void)fprintf(
            f,
            "%s\n\"%s\": {\"requests\": %" PRIu64 ", \"done\": %" PRIu64 ", \"aborted\": %" PRIu64
            ", \"cut\": %" PRIu64 ", \"in_flight\": %" PRIu64 ", \"in_flight_max\": %" PRIu64
            ", \"ranges\": %" PRIu64 ", \"conditional\": %" PRIu64 ", \"body_bytes\": %" PRIu64
            ", \"last_range\": \"%s\"}",
            i > 0 ? "," : "", t->path, t->requests, t->done, t->aborted, t->cut, t->in_flight,
            t->in_flight_max, t->ranges, t->conditional, t->body_bytes, t->last_range);
    }
    (void)fputs("}}\n", f);
    CHECK(fclose(f) == 0);
    return text;
}

static void forget(struct server *s)
{
    for (size_t i = 0; i < s->n_conns; i++)
        s->conns[i]->tally = NULL; /* under way: no longer counted */
    for (size_t i = 0; i < s->n_tallies; i++)
        free(s->tallies[i].path);
    s->n_tallies = s->n_gates = 0;
    s->requests = s->accepted = 0;
}

static void begin_wait(struct conn *c, const char *args)
{
    char *path, *query;

    c->wait_n = strtoull(args, &path, 10);
    (void)snprintf(c->wait_path, sizeof c->wait_path, "%s", path);
    query = strchr(c->wait_path, '?');
    c->wait_field = offsetof(struct tally, requests);
    if (query != NULL && strcmp(query, "?for=done") == 0)
        c->wait_field = offsetof(struct tally, done);
    else if (query != NULL && strcmp(query, "?for=aborted") == 0)
        c->wait_field = offsetof(struct tally, aborted);
    else if (query != NULL || c->wait_n == 0 || path[0] != '/') {
        answer(c, 400, strdup("{\"error\": \"/__wait/N/PATH[?for=done|aborted]\"}\n"));
        return;
    }
    if (query != NULL)
        *query = '\0';
    c->phase = WAITING;
}

static void begin_page(struct server *s, struct conn *c, const char *page)
{
    const char *name = page + strlen("open/");

    if (strcmp(page, "stats") == 0) {
        answer(c, 200, stats_json(s));
    } else if (strcmp(page, "reset") == 0) {
        forget(s);
        answer(c, 200, strdup("{}\n"));
    } else if (strncmp(page, "wait/", 5) == 0) {
        begin_wait(c, page + 5);
    } else if (strncmp(page, "open/", 5) == 0 && s->n_gates < MAX_GATES &&
               strlen(name) < SCRIPT_TEXT_BYTES) {
        (void)snprintf(s->gates[s->n_gates++], SCRIPT_TEXT_BYTES, "%s", name);
        s->shaken = true;
        answer(c, 200, strdup("{}\n"));
    } else {
        answer(c, 404, strdup("{\"error\": \"no such page, or too many gates\"}\n"));
    }
}

static void count_request(struct server *s, struct conn *c)
{
    struct tally *t = tally_get(s, c->req.target, strcspn(c->req.target, "?"));

    s->requests++;
    s->shaken = true;
    c->tally = t;
    c->nth = 0;
    if (t == NULL)
        return;
    c->nth = ++t->requests;
    t->ranges += c->req.range[0] != '\0';
    t->conditional += c->req.if_none_match[0] != '\0';
    if (++t->in_flight > t->in_flight_max)
        t->in_flight_max = t->in_flight;
    (void)snprintf(t->last_range, sizeof t->last_range, "%.*s", (int)strcspn(c->req.range, "\"\\"),
                   c->req.range);
}

static void begin(struct server *s, struct conn *c, enum st parsed)
{
    enum st st = parsed;

    c->head_out = c->last_out = c->faults = false;
    c->sent = 0;
    c->wait_n = 0;
    c->due_us = c->head_us = 0;
    c->keep = parsed == ST_OK && !c->req.close;
    if (parsed == ST_OK && strncmp(c->req.target, "/__", 3) == 0) {
        begin_page(s, c, c->req.target + 3);
        return;
    }
    if (parsed == ST_OK) {
        count_request(s, c);
        st = script_parse(&c->script, c->req.target, strlen(c->req.target));
    }
    if (st != ST_OK) {
        answer(c, st == ST_ENOENT ? 404 : 400,
               strdup("{\"error\": \"see tests/load/script.h\"}\n"));
        return;
    }
    c->seed = content_seed(c->req.target, c->script.path_len);
    c->faults = c->script.times == 0 || c->nth <= (uint64_t)c->script.times;
    c->phase = WAITING;
    if (c->script.delay_ms > 0)
        due_at(s, c, clock_mono_us() + (uint64_t)c->script.delay_ms * MS_US);
}

/* OK: a request was taken off the input. MORE: there is none yet. */
static enum st take_request(struct server *s, struct conn *c)
{
    char *end = memmem(c->in, c->in_len, "\r\n\r\n", 4), head[IN_BYTES + 1];
    size_t n;

    if (end == NULL && c->in_len < IN_BYTES)
        return ST_MORE;
    n = end != NULL ? (size_t)(end - c->in) + 4 : c->in_len;
    memcpy(head, c->in, n);
    head[n] = '\0';
    c->in_len -= n;
    memmove(c->in, c->in + n, c->in_len);
    begin(s, c, end != NULL ? parse_request(&c->req, head) : ST_EPROTO);
    return ST_OK;
}

/* ---- the walk of a connection ---- */

static bool waited_enough(struct server *s, struct conn *c)
{
    if (c->wait_n > 0) {
        const struct tally *t = tally_find(s, c->wait_path, strlen(c->wait_path));
        const void *field = (const char *)t + c->wait_field;

        return t != NULL && *(const uint64_t *)field >= c->wait_n;
    }
    if (c->due_us > 0 && clock_mono_us() < c->due_us)
        return false;
    return c->script.gate[0] == '\0' || c->script.gate_at >= 0 || gate_is_open(s, c->script.gate);
}

static void begin_cut(struct conn *c)
{
    c->phase = CUTTING;
    c->due_us = 0;
    c->cut_by_us = clock_mono_us() + CUT_GIVE_UP_US;
}

/* Head, body, end. OK: another phase. MORE: the socket is full, or nothing is due yet. */
static enum st send_some(struct server *s, struct conn *c)
{
    const struct script *sc = &c->script;

    if (!c->head_out)
        begin_object(c);
    if (c->head_us == 0)
        c->head_us = clock_mono_us();
    for (;;) {
        int64_t n = allowed(s, c) - c->sent;
        enum st st;

        if (n > 0 && c->out_len < OUT_BYTES / 2)
            fill(c, n);
        bool die = c->faults && sc->die_at >= 0 && c->sent >= sc->die_at;

        if (c->sent == c->body_len && !die && !c->last_out) {
            if (sc->frame == FRAME_CHUNKED)
                say(c, "0\r\n\r\n");
            c->last_out = true;
        }
        st = flush(c);
        if (st != ST_OK)
            return st;
        if (die) {
            begin_cut(c);
            return ST_OK;
        }
        if (c->last_out) {
            response_over(s, c, offsetof(struct tally, done));
            c->phase = READING;
            return c->keep ? ST_OK : ST_EOF;
        }
        if (n <= 0)
            return ST_MORE;
    }
}

/* A reset throws away what the peer's kernel has not acknowledged, so it waits for that. */
static enum st cut(struct server *s, struct conn *c)
{
    int unsent = 0;

    if (c->script.die_fin)
        return ST_EOF;
    if (ioctl(c->fd, SIOCOUTQ, &unsent) != 0 || unsent == 0 || clock_mono_us() >= c->cut_by_us)
        return ST_EIO;
    due_at(s, c, clock_mono_us() + MS_US);
    return ST_MORE;
}

/* OK: on to the next phase. MORE: nothing to do until an event. Else close; EIO: with a reset. */
static enum st walk(struct server *s, struct conn *c)
{
    switch (c->phase) {
    case READING:
        return take_request(s, c);
    case WAITING:
        if (!waited_enough(s, c))
            return ST_MORE;
        c->due_us = 0;
        if (c->wait_n > 0)
            answer(c, 200, strdup("{}\n"));
        else if (c->faults && c->script.die_at == SCRIPT_DIE_HEAD)
            begin_cut(c);
        else
            c->phase = SENDING;
        return ST_OK;
    case SENDING:
        return send_some(s, c);
    case CUTTING:
        return cut(s, c);
    }
    return ST_EIO;
}

static void step(struct server *s, struct conn *c)
{
    enum st st;

    OBJ_CHECK(c, CONN_MAGIC);
    do
        st = walk(s, c);
    while (st == ST_OK);
    if (st == ST_MORE)
        watch(s, c, c->out_len > 0);
    else
        conn_close(s, c, st == ST_EIO);
}

static void on_event(struct server *s, struct conn *c, uint32_t events)
{
    OBJ_CHECK(c, CONN_MAGIC);
    while ((events & EPOLLIN) != 0 && c->in_len < IN_BYTES) {
        ssize_t n = recv(c->fd, c->in + c->in_len, IN_BYTES - c->in_len, 0);

        if (n < 0 && errno == EAGAIN)
            break;
        if (n <= 0) {
            conn_close(s, c, false);
            return;
        }
        c->in_len += (size_t)n;
    }
    if ((events & (EPOLLERR | EPOLLHUP)) != 0)
        conn_close(s, c, false);
    else
        step(s, c);
}

/* Downwards: conn_close() fills the gap with the last one, which was looked at already. */
static void look_at_waiters(struct server *s)
{
    while (s->shaken) {
        s->shaken = false;
        for (size_t i = s->n_conns; i-- > 0;) {
            struct conn *c = s->conns[i];

            if (c->phase == WAITING || (c->phase == SENDING && c->script.gate_at >= 0))
                step(s, c);
        }
    }
}

static void run_timers(struct server *s)
{
    uint64_t now = clock_mono_us();

    if (now < s->next_due_us)
        return;
    s->next_due_us = UINT64_MAX;
    for (size_t i = s->n_conns; i-- > 0;) {
        struct conn *c = s->conns[i];

        if (c->due_us > now && c->due_us < s->next_due_us)
            s->next_due_us = c->due_us;
        else if (c->due_us > 0 && c->due_us <= now)
            step(s, c);
    }
}

static int wait_ms(const struct server *s)
{
    uint64_t now = clock_mono_us();

    if (s->next_due_us == UINT64_MAX)
        return -1;
    return s->next_due_us <= now ? 0 : (int)((s->next_due_us - now + MS_US - 1) / MS_US);
}

static void serve(struct server *s)
{
    struct epoll_event ev[256];

    for (;;) {
        int n = epoll_wait(s->epfd, ev, 256, wait_ms(s));

        for (int i = 0; i < n; i++) {
            if (ev[i].data.ptr == s)
                return; /* a signal */
            if (ev[i].data.ptr == &s->listener)
                accept_all(s);
            else
                on_event(s, ev[i].data.ptr, ev[i].events);
        }
        run_timers(s);
        look_at_waiters(s);
    }
}

/* ---- start ---- */

static enum st listen_unix(struct server *s, const char *path)
{
    struct sockaddr_un a = { .sun_family = AF_UNIX };

    if (strlen(path) >= sizeof a.sun_path)
        return ST_ECONF;
    memcpy(a.sun_path, path, strlen(path) + 1);
    s->unix_socket = true;
    s->listener = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (bind(s->listener, (struct sockaddr *)&a, sizeof a) != 0 || listen(s->listener, 4096) != 0)
        return ST_EIO;
    (void)printf("unix:%s\n", path);
    return ST_OK;
}

static enum st listen_tcp(struct server *s, uint16_t port)
{
    struct sockaddr_in a = { .sin_family = AF_INET,
                             .sin_port = htons(port),
                             .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
    socklen_t len = sizeof a;
    int on = 1;

    s->listener = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    (void)setsockopt(s->listener, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    if (bind(s->listener, (struct sockaddr *)&a, sizeof a) != 0 || listen(s->listener, 4096) != 0 ||
        getsockname(s->listener, (struct sockaddr *)&a, &len) != 0)
        return ST_EIO;
    (void)printf("http://127.0.0.1:%u\n", ntohs(a.sin_port));
    return ST_OK;
}

static void add_special(struct server *s, int fd, void *as)
{
    struct epoll_event ev = { .events = EPOLLIN, .data.ptr = as };

    CHECK(epoll_ctl(s->epfd, EPOLL_CTL_ADD, fd, &ev) == 0);
}

static void prepare(struct server *s)
{
    struct rlimit files;
    sigset_t ends;

    if (getrlimit(RLIMIT_NOFILE, &files) == 0) {
        files.rlim_cur = files.rlim_max;
        (void)setrlimit(RLIMIT_NOFILE, &files);
    }
    sigemptyset(&ends);
    sigaddset(&ends, SIGINT);
    sigaddset(&ends, SIGTERM);
    CHECK(sigprocmask(SIG_BLOCK, &ends, NULL) == 0);
    s->next_due_us = UINT64_MAX;
    s->epfd = epoll_create1(EPOLL_CLOEXEC);
    CHECK(s->epfd >= 0);
    add_special(s, signalfd(-1, &ends, SFD_CLOEXEC), s);
    add_special(s, s->listener, &s->listener);
}

static void fini(struct server *s)
{
    while (s->n_conns > 0)
        conn_close(s, s->conns[0], false);
    forget(s);
    (void)close(s->listener);
    (void)close(s->epfd);
}

int main(int argc, char **argv)
{
    struct server *s = calloc(1, sizeof *s);
    const char *path = NULL;
    uint16_t port = 0;
    enum st st;

    CHECK(s != NULL);
    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--port") == 0 && i + 1 < argc) {
            port = (uint16_t)strtoul(argv[++i], NULL, 10);
        } else if (strcmp(argv[i], "--unix") == 0 && i + 1 < argc) {
            path = argv[++i];
        } else if (strcmp(argv[i], "--with-parent") == 0) {
            (void)prctl(PR_SET_PDEATHSIG, SIGTERM);
        } else {
            (void)fputs("usage: slow_origin [--port N | --unix PATH] [--with-parent]\n", stderr);
            free(s);
            return 2;
        }
    }
    st = path != NULL ? listen_unix(s, path) : listen_tcp(s, port);
    if (st != ST_OK) {
        (void)fprintf(stderr, "slow_origin: cannot listen: %s\n", strerror(errno));
        free(s);
        return 1;
    }
    (void)fflush(stdout);
    prepare(s);
    serve(s);
    fini(s);
    free(s);
    return 0;
}
