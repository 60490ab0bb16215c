/* rtmp_sink DIR: an RTMP and an RTMPS door on loopback that write what they get as FLV files.
 *
 * Says "rtmp PORT" and "rtmps PORT", then "publish FILE", "ended FILE" or "dropped FILE" for each
 * broadcast; the file is whole by then. Any application of the name `live` is open. Its certificate
 * is made afresh: DIR/cert.pem. It runs until it is killed. */
#include <errno.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/conf.h"
#include "core/listen.h"
#include "core/loop.h"
#include "core/metric.h"
#include "core/tls.h"
#include "ingest/conn.h"

enum { NAME_MAX_BYTES = 4096 };

struct broadcast {
    FILE *f;
    char name[NAME_MAX_BYTES];
};

struct sink {
    const char *dir;
    unsigned n;
};

static void die(const char *what)
{
    (void)fprintf(stderr, "rtmp_sink: %s: %s\n", what, strerror(errno));
    exit(1);
}

static void put(struct broadcast *b, struct buf *bytes)
{
    if (bytes->st != ST_OK || fwrite(bytes->data, 1, bytes->len, b->f) != bytes->len)
        die(b->name);
    buf_fini(bytes);
}

static void on_publish(void *ctx, struct ingest_conn *c, const struct ingest_request *r)
{
    struct sink *s = ctx;
    struct broadcast *b = calloc(1, sizeof *b);
    struct buf header;

    if (b == NULL)
        die("memory");
    (void)snprintf(b->name, sizeof b->name, "%s/%s-%u.flv", s->dir, r->target->stream, s->n++);
    b->f = fopen(b->name, "we");
    if (b->f == NULL)
        die(b->name);
    buf_init(&header, FLV_HEADER_BYTES);
    flv_put_header(&header);
    put(b, &header);
    (void)printf("publish %s\n", b->name);
    (void)fflush(stdout);
    ingest_set_user(c, b);
    ingest_accept(c, 0);
}

static void on_cancel(void *ctx, struct ingest_conn *c)
{
    (void)ctx;
    (void)c;
}

static void on_mark(void *ctx, struct ingest_conn *c, const struct flv_mark *mark)
{
    struct buf bytes;

    (void)ctx;
    buf_init(&bytes, FLV_MARK_MAX);
    flv_put_mark(&bytes, mark);
    put(ingest_user(c), &bytes);
}

static void on_tag(void *ctx, struct ingest_conn *c, const struct flv_tag *tag,
                   const struct flv_media *media)
{
    struct buf bytes;

    (void)ctx;
    (void)media;
    buf_init(&bytes, FLV_BODY_MAX);
    flv_put_tag(&bytes, tag);
    put(ingest_user(c), &bytes);
}

static void on_unpublish(void *ctx, struct ingest_conn *c, enum rtmp_how how)
{
    struct broadcast *b = ingest_user(c);

    (void)ctx;
    if (fclose(b->f) != 0)
        die(b->name);
    (void)printf("%s %s\n", how == RTMP_ENDED ? "ended" : "dropped", b->name);
    (void)fflush(stdout);
    free(b);
}

static void door(struct loop *l, bool tls)
{
    struct addr_sock at[2];
    struct sockaddr_storage sa;
    socklen_t len = sizeof sa;
    struct listener *ln;
    int fd, n;

    if (addr_resolve("127.0.0.1", 0, at, 2, &n, NULL) != ST_OK ||
        listen_open(&at[0], &(struct listen_how){ 0 }, 1, &fd, NULL) != ST_OK ||
        getsockname(fd, (struct sockaddr *)&sa, &len) != 0 ||
        ingest_listen(l, fd, tls, &ln) != ST_OK)
        die("listen");
    (void)printf("%s %u\n", tls ? "rtmps" : "rtmp",
                 (unsigned)addr_port((const struct sockaddr *)&sa));
    (void)fflush(stdout);
}

static struct tls_set *certificate(const char *dir)
{
    static const char *const names[] = { "localhost", "127.0.0.1" };
    char cert[NAME_MAX_BYTES], key[NAME_MAX_BYTES];
    struct tls_cert_paths paths = { NULL, cert, key };
    struct tls_tickets *tickets = NULL;
    struct tls_set *set = NULL;

    (void)snprintf(cert, sizeof cert, "%s/cert.pem", dir);
    (void)snprintf(key, sizeof key, "%s/key.pem", dir);
    if (tls_self_signed(cert, key, (const char **)(uintptr_t)names, 2, NULL) != ST_OK ||
        tls_tickets_random(NULL, &tickets, NULL) != ST_OK ||
        tls_set_new(&paths, 1, "", tickets, &set, NULL) != ST_OK)
        die("certificate");
    tls_tickets_unref(&tickets);
    return set;
}

int main(int argc, char **argv)
{
    static const char text[] = "apps: {live: {publish: open}}\n";
    struct sink s = { .dir = argc == 2 ? argv[1] : NULL };
    const struct ingest_sink sink = { .publish = on_publish,
                                      .cancel = on_cancel,
                                      .mark = on_mark,
                                      .tag = on_tag,
                                      .unpublish = on_unpublish,
                                      .ctx = &s };
    struct ingest *in = ingest_new(&sink);
    struct loop loop;
    struct conf *conf = NULL;

    if (s.dir == NULL) {
        (void)fprintf(stderr, "usage: rtmp_sink DIR\n");
        return 2;
    }
    if (in == NULL || loop_init(&loop, 0, 1) != ST_OK ||
        conf_parse("rtmp_sink", text, sizeof text - 1, 1, &conf, stderr) != ST_OK)
        die("start");
    loop.conf = conf;
    loop.metrics = metrics_new();
    if (loop.metrics == NULL || ingest_loop_start(in, &loop) != ST_OK)
        die("start");
    ingest_set_tls(&loop, certificate(s.dir));
    door(&loop, false);
    door(&loop, true);
    return loop_run(&loop) == ST_OK ? 0 : 1;
}
