/* What this program is made of: the parts, and who serves which listener. */
#include "daemon/part.h"

#include <event2/event.h>
#include <sys/socket.h>
#include <unistd.h>

#include "daemon/listeners.h"

/* Nobody serves these listeners yet: a connection is accepted and closed. */
static void turn_away(evutil_socket_t fd, short what, void *arg)
{
    (void)what, (void)arg;
    for (int left = 64; left > 0; left--) {
        int c = accept4(fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);

        if (c < 0)
            return;
        (void)close(c);
    }
}

static bool opened(struct loop *l, struct listen_socket *ls)
{
    ls->ev = event_new(l->base, ls->fd, EV_READ | EV_PERSIST, turn_away, ls);
    if (ls->ev != NULL && event_add(ls->ev, NULL) == 0)
        return true;
    if (ls->ev != NULL)
        event_free(ls->ev);
    return false;
}

static void closed(struct loop *l, struct listen_socket *ls)
{
    (void)l;
    turn_away(ls->fd, 0, ls);
    event_free(ls->ev);
}

static const struct listen_user nobody = { opened, closed };

const struct listen_section listen_sections[] = {
    { "admin.listen", offsetof(struct conf, admin.listen), offsetof(struct conf, admin.listen_n),
      &nobody },
    { "edge.listen", offsetof(struct conf, edge.listen), offsetof(struct conf, edge.listen_n),
      &nobody },
    { NULL, 0, 0, NULL },
};

/* A part may use what stands above it; listeners come last, so that a connection finds all. */
const struct part *const parts[] = { &listeners_part, NULL };
