#include "daemon/sock.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "core/check.h"

union address {
    struct sockaddr any;
    struct sockaddr_in v4;
    struct sockaddr_in6 v6;
    struct sockaddr_un local;
};

static enum st fail(struct err *err, int fd, const char *what)
{
    int why = errno;

    if (fd >= 0)
        (void)close(fd);
    return err_set(err, ST_EIO, "%s: %s", what, strerror(why));
}

/* ---- unix ---- */

/* True: nobody is behind the socket any more. Anything that is no socket is alive. */
static bool is_dead(const union address *a)
{
    struct stat s;
    int fd, rc;

    if (lstat(a->local.sun_path, &s) != 0 || !S_ISSOCK(s.st_mode))
        return false;
    fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0)
        return false;
    rc = connect(fd, &a->any, sizeof a->local) == 0 ? 0 : errno;
    (void)close(fd);
    return rc == ECONNREFUSED;
}

static int bind_with_mode(int fd, const union address *a, mode_t mode)
{
    mode_t before = umask((mode_t)~mode & 0777);
    int rc = bind(fd, &a->any, sizeof a->local);

    (void)umask(before);
    return rc;
}

enum st sock_listen_unix(const char *path, mode_t mode, int *fd, struct err *err)
{
    union address a = { .local.sun_family = AF_UNIX };

    CHECK(strlen(path) < sizeof a.local.sun_path); /* the configuration refuses longer ones */
    memcpy(a.local.sun_path, path, strlen(path) + 1);
    *fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (*fd < 0)
        return fail(err, -1, "socket");
    if (bind_with_mode(*fd, &a, mode) != 0) {
        if (errno == EADDRINUSE && is_dead(&a))
            (void)unlink(path);
        else if (errno == EADDRINUSE)
            return fail(err, *fd, "another process listens there, or it is no socket");
        if (bind_with_mode(*fd, &a, mode) != 0)
            return fail(err, *fd, "bind");
    }
    return listen(*fd, SOMAXCONN) == 0 ? ST_OK : fail(err, *fd, "listen");
}

/* ---- TCP ---- */

static socklen_t tcp_address(union address *a, const char *host, uint16_t port)
{
    *a = (union address){ .any.sa_family = AF_UNSPEC };
    if (inet_pton(AF_INET, host, &a->v4.sin_addr) == 1) {
        a->v4.sin_family = AF_INET;
        a->v4.sin_port = htons(port);
        return sizeof a->v4;
    }
    CHECK(inet_pton(AF_INET6, host, &a->v6.sin6_addr) == 1);
    a->v6.sin6_family = AF_INET6;
    a->v6.sin6_port = htons(port);
    return sizeof a->v6;
}

static int tcp_bound(const union address *a, socklen_t n, bool share)
{
    int fd = socket(a->any.sa_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    int on = 1, off = 0, why;

    if (fd < 0)
        return -1;
    if (setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on) == 0 &&
        (!share || setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &on, sizeof on) == 0) &&
        (a->any.sa_family != AF_INET6 ||
         setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &off, sizeof off) == 0) &&
        bind(fd, &a->any, n) == 0)
        return fd;
    why = errno;
    (void)close(fd);
    errno = why;
    return -1;
}

bool sock_is_taken(const char *host, uint16_t port)
{
    union address a;
    socklen_t n = tcp_address(&a, host, port);
    int fd = tcp_bound(&a, n, false);

    if (fd < 0)
        return errno == EADDRINUSE;
    (void)close(fd);
    return false;
}

enum st sock_listen_tcp(const char *host, uint16_t *port, bool share, int *fd, struct err *err)
{
    union address a;
    socklen_t n = tcp_address(&a, host, *port);

    *fd = tcp_bound(&a, n, share);
    if (*fd < 0)
        return fail(err, -1, "cannot listen");
    if (listen(*fd, SOMAXCONN) != 0 || getsockname(*fd, &a.any, &n) != 0)
        return fail(err, *fd, "cannot listen");
    *port = ntohs(a.any.sa_family == AF_INET ? a.v4.sin_port : a.v6.sin6_port);
    return ST_OK;
}
