/* One event per connection carries both interests; arm() is the only place that changes it, and
 * only when what is needed differs from what is armed, so a busy connection costs no epoll calls.
 *
 * A recv that returned less than was asked for has emptied the socket: the next io_read() then says
 * MORE without a system call, and the level-triggered event tells of anything that came since.
 *
 * A reset and a clean end look alike to a recv that comes after a failed send: the kernel gives its
 * error once, to whoever asks first, and then says 0. So a send that failed with anything but EPIPE
 * (the peer's FIN was there first) marks the connection reset. */
#include "core/io.h"

#include <errno.h>
#include <event2/event.h>
#include <linux/sockios.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <openssl/ssl.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "core/check.h"
#include "core/io_tls.h"
#include "core/loop.h"
#include "core/outq.h"

enum { IO_MAGIC = 0x10c0ffe1 };

/*  state       may become                                                              event for */
#define IO_STATES(X)                                                                     \
    X(CONNECTING, BIT(HANDSHAKE) | BIT(OPEN) | BIT(DEAD) | BIT(STOPPED)) /* writable */  \
    X(OPENING, BIT(OPEN) | BIT(STOPPED))                                 /* activated */ \
    X(HANDSHAKE, BIT(OPEN) | BIT(DEAD) | BIT(STOPPED))                   /* readable */  \
    X(OPEN, BIT(STOPPED))                                                /* as wanted */ \
    X(DEAD, BIT(STOPPED))                                                                \
    X(STOPPED, BIT(STOPPED))

enum io_state {
#define X(n, next) IO_ST_##n,
    IO_STATES(X)
#undef X
};

#define BIT(n) (1u << IO_ST_##n)
static const unsigned next_states[] = {
#define X(n, next) (next),
    IO_STATES(X)
#undef X
};
#undef BIT

static void become(struct io *io, enum io_state next)
{
    CHECK((next_states[io->state] & 1u << next) != 0);
    io->state = (uint8_t)next;
}

static void on_event(evutil_socket_t fd, short what, void *arg);

static short needed(const struct io *io)
{
    short need = io->spill != NULL ? EV_WRITE : 0;

    switch ((enum io_state)io->state) {
    case IO_ST_CONNECTING:
        return EV_WRITE;
    case IO_ST_HANDSHAKE:
        return (short)(need | EV_READ);
    case IO_ST_OPEN:
        if ((io->want & IO_READ) != 0 && io->rd_st == ST_OK)
            need |= EV_READ;
        if ((io->want & IO_WRITE) != 0)
            need |= EV_WRITE;
        return need;
    case IO_ST_OPENING:
    case IO_ST_DEAD:
    case IO_ST_STOPPED:
        break;
    }
    return 0;
}

static void arm(struct io *io)
{
    short need = needed(io);

    if (io->ssl != NULL)
        io_tls_kick(io, io->state == IO_ST_OPEN && (io->want & IO_READ) != 0 &&
                            ((io->rd_st != ST_OK && !io->told) || io_tls_pending(io)));
    if (need == io->armed)
        return;
    (void)event_del(&io->ev);
    io->armed = need;
    if (need == 0)
        return;
    CHECK(event_assign(&io->ev, io->loop->base, io->fd, (short)(need | EV_PERSIST), on_event, io) ==
          0);
    CHECK(event_add(&io->ev, NULL) == 0);
}

static enum st io_sys_failed(struct io *io, int err)
{
    if (io->sys_err == 0)
        io->sys_err = err;
    return ST_EIO;
}

static void die(struct io *io, enum st why)
{
    io->rd_st = io->wr_st = why;
    io_spill_drop(io);
    become(io, IO_ST_DEAD);
    arm(io);
    io->on_ready(io, IO_DEAD);
}

static void opened(struct io *io)
{
    become(io, IO_ST_OPEN);
    io->on_ready(io, IO_OPEN);
    arm(io);
}

/* A step of the handshake, after more has come in or (the first of a client) to begin it. */
static void handshake(struct io *io)
{
    enum st st = io_tls_handshake(io);

    if (st == ST_MORE)
        arm(io);
    else if (st != ST_OK)
        die(io, st);
    else
        opened(io);
}

static void connected(struct io *io)
{
    struct sockaddr_storage peer;
    socklen_t len = sizeof peer, err_len = sizeof(int);
    int err = 0;

    if (getsockopt(io->fd, SOL_SOCKET, SO_ERROR, &err, &err_len) != 0)
        err = errno;
    if (err != 0) {
        die(io, io_sys_failed(io, err));
        return;
    }
    if (getpeername(io->fd, (struct sockaddr *)&peer, &len) != 0)
        return; /* the event was spurious, and it is still armed */
    if (io->ssl == NULL) {
        opened(io);
    } else {
        become(io, IO_ST_HANDSHAKE);
        handshake(io);
    }
}

static void on_event(evutil_socket_t fd, short what, void *arg)
{
    struct io *io = arg;
    unsigned tell = 0;

    (void)fd;
    OBJ_CHECK(io, IO_MAGIC);
    (void)loop_touch(io->loop);
    if ((what & EV_READ) != 0)
        io->drained = false;
    if ((what & EV_WRITE) != 0 && io->spill != NULL)
        io_spill_send(io);
    switch ((enum io_state)io->state) {
    case IO_ST_CONNECTING:
        connected(io);
        return;
    case IO_ST_OPENING:
        opened(io);
        return;
    case IO_ST_HANDSHAKE:
        if (io->wr_st != ST_OK)
            die(io, io->wr_st);
        else if ((what & EV_READ) != 0)
            handshake(io);
        else
            arm(io);
        return;
    case IO_ST_OPEN:
        break;
    case IO_ST_DEAD:
    case IO_ST_STOPPED:
        return;
    }
    if ((what & EV_READ) != 0 && (io->want & IO_READ) != 0)
        tell |= IO_READ;
    if ((what & EV_WRITE) != 0 && (io->want & IO_WRITE) != 0 && io->spill == NULL)
        tell |= IO_WRITE;
    if (tell != 0)
        io->on_ready(io, tell);
    arm(io);
}

void io_kicked(struct io *io)
{
    OBJ_CHECK(io, IO_MAGIC);
    io->on_ready(io, IO_READ);
    arm(io);
}

static void setup(struct io *io, struct loop *l, int fd, enum io_state state, io_ready_fn *on_ready)
{
    memset(io, 0, sizeof *io);
    OBJ_INIT(io, IO_MAGIC);
    io->fd = fd;
    io->loop = l;
    io->on_ready = on_ready;
    io->state = (uint8_t)state;
    CHECK(event_assign(&io->ev, l->base, fd, EV_PERSIST, on_event, io) == 0);
}

enum st io_accept_init(struct io *io, struct loop *l, int fd, SSL_CTX *ctx, io_ready_fn *on_ready)
{
    setup(io, l, fd, ctx == NULL ? IO_ST_OPENING : IO_ST_HANDSHAKE, on_ready);
    if (ctx == NULL) {
        event_active(&io->ev, EV_TIMEOUT, 0); /* IO_OPEN comes from the loop, like all the rest */
    } else if (io_tls_init(io, ctx) == ST_OK) {
        SSL_set_accept_state(io->ssl);
        arm(io);
    } else {
        (void)close(fd);
        return ST_ENOMEM;
    }
    return ST_OK;
}

/* For accepted sockets the listener has set these, and they are inherited. */
static void tune(int fd)
{
    int on = 1, lowat = IO_NOTSENT_LOWAT;

    (void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    (void)setsockopt(fd, IPPROTO_TCP, TCP_NOTSENT_LOWAT, &lowat, sizeof lowat);
}

enum st io_connect_init(struct io *io, struct loop *l, const struct sockaddr *sa, socklen_t len,
                        SSL_CTX *ctx, const char *sni_host, const char *alpn, io_ready_fn *on_ready)
{
    int fd = socket(sa->sa_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    enum st st = ST_OK;

    setup(io, l, fd, IO_ST_CONNECTING, on_ready);
    if (fd < 0)
        return io_sys_failed(io, errno);
    if (sa->sa_family != AF_UNIX)
        tune(fd);
    if (connect(fd, sa, len) != 0 && errno != EINPROGRESS)
        st = io_sys_failed(io, errno);
    if (st == ST_OK && ctx != NULL)
        st = io_tls_init_client(io, ctx, sni_host, alpn);
    if (st == ST_OK)
        arm(io); /* also when it is there already: IO_OPEN comes from the loop */
    else
        (void)close(fd);
    return st;
}

void io_stop(struct io *io)
{
    OBJ_CHECK(io, IO_MAGIC);
    become(io, IO_ST_STOPPED);
    (void)event_del(&io->ev);
    io->armed = 0;
    if (io->ssl != NULL)
        io_tls_kick(io, false);
}

void io_fini(struct io *io)
{
    io_stop(io);
    if (io->ssl != NULL)
        io_tls_fini(io);
    (void)close(io->fd);
    OBJ_FINI(io, IO_MAGIC);
}

enum st io_recv(struct io *io, void *p, size_t cap, size_t *got)
{
    ssize_t r;

    *got = 0;
    if (io->drained)
        return ST_MORE;
    do
        r = recv(io->fd, p, cap, MSG_DONTWAIT);
    while (r < 0 && errno == EINTR);
    if (r == 0)
        return io->reset ? ST_EIO : ST_EOF;
    if (r > 0) {
        io->drained = (size_t)r < cap;
        *got = (size_t)r;
        return ST_OK;
    }
    if (errno != EAGAIN && errno != EWOULDBLOCK)
        return io_sys_failed(io, errno);
    io->drained = true;
    return ST_MORE;
}

enum st io_read(struct io *io, void *p, size_t cap, size_t *got)
{
    enum st st;

    OBJ_CHECK(io, IO_MAGIC);
    CHECK(cap > 0);
    *got = 0;
    if (io->rd_st != ST_OK) {
        io->told = true;
        return io->rd_st;
    }
    if (io->state < IO_ST_OPEN)
        return ST_MORE;
    if (io->ssl != NULL)
        return io_tls_read(io, p, cap, got);
    st = io_recv(io, p, cap, got);
    if (st != ST_OK && st != ST_MORE) {
        io->rd_st = st;
        io->told = true;
    }
    return st;
}

/* One sendmsg; *sent 0 when the kernel has no room. */
enum st io_send(struct io *io, const struct iovec *v, size_t n, size_t *sent)
{
    struct msghdr m = { .msg_iov = (struct iovec *)(uintptr_t)v, .msg_iovlen = n };
    ssize_t r;

    *sent = 0;
    do
        r = sendmsg(io->fd, &m, MSG_NOSIGNAL | MSG_DONTWAIT);
    while (r < 0 && errno == EINTR);
    if (r >= 0) {
        *sent = (size_t)r;
        return ST_OK;
    }
    if (errno == EAGAIN || errno == EWOULDBLOCK)
        return ST_OK;
    io->reset = io->reset || errno != EPIPE;
    io->wr_st = io_sys_failed(io, errno);
    return io->wr_st;
}

enum st io_writev(struct io *io, const struct iovec *v, int n, size_t *took)
{
    OBJ_CHECK(io, IO_MAGIC);
    CHECK(!io->fin);
    *took = 0;
    if (io->wr_st != ST_OK)
        return io->wr_st;
    if (io->state < IO_ST_OPEN)
        return ST_OK;
    if (io->ssl != NULL)
        return io_tls_writev(io, v, n, took);
    while (n > 0) {
        int k = n < IO_IOV_MAX ? n : IO_IOV_MAX;
        size_t all = 0, sent;
        enum st st;

        for (int i = 0; i < k; i++)
            all += v[i].iov_len;
        st = io_send(io, v, (size_t)k, &sent);
        *took += sent;
        if (st != ST_OK || sent < all) /* short means full: asking again at once is EAGAIN */
            return st;
        v += k;
        n -= k;
    }
    return ST_OK;
}

enum st io_write_queue(struct io *io, struct outq *q)
{
    while (outq_bytes(q) > 0) {
        struct iovec v[IO_IOV_MAX];
        int n = outq_iov(q, v, IO_IOV_MAX);
        size_t all = 0, took;
        enum st st;

        for (int i = 0; i < n; i++)
            all += v[i].iov_len;
        st = io_writev(io, v, n, &took);
        if (st != ST_OK)
            return st;
        outq_consume(q, took);
        if (took < all)
            return ST_MORE;
    }
    return ST_OK;
}

void io_want(struct io *io, unsigned what)
{
    OBJ_CHECK(io, IO_MAGIC);
    CHECK((what & ~(unsigned)(IO_READ | IO_WRITE)) == 0);
    io->want = (uint8_t)what;
    arm(io);
}

bool io_flushed(const struct io *io)
{
    OBJ_CHECK(io, IO_MAGIC);
    return io->spill == NULL;
}

size_t io_backlog(const struct io *io)
{
    int queued = 0;

    OBJ_CHECK(io, IO_MAGIC);
    if (ioctl(io->fd, SIOCOUTQ, &queued) != 0 || queued < 0)
        queued = 0;
    return io->spill_bytes + (size_t)queued;
}

void io_send_fin(struct io *io)
{
    if (io->wr_st == ST_OK && shutdown(io->fd, SHUT_WR) != 0)
        io->wr_st = io_sys_failed(io, errno);
}

enum st io_shutdown(struct io *io)
{
    OBJ_CHECK(io, IO_MAGIC);
    CHECK(io->state != IO_ST_CONNECTING);
    if (io->wr_st != ST_OK || io->fin)
        return io->wr_st;
    if (io->ssl != NULL)
        io_tls_close_notify(io);
    io->fin = true;
    if (io->spill == NULL)
        io_send_fin(io); /* otherwise io_spill_send() does it */
    return io->wr_st;
}

const char *io_why(const struct io *io)
{
    const char *text = io->ssl != NULL ? io_tls_why(io) : NULL;

    if (text == NULL && io->sys_err != 0)
        text = strerrordesc_np(io->sys_err);
    return text != NULL ? text : "";
}
