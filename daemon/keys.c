#include "daemon/keys.h"

#include <openssl/crypto.h>
#include <stdio.h>
#include <stdlib.h>

enum st keys_read(const struct conf_secret *s, struct auth_key *out, struct err *err)
{
    char hex[2 * AUTH_KEY_MAX + 64]; /* and white space */
    FILE *f = fopen(s->file, "re");
    size_t n;
    enum st st;

    *out = (struct auth_key){ .n = 0 };
    if (f == NULL)
        return err_set(err, ST_ECONF, "secrets.publish.%s: %s: cannot be read", s->name, s->file);
    n = fread(hex, 1, sizeof hex - 1, f);
    (void)fclose(f);
    hex[n] = '\0';
    st = auth_key_parse(s->name, hex, out);
    OPENSSL_cleanse(hex, sizeof hex);
    if (st != ST_OK)
        return err_set(err, st, "secrets.publish.%s: %s: no key of 16 to 64 bytes in hex", s->name,
                       s->file);
    return ST_OK;
}

void keys_forget(struct auth_key *keys, size_t n)
{
    if (keys != NULL)
        OPENSSL_cleanse(keys, n * sizeof *keys);
}

enum st keys_load(const struct conf *c, struct auth_keys **out, struct err *err)
{
    struct auth_key *keys = calloc(c->secrets.publish_n + 1, sizeof *keys);
    enum st st = keys != NULL ? ST_OK : ST_ENOMEM;

    *out = NULL;
    for (size_t i = 0; i < c->secrets.publish_n && st == ST_OK; i++)
        st = keys_read(&c->secrets.publish[i], &keys[i], err);
    if (st == ST_OK && (*out = auth_keys_new(keys, c->secrets.publish_n)) == NULL)
        st = ST_ENOMEM;
    keys_forget(keys, c->secrets.publish_n);
    free(keys);
    return st;
}
