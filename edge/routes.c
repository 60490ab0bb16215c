#include "edge/routes.h"

#include <openssl/ssl.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/check.h"
#include "core/conf.h"

enum { ROUTES_MAGIC = 0x40e7e51a };

struct host {
    struct route_host pub;
    char *text; /* what pub's strings point into */
};

struct app {
    char *name;
    struct host host;
};

struct routes {
    int magic;
    atomic_int refs;
    struct app *apps; /* by name */
    size_t n_apps;
    struct host *up;
    struct rdv_node *nodes;
    unsigned n_up;
};

static void host_fini(struct host *h)
{
    SSL_CTX_free(h->pub.tls);
    free(h->text);
}

static void routes_free(struct routes *r)
{
    for (size_t i = 0; i < r->n_apps; i++) {
        free(r->apps[i].name);
        host_fini(&r->apps[i].host);
    }
    for (unsigned i = 0; i < r->n_up; i++)
        host_fini(&r->up[i]);
    free(r->apps);
    free(r->up);
    free(r->nodes);
    OBJ_FINI(r, ROUTES_MAGIC);
    free(r);
}

struct routes *routes_ref(struct routes *r)
{
    OBJ_CHECK(r, ROUTES_MAGIC);
    (void)atomic_fetch_add_explicit(&r->refs, 1, memory_order_relaxed);
    return r;
}

void routes_unref(struct routes **rp)
{
    struct routes *r = *rp;

    *rp = NULL;
    if (r == NULL)
        return;
    OBJ_CHECK(r, ROUTES_MAGIC);
    int was = atomic_fetch_sub_explicit(&r->refs, 1, memory_order_acq_rel);

    CHECK(was > 0);
    if (was == 1)
        routes_free(r);
}

/* --- building --- */

/* url, authority and name in one piece of memory. The port is left out where it goes without
 * saying: some origins answer for the bare name only. */
static enum st host_text(struct host *h, const struct conf_url *u)
{
    unsigned usual = u->scheme == CONF_HTTPS ? 443 : 80;
    size_t url = strlen(u->text) + 1, name = strlen(u->host) + 1, room = url + name + name + 16;
    bool v6 = strchr(u->host, ':') != NULL;
    char *authority;

    h->text = malloc(room);
    if (h->text == NULL)
        return ST_ENOMEM;
    memcpy(h->text, u->text, url);
    memcpy(h->text + url, u->host, name);
    authority = h->text + url + name;
    if (u->scheme == CONF_UNIX)
        (void)snprintf(authority, room - url - name, "localhost");
    else
        (void)snprintf(authority, room - url - name, u->port == usual ? "%s%s%s" : "%s%s%s:%u",
                       v6 ? "[" : "", u->host, v6 ? "]" : "", (unsigned)u->port);
    h->pub.url = h->text;
    h->pub.name = h->text + url;
    h->pub.authority = authority;
    return ST_OK;
}

static bool is_here(const struct addr_sock *a)
{
    struct addr ip = addr_of((const struct sockaddr *)&a->sa);

    return addr_is_loopback(&ip);
}

static enum st host_init(struct host *h, const struct conf_url *u, bool h2, SSL_CTX *tls,
                         struct err *e)
{
    int n = 1;
    enum st st = host_text(h, u);

    if (st != ST_OK)
        return err_set(e, st, "out of memory");
    h->pub.h2 = h2;
    st = u->scheme == CONF_UNIX
             ? addr_unix(u->path, &h->pub.addr[0], e)
             : addr_resolve(u->host, u->port, h->pub.addr, ROUTE_ADDRS_MAX, &n, e);
    if (st != ST_OK)
        return st;
    h->pub.n_addrs = (unsigned)n;
    if (u->scheme == CONF_HTTPS && tls == NULL)
        return err_set(e, ST_ECONF, "%s: https needs tls.tier", u->text);
    for (int i = 0; h2 && u->scheme == CONF_HTTP && i < n; i++)
        if (!is_here(&h->pub.addr[i]))
            return err_set(e, ST_ECONF, "%s: between hosts https is needed", u->text);
    if (u->scheme == CONF_HTTPS) {
        CHECK(SSL_CTX_up_ref(tls) == 1);
        h->pub.tls = tls;
    }
    return ST_OK;
}

static int by_name(const void *a, const void *b)
{
    return strcmp(((const struct app *)a)->name, ((const struct app *)b)->name);
}

static enum st build_apps(struct routes *r, const struct conf *c, SSL_CTX *outside, struct err *e)
{
    r->apps = calloc(c->apps_n + 1, sizeof *r->apps);
    if (r->apps == NULL)
        return err_set(e, ST_ENOMEM, "out of memory");
    for (size_t i = 0; i < c->apps_n; i++) {
        const struct conf_app *from = &c->apps[i];
        struct app *a = &r->apps[r->n_apps];
        enum st st;

        if (from->origin.text[0] == '\0')
            continue;
        a->name = strdup(from->name);
        r->n_apps++;
        if (a->name == NULL)
            return err_set(e, ST_ENOMEM, "out of memory");
        st = host_init(&a->host, &from->origin, false, outside, e);
        if (st != ST_OK)
            return st;
    }
    qsort(r->apps, r->n_apps, sizeof *r->apps, by_name);
    return ST_OK;
}

static enum st build_upstreams(struct routes *r, const struct conf *c, SSL_CTX *tier, struct err *e)
{
    if (c->edge.upstream_n > ROUTE_UPSTREAMS_MAX)
        return err_set(e, ST_ECONF, "more than %d upstreams", ROUTE_UPSTREAMS_MAX);
    r->up = calloc(c->edge.upstream_n + 1, sizeof *r->up);
    r->nodes = calloc(c->edge.upstream_n + 1, sizeof *r->nodes);
    if (r->up == NULL || r->nodes == NULL)
        return err_set(e, ST_ENOMEM, "out of memory");
    for (size_t i = 0; i < c->edge.upstream_n; i++) {
        const struct conf_url *u = &c->edge.upstream[i];
        enum st st = rdv_node_init(&r->nodes[i], u->text, 1);

        if (st != ST_OK)
            return err_set(e, st, "%s: not a name for a node", u->text);
        r->n_up++;
        st = host_init(&r->up[i], u, true, tier, e);
        if (st != ST_OK)
            return st;
    }
    return ST_OK;
}

enum st routes_build(const struct conf *c, SSL_CTX *outside, SSL_CTX *tier, struct routes **out,
                     struct err *e)
{
    struct routes *r = calloc(1, sizeof *r);
    enum st st;

    *out = NULL;
    if (r == NULL)
        return err_set(e, ST_ENOMEM, "out of memory");
    OBJ_INIT(r, ROUTES_MAGIC);
    atomic_init(&r->refs, 1);
    st = build_apps(r, c, outside, e);
    if (st == ST_OK)
        st = build_upstreams(r, c, tier, e);
    if (st != ST_OK)
        routes_unref(&r);
    *out = r;
    return st;
}

/* --- asking --- */

const struct route_host *routes_origin(const struct routes *r, const char *app, size_t len)
{
    size_t lo = 0, hi = r->n_apps;

    while (lo < hi) {
        size_t mid = (lo + hi) / 2;
        int c = strncmp(r->apps[mid].name, app, len);

        if (c == 0 && r->apps[mid].name[len] == '\0')
            return &r->apps[mid].host.pub;
        if (c < 0)
            lo = mid + 1;
        else
            hi = mid;
    }
    return NULL;
}

const struct route_host *routes_host(const struct routes *r, const char *url)
{
    for (unsigned i = 0; i < r->n_up; i++)
        if (strcmp(r->up[i].pub.url, url) == 0)
            return &r->up[i].pub;
    for (size_t i = 0; i < r->n_apps; i++)
        if (strcmp(r->apps[i].host.pub.url, url) == 0)
            return &r->apps[i].host.pub;
    return NULL;
}

unsigned routes_rank(const struct routes *r, const char *name, size_t len,
                     const struct route_host *out[ROUTE_UPSTREAMS_MAX])
{
    int order[ROUTE_UPSTREAMS_MAX];

    rdv_rank(r->nodes, (int)r->n_up, name, len, order);
    for (unsigned i = 0; i < r->n_up; i++)
        out[i] = &r->up[order[i]].pub;
    return r->n_up;
}
