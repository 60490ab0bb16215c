/* Targets: one spelling for one resource, no spelling that walks, and what each URL means. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "edge/target.h"

#define S "0m3k5abcdefgh"

static uint8_t space[8192];

/* An exact-size heap copy: ASan sees an over-read. The caller frees *kept. */
static enum st parse(const char *text, size_t cap, struct target *t, uint8_t **kept)
{
    size_t n = strlen(text);

    *kept = malloc(n + (n == 0));
    memcpy(*kept, text, n);
    return target_parse(slice_of(*kept, n), space, cap, t);
}

static void is_text(struct slice s, const char *text)
{
    if (text == NULL) {
        assert_null(s.p);
        return;
    }
    assert_non_null(s.p);
    assert_int_equal(s.n, strlen(text));
    assert_memory_equal(s.p, text, s.n);
}

static void paths_have_one_spelling(void **state)
{
    static const struct {
        const char *in, *out;
    } same[] = {
        { "/", "/" },
        { "/vod/a.mp4", "/vod/a.mp4" },
        { "/vod/dir/", "/vod/dir/" },
        { "/vod/%61%7E%2D%2e%5f%39", "/vod/a~-._9" },
        { "/vod/%c3%a9", "/vod/%C3%A9" },
        { "/vod/a%20b", "/vod/a%20b" },
        { "/vod/%2a%F0", "/vod/%2A%F0" },
        { "/vod/%aA", "/vod/%AA" },

        { "/vod/%252f", "/vod/%252f" },
        { "/vod/%3f%23", "/vod/%3F%23" },
        { "/vod/m[1]|{x}\"<>^`", "/vod/m%5B1%5D%7C%7Bx%7D%22%3C%3E%5E%60" },
        { "/vod/%21!%2b+%40@", "/vod/%21!%2B+%40@" },
        { "/%6c%69%76%65/x", "/live/x" },
        { "/.../a..b/.x/..y", "/.../a..b/.x/..y" },
        { "/vod/a$&'()*+,:=@", "/vod/a$&'()*+,:=@" },
    };

    (void)state;
    for (size_t i = 0; i < sizeof same / sizeof same[0]; i++) {
        struct target t;
        uint8_t *kept;

        assert_int_equal(parse(same[i].in, sizeof space, &t, &kept), ST_OK);
        is_text(t.path, same[i].out);
        free(kept);
    }
}

static void tricks_are_refused(void **state)
{
    static const char *const bad[] = {
        "",         "x",      "?x",         "/a//b",    "//",     "//a",         "/a//",
        "/a/../b",  "/a/./b", "/..",        "/.",       "/a/..",  "/%2e%2e/a",   "/a/.%2E/b",
        "/a/%2e",   "/a%2fb", "/a%2Fb",     "/a%5cb",   "/a\\b",  "/a%00",       "/a;b",
        "/a%3bb",   "/a%3B",  "/a#b",       "/a b",     "/a\tb",  "/a\x7f",      "/a%7f",
        "/a%0d%0a", "/a%1b",  "/a\xc3\xa9", "/a%",      "/a%2",   "/a%g0",       "/a%0g",
        "/%2/a",    "/a?b c", "/a?b\x01",   "/a?b\xff", "/a?b#c", "/a%2e%2e/..", "**",
    };

    (void)state;
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        struct target t;
        uint8_t *kept;

        if (parse(bad[i], sizeof space, &t, &kept) != ST_EPROTO) {
            print_error("accepted: %s\n", bad[i]);
            fail();
        }
        free(kept);
    }
}

static void every_url_has_its_kind(void **state)
{
    static const struct {
        const char *in;
        enum target_kind kind;
        const char *app, *stream, *session, *rep;
        uint64_t number;
    } urls[] = {
        { "*", TARGET_STAR, NULL, NULL, NULL, NULL, 0 },
        { "/", TARGET_ROOT, "", NULL, NULL, NULL, 0 },
        { "/time", TARGET_TIME, "time", NULL, NULL, NULL, 0 },
        { "/time/x", TARGET_RESERVED, "time", NULL, NULL, NULL, 0 },
        { "/metrics", TARGET_RESERVED, "metrics", NULL, NULL, NULL, 0 },
        { "/api/v1/streams", TARGET_RESERVED, "api", NULL, NULL, NULL, 0 },
        { "/status/b/manifest.mpd", TARGET_RESERVED, "status", NULL, NULL, NULL, 0 },
        { "/p", TARGET_RESERVED, "p", NULL, NULL, NULL, 0 },
        { "/p/", TARGET_RESERVED, "p", NULL, NULL, NULL, 0 },
        { "/p/x.y/a/b/manifest.mpd", TARGET_RESERVED, "p", NULL, NULL, NULL, 0 },
        { "/watch/live/b", TARGET_WATCH, "live", "b", NULL, NULL, 0 },
        { "/watch/time/b", TARGET_RESERVED, "watch", NULL, NULL, NULL, 0 },
        { "/watch/live", TARGET_RESERVED, "watch", NULL, NULL, NULL, 0 },
        { "/_sub/live/b", TARGET_TIER, "_sub", NULL, NULL, NULL, 0 },
        { "/%5fsub/live/b", TARGET_TIER, "_sub", NULL, NULL, NULL, 0 },
        { "/live/b/manifest.mpd", TARGET_MANIFEST, "live", "b", NULL, NULL, 0 },
        { "/live/b/manifest.MPD", TARGET_OTHER, "live", NULL, NULL, NULL, 0 },
        { "/live/b/master.m3u8", TARGET_MASTER, "live", "b", NULL, NULL, 0 },
        { "/live/b/v0.m3u8", TARGET_PLAYLIST, "live", "b", NULL, "v0", 0 },
        { "/live/b/a17.m3u8", TARGET_PLAYLIST, "live", "b", NULL, "a17", 0 },
        { "/live/b/v00.m3u8", TARGET_OTHER, "live", NULL, NULL, NULL, 0 },
        { "/live/b/v100.m3u8", TARGET_OTHER, "live", NULL, NULL, NULL, 0 },
        { "/live/b/i0.m3u8", TARGET_OTHER, "live", NULL, NULL, NULL, 0 },
        { "/live/b/.m3u8", TARGET_OTHER, "live", NULL, NULL, NULL, 0 },
        { "/live/b/thumb.jpg", TARGET_THUMB, "live", "b", NULL, NULL, 0 },
        { "/live/b/" S "/manifest.mpd", TARGET_MANIFEST, "live", "b", S, NULL, 0 },
        { "/live/b/" S "/master.m3u8", TARGET_MASTER, "live", "b", S, NULL, 0 },
        { "/live/b/" S "/a0.m3u8", TARGET_PLAYLIST, "live", "b", S, "a0", 0 },
        { "/live/b/" S "/thumb.jpg", TARGET_OTHER, "live", NULL, NULL, NULL, 0 },
        { "/live/b/" S "x/manifest.mpd", TARGET_OTHER, "live", NULL, NULL, NULL, 0 },
        { "/live/b/0M3K5ABCDEFGH/manifest.mpd", TARGET_OTHER, "live", NULL, NULL, NULL, 0 },
        { "/live/b/" S "/v1/init-0123abcd.mp4", TARGET_INIT, "live", "b", S, "v1", 0 },
        { "/live/b/" S "/v1/init-0123ABCD.mp4", TARGET_OTHER, "live", NULL, NULL, NULL, 0 },
        { "/live/b/" S "/v1/init-0123abc.mp4", TARGET_OTHER, "live", NULL, NULL, NULL, 0 },
        { "/live/b/" S "/i0/init-0123abcd.mp4", TARGET_OTHER, "live", NULL, NULL, NULL, 0 },
        { "/live/b/" S "/v1/0.m4s", TARGET_SEGMENT, "live", "b", S, "v1", 0 },
        { "/live/b/" S "/a0/18446744073709551614.m4s", TARGET_SEGMENT, "live", "b", S, "a0",
          UINT64_MAX - 1 },
        { "/live/b/" S "/a0/18446744073709551616.m4s", TARGET_OTHER, "live", NULL, NULL, NULL, 0 },
        { "/live/b/" S "/a0/99999999999999999999999.m4s", TARGET_OTHER, "live", NULL, NULL, NULL,
          0 },
        { "/live/b/" S "/v1/01.m4s", TARGET_OTHER, "live", NULL, NULL, NULL, 0 },
        { "/live/b/" S "/v1/+1.m4s", TARGET_OTHER, "live", NULL, NULL, NULL, 0 },
        { "/live/b/" S "/v1/.m4s", TARGET_OTHER, "live", NULL, NULL, NULL, 0 },
        { "/live/b/" S "/v1/1.m4s/", TARGET_OTHER, "live", NULL, NULL, NULL, 0 },
        { "/live/b/" S "/x1/1.m4s", TARGET_OTHER, "live", NULL, NULL, NULL, 0 },
        { "/live/b/" S "/i0/1.m4s", TARGET_OTHER, "live", NULL, NULL, NULL, 0 },
        { "/live/b/" S "/i0/77.jpg", TARGET_STILL, "live", "b", S, "i0", 77 },
        { "/live/b/" S "/v0/77.jpg", TARGET_OTHER, "live", NULL, NULL, NULL, 0 },
        { "/live/_b/manifest.mpd", TARGET_OTHER, "live", NULL, NULL, NULL, 0 },
        { "/live/b.c/manifest.mpd", TARGET_OTHER, "live", NULL, NULL, NULL, 0 },
        { "/-live/b/manifest.mpd", TARGET_OTHER, "-live", NULL, NULL, NULL, 0 },
        { "/live", TARGET_OTHER, "live", NULL, NULL, NULL, 0 },
        { "/live/b", TARGET_OTHER, "live", NULL, NULL, NULL, 0 },
        { "/live/b/", TARGET_OTHER, "live", NULL, NULL, NULL, 0 },
        { "/%6cive/%62/%76%30.m3u8", TARGET_PLAYLIST, "live", "b", NULL, "v0", 0 },
    };

    (void)state;
    for (size_t i = 0; i < sizeof urls / sizeof urls[0]; i++) {
        struct target t;
        uint8_t *kept;

        assert_int_equal(parse(urls[i].in, sizeof space, &t, &kept), ST_OK);
        if (t.kind != urls[i].kind) {
            print_error("%s: %s\n", urls[i].in, target_kind_name(t.kind));
            fail();
        }
        is_text(t.app, urls[i].app);
        is_text(t.stream, urls[i].stream);
        is_text(t.session, urls[i].session);
        is_text(t.rep, urls[i].rep);
        if (t.kind != TARGET_OTHER)
            assert_true(t.number == urls[i].number);
        if (t.kind == TARGET_INIT)
            is_text(t.hash, "0123abcd");
        free(kept);
    }
}

static void a_token_is_taken_off(void **state)
{
    struct target t;
    uint8_t *kept;

    (void)state;
    assert_int_equal(parse("/p/17-k1-00ff/live/b/manifest.mpd?dvr=1h", 0, &t, &kept), ST_OK);
    assert_int_equal(t.kind, TARGET_MANIFEST);
    is_text(t.token, "17-k1-00ff");
    is_text(t.path, "/live/b/manifest.mpd");
    is_text(t.rest, "/b/manifest.mpd");
    is_text(t.query, "dvr=1h");
    free(kept);
    assert_int_equal(parse("/p/x/watch/live/b", 0, &t, &kept), ST_OK);
    assert_int_equal(t.kind, TARGET_WATCH);
    is_text(t.stream, "b");
    free(kept);
    /* the other reserved words are not behind a token, and neither is another token */
    assert_int_equal(parse("/p/x/watch/watch.js", 0, &t, &kept), ST_OK);
    assert_int_equal(t.kind, TARGET_RESERVED);
    free(kept);
    assert_int_equal(parse("/p/x/time", 0, &t, &kept), ST_OK);
    assert_int_equal(t.kind, TARGET_RESERVED);
    free(kept);
    assert_int_equal(parse("/p/x/p/y/live/b/manifest.mpd", 0, &t, &kept), ST_OK);
    assert_int_equal(t.kind, TARGET_RESERVED);
    free(kept);
    assert_int_equal(parse("/p/x/_sub/live/b", 0, &t, &kept), ST_OK);
    assert_int_equal(t.kind, TARGET_TIER);
    free(kept);
    assert_int_equal(parse("/p//", 0, &t, &kept), ST_EPROTO);
    free(kept);
    assert_int_equal(parse("/p/x/", 0, &t, &kept), ST_OK);
    assert_int_equal(t.kind, TARGET_RESERVED);
    free(kept);
}

static void cmcd_makes_no_other_key(void **state)
{
    static const struct {
        const char *in, *query, *cmcd;
    } all[] = {
        { "/a", NULL, NULL },
        { "/a?", "", NULL },
        { "/a?x=1&y", "x=1&y", NULL },
        { "/a?CMCD=bl%3D1", NULL, "bl%3D1" },
        { "/a?CMCD", NULL, "" },
        { "/a?CMCD=1&x=1", "x=1", "1" },
        { "/a?x=1&CMCD=1", "x=1", "1" },
        { "/a?x=1&CMCD=1&y=2", "x=1&y=2", "1" },
        { "/a?CMCD=1&x=1&CMCD=2&CMCD", "x=1", "1" },
        { "/a?CMCDX=1&xCMCD=2&cmcd=3", "CMCDX=1&xCMCD=2&cmcd=3", NULL },
    };

    (void)state;
    for (size_t i = 0; i < sizeof all / sizeof all[0]; i++) {
        struct target t;
        uint8_t *kept;

        assert_int_equal(parse(all[i].in, strlen(all[i].in), &t, &kept), ST_OK);
        is_text(t.path, "/a");
        is_text(t.query, all[i].query);
        is_text(t.cmcd, all[i].cmcd);
        free(kept);
    }
}

static void parameters_are_found(void **state)
{
    struct slice q = SLICE("a=1&_HLS_msn=7&b&a=2&c="), v = { .p = NULL };

    (void)state;
    assert_true(target_param(q, "a", &v));
    is_text(v, "1");
    assert_true(target_param(q, "_HLS_msn", &v));
    is_text(v, "7");
    assert_true(target_param(q, "b", &v));
    is_text(v, "");
    assert_true(target_param(q, "c", &v));
    is_text(v, "");
    assert_false(target_param(q, "_HLS", &v));
    assert_false(target_param(q, "d", &v));
    assert_false(target_param((struct slice){ .p = NULL }, "a", &v));
}

static void limits_are_exact(void **state)
{
    static char text[TARGET_PATH_MAX + 2] = "/";
    struct target t;
    uint8_t *kept;

    (void)state;
    memset(text + 1, 'x', TARGET_PATH_MAX - 1);
    assert_int_equal(parse(text, 0, &t, &kept), ST_OK);
    free(kept);
    text[TARGET_PATH_MAX] = 'x';
    assert_int_equal(parse(text, 0, &t, &kept), ST_ELIMIT);
    free(kept);
    text[TARGET_PATH_MAX] = '\0';
    text[1] = '['; /* written as three */
    text[TARGET_PATH_MAX - 2] = '\0';
    assert_int_equal(parse(text, sizeof space, &t, &kept), ST_OK);
    assert_int_equal(t.path.n, TARGET_PATH_MAX);
    free(kept);
    text[TARGET_PATH_MAX - 2] = 'x';
    assert_int_equal(parse(text, sizeof space, &t, &kept), ST_ELIMIT);
    free(kept);
    assert_int_equal(parse("/%61b", 2, &t, &kept), ST_ELIMIT);
    free(kept);
    assert_int_equal(parse("/%61b", 3, &t, &kept), ST_OK);
    free(kept);
    assert_int_equal(parse("/%61?b&CMCD=1", 2, &t, &kept), ST_ELIMIT);
    free(kept);
    assert_int_equal(parse("/%61?b&CMCD=1", 3, &t, &kept), ST_OK);
    is_text(t.path, "/a");
    is_text(t.query, "b");
    free(kept);
}

static void names_have_their_alphabet(void **state)
{
    static char long_name[65];

    (void)state;
    memset(long_name, 'a', 65);
    assert_true(name_is_valid(slice_of(long_name, 64)));
    assert_false(name_is_valid(slice_of(long_name, 65)));
    assert_false(name_is_valid(slice_of(long_name, 0)));
    assert_true(name_is_valid(SLICE("0_a-Z")));
    assert_false(name_is_valid(SLICE("-a")));
    assert_false(name_is_valid(SLICE("a\0b")));
    assert_false(name_is_valid(SLICE("\xc3\xa9")));
    assert_true(name_is_reserved(SLICE("watch")));
    assert_false(name_is_reserved(SLICE("Watch")));
    assert_true(rep_is_valid(SLICE("v0")));
    assert_true(rep_is_valid(SLICE("a99")));
    assert_false(rep_is_valid(SLICE("a")));
    assert_false(rep_is_valid(SLICE("i1")));
    assert_false(rep_is_valid(SLICE("v1x")));
    assert_true(session_is_valid(SLICE("0az9012345678")));
    assert_false(session_is_valid(SLICE("0az90123456_8")));
    assert_false(session_is_valid(SLICE("0az901234567")));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(paths_have_one_spelling), cmocka_unit_test(tricks_are_refused),
        cmocka_unit_test(every_url_has_its_kind),  cmocka_unit_test(a_token_is_taken_off),
        cmocka_unit_test(cmcd_makes_no_other_key), cmocka_unit_test(parameters_are_found),
        cmocka_unit_test(limits_are_exact),        cmocka_unit_test(names_have_their_alphabet),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
