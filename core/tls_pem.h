/* core/tls_pem.h - certificates and keys in files; for core/tls.c only
 *
 * Purpose   reads PEM files with errors that name the file and the reason.
 * Owner     the caller of tls_pem_load(): tls_pem_fini().
 * Thread    main.
 * Errors    ECONF, ENOMEM.
 * Tests     tests/unit/test_tls.c
 */
#ifndef CORE_TLS_PEM_H
#define CORE_TLS_PEM_H

#include <openssl/types.h>
#include <openssl/x509.h>
#include <stddef.h>
#include <stdint.h>

#include "core/status.h"

struct tls_pem {
    X509 *cert;
    STACK_OF(X509) * chain; /* may be empty */
    EVP_PKEY *key;          /* matches cert */
};

MUST_USE enum st tls_pem_load(const char *cert_path, const char *key_path, struct tls_pem *out,
                              struct err *e);
void tls_pem_fini(struct tls_pem *p);

/* The whole of a small file, malloc'ed; the caller frees, and wipes secrets before. */
MUST_USE enum st tls_file_read(const char *path, uint8_t **bytes, size_t *n, struct err *e);

#endif
