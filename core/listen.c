#include "core/listen.h"

#include <errno.h>
#include <event2/event.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "core/check.h"
#include "core/clock.h"
#include "core/io.h"
#include "core/loop.h"

enum { LISTENER_MAGIC = 0x115a1ce5 };

void listen_close(int *fds, int n)
{
    for (int i = 0; i < n; i++) {
        if (fds[i] >= 0)
            (void)close(fds[i]);
        fds[i] = -1;
    }
}

static enum st refuse(struct err *e, const char *what)
{
    int err = errno;
    bool ours = err == EMFILE || err == ENFILE || err == ENOBUFS || err == ENOMEM;

    if (err == EADDRINUSE)
        return err_set(e, ST_ECONF, "another process listens there");
    return err_set(e, ours ? ST_EIO : ST_ECONF, "%s: %s", what, strerrordesc_np(err));
}

static bool is_any_v6(const struct sockaddr_storage *sa)
{
    struct sockaddr_in6 in;

    memcpy(&in, sa, sizeof in);
    return IN6_IS_ADDR_UNSPECIFIED(&in.sin6_addr);
}

static enum st tcp_options(int fd, const struct addr_sock *at)
{
    int on = 1, off = 0, lowat = IO_NOTSENT_LOWAT;

    if (setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on) != 0 ||
        setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &on, sizeof on) != 0 ||
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on) != 0 ||
        setsockopt(fd, IPPROTO_TCP, TCP_NOTSENT_LOWAT, &lowat, sizeof lowat) != 0)
        return ST_EIO;
    /* [::] means every address of the host; anything else means itself */
    if (at->sa.ss_family == AF_INET6 &&
        setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, is_any_v6(&at->sa) ? &off : &on, sizeof on) != 0)
        return ST_EIO;
    return ST_OK;
}

/* One socket, bound and listening; *fd is set in any case. */
static enum st tcp_one(const struct addr_sock *at, int *fd, struct err *e)
{
    *fd = socket(at->sa.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (*fd < 0)
        return refuse(e, "socket");
    if (tcp_options(*fd, at) != ST_OK)
        return refuse(e, "setsockopt");
    if (bind(*fd, (const struct sockaddr *)&at->sa, at->len) != 0)
        return refuse(e, "bind");
    if (listen(*fd, LISTEN_BACKLOG) != 0)
        return refuse(e, "listen");
    return ST_OK;
}

/* SO_REUSEPORT lets a second process of the same user share a port unnoticed, and half of the
 * players would land there. So the address is first bound without it: that fails when taken. */
static enum st tcp_is_free(const struct addr_sock *at, struct err *e)
{
    int on = 1, off = 0, fd;
    enum st st = ST_OK;

    fd = socket(at->sa.ss_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return refuse(e, "socket");
    (void)setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    if (at->sa.ss_family == AF_INET6)
        (void)setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, is_any_v6(&at->sa) ? &off : &on, sizeof on);
    if (bind(fd, (const struct sockaddr *)&at->sa, at->len) != 0)
        st = refuse(e, "bind");
    (void)close(fd);
    return st;
}

static enum st open_tcp(const struct addr_sock *at, bool ours, int n, int *fds, struct err *e)
{
    struct addr_sock bound = *at;
    enum st st = ours ? ST_OK : tcp_is_free(at, e);

    for (int i = 0; i < n && st == ST_OK; i++) {
        st = tcp_one(&bound, &fds[i], e);
        /* with port 0 the first one knows the port for the rest */
        if (i == 0 && st == ST_OK &&
            getsockname(fds[0], (struct sockaddr *)&bound.sa, &bound.len) != 0)
            st = refuse(e, "getsockname");
    }
    return st;
}

/* Removes a socket file that nobody answers on; anything else there is refused. */
static enum st clear_stale(const struct addr_sock *at, struct err *e)
{
    struct sockaddr_un un;
    struct stat sb;
    int fd, r;

    memcpy(&un, &at->sa, sizeof un);
    if (lstat(un.sun_path, &sb) != 0)
        return errno == ENOENT ? ST_OK : refuse(e, "stat");
    if (!S_ISSOCK(sb.st_mode))
        return err_set(e, ST_ECONF, "there is a file that is no socket");
    fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return refuse(e, "socket");
    r = connect(fd, (const struct sockaddr *)&at->sa, at->len) == 0 ? 0 : errno;
    (void)close(fd);
    if (r == 0 || r == EAGAIN) /* EAGAIN: its queue is full */
        return err_set(e, ST_ECONF, "another process listens there");
    errno = r;
    if (r != ECONNREFUSED && r != ENOENT)
        return refuse(e, "connect");
    if (unlink(un.sun_path) != 0 && errno != ENOENT)
        return refuse(e, "unlink");
    return ST_OK;
}

static enum st open_unix(const struct addr_sock *at, unsigned mode, int n, int *fds, struct err *e)
{
    struct sockaddr_un un;
    enum st st = clear_stale(at, e);

    if (st != ST_OK)
        return st;
    memcpy(&un, &at->sa, sizeof un);
    fds[0] = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fds[0] < 0)
        return refuse(e, "socket");
    if (bind(fds[0], (const struct sockaddr *)&at->sa, at->len) != 0)
        return refuse(e, "bind");
    /* nobody can connect before listen(), so the mode is right in time */
    if (chmod(un.sun_path, (mode_t)mode) != 0)
        return refuse(e, "chmod");
    if (listen(fds[0], LISTEN_BACKLOG) != 0)
        return refuse(e, "listen");
    for (int i = 1; i < n; i++) {
        fds[i] = fcntl(fds[0], F_DUPFD_CLOEXEC, 0);
        if (fds[i] < 0)
            return refuse(e, "dup");
    }
    return ST_OK;
}

enum st listen_open(const struct addr_sock *at, const struct listen_how *how, int n, int *fds,
                    struct err *e)
{
    enum st st;

    CHECK(n > 0);
    for (int i = 0; i < n; i++)
        fds[i] = -1;
    st = at->sa.ss_family == AF_UNIX ? open_unix(at, how->mode, n, fds, e)
                                     : open_tcp(at, how->ours, n, fds, e);
    if (st != ST_OK)
        listen_close(fds, n);
    return st;
}

const char *listen_actual(int fd, char buf[ADDR_TEXT_MAX])
{
    struct sockaddr_storage sa;
    socklen_t len = sizeof sa;

    CHECK(getsockname(fd, (struct sockaddr *)&sa, &len) == 0);
    return addr_sock_text((const struct sockaddr *)&sa, len, buf);
}

static void reserve(struct listener *ln)
{
    if (ln->reserve_fd < 0)
        ln->reserve_fd = fcntl(ln->fd, F_DUPFD_CLOEXEC, 0); /* any: a worker may open no file */
}

static void start_pause(struct listener *ln)
{
    ln->pauses++;
    (void)event_del(&ln->ev);
    timer_set(ln->loop, &ln->pause, loop_now(ln->loop) + LISTEN_PAUSE_MS * MS_US);
}

static void end_pause(struct loop *l, struct timer *t)
{
    struct listener *ln = CONTAINER_OF(t, struct listener, pause);

    (void)l;
    OBJ_CHECK(ln, LISTENER_MAGIC);
    reserve(ln);
    CHECK(event_add(&ln->ev, NULL) == 0);
}

/* Out of descriptors: those who wait are told so (a closed connection, which players retry
 * elsewhere) instead of hanging in the queue until their own timeout. */
static void refuse_waiting(struct listener *ln)
{
    if (ln->reserve_fd < 0)
        return;
    (void)close(ln->reserve_fd);
    ln->reserve_fd = -1;
    for (int i = 0; i < LISTEN_BUDGET; i++) {
        int fd = accept4(ln->fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);

        if (fd < 0)
            break;
        (void)close(fd);
        ln->refused++;
    }
    reserve(ln);
}

static void on_connection(evutil_socket_t lfd, short what, void *arg)
{
    struct listener *ln = arg;

    (void)lfd, (void)what;
    OBJ_CHECK(ln, LISTENER_MAGIC);
    (void)loop_touch(ln->loop);
    for (int i = 0; i < LISTEN_BUDGET && ln->magic == LISTENER_MAGIC; i++) {
        struct sockaddr_storage peer = { .ss_family = AF_UNSPEC };
        socklen_t len = sizeof peer;
        int fd = accept4(ln->fd, (struct sockaddr *)&peer, &len, SOCK_NONBLOCK | SOCK_CLOEXEC);

        if (fd >= 0) {
            ln->accepted++;
            ln->on_accept(ln, fd, &peer);
            continue;
        }
        if (errno == EAGAIN || errno == EWOULDBLOCK)
            return;
        if (errno == EMFILE || errno == ENFILE) {
            refuse_waiting(ln);
            start_pause(ln);
            return;
        }
        if (errno == ENOBUFS || errno == ENOMEM) {
            start_pause(ln);
            return;
        }
        /* the rest is about that one connection (it is gone already, a firewall says no) */
    }
}

enum st listener_init(struct listener *ln, struct loop *l, int fd,
                      void (*on_accept)(struct listener *, int, const struct sockaddr_storage *))
{
    memset(ln, 0, sizeof *ln);
    OBJ_INIT(ln, LISTENER_MAGIC);
    ln->fd = fd;
    ln->loop = l;
    ln->on_accept = on_accept;
    ln->pause.fire = end_pause;
    ln->reserve_fd = -1;
    reserve(ln);
    if (ln->reserve_fd < 0)
        return ST_EIO;
    CHECK(event_assign(&ln->ev, l->base, fd, EV_READ | EV_PERSIST, on_connection, ln) == 0);
    CHECK(event_add(&ln->ev, NULL) == 0);
    return ST_OK;
}

void listener_fini(struct listener *ln)
{
    OBJ_FINI(ln, LISTENER_MAGIC);
    (void)event_del(&ln->ev);
    timer_cancel(ln->loop, &ln->pause);
    if (ln->reserve_fd >= 0)
        (void)close(ln->reserve_fd);
}

enum st listener_new(struct listener **list, struct loop *l, const struct listener_cfg *cfg,
                     struct listener **out)
{
    struct listener *ln = malloc(sizeof *ln);
    enum st st = ST_ENOMEM;

    if (ln != NULL)
        st = listener_init(ln, l, cfg->fd, cfg->on_accept);
    if (st != ST_OK) {
        free(ln);
        return st;
    }
    ln->owner = cfg->owner;
    ln->profile = cfg->profile;
    ln->tls = cfg->tls;
    ln->next = *list;
    ln->prevp = list;
    if (ln->next != NULL)
        ln->next->prevp = &ln->next;
    *list = ln;
    *out = ln;
    return ST_OK;
}

static void free_listener(struct grave *g) { free(CONTAINER_OF(g, struct listener, grave)); }

void listener_free(struct listener **lp)
{
    struct listener *ln = *lp;

    *lp = NULL;
    if (ln == NULL)
        return;
    CHECK(ln->prevp != NULL);
    listener_fini(ln);
    *ln->prevp = ln->next;
    if (ln->next != NULL)
        ln->next->prevp = ln->prevp;
    loop_bury(ln->loop, &ln->grave, free_listener);
}
