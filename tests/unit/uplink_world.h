/* tests/unit/uplink_world.h - a POP's loop with publishers, and data centres that say what a test wants
 *
 * Purpose   data centres are HTTP/2 servers on loopback in the test itself: they keep what they get,
 *           and answer by script. Time is the test's: pass_ms() lets it go on, and what is due fires.
 * Waiting   until(w, cond) of tests/unit/h2_script.h
 */
#ifndef TESTS_UNIT_UPLINK_WORLD_H
#define TESTS_UNIT_UPLINK_WORLD_H

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
#include "ingest/uplink.h"
#include "tests/unit/h2_script.h"

enum { DCS = 2, CONNS = 64, SAIDS = 128, TAGS = 512 };

static uint64_t mono_us = 1000 * SEC_US;
static int64_t wall_us = INT64_C(1800000000) * (int64_t)SEC_US;
static uint64_t test_mono(void) { return mono_us; }
static int64_t test_wall(void) { return wall_us; }
static const struct clock_source test_clock = { test_mono, test_wall };

/* --- data centres --- */

/* One exchange, as a home sees it. */
struct said {
    struct words words;
    struct h2 *h2;
    int32_t id;
    int dc, conn;
    bool got_all, closed, reset;
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

static void *on_stream(struct h2 *h2, void *ctx, int32_t id)
{
    struct world *w = ctx;
    struct said *s = calloc(1, sizeof *s);

    assert_true(s != NULL && w->saids < SAIDS);
    w->said[w->saids++] = s;
    words_init(&s->words);
    s->h2 = h2;
    s->id = id;
    s->came_us = wall_us;
    for (int i = 0; i < w->conns; i++)
        if (w->conn[i].h2 == h2) {
            s->dc = w->conn[i].dc;
            s->conn = i;
        }
    flv_reader_init(&s->in, 1 << 20);
    return s;
}

static void on_header(struct h2 *h2, void *stream, int32_t id, const char *name, size_t name_len,
                      const char *value, size_t value_len)
{
    struct said *s = stream;
    const struct script_field fields[] = { { ":path", s->path, sizeof s->path },
                                           { "freshet-claim", s->claim, sizeof s->claim },
                                           { "freshet-behind", s->behind, sizeof s->behind },
                                           { "freshet-session", s->session, sizeof s->session },
                                           { "freshet-epoch", s->epoch, sizeof s->epoch },
                                           { "freshet-ast", s->ast, sizeof s->ast },
                                           { "freshet-period", s->period, sizeof s->period },
                                           { "freshet-high", s->high, sizeof s->high } };

    (void)h2, (void)id;
    script_keep(fields, sizeof fields / sizeof fields[0], name, name_len, value, value_len);
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
    assert_int_equal(
        h2_respond(h2, id, nv, n, strcmp(dc->status, "200") == 0 ? &s->words.body : NULL), ST_OK);
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
    if (w->conn[i].h2 != NULL && !script_serve(w->conn[i].fd, w->conn[i].h2))
        hang_up(w, i);
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
    record_put_text(&s->words.out, type, 0, ++s->words.seq, text, strlen(text), 0);
    assert_true(s->words.out.st == ST_OK && s->words.out.len <= WORDS_BYTES);
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
        buf_fini(&w->said[i]->words.out);
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

#endif
