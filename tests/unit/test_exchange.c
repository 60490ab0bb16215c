/* Exchanges with a worker that says what the test wants: on one loop, over a unix socket. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <sys/un.h>
#include <unistd.h>

#include "core/clock.h"
#include "core/exchange.h"
#include "core/loop.h"

enum { CONNS = 4, STREAMS = 4 };

/* --- the worker --- */

struct said {
    struct h2_body body;
    int32_t id;
    struct h2 *h2;
    uint8_t bytes[64 << 10];
    size_t n, off;
    bool last;
    size_t got;  /* of the request's body */
    bool closed; /* by whom does not matter */
    char path[64];
};

struct script {
    int listening, fd[CONNS];
    struct h2 *h2[CONNS];
    int conns;
    struct said said[STREAMS];
    int streams;
    const char *status; /* of the answers */
    char dir[32];
    struct addr_sock addr;
    struct loop l;
    struct exchange_link *link;
};

static enum st say_avail(struct h2_body *b, size_t max, size_t *n, bool *last)
{
    struct said *s = CONTAINER_OF(b, struct said, body);

    *n = s->n - s->off < max ? s->n - s->off : max;
    *last = s->last && *n == s->n - s->off;
    return *n > 0 || *last ? ST_OK : ST_MORE;
}

static int say_take(struct h2_body *b, size_t n, struct h2_slice *v, int max)
{
    struct said *s = CONTAINER_OF(b, struct said, body);

    assert_true(max > 0);
    v[0] = (struct h2_slice){ s->bytes + s->off, n, NULL };
    s->off += n;
    return 1;
}

static void *on_stream(struct h2 *h2, void *ctx, int32_t id)
{
    struct script *w = ctx;
    struct said *s = &w->said[w->streams++];

    assert_true(w->streams <= STREAMS);
    *s = (struct said){ .body = { say_avail, say_take }, .id = id, .h2 = h2 };
    return s;
}

static void on_header(struct h2 *h2, void *stream, int32_t id, const char *name, size_t name_len,
                      const char *value, size_t value_len)
{
    struct said *s = stream;

    (void)h2, (void)id;
    if (name_len == 5 && memcmp(name, ":path", 5) == 0)
        (void)snprintf(s->path, sizeof s->path, "%.*s", (int)value_len, value);
}

static void on_head(struct h2 *h2, void *stream, int32_t id, bool last)
{
    struct script *w = h2_ctx(h2);
    struct said *s = stream;
    struct h2_nv nv[] = { { .name = ":status", .value = w->status, .name_len = 7, .value_len = 3 },
                          H2_NV("name", "value") };
    bool ok = strcmp(w->status, "200") == 0;

    (void)last;
    assert_int_equal(h2_respond(h2, id, nv, 2, ok ? &s->body : NULL), ST_OK);
}

static void on_data(struct h2 *h2, void *stream, int32_t id, const uint8_t *p, size_t n)
{
    (void)p;
    ((struct said *)stream)->got += n;
    h2_consume(h2, id, n);
}

static void on_end(struct h2 *h2, void *stream, int32_t id) { (void)h2, (void)stream, (void)id; }

static void on_close(struct h2 *h2, void *stream, int32_t id, const struct h2_close *why)
{
    (void)h2, (void)id, (void)why;
    ((struct said *)stream)->closed = true;
}

static const struct h2_ops worker_ops = {
    on_stream, on_header, on_head, on_data, on_end, on_close
};

static void die(struct script *w, int i)
{
    if (w->h2[i] == NULL)
        return;
    h2_free(&w->h2[i]);
    (void)close(w->fd[i]);
}

/* One turn of everybody. */
/* Each step takes as long as a link waits with what it has to send. */
static uint64_t test_now = SEC_US;
static uint64_t test_mono(void) { return test_now; }
static int64_t test_wall(void) { return (int64_t)test_now; }
static const struct clock_source test_clock = { test_mono, test_wall };

static void step(struct script *w)
{
    static uint8_t buf[16 << 10];
    struct iovec v[16];
    int fd;

    test_now += 20 * MS_US;
    (void)loop_touch(&w->l);
    timer_wheel_sweep(&w->l);
    assert_int_equal(loop_turn_nowait(&w->l), ST_OK);
    while ((fd = accept4(w->listening, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC)) >= 0) {
        assert_true(w->conns < CONNS);
        w->fd[w->conns] = fd;
        w->h2[w->conns++] = h2_server_new(&w->l, &h2_limits_tier, &worker_ops, w);
    }
    for (int i = 0; i < w->conns; i++) {
        ssize_t n;

        while (w->h2[i] != NULL && (n = read(w->fd[i], buf, sizeof buf)) > 0)
            assert_true(h2_feed(w->h2[i], buf, (size_t)n) >= ST_OK);
        while (w->h2[i] != NULL && h2_pump(w->h2[i], 64 << 10) >= ST_OK &&
               outq_bytes(h2_outq(w->h2[i])) > 0) {
            n = writev(w->fd[i], v, outq_iov(h2_outq(w->h2[i]), v, 16));
            if (n <= 0)
                break;
            outq_consume(h2_outq(w->h2[i]), (size_t)n);
        }
    }
}

static void steps(struct script *w)
{
    for (int i = 0; i < 20; i++)
        step(w);
}

static void say(struct said *s, const void *p, size_t n)
{
    assert_true(s->n + n <= sizeof s->bytes);
    memcpy(s->bytes + s->n, p, n);
    s->n += n;
    h2_resume(s->h2, s->id);
}

static void say_health(struct said *s, size_t payload)
{
    struct buf b;

    buf_init(&b, 1 << 20);
    record_put_text(&b, RECORD_HEALTH, 0, 1, "{}", 2, payload);
    memset(buf_grow(&b, payload), 7, payload);
    say(s, b.data, b.len);
    buf_fini(&b);
}

static void finish(struct said *s)
{
    s->last = true;
    h2_resume(s->h2, s->id);
}

static int setup(void **state)
{
    struct script *w = calloc(1, sizeof *w);
    struct sockaddr_un un = { .sun_family = AF_UNIX };
    struct exchange_peer peer = { .addr = &w->addr, .n_addrs = 1, .authority = "worker" };
    struct err e;

    clock_use(&test_clock);
    (void)strcpy(w->dir, "/tmp/fr-worker-XXXXXX");
    assert_non_null(mkdtemp(w->dir));
    (void)snprintf(un.sun_path, sizeof un.sun_path, "%s/w", w->dir);
    w->listening = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    assert_int_equal(bind(w->listening, (struct sockaddr *)&un, sizeof un), 0);
    assert_int_equal(listen(w->listening, 8), 0);
    assert_int_equal(addr_unix(un.sun_path, &w->addr, &e), ST_OK);
    assert_int_equal(loop_init(&w->l, 0, 1), ST_OK);
    peer.prefix = "/_encode/";
    w->link = exchange_link_new(&w->l, &peer);
    assert_non_null(w->link);
    w->status = "200";
    *state = w;
    return 0;
}

static int teardown(void **state)
{
    struct script *w = *state;
    char path[64];

    exchange_link_free(&w->link);
    assert_int_equal(loop_turn_nowait(&w->l), ST_OK);
    for (int i = 0; i < w->conns; i++)
        die(w, i);
    loop_fini(&w->l);
    (void)close(w->listening);
    (void)snprintf(path, sizeof path, "%s/w", w->dir);
    (void)unlink(path);
    (void)rmdir(w->dir);
    free(w);
    return 0;
}

/* --- the session --- */

struct client {
    struct exchange x;
    struct h2_body body;
    int records, ends;
    size_t bytes;
    enum exchange_end why;
    bool up, up_end; /* a byte, or the end, is to go up */
    int fields, leaving;
    bool head;
    int pause_at;  /* pauses inside this record */
    int cancel_at; /* goes away inside this record */
};

static struct client *client_of(struct h2_body *b) { return CONTAINER_OF(b, struct client, body); }

static enum st up_avail(struct h2_body *b, size_t max, size_t *n, bool *last)
{
    struct client *c = client_of(b);

    assert_true(max > 0);
    *n = c->up ? 1 : 0;
    *last = c->up_end;
    return c->up || c->up_end ? ST_OK : ST_MORE;
}

static int up_take(struct h2_body *b, size_t n, struct h2_slice *v, int max)
{
    assert_true(n == 1 && max > 0);
    v[0] = (struct h2_slice){ "x", 1, NULL };
    client_of(b)->up = false;
    return 1;
}

static void on_record(struct exchange *x, const struct record_event *ev)
{
    struct client *c = CONTAINER_OF(x, struct client, x);

    assert_int_equal(c->ends, 0);
    c->bytes += ev->what == RECORD_GOT_BYTES ? ev->n : 0;
    if (ev->what != RECORD_GOT_ALL)
        return;
    c->records++;
    if (c->records == c->pause_at)
        exchange_pause(x);
    if (c->records == c->cancel_at)
        exchange_cancel(x);
}

static void on_ended(struct exchange *x, enum exchange_end why)
{
    struct client *c = CONTAINER_OF(x, struct client, x);

    assert_false(exchange_is_on(x));
    c->ends++;
    c->why = why;
}

static void on_field(struct exchange *x, const char *name, size_t name_len, const char *value,
                     size_t value_len)
{
    struct client *c = CONTAINER_OF(x, struct client, x);

    assert_false(c->head);
    c->fields++;
    assert_int_equal(name_len, 4);
    assert_memory_equal(name, "name", 4);
    assert_int_equal(value_len, 5);
    assert_memory_equal(value, "value", 5);
}

static void on_answer(struct exchange *x)
{
    struct client *c = CONTAINER_OF(x, struct client, x);

    assert_int_equal(x->status, 200);
    c->head = true;
}

static void on_leaving(struct exchange *x) { CONTAINER_OF(x, struct client, x)->leaving++; }

static const struct exchange_ops client_ops = { .record = on_record, .ended = on_ended };
static const struct exchange_ops curious_ops = { .record = on_record,
                                                 .ended = on_ended,
                                                 .header = on_field,
                                                 .head = on_answer,
                                                 .leaving = on_leaving };

static void start(struct script *w, struct client *c, const char *name)
{
    c->x.ops = &client_ops;
    c->body = (struct h2_body){ .avail = up_avail, .take = up_take };
    c->x.body = &c->body;
    assert_int_equal(exchange_start(&c->x, w->link, name, NULL, 0), ST_OK);
}

/* --- tests --- */

static void records_come_down_while_tags_go_up(void **state)
{
    struct script *w = *state;
    struct client c = { .ends = 0 };

    start(w, &c, "live/show");
    assert_int_equal(exchange_link_streams(w->link), 1);
    steps(w);
    assert_string_equal(w->said[0].path, "/_encode/live/show");
    c.up = true;
    exchange_more(&c.x);
    say_health(&w->said[0], 300);
    steps(w);
    assert_int_equal(c.records, 1);
    assert_int_equal(c.bytes, 300);
    assert_int_equal(w->said[0].got, 1);
    c.up_end = true;
    exchange_more(&c.x);
    say_health(&w->said[0], 0);
    finish(&w->said[0]);
    steps(w);
    assert_int_equal(c.records, 2);
    assert_int_equal(c.ends, 1);
    assert_int_equal(c.why, EXCHANGE_DONE);
    assert_int_equal(exchange_link_streams(w->link), 0);
}

/* What is to go up soon after the last write waits for more, and not for long. */
static void tags_that_come_soon_after_others_go_up_together(void **state)
{
    struct script *w = *state;
    struct client c = { .ends = 0 };

    start(w, &c, "live/show");
    steps(w);
    c.up = true;
    exchange_more(&c.x);
    step(w);
    assert_int_equal(w->said[0].got, 1); /* the first does not wait */
    test_now -= 19 * MS_US;
    (void)loop_touch(&w->l);
    c.up = true;
    exchange_more(&c.x);
    assert_true(c.up);
    exchange_more(&c.x);
    step(w);
    step(w);
    assert_false(c.up);
    assert_int_equal(w->said[0].got, 2);
    exchange_cancel(&c.x);
}

static void a_refusal_says_whether_another_worker_may_help(void **state)
{
    static const struct {
        const char *status;
        enum exchange_end why;
    } table[] = { { "503", EXCHANGE_FULL },
                  { "400", EXCHANGE_REFUSED },
                  { "501", EXCHANGE_REFUSED } };
    struct script *w = *state;

    for (size_t i = 0; i < sizeof table / sizeof table[0]; i++) {
        struct client c = { .ends = 0 };

        w->status = table[i].status;
        start(w, &c, "live/show");
        steps(w);
        assert_int_equal(c.ends, 1);
        assert_int_equal(c.why, table[i].why);
        assert_int_equal(c.records, 0);
    }
}

static void garbage_ends_the_exchange_and_no_other(void **state)
{
    struct script *w = *state;
    struct client bad = { .ends = 0 }, good = { .ends = 0 };

    start(w, &bad, "live/bad");
    steps(w);
    start(w, &good, "live/good");
    steps(w);
    say_health(&w->said[0], 5);
    say(&w->said[0], "\xff\xff\xff\xff no record at all", 22);
    say_health(&w->said[1], 5);
    steps(w);
    assert_int_equal(bad.records, 1);
    assert_int_equal(bad.ends, 1);
    assert_int_equal(bad.why, EXCHANGE_BROKEN);
    assert_true(w->said[0].closed);
    assert_int_equal(good.records, 1);
    assert_int_equal(good.ends, 0);
    exchange_cancel(&good.x);
}

static void an_end_inside_a_record_is_no_end(void **state)
{
    struct script *w = *state;
    struct client c = { .ends = 0 };

    start(w, &c, "live/show");
    steps(w);
    say_health(&w->said[0], 100);
    w->said[0].n -= 1;
    finish(&w->said[0]);
    steps(w);
    assert_int_equal(c.records, 0);
    assert_int_equal(c.ends, 1);
    assert_int_equal(c.why, EXCHANGE_LOST);
}

static void what_comes_while_paused_is_kept_and_then_taken(void **state)
{
    struct script *w = *state;
    struct client c = { .pause_at = 1 };

    start(w, &c, "live/show");
    steps(w);
    for (int i = 0; i < 5; i++)
        say_health(&w->said[0], 50);
    steps(w);
    assert_int_equal(c.records, 1);
    c.pause_at = 3;
    exchange_go_on(&c.x);
    assert_int_equal(c.records, 3);
    exchange_go_on(&c.x);
    assert_int_equal(c.records, 5);
    assert_int_equal(c.bytes, 250);
    exchange_cancel(&c.x);
    steps(w);
    assert_int_equal(c.ends, 0);
}

static void a_worker_that_ends_while_paused_is_heard_to_the_end(void **state)
{
    struct script *w = *state;
    struct client c = { .pause_at = 1 };

    start(w, &c, "live/show");
    c.up_end = true;
    steps(w);
    for (int i = 0; i < 3; i++)
        say_health(&w->said[0], 50);
    finish(&w->said[0]);
    exchange_more(&c.x);
    steps(w);
    assert_int_equal(c.ends, 0);
    assert_int_equal(c.records, 1);
    exchange_go_on(&c.x);
    assert_int_equal(c.records, 3);
    assert_int_equal(c.ends, 1);
    assert_int_equal(c.why, EXCHANGE_DONE);
}

static void a_record_may_cancel_its_own_exchange(void **state)
{
    struct script *w = *state;
    struct client c = { .cancel_at = 2 }, d = { .pause_at = 1, .cancel_at = 2 };

    start(w, &c, "live/c");
    steps(w);
    start(w, &d, "live/d");
    steps(w);
    for (int i = 0; i < 4; i++) {
        say_health(&w->said[0], 50);
        say_health(&w->said[1], 50);
    }
    steps(w);
    exchange_go_on(&d.x); /* what waited: the second one cancels */
    steps(w);
    assert_int_equal(c.records, 2);
    assert_int_equal(d.records, 2);
    assert_int_equal(c.ends + d.ends, 0);
    assert_true(w->said[0].closed && w->said[1].closed);
}

static void a_dead_worker_takes_only_its_own_exchanges_along(void **state)
{
    struct script *w = *state;
    struct client old = { .ends = 0 }, young = { .ends = 0 };

    start(w, &old, "live/old");
    steps(w);
    die(w, 0);
    step(w);
    assert_int_equal(old.ends, 1);
    assert_int_equal(old.why, EXCHANGE_LOST);
    start(w, &young, "live/young");
    steps(w);
    assert_int_equal(w->conns, 2);
    say_health(&w->said[1], 9);
    steps(w);
    assert_int_equal(young.records, 1);
    exchange_cancel(&young.x);
}

/* The old one finds out by writing, in the same turn as the new one begins: same stream id. */
static void a_cancel_on_a_lost_connection_does_not_reach_the_new_one(void **state)
{
    struct script *w = *state;
    struct client old = { .up = true }, young = { .ends = 0 };

    start(w, &old, "live/old");
    steps(w);
    die(w, 0);
    old.up = true;
    exchange_more(&old.x); /* EPIPE: lost, but not yet told */
    start(w, &young, "live/young");
    assert_int_equal(old.ends, 0);
    exchange_more(&old.x);
    exchange_cancel(&old.x);
    steps(w);
    assert_int_equal(young.ends, 0);
    assert_int_equal(w->conns, 2);
    assert_string_equal(w->said[1].path, "/_encode/live/young");
    assert_int_equal(w->said[0].id, w->said[1].id);
    assert_false(w->said[1].closed);
    exchange_cancel(&young.x);
}

static void an_owner_may_read_the_head_of_the_answer(void **state)
{
    struct script *w = *state;
    struct client c = { .ends = 0 };

    start(w, &c, "live/show");
    c.x.ops = &curious_ops;
    steps(w);
    assert_true(c.head);
    assert_int_equal(c.fields, 1);
    exchange_cancel(&c.x);
}

static void a_connection_that_is_wound_up_keeps_what_it_has_and_gets_nothing_new(void **state)
{
    struct script *w = *state;
    struct client old = { .ends = 0 }, young = { .ends = 0 };

    start(w, &old, "live/old");
    old.x.ops = &curious_ops;
    steps(w);
    h2_shutdown(w->h2[0]);
    steps(w);
    assert_int_equal(old.leaving, 1);
    assert_int_equal(old.ends, 0);
    start(w, &young, "live/young");
    steps(w);
    assert_int_equal(w->conns, 2);
    say_health(&w->said[0], 9);
    say_health(&w->said[1], 9);
    steps(w);
    assert_int_equal(old.records, 1);
    assert_int_equal(young.records, 1);
    finish(&w->said[0]);
    old.up_end = true;
    exchange_more(&old.x);
    steps(w);
    assert_int_equal(old.why, EXCHANGE_DONE);
    assert_int_equal(old.leaving, 1);
    exchange_cancel(&young.x);
}

static void a_connection_that_was_given_up_gets_nothing_new(void **state)
{
    struct script *w = *state;
    struct client a = { .ends = 0 }, b = { .ends = 0 }, c = { .ends = 0 };

    start(w, &a, "live/a");
    start(w, &b, "live/b");
    steps(w);
    exchange_give_up(&a.x);
    start(w, &c, "live/c");
    steps(w);
    assert_int_equal(w->conns, 2);
    assert_true(w->said[0].closed);
    assert_false(w->said[1].closed);
    say_health(&w->said[1], 9); /* who was on it stays */
    say_health(&w->said[2], 9);
    steps(w);
    assert_int_equal(a.records, 0);
    assert_int_equal(b.records, 1);
    assert_int_equal(c.records, 1);
    exchange_cancel(&b.x);
    exchange_cancel(&c.x);
    steps(w);
    assert_int_equal(a.ends + b.ends + c.ends, 0);
}

static void a_peer_has_several_addresses(void **state)
{
    struct script *w = *state;
    struct addr_sock two[2] = { w->addr, w->addr };
    struct exchange_peer peer = { .addr = two, .n_addrs = 2, .authority = "x", .prefix = "/" };
    struct exchange_link *link;
    struct client c = { .ends = 0 };

    /* nobody listens at the first one */
    ((struct sockaddr_un *)&two[0].sa)->sun_path[5] = '!';
    link = exchange_link_new(&w->l, &peer);
    c.x.ops = &client_ops;
    c.body = (struct h2_body){ .avail = up_avail, .take = up_take };
    c.x.body = &c.body;
    assert_int_equal(exchange_start(&c.x, link, "live/show", NULL, 0), ST_EIO);
    assert_string_not_equal(exchange_link_why(link), "");
    assert_int_equal(exchange_start(&c.x, link, "live/show", NULL, 0), ST_OK);
    steps(w);
    assert_string_equal(exchange_link_why(link), "");
    assert_string_equal(w->said[0].path, "/live/show");
    exchange_link_free(&link);
    assert_int_equal(c.ends, 1);
    assert_int_equal(c.why, EXCHANGE_LOST);
}

int main(void)
{
#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(records_come_down_while_tags_go_up),
        TEST(tags_that_come_soon_after_others_go_up_together),
        TEST(a_refusal_says_whether_another_worker_may_help),
        TEST(garbage_ends_the_exchange_and_no_other),
        TEST(an_end_inside_a_record_is_no_end),
        TEST(what_comes_while_paused_is_kept_and_then_taken),
        TEST(a_worker_that_ends_while_paused_is_heard_to_the_end),
        TEST(a_record_may_cancel_its_own_exchange),
        TEST(a_dead_worker_takes_only_its_own_exchanges_along),
        TEST(a_cancel_on_a_lost_connection_does_not_reach_the_new_one),
        TEST(an_owner_may_read_the_head_of_the_answer),
        TEST(a_connection_that_is_wound_up_keeps_what_it_has_and_gets_nothing_new),
        TEST(a_connection_that_was_given_up_gets_nothing_new),
        TEST(a_peer_has_several_addresses),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
