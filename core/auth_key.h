/* core/auth_key.h - keys, and the signatures that let people publish and play
 *
 * Purpose   what stream keys (ingest/auth.h) and play tokens (edge/token.h) have in common: a set of
 *           named keys, so that two are good at a time and a change needs no moment of silence, and
 *           one way to sign "who may do what until when".
 * Spec      HMAC-SHA256(key, "PURPOSE\nAPP/STREAM\nEXP"), in hexadecimal.
 * Units     exp: seconds since 1970.
 * Owner     auth_keys counts references; the rest are values.
 * Thread    any; keys are never written after auth_keys_new().
 * Errors    auth_key_parse: ECONF. auth_key_sign: ELIMIT a name too long, ENOMEM.
 * Tests     tests/unit/test_auth.c, tests/unit/test_token.c
 */
#ifndef CORE_AUTH_KEY_H
#define CORE_AUTH_KEY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/status.h"

enum {
    AUTH_NAME_MAX = 64, /* of APP and of STREAM */
    AUTH_KID_MAX = 16,
    AUTH_KEY_MIN = 16, /* bytes of a key */
    AUTH_KEY_MAX = 64,
    AUTH_SIG_BYTES = 32,
};

struct auth_key {
    char kid[AUTH_KID_MAX + 1];
    uint8_t bytes[AUTH_KEY_MAX];
    size_t n;
};

/* hex: with white space around it, as in a file. */
MUST_USE enum st auth_key_parse(const char *kid, const char *hex, struct auth_key *out);

struct auth_keys;
struct auth_keys *auth_keys_new(const struct auth_key *keys, size_t n); /* NULL: out of memory */
struct auth_keys *auth_keys_ref(struct auth_keys *k);
void auth_keys_unref(struct auth_keys **kp);
/* Borrowed; NULL: none of that name, or no keys at all (k NULL). */
const struct auth_key *auth_keys_find(const struct auth_keys *k, const char *kid);

/* In constant time. purpose: "publish" or "play". */
bool auth_key_verify(const struct auth_key *key, const char *purpose, const char *app,
                     const char *stream, uint64_t exp_s, const uint8_t sig[AUTH_SIG_BYTES]);
MUST_USE enum st auth_key_sign(const struct auth_key *key, const char *purpose, const char *app,
                               const char *stream, uint64_t exp_s,
                               char hex[2 * AUTH_SIG_BYTES + 1]);

/* What is written beside a signature. Decimal without leading zeros, so that there is one way to
 * write what was signed. */
bool auth_exp_parse(const char *s, uint64_t *out);
bool auth_kid_is_good(const char *kid); /* 1 to 16 of a-z 0-9 */
bool auth_sig_parse(const char *hex, uint8_t sig[AUTH_SIG_BYTES]);

#endif
