/* From a configuration to servers with addresses. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include <openssl/ssl.h>

#include "core/conf.h"
#include "core/tls.h"
#include "edge/routes.h"

static enum st build(const char *text, SSL_CTX *outside, SSL_CTX *tier, struct routes **out,
                     struct err *e)
{
    struct conf *c;
    const struct conf *borrowed;
    enum st st;

    assert_int_equal(conf_parse("t", text, strlen(text), 1, &c, stderr), ST_OK);
    st = routes_build(c, outside, tier, out, e);
    borrowed = c;
    conf_unref(&borrowed); /* the routes need it no longer */
    return st;
}

static void apps_have_their_origins(void **state)
{
    struct routes *r;
    struct err e;
    const struct route_host *h;

    (void)state;
    assert_int_equal(build("apps:\n  vod: {origin: \"http://127.0.0.1:8000\"}\n"
                           "  vod2: {origin: \"http://[::1]:80\"}\n  a: {origin: \"unix:/tmp/x\"}\n"
                           "  live: {}\n",
                           NULL, NULL, &r, &e),
                     ST_OK);
    h = routes_origin(r, "vod/x", 3);
    assert_non_null(h);
    assert_string_equal(h->authority, "127.0.0.1:8000");
    assert_false(h->h2);
    assert_null(h->tls);
    assert_int_equal(h->n_addrs, 1);
    assert_int_equal(addr_port((const struct sockaddr *)&h->addr[0].sa), 8000);
    assert_ptr_equal(routes_host(r, h->url), h);
    assert_string_equal(routes_origin(r, "vod2", 4)->authority, "[::1]");
    assert_string_equal(routes_origin(r, "a", 1)->authority, "localhost");
    assert_null(routes_origin(r, "live", 4));
    assert_null(routes_origin(r, "vo", 2));
    assert_null(routes_origin(r, "vod3", 4));
    assert_null(routes_origin(r, "", 0));
    assert_null(routes_host(r, "http://127.0.0.1:8001"));
    struct routes *second = routes_ref(r);

    routes_unref(&r);
    assert_non_null(routes_origin(second, "vod", 3));
    routes_unref(&second);
    routes_unref(&second); /* NULL is a no-op */
}

static void upstreams_are_ranked_by_stream(void **state)
{
    struct routes *r;
    struct err e;
    const struct route_host *a[ROUTE_UPSTREAMS_MAX], *b[ROUTE_UPSTREAMS_MAX];
    int firsts[3] = { 0 };

    (void)state;
    assert_int_equal(build("edge: {upstream: [\"http://127.0.0.1:1\", \"http://127.0.0.1:2\", "
                           "\"unix:/tmp/y\"]}\n",
                           NULL, NULL, &r, &e),
                     ST_OK);
    for (int i = 0; i < 300; i++) {
        char name[32];
        int n = snprintf(name, sizeof name, "live/s%d", i);

        assert_int_equal(routes_rank(r, name, (size_t)n, a), 3);
        assert_int_equal(routes_rank(r, name, (size_t)n, b), 3);
        assert_memory_equal(a, b, 3 * sizeof a[0]);
        assert_true(a[0] != a[1] && a[1] != a[2] && a[0] != a[2]);
        assert_true(a[0]->h2);
        for (int k = 0; k < 3; k++)
            firsts[k] += a[0] == routes_host(r, k == 0   ? "http://127.0.0.1:1"
                                                : k == 1 ? "http://127.0.0.1:2"
                                                         : "unix:/tmp/y");
    }
    assert_int_equal(firsts[0] + firsts[1] + firsts[2], 300);
    for (int k = 0; k < 3; k++)
        assert_in_range(firsts[k], 60, 140);
    routes_unref(&r);
}

static void what_cannot_work_is_said(void **state)
{
    static const struct {
        const char *text, *says;
        enum st st;
    } t[] = {
        { "edge: {upstream: [\"http://192.0.2.1:80\"]}\n", "https is needed", ST_ECONF },
        { "apps: {v: {origin: \"http://no-such-host.invalid:80\"}}\n", "no-such-host.invalid",
          ST_ENOENT },
    };

    (void)state;
    for (size_t i = 0; i < sizeof t / sizeof t[0]; i++) {
        struct routes *r;
        struct err e = { .text = "" };

        assert_int_equal(build(t[i].text, NULL, NULL, &r, &e), t[i].st);
        assert_null(r);
        assert_non_null(strstr(e.text, t[i].says));
    }
}

static void https_takes_the_context_it_is_for(void **state)
{
    struct tls_tier_paths none = { .cert = NULL };
    SSL_CTX *outside, *tier;
    struct routes *r;
    struct err e;
    const struct route_host *up[ROUTE_UPSTREAMS_MAX];

    (void)state;
    assert_int_equal(tls_client(&none, &outside, &e), ST_OK);
    assert_int_equal(tls_client(&none, &tier, &e), ST_OK);
    static const char text[] = "apps: {v: {origin: \"https://localhost\"}}\n"
                               "edge: {upstream: [\"https://127.0.0.1:9443\"]}\n"
                               "tls: {tier: {cert: /a, key: /b, ca: /c}}\n";

    assert_int_equal(build(text, outside, tier, &r, &e), ST_OK);
    assert_ptr_equal(routes_origin(r, "v", 1)->tls, outside);
    assert_string_equal(routes_origin(r, "v", 1)->authority, "localhost");
    assert_string_equal(routes_origin(r, "v", 1)->name, "localhost");
    assert_int_equal(routes_rank(r, "live/x", 6, up), 1);
    assert_ptr_equal(up[0]->tls, tier);
    SSL_CTX_free(outside);
    SSL_CTX_free(tier);
    routes_unref(&r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(apps_have_their_origins),
        cmocka_unit_test(upstreams_are_ranked_by_stream),
        cmocka_unit_test(what_cannot_work_is_said),
        cmocka_unit_test(https_takes_the_context_it_is_for),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
