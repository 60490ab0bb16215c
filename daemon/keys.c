#include "daemon/keys.h"

#include <openssl/crypto.h>
#include <stdio.h>
#include <stdlib.h>

const char *keys_section(enum keys_for what)
{
    return what == KEYS_PLAY ? "secrets.play" : "secrets.publish";
}

const struct conf_secret *keys_list(enum keys_for what, const struct conf *c, size_t *n)
{
    *n = what == KEYS_PLAY ? c->secrets.play_n : c->secrets.publish_n;
    return what == KEYS_PLAY ? c->secrets.play : c->secrets.publish;
}

enum st keys_read(enum keys_for what, const struct conf_secret *s, struct auth_key *out,
                  struct err *err)
{
    char hex[2 * AUTH_KEY_MAX + 64]; /* and white space */
    FILE *f = fopen(s->file, "re");
    size_t n;
    enum st st;

    *out = (struct auth_key){ .n = 0 };
    if (f == NULL)
        return err_set(err, ST_ECONF, "%s.%s: %s: cannot be read", keys_section(what), s->name,
                       s->file);
    n = fread(hex, 1, sizeof hex - 1, f);
    (void)fclose(f);
    hex[n] = '\0';
    st = auth_key_parse(s->name, hex, out);
    OPENSSL_cleanse(hex, sizeof hex);
    if (st != ST_OK)
        return err_set(err, st, "%s.%s: %s: no key of 16 to 64 bytes in hex", keys_section(what),
                       s->name, s->file);
    return ST_OK;
}

void keys_forget(struct auth_key *keys, size_t n)
{
    if (keys != NULL)
        OPENSSL_cleanse(keys, n * sizeof *keys);
}

enum st keys_load(enum keys_for what, const struct conf *c, struct auth_keys **out, struct err *err)
{
    size_t n;
    const struct conf_secret *list = keys_list(what, c, &n);
    struct auth_key *keys = calloc(n + 1, sizeof *keys);
    enum st st = keys != NULL ? ST_OK : ST_ENOMEM;

    *out = NULL;
    for (size_t i = 0; i < n && st == ST_OK; i++)
        st = keys_read(what, &list[i], &keys[i], err);
    if (st == ST_OK && (*out = auth_keys_new(keys, n)) == NULL)
        st = ST_ENOMEM;
    keys_forget(keys, n);
    free(keys);
    return st == ST_ENOMEM ? err_set(err, st, "out of memory") : st;
}
