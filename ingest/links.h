/* ingest/links.h - a loop's connections to the data centres of one configuration
 *
 * Purpose   one exchange_link per data centre, shared by the uplinks of a loop. A reload makes new
 *           ones; uplinks that are under way keep the old until they have to begin anew.
 * Owner     plain references of one loop; the last links_unref() ends what is left on them.
 * Thread    the loop's own.
 * Tests     tests/unit/test_uplink.c
 */
#ifndef INGEST_LINKS_H
#define INGEST_LINKS_H

#include "ingest/dcs.h"

struct loop;

struct links {
    int refs;
    struct dcs *dcs;
    unsigned n;
    struct exchange_link *link[]; /* by index of the data centre */
};

/* Takes the reference to the data centres, also when there is no memory: NULL. */
struct links *links_new(struct loop *l, struct dcs *d);
struct links *links_ref(struct links *s);
void links_unref(struct links **lp); /* NULL is a no-op; sets *lp to NULL */

#endif
