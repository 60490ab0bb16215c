/* publishers --url rtmp[s]://127.0.0.1:PORT/APP/NAME --file F.flv [--n N] [--spread MS]
 *
 * N broadcasters in one process: each publishes the file under NAME0, NAME1, ... at its own pace, the
 * i-th i/N of MS after the first, so that their key frames are spread. It is cheap because each
 * message is cut into chunks once, for all: one write per message and broadcaster, as from a real
 * encoder. Sockets block: a server that falls behind makes it late, and it says by how much.
 *
 * Says "publishing N" when all have been let in, and at the end of the file one line of JSON. Exit 0:
 * all came to the end; 1: some did not; 2: usage. */
#include <arpa/inet.h>
#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <netinet/tcp.h>
#include <openssl/ssl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "core/clock.h"
#include "core/flv.h"
#include "ingest/amf.h"

enum {
    CHUNK_BYTES = 4096, /* what OBS sets */
    HELLO_BYTES = 1 + 1536,
    HEARD_BYTES = 16384,
    MSID = 1, /* nginx-rtmp and freshet give the first stream this id */
    PATIENCE_S = 20,
    NAME_BYTES = 128,
    MSG_COMMAND = 20,
};

struct message {
    uint32_t ts_ms;
    size_t at, n; /* in plan.wire */
};

struct plan {
    const char *file, *url;
    char app[NAME_BYTES], name[NAME_BYTES];
    bool tls;
    uint16_t port;
    unsigned n, spread_ms;
    struct buf wire;
    struct message *messages;
    size_t count;
};

struct publisher {
    int fd;
    SSL *ssl;
    uint64_t start_us;
    size_t next;
    const char *wrong; /* NULL: fine so far */
};

struct tally {
    uint64_t messages, bytes;
    uint32_t *late_us;
    size_t n, cap;
};

static void die(const char *what)
{
    (void)fprintf(stderr, "publishers: %s: %s\n", what, strerror(errno));
    exit(1);
}

/* ---- the file, once, as the bytes of RTMP messages ---- */

static void put_message(struct buf *b, uint8_t type, uint32_t msid, uint32_t ts, const void *p,
                        size_t n)
{
    const uint8_t *body = p;
    uint8_t csid = type == FLV_AUDIO ? 4 : type == FLV_VIDEO ? 6 : 3;

    buf_be(b, csid, 1);
    buf_be(b, ts, 3); /* a file is shorter than 4 h 39 min */
    buf_be(b, n, 3);
    buf_be(b, type, 1);
    buf_add(b, (const uint8_t[]){ (uint8_t)msid, 0, 0, 0 }, 4);
    for (size_t at = 0; at < n; at += CHUNK_BYTES) {
        if (at > 0)
            buf_be(b, 0xc0u | csid, 1);
        buf_add(b, body + at, n - at < CHUNK_BYTES ? n - at : CHUNK_BYTES);
    }
}

static void read_plan(struct plan *p)
{
    FILE *f = fopen(p->file, "rbe");
    struct flv_reader reader;
    struct flv_tag tag;
    uint8_t part[65536];
    size_t got, room = 0;

    if (f == NULL)
        die(p->file);
    buf_init(&p->wire, SIZE_MAX / 2);
    flv_reader_init(&reader, FLV_BODY_MAX);
    while ((got = fread(part, 1, sizeof part, f)) > 0) {
        struct rd in = rd_init(part, got);
        enum st st;

        while ((st = flv_next(&reader, &in, &tag)) == ST_OK) {
            if (p->count == room) {
                room = room == 0 ? 4096 : room * 2;
                p->messages = realloc(p->messages, room * sizeof *p->messages);
                if (p->messages == NULL)
                    die("memory");
            }
            p->messages[p->count] = (struct message){ tag.ts_ms, p->wire.len, 0 };
            put_message(&p->wire, (uint8_t)tag.type, MSID, tag.ts_ms, tag.body, tag.n);
            p->messages[p->count].n = p->wire.len - p->messages[p->count].at;
            p->count++;
        }
        if (st != ST_MORE)
            die("that is no FLV");
    }
    flv_reader_fini(&reader);
    (void)fclose(f);
    if (p->wire.st != ST_OK || p->count == 0)
        die(p->file);
}

/* ---- one broadcaster ---- */

static bool put(struct publisher *b, const void *p, size_t n)
{
    const uint8_t *at = p;

    while (n > 0 && b->wrong == NULL) {
        ssize_t done = b->ssl != NULL ? (ssize_t)SSL_write(b->ssl, at, (int)n)
                                      : send(b->fd, at, n, MSG_NOSIGNAL);

        if (done <= 0) {
            b->wrong = b->ssl == NULL && errno == EAGAIN ? "stalled" : "cut off";
            break;
        }
        at += done;
        n -= (size_t)done;
    }
    return b->wrong == NULL;
}

/* What is there; waits for it up to the socket's time. 0: nothing that means anything to us. */
static size_t hear(struct publisher *b, void *p, size_t n)
{
    ssize_t got = b->ssl != NULL ? (ssize_t)SSL_read(b->ssl, p, (int)n) : recv(b->fd, p, n, 0);

    if (got > 0)
        return (size_t)got;
    if (b->ssl == NULL || SSL_get_error(b->ssl, (int)got) != SSL_ERROR_WANT_READ)
        b->wrong = "it hung up";
    return 0; /* TLS: a ticket, no data */
}

/* Acknowledgements and pings, that nobody needs to answer while all is well. */
static void overhear(struct publisher *b)
{
    struct pollfd there = { .fd = b->fd, .events = POLLIN };
    uint8_t waste[4096];

    while (b->wrong == NULL && poll(&there, 1, 0) == 1)
        (void)hear(b, waste, sizeof waste);
}

static bool hear_text(struct publisher *b, char *heard, size_t *len, const char *text)
{
    while (memmem(heard, *len, text, strlen(text)) == NULL && b->wrong == NULL) {
        if (*len == HEARD_BYTES)
            b->wrong = "it talks too much";
        else
            *len += hear(b, heard + *len, HEARD_BYTES - *len);
    }
    return b->wrong == NULL;
}

static void command(struct buf *body, const char *name, double number)
{
    buf_reset(body);
    amf_put_string(body, name);
    amf_put_number(body, number);
}

static bool send_command(struct publisher *b, struct buf *body, uint32_t msid)
{
    struct buf out;
    bool ok;

    buf_init(&out, HEARD_BYTES);
    put_message(&out, MSG_COMMAND, msid, 0, body->data, body->len);
    ok = put(b, out.data, out.len);
    buf_fini(&out);
    return ok;
}

static bool greet(struct publisher *b)
{
    static const uint8_t chunk_size[] = {
        2, 0, 0, 0, 0, 0, 4, 1, 0, 0, 0, 0, 0, 0, CHUNK_BYTES >> 8, 0
    };
    uint8_t hello[HELLO_BYTES] = { 3 }, answer[HELLO_BYTES + 1536];

    if (!put(b, hello, sizeof hello))
        return false;
    for (size_t have = 0; have < sizeof answer && b->wrong == NULL;)
        have += hear(b, answer + have, sizeof answer - have);
    return b->wrong == NULL && put(b, answer + 1, 1536) && put(b, chunk_size, sizeof chunk_size);
}

static bool talk(struct publisher *b, const struct plan *p, unsigned i)
{
    char heard[HEARD_BYTES], name[NAME_BYTES + 16], url[2 * NAME_BYTES];
    size_t len = 0;
    struct buf body;
    bool ok;

    (void)snprintf(name, sizeof name, "%s%u", p->name, i);
    (void)snprintf(url, sizeof url, "%s://127.0.0.1:%u/%s", p->tls ? "rtmps" : "rtmp", p->port,
                   p->app);
    buf_init(&body, HEARD_BYTES);
    command(&body, "connect", 1);
    amf_put_object(&body);
    amf_put_key(&body, "app");
    amf_put_string(&body, p->app);
    amf_put_key(&body, "tcUrl");
    amf_put_string(&body, url);
    amf_put_end(&body);
    ok = send_command(b, &body, 0) && hear_text(b, heard, &len, "Connect.Success");
    len = 0;
    command(&body, "createStream", 2);
    amf_put_null(&body);
    ok = ok && send_command(b, &body, 0) && hear_text(b, heard, &len, "_result");
    command(&body, "publish", 3);
    amf_put_null(&body);
    amf_put_string(&body, name);
    amf_put_string(&body, "live");
    ok = ok && send_command(b, &body, MSID) && hear_text(b, heard, &len, "Publish.Start");
    buf_fini(&body);
    return ok;
}

static void begin(struct publisher *b, const struct plan *p, unsigned i, SSL_CTX *ctx)
{
    const struct sockaddr_in to = { .sin_family = AF_INET,
                                    .sin_port = htons(p->port),
                                    .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
    const struct timeval patience = { .tv_sec = PATIENCE_S };

    b->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (b->fd < 0 || setsockopt(b->fd, IPPROTO_TCP, TCP_NODELAY, &(int){ 1 }, sizeof(int)) != 0 ||
        setsockopt(b->fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience) != 0 ||
        setsockopt(b->fd, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof patience) != 0)
        die("socket");
    if (connect(b->fd, (const struct sockaddr *)&to, sizeof to) != 0)
        die("connect");
    if (p->tls) {
        b->ssl = SSL_new(ctx);
        if (b->ssl == NULL || SSL_set_fd(b->ssl, b->fd) != 1 || SSL_connect(b->ssl) != 1)
            b->wrong = "no TLS";
    }
    if (b->wrong == NULL && greet(b))
        (void)talk(b, p, i);
}

/* ---- all of them ---- */

static void sleep_until(uint64_t us)
{
    uint64_t now = clock_mono_us();

    if (now < us) {
        struct timespec t = { .tv_sec = (time_t)((us - now) / SEC_US),
                              .tv_nsec = (long)((us - now) % SEC_US) * 1000 };
        (void)nanosleep(&t, NULL);
    }
}

/* The one whose next message is due first; NULL: none has one. */
static struct publisher *soonest(const struct plan *p, struct publisher *all, uint64_t *due_us)
{
    struct publisher *found = NULL;

    for (unsigned i = 0; i < p->n; i++) {
        if (all[i].wrong == NULL && all[i].next < p->count) {
            uint64_t at = all[i].start_us + p->messages[all[i].next].ts_ms * MS_US;

            if (found == NULL || at < *due_us) {
                found = &all[i];
                *due_us = at;
            }
        }
    }
    return found;
}

static void play(const struct plan *p, struct publisher *all, struct tally *t)
{
    uint64_t due_us = 0;
    struct publisher *b;

    while ((b = soonest(p, all, &due_us)) != NULL) {
        const struct message *m = &p->messages[b->next++];
        uint64_t late;

        sleep_until(due_us);
        late = clock_mono_us() - due_us;
        if (t->n < t->cap)
            t->late_us[t->n++] = late < UINT32_MAX ? (uint32_t)late : UINT32_MAX;
        if (put(b, p->wire.data + m->at, m->n)) {
            t->messages++;
            t->bytes += m->n;
        }
        if (b->next % 32 == 0)
            overhear(b);
    }
}

static int by_size(const void *a, const void *b)
{
    uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;

    return x < y ? -1 : x > y;
}

static unsigned report(const struct plan *p, const struct publisher *all, struct tally *t)
{
    unsigned wrong = 0;
    const char *why = "";

    for (unsigned i = 0; i < p->n; i++) {
        if (all[i].wrong != NULL) {
            wrong++;
            why = all[i].wrong;
        }
    }
    qsort(t->late_us, t->n, sizeof *t->late_us, by_size);
    (void)printf("{\"n\": %u, \"wrong\": %u, \"why\": \"%s\", \"messages\": %" PRIu64
                 ", \"bytes\": %" PRIu64
                 ", \"late_ms\": {\"p50\": %.1f, \"p99\": %.1f, \"max\": %.1f}}\n",
                 p->n, wrong, why, t->messages, t->bytes, t->late_us[t->n / 2] / 1e3,
                 t->late_us[t->n * 99 / 100] / 1e3, t->late_us[t->n - 1] / 1e3);
    return wrong;
}

static bool read_options(int argc, char **argv, struct plan *p)
{
    static const struct option options[] = { { "url", required_argument, NULL, 'u' },
                                             { "file", required_argument, NULL, 'f' },
                                             { "n", required_argument, NULL, 'n' },
                                             { "spread", required_argument, NULL, 's' },
                                             { NULL, 0, NULL, 0 } };
    int o, end = 0;

    while ((o = getopt_long(argc, argv, "", options, NULL)) != -1) {
        if (o == 'u')
            p->url = optarg;
        else if (o == 'f')
            p->file = optarg;
        else if (o == 'n')
            p->n = (unsigned)atoi(optarg);
        else if (o == 's')
            p->spread_ms = (unsigned)atoi(optarg);
        else
            return false;
    }
    if (p->url == NULL || p->file == NULL || optind != argc || p->n < 1 || p->n > 5000)
        return false;
    p->tls = strncmp(p->url, "rtmps:", 6) == 0;
    return sscanf(p->url,
                  p->tls ? "rtmps://127.0.0.1:%hu/%100[^/]/%100[^/]%n"
                         : "rtmp://127.0.0.1:%hu/%100[^/]/%100[^/]%n",
                  &p->port, p->app, p->name, &end) == 3 &&
           p->url[end] == '\0';
}

int main(int argc, char **argv)
{
    struct plan plan = { .n = 1, .spread_ms = 2000 };
    struct publisher *all;
    struct tally tally = { 0 };
    SSL_CTX *ctx = SSL_CTX_new(TLS_client_method());
    uint64_t now;

    if (!read_options(argc, argv, &plan)) {
        (void)fprintf(stderr, "usage: publishers --url rtmp[s]://127.0.0.1:PORT/APP/NAME "
                              "--file F.flv [--n N] [--spread MS]\n");
        return 2;
    }
    (void)prctl(PR_SET_PDEATHSIG, SIGTERM);
    (void)signal(SIGPIPE, SIG_IGN);
    read_plan(&plan);
    all = calloc(plan.n, sizeof *all);
    tally.cap = plan.n * plan.count;
    tally.late_us = calloc(tally.cap, sizeof *tally.late_us);
    if (all == NULL || tally.late_us == NULL || ctx == NULL)
        die("memory");
    (void)SSL_CTX_clear_mode(ctx, SSL_MODE_AUTO_RETRY);
    for (unsigned i = 0; i < plan.n; i++)
        begin(&all[i], &plan, i, ctx);
    (void)printf("publishing %u\n", plan.n);
    (void)fflush(stdout);
    now = clock_mono_us();
    for (unsigned i = 0; i < plan.n; i++)
        all[i].start_us = now + (uint64_t)i * plan.spread_ms * MS_US / plan.n;
    play(&plan, all, &tally);
    return tally.n == 0 || report(&plan, all, &tally) > 0;
}
