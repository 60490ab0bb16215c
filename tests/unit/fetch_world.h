/* tests/unit/fetch_world.h - one loop with a store and fills, and servers that say what a test says
 *
 * Purpose   the test is the origin: it accepts, reads the request and sends bytes of its choice,
 *           all on loopback and in the loop's own thread. Time is the test's: pass_time() fires
 *           what is due.
 */
#ifndef TESTS_UNIT_FETCH_WORLD_H
#define TESTS_UNIT_FETCH_WORLD_H

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "core/check.h"
#include "core/clock.h"
#include "core/conf.h"
#include "core/loop.h"
#include "core/mem.h"
#include "core/metric.h"
#include "edge/fetch.h"
#include "edge/routes.h"
#include "edge/store.h"
#include "edge/view.h"

static uint64_t world_now_us = 1000 * SEC_US;
static uint64_t world_mono(void) { return world_now_us; }
static int64_t world_wall(void) { return INT64_C(1800000000) * (int64_t)SEC_US; }
static const struct clock_source world_clock = { world_mono, world_wall };

/* A listening socket on loopback. */
struct server {
    int fd;
    uint16_t port;
};

static inline struct server server_open(void)
{
    struct sockaddr_in in = { .sin_family = AF_INET };
    socklen_t len = sizeof in;
    struct server s = { .fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0) };

    in.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    assert_true(s.fd >= 0);
    assert_int_equal(bind(s.fd, (struct sockaddr *)&in, sizeof in), 0);
    assert_int_equal(listen(s.fd, 64), 0);
    assert_int_equal(getsockname(s.fd, (struct sockaddr *)&in, &len), 0);
    s.port = ntohs(in.sin_port);
    return s;
}

struct world {
    struct loop l;
    struct loop *loops[1];
    struct mem_pool pool;
    struct store *store;
    struct conf *conf;
    struct server origin;
};

/* limits: lines under edge.limits, each indented by four, or "". apps_and_more: further YAML. */
static inline void world_open_with(struct world *w, const char *limits, const char *edge)
{
    char text[2048];
    struct routes *r;
    struct err e;
    struct store_cfg cfg = { .cap_bytes = 64 << 20, .object_bytes = 8 << 20, .ops = &fetch_ops };
    int n = snprintf(text, sizeof text,
                     "apps:\n  vod: {origin: \"http://127.0.0.1:%u\"}\n  live: {}\n"
                     "edge:\n%s  limits:\n    object_bytes: 8M\n    error_ttl: 250ms\n%s",
                     (unsigned)w->origin.port, edge, limits);

    clock_use(&world_clock);
    world_now_us += 1000 * SEC_US;
    assert_int_equal(loop_init(&w->l, 0, 1), ST_OK);
    w->loops[0] = &w->l;
    w->l.metrics = metrics_new();
    assert_non_null(w->l.metrics);
    assert_int_equal(conf_parse("test", text, (size_t)n, 1, &w->conf, stderr), ST_OK);
    w->l.conf = w->conf;
    mem_pool_init(&w->pool, 64 << 20);
    w->store = store_new(&cfg, &w->pool, w->loops, 1);
    assert_non_null(w->store);
    assert_int_equal(store_loop_start(w->store, &w->l), ST_OK);
    assert_int_equal(fetch_loop_start(&w->l, w->store), ST_OK);
    assert_int_equal(routes_build(w->conf, NULL, NULL, &r, &e), ST_OK);
    fetch_loop_set_routes(&w->l, r);
    routes_unref(&r);
}

static inline void world_open(struct world *w, const char *limits)
{
    w->origin = server_open();
    world_open_with(w, limits, "");
}

static inline void world_close_early(struct world *w) { fetch_loop_stop(&w->l); }

static inline void world_close_late(struct world *w)
{
    const struct conf *c = w->conf;

    store_loop_stop(&w->l);
    assert_int_equal(loop_turn_nowait(&w->l), ST_OK);
    store_free(&w->store);
    assert_int_equal(mem_pool_used(&w->pool), 0);
    loop_fini(&w->l);
    metrics_free(&w->l.metrics);
    conf_unref(&c);
    if (w->origin.fd >= 0)
        (void)close(w->origin.fd);
    clock_use(NULL);
}

static inline void world_close(struct world *w)
{
    world_close_early(w);
    world_close_late(w);
}

/* Real seconds, for "this takes too long": the loop's clock stands still. */
static inline int64_t real_s(void)
{
    struct timespec ts;

    (void)clock_gettime(CLOCK_MONOTONIC, &ts);
    return ts.tv_sec;
}

#define TURN_UNTIL(w, cond)                                              \
    do {                                                                 \
        int64_t give_up_s = real_s() + 20;                               \
        while (!(cond)) {                                                \
            assert_int_equal(loop_turn_nowait(&(w)->l), ST_OK);          \
            if (real_s() > give_up_s)                                    \
                fail_msg("%s:%d: never: %s", __FILE__, __LINE__, #cond); \
        }                                                                \
    } while (0)

/* As often as anything that has happened could need. */
static inline void settle(struct world *w)
{
    for (int i = 0; i < 30; i++)
        assert_int_equal(loop_turn_nowait(&w->l), ST_OK);
}

static inline void pass_time(struct world *w, uint64_t us)
{
    /* two steps: what the first fires may set what is due in the second */
    settle(w);
    world_now_us += us + 2 * TIMER_TICK_US;
    (void)loop_touch(&w->l);
    timer_wheel_sweep(&w->l);
    settle(w);
}

/* --- the asking side --- */

static inline struct view *want_as(struct world *w, const char *key, enum gobj_kind kind,
                                   enum store_miss miss, bool revalidate)
{
    uint64_t hash = store_hash(w->store, key, strlen(key));
    struct store_ask ask = { .key = key,
                             .len = strlen(key),
                             .hash = hash,
                             .home = 0,
                             .kind = kind,
                             .miss = miss,
                             .now_us = loop_touch(&w->l),
                             .revalidate = revalidate };
    struct view *v = NULL;
    bool inserted;

    assert_int_equal(store_open(&w->l, &ask, &v, &inserted), ST_OK);
    return v;
}

static inline struct view *want(struct world *w, const char *key)
{
    return want_as(w, key, GOBJ_OUTSIDE, STORE_FETCH, true);
}

static inline void let_go(struct view **v)
{
    struct own *own = view_own(*v);

    *v = NULL;
    own_unref(&own);
}

static inline enum gobj_state state_of(struct view *v) { return gobj_now(view_gobj(v)).state; }

/* The bytes that are there, as one string. */
static inline const char *body_of(struct view *v)
{
    static char text[1 << 16];
    struct gobj_cursor c = { .at = NULL };
    struct iovec iov[8];
    size_t n = 0;
    int k;

    while ((k = gobj_span(view_gobj(v), &c, n, UINT64_MAX, iov, 8)) > 0)
        for (int i = 0; i < k; i++) {
            assert_true(n + iov[i].iov_len < sizeof text);
            memcpy(text + n, iov[i].iov_base, iov[i].iov_len);
            n += iov[i].iov_len;
        }
    text[n] = '\0';
    return text;
}

static inline void is_negative(struct view *v, int status)
{
    assert_string_equal(gobj_state_name(state_of(v)), "NEGATIVE");
    assert_int_equal(gobj_head(view_gobj(v))->status, status);
}

#define IS(v, st) assert_string_equal(gobj_state_name(state_of(v)), #st)

/* --- the origin's side --- */

static inline int accept_one(struct world *w, struct server *s)
{
    int fd = -1;

    TURN_UNTIL(w, (fd = accept4(s->fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC)) >= 0);
    (void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &(int){ 1 }, sizeof(int)); /* said is sent */
    return fd;
}

static inline bool nobody_connects(struct world *w, struct server *s)
{
    settle(w);
    return accept4(s->fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC) < 0 && errno == EAGAIN;
}

/* One request head, to its empty line. */
static inline const char *read_request(struct world *w, int fd)
{
    static char text[1 << 14];
    size_t n = 0;

    text[0] = '\0';
    while (strstr(text, "\r\n\r\n") == NULL) {
        ssize_t r = -1;

        TURN_UNTIL(w, (r = recv(fd, text + n, sizeof text - 1 - n, 0)) >= 0);
        assert_true(r > 0);
        n += (size_t)r;
        text[n] = '\0';
    }
    return text;
}

static inline void say(struct world *w, int fd, const char *bytes)
{
    size_t n = strlen(bytes);

    while (n > 0) {
        ssize_t r = -1;

        TURN_UNTIL(w, (r = send(fd, bytes, n, MSG_NOSIGNAL)) > 0);
        bytes += r;
        n -= (size_t)r;
    }
    settle(w);
}

static inline void hang_up(struct world *w, int *fd)
{
    (void)close(*fd);
    *fd = -1;
    settle(w);
}

static inline void reset(struct world *w, int *fd)
{
    struct linger now = { .l_onoff = 1, .l_linger = 0 };

    (void)setsockopt(*fd, SOL_SOCKET, SO_LINGER, &now, sizeof now);
    hang_up(w, fd);
}

/* The peer has closed: nothing more can be read, ever. */
static inline void is_closed(struct world *w, int fd)
{
    char c;
    ssize_t r = -1;

    TURN_UNTIL(w, (r = recv(fd, &c, 1, 0)) >= 0 || errno == ECONNRESET);
    assert_true(r <= 0);
}

#define COUNT(w, field) metric_get(&(w)->l.metrics->field)

#endif
