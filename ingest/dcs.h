/* ingest/dcs.h - the data centres that a POP relays to
 *
 * Purpose   from `ingest.relay`: where each of them is, and how all of them rank for a stream
 *           (core/rdv.h: every POP and edge has the same order). Names are looked up here, once, by
 *           the main thread. Immutable, so that all loops may read the same one.
 * Owner     atomic references; the last dcs_unref(), on any thread, frees.
 * Thread    dcs_build(): main (it may wait for DNS). The rest: any.
 * Errors    dcs_build: ECONF, ENOENT (a name does not resolve), ENOMEM; with text.
 * Tests     tests/unit/test_uplink.c
 */
#ifndef INGEST_DCS_H
#define INGEST_DCS_H

#include <openssl/types.h>

#include "core/exchange.h"

struct conf;
struct dcs;

enum { DCS_MAX = 64, DC_ADDRS_MAX = 8 };

struct dc {
    const char *url; /* canonical */
    struct exchange_peer peer;
    struct addr_sock addr[DC_ADDRS_MAX];
};

/* tier: a client context with our certificate; NULL where the configuration names none. It is
 * referenced, not taken. *out is NULL when `ingest.relay` is empty. */
MUST_USE enum st dcs_build(const struct conf *c, SSL_CTX *tier, struct dcs **out, struct err *e);
struct dcs *dcs_ref(struct dcs *d);
void dcs_unref(struct dcs **dp); /* NULL is a no-op; sets *dp to NULL */

unsigned dcs_count(const struct dcs *d);
const struct dc *dcs_get(const struct dcs *d, unsigned i);
/* order[0..count-1]: indexes, the home of the stream (APP/STREAM) first. */
void dcs_rank(const struct dcs *d, const char *name, int order[DCS_MAX]);

#endif
