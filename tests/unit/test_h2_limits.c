/* Hostile HTTP/2: every limit with the reason it must give, and the legal client beside it. */
#include "core/h2_guard.h"
#include "tests/unit/h2_pair.h"

/* -- frames by hand -- */

struct wire {
    size_t n;
    uint8_t b[600 * 1024];
};
static struct wire w;

enum { DATA, HEADERS, PRIORITY, RST, SETTINGS, PUSH, PING, GOAWAY, WINDOW, CONT };
enum { ES = 1, ACK = 1, EH = 4, PAD = 8, PRI = 32 };

static void put(const void *p, size_t n)
{
    assert_true(w.n + n <= sizeof w.b);
    if (n > 0)
        memcpy(w.b + w.n, p, n);
    w.n += n;
}
static void put_be(uint32_t v, int n)
{
    for (int i = n - 1; i >= 0; i--)
        put(&(uint8_t){ (uint8_t)(v >> (8 * i)) }, 1);
}
static void frame(uint32_t type, uint32_t flags, uint32_t id, const void *p, size_t n)
{
    put_be((uint32_t)n, 3);
    put_be(type, 1);
    put_be(flags, 1);
    put_be(id, 4);
    put(p, n);
}
static void preface(void)
{
    w.n = 0;
    put("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 24);
    frame(SETTINGS, 0, 0, NULL, 0);
    frame(SETTINGS, ACK, 0, NULL, 0);
}
/* :method GET, :scheme http, :path /, :authority "a" */
static const uint8_t get_head[] = { 0x82, 0x86, 0x84, 0x01, 1, 'a' };
static const uint8_t post_head[] = { 0x83, 0x86, 0x84, 0x01, 1, 'a' };
static void get(uint32_t id) { frame(HEADERS, ES | EH, id, get_head, sizeof get_head); }
static void post(uint32_t id) { frame(HEADERS, EH, id, post_head, sizeof post_head); }
static void rst(uint32_t id) { frame(RST, 0, id, "\0\0\0\10", 4); }
static void window(uint32_t id, uint32_t by)
{
    uint8_t p[4] = { (uint8_t)(by >> 24), (uint8_t)(by >> 16), (uint8_t)(by >> 8), (uint8_t)by };

    frame(WINDOW, 0, id, p, 4);
}
static void setting(uint16_t key, uint32_t v)
{
    uint8_t p[6] = { (uint8_t)(key >> 8), (uint8_t)key,      (uint8_t)(v >> 24),
                     (uint8_t)(v >> 16),  (uint8_t)(v >> 8), (uint8_t)v };

    frame(SETTINGS, 0, 0, p, 6);
}
static size_t field(uint8_t *to, const char *name, const char *value)
{
    size_t nl = strlen(name), vl = strlen(value), n = 0;

    to[n++] = 0;
    to[n++] = (uint8_t)nl;
    memcpy(to + n, name, nl);
    n += nl;
    assert_true(vl < 127);
    to[n++] = (uint8_t)vl;
    memcpy(to + n, value, vl);
    return n + vl;
}

/* Feeds what is in w from an exact-size copy, pumps, and throws the answers away (or keeps them).
 */
static enum st feed(struct app *a)
{
    uint8_t *p = malloc(w.n + (w.n == 0));

    memcpy(p, w.b, w.n);
    enum st st = h2_feed(a->server, p, w.n);
    free(p);
    w.n = 0;
    if (st == ST_OK && (st = h2_pump(a->server, a->budget)) == ST_MORE)
        st = ST_OK;
    return st;
}
/* The error code of the GOAWAY in the queue; -1: there is none. Empties the queue. */
static int goaway(struct app *a)
{
    struct outq *q = h2_outq(a->server);
    size_t n = outq_bytes(q);
    uint8_t *p = app_take(q, n);
    int code = -1;

    for (size_t i = 0; i + 9 <= n;) {
        size_t len = (size_t)p[i] << 16 | (size_t)p[i + 1] << 8 | p[i + 2];

        if (p[i + 3] == GOAWAY)
            code = p[i + 9 + 7];
        i += 9 + len;
    }
    free(p);
    return code;
}
static void drain(struct app *a) { assert_int_equal(goaway(a), -1); }

static struct app *server_with(const struct h2_limits *lim)
{
    struct app *a = app_new(lim, NULL);

    a->hold = true;
    preface();
    assert_int_equal(feed(a), ST_OK);
    drain(a);
    return a;
}
static struct app *server(void) { return server_with(&h2_limits_player); }

static void ended(struct app *a, enum st st, enum h2_end why, int code)
{
    assert_int_equal(st, h2_end_st(why));
    assert_string_equal(h2_end_name(h2_end_of(a->server)), h2_end_name(why));
    assert_false(h2_wants_read(a->server));
    assert_int_equal(h2_feed(a->server, "more", 4), st);
    assert_int_equal(goaway(a), code);
}
static void alive(struct app *a)
{
    assert_string_equal(h2_end_name(h2_end_of(a->server)), "NONE");
    drain(a);
}

/* -- the connection's limits -- */

static void rapid_reset_is_cut_at_the_hundred_and_first(void **state)
{
    struct app *a = server();
    uint32_t id = 1;

    (void)state;
    for (int i = 0; i < 100; i++, id += 2)
        get(id), rst(id);
    assert_int_equal(feed(a), ST_OK);
    alive(a);
    for (int s = 0; s < 30; s++) { /* a viewer who seeks all the time */
        app_wait(a, SEC_US);
        for (int i = 0; i < 20; i++, id += 2)
            get(id), rst(id);
        assert_int_equal(feed(a), ST_OK);
    }
    alive(a);
    app_wait(a, 3600 * SEC_US); /* patience saves up for one burst, not for many */
    for (int i = 0; i < 100; i++, id += 2)
        get(id), rst(id);
    assert_int_equal(feed(a), ST_OK);
    alive(a);
    get(id), rst(id);
    ended(a, feed(a), H2_END_RAPID_RESET, H2_ENHANCE_YOUR_CALM);
    assert_int_equal(h2_counts(a->server)->peer_resets, 801);
    app_free(a);
}

static void overflow_window(uint32_t id)
{
    get(id);
    window(id, 0x7fffffff);
}

static void made_to_reset_is_cut_at_two_hundred_in_ten_seconds(void **state)
{
    struct app *a = server();
    uint32_t id = 1;

    (void)state;
    for (int round = 0; round < 3; round++) {
        for (int i = 0; i < 199; i++, id += 2) {
            overflow_window(id);
            if (i % 50 == 0)
                assert_int_equal(feed(a), ST_OK);
        }
        assert_int_equal(feed(a), ST_OK);
        alive(a);
        app_wait(a, 10 * SEC_US);
    }
    for (int i = 0; i < 200; i++, id += 2) {
        assert_int_equal(h2_end_of(a->server), H2_END_NONE);
        overflow_window(id);
        if (i < 199)
            assert_int_equal(feed(a), ST_OK);
    }
    ended(a, feed(a), H2_END_ERRORS, H2_ENHANCE_YOUR_CALM);
    assert_int_equal(h2_counts(a->server)->errors, 4 * 199 + 1);
    app_free(a);
}

/* Breaches on one stream: each counts once, resets that stream only and names a reason. */
static void wrong_length(uint32_t id)
{
    uint8_t h[64];
    size_t n = sizeof post_head;

    memcpy(h, post_head, n);
    n += field(h + n, "content-length", "3");
    frame(HEADERS, EH, id, h, n);
    frame(DATA, ES, id, "four", 4);
}
static void short_length(uint32_t id)
{
    uint8_t h[64];
    size_t n = sizeof post_head;

    memcpy(h, post_head, n);
    n += field(h + n, "content-length", "30");
    frame(HEADERS, EH, id, h, n);
    frame(DATA, ES, id, "four", 4);
}
static void over_stream_window(uint32_t id)
{
    static const uint8_t much[16384];

    post(id);
    frame(DATA, 0, id, much, sizeof much);
    frame(DATA, 0, id, "x", 1);
}
static void trailer_without_end(uint32_t id)
{
    post(id);
    frame(HEADERS, EH, id, get_head, sizeof get_head);
}
static void settings_overflow(uint32_t id)
{
    get(id);
    window(id, 0x7fffffff - 65535);
    setting(4, 65536);
    setting(4, 65535);
}
static void compress_bomb(uint32_t id)
{
    uint8_t h[4096];
    size_t n = sizeof get_head;

    memcpy(h, get_head, n);
    h[n++] = 0x40; /* into the table */
    h[n++] = 1;
    h[n++] = 'x';
    h[n++] = 0x7f; /* 127 + 2923 = 3050 bytes */
    h[n++] = 0xeb;
    h[n++] = 0x16;
    memset(h + n, 'y', 3050);
    n += 3050;
    for (int i = 0; i < 6; i++)
        h[n++] = 0xbe; /* and out of it again */
    frame(HEADERS, ES | EH, id, h, n);
}

static void each_breach_counts_once_and_costs_one_stream(void **state)
{
    static const struct {
        void (*commit)(uint32_t id);
        enum h2_reset_reason why;
        uint32_t code;
    } t[] = {
        { overflow_window, H2_RESET_PROTOCOL, 3 },
        { wrong_length, H2_RESET_PROTOCOL, 1 },
        { short_length, H2_RESET_PROTOCOL, 1 },
        { over_stream_window, H2_RESET_PROTOCOL, 3 },
        { trailer_without_end, H2_RESET_BAD_REQUEST, 1 },
        { settings_overflow, H2_RESET_PROTOCOL, 3 },
        { compress_bomb, H2_RESET_HEADER_LIST, 11 },
    };

    (void)state;
    for (size_t i = 0; i < sizeof t / sizeof t[0]; i++) {
        struct app *a = server();

        a->stall = true;
        t[i].commit(1);
        assert_int_equal(feed(a), ST_OK);
        assert_true(a->srv[0].closed);
        assert_false(a->srv[0].why.by_peer);
        assert_string_equal(h2_reset_name(a->srv[0].why.reason), h2_reset_name(t[i].why));
        assert_int_equal(a->srv[0].why.code, t[i].code);
        assert_int_equal(h2_counts(a->server)->errors, 1);
        assert_int_equal(h2_counts(a->server)->resets[t[i].why], 1);
        get(3);
        assert_int_equal(feed(a), ST_OK);
        assert_true(a->srv[1].ended);
        alive(a);
        app_free(a);
    }
}

/* Breaches that end the connection at once. */
static void zero_window(void) { get(1), window(1, 0); }
static void data_after_end(void) { get(1), frame(DATA, 0, 1, "x", 1); }
static void headers_after_end(void) { get(1), get(1); }
static void window_on_idle(void) { window(9, 1); }
static void data_on_idle(void) { frame(DATA, 0, 9, "x", 1); }
static void even_stream(void) { get(2); }
static void push_promise(void) { frame(PUSH, EH, 1, "\0\0\0\2", 4); }
static void stray_continuation(void) { frame(CONT, EH, 1, "", 0); }
static void interrupted_head(void)
{
    frame(HEADERS, ES, 1, get_head, 3);
    frame(PING, 0, 0, "12345678", 8);
}
static void depends_on_itself(void)
{
    uint8_t p[5 + sizeof get_head] = { 0, 0, 0, 1, 7 };

    memcpy(p + 5, get_head, sizeof get_head);
    frame(HEADERS, ES | EH | PRI, 1, p, sizeof p);
}
static void bad_compression(void) { frame(HEADERS, ES | EH, 1, "\xff\xff\xff\xff\xff\xff", 6); }
static void short_ping(void) { frame(PING, 0, 0, "1", 1); }
static void odd_settings(void) { frame(SETTINGS, 0, 0, "12345", 5); }
static void huge_frame(void) { put("\xff\xff\xff\0\0\0\0\0\1", 9); }
static void connection_window_overflow(void) { window(0, 0x7fffffff); }
static void bad_padding(void) { post(1), frame(DATA, PAD, 1, "\x09xx", 3); }
static void too_many_streams(void)
{
    for (uint32_t i = 0; i <= 100; i++)
        get(2 * i + 1);
}

static void breaches_of_the_connection_end_it(void **state)
{
    static const struct {
        void (*commit)(void);
        int code;
    } t[] = {
        { zero_window, 1 },       { data_after_end, 5 },     { headers_after_end, 5 },
        { window_on_idle, 1 },    { data_on_idle, 1 },       { even_stream, 1 },
        { push_promise, 1 },      { stray_continuation, 1 }, { interrupted_head, 1 },
        { depends_on_itself, 1 }, { bad_compression, 9 },    { short_ping, 6 },
        { odd_settings, 6 },      { huge_frame, 6 },         { connection_window_overflow, 3 },
        { bad_padding, 1 },       { too_many_streams, 1 },
    };

    (void)state;
    for (size_t i = 0; i < sizeof t / sizeof t[0]; i++) {
        struct app *a = server();

        t[i].commit();
        ended(a, feed(a), H2_END_PROTOCOL, t[i].code);
        for (size_t k = 0; k < a->srv_n; k++)
            assert_false(a->srv[k].why.by_peer);
        app_free(a);
    }
}

static void a_wrong_preface_is_told_so(void **state)
{
    struct app *a = app_new(&h2_limits_player, NULL);

    (void)state;
    w.n = 0;
    put("GET / HTTP/1.1\r\nHost: a\r\n\r\n", 27);
    ended(a, feed(a), H2_END_PROTOCOL, H2_PROTOCOL_ERROR);
    app_free(a);

    a = app_new(&h2_limits_player, NULL);
    put("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 24);
    get(1); /* before SETTINGS */
    ended(a, feed(a), H2_END_PROTOCOL, H2_PROTOCOL_ERROR);
    app_free(a);
}

static void ping(void) { frame(PING, 0, 0, "12345678", 8); }
static void ping_ack(void) { frame(PING, ACK, 0, "12345678", 8); }
static void empty_settings(void) { frame(SETTINGS, 0, 0, NULL, 0); }
static void priority(void) { frame(PRIORITY, 0, 1, "\0\0\0\0\1", 5); }
static void empty_data(void) { frame(DATA, 0, 1, NULL, 0); }
static void padded_nothing(void) { frame(DATA, PAD, 1, "\2\0\0", 3); }
static void peer_goaway(void) { frame(GOAWAY, 0, 0, "\0\0\0\0\0\0\0\0", 8); }

static void control_floods_are_cut_at_five_hundred_in_ten_seconds(void **state)
{
    static void (*const kinds[])(void) = { ping,       ping_ack,       empty_settings, priority,
                                           empty_data, padded_nothing, peer_goaway };

    (void)state;
    for (size_t k = 0; k < sizeof kinds / sizeof kinds[0]; k++) {
        struct app *a = server(); /* which has counted two SETTINGS */

        post(1);
        for (int i = 0; i < 497; i++)
            kinds[k]();
        assert_int_equal(feed(a), ST_OK);
        alive(a);
        app_wait(a, 10 * SEC_US);
        for (int i = 0; i < 499; i++)
            kinds[k]();
        assert_int_equal(feed(a), ST_OK);
        alive(a);
        kinds[k]();
        ended(a, feed(a), H2_END_CONTROL_FLOOD, H2_ENHANCE_YOUR_CALM);
        assert_int_equal(h2_counts(a->server)->control_frames, 2 + 497 + 500);
        app_free(a);
    }
}

static void continuations_are_cut_after_the_limit(void **state)
{
    static const uint32_t limits[] = { 4, 8 };

    (void)state;
    for (uint32_t i = 0; i < 4; i++) {
        struct h2_limits lim = h2_limits_player;
        uint32_t max = limits[i / 2], n = max + i % 2;

        lim.max_continuations = max;
        struct app *a = server_with(&lim);

        frame(HEADERS, ES, 1, get_head, sizeof get_head);
        for (uint32_t k = 1; k <= n; k++)
            frame(CONT, k == n ? EH : 0, 1, NULL, 0);
        enum st st = feed(a);
        if (n == max)
            assert_true(st == ST_OK && a->srv[0].ended);
        else
            ended(a, st, H2_END_CONTINUATIONS, H2_ENHANCE_YOUR_CALM);
        app_free(a);
    }
}

static void settings_entries_are_cut_after_the_limit(void **state)
{
    static const uint8_t entries[33 * 6];
    static const uint32_t limits[] = { 10, 32 };

    (void)state;
    for (uint32_t i = 0; i < 4; i++) {
        struct h2_limits lim = h2_limits_player;
        uint32_t max = limits[i / 2], n = max + i % 2;

        lim.max_settings = max;
        struct app *a = server_with(&lim);

        frame(SETTINGS, 0, 0, entries, n * 6);
        enum st st = feed(a);
        if (n == max)
            alive(a);
        else
            ended(a, st, H2_END_SETTINGS, H2_ENHANCE_YOUR_CALM);
        app_free(a);
    }
}

static void header_lists_are_measured_as_decoded(void **state)
{
    (void)state;
    for (int over = 0; over <= 1; over++) {
        struct app *a = server();
        static uint8_t h[20000];
        size_t n = sizeof get_head;
        /* what :method, :scheme, :path and :authority take, and the one that follows */
        size_t list = 7 + 3 + 7 + 4 + 5 + 1 + 10 + 1 + 4 * 32;
        size_t len = 16384 - list - 33 + (size_t)over;

        memcpy(h, get_head, n);
        h[n++] = 0;
        h[n++] = 1;
        h[n++] = 'x';
        h[n++] = 0x7f;
        h[n++] = (uint8_t)(0x80 | ((len - 127) & 0x7f));
        h[n++] = (uint8_t)(0x80 | ((len - 127) >> 7 & 0x7f));
        h[n++] = (uint8_t)((len - 127) >> 14);
        memset(h + n, 'y', len);
        n += len;
        frame(HEADERS, ES, 1, h, 16000);
        frame(CONT, EH, 1, h + 16000, n - 16000);
        assert_int_equal(feed(a), ST_OK);
        assert_int_equal(a->srv[0].ended, !over);
        assert_int_equal(a->srv[0].why.reason, over ? H2_RESET_HEADER_LIST : H2_RESET_NONE);
        alive(a);
        app_free(a);
    }
}

static void a_peer_that_does_not_read_cannot_fill_the_queue(void **state)
{
    (void)state;
    for (int pumped = 0; pumped <= 1; pumped++) {
        struct app *a = server();
        enum st st = ST_OK;
        size_t most = 0;

        for (int i = 0; i < 100 && st == ST_OK; i++) { /* PINGs, too slow to be a flood */
            for (int k = 0; k < 100; k++)
                ping();
            app_wait(a, 5 * SEC_US);
            if (pumped) {
                st = feed(a);
            } else { /* the body queue is full, so the owner has no reason to pump */
                st = h2_feed(a->server, w.b, w.n);
                w.n = 0;
            }
            if (st == ST_OK && outq_copied_bytes(h2_outq(a->server)) > most)
                most = outq_copied_bytes(h2_outq(a->server));
        }
        assert_true(most <= 64 * 1024);
        ended(a, st, H2_END_CONTROL_QUEUE, H2_ENHANCE_YOUR_CALM);
        app_free(a);
    }
}

/* Refusals need no stream and no acknowledgement, and nobody reads them. */
static void refusals_cannot_fill_the_queue_either(void **state)
{
    struct app *a = app_new(&h2_limits_player, NULL);
    enum st st = ST_OK;
    uint32_t id = 1, refused = 0;

    (void)state;
    a->hold = true;
    w.n = 0;
    put("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 24);
    frame(SETTINGS, 0, 0, NULL, 0); /* ours is never acknowledged */
    for (; id < 200; id += 2)
        get(id);
    assert_int_equal(feed(a), ST_OK);
    for (; refused < 5000 && st == ST_OK; refused += 100) {
        for (int k = 0; k < 100; k++, id += 2)
            get(id);
        app_wait(a, 10 * SEC_US);
        st = h2_feed(a->server, w.b, w.n);
        w.n = 0;
    }
    assert_in_range(refused, 900, 1200);
    ended(a, st, H2_END_CONTROL_QUEUE, H2_ENHANCE_YOUR_CALM);
    app_free(a);
}

/* A hundred answers with heads of 2 KiB each are no flood, however slow the line. */
static void large_heads_wait_for_a_slow_peer(void **state)
{
    struct app *a = app_new(&h2_limits_player, NULL);
    char value[2048];
    const struct h2_nv nv[] = {
        H2_NV(":status", "404"),
        { .name = "x", .value = value, .name_len = 1, .value_len = sizeof value, .once = true },
    };
    enum st st;
    size_t all = 0;

    (void)state;
    memset(value, '~', sizeof value); /* 13 bits each: no compression */
    a->hold = true;
    w.n = 0;
    put("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 24);
    frame(SETTINGS, 0, 0, NULL, 0);
    for (uint32_t id = 1; id < 200; id += 2)
        get(id);
    assert_int_equal(feed(a), ST_OK);
    for (size_t i = 0; i < 100; i++)
        assert_int_equal(h2_respond(a->server, a->srv[i].id, nv, 2, NULL), ST_OK);
    do {
        st = h2_pump(a->server, 256 * 1024);
        assert_true(st == ST_OK || st == ST_MORE);
        assert_true(outq_bytes(h2_outq(a->server)) > 0);
        all += outq_bytes(h2_outq(a->server));
        outq_clear(h2_outq(a->server));
    } while (st == ST_MORE);
    assert_true(all > 100 * sizeof value);
    assert_int_equal(h2_streams_open(a->server), 0);
    app_free(a);
}

/* -- what a request must look like -- */

static void requests_that_others_have_let_through(void **state)
{
    static const struct {
        const char *name[8], *value[8];
        bool ok;
    } t[] = {
#define REQ ":method", ":scheme", ":path"
#define VAL "GET", "https", "/x"
        { { REQ, ":authority" }, { VAL, "a.example" }, true },
        { { REQ, ":authority" }, { VAL, "a.example:8443" }, true },
        { { REQ, ":authority" }, { VAL, "[2001:db8::1]:443" }, true },
        { { REQ, "host" }, { VAL, "a.example" }, true },
        { { REQ, ":authority", "host" }, { VAL, "a.example", "A.Example" }, true },
        { { REQ, ":authority", "host" }, { VAL, "a.example", "b.example" }, false },
        { { REQ, ":authority", "host" }, { VAL, "a.example", "a.example.b" }, false },
        { { REQ, ":authority", "host" }, { VAL, "a.example", "" }, false },
        { { REQ, ":authority" }, { VAL, "user@a.example" }, false },
        { { REQ, ":authority" }, { VAL, "user:pw@a.example" }, false },
        { { REQ, "host" }, { VAL, "user@a.example" }, false },
        { { REQ, ":authority" }, { VAL, "" }, false },
        { { REQ, ":authority" }, { VAL, "a\r\nx: y" }, false },
        { { REQ, "x" }, { VAL, "no authority at all" }, false },
        { { REQ, ":authority", ":authority" }, { VAL, "a", "a" }, false },
        { { REQ, ":authority", ":path" }, { VAL, "a", "/y" }, false },
        { { REQ, ":authority", "host", "host" }, { VAL, "a", "a", "a" }, false },
        { { REQ, ":authority", "x", ":path" }, { VAL, "a", "b", "/late" }, false },
        { { REQ, ":authority", ":unknown" }, { VAL, "a", "b" }, false },
        { { ":method", ":scheme", ":authority" }, { "GET", "https", "a" }, false },
        { { ":method", ":path", ":authority" }, { "GET", "/", "a" }, false },
        { { ":scheme", ":path", ":authority" }, { "https", "/", "a" }, false },
        { { REQ, ":authority" }, { "GET", "https", "", "a" }, false },
        { { REQ, ":authority" }, { "GET", "https", "x", "a" }, false },
        { { ":method", ":authority" }, { "CONNECT", "a:443" }, false },
        { { REQ, ":authority", "X-Upper" }, { VAL, "a", "b" }, false },
        { { REQ, ":authority", "connection" }, { VAL, "a", "close" }, false },
        { { REQ, ":authority", "keep-alive" }, { VAL, "a", "5" }, false },
        { { REQ, ":authority", "proxy-connection" }, { VAL, "a", "close" }, false },
        { { REQ, ":authority", "transfer-encoding" }, { VAL, "a", "chunked" }, false },
        { { REQ, ":authority", "upgrade" }, { VAL, "a", "h2c" }, false },
        { { REQ, ":authority", "te" }, { VAL, "a", "gzip" }, false },
        { { REQ, ":authority", "te" }, { VAL, "a", "trailers" }, true },
        { { REQ, ":authority", "content-length" }, { VAL, "a", "-1" }, false },
        { { REQ, ":authority", "content-length", "content-length" },
          { VAL, "a", "0", "0" },
          false },
        { { REQ, ":authority", "content-length" }, { VAL, "a", "5" }, false }, /* and no body */
        { { REQ, ":authority", "a b" }, { VAL, "a", "space in a name" }, false },
        { { REQ, ":authority", "" }, { VAL, "a", "no name" }, false },
        { { REQ, ":authority", "x" }, { VAL, "a", "bell \a" }, false },
        { { REQ, ":authority", "x" }, { VAL, "a", " space around " }, false },
    };

    (void)state;
    for (size_t i = 0; i < sizeof t / sizeof t[0]; i++) {
        struct app *a = server();
        uint8_t h[512];
        size_t n = 0;

        for (int k = 0; k < 8 && t[i].name[k] != NULL; k++)
            n += field(h + n, t[i].name[k], t[i].value[k]);
        frame(HEADERS, ES | EH, 1, h, n);
        assert_int_equal(feed(a), ST_OK);
        if (a->srv[0].head != t[i].ok)
            fail_msg("request %zu: %s %s", i, t[i].name[4] != NULL ? t[i].name[4] : t[i].name[3],
                     t[i].ok ? "refused" : "let through");
        assert_int_equal(a->srv[0].why.reason, t[i].ok ? H2_RESET_NONE : H2_RESET_BAD_REQUEST);
        assert_int_equal(a->srv[0].why.code, t[i].ok ? H2_NO_ERROR : H2_PROTOCOL_ERROR);
        assert_int_equal(h2_counts(a->server)->errors, !t[i].ok);
        alive(a);
        app_free(a);
    }
}

static void an_authority_of_any_length_is_safe(void **state)
{
    static char name[600];

    (void)state;
    memset(name, 'a', sizeof name);
    for (size_t n = 0; n <= sizeof name; n++) {
        struct h2_guard g;
        char *copy = malloc(n + 1);

        memcpy(copy, name, n);
        h2_guard_init(&g, &h2_limits_player, 0);
        h2_guard_head(&g);
        assert_int_equal(h2_guard_field(&g, ":authority", 10, copy, n), n > 0 && n <= 255);
        if (n > 0 && n <= 255)
            assert_false(h2_guard_field(&g, "host", 4, copy, n - 1));
        free(copy);
    }
}

static void every_split_gives_the_same_requests(void **state)
{
    uint8_t h[128];
    size_t n = sizeof get_head;

    (void)state;
    preface();
    memcpy(h, get_head, n);
    n += field(h + n, "x-one", "two");
    frame(HEADERS, 0, 1, h, 4);
    frame(CONT, EH, 1, h + 4, n - 4);
    frame(DATA, PAD, 1, "\2hello\0\0", 8);
    overflow_window(3);
    ping();
    frame(DATA, ES, 1, " world", 6);
    get(5);
    rst(5);
    uint8_t all[512];
    size_t total = w.n;
    memcpy(all, w.b, total);
    for (size_t cut = 0; cut <= total; cut++) {
        struct app *a = app_new(&h2_limits_player, NULL);
        size_t len[2] = { cut, total - cut };

        a->hold = true;
        for (size_t k = 0, at = 0; k < 2; at += len[k++]) {
            w.n = 0;
            put(all + at, len[k]);
            assert_int_equal(feed(a), ST_OK);
        }
        assert_true(a->srv[0].ended && a->srv[0].bytes == 11 && a->srv[0].fields == 5);
        assert_int_equal(a->srv[1].why.reason, H2_RESET_PROTOCOL);
        assert_true(a->srv[2].ended && a->srv[2].why.by_peer);
        assert_int_equal(h2_counts(a->server)->errors, 1);
        alive(a);
        app_free(a);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(rapid_reset_is_cut_at_the_hundred_and_first),
        cmocka_unit_test(made_to_reset_is_cut_at_two_hundred_in_ten_seconds),
        cmocka_unit_test(each_breach_counts_once_and_costs_one_stream),
        cmocka_unit_test(breaches_of_the_connection_end_it),
        cmocka_unit_test(a_wrong_preface_is_told_so),
        cmocka_unit_test(control_floods_are_cut_at_five_hundred_in_ten_seconds),
        cmocka_unit_test(continuations_are_cut_after_the_limit),
        cmocka_unit_test(settings_entries_are_cut_after_the_limit),
        cmocka_unit_test(header_lists_are_measured_as_decoded),
        cmocka_unit_test(a_peer_that_does_not_read_cannot_fill_the_queue),
        cmocka_unit_test(refusals_cannot_fill_the_queue_either),
        cmocka_unit_test(large_heads_wait_for_a_slow_peer),
        cmocka_unit_test(requests_that_others_have_let_through),
        cmocka_unit_test(an_authority_of_any_length_is_safe),
        cmocka_unit_test(every_split_gives_the_same_requests),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
