#include "daemon/admin.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "core/check.h"
#include "core/clock.h"
#include "core/listen.h"

enum { ROOM = 16 << 20 }; /* of a reply */

static enum st dial(const char *runtime_dir, int *fd, struct err *err)
{
    union {
        struct sockaddr any;
        struct sockaddr_un local;
    } a = { .local.sun_family = AF_UNIX };
    int n = snprintf(a.local.sun_path, sizeof a.local.sun_path, "%s/admin.sock", runtime_dir);

    if (n < 0 || (size_t)n >= sizeof a.local.sun_path) {
        (void)err_set(err, ST_EIO, "%s: too long for the path of a socket", runtime_dir);
        return ST_EIO;
    }
    *fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (*fd >= 0 && connect(*fd, &a.any, sizeof a.local) == 0)
        return ST_OK;
    n = errno;
    if (*fd >= 0)
        (void)close(*fd);
    if (n == ENOENT || n == ECONNREFUSED)
        (void)err_set(err, ST_EIO, "%s: no freshet runs here", runtime_dir);
    else
        (void)err_set(err, ST_EIO, "%s: %s", a.local.sun_path, strerror(n));
    return ST_EIO;
}

/* ---- the side of the process ---- */

static enum st lock_dir(struct admin *a, const char *dir, struct err *err)
{
    struct ucred who;
    socklen_t len = sizeof who;
    int fd;

    if (mkdir(dir, 0755) != 0 && errno != EEXIST)
        return err_set(err, ST_EIO, "%s: cannot make this directory: %s", dir, strerror(errno));
    a->dir_fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (a->dir_fd < 0)
        return err_set(err, ST_EIO, "%s: %s", dir, strerror(errno));
    if (flock(a->dir_fd, LOCK_EX | LOCK_NB) == 0)
        return ST_OK;
    if (errno != EWOULDBLOCK)
        return err_set(err, ST_EIO, "%s: cannot lock: %s", dir, strerror(errno));
    if (dial(dir, &fd, NULL) != ST_OK)
        return err_set(err, ST_EIO, "%s: another freshet runs here", dir);
    if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &who, &len) != 0)
        who.pid = 0;
    (void)close(fd);
    return err_set(err, ST_EIO, "%s: another freshet runs here, process %ld", dir, (long)who.pid);
}

enum st admin_open(struct admin *a, const char *runtime_dir, struct err *err)
{
    static const struct listen_how how = { .mode = 0600 };
    struct addr_sock at;
    struct err why;
    enum st st;

    a->fd = a->dir_fd = -1;
    for (int i = 0; i < ADMIN_CLIENTS; i++)
        a->client[i].fd = -1;
    st = lock_dir(a, runtime_dir, err);
    if (st == ST_OK) {
        (void)snprintf(a->path, sizeof a->path, "%s/admin.sock", runtime_dir);
        st = addr_unix(a->path, &at, &why);
        if (st == ST_OK)
            st = listen_open(&at, &how, 1, &a->fd, &why);
        if (st != ST_OK)
            (void)err_set(err, st, "%s: %s", a->path, why.text);
    }
    if (st != ST_OK)
        admin_close(a);
    return st;
}

void admin_close(struct admin *a)
{
    for (int i = 0; i < ADMIN_CLIENTS; i++)
        if (a->client[i].fd >= 0)
            (void)close(a->client[i].fd);
    if (a->fd >= 0) {
        (void)unlink(a->path);
        (void)close(a->fd);
    }
    if (a->dir_fd >= 0)
        (void)close(a->dir_fd);
    a->fd = a->dir_fd = -1;
}

static void hang_up(struct admin_client *c)
{
    (void)close(c->fd);
    c->fd = -1;
}

static void write_all(int fd, const char *p, size_t n)
{
    while (n > 0) {
        ssize_t done = send(fd, p, n, MSG_NOSIGNAL); /* at most SO_SNDTIMEO */

        if (done <= 0)
            return;
        p += done;
        n -= (size_t)done;
    }
}

static void reply(struct admin *a, struct admin_client *c)
{
    json_t *answer = a->answer(a->arg, c->line);
    char *text = answer != NULL ? json_dumps(answer, JSON_COMPACT) : NULL;

    if (text != NULL) {
        write_all(c->fd, text, strlen(text));
        write_all(c->fd, "\n", 1);
    }
    free(text);
    json_decref(answer);
    hang_up(c);
}

static void hear(struct admin *a, struct admin_client *c)
{
    ssize_t n = recv(c->fd, c->line + c->n, sizeof c->line - 1 - c->n, MSG_DONTWAIT);
    char *end;

    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    if (n <= 0) {
        hang_up(c);
        return;
    }
    c->n += (size_t)n;
    c->line[c->n] = '\0';
    end = memchr(c->line, '\n', c->n);
    if (end != NULL) {
        *end = '\0';
        reply(a, c);
    } else if (c->n == sizeof c->line - 1) {
        hang_up(c);
    }
}

static void let_in(struct admin *a)
{
    const struct timeval patience = { .tv_sec = 1 };
    int fd = accept4(a->fd, NULL, NULL, SOCK_CLOEXEC);

    if (fd < 0)
        return;
    (void)setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof patience);
    for (int i = 0; i < ADMIN_CLIENTS; i++)
        if (a->client[i].fd < 0) {
            a->client[i] =
                (struct admin_client){ .fd = fd, .until_us = clock_mono_us() + 5 * SEC_US };
            return;
        }
    (void)close(fd);
}

/* Slot 0 is the listening socket, slot i + 1 client i; poll() skips negative descriptors. */
nfds_t admin_polls(const struct admin *a, struct pollfd p[ADMIN_POLLS])
{
    p[0] = (struct pollfd){ .fd = a->fd, .events = POLLIN };
    for (int i = 0; i < ADMIN_CLIENTS; i++)
        p[i + 1] = (struct pollfd){ .fd = a->client[i].fd, .events = POLLIN };
    return ADMIN_POLLS;
}

void admin_serve(struct admin *a, const struct pollfd *p, nfds_t n)
{
    uint64_t now = clock_mono_us();

    CHECK(n == ADMIN_POLLS);
    for (int i = 0; i < ADMIN_CLIENTS; i++) {
        struct admin_client *c = &a->client[i];

        if (c->fd >= 0 && p[i + 1].revents != 0)
            hear(a, c);
        if (c->fd >= 0 && now > c->until_us)
            hang_up(c);
    }
    if (p[0].revents != 0)
        let_in(a);
}

/* ---- the side of the command line ---- */

static enum st read_all(int fd, char **text, size_t *n)
{
    size_t room = 0;

    *text = NULL;
    *n = 0;
    for (;;) {
        ssize_t got;

        if (*n == room) {
            char *more = room < ROOM ? realloc(*text, room * 2 + 4096) : NULL;

            if (more == NULL)
                return ST_ENOMEM;
            *text = more;
            room = room * 2 + 4096;
        }
        got = recv(fd, *text + *n, room - *n, 0);
        if (got < 0 && errno == EINTR)
            continue;
        if (got <= 0)
            return got == 0 && *n > 0 ? ST_OK : ST_EIO;
        *n += (size_t)got;
    }
}

enum st admin_ask(const char *runtime_dir, const char *command, json_t **answer, struct err *err)
{
    const struct timeval patience = { .tv_sec = 60 };
    char line[ADMIN_LINE], *text = NULL;
    size_t n = 0;
    int fd;
    enum st st;

    *answer = NULL;
    if (strlen(command) + 2 > sizeof line || strchr(command, '\n') != NULL)
        return err_set(err, ST_EIO, "no command: too long, or of more than one line");
    st = dial(runtime_dir, &fd, err);
    if (st != ST_OK)
        return st;
    (void)setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
    (void)snprintf(line, sizeof line, "%s\n", command);
    write_all(fd, line, strlen(line));
    st = read_all(fd, &text, &n);
    (void)close(fd);
    if (st == ST_OK)
        *answer = json_loadb(text, n, 0, NULL);
    free(text);
    if (*answer == NULL)
        return err_set(err, ST_EIO, "%s: the process gave no answer", runtime_dir);
    return ST_OK;
}
