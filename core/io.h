/* core/io.h - one connected stream socket, clear or TLS, on one loop
 *
 * Purpose   the transport under HTTP/1, HTTP/2, upstream and RTMP: read what is there, write what
 *           goes, be told when to try again. It keeps no queue of the owner's bytes. The bytes that
 *           TLS has encrypted and the kernel would not take (the spill) are the one exception: they
 *           are bounded by IO_SPILL_MAX, and until they are out io_writev() takes nothing.
 * Calls     on_ready() always comes from the loop, never from inside an io_ function:
 *             IO_OPEN   once and first: connected, and with TLS the handshake is done
 *             IO_DEAD   once: connecting or the handshake failed; io_why() says how
 *             IO_READ, IO_WRITE   while wanted and possible (level, not edge; may come in one call)
 *           Before IO_OPEN io_read() says MORE and io_writev() takes 0; io_want() is remembered.
 *           An IO_READ may be spurious: io_read() then says MORE.
 *           on_ready() may call anything here but io_fini(). An owner that wants to go calls
 *           io_stop() (no more callbacks), buries itself (core/loop.h) and calls io_fini() there.
 *           After IO_DEAD only io_stop(), io_why() and io_fini().
 * Deadlines are the owner's timers: connecting, handshake, idle, slow reader.
 * Ends      EOF is said only for a clean end: FIN, and with TLS a close_notify before it. A reset,
 *           or a TLS stream cut off without close_notify, is EIO: a body that ends with the
 *           connection is complete only after EOF. Once said, an end is said again on each call,
 *           and IO_READ does not come any more. In TLS 1.3 a server refuses a client's certificate
 *           after the client's IO_OPEN: the client then reads EPROTO.
 * TLS       records are gathered from the pieces (9 + 16,375 bytes make one full record) in a stage
 *           that belongs to the loop, and sent with one system call before the function returns.
 * Owner     embeds struct io; memory beside it: the SSL, and spill blocks of the loop's pool.
 * Thread    the loop's own.
 * Errors    inits: ENOMEM, EIO (io_why() knows); nothing to undo then, a given fd has been closed.
 *           io_read: MORE, EOF, EIO, EPROTO (TLS garbage, alerts), ELIMIT (it makes us answer and
 *           reads no answers). io_writev, io_write_queue, io_shutdown: EIO, EPROTO, ENOMEM, ELIMIT; all final.
 * Tests     tests/unit/test_io.c
 */
#ifndef CORE_IO_H
#define CORE_IO_H

#include <event2/event_struct.h>
#include <openssl/types.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>
#include <sys/uio.h>

#include "core/status.h"

struct loop;
struct outq;

enum { IO_READ = 1, IO_WRITE = 2, IO_OPEN = 4, IO_DEAD = 8 };

enum {
    IO_IOV_MAX = 64,                 /* pieces per sendmsg; more are sent in rounds */
    IO_NOTSENT_LOWAT = 128 << 10,    /* unsent bytes above which the kernel says "not writable" */
    IO_STAGE_BYTES = 128 << 10,      /* TLS records gathered for one send */
    IO_SPILL_MAX = 160 << 10,        /* one stage full, and room for alerts and key updates */
    IO_RECORD_BYTES = 16384,         /* plaintext of a full TLS record */
    IO_RECORD_SMALL_BYTES = 1300,    /* one packet: the player can use it when it arrives */
    IO_SMALL_FIRST_BYTES = 64 << 10, /* so much in small records at first and after a pause */
    IO_SMALL_IDLE_MS = 1000,
};

struct io_block; /* core/io_tls.h */

struct io {
    int magic;
    int fd;
    struct loop *loop;
    SSL *ssl; /* NULL: clear */
    void (*on_ready)(struct io *io, unsigned what);

    /* the rest is for core/io*.c */
    struct event ev;
    short armed; /* what the event waits for */
    uint8_t state;
    uint8_t want;  /* IO_READ, IO_WRITE */
    bool drained;  /* the last recv came back short: nothing there before the next event */
    bool reset;    /* a send failed, and not for want of a reader: recv of 0 is no clean end */
    bool fin;      /* io_shutdown() was called */
    bool told;     /* io_read() has said rd_st */
    bool more;     /* io_read() stopped at cap: TLS may have decrypted or buffered more */
    enum st rd_st; /* OK, or how the reading side ended */
    enum st wr_st; /* OK, or why nothing can be written any more */
    int sys_err;   /* errno of the first failure */

    unsigned long ssl_err; /* OpenSSL's reason for the first failure */
    enum st tls_end;       /* how the socket under TLS ended: OK (it did not), EOF, EIO */
    uint32_t small_bytes;  /* to be written in small records yet */
    uint64_t wrote_us;
    struct io_block *spill, **spill_tail;
    size_t spill_bytes;
    struct io *kick_next, **kick_prevp;
};

typedef void io_ready_fn(struct io *io, unsigned what);

/* Takes fd, which core/listen.h has accepted. ctx NULL: clear. */
MUST_USE enum st io_accept_init(struct io *io, struct loop *l, int fd, SSL_CTX *ctx,
                                io_ready_fn *on_ready);
/* With a ctx that verifies, the peer's certificate must be good for sni_host, a name or an IP
 * address (NULL: any name). alpn: one protocol, or NULL. */
MUST_USE enum st io_connect_init(struct io *io, struct loop *l, const struct sockaddr *sa,
                                 socklen_t len, SSL_CTX *ctx, const char *sni_host,
                                 const char *alpn, io_ready_fn *on_ready);
void io_stop(struct io *io); /* no more callbacks; the socket stays open */
void io_fini(struct io *io); /* closes at once; what was not sent is dropped */

/* OK: *got is 1..cap. cap is at least 1; a large one (64 KiB and up) saves system calls. */
MUST_USE enum st io_read(struct io *io, void *p, size_t cap, size_t *got);
/* Takes what goes now. OK with *took below the sum: come again at IO_WRITE, not earlier. The
 * pieces are borrowed for the call only. */
MUST_USE enum st io_writev(struct io *io, const struct iovec *v, int n, size_t *took);
/* The same for a queue, of which goes what is taken. OK: it is empty. MORE: come again at IO_WRITE. */
MUST_USE enum st io_write_queue(struct io *io, struct outq *q);
/* For an owner that does not want IO_READ and looks by itself from time to time: what io_read() has
 * found before says nothing about now. */
static inline void io_look(struct io *io) { io->drained = false; }
void io_want(struct io *io, unsigned what); /* IO_READ and IO_WRITE interest; replaces the last */
bool io_flushed(const struct io *io);       /* all that was taken is in the kernel, or lost */
/* Bytes on their way, as far as can be seen from here: spilled, or in the kernel and not
 * acknowledged by the peer. With TLS they are counted encrypted. One system call. */
size_t io_backlog(const struct io *io);
/* No more writes: close_notify (TLS) and FIN, after what was written. Reading goes on. */
MUST_USE enum st io_shutdown(struct io *io);

const char *io_why(const struct io *io);  /* why it failed, for logs; never NULL */
const char *io_alpn(const struct io *io); /* "h2", "http/1.1" or "" (none agreed, clear) */
const char *io_sni(const struct io *io);  /* the name the client asked for, or "" */
bool io_resumed(const struct io *io);     /* TLS: an abbreviated handshake */

struct io_stats {
    uint64_t spills;        /* times that the kernel did not take a whole flush */
    uint64_t spilled_bytes; /* in all */
    size_t spill_bytes;     /* held now */
    size_t pooled_bytes;    /* kept for the next */
};
/* This loop's; all zero before its first TLS connection. */
struct io_stats io_stats(const struct loop *l);

/* Frees what TLS connections of this loop shared; after the last of them, before loop_fini(). */
void io_loop_fini(struct loop *l);

#endif
