#include "daemon/tier.h"

#include <string.h>

#include "daemon/process.h"
#include "edge/raw.h"
#include "edge/target.h"
#include "origin/home.h"
#include "origin/hub.h"
#include "origin/relay.h"

static void serve_ingest(struct process *p, struct loop *l, struct raw *x,
                         const struct http_head *head, const struct target *target, bool last)
{
    (void)p;
    relay_serve(l, x, head, target, last);
}

static void serve_sub(struct process *p, struct loop *l, struct raw *x,
                      const struct http_head *head, const struct target *target, bool last)
{
    (void)p;
    hub_serve(home_hub(l), l, x, head, target, last);
}

static const struct {
    const char *prefix;
    void (*serve)(struct process *p, struct loop *l, struct raw *x, const struct http_head *head,
                  const struct target *target, bool last);
} handlers[] = {
    { "/_ingest/", serve_ingest },
    { "/_sub/", serve_sub },
    { NULL, NULL },
};

void tier_raw(struct process *p, struct loop *l, struct raw *x, const struct http_head *head,
              const struct target *target, bool last)
{
    for (size_t i = 0; handlers[i].prefix != NULL; i++) {
        size_t n = strlen(handlers[i].prefix);

        if (target->path.n >= n && memcmp(target->path.p, handlers[i].prefix, n) == 0) {
            handlers[i].serve(p, l, x, head, target, last);
            return;
        }
    }
    (void)(raw_respond(x, 404, NULL, 0, NULL) == ST_OK);
}
