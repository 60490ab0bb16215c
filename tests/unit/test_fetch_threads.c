/* Two loops in threads of their own, an origin in a third: whoever asks, on whatever loop, gets the
 * whole body, and the origin is asked once for each object (and once more for each broken body). */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <arpa/inet.h>
#include <netinet/in.h>
#include <pthread.h>
#include <stdatomic.h>
#include <sys/socket.h>
#include <unistd.h>

#include "core/check.h"
#include "core/conf.h"
#include "core/loop.h"
#include "core/mem.h"
#include "core/metric.h"
#include "edge/fetch.h"
#include "edge/routes.h"
#include "edge/store.h"
#include "edge/view.h"

enum { LOOPS = 2, KEYS = 60, BODY = 30000 };

static char body_byte(int key, size_t at)
{
    return (char)('a' + (at * 7 + at / 251 + (size_t)key) % 26);
}

/* --- the origin: one request at a time, one per connection --- */

static int listener;
static uint16_t port;
static int requests, breaks; /* the origin's thread; read after it has ended */

static void send_all(int fd, const char *p, size_t n)
{
    while (n > 0) {
        ssize_t r = send(fd, p, n, MSG_NOSIGNAL);

        if (r <= 0)
            return;
        p += r;
        n -= (size_t)r;
    }
}

static void serve(int fd)
{
    static char body[BODY];
    char in[2048], head[256];
    size_t n = 0, from = 0;
    const char *range;
    int key, len;

    in[0] = '\0';
    while (strstr(in, "\r\n\r\n") == NULL) {
        ssize_t r = recv(fd, in + n, sizeof in - 1 - n, 0);

        if (r <= 0)
            return;
        n += (size_t)r;
        in[n] = '\0';
    }
    key = (int)strtol(in + strlen("GET /vod/"), NULL, 10);
    range = strstr(in, "Range: bytes=");
    if (range != NULL)
        from = strtoul(range + 13, NULL, 10);
    for (size_t i = 0; i < BODY; i++)
        body[i] = body_byte(key, i);
    requests++;
    len = range == NULL ? snprintf(head, sizeof head,
                                   "HTTP/1.1 200 OK\r\nConnection: close\r\nETag: \"%d\"\r\n"
                                   "Cache-Control: max-age=100\r\nContent-Length: %d\r\n\r\n",
                                   key, BODY)
                        : snprintf(head, sizeof head,
                                   "HTTP/1.1 206 Part\r\nConnection: close\r\nETag: \"%d\"\r\n"
                                   "Content-Range: bytes %zu-%d/%d\r\nContent-Length: %zu\r\n\r\n",
                                   key, from, BODY - 1, BODY, BODY - from);
    send_all(fd, head, (size_t)len);
    if (key % 10 == 3 && range == NULL) {
        breaks++;
        send_all(fd, body, BODY / 3);
        return;
    }
    send_all(fd, body + from, BODY - from);
}

static void *origin(void *arg)
{
    int fd;

    (void)arg;
    while ((fd = accept(listener, NULL, NULL)) >= 0) {
        serve(fd);
        (void)close(fd);
    }
    return NULL;
}

/* --- the askers --- */

struct asker {
    struct view_waiter wait;
    struct view *v;
    struct gang *gang;
    int key;
};

struct gang {
    struct mail begin;
    struct loop loop;
    struct asker asker[KEYS];
    int waiting, good;
};

static struct gang gang[LOOPS];
static struct store *store;

static bool is_whole(struct asker *a)
{
    struct gobj_cursor c = { .at = NULL };
    struct iovec v[8];
    size_t n = 0;
    int k;

    while ((k = gobj_span(view_gobj(a->v), &c, n, UINT64_MAX, v, 8)) > 0)
        for (int i = 0; i < k; i++)
            for (size_t b = 0; b < v[i].iov_len; b++, n++)
                if (((const char *)v[i].iov_base)[b] != body_byte(a->key, n))
                    return false;
    return n == BODY;
}

static void look(struct asker *a)
{
    struct gobj_now now;
    struct own *own = view_own(a->v);

    do {
        now = gobj_now(view_gobj(a->v));
        if (now.state == GOBJ_COMPLETE || now.state == GOBJ_FAILED || now.state == GOBJ_NEGATIVE) {
            a->gang->good += now.state == GOBJ_COMPLETE && is_whole(a);
            a->v = NULL;
            own_unref(&own);
            if (--a->gang->waiting == 0)
                loop_stop(&a->gang->loop);
            return;
        }
    } while (!view_wait(a->v, &a->wait, now));
}

static void wake(struct view_waiter *w) { look(CONTAINER_OF(w, struct asker, wait)); }

static void begin(struct loop *l, struct mail *m)
{
    struct gang *g = CONTAINER_OF(m, struct gang, begin);

    g->waiting = KEYS;
    for (int i = 0; i < KEYS; i++) {
        struct asker *a = &g->asker[i];
        char key[32];
        size_t len = (size_t)snprintf(key, sizeof key, "/vod/%d", i);
        uint64_t hash = store_hash(store, key, len);
        struct store_ask ask = { key,          len,         hash,        store_home(store, hash),
                                 GOBJ_OUTSIDE, STORE_FETCH, loop_now(l), false };
        bool inserted;

        a->gang = g;
        a->key = i;
        a->wait.wake = wake;
        CHECK(store_open(l, &ask, &a->v, &inserted) == ST_OK);
        look(a);
    }
}

static atomic_int stopped;

static void nothing(struct loop *l, struct mail *m) { (void)l, (void)m; }

/* Its own askers are done, but it is the home of objects that others wait for. */
static void *run(void *arg)
{
    struct gang *g = arg;
    struct mail wake_other[LOOPS];

    CHECK(loop_run(&g->loop) == ST_OK);
    (void)atomic_fetch_add(&stopped, 1);
    for (int i = 0; i < LOOPS; i++) {
        wake_other[i] = (struct mail){ .deliver = nothing };
        if (&gang[i] != g)
            mailbox_post(&gang[i].loop.mailbox, &wake_other[i]);
    }
    while (atomic_load(&stopped) < LOOPS)
        CHECK(loop_turn(&g->loop) == ST_OK);
    CHECK(loop_turn_nowait(&g->loop) == ST_OK);
    (void)atomic_fetch_add(&stopped, 1);
    while (atomic_load(&stopped) < 2 * LOOPS) /* the letters above are on this stack */
        CHECK(loop_turn_nowait(&g->loop) == ST_OK);
    fetch_loop_stop(&g->loop);
    store_loop_stop(&g->loop);
    return NULL;
}

static void listen_anywhere(void)
{
    struct sockaddr_in in = { .sin_family = AF_INET };
    socklen_t len = sizeof in;

    in.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    listener = socket(AF_INET, SOCK_STREAM, 0);
    assert_true(listener >= 0);
    assert_int_equal(bind(listener, (struct sockaddr *)&in, sizeof in), 0);
    assert_int_equal(listen(listener, 128), 0);
    assert_int_equal(getsockname(listener, (struct sockaddr *)&in, &len), 0);
    port = ntohs(in.sin_port);
}

static void each_object_is_fetched_once_for_all_loops(void **state)
{
    struct store_cfg cfg = { .cap_bytes = 64 << 20, .object_bytes = 1 << 20, .ops = &fetch_ops };
    struct loop *loops[LOOPS];
    struct mem_pool pool;
    struct routes *r;
    struct conf *conf;
    struct err e;
    pthread_t t[LOOPS], origin_thread;
    char text[128];
    uint64_t fills = 0;

    (void)state;
    listen_anywhere();
    int n = snprintf(text, sizeof text,
                     "apps: {vod: {origin: \"http://127.0.0.1:%u\"}}\n"
                     "edge: {limits: {upstream_connections: 4}}\n",
                     (unsigned)port);

    assert_int_equal(conf_parse("t", text, (size_t)n, 1, &conf, stderr), ST_OK);
    assert_int_equal(routes_build(conf, NULL, NULL, &r, &e), ST_OK);
    mem_pool_init(&pool, 64 << 20);
    for (int i = 0; i < LOOPS; i++) {
        loops[i] = &gang[i].loop;
        assert_int_equal(loop_init(loops[i], i, LOOPS), ST_OK);
        loops[i]->conf = conf;
        loops[i]->metrics = metrics_new();
    }
    store = store_new(&cfg, &pool, loops, LOOPS);
    assert_non_null(store);
    assert_int_equal(pthread_create(&origin_thread, NULL, origin, NULL), 0);
    for (int i = 0; i < LOOPS; i++) {
        assert_int_equal(store_loop_start(store, loops[i]), ST_OK);
        assert_int_equal(fetch_loop_start(loops[i], store), ST_OK);
        fetch_loop_set_routes(loops[i], r);
        gang[i].begin.deliver = begin;
        mailbox_post(&loops[i]->mailbox, &gang[i].begin);
    }
    for (int i = 0; i < LOOPS; i++)
        assert_int_equal(pthread_create(&t[i], NULL, run, &gang[i]), 0);
    for (int i = 0; i < LOOPS; i++)
        assert_int_equal(pthread_join(t[i], NULL), 0);
    (void)shutdown(listener, SHUT_RDWR);
    assert_int_equal(pthread_join(origin_thread, NULL), 0);
    for (int i = 0; i < LOOPS; i++) {
        assert_int_equal(gang[i].good, KEYS);
        fills += metric_get(&loops[i]->metrics->cache_fills[METRIC_TIER_EDGE]);
    }
    assert_int_equal(fills, KEYS);
    assert_int_equal(breaks, KEYS / 10);
    assert_int_equal(requests, KEYS + breaks);
    for (int i = 0; i < LOOPS; i++)
        assert_int_equal(loop_turn_nowait(loops[i]), ST_OK);
    store_free(&store);
    assert_int_equal(mem_pool_used(&pool), 0);
    routes_unref(&r);
    for (int i = 0; i < LOOPS; i++) {
        metrics_free(&loops[i]->metrics);
        loop_fini(loops[i]);
    }
    const struct conf *borrowed = conf;

    conf_unref(&borrowed);
    (void)close(listener);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_object_is_fetched_once_for_all_loops),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
