#include "daemon/notify.h"

#include <errno.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

enum st notify_tell(const char *state, struct err *e)
{
    const char *name = getenv("NOTIFY_SOCKET");
    struct sockaddr_un at = { .sun_family = AF_UNIX };
    size_t len = strlen(state), n;
    ssize_t sent = -1;
    int fd;

    if (name == NULL || name[0] == '\0')
        return ST_OK;
    n = strlen(name);
    if ((name[0] != '/' && name[0] != '@') || n >= sizeof at.sun_path)
        return err_set(e, ST_EIO, "NOTIFY_SOCKET: %.200s: neither a path nor an abstract name",
                       name);
    memcpy(at.sun_path, name, n);
    if (name[0] == '@')
        at.sun_path[0] = '\0';
    fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (fd >= 0)
        sent = sendto(fd, state, len, MSG_NOSIGNAL, (const struct sockaddr *)(const void *)&at,
                      (socklen_t)(offsetof(struct sockaddr_un, sun_path) + n));
    if (sent != (ssize_t)len)
        (void)err_set(e, ST_EIO, "NOTIFY_SOCKET: %s: %s", name, strerror(errno));
    if (fd >= 0)
        (void)close(fd);
    return sent == (ssize_t)len ? ST_OK : ST_EIO;
}
