/* One subscriber: records pulled off the log, as fast as his connection takes them. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/check.h"
#include "core/clock.h"
#include "core/conf.h"
#include "core/log.h"
#include "core/metric.h"
#include "core/record.h"
#include "edge/http_head.h"
#include "edge/raw.h"
#include "edge/target.h"
#include "origin/hub_int.h"

enum { SUB_MAGIC = 0x4b0b50b5 };
#define BEAT_US (1 * SEC_US)

/* One record on its way: of the log, or made for this subscriber. */
struct piece {
    struct own own;
    struct hub_record *record; /* NULL: the bytes are here */
    const uint8_t *p;
    size_t n;
    uint8_t bytes[];
};

static void free_piece(struct own *o)
{
    struct piece *p = CONTAINER_OF(o, struct piece, own);

    hub_record_unref(&p->record);
    free(p);
}

static void drop_piece(struct hub_sub *s)
{
    struct own *o = s->piece != NULL ? &s->piece->own : NULL;

    s->piece = NULL;
    s->off = 0;
    own_unref(&o);
}

/* Takes the reference, also when it fails. */
static enum st send_record(struct hub_sub *s, struct hub_record *r)
{
    struct piece *p = malloc(sizeof *p);

    if (p == NULL) {
        hub_record_unref(&r);
        return ST_ENOMEM;
    }
    *p = (struct piece){ .record = r, .p = r->bytes, .n = r->n };
    own_init(&p->own, free_piece);
    s->piece = p;
    return ST_OK;
}

static enum st send_text(struct hub_sub *s, enum record_type type, const char *json)
{
    struct piece *p = NULL;
    struct buf b;

    buf_init(&b, RECORD_FIXED + RECORD_JSON_MAX);
    record_put_text(&b, type, 0, s->seq, json, strlen(json), 0);
    if (b.st == ST_OK)
        p = malloc(sizeof *p + b.len);
    if (p != NULL) {
        *p = (struct piece){ .n = b.len };
        p->p = memcpy(p->bytes, b.data, b.len);
        own_init(&p->own, free_piece);
        s->piece = p;
    }
    buf_fini(&b);
    return p != NULL ? ST_OK : ST_ENOMEM;
}

/* --- what comes next --- */

static enum st send_beat(struct hub_sub *s)
{
    struct hub_channel *c = s->channel;
    char json[128];
    uint64_t epoch;
    bool live;

    (void)pthread_mutex_lock(&c->lock);
    epoch = c->epoch;
    live = c->live;
    (void)pthread_mutex_unlock(&c->lock);
    s->beat = false;
    (void)snprintf(json, sizeof json, "{\"now\":%lld,\"live\":%s,\"epoch\":%llu}",
                   (long long)clock_wall_us(), live ? "true" : "false", (unsigned long long)epoch);
    return send_text(s, RECORD_HEARTBEAT, json);
}

static void drop_docs(struct hub_sub *s)
{
    while (s->docs_sent < s->n_docs)
        hub_record_unref(&s->doc[s->docs_sent++]);
    s->n_docs = s->docs_sent = 0;
}

struct picture {
    uint64_t epoch;
    bool live;
    struct hub_rep rep[STREAM_REPS_MAX];
    unsigned n_reps;
};

/* What is the case, and the place in the log where it is so. */
static void look_locked(struct hub_sub *s, struct picture *p)
{
    const struct hub_channel *c = s->channel;

    p->epoch = c->epoch;
    p->live = c->live;
    p->n_reps = c->n_reps;
    memcpy(p->rep, c->rep, c->n_reps * sizeof c->rep[0]);
    s->docs_sent = 0; /* those of the last picture have all gone out */
    for (s->n_docs = 0; s->n_docs < c->n_docs; s->n_docs++)
        s->doc[s->n_docs] = hub_record_ref(c->doc[s->n_docs].record);
    s->seq = c->next - 1;
    s->say_end = c->ended;
}

static enum st send_snapshot(struct hub_sub *s, const struct picture *p)
{
    const struct hub_channel *c = s->channel;
    struct buf b;
    enum st st;

    buf_init(&b, RECORD_JSON_MAX);
    buf_printf(&b,
               "{\"logid\":\"%s\",\"session\":\"%s\",\"epoch\":%llu,\"live\":%s,"
               "\"segment\":%llu,\"now\":%lld,\"docs\":%u,\"reps\":{",
               c->logid, c->session, (unsigned long long)p->epoch, p->live ? "true" : "false",
               (unsigned long long)c->segment_us, (long long)clock_wall_us(), s->n_docs);
    for (unsigned i = 0; i < p->n_reps; i++)
        buf_printf(&b, "%s\"%s\":{\"first\":%llu,\"latest\":%llu,\"open\":%s}", i > 0 ? "," : "",
                   p->rep[i].name, (unsigned long long)p->rep[i].first,
                   (unsigned long long)p->rep[i].latest, p->rep[i].open ? "true" : "false");
    buf_puts(&b, "}}");
    st = b.st == ST_OK ? send_text(s, RECORD_SNAPSHOT, buf_text(&b)) : b.st;
    buf_fini(&b);
    return st;
}

/* The next record of the log, or where the log has gone on without him a picture. */
static enum st send_from_log(struct hub_sub *s)
{
    struct hub_channel *c = s->channel;
    struct hub_record *r = NULL;
    struct picture p;
    bool anew;

    (void)pthread_mutex_lock(&c->lock);
    anew = s->anew || s->seq + 1 < c->first;
    if (anew)
        look_locked(s, &p);
    else if (s->seq + 1 < c->next)
        r = hub_record_ref(c->ring[++s->seq % HUB_RING]);
    else
        s->over = c->closed;
    (void)pthread_mutex_unlock(&c->lock);
    s->anew = false;
    if (anew)
        return send_snapshot(s, &p);
    return r != NULL ? send_record(s, r) : ST_OK;
}

static enum st next_piece(struct hub_sub *s)
{
    enum st st = ST_OK;

    if (s->docs_sent < s->n_docs) {
        struct hub_record *r = s->doc[s->docs_sent];

        s->doc[s->docs_sent++] = NULL;
        return send_record(s, r);
    }
    if (s->say_end) {
        s->say_end = false;
        return send_text(s, RECORD_END, "{}");
    }
    if (!s->beat || s->anew) /* a HEARTBEAT that comes first says that the place was good */
        st = send_from_log(s);
    if (st == ST_OK && s->piece == NULL && s->beat)
        st = send_beat(s);
    return st;
}

static enum st avail(struct h2_body *b, size_t max, size_t *n, bool *last)
{
    struct hub_sub *s = CONTAINER_OF(b, struct hub_sub, body);

    if (s->piece != NULL && s->off == s->piece->n)
        drop_piece(s);
    if (s->piece == NULL && !s->over) {
        enum st st = next_piece(s);

        if (st != ST_OK)
            return st;
    }
    *n = 0;
    *last = s->piece == NULL && s->over;
    if (s->piece == NULL)
        return s->over ? ST_OK : ST_MORE;
    *n = s->piece->n - s->off < max ? s->piece->n - s->off : max;
    return ST_OK;
}

static int take(struct h2_body *b, size_t n, struct h2_slice *v, int max)
{
    struct hub_sub *s = CONTAINER_OF(b, struct hub_sub, body);

    (void)max;
    v[0] = (struct h2_slice){ s->piece->p + s->off, n, &s->piece->own };
    s->off += n;
    return 1;
}

/* --- life --- */

static void free_sub(struct grave *g)
{
    struct hub_sub *s = CONTAINER_OF(g, struct hub_sub, grave);

    (void)atomic_fetch_sub_explicit(&s->channel->hub->subscribers, 1, memory_order_relaxed);
    metric_sub(&s->loop->metrics->push_subscribers, 1);
    hub_channel_unref(&s->channel);
    OBJ_FINI(s, SUB_MAGIC);
    free(s);
}

static void deliver(struct loop *l, struct mail *m)
{
    struct hub_sub *s = CONTAINER_OF(m, struct hub_sub, mail);

    OBJ_CHECK(s, SUB_MAGIC);
    if (s->x == NULL) {
        loop_bury(l, &s->grave, free_sub);
        return;
    }
    (void)atomic_exchange_explicit(&s->armed, 0, memory_order_acq_rel); /* then look */
    SYNC_POINT("hub:disarmed");
    raw_resume(s->x);
}

static void beat(struct loop *l, struct timer *t)
{
    struct hub_sub *s = CONTAINER_OF(t, struct hub_sub, timer);

    timer_set(l, t, loop_now(l) + BEAT_US);
    s->beat = true;
    raw_resume(s->x);
}

static void on_data(void *ctx, const uint8_t *p, size_t n) { (void)ctx, (void)p, (void)n; }
static void on_end(void *ctx) { (void)ctx; }

static void on_gone(void *ctx)
{
    struct hub_sub *s = ctx;
    struct hub_channel *c = s->channel;

    OBJ_CHECK(s, SUB_MAGIC);
    timer_cancel(s->loop, &s->timer);
    drop_piece(s);
    drop_docs(s);
    (void)pthread_mutex_lock(&c->lock);
    *s->prevp = s->next;
    if (s->next != NULL)
        s->next->prevp = s->prevp;
    (void)pthread_mutex_unlock(&c->lock);
    SYNC_POINT("hub:unlisted");
    s->x = NULL;
    if (atomic_exchange_explicit(&s->armed, 1, memory_order_acq_rel) == 0)
        loop_bury(s->loop, &s->grave, free_sub);
    /* else its letter is on the way */
}

static const struct raw_ops ops = { .data = on_data, .end = on_end, .gone = on_gone };

/* since=LOGID.SEQ, of this log and not further than it. */
static bool since_is_good(const struct hub_channel *c, struct slice since, uint64_t *seq)
{
    size_t n = strlen(c->logid);

    return since.n > n + 1 && memcmp(since.p, c->logid, n) == 0 && since.p[n] == '.' &&
           slice_u64(slice_of(since.p + n + 1, since.n - n - 1), seq);
}

/* Takes the reference to c; NULL: no memory. */
static struct hub_sub *sub_new(struct loop *l, struct raw *x, struct hub_channel *c,
                               struct slice since)
{
    struct hub_sub *s = calloc(1, sizeof *s);
    uint64_t seq = 0;
    bool good = since.p != NULL && since_is_good(c, since, &seq);

    if (s == NULL) {
        hub_channel_unref(&c);
        return NULL;
    }
    OBJ_INIT(s, SUB_MAGIC);
    s->channel = c;
    s->loop = l;
    s->x = x;
    s->body = (struct h2_body){ .avail = avail, .take = take };
    s->mail.deliver = deliver;
    s->timer.fire = beat;
    atomic_init(&s->armed, 0);
    (void)atomic_fetch_add_explicit(&c->hub->subscribers, 1, memory_order_relaxed);
    metric_add(&l->metrics->push_subscribers, 1);
    (void)pthread_mutex_lock(&c->lock);
    s->anew = !good || seq + 1 < c->first || seq >= c->next;
    s->seq = s->anew ? 0 : seq;
    s->next = c->subs;
    s->prevp = &c->subs;
    if (s->next != NULL)
        s->next->prevp = &s->next;
    c->subs = s;
    (void)pthread_mutex_unlock(&c->lock);
    s->beat = !s->anew; /* it comes first: the place was good */
    timer_set(l, &s->timer, loop_now(l) + BEAT_US);
    return s;
}

static void refuse(struct raw *x, int status)
{
    (void)(raw_respond(x, status, NULL, 0, NULL) == ST_OK); /* or it is reset */
}

void hub_serve(struct hub *h, struct loop *l, struct raw *x, const struct http_head *head,
               const struct target *target, bool last)
{
    static const struct h2_nv nv[] = { H2_NV("content-type", "application/octet-stream"),
                                       H2_NV("cache-control", "no-store") };
    struct slice name =
        slice_of(target->path.p + strlen("/_sub/"), target->path.n - strlen("/_sub/"));
    struct slice since = { .p = NULL };
    struct hub_channel *c;
    struct hub_sub *s;

    if (head->method != HTTP_METHOD_GET || !last) {
        refuse(x, 405);
        return;
    }
    c = h != NULL ? hub_find(h, (const char *)name.p, name.n) : NULL;
    if (c == NULL) {
        refuse(x, 404);
        return;
    }
    if (hub_subscribers(h) >= l->conf->origin.limits.subscriptions) {
        metric_add(&l->metrics->limit_hits[METRIC_LIMIT_SUBSCRIPTIONS], 1);
        hub_channel_unref(&c);
        refuse(x, 503);
        return;
    }
    (void)target_param(target->query, "since", &since);
    s = sub_new(l, x, c, since);
    if (s == NULL) {
        refuse(x, 503);
        return;
    }
    raw_take(x, &ops, s);
    (void)(raw_respond(x, 200, nv, sizeof nv / sizeof nv[0], &s->body) == ST_OK);
}
