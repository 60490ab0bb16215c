/* daemon/edge_part.h - the part that serves: store, front, fetcher, certificates
 *
 * Purpose   makes the process's one object store and on every loop the HTTP front and the upstream
 *           fetcher on it; at a reload new certificates, upstream addresses and limits. Serves the
 *           listeners of `edge`, of `admin` (/metrics, /healthz, /readyz) and of `origin`.
 * Owner     the process.
 * Thread    daemon/part.h.
 * Errors    ECONF and others, with the file that is wrong.
 * Tests     tests/e2e/test_admin.py, tests/e2e/test_reload.py
 */
#ifndef DAEMON_EDGE_PART_H
#define DAEMON_EDGE_PART_H

#include <jansson.h>

#include "daemon/listeners.h"
#include "daemon/part.h"

struct conf;
struct store;
struct tls_tier_paths;

extern const struct part edge_part;
json_t *edge_metrics_json(const struct process *p); /* of the whole process; NULL: no memory */
struct store *edge_store(const struct process *p);  /* the process's one store */
/* `tls.tier`: what is not configured is NULL. */
struct tls_tier_paths edge_tier_paths(const struct conf *c);
extern const struct listen_user edge_user;  /* edge.listen */
extern const struct listen_user admin_user; /* admin.listen */
extern const struct listen_user tier_user;  /* origin.listen */

#endif
