/* One publisher at a POP.
 *
 *   open --> ASKING --200--> UP          tags -> spool -> exchange; ACKs trim the spool
 *              ^  |           |
 *              |  +-----------+--> no answer, a refusal, a lost link, a DC that winds up
 *              |                          |
 *              +------ WAITING <----------+   at once for each data centre, then with a back-off
 *                         |
 *                         v   no home for reconnect_window, or a home said that he is to go
 *                       OVER
 *
 * Tags are numbered from 1. All that was not acknowledged goes to whatever home comes next, and
 * some more before it, back to a key frame; a home that has had some of it drops what it knows. */
#include "ingest/uplink.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "core/check.h"
#include "core/clock.h"
#include "core/conf.h"
#include "core/log.h"
#include "core/metric.h"
#include "ingest/uplink_int.h"

enum { MARK_EVERY_MS = 1000 };
#define SILENCE_US (4 * SEC_US)
#define ACCEPT_US (2 * SEC_US)
#define REST_US (8 * SEC_US) /* for what is left when the publisher is gone */
#define LOOK_US (100 * MS_US)
#define STEADY_US (5 * SEC_US)
#define RETRY_FIRST_US (100 * MS_US)
#define RETRY_MAX_US (5 * SEC_US)

static void attempt(struct uplink *u);

static struct loop *loop_of(const struct uplink *u) { return u->f->loop; }
static struct metrics *metrics_of(const struct uplink *u) { return loop_of(u)->metrics; }
static uint64_t now_us(const struct uplink *u) { return loop_now(loop_of(u)); }

const char *uplink_why_text(enum uplink_why why)
{
    static const char *const texts[] = {
#define X(n, word, text) [UPLINK_##n] = text,
        UPLINK_WHYS(X)
#undef X
    };

    return texts[why];
}

/* --- data centres --- */

static bool go_to(struct uplink *u, const char *url)
{
    for (unsigned i = 0; i < u->links->n; i++)
        if (strcmp(dcs_get(u->links->dcs, (unsigned)u->order[i])->url, url) == 0) {
            u->at = i;
            return true;
        }
    return false;
}

/* A new configuration's data centres count from the next attempt on; where he is he stays, if it is
 * among them. */
static void take_links(struct uplink *u)
{
    struct links *old = u->links;
    const char *at = old != NULL ? uplink_dc(u)->url : NULL;

    if (old == u->f->links || u->f->links == NULL)
        return;
    const char *home = u->last_home >= 0 ? dcs_get(old->dcs, (unsigned)u->last_home)->url : NULL;
    u->links = links_ref(u->f->links);
    dcs_rank(u->links->dcs, u->name, u->order);
    u->last_home = -1;
    u->at = 0;
    if (home != NULL && go_to(u, home))
        u->last_home = u->order[u->at];
    if (at != NULL && !go_to(u, at))
        u->at = 0;
    links_unref(&old);
}

/* --- the end of it --- */

static void count_spool(struct uplink *u)
{
    metric_add(&metrics_of(u)->ingest_spool_bytes, u->spool.bytes - u->counted); /* may wrap */
    metric_add(&metrics_of(u)->ingest_spool_lost, u->spool.lost - u->lost);
    u->counted = u->spool.bytes;
    u->lost = u->spool.lost;
}

static void free_uplink(struct grave *g)
{
    struct uplink *u = CONTAINER_OF(g, struct uplink, grave);

    spool_body_fini(&u->body);
    buf_fini(&u->past);
    buf_fini(&u->coming);
    links_unref(&u->links);
    OBJ_FINI(u, UPLINK_MAGIC);
    free(u);
}

static void bury(struct uplink *u)
{
    u->phase = UPLINK_OVER;
    exchange_cancel(&u->x);
    timer_cancel(loop_of(u), &u->timer);
    *u->prevp = u->next;
    if (u->next != NULL)
        u->next->prevp = u->prevp;
    metric_sub(&metrics_of(u)->ingest_spool_bytes, u->counted);
    spool_fini(&u->spool);
    loop_bury(loop_of(u), &u->grave, free_uplink);
}

static void over(struct uplink *u, enum uplink_why why)
{
    struct log_ctx stream = { NULL, "stream", u->name, 0 };

    if (u->phase == UPLINK_OVER)
        return;
    u->phase = UPLINK_OVER;
    exchange_cancel(&u->x);
    timer_cancel(loop_of(u), &u->timer);
    if (u->ops == NULL) {
        bury(u);
        return;
    }
    log_warn(loop_of(u)->log, &stream, "uplink", "the publisher is let go: %s",
             uplink_why_text(why));
    u->ops->closed(u->ctx, why); /* uplink_leave() follows, perhaps from in there */
}

static void tell_accepted(struct uplink *u)
{
    if (u->told || u->ops == NULL)
        return;
    u->told = true;
    u->ops->accepted(u->ctx);
}

static void remember(struct uplink *u, uint64_t until_us)
{
    struct recall_entry e = { .ticket = u->ticket };

    if (!u->has_ticket || u->last_home < 0)
        return;
    (void)snprintf(e.url, sizeof e.url, "%s", dcs_get(u->links->dcs, (unsigned)u->last_home)->url);
    recall_put(u->f->all->recall, u->name, &e, now_us(u), until_us);
}

/* --- time --- */

static uint64_t window_us(const struct uplink *u)
{
    uint64_t window = loop_of(u)->conf->ingest.reconnect_window_us;

    return window > ACCEPT_US ? window : ACCEPT_US;
}

static void sooner(uint64_t *at, uint64_t t) { *at = t < *at ? t : *at; }

static void arm(struct uplink *u)
{
    uint64_t at = UINT64_MAX;

    if (u->phase == UPLINK_OVER)
        return;
    if (u->phase == UPLINK_WAITING)
        sooner(&at, u->retry_us);
    else
        sooner(&at, u->heard_us + SILENCE_US);
    if (!u->told && u->ops != NULL && !u->key.expired)
        sooner(&at, u->accept_us);
    if (u->homeless_us != 0)
        sooner(&at, u->homeless_us + window_us(u));
    if (u->ops == NULL)
        sooner(&at, now_us(u) + LOOK_US);
    timer_set(loop_of(u), &u->timer, at);
}

/* This attempt has come to nothing. */
static void failed(struct uplink *u, enum metric_uplink_failure what, const char *why, bool again)
{
    struct log_ctx stream = { NULL, "stream", u->name, 0 };
    struct log_ctx dc = { &stream, "dc", uplink_dc(u)->url, 0 };
    struct log_ctx reason = { &dc, "reason", why, 0 };
    uint64_t wait_us = 0;
    unsigned round;

    metric_add(&metrics_of(u)->ingest_uplink_failures[what], 1);
    if (u->phase == UPLINK_UP && now_us(u) - u->up_us > STEADY_US)
        u->tries = 0;
    log_warn(loop_of(u)->log, &reason, "uplink", "%s",
             u->phase == UPLINK_UP ? "the stream has lost its home" : "no home there");
    (void)snprintf(u->why, sizeof u->why, "%s: %s", uplink_dc(u)->url, why);
    u->times_lost += u->phase == UPLINK_UP;
    u->phase = UPLINK_WAITING;
    if (u->homeless_us == 0)
        u->homeless_us = now_us(u);
    round = u->tries++ / u->links->n;
    if (!again)
        u->at = (u->at + 1) % u->links->n;
    if (round > 0)
        wait_us = round > 6 ? RETRY_MAX_US : RETRY_FIRST_US << (round - 1);
    u->retry_us = now_us(u) + wait_us;
    arm(u);
}

static void on_timer(struct loop *l, struct timer *t)
{
    struct uplink *u = CONTAINER_OF(t, struct uplink, timer);
    uint64_t now = loop_now(l);

    OBJ_CHECK(u, UPLINK_MAGIC);
    if (u->ops == NULL) {
        bool sent = u->phase == UPLINK_UP && !u->ended && spool_body_sent(&u->body);

        if (sent || now - u->left_us >= REST_US) {
            bury(u);
            return;
        }
    }
    if (u->homeless_us != 0 && now - u->homeless_us >= window_us(u)) {
        metric_add(&metrics_of(u)->ingest_reconnects[METRIC_RECONNECT_GAVE_UP], 1);
        over(u, UPLINK_NO_HOME);
        return;
    }
    if (u->phase == UPLINK_WAITING && now >= u->retry_us) {
        attempt(u);
    } else if (u->phase != UPLINK_WAITING && now - u->heard_us >= SILENCE_US) {
        exchange_give_up(&u->x);
        failed(u, METRIC_UPLINK_FAILURE_SILENT, "it does not answer", false);
    } else if (now >= u->accept_us && !u->key.expired) {
        tell_accepted(u); /* what comes until there is a home waits in the spool */
    }
    arm(u);
}

/* --- what the home says --- */

static void on_header(struct exchange *x, const char *name, size_t name_len, const char *value,
                      size_t value_len)
{
    struct uplink *u = CONTAINER_OF(x, struct uplink, x);

    if (ticket_set(&u->fresh, name, name_len, value, value_len) == ST_EPROTO)
        u->fresh_bad = true;
    if (name_len == 11 && memcmp(name, "freshet-why", 11) == 0 && value_len < sizeof u->said)
        (void)snprintf(u->said, sizeof u->said, "%.*s", (int)value_len, value);
    if (name_len == 12 && memcmp(name, "freshet-home", 12) == 0 && value_len < sizeof u->elsewhere)
        (void)snprintf(u->elsewhere, sizeof u->elsewhere, "%.*s", (int)value_len, value);
}

static void on_head(struct exchange *x)
{
    struct uplink *u = CONTAINER_OF(x, struct uplink, x);
    struct log_ctx stream = { NULL, "stream", u->name, 0 };
    struct log_ctx session = { &stream, "session", u->fresh.session, 0 };
    struct log_ctx dc = { &session, "dc", uplink_dc(u)->url, 0 };
    int home = u->order[u->at];

    u->heard_us = now_us(u);
    if (x->status != 200 || (u->ops == NULL && u->ended))
        return;
    if (u->fresh_bad || !ticket_good(&u->fresh)) {
        exchange_cancel(x);
        failed(u, METRIC_UPLINK_FAILURE_PROTOCOL, "its ticket is not good", false);
        return;
    }
    if (u->claimed)
        metric_add(&metrics_of(u)->ingest_reconnects[home == u->last_home ? METRIC_RECONNECT_RESUMED
                                                                          : METRIC_RECONNECT_MOVED],
                   1);
    u->times_moved += u->claimed && home != u->last_home;
    log_note(loop_of(u)->log, &dc, "uplink", "the stream has a home");
    u->ticket = u->fresh;
    u->has_ticket = u->claimed = true;
    u->key.expired = false; /* he is in */
    u->last_home = home;
    u->phase = UPLINK_UP;
    u->up_us = now_us(u);
    u->homeless_us = 0;
    remember(u, UINT64_MAX);
    tell_accepted(u);
    arm(u);
}

/* Back to the last key frame that a new home could begin with. */
static uint64_t needed(const struct uplink *u, uint64_t tag)
{
    uint64_t best = 0;

    if (u->spool.header[SPOOL_VIDEO_HEADER] == NULL)
        return tag;
    for (unsigned i = 0; i < UPLINK_GOPS && i < u->gops; i++)
        if (u->gop[i] <= tag && u->gop[i] > best)
            best = u->gop[i];
    return best;
}

static void on_ack(struct uplink *u, const json_t *j)
{
    json_int_t tag, k, high;

    if (json_unpack((json_t *)(uintptr_t)j, "{s:I, s:I, s:I}", "tag", &tag, "k", &k, "high",
                    &high) != 0 ||
        tag < 0 || (uint64_t)tag > spool_next(&u->spool) || k < 0 || k > TICKET_K_MAX || high < 0 ||
        (uint64_t)high > TICKET_HIGH_MAX)
        return;
    if (k > u->ticket.k || (uint64_t)high > u->ticket.high) {
        u->ticket.k = k > u->ticket.k ? k : u->ticket.k;
        u->ticket.high = (uint64_t)high > u->ticket.high ? (uint64_t)high : u->ticket.high;
        remember(u, UINT64_MAX);
    }
    spool_release(&u->spool, needed(u, (uint64_t)tag));
    count_spool(u);
}

/* The next home is given the newest that has come whole. */
static void on_past(struct uplink *u, const struct record_event *ev)
{
    struct buf whole;

    if (ev->what == RECORD_GOT_HEAD) {
        buf_reset(&u->coming);
    } else if (ev->what == RECORD_GOT_BYTES) {
        buf_add(&u->coming, ev->bytes, ev->n);
    } else if (u->coming.st == ST_OK) {
        whole = u->coming;
        u->coming = u->past;
        u->past = whole;
    }
}

static void on_record(struct exchange *x, const struct record_event *ev)
{
    struct uplink *u = CONTAINER_OF(x, struct uplink, x);
    const char *why;

    u->heard_us = now_us(u);
    if (ev->head.type == RECORD_PAST)
        on_past(u, ev);
    if (ev->what != RECORD_GOT_HEAD)
        return;
    if (ev->head.type == RECORD_ACK)
        on_ack(u, ev->json);
    why = ev->head.type == RECORD_END ? json_string_value(json_object_get(ev->json, "why")) : NULL;
    if (why != NULL)
        (void)snprintf(u->said, sizeof u->said, "%s", why);
}

/* The home has given a reason: in its answer, or as its last word. What is not in the list is about
 * the home, and not about the publisher. */
static void let_go(struct uplink *u)
{
    static const char *const words[] = {
#define X(n, word, text) [UPLINK_##n] = word,
        UPLINK_WHYS(X)
#undef X
    };

    if (strcmp(u->said, words[UPLINK_FENCED]) == 0 && !u->claimed && u->has_ticket) {
        u->has_ticket = false; /* of the publisher before; this one is newer than anybody */
        failed(u, METRIC_UPLINK_FAILURE_FENCED, "what we remember of the stream is old", true);
        return;
    }
    for (size_t i = 0; i < sizeof words / sizeof words[0]; i++)
        if (strcmp(u->said, words[i]) == 0) {
            over(u, (enum uplink_why)i);
            return;
        }
    failed(u, METRIC_UPLINK_FAILURE_FULL, u->said, false);
}

static void on_ended(struct exchange *x, enum exchange_end why)
{
    struct uplink *u = CONTAINER_OF(x, struct uplink, x);
    const char *text = exchange_link_why(u->links->link[u->order[u->at]]);
    bool was_up = u->phase == UPLINK_UP;
    char status[32];

    if (u->phase == UPLINK_OVER)
        return;
    if (u->ops == NULL && u->ended && why == EXCHANGE_DONE) {
        bury(u);
    } else if (u->said[0] != '\0') {
        let_go(u);
    } else if (x->status == 421 && u->elsewhere[0] != '\0' && go_to(u, u->elsewhere)) {
        failed(u, METRIC_UPLINK_FAILURE_ELSEWHERE, "it knows a better home", true);
    } else if (x->status != 0 && x->status != 200) {
        (void)snprintf(status, sizeof status, "its answer is %d", x->status);
        failed(u, METRIC_UPLINK_FAILURE_REFUSED, status, false);
    } else { /* the link may just have blinked */
        failed(u,
               why == EXCHANGE_BROKEN ? METRIC_UPLINK_FAILURE_PROTOCOL : METRIC_UPLINK_FAILURE_LOST,
               text[0] != '\0' ? text : exchange_end_text(why), was_up);
    }
}

/* It winds up: better to go while it can still say goodbye than to be cut off. */
static void on_leaving(struct exchange *x)
{
    struct uplink *u = CONTAINER_OF(x, struct uplink, x);

    if (u->links->n < 2 || (u->ops == NULL && u->ended))
        return;
    exchange_cancel(x);
    failed(u, METRIC_UPLINK_FAILURE_DRAINING, "it winds up", false);
}

static const struct exchange_ops exchange_ops = { .record = on_record,
                                                  .ended = on_ended,
                                                  .header = on_header,
                                                  .head = on_head,
                                                  .leaving = on_leaving };

/* --- an attempt --- */

/* The mark for the first tag: where it stands, and when it came, as far as is known. */
static struct flv_mark first_mark(const struct uplink *u, const struct spool_tag *first)
{
    struct flv_mark m = { .base_ms = u->now_ms, .arrival_us = u->last_us };

    if (!u->any)
        m.arrival_us = clock_wall_us();
    if (first != NULL) {
        m.base_ms = flv_unwrap(u->now_ms, first->ts_ms);
        m.arrival_us -= (u->now_ms - m.base_ms) * (int64_t)MS_US;
    }
    return m;
}

enum { CLAIM_TEXT = 16 + 1 + 2 * UPLINK_KEY_BYTES + 8 + 1 };

/* "PUBLISHER[.KEY[.expired]]" */
static void put_claim(const struct uplink *u, char text[CLAIM_TEXT])
{
    int n = snprintf(text, CLAIM_TEXT, "%016llx%s", (unsigned long long)u->claim,
                     u->key.there ? "." : "");

    for (int i = 0; u->key.there && i < UPLINK_KEY_BYTES; i++)
        n += snprintf(text + n, (size_t)(CLAIM_TEXT - n), "%02x", u->key.digest[i]);
    if (u->key.there && u->key.expired)
        (void)snprintf(text + n, (size_t)(CLAIM_TEXT - n), ".expired");
}

static enum st begin_body(struct uplink *u, uint64_t from, const struct flv_mark *mark)
{
    struct buf own;
    enum st st;

    buf_init(&own, 2 * FLV_PAST_MAX);
    if (u->has_ticket && u->past.len > 0)
        flv_put_past(&own, u->past.data, u->past.len);
    st = own.st == ST_OK ? spool_body_begin(&u->body, &u->spool, from, mark, &own) : own.st;
    buf_fini(&own);
    return st;
}

static void attempt(struct uplink *u)
{
    struct h2_nv nv[TICKET_FIELDS + 2];
    char claim[CLAIM_TEXT], behind[24];
    struct ticket_text text;
    size_t n = 0;

    take_links(u);
    uint64_t from = spool_oldest(&u->spool);
    const struct spool_tag *first = spool_find(&u->spool, from);
    struct flv_mark mark = first_mark(u, first);
    int64_t behind_us = first != NULL ? clock_wall_us() - mark.arrival_us : 0;
    enum st st = begin_body(u, from, &mark);

    u->body.last = u->ended;
    u->said[0] = u->elsewhere[0] = '\0';
    memset(&u->fresh, 0, sizeof u->fresh);
    u->fresh_bad = false;
    put_claim(u, claim);
    (void)snprintf(behind, sizeof behind, "%lld",
                   (long long)(behind_us > 0 ? behind_us / (int64_t)MS_US : 0));
    nv[n++] = (struct h2_nv){ "freshet-claim", claim, 13, (uint32_t)strlen(claim), true };
    nv[n++] = (struct h2_nv){ "freshet-behind", behind, 14, (uint32_t)strlen(behind), true };
    if (u->has_ticket) {
        ticket_put(&u->ticket, &text, nv + n);
        n += TICKET_FIELDS;
    }
    u->phase = UPLINK_ASKING;
    u->heard_us = now_us(u);
    u->x.ops = &exchange_ops;
    u->x.body = &u->body.h2;
    if (st == ST_OK)
        st = exchange_start(&u->x, u->links->link[u->order[u->at]], u->name, nv, n);
    if (st == ST_OK) {
        arm(u);
        return;
    }
    const char *why = exchange_link_why(u->links->link[u->order[u->at]]);
    failed(u, METRIC_UPLINK_FAILURE_LOST, why[0] != '\0' ? why : st_name(st), false);
}

/* --- the publisher's side --- */

enum st uplink_open(struct loop *l, const char *name, const struct uplink_key *key,
                    const struct uplink_ops *ops, void *ctx, struct uplink **out)
{
    struct uplink_loop *f = l->slot[LOOP_UPLINK];
    struct spool_limits lim = { .bytes = l->conf->ingest.limits.spool_bytes,
                                .needed_ms = (uint32_t)(l->conf->ingest.spool_us / MS_US) };
    struct uplink *u = calloc(1, sizeof *u);
    struct recall_entry e;

    CHECK(strlen(name) <= UPLINK_NAME_MAX && f->links != NULL);
    if (u == NULL)
        return ST_ENOMEM;
    OBJ_INIT(u, UPLINK_MAGIC);
    u->f = f;
    u->last_home = -1;
    memcpy(u->name, name, strlen(name) + 1);
    u->ops = ops;
    u->ctx = ctx;
    u->key = *key;
    spool_init(&u->spool, &lim);
    buf_init(&u->past, FLV_PAST_MAX);
    buf_init(&u->coming, FLV_PAST_MAX);
    while (u->claim == 0)
        if (getrandom(&u->claim, sizeof u->claim, 0) != (ssize_t)sizeof u->claim)
            u->claim = (uint64_t)clock_wall_us() ^ (uint64_t)(uintptr_t)u;
    u->timer.fire = on_timer;
    u->accept_us = loop_now(l) + ACCEPT_US;
    u->begun_us = u->homeless_us = loop_now(l);
    u->prevp = &f->first;
    u->next = f->first;
    if (u->next != NULL)
        u->next->prevp = &u->next;
    f->first = u;
    take_links(u);
    if (recall_get(f->all->recall, name, loop_now(l), &e)) {
        u->has_ticket = true;
        u->ticket = e.ticket;
        (void)go_to(u, e.url);
    }
    attempt(u);
    *out = u;
    return ST_OK;
}

enum st uplink_tag(struct uplink *u, const struct flv_tag *tag, bool discontinuity,
                   int64_t arrival_us)
{
    struct flv_media media = { .packet = FLV_OTHER };
    int64_t ms = u->any ? flv_unwrap(u->now_ms, tag->ts_ms) : tag->ts_ms;
    bool due = !u->any || discontinuity || ms - u->marked_ms >= MARK_EVERY_MS;
    struct flv_mark mark = { .tag = spool_next(&u->spool),
                             .base_ms = ms,
                             .discontinuity = discontinuity,
                             .arrival_us = arrival_us };
    struct spool_tag *t;
    struct buf before;
    enum st st;

    OBJ_CHECK(u, UPLINK_MAGIC);
    if (u->phase == UPLINK_OVER)
        return ST_OK;
    buf_init(&before, FLV_MARK_MAX);
    if (due)
        flv_put_mark(&before, &mark);
    st = before.st == ST_OK ? spool_add(&u->spool, tag, due ? &before : NULL, &t) : before.st;
    buf_fini(&before);
    if (st != ST_OK)
        return st;
    uplink_meter_add(&u->meter, tag->n, now_us(u));
    u->any = true;
    u->now_ms = ms;
    u->last_us = arrival_us;
    u->marked_ms = due ? ms : u->marked_ms;
    spool_note_header(&u->spool, t, tag);
    if (tag->type == FLV_VIDEO && flv_video_parse(tag->body, tag->n, &media) == ST_OK &&
        media.packet == FLV_FRAME && media.key)
        u->gop[u->gops++ % UPLINK_GOPS] = t->number;
    count_spool(u);
    return ST_OK;
}

void uplink_flush(struct uplink *u) { exchange_more(&u->x); }

void uplink_leave(struct uplink **up, bool ended)
{
    struct uplink *u = *up;

    *up = NULL;
    if (u == NULL)
        return;
    OBJ_CHECK(u, UPLINK_MAGIC);
    u->ops = NULL;
    u->ended = ended;
    u->left_us = now_us(u);
    if (ended)
        recall_forget(u->f->all->recall, u->name);
    else
        remember(u, u->left_us + window_us(u));
    /* whom no home has accepted there is nothing to finish for; and he must not come later, when
     * somebody else has the stream */
    if (u->phase == UPLINK_OVER || !u->claimed ||
        (!ended && u->phase == UPLINK_UP && spool_body_sent(&u->body))) {
        bury(u);
        return;
    }
    u->body.last = ended;
    exchange_more(&u->x);
    arm(u);
}

/* --- the loop's part --- */

struct uplinks *uplinks_new(void)
{
    struct uplinks *u = calloc(1, sizeof *u);

    if (u != NULL && (u->recall = recall_new()) == NULL) {
        free(u);
        return NULL;
    }
    return u;
}

void uplinks_free(struct uplinks **up)
{
    struct uplinks *u = *up;

    *up = NULL;
    if (u == NULL)
        return;
    recall_free(&u->recall);
    free(u);
}

enum st uplinks_loop_start(struct uplinks *u, struct loop *l)
{
    struct uplink_loop *f = calloc(1, sizeof *f);

    if (f == NULL)
        return ST_ENOMEM;
    f->all = u;
    f->loop = l;
    l->slot[LOOP_UPLINK] = f;
    return ST_OK;
}

void uplinks_loop_stop(struct loop *l)
{
    struct uplink_loop *f = l->slot[LOOP_UPLINK];

    while (f->first != NULL) {
        struct uplink *u = f->first;

        if (u->ops != NULL && u->phase != UPLINK_OVER)
            over(u, UPLINK_STOPPING);
        if (f->first == u)
            bury(u);
    }
    links_unref(&f->links);
    CHECK(loop_turn_nowait(l) == ST_OK); /* the buried go */
    l->slot[LOOP_UPLINK] = NULL;
    free(f);
}

void uplinks_set_dcs(struct loop *l, struct dcs *d)
{
    struct uplink_loop *f = l->slot[LOOP_UPLINK];
    struct links *fresh = d != NULL ? links_new(l, d) : NULL;

    if (d != NULL && fresh == NULL)
        return; /* no memory: the old ones stay */
    links_unref(&f->links);
    f->links = fresh;
}

bool uplinks_ready(const struct loop *l)
{
    const struct uplink_loop *f = l->slot[LOOP_UPLINK];

    return f != NULL && f->links != NULL;
}
