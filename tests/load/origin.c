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
#include "tests/load/origin.h"

#include <arpa/inet.h>
#include <errno.h>
#include <inttypes.h>
#include <linux/sockios.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "core/check.h"
#include "core/clock.h"
#include "tests/load/content.h"

#define CUT_GIVE_UP_US (2 * SEC_US)

/* ---- connections ---- */

static void watch(struct server *s, struct conn *c, bool writable)
{
    uint32_t mask = (c->in_len < IN_BYTES ? EPOLLIN : 0u) | (writable ? EPOLLOUT : 0u);
    struct epoll_event ev = { .events = mask, .data.ptr = c };

    if (mask != c->mask)
        CHECK(epoll_ctl(s->epfd, EPOLL_CTL_MOD, c->fd, &ev) == 0);
    c->mask = mask;
}

void origin_due_at(struct server *s, struct conn *c, uint64_t at_us)
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

bool origin_gate_is_open(const struct server *s, const char *name)
{
    for (size_t i = 0; i < s->n_gates; i++) {
        if (strcmp(s->gates[i], name) == 0)
            return true;
    }
    return false;
}

/* ---- requests ---- */

static char *stats_json(const struct server *s)
{
    char *text = NULL;
    size_t len = 0;
    FILE *f = open_memstream(&text, &len);

    CHECK(f != NULL);
    (void)fprintf(f,
                  "{\"connections_total\": %" PRIu64 ", \"connections\": %zu, "
                  "\"requests\": %" PRIu64 ", \"paths\": ",
                  s->accepted, s->n_conns, s->requests);
    tallies_print(&s->tallies, f);
    (void)fputs("}\n", f);
    CHECK(fclose(f) == 0);
    return text;
}

static void forget(struct server *s)
{
    for (size_t i = 0; i < s->n_conns; i++)
        s->conns[i]->tally = NULL; /* under way: no longer counted */
    tallies_clear(&s->tallies);
    s->n_gates = 0;
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
        reply_page(c, 400, strdup("{\"error\": \"/__wait/N/PATH[?for=done|aborted]\"}\n"));
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
        reply_page(c, 200, stats_json(s));
    } else if (strcmp(page, "reset") == 0) {
        forget(s);
        reply_page(c, 200, strdup("{}\n"));
    } else if (strncmp(page, "wait/", 5) == 0) {
        begin_wait(c, page + 5);
    } else if (strncmp(page, "open/", 5) == 0 && s->n_gates < MAX_GATES &&
               strlen(name) < SCRIPT_TEXT_BYTES) {
        (void)snprintf(s->gates[s->n_gates++], SCRIPT_TEXT_BYTES, "%s", name);
        s->shaken = true;
        reply_page(c, 200, strdup("{}\n"));
    } else {
        reply_page(c, 404, strdup("{\"error\": \"no such page, or too many gates\"}\n"));
    }
}

static void count_request(struct server *s, struct conn *c)
{
    struct tally *t = tally_get(&s->tallies, c->req.target, strcspn(c->req.target, "?"));

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
        reply_page(c, st == ST_ENOENT ? 404 : 400,
                   strdup("{\"error\": \"see tests/load/script.h\"}\n"));
        return;
    }
    c->seed = content_seed(c->req.target, c->script.path_len);
    c->faults = c->script.times == 0 || c->nth <= (uint64_t)c->script.times;
    c->phase = WAITING;
    if (c->script.delay_ms > 0)
        origin_due_at(s, c, clock_mono_us() + (uint64_t)c->script.delay_ms * MS_US);
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
    begin(s, c, end != NULL ? request_parse(&c->req, head) : ST_EPROTO);
    return ST_OK;
}

/* ---- the walk of a connection ---- */

static bool waited_enough(struct server *s, struct conn *c)
{
    if (c->wait_n > 0) {
        const struct tally *t = tally_find(&s->tallies, c->wait_path, strlen(c->wait_path));
        const void *field = t != NULL ? (const char *)t + c->wait_field : NULL;

        return field != NULL && *(const uint64_t *)field >= c->wait_n;
    }
    if (c->due_us > 0 && clock_mono_us() < c->due_us)
        return false;
    return c->script.gate[0] == '\0' || c->script.gate_at >= 0 ||
           origin_gate_is_open(s, c->script.gate);
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
        reply_begin(c);
    if (c->head_us == 0)
        c->head_us = clock_mono_us();
    for (;;) {
        int64_t n = reply_allowed(s, c) - c->sent;
        enum st st;

        if (n > 0 && c->out_len < OUT_BYTES / 2)
            reply_body(c, n);
        bool die = c->faults && sc->die_at >= 0 && c->sent >= sc->die_at;

        if (c->sent == c->body_len && !die && !c->last_out) {
            if (sc->frame == FRAME_CHUNKED)
                reply_last_chunk(c);
            c->last_out = true;
        }
        st = reply_flush(c);
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
    origin_due_at(s, c, clock_mono_us() + MS_US);
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
            reply_page(c, 200, strdup("{}\n"));
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
