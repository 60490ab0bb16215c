/* daemon/live_part.h - the part that takes broadcasts in: RTMP doors, the home of streams
 *
 * Purpose   makes the process's home (origin/home.h) on the workers and the edge's store, and on
 *           every loop the RTMP front (ingest/conn.h); joins the two. Serves ingest.listen.
 * Owner     the process; after edge and workers in the table of parts.
 * Thread    daemon/part.h; the sink runs on the publishers' loops.
 * Errors    as daemon/part.h.
 * Tests     tests/e2e/test_live.py
 */
#ifndef DAEMON_LIVE_PART_H
#define DAEMON_LIVE_PART_H

#include "daemon/listeners.h"
#include "daemon/part.h"

extern const struct part live_part;
extern const struct listen_user rtmp_user; /* ingest.listen */

struct home;
struct home *live_home(const struct process *p); /* NULL before it is made */

#endif
