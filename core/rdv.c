#include "core/rdv.h"

#include <stdbool.h>
#include <string.h>

#include "core/check.h"
#include "core/hash.h"

enum { LOG_BITS = 40, COST_SHIFT = 17 };

static char lower(char c) { return c >= 'A' && c <= 'Z' ? (char)(c - 'A' + 'a') : c; }

/* Does the authority [p, end) end in :digits? (A bare IPv6 address ends in its bracket.) */
static bool has_port(const char *p, const char *end)
{
    const char *digits = end;

    while (digits > p && digits[-1] >= '0' && digits[-1] <= '9')
        digits--;
    return digits < end && digits > p + 1 && digits[-1] == ':';
}

enum st rdv_node_init(struct rdv_node *node, const char *url, uint32_t weight)
{
    char name[RDV_URL_MAX + 8];
    const char *sep = strstr(url, "://");
    const char *host = sep != NULL ? sep + 3 : url;
    const char *end = sep != NULL ? host + strcspn(host, "/?#") : url + strlen(url);
    const char *port = "";
    size_t len = (size_t)(end - url);

    if (len > RDV_URL_MAX || end == host || weight > RDV_WEIGHT_MAX)
        return ST_ECONF;
    for (size_t i = 0; i < len; i++)
        name[i] = lower(url[i]);
    if (sep != NULL && !has_port(host, end)) {
        if (strncmp(name, "https://", 8) == 0)
            port = ":443";
        else if (strncmp(name, "http://", 7) == 0)
            port = ":80";
        else
            return ST_ECONF;
        if (end[-1] == ':')
            len--; /* "http://host:" */
    }
    memcpy(name + len, port, strlen(port));
    len += strlen(port);
    node->hash = hash64_stable(name, len);
    node->weight = weight;
    return ST_OK;
}

/* -log2(h / 2^64) with LOG_BITS bits after the point, h > 0: the integer part from the leading
 * zeros, then one bit per squaring. */
static uint64_t neg_log2(uint64_t h)
{
    int zeros = __builtin_clzll(h);
    uint64_t x = h << zeros; /* 1 <= x / 2^63 < 2 */
    uint64_t frac = 0;

    for (int i = 0; i < LOG_BITS; i++) {
        unsigned __int128 sq = (unsigned __int128)x * x;
        uint64_t high = (uint64_t)(sq >> 64);
        uint64_t bit = high >> 63; /* no branch on it: it is a coin toss */

        frac = frac << 1 | bit;
        x = bit != 0 ? high : (uint64_t)(sq >> 63);
    }
    return ((uint64_t)(zeros + 1) << LOG_BITS) - frac;
}

struct ranked {
    uint64_t cost;
    uint64_t hash;
    int index;
};

/* Equal costs (all the drained ones) go by hash: alike on every host, whatever the list's order. */
static bool before(const struct ranked *a, const struct ranked *b)
{
    return a->cost != b->cost ? a->cost < b->cost : a->hash < b->hash;
}

static struct ranked rank_one(const struct rdv_node *node, uint64_t key, int index)
{
    uint64_t h = hash_mix(hash_mix(key ^ node->hash) + node->hash);
    struct ranked r = { UINT64_MAX, node->hash, index };

    CHECK(node->weight <= RDV_WEIGHT_MAX);
    if (node->weight > 0)
        r.cost = (neg_log2(h | 1) << COST_SHIFT) / node->weight; /* 47 bits + 17 */
    return r;
}

void rdv_rank(const struct rdv_node *nodes, int n, const void *key, size_t len, int *order)
{
    struct ranked r[RDV_NODES_MAX];
    uint64_t k = hash64_stable(key, len);

    CHECK(n >= 0 && n <= RDV_NODES_MAX);
    for (int i = 0; i < n; i++) {
        struct ranked mine = rank_one(&nodes[i], k, i);
        int at = i;

        for (; at > 0 && before(&mine, &r[at - 1]); at--)
            r[at] = r[at - 1];
        r[at] = mine;
    }
    for (int i = 0; i < n; i++)
        order[i] = r[i].index;
}

int rdv_pick_bounded(const struct rdv_node *nodes, int n, const int *order, const uint64_t *load,
                     uint64_t adding, unsigned percent, int sticky)
{
    unsigned __int128 total = adding, weights = 0;
    int least = -1;

    CHECK(sticky < n && percent >= 100);
    for (int i = 0; i < n; i++) {
        total += load[i];
        weights += nodes[i].weight;
    }
    for (int k = -1; k < n; k++) { /* -1: where it is now comes first */
        int i = k < 0 ? sticky : order[k];
        unsigned __int128 whole;

        if (i < 0 || nodes[i].weight == 0)
            continue;
        /* bound = ceil(total * weight * percent / (weights * 100)) */
        whole = total * nodes[i].weight * percent;
        if ((unsigned __int128)load[i] + adding <= (whole + weights * 100 - 1) / (weights * 100))
            return i;
        if (k >= 0 &&
            (least < 0 || ((unsigned __int128)load[i] + adding) * nodes[least].weight <
                              ((unsigned __int128)load[least] + adding) * nodes[i].weight))
            least = i;
    }
    return least;
}
