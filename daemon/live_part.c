#include "daemon/live_part.h"

#include <openssl/sha.h>
#include <openssl/ssl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/check.h"
#include "core/clock.h"
#include "core/listen.h"
#include "core/log.h"
#include "core/tls.h"
#include "daemon/edge_part.h"
#include "daemon/keys.h"
#include "daemon/observe.h"
#include "daemon/process.h"
#include "daemon/workers.h"
#include "ingest/conn.h"
#include "ingest/dcs.h"
#include "ingest/uplink.h"
#include "origin/disk.h"
#include "origin/home.h"

/* What a reload brings to one loop. */
struct delivery {
    struct mail mail;
    struct tls_set *tls;
    struct auth_keys *keys;
    struct dcs *dcs;
};

struct live {
    struct disk *disk;
    struct home *home;
    struct ingest *ingest;
    struct uplinks *uplinks;
    const struct addr_sock *workers[WORKERS_MAX];
    struct delivery *deliveries[CONF_LOOPS_MAX]; /* between prepare and commit or abort */
};

/* --- the sink: one publisher ---
 *
 * His tags go through a door to the home in this process, or up to one elsewhere: what it is when he
 * arrives it stays, whatever a reload brings.
 * Tags of one turn of the loop travel together: the first one posts a letter to the publisher's own
 * loop, and its delivery sends the burst. */
struct publisher {
    struct ingest_conn *conn; /* NULL: gone */
    struct door *door;        /* one of the two */
    struct uplink *uplink;
    struct mail flush_mail;
    bool flush_posted;
    bool discontinuity;
    int64_t arrival_us;
};

static void put_publisher(struct publisher *p)
{
    if (p->conn == NULL && !p->flush_posted)
        free(p);
}

static void flush_delivered(struct loop *l, struct mail *m)
{
    struct publisher *p = CONTAINER_OF(m, struct publisher, flush_mail);

    (void)l;
    p->flush_posted = false;
    if (p->door != NULL)
        door_flush(p->door);
    if (p->uplink != NULL)
        uplink_flush(p->uplink);
    put_publisher(p);
}

static void on_accepted(void *ctx, const struct ticket *t)
{
    struct publisher *p = ctx;

    (void)t;
    ingest_accept(p->conn, 0);
}

static enum metric_ingest_close close_of(enum door_why why)
{
    switch (why) {
    case DOOR_TAKEN:
    case DOOR_FENCED:
        return METRIC_INGEST_CLOSE_REPLACED;
    case DOOR_EXPIRED:
        return METRIC_INGEST_CLOSE_AUTH;
    case DOOR_BUSY:
        return METRIC_INGEST_CLOSE_BUSY;
    case DOOR_KICKED:
    case DOOR_BANNED:
        return METRIC_INGEST_CLOSE_KICKED;
    case DOOR_QUARANTINED:
        return METRIC_INGEST_CLOSE_QUARANTINE;
    case DOOR_NO_WORKER:
    case DOOR_REFUSED:
    case DOOR_LIMIT:
    case DOOR_STOPPING:
        break;
    }
    return METRIC_INGEST_CLOSE_UNAVAILABLE;
}

static void on_closed(void *ctx, enum door_why why)
{
    struct publisher *p = ctx;

    ingest_end(p->conn, close_of(why), door_why_text(why));
}

static void on_relayed(void *ctx)
{
    struct publisher *p = ctx;

    ingest_accept(p->conn, 0);
}

static enum metric_ingest_close close_of_uplink(enum uplink_why why)
{
    switch (why) {
    case UPLINK_TAKEN:
    case UPLINK_FENCED:
        return METRIC_INGEST_CLOSE_REPLACED;
    case UPLINK_EXPIRED:
        return METRIC_INGEST_CLOSE_AUTH;
    case UPLINK_BUSY:
        return METRIC_INGEST_CLOSE_BUSY;
    case UPLINK_KICKED:
    case UPLINK_BANNED:
        return METRIC_INGEST_CLOSE_KICKED;
    case UPLINK_QUARANTINED:
        return METRIC_INGEST_CLOSE_QUARANTINE;
    case UPLINK_REFUSED:
    case UPLINK_NO_HOME:
    case UPLINK_STOPPING:
        break;
    }
    return METRIC_INGEST_CLOSE_UNAVAILABLE;
}

static void on_uplink_closed(void *ctx, enum uplink_why why)
{
    struct publisher *p = ctx;

    ingest_end(p->conn, close_of_uplink(why), uplink_why_text(why));
}

static const struct uplink_ops uplink_ops = { .accepted = on_relayed, .closed = on_uplink_closed };
static const struct door_ops door_ops = { .accepted = on_accepted, .closed = on_closed };

/* The home keeps a digest of what let somebody in, never the signature itself. */
static void sign_claim(struct door_claim *claim, const struct auth_target *t)
{
    uint8_t text[AUTH_KID_MAX + 1 + AUTH_SIG_BYTES] = { 0 }, sum[SHA256_DIGEST_LENGTH];

    if (!t->is_signed)
        return;
    memcpy(text, t->kid, strlen(t->kid));
    memcpy(text + AUTH_KID_MAX + 1, t->sig, AUTH_SIG_BYTES);
    (void)SHA256(text, sizeof text, sum);
    memcpy(claim->key, sum, sizeof claim->key);
    claim->has_key = true;
}

static enum st open_publisher(struct live *live, struct publisher *p, const char *name,
                              const struct door_claim *claim)
{
    struct loop *l = ingest_conn_loop(p->conn);
    struct uplink_key key = { .there = claim->has_key, .expired = claim->expired };

    if (!uplinks_ready(l))
        return door_open(live->home, l, name, claim, &door_ops, p, &p->door);
    memcpy(key.digest, claim->key, sizeof key.digest);
    return uplink_open(l, name, &key, &uplink_ops, p, &p->uplink);
}

static void on_publish(void *ctx, struct ingest_conn *c, const struct ingest_request *r)
{
    struct live *live = ctx;
    struct publisher *p;
    char name[2 * AUTH_NAME_MAX + 2];
    struct door_claim claim = { .expired = r->expired };

    if ((p = calloc(1, sizeof *p)) == NULL) {
        ingest_refuse(c, METRIC_INGEST_CLOSE_BUSY, "out of memory");
        return;
    }
    (void)snprintf(name, sizeof name, "%s/%s", r->target->app, r->target->stream);
    sign_claim(&claim, r->target);
    p->conn = c;
    p->flush_mail.deliver = flush_delivered;
    ingest_set_user(c, p);
    if (open_publisher(live, p, name, &claim) != ST_OK) {
        ingest_set_user(c, NULL);
        free(p);
        ingest_refuse(c, METRIC_INGEST_CLOSE_BUSY, "out of memory");
    }
}

static void leave(struct ingest_conn *c, bool ended)
{
    struct publisher *p = ingest_user(c);

    if (p == NULL)
        return;
    ingest_set_user(c, NULL);
    door_leave(&p->door, ended);
    uplink_leave(&p->uplink, ended);
    p->conn = NULL;
    put_publisher(p);
}

static void on_cancel(void *ctx, struct ingest_conn *c)
{
    (void)ctx;
    leave(c, false);
}

static void on_unpublish(void *ctx, struct ingest_conn *c, enum rtmp_how how)
{
    (void)ctx;
    leave(c, how == RTMP_ENDED);
}

static void on_mark(void *ctx, struct ingest_conn *c, const struct flv_mark *mark)
{
    struct publisher *p = ingest_user(c);

    (void)ctx;
    p->arrival_us = mark->arrival_us;
    p->discontinuity |= mark->discontinuity;
}

static void on_tag(void *ctx, struct ingest_conn *c, const struct flv_tag *tag,
                   const struct flv_media *media)
{
    struct publisher *p = ingest_user(c);
    struct loop *l = ingest_conn_loop(c);

    (void)ctx;
    /* The end of a sequence says nothing that the end of the broadcast does not say, and FFmpeg puts
     * it at a time that is a jump once its clock has wrapped: what is half done would be dropped. */
    if (tag->type == FLV_SCRIPT || media->packet == FLV_END)
        return;
    if (p->uplink != NULL ? uplink_tag(p->uplink, tag, p->discontinuity, clock_wall_us()) != ST_OK
                          : !door_tag(p->door, tag, p->discontinuity, clock_wall_us())) {
        ingest_end(c, METRIC_INGEST_CLOSE_BUSY, "the server cannot keep up");
        return;
    }
    p->discontinuity = false;
    if (p->flush_posted)
        return;
    p->flush_posted = true;
    mailbox_post(&l->mailbox, &p->flush_mail);
}

/* --- life --- */

static void fini(struct process *p, void **mine)
{
    struct live *live = *mine;

    (void)p;
    *mine = NULL;
    if (live == NULL)
        return;
    ingest_free(&live->ingest);
    uplinks_free(&live->uplinks);
    disk_free(&live->disk);
    home_free(&live->home);
    free(live);
}

static void on_hung(void *ctx, unsigned worker, uint64_t since_us)
{
    workers_hung(ctx, worker, since_us);
}

/* Before the loops' threads run: the workers' sockets are there by now. */
static enum st make(struct process *p, void **mine, const struct conf *conf)
{
    struct live *live = calloc(1, sizeof *live);
    struct ingest_sink sink = { .publish = on_publish,
                                .cancel = on_cancel,
                                .mark = on_mark,
                                .tag = on_tag,
                                .unpublish = on_unpublish,
                                .ctx = live };
    enum st st = ST_OK;

    if (live == NULL)
        return ST_ENOMEM;
    *mine = live;
    for (unsigned i = 0; i < workers_count(p); i++)
        live->workers[i] = workers_addr(p, i);
    struct home_cfg cfg = { .store = edge_store(p),
                            .disk = live->disk = disk_new(),
                            .state_dir = conf->state_dir,
                            .workers = live->workers,
                            .n_workers = workers_count(p),
                            .hung = on_hung,
                            .ctx = p };
    live->home = home_new(&cfg, p->loop, (unsigned)p->loops_n);
    live->ingest = ingest_new(&sink);
    live->uplinks = uplinks_new();
    if (live->disk == NULL || live->home == NULL || live->ingest == NULL || live->uplinks == NULL)
        st = ST_ENOMEM;
    for (int i = 0; i < p->loops_n && st == ST_OK; i++) {
        st = home_loop_start(live->home, p->loop[i]);
        if (st == ST_OK)
            st = uplinks_loop_start(live->uplinks, p->loop[i]);
        if (st == ST_OK)
            st = ingest_loop_start(live->ingest, p->loop[i]);
    }
    return st;
}

static void loop_stop_(struct process *p, void **mine, struct loop *l)
{
    struct live *live = *mine;

    if (l->slot[LOOP_INGEST] != NULL)
        ingest_loop_stop(l);
    if (l->slot[LOOP_UPLINK] != NULL)
        uplinks_loop_stop(l);
    if (l->slot[LOOP_HOME] != NULL)
        home_loop_stop(l);
    if (live != NULL && l->index + 1 == p->loops_n)
        disk_free(&live->disk); /* while its letters can still be delivered */
}

/* --- a new configuration --- */

static void drop_delivery(struct delivery *d)
{
    if (d == NULL)
        return;
    tls_set_unref(&d->tls);
    auth_keys_unref(&d->keys);
    dcs_unref(&d->dcs);
    free(d);
}

static void abort_(struct process *p, void **mine)
{
    struct live *live = *mine;

    for (int i = 0; live != NULL && i < p->loops_n; i++) {
        drop_delivery(live->deliveries[i]);
        live->deliveries[i] = NULL;
    }
}

static void delivered(struct loop *l, struct mail *m)
{
    struct delivery *d = CONTAINER_OF(m, struct delivery, mail);

    if (l->slot[LOOP_INGEST] != NULL) {
        ingest_set_tls(l, d->tls);
        ingest_set_keys(l, d->keys);
        uplinks_set_dcs(l, d->dcs);
        d->tls = NULL;
        d->keys = NULL;
        d->dcs = NULL;
    }
    drop_delivery(d);
}

static bool wants_tls(const struct conf *c)
{
    for (size_t i = 0; i < c->ingest.listen_n; i++)
        if (c->ingest.listen[i].scheme == CONF_RTMPS)
            return true;
    return false;
}

static enum st load_tls(const struct conf *c, struct tls_set **out, struct err *err)
{
    struct tls_cert_paths path = { NULL, c->tls.default_.cert, c->tls.default_.key };
    struct tls_tickets *tickets = NULL;

    *out = NULL;
    if (!wants_tls(c))
        return ST_OK;
    if (path.cert[0] == '\0')
        return err_set(err, ST_ECONF, "tls.default: an rtmps listener needs a certificate");
    /* broadcasters reconnect rarely: keys of this load alone will do */
    enum st st = tls_tickets_random(NULL, &tickets, err);
    if (st == ST_OK)
        st = tls_set_new(&path, 1, NULL, tickets, out, err);
    tls_tickets_unref(&tickets);
    return st;
}

/* Where publishers are relayed to; NULL: nowhere, their home is here. */
static enum st load_dcs(const struct conf *c, struct dcs **out, struct err *err)
{
    struct tls_tier_paths paths = edge_tier_paths(c);
    SSL_CTX *tier = NULL;
    enum st st = ST_OK;

    *out = NULL;
    if (c->ingest.relay_n > 0 && paths.ca != NULL)
        st = tls_client(&paths, &tier, err);
    if (st == ST_OK)
        st = dcs_build(c, tier, out, err);
    SSL_CTX_free(tier);
    return st;
}

static enum st check(const struct conf *c, struct err *err)
{
    struct tls_set *tls = NULL;
    struct auth_keys *keys = NULL;
    struct dcs *dcs = NULL;
    enum st st = load_tls(c, &tls, err);

    if (st == ST_OK)
        st = keys_load(KEYS_PUBLISH, c, &keys, err);
    if (st == ST_OK)
        st = load_dcs(c, &dcs, err);
    dcs_unref(&dcs);
    tls_set_unref(&tls);
    auth_keys_unref(&keys);
    return st;
}

static enum st prepare(struct process *p, void **mine, const struct conf *fresh, struct err *err)
{
    struct tls_set *tls = NULL;
    struct auth_keys *keys = NULL;
    struct dcs *dcs = NULL;
    enum st st = *mine == NULL ? make(p, mine, fresh) : ST_OK;
    struct live *live = *mine;

    if (st == ST_OK)
        st = load_tls(fresh, &tls, err);
    if (st == ST_OK)
        st = keys_load(KEYS_PUBLISH, fresh, &keys, err);
    if (st == ST_OK)
        st = load_dcs(fresh, &dcs, err);
    for (int i = 0; i < p->loops_n && st == ST_OK; i++) {
        struct delivery *d = calloc(1, sizeof *d);

        if ((live->deliveries[i] = d) == NULL) {
            st = ST_ENOMEM;
            break;
        }
        d->mail.deliver = delivered;
        d->tls = tls != NULL ? tls_set_ref(tls) : NULL;
        d->keys = auth_keys_ref(keys);
        d->dcs = dcs != NULL ? dcs_ref(dcs) : NULL;
    }
    dcs_unref(&dcs);
    tls_set_unref(&tls);
    auth_keys_unref(&keys);
    if (st != ST_OK)
        abort_(p, mine);
    return st == ST_ENOMEM ? err_set(err, st, "out of memory") : st;
}

static void commit(struct process *p, void **mine, const struct conf *fresh)
{
    struct live *live = *mine;

    (void)fresh;
    for (int i = 0; i < p->loops_n; i++) {
        struct delivery *d = live->deliveries[i];

        live->deliveries[i] = NULL;
        mailbox_post(&p->loop[i]->mailbox, &d->mail);
    }
}

struct home *live_home(const struct process *p)
{
    for (int i = 0; p->parts[i] != NULL; i++)
        if (p->parts[i] == &live_part && p->part[i] != NULL)
            return ((struct live *)p->part[i])->home;
    return NULL;
}

const struct part live_part = {
    .name = "live",
    .check = check,
    .prepare = prepare,
    .commit = commit,
    .abort = abort_,
    .loop_stop = loop_stop_,
    .fini = fini,
};

/* --- listeners --- */

static bool opened(struct loop *l, struct listen_socket *ls)
{
    struct listener *ln;

    if (ingest_listen(l, ls->fd, ls->scheme == CONF_RTMPS, &ln) != ST_OK)
        return false;
    ls->serving = ln;
    return true;
}

static void closed(struct loop *l, struct listen_socket *ls)
{
    struct listener *ln = ls->serving;

    (void)l;
    listener_free(&ln);
    ls->serving = NULL;
}

const struct listen_user rtmp_user = { opened, closed };
