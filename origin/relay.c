#include "origin/relay.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/check.h"
#include "core/clock.h"
#include "core/conf.h"
#include "core/log.h"
#include "core/loop.h"
#include "core/metric.h"
#include "core/record.h"
#include "edge/http_head.h"
#include "edge/raw.h"
#include "edge/stream.h"
#include "edge/target.h"
#include "origin/home_int.h"

enum { RELAY_MAGIC = 0x4e1a9f10, WORD_MAX = 256, EARLY_MAX = 16 << 20 };
#define ACK_EVERY_US (1 * SEC_US)
#define BEHIND_MAX_US (INT64_C(3600) * (int64_t)SEC_US)

/* Records that are on their way. */
struct words {
    struct own own;
    size_t n;
    uint8_t data[];
};

struct relay {
    int magic;
    struct loop *loop;
    struct raw *x;
    struct door *door; /* NULL: not or no longer */
    struct flv_reader in;
    char name[STREAM_NAME_MAX + 1];
    struct timer timer;
    bool responded, failed, end_came;

    /* where the tags stand */
    bool marked;          /* the first mark has come: tags have numbers */
    bool discontinuity;   /* before the next one */
    uint64_t next_number; /* of the next tag */
    struct flv_mark mark;
    int64_t began_us; /* wall clock when the exchange began */
    int64_t shift_us; /* from the POP's wall clock to ours, as far as the waiting goes */
    size_t held;      /* bytes that are not given back to the window yet */
    struct buf early; /* of them, what came before the home has accepted */
    bool accepted;

    /* the answer */
    struct h2_body body;
    struct words *out;
    size_t out_sent;
    uint64_t seq;
    uint64_t ack_tag, ack_high;
    int64_t ack_k;
    bool ack_due, past_due, over; /* over: the last record is said */
    struct buf past;
    enum door_why why;
    bool has_why;
};

static void log_relay(struct relay *r, const char *what, const char *why)
{
    struct log_ctx stream = { NULL, "stream", r->name, 0 };
    struct log_ctx reason = { &stream, "reason", why, 0 };

    log_info(r->loop->log, why != NULL ? &reason : &stream, "relay", "%s", what);
}

/* --- the answer's body --- */

static void free_words(struct own *o) { free(CONTAINER_OF(o, struct words, own)); }

static void drop_words(struct relay *r)
{
    struct own *own = r->out != NULL ? &r->out->own : NULL;

    r->out = NULL;
    r->out_sent = 0;
    own_unref(&own);
}

static const char *why_word(enum door_why why)
{
    static const char *const words[] = {
        [DOOR_TAKEN] = "taken",   [DOOR_NO_WORKER] = "no_worker",    [DOOR_REFUSED] = "refused",
        [DOOR_LIMIT] = "limit",   [DOOR_FENCED] = "fenced",          [DOOR_EXPIRED] = "expired",
        [DOOR_BUSY] = "busy",     [DOOR_STOPPING] = "stopping",      [DOOR_KICKED] = "kicked",
        [DOOR_BANNED] = "banned", [DOOR_QUARANTINED] = "quarantined"
    };

    return words[why];
}

static enum st next_words(struct relay *r)
{
    char text[WORD_MAX];
    struct buf b;
    int n;

    buf_init(&b, 2 * WORD_MAX + FLV_PAST_MAX);
    if (r->ack_due) {
        n = snprintf(text, sizeof text, "{\"tag\":%llu,\"k\":%lld,\"high\":%llu}",
                     (unsigned long long)r->ack_tag, (long long)r->ack_k,
                     (unsigned long long)r->ack_high);
        record_put_text(&b, RECORD_ACK, 0, ++r->seq, text, (size_t)n, 0);
        r->ack_due = false;
    }
    if (r->past_due && r->past.st == ST_OK) {
        record_put_text(&b, RECORD_PAST, 0, ++r->seq, "{}", 2, r->past.len);
        buf_add(&b, r->past.data, r->past.len);
    }
    r->past_due = false;
    if (r->has_why) {
        n = snprintf(text, sizeof text, "{\"why\":\"%s\"}", why_word(r->why));
        record_put_text(&b, RECORD_END, 0, ++r->seq, text, (size_t)n, 0);
        r->has_why = false;
    }
    drop_words(r);
    if (b.len > 0 && b.st == ST_OK && (r->out = malloc(sizeof *r->out + b.len)) != NULL) {
        own_init(&r->out->own, free_words);
        r->out->n = b.len;
        memcpy(r->out->data, b.data, b.len);
    }
    enum st st = b.st != ST_OK || (b.len > 0 && r->out == NULL) ? ST_ENOMEM : ST_OK;
    buf_fini(&b);
    return st;
}

static enum st body_avail(struct h2_body *b, size_t max, size_t *n, bool *last)
{
    struct relay *r = CONTAINER_OF(b, struct relay, body);
    enum st st = ST_OK;

    if (r->out == NULL || r->out_sent == r->out->n)
        st = next_words(r);
    *n = r->out != NULL ? r->out->n - r->out_sent : 0;
    *last = r->over && !r->ack_due && !r->past_due && !r->has_why && *n <= max;
    *n = *n < max ? *n : max;
    if (st != ST_OK)
        return st;
    return *n > 0 || *last ? ST_OK : ST_MORE;
}

static int body_take(struct h2_body *b, size_t n, struct h2_slice *s, int max)
{
    struct relay *r = CONTAINER_OF(b, struct relay, body);

    CHECK(max > 0 && r->out != NULL);
    s[0] = (struct h2_slice){ r->out->data + r->out_sent, n, &r->out->own };
    r->out_sent += n;
    return 1;
}

/* t: with 200; why: without. */
static void respond(struct relay *r, int status, const struct ticket *t, const char *why)
{
    struct h2_nv nv[TICKET_FIELDS];
    struct ticket_text text;
    size_t n = 0;
    enum st st;

    if (r->responded)
        return;
    r->responded = true;
    if (t != NULL) {
        ticket_put(t, &text, nv);
        n = TICKET_FIELDS;
    }
    if (why != NULL)
        nv[n++] = (struct h2_nv){ "freshet-why", why, 11, (uint32_t)strlen(why), false };
    r->body = (struct h2_body){ .avail = body_avail, .take = body_take };
    st = raw_respond(r->x, status, nv, n, status == 200 ? &r->body : NULL);
    (void)st; /* the exchange is then on its way out */
}

static void say_ack(struct relay *r)
{
    r->ack_due = true;
    if (r->responded)
        raw_resume(r->x);
}

static void on_timer(struct loop *l, struct timer *t)
{
    struct relay *r = CONTAINER_OF(t, struct relay, timer);

    say_ack(r);
    timer_set(l, t, loop_now(l) + ACK_EVERY_US);
}

static void take_early(struct relay *r);

/* --- the door's side --- */

static void on_accepted(void *ctx, const struct ticket *t)
{
    struct relay *r = ctx;

    OBJ_CHECK(r, RELAY_MAGIC);
    log_relay(r, "a POP's publisher is accepted", NULL);
    r->ack_k = t->k;
    r->ack_high = t->high;
    respond(r, 200, t, NULL);
    r->accepted = true;
    take_early(r);
    timer_set(r->loop, &r->timer, loop_now(r->loop) + ACK_EVERY_US);
}

static void on_acked(void *ctx, uint64_t tag, int64_t k, uint64_t high)
{
    struct relay *r = ctx;

    r->ack_tag = tag;
    r->ack_k = k;
    r->ack_high = high;
    say_ack(r);
}

static void on_past(void *ctx, const char *text, size_t n)
{
    struct relay *r = ctx;

    buf_reset(&r->past);
    buf_add(&r->past, text, n); /* too much of it is not told */
    r->past_due = true;
    if (r->responded)
        raw_resume(r->x);
}

static int status_of(enum door_why why)
{
    switch (why) {
    case DOOR_TAKEN:
    case DOOR_FENCED:
    case DOOR_BUSY:
        return 409;
    case DOOR_REFUSED:
    case DOOR_EXPIRED:
    case DOOR_KICKED:
    case DOOR_BANNED:
    case DOOR_QUARANTINED:
        return 403;
    case DOOR_NO_WORKER:
    case DOOR_LIMIT:
    case DOOR_STOPPING:
        break;
    }
    return 503;
}

static void on_closed(void *ctx, enum door_why why)
{
    struct relay *r = ctx;

    log_relay(r, "a POP's publisher is let go", door_why_text(why));
    door_leave(&r->door, false);
    timer_cancel(r->loop, &r->timer);
    if (!r->responded) {
        respond(r, status_of(why), NULL, why_word(why));
        return;
    }
    r->why = why;
    r->has_why = r->over = true;
    raw_resume(r->x);
}

static void on_room(void *ctx)
{
    struct relay *r = ctx;
    size_t n = r->held;

    r->held = 0;
    raw_consume(r->x, n);
}

static const struct door_ops door_ops = { .accepted = on_accepted,
                                          .acked = on_acked,
                                          .past = on_past,
                                          .closed = on_closed,
                                          .room = on_room };

/* --- the POP's side --- */

static void on_mark(struct relay *r, const struct flv_mark *m)
{
    if (!r->marked) /* what it stands for has waited for behind_us when the exchange began */
        r->shift_us += r->began_us - m->arrival_us;
    r->marked = true;
    r->mark = *m;
    r->next_number = m->tag;
    r->discontinuity |= m->discontinuity;
}

static int64_t arrival_us(const struct relay *r, uint32_t ts_ms)
{
    int64_t now_us = clock_wall_us(), ms, would_us;

    if (!r->marked)
        return now_us;
    ms = flv_unwrap(r->mark.base_ms, ts_ms) - r->mark.base_ms;
    would_us = r->mark.arrival_us + r->shift_us + ms * 1000;
    return would_us < r->began_us && would_us < now_us ? would_us : now_us;
}

static enum st take_past(struct relay *r, const struct flv_tag *tag)
{
    const char *text;
    size_t n;
    enum st st = r->marked ? ST_EPROTO : flv_past_parse(tag, &text, &n);

    if (st == ST_OK)
        door_bring_past(r->door, text, n);
    return st == ST_OK ? ST_OK : ST_EPROTO;
}

static enum st take_tag(struct relay *r, const struct flv_tag *tag)
{
    struct flv_mark mark;
    enum st st;

    if (tag->type == FLV_SCRIPT) {
        if ((st = flv_mark_parse(tag, &mark)) == ST_ENOENT)
            return take_past(r, tag);
        if (st != ST_OK || mark.tag == 0 || mark.tag < r->next_number)
            return ST_EPROTO;
        on_mark(r, &mark);
        return ST_OK;
    }
    /* room or not: what is not given back to the window is the limit */
    (void)door_tag_numbered(r->door, r->marked ? r->next_number++ : 0, tag, r->discontinuity,
                            arrival_us(r, tag->ts_ms));
    r->discontinuity = false;
    return ST_OK;
}

static void fail(struct relay *r, enum st st)
{
    r->failed = true;
    log_relay(r, "what a POP sends is not good", st_name(st));
    raw_reset(r->x, H2_PROTOCOL_ERROR);
}

/* All of the body has come. */
static void finish(struct relay *r)
{
    if (r->door == NULL)
        return;
    if (flv_reader_end(&r->in) != ST_OK) {
        fail(r, ST_EPROTO);
        return;
    }
    log_relay(r, "a POP's publisher has ended the broadcast", NULL);
    timer_cancel(r->loop, &r->timer);
    door_leave(&r->door, true);
    r->over = true;
    raw_resume(r->x);
}

static void take_data(struct relay *r, const uint8_t *p, size_t n)
{
    struct rd in = rd_init(p, n);
    struct flv_tag tag;
    enum st st = ST_OK;

    while (!r->failed && r->door != NULL && st == ST_OK)
        if ((st = flv_next(&r->in, &in, &tag)) == ST_OK)
            st = take_tag(r, &tag);
    if (st < ST_OK && !r->failed)
        fail(r, st);
    if (r->door == NULL || r->failed) {
        raw_consume(r->x, n);
        return;
    }
    door_flush(r->door);
    if (door_may_read(r->door) || door_wait(r->door))
        raw_consume(r->x, n);
    else
        r->held += n;
}

/* The home has to find out first whose the stream is. */
static void take_early(struct relay *r)
{
    struct buf early = r->early;

    buf_init(&r->early, EARLY_MAX);
    if (early.st != ST_OK)
        fail(r, early.st);
    else if (early.len > 0)
        take_data(r, early.data, early.len);
    buf_fini(&early);
    if (r->end_came && !r->failed)
        finish(r);
}

static void on_data(void *ctx, const uint8_t *p, size_t n)
{
    struct relay *r = ctx;

    OBJ_CHECK(r, RELAY_MAGIC);
    if (!r->accepted && r->door != NULL)
        buf_add(&r->early, p, n); /* no more than the window holds */
    else
        take_data(r, p, n);
}

static void on_end(void *ctx)
{
    struct relay *r = ctx;

    if (r->failed || r->door == NULL)
        return;
    r->end_came = true;
    if (r->accepted)
        finish(r);
}

static void on_gone(void *ctx)
{
    struct relay *r = ctx;

    OBJ_CHECK(r, RELAY_MAGIC);
    if (r->door != NULL)
        log_relay(r, "the exchange with the POP is gone", NULL);
    door_leave(&r->door, false);
    timer_cancel(r->loop, &r->timer);
    metric_sub(&r->loop->metrics->relay_exchanges, 1);
    flv_reader_fini(&r->in);
    buf_fini(&r->early);
    buf_fini(&r->past);
    drop_words(r);
    OBJ_FINI(r, RELAY_MAGIC);
    free(r);
}

static const struct raw_ops raw_ops = { .data = on_data, .end = on_end, .gone = on_gone };

/* --- the head --- */

/* Takes 2 n hex digits off the front. */
static bool take_hex(struct slice *s, uint8_t *out, size_t n)
{
    if (s->n < 2 * n)
        return false;
    for (size_t i = 0; i < 2 * n; i++) {
        uint8_t c = s->p[i];
        int digit = is_digit(c) ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;

        if (digit < 0)
            return false;
        out[i / 2] = (uint8_t)(out[i / 2] << 4 | digit);
    }
    *s = slice_of(s->p + 2 * n, s->n - 2 * n);
    return true;
}

/* "PUBLISHER[.KEY[.expired]]" */
static bool read_claim(struct slice s, struct door_claim *out)
{
    uint8_t publisher[8] = { 0 };

    if (!take_hex(&s, publisher, sizeof publisher))
        return false;
    for (size_t i = 0; i < sizeof publisher; i++)
        out->publisher = out->publisher << 8 | publisher[i];
    if (s.n > 0 && s.p[0] == '.') {
        s = slice_of(s.p + 1, s.n - 1);
        out->has_key = take_hex(&s, out->key, sizeof out->key);
        if (!out->has_key)
            return false;
        out->expired = slice_eq(s, SLICE(".expired"));
        if (out->expired)
            s.n = 0;
    }
    return s.n == 0 && out->publisher != 0;
}

static bool read_behind(struct slice s, int64_t *out_us)
{
    *out_us = 0;
    for (size_t i = 0; i < s.n; i++) {
        if (s.p[i] < '0' || s.p[i] > '9' || *out_us > BEHIND_MAX_US)
            return false;
        *out_us = *out_us * 10 + (s.p[i] - '0');
    }
    *out_us *= (int64_t)MS_US;
    return s.n > 0 && *out_us <= BEHIND_MAX_US;
}

/* All of a ticket's fields, or none. */
static bool read_ticket(const struct http_head *head, struct ticket *t, bool *has)
{
    static const struct {
        enum http_field field;
        const char *name;
    } fields[TICKET_FIELDS] = { { HTTP_FIELD_FRESHET_SESSION, "freshet-session" },
                                { HTTP_FIELD_FRESHET_EPOCH, "freshet-epoch" },
                                { HTTP_FIELD_FRESHET_AST, "freshet-ast" },
                                { HTTP_FIELD_FRESHET_PERIOD, "freshet-period" },
                                { HTTP_FIELD_FRESHET_HIGH, "freshet-high" } };
    int n = 0;

    memset(t, 0, sizeof *t);
    for (int i = 0; i < TICKET_FIELDS; i++) {
        struct slice v = http_head_get(head, fields[i].field);

        if (v.p == NULL)
            continue;
        if (ticket_set(t, fields[i].name, strlen(fields[i].name), (const char *)v.p, v.n) != ST_OK)
            return false;
        n++;
    }
    *has = n > 0;
    return n == 0 || (n == TICKET_FIELDS && ticket_good(t));
}

/* "/_ingest/APP/STREAM" */
static bool read_name(const struct target *t, char *out)
{
    static const char prefix[] = "/_ingest/";
    size_t n = sizeof prefix - 1;
    struct slice rest = slice_of(t->path.p + n, t->path.n - n);
    const char *slash = memchr(rest.p, '/', rest.n);

    if (slash == NULL)
        return false;
    struct slice app = slice_of(rest.p, (size_t)(slash - (const char *)rest.p));
    struct slice stream = slice_of(slash + 1, rest.n - app.n - 1);
    if (!name_is_valid(app) || name_is_reserved(app) || !name_is_valid(stream))
        return false;
    memcpy(out, rest.p, rest.n);
    out[rest.n] = '\0';
    return true;
}

void relay_serve(struct loop *l, struct raw *x, const struct http_head *head,
                 const struct target *target, bool last)
{
    struct relay *r = calloc(1, sizeof *r);
    struct door_claim claim = { .ticket = NULL };
    struct ticket ticket;
    bool has_ticket = false;

    if (r == NULL) {
        (void)(raw_respond(x, 503, NULL, 0, NULL) == ST_OK);
        return;
    }
    if (last || head->method != HTTP_METHOD_POST || !read_name(target, r->name) ||
        !read_claim(http_head_get(head, HTTP_FIELD_FRESHET_CLAIM), &claim) ||
        !read_behind(http_head_get(head, HTTP_FIELD_FRESHET_BEHIND), &claim.behind_us) ||
        !read_ticket(head, &ticket, &has_ticket)) {
        free(r);
        (void)(raw_respond(x, 400, NULL, 0, NULL) == ST_OK);
        return;
    }
    r->loop = l;
    if (conf_app(l->conf, r->name, strcspn(r->name, "/")) == NULL) {
        log_relay(r, "a POP brings a stream of an app that is not configured here", NULL);
        free(r);
        (void)(raw_respond(x, 404, NULL, 0, NULL) == ST_OK);
        return;
    }
    OBJ_INIT(r, RELAY_MAGIC);
    r->x = x;
    r->timer.fire = on_timer;
    r->began_us = clock_wall_us();
    r->shift_us = -claim.behind_us;
    buf_init(&r->early, EARLY_MAX);
    buf_init(&r->past, FLV_PAST_MAX);
    flv_reader_init(&r->in, l->conf->ingest.limits.media_bytes);
    metric_add(&l->metrics->relay_exchanges, 1);
    raw_take(x, &raw_ops, r);
    claim.ticket = has_ticket ? &ticket : NULL;
    if (door_open(home_loop_of(l)->home, l, r->name, &claim, &door_ops, r, &r->door) != ST_OK)
        respond(r, 503, NULL, why_word(DOOR_LIMIT));
}
