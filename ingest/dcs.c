#include "ingest/dcs.h"

#include <openssl/ssl.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "core/check.h"
#include "core/conf.h"
#include "core/rdv.h"

enum { DCS_MAGIC = 0x0dc50dc5 };

struct dcs {
    int magic;
    atomic_int refs;
    const struct conf *conf; /* our strings are its */
    SSL_CTX *tls;
    unsigned n;
    struct dc dc[DCS_MAX];
    struct rdv_node node[DCS_MAX];
};

struct dcs *dcs_ref(struct dcs *d)
{
    OBJ_CHECK(d, DCS_MAGIC);
    (void)atomic_fetch_add_explicit(&d->refs, 1, memory_order_relaxed);
    return d;
}

void dcs_unref(struct dcs **dp)
{
    struct dcs *d = *dp;

    *dp = NULL;
    if (d == NULL || atomic_fetch_sub_explicit(&d->refs, 1, memory_order_acq_rel) > 1)
        return;
    SSL_CTX_free(d->tls);
    conf_unref(&d->conf);
    OBJ_FINI(d, DCS_MAGIC);
    free(d);
}

static bool is_loopback(const struct addr_sock *a)
{
    struct addr ip = addr_of((const struct sockaddr *)&a->sa);

    return addr_is_loopback(&ip);
}

static enum st add(struct dcs *d, const struct conf_url *u, struct err *e)
{
    struct dc *dc = &d->dc[d->n];
    int n = 1;
    enum st st = rdv_node_init(&d->node[d->n], u->text, 1);

    if (st != ST_OK)
        return err_set(e, st, "ingest.relay: %s: not a name for a node", u->text);
    if (u->scheme == CONF_HTTPS && d->tls == NULL)
        return err_set(e, ST_ECONF, "ingest.relay: %s: https needs tls.tier", u->text);
    st = u->scheme == CONF_UNIX ? addr_unix(u->path, &dc->addr[0], e)
                                : addr_resolve(u->host, u->port, dc->addr, DC_ADDRS_MAX, &n, e);
    if (st != ST_OK)
        return st;
    for (int i = 0; u->scheme == CONF_HTTP && i < n; i++)
        if (!is_loopback(&dc->addr[i]))
            return err_set(e, ST_ECONF, "ingest.relay: %s: between hosts https is needed", u->text);
    dc->url = u->text;
    dc->peer = (struct exchange_peer){ .addr = dc->addr,
                                       .n_addrs = (unsigned)n,
                                       .tls = u->scheme == CONF_HTTPS ? d->tls : NULL,
                                       .name = u->host,
                                       .authority = "localhost",
                                       .prefix = "/_ingest/" };
    if (u->scheme != CONF_UNIX) /* behind the scheme: host and port */
        dc->peer.authority = strstr(u->text, "://") + 3;
    d->n++;
    return ST_OK;
}

enum st dcs_build(const struct conf *c, SSL_CTX *tier, struct dcs **out, struct err *e)
{
    struct dcs *d;
    enum st st = ST_OK;

    *out = NULL;
    if (c->ingest.relay_n == 0)
        return ST_OK;
    if (c->ingest.relay_n > DCS_MAX)
        return err_set(e, ST_ECONF, "ingest.relay: more than %d data centres", DCS_MAX);
    if ((d = calloc(1, sizeof *d)) == NULL)
        return err_set(e, ST_ENOMEM, "out of memory");
    OBJ_INIT(d, DCS_MAGIC);
    atomic_init(&d->refs, 1);
    d->conf = conf_ref(c);
    if (tier != NULL && SSL_CTX_up_ref(tier) == 1)
        d->tls = tier;
    for (size_t i = 0; i < c->ingest.relay_n && st == ST_OK; i++)
        st = add(d, &c->ingest.relay[i], e);
    if (st == ST_OK)
        *out = d;
    else
        dcs_unref(&d);
    return st;
}

unsigned dcs_count(const struct dcs *d) { return d->n; }

const struct dc *dcs_get(const struct dcs *d, unsigned i)
{
    CHECK(i < d->n);
    return &d->dc[i];
}

void dcs_rank(const struct dcs *d, const char *name, int order[DCS_MAX])
{
    rdv_rank(d->node, (int)d->n, name, strlen(name), order);
}
