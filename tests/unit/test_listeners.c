/* Listening sockets across reloads, on real ports of the loopback. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <stdatomic.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "core/listen.h"
#include "daemon/listeners.h"
#include "daemon/process.h"

static char dir[] = "/tmp/freshet-listen-XXXXXX";
static atomic_int opens, closes, waiting; /* seen on the loops */

static bool opened(struct loop *l, struct listen_socket *ls)
{
    (void)l;
    (void)ls;
    opens++;
    return true;
}

/* Nobody is served before: all that came waits here. */
static void closed(struct loop *l, struct listen_socket *ls)
{
    int fd;

    (void)l;
    closes++;
    while ((fd = accept(ls->fd, NULL, NULL)) >= 0) {
        waiting++;
        (void)close(fd);
    }
    assert_int_equal(errno, EAGAIN);
}

static const struct listen_user user = { opened, closed };
const struct listen_section listen_sections[] = {
    { "edge.listen", offsetof(struct conf, edge.listen), offsetof(struct conf, edge.listen_n),
      &user },
    { NULL, 0, 0, NULL },
};
static const struct part *const all_parts[] = { &listeners_part, NULL };

static char actual[500];
static void add_actual(void *arg, const char *section, const char *configured, const char *url)
{
    size_t n = strlen(actual);

    (void)arg, (void)configured;
    assert_string_equal(section, "edge.listen");
    (void)snprintf(actual + n, sizeof actual - n, "%s\n", url);
}

static const char *now(struct process *p)
{
    actual[0] = '\0';
    listeners_each(p, add_actual, NULL);
    return actual;
}

static unsigned port_in(const char *text)
{
    const char *colon = strrchr(text, ':');

    assert_non_null(colon);
    return (unsigned)strtoul(colon + 1, NULL, 10);
}

static void no_matter(void *arg, const struct conf_change *ch) { (void)arg, (void)ch; }

static char report[1000];
static enum st reload(struct process *p, const char *fmt, ...)
    __attribute__((format(printf, 2, 3)));
static enum st reload(struct process *p, const char *fmt, ...)
{
    char file[100];
    FILE *f;
    va_list ap;
    enum st st;

    (void)snprintf(file, sizeof file, "%s/conf", dir);
    f = fopen(file, "w");
    assert_non_null(f);
    (void)fputs("log: {level: error}\n", f);
    va_start(ap, fmt);
    (void)vfprintf(f, fmt, ap);
    va_end(ap);
    assert_int_equal(fclose(f), 0);
    memset(report, 0, sizeof report);
    f = fmemopen(report, sizeof report - 1, "w");
    if (p->conf == NULL) {
        struct conf *c;

        assert_int_equal(conf_load(file, 1, &c, stderr), ST_OK);
        st = process_start(p, all_parts, c, f);
    } else {
        st = process_reload(p, file, f, no_matter, NULL);
    }
    (void)fclose(f);
    return st;
}

static int dial(unsigned port)
{
    const struct sockaddr_in to = { .sin_family = AF_INET,
                                    .sin_port = htons((uint16_t)port),
                                    .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
    union {
        struct sockaddr any;
        struct sockaddr_in in;
    } u = { .in = to };
    int fd = socket(AF_INET, SOCK_STREAM, 0);

    if (connect(fd, &u.any, sizeof to) == 0)
        return fd;
    (void)close(fd);
    return -1;
}

static void a_listener_that_stays_keeps_its_sockets(void **state)
{
    struct process p = { .conf = NULL };
    unsigned port;
    int fd;

    (void)state;
    opens = closes = waiting = 0;
    assert_int_equal(reload(&p, "loops: 2\nedge: {listen: ['127.0.0.1:0']}\n"), ST_OK);
    port = port_in(now(&p));
    assert_true(port > 0);
    assert_int_equal(opens, 2);
    fd = dial(port);
    assert_true(fd >= 0);
    assert_int_equal(reload(&p, "edge: {listen: ['127.0.0.1:0', 'unix:%s/s'], cache: 2M}\n", dir),
                     ST_OK);
    assert_int_equal(port_in(now(&p)), 0); /* the last line is the unix socket */
    *strchr(actual, '\n') = '\0';
    assert_int_equal(port_in(actual), port);
    assert_int_equal(opens, 4);
    assert_int_equal(closes, 0);
    assert_int_equal(reload(&p, "edge: {listen: ['unix:%s/s']}\n", dir), ST_OK);
    assert_int_equal(closes, 2);
    assert_int_equal(waiting, 1); /* who came before the end was let in */
    assert_int_equal(dial(port), -1);
    (void)close(fd);
    process_stop(&p);
    assert_int_equal(closes, 4);
}

static void two_listeners_on_ports_of_the_kernel_are_two(void **state)
{
    struct process p = { .conf = NULL };

    (void)state;
    assert_int_equal(reload(&p, "loops: 1\nedge: {listen: ['127.0.0.1:0', '127.0.0.1:0']}\n"),
                     ST_OK);
    opens = closes = 0;
    assert_int_equal(reload(&p, "edge: {listen: ['127.0.0.1:0', '127.0.0.1:0']}\n"), ST_OK);
    assert_int_equal(opens + closes, 0);
    assert_int_equal(reload(&p, "edge: {listen: ['127.0.0.1:0']}\n"), ST_OK);
    assert_int_equal(closes, 1);
    process_stop(&p);
}

/* Somebody else's socket, on a port that the kernel picks. */
static int listening(uint16_t *port)
{
    struct sockaddr_storage sa;
    socklen_t len = sizeof sa;
    struct addr_sock at;
    struct err err;
    int n, fd;

    assert_int_equal(addr_resolve("127.0.0.1", 0, &at, 1, &n, &err), ST_OK);
    assert_int_equal(listen_open(&at, &(struct listen_how){ 0 }, 1, &fd, &err), ST_OK);
    assert_int_equal(getsockname(fd, (struct sockaddr *)&sa, &len), 0);
    *port = addr_port((struct sockaddr *)&sa);
    return fd;
}

static void what_cannot_be_bound_changes_nothing(void **state)
{
    struct process p = { .conf = NULL };
    char before[500], file[100];
    uint16_t port;
    struct stat s;
    int fd;

    (void)state;
    /* Sharing on our side alone would let us in there too. */
    fd = listening(&port);
    assert_int_equal(reload(&p, "loops: 2\nedge: {listen: ['127.0.0.1:0']}\n"), ST_OK);
    (void)snprintf(before, sizeof before, "%s", now(&p));
    opens = closes = 0;
    assert_int_equal(
        reload(&p, "edge: {listen: ['127.0.0.1:0', 'unix:%s/t', '127.0.0.1:%u']}\n", dir, port),
        ST_ECONF);
    assert_non_null(strstr(report, "edge.listen: http://127.0.0.1:"));
    assert_non_null(strstr(report, ": another process listens there\n"));
    assert_int_equal(opens + closes, 0);
    assert_string_equal(now(&p), before);
    (void)snprintf(file, sizeof file, "%s/t", dir);
    assert_int_equal(stat(file, &s), -1); /* what was bound already is gone again */
    (void)close(fd);
    assert_int_equal(reload(&p, "edge: {listen: ['127.0.0.1:%u']}\n", port), ST_OK);
    assert_int_equal(closes, 2);
    process_stop(&p);
}

static void the_port_we_have_may_change_its_protocol(void **state)
{
    struct process p = { .conf = NULL };
    uint16_t port;
    int fd;

    (void)state;
    fd = listening(&port);
    (void)close(fd);
    assert_int_equal(reload(&p, "loops: 2\nedge: {listen: ['127.0.0.1:%u']}\n", port), ST_OK);
    assert_int_equal(reload(&p,
                            "tls: {default: {cert: /c, key: /k}}\n"
                            "edge: {listen: ['https://127.0.0.1:%u']}\n",
                            port),
                     ST_OK);
    assert_true(strncmp(now(&p), "https://", 8) == 0);
    fd = dial(port);
    assert_true(fd >= 0);
    (void)close(fd);
    process_stop(&p);
}

static void a_socket_file_of_another_is_not_removed(void **state)
{
    struct process p = { .conf = NULL };
    char file[100];
    struct addr_sock at;
    struct err err;
    struct stat s;
    int fd;

    (void)state;
    (void)snprintf(file, sizeof file, "%s/v", dir);
    assert_int_equal(reload(&p, "loops: 1\nedge: {listen: ['unix:%s']}\n", file), ST_OK);
    (void)unlink(file);
    assert_int_equal(addr_unix(file, &at, &err), ST_OK);
    assert_int_equal(listen_open(&at, &(struct listen_how){ .mode = 0600 }, 1, &fd, &err), ST_OK);
    process_stop(&p);
    assert_int_equal(stat(file, &s), 0);
    (void)close(fd);
    (void)unlink(file);
}

static int make_dir(void **state)
{
    (void)state;
    return mkdtemp(dir) == NULL;
}

static int remove_dir(void **state)
{
    char file[100];

    (void)state;
    (void)snprintf(file, sizeof file, "%s/conf", dir);
    (void)unlink(file);
    return rmdir(dir); /* fails when a socket was left behind */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_listener_that_stays_keeps_its_sockets),
        cmocka_unit_test(two_listeners_on_ports_of_the_kernel_are_two),
        cmocka_unit_test(what_cannot_be_bound_changes_nothing),
        cmocka_unit_test(the_port_we_have_may_change_its_protocol),
        cmocka_unit_test(a_socket_file_of_another_is_not_removed),
    };

    return cmocka_run_group_tests(tests, make_dir, remove_dir);
}
