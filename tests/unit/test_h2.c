/* HTTP/2 sessions: bodies, references, windows, endings. Limits: test_h2_limits.c. */
#include "tests/unit/h2_pair.h"

static void bodies_arrive_whole_at_any_split(void **state)
{
    static const size_t splits[] = { 1, 10, 1000, 300000 };
    static const char *const paths[] = { "/0", "/1", "/16375", "/16376", "/65536", "/100000" };

    (void)state;
    for (size_t k = 0; k < 4; k++) {
        struct app *a = app_new(&h2_limits_player, &h2_limits_tier);

        a->split = splits[k];
        for (int i = 0; i < 6; i++)
            (void)app_get(a, i, paths[i]);
        app_run(a);
        for (int i = 0; i < 6; i++) {
            struct call *c = &a->cli[i];

            assert_string_equal(c->status, "200");
            assert_int_equal(c->bytes, strtoul(paths[i] + 1, NULL, 10));
            assert_true(c->data_ok && c->ended && c->closed);
            assert_int_equal(c->why.code, H2_NO_ERROR);
            assert_false(c->why.by_peer);
            assert_int_equal(c->why.reason, H2_RESET_NONE);
        }
        assert_int_equal(a->freed, 6);
        assert_true(h2_idle(a->server) && h2_idle(a->client));
        assert_int_equal(h2_streams_open(a->server), 0);
        app_free(a);
    }
}

static void four_mebibytes_between_tiers(void **state)
{
    struct app *a = app_new(&h2_limits_tier, &h2_limits_tier);
    struct call *c = app_get(a, 0, "/4194304");

    (void)state;
    app_run(a);
    assert_int_equal(c->bytes, 4194304);
    assert_true(c->data_ok && c->ended);
    app_free(a);
}

static void a_hundred_streams_at_once(void **state)
{
    struct app *a = app_new(&h2_limits_player, &h2_limits_tier);

    (void)state;
    for (int i = 0; i < 100; i++)
        (void)app_get(a, i, "/40000");
    app_run(a);
    for (int i = 0; i < 100; i++)
        assert_true(a->cli[i].bytes == 40000 && a->cli[i].data_ok && a->cli[i].ended);
    assert_int_equal(a->freed, 100);
    assert_int_equal(h2_counts(a->server)->streams, 100);
    app_free(a);
}

/* Walks the frames in a queue without taking them. */
struct seen {
    size_t data, data_max, empty_data, ends, goaways, resets;
    uint32_t goaway_code, reset_code;
};
static struct seen look(struct outq *q)
{
    size_t n = outq_bytes(q);
    uint8_t *p = app_take(q, n);
    struct seen seen = { 0 };

    for (size_t i = 0; i + 9 <= n;) {
        size_t len = (size_t)p[i] << 16 | (size_t)p[i + 1] << 8 | p[i + 2];
        const uint8_t *pay = p + i + 9;

        if (p[i + 3] == 0) {
            seen.data++;
            seen.empty_data += len == 0;
            seen.data_max = len > seen.data_max ? len : seen.data_max;
            seen.ends += p[i + 4] & 1;
        } else if (p[i + 3] == 3) {
            seen.resets++;
            seen.reset_code = pay[3];
        } else if (p[i + 3] == 7) {
            seen.goaways++;
            seen.goaway_code = pay[7];
        }
        i += 9 + len;
    }
    free(p);
    return seen;
}

static void the_end_goes_on_the_last_frame_and_frames_fit_a_record(void **state)
{
    struct app *a = app_new(&h2_limits_player, &h2_limits_tier);

    (void)state;
    a->budget = 1 << 20;
    (void)app_get(a, 0, "/60000");
    (void)app_get(a, 1, "/0");
    while (app_carry(a, a->client, a->server))
        ;
    assert_int_equal(h2_pump(a->server, a->budget), ST_OK);
    struct seen seen = look(h2_outq(a->server));
    assert_int_equal(seen.data, 4 + 1);
    assert_int_equal(seen.empty_data, 1); /* the empty body's */
    assert_int_equal(seen.ends, 2);
    assert_int_equal(seen.data_max, 16375);
    app_free(a);
}

static void the_pump_stops_at_its_budget(void **state)
{
    struct app *a = app_new(&h2_limits_player, &h2_limits_tier);

    (void)state;
    (void)app_get(a, 0, "/1000000");
    while (app_carry(a, a->client, a->server))
        ;
    for (int i = 0; i < 3; i++) {
        assert_int_equal(h2_pump(a->server, 100000), ST_MORE);
        assert_in_range(outq_bytes(h2_outq(a->server)), 100000, 100000 + 16384);
    }
    app_run(a);
    assert_int_equal(a->cli[0].bytes, 1000000);
    app_free(a);
}

static void references_outlive_the_stream_until_the_bytes_are_taken(void **state)
{
    struct app *a = app_new(&h2_limits_player, &h2_limits_tier);
    struct outq *q = h2_outq(a->server);

    (void)state;
    (void)app_get(a, 0, "/50000");
    while (app_carry(a, a->client, a->server))
        ;
    assert_int_equal(h2_pump(a->server, 1 << 20), ST_OK);
    assert_true(a->srv[0].closed); /* the stream is gone, its bytes are not */
    assert_int_equal(a->freed, 0);
    while (outq_bytes(q) > 1) {
        free(app_take(q, outq_bytes(q) / 2));
        assert_int_equal(a->freed, 0);
    }
    free(app_take(q, 1));
    assert_int_equal(a->freed, 1);
    app_free(a);
}

static void a_body_that_waits_is_resumed(void **state)
{
    struct app *a = app_new(&h2_limits_player, &h2_limits_tier);
    struct call *c = app_get(a, 0, "/90000");
    struct h2_progress pr;

    (void)state;
    a->hold = true;
    app_run(a);
    struct call *srv = &a->srv[0];
    app_answer(a, srv);
    srv->src->published = 0;
    srv->src->complete = false;
    for (size_t n = 0; n < 90000; n += 15000) {
        app_run(a);
        assert_int_equal(c->bytes, n);
        assert_false(c->ended);
        assert_int_equal(h2_pump(a->server, a->budget), ST_OK);
        assert_int_equal(h2_stream_progress(a->server, srv->id, &pr), ST_OK);
        assert_true(pr.waiting && !pr.starved);
        assert_int_equal(pr.body_bytes, n);
        srv->src->published = n + 15000;
        app_wait(a, SEC_US);
        h2_resume(a->server, srv->id);
        assert_int_equal(h2_stream_progress(a->server, srv->id, &pr), ST_OK);
        assert_false(pr.waiting);
        assert_int_equal(pr.since_us, test_now);
    }
    app_run(a);
    assert_int_equal(c->bytes, 90000);
    assert_false(c->ended);
    srv->src->complete = true;
    h2_resume(a->server, srv->id);
    h2_resume(a->server, srv->id); /* twice is once */
    h2_resume(a->server, 12345);   /* nobody */
    app_run(a);
    assert_true(c->ended && c->data_ok && srv->closed);
    h2_resume(a->server, srv->id); /* gone */
    app_free(a);
}

static void a_broken_body_never_looks_complete(void **state)
{
    (void)state;
    for (int how = 0; how < 3; how++) {
        struct app *a = app_new(&h2_limits_player, &h2_limits_tier);
        struct call *c = app_get(a, 0, "/90000");

        a->hold = true;
        app_run(a);
        struct call *srv = &a->srv[0];
        app_answer(a, srv);
        srv->src->published = 40000;
        srv->src->complete = false;
        app_run(a);
        assert_int_equal(c->bytes, 40000);
        if (how == 0) {
            srv->src->broken = true;
            h2_resume(a->server, srv->id);
        } else if (how == 1) {
            srv->src->published = 90000;
            srv->src->complete = srv->src->refuse_take = true;
            h2_resume(a->server, srv->id);
        } else {
            h2_reset(a->server, srv->id, H2_INTERNAL_ERROR, H2_RESET_BROKEN_BODY);
        }
        app_run(a);
        assert_false(c->ended);
        assert_true(c->closed && c->why.by_peer);
        assert_int_equal(c->why.code, H2_INTERNAL_ERROR);
        assert_true(srv->closed && !srv->why.by_peer);
        assert_int_equal(srv->why.reason, H2_RESET_BROKEN_BODY);
        assert_int_equal(a->freed, 1);
        assert_int_equal(h2_counts(a->server)->errors, 0); /* not the peer's fault */
        assert_int_equal(h2_end_of(a->server), H2_END_NONE);
        (void)app_get(a, 1, "/10"); /* and the connection lives */
        a->hold = false;
        app_run(a);
        assert_true(a->cli[1].ended);
        app_free(a);
    }
}

static void a_request_may_have_a_body(void **state)
{
    static const struct h2_nv post[] = { H2_NV(":method", "POST"), H2_NV(":scheme", "http"),
                                         H2_NV(":path", "/7"), H2_NV("host", "only") };
    struct app *a = app_new(&h2_limits_tier, &h2_limits_tier);
    struct call *c = &a->cli[0];

    (void)state;
    *c = (struct call){ .h2 = a->client, .data_ok = true };
    c->src = source_new(200000, 999, &a->freed);
    assert_int_equal(h2_request(a->client, post, 4, &c->src->b, c, &c->id), ST_OK);
    a->hold = true;
    app_run(a);
    assert_int_equal(a->srv[0].bytes, 200000);
    assert_true(a->srv[0].ended && a->srv[0].data_ok);
    app_answer(a, &a->srv[0]);
    app_run(a);
    assert_true(c->ended && c->closed && c->bytes == 7);
    assert_int_equal(a->freed, 2);
    app_free(a);
}

static const struct h2_limits narrow = {
    .max_streams = 100,
    .stream_window_bytes = 64 * 1024,
    .conn_window_bytes = 128 * 1024,
    .max_frame_bytes = 16384,
    .max_data_bytes = 16375,
    .max_header_bytes = 16384,
    .max_continuations = 8,
    .max_settings = 32,
    .max_control_bytes = 64 * 1024,
    .max_resets = 1000,
    .max_resets_per_s = 20,
    .max_errors = 200,
    .max_control_frames = 5000,
    .rate_us = 10 * SEC_US,
};

static void stalled_streams_starve_nobody(void **state)
{
    struct app *a = app_new(&h2_limits_player, &narrow);
    struct h2_progress pr;

    (void)state;
    app_run(a); /* the client's windows are known */
    for (int i = 0; i < 8; i++) {
        (void)app_get(a, i, "/1000000");
        a->cli[i].stall = true;
    }
    app_run(a);
    for (int i = 0; i < 8; i++) {
        assert_int_equal(a->cli[i].bytes, 64 * 1024); /* together four times the connection's */
        assert_int_equal(h2_stream_progress(a->server, a->srv[i].id, &pr), ST_OK);
        assert_true(pr.starved && !pr.waiting);
    }
    (void)app_get(a, 8, "/1000000");
    app_run(a);
    assert_true(a->cli[8].ended && a->cli[8].bytes == 1000000);
    for (int i = 0; i < 8; i++) {
        a->cli[i].stall = false;
        h2_consume(a->client, a->cli[i].id, a->cli[i].bytes);
    }
    app_run(a);
    for (int i = 0; i < 8; i++)
        assert_true(a->cli[i].ended && a->cli[i].bytes == 1000000 && a->cli[i].data_ok);
    app_free(a);
}

static void bytes_for_streams_given_up_return_their_window(void **state)
{
    struct app *a = app_new(&h2_limits_tier, &narrow);

    (void)state;
    app_run(a);
    for (int i = 0; i < 40; i++) { /* far more than the connection's window in all */
        struct call *c = app_get(a, i, "/60000");

        while (app_carry(a, a->client, a->server))
            ;
        assert_int_equal(h2_pump(a->server, 1 << 20), ST_OK);
        h2_reset(a->client, c->id, H2_CANCEL, H2_RESET_CANCELLED); /* while it is on its way */
        app_run(a);
        assert_true(c->closed && !c->ended && c->bytes == 0);
        assert_int_equal(c->why.reason, H2_RESET_CANCELLED);
    }
    (void)app_get(a, 50, "/1000000");
    app_run(a);
    assert_true(a->cli[50].ended);
    app_free(a);
}

static void after_a_reset_only_the_close_comes(void **state)
{
    struct app *a = app_new(&h2_limits_player, &h2_limits_tier);
    struct call *c = app_get(a, 0, "/500000");

    (void)state;
    for (int i = 0; i < 20 && c->bytes == 0; i++) {
        (void)app_carry(a, a->client, a->server);
        (void)app_carry(a, a->server, a->client);
    }
    size_t then = c->bytes;
    h2_reset(a->client, c->id, H2_CANCEL, H2_RESET_CANCELLED);
    h2_reset(a->client, c->id, H2_NO_ERROR, H2_RESET_ANSWERED); /* the first counts */
    assert_false(c->closed);
    app_run(a);
    assert_int_equal(c->bytes, then);
    assert_true(c->closed && !c->ended && !c->why.by_peer);
    assert_int_equal(c->why.code, H2_CANCEL);
    assert_int_equal(c->why.reason, H2_RESET_CANCELLED);
    assert_true(a->srv[0].closed && a->srv[0].why.by_peer);
    assert_int_equal(a->srv[0].why.code, H2_CANCEL);
    assert_int_equal(a->freed, 1);

    /* and one that was never sent */
    c = app_get(a, 1, "/5");
    h2_reset(a->client, c->id, H2_CANCEL, H2_RESET_CANCELLED);
    app_run(a);
    assert_true(c->closed && !c->why.by_peer);
    assert_int_equal(c->why.reason, H2_RESET_CANCELLED);
    assert_int_equal(h2_counts(a->server)->streams, 1);
    assert_int_equal(h2_streams_open(a->client), 0);
    app_free(a);
}

static void freeing_closes_every_stream_once(void **state)
{
    struct app *a = app_new(&h2_limits_player, &h2_limits_tier);

    (void)state;
    a->hold = true;
    for (int i = 0; i < 3; i++)
        (void)app_get(a, i, "/5");
    app_run(a);
    app_answer(a, &a->srv[0]);
    (void)app_get(a, 3, "/5"); /* not even sent */
    h2_free(&a->server);
    h2_free(&a->client);
    for (int i = 0; i < 4; i++) {
        assert_true(a->cli[i].closed && (i == 3 || a->srv[i].closed));
        assert_int_equal(a->cli[i].why.reason, H2_RESET_SHUTDOWN);
        assert_false(a->cli[i].why.by_peer);
    }
    assert_int_equal(a->freed, 1);
    app_free(a);
}

static void a_refused_stream_is_refused(void **state)
{
    struct app *a = app_new(&h2_limits_player, &h2_limits_tier);
    struct call *c = app_get(a, 0, "/5");

    (void)state;
    a->refuse = true;
    app_run(a);
    assert_true(c->closed && c->why.by_peer);
    assert_int_equal(c->why.code, H2_REFUSED_STREAM);
    assert_int_equal(h2_counts(a->server)->errors, 0);
    assert_int_equal(h2_counts(a->server)->resets[H2_RESET_REFUSED], 1);
    assert_int_equal(h2_streams_open(a->server), 0);
    app_free(a);
}

static void an_early_answer_arrives_before_its_reset(void **state)
{
    static const struct h2_nv post[] = { H2_NV(":method", "POST"), H2_NV(":scheme", "http"),
                                         H2_NV(":path", "/7"), H2_NV(":authority", "x") };
    static const struct h2_nv too_large[] = { H2_NV(":status", "413") };
    struct app *a = app_new(&h2_limits_player, &h2_limits_tier);
    struct call *c = &a->cli[0];

    (void)state;
    a->hold = true;
    *c = (struct call){ .h2 = a->client, .data_ok = true };
    c->src = source_new(10 << 20, 9999, &a->freed);
    assert_int_equal(h2_request(a->client, post, 4, &c->src->b, c, &c->id), ST_OK);
    while (a->srv_n == 0)
        (void)app_carry(a, a->client, a->server);
    assert_int_equal(h2_respond(a->server, c->id, too_large, 1, NULL), ST_OK);
    app_run(a);
    assert_string_equal(c->status, "413");
    assert_true(c->ended && c->closed && c->why.by_peer);
    assert_int_equal(c->why.code, H2_NO_ERROR);
    assert_int_equal(a->srv[0].why.reason, H2_RESET_ANSWERED);
    assert_int_equal(h2_respond(a->server, c->id, too_large, 1, NULL), ST_ENOENT);
    app_free(a);
}

static void shutdown_lets_streams_end(void **state)
{
    struct app *a = app_new(&h2_limits_player, &h2_limits_tier);

    (void)state;
    a->hold = true;
    (void)app_get(a, 0, "/70000");
    app_run(a);
    assert_true(h2_accepts(a->client));
    h2_shutdown(a->server);
    (void)app_get(a, 1, "/80000"); /* crosses the notice: still served */
    app_run(a);
    assert_false(h2_accepts(a->client));
    assert_true(h2_wants_read(a->server));
    h2_shutdown(a->server);
    app_answer(a, &a->srv[0]);
    app_answer(a, &a->srv[1]);
    app_run(a);
    assert_true(a->cli[0].ended && a->cli[1].ended);
    assert_int_equal(a->cli[1].bytes, 80000);
    assert_true(h2_done(a->server) && h2_done(a->client));
    assert_int_equal(h2_end_of(a->server), H2_END_NONE);
    app_free(a);
}

static void a_late_request_learns_that_it_was_not_served(void **state)
{
    struct app *a = app_new(&h2_limits_player, &h2_limits_tier);

    (void)state;
    app_run(a);
    h2_shutdown(a->server);
    h2_shutdown(a->server);
    struct call *c = app_get(a, 0, "/5");
    app_run(a);
    assert_true(c->closed && c->why.by_peer);
    assert_int_equal(c->why.code, H2_REFUSED_STREAM); /* safe to try elsewhere */
    assert_int_equal(a->srv_n, 0);
    app_free(a);
}

static void terminate_leaves_a_goaway_to_flush(void **state)
{
    struct app *a = app_new(&h2_limits_player, &h2_limits_tier);

    (void)state;
    (void)app_get(a, 0, "/5000000");
    while (app_carry(a, a->client, a->server))
        ;
    assert_int_equal(h2_pump(a->server, 100000), ST_MORE);
    h2_terminate(a->server, H2_NO_ERROR);
    assert_int_equal(h2_pump(a->server, 100000), ST_EOF); /* the queue is full: it goes in still */
    assert_int_equal(h2_feed(a->server, "x", 1), ST_EOF);
    assert_false(h2_wants_read(a->server));
    assert_int_equal(look(h2_outq(a->server)).goaways, 1);
    assert_true(h2_done(a->server));
    assert_int_equal(h2_end_of(a->server), H2_END_TERMINATED);
    app_free(a);
}

static void urgent_bodies_go_first(void **state)
{
    struct app *a = app_new(&h2_limits_player, &h2_limits_tier);

    (void)state;
    a->hold = true;
    for (int i = 0; i < 3; i++)
        (void)app_get(a, i, "/300000");
    app_run(a);
    for (int i = 0; i < 3; i++)
        app_answer(a, &a->srv[i]);
    h2_priority(a->server, a->srv[0].id, 3, false);
    h2_priority(a->server, a->srv[1].id, 1, false);
    h2_priority(a->server, a->srv[2].id, 0, false);
    while (!a->cli[2].ended) {
        (void)app_carry(a, a->client, a->server);
        (void)app_carry(a, a->server, a->client);
    }
    assert_true(a->cli[0].bytes < 200000);
    while (!a->cli[1].ended) {
        (void)app_carry(a, a->client, a->server);
        (void)app_carry(a, a->server, a->client);
    }
    assert_false(a->cli[0].ended);
    app_run(a);
    assert_true(a->cli[0].ended);
    app_free(a);
}

static void a_client_keeps_to_the_servers_streams(void **state)
{
    static const struct h2_nv get[] = { H2_NV(":method", "GET"), H2_NV(":scheme", "http"),
                                        H2_NV(":path", "/7"), H2_NV(":authority", "x") };
    struct app *a = app_new(&h2_limits_player, &h2_limits_tier);
    struct call extra = { .h2 = a->client };

    (void)state;
    a->hold = true;
    app_run(a);
    for (int i = 0; i < 100; i++) {
        assert_true(h2_accepts(a->client));
        (void)app_get(a, i, "/5");
    }
    assert_false(h2_accepts(a->client));
    assert_int_equal(h2_request(a->client, get, 4, NULL, &extra, &extra.id), ST_ELIMIT);
    app_run(a);
    app_answer(a, &a->srv[0]);
    app_run(a);
    assert_true(h2_accepts(a->client));
    app_free(a);
}

static void interim_responses_and_trailers_are_not_shown(void **state)
{
    /* SETTINGS; HEADERS 1 {:status 103, link}; HEADERS 1 {:status 200}; DATA "\0"; trailer x: y */
    static const uint8_t wire[] = {
        0, 0, 0,   4,   0,   0,   0, 0,   0,                           /* */
        0, 0, 15,  1,   4,   0,   0, 0,   1,   0x08, 3, '1', '0', '3', /* */
        0, 4, 'l', 'i', 'n', 'k', 3, '<', 'a', '>',                    /* */
        0, 0, 1,   1,   4,   0,   0, 0,   1,   0x88,                   /* */
        0, 0, 1,   0,   0,   0,   0, 0,   1,   0,                      /* */
        0, 0, 5,   1,   5,   0,   0, 0,   1,   0,    1, 'x', 1,   'y',
    };

    (void)state;
    for (size_t cut = 0; cut <= sizeof wire; cut++) {
        struct app *a = app_new(NULL, &h2_limits_tier);
        struct call *c = app_get(a, 0, "/1");
        uint8_t *one = malloc(cut + 1), *two = malloc(sizeof wire - cut + 1);

        memcpy(one, wire, cut);
        memcpy(two, wire + cut, sizeof wire - cut);
        assert_int_equal(h2_pump(a->client, a->budget), ST_OK);
        assert_int_equal(h2_feed(a->client, one, cut), ST_OK);
        assert_int_equal(h2_feed(a->client, two, sizeof wire - cut), ST_OK);
        assert_string_equal(c->status, "200");
        assert_int_equal(c->fields, 1);
        assert_int_equal(c->bytes, 1);
        assert_true(c->head && c->ended && c->closed);
        free(one);
        free(two);
        app_free(a);
    }
}

static void a_head_too_large_to_send_is_told_at_once(void **state)
{
    static char big[H2_HEAD_MAX];
    struct h2_nv nv[] = { H2_NV(":status", "200"), { .name = "x", .name_len = 1 } };
    struct app *a = app_new(&h2_limits_player, &h2_limits_tier);

    (void)state;
    memset(big, 'a', sizeof big);
    nv[1].value = big;
    nv[1].value_len = sizeof big;
    a->hold = true;
    (void)app_get(a, 0, "/5");
    app_run(a);
    assert_int_equal(h2_respond(a->server, a->srv[0].id, nv, 2, NULL), ST_ELIMIT);
    nv[1].value_len = sizeof big - 11;
    assert_int_equal(h2_respond(a->server, a->srv[0].id, nv, 2, NULL), ST_OK);
    app_run(a);
    assert_true(a->cli[0].ended); /* the tier takes 64 KiB of it */
    app_free(a);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(bodies_arrive_whole_at_any_split),
        cmocka_unit_test(four_mebibytes_between_tiers),
        cmocka_unit_test(a_hundred_streams_at_once),
        cmocka_unit_test(the_end_goes_on_the_last_frame_and_frames_fit_a_record),
        cmocka_unit_test(the_pump_stops_at_its_budget),
        cmocka_unit_test(references_outlive_the_stream_until_the_bytes_are_taken),
        cmocka_unit_test(a_body_that_waits_is_resumed),
        cmocka_unit_test(a_broken_body_never_looks_complete),
        cmocka_unit_test(a_request_may_have_a_body),
        cmocka_unit_test(stalled_streams_starve_nobody),
        cmocka_unit_test(bytes_for_streams_given_up_return_their_window),
        cmocka_unit_test(after_a_reset_only_the_close_comes),
        cmocka_unit_test(freeing_closes_every_stream_once),
        cmocka_unit_test(a_refused_stream_is_refused),
        cmocka_unit_test(an_early_answer_arrives_before_its_reset),
        cmocka_unit_test(shutdown_lets_streams_end),
        cmocka_unit_test(a_late_request_learns_that_it_was_not_served),
        cmocka_unit_test(terminate_leaves_a_goaway_to_flush),
        cmocka_unit_test(urgent_bodies_go_first),
        cmocka_unit_test(a_client_keeps_to_the_servers_streams),
        cmocka_unit_test(interim_responses_and_trailers_are_not_shown),
        cmocka_unit_test(a_head_too_large_to_send_is_told_at_once),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
