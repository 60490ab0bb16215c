#include "edge/token.h"

#include <inttypes.h>
#include <openssl/crypto.h>
#include <openssl/sha.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* One that was good: everything that its signature says. */
struct slot {
    struct token token;
    char app[AUTH_NAME_MAX + 1], stream[AUTH_NAME_MAX + 1];
    bool used;
};

/* Where a token stands follows from its signature: whoever cannot make one cannot push out others',
 * and only good ones are put in. */
struct token_memo {
    struct slot slot[TOKEN_MEMO_SLOTS];
};

struct token_memo *token_memo_new(void) { return calloc(1, sizeof(struct token_memo)); }

void token_memo_free(struct token_memo **mp)
{
    if (*mp != NULL)
        OPENSSL_cleanse(*mp, sizeof **mp);
    free(*mp);
    *mp = NULL;
}

void token_memo_clear(struct token_memo *m) { OPENSSL_cleanse(m, sizeof *m); }

/* What comes before the first '-', zero-terminated; false: too long, a zero byte, or no '-'. */
static bool take_part(struct slice *text, char *out, size_t cap)
{
    const uint8_t *dash = text->n > 0 ? memchr(text->p, '-', text->n) : NULL;
    size_t n = dash != NULL ? (size_t)(dash - text->p) : 0;

    if (dash == NULL || n >= cap || memchr(text->p, 0, n) != NULL)
        return false;
    memcpy(out, text->p, n);
    out[n] = '\0';
    *text = slice_of(dash + 1, text->n - n - 1);
    return true;
}

bool token_parse(struct slice text, struct token *out)
{
    char exp[20], hex[2 * AUTH_SIG_BYTES + 1];

    memset(out, 0, sizeof *out);
    if (!take_part(&text, exp, sizeof exp) || !take_part(&text, out->kid, sizeof out->kid) ||
        text.n != sizeof hex - 1)
        return false;
    memcpy(hex, text.p, text.n);
    hex[text.n] = '\0'; /* NB: a zero byte inside makes it too short */
    return auth_exp_parse(exp, &out->exp_s) && auth_kid_is_good(out->kid) &&
           auth_sig_parse(hex, out->sig);
}

static struct slot *slot_of(struct token_memo *m, const struct token *t)
{
    return &m->slot[(t->sig[0] << 8 | t->sig[1]) % TOKEN_MEMO_SLOTS];
}

static bool remembered(const struct slot *s, const struct token *t, const char *app,
                       const char *stream)
{
    return s->used && s->token.exp_s == t->exp_s && strcmp(s->token.kid, t->kid) == 0 &&
           strcmp(s->app, app) == 0 && strcmp(s->stream, stream) == 0 &&
           CRYPTO_memcmp(s->token.sig, t->sig, sizeof t->sig) == 0;
}

static enum metric_play verify(struct token_memo *memo, const struct auth_keys *keys,
                               const struct token *t, const char *app, const char *stream)
{
    struct slot *slot = memo != NULL ? slot_of(memo, t) : NULL;
    const struct auth_key *key;

    if (slot != NULL && remembered(slot, t, app, stream))
        return METRIC_PLAY_ACCEPTED;
    if ((key = auth_keys_find(keys, t->kid)) == NULL)
        return METRIC_PLAY_KID;
    if (!auth_key_verify(key, "play", app, stream, t->exp_s, t->sig))
        return METRIC_PLAY_SIGNATURE;
    if (slot != NULL) {
        slot->token = *t;
        memcpy(slot->app, app, strlen(app) + 1);
        memcpy(slot->stream, stream, strlen(stream) + 1);
        slot->used = true;
    }
    return METRIC_PLAY_ACCEPTED;
}

static bool name_text(struct slice s, char out[AUTH_NAME_MAX + 1])
{
    if (s.n > AUTH_NAME_MAX)
        return false;
    memcpy(out, s.p, s.n);
    out[s.n] = '\0';
    return true;
}

enum metric_play token_check(struct token_memo *memo, const struct auth_keys *keys,
                             struct slice text, struct slice app, struct slice stream,
                             uint64_t now_s, uint64_t grace_s)
{
    char app_text[AUTH_NAME_MAX + 1], stream_text[AUTH_NAME_MAX + 1];
    struct token t;
    enum metric_play why;

    if (text.p == NULL)
        return METRIC_PLAY_MISSING;
    if (!token_parse(text, &t) || !name_text(app, app_text) || !name_text(stream, stream_text))
        return METRIC_PLAY_MALFORMED;
    why = verify(memo, keys, &t, app_text, stream_text);
    if (why == METRIC_PLAY_ACCEPTED && now_s > t.exp_s && now_s - t.exp_s > grace_s)
        return METRIC_PLAY_EXPIRED; /* told to whoever had a good one only */
    return why;
}

enum st token_make(const struct auth_key *key, const char *app, const char *stream, uint64_t exp_s,
                   char out[TOKEN_TEXT_MAX + 1])
{
    char hex[2 * AUTH_SIG_BYTES + 1];
    enum st st = auth_key_sign(key, "play", app, stream, exp_s, hex);
    int n;

    if (st != ST_OK)
        return st;
    n = snprintf(out, TOKEN_TEXT_MAX + 1, "%" PRIu64 "-%s-%s", exp_s, key->kid, hex);
    return n > 0 && n <= TOKEN_TEXT_MAX ? ST_OK : ST_ELIMIT;
}

void token_hash(struct slice text, char out[TOKEN_HASH_LEN + 1])
{
    uint8_t sum[SHA256_DIGEST_LENGTH];

    (void)SHA256(text.p, text.n, sum);
    for (size_t i = 0; i < TOKEN_HASH_LEN / 2; i++)
        (void)snprintf(out + 2 * i, 3, "%02x", sum[i]);
}
