/* core/tls.h - TLS contexts: certificates by name, ticket keys, and the tier's own
 *
 * Purpose   everything that is decided before a connection exists. A tls_set is what a public
 *           listener presents: one certificate per name (ECDSA and RSA side by side when a name is
 *           given twice), chosen by SNI, and the ticket keys that all sets share. The tier contexts
 *           ask for certificates in both directions and know one CA.
 *           TLS 1.2 and 1.3, AEAD ciphers with forward secrecy only, no renegotiation, no
 *           compression, no early data.
 * Names     exact, or *.example.com for one label; case does not matter. The first certificate of
 *           the set is presented to clients that ask for no name, or for one that we do not have.
 * Reload    a set and its keys never change: make new ones, swap the pointer, unref the old. The
 *           connections that have begun keep what they began with.
 * Owner     tls_set and tls_tickets: atomic references. SSL_CTX: SSL_CTX_free().
 * Thread    made on the main thread (they read files); used and unref'ed on any.
 * Errors    ECONF, with the file's name in struct err: missing, not PEM, expired, a key that does
 *           not match; EIO: writing files; ENOMEM.
 * Tests     tests/unit/test_tls.c
 */
#ifndef CORE_TLS_H
#define CORE_TLS_H

#include <openssl/types.h>
#include <stdint.h>

#include "core/status.h"

struct tls_cert_paths {
    const char *name; /* NULL: the default; then the first of the array */
    const char *cert; /* PEM: the certificate, then its chain */
    const char *key;  /* PEM, without passphrase */
};

enum {
    TLS_TICKET_KEYS_MAX = 3,
    TLS_TICKET_KEY_BYTES = 80, /* name 16, MAC key 32, cipher key 32 */
    TLS_TICKET_LIFE_S = 12 * 3600,
};

/* Ticket keys: the first makes tickets, all of them are accepted. A file holds 1..3 keys of 80
 * random bytes: current, previous, next. Machines that share it resume each other's sessions; a
 * rotation puts a new key last, then first, then second. */
struct tls_tickets;
MUST_USE enum st tls_tickets_load(const char *path, struct tls_tickets **out, struct err *e);
/* A new random key; the current one of `before` (or NULL) becomes the previous. */
MUST_USE enum st tls_tickets_random(const struct tls_tickets *before, struct tls_tickets **out,
                                    struct err *e);
struct tls_tickets *tls_tickets_ref(struct tls_tickets *t);
void tls_tickets_unref(struct tls_tickets **tp);

/* alpn: what we speak, the best first: "h2,http/1.1"; a client that offers only other protocols is
 * refused. NULL: not negotiated. */
struct tls_set;
MUST_USE enum st tls_set_new(const struct tls_cert_paths *certs, int n, const char *alpn,
                             struct tls_tickets *tickets, struct tls_set **out, struct err *e);
struct tls_set *tls_set_ref(struct tls_set *s);
void tls_set_unref(struct tls_set **sp);
SSL_CTX *tls_set_ctx(const struct tls_set *s); /* borrowed; an SSL holds its own reference */

struct tls_tier_paths {
    const char *cert, *key;
    const char *ca; /* PEM: who may have signed the other side */
};
/* Asks for and verifies a client certificate; ALPN h2. */
MUST_USE enum st tls_tier_server(const struct tls_tier_paths *p, SSL_CTX **out, struct err *e);
/* Verifies the server. cert and key NULL: no certificate of ours; ca NULL: the system's. */
MUST_USE enum st tls_client(const struct tls_tier_paths *p, SSL_CTX **out, struct err *e);

/* Makes an ECDSA P-256 certificate for the names (and IP addresses), valid for ten years and
 * signed by itself, and its key (mode 0600). Each file appears whole or not at all. */
MUST_USE enum st tls_self_signed(const char *cert_path, const char *key_path,
                                 const char *const *names, int n, struct err *e);

#endif
