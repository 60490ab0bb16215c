/* edge/viewers.h - how many watch which stream, as far as one loop sees
 *
 * Purpose   a viewer of a stream is a connection over which a manifest or a segment of it was
 *           answered in the last ten seconds. Each loop counts its own, and nothing but a time is
 *           written per hit; whoever wants the sum asks all loops (daemon/census.h).
 * Limits    VIEWER_MARKS streams of one connection at a time (the one asked for longest ago gives
 *           way), VIEWER_STREAMS of a loop; what is beyond is not counted.
 * Owner     marks are embedded in the connection, which leaves before it goes.
 * Thread    the loop.
 * Errors    viewers_new: NULL, no memory.
 * Tests     tests/unit/test_viewers.c, tests/e2e/test_status.py
 */
#ifndef EDGE_VIEWERS_H
#define EDGE_VIEWERS_H

#include <stddef.h>
#include <stdint.h>

#include "core/auth_key.h"

enum {
    VIEWER_MARKS = 2,
    VIEWER_STREAMS = 65536,
    VIEWER_NAME_MAX = 2 * AUTH_NAME_MAX + 1, /* APP/STREAM */
    VIEWER_SECONDS = 10,
};

struct loop;
struct viewer_stream;

/* One connection's mark on one stream; all zero: none. */
struct viewer {
    struct viewer_stream *of;
    uint64_t seen_us;
    struct viewer *older, *newer;
};

struct viewers;
struct viewers *viewers_new(struct loop *l);
void viewers_free(struct viewers **vp); /* when everybody has left */

/* name is APP/STREAM. mark: the connection's VIEWER_MARKS of them. */
void viewers_see(struct viewers *v, struct viewer *mark, const char *name, size_t len);
void viewers_leave(struct viewers *v, struct viewer *mark);

void viewers_each(struct viewers *v, void (*each)(void *arg, const char *name, unsigned n),
                  void *arg);

#endif
