/* daemon/keys.h - publish keys out of the files that the configuration names
 *
 * Purpose   one reader for the server, which verifies, and for `freshet sign`, which signs.
 * Owner     the caller's; what is not needed any more is to be cleansed (keys_forget).
 * Thread    the main thread (it reads files).
 * Errors    ECONF, with the key's name and file in err.
 * Tests     tests/e2e/test_box.py
 */
#ifndef DAEMON_KEYS_H
#define DAEMON_KEYS_H

#include "core/conf.h"
#include "ingest/auth.h"

MUST_USE enum st keys_read(const struct conf_secret *s, struct auth_key *out, struct err *err);
void keys_forget(struct auth_key *keys, size_t n);

/* All of secrets.publish; *out is NULL on failure. */
MUST_USE enum st keys_load(const struct conf *c, struct auth_keys **out, struct err *err);

#endif
