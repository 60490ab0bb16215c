/* What this program is made of: the parts, and who serves which listener. */
#include <stddef.h>

#include "daemon/access_part.h"
#include "daemon/edge_part.h"
#include "daemon/listeners.h"
#include "daemon/live_part.h"
#include "daemon/observe.h"
#include "daemon/part.h"
#include "daemon/streams.h"
#include "daemon/workers.h"

const struct listen_section listen_sections[] = {
    { "admin.listen", offsetof(struct conf, admin.listen), offsetof(struct conf, admin.listen_n),
      &admin_user },
    { "edge.listen", offsetof(struct conf, edge.listen), offsetof(struct conf, edge.listen_n),
      &edge_user },
    { "ingest.listen", offsetof(struct conf, ingest.listen), offsetof(struct conf, ingest.listen_n),
      &rtmp_user },
    { "origin.listen", offsetof(struct conf, origin.listen), offsetof(struct conf, origin.listen_n),
      &tier_user },
    { NULL, 0, 0, NULL },
};

/* A part may use what stands above it; listeners come last, so that a connection finds all. */
const struct part *const parts[] = { &observe_part, &edge_part,    &access_part,    &workers_part,
                                     &live_part,    &streams_part, &listeners_part, NULL };
