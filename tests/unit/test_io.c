/* core/io: the same promises in clear text and TLS; what only TLS has; every kind of end. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <errno.h>
#include <netinet/in.h>
#include <openssl/ssl.h>
#include <poll.h>
#include <stdbool.h>
#include <stdio.h>
#include <unistd.h>

#include "core/addr.h"
#include "core/check.h"
#include "core/clock.h"
#include "core/io.h"
#include "core/listen.h"
#include "core/loop.h"
#include "core/outq.h"
#include "core/tls.h"

static SSL_CTX *server_ctx, *client_ctx;

static int make_contexts(void **state)
{
    char dir[] = "/tmp/freshet-io-XXXXXX", cert[64], key[64];
    const char *names[] = { "edge.example.com", "127.0.0.1" };
    struct tls_cert_paths c = { NULL, cert, key };
    struct tls_tier_paths p = { NULL, NULL, cert };
    struct tls_tickets *t = NULL;
    struct tls_set *s = NULL;

    (void)state;
    if (mkdtemp(dir) == NULL)
        return -1;
    (void)snprintf(cert, sizeof cert, "%s/c.pem", dir);
    (void)snprintf(key, sizeof key, "%s/k.pem", dir);
    if (tls_self_signed(cert, key, names, 2, NULL) != ST_OK ||
        tls_tickets_random(NULL, &t, NULL) != ST_OK ||
        tls_set_new(&c, 1, "h2,http/1.1", t, &s, NULL) != ST_OK ||
        tls_client(&p, &client_ctx, NULL) != ST_OK)
        return -1;
    server_ctx = tls_set_ctx(s);
    (void)SSL_CTX_up_ref(server_ctx);
    tls_set_unref(&s);
    tls_tickets_unref(&t);
    (void)unlink(cert);
    (void)unlink(key);
    return rmdir(dir);
}

static int free_contexts(void **state)
{
    (void)state;
    SSL_CTX_free(server_ctx);
    SSL_CTX_free(client_ctx);
    return 0;
}

/* One side of a connection, with a small owner: it sends `out`, collects `in`, notes the end. */
struct side {
    struct io io;
    const uint8_t *out;
    size_t out_n, sent;
    size_t piece; /* the iov is cut into pieces of 1..piece bytes; 0: one piece */
    bool shut;    /* io_shutdown() once all is sent */
    uint8_t *in;
    size_t in_n, in_cap;
    size_t read_cap; /* bytes per io_read */
    bool once;       /* one io_read per IO_READ, and no more */
    bool opened, dead;
    enum st end; /* of reading; OK: not yet */
    enum st wr_end;
    unsigned events;
    size_t spill_max;
};

static void side_read(struct side *s)
{
    size_t got;
    enum st st;

    do {
        size_t room = s->in_cap - s->in_n;
        size_t cap = s->read_cap != 0 && s->read_cap < room ? s->read_cap : room;

        if (room == 0)
            return;
        st = io_read(&s->io, s->in + s->in_n, cap, &got);
        assert_int_equal(st == ST_OK, got > 0);
        assert_true(got <= cap);
        s->in_n += got;
    } while (st == ST_OK && !s->once);
    if (st != ST_OK && st != ST_MORE)
        s->end = st;
}

static void side_write(struct side *s)
{
    struct iovec v[100];
    size_t off = s->sent, took = 0;
    int n = 0;

    for (size_t k = s->piece; n < 100 && off<s->out_n; n++, k = k> 1 ? k - 1 : s->piece) {
        size_t len = s->piece == 0 || s->out_n - off < k ? s->out_n - off : k;

        v[n] = (struct iovec){ (void *)(uintptr_t)(s->out + off), len };
        off += len;
    }
    s->wr_end = io_writev(&s->io, v, n, &took);
    s->sent += took;
    assert_true(s->sent <= off);
    if (s->io.spill_bytes > s->spill_max)
        s->spill_max = s->io.spill_bytes;
    if (s->sent == s->out_n && s->shut && s->wr_end == ST_OK)
        assert_int_equal(io_shutdown(&s->io), ST_OK);
}

static void on_ready(struct io *io, unsigned what)
{
    struct side *s = CONTAINER_OF(io, struct side, io);

    s->events++;
    if (what == IO_OPEN) {
        assert_false(s->opened);
        s->opened = true;
    } else if (what == IO_DEAD) {
        assert_false(s->opened || s->dead);
        s->dead = true;
        return;
    } else {
        assert_true(s->opened);
        assert_int_equal(what & ~(unsigned)(IO_READ | IO_WRITE), 0);
        assert_int_equal(what & ~io->want, 0); /* only what was asked for */
    }
    if ((what & IO_READ) != 0)
        side_read(s);
    if ((what & IO_WRITE) != 0)
        side_write(s);
    io_want(io, (s->in_n < s->in_cap && s->end == ST_OK ? IO_READ : 0u) |
                    (s->sent < s->out_n && s->wr_end == ST_OK ? IO_WRITE : 0u));
}

struct pair {
    struct side a, b; /* a connected, b accepted */
    int lfd;
};

static void set_int(int fd, int name, int v)
{
    assert_int_equal(setsockopt(fd, SOL_SOCKET, name, &v, sizeof v), 0);
}

struct how {
    bool tls;
    int buf; /* bytes for the socket buffers; 0: the kernel's choice */
    const char *host, *alpn;
};

/* a connects to b over loopback. */
static void pair_begin_how(struct pair *p, struct loop *l, struct how h)
{
    struct addr_sock any[2];
    struct sockaddr_storage sa;
    socklen_t len = sizeof sa;
    struct pollfd pfd;
    int n, fd;

    assert_int_equal(addr_resolve("127.0.0.1", 0, any, 2, &n, NULL), ST_OK);
    assert_int_equal(listen_open(&any[0], &(struct listen_how){ 0 }, 1, &p->lfd, NULL), ST_OK);
    if (h.buf != 0) {
        set_int(p->lfd, SO_RCVBUF, h.buf);
        set_int(p->lfd, SO_SNDBUF, h.buf);
    }
    assert_int_equal(getsockname(p->lfd, (struct sockaddr *)&sa, &len), 0);
    assert_int_equal(io_connect_init(&p->a.io, l, (struct sockaddr *)&sa, len,
                                     h.tls ? client_ctx : NULL, h.host, h.alpn, on_ready),
                     ST_OK);
    if (h.buf != 0)
        set_int(p->a.io.fd, SO_SNDBUF, h.buf);
    pfd = (struct pollfd){ .fd = p->lfd, .events = POLLIN };
    assert_int_equal(poll(&pfd, 1, 5000), 1);
    fd = accept4(p->lfd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
    assert_true(fd >= 0);
    assert_int_equal(io_accept_init(&p->b.io, l, fd, h.tls ? server_ctx : NULL, on_ready), ST_OK);
}

static void pair_begin(struct pair *p, struct loop *l, bool tls, int buf)
{
    pair_begin_how(p, l, (struct how){ tls, buf, "edge.example.com", "h2" });
}

static void pair_begin_as(struct pair *p, struct loop *l, const char *host, const char *alpn)
{
    pair_begin_how(p, l, (struct how){ true, 0, host, alpn });
}

static void pair_end(struct pair *p)
{
    io_fini(&p->a.io);
    io_fini(&p->b.io);
    listen_close(&p->lfd, 1);
    free(p->a.in);
    free(p->b.in);
}

static void loop_end(struct loop *l)
{
    io_loop_fini(l);
    loop_fini(l);
}

#define TURN_UNTIL(l, cond)                        \
    do {                                           \
        while (!(cond))                            \
            assert_int_equal(loop_turn(l), ST_OK); \
    } while (0)

static uint8_t *noise(size_t n, uint32_t seed)
{
    uint8_t *p = malloc(n);

    assert_non_null(p);
    for (size_t i = 0; i < n; i++) {
        seed = seed * 1664525u + 1013904223u;
        p[i] = (uint8_t)(seed >> 24);
    }
    return p;
}

static struct iovec text(const char *t)
{
    return (struct iovec){ (void *)(uintptr_t)t, strlen(t) };
}

static void gives(struct side *s, const uint8_t *out, size_t n)
{
    s->out = out;
    s->out_n = n;
    s->sent = 0;
}

static void takes(struct side *s, size_t n, size_t read_cap)
{
    free(s->in);
    s->in = malloc(n + 1); /* one more than comes, so that the end is read too */
    assert_non_null(s->in);
    s->in_n = 0;
    s->in_cap = n + 1;
    s->read_cap = read_cap;
}

static void every_size_arrives_whole(void **state)
{
    static const size_t sizes[] = { 1,      2,      100,    1299,   1300,  1301,  2601,
                                    16383,  16384,  16385,  65535,  65536, 65537, 81921,
                                    131071, 131072, 131073, 262144, 300007 };
    static const size_t pieces[] = { 0, 1, 9, 1300, 16375, 20000 };
    static const size_t caps[] = { 0, 1, 7, 5000 };
    uint8_t *data = noise(300007, 1);
    struct loop l;

    (void)state;
    assert_int_equal(loop_init(&l, 0, 1), ST_OK);
    for (int tls = 0; tls < 2; tls++)
        for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
            struct pair p = { 0 };
            size_t n = sizes[i];

            gives(&p.a, data, n);
            p.a.piece = pieces[i % 6];
            p.a.shut = true;
            takes(&p.b, n, n > 70000 && caps[i % 4] == 1 ? 3 : caps[i % 4]);
            gives(&p.b, data + 1, n - 1);
            p.b.piece = pieces[(i + 1) % 6];
            takes(&p.a, n - 1, caps[(i + 1) % 4]);
            pair_begin(&p, &l, tls == 1, 0);
            TURN_UNTIL(&l, p.b.end != ST_OK && p.a.in_n == n - 1 && p.b.sent == n - 1);
            assert_int_equal(p.b.end, ST_EOF);
            assert_int_equal(p.b.in_n, n);
            assert_memory_equal(p.b.in, data, n);
            assert_memory_equal(p.a.in, data + 1, n - 1);
            assert_true(io_flushed(&p.a.io));
            pair_end(&p);
        }
    loop_end(&l);
    free(data);
}

/* 8 MiB each way over buffers of a few KiB, on two connections that take turns with one stage. */
static void nothing_is_lost_or_reordered_when_the_kernel_is_slow(void **state)
{
    enum { N = 8 << 20, FEW = 2 };
    uint8_t *data = noise(N + FEW, 2);

    (void)state;
    for (int tls = 0; tls < 2; tls++) {
        struct pair p[FEW] = { 0 };
        struct io_stats st;
        struct loop l;

        assert_int_equal(loop_init(&l, 0, 1), ST_OK);
        for (int i = 0; i < FEW; i++) {
            gives(&p[i].a, data + i, N);
            gives(&p[i].b, data + FEW - i, N);
            p[i].a.piece = i == 0 ? 16375 : 0;
            p[i].b.piece = i == 0 ? 0 : 7001;
            p[i].a.shut = p[i].b.shut = true;
            takes(&p[i].a, N, 60000);
            takes(&p[i].b, N, 50000);
            p[i].a.once = p[i].b.once = true; /* slow readers, too */
            pair_begin(&p[i], &l, tls == 1, 16 << 10);
        }
        for (int i = 0; i < FEW; i++) {
            TURN_UNTIL(&l, p[i].a.end != ST_OK && p[i].b.end != ST_OK);
            assert_int_equal(p[i].a.end, ST_EOF);
            assert_int_equal(p[i].b.end, ST_EOF);
            assert_int_equal(p[i].a.in_n, N);
            assert_int_equal(p[i].b.in_n, N);
            assert_int_equal(memcmp(p[i].b.in, data + i, N), 0);
            assert_int_equal(memcmp(p[i].a.in, data + FEW - i, N), 0);
        }
        st = io_stats(&l);
        assert_int_equal(st.spills > 0, tls == 1);
        assert_int_equal(st.spill_bytes, 0);
        assert_true(st.pooled_bytes <= 1 << 20);
        for (int i = 0; i < FEW; i++) {
            assert_int_equal(p[i].a.spill_max > 0, tls == 1);
            assert_true(p[i].a.spill_max <= IO_STAGE_BYTES && p[i].b.spill_max <= IO_STAGE_BYTES);
            pair_end(&p[i]);
        }
        loop_end(&l);
    }
    free(data);
}

static void nothing_is_encrypted_while_spill_is_left(void **state)
{
    uint8_t *data = noise(4 << 20, 3);
    struct iovec v = { data, 4 << 20 };
    struct pair p = { 0 };
    size_t took, spill;
    struct loop l;

    (void)state;
    assert_int_equal(loop_init(&l, 0, 1), ST_OK);
    pair_begin(&p, &l, true, 8 << 10);
    TURN_UNTIL(&l, p.a.opened && p.b.opened);
    assert_int_equal(io_writev(&p.b.io, &v, 1, &took), ST_OK);
    assert_in_range(took, 1, v.iov_len - 1);
    assert_false(io_flushed(&p.b.io));
    spill = p.b.io.spill_bytes;
    assert_int_equal(io_stats(&l).spill_bytes, spill);
    assert_int_equal(io_writev(&p.b.io, &v, 1, &took), ST_OK);
    assert_int_equal(took, 0);
    assert_int_equal(p.b.io.spill_bytes, spill);

    /* closed with spill: the blocks go back to the pool, and are used again */
    pair_end(&p);
    assert_int_equal(io_stats(&l).spill_bytes, 0);
    spill = io_stats(&l).pooled_bytes;
    assert_true(spill > 0);
    loop_end(&l);
    free(data);
}

static void shutdown_comes_after_the_spill(void **state)
{
    enum { N = 1 << 20 };
    uint8_t *data = noise(N, 4);
    struct iovec v = { data, N };
    struct pair p = { 0 };
    size_t took;
    struct loop l;
    char c;

    (void)state;
    assert_int_equal(loop_init(&l, 0, 1), ST_OK);
    pair_begin(&p, &l, true, 8 << 10);
    TURN_UNTIL(&l, p.a.opened && p.b.opened);
    assert_int_equal(io_writev(&p.b.io, &v, 1, &took), ST_OK);
    assert_false(io_flushed(&p.b.io));
    assert_int_equal(io_shutdown(&p.b.io), ST_OK);
    assert_int_equal(io_shutdown(&p.b.io), ST_OK); /* once is enough */
    io_want(&p.b.io, 0);                           /* the spill goes out without being asked for */
    takes(&p.a, took, 0);
    io_want(&p.a.io, IO_READ);
    TURN_UNTIL(&l, p.a.end != ST_OK);
    assert_int_equal(p.a.end, ST_EOF);
    assert_int_equal(p.a.in_n, took);
    assert_int_equal(memcmp(p.a.in, data, took), 0);
    assert_true(io_flushed(&p.b.io));
    TURN_UNTIL(&l, recv(p.a.io.fd, &c, 1, MSG_DONTWAIT) == 0); /* FIN, too */
    pair_end(&p);
    loop_end(&l);
    free(data);
}

/* What a peer does to the reader, and what it reads then. */
enum farewell { BYE_SHUTDOWN, BYE_FIN, BYE_RESET, BYE_GARBAGE };

static void say(struct pair *p, enum farewell bye)
{
    switch (bye) {
    case BYE_SHUTDOWN:
        assert_int_equal(io_shutdown(&p->a.io), ST_OK);
        break;
    case BYE_FIN:
        assert_int_equal(shutdown(p->a.io.fd, SHUT_WR), 0);
        break;
    case BYE_RESET:
        assert_int_equal(setsockopt(p->a.io.fd, SOL_SOCKET, SO_LINGER, &(struct linger){ 1, 0 },
                                    sizeof(struct linger)),
                         0);
        io_fini(&p->a.io);
        break;
    case BYE_GARBAGE:
        assert_int_equal(send(p->a.io.fd,
                              "\x17\x03\x03\x00\x30 this is no record of ours, but as long as one!",
                              53, 0),
                         53);
        break;
    }
}

static void ends_are_told_apart(void **state)
{
    static const struct {
        bool tls;
        enum farewell bye;
        enum st end;
        const char *why;
    } t[] = {
        { false, BYE_SHUTDOWN, ST_EOF, "" },
        { false, BYE_FIN, ST_EOF, "" },
        { false, BYE_RESET, ST_EIO, "Connection reset by peer" },
        { true, BYE_SHUTDOWN, ST_EOF, "" },
        { true, BYE_FIN, ST_EIO, "ended without close_notify" },
        { true, BYE_RESET, ST_EIO, "Connection reset by peer" },
        { true, BYE_GARBAGE, ST_EPROTO, "decryption failed or bad record mac" },
    };
    struct iovec v = text("hello");
    struct loop l;

    (void)state;
    assert_int_equal(loop_init(&l, 0, 1), ST_OK);
    for (size_t i = 0; i < sizeof t / sizeof t[0]; i++) {
        struct pair p = { 0 };
        size_t took;
        unsigned events;

        takes(&p.b, 100, 0);
        pair_begin(&p, &l, t[i].tls, 0);
        TURN_UNTIL(&l, p.a.opened && p.b.opened);
        assert_int_equal(io_writev(&p.a.io, &v, 1, &took), ST_OK);
        assert_int_equal(took, 5);
        TURN_UNTIL(&l, p.b.in_n == 5);
        say(&p, t[i].bye);
        TURN_UNTIL(&l, p.b.end != ST_OK);
        assert_int_equal(p.b.end, t[i].end);
        assert_string_equal(io_why(&p.b.io), t[i].why);
        /* said again when asked again, and no events for it any more */
        assert_int_equal(io_read(&p.b.io, p.b.in, 1, &took), t[i].end);
        events = p.b.events;
        io_want(&p.b.io, IO_READ);
        for (int k = 0; k < 5; k++)
            assert_int_equal(loop_turn_nowait(&l), ST_OK);
        assert_int_equal(p.b.events, events);
        if (t[i].bye == BYE_RESET) {
            io_fini(&p.b.io);
            listen_close(&p.lfd, 1);
            free(p.b.in);
        } else {
            pair_end(&p);
        }
    }
    loop_end(&l);
}

static void data_before_the_end_is_read_before_it(void **state)
{
    struct iovec v = text("last words");
    struct loop l;

    (void)state;
    assert_int_equal(loop_init(&l, 0, 1), ST_OK);
    for (int tls = 0; tls < 2; tls++) {
        struct pair p = { 0 };
        size_t took;

        pair_begin(&p, &l, tls == 1, 0);
        TURN_UNTIL(&l, p.a.opened && p.b.opened);
        assert_int_equal(io_writev(&p.a.io, &v, 1, &took), ST_OK);
        assert_int_equal(io_shutdown(&p.a.io), ST_OK);
        takes(&p.b, 10, 0);
        p.b.once = true; /* with TLS one io_read finds both; the end still makes an event */
        io_want(&p.b.io, IO_READ);
        TURN_UNTIL(&l, p.b.end != ST_OK);
        assert_int_equal(p.b.end, ST_EOF);
        assert_int_equal(p.b.in_n, 10);
        /* the other direction is still open */
        takes(&p.a, 10, 0);
        io_want(&p.a.io, IO_READ);
        assert_int_equal(io_writev(&p.b.io, &v, 1, &took), ST_OK);
        assert_int_equal(took, 10);
        TURN_UNTIL(&l, p.a.in_n == 10);
        pair_end(&p);
    }
    loop_end(&l);
}

static void a_reset_that_a_send_has_seen_is_no_clean_end(void **state)
{
    struct iovec v = text("hello");
    struct pair p = { 0 };
    char c;
    size_t n;
    struct loop l;
    enum st st;

    (void)state;
    assert_int_equal(loop_init(&l, 0, 1), ST_OK);
    pair_begin(&p, &l, false, 0);
    TURN_UNTIL(&l, p.a.opened && p.b.opened);
    say(&p, BYE_RESET);
    do
        st = io_writev(&p.b.io, &v, 1, &n);
    while (st == ST_OK);
    assert_int_equal(st, ST_EIO);
    assert_int_equal(io_writev(&p.b.io, &v, 1, &n), ST_EIO);
    assert_int_equal(io_shutdown(&p.b.io), ST_EIO);
    assert_int_equal(io_read(&p.b.io, &c, 1, &n), ST_EIO);
    io_fini(&p.b.io);
    listen_close(&p.lfd, 1);
    loop_end(&l);
}

static void a_clean_end_stays_clean_when_a_send_fails(void **state)
{
    struct iovec v = text("hello");
    struct pair p = { 0 };
    char c;
    size_t n;
    struct loop l;
    enum st st;

    (void)state;
    assert_int_equal(loop_init(&l, 0, 1), ST_OK);
    pair_begin(&p, &l, false, 0);
    TURN_UNTIL(&l, p.a.opened && p.b.opened);
    io_fini(&p.a.io); /* FIN; what we send now is answered with a reset */
    do
        st = io_writev(&p.b.io, &v, 1, &n);
    while (st == ST_OK);
    assert_int_equal(st, ST_EIO);
    assert_int_equal(io_read(&p.b.io, &c, 1, &n), ST_EOF);
    io_fini(&p.b.io);
    listen_close(&p.lfd, 1);
    loop_end(&l);
}

static void what_tls_has_read_ahead_is_not_forgotten(void **state)
{
    enum { N = 12000 };
    uint8_t *data = noise(N, 5);
    struct pair p = { 0 };
    struct loop l;

    (void)state;
    assert_int_equal(loop_init(&l, 0, 1), ST_OK);
    pair_begin(&p, &l, true, 0);
    TURN_UNTIL(&l, p.a.opened && p.b.opened);
    gives(&p.a, data, N);
    io_want(&p.a.io, IO_WRITE);
    TURN_UNTIL(&l, p.a.sent == N);
    takes(&p.b, N, 100);
    p.b.in_cap = 100; /* full after one read: no interest any more */
    io_want(&p.b.io, IO_READ);
    TURN_UNTIL(&l, p.b.in_n == 100);
    for (int i = 0; i < 5; i++)
        assert_int_equal(loop_turn_nowait(&l), ST_OK);
    assert_int_equal(p.b.in_n, 100);
    p.b.in_cap = N + 1;
    p.b.once = true; /* and one hundred bytes per event from now on */
    io_want(&p.b.io, IO_READ);
    TURN_UNTIL(&l, p.b.in_n == N);
    assert_memory_equal(p.b.in, data, N);
    pair_end(&p);
    loop_end(&l);
    free(data);
}

/* TLS record headers as they come in at a's side. */
static size_t records[4096];
static int records_n;
static void note_record(int write_p, int version, int type, const void *p, size_t n, SSL *ssl,
                        void *arg)
{
    const uint8_t *h = p;

    (void)version, (void)ssl, (void)arg;
    if (write_p || type != SSL3_RT_HEADER || n != 5 || h[0] != SSL3_RT_APPLICATION_DATA)
        return;
    assert_true(records_n < 4096);
    records[records_n++] = (size_t)(h[3] << 8 | h[4]) - 17; /* content type and tag */
}

static uint64_t test_now = 50 * SEC_US;
static uint64_t test_mono(void) { return test_now; }
static int64_t test_wall(void) { return 7; }
static const struct clock_source test_clock = { test_mono, test_wall };

static void send_all(struct pair *p, struct loop *l, const struct iovec *v, int n)
{
    size_t all = 0, took;

    for (int i = 0; i < n; i++)
        all += v[i].iov_len;
    takes(&p->a, all, 0);
    p->a.in_cap = all;
    records_n = 0;
    assert_int_equal(io_writev(&p->b.io, v, n, &took), ST_OK);
    assert_int_equal(took, all);
    io_want(&p->a.io, IO_READ);
    TURN_UNTIL(l, p->a.in_n == all);
    for (size_t i = 0, off = 0; i < (size_t)n; off += v[i++].iov_len)
        assert_memory_equal(p->a.in + off, v[i].iov_base, v[i].iov_len);
}

static void records_are_small_at_first_and_full_afterwards(void **state)
{
    uint8_t *data = noise(256 << 10, 6);
    struct iovec first = { data, IO_SMALL_FIRST_BYTES + 16384 }, frames[8], one = { data, 5000 };
    struct pair p = { 0 };
    struct loop l;
    int small = (IO_SMALL_FIRST_BYTES + IO_RECORD_SMALL_BYTES - 1) / IO_RECORD_SMALL_BYTES;
    size_t after = IO_SMALL_FIRST_BYTES + 16384 - (size_t)small * IO_RECORD_SMALL_BYTES;

    (void)state;
    clock_use(&test_clock);
    assert_int_equal(loop_init(&l, 0, 1), ST_OK);
    pair_begin(&p, &l, true, 0);
    while (!p.a.opened || !p.b.opened)
        assert_int_equal(loop_turn(&l), ST_OK);
    SSL_set_msg_callback(p.a.io.ssl, note_record);

    /* tickets may come first */
    send_all(&p, &l, &one, 1);
    assert_int_equal(records[records_n - 1], 5000 % IO_RECORD_SMALL_BYTES);
    test_now += IO_SMALL_IDLE_MS * MS_US;
    (void)loop_touch(&l);
    send_all(&p, &l, &first, 1);
    assert_int_equal(records_n, small + 1);
    for (int i = 0; i < small; i++)
        assert_int_equal(records[i], IO_RECORD_SMALL_BYTES);
    assert_int_equal(records[small], after);

    /* four HTTP/2 frames: heads of 9 bytes, bodies of 16,375 */
    for (size_t i = 0; i < 4; i++) {
        frames[2 * i] = (struct iovec){ data + i, 9 };
        frames[2 * i + 1] = (struct iovec){ data + i * 20000, IO_RECORD_BYTES - 9 };
    }
    test_now += IO_SMALL_IDLE_MS * MS_US - 1; /* not yet a pause */
    (void)loop_touch(&l);
    send_all(&p, &l, frames, 8);
    assert_int_equal(records_n, 4);
    for (int i = 0; i < 4; i++)
        assert_int_equal(records[i], IO_RECORD_BYTES);

    /* a long piece, in place: full records and the rest */
    send_all(&p, &l, &(struct iovec){ data, 10 * IO_RECORD_BYTES + 1 }, 1);
    assert_int_equal(records_n, 11);
    for (int i = 0; i < 10; i++)
        assert_int_equal(records[i], IO_RECORD_BYTES);
    assert_int_equal(records[10], 1);
    clock_use(NULL);
    pair_end(&p);
    loop_end(&l);
    free(data);
}

static void tls_tells_what_was_agreed(void **state)
{
    struct loop l;

    (void)state;
    assert_int_equal(loop_init(&l, 0, 1), ST_OK);
    for (int tls = 0; tls < 2; tls++) {
        struct pair p = { 0 };

        pair_begin(&p, &l, tls == 1, 0);
        TURN_UNTIL(&l, p.a.opened && p.b.opened);
        assert_string_equal(io_alpn(&p.a.io), tls ? "h2" : "");
        assert_string_equal(io_alpn(&p.b.io), tls ? "h2" : "");
        assert_string_equal(io_sni(&p.b.io), tls ? "edge.example.com" : "");
        assert_false(io_resumed(&p.a.io));
        pair_end(&p);
    }
    loop_end(&l);
}

static void a_session_is_resumed(void **state)
{
    struct iovec v = text("x");
    SSL_SESSION *session;
    struct pair p = { 0 };
    struct loop l;
    size_t took;

    (void)state;
    assert_int_equal(loop_init(&l, 0, 1), ST_OK);
    takes(&p.a, 1, 0);
    pair_begin(&p, &l, true, 0);
    TURN_UNTIL(&l, p.a.opened && p.b.opened);
    assert_int_equal(io_writev(&p.b.io, &v, 1, &took), ST_OK);
    TURN_UNTIL(&l, p.a.in_n == 1);
    assert_int_equal(io_shutdown(&p.a.io), ST_OK);
    session = SSL_get1_session(p.a.io.ssl);
    pair_end(&p);
    memset(&p, 0, sizeof p);
    pair_begin(&p, &l, true, 0);
    assert_int_equal(SSL_set_session(p.a.io.ssl, session), 1);
    TURN_UNTIL(&l, p.a.opened && p.b.opened);
    assert_true(io_resumed(&p.a.io));
    assert_true(io_resumed(&p.b.io));
    SSL_SESSION_free(session);
    pair_end(&p);
    loop_end(&l);
}

static void before_it_is_open_nothing_goes_and_interest_is_kept(void **state)
{
    struct iovec v = text("early");
    struct loop l;

    (void)state;
    assert_int_equal(loop_init(&l, 0, 1), ST_OK);
    for (int tls = 0; tls < 2; tls++) {
        struct pair p = { 0 };
        size_t took = 9;
        char c;

        pair_begin(&p, &l, tls == 1, 0);
        assert_int_equal(p.a.events + p.b.events, 0); /* callbacks come from the loop only */
        assert_int_equal(io_writev(&p.a.io, &v, 1, &took), ST_OK);
        assert_int_equal(took, 0);
        assert_int_equal(io_read(&p.a.io, &c, 1, &took), ST_MORE);
        gives(&p.a, (const uint8_t *)"early", 5);
        takes(&p.b, 5, 0);
        io_want(&p.a.io, IO_WRITE);
        io_want(&p.b.io, IO_READ);
        TURN_UNTIL(&l, p.b.in_n == 5);
        assert_memory_equal(p.b.in, "early", 5);
        pair_end(&p);
    }
    loop_end(&l);
}

/* More pieces than one call takes, and more bytes than the kernel does. */
static void a_queue_goes_out_as_far_as_it_goes(void **state)
{
    enum { N = 2 << 20, PIECE = 4999 };
    uint8_t *data = noise(N, 3);

    (void)state;
    for (int tls = 0; tls < 2; tls++) {
        unsigned rounds = 0;
        struct pair p = { 0 };
        struct outq q;
        struct loop l;
        enum st st;

        assert_int_equal(loop_init(&l, 0, 1), ST_OK);
        outq_init(&q, &l.outq_pool);
        takes(&p.b, N, 50000);
        pair_begin(&p, &l, tls == 1, 16 << 10);
        assert_int_equal(io_write_queue(&p.a.io, &q), ST_OK); /* nothing to do */
        for (size_t at = 0; at < N; at += PIECE) {
            size_t n = N - at < PIECE ? N - at : PIECE;

            assert_int_equal(at % 2 == 0 ? outq_copy(&q, data + at, n)
                                         : outq_borrow(&q, data + at, n, NULL),
                             ST_OK);
        }
        assert_int_equal(io_write_queue(&p.a.io, &q), ST_MORE); /* not open yet */
        assert_int_equal(outq_bytes(&q), N);
        TURN_UNTIL(&l, (rounds++, io_want(&p.a.io, IO_WRITE), st = io_write_queue(&p.a.io, &q)) !=
                               ST_MORE &&
                           p.b.in_n == N);
        assert_int_equal(st, ST_OK);
        assert_true(rounds > 3);
        assert_int_equal(outq_bytes(&q), 0);
        assert_memory_equal(p.b.in, data, N);

        io_fini(&p.b.io); /* closed: the kernel answers what comes now with a reset */
        p.b.io = (struct io){ .fd = -1 };
        do {
            if (outq_bytes(&q) == 0)
                assert_int_equal(outq_borrow(&q, data, N, NULL), ST_OK);
            st = io_write_queue(&p.a.io, &q);
            assert_int_equal(loop_turn_nowait(&l), ST_OK);
        } while (st >= ST_OK);
        assert_int_equal(st, ST_EIO);
        outq_clear(&q);
        io_fini(&p.a.io);
        listen_close(&p.lfd, 1);
        free(p.b.in);
        loop_end(&l);
    }
    free(data);
}

static void who_cannot_connect_is_dead_once(void **state)
{
    struct sockaddr_storage sa;
    socklen_t len = sizeof sa;
    struct addr_sock at;
    struct pair p = { 0 };
    struct side s = { 0 };
    struct loop l;

    (void)state;
    assert_int_equal(loop_init(&l, 0, 1), ST_OK);
    pair_begin(&p, &l, false, 0);
    assert_int_equal(getsockname(p.lfd, (struct sockaddr *)&sa, &len), 0);
    listen_close(&p.lfd, 1);
    assert_int_equal(
        io_connect_init(&s.io, &l, (struct sockaddr *)&sa, len, NULL, NULL, NULL, on_ready), ST_OK);
    TURN_UNTIL(&l, s.dead);
    assert_string_equal(io_why(&s.io), "Connection refused");
    io_fini(&s.io);
    pair_end(&p);

    /* a unix socket that is not there fails at once: nothing to undo */
    assert_int_equal(addr_unix("/nonexistent/x.sock", &at, NULL), ST_OK);
    assert_int_equal(io_connect_init(&s.io, &l, (struct sockaddr *)&at.sa, at.len, client_ctx, NULL,
                                     NULL, on_ready),
                     ST_EIO);
    assert_string_equal(io_why(&s.io), "No such file or directory");
    loop_end(&l);
}

static void a_wrong_name_kills_both_handshakes(void **state)
{
    struct pair p = { 0 };
    struct loop l;

    (void)state;
    assert_int_equal(loop_init(&l, 0, 1), ST_OK);
    pair_begin(&p, &l, true, 0);
    assert_int_equal(SSL_set1_host(p.a.io.ssl, "other.example.com"), 1);
    TURN_UNTIL(&l, p.a.dead && p.b.dead);
    assert_string_equal(io_why(&p.a.io), "hostname mismatch");
    assert_string_equal(io_why(&p.b.io), "sslv3 alert bad certificate");
    pair_end(&p);
    loop_end(&l);
}

static void names_and_addresses_are_verified_as_such(void **state)
{
    static const struct {
        const char *host, *sni;
        bool good;
    } t[] = {
        { "edge.example.com", "edge.example.com", true },
        { "other.example.com", "", false },
        { "127.0.0.1", "", true }, /* addresses are not sent */
        { "127.0.0.2", "", false },
        { NULL, "", true },
    };
    struct loop l;

    (void)state;
    assert_int_equal(loop_init(&l, 0, 1), ST_OK);
    for (size_t i = 0; i < sizeof t / sizeof t[0]; i++) {
        struct pair p = { 0 };

        pair_begin_as(&p, &l, t[i].host, "http/1.1");
        TURN_UNTIL(&l, t[i].good ? p.a.opened && p.b.opened : p.a.dead && p.b.dead);
        if (t[i].good) {
            assert_string_equal(io_sni(&p.b.io), t[i].sni);
            assert_string_equal(io_alpn(&p.a.io), "http/1.1");
        }
        pair_end(&p);
    }
    loop_end(&l);
}

static void one_event_is_enough_to_read_all_that_is_there(void **state)
{
    uint8_t *data = noise(5000, 8);
    struct iovec v = { data, 5000 };
    struct loop l;

    (void)state;
    assert_int_equal(loop_init(&l, 0, 1), ST_OK);
    for (int tls = 0; tls < 2; tls++) {
        struct pair p = { 0 };
        size_t took;

        pair_begin(&p, &l, tls == 1, 0);
        TURN_UNTIL(&l, p.a.opened && p.b.opened);
        assert_int_equal(io_writev(&p.a.io, &v, 1, &took), ST_OK);
        takes(&p.b, 5000, 1000);
        io_want(&p.b.io, IO_READ);
        TURN_UNTIL(&l, p.b.in_n == 5000);
        assert_int_equal(p.b.events, 2); /* it was opened, it was readable */
        pair_end(&p);
    }
    loop_end(&l);
    free(data);
}

static void garbage_instead_of_a_handshake_is_fatal(void **state)
{
    static const char junk[] = "GET / HTTP/1.1\r\nHost: x\r\n\r\n";
    struct loop l;

    (void)state;
    assert_int_equal(loop_init(&l, 0, 1), ST_OK);
    for (int cut = 0; cut < 2; cut++) {
        struct side s = { 0 };
        int fds[2];

        assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, fds),
                         0);
        assert_int_equal(io_accept_init(&s.io, &l, fds[0], server_ctx, on_ready), ST_OK);
        if (!cut)
            assert_int_equal(write(fds[1], junk, sizeof junk - 1), sizeof junk - 1);
        else
            (void)close(fds[1]);
        TURN_UNTIL(&l, s.dead);
        assert_string_equal(io_why(&s.io), cut ? "ended without close_notify" : "http request");
        assert_int_equal(s.events, 1);
        io_fini(&s.io);
        if (!cut)
            (void)close(fds[1]);
    }
    loop_end(&l);
}

static void the_spill_has_a_limit(void **state)
{
    enum { N = 4 << 20 };
    uint8_t *data = noise(N, 7);
    struct iovec v = { data, 10 };
    struct pair p = { 0 };
    struct loop l;
    size_t n;
    char c;

    (void)state;
    assert_int_equal(loop_init(&l, 0, 1), ST_OK);
    pair_begin(&p, &l, true, 8 << 10);
    TURN_UNTIL(&l, p.a.opened && p.b.opened);
    /* as if reading had made endless answers: straight into the way out */
    assert_int_equal(BIO_write(SSL_get_wbio(p.b.io.ssl), data, N), N);
    assert_int_equal(io_read(&p.b.io, &c, 1, &n), ST_ELIMIT);
    assert_int_equal(io_writev(&p.b.io, &v, 1, &n), ST_ELIMIT);
    assert_int_equal(io_shutdown(&p.b.io), ST_ELIMIT);
    assert_true(io_flushed(&p.b.io));
    assert_int_equal(io_stats(&l).spill_bytes, 0);
    pair_end(&p);
    loop_end(&l);
    free(data);
}

static void after_stop_there_are_no_callbacks(void **state)
{
    struct iovec v = text("hello");
    struct loop l;

    (void)state;
    assert_int_equal(loop_init(&l, 0, 1), ST_OK);
    for (int tls = 0; tls < 2; tls++) {
        struct pair p = { 0 };
        unsigned events;
        size_t took;

        pair_begin(&p, &l, tls == 1, 0);
        TURN_UNTIL(&l, p.a.opened && p.b.opened);
        takes(&p.b, 5, 1);
        p.b.once = true;
        io_want(&p.b.io, IO_READ);
        assert_int_equal(io_writev(&p.a.io, &v, 1, &took), ST_OK);
        TURN_UNTIL(&l, p.b.in_n == 1); /* more is there, with TLS decrypted already */
        io_stop(&p.b.io);
        io_stop(&p.b.io);
        events = p.b.events;
        for (int i = 0; i < 10; i++) {
            assert_int_equal(loop_turn_nowait(&l), ST_OK);
            assert_int_equal(p.b.events, events);
            io_want(&p.b.io, IO_READ | IO_WRITE); /* nor does this bring them back */
        }
        pair_end(&p);
    }
    loop_end(&l);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_size_arrives_whole),
        cmocka_unit_test(nothing_is_lost_or_reordered_when_the_kernel_is_slow),
        cmocka_unit_test(nothing_is_encrypted_while_spill_is_left),
        cmocka_unit_test(shutdown_comes_after_the_spill),
        cmocka_unit_test(ends_are_told_apart),
        cmocka_unit_test(data_before_the_end_is_read_before_it),
        cmocka_unit_test(a_reset_that_a_send_has_seen_is_no_clean_end),
        cmocka_unit_test(a_clean_end_stays_clean_when_a_send_fails),
        cmocka_unit_test(what_tls_has_read_ahead_is_not_forgotten),
        cmocka_unit_test(records_are_small_at_first_and_full_afterwards),
        cmocka_unit_test(tls_tells_what_was_agreed),
        cmocka_unit_test(a_session_is_resumed),
        cmocka_unit_test(before_it_is_open_nothing_goes_and_interest_is_kept),
        cmocka_unit_test(a_queue_goes_out_as_far_as_it_goes),
        cmocka_unit_test(who_cannot_connect_is_dead_once),
        cmocka_unit_test(a_wrong_name_kills_both_handshakes),
        cmocka_unit_test(names_and_addresses_are_verified_as_such),
        cmocka_unit_test(one_event_is_enough_to_read_all_that_is_there),
        cmocka_unit_test(garbage_instead_of_a_handshake_is_fatal),
        cmocka_unit_test(the_spill_has_a_limit),
        cmocka_unit_test(after_stop_there_are_no_callbacks),
    };

    return cmocka_run_group_tests(tests, make_contexts, free_contexts);
}
