#include "origin/home.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/check.h"
#include "core/clock.h"
#include "edge/store.h"
#include "origin/home_int.h"

enum { DOOR_MAGIC = 0x50090a11, BURST_BYTES = 64 << 10, FLIGHT_MAX = 8 << 20 };

/* --- doors --- */

enum parcel_kind { PARCEL_ARRIVE, PARCEL_PAST, PARCEL_TAGS, PARCEL_LEAVE, PARCEL_END };

/* From a door to its home. Tags are an FLV stream without a header; before each stands what FLV
 * has no room for. */
struct parcel {
    struct mail mail;
    struct door *door; /* a reference */
    enum parcel_kind kind;
    size_t n;
    uint8_t *data; /* owned */
};

struct note {
    int64_t arrival_us;
    uint32_t n; /* of the tag that follows, head and tail included */
    bool discontinuity;
    uint64_t number;
};

struct door {
    int magic;
    atomic_int refs;
    struct home *home;
    struct loop *loop; /* the publisher's */
    struct loop *home_loop;
    char name[STREAM_NAME_MAX + 1];

    const struct door_ops *ops; /* publisher's loop; NULL: left */
    void *ctx;
    struct buf burst;

    struct session *session; /* home loop; NULL: not or no longer */
    uint64_t base, tags;     /* home loop: the session's number of our tag 0; how many have come */
    bool wants_acks, wants_past;
    bool left; /* home loop: the publisher has */
    struct door_claim claim;
    struct ticket ticket; /* brought along; the session's, once we are told that it is accepted */
    struct disk_job lookup;

    _Atomic uint64_t in_flight; /* bytes of tags on their way */
    atomic_int waits;           /* for that to become less */
    struct mail told;           /* from the home */
    atomic_int told_posted;
    atomic_int told_what;
    atomic_int told_why; /* 0, or the first why + 1 */
    /* each only rises, so any mix of old and new is true */
    _Atomic uint64_t ack_tag, ack_high;
    _Atomic int64_t ack_k;
    _Atomic(struct past *) past; /* whoever takes it out owns it */
};

enum { TOLD_ACCEPTED = 1, TOLD_ACK = 2, TOLD_ROOM = 4, TOLD_PAST = 8 };

struct past {
    size_t n;
    char text[];
};

const char *door_why_text(enum door_why why)
{
    static const char *const texts[] = {
#define X(n, text) [DOOR_##n] = text,
        DOOR_WHYS(X)
#undef X
    };

    return texts[why];
}

static struct door *door_ref(struct door *d)
{
    (void)atomic_fetch_add_explicit(&d->refs, 1, memory_order_relaxed);
    return d;
}

static void door_unref(struct door **dp)
{
    struct door *d = *dp;

    *dp = NULL;
    if (d == NULL || atomic_fetch_sub_explicit(&d->refs, 1, memory_order_acq_rel) > 1)
        return;
    OBJ_FINI(d, DOOR_MAGIC);
    free(atomic_load_explicit(&d->past, memory_order_relaxed));
    buf_fini(&d->burst);
    free(d);
}

/* --- home to door --- */

static void tell_past(struct door *d)
{
    struct past *p = atomic_exchange_explicit(&d->past, NULL, memory_order_acq_rel);

    if (d->ops != NULL && p != NULL)
        d->ops->past(d->ctx, p->text, p->n);
    free(p);
}

static void told(struct loop *l, struct mail *m)
{
    struct door *d = CONTAINER_OF(m, struct door, told);
    int what, why;

    (void)l;
    OBJ_CHECK(d, DOOR_MAGIC);
    (void)atomic_exchange_explicit(&d->told_posted, 0, memory_order_acq_rel);
    what = atomic_exchange_explicit(&d->told_what, 0, memory_order_acq_rel);
    why = atomic_exchange_explicit(&d->told_why, 0, memory_order_acq_rel);
    if (d->ops != NULL && (what & TOLD_ACCEPTED) != 0)
        d->ops->accepted(d->ctx, &d->ticket);
    if (d->ops != NULL && d->ops->acked != NULL && (what & TOLD_ACK) != 0)
        d->ops->acked(d->ctx, atomic_load_explicit(&d->ack_tag, memory_order_relaxed),
                      atomic_load_explicit(&d->ack_k, memory_order_relaxed),
                      atomic_load_explicit(&d->ack_high, memory_order_relaxed));
    if ((what & TOLD_PAST) != 0)
        tell_past(d);
    if (d->ops != NULL && d->ops->room != NULL && (what & TOLD_ROOM) != 0)
        d->ops->room(d->ctx);
    if (d->ops != NULL && why != 0)
        d->ops->closed(d->ctx, (enum door_why)(why - 1));
    door_unref(&d);
}

static void tell(struct door *d, int what)
{
    (void)atomic_fetch_or_explicit(&d->told_what, what, memory_order_acq_rel);
    if (atomic_exchange_explicit(&d->told_posted, 1, memory_order_acq_rel) != 0)
        return;
    d->told.deliver = told;
    mailbox_post(&door_ref(d)->loop->mailbox, &d->told);
}

static void tell_why(struct door *d, enum door_why why)
{
    int none = 0;

    /* the first reason is the one that counts */
    (void)atomic_compare_exchange_strong_explicit(&d->told_why, &none, (int)why + 1,
                                                  memory_order_acq_rel, memory_order_relaxed);
    tell(d, 0);
}

void door_ack(struct door *d, uint64_t needed, int64_t k, uint64_t high)
{
    int64_t ahead = (int64_t)(needed - d->base); /* a POP's numbers may be above the session's */
    uint64_t tag = ahead > 0 ? (uint64_t)ahead : 0;

    if (!d->wants_acks)
        return;
    if (tag <= atomic_load_explicit(&d->ack_tag, memory_order_relaxed) &&
        k <= atomic_load_explicit(&d->ack_k, memory_order_relaxed) &&
        high <= atomic_load_explicit(&d->ack_high, memory_order_relaxed))
        return;
    atomic_store_explicit(&d->ack_tag, tag, memory_order_relaxed);
    atomic_store_explicit(&d->ack_k, k, memory_order_relaxed);
    atomic_store_explicit(&d->ack_high, high, memory_order_relaxed);
    tell(d, TOLD_ACK);
}

void door_past(struct door *d, const char *text, size_t n)
{
    struct past *p = d->wants_past ? malloc(sizeof *p + n) : NULL;

    if (p == NULL)
        return;
    p->n = n;
    memcpy(p->text, text, n);
    free(atomic_exchange_explicit(&d->past, p, memory_order_acq_rel)); /* nobody has fetched it */
    tell(d, TOLD_PAST);
}

void door_close_by_home(struct door *d, enum door_why why)
{
    struct door *held = d;

    if (d->session == NULL)
        return;
    d->session->door = NULL;
    d->session = NULL;
    tell_why(d, why);
    door_unref(&held); /* the session's */
}

/* --- door to home --- */

struct session *home_find(const struct home_loop *hl, const char *name)
{
    for (struct session *s = hl->first; s != NULL; s = s->next)
        if (strcmp(s->name, name) == 0)
            return s;
    return NULL;
}

static void let_in(struct home_loop *hl, struct door *d, const struct known *known)
{
    enum door_why why;
    bool again;
    struct session *s = claim_session(hl, d->name, &d->claim, known, &why, &again);

    if (s == NULL) {
        tell_why(d, why);
        return;
    }
    if (s->door != NULL)
        door_close_by_home(s->door, DOOR_TAKEN); /* the newest wins */
    d->session = s;
    s->door = door_ref(d);
    d->base = spool_next(&s->spool) - (again ? s->relay_next : 0);
    session_arrive(s, again);
    session_ticket(s, &d->ticket);
    tell(d, TOLD_ACCEPTED);
}

static void looked_up(struct loop *l, struct mail *m)
{
    struct door *d = CONTAINER_OF(m, struct door, lookup.mail);
    struct home_loop *hl = home_loop_of(l);
    struct known known;
    bool found = known_answer(l, &d->lookup, &known);

    if (hl != NULL && !d->left)
        let_in(hl, d, found ? &known : NULL);
    door_unref(&d);
}

/* A stream that is not here may be one whose home was killed: the disk knows. */
static void arrive(struct home_loop *hl, struct door *d)
{
    if (home_find(hl, d->name) == NULL) {
        d->lookup.mail.deliver = looked_up;
        if (known_ask(hl->home, hl->loop, d->name, &d->lookup) == ST_OK) {
            (void)door_ref(d);
            return;
        }
    }
    let_in(hl, d, NULL);
}

static void tags(struct door *d, const struct parcel *p)
{
    struct session *s = d->session;
    struct rd r = rd_init(p->data, p->n);

    while (s != NULL && d->session == s && rd_left(&r) > 0) {
        struct note note;
        const uint8_t *at = rd_bytes(&r, sizeof note), *wire;

        CHECK(at != NULL); /* our own letter */
        memcpy(&note, at, sizeof note);
        wire = rd_bytes(&r, note.n);
        CHECK(wire != NULL && note.n >= FLV_TAG_HEAD_BYTES + FLV_TAG_TAIL_BYTES);
        struct flv_tag tag = { .type = (enum flv_type)wire[0],
                               .ts_ms = (uint32_t)wire[7] << 24 | (uint32_t)wire[4] << 16 |
                                        (uint32_t)wire[5] << 8 | wire[6],
                               .body = wire + FLV_TAG_HEAD_BYTES,
                               .n = note.n - FLV_TAG_HEAD_BYTES - FLV_TAG_TAIL_BYTES };
        /* moves when one is lost for want of memory */
        if (d->claim.publisher == 0)
            d->base = spool_next(&s->spool) - d->tags++;
        else if (note.number != 0 && note.number >= s->relay_next)
            d->base = spool_next(&s->spool) - note.number;
        session_tag(s, note.number, &tag, note.discontinuity, note.arrival_us);
    }
    if (s != NULL && d->session == s)
        session_more(s);
}

static void leave(struct door *d, bool ended)
{
    struct session *s = d->session;
    struct door *held = d;

    d->left = true;
    if (s == NULL)
        return;
    s->door = NULL;
    d->session = NULL;
    session_leave(s, ended);
    door_unref(&held); /* the session's */
}

static void deliver(struct loop *l, struct mail *m)
{
    struct parcel *p = CONTAINER_OF(m, struct parcel, mail);
    struct home_loop *hl = home_loop_of(l);
    struct door *d = p->door;

    OBJ_CHECK(d, DOOR_MAGIC);
    if (hl != NULL) {
        switch (p->kind) {
        case PARCEL_ARRIVE:
            arrive(hl, d);
            break;
        case PARCEL_PAST:
            if (d->session != NULL)
                session_past_bring(d->session, (const char *)p->data, p->n);
            break;
        case PARCEL_TAGS:
            tags(d, p);
            break;
        case PARCEL_LEAVE:
            leave(d, false);
            break;
        case PARCEL_END:
            leave(d, true);
            break;
        }
    }
    (void)atomic_fetch_sub_explicit(&d->in_flight, p->n, memory_order_seq_cst);
    if (door_may_read(d) && atomic_exchange_explicit(&d->waits, 0, memory_order_seq_cst) != 0)
        tell(d, TOLD_ROOM);
    door_unref(&d);
    free(p->data);
    free(p);
}

/* Takes the bytes of tags, if it can. */
static bool post_parcel(struct door *d, enum parcel_kind kind, struct buf *tags_of)
{
    struct parcel *p = calloc(1, sizeof *p);

    if (p == NULL)
        return false;
    p->mail.deliver = deliver;
    p->door = door_ref(d);
    p->kind = kind;
    if (tags_of != NULL)
        p->data = buf_take(tags_of, &p->n);
    (void)atomic_fetch_add_explicit(&d->in_flight, p->n, memory_order_relaxed);
    mailbox_post(&d->home_loop->mailbox, &p->mail);
    return true;
}

/* --- the publisher's side --- */

enum st door_open(struct home *h, struct loop *l, const char *name, const struct door_claim *claim,
                  const struct door_ops *ops, void *ctx, struct door **out)
{
    struct door *d = calloc(1, sizeof *d);

    CHECK(strlen(name) <= STREAM_NAME_MAX);
    if (d == NULL)
        return ST_ENOMEM;
    OBJ_INIT(d, DOOR_MAGIC);
    atomic_init(&d->refs, 1);
    d->home = h;
    d->loop = l;
    d->home_loop = h->loops[stream_home(h->cfg.store, name, strlen(name))];
    memcpy(d->name, name, strlen(name) + 1);
    d->ops = ops;
    d->ctx = ctx;
    d->wants_acks = ops->acked != NULL;
    d->wants_past = ops->past != NULL;
    if (claim != NULL)
        d->claim = *claim;
    if (d->claim.ticket != NULL) {
        CHECK(ticket_good(d->claim.ticket));
        d->ticket = *d->claim.ticket;
        d->claim.ticket = &d->ticket;
    }
    buf_init(&d->burst, FLIGHT_MAX * 2);
    if (!post_parcel(d, PARCEL_ARRIVE, NULL)) {
        door_unref(&d);
        return ST_ENOMEM;
    }
    *out = d;
    return ST_OK;
}

void door_bring_past(struct door *d, const char *text, size_t n)
{
    struct buf b;

    buf_init(&b, n);
    buf_add(&b, text, n);
    if (n > 0 && b.st == ST_OK && post_parcel(d, PARCEL_PAST, &b))
        return;
    buf_fini(&b); /* he goes on without it: players may have to begin again */
}

void door_flush(struct door *d)
{
    if (d->burst.len == 0)
        return;
    if (d->burst.st != ST_OK || !post_parcel(d, PARCEL_TAGS, &d->burst)) {
        /* tags are lost: whatever follows begins something new, and the viewers see a gap */
        tell_why(d, DOOR_LIMIT);
    }
    buf_recycle(&d->burst);
}

bool door_may_read(const struct door *d)
{
    return atomic_load_explicit(&d->in_flight, memory_order_acquire) < FLIGHT_MAX / 2;
}

bool door_wait(struct door *d)
{
    atomic_store_explicit(&d->waits, 1, memory_order_seq_cst);
    return atomic_load_explicit(&d->in_flight, memory_order_seq_cst) < FLIGHT_MAX / 2;
}

bool door_tag_numbered(struct door *d, uint64_t number, const struct flv_tag *tag,
                       bool discontinuity, int64_t arrival_us)
{
    struct note note;

    memset(&note, 0, sizeof note); /* its padding too travels */
    note.arrival_us = arrival_us;
    note.n = (uint32_t)(FLV_TAG_HEAD_BYTES + tag->n + FLV_TAG_TAIL_BYTES);
    note.discontinuity = discontinuity;
    note.number = number;
    if (d->burst.data == NULL)
        buf_expect(&d->burst, BUF_KEEP_BYTES);
    buf_add(&d->burst, &note, sizeof note);
    flv_put_tag(&d->burst, tag);
    if (d->burst.len >= BURST_BYTES)
        door_flush(d);
    return atomic_load_explicit(&d->in_flight, memory_order_acquire) < FLIGHT_MAX;
}

bool door_tag(struct door *d, const struct flv_tag *tag, bool discontinuity, int64_t arrival_us)
{
    return door_tag_numbered(d, 0, tag, discontinuity, arrival_us);
}

void door_leave(struct door **dp, bool ended)
{
    struct door *d = *dp;

    *dp = NULL;
    if (d == NULL)
        return;
    door_flush(d);
    d->ops = NULL;
    /* without memory for the letter the session will find out by the silence */
    (void)post_parcel(d, ended ? PARCEL_END : PARCEL_LEAVE, NULL);
    door_unref(&d);
}

/* --- the operator's side --- */

struct kick {
    struct mail mail;
    enum door_why why;
    bool end;
    char name[STREAM_NAME_MAX + 1];
};

static void kicked(struct loop *l, struct mail *m)
{
    struct kick *k = CONTAINER_OF(m, struct kick, mail);
    struct home_loop *hl = home_loop_of(l);
    struct session *s = hl != NULL ? home_find(hl, k->name) : NULL;

    if (s != NULL && s->phase == SESSION_LIVE) {
        bool there = s->door != NULL;

        if (k->end) {
            session_fail(s, k->why);
        } else if (there) {
            door_close_by_home(s->door, k->why);
            session_leave(s, false);
        }
    }
    free(k);
}

void home_kick(struct home *h, const char *name, enum door_why why, bool end)
{
    struct kick *k = calloc(1, sizeof *k);

    CHECK(strlen(name) <= STREAM_NAME_MAX);
    if (k == NULL)
        return; /* the next publish is refused all the same */
    k->mail.deliver = kicked;
    k->why = why;
    k->end = end;
    memcpy(k->name, name, strlen(name) + 1);
    mailbox_post(&h->loops[stream_home(h->cfg.store, name, strlen(name))]->mailbox, &k->mail);
}

enum st home_ban(struct home *h, const char *name, uint64_t until_us)
{
    uint64_t now_us = clock_mono_us();
    enum st st = ban_put(h->bans, name, now_us, until_us);

    if (st == ST_OK && until_us > now_us)
        home_kick(h, name, DOOR_BANNED, true);
    return st;
}

bool home_crashed(struct home *h, const char *name, uint64_t quarantine_us)
{
    if (!ban_crash(h->bans, name, clock_mono_us(), quarantine_us))
        return false;
    home_kick(h, name, DOOR_QUARANTINED, true);
    return true;
}

void home_list_bans(struct home *h, json_t *list) { ban_show(h->bans, clock_mono_us(), list); }

/* --- the process's and the loop's part --- */

struct home *home_new(const struct home_cfg *cfg, struct loop *const *loops, unsigned n_loops)
{
    struct home *h = calloc(1, sizeof *h);

    if (h == NULL)
        return NULL;
    h->load = calloc(cfg->n_workers + 1, sizeof *h->load);
    h->bans = ban_list_new();
    h->cfg = *cfg;
    h->cfg.state_dir = h->state_dir = strdup(cfg->state_dir);
    if (h->load == NULL || h->bans == NULL || h->state_dir == NULL) {
        home_free(&h);
        return NULL;
    }
    h->loops = loops;
    h->n_loops = n_loops;
    if ((h->hub = hub_new(loops, n_loops)) == NULL)
        home_free(&h);
    return h;
}

void home_free(struct home **hp)
{
    struct home *h = *hp;

    *hp = NULL;
    if (h == NULL)
        return;
    hub_free(&h->hub);
    ban_list_free(&h->bans);
    free(h->state_dir);
    free(h->load);
    free(h);
}

size_t home_sessions(const struct home *h)
{
    return atomic_load_explicit(&h->sessions, memory_order_relaxed);
}

struct hub *home_hub(const struct loop *l)
{
    const struct home_loop *hl = l->slot[LOOP_HOME];

    return hl != NULL ? hl->home->hub : NULL;
}

enum st home_loop_start(struct home *h, struct loop *l)
{
    struct home_loop *hl = calloc(1, sizeof *hl);

    if (hl == NULL)
        return ST_ENOMEM;
    hl->home = h;
    hl->loop = l;
    l->slot[LOOP_HOME] = hl;
    hl->links = calloc(h->cfg.n_workers + 1, sizeof *hl->links);
    hl->nodes = calloc(h->cfg.n_workers + 1, sizeof *hl->nodes);
    if (hl->links == NULL || hl->nodes == NULL)
        return ST_ENOMEM;
    if (l->index == 0)
        known_sweep_start(h, l);
    for (unsigned i = 0; i < h->cfg.n_workers; i++) {
        char name[32];

        (void)snprintf(name, sizeof name, "worker-%u", i);
        CHECK(rdv_node_init(&hl->nodes[i], name, 100) == ST_OK);
        struct exchange_peer peer = {
            .addr = h->cfg.workers[i], .n_addrs = 1, .authority = "worker", .prefix = "/_encode/"
        };
        if ((hl->links[i] = exchange_link_new(l, &peer)) == NULL)
            return ST_ENOMEM;
    }
    return ST_OK;
}

void home_loop_stop(struct loop *l)
{
    struct home_loop *hl = home_loop_of(l);

    while (hl->first != NULL)
        session_free_now(hl->first);
    for (unsigned i = 0; hl->links != NULL && i < hl->home->cfg.n_workers; i++)
        exchange_link_free(&hl->links[i]);
    if (l->index == 0)
        known_sweep_stop(hl->home, l);
    l->slot[LOOP_HOME] = NULL;           /* what still arrives finds nobody at home */
    CHECK(loop_turn_nowait(l) == ST_OK); /* the buried go */
    free(hl->links);
    free(hl->nodes);
    free(hl);
}
