/* Tier listeners: what is special about them, and raw exchanges from both ends. */
#include "tests/unit/fetch_world.h"

#include <fcntl.h>
#include <sys/uio.h>

#include "core/h2.h"
#include "core/listen.h"
#include "edge/front.h"
#include "edge/front_int.h"
#include "edge/raw.h"
#include "edge/stream.h"

enum { CALLS = 8, TEXT = 256 };
static const char SESSION[] = "m0abcdefghij1";

/* --- a machine of ours that asks --- */

struct call {
    struct h2_body up; /* what it sends */
    const char *bytes;
    size_t n, off;
    bool whole;
    int32_t id;
    char status[4], body[TEXT];
    size_t got;
    bool ended, closed;
    uint32_t code;
};

struct client {
    struct world *w;
    int fd;
    struct h2 *h2;
    struct call call[CALLS];
    int calls;
};

static void on_header(struct h2 *h2, void *stream, int32_t id, const char *name, size_t name_len,
                      const char *value, size_t value_len)
{
    struct call *c = stream;

    (void)h2, (void)id, (void)value_len;
    if (name_len == 7 && memcmp(name, ":status", 7) == 0)
        memcpy(c->status, value, 3);
}

static void on_head(struct h2 *h2, void *stream, int32_t id, bool last)
{
    (void)h2, (void)stream, (void)id, (void)last;
}

static void on_data(struct h2 *h2, void *stream, int32_t id, const uint8_t *p, size_t n)
{
    struct call *c = stream;

    assert_true(c->got + n < TEXT);
    memcpy(c->body + c->got, p, n);
    c->got += n;
    h2_consume(h2, id, n);
}

static void on_end(struct h2 *h2, void *stream, int32_t id)
{
    (void)h2, (void)id;
    ((struct call *)stream)->ended = true;
}

static void on_close(struct h2 *h2, void *stream, int32_t id, const struct h2_close *why)
{
    (void)h2, (void)id;
    ((struct call *)stream)->closed = true;
    ((struct call *)stream)->code = why->code;
}

static const struct h2_ops client_ops = {
    .on_header = on_header,
    .on_head = on_head,
    .on_data = on_data,
    .on_end = on_end,
    .on_close = on_close,
};

static enum st up_avail(struct h2_body *b, size_t max, size_t *n, bool *last)
{
    struct call *c = CONTAINER_OF(b, struct call, up);

    *n = c->n - c->off < max ? c->n - c->off : max;
    *last = c->whole && *n == c->n - c->off;
    return *n > 0 || *last ? ST_OK : ST_MORE;
}

static int up_take(struct h2_body *b, size_t n, struct h2_slice *s, int max)
{
    struct call *c = CONTAINER_OF(b, struct call, up);

    (void)max;
    s[0] = (struct h2_slice){ c->bytes + c->off, n, NULL };
    c->off += n;
    return 1;
}

static void exchange(struct client *k)
{
    for (int i = 0; i < 8; i++) {
        char in[1 << 14];
        ssize_t r;

        while (k->fd >= 0 && (r = recv(k->fd, in, sizeof in, 0)) > 0)
            assert_int_equal(h2_feed(k->h2, in, (size_t)r), ST_OK);
        if (k->fd >= 0)
            (void)(h2_pump(k->h2, 1 << 20) == ST_OK);
        while (k->fd >= 0 && outq_bytes(h2_outq(k->h2)) > 0) {
            struct iovec v[16];
            int n = outq_iov(h2_outq(k->h2), v, 16);

            r = writev(k->fd, v, n);
            if (r <= 0)
                break;
            outq_consume(h2_outq(k->h2), (size_t)r);
        }
        settle(k->w);
    }
}

/* --- the end that serves --- */

struct place {
    struct world w;
    struct front *front;
    struct listener *ln;
    struct server listen, upstream;
    struct client k;

    /* the taker of raw exchanges */
    int asked, taken, gone, ended;
    bool last, answer_only;
    char path[TEXT], data[TEXT];
    size_t got, kept;
    bool keep; /* does not consume */
    struct raw *x;
    struct h2_body down;
    const char *bytes;
    size_t n, off;
    bool whole;
};

static void raw_data(void *ctx, const uint8_t *p, size_t n)
{
    struct place *pl = ctx;

    if (pl->keep) {
        pl->kept += n;
        return;
    }
    assert_true(pl->got + n < TEXT);
    memcpy(pl->data + pl->got, p, n);
    pl->got += n;
    raw_consume(pl->x, n);
}

static void raw_end(void *ctx) { ((struct place *)ctx)->ended++; }

static void raw_gone(void *ctx)
{
    struct place *pl = ctx;

    pl->gone++;
    pl->x = NULL;
}

static const struct raw_ops taker = { .data = raw_data, .end = raw_end, .gone = raw_gone };

static void on_raw(void *ctx, struct loop *l, struct raw *x, const struct http_head *head,
                   const struct target *target, bool last)
{
    struct place *pl = ctx;

    (void)head;
    assert_ptr_equal(l, &pl->w.l);
    pl->asked++;
    pl->last = last;
    (void)snprintf(pl->path, sizeof pl->path, "%.*s?%.*s", (int)target->path.n, target->path.p,
                   (int)target->query.n, target->query.p);
    if (pl->answer_only) {
        assert_int_equal(raw_respond(x, 409, NULL, 0, NULL), ST_OK);
        return;
    }
    pl->x = x;
    pl->taken++;
    raw_take(x, &taker, pl);
}

static enum st down_avail(struct h2_body *b, size_t max, size_t *n, bool *last)
{
    struct place *pl = CONTAINER_OF(b, struct place, down);

    *n = pl->n - pl->off < max ? pl->n - pl->off : max;
    *last = pl->whole && *n == pl->n - pl->off;
    return *n > 0 || *last ? ST_OK : ST_MORE;
}

static int down_take(struct h2_body *b, size_t n, struct h2_slice *s, int max)
{
    struct place *pl = CONTAINER_OF(b, struct place, down);

    (void)max;
    s[0] = (struct h2_slice){ pl->bytes + pl->off, n, NULL };
    pl->off += n;
    return 1;
}

static void answer(struct place *pl, const char *bytes, bool whole)
{
    pl->down = (struct h2_body){ .avail = down_avail, .take = down_take };
    pl->bytes = bytes;
    pl->n = strlen(bytes);
    pl->whole = whole;
    assert_int_equal(raw_respond(pl->x, 200, NULL, 0, &pl->down), ST_OK);
    exchange(&pl->k);
}

static int dial(struct place *pl)
{
    struct sockaddr_in in = { .sin_family = AF_INET, .sin_port = htons(pl->listen.port) };
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

    in.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    assert_int_equal(connect(fd, (struct sockaddr *)&in, sizeof in), 0);
    assert_int_equal(fcntl(fd, F_SETFL, O_NONBLOCK), 0);
    (void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &(int){ 1 }, sizeof(int));
    settle(&pl->w);
    return fd;
}

static void hang_up_client(struct client *k)
{
    if (k->fd >= 0)
        (void)close(k->fd);
    k->fd = -1;
    h2_free(&k->h2);
    settle(k->w);
}

static void open_place(struct place *pl, enum front_profile profile, const char *more)
{
    char edge[128];
    struct front_hooks hooks = { .raw = on_raw, .ctx = pl };

    memset(pl, 0, sizeof *pl);
    pl->w.origin = server_open();
    pl->upstream = server_open();
    pl->listen = server_open();
    (void)snprintf(edge, sizeof edge, "  upstream: [\"http://127.0.0.1:%u\"]\n",
                   (unsigned)pl->upstream.port);
    world_open_with(&pl->w, more, edge);
    pl->front = front_new(pl->w.store, &hooks);
    assert_non_null(pl->front);
    assert_int_equal(front_loop_start(pl->front, &pl->w.l), ST_OK);
    assert_int_equal(front_listen(&pl->w.l, pl->listen.fd, profile, false, &pl->ln), ST_OK);
    pl->k.w = &pl->w;
    pl->k.fd = dial(pl);
    pl->k.h2 = h2_client_new(&pl->w.l, &h2_limits_tier, &client_ops, &pl->k);
    exchange(&pl->k);
}

static void close_place(struct place *pl)
{
    hang_up_client(&pl->k);
    listener_free(&pl->ln);
    (void)close(pl->listen.fd);
    (void)close(pl->upstream.fd);
    front_loop_stop(&pl->w.l);
    assert_int_equal(pl->gone, pl->taken);
    world_close_early(&pl->w);
    world_close_late(&pl->w);
    front_free(&pl->front);
}

/* up NULL: a GET. */
static struct call *ask(struct client *k, const char *path, const char *up, bool whole)
{
    struct call *c = &k->call[k->calls++];
    struct h2_nv nv[] = { H2_NV(":method", "GET"), H2_NV(":scheme", "http"),
                          H2_NV(":authority", "localhost"), H2_NV(":path", "") };

    assert_true(k->calls <= CALLS);
    memset(c, 0, sizeof *c);
    nv[3].value = path;
    nv[3].value_len = (uint32_t)strlen(path);
    c->up = (struct h2_body){ up_avail, up_take };
    c->bytes = up;
    c->n = up != NULL ? strlen(up) : 0;
    c->whole = whole;
    if (up != NULL)
        nv[0].value = "POST", nv[0].value_len = 4;
    assert_int_equal(h2_request(k->h2, nv, 4, up != NULL ? &c->up : NULL, c, &c->id), ST_OK);
    exchange(k);
    return c;
}

static void send_more(struct client *k, struct call *c, const char *bytes, bool whole)
{
    c->bytes = bytes;
    c->n = strlen(bytes);
    c->off = 0;
    c->whole = whole;
    h2_resume(k->h2, c->id);
    exchange(k);
}

/* --- raw exchanges --- */

static void a_raw_exchange_goes_both_ways_at_its_own_pace(void **state)
{
    struct place pl;
    struct call *c;

    (void)state;
    open_place(&pl, FRONT_TIER, "");
    c = ask(&pl.k, "/_ingest/live/show?x=1", "one", false);
    assert_int_equal(pl.asked, 1);
    assert_string_equal(pl.path, "/_ingest/live/show?x=1");
    assert_false(pl.last);
    assert_string_equal(pl.data, "one");
    answer(&pl, "head ", false);
    assert_string_equal(c->status, "200");
    assert_string_equal(c->body, "head ");
    send_more(&pl.k, c, " two", true);
    assert_string_equal(pl.data, "one two");
    assert_int_equal(pl.ended, 1);
    pl.bytes = "tail";
    pl.n = 4;
    pl.off = 0;
    pl.whole = true;
    raw_resume(pl.x);
    assert_false(c->ended); /* nothing is sent from inside the call */
    exchange(&pl.k);
    assert_string_equal(c->body, "head tail");
    assert_true(c->ended && c->closed);
    assert_int_equal(pl.gone, 1);
    close_place(&pl);
}

static void an_answer_without_a_body_needs_no_taker(void **state)
{
    struct place pl;
    struct call *c;

    (void)state;
    open_place(&pl, FRONT_TIER, "");
    pl.answer_only = true;
    c = ask(&pl.k, "/_sub/live/show", NULL, false);
    assert_true(pl.last);
    assert_string_equal(c->status, "409");
    assert_true(c->ended);
    c = ask(&pl.k, "/_ingest/live/show", "bytes that nobody wants", false);
    assert_string_equal(c->status, "409");
    assert_true(c->closed);
    assert_int_equal(pl.taken, 0);
    close_place(&pl);
}

static void what_is_not_consumed_stops_its_own_stream_only(void **state)
{
    static char much[9 << 20];
    struct place pl;
    struct call *c, *other;

    (void)state;
    open_place(&pl, FRONT_TIER, "");
    memset(much, 'x', sizeof much - 1);
    pl.keep = true;
    c = ask(&pl.k, "/_ingest/live/show", much, true);
    for (int i = 0; i < 200 && pl.kept < h2_limits_tier.stream_window_bytes; i++)
        exchange(&pl.k);
    assert_int_equal(pl.kept, h2_limits_tier.stream_window_bytes);
    other = ask(&pl.k, "/time", NULL, true);
    assert_string_equal(other->status, "200");
    raw_consume(pl.x, pl.kept);
    for (int i = 0; i < 20; i++)
        exchange(&pl.k);
    assert_int_equal(pl.kept, sizeof much - 1);
    assert_int_equal(pl.ended, 1);
    (void)c;
    close_place(&pl);
}

static void both_sides_may_break_it_off(void **state)
{
    struct place pl;
    struct call *c;

    (void)state;
    open_place(&pl, FRONT_TIER, "");
    c = ask(&pl.k, "/_sub/live/show", NULL, true);
    raw_reset(pl.x, H2_CANCEL);
    assert_int_equal(pl.gone, 0); /* not from inside the call */
    exchange(&pl.k);
    assert_int_equal(pl.gone, 1);
    assert_true(c->closed);
    assert_int_equal(c->code, H2_CANCEL);

    c = ask(&pl.k, "/_sub/live/show", NULL, true);
    h2_reset(pl.k.h2, c->id, H2_CANCEL, H2_RESET_CANCELLED);
    exchange(&pl.k);
    assert_int_equal(pl.gone, 2);

    (void)ask(&pl.k, "/_sub/live/show", NULL, true);
    answer(&pl, "x", false);
    hang_up_client(&pl.k);
    assert_int_equal(pl.gone, 3);
    close_place(&pl);
}

static void a_taker_may_go_on_while_its_connection_is_being_closed(void **state)
{
    struct place pl;

    (void)state;
    open_place(&pl, FRONT_TIER, "");
    (void)ask(&pl.k, "/_sub/live/show", NULL, true);
    conn_close(front_loop_of(&pl.w.l)->conns, METRIC_CLOSE_SHUTDOWN);
    raw_consume(pl.x, 1);
    assert_int_equal(raw_respond(pl.x, 200, NULL, 0, NULL), ST_ENOENT);
    raw_resume(pl.x);
    raw_reset(pl.x, H2_CANCEL);
    assert_int_equal(pl.gone, 0);
    settle(&pl.w);
    assert_int_equal(pl.gone, 1);
    close_place(&pl);
}

/* --- the listener --- */

static void players_reach_none_of_it(void **state)
{
    struct place pl;
    struct call *c;

    (void)state;
    open_place(&pl, FRONT_EDGE, "");
    c = ask(&pl.k, "/_sub/live/show", NULL, true);
    assert_string_equal(c->status, "404");
    c = ask(&pl.k, "/_ingest/live/show", "flv", true);
    assert_string_equal(c->status, "405");
    assert_int_equal(pl.asked, 0);
    close_place(&pl);
}

static void what_is_not_here_is_404_and_nobody_else_is_asked(void **state)
{
    struct place pl;
    struct call *c;

    (void)state;
    open_place(&pl, FRONT_TIER, "");
    c = ask(&pl.k, "/live/show/manifest.mpd", NULL, true);
    assert_string_equal(c->status, "404");
    c = ask(&pl.k, "/live/show/m0abcdefghij1/v0/1.m4s", NULL, true);
    assert_string_equal(c->status, "404");
    c = ask(&pl.k, "/vod/film.mp4", NULL, true);
    assert_string_equal(c->status, "404");
    c = ask(&pl.k, "/watch/live/show", NULL, true);
    assert_string_equal(c->status, "404");
    c = ask(&pl.k, "/live/show/manifest.mpd", "a body", true);
    assert_string_equal(c->status, "413");
    assert_true(nobody_connects(&pl.w, &pl.upstream));
    assert_true(nobody_connects(&pl.w, &pl.w.origin));
    close_place(&pl);
}

static void what_is_here_is_served_and_the_next_one_is_held(void **state)
{
    const struct gobj_head head = { .status = 200, .length = -1, .etag = "\"e\"", .shared = true };
    struct place pl;
    struct stream *st;
    struct call *c, *next;

    (void)state;
    open_place(&pl, FRONT_TIER, "");
    assert_int_equal(stream_begin(&pl.w.l, "live/show", SESSION, 2 * SEC_US, STREAM_HERE, &st),
                     ST_OK);
    assert_int_equal(stream_announce(&pl.w.l, st, "v0", 7), ST_OK);
    assert_int_equal(stream_open(&pl.w.l, st, "v0", 7, &head), ST_OK);
    assert_int_equal(stream_append(&pl.w.l, st, "v0", "hello", 5), ST_OK);
    c = ask(&pl.k, "/live/show/m0abcdefghij1/v0/7.m4s", NULL, true);
    assert_string_equal(c->status, "200");
    assert_string_equal(c->body, "hello");
    assert_false(c->ended);
    next = ask(&pl.k, "/live/show/m0abcdefghij1/v0/8.m4s", NULL, true);
    assert_string_equal(next->status, "");
    assert_int_equal(stream_close(&pl.w.l, st, "v0"), ST_OK);
    assert_int_equal(stream_announce(&pl.w.l, st, "v0", 8), ST_OK);
    assert_int_equal(stream_open(&pl.w.l, st, "v0", 8, &head), ST_OK);
    exchange(&pl.k);
    assert_true(c->ended);
    assert_string_equal(next->status, "200");
    stream_forget(&pl.w.l, st);
    stream_unref(&st);
    close_place(&pl);
}

static void nothing_but_http2_is_spoken(void **state)
{
    struct place pl;
    int fd;

    (void)state;
    open_place(&pl, FRONT_TIER, "");
    fd = dial(&pl);
    say(&pl.w, fd, "GET /time HTTP/1.1\r\nhost: x\r\n\r\n");
    is_closed(&pl.w, fd);
    (void)close(fd);
    assert_int_equal(COUNT(&pl.w, http_closes[METRIC_CLOSE_BAD_REQUEST]), 1);
    close_place(&pl);
}

static void idle_connections_between_machines_are_kept_for_minutes(void **state)
{
    struct place pl;
    struct call *c;

    (void)state;
    open_place(&pl, FRONT_TIER, "    keepalive: 1s\n    requests_per_connection: 1\n");
    (void)ask(&pl.k, "/time", NULL, true);
    pass_time(&pl.w, 300 * SEC_US);
    exchange(&pl.k);
    c = ask(&pl.k, "/time", NULL, true);
    assert_string_equal(c->status, "200");
    pass_time(&pl.w, 601 * SEC_US);
    assert_int_equal(COUNT(&pl.w, http_closes[METRIC_CLOSE_KEEPALIVE]), 0); /* lingers */
    pass_time(&pl.w, 10 * SEC_US);
    assert_int_equal(COUNT(&pl.w, http_closes[METRIC_CLOSE_KEEPALIVE]), 1);
    close_place(&pl);
}

static void machines_have_a_limit_of_their_own(void **state)
{
    struct place pl;
    int fd;

    (void)state;
    open_place(&pl, FRONT_TIER, "    connections: 1\norigin: {limits: {connections: 2}}\n");
    fd = dial(&pl); /* the players' limit is no concern of theirs */
    assert_int_equal(COUNT(&pl.w, limit_hits[METRIC_LIMIT_TIER_CONNECTIONS]), 0);
    assert_int_equal(front_connections(pl.front), 0);
    is_closed(&pl.w, dial(&pl));
    assert_int_equal(COUNT(&pl.w, limit_hits[METRIC_LIMIT_TIER_CONNECTIONS]), 1);
    (void)close(fd);
    settle(&pl.w);
    fd = dial(&pl);
    assert_int_equal(COUNT(&pl.w, limit_hits[METRIC_LIMIT_TIER_CONNECTIONS]), 1);
    (void)close(fd);
    close_place(&pl);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_raw_exchange_goes_both_ways_at_its_own_pace),
        cmocka_unit_test(an_answer_without_a_body_needs_no_taker),
        cmocka_unit_test(what_is_not_consumed_stops_its_own_stream_only),
        cmocka_unit_test(both_sides_may_break_it_off),
        cmocka_unit_test(a_taker_may_go_on_while_its_connection_is_being_closed),
        cmocka_unit_test(players_reach_none_of_it),
        cmocka_unit_test(what_is_not_here_is_404_and_nobody_else_is_asked),
        cmocka_unit_test(what_is_here_is_served_and_the_next_one_is_held),
        cmocka_unit_test(nothing_but_http2_is_spoken),
        cmocka_unit_test(idle_connections_between_machines_are_kept_for_minutes),
        cmocka_unit_test(machines_have_a_limit_of_their_own),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
