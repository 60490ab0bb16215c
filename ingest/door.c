/* Who may come in, and where: the process's and the loop's part of ingest/conn.h. */
#include <stdlib.h>
#include <unistd.h>

#include "core/check.h"
#include "core/log.h"
#include "core/tls.h"
#include "ingest/conn_int.h"

enum { INGEST_MAGIC = 0x16e57a11, LOOP_MAGIC = 0x16e57a10 };

static struct ingest_loop *ingest_of(struct loop *l) { return l->slot[LOOP_INGEST]; }

/* --- the process's part --- */

struct ingest *ingest_new(const struct ingest_sink *sink)
{
    struct ingest *in = calloc(1, sizeof *in);

    if (in == NULL)
        return NULL;
    OBJ_INIT(in, INGEST_MAGIC);
    in->sink = *sink;
    in->per_address = addr_count_new();
    if (in->per_address == NULL)
        ingest_free(&in);
    return in;
}

void ingest_free(struct ingest **ip)
{
    struct ingest *in = *ip;

    *ip = NULL;
    if (in == NULL)
        return;
    OBJ_FINI(in, INGEST_MAGIC);
    addr_count_free(&in->per_address);
    free(in);
}

/* --- listening --- */

static bool is_exempt(const struct conf_ingest_limits *lim, const struct addr *a)
{
    for (size_t i = 0; i < lim->exempt_n; i++)
        if (addr_net_has(&lim->exempt[i].net, a))
            return true;
    return false;
}

static bool turn_away(struct ingest_loop *f, const struct addr *peer, enum metric_limit limit)
{
    char text[ADDR_TEXT_MAX];
    const struct log_ctx *from = LOG_CTX_TEXT(NULL, "peer", addr_text(peer, text));

    metric_add(&f->loop->metrics->limit_hits[limit], 1);
    if (limit == METRIC_LIMIT_INGEST_UNPUBLISHED)
        log_note(f->loop->log, from, "ingest",
                 "turned away: too many connections that do not publish");
    else
        log_note(f->loop->log, from, "ingest", "turned away: too many connections of one address");
    return false;
}

static bool admit(struct ingest_loop *f, const struct addr *peer, bool *counted_address)
{
    const struct conf_ingest_limits *lim = &f->loop->conf->ingest.limits;

    *counted_address = false;
    if (atomic_load_explicit(&f->ingest->unpublished, memory_order_relaxed) >= lim->unpublished)
        return turn_away(f, peer, METRIC_LIMIT_INGEST_UNPUBLISHED);
    if (lim->per_address == 0 || is_exempt(lim, peer))
        return true;
    if (!addr_count_take(f->ingest->per_address, peer, lim->per_address))
        return turn_away(f, peer, METRIC_LIMIT_INGEST_PER_ADDRESS);
    return *counted_address = true;
}

static void on_accept(struct listener *ln, int fd, const struct sockaddr_storage *peer)
{
    struct ingest_loop *f = ln->owner;
    struct addr who = addr_of((const struct sockaddr *)peer);
    SSL_CTX *ctx = ln->tls && f->tls != NULL ? tls_set_ctx(f->tls) : NULL;
    struct ingest_conn *c = NULL;
    bool counted_address;

    if (!admit(f, &who, &counted_address)) {
        (void)close(fd);
        return;
    }
    if (!ln->tls || ctx != NULL)
        c = ingest_conn_new(f, &who);
    if (c == NULL)
        (void)close(fd);
    if (c == NULL || ingest_conn_open(c, fd, ctx) != ST_OK) {
        if (counted_address)
            addr_count_return(f->ingest->per_address, &who);
        ingest_conn_drop(&c);
        return;
    }
    c->counted_address = counted_address;
    ingest_conn_begin(c);
}

enum st ingest_listen(struct loop *l, int fd, bool tls, struct listener **out)
{
    struct ingest_loop *f = ingest_of(l);
    struct listener_cfg cfg = { .fd = fd, .on_accept = on_accept, .owner = f, .tls = tls };

    OBJ_CHECK(f, LOOP_MAGIC);
    return listener_new(&f->listeners, l, &cfg, out);
}

/* --- the loop's part --- */

enum st ingest_loop_start(struct ingest *in, struct loop *l)
{
    struct ingest_loop *f = calloc(1, sizeof *f);

    OBJ_CHECK(in, INGEST_MAGIC);
    if (f == NULL)
        return ST_ENOMEM;
    OBJ_INIT(f, LOOP_MAGIC);
    f->ingest = in;
    f->loop = l;
    f->sweep.fire = ingest_sweep;
    l->slot[LOOP_INGEST] = f;
    return ST_OK;
}

void ingest_loop_stop(struct loop *l)
{
    struct ingest_loop *f = ingest_of(l);

    OBJ_CHECK(f, LOOP_MAGIC);
    while (f->listeners != NULL) {
        struct listener *ln = f->listeners;

        listener_free(&ln);
    }
    while (f->conns != NULL)
        ingest_conn_close(f->conns, METRIC_INGEST_CLOSE_SHUTDOWN);
    timer_cancel(l, &f->sweep);
    CHECK(loop_turn_nowait(l) == ST_OK); /* frees what was buried */
    tls_set_unref(&f->tls);
    auth_keys_unref(&f->keys);
    OBJ_FINI(f, LOOP_MAGIC);
    free(f);
    l->slot[LOOP_INGEST] = NULL;
}

void ingest_set_tls(struct loop *l, struct tls_set *set)
{
    tls_set_unref(&ingest_of(l)->tls);
    ingest_of(l)->tls = set;
}

void ingest_set_keys(struct loop *l, struct auth_keys *keys)
{
    auth_keys_unref(&ingest_of(l)->keys);
    ingest_of(l)->keys = keys;
}
