/* core/addr and core/listen: address keys and text, listening sockets, accepting, running out. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "core/addr.h"
#include "core/clock.h"
#include "core/io.h"
#include "core/listen.h"
#include "core/loop.h"

static struct addr parsed(const char *text)
{
    struct addr a;

    assert_int_equal(addr_parse(text, &a), ST_OK);
    return a;
}

static struct addr_sock resolved(const char *host, uint16_t port)
{
    struct addr_sock at[4];
    struct err e;
    int n;

    assert_int_equal(addr_resolve(host, port, at, 4, &n, &e), ST_OK);
    return at[0];
}

static void addresses_have_one_form(void **state)
{
    struct addr a = parsed("192.0.2.1"), b = parsed("::ffff:192.0.2.1"), c = parsed("2001:db8::1");
    struct addr_sock s4 = resolved("192.0.2.1", 80), s6 = resolved("[2001:db8::1]", 8443);
    struct addr of4 = addr_of((struct sockaddr *)&s4.sa), of6 = addr_of((struct sockaddr *)&s6.sa);
    char buf[ADDR_TEXT_MAX];

    (void)state;
    assert_true(addr_eq(&a, &b));
    assert_false(addr_eq(&a, &c));
    assert_true(addr_eq(&a, &of4));
    assert_true(addr_eq(&c, &of6));
    assert_string_equal(addr_text(&b, buf), "192.0.2.1");
    assert_string_equal(addr_text(&c, buf), "2001:db8::1");
    assert_string_equal(addr_sock_text((struct sockaddr *)&s4.sa, s4.len, buf), "192.0.2.1:80");
    assert_string_equal(addr_sock_text((struct sockaddr *)&s6.sa, s6.len, buf),
                        "[2001:db8::1]:8443");
    assert_int_equal(addr_port((struct sockaddr *)&s4.sa), 80);
    assert_int_equal(addr_port((struct sockaddr *)&s6.sa), 8443);
}

static void hashes_depend_on_the_seed_and_every_byte(void **state)
{
    struct addr a = parsed("2001:db8::1");
    uint64_t h = addr_hash(&a, 7);

    (void)state;
    assert_true(h == addr_hash(&a, 7));
    assert_true(h != addr_hash(&a, 8));
    for (size_t i = 0; i < sizeof a.ip; i++) {
        struct addr b = a;

        b.ip[i] ^= 1;
        assert_true(addr_hash(&b, 7) != h);
    }
}

static void a_subscriber_is_an_ipv4_address_or_an_ipv6_64(void **state)
{
    struct addr a = parsed("2001:db8:1:2:3:4:5:6"), cut = parsed("2001:db8:1:2::");
    struct addr s6 = addr_subscriber(&a), v4 = parsed("192.0.2.77"), s4 = addr_subscriber(&v4);

    (void)state;
    assert_true(addr_eq(&s6, &cut));
    assert_true(addr_eq(&s4, &v4));
}

static void networks_hold_their_addresses_only(void **state)
{
    static const struct {
        const char *net, *in, *out;
    } good[] = {
        { "10.0.0.0/8", "10.255.3.4", "11.0.0.0" },
        { "192.0.2.128/25", "192.0.2.128", "192.0.2.127" },
        { "192.0.2.1", "192.0.2.1", "192.0.2.0" },
        { "0.0.0.0/0", "255.1.2.3", "2001:db8::1" },
        { "::/0", "192.0.2.1", NULL },
        { "2001:db8::/31", "2001:db9::1", "2001:dba::" },
        { "::1", "::1", "::2" },
    };
    static const char *const bad[] = {
        "",           "10.0.0.0/33", "10.0.0.1/8",   "::1/129",
        "10.0.0/8",   "10.0.0.0/",   "10.0.0.0/8x",  "10.0.0.0/-1",
        "localhost",  "::/0000",     "10.0.0.0/+8",  "::1/64",
        "1.2.3.4.5",  "/8",          "10.0.0.0/8/8", "::1%lo",
        "0.0.0.0/",   "10.0.0.0 ",   "[::1]",        "192.0.2.1:80/8",
        "10.0.0.0/ 8"
    };
    struct addr_net net;

    (void)state;
    for (size_t i = 0; i < sizeof good / sizeof good[0]; i++) {
        struct addr a = parsed(good[i].in);

        assert_int_equal(addr_net_parse(good[i].net, &net), ST_OK);
        assert_true(addr_net_has(&net, &a));
        if (good[i].out == NULL)
            continue;
        a = parsed(good[i].out);
        assert_false(addr_net_has(&net, &a));
    }
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        char *copy = strdup(bad[i]); /* exact size: ASan sees an over-read */

        assert_int_equal(addr_net_parse(copy, &net), ST_ECONF);
        free(copy);
    }
}

static void names_resolve_or_say_why(void **state)
{
    struct addr_sock at[4];
    char longname[400];
    struct err e;
    int n;

    (void)state;
    assert_int_equal(addr_resolve("localhost", 80, at, 4, &n, &e), ST_OK);
    assert_in_range(n, 1, 4);
    assert_int_equal(addr_resolve("*", 80, at, 4, &n, &e), ST_OK);
    assert_int_equal(addr_resolve("no such host", 80, at, 4, &n, &e), ST_ENOENT);
    assert_non_null(strstr(e.text, "no such host"));
    assert_int_equal(n, 0);
    memset(longname, 'a', sizeof longname - 1);
    longname[sizeof longname - 1] = '\0';
    assert_int_equal(addr_resolve(longname, 80, at, 4, &n, &e), ST_ECONF);
    assert_int_equal(addr_unix(longname, at, &e), ST_ECONF);
    assert_int_equal(addr_unix("", at, &e), ST_ECONF);
}

/* What the callbacks saw. */
static struct {
    int fds[16], n;
    struct sockaddr_storage peer;
    struct listener *fini; /* done to it inside the callback */
} got;

static void on_accept(struct listener *ln, int fd, const struct sockaddr_storage *peer)
{
    assert_true(got.n < 16);
    got.fds[got.n++] = fd;
    got.peer = *peer;
    if (got.fini == ln)
        listener_fini(ln);
}

static void drop_accepted(void)
{
    for (int i = 0; i < got.n; i++)
        (void)close(got.fds[i]);
    memset(&got, 0, sizeof got);
}

static int dial(int lfd)
{
    struct sockaddr_storage sa;
    socklen_t len = sizeof sa;
    int fd;

    assert_int_equal(getsockname(lfd, (struct sockaddr *)&sa, &len), 0);
    fd = socket(sa.ss_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_true(fd >= 0);
    assert_int_equal(connect(fd, (struct sockaddr *)&sa, len), 0);
    return fd;
}

static int option(int fd, int level, int name)
{
    int v = -1;
    socklen_t len = sizeof v;

    assert_int_equal(getsockopt(fd, level, name, &v, &len), 0);
    return v;
}

static void every_loop_has_its_own_socket_on_one_port(void **state)
{
    struct addr_sock any = resolved("127.0.0.1", 0);
    char first[ADDR_TEXT_MAX], other[ADDR_TEXT_MAX];
    int fds[3], second[1], client;
    struct sockaddr_storage sa;
    socklen_t len = sizeof sa;
    struct addr_sock same;
    struct listener ln[3];
    struct loop l;
    struct err e;

    (void)state;
    memset(&got, 0, sizeof got);
    assert_int_equal(loop_init(&l, 0, 1), ST_OK);
    assert_int_equal(listen_open(&any, &(struct listen_how){ 0 }, 3, fds, &e), ST_OK);
    (void)listen_actual(fds[0], first);
    for (int i = 0; i < 3; i++) {
        assert_string_equal(listen_actual(fds[i], other), first);
        assert_int_equal(listener_init(&ln[i], &l, fds[i], on_accept), ST_OK);
    }
    client = dial(fds[0]);
    while (got.n == 0)
        assert_int_equal(loop_turn(&l), ST_OK);
    assert_int_equal(ln[0].accepted + ln[1].accepted + ln[2].accepted, 1);
    assert_int_equal(got.peer.ss_family, AF_INET);
    assert_int_equal(fcntl(got.fds[0], F_GETFL) & O_NONBLOCK, O_NONBLOCK);
    assert_int_equal(fcntl(got.fds[0], F_GETFD) & FD_CLOEXEC, FD_CLOEXEC);
    assert_int_equal(option(got.fds[0], IPPROTO_TCP, TCP_NODELAY), 1);
    assert_int_equal(option(got.fds[0], IPPROTO_TCP, TCP_NOTSENT_LOWAT), IO_NOTSENT_LOWAT);

    /* a second instance is told, it does not quietly share the port */
    memset(&same, 0, sizeof same);
    assert_int_equal(getsockname(fds[0], (struct sockaddr *)&sa, &len), 0);
    same.sa = sa;
    same.len = len;
    assert_int_equal(listen_open(&same, &(struct listen_how){ 0 }, 1, second, &e), ST_ECONF);
    assert_string_equal(e.text, "another process listens there");
    assert_int_equal(second[0], -1);
    assert_int_equal(listen_open(&same, &(struct listen_how){ .ours = true }, 1, second, &e),
                     ST_OK); /* a listener of ours that takes the place of another */
    listen_close(second, 1);

    (void)close(client);
    drop_accepted();
    for (int i = 0; i < 3; i++)
        listener_fini(&ln[i]);
    assert_int_equal(loop_turn_nowait(&l), ST_OK);
    listen_close(fds, 3);
    loop_fini(&l);
}

static void any_ipv6_takes_ipv4_too_and_one_ipv6_does_not(void **state)
{
    struct addr_sock any = resolved("::", 0), one = resolved("::1", 0);
    struct err e;
    int fd;

    (void)state;
    if (listen_open(&one, &(struct listen_how){ 0 }, 1, &fd, &e) != ST_OK)
        skip(); /* a host without IPv6 */
    assert_int_equal(option(fd, IPPROTO_IPV6, IPV6_V6ONLY), 1);
    listen_close(&fd, 1);
    assert_int_equal(listen_open(&any, &(struct listen_how){ 0 }, 1, &fd, &e), ST_OK);
    assert_int_equal(option(fd, IPPROTO_IPV6, IPV6_V6ONLY), 0);
    listen_close(&fd, 1);
}

static void a_unix_socket_is_shared_by_the_loops(void **state)
{
    char dir[] = "/tmp/freshet-listen-XXXXXX", path[64], text[ADDR_TEXT_MAX], want[80];
    int fds[2], second[1], client, plain;
    struct addr_sock at;
    struct listener ln;
    struct loop l;
    struct stat sb;
    struct err e;

    (void)state;
    memset(&got, 0, sizeof got);
    assert_non_null(mkdtemp(dir));
    (void)snprintf(path, sizeof path, "%s/x.sock", dir);
    (void)snprintf(want, sizeof want, "unix:%s", path);
    assert_int_equal(loop_init(&l, 0, 1), ST_OK);
    assert_int_equal(addr_unix(path, &at, &e), ST_OK);
    assert_int_equal(listen_open(&at, &(struct listen_how){ .mode = 0600 }, 2, fds, &e), ST_OK);
    assert_string_equal(listen_actual(fds[0], text), want);
    assert_int_equal(stat(path, &sb), 0);
    assert_int_equal(sb.st_mode & 0777, 0600);

    assert_int_equal(listener_init(&ln, &l, fds[1], on_accept), ST_OK); /* the dup */
    client = dial(fds[0]);
    while (got.n == 0)
        assert_int_equal(loop_turn(&l), ST_OK);
    (void)close(client);
    drop_accepted();
    listener_fini(&ln);
    assert_int_equal(loop_turn_nowait(&l), ST_OK);

    assert_int_equal(listen_open(&at, &(struct listen_how){ .mode = 0600 }, 1, second, &e),
                     ST_ECONF);
    assert_string_equal(e.text, "another process listens there");
    listen_close(fds, 2);
    assert_int_equal(listen_open(&at, &(struct listen_how){ .mode = 0600 }, 1, second, &e),
                     ST_OK); /* stale: replaced */
    listen_close(second, 1);
    assert_int_equal(unlink(path), 0);
    plain = open(path, O_CREAT | O_WRONLY, 0600);
    assert_true(plain >= 0);
    (void)close(plain);
    assert_int_equal(listen_open(&at, &(struct listen_how){ .mode = 0600 }, 1, second, &e),
                     ST_ECONF); /* not a socket */
    assert_int_equal(access(path, F_OK), 0);
    (void)unlink(path);
    (void)rmdir(dir);
    loop_fini(&l);
}

static void a_list_of_listeners_is_ended_one_by_one(void **state)
{
    struct addr_sock any = resolved("127.0.0.1", 0);
    struct listener *list = NULL, *ln[3], *middle;
    int fds[3], owner;
    struct loop l;
    struct err e;

    (void)state;
    memset(&got, 0, sizeof got);
    assert_int_equal(loop_init(&l, 0, 1), ST_OK);
    assert_int_equal(listen_open(&any, &(struct listen_how){ 0 }, 3, fds, &e), ST_OK);
    for (int i = 0; i < 3; i++) {
        struct listener_cfg cfg = {
            .fd = fds[i], .on_accept = on_accept, .owner = &owner, .profile = i, .tls = i == 1
        };

        assert_int_equal(listener_new(&list, &l, &cfg, &ln[i]), ST_OK);
    }
    assert_true(ln[1]->owner == &owner && ln[1]->profile == 1 && ln[1]->tls && !ln[2]->tls);
    middle = ln[1];
    listener_free(&middle);
    assert_null(middle);
    assert_true(list == ln[2] && list->next == ln[0] && ln[0]->next == NULL);
    listener_free(&middle); /* nothing */
    while (list != NULL) {
        middle = list;
        listener_free(&middle);
    }
    assert_int_equal(loop_turn_nowait(&l), ST_OK);
    listen_close(fds, 3);
    loop_fini(&l);
}

static void it_may_end_inside_the_callback(void **state)
{
    struct addr_sock any = resolved("127.0.0.1", 0);
    int fd, client[3];
    struct listener ln;
    struct loop l;
    struct err e;

    (void)state;
    memset(&got, 0, sizeof got);
    assert_int_equal(loop_init(&l, 0, 1), ST_OK);
    assert_int_equal(listen_open(&any, &(struct listen_how){ 0 }, 1, &fd, &e), ST_OK);
    assert_int_equal(listener_init(&ln, &l, fd, on_accept), ST_OK);
    for (int i = 0; i < 3; i++)
        client[i] = dial(fd);
    got.fini = &ln;
    while (got.n == 0)
        assert_int_equal(loop_turn(&l), ST_OK);
    assert_int_equal(loop_turn_nowait(&l), ST_OK);
    assert_int_equal(got.n, 1); /* the others wait in the kernel's queue */
    for (int i = 0; i < 3; i++)
        (void)close(client[i]);
    drop_accepted();
    listen_close(&fd, 1);
    loop_fini(&l);
}

static uint64_t test_now = 50 * SEC_US;
static uint64_t test_mono(void) { return test_now; }
static int64_t test_wall(void) { return 7; }
static const struct clock_source test_clock = { test_mono, test_wall };

static void pass(struct loop *l, uint64_t us)
{
    for (uint64_t end = test_now + us; test_now < end;) {
        test_now += TIMER_TICK_US;
        (void)loop_touch(l);
        timer_wheel_sweep(l);
    }
}

/* Takes every descriptor below the limit; returns how many. */
static int use_up(int *hoard, int cap)
{
    int n = 0;

    while (n < cap && (hoard[n] = fcntl(0, F_DUPFD_CLOEXEC, 0)) >= 0)
        n++;
    assert_int_equal(errno, EMFILE);
    return n;
}

static void out_of_descriptors_it_refuses_and_pauses(void **state)
{
    struct addr_sock any = resolved("127.0.0.1", 0);
    int fd, client[3], hoard[256], hoard_n;
    struct rlimit old, low;
    struct listener ln;
    struct loop l;
    struct err e;
    char c;

    (void)state;
    memset(&got, 0, sizeof got);
    clock_use(&test_clock);
    assert_int_equal(loop_init(&l, 0, 1), ST_OK);
    assert_int_equal(listen_open(&any, &(struct listen_how){ 0 }, 1, &fd, &e), ST_OK);
    assert_int_equal(listener_init(&ln, &l, fd, on_accept), ST_OK);
    client[0] = dial(fd);
    client[1] = dial(fd);
    client[2] = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &old), 0);
    low = old;
    low.rlim_cur = 128;
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &low), 0);
    hoard_n = use_up(hoard, 256);

    while (ln.pauses == 0)
        assert_int_equal(loop_turn_nowait(&l), ST_OK);
    assert_int_equal(got.n, 0);
    assert_int_equal(ln.refused, 2);
    assert_int_equal(read(client[0], &c, 1), 0); /* closed, not left hanging */
    assert_int_equal(read(client[1], &c, 1), 0);

    /* the third comes during the pause: nothing happens, and nothing spins */
    struct sockaddr_storage sa;
    socklen_t len = sizeof sa;

    assert_int_equal(getsockname(fd, (struct sockaddr *)&sa, &len), 0);
    assert_int_equal(connect(client[2], (struct sockaddr *)&sa, len), 0);
    for (int i = 0; i < 20; i++)
        assert_int_equal(loop_turn_nowait(&l), ST_OK);
    assert_int_equal(ln.pauses, 1);

    for (int i = 0; i < hoard_n; i++)
        (void)close(hoard[i]);
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &old), 0);
    pass(&l, LISTEN_PAUSE_MS * MS_US + 2 * (uint64_t)TIMER_TICK_US);
    while (got.n == 0)
        assert_int_equal(loop_turn_nowait(&l), ST_OK);
    assert_int_equal(ln.accepted, 1);
    for (int i = 0; i < 3; i++)
        (void)close(client[i]);
    drop_accepted();
    listener_fini(&ln);
    assert_int_equal(loop_turn_nowait(&l), ST_OK);
    listen_close(&fd, 1);
    loop_fini(&l);
    clock_use(NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(addresses_have_one_form),
        cmocka_unit_test(hashes_depend_on_the_seed_and_every_byte),
        cmocka_unit_test(a_subscriber_is_an_ipv4_address_or_an_ipv6_64),
        cmocka_unit_test(networks_hold_their_addresses_only),
        cmocka_unit_test(names_resolve_or_say_why),
        cmocka_unit_test(every_loop_has_its_own_socket_on_one_port),
        cmocka_unit_test(any_ipv6_takes_ipv4_too_and_one_ipv6_does_not),
        cmocka_unit_test(a_unix_socket_is_shared_by_the_loops),
        cmocka_unit_test(a_list_of_listeners_is_ended_one_by_one),
        cmocka_unit_test(it_may_end_inside_the_callback),
        cmocka_unit_test(out_of_descriptors_it_refuses_and_pauses),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
