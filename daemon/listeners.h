/* daemon/listeners.h - listening sockets, one per loop, across reloads
 *
 * Purpose   the part that binds what the configuration lists. A listener whose URL stays keeps its
 *           sockets, so a reload refuses nobody; what is new is bound before anything else happens,
 *           and when that fails, nothing has changed.
 *           TCP: one socket per loop with SO_REUSEPORT, on both IP versions for [::]; an address
 *           that another process has is refused (SO_REUSEPORT alone would share it). Port 0: the
 *           kernel picks one, which stays as long as the listener does.
 *           unix: one socket, one descriptor of it per loop. The file of a dead process is
 *           replaced, that of a live one refused; mode 0666, the directory guards it.
 * Owner     a listen_socket is the loop's from opened() to the return of closed(), which this
 *           module then closes and frees.
 * Thread    the part on the main thread; opened() and closed() on the loop's.
 * Errors    as in daemon/part.h.
 * Tests     tests/unit/test_listeners.c, tests/e2e/test_process.py
 */
#ifndef DAEMON_LISTENERS_H
#define DAEMON_LISTENERS_H

#include "core/conf.h"
#include "core/loop.h"
#include "daemon/part.h"

struct listen_socket;

/* Who serves the connections of a section. */
struct listen_user {
    /* From now on accept from ls->fd, which does not block. False: no memory; the socket stays
     * closed on this loop, and the others take its share. */
    bool (*opened)(struct loop *l, struct listen_socket *ls);
    /* No more: let go of the socket. Who still waits in its queue is refused. */
    void (*closed)(struct loop *l, struct listen_socket *ls);
};

struct listen_socket {
    struct mail mail;
    const struct listen_user *user;
    const char *section; /* "edge.listen" */
    enum conf_scheme scheme;
    int fd;
    void *serving; /* the user's */
};

/* One row per list of listeners in struct conf. */
struct listen_section {
    const char *name;
    size_t off, off_n; /* in struct conf */
    const struct listen_user *user;
};
extern const struct listen_section listen_sections[]; /* name NULL ends it */

extern const struct part listeners_part;

/* What is listened on now: the URL of the configuration, and the one that works. */
void listeners_each(const struct process *p,
                    void (*each)(void *arg, const char *section, const char *configured,
                                 const char *actual),
                    void *arg);

#endif
