/* daemon/keys.h - keys out of the files that the configuration names
 *
 * Purpose   one reader for the server, which verifies, and for `freshet sign`, which signs.
 * Owner     the caller's; what is not needed any more is to be cleansed (keys_forget).
 * Thread    the main thread (it reads files).
 * Errors    ECONF, with the key's name and file in err.
 * Tests     tests/e2e/test_box.py, tests/e2e/test_play.py
 */
#ifndef DAEMON_KEYS_H
#define DAEMON_KEYS_H

#include "core/auth_key.h"
#include "core/conf.h"

enum keys_for { KEYS_PUBLISH, KEYS_PLAY };
const char *keys_section(enum keys_for what); /* "secrets.publish", ... */
const struct conf_secret *keys_list(enum keys_for what, const struct conf *c, size_t *n);

MUST_USE enum st keys_read(enum keys_for what, const struct conf_secret *s, struct auth_key *out,
                           struct err *err);
void keys_forget(struct auth_key *keys, size_t n);

/* All of the section; *out is NULL on failure. */
MUST_USE enum st keys_load(enum keys_for what, const struct conf *c, struct auth_keys **out,
                           struct err *err);

#endif
