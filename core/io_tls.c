/* The way out: SSL_write -> stage_write (the BIO) -> stage->buf -> flush() -> one send -> what did
 * not go: spill. Between two public calls the stage is empty, so one stage serves every connection
 * of the loop; `user` is there to prove it. While an io has spill it encrypts nothing, so the spill
 * is at most one stage plus what reading makes us say (alerts, answers to key updates).
 *
 * The way in: SSL_read -> stage_read (the BIO) -> recv. OpenSSL reads ahead into its own buffer;
 * what is left in there when the owner stops reading is invisible to epoll, so such an io is
 * kicked: it is called again in the next turn. */
#include "core/io_tls.h"

#include <arpa/inet.h>
#include <event2/event.h>
#include <openssl/bio.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>
#include <stdlib.h>
#include <string.h>

#include "core/check.h"
#include "core/clock.h"
#include "core/loop.h"

enum {
    STAGE_MAGIC = 0x57a9e715,
    BLOCK_BYTES = 16 << 10, /* of the spill, with its head */
    BLOCKS_POOLED_MAX = 64,
    RECORD_OVERHEAD_BYTES = SSL3_RT_HEADER_LENGTH + SSL3_RT_MAX_ENCRYPTED_OVERHEAD,
};

struct io_block {
    struct io_block *next;
    size_t from, to;
    uint8_t bytes[BLOCK_BYTES - 3 * sizeof(size_t)];
};

struct stage {
    int magic;
    struct loop *loop;
    BIO_METHOD *method;
    struct event kick_ev;
    struct io *kicked;
    struct io_block *pool;
    unsigned pooled;
    unsigned ios;
    struct io_stats stats;
    struct io *user; /* whose records are in buf */
    size_t len;
    uint8_t record[IO_RECORD_BYTES];
    uint8_t buf[IO_STAGE_BYTES];
};

static struct stage *stage_of(const struct loop *l)
{
    struct stage *st = l->slot[LOOP_TLS_STAGE];

    OBJ_CHECK(st, STAGE_MAGIC);
    return st;
}

/* The spill. */

static struct io_block *block_get(struct stage *st)
{
    struct io_block *b = st->pool;

    if (b == NULL)
        return malloc(sizeof *b);
    st->pool = b->next;
    st->pooled--;
    return b;
}

static void block_put(struct stage *st, struct io_block *b)
{
    if (st->pooled >= BLOCKS_POOLED_MAX) {
        free(b);
        return;
    }
    b->next = st->pool;
    st->pool = b;
    st->pooled++;
}

static void spill_first_done(struct io *io, struct stage *st)
{
    struct io_block *b = io->spill;

    io->spill = b->next;
    if (io->spill == NULL)
        io->spill_tail = &io->spill;
    block_put(st, b);
}

void io_spill_drop(struct io *io)
{
    if (io->spill == NULL)
        return;
    struct stage *st = stage_of(io->loop);

    while (io->spill != NULL)
        spill_first_done(io, st);
    st->stats.spill_bytes -= io->spill_bytes;
    io->spill_bytes = 0;
}

static void write_failed(struct io *io, enum st why)
{
    if (io->wr_st == ST_OK)
        io->wr_st = why;
    io_spill_drop(io);
}

static enum st spill_append(struct io *io, struct stage *st, const uint8_t *p, size_t n)
{
    struct io_block *last = NULL;

    if (n > IO_SPILL_MAX - io->spill_bytes)
        return ST_ELIMIT;
    if (io->spill != NULL)
        last = CONTAINER_OF(io->spill_tail, struct io_block, next);
    while (n > 0) {
        if (last == NULL || last->to == sizeof last->bytes) {
            last = block_get(st);
            if (last == NULL)
                return ST_ENOMEM;
            last->next = NULL;
            last->from = last->to = 0;
            *io->spill_tail = last;
            io->spill_tail = &last->next;
        }
        size_t room = sizeof last->bytes - last->to, k = n < room ? n : room;

        memcpy(last->bytes + last->to, p, k);
        last->to += k;
        p += k;
        n -= k;
        io->spill_bytes += k;
        st->stats.spill_bytes += k;
        st->stats.spilled_bytes += k;
    }
    return ST_OK;
}

void io_spill_send(struct io *io)
{
    struct stage *st = stage_of(io->loop);
    struct iovec v[IO_SPILL_MAX / BLOCK_BYTES + 2];
    size_t n = 0, sent;

    for (struct io_block *b = io->spill; b != NULL && n < sizeof v / sizeof v[0]; b = b->next)
        v[n++] = (struct iovec){ b->bytes + b->from, b->to - b->from };
    if (io_send(io, v, n, &sent) != ST_OK) {
        io_spill_drop(io);
        return;
    }
    io->spill_bytes -= sent;
    st->stats.spill_bytes -= sent;
    while (sent > 0) {
        struct io_block *b = io->spill;
        size_t k = b->to - b->from < sent ? b->to - b->from : sent;

        b->from += k;
        sent -= k;
        if (b->from == b->to)
            spill_first_done(io, st);
    }
    if (io->spill == NULL && io->fin)
        io_send_fin(io);
}

/* The stage. */

static void flush(struct io *io)
{
    struct stage *st = stage_of(io->loop);
    size_t sent = 0;
    enum st r = io->wr_st;

    if (st->len == 0)
        return;
    CHECK(st->user == io);
    if (r == ST_OK && io->spill == NULL) {
        r = io_send(io, &(struct iovec){ st->buf, st->len }, 1, &sent);
        st->stats.spills += r == ST_OK && sent < st->len;
    }
    if (r == ST_OK)
        r = spill_append(io, st, st->buf + sent, st->len - sent);
    if (r != ST_OK)
        write_failed(io, r);
    st->len = 0;
    st->user = NULL;
}

/* Takes everything; once the socket has failed, to drop it (io->wr_st tells the owner). */
static int stage_write(BIO *b, const char *p, size_t n, size_t *took)
{
    struct io *io = BIO_get_data(b);
    struct stage *st = stage_of(io->loop);

    *took = n;
    while (n > 0) {
        size_t room = sizeof st->buf - st->len, k = n < room ? n : room;

        CHECK(st->user == NULL || st->user == io);
        st->user = io;
        memcpy(st->buf + st->len, p, k);
        st->len += k;
        p += k;
        n -= k;
        if (st->len == sizeof st->buf)
            flush(io); /* only a certificate chain can be that long */
    }
    return 1;
}

static int stage_read(BIO *b, char *p, size_t cap, size_t *got)
{
    struct io *io = BIO_get_data(b);
    enum st r = io_recv(io, p, cap, got);

    BIO_clear_retry_flags(b);
    if (r == ST_OK)
        return 1;
    if (r == ST_MORE) {
        BIO_set_retry_read(b);
        return -1;
    }
    io->tls_end = r;
    return r == ST_EOF ? 0 : -1;
}

static long stage_ctrl(BIO *b, int cmd, long num, void *ptr)
{
    const struct io *io = BIO_get_data(b);

    (void)num, (void)ptr;
    if (cmd == BIO_CTRL_EOF)
        return io->tls_end == ST_EOF;
    return cmd == BIO_CTRL_FLUSH; /* io_tls_* do it */
}

static void on_kick(evutil_socket_t fd, short what, void *arg)
{
    struct stage *st = arg;
    struct io *list;

    (void)fd, (void)what;
    OBJ_CHECK(st, STAGE_MAGIC);
    (void)loop_touch(st->loop);
    list = st->kicked; /* who is kicked from now on waits for the next turn */
    st->kicked = NULL;
    if (list != NULL)
        list->kick_prevp = &list;
    while (list != NULL) {
        struct io *io = list;

        io_tls_kick(io, false);
        io_kicked(io);
    }
}

void io_tls_kick(struct io *io, bool on)
{
    static const struct timeval now = { 0, 0 };
    struct stage *st;

    if (on == (io->kick_prevp != NULL))
        return;
    if (!on) {
        *io->kick_prevp = io->kick_next;
        if (io->kick_next != NULL)
            io->kick_next->kick_prevp = io->kick_prevp;
        io->kick_prevp = NULL;
        return;
    }
    st = stage_of(io->loop);
    io->kick_next = st->kicked;
    io->kick_prevp = &st->kicked;
    if (io->kick_next != NULL)
        io->kick_next->kick_prevp = &io->kick_next;
    st->kicked = io;
    CHECK(event_add(&st->kick_ev, &now) == 0);
}

static enum st stage_need(struct loop *l)
{
    struct stage *st = l->slot[LOOP_TLS_STAGE];

    if (st != NULL)
        return ST_OK;
    st = calloc(1, sizeof *st);
    if (st == NULL)
        return ST_ENOMEM;
    st->method = BIO_meth_new(BIO_TYPE_SOURCE_SINK, "loop stage");
    if (st->method == NULL) {
        free(st);
        return ST_ENOMEM;
    }
    (void)BIO_meth_set_write_ex(st->method, stage_write);
    (void)BIO_meth_set_read_ex(st->method, stage_read);
    (void)BIO_meth_set_ctrl(st->method, stage_ctrl);
    CHECK(evtimer_assign(&st->kick_ev, l->base, on_kick, st) == 0);
    OBJ_INIT(st, STAGE_MAGIC);
    st->loop = l;
    l->slot[LOOP_TLS_STAGE] = st;
    return ST_OK;
}

void io_loop_fini(struct loop *l)
{
    struct stage *st = l->slot[LOOP_TLS_STAGE];

    if (st == NULL)
        return;
    OBJ_CHECK(st, STAGE_MAGIC);
    CHECK(st->ios == 0 && st->kicked == NULL && st->len == 0 && st->stats.spill_bytes == 0);
    (void)event_del(&st->kick_ev);
    while (st->pool != NULL) {
        struct io_block *b = st->pool;

        st->pool = b->next;
        free(b);
    }
    BIO_meth_free(st->method);
    OBJ_FINI(st, STAGE_MAGIC);
    free(st);
    l->slot[LOOP_TLS_STAGE] = NULL;
}

struct io_stats io_stats(const struct loop *l)
{
    struct io_stats s = { 0 };

    if (l->slot[LOOP_TLS_STAGE] != NULL) {
        struct stage *st = stage_of(l);

        s = st->stats;
        s.pooled_bytes = st->pooled * sizeof(struct io_block);
    }
    return s;
}

/* One connection. */

enum st io_tls_init(struct io *io, SSL_CTX *ctx)
{
    BIO *b;

    if (stage_need(io->loop) != ST_OK)
        return ST_ENOMEM;
    struct stage *st = stage_of(io->loop);

    io->ssl = SSL_new(ctx);
    b = BIO_new(st->method);
    if (io->ssl == NULL || b == NULL) {
        SSL_free(io->ssl);
        BIO_free(b);
        io->ssl = NULL;
        ERR_clear_error();
        return ST_ENOMEM;
    }
    BIO_set_data(b, io);
    SSL_set_bio(io->ssl, b, b);
    SSL_set_read_ahead(io->ssl, 1);
    (void)SSL_set_mode(io->ssl, SSL_MODE_RELEASE_BUFFERS);
    io->spill_tail = &io->spill;
    io->small_bytes = IO_SMALL_FIRST_BYTES;
    st->ios++;
    return ST_OK;
}

static bool is_ip(const char *host)
{
    struct in6_addr a;

    return inet_pton(AF_INET, host, &a) == 1 || inet_pton(AF_INET6, host, &a) == 1;
}

/* The name goes to the server (addresses do not: RFC 6066) and must be in its certificate. */
static bool set_peer_name(SSL *ssl, const char *host)
{
    if (is_ip(host))
        return X509_VERIFY_PARAM_set1_ip_asc(SSL_get0_param(ssl), host) == 1;
    SSL_set_hostflags(ssl, X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS);
    /* what the macro SSL_set_tlsext_host_name() does, without losing const on the way */
    return SSL_set1_host(ssl, host) == 1 &&
           SSL_ctrl(ssl, SSL_CTRL_SET_TLSEXT_HOSTNAME, TLSEXT_NAMETYPE_host_name,
                    (void *)(uintptr_t)host) == 1;
}

static bool set_protocol(SSL *ssl, const char *alpn)
{
    uint8_t wire[256];
    size_t n = strlen(alpn);

    CHECK(n > 0 && n < sizeof wire);
    wire[0] = (uint8_t)n;
    memcpy(wire + 1, alpn, n);
    return SSL_set_alpn_protos(ssl, wire, (unsigned)n + 1) == 0;
}

enum st io_tls_init_client(struct io *io, SSL_CTX *ctx, const char *sni_host, const char *alpn)
{
    if (io_tls_init(io, ctx) != ST_OK)
        return ST_ENOMEM;
    SSL_set_connect_state(io->ssl);
    if ((sni_host == NULL || set_peer_name(io->ssl, sni_host)) &&
        (alpn == NULL || set_protocol(io->ssl, alpn)))
        return ST_OK;
    ERR_clear_error();
    io_tls_fini(io);
    return ST_ENOMEM;
}

void io_tls_fini(struct io *io)
{
    io_spill_drop(io);
    stage_of(io->loop)->ios--;
    SSL_free(io->ssl);
    io->ssl = NULL;
}

/* A failure that OpenSSL reports: the socket's, or the peer broke the protocol. */
static enum st tls_failed(struct io *io)
{
    if (io->ssl_err == 0)
        io->ssl_err = ERR_peek_error();
    ERR_clear_error();
    return io->tls_end != ST_OK ? ST_EIO : ST_EPROTO;
}

enum st io_tls_handshake(struct io *io)
{
    enum st st = ST_OK;
    int r;

    ERR_clear_error();
    r = SSL_do_handshake(io->ssl);
    if (r != 1)
        st = SSL_get_error(io->ssl, r) == SSL_ERROR_WANT_READ ? ST_MORE : tls_failed(io);
    flush(io); /* also an alert that says why not */
    if (st >= ST_OK && io->wr_st != ST_OK)
        st = io->wr_st;
    io->more = st == ST_OK;
    return st;
}

bool io_tls_pending(const struct io *io)
{
    return io->more && io->rd_st == ST_OK && SSL_has_pending(io->ssl) == 1;
}

enum st io_tls_read(struct io *io, void *p, size_t cap, size_t *got)
{
    uint8_t *to = p;
    size_t k;
    int r = 1;

    ERR_clear_error();
    while (*got < cap && (r = SSL_read_ex(io->ssl, to + *got, cap - *got, &k)) == 1)
        *got += k;
    io->more = r == 1;
    if (r != 1) {
        int why = SSL_get_error(io->ssl, r);

        if (why == SSL_ERROR_ZERO_RETURN)
            io->rd_st = ST_EOF;
        else if (why != SSL_ERROR_WANT_READ)
            io->rd_st = tls_failed(io);
    }
    flush(io); /* reading may have made an answer */
    if (io->rd_st < ST_OK)
        write_failed(io, io->rd_st); /* OpenSSL does not go on after a failure either */
    else if (io->wr_st == ST_ELIMIT)
        io->rd_st = ST_ELIMIT; /* it asks for answers and reads none */
    if (*got > 0)
        return ST_OK;
    io->told = io->rd_st != ST_OK;
    return io->rd_st != ST_OK ? io->rd_st : ST_MORE;
}

/* The owner's pieces, and how far we are. */
struct pieces {
    const struct iovec *v;
    int n;
    size_t off; /* in v[0] */
};

static size_t left_in_piece(struct pieces *in)
{
    while (in->n > 0 && in->off == in->v->iov_len) {
        in->v++;
        in->n--;
        in->off = 0;
    }
    return in->n > 0 ? in->v->iov_len - in->off : 0;
}

/* The next bytes to encrypt, at most max of them: in place when one piece has as many, gathered
 * otherwise. A whole number of records, but for the last of the message. */
static const uint8_t *next_bytes(struct stage *st, struct pieces *in, size_t record, size_t max,
                                 size_t *n)
{
    size_t left = left_in_piece(in);

    *n = 0;
    if (left >= record) {
        const uint8_t *p = (const uint8_t *)in->v->iov_base + in->off;

        *n = left < max ? left / record * record : max;
        in->off += *n;
        return p;
    }
    while (*n < record && (left = left_in_piece(in)) > 0) {
        size_t k = left < record - *n ? left : record - *n;

        memcpy(st->record + *n, (const uint8_t *)in->v->iov_base + in->off, k);
        in->off += k;
        *n += k;
    }
    return st->record;
}

static enum st encrypt(struct io *io, const uint8_t *p, size_t n)
{
    size_t did;

    if (SSL_write_ex(io->ssl, p, n, &did) != 1) {
        enum st st = tls_failed(io);

        write_failed(io, st);
        return st;
    }
    CHECK(did == n);
    io->small_bytes = io->small_bytes > n ? io->small_bytes - (uint32_t)n : 0;
    return ST_OK;
}

enum st io_tls_writev(struct io *io, const struct iovec *v, int n, size_t *took)
{
    struct stage *st = stage_of(io->loop);
    struct pieces in = { v, n, 0 };
    uint64_t now = loop_now(io->loop);

    if (now - io->wrote_us >= IO_SMALL_IDLE_MS * MS_US)
        io->small_bytes = IO_SMALL_FIRST_BYTES;
    io->wrote_us = now;
    ERR_clear_error();
    while (left_in_piece(&in) > 0 && io->spill == NULL && io->wr_st == ST_OK) {
        bool small = io->small_bytes > 0;
        size_t record = small ? IO_RECORD_SMALL_BYTES : IO_RECORD_BYTES;
        size_t room = (sizeof st->buf - st->len) / (record + RECORD_OVERHEAD_BYTES), k;

        if (room == 0) {
            flush(io);
            continue;
        }
        const uint8_t *p = next_bytes(st, &in, record, small ? record : room * record, &k);

        if (encrypt(io, p, k) == ST_OK)
            *took += k;
    }
    flush(io);
    return io->wr_st;
}

void io_tls_close_notify(struct io *io)
{
    ERR_clear_error();
    if (SSL_is_init_finished(io->ssl) == 1 && SSL_shutdown(io->ssl) < 0)
        ERR_clear_error(); /* FIN alone then, which the peer will call truncated */
    flush(io);
}

/* The first cause: that an alert about it could not be sent either is not worth telling. */
const char *io_tls_why(const struct io *io)
{
    long verify = SSL_get_verify_result(io->ssl);

    if (io->tls_end == ST_EOF)
        return "ended without close_notify";
    if (io->tls_end != ST_OK || io->ssl_err == 0)
        return NULL;
    if (ERR_GET_REASON(io->ssl_err) == SSL_R_CERTIFICATE_VERIFY_FAILED && verify != X509_V_OK)
        return X509_verify_cert_error_string(verify);
    return ERR_reason_error_string(io->ssl_err);
}

const char *io_alpn(const struct io *io)
{
    const uint8_t *p = NULL;
    unsigned n = 0;

    if (io->ssl != NULL)
        SSL_get0_alpn_selected(io->ssl, &p, &n);
    if (n == 2 && memcmp(p, "h2", 2) == 0)
        return "h2";
    return n == 8 && memcmp(p, "http/1.1", 8) == 0 ? "http/1.1" : "";
}

const char *io_sni(const struct io *io)
{
    const char *name =
        io->ssl != NULL ? SSL_get_servername(io->ssl, TLSEXT_NAMETYPE_host_name) : NULL;

    return name != NULL ? name : "";
}

bool io_resumed(const struct io *io) { return io->ssl != NULL && SSL_session_reused(io->ssl) == 1; }
