/* Fills over TLS: whom we believe, and what counts as the end of a body. */
#include "tests/unit/fetch_world.h"

#include <openssl/ssl.h>
#include <sys/stat.h>

#include "core/io.h"
#include "core/tls.h"

/* One TLS connection of the origin's, on the same loop. */
struct secure {
    struct io io;
    char in[4096];
    size_t n;
    bool open, dead;
};

static void on_ready(struct io *io, unsigned what)
{
    struct secure *s = CONTAINER_OF(io, struct secure, io);
    size_t got;

    s->open = s->open || (what & IO_OPEN) != 0;
    s->dead = s->dead || (what & IO_DEAD) != 0;
    if ((what & IO_READ) == 0)
        return;
    while (io_read(io, s->in + s->n, sizeof s->in - 1 - s->n, &got) == ST_OK)
        s->n += got;
    s->in[s->n] = '\0';
}

static char dir[] = "/tmp/fetch_tls_XXXXXX";
static char cert[64], key[64];

static int make_certificate(void **state)
{
    static const char *const names[] = { "127.0.0.1" };
    struct err e;

    (void)state;
    if (mkdtemp(dir) == NULL)
        return -1;
    (void)snprintf(cert, sizeof cert, "%s/cert.pem", dir);
    (void)snprintf(key, sizeof key, "%s/key.pem", dir);
    return tls_self_signed(cert, key, names, 1, &e) == ST_OK ? 0 : -1;
}

static int remove_certificate(void **state)
{
    (void)state;
    (void)unlink(cert);
    (void)unlink(key);
    return rmdir(dir);
}

struct secure_world {
    struct world w;
    struct tls_set *set;
    SSL_CTX *client;
    struct secure s;
};

/* The routes are made anew, with https. upstream: one of our own instead of an outside origin. */
static void open_secure(struct secure_world *sw, bool trusted, bool upstream, const char *alpn)
{
    struct tls_cert_paths paths = { .cert = cert, .key = key };
    struct tls_tier_paths trust = { .ca = trusted ? cert : NULL };
    struct tls_tickets *tickets;
    struct routes *r;
    struct conf *c;
    const struct conf *borrowed;
    struct err e;
    char text[256];
    int n;

    memset(&sw->s, 0, sizeof sw->s);
    sw->w.origin = server_open();
    world_open_with(&sw->w, "", "  push: no\n");
    assert_int_equal(tls_tickets_random(NULL, &tickets, &e), ST_OK);
    assert_int_equal(tls_set_new(&paths, 1, alpn, tickets, &sw->set, &e), ST_OK);
    tls_tickets_unref(&tickets);
    assert_int_equal(tls_client(&trust, &sw->client, &e), ST_OK);
    n = snprintf(text, sizeof text,
                 upstream ? "edge: {upstream: [\"https://127.0.0.1:%u\"]}\n"
                            "tls: {tier: {cert: /a, key: /b, ca: /c}}\n"
                          : "apps: {vod: {origin: \"https://127.0.0.1:%u\"}}\n",
                 (unsigned)sw->w.origin.port);
    assert_int_equal(conf_parse("t", text, (size_t)n, 1, &c, stderr), ST_OK);
    assert_int_equal(routes_build(c, sw->client, sw->client, &r, &e), ST_OK);
    borrowed = c;
    conf_unref(&borrowed);
    fetch_loop_set_routes(&sw->w.l, r);
    routes_unref(&r);
}

static void take_secure(struct secure_world *sw)
{
    int fd = accept_one(&sw->w, &sw->w.origin);

    assert_int_equal(io_accept_init(&sw->s.io, &sw->w.l, fd, tls_set_ctx(sw->set), on_ready),
                     ST_OK);
    io_want(&sw->s.io, IO_READ);
}

static void say_secure(struct secure_world *sw, const char *bytes)
{
    struct iovec v = { (void *)(uintptr_t)bytes, strlen(bytes) };
    size_t took;

    assert_int_equal(io_writev(&sw->s.io, &v, 1, &took), ST_OK);
    assert_int_equal(took, v.iov_len);
    settle(&sw->w);
}

static void close_secure(struct secure_world *sw)
{
    world_close_early(&sw->w);
    settle(&sw->w); /* buried connections go */
    io_loop_fini(&sw->w.l);
    tls_set_unref(&sw->set);
    SSL_CTX_free(sw->client);
    world_close_late(&sw->w);
}

static void an_origin_with_a_good_certificate_is_believed(void **state)
{
    struct secure_world sw;
    struct view *v;

    (void)state;
    open_secure(&sw, true, false, "http/1.1");
    v = want(&sw.w, "/vod/a");
    take_secure(&sw);
    TURN_UNTIL(&sw.w, strstr(sw.s.in, "\r\n\r\n") != NULL);
    assert_true(strncmp(sw.s.in, "GET /vod/a HTTP/1.1\r\n", 21) == 0);
    assert_string_equal(io_alpn(&sw.s.io), "http/1.1");
    say_secure(&sw, "HTTP/1.1 200 OK\r\nETag: \"e\"\r\nContent-Length: 10\r\n\r\nhello");
    TURN_UNTIL(&sw.w, state_of(v) == GOBJ_STREAMING);
    say_secure(&sw, "world");
    TURN_UNTIL(&sw.w, state_of(v) == GOBJ_COMPLETE);
    assert_string_equal(body_of(v), "helloworld");
    let_go(&v);
    io_fini(&sw.s.io);
    close_secure(&sw);
}

static void an_origin_that_nobody_vouches_for_is_not(void **state)
{
    struct secure_world sw;
    struct view *v;

    (void)state;
    open_secure(&sw, false, false, "http/1.1"); /* signed by itself: no system knows it */
    v = want(&sw.w, "/vod/a");
    take_secure(&sw);
    TURN_UNTIL(&sw.w, state_of(v) == GOBJ_NEGATIVE);
    is_negative(v, 502);
    assert_null(strstr(sw.s.in, "GET"));
    let_go(&v);
    io_fini(&sw.s.io);
    close_secure(&sw);
}

static void only_a_close_notify_ends_a_body_without_a_length(void **state)
{
    (void)state;
    for (int i = 0; i < 2; i++) {
        struct secure_world sw;
        struct view *v;

        open_secure(&sw, true, false, "http/1.1");
        v = want(&sw.w, "/vod/a");
        take_secure(&sw);
        TURN_UNTIL(&sw.w, strstr(sw.s.in, "\r\n\r\n") != NULL);
        say_secure(&sw, "HTTP/1.1 200 OK\r\n\r\nhello");
        TURN_UNTIL(&sw.w, strcmp(body_of(v), "hello") == 0);
        if (i == 0)
            assert_int_equal(io_shutdown(&sw.s.io), ST_OK);
        else
            assert_int_equal(shutdown(sw.s.io.fd, SHUT_WR), 0); /* somebody cut it off */
        TURN_UNTIL(&sw.w, state_of(v) != GOBJ_STREAMING);
        assert_int_equal(state_of(v), i == 0 ? GOBJ_COMPLETE : GOBJ_FAILED);
        let_go(&v);
        io_fini(&sw.s.io);
        close_secure(&sw);
    }
}

static void an_upstream_must_speak_h2(void **state)
{
    (void)state;
    for (int i = 0; i < 2; i++) {
        struct secure_world sw;
        struct view *v;

        open_secure(&sw, true, true, i == 0 ? "h2" : NULL);
        v = want_as(&sw.w, "/live/show/manifest.mpd", GOBJ_DOC, STORE_FETCH, false);
        take_secure(&sw);
        if (i == 0) {
            TURN_UNTIL(&sw.w, sw.s.n >= 24);
            assert_memory_equal(sw.s.in, "PRI * HTTP/2.0", 14);
            IS(v, FETCHING);
        } else {
            TURN_UNTIL(&sw.w, state_of(v) == GOBJ_NEGATIVE);
            is_negative(v, 503);
        }
        let_go(&v);
        io_fini(&sw.s.io);
        close_secure(&sw);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_origin_with_a_good_certificate_is_believed),
        cmocka_unit_test(an_origin_that_nobody_vouches_for_is_not),
        cmocka_unit_test(only_a_close_notify_ends_a_body_without_a_length),
        cmocka_unit_test(an_upstream_must_speak_h2),
    };

    return cmocka_run_group_tests(tests, make_certificate, remove_certificate);
}
