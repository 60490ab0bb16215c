/* edge/token: nothing that is not signed is accepted, with a memo or without; what is made for the
 * parts that were read is accepted, and only for its stream. */
#include <stdlib.h>
#include <string.h>

#include "core/check.h"
#include "edge/token.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct token_memo *memo;
    uint8_t *copy = malloc(size > 0 ? size : 1); /* exact size: ASan sees over-reads */
    char made[TOKEN_TEXT_MAX + 1], hash[TOKEN_HASH_LEN + 1];
    struct auth_keys *keys;
    struct auth_key key;
    struct token t, again;

    if (memo == NULL)
        memo = token_memo_new();
    CHECK(copy != NULL && memo != NULL);
    memcpy(copy, data, size);
    if (token_parse(slice_of(copy, size), &t)) {
        CHECK(size <= TOKEN_TEXT_MAX);
        CHECK(auth_key_parse(t.kid, "000102030405060708090a0b0c0d0e0f", &key) == ST_OK);
        keys = auth_keys_new(&key, 1);
        CHECK(keys != NULL);
        CHECK(token_make(&key, "live", "show", t.exp_s, made) == ST_OK);
        struct slice text = slice_of(made, strlen(made));
        CHECK(token_parse(text, &again) && again.exp_s == t.exp_s);
        bool good = memcmp(again.sig, t.sig, sizeof t.sig) == 0;
        enum metric_play why =
            token_check(NULL, keys, slice_of(copy, size), SLICE("live"), SLICE("show"), t.exp_s, 0);
        CHECK(why == (good ? METRIC_PLAY_ACCEPTED : METRIC_PLAY_SIGNATURE));
        CHECK(token_check(memo, keys, text, SLICE("live"), SLICE("show"), t.exp_s, 0) ==
              METRIC_PLAY_ACCEPTED);
        CHECK(token_check(memo, keys, slice_of(copy, size), SLICE("live"), SLICE("show"), t.exp_s,
                          0) == why);
        CHECK(token_check(memo, keys, text, SLICE("live"), SLICE("shop"), t.exp_s, 0) ==
              METRIC_PLAY_SIGNATURE);
        CHECK(token_check(memo, keys, text, SLICE("live"), SLICE("show"), t.exp_s + 1, 0) ==
              METRIC_PLAY_EXPIRED);
        token_memo_clear(memo);
        auth_keys_unref(&keys);
    } else {
        CHECK(token_check(memo, NULL, slice_of(copy, size), SLICE("live"), SLICE("show"), 0, 0) ==
              METRIC_PLAY_MALFORMED);
    }
    token_hash(slice_of(copy, size), hash);
    CHECK(strlen(hash) == TOKEN_HASH_LEN);
    free(copy);
    return 0;
}
