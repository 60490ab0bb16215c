/* core/io_tls.h - the TLS half of core/io.h; for core/io.c only
 *
 * Purpose   OpenSSL between an io and its socket. Input comes straight from the socket, as much as
 *           the read buffer holds. Output goes into the stage of the loop, which always accepts, so
 *           OpenSSL never waits to write; each function here that calls OpenSSL sends the stage
 *           before it returns, and keeps what the kernel did not take as the io's spill.
 * Owner     struct io; the stage belongs to the loop (slot LOOP_TLS_STAGE) from the first TLS io on
 *           until io_loop_fini().
 * Thread    the loop's own.
 * Errors    as in core/io.h.
 * Tests     tests/unit/test_io.c
 */
#ifndef CORE_IO_TLS_H
#define CORE_IO_TLS_H

#include "core/io.h"

MUST_USE enum st io_tls_init(struct io *io, SSL_CTX *ctx);
MUST_USE enum st io_tls_init_client(struct io *io, SSL_CTX *ctx, const char *sni_host,
                                    const char *alpn);
void io_tls_fini(struct io *io);
MUST_USE enum st io_tls_handshake(struct io *io); /* OK: done; MORE: wants input */
MUST_USE enum st io_tls_read(struct io *io, void *p, size_t cap, size_t *got);
MUST_USE enum st io_tls_writev(struct io *io, const struct iovec *v, int n, size_t *took);
void io_tls_close_notify(struct io *io);
bool io_tls_pending(const struct io *io);    /* there is input that no event will tell of */
void io_tls_kick(struct io *io, bool on);    /* io_kicked() in the next turn, once; or not */
const char *io_tls_why(const struct io *io); /* NULL: TLS has nothing to say */
void io_spill_send(struct io *io);           /* the socket is writable */
void io_spill_drop(struct io *io);

/* What io.c lends. */
MUST_USE enum st io_recv(struct io *io, void *p, size_t cap, size_t *got);
MUST_USE enum st io_send(struct io *io, const struct iovec *v, size_t n, size_t *sent);
void io_send_fin(struct io *io);
void io_kicked(struct io *io);

#endif
