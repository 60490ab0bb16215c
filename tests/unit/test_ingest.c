/* ingest/conn: sessions on real sockets, clear and TLS: deadlines, limits, counters, and a
 * bystander who loses nothing. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <inttypes.h>
#include <openssl/ssl.h>
#include <stdio.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "core/check.h"
#include "core/clock.h"
#include "core/conf.h"
#include "core/io.h"
#include "core/listen.h"
#include "core/loop.h"
#include "core/tls.h"
#include "ingest/conn_int.h"
#include "tests/unit/rtmp_client.h"

static struct tls_set *server_set;
static SSL_CTX *client_ctx;

static int make_tls(void **state)
{
    char dir[] = "/tmp/freshet-ingest-XXXXXX", cert[64], key[64];
    const char *names[] = { "ingest.example.com" };
    struct tls_cert_paths c = { NULL, cert, key };
    struct tls_tier_paths p = { NULL, NULL, cert };
    struct tls_tickets *t = NULL;

    (void)state;
    if (mkdtemp(dir) == NULL)
        return -1;
    (void)snprintf(cert, sizeof cert, "%s/c.pem", dir);
    (void)snprintf(key, sizeof key, "%s/k.pem", dir);
    if (tls_self_signed(cert, key, names, 1, NULL) != ST_OK ||
        tls_tickets_random(NULL, &t, NULL) != ST_OK ||
        tls_set_new(&c, 1, "", t, &server_set, NULL) != ST_OK ||
        tls_client(&p, &client_ctx, NULL) != ST_OK)
        return -1;
    tls_tickets_unref(&t);
    (void)unlink(cert);
    (void)unlink(key);
    return rmdir(dir);
}

static int free_tls(void **state)
{
    (void)state;
    tls_set_unref(&server_set);
    SSL_CTX_free(client_ctx);
    return 0;
}

/* Time goes on by itself, and in jumps. */
static uint64_t skipped_us;

static uint64_t mono_us(void)
{
    struct timespec ts;

    (void)clock_gettime(CLOCK_MONOTONIC, &ts);
    return (uint64_t)ts.tv_sec * SEC_US + (uint64_t)ts.tv_nsec / 1000 + skipped_us;
}

static int64_t wall_us(void) { return INT64_C(1767225000) * 1000000 + (int64_t)skipped_us; }

static const struct clock_source clock_source = { mono_us, wall_us };

/* The sink notes what comes, by stream. */
struct world {
    struct loop loop;
    struct ingest *ingest;
    struct listener *ln;
    int fd;
    struct sockaddr_storage at;
    socklen_t at_len;
    bool tls;
    struct buf said;
    enum { ACCEPT, LATER } answer;
    struct ingest_conn *waiting;
    struct ingest_conn *live;
    unsigned tags;
};

static void on_publish(void *ctx, struct ingest_conn *c, const struct ingest_request *r)
{
    struct world *w = ctx;

    buf_printf(&w->said, "publish %s/%s%s;", r->target->app, r->target->stream,
               r->expired ? " expired" : "");
    ingest_set_user(c, w);
    if (w->answer == LATER) {
        w->waiting = c;
        return;
    }
    if (r->expired) {
        ingest_refuse(c, METRIC_INGEST_CLOSE_AUTH, "expired");
        return;
    }
    if (w->live != NULL && strcmp(r->target->stream, "take") == 0)
        ingest_end(w->live, METRIC_INGEST_CLOSE_REPLACED, "somebody else took over");
    w->live = c;
    ingest_accept(c, 0);
}

static void on_cancel(void *ctx, struct ingest_conn *c)
{
    struct world *w = ctx;

    assert_ptr_equal(c, w->waiting);
    w->waiting = NULL;
    buf_puts(&w->said, "cancel;");
}

static void on_mark(void *ctx, struct ingest_conn *c, const struct flv_mark *m)
{
    struct world *w = ctx;

    assert_ptr_equal(ingest_user(c), w);
    assert_ptr_equal(ingest_conn_loop(c), &w->loop);
    assert_true(m->arrival_us >= INT64_C(1767225000) * 1000000);
}

static void on_tag(void *ctx, struct ingest_conn *c, const struct flv_tag *t,
                   const struct flv_media *m)
{
    struct world *w = ctx;

    (void)c;
    (void)m;
    w->tags++;
    buf_printf(&w->said, "%c%zu;",
               t->type == FLV_VIDEO   ? 'v'
               : t->type == FLV_AUDIO ? 'a'
                                      : 'd',
               t->n);
}

static void on_unpublish(void *ctx, struct ingest_conn *c, enum rtmp_how how)
{
    struct world *w = ctx;

    if (c == w->live)
        w->live = NULL;
    buf_puts(&w->said, how == RTMP_ENDED ? "ended;" : "dropped;");
}

static void listens(struct world *w)
{
    struct addr_sock any[2];
    int n;

    assert_int_equal(addr_resolve("127.0.0.1", 0, any, 2, &n, NULL), ST_OK);
    assert_int_equal(listen_open(&any[0], &(struct listen_how){ 0 }, 1, &w->fd, NULL), ST_OK);
    w->at_len = sizeof w->at;
    assert_int_equal(getsockname(w->fd, (struct sockaddr *)&w->at, &w->at_len), 0);
    assert_int_equal(ingest_listen(&w->loop, w->fd, w->tls, &w->ln), ST_OK);
}

#define APPS "apps: {live: {publish: open}, paid: {publish: signed}, vod: {}}\n"

static void begin(struct world *w, bool tls, const char *conf)
{
    const struct ingest_sink sink = { .publish = on_publish,
                                      .cancel = on_cancel,
                                      .mark = on_mark,
                                      .tag = on_tag,
                                      .unpublish = on_unpublish,
                                      .ctx = w };
    struct auth_key key;
    struct conf *c;

    skipped_us = 0;
    clock_use(&clock_source);
    *w = (struct world){ .tls = tls };
    buf_init(&w->said, 1 << 20);
    assert_int_equal(loop_init(&w->loop, 0, 1), ST_OK);
    assert_int_equal(conf_parse("t", conf, strlen(conf), 1, &c, stderr), ST_OK);
    w->loop.conf = c;
    w->loop.metrics = metrics_new();
    w->ingest = ingest_new(&sink);
    assert_non_null(w->ingest);
    assert_int_equal(ingest_loop_start(w->ingest, &w->loop), ST_OK);
    if (tls)
        ingest_set_tls(&w->loop, tls_set_ref(server_set));
    assert_int_equal(auth_key_parse("k1", "000102030405060708090a0b0c0d0e0f", &key), ST_OK);
    ingest_set_keys(&w->loop, auth_keys_new(&key, 1));
    listens(w);
}

static void finish(struct world *w)
{
    struct metrics *m = w->loop.metrics;

    ingest_loop_stop(&w->loop);
    assert_int_equal(metric_get(&m->ingest_connections), 0);
    assert_int_equal(metric_get(&m->ingest_publishers), 0);
    assert_int_equal(metric_get(&m->ingest_memory_bytes), 0);
    ingest_free(&w->ingest);
    listen_close(&w->fd, 1);
    conf_unref(&w->loop.conf);
    metrics_free(&w->loop.metrics);
    io_loop_fini(&w->loop);
    loop_fini(&w->loop);
    buf_fini(&w->said);
    clock_use(NULL);
}

/* A broadcaster. */
struct client {
    struct io io;
    struct buf out;
    size_t sent;
    struct buf in;
    bool deaf; /* does not read */
    enum st end;
};

static void client_want(struct client *c)
{
    io_want(&c->io,
            (c->end == ST_OK && !c->deaf ? IO_READ : 0u) | (c->sent < c->out.len ? IO_WRITE : 0u));
}

static void client_ready(struct io *io, unsigned what)
{
    struct client *c = CONTAINER_OF(io, struct client, io);
    uint8_t buf[4096];
    size_t n;

    if ((what & IO_DEAD) != 0) {
        c->end = ST_EIO;
        return;
    }
    if ((what & IO_READ) != 0 && (c->end = io_read(io, buf, sizeof buf, &n)) == ST_OK)
        buf_add(&c->in, buf, n);
    if (c->end == ST_MORE)
        c->end = ST_OK;
    if ((what & IO_WRITE) != 0 && c->sent < c->out.len) {
        struct iovec v = { c->out.data + c->sent, c->out.len - c->sent };

        if (io_writev(io, &v, 1, &n) != ST_OK)
            c->end = ST_EIO;
        else
            c->sent += n;
    }
    client_want(c);
}

static void client_open(struct world *w, struct client *c)
{
    *c = (struct client){ .end = ST_OK };
    buf_init(&c->out, 1 << 24);
    buf_init(&c->in, 1 << 24);
    assert_int_equal(io_connect_init(&c->io, &w->loop, (struct sockaddr *)&w->at, w->at_len,
                                     w->tls ? client_ctx : NULL, "ingest.example.com", NULL,
                                     client_ready),
                     ST_OK);
    client_want(c);
}

static void client_close(struct client *c)
{
    io_stop(&c->io);
    io_fini(&c->io);
    buf_fini(&c->out);
    buf_fini(&c->in);
}

#define TURN_UNTIL(w, cond)                                 \
    do {                                                    \
        while (!(cond))                                     \
            assert_int_equal(loop_turn(&(w)->loop), ST_OK); \
    } while (0)

static uint64_t closes(struct world *w, enum metric_ingest_close why)
{
    return metric_get(&w->loop.metrics->ingest_closes[rtmp_close_fault(why)][why]);
}

static uint64_t connections(struct world *w)
{
    return metric_get(&w->loop.metrics->ingest_connections);
}

static bool heard(const struct client *c, const char *text)
{
    return c->in.len > 0 && memmem(c->in.data, c->in.len, text, strlen(text)) != NULL;
}

static bool said(const struct world *w, const char *text)
{
    return strstr(buf_text(&w->said), text) != NULL;
}

static void pass_time(struct world *w, uint64_t us)
{
    skipped_us += us;
    (void)loop_touch(&w->loop);
    timer_wheel_sweep(&w->loop);
    assert_int_equal(loop_turn_nowait(&w->loop), ST_OK);
}

static void client_goes_on_air(struct world *w, struct client *c)
{
    client_open(w, c);
    client_publish(&c->out, "live", "show");
    client_want(c);
    TURN_UNTIL(w, heard(c, "NetStream.Publish.Start"));
}

static void one_broadcast(bool tls)
{
    struct world w;
    struct client c;

    begin(&w, tls, APPS);
    client_goes_on_air(&w, &c);
    assert_int_equal(metric_get(&w.loop.metrics->ingest_publishers), 1);
    client_headers(&c.out, 0);
    client_video(&c.out, 0, "\x17\1\0\0\0key", 8);
    client_want(&c);
    TURN_UNTIL(&w, w.tags == 3);
    client_call(&c.out, 0, "FCUnpublish", 6, "show", -1);
    client_want(&c);
    TURN_UNTIL(&w, said(&w, "ended;"));
    assert_int_equal(metric_get(&w.loop.metrics->ingest_publishers), 0);
    client_close(&c);
    TURN_UNTIL(&w, connections(&w) == 0);
    assert_string_equal(buf_text(&w.said), "publish live/show;v48;a4;v8;ended;");
    assert_int_equal(closes(&w, METRIC_INGEST_CLOSE_ENDED), 1);
    assert_int_equal(metric_get(&w.loop.metrics->ingest_frames[METRIC_MEDIA_VIDEO]), 2);
    assert_int_equal(metric_get(&w.loop.metrics->ingest_auth[METRIC_AUTH_OK]), 1);
    finish(&w);
}

static void a_broadcast_goes_through_in_the_clear(void **state)
{
    (void)state;
    one_broadcast(false);
}

static void a_broadcast_goes_through_tls(void **state)
{
    (void)state;
    one_broadcast(true);
}

static void who_just_goes_has_dropped(void **state)
{
    struct world w;
    struct client c;

    (void)state;
    begin(&w, false, APPS);
    client_goes_on_air(&w, &c);
    client_close(&c);
    TURN_UNTIL(&w, connections(&w) == 0);
    assert_true(said(&w, "dropped;"));
    assert_int_equal(
        closes(&w, METRIC_INGEST_CLOSE_PEER_FIN) + closes(&w, METRIC_INGEST_CLOSE_PEER_RESET), 1);
    finish(&w);
}

static void each_phase_has_its_deadline(void **state)
{
    struct world w;
    struct client silent, half, idle, mute;

    (void)state;
    begin(&w, false, APPS);
    client_open(&w, &silent);
    client_open(&w, &half);
    buf_add(&half.out, "\3\0\0\0", 4);
    client_open(&w, &idle);
    client_hello(&idle.out);
    client_connect(&idle.out, "live");
    client_open(&w, &mute);
    client_publish(&mute.out, "live", "show");
    client_want(&half);
    client_want(&idle);
    client_want(&mute);
    TURN_UNTIL(&w, heard(&mute, "Publish.Start") && heard(&idle, "Connect.Success") &&
                       half.sent == 4 && connections(&w) == 4);
    pass_time(&w, 9 * SEC_US);
    assert_int_equal(loop_turn_nowait(&w.loop), ST_OK);
    assert_int_equal(connections(&w), 4);
    pass_time(&w, 1500000);
    TURN_UNTIL(&w, connections(&w) == 1);
    assert_int_equal(closes(&w, METRIC_INGEST_CLOSE_HANDSHAKE_TIMEOUT), 2);
    assert_int_equal(closes(&w, METRIC_INGEST_CLOSE_PUBLISH_TIMEOUT), 1);
    /* media makes the clock of silence begin again; other messages do not */
    pass_time(&w, 15 * SEC_US);
    client_headers(&mute.out, 0);
    client_want(&mute);
    TURN_UNTIL(&w, w.tags == 2);
    pass_time(&w, 29 * SEC_US);
    client_call(&mute.out, 0, "_checkbw", 9, NULL, -1);
    client_want(&mute);
    TURN_UNTIL(&w, mute.sent == mute.out.len);
    assert_int_equal(metric_get(&w.loop.metrics->ingest_publishers), 1);
    pass_time(&w, 1500000);
    TURN_UNTIL(&w, said(&w, "dropped;"));
    TURN_UNTIL(&w, heard(&mute, "no media for too long") && mute.end == ST_EOF);
    client_close(&mute);
    TURN_UNTIL(&w, connections(&w) == 0);
    assert_int_equal(closes(&w, METRIC_INGEST_CLOSE_IDLE), 1);
    client_close(&silent);
    client_close(&half);
    client_close(&idle);
    finish(&w);
}

static void tls_and_rtmp_share_one_deadline(void **state)
{
    struct world w;
    struct client c;

    (void)state;
    begin(&w, true, APPS);
    w.tls = false; /* who says nothing at a TLS port */
    client_open(&w, &c);
    TURN_UNTIL(&w, connections(&w) == 1);
    pass_time(&w, 10500000);
    TURN_UNTIL(&w, connections(&w) == 0);
    assert_int_equal(closes(&w, METRIC_INGEST_CLOSE_HANDSHAKE_TIMEOUT), 1);
    client_close(&c);
    client_open(&w, &c); /* and who speaks RTMP there */
    client_hello(&c.out);
    client_want(&c);
    TURN_UNTIL(&w, closes(&w, METRIC_INGEST_CLOSE_TLS_HANDSHAKE) == 1);
    client_close(&c);
    finish(&w);
}

static void who_was_told_why_reads_it(void **state)
{
    static const struct {
        const char *app, *key, *text;
        enum metric_ingest_close why;
        enum metric_auth auth;
    } table[] = {
        { "nowhere", "show", "NetConnection.Connect.InvalidApp", METRIC_INGEST_CLOSE_APP,
          METRIC_AUTH_APP },
        { "vod", "show", "NetConnection.Connect.InvalidApp", METRIC_INGEST_CLOSE_APP,
          METRIC_AUTH_APP },
        { "", "vod/show", "no such application", METRIC_INGEST_CLOSE_APP, METRIC_AUTH_APP },
        { "live", "../show", "NetStream.Publish.Denied", METRIC_INGEST_CLOSE_NAME,
          METRIC_AUTH_NAME },
        { "paid", "show", "no signature", METRIC_INGEST_CLOSE_AUTH, METRIC_AUTH_UNSIGNED },
        { "paid",
          "show?exp=1767225600&kid=k2&sig="
          "5f4170e5c8a84f0c09d2f2e1bd8a8cf14ad8c7d9a3b8c1b6b3d5e8b1c1d1e1f1",
          "an unknown key id", METRIC_INGEST_CLOSE_AUTH, METRIC_AUTH_KID },
        { "paid",
          "show?exp=1767225600&kid=k1&sig="
          "5f4170e5c8a84f0c09d2f2e1bd8a8cf14ad8c7d9a3b8c1b6b3d5e8b1c1d1e1f1",
          "a wrong signature", METRIC_INGEST_CLOSE_AUTH, METRIC_AUTH_SIGNATURE },
    };

    (void)state;
    for (size_t i = 0; i < sizeof table / sizeof table[0]; i++) {
        struct world w;
        struct client c;

        begin(&w, i % 2 == 0, APPS);
        client_open(&w, &c);
        client_publish(&c.out, table[i].app, table[i].key);
        client_want(&c);
        TURN_UNTIL(&w, c.end != ST_OK);
        if (c.end != ST_EOF || !heard(&c, table[i].text))
            fail_msg("row %zu: %s", i, st_name(c.end));
        client_close(&c);
        TURN_UNTIL(&w, connections(&w) == 0);
        assert_int_equal(closes(&w, table[i].why), 1);
        assert_int_equal(metric_get(&w.loop.metrics->ingest_auth[table[i].auth]), 1);
        assert_string_equal(buf_text(&w.said), "");
        finish(&w);
    }
}

static void a_signature_opens_the_door_until_it_expires(void **state)
{
    struct auth_key k;
    char key[300] = "show?";

    (void)state;
    assert_int_equal(auth_key_parse("k1", "000102030405060708090a0b0c0d0e0f", &k), ST_OK);
    for (uint64_t late = 0; late < 2; late++) {
        struct world w;
        struct client c;

        assert_int_equal(auth_sign(&k, "paid", "show", 1767225000 - late, key + 5, sizeof key - 5),
                         ST_OK);
        begin(&w, false, APPS);
        client_open(&w, &c);
        client_publish(&c.out, "paid", key);
        client_want(&c);
        TURN_UNTIL(&w, heard(&c, late ? "NetStream.Publish.Denied" : "NetStream.Publish.Start"));
        assert_string_equal(buf_text(&w.said),
                            late ? "publish paid/show expired;" : "publish paid/show;");
        client_close(&c);
        TURN_UNTIL(&w, connections(&w) == 0);
        finish(&w);
    }
}

static void an_answer_may_come_later_and_nothing_is_lost(void **state)
{
    struct world w;
    struct client c;

    (void)state;
    begin(&w, true, APPS);
    w.answer = LATER;
    client_open(&w, &c);
    client_publish(&c.out, "live", "show");
    client_headers(&c.out, 0); /* does not wait for the answer */
    for (uint32_t i = 0; i < 100; i++)
        client_video(&c.out, i * 40, "\x17\1\0\0\0key", 8);
    client_want(&c);
    TURN_UNTIL(&w, w.waiting != NULL && c.sent == c.out.len);
    for (int i = 0; i < 10; i++)
        assert_int_equal(loop_turn_nowait(&w.loop), ST_OK);
    assert_int_equal(w.tags, 0);
    ingest_accept(w.waiting, 0);
    TURN_UNTIL(&w, w.tags == 102 && heard(&c, "NetStream.Publish.Start"));
    client_close(&c);
    TURN_UNTIL(&w, connections(&w) == 0);
    finish(&w);
}

static void who_goes_before_the_answer_is_cancelled(void **state)
{
    struct world w;
    struct client c, d;

    (void)state;
    begin(&w, false, APPS);
    w.answer = LATER;
    client_open(&w, &c);
    client_publish(&c.out, "live", "show");
    client_want(&c);
    TURN_UNTIL(&w, w.waiting != NULL);
    pass_time(&w, 10500000);
    TURN_UNTIL(&w, connections(&w) == 0);
    assert_null(w.waiting);
    assert_string_equal(buf_text(&w.said), "publish live/show;cancel;");
    client_close(&c);

    client_open(&w, &d);
    client_publish(&d.out, "live", "show");
    client_want(&d);
    TURN_UNTIL(&w, w.waiting != NULL);
    ingest_refuse(w.waiting, METRIC_INGEST_CLOSE_UNAVAILABLE, "no home for this stream");
    w.waiting = NULL;
    TURN_UNTIL(&w, d.end == ST_EOF && heard(&d, "no home for this stream"));
    client_close(&d);
    TURN_UNTIL(&w, connections(&w) == 0);
    assert_int_equal(closes(&w, METRIC_INGEST_CLOSE_UNAVAILABLE), 1);
    finish(&w);
}

static void the_newest_may_take_over(void **state)
{
    struct world w;
    struct client old, fresh;

    (void)state;
    begin(&w, false, APPS);
    client_open(&w, &old);
    client_publish(&old.out, "live", "show");
    client_want(&old);
    TURN_UNTIL(&w, heard(&old, "Publish.Start"));
    client_open(&w, &fresh);
    client_publish(&fresh.out, "live", "take");
    client_want(&fresh);
    TURN_UNTIL(&w, heard(&fresh, "Publish.Start") && old.end == ST_EOF);
    assert_true(heard(&old, "somebody else took over"));
    assert_string_equal(buf_text(&w.said), "publish live/show;publish live/take;dropped;");
    client_close(&old);
    TURN_UNTIL(&w, connections(&w) == 1);
    assert_int_equal(closes(&w, METRIC_INGEST_CLOSE_REPLACED), 1);
    client_close(&fresh);
    TURN_UNTIL(&w, connections(&w) == 0);
    finish(&w);
}

static void connections_have_limits_per_address_and_before_they_publish(void **state)
{
    static const char *const confs[] = {
        APPS "ingest: {limits: {per_address: 3, exempt: []}}",
        APPS "ingest: {limits: {per_address: 3}}", /* which exempts loopback */
        APPS "ingest: {limits: {unpublished: 3}}",
    };

    (void)state;
    for (size_t k = 0; k < 3; k++) {
        uint64_t want = k == 1 ? 5 : 3;
        struct world w;
        struct client c[5];

        begin(&w, false, confs[k]);
        for (int i = 0; i < 5; i++)
            client_open(&w, &c[i]);
        TURN_UNTIL(
            &w,
            connections(&w) == want &&
                metric_get(&w.loop.metrics->limit_hits[METRIC_LIMIT_INGEST_PER_ADDRESS]) +
                        metric_get(&w.loop.metrics->limit_hits[METRIC_LIMIT_INGEST_UNPUBLISHED]) ==
                    5 - want);
        assert_int_equal(metric_get(&w.loop.metrics->limit_hits[METRIC_LIMIT_INGEST_PER_ADDRESS]),
                         k == 0 ? 2 : 0);
        for (int i = 0; i < 5; i++)
            client_close(&c[i]);
        TURN_UNTIL(&w, connections(&w) == 0);
        /* what has gone counts no more, and who publishes is not "unpublished" */
        for (int i = 0; i < (k == 2 ? 5 : 3); i++) {
            client_goes_on_air(&w, &c[i]);
        }
        for (int i = 0; i < (k == 2 ? 5 : 3); i++)
            client_close(&c[i]);
        TURN_UNTIL(&w, connections(&w) == 0);
        finish(&w);
    }
}

/* So that the arrival of its first pictures is known to better than that. */
static void a_publisher_is_read_with_all_others_when_it_is_no_longer_fresh(void **state)
{
    struct world w;
    struct client c;

    (void)state;
    begin(&w, false, APPS);
    client_goes_on_air(&w, &c);
    client_headers(&c.out, 0);
    for (unsigned i = 0; i < 3; i++) {
        client_video(&c.out, 40 * i, "\x17\1\0\0\0key", 8);
        client_want(&c);
        TURN_UNTIL(&w, w.tags == i + 3);
        assert_false(w.live->swept);
    }
    pass_time(&w, INGEST_FRESH_US);
    for (unsigned i = 3; i < 6; i++) {
        client_video(&c.out, 40 * i, "\x17\1\0\0\0key", 8);
        client_want(&c);
        TURN_UNTIL(&w, w.tags == i + 3);
        assert_true(w.live->swept);
    }
    client_close(&c);
    TURN_UNTIL(&w, connections(&w) == 0);
    finish(&w);
}

static void a_bystander_loses_nothing(void **state)
{
    static const struct {
        const char *what;
        const char *bytes;
        size_t n;
        bool hello;
        enum metric_ingest_close why;
    } hostile[] = {
#define ROW(what, hello, why, bytes) \
    { what, bytes, sizeof bytes - 1, hello, METRIC_INGEST_CLOSE_##why }
        ROW("HTTP", false, HTTP, "GET / HTTP/1.1\r\n\r\n"),
        ROW("TLS", false, TLS, "\x16\3\1\2\0\1"),
        ROW("type 3 first", true, CHUNK_HEADER, "\xc3"),
        ROW("a size of 0", true, CHUNK_SIZE, "\2\0\0\0\0\0\4\1\0\0\0\0\0\0\0\0"),
        ROW("sizes that never arrive", true, MESSAGE_SIZE, "\4\0\0\0\xff\xff\xff\x09\1\0\0\0"),
        ROW("a length change", true, CHUNK_IN_MESSAGE,
            "\2\0\0\0\0\0\4\1\0\0\0\0\0\0\0\1\4\0\0\0\0\0\4\x09\1\0\0\0x\x44\0\0\0\0\0\5\x09"),
        ROW("an unknown marker", true, AMF, "\3\0\0\0\0\0\1\x14\0\0\0\0\x0e"),
        ROW("nesting", true, AMF_LIMIT,
            "\3\0\0\0\0\0\x24\x14\0\0\0\0\3\0\1k\3\0\1k\3\0\1k\3\0\1k\3\0\1k\3\0\1k\3\0\1k\3\0\1k"
            "\3\0\1k"),
#undef ROW
    };
    struct world w;
    struct client good, bad, slow;
    unsigned sent = 0;

    (void)state;
    begin(&w, false, APPS);
    client_open(&w, &good);
    client_publish(&good.out, "live", "show");
    client_headers(&good.out, 0);
    client_want(&good);
    client_open(&w, &slow); /* connected, publishing, and reads nothing */
    slow.deaf = true;
    client_publish(&slow.out, "live", "slow");
    client_want(&slow);
    TURN_UNTIL(&w, w.tags == 2);
    for (size_t i = 0; i < sizeof hostile / sizeof hostile[0]; i++) {
        uint64_t before = closes(&w, hostile[i].why);

        client_open(&w, &bad);
        if (hostile[i].hello)
            client_hello(&bad.out);
        buf_add(&bad.out, hostile[i].bytes, hostile[i].n);
        client_want(&bad);
        client_video(&good.out, ++sent * 40, "\x27\1\0\0\0frame", 10);
        client_want(&good);
        TURN_UNTIL(&w, closes(&w, hostile[i].why) == before + 1);
        client_close(&bad);
        TURN_UNTIL(&w, w.tags == 2 + sent);
    }
    assert_int_equal(good.end, ST_OK);
    assert_int_equal(connections(&w), 2);
    client_close(&good);
    client_close(&slow);
    TURN_UNTIL(&w, connections(&w) == 0);
    finish(&w);
}

static void stopping_tells_the_sink(void **state)
{
    struct world w;
    struct client c;

    (void)state;
    begin(&w, false, APPS);
    client_goes_on_air(&w, &c);
    listener_free(&w.ln);
    assert_int_equal(loop_turn_nowait(&w.loop), ST_OK);
    assert_int_equal(connections(&w), 1); /* stays */
    client_close(&c);
    TURN_UNTIL(&w, connections(&w) == 0);
    finish(&w);

    begin(&w, false, APPS);
    client_goes_on_air(&w, &c);
    client_close(&c);
    finish(&w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_broadcast_goes_through_in_the_clear),
        cmocka_unit_test(a_broadcast_goes_through_tls),
        cmocka_unit_test(who_just_goes_has_dropped),
        cmocka_unit_test(each_phase_has_its_deadline),
        cmocka_unit_test(tls_and_rtmp_share_one_deadline),
        cmocka_unit_test(who_was_told_why_reads_it),
        cmocka_unit_test(a_signature_opens_the_door_until_it_expires),
        cmocka_unit_test(an_answer_may_come_later_and_nothing_is_lost),
        cmocka_unit_test(who_goes_before_the_answer_is_cancelled),
        cmocka_unit_test(the_newest_may_take_over),
        cmocka_unit_test(connections_have_limits_per_address_and_before_they_publish),
        cmocka_unit_test(a_publisher_is_read_with_all_others_when_it_is_no_longer_fresh),
        cmocka_unit_test(a_bystander_loses_nothing),
        cmocka_unit_test(stopping_tells_the_sink),
    };

    return cmocka_run_group_tests(tests, make_tls, free_tls);
}
