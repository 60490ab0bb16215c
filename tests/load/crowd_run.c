/* The clients. Each is a small state machine on one epoll; time stamps are taken as an event is
 * looked at, so the lag of this process is part of them: it is measured too, by a clock that
 * ticks in the same epoll, and reported beside them. */
#include "tests/load/crowd.h"

#include <errno.h>
#include <inttypes.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include "core/check.h"
#include "core/clock.h"
#include "tests/load/content.h"
#include "tests/load/resp.h"

#define CLIENT_MAGIC 0x63726f77
#define LAG_TICK_US (5 * MS_US)
#define READ_BYTES 262144

enum client_phase { WAITING, CONNECTING, HANDSHAKE, ASKING, READING, HOLDING, OVER };

struct client {
    int magic;
    int fd;
    enum client_phase phase;
    uint32_t mask;
    SSL *ssl;
    uint64_t start_us, asked_us, first_us;
    int64_t left; /* requests still to make, with the one under way */
    size_t asked_len;
    bool counted, wrong;
    uint64_t seed;
    struct resp resp;
};

struct crowd {
    const struct crowd_plan *plan;
    struct crowd_result *res;
    struct client *clients;
    size_t n, next; /* next: the first that has not started */
    size_t over;    /* have nothing more to do, or hold */
    size_t opener;  /* 1 when client 0 goes ahead of the others */
    bool joiners_timed;
    int epfd, tick_fd;
    SSL_CTX *ctx;
    char request[4096];
    size_t request_len;
    uint64_t t0_us, tick_base_us, ticks;
    uint8_t buf[READ_BYTES];
};

static enum st samples_init(struct crowd_samples *s, size_t cap)
{
    s->us = calloc(cap, sizeof *s->us);
    s->cap = cap;
    s->n = 0;
    return s->us != NULL ? ST_OK : ST_ENOMEM;
}

static void sample(struct crowd_samples *s, uint64_t us)
{
    if (s->n < s->cap)
        s->us[s->n++] = us < UINT32_MAX ? (uint32_t)us : UINT32_MAX;
}

/* ---- the end of a request and of a client ---- */

static void hang_up(struct client *c)
{
    SSL_free(c->ssl);
    c->ssl = NULL;
    if (c->fd >= 0)
        (void)close(c->fd);
    c->fd = -1;
}

static bool is_opener(const struct crowd *w, const struct client *c)
{
    return w->opener == 1 && c == w->clients;
}

/* The others join an object that has begun: the first body byte of the one ahead sets their time.
 */
static void time_joiners(struct crowd *w, uint64_t now)
{
    if (w->joiners_timed)
        return;
    w->joiners_timed = true;
    for (size_t i = 1; i < w->n; i++)
        w->clients[i].start_us = now + (uint64_t)w->plan->join_ms * MS_US * (i - 1) / (w->n - 1);
}

static void client_over(struct crowd *w, struct client *c, enum client_phase phase)
{
    if (phase == OVER)
        hang_up(c);
    if (is_opener(w, c))
        time_joiners(w, clock_mono_us());
    if (c->phase != HOLDING)
        w->over++;
    c->phase = phase;
}

static void count(struct crowd *w, struct client *c, enum crowd_error e)
{
    struct crowd_result *res = w->res;
    uint64_t now = clock_mono_us();

    if (e != CROWD_OK) {
        res->errors[e]++;
        return;
    }
    if (is_opener(w, c)) {
        res->opener_first_us = c->first_us - c->asked_us;
        res->opener_done_us = now - c->asked_us;
        return;
    }
    res->ok++;
    if (c->first_us != 0)
        sample(&res->first, c->first_us - c->asked_us);
    sample(&res->done, now - c->asked_us);
    res->last_done_us = now - w->t0_us;
}

static void fail(struct crowd *w, struct client *c, enum crowd_error e)
{
    if (c->phase == HOLDING) { /* it had what it wanted; open_at_end tells */
        hang_up(c);
        c->phase = OVER;
        return;
    }
    count(w, c, e);
    client_over(w, c, OVER);
}

static void watch(struct crowd *w, struct client *c, uint32_t mask)
{
    struct epoll_event ev = { .events = mask, .data.ptr = c };

    if (mask != c->mask)
        CHECK(epoll_ctl(w->epfd, EPOLL_CTL_MOD, c->fd, &ev) == 0);
    c->mask = mask;
}

/* ---- connecting ---- */

static void begin_request(struct client *c)
{
    resp_init(&c->resp);
    c->asked_len = 0;
    c->first_us = 0;
    c->wrong = false;
    c->phase = ASKING;
}

static void start(struct crowd *w, struct client *c)
{
    const struct crowd_plan *p = w->plan;
    int on = 1;

    c->start_us = clock_mono_us();
    c->fd = socket(p->addr.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (c->fd < 0) {
        fail(w, c, CROWD_E_connect);
        return;
    }
    if (p->addr.ss_family != AF_UNIX)
        (void)setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    /* A unix listener with a full queue says EAGAIN, and no event would ever follow. */
    if (connect(c->fd, (const struct sockaddr *)&p->addr, p->addr_len) != 0 &&
        errno != EINPROGRESS) {
        fail(w, c, CROWD_E_connect);
        return;
    }
    c->phase = CONNECTING;
    c->mask = EPOLLOUT;
    CHECK(epoll_ctl(w->epfd, EPOLL_CTL_ADD, c->fd,
                    &(struct epoll_event){ .events = c->mask, .data.ptr = c }) == 0);
}

static bool connected(struct crowd *w, struct client *c)
{
    int e = 0;
    socklen_t len = sizeof e;

    if (getsockopt(c->fd, SOL_SOCKET, SO_ERROR, &e, &len) != 0 || e != 0) {
        fail(w, c, CROWD_E_connect);
        return false;
    }
    w->res->connections++;
    if (w->ctx == NULL) {
        sample(&w->res->connect, clock_mono_us() - c->start_us);
        begin_request(c);
        return true;
    }
    c->ssl = SSL_new(w->ctx);
    if (c->ssl == NULL || SSL_set_fd(c->ssl, c->fd) != 1) {
        fail(w, c, CROWD_E_tls);
        return false;
    }
    SSL_set_connect_state(c->ssl);
    c->phase = HANDSHAKE;
    return true;
}

/* What OpenSSL wants next; false: it has failed. */
static bool ssl_wants(struct crowd *w, struct client *c, int result)
{
    switch (SSL_get_error(c->ssl, result)) {
    case SSL_ERROR_WANT_READ:
        watch(w, c, EPOLLIN);
        return true;
    case SSL_ERROR_WANT_WRITE:
        watch(w, c, EPOLLOUT);
        return true;
    default:
        ERR_clear_error();
        return false;
    }
}

static bool handshaken(struct crowd *w, struct client *c)
{
    int r = SSL_do_handshake(c->ssl);

    if (r == 1) {
        sample(&w->res->connect, clock_mono_us() - c->start_us);
        begin_request(c);
        return true;
    }
    if (!ssl_wants(w, c, r))
        fail(w, c, CROWD_E_tls);
    return false;
}

/* ---- asking and reading ---- */

static bool asked(struct crowd *w, struct client *c)
{
    const char *p = w->request + c->asked_len;
    size_t n = w->request_len - c->asked_len;
    ssize_t r;

    if (c->ssl != NULL) {
        int sr = SSL_write(c->ssl, p, (int)n);

        if (sr <= 0) {
            if (!ssl_wants(w, c, sr))
                fail(w, c, CROWD_E_reset);
            return false;
        }
        r = sr;
    } else {
        r = send(c->fd, p, n, MSG_NOSIGNAL);
        if (r < 0 && errno == EAGAIN) {
            watch(w, c, EPOLLOUT);
            return false;
        }
        if (r < 0) {
            fail(w, c, CROWD_E_reset);
            return false;
        }
    }
    c->asked_len += (size_t)r;
    if (c->asked_len < w->request_len)
        return true; /* again */
    c->asked_us = clock_mono_us();
    c->phase = READING;
    watch(w, c, EPOLLIN);
    return true;
}

struct body_ctx {
    struct crowd *w;
    struct client *c;
};

static void on_body(void *ctx, const uint8_t *p, size_t n)
{
    struct body_ctx *b = ctx;
    struct client *c = b->c;
    const struct resp *r = &c->resp;

    if (c->first_us == 0) {
        c->first_us = clock_mono_us();
        if (is_opener(b->w, c))
            time_joiners(b->w, c->first_us);
    }
    b->w->res->bytes += n;
    if (b->w->plan->verify && (r->status == 200 || r->status == 206) && !c->wrong)
        c->wrong = content_match(c->seed, (uint64_t)r->first + r->body_bytes, p, n) != n;
}

static enum crowd_error verdict(const struct crowd *w, const struct client *c)
{
    const struct crowd_plan *p = w->plan;

    if (c->resp.status != p->status)
        return CROWD_E_status;
    if (c->wrong)
        return CROWD_E_mismatch;
    if (p->size >= 0 && c->resp.body_bytes != (uint64_t)p->size)
        return CROWD_E_size;
    return CROWD_OK;
}

static void response_over(struct crowd *w, struct client *c)
{
    bool more = --c->left > 0;

    w->res->status[c->resp.status]++;
    count(w, c, verdict(w, c));
    if (w->plan->idle && c->resp.keep) {
        client_over(w, c, HOLDING);
    } else if (!more) {
        client_over(w, c, OVER);
    } else if (c->resp.keep) {
        begin_request(c);
    } else {
        hang_up(c);
        start(w, c);
    }
}

/* How many bytes are in w->buf; 0: the end; -1: none now, or the client has failed. */
static ssize_t receive(struct crowd *w, struct client *c)
{
    ssize_t r;

    if (c->ssl != NULL) {
        int sr = SSL_read(c->ssl, w->buf, READ_BYTES);

        if (sr > 0)
            return sr;
        if (SSL_get_error(c->ssl, sr) == SSL_ERROR_ZERO_RETURN)
            return 0;
        if (!ssl_wants(w, c, sr))
            fail(w, c, CROWD_E_reset);
        return -1;
    }
    r = recv(c->fd, w->buf, READ_BYTES, 0);
    if (r < 0 && errno != EAGAIN)
        fail(w, c, CROWD_E_reset);
    return r;
}

static bool read_some(struct crowd *w, struct client *c)
{
    struct body_ctx ctx = { w, c };
    ssize_t r = receive(w, c);
    const uint8_t *p = w->buf;
    size_t n = (size_t)r;
    enum st st;

    if (r < 0)
        return false;
    if (c->phase == HOLDING) { /* nothing is expected but the end */
        fail(w, c, CROWD_E_cut);
        return false;
    }
    st = r > 0 ? resp_feed(&c->resp, &p, &n, on_body, &ctx) : resp_end(&c->resp);
    if (st == ST_OK && r > 0 && n > 0)
        st = ST_EPROTO; /* bytes after the response that nobody asked for */
    if (st == ST_OK) {
        response_over(w, c);
        return c->phase == ASKING;
    }
    if (st == ST_MORE)
        return c->ssl != NULL; /* the socket tells when there is more, OpenSSL's buffer does not */
    fail(w, c, r == 0 ? CROWD_E_cut : CROWD_E_protocol);
    return false;
}

static void on_event(struct crowd *w, struct client *c)
{
    bool again = true;

    OBJ_CHECK(c, CLIENT_MAGIC);
    while (again) {
        switch (c->phase) {
        case CONNECTING:
            again = connected(w, c);
            break;
        case HANDSHAKE:
            again = handshaken(w, c);
            break;
        case ASKING:
            again = asked(w, c);
            break;
        case READING:
        case HOLDING:
            again = read_some(w, c);
            break;
        case WAITING:
        case OVER:
            return;
        }
    }
}

/* ---- the run ---- */

static void start_due(struct crowd *w, uint64_t now)
{
    while (w->next < w->n && w->clients[w->next].start_us <= now) {
        if (w->opener == 1 && w->next == 1 && !w->joiners_timed)
            return;
        start(w, &w->clients[w->next++]);
    }
}

static void on_tick(struct crowd *w)
{
    uint64_t expired = 0;

    if (read(w->tick_fd, &expired, sizeof expired) != (ssize_t)sizeof expired)
        return;
    /* Late by the age of the oldest tick that was not looked at. */
    sample(&w->res->lag, clock_mono_us() - (w->tick_base_us + (w->ticks + 1) * LAG_TICK_US));
    w->ticks += expired;
}

static int wait_ms(const struct crowd *w, uint64_t now, uint64_t until)
{
    uint64_t next = until;

    if (w->next < w->n && (w->opener == 0 || w->next == 0 || w->joiners_timed) &&
        w->clients[w->next].start_us < next)
        next = w->clients[w->next].start_us;
    return next <= now ? 0 : (int)((next - now + MS_US - 1) / MS_US);
}

/* Until all are over, or until that time; hold: until that time. */
static void turn_until(struct crowd *w, uint64_t until, bool hold)
{
    struct epoll_event ev[256];
    uint64_t now = clock_mono_us();

    while (now < until && (hold || w->over < w->n)) {
        start_due(w, now);
        int n = epoll_wait(w->epfd, ev, 256, wait_ms(w, now, until));

        for (int i = 0; i < n; i++) {
            if (ev[i].data.ptr == w)
                on_tick(w);
            else
                on_event(w, ev[i].data.ptr);
        }
        now = clock_mono_us();
    }
}

static int64_t rss_kib(const struct crowd_plan *p)
{
    int64_t sum = 0;

    for (int i = 0; i < p->n_pids; i++) {
        char path[64], line[256];
        long long kib;
        FILE *f;

        (void)snprintf(path, sizeof path, "/proc/%" PRId64 "/status", p->pids[i]);
        f = fopen(path, "re");
        while (f != NULL && fgets(line, sizeof line, f) != NULL) {
            if (sscanf(line, "VmRSS: %lld kB", &kib) == 1)
                sum += kib;
        }
        if (f != NULL)
            (void)fclose(f);
    }
    return sum;
}

static uint64_t cpu_us(void)
{
    struct rusage u;

    CHECK(getrusage(RUSAGE_SELF, &u) == 0);
    return (uint64_t)(u.ru_utime.tv_sec + u.ru_stime.tv_sec) * SEC_US +
           (uint64_t)(u.ru_utime.tv_usec + u.ru_stime.tv_usec);
}

static enum st prepare_tick(struct crowd *w)
{
    struct itimerspec every = { .it_interval.tv_nsec = LAG_TICK_US * 1000,
                                .it_value.tv_nsec = LAG_TICK_US * 1000 };
    struct epoll_event ev = { .events = EPOLLIN, .data.ptr = w };

    w->tick_fd = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC);
    w->tick_base_us = clock_mono_us();
    if (w->tick_fd < 0 || timerfd_settime(w->tick_fd, 0, &every, NULL) != 0 ||
        epoll_ctl(w->epfd, EPOLL_CTL_ADD, w->tick_fd, &ev) != 0)
        return ST_EIO;
    return ST_OK;
}

static enum st prepare_tls(struct crowd *w)
{
    static const unsigned char http1[] = "\x08http/1.1";

    if (!w->plan->tls)
        return ST_OK;
    w->ctx = SSL_CTX_new(TLS_client_method());
    if (w->ctx == NULL || SSL_CTX_set_alpn_protos(w->ctx, http1, sizeof http1 - 1) != 0)
        return ST_ENOMEM;
    SSL_CTX_set_mode(w->ctx, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_RELEASE_BUFFERS);
    SSL_CTX_set_verify(w->ctx, SSL_VERIFY_NONE, NULL); /* loopback only: see addr in main() */
    return ST_OK;
}

static enum st prepare(struct crowd *w, const struct crowd_plan *p, struct crowd_result *res)
{
    size_t requests;
    int len = snprintf(w->request, sizeof w->request, "GET %s HTTP/1.1\r\nHost: %s\r\n%s\r\n",
                       p->target, p->host, p->headers);
    enum st st;

    CHECK(len > 0 && (size_t)len < sizeof w->request); /* the parts are shorter */
    w->request_len = (size_t)len;
    w->plan = p;
    w->res = res;
    w->opener = p->join_ms > 0;
    w->n = (size_t)p->n + w->opener;
    w->clients = calloc(w->n, sizeof *w->clients);
    w->epfd = epoll_create1(EPOLL_CLOEXEC);
    w->tick_fd = -1;
    requests = (size_t)(p->n * p->keep);
    if (w->clients == NULL || w->epfd < 0 || samples_init(&res->connect, requests + 1) != ST_OK ||
        samples_init(&res->first, requests) != ST_OK ||
        samples_init(&res->done, requests) != ST_OK ||
        samples_init(&res->lag, (size_t)(p->timeout_ms + p->hold_ms) * MS_US / LAG_TICK_US + 2) !=
            ST_OK)
        return ST_ENOMEM;
    if ((st = prepare_tls(w)) != ST_OK || (st = prepare_tick(w)) != ST_OK)
        return st;
    w->t0_us = clock_mono_us();
    for (size_t i = 0; i < w->n; i++) {
        struct client *c = &w->clients[i];

        OBJ_INIT(c, CLIENT_MAGIC);
        c->fd = -1;
        c->left = p->keep;
        c->seed = content_seed(p->content_path, strlen(p->content_path));
        c->start_us = w->t0_us + (uint64_t)p->ramp_ms * MS_US * i / w->n;
    }
    return ST_OK;
}

static void finish(struct crowd *w)
{
    for (size_t i = 0; i < w->n; i++) {
        struct client *c = &w->clients[i];

        w->res->open_at_end += c->phase == HOLDING;
        if (c->phase != OVER && c->phase != HOLDING)
            count(w, c, CROWD_E_timeout);
        hang_up(c);
    }
}

enum st crowd_run(const struct crowd_plan *plan, struct crowd_result *res)
{
    struct crowd *w = calloc(1, sizeof *w);
    enum st st;

    if (w == NULL)
        return ST_ENOMEM;
    st = prepare(w, plan, res);
    if (st == ST_OK) {
        res->rss_before_kib = rss_kib(plan);
        turn_until(w, w->t0_us + (uint64_t)plan->timeout_ms * MS_US, false);
        res->elapsed_us = clock_mono_us() - w->t0_us;
        if (plan->idle)
            turn_until(w, clock_mono_us() + (uint64_t)plan->hold_ms * MS_US, true);
        res->rss_after_kib = rss_kib(plan);
        finish(w);
        res->cpu_us = cpu_us();
    }
    SSL_CTX_free(w->ctx);
    if (w->tick_fd >= 0)
        (void)close(w->tick_fd);
    if (w->epfd >= 0)
        (void)close(w->epfd);
    free(w->clients);
    free(w);
    return st;
}

void crowd_result_free(struct crowd_result *res)
{
    free(res->connect.us);
    free(res->first.us);
    free(res->done.us);
    free(res->lag.us);
}
