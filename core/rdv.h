/* core/rdv.h - weighted rendezvous: every host ranks the same nodes alike, without talking
 *
 * Purpose   each node gets a score from (node, key), the best ranks first. A node that leaves moves
 *           only its own keys; a node that comes takes its share evenly from all. Weight 0: drained
 *           or dead, ranks last and is never picked.
 *           For few heavy keys (streams to workers) rdv_pick_bounded() walks the rank order and
 *           takes the first whose load stays below its share times a factor.
 * Spec      score = -ln(u) / weight, u from the hash; integers only, so the order is the same
 *           on every host, compiler and libm.
 *           A node is its URL in lower case, scheme://host:port, the port always there, no path.
 * Units     weight 0..65535; load in whatever the caller counts by; factor in percent.
 * Thread    any; no state.
 * Errors    rdv_node_init: ECONF.
 * Tests     tests/unit/test_hash.c
 */
#ifndef CORE_RDV_H
#define CORE_RDV_H

#include <stddef.h>
#include <stdint.h>

#include "core/status.h"

enum { RDV_WEIGHT_MAX = 65535, RDV_URL_MAX = 512, RDV_NODES_MAX = 128 };

struct rdv_node {
    uint64_t hash;
    uint32_t weight;
};

/* A url without :// is a plain name ("worker-2"), taken in lower case as it is. */
MUST_USE enum st rdv_node_init(struct rdv_node *node, const char *url, uint32_t weight);

/* order[0..n-1] = indexes of the nodes, best first. n <= RDV_NODES_MAX. */
void rdv_rank(const struct rdv_node *nodes, int n, const void *key, size_t len, int *order);

/* The node for something of size `adding`; load[i] is what node i has without it. `sticky` is where
 * it is now, or -1: it stays while that node is within its bound. percent 110: at most 1.1 times
 * the node's share. If nobody is within bounds, the one that is least over. -1: no weight at all.
 */
int rdv_pick_bounded(const struct rdv_node *nodes, int n, const int *order, const uint64_t *load,
                     uint64_t adding, unsigned percent, int sticky);

#endif
