/* encode/request: the head of an exchange, field by field. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "encode/request.h"

static const char *const good[ENC_FIELDS][2] = {
    { ":method", "POST" },
    { ":path", "/_encode/live/My_show-1" },
    { "freshet-session", "kz3f0a1b2c3d4" },
    { "freshet-ast", "1760000000" },
    { "freshet-ladder", "{\"copy\":true,\"segment\":2000,\"chunk\":200}" },
    { "freshet-period", "{\"k\":3,\"number\":70,\"start\":123456}" },
    { "freshet-resume", "eyJ2MCI6e319" }, /* {"v0":{}} */
};

static void say(struct enc_request *r, const char *name, const char *value, size_t n)
{
    char *copy = malloc(n > 0 ? n : 1); /* exact size, no zero */

    memcpy(copy, value, n);
    enc_request_field(r, name, strlen(name), copy, n);
    free(copy);
}

/* The good head, with one field changed (value NULL: left out). */
static int status_with(enum enc_field f, const char *value)
{
    struct enc_request r;
    const char *why;
    int status;

    enc_request_init(&r);
    say(&r, "user-agent", "x", 1);
    for (int i = 0; i < ENC_FIELDS; i++) {
        const char *v = i == (int)f ? value : good[i][1];

        if (v != NULL)
            say(&r, good[i][0], v, strlen(v));
    }
    status = enc_request_read(&r, &why);
    assert_non_null(why);
    enc_request_fini(&r);
    return status;
}

static void a_good_head_says_all(void **state)
{
    struct enc_request r;
    const char *why;

    (void)state;
    enc_request_init(&r);
    for (int i = 0; i < ENC_FIELDS; i++)
        say(&r, good[i][0], good[i][1], strlen(good[i][1]));
    assert_int_equal(enc_request_read(&r, &why), 200);
    assert_string_equal(r.name, "live/My_show-1");
    assert_int_equal(r.conf.ast_s, 1760000000);
    assert_int_equal(r.conf.segment_ms, 2000);
    assert_int_equal(r.conf.chunk_ms, 200);
    assert_int_equal(r.conf.k, 3);
    assert_int_equal(r.conf.number, 70);
    assert_int_equal(r.conf.earliest_ms, 123456);
    assert_non_null(json_object_get(r.resume, "v0"));
    enc_request_fini(&r);
    assert_int_equal(status_with(ENC_PERIOD, NULL), 200);
    assert_int_equal(status_with(ENC_RESUME, NULL), 200);
}

static void what_is_wrong_has_its_status(void **state)
{
    static const struct {
        enum enc_field f;
        const char *value;
        int status;
    } table[] = {
        { ENC_METHOD, NULL, 405 },
        { ENC_METHOD, "GET", 405 },
        { ENC_PATH, NULL, 404 },
        { ENC_PATH, "/", 404 },
        { ENC_PATH, "/_encode/live", 404 },
        { ENC_PATH, "/_encode/live/", 404 },
        { ENC_PATH, "/_encode//show", 404 },
        { ENC_PATH, "/_encode/live/show/x", 404 },
        { ENC_PATH, "/_encode/live/show?x", 404 },
        { ENC_PATH, "/_encode/_live/show", 404 },
        { ENC_PATH, "/_encode/live/-show", 404 },
        { ENC_PATH,
          "/_encode/live/aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", 404 },
        { ENC_PATH,
          "/_encode/live/aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", 200 },
        { ENC_SESSION, NULL, 400 },
        { ENC_SESSION, "kz3f0a1b2c3d", 400 },
        { ENC_SESSION, "kz3f0a1b2c3dX", 400 },
        { ENC_AST, NULL, 400 },
        { ENC_AST, "", 400 },
        { ENC_AST, "-1", 400 },
        { ENC_AST, " 1", 400 },
        { ENC_AST, "1.5", 400 },
        { ENC_AST, "99999999999999999999", 400 },
        { ENC_LADDER, NULL, 400 },
        { ENC_LADDER, "[]", 400 },
        { ENC_LADDER, "{\"copy\":true,\"segment\":2000}", 400 },
        { ENC_LADDER, "{\"copy\":true,\"segment\":2000,\"chunk\":0}", 400 },
        { ENC_LADDER, "{\"copy\":true,\"segment\":100,\"chunk\":200}", 400 },
        { ENC_LADDER, "{\"copy\":true,\"segment\":60001,\"chunk\":200}", 400 },
        { ENC_LADDER, "{\"copy\":true,\"copy\":true,\"segment\":2000,\"chunk\":200}", 400 },
        { ENC_LADDER, "{\"copy\":false,\"segment\":2000,\"chunk\":200}", 501 },
        { ENC_PERIOD, "{\"k\":3,\"number\":70}", 400 },
        { ENC_PERIOD, "{\"k\":-3,\"number\":70,\"start\":1}", 400 },
        { ENC_PERIOD, "{\"k\":3,\"number\":70,\"start\":1099511627777}", 400 },
        { ENC_RESUME, "", 400 },
        { ENC_RESUME, "eyJ2MCI6e31", 400 },
        { ENC_RESUME, "eyJ2MCI6e*19", 400 },
        { ENC_RESUME, "W10=", 400 }, /* [] */
        { ENC_RESUME, "====", 400 },
    };

    (void)state;
    for (size_t i = 0; i < sizeof table / sizeof table[0]; i++)
        assert_int_equal(status_with(table[i].f, table[i].value), table[i].status);
}

static void twice_too_long_or_with_a_zero_is_no_field(void **state)
{
    static char big[ENC_FIELD_MAX + 1];

    (void)state;
    memset(big, 'a', sizeof big);
    for (int i = 0; i < 3; i++) {
        struct enc_request r;
        const char *why;

        enc_request_init(&r);
        for (int f = 0; f < ENC_FIELDS - 1; f++)
            say(&r, good[f][0], good[f][1], strlen(good[f][1]));
        if (i == 0)
            say(&r, "freshet-ast", "1760000000", 10);
        if (i == 1)
            say(&r, "freshet-resume", big, sizeof big);
        if (i == 2)
            say(&r, "freshet-resume", "W10=\0", 5);
        assert_int_equal(enc_request_read(&r, &why), 400);
        enc_request_fini(&r);
    }
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_good_head_says_all),
        cmocka_unit_test(what_is_wrong_has_its_status),
        cmocka_unit_test(twice_too_long_or_with_a_zero_is_no_field),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
