/* Subscriptions as the home serves them: pulled by a connection that takes what the test lets it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "core/clock.h"
#include "core/conf.h"
#include "core/metric.h"
#include "core/record.h"

static void sync_point(const char *name);
#define SYNC_POINT(name) sync_point(name)
#include "origin/hub.c"
#include "origin/hub_sub.c"

static const char SESSION[] = "m0abcdefghij1";
static const char NAME[] = "live/show";

/* --- the connection --- */

struct raw {
    const struct raw_ops *ops;
    void *ctx;
    struct h2_body *body;
    int status;
    bool resumed, ended;

    /* what has come */
    struct record_reader reader;
    json_t *json; /* of the newest record, */
    struct record_head head;
    size_t bytes; /* of its body */
    int records;
    uint64_t seq; /* of the log, by what was said */
    char logid[17];
    bool told; /* there was a SNAPSHOT, or a HEARTBEAT that said the place was good */
    unsigned docs_due;
    uint64_t latest; /* of v0, by what was said */
};

void raw_take(struct raw *x, const struct raw_ops *o, void *ctx)
{
    x->ops = o;
    x->ctx = ctx;
}

enum st raw_respond(struct raw *x, int status, const struct h2_nv *nv, size_t n,
                    struct h2_body *body)
{
    (void)nv, (void)n;
    x->status = status;
    x->body = body;
    x->resumed = body != NULL;
    return ST_OK;
}

void raw_resume(struct raw *x) { x->resumed = true; }

static void hear(struct raw *x, const struct record_event *ev)
{
    if (ev->what == RECORD_GOT_BYTES) {
        x->bytes += ev->n;
        return;
    }
    if (ev->what == RECORD_GOT_ALL)
        return;
    json_decref(x->json);
    x->json = json_incref((json_t *)(uintptr_t)ev->json);
    x->head = ev->head;
    x->bytes = 0;
    x->records++;
    if (x->head.type == RECORD_SNAPSHOT) {
        json_t *v0 = json_object_get(json_object_get(x->json, "reps"), "v0");

        x->told = true;
        x->seq = x->head.seq;
        x->docs_due = (unsigned)json_integer_value(json_object_get(x->json, "docs"));
        x->latest = (uint64_t)json_integer_value(json_object_get(v0, "latest"));
        (void)snprintf(x->logid, sizeof x->logid, "%s",
                       json_string_value(json_object_get(x->json, "logid")));
        return;
    }
    if (x->docs_due > 0) {
        assert_int_equal(x->head.type, RECORD_DOC);
        x->docs_due--;
        return;
    }
    if (x->head.type == RECORD_HEARTBEAT) {
        assert_int_equal(x->head.seq, x->seq);
        x->told = true;
        return;
    }
    assert_true(x->told);
    if (x->head.type == RECORD_END && x->head.seq == x->seq)
        return;                              /* it belongs to the picture */
    assert_int_equal(x->head.seq, ++x->seq); /* no hole, ever */
    if (x->head.type == RECORD_ANNOUNCE)
        x->latest = (uint64_t)json_integer_value(json_object_get(x->json, "n"));
}

/* Takes at most max bytes; false: there was nothing. */
static bool pull(struct raw *x, size_t max)
{
    struct record_event ev;
    struct h2_slice s;
    struct rd in;
    size_t n;
    bool last;

    if (!x->resumed || x->ended)
        return false;
    switch (x->body->avail(x->body, max, &n, &last)) {
    case ST_OK:
        break;
    case ST_MORE:
        x->resumed = false;
        return false;
    default:
        fail();
    }
    x->ended = last;
    if (n == 0)
        return false;
    assert_int_equal(x->body->take(x->body, n, &s, 1), 1);
    assert_int_equal(s.n, n);
    uint8_t *copy = malloc(n); /* of the exact size, for those who look */
    struct own *own = own_ref(s.own);

    memcpy(copy, s.p, n);
    own_unref(&own);
    in = rd_init(copy, n);
    while (record_next(&x->reader, &in, &ev) == ST_OK)
        hear(x, &ev);
    assert_int_equal(x->reader.st, ST_OK);
    free(copy);
    return true;
}

static void pull_all(struct raw *x)
{
    while (pull(x, 1 << 20))
        ;
}

static void raw_init(struct raw *x)
{
    memset(x, 0, sizeof *x);
    record_reader_init(&x->reader, RECORD_BYTES_MAX);
}

/* The connection is gone. */
static void raw_fini(struct raw *x)
{
    if (x->ops != NULL)
        x->ops->gone(x->ctx);
    x->ops = NULL;
    record_reader_fini(&x->reader);
    json_decref(x->json);
    x->json = NULL;
}

/* --- the world --- */

static struct {
    struct loop l;
    struct loop *loops[1];
    struct conf *conf;
    struct hub *hub;
    struct hub_channel *c;
} w;

static uint64_t now_us = 1000 * SEC_US;
static uint64_t mono(void) { return now_us; }
static int64_t wall(void) { return INT64_C(1800000000) * (int64_t)SEC_US; }
static const struct clock_source test_clock = { mono, wall };
static const char *held_at; /* and what is done there */
static void (*held_do)(void);

static void sync_point(const char *name)
{
    if (held_at != NULL && strcmp(name, held_at) == 0) {
        held_at = NULL;
        held_do();
    }
}

static int begin(void **state)
{
    static const char text[] = "origin: {limits: {subscriptions: 3}}\n";

    (void)state;
    clock_use(&test_clock);
    assert_int_equal(loop_init(&w.l, 0, 1), ST_OK);
    w.loops[0] = &w.l;
    w.l.metrics = metrics_new();
    assert_int_equal(conf_parse("t", text, sizeof text - 1, 1, &w.conf, stderr), ST_OK);
    w.l.conf = w.conf;
    w.hub = hub_new(w.loops, 1);
    assert_int_equal(hub_open(w.hub, NAME, SESSION, 2000000, &w.c), ST_OK);
    hub_claim(w.c, 77, true);
    return 0;
}

static void turn(void)
{
    for (int i = 0; i < 3; i++)
        assert_int_equal(loop_turn_nowait(&w.l), ST_OK);
}

static int end(void **state)
{
    const struct conf *c = w.conf;

    (void)state;
    hub_close(&w.c);
    turn();
    assert_int_equal(metric_get(&w.l.metrics->push_subscribers), 0);
    hub_free(&w.hub); /* checks that nobody is left */
    loop_fini(&w.l);
    metrics_free(&w.l.metrics);
    conf_unref(&c);
    clock_use(NULL);
    return 0;
}

static void pass_time(uint64_t us)
{
    now_us += us;
    (void)loop_touch(&w.l);
    timer_wheel_sweep(&w.l);
    turn();
}

static void connect_on(struct loop *l, struct hub *h, struct raw *x, const char *name,
                       const char *since)
{
    struct http_head head = { .method = HTTP_METHOD_GET };
    char path[200];
    struct target t;

    (void)snprintf(path, sizeof path, "/_sub/%s%s%s", name, since != NULL ? "?since=" : "",
                   since != NULL ? since : "");
    assert_int_equal(target_parse(slice_of(path, strlen(path)), NULL, 0, &t), ST_OK);
    raw_init(x);
    hub_serve(h, l, x, &head, &t, true);
}

static void subscribe(struct raw *x, const char *since) { connect_on(&w.l, w.hub, x, NAME, since); }

static void doc(const char *name, size_t n)
{
    char *p = calloc(1, n + 1);

    hub_doc(w.c, &(struct hub_doc){ .name = name,
                                    .type = "application/dash+xml",
                                    .etag = "0123456789abcdef",
                                    .max_age_s = 1,
                                    .p = p,
                                    .n = n });
    free(p);
}

static json_int_t field(const struct raw *x, const char *key)
{
    return json_integer_value(json_object_get(x->json, key));
}

/* Pulls to the end of one more record. */
static void next(struct raw *x, enum record_type type)
{
    int before = x->records;

    while (x->records == before || x->bytes < x->head.payload)
        assert_true(pull(x, 1));
    assert_int_equal(x->head.type, type);
}

/* --- tests --- */

static void a_new_subscriber_is_told_what_is_the_case(void **state)
{
    struct raw x;

    (void)state;
    hub_announce(w.c, "v0", 7);
    hub_closed(w.c, "v0", 7, 1000);
    hub_announce(w.c, "v0", 8);
    hub_expire(w.c, "v0", 8);
    doc("manifest.mpd", 100);
    doc("other.mpd", 5);
    doc("manifest.mpd", 200);
    subscribe(&x, NULL);
    assert_int_equal(x.status, 200);
    next(&x, RECORD_SNAPSHOT);
    assert_string_equal(json_string_value(json_object_get(x.json, "session")), SESSION);
    assert_int_equal(field(&x, "epoch"), 77);
    assert_int_equal(field(&x, "segment"), 2000000);
    assert_int_equal(field(&x, "now"), wall());
    assert_int_equal(field(&x, "docs"), 2);
    assert_true(json_is_true(json_object_get(x.json, "live")));
    json_t *v0 = json_object_get(json_object_get(x.json, "reps"), "v0");
    assert_int_equal(json_integer_value(json_object_get(v0, "first")), 8);
    assert_int_equal(json_integer_value(json_object_get(v0, "latest")), 8);
    assert_true(json_is_true(json_object_get(v0, "open")));
    next(&x, RECORD_DOC);
    assert_int_equal(x.bytes, 5);
    next(&x, RECORD_DOC);
    assert_int_equal(x.bytes, 200); /* the newest version only */
    assert_false(pull(&x, 1));
    raw_fini(&x);
}

static void what_happens_is_told_when_it_happens(void **state)
{
    struct raw x, y;

    (void)state;
    subscribe(&x, NULL);
    subscribe(&y, NULL);
    pull_all(&x);
    pull_all(&y);
    hub_announce(w.c, "v0", 1);
    hub_closed(w.c, "v0", 1, 4242);
    assert_false(x.resumed); /* by letter */
    turn();
    next(&x, RECORD_ANNOUNCE);
    assert_int_equal(field(&x, "n"), 1);
    assert_int_equal(field(&x, "at"), wall());
    next(&x, RECORD_SCLOSE);
    assert_int_equal(field(&x, "size"), 4242);
    hub_expire(w.c, "v0", 2);
    hub_expire(w.c, "v0", 2); /* nothing new */
    hub_end(w.c);
    turn();
    next(&x, RECORD_EXPIRE);
    next(&x, RECORD_END);
    assert_false(pull(&x, 1));
    pull_all(&y);
    assert_int_equal(y.seq, x.seq);
    raw_fini(&x);
    raw_fini(&y);
}

static void a_place_that_is_in_the_ring_is_gone_on_from(void **state)
{
    char since[64];
    struct raw x;

    (void)state;
    hub_announce(w.c, "v0", 1);
    subscribe(&x, NULL);
    pull_all(&x);
    (void)snprintf(since, sizeof since, "%s.%llu", x.logid, (unsigned long long)x.seq);
    uint64_t seq = x.seq;
    raw_fini(&x);
    hub_announce(w.c, "v0", 2);
    hub_announce(w.c, "v0", 3);
    subscribe(&x, since);
    x.seq = seq;
    next(&x, RECORD_HEARTBEAT);
    next(&x, RECORD_ANNOUNCE);
    assert_int_equal(field(&x, "n"), 2);
    next(&x, RECORD_ANNOUNCE);
    assert_int_equal(field(&x, "n"), 3);
    assert_false(pull(&x, 1));
    (void)snprintf(since, sizeof since, "%s.%llu", w.c->logid, (unsigned long long)x.seq);
    raw_fini(&x);
    subscribe(&x, since); /* nothing was missed at all */
    x.seq = seq + 2;
    next(&x, RECORD_HEARTBEAT);
    assert_false(pull(&x, 1));
    raw_fini(&x);
}

static void of_a_document_that_was_replaced_only_the_place_is_kept(void **state)
{
    char since[64];
    struct raw x;

    (void)state;
    hub_announce(w.c, "v0", 1);
    subscribe(&x, NULL);
    pull_all(&x);
    (void)snprintf(since, sizeof since, "%s.%llu", x.logid, (unsigned long long)x.seq);
    uint64_t seq = x.seq;
    raw_fini(&x);
    doc("manifest.mpd", 5000);
    hub_announce(w.c, "v0", 2);
    doc("init.mp4", 70);
    doc("manifest.mpd", 6000);
    size_t kept = w.c->ring_bytes;
    doc("manifest.mpd", 6000);
    assert_in_range(w.c->ring_bytes - kept, 1, 100);
    subscribe(&x, since);
    x.seq = seq;
    next(&x, RECORD_HEARTBEAT);
    next(&x, RECORD_DOC);
    assert_true(json_is_true(json_object_get(x.json, "replaced")));
    assert_int_equal(x.bytes, 0);
    next(&x, RECORD_ANNOUNCE);
    next(&x, RECORD_DOC);
    assert_int_equal(x.bytes, 70);
    next(&x, RECORD_DOC);
    assert_true(json_is_true(json_object_get(x.json, "replaced")));
    next(&x, RECORD_DOC);
    assert_string_equal(json_string_value(json_object_get(x.json, "name")), "manifest.mpd");
    assert_int_equal(x.bytes, 6000);
    assert_false(pull(&x, 1));
    raw_fini(&x);
    for (int i = 0; i < HUB_RING; i++) /* its place leaves the ring: there is nothing to replace */
        hub_announce(w.c, "v0", 3 + (uint64_t)i);
    doc("manifest.mpd", 80);
    assert_int_equal(w.c->next - w.c->first, HUB_RING);
}

static void any_other_place_is_answered_with_a_picture(void **state)
{
    static const char *const bad[] = {
        "",    ".",    ".1",   "0.1",      "0123456789abcdef.1",     "%s",
        "%s.", "%s.x", "%s.2", "%s.99999", "%s.18446744073709551615"
    };
    struct raw x;

    (void)state;
    hub_announce(w.c, "v0", 1); /* seq 1 is the last there is */
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        char since[80];

        (void)snprintf(since, sizeof since, "%s", bad[i]);
        if (strncmp(bad[i], "%s", 2) == 0)
            (void)snprintf(since, sizeof since, "%s%s", w.c->logid, bad[i] + 2);
        subscribe(&x, since);
        next(&x, RECORD_SNAPSHOT);
        raw_fini(&x);
        turn();
    }
    for (int i = 0; i < HUB_RING; i++)
        hub_announce(w.c, "v0", 2 + (uint64_t)i);
    char since[80];
    (void)snprintf(since, sizeof since, "%s.0", w.c->logid); /* has left the ring */
    subscribe(&x, since);
    next(&x, RECORD_SNAPSHOT);
    raw_fini(&x);
}

static void a_slow_subscriber_is_jumped_and_never_queued_for(void **state)
{
    struct raw slow, quick;

    (void)state;
    hub_announce(w.c, "v0", 1);
    doc("manifest.mpd", 10);
    subscribe(&slow, NULL);
    subscribe(&quick, NULL);
    pull_all(&quick);
    next(&slow, RECORD_SNAPSHOT);
    next(&slow, RECORD_DOC);
    hub_announce(w.c, "v0", 2);
    turn();
    assert_true(pull(&slow, 7)); /* in the middle of a record */
    for (uint64_t n = 3; n < 3 * HUB_RING; n++) {
        hub_announce(w.c, "v0", n);
        turn();
        pull_all(&quick);
        assert_int_equal(quick.latest, n);
        assert_true(w.c->next - w.c->first <= HUB_RING);
    }
    next(&slow, RECORD_ANNOUNCE); /* what had begun is whole */
    assert_int_equal(field(&slow, "n"), 2);
    next(&slow, RECORD_SNAPSHOT);
    assert_int_equal(slow.latest, 3 * HUB_RING - 1);
    next(&slow, RECORD_DOC);
    assert_false(pull(&slow, 1));
    assert_int_equal(slow.seq, quick.seq);
    raw_fini(&slow);
    raw_fini(&quick);
}

static void the_ring_is_bounded_in_bytes(void **state)
{
    (void)state;
    for (int i = 0; i < 20; i++) {
        doc("manifest.mpd", HUB_RING_BYTES / 7);
        assert_true(w.c->ring_bytes <= HUB_RING_BYTES);
    }
    assert_true(w.c->next - w.c->first >= 5);
    doc("manifest.mpd", 3 << 20); /* larger than all of it: the only one left */
    assert_int_equal(w.c->next - w.c->first, 1);
}

static void the_places_of_documents_are_bounded(void **state)
{
    char name[64];
    struct raw x;

    (void)state;
    doc("manifest.mpd", 10);
    for (int i = 0; i < 3 * STREAM_DOCS_MAX; i++) {
        (void)snprintf(name, sizeof name, "%s/v0/init-%08x.mp4", SESSION, (unsigned)i);
        doc(name, 20);
        doc("manifest.mpd", 10);
    }
    subscribe(&x, NULL);
    next(&x, RECORD_SNAPSHOT);
    assert_int_equal(field(&x, "docs"), STREAM_DOCS_MAX);
    pull_all(&x);
    assert_int_equal(x.bytes, 10); /* the manifest is among them, the last */
    raw_fini(&x);
}

static void a_heartbeat_comes_every_second(void **state)
{
    struct raw x;

    (void)state;
    subscribe(&x, NULL);
    pull_all(&x);
    for (int i = 0; i < 3; i++) {
        assert_false(pull(&x, 1));
        hub_claim(w.c, 78, i != 1);
        pass_time(SEC_US + 2 * TIMER_TICK_US);
        next(&x, RECORD_HEARTBEAT);
        assert_int_equal(field(&x, "now"), wall());
        assert_int_equal(field(&x, "epoch"), 78);
        assert_int_equal(json_is_true(json_object_get(x.json, "live")), i != 1);
    }
    raw_fini(&x);
}

static void an_ended_stream_is_told_of_until_it_is_forgotten(void **state)
{
    struct raw x;

    (void)state;
    hub_announce(w.c, "v0", 1);
    doc("manifest.mpd", 10);
    hub_end(w.c);
    subscribe(&x, NULL);
    next(&x, RECORD_SNAPSHOT);
    assert_false(json_is_true(json_object_get(x.json, "live")));
    next(&x, RECORD_DOC);
    next(&x, RECORD_END);
    assert_false(pull(&x, 1));
    assert_false(x.ended);
    hub_close(&w.c);
    turn();
    assert_false(pull(&x, 1));
    assert_true(x.ended); /* in good order */
    raw_fini(&x);
    subscribe(&x, NULL);
    assert_int_equal(x.status, 404);
    raw_fini(&x);
}

static void a_new_session_takes_the_name(void **state)
{
    struct hub_channel *young;
    struct raw x, y;

    (void)state;
    subscribe(&x, NULL);
    pull_all(&x);
    assert_int_equal(hub_open(w.hub, NAME, "m1abcdefghij1", 2000000, &young), ST_OK);
    turn();
    pull_all(&x);
    assert_true(x.ended);
    subscribe(&y, NULL);
    next(&y, RECORD_SNAPSHOT);
    assert_string_equal(json_string_value(json_object_get(y.json, "session")), "m1abcdefghij1");
    assert_string_not_equal(y.logid, x.logid);
    hub_announce(w.c, "v0", 1); /* the old one may still be driven, and closed */
    hub_close(&w.c);
    raw_fini(&x);
    raw_fini(&y);
    hub_close(&young);
}

static void what_is_asked_wrongly_is_refused(void **state)
{
    struct raw x[4];
    struct http_head post = { .method = HTTP_METHOD_POST };
    struct target t;

    (void)state;
    connect_on(&w.l, w.hub, &x[0], "live/other", NULL);
    assert_int_equal(x[0].status, 404);
    connect_on(&w.l, w.hub, &x[0], "live", NULL);
    assert_int_equal(x[0].status, 404);
    connect_on(&w.l, NULL, &x[0], NAME, NULL); /* a process that is no home */
    assert_int_equal(x[0].status, 404);
    assert_int_equal(target_parse(SLICE("/_sub/live/show"), NULL, 0, &t), ST_OK);
    hub_serve(w.hub, &w.l, &x[0], &post, &t, true);
    assert_int_equal(x[0].status, 405);
    raw_fini(&x[0]);
    for (int i = 0; i < 4; i++)
        subscribe(&x[i], NULL);
    assert_int_equal(x[2].status, 200);
    assert_int_equal(x[3].status, 503);
    assert_int_equal(metric_get(&w.l.metrics->limit_hits[METRIC_LIMIT_SUBSCRIPTIONS]), 1);
    for (int i = 0; i < 4; i++)
        raw_fini(&x[i]);
}

/* --- letters --- */

static struct raw *held_x;
static void hang_up_held(void) { raw_fini(held_x); }

static void a_subscriber_may_go_while_his_letter_is_on_its_way(void **state)
{
    struct raw x;

    (void)state;
    subscribe(&x, NULL);
    pull_all(&x);
    hub_announce(w.c, "v0", 1);
    raw_fini(&x);
    turn(); /* ASan would see it */
    assert_int_equal(hub_subscribers(w.hub), 0);
    /* between the record and the signal */
    subscribe(&x, NULL);
    pull_all(&x);
    held_x = &x;
    held_at = "hub:signal";
    held_do = hang_up_held;
    hub_announce(w.c, "v0", 2);
    turn();
    assert_int_equal(hub_subscribers(w.hub), 0);
}

static void announce_more(void) { hub_announce(w.c, "v0", 9); }

static void what_comes_while_a_letter_is_read_is_not_lost(void **state)
{
    struct raw x;

    (void)state;
    subscribe(&x, NULL);
    pull_all(&x);
    held_at = "hub:disarmed";
    held_do = announce_more;
    hub_announce(w.c, "v0", 8);
    turn();
    pull_all(&x);
    assert_int_equal(x.latest, 9);
    raw_fini(&x);
}

/* --- many at once: for TSan, and for what nobody has thought of --- */

enum { LOOPS = 3, CONNS = 6, ROUNDS = 4000 };

struct side {
    struct loop l;
    pthread_t thread;
    struct timer timer;
    struct raw conn[CONNS];
    bool open[CONNS];
    uint64_t rnd;
    struct hub *hub;
    _Atomic uint64_t *target; /* what v0 has come to; 0: not yet */
    int whole, resumed;
};

static uint64_t draw(struct side *s, uint64_t n)
{
    s->rnd = s->rnd * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
    return (s->rnd >> 33) % n;
}

static void reconnect(struct side *s, int i, bool place)
{
    struct raw *x = &s->conn[i];
    char since[64];
    uint64_t seq = x->seq;

    (void)snprintf(since, sizeof since, "%s.%llu", x->logid, (unsigned long long)seq);
    uint64_t latest = x->latest;

    place = place && x->told && x->docs_due == 0;
    if (s->open[i])
        raw_fini(x);
    connect_on(&s->l, s->hub, x, NAME, place ? since : NULL);
    s->open[i] = x->status == 200;
    x->seq = seq;
    x->latest = latest;
    s->resumed += place;
}

static void drive(struct loop *l, struct timer *t)
{
    struct side *s = CONTAINER_OF(t, struct side, timer);
    uint64_t end = atomic_load(s->target);
    bool done = end != 0;

    for (int i = 0; i < CONNS; i++) {
        struct raw *x = &s->conn[i];

        if (end == 0 && draw(s, 20) == 0)
            reconnect(s, i, draw(s, 2) == 0);
        for (uint64_t k = end != 0 ? 10000 : draw(s, 40); k > 0 && pull(x, 1 + draw(s, 200)); k--)
            ;
        done = done && x->latest == end;
    }
    if (!done) {
        timer_set(l, t, loop_now(l) + 1);
        return;
    }
    for (int i = 0; i < CONNS; i++) {
        s->whole++;
        raw_fini(&s->conn[i]);
        s->open[i] = false;
    }
    loop_stop(l);
}

static void *run(void *arg)
{
    struct side *s = arg;

    for (int i = 0; i < CONNS; i++)
        reconnect(s, i, false);
    s->timer.fire = drive;
    timer_set(&s->l, &s->timer, loop_now(&s->l));
    assert_int_equal(loop_run(&s->l), ST_OK);
    return NULL;
}

static void subscribers_on_all_loops_miss_nothing(void **state)
{
    static struct side side[LOOPS];
    static const char text[] = "loops: 1\n";
    struct loop *loops[LOOPS];
    _Atomic uint64_t target = 0;
    struct hub_channel *c;
    struct conf *conf;
    const struct conf *borrowed;
    struct hub *h;

    (void)state;
    clock_use(NULL);
    held_at = NULL;
    assert_int_equal(conf_parse("t", text, sizeof text - 1, 1, &conf, stderr), ST_OK);
    memset(side, 0, sizeof side);
    for (int i = 0; i < LOOPS; i++) {
        assert_int_equal(loop_init(&side[i].l, i, LOOPS), ST_OK);
        side[i].l.conf = conf;
        side[i].l.metrics = metrics_new();
        side[i].rnd = (uint64_t)i * 7919 + 1;
        side[i].target = &target;
        loops[i] = &side[i].l;
    }
    h = hub_new(loops, LOOPS);
    assert_int_equal(hub_open(h, NAME, SESSION, 2000000, &c), ST_OK);
    hub_claim(c, 1, true);
    hub_announce(c, "v0", 1);
    for (int i = 0; i < LOOPS; i++) {
        side[i].hub = h;
        assert_int_equal(pthread_create(&side[i].thread, NULL, run, &side[i]), 0);
    }
    for (uint64_t n = 2; n < ROUNDS; n++) { /* this thread is the home */
        struct hub_doc d = { "manifest.mpd", "x/y", "00", 1, "<MPD/>", 6 };

        hub_announce(c, "v0", n);
        hub_doc(c, &d);
        if (n % 50 == 0)
            (void)usleep(2000); /* let them come after it, now and then */
    }
    atomic_store(&target, ROUNDS - 1);
    for (int i = 0; i < LOOPS; i++) {
        assert_int_equal(pthread_join(side[i].thread, NULL), 0);
        assert_int_equal(side[i].whole, CONNS);
    }
    hub_close(&c);
    for (int i = 0; i < LOOPS; i++)
        for (int k = 0; k < 3; k++)
            assert_int_equal(loop_turn_nowait(loops[i]), ST_OK);
    hub_free(&h);
    for (int i = 0; i < LOOPS; i++) {
        loop_fini(loops[i]);
        metrics_free(&side[i].l.metrics);
    }
    borrowed = conf;
    conf_unref(&borrowed);
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, begin, end)
    const struct CMUnitTest tests[] = {
        T(a_new_subscriber_is_told_what_is_the_case),
        T(what_happens_is_told_when_it_happens),
        T(a_place_that_is_in_the_ring_is_gone_on_from),
        T(of_a_document_that_was_replaced_only_the_place_is_kept),
        T(any_other_place_is_answered_with_a_picture),
        T(a_slow_subscriber_is_jumped_and_never_queued_for),
        T(the_ring_is_bounded_in_bytes),
        T(the_places_of_documents_are_bounded),
        T(a_heartbeat_comes_every_second),
        T(an_ended_stream_is_told_of_until_it_is_forgotten),
        T(a_new_session_takes_the_name),
        T(what_is_asked_wrongly_is_refused),
        T(a_subscriber_may_go_while_his_letter_is_on_its_way),
        T(what_comes_while_a_letter_is_read_is_not_lost),
        cmocka_unit_test(subscribers_on_all_loops_miss_nothing),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
