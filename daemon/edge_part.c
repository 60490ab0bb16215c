#include "daemon/edge_part.h"

#include <openssl/ssl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "core/check.h"
#include "core/io.h"
#include "core/listen.h"
#include "core/mem.h"
#include "core/tls.h"
#include "daemon/keys.h"
#include "daemon/observe.h"
#include "daemon/process.h"
#include "daemon/streams.h"
#include "daemon/tier.h"
#include "edge/fetch.h"
#include "edge/front.h"
#include "edge/http_head.h"
#include "edge/pages.h"
#include "edge/request.h"
#include "edge/routes.h"
#include "edge/store.h"

#define PLAYER_FILE "/../share/freshet/dash.all.min.js"
enum { PLAYER_PATH_MAX = 1024, PLAYER_STEP = 64 << 10, PLAYER_MAX = 8 << 20 };

/* What a reload brings to one loop. */
struct delivery {
    struct mail mail;
    struct tls_set *tls;
    SSL_CTX *tier;
    struct routes *routes;
    struct auth_keys *play_keys;
};

struct edge {
    struct process *process;
    struct mem_pool pool;
    struct store *store;
    struct front *front;
    struct buf player;           /* dash.js, where it is installed */
    SSL_CTX *outside;            /* client context for foreign https origins */
    struct tls_tickets *tickets; /* random ones, when no file is configured */

    /* between prepare and commit or abort */
    struct tls_set *tls;
    SSL_CTX *tier; /* of origin.listen */
    struct routes *routes;
    struct auth_keys *play_keys;
    struct delivery *deliveries[CONF_LOOPS_MAX];

    pthread_mutex_t scrape_lock;
    struct metrics *scrape; /* gauges that are read off, not counted */
};

/* --- certificates and upstreams --- */

static bool wants_tls(const struct conf *c)
{
    for (size_t i = 0; i < c->edge.listen_n; i++)
        if (c->edge.listen[i].scheme == CONF_HTTPS)
            return true;
    for (size_t i = 0; i < c->admin.listen_n; i++)
        if (c->admin.listen[i].scheme == CONF_HTTPS)
            return true;
    return false;
}

/* random: used when no file is named; NULL: only to see whether all of it can be loaded. */
static enum st load_tls(const struct conf *c, struct tls_tickets *random, struct tls_set **out,
                        struct err *err)
{
    struct tls_cert_paths *paths = NULL;
    struct tls_tickets *tickets = NULL;
    int n = 0;
    enum st st = ST_OK;

    *out = NULL;
    if (!wants_tls(c))
        return ST_OK;
    if (c->tls.default_.cert[0] == '\0')
        return err_set(err, ST_ECONF, "tls.default: an https listener needs a certificate");
    if ((paths = calloc(c->tls.names_n + 1, sizeof *paths)) == NULL)
        return err_set(err, ST_ENOMEM, "out of memory");
    paths[n++] = (struct tls_cert_paths){ NULL, c->tls.default_.cert, c->tls.default_.key };
    for (size_t i = 0; i < c->tls.names_n; i++)
        paths[n++] = (struct tls_cert_paths){ c->tls.names[i].name, c->tls.names[i].cert,
                                              c->tls.names[i].key };
    if (c->tls.default_.tickets[0] != '\0')
        st = tls_tickets_load(c->tls.default_.tickets, &tickets, err);
    else if (random != NULL)
        tickets = tls_tickets_ref(random);
    else
        st = tls_tickets_random(NULL, &tickets, err);
    if (st == ST_OK)
        st = tls_set_new(paths, n, "h2,http/1.1,http/1.0", tickets, out, err);
    tls_tickets_unref(&tickets);
    free(paths);
    return st;
}

/* A reload makes new random keys and still takes tickets of the ones before. */
static enum st next_tickets(struct edge *e, struct tls_tickets **out, struct err *err)
{
    return tls_tickets_random(e->tickets, out, err);
}

struct tls_tier_paths edge_tier_paths(const struct conf *c)
{
    return (struct tls_tier_paths){
        .cert = c->tls.tier.cert[0] != '\0' ? c->tls.tier.cert : NULL,
        .key = c->tls.tier.key[0] != '\0' ? c->tls.tier.key : NULL,
        .ca = c->tls.tier.ca[0] != '\0' ? c->tls.tier.ca : NULL,
    };
}

/* What our other machines come in by; NULL: no listener needs it. */
static enum st load_tier(const struct conf *c, SSL_CTX **out, struct err *err)
{
    struct tls_tier_paths paths = edge_tier_paths(c);

    *out = NULL;
    for (size_t i = 0; i < c->origin.listen_n; i++)
        if (c->origin.listen[i].scheme == CONF_HTTPS)
            return tls_tier_server(&paths, out, err);
    return ST_OK;
}

static enum st load_routes(const struct conf *c, SSL_CTX *outside, struct routes **out,
                           struct err *err)
{
    struct tls_tier_paths paths = edge_tier_paths(c);
    SSL_CTX *tier = NULL;
    enum st st = ST_OK;

    if (paths.ca != NULL)
        st = tls_client(&paths, &tier, err);
    if (st == ST_OK)
        st = routes_build(c, outside, tier, out, err);
    SSL_CTX_free(tier);
    return st;
}

static enum st check(const struct conf *c, struct err *err)
{
    struct tls_set *tls;
    SSL_CTX *tier = NULL;
    struct auth_keys *keys = NULL;
    enum st st = load_tls(c, NULL, &tls, err);

    if (st == ST_OK)
        st = load_tier(c, &tier, err);
    SSL_CTX_free(tier);
    if (st == ST_OK)
        st = keys_load(KEYS_PLAY, c, &keys, err);
    tls_set_unref(&tls);
    auth_keys_unref(&keys);
    return st;
}

/* --- life --- */

static uint64_t memory_limit(const struct conf *c)
{
    return c->edge.limits.memory_bytes > 0 ? c->edge.limits.memory_bytes
                                           : c->edge.cache_bytes / 4 * 5;
}

static void answer_admin(void *ctx, struct loop *l, const struct http_head *head,
                         const struct target *target, struct front_page *out);

static void fini(struct process *p, void **mine)
{
    struct edge *e = *mine;

    (void)p;
    *mine = NULL;
    if (e == NULL)
        return;
    front_free(&e->front);
    buf_fini(&e->player);
    store_free(&e->store);
    tls_tickets_unref(&e->tickets);
    SSL_CTX_free(e->outside);
    metrics_free(&e->scrape);
    (void)pthread_mutex_destroy(&e->scrape_lock);
    free(e);
}

/* share/freshet/dash.all.min.js beside the directory of the program. Without it there is no
 * player, and the player page says so. */
static void load_player(struct buf *b)
{
    char path[PLAYER_PATH_MAX + sizeof PLAYER_FILE];
    ssize_t n = readlink("/proc/self/exe", path, PLAYER_PATH_MAX);
    uint8_t *to;
    char *slash;
    size_t got;
    FILE *f;

    buf_init(b, PLAYER_MAX);
    path[n > 0 ? n : 0] = '\0';
    slash = strrchr(path, '/');
    if (slash == NULL)
        return;
    memcpy(slash, PLAYER_FILE, sizeof PLAYER_FILE);
    if ((f = fopen(path, "re")) == NULL)
        return;
    do {
        to = buf_grow(b, PLAYER_STEP);
        got = to != NULL ? fread(to, 1, PLAYER_STEP, f) : 0;
        if (to != NULL)
            b->len -= PLAYER_STEP - got;
    } while (got > 0);
    if (b->st != ST_OK || ferror(f))
        buf_fini(b);
    (void)fclose(f);
}

static void answer_tier(void *ctx, struct loop *l, struct raw *x, const struct http_head *head,
                        const struct target *target, bool last)
{
    struct edge *e = ctx;

    tier_raw(e->process, l, x, head, target, last);
}

static enum st make(struct process *p, void **mine, struct err *err)
{
    struct edge *e = calloc(1, sizeof *e);
    struct store_cfg cfg = { .cap_bytes = 0, .object_bytes = 0, .ops = &fetch_ops };
    const struct tls_tier_paths system_ca = { NULL, NULL, NULL };

    if (e == NULL)
        return ST_ENOMEM;
    *mine = e;
    e->process = p;
    load_player(&e->player);
    struct front_hooks hooks = { .admin = answer_admin,
                                 .raw = answer_tier,
                                 .ctx = e,
                                 .player = e->player.data,
                                 .player_len = e->player.len };
    (void)pthread_mutex_init(&e->scrape_lock, NULL);
    mem_pool_init(&e->pool, 0);
    e->scrape = metrics_new();
    e->store = store_new(&cfg, &e->pool, p->loop, (unsigned)p->loops_n);
    if (e->store == NULL || e->scrape == NULL || (e->front = front_new(e->store, &hooks)) == NULL)
        return ST_ENOMEM;
    return tls_client(&system_ca, &e->outside, err);
}

static enum st loop_start(struct process *p, void **mine, struct loop *l, struct err *err)
{
    struct edge *e;
    enum st st = ST_OK;

    if (*mine == NULL)
        st = make(p, mine, err);
    e = *mine;
    if (st == ST_OK)
        st = store_loop_start(e->store, l);
    if (st == ST_OK)
        st = fetch_loop_start(l, e->store);
    if (st == ST_OK)
        st = front_loop_start(e->front, l);
    if (st == ST_ENOMEM)
        return err_set(err, st, "out of memory");
    return st;
}

static void loop_stop_(struct process *p, void **mine, struct loop *l)
{
    (void)p, (void)mine;
    if (l->slot[LOOP_FRONT] != NULL)
        front_loop_stop(l);
    if (l->slot[LOOP_FETCH] != NULL)
        fetch_loop_stop(l);
    if (l->slot[LOOP_STORE] != NULL)
        store_loop_stop(l);
    io_loop_fini(l);
}

static struct edge *edge_of(const struct process *p)
{
    for (int i = 0; p->parts[i] != NULL; i++)
        if (p->parts[i] == &edge_part)
            return p->part[i];
    return NULL;
}

struct store *edge_store(const struct process *p)
{
    struct edge *e = edge_of(p);

    return e != NULL ? e->store : NULL;
}

/* --- a new configuration --- */

static void drop_delivery(struct delivery *d)
{
    if (d == NULL)
        return;
    tls_set_unref(&d->tls);
    SSL_CTX_free(d->tier);
    routes_unref(&d->routes);
    auth_keys_unref(&d->play_keys);
    free(d);
}

static void drop_prepared(struct edge *e)
{
    tls_set_unref(&e->tls);
    SSL_CTX_free(e->tier);
    e->tier = NULL;
    routes_unref(&e->routes);
    auth_keys_unref(&e->play_keys);
}

static void abort_(struct process *p, void **mine)
{
    struct edge *e = *mine;

    for (int i = 0; i < p->loops_n; i++) {
        drop_delivery(e->deliveries[i]);
        e->deliveries[i] = NULL;
    }
    drop_prepared(e);
}

static void delivered(struct loop *l, struct mail *m)
{
    struct delivery *d = CONTAINER_OF(m, struct delivery, mail);

    if (l->slot[LOOP_FRONT] != NULL) { /* NULL: the process stops */
        front_set_tls(l, d->tls);
        d->tls = NULL;
        front_set_tier_tls(l, d->tier);
        d->tier = NULL;
        front_set_play_keys(l, d->play_keys);
        d->play_keys = NULL;
        fetch_loop_set_routes(l, d->routes);
    }
    drop_delivery(d);
}

static enum st prepare(struct process *p, void **mine, const struct conf *fresh, struct err *err)
{
    struct edge *e = *mine;
    struct tls_tickets *tickets = NULL;
    enum st st = ST_OK;

    if (wants_tls(fresh) && fresh->tls.default_.tickets[0] == '\0')
        st = next_tickets(e, &tickets, err);
    if (st == ST_OK)
        st = load_tls(fresh, tickets, &e->tls, err);
    if (st == ST_OK)
        st = load_tier(fresh, &e->tier, err);
    if (st == ST_OK)
        st = load_routes(fresh, e->outside, &e->routes, err);
    if (st == ST_OK)
        st = keys_load(KEYS_PLAY, fresh, &e->play_keys, err);
    for (int i = 0; i < p->loops_n && st == ST_OK; i++) {
        struct delivery *d = calloc(1, sizeof *d);

        if ((e->deliveries[i] = d) == NULL) {
            st = err_set(err, ST_ENOMEM, "out of memory");
            break;
        }
        d->mail.deliver = delivered;
        d->tls = e->tls != NULL ? tls_set_ref(e->tls) : NULL;
        d->routes = routes_ref(e->routes);
        if (e->tier != NULL && SSL_CTX_up_ref(e->tier) == 1)
            d->tier = e->tier;
        d->play_keys = auth_keys_ref(e->play_keys);
    }
    if (st != ST_OK) {
        tls_tickets_unref(&tickets);
        abort_(p, mine);
        return st;
    }
    if (tickets != NULL) { /* an aborted reload leaves keys that nobody has used: no harm */
        tls_tickets_unref(&e->tickets);
        e->tickets = tickets;
    }
    return ST_OK;
}

static void commit(struct process *p, void **mine, const struct conf *fresh)
{
    struct edge *e = *mine;

    mem_pool_set_limit(&e->pool, memory_limit(fresh));
    store_set_limits(e->store, fresh->edge.cache_bytes, fresh->edge.limits.object_bytes);
    for (int i = 0; i < p->loops_n; i++) {
        struct delivery *d = e->deliveries[i];

        e->deliveries[i] = NULL;
        mailbox_post(&p->loop[i]->mailbox, &d->mail);
    }
    drop_prepared(e);
}

const struct part edge_part = {
    .name = "edge",
    .check = check,
    .loop_start = loop_start,
    .prepare = prepare,
    .commit = commit,
    .abort = abort_,
    .loop_stop = loop_stop_,
    .fini = fini,
};

/* --- the admin port --- */

enum { METRICS_MAX = 4 << 20 };

/* Under the scrape's lock. */
static void read_gauges(struct edge *e)
{
    struct metrics *m = e->scrape;

    metric_set(&m->cache_bytes, store_cache_bytes(e->store));
    metric_set(&m->cache_objects, store_objects(e->store));
    metric_set(&m->memory_bytes[METRIC_MEMORY_CHUNK], mem_pool_used(&e->pool));
    metric_set(&m->memory_limit_bytes,
               atomic_load_explicit(&e->pool.limit_bytes, memory_order_relaxed));
}

static struct blob *metrics_page(struct edge *e)
{
    struct blob *b = NULL;
    struct buf text;

    buf_init(&text, METRICS_MAX);
    (void)pthread_mutex_lock(&e->scrape_lock);
    read_gauges(e);
    observe_write_metrics(observe_of(e->process), &text, e->scrape);
    (void)pthread_mutex_unlock(&e->scrape_lock);
    if (text.st == ST_OK)
        b = blob_new(text.data, text.len);
    buf_fini(&text);
    return b;
}

json_t *edge_metrics_json(const struct process *p)
{
    struct edge *e = edge_of(p);
    json_t *j;

    (void)pthread_mutex_lock(&e->scrape_lock);
    read_gauges(e);
    j = observe_metrics_json(observe_of(p), e->scrape);
    (void)pthread_mutex_unlock(&e->scrape_lock);
    return j;
}

static bool is(const struct target *t, const char *path)
{
    return slice_eq(t->path, slice_of(path, strlen(path)));
}

static void answer_admin(void *ctx, struct loop *l, const struct http_head *head,
                         const struct target *target, struct front_page *out)
{
    struct edge *e = ctx;

    (void)l, (void)head;
    out->status = 200;
    if (is(target, "/metrics")) {
        out->type = "application/openmetrics-text; version=1.0.0; charset=utf-8";
        out->body = metrics_page(e);
    } else if (is(target, "/healthz")) {
        out->body = blob_new("ok\n", 3);
    } else if (is(target, "/readyz")) {
        bool ready = observe_ready(observe_of(e->process));

        out->status = ready ? 200 : 503;
        out->body = ready ? blob_new("ready\n", 6) : blob_new("a loop hangs\n", 13);
    } else if (is(target, "/api/v1/streams")) {
        out->type = "application/json";
        out->body = streams_page(e->process);
    } else if (is(target, "/api/v1/status")) {
        out->type = "application/json";
        out->body = streams_status_page(e->process);
    } else if (!pages_status(target, out)) {
        out->status = 404;
        return;
    }
    if (out->body == NULL)
        out->status = 503;
}

/* --- listeners --- */

static bool opened_as(struct loop *l, struct listen_socket *ls, enum front_profile profile)
{
    struct listener *ln;

    if (front_listen(l, ls->fd, profile, ls->scheme == CONF_HTTPS, &ln) != ST_OK)
        return false;
    ls->serving = ln;
    return true;
}

static bool edge_opened(struct loop *l, struct listen_socket *ls)
{
    return opened_as(l, ls, FRONT_EDGE);
}

static bool admin_opened(struct loop *l, struct listen_socket *ls)
{
    return opened_as(l, ls, FRONT_ADMIN);
}

static bool tier_opened(struct loop *l, struct listen_socket *ls)
{
    return opened_as(l, ls, FRONT_TIER);
}

static void closed(struct loop *l, struct listen_socket *ls)
{
    struct listener *ln = ls->serving;

    (void)l;
    listener_free(&ln);
    ls->serving = NULL;
}

const struct listen_user edge_user = { edge_opened, closed };
const struct listen_user tier_user = { tier_opened, closed };
const struct listen_user admin_user = { admin_opened, closed };
