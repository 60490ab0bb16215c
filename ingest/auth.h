/* ingest/auth.h - who may publish what
 *
 * Purpose   the names and the signature in what a broadcaster gives as application and stream key,
 *           and whether they are good. Both may carry a query; names are percent-decoded and then
 *           held to the alphabet of URLs here (1-64 of A-Z a-z 0-9 _ -, the first a letter or
 *           digit). app/inst with key: APP is the first part; deeper is refused.
 * Spec      sig = HMAC-SHA256(key, "publish\nAPP/STREAM\nEXP"), in hexadecimal.
 * Units     exp: seconds since 1970, 0: for ever.
 * Owner     values.
 * Thread    any.
 * Errors    enum auth_why: what goes to logs and counters.
 * Tests     tests/unit/test_auth.c, tests/fuzz/fuzz_auth.c
 */
#ifndef INGEST_AUTH_H
#define INGEST_AUTH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/auth_key.h"
#include "core/status.h"

enum {
    AUTH_TEXT_MAX = 1024, /* application or key, with its query */
    AUTH_PARAMS_MAX = 16,
};

/*  name, what a log says */
#define AUTH_WHYS(X)                                                  \
    X(OK, "accepted")                                                 \
    X(LONG, "application or key over 1,024 bytes")                    \
    X(NAME, "a name that is not 1 to 64 of A-Z a-z 0-9 _ -")          \
    X(PARTS, "not APP and STREAM")                                    \
    X(RESERVED, "a reserved application name")                        \
    X(QUERY, "a query that is broken, or says something twice")       \
    X(APP, "no such application, or one that takes no publishers")    \
    X(UNSIGNED, "no signature")                                       \
    X(KID, "an unknown key id")                                       \
    X(SIGNATURE, "a wrong signature")                                 \
    X(PERMANENT, "a permanent key where the application allows none") \
    X(EXPIRED, "expired")

enum auth_why {
#define X(n, d) AUTH_##n,
    AUTH_WHYS(X)
#undef X
        AUTH_WHY_N
};
const char *auth_why_text(enum auth_why why);

struct auth_target {
    char app[AUTH_NAME_MAX + 1];
    char stream[AUTH_NAME_MAX + 1];
    bool is_signed; /* exp, kid and sig were all there */
    uint64_t exp_s;
    char kid[AUTH_KID_MAX + 1];
    uint8_t sig[AUTH_SIG_BYTES];
};

/* app and key as they came; any bytes. */
enum auth_why auth_parse(const uint8_t *app, size_t app_n, const uint8_t *key, size_t key_n,
                         struct auth_target *out);
/* The application alone, at connect: its name is filled in, or empty when there is none yet. */
enum auth_why auth_parse_app(const uint8_t *app, size_t n, char name[AUTH_NAME_MAX + 1]);

enum auth_mode { AUTH_NOBODY, AUTH_OPEN, AUTH_LOCAL, AUTH_SIGNED };

struct auth_policy {
    enum auth_mode mode;
    bool permanent; /* exp=0 is allowed */
};

/* local: from this machine. EXPIRED: everything but the time was right; who holds a session that
 * was begun with the same kid and sig may still accept. keys may be NULL. */
enum auth_why auth_check(const struct auth_policy *policy, const struct auth_keys *keys,
                         const struct auth_target *t, bool local, uint64_t now_s);

/* The query that makes a key: "exp=...&kid=...&sig=..."; ELIMIT when out is too small. */
MUST_USE enum st auth_sign(const struct auth_key *key, const char *app, const char *stream,
                           uint64_t exp_s, char *out, size_t cap);

#endif
