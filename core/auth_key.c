#include "core/auth_key.h"

#include <ctype.h>
#include <inttypes.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/check.h"

enum {
    KEYS_MAGIC = 0x0a074e75,
    PURPOSE_MAX = 8,
    MESSAGE_MAX = PURPOSE_MAX + 2 * AUTH_NAME_MAX + 3 + 24
};

struct auth_keys {
    int magic;
    atomic_int refs;
    size_t n;
    struct auth_key key[];
};

/* --- what stands in a key or a token --- */

static int hex_digit(uint8_t c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    if (c >= 'a' && c <= 'f')
        return c - 'a' + 10;
    if (c >= 'A' && c <= 'F')
        return c - 'A' + 10;
    return -1;
}

bool auth_exp_parse(const char *s, uint64_t *out)
{
    uint64_t v = 0;

    if (s[0] == '\0' || strlen(s) > 18 || (s[0] == '0' && s[1] != '\0'))
        return false;
    for (; *s != '\0'; s++) {
        if (*s < '0' || *s > '9')
            return false;
        v = v * 10 + (uint64_t)(*s - '0');
    }
    *out = v;
    return true;
}

bool auth_kid_is_good(const char *kid)
{
    size_t n = strlen(kid);

    if (n == 0 || n > AUTH_KID_MAX)
        return false;
    for (; *kid != '\0'; kid++)
        if (!(*kid >= 'a' && *kid <= 'z') && !(*kid >= '0' && *kid <= '9'))
            return false;
    return true;
}

bool auth_sig_parse(const char *s, uint8_t sig[AUTH_SIG_BYTES])
{
    if (strlen(s) != (size_t)2 * AUTH_SIG_BYTES)
        return false;
    for (size_t i = 0; i < AUTH_SIG_BYTES; i++) {
        int high = hex_digit((uint8_t)s[2 * i]), low = hex_digit((uint8_t)s[2 * i + 1]);

        if (high < 0 || low < 0)
            return false;
        sig[i] = (uint8_t)(high * 16 + low);
    }
    return true;
}

/* --- keys --- */

enum st auth_key_parse(const char *kid, const char *hex, struct auth_key *out)
{
    size_t len = strlen(hex);

    *out = (struct auth_key){ .n = 0 };
    while (len > 0 && isspace((unsigned char)hex[len - 1]))
        len--;
    for (; len > 0 && isspace((unsigned char)*hex); hex++)
        len--;
    if (!auth_kid_is_good(kid) || len % 2 != 0 || len / 2 < AUTH_KEY_MIN || len / 2 > AUTH_KEY_MAX)
        return ST_ECONF;
    for (size_t i = 0; i < len; i += 2) {
        int high = hex_digit((uint8_t)hex[i]), low = hex_digit((uint8_t)hex[i + 1]);

        if (high < 0 || low < 0)
            return ST_ECONF;
        out->bytes[out->n++] = (uint8_t)(high * 16 + low);
    }
    (void)snprintf(out->kid, sizeof out->kid, "%.*s", AUTH_KID_MAX, kid);
    return ST_OK;
}

struct auth_keys *auth_keys_new(const struct auth_key *keys, size_t n)
{
    struct auth_keys *k = calloc(1, sizeof *k + n * sizeof *keys);

    if (k == NULL)
        return NULL;
    OBJ_INIT(k, KEYS_MAGIC);
    atomic_init(&k->refs, 1);
    k->n = n;
    if (n > 0)
        memcpy(k->key, keys, n * sizeof *keys);
    return k;
}

struct auth_keys *auth_keys_ref(struct auth_keys *k)
{
    OBJ_CHECK(k, KEYS_MAGIC);
    (void)atomic_fetch_add_explicit(&k->refs, 1, memory_order_relaxed);
    return k;
}

void auth_keys_unref(struct auth_keys **kp)
{
    struct auth_keys *k = *kp;

    *kp = NULL;
    if (k == NULL)
        return;
    OBJ_CHECK(k, KEYS_MAGIC);
    if (atomic_fetch_sub_explicit(&k->refs, 1, memory_order_acq_rel) > 1)
        return;
    OPENSSL_cleanse(k->key, k->n * sizeof k->key[0]);
    OBJ_FINI(k, KEYS_MAGIC);
    free(k);
}

const struct auth_key *auth_keys_find(const struct auth_keys *k, const char *kid)
{
    for (size_t i = 0; k != NULL && i < k->n; i++)
        if (strcmp(k->key[i].kid, kid) == 0)
            return &k->key[i];
    return NULL;
}

/* --- signatures --- */

static bool signature(const struct auth_key *key, const char *purpose, const char *app,
                      const char *stream, uint64_t exp_s, uint8_t sig[AUTH_SIG_BYTES])
{
    char message[MESSAGE_MAX];
    unsigned len = 0;
    int n = snprintf(message, sizeof message, "%s\n%s/%s\n%" PRIu64, purpose, app, stream, exp_s);

    CHECK(n > 0 && (size_t)n < sizeof message);
    return HMAC(EVP_sha256(), key->bytes, (int)key->n, (const unsigned char *)message, (size_t)n,
                sig, &len) != NULL &&
           len == AUTH_SIG_BYTES;
}

bool auth_key_verify(const struct auth_key *key, const char *purpose, const char *app,
                     const char *stream, uint64_t exp_s, const uint8_t sig[AUTH_SIG_BYTES])
{
    uint8_t want[AUTH_SIG_BYTES];

    return signature(key, purpose, app, stream, exp_s, want) &&
           CRYPTO_memcmp(want, sig, sizeof want) == 0;
}

enum st auth_key_sign(const struct auth_key *key, const char *purpose, const char *app,
                      const char *stream, uint64_t exp_s, char hex[2 * AUTH_SIG_BYTES + 1])
{
    uint8_t sig[AUTH_SIG_BYTES];

    if (strlen(app) > AUTH_NAME_MAX || strlen(stream) > AUTH_NAME_MAX)
        return ST_ELIMIT;
    if (!signature(key, purpose, app, stream, exp_s, sig))
        return ST_ENOMEM;
    for (size_t i = 0; i < sizeof sig; i++)
        (void)snprintf(hex + 2 * i, 3, "%02x", sig[i]);
    return ST_OK;
}
