/* A POP's publisher, and data centres that say what the test wants. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

#include "core/check.h"
#include "core/clock.h"
#include "core/conf.h"
#include "core/h2.h"
#include "core/loop.h"
#include "core/metric.h"
#include "core/record.h"
#include "core/ticket.h"
#include "ingest/dcs.h"
#include "ingest/recall.h"
#include "ingest/uplink.h"

enum { DCS = 2, CONNS = 64, SAIDS = 128, TAGS = 512, PATIENCE_S = 20 };

static uint64_t mono_us = 1000 * SEC_US;
static int64_t wall_us = INT64_C(1800000000) * (int64_t)SEC_US;
static uint64_t test_mono(void) { return mono_us; }
static int64_t test_wall(void) { return wall_us; }
static const struct clock_source test_clock = { test_mono, test_wall };

/* --- data centres --- */

/* One exchange, as a home sees it. */
struct said {
    struct h2_body body;
    struct h2 *h2;
    int32_t id;
    int dc, conn;
    struct buf out;
    size_t off;
    size_t allowed; /* of it, so far */
    uint64_t seq;
    bool last, got_all, closed, reset;
    struct flv_reader in;
    bool marked;
    uint64_t first, next; /* numbers of the tags that came, one after the other */
    int headers;          /* sequence headers before the mark */
    uint8_t first_byte;   /* of the first tag's body */
    int64_t mark_ms, mark_arrival_us, came_us;
    size_t unread; /* bytes that are not consumed */
    char past[64];
    char path[64], claim[80], behind[24], session[24], epoch[24], ast[24], period[24], high[24];
};

struct dc_script {
    int listening;
    unsigned port;
    char url[48];
    const char *status, *why, *elsewhere;
    bool mute; /* says nothing at all */
    bool full; /* does not consume */
    uint64_t epoch;
};

struct world {
    struct loop l;
    const struct conf *conf;
    struct uplinks *uplinks;
    struct dc_script dc[DCS];
    struct {
        int fd, dc;
        struct h2 *h2;
    } conn[CONNS];
    int conns;
    struct said *said[SAIDS];
    int saids;
};

static enum st say_avail(struct h2_body *b, size_t max, size_t *n, bool *last)
{
    struct said *s = CONTAINER_OF(b, struct said, body);
    size_t have = s->out.len < s->allowed ? s->out.len : s->allowed;

    *n = have - s->off < max ? have - s->off : max;
    *last = s->last && s->off + *n == s->out.len;
    return *n > 0 || *last ? ST_OK : ST_MORE;
}

static int say_take(struct h2_body *b, size_t n, struct h2_slice *v, int max)
{
    struct said *s = CONTAINER_OF(b, struct said, body);

    assert_true(max > 0);
    v[0] = (struct h2_slice){ s->out.data + s->off, n, NULL };
    s->off += n;
    return 1;
}

static void *on_stream(struct h2 *h2, void *ctx, int32_t id)
{
    struct world *w = ctx;
    struct said *s = calloc(1, sizeof *s);

    assert_true(s != NULL && w->saids < SAIDS);
    w->said[w->saids++] = s;
    s->body = (struct h2_body){ .avail = say_avail, .take = say_take };
    s->h2 = h2;
    s->id = id;
    s->allowed = SIZE_MAX;
    s->came_us = wall_us;
    for (int i = 0; i < w->conns; i++)
        if (w->conn[i].h2 == h2) {
            s->dc = w->conn[i].dc;
            s->conn = i;
        }
    buf_init(&s->out, 1 << 20);
    (void)buf_grow(&s->out, 64 << 10); /* slices point into it: it must not move */
    s->out.len = 0;
    flv_reader_init(&s->in, 1 << 20);
    return s;
}

static void on_header(struct h2 *h2, void *stream, int32_t id, const char *name, size_t name_len,
                      const char *value, size_t value_len)
{
    struct said *s = stream;
    const struct {
        const char *name;
        char *to;
        size_t room;
    } fields[] = { { ":path", s->path, sizeof s->path },
                   { "freshet-claim", s->claim, sizeof s->claim },
                   { "freshet-behind", s->behind, sizeof s->behind },
                   { "freshet-session", s->session, sizeof s->session },
                   { "freshet-epoch", s->epoch, sizeof s->epoch },
                   { "freshet-ast", s->ast, sizeof s->ast },
                   { "freshet-period", s->period, sizeof s->period },
                   { "freshet-high", s->high, sizeof s->high } };

    (void)h2, (void)id;
    for (size_t i = 0; i < sizeof fields / sizeof fields[0]; i++)
        if (strlen(fields[i].name) == name_len && memcmp(name, fields[i].name, name_len) == 0)
            (void)snprintf(fields[i].to, fields[i].room, "%.*s", (int)value_len, value);
}

static void on_head(struct h2 *h2, void *stream, int32_t id, bool last)
{
    struct world *w = h2_ctx(h2);
    struct said *s = stream;
    struct dc_script *dc = &w->dc[s->dc];
    struct ticket t = { .session = "m0abcdefghij1", .epoch = ++dc->epoch, .ast_s = 7, .k = 3 };
    struct h2_nv nv[3 + TICKET_FIELDS];
    struct ticket_text text;
    size_t n = 0;

    assert_false(last);
    if (dc->mute)
        return;
    t.high = 100;
    nv[n++] =
        (struct h2_nv){ .name = ":status", .value = dc->status, .name_len = 7, .value_len = 3 };
    if (strcmp(dc->status, "200") == 0) {
        ticket_put(&t, &text, nv + n);
        n += TICKET_FIELDS;
    }
    if (dc->why != NULL)
        nv[n++] = (struct h2_nv){ "freshet-why", dc->why, 11, (uint32_t)strlen(dc->why), false };
    if (dc->elsewhere != NULL)
        nv[n++] = (struct h2_nv){ "freshet-home", dc->elsewhere, 12,
                                  (uint32_t)strlen(dc->elsewhere), false };
    assert_int_equal(h2_respond(h2, id, nv, n, strcmp(dc->status, "200") == 0 ? &s->body : NULL),
                     ST_OK);
}

static void take_tag(struct said *s, const struct flv_tag *tag)
{
    struct flv_mark m;
    const char *past;
    size_t n;

    if (flv_past_parse(tag, &past, &n) == ST_OK) {
        assert_true(!s->marked && s->headers == 0 && s->past[0] == '\0');
        (void)snprintf(s->past, sizeof s->past, "%.*s", (int)n, past);
        return;
    }
    if (tag->type == FLV_SCRIPT) {
        assert_int_equal(flv_mark_parse(tag, &m), ST_OK);
        if (!s->marked) {
            s->first = s->next = m.tag;
            s->mark_ms = m.base_ms;
            s->mark_arrival_us = m.arrival_us;
        }
        s->marked = true;
        assert_int_equal(m.tag, s->next); /* a mark says the number that is due */
        return;
    }
    if (!s->marked) {
        s->headers++;
        return;
    }
    if (s->next == s->first)
        s->first_byte = tag->body[0];
    s->next++;
}

static void on_data(struct h2 *h2, void *stream, int32_t id, const uint8_t *p, size_t n)
{
    struct world *w = h2_ctx(h2);
    struct said *s = stream;
    struct rd in = rd_init(p, n);
    struct flv_tag tag;
    enum st st;

    while ((st = flv_next(&s->in, &in, &tag)) == ST_OK)
        take_tag(s, &tag);
    assert_int_equal(st, ST_MORE);
    if (w->dc[s->dc].full)
        s->unread += n;
    else
        h2_consume(h2, id, n);
}

static void on_end(struct h2 *h2, void *stream, int32_t id)
{
    (void)h2, (void)id;
    ((struct said *)stream)->got_all = true;
}

static void on_close(struct h2 *h2, void *stream, int32_t id, const struct h2_close *why)
{
    struct said *s = stream;

    (void)h2, (void)id;
    s->closed = true;
    s->reset = why->by_peer;
}

static const struct h2_ops script_ops = { .on_stream = on_stream,
                                          .on_header = on_header,
                                          .on_head = on_head,
                                          .on_data = on_data,
                                          .on_end = on_end,
                                          .on_close = on_close };

static void hang_up(struct world *w, int i)
{
    static const struct linger now = { 1, 0 };

    if (w->conn[i].h2 == NULL)
        return;
    h2_free(&w->conn[i].h2);
    (void)setsockopt(w->conn[i].fd, SOL_SOCKET, SO_LINGER, &now, sizeof now);
    (void)close(w->conn[i].fd);
}

static void serve(struct world *w, int i)
{
    static uint8_t buf[64 << 10];
    struct iovec v[16];
    struct h2 *h2 = w->conn[i].h2;
    ssize_t n;

    if (h2 == NULL)
        return;
    while ((n = read(w->conn[i].fd, buf, sizeof buf)) > 0)
        assert_true(h2_feed(h2, buf, (size_t)n) >= ST_OK);
    if (n == 0) {
        hang_up(w, i);
        return;
    }
    while (h2_pump(h2, 64 << 10) >= ST_OK && outq_bytes(h2_outq(h2)) > 0) {
        n = writev(w->conn[i].fd, v, outq_iov(h2_outq(h2), v, 16));
        if (n <= 0)
            break;
        outq_consume(h2_outq(h2), (size_t)n);
    }
}

/* One turn of everybody, and a millisecond. */
static void step(struct world *w)
{
    int fd;

    mono_us += MS_US;
    wall_us += (int64_t)MS_US;
    (void)loop_touch(&w->l);
    timer_wheel_sweep(&w->l); /* what is due fires; libevent goes by another clock */
    assert_int_equal(loop_turn_nowait(&w->l), ST_OK);
    for (int d = 0; d < DCS; d++)
        while ((fd = accept4(w->dc[d].listening, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC)) >= 0) {
            assert_true(w->conns < CONNS);
            /* the test's clock is faster than a delayed ACK */
            assert_int_equal(setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &(int){ 1 }, sizeof(int)), 0);
            w->conn[w->conns].fd = fd;
            w->conn[w->conns].dc = d;
            w->conn[w->conns].h2 = h2_server_new(&w->l, &h2_limits_tier, &script_ops, w);
            w->conns++;
        }
    for (int i = 0; i < w->conns; i++)
        serve(w, i);
}

#define until(w, cond)                                    \
    do {                                                  \
        struct timespec began_, now_;                     \
        (void)clock_gettime(CLOCK_MONOTONIC, &began_);    \
        while (step(w), !(cond)) {                        \
            (void)clock_gettime(CLOCK_MONOTONIC, &now_);  \
            if (now_.tv_sec - began_.tv_sec > PATIENCE_S) \
                fail_msg("it did not happen: %s", #cond); \
        }                                                 \
    } while (0)

static void steps(struct world *w)
{
    for (int i = 0; i < 50; i++)
        step(w);
}

static void pass_ms(struct world *w, uint64_t ms)
{
    for (uint64_t done = 0; done < ms; done += 10) {
        mono_us += 9 * MS_US;
        wall_us += 9 * (int64_t)MS_US;
        step(w);
    }
}

/* --- what a home says --- */

static void say(struct said *s, enum record_type type, const char *text)
{
    record_put_text(&s->out, type, 0, ++s->seq, text, strlen(text), 0);
    assert_true(s->out.st == ST_OK && s->out.len <= 64 << 10);
    h2_resume(s->h2, s->id);
}

static void say_ack(struct said *s, unsigned tag, unsigned k, unsigned high)
{
    char text[80];

    (void)snprintf(text, sizeof text, "{\"tag\":%u,\"k\":%u,\"high\":%u}", tag, k, high);
    say(s, RECORD_ACK, text);
}

/* --- a publisher --- */

struct pub {
    struct uplink *up;
    int accepted, closed;
    enum uplink_why why;
    uint32_t ts_ms;
    unsigned sent;
};

static void on_accepted(void *ctx) { ((struct pub *)ctx)->accepted++; }

static void on_closed(void *ctx, enum uplink_why why)
{
    struct pub *p = ctx;

    p->closed++;
    p->why = why;
    uplink_leave(&p->up, false);
}

static const struct uplink_ops pub_ops = { on_accepted, on_closed };
static const struct uplink_key no_key = { .there = false };

static void pub_open(struct world *w, struct pub *p, const char *name)
{
    *p = (struct pub){ .up = NULL };
    assert_int_equal(uplink_open(&w->l, name, &no_key, &pub_ops, p, &p->up), ST_OK);
}

static void send_tag(struct pub *p, enum flv_type type, const uint8_t *body, size_t n)
{
    uint8_t *copy = malloc(n); /* of the exact size */
    struct flv_tag tag = { .type = type, .ts_ms = p->ts_ms, .body = copy, .n = n };

    memcpy(copy, body, n);
    assert_int_equal(uplink_tag(p->up, &tag, false, wall_us), ST_OK);
    free(copy);
    p->sent++;
    uplink_flush(p->up);
}

/* 1 and 2: the configurations. */
static void send_headers(struct pub *p)
{
    static const uint8_t avc[] = { 0x17, 0, 0, 0, 0, 1, 100, 0, 30 },
                         aac[] = { 0xaf, 0, 0x11, 0x90 };

    send_tag(p, FLV_VIDEO, avc, sizeof avc);
    send_tag(p, FLV_AUDIO, aac, sizeof aac);
}

static void send_frame(struct pub *p, bool key, size_t more)
{
    static uint8_t body[300 << 10];

    assert_true(5 + more <= sizeof body);
    body[0] = key ? 0x17 : 0x27;
    body[1] = 1;
    p->ts_ms += 40;
    send_tag(p, FLV_VIDEO, body, 5 + more);
}

/* --- the world --- */

static int setup(void **state)
{
    struct world *w = calloc(1, sizeof *w);
    char text[300], all[128] = "";
    struct conf *c;
    struct dcs *dcs;
    struct err e;

    clock_use(&test_clock);
    assert_int_equal(loop_init(&w->l, 0, 1), ST_OK);
    w->l.metrics = metrics_new();
    for (int d = 0; d < DCS; d++) {
        struct sockaddr_in in = { .sin_family = AF_INET, .sin_addr = { htonl(INADDR_LOOPBACK) } };
        socklen_t len = sizeof in;

        w->dc[d].listening = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
        assert_int_equal(bind(w->dc[d].listening, (struct sockaddr *)&in, sizeof in), 0);
        assert_int_equal(listen(w->dc[d].listening, 64), 0);
        assert_int_equal(getsockname(w->dc[d].listening, (struct sockaddr *)&in, &len), 0);
        w->dc[d].port = ntohs(in.sin_port);
        w->dc[d].status = "200";
        w->dc[d].epoch = 1000;
        (void)snprintf(w->dc[d].url, sizeof w->dc[d].url, "http://127.0.0.1:%u", w->dc[d].port);
        (void)snprintf(all + strlen(all), sizeof all - strlen(all), "%s\"%s\"", d > 0 ? ", " : "",
                       w->dc[d].url);
    }
    (void)snprintf(text, sizeof text, "ingest: {relay: [%s], limits: {spool: 1M}}\n", all);
    assert_int_equal(conf_parse("test", text, strlen(text), 1, &c, stderr), ST_OK);
    w->conf = c;
    w->l.conf = c;
    w->uplinks = uplinks_new();
    assert_int_equal(uplinks_loop_start(w->uplinks, &w->l), ST_OK);
    assert_int_equal(dcs_build(c, NULL, &dcs, &e), ST_OK);
    uplinks_set_dcs(&w->l, dcs);
    assert_true(uplinks_ready(&w->l));
    *state = w;
    return 0;
}

static int teardown(void **state)
{
    struct world *w = *state;

    uplinks_loop_stop(&w->l);
    assert_int_equal(metric_get(&w->l.metrics->ingest_spool_bytes), 0);
    uplinks_free(&w->uplinks);
    for (int i = 0; i < w->conns; i++)
        hang_up(w, i);
    for (int i = 0; i < w->saids; i++) {
        buf_fini(&w->said[i]->out);
        flv_reader_fini(&w->said[i]->in);
        free(w->said[i]);
    }
    for (int d = 0; d < DCS; d++)
        (void)close(w->dc[d].listening);
    metrics_free(&w->l.metrics);
    w->l.metrics = NULL;
    w->l.conf = NULL;
    loop_fini(&w->l);
    conf_unref(&w->conf);
    free(w);
    clock_use(NULL);
    return 0;
}

static struct said *last_said(struct world *w)
{
    return w->saids > 0 ? w->said[w->saids - 1] : NULL;
}

/* --- tests --- */

static void a_home_learns_who_it_is_and_gets_numbered_tags(void **state)
{
    struct world *w = *state;
    struct pub p;

    pub_open(w, &p, "live/show");
    assert_int_equal(p.accepted, 0); /* never from inside */
    until(w, p.accepted == 1);
    struct said *s = w->said[0];
    assert_string_equal(s->path, "/_ingest/live/show");
    assert_int_equal(strlen(s->claim), 16);
    assert_string_equal(s->behind, "0");
    assert_string_equal(s->session, ""); /* no ticket yet */
    send_headers(&p);
    for (int i = 0; i < 60; i++)
        send_frame(&p, i % 25 == 0, 10);
    until(w, s->next == 63);
    assert_int_equal(s->first, 1);
    assert_int_equal(s->headers, 0); /* they are numbered, and in the body */
    assert_true(metric_get(&w->l.metrics->ingest_spool_bytes) > 60 * 26);
    assert_false(s->got_all);
    uplink_leave(&p.up, true);
    until(w, s->got_all);
    assert_int_equal(p.closed, 0);
}

static void acknowledged_tags_go_but_for_the_frames_that_a_new_home_would_need(void **state)
{
    struct world *w = *state;
    struct pub p;

    pub_open(w, &p, "live/show");
    until(w, p.accepted == 1);
    send_headers(&p);                    /* 1, 2 */
    for (int i = 0; i < 30; i++)         /* 3 to 32 */
        send_frame(&p, i % 10 == 0, 10); /* keys: 3, 13, 23 */
    until(w, w->said[0]->next == 33);
    say_ack(w->said[0], 20, 4, 200);
    steps(w);
    hang_up(w, w->said[0]->conn);
    until(w, w->saids == 2 && w->said[1]->next == 33);
    struct said *s = w->said[1];
    assert_int_equal(s->first, 13);
    assert_int_equal(s->first_byte, 0x17);
    assert_int_equal(s->headers, 2); /* in force, and not among the tags any more */
    assert_string_equal(s->claim, w->said[0]->claim);
    assert_string_equal(s->session, "m0abcdefghij1");
    assert_string_equal(s->epoch, s->dc == w->said[0]->dc ? "1001" : "?");
    assert_string_equal(s->period, "4"); /* as the ACK had it */
    assert_string_equal(s->high, "200");
    assert_string_equal(s->ast, "7");
    assert_int_equal(p.accepted, 1);
    until(w, metric_get(&w->l.metrics->ingest_reconnects[METRIC_RECONNECT_RESUMED]) == 1);
    /* an ACK beyond all numbers is none */
    say_ack(s, 5000, 4, 200);
    say(s, RECORD_ACK, "{\"tag\":\"x\"}");
    say(s, RECORD_HEALTH, "{}");
    steps(w);
    assert_false(s->closed);
    uplink_leave(&p.up, false);
    steps(w);
}

static void a_link_that_is_cut_after_any_tag_loses_none(void **state)
{
    struct world *w = *state;
    struct pub p;
    uint64_t have = 0; /* all up to here have come, to one home or another */

    pub_open(w, &p, "live/show");
    until(w, p.accepted == 1);
    send_headers(&p);
    for (int i = 0; i < 40; i++) {
        struct said *s;

        send_frame(&p, i % 7 == 0, (size_t)i);
        if (i % 3 == 0) /* sometimes it arrives before the cut, sometimes not */
            until(w, last_said(w)->next == p.sent + 1);
        s = last_said(w);
        have = s->next > have ? s->next : have;
        if (i % 2 == 0)
            say_ack(s, (unsigned)(s->next > 3 ? s->next - 2 : 0), 3, 100);
        steps(w);
        hang_up(w, s->conn);
        int n = w->saids;
        until(w, w->saids > n && last_said(w)->marked);
        assert_true(last_said(w)->first <= (have == 0 ? 1 : have)); /* no hole */
        for (int k = 0; k < 2; k++) { /* steady, so that no back-off comes */
            pass_ms(w, 3000);
            say_ack(last_said(w), 0, 3, 100);
        }
    }
    until(w, last_said(w)->next == p.sent + 1);
    assert_int_equal(metric_get(&w->l.metrics->ingest_spool_lost), 0);
    assert_int_equal(p.closed, 0);
    uplink_leave(&p.up, true);
    until(w, last_said(w)->got_all);
}

static void acks_may_come_in_pieces(void **state)
{
    struct world *w = *state;
    struct pub p;

    pub_open(w, &p, "live/show");
    until(w, p.accepted == 1);
    send_headers(&p);
    for (int i = 0; i < 20; i++)
        send_frame(&p, true, 100);
    struct said *s = w->said[0];
    until(w, s->next == 23);
    uint64_t before = metric_get(&w->l.metrics->ingest_spool_bytes);
    s->allowed = 0;
    say_ack(s, 20, 3, 100);
    for (; s->allowed < s->out.len; s->allowed++) {
        h2_resume(s->h2, s->id);
        step(w);
        assert_int_equal(metric_get(&w->l.metrics->ingest_spool_bytes), before);
    }
    h2_resume(s->h2, s->id);
    until(w, metric_get(&w->l.metrics->ingest_spool_bytes) < before / 4);
    uplink_leave(&p.up, false);
    until(w, s->closed);
    assert_true(s->reset); /* he may come back: no end */
    assert_false(s->got_all);
}

static int other(const struct said *s) { return 1 - s->dc; }

static void say_past(struct said *s, const char *text)
{
    record_put_text(&s->out, RECORD_PAST, 0, ++s->seq, "{}", 2, strlen(text));
    buf_add(&s->out, text, strlen(text));
    h2_resume(s->h2, s->id);
}

static void the_next_home_hears_what_the_last_one_told_players(void **state)
{
    struct world *w = *state;
    struct pub p;

    pub_open(w, &p, "live/show");
    until(w, p.accepted == 1);
    send_headers(&p);
    struct said *s = w->said[0];
    until(w, s->next == 3);
    assert_string_equal(s->past, "");
    say_past(s, "oldest of all");
    say_past(s, "older");
    say_past(s, "newer");
    steps(w);
    s->allowed = s->out.len + RECORD_FIXED + 8; /* and one that breaks off */
    say_past(s, "newest of all, but it is cut");
    steps(w);
    hang_up(w, s->conn);
    until(w, w->saids == 2 && last_said(w)->marked);
    assert_string_equal(last_said(w)->past, "newer");
    uplink_leave(&p.up, true);
    steps(w);
}

static void who_is_full_or_refuses_is_passed_over(void **state)
{
    struct world *w = *state;
    struct pub p;

    w->dc[0].status = w->dc[1].status = "503";
    pub_open(w, &p, "live/show");
    until(w, w->saids == 1);
    w->dc[other(w->said[0])].status = "200";
    until(w, p.accepted == 1);
    assert_int_equal(w->said[w->saids - 1]->dc, other(w->said[0]));
    assert_int_equal(p.closed, 0);
    uplink_leave(&p.up, true);
    steps(w);
}

static void a_home_may_know_a_better_one(void **state)
{
    struct world *w = *state;
    struct pub p;

    w->dc[0].status = "421";
    w->dc[0].elsewhere = w->dc[1].url;
    w->dc[1].status = "421";
    w->dc[1].elsewhere = w->dc[0].url;
    pub_open(w, &p, "live/show");
    until(w, w->saids == 1);
    w->dc[other(w->said[0])].status = "200";
    until(w, p.accepted == 1);
    assert_int_equal(w->saids, 2);
    assert_int_equal(w->said[1]->dc, other(w->said[0]));
    assert_int_equal(
        metric_get(&w->l.metrics->ingest_uplink_failures[METRIC_UPLINK_FAILURE_ELSEWHERE]), 1);
    uplink_leave(&p.up, true);
    steps(w);
}

static void who_was_replaced_is_let_go(void **state)
{
    struct world *w = *state;
    struct pub p;

    pub_open(w, &p, "live/show");
    until(w, p.accepted == 1);
    w->dc[0].status = w->dc[1].status = "409";
    w->dc[0].why = w->dc[1].why = "fenced";
    hang_up(w, w->said[0]->conn);
    until(w, p.closed == 1);
    assert_int_equal(p.why, UPLINK_FENCED);
    assert_int_equal(w->saids, 2);
}

static void the_last_word_of_a_home_says_why(void **state)
{
    static const struct {
        const char *word;
        enum uplink_why why;
    } table[] = { { "taken", UPLINK_TAKEN },
                  { "refused", UPLINK_REFUSED },
                  { "busy", UPLINK_BUSY },
                  { "expired", UPLINK_EXPIRED },
                  { "kicked", UPLINK_KICKED },
                  { "banned", UPLINK_BANNED },
                  { "quarantined", UPLINK_QUARANTINED } };
    struct world *w = *state;
    char text[40];
    struct pub p;

    for (size_t i = 0; i < sizeof table / sizeof table[0]; i++) {
        pub_open(w, &p, "live/show");
        until(w, p.accepted == 1);
        (void)snprintf(text, sizeof text, "{\"why\":\"%s\"}", table[i].word);
        say(last_said(w), RECORD_END, text);
        last_said(w)->last = true;
        h2_resume(last_said(w)->h2, last_said(w)->id);
        until(w, p.closed == 1);
        assert_int_equal(p.why, table[i].why);
    }
    /* a home that stops, or has no workers, is not the only one */
    pub_open(w, &p, "live/show");
    until(w, p.accepted == 1);
    int n = w->saids, was = last_said(w)->dc;
    say(last_said(w), RECORD_END, "{\"why\":\"stopping\"}");
    last_said(w)->last = true;
    h2_resume(last_said(w)->h2, last_said(w)->id);
    until(w, w->saids > n && last_said(w)->marked);
    assert_int_equal(last_said(w)->dc, 1 - was);
    assert_int_equal(p.closed, 0);
    uplink_leave(&p.up, true);
    steps(w);
}

static void a_home_that_winds_up_is_left_with_nothing_lost(void **state)
{
    struct world *w = *state;
    struct pub p;

    pub_open(w, &p, "live/show");
    until(w, p.accepted == 1);
    send_headers(&p);
    for (int i = 0; i < 10; i++)
        send_frame(&p, i == 0, 10);
    h2_shutdown(w->said[0]->h2);
    until(w, w->saids == 2 && w->said[1]->next == 13);
    assert_int_equal(w->said[1]->dc, other(w->said[0]));
    assert_int_equal(w->said[1]->first, 1);
    assert_true(w->said[0]->closed && w->said[0]->reset);
    assert_int_equal(
        metric_get(&w->l.metrics->ingest_uplink_failures[METRIC_UPLINK_FAILURE_DRAINING]), 1);
    assert_int_equal(p.closed, 0);
    uplink_leave(&p.up, true);
    steps(w);
}

static void a_home_that_says_nothing_is_given_up(void **state)
{
    struct world *w = *state;
    struct pub p;

    pub_open(w, &p, "live/show");
    until(w, p.accepted == 1);
    pass_ms(w, 3500);
    say_ack(w->said[0], 0, 3, 100);
    pass_ms(w, 3500);
    assert_int_equal(w->saids, 1);
    pass_ms(w, 1000);
    until(w, w->saids == 2);
    assert_int_equal(w->said[1]->dc, other(w->said[0]));
    assert_int_equal(
        metric_get(&w->l.metrics->ingest_uplink_failures[METRIC_UPLINK_FAILURE_SILENT]), 1);
    uplink_leave(&p.up, true);
    steps(w);
}

static void a_publisher_need_not_wait_for_homes_but_not_for_ever(void **state)
{
    struct world *w = *state;
    struct pub p;

    w->dc[0].status = w->dc[1].status = "503";
    pub_open(w, &p, "live/show");
    pass_ms(w, 1900);
    assert_int_equal(p.accepted, 0);
    pass_ms(w, 400);
    assert_int_equal(p.accepted, 1);
    pass_ms(w, 27000);
    assert_int_equal(p.closed, 0);
    pass_ms(w, 1500);
    assert_int_equal(p.closed, 1);
    assert_int_equal(p.why, UPLINK_NO_HOME);
    assert_true(w->saids > 10 && w->saids < 40); /* 0.1 s doubling to 5 s, two at a time */
    assert_int_equal(metric_get(&w->l.metrics->ingest_reconnects[METRIC_RECONNECT_GAVE_UP]), 1);
}

static void what_a_home_does_not_take_stays_within_the_limits(void **state)
{
    struct world *w = *state;
    struct pub p;

    w->dc[0].full = w->dc[1].full = true;
    pub_open(w, &p, "live/show");
    until(w, p.accepted == 1);
    send_headers(&p);
    for (int i = 0; i < 80; i++) { /* 16 MiB: the window has 8, the spool 1 */
        send_frame(&p, i % 10 == 0, 200 << 10);
        step(w);
        assert_true(metric_get(&w->l.metrics->ingest_spool_bytes) < 1300 << 10);
    }
    steps(w);
    assert_true(metric_get(&w->l.metrics->ingest_spool_lost) > 60);
    assert_int_equal(p.closed, 0);
    /* what is left is what a home gets that does take */
    w->dc[0].full = w->dc[1].full = false;
    until(w, last_said(w)->next == p.sent + 1);
    assert_true(w->saids > 1); /* what was about to be sent was gone: begun anew */
    uplink_leave(&p.up, true);
    until(w, last_said(w)->got_all);
}

static void what_waited_is_told_with_its_age(void **state)
{
    struct world *w = *state;
    struct pub p;

    w->dc[0].mute = w->dc[1].mute = true;
    pub_open(w, &p, "live/show");
    pass_ms(w, 2300); /* a far timer may be 256 ms late */
    assert_int_equal(p.accepted, 1);
    int64_t first_us = wall_us;
    send_headers(&p);
    for (int i = 0; i < 60; i++) {
        send_frame(&p, i % 10 == 0, 10);
        pass_ms(w, 40);
    }
    int n = w->saids;
    w->dc[0].mute = w->dc[1].mute = false;
    until(w, (pass_ms(w, 10), w->saids > n && last_said(w)->next == p.sent + 1));
    struct said *s = last_said(w);
    assert_int_equal(s->first, 1);
    /* give or take a frame */
    assert_true(labs(s->came_us - first_us - atol(s->behind) * 1000) < 60 * 1000);
    assert_true(atol(s->behind) > 2000);
    assert_true(labs(s->mark_arrival_us - first_us) < 60 * 1000);
    uplink_leave(&p.up, true);
    steps(w);
}

static void the_next_publisher_goes_where_the_last_one_was(void **state)
{
    struct world *w = *state;
    struct pub p;

    pub_open(w, &p, "live/show");
    until(w, p.accepted == 1);
    int first = w->said[0]->dc;
    hang_up(w, w->said[0]->conn);
    w->dc[first].status = "503";
    until(w, last_said(w)->dc != first && last_said(w)->marked);
    say_ack(last_said(w), 0, 9, 900);
    steps(w);
    uplink_leave(&p.up, false);
    steps(w);
    w->dc[first].status = "200"; /* back, but it knows nothing */
    int n = w->saids;
    pub_open(w, &p, "live/show");
    until(w, p.accepted == 1);
    assert_int_equal(w->said[n]->dc, 1 - first);
    assert_string_equal(w->said[n]->session, "m0abcdefghij1");
    assert_string_equal(w->said[n]->high, "900");
    assert_string_not_equal(w->said[n]->claim, w->said[0]->claim);
    /* somebody at another POP has taken it meanwhile: the newest of all is he who comes now */
    uplink_leave(&p.up, false);
    steps(w);
    w->dc[1 - first].status = "409";
    w->dc[1 - first].why = "fenced";
    n = w->saids;
    pub_open(w, &p, "live/show");
    until(w, w->saids == n + 1);
    w->dc[1 - first].status = "200";
    w->dc[1 - first].why = NULL;
    until(w, p.accepted == 1);
    assert_int_equal(w->said[n + 1]->dc, 1 - first);
    assert_string_equal(w->said[n + 1]->session, "");
    /* a broadcast that has ended is forgotten */
    uplink_leave(&p.up, true);
    steps(w);
    n = w->saids;
    pub_open(w, &p, "live/show");
    until(w, p.accepted == 1);
    assert_int_equal(w->said[n]->dc, first);
    assert_string_equal(w->said[n]->session, "");
    uplink_leave(&p.up, false);
    steps(w);
    /* and one that nobody comes back to, after the reconnect window */
    pass_ms(w, 31000);
    n = w->saids;
    pub_open(w, &p, "live/show");
    until(w, p.accepted == 1);
    assert_string_equal(w->said[n]->session, "");
    uplink_leave(&p.up, true);
    steps(w);
}

static void a_reload_moves_nobody(void **state)
{
    struct world *w = *state;
    struct dcs *dcs;
    struct err e;
    struct pub p;

    pub_open(w, &p, "live/show");
    until(w, p.accepted == 1);
    int first = w->said[0]->dc;
    w->dc[first].status = "503";
    hang_up(w, w->said[0]->conn);
    until(w, last_said(w)->dc != first && last_said(w)->marked);
    w->dc[first].status = "200";
    assert_int_equal(dcs_build(w->conf, NULL, &dcs, &e), ST_OK);
    uplinks_set_dcs(&w->l, dcs);
    steps(w);
    struct said *s = last_said(w);
    assert_false(s->closed); /* nor does it cut him off */
    int n = w->saids;
    hang_up(w, s->conn);
    until(w, w->saids > n && last_said(w)->marked);
    assert_int_equal(last_said(w)->dc, 1 - first);
    until(w, metric_get(&w->l.metrics->ingest_reconnects[METRIC_RECONNECT_RESUMED]) == 1);
    /* what is no POP any more takes nobody new, and keeps whom it has */
    uplinks_set_dcs(&w->l, NULL);
    assert_false(uplinks_ready(&w->l));
    n = w->saids;
    hang_up(w, last_said(w)->conn);
    until(w, w->saids > n && last_said(w)->marked);
    uplink_leave(&p.up, true);
    steps(w);
}

static void an_expired_key_is_let_in_by_a_home_only(void **state)
{
    struct uplink_key key = { .there = true, .digest = { 0xab, [15] = 0x01 }, .expired = true };
    struct world *w = *state;
    struct pub p = { .up = NULL };

    w->dc[0].mute = w->dc[1].mute = true;
    assert_int_equal(uplink_open(&w->l, "live/show", &key, &pub_ops, &p, &p.up), ST_OK);
    pass_ms(w, 3000);
    assert_int_equal(p.accepted, 0);
    assert_string_equal(w->said[0]->claim + 16, ".ab000000000000000000000000000001.expired");
    w->dc[0].mute = w->dc[1].mute = false;
    w->dc[0].status = w->dc[1].status = "403";
    w->dc[0].why = w->dc[1].why = "expired";
    until(w, (pass_ms(w, 10), p.closed == 1));
    assert_int_equal(p.why, UPLINK_EXPIRED);
    w->dc[0].status = w->dc[1].status = "200";
    w->dc[0].why = w->dc[1].why = NULL;
    p = (struct pub){ .up = NULL };
    assert_int_equal(uplink_open(&w->l, "live/show", &key, &pub_ops, &p, &p.up), ST_OK);
    until(w, p.accepted == 1);
    hang_up(w, last_said(w)->conn);
    int n = w->saids;
    until(w, w->saids > n);
    assert_string_equal(last_said(w)->claim + 16, ".ab000000000000000000000000000001");
    uplink_leave(&p.up, true);
    steps(w);
}

static void tickets_travel_as_header_fields(void **state)
{
    struct ticket t = { .session = "m0abcdefghij1", .epoch = 9, .ast_s = 8, .k = 7, .high = 6 };
    struct ticket back = { .epoch = 0 };
    struct h2_nv nv[TICKET_FIELDS];
    struct ticket_text text;

    (void)state;
    ticket_put(&t, &text, nv);
    for (int i = 0; i < TICKET_FIELDS; i++)
        assert_int_equal(
            ticket_set(&back, nv[i].name, nv[i].name_len, nv[i].value, nv[i].value_len), ST_OK);
    assert_memory_equal(&t, &back, sizeof t);
    assert_int_equal(ticket_set(&back, "freshet-epoc", 12, "1", 1), ST_ENOENT);
    assert_int_equal(ticket_set(&back, "freshet-epoch", 13, "", 0), ST_EPROTO);
    assert_int_equal(ticket_set(&back, "freshet-epoch", 13, "-1", 2), ST_EPROTO);
    assert_int_equal(ticket_set(&back, "freshet-epoch", 13, "1234567890123456789", 19), ST_EPROTO);
    assert_int_equal(ticket_set(&back, "freshet-session", 15, "m0abcdefghij", 12), ST_EPROTO);
}

int main(void)
{
#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(a_home_learns_who_it_is_and_gets_numbered_tags),
        TEST(acknowledged_tags_go_but_for_the_frames_that_a_new_home_would_need),
        TEST(a_link_that_is_cut_after_any_tag_loses_none),
        TEST(acks_may_come_in_pieces),
        TEST(the_next_home_hears_what_the_last_one_told_players),
        TEST(who_is_full_or_refuses_is_passed_over),
        TEST(a_home_may_know_a_better_one),
        TEST(who_was_replaced_is_let_go),
        TEST(the_last_word_of_a_home_says_why),
        TEST(a_home_that_winds_up_is_left_with_nothing_lost),
        TEST(a_home_that_says_nothing_is_given_up),
        TEST(a_publisher_need_not_wait_for_homes_but_not_for_ever),
        TEST(what_a_home_does_not_take_stays_within_the_limits),
        TEST(what_waited_is_told_with_its_age),
        TEST(the_next_publisher_goes_where_the_last_one_was),
        TEST(a_reload_moves_nobody),
        TEST(an_expired_key_is_let_in_by_a_home_only),
        cmocka_unit_test(tickets_travel_as_header_fields),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
