/* ingest/auth: any application and key (a zero byte apart) give names of the alphabet or a reason,
 * and what was signed for the names they gave is accepted. */
#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/check.h"
#include "ingest/auth.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_name(const char *name)
{
    CHECK(strlen(name) >= 1 && strlen(name) <= AUTH_NAME_MAX && isalnum((unsigned char)name[0]));
    for (; *name != '\0'; name++)
        CHECK(isalnum((unsigned char)*name) || *name == '_' || *name == '-');
}

static void sign_and_come_back(const struct auth_target *t)
{
    struct auth_policy policy = { AUTH_SIGNED, true };
    struct auth_target again;
    struct auth_keys *keys;
    struct auth_key key;
    char text[400];
    int n;

    CHECK(auth_key_parse("k1", "000102030405060708090a0b0c0d0e0f", &key) == ST_OK);
    keys = auth_keys_new(&key, 1);
    n = snprintf(text, sizeof text, "%s?", t->stream);
    CHECK(keys != NULL && n > 0);
    CHECK(auth_sign(&key, t->app, t->stream, t->exp_s, text + n, sizeof text - (size_t)n) == ST_OK);
    CHECK(auth_parse((const uint8_t *)t->app, strlen(t->app), (const uint8_t *)text, strlen(text),
                     &again) == AUTH_OK);
    CHECK(strcmp(t->app, again.app) == 0 && strcmp(t->stream, again.stream) == 0);
    CHECK(auth_check(&policy, keys, &again, false, 0) == AUTH_OK);
    again.stream[0] = again.stream[0] == 'x' ? 'y' : 'x';
    CHECK(auth_check(&policy, keys, &again, false, 0) == AUTH_SIGNATURE);
    auth_keys_unref(&keys);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const uint8_t *zero = size > 0 ? memchr(data, 0, size) : NULL;
    size_t app_n = zero != NULL ? (size_t)(zero - data) : 0;
    size_t key_n = zero != NULL ? size - app_n - 1 : size;
    uint8_t *app = malloc(app_n + 1), *key = malloc(key_n + 1);
    struct auth_target t;
    char name[AUTH_NAME_MAX + 1];
    enum auth_why why;

    CHECK(app != NULL && key != NULL);
    app = realloc(app, app_n > 0 ? app_n : 1); /* exact size: ASan sees over-reads */
    key = realloc(key, key_n > 0 ? key_n : 1);
    CHECK(app != NULL && key != NULL);
    memcpy(app, data, app_n);
    memcpy(key, data + size - key_n, key_n);
    why = auth_parse(app, app_n, key, key_n, &t);
    CHECK(why == AUTH_OK || !t.is_signed);
    if (why == AUTH_OK) {
        check_name(t.app);
        check_name(t.stream);
        sign_and_come_back(&t);
        CHECK(auth_parse_app(app, app_n, name) == AUTH_OK);
        CHECK(name[0] == '\0' || strcmp(name, t.app) == 0);
    }
    free(app);
    free(key);
    return 0;
}
