/* core/listen.h - listening sockets, and one listener per loop on them
 *
 * Purpose   listen_open() makes one socket per loop for an address: with SO_REUSEPORT the kernel
 *           deals connections out; a unix socket is made once and dup'ed. struct listener accepts
 *           on one of them, at most LISTEN_BUDGET per wake-up. When descriptors run out it refuses
 *           who is waiting (a reserve descriptor makes that possible) and pauses, it never spins.
 *           Accepted sockets are non-blocking, close-on-exec, and inherit TCP_NODELAY and
 *           TCP_NOTSENT_LOWAT as core/io.h wants them.
 * Order     the sockets belong to the caller. After listener_fini() the loop must have made another
 *           turn before listen_close(): a dup elsewhere (another loop, a successor process) keeps
 *           the socket alive, and the loop would go on hearing of it. Closing a TCP socket of
 *           several drops the connections that wait in its own queue.
 * Owner     embeds struct listener, one per (loop, socket), or has a list of them.
 * Thread    the sockets: main. A listener: its loop's own.
 * Errors    listener_init: EIO; listener_new: ENOMEM too. listen_open: ECONF with text: the address is taken, not ours, forbidden; EIO: no descriptors.
 * Tests     tests/unit/test_listen.c
 */
#ifndef CORE_LISTEN_H
#define CORE_LISTEN_H

#include <event2/event_struct.h>
#include <stdbool.h>
#include <stdint.h>

#include "core/addr.h"
#include "core/loop.h"
#include "core/status.h"
#include "core/timer.h"

enum {
    LISTEN_BACKLOG = 4096, /* the kernel cuts it to net.core.somaxconn */
    LISTEN_BUDGET = 64,
    LISTEN_PAUSE_MS = 100,
};

struct listen_how {
    unsigned mode; /* unix: of the file, for example 0600 */
    bool ours;     /* TCP: sockets of this process may have the port already */
};
/* Fills fds[0..n-1]. Port 0: the kernel picks one, the same for all; listen_actual() tells it.
 * A socket file that nobody listens on any more is replaced; one that answers, and any other kind
 * of file, is left alone and refused. The text says why, not where. */
MUST_USE enum st listen_open(const struct addr_sock *at, const struct listen_how *how, int n,
                             int *fds, struct err *e);
void listen_close(int *fds, int n); /* sets them to -1; a unix socket's file stays */
/* "127.0.0.1:8080", "[::]:443", "unix:/run/x.sock"; returns buf. */
const char *listen_actual(int fd, char buf[ADDR_TEXT_MAX]);

struct listener {
    int magic;
    int fd; /* borrowed */
    struct loop *loop;
    /* Takes fd. May call listener_fini(). peer: a unix peer has no name. */
    void (*on_accept)(struct listener *ln, int fd, const struct sockaddr_storage *peer);

    /* what listener_new() was told */
    void *owner;
    int profile;
    bool tls;

    /* the rest is for core/listen.c */
    struct listener *next, **prevp;
    struct grave grave;
    struct event ev;
    struct timer pause;
    int reserve_fd;

    /* counters */
    uint64_t accepted, refused, pauses;
};

MUST_USE enum st listener_init(struct listener *ln, struct loop *l, int fd,
                               void (*on_accept)(struct listener *, int,
                                                 const struct sockaddr_storage *));
void listener_fini(struct listener *ln); /* does not close fd: see Order */

/* One of several, with memory of its own, in its owner's list. */
struct listener_cfg {
    int fd; /* borrowed until listener_free() */
    void (*on_accept)(struct listener *ln, int fd, const struct sockaddr_storage *peer);
    void *owner;
    int profile; /* the owner's */
    bool tls;
};
MUST_USE enum st listener_new(struct listener **list, struct loop *l,
                              const struct listener_cfg *cfg, struct listener **out);
void listener_free(struct listener **lp); /* out of its list; freed when the turn is over */

#endif
