/* edge/token.h - play tokens: who may watch which stream until when
 *
 * Purpose   parse, verify and make the TOKEN of /p/TOKEN/APP/STREAM/... A token that was good is
 *           remembered, so that a viewer's segments cost a comparison and no signature.
 * Spec      TOKEN = EXP-KID-HEX, HEX = HMAC-SHA256(key, "play\nAPP/STREAM\nEXP").
 * Units     exp: seconds since 1970.
 * Owner     a memo belongs to one loop; its size is fixed. It must be told when keys change.
 * Thread    a memo: its loop's. The rest: pure.
 * Errors    enum token_why: what counters and refusals say. token_make: ELIMIT, ENOMEM.
 * Tests     tests/unit/test_token.c, tests/fuzz/fuzz_token.c, tests/e2e/test_play.py
 */
#ifndef EDGE_TOKEN_H
#define EDGE_TOKEN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/auth_key.h"
#include "core/metric.h"
#include "edge/slice.h"

enum {
    TOKEN_TEXT_MAX = 18 + 1 + AUTH_KID_MAX + 1 + 2 * AUTH_SIG_BYTES,
    TOKEN_MEMO_SLOTS = 1024,
    TOKEN_HASH_LEN = 8,
};

struct token {
    uint64_t exp_s;
    char kid[AUTH_KID_MAX + 1];
    uint8_t sig[AUTH_SIG_BYTES];
};

bool token_parse(struct slice text, struct token *out);

struct token_memo;
struct token_memo *token_memo_new(void); /* NULL: out of memory */
void token_memo_free(struct token_memo **mp);
void token_memo_clear(struct token_memo *m); /* the keys have changed */

/* Whether text (p NULL: there is none) is good for APP/STREAM. grace_s: for how long after its EXP.
 * memo may be NULL, keys too. */
enum metric_play token_check(struct token_memo *memo, const struct auth_keys *keys,
                             struct slice text, struct slice app, struct slice stream,
                             uint64_t now_s, uint64_t grace_s);

MUST_USE enum st token_make(const struct auth_key *key, const char *app, const char *stream,
                            uint64_t exp_s, char out[TOKEN_TEXT_MAX + 1]);

/* What a log may show of it: the beginning of its SHA-256. */
void token_hash(struct slice text, char out[TOKEN_HASH_LEN + 1]);

#endif
