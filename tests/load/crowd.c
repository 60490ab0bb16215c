/* tests/load/crowd.c - crowd: many clients at once, and what they saw, as JSON
 *
 *     crowd --url http://127.0.0.1:8080/vod/b/250000 --n 2000
 *     crowd --url https://127.0.0.1:8443/vod/drip/250000?over=2000 --n 500 --join-over 1900
 *     crowd --url http://127.0.0.1:8080/vod/b/4096 --n 5000 --idle --pid 4711
 *
 * It speaks to loopback and unix sockets only. Exit 0: every request was answered as expected;
 * 1: some were not (see "errors"); 2: usage.
 */
#include "tests/load/crowd.h"

#include <arpa/inet.h>
#include <inttypes.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/un.h>

static const char usage[] =
    "usage: crowd --url URL [options]          URL: http(s)://127.x.x.x|[::1]|localhost:PORT/...\n"
    "  --n N               clients (1)\n"
    "  --keep K            requests of each, on one connection where the server keeps it (1)\n"
    "  --ramp MS           spread the clients' start over MS (0)\n"
    "  --join-over MS      one client goes ahead; the others start spread over MS from its first\n"
    "                      body byte on\n"
    "  --idle              hold the connections after their request, --hold MS (1000), and look "
    "at\n"
    "                      the memory of --pid PID[,PID...]\n"
    "  --unix PATH         connect there; the URL gives Host and path\n"
    "  --header 'K: V'     add a request header (repeatable)\n"
    "  --status N          the status to expect (200)      --size N    the body size to expect\n"
    "  --content-path P    the path the content is made of, when it is not the URL's\n"
    "  --no-verify         do not look at the content      --timeout MS  of the whole run "
    "(30000)\n";

/* ---- the command line ---- */

static bool plain(const char *s)
{
    for (; *s != '\0'; s++) {
        if (*s <= ' ' || *s > '~' || *s == '"' || *s == '\\')
            return false;
    }
    return true;
}

static bool set_unix(struct crowd_plan *p, const char *path)
{
    struct sockaddr_un a = { .sun_family = AF_UNIX };

    if (strlen(path) >= sizeof a.sun_path)
        return false;
    memcpy(a.sun_path, path, strlen(path) + 1);
    memcpy(&p->addr, &a, sizeof a);
    p->addr_len = sizeof a;
    return true;
}

static bool set_tcp(struct crowd_plan *p, const char *host, uint16_t port)
{
    struct sockaddr_in a4 = { .sin_family = AF_INET, .sin_port = htons(port) };
    struct sockaddr_in6 a6 = { .sin6_family = AF_INET6, .sin6_port = htons(port) };

    if (strcmp(host, "localhost") == 0)
        host = "127.0.0.1";
    if (strcmp(host, "[::1]") == 0) {
        a6.sin6_addr = in6addr_loopback;
        memcpy(&p->addr, &a6, sizeof a6);
        p->addr_len = sizeof a6;
        return true;
    }
    if (inet_pton(AF_INET, host, &a4.sin_addr) != 1 || ntohl(a4.sin_addr.s_addr) >> 24 != 127)
        return false;
    memcpy(&p->addr, &a4, sizeof a4);
    p->addr_len = sizeof a4;
    return true;
}

/* Also gives the address, unless --unix gave it already. */
static bool set_url(struct crowd_plan *p, const char *url)
{
    const char *rest = url + (strncmp(url, "https://", 8) == 0 ? 8 : 7);
    size_t host_len = strcspn(rest, "/");
    const char *colon = memrchr(rest, ':', host_len);
    unsigned long port;
    char name[128];

    p->url = url;
    p->tls = rest == url + 8;
    if ((!p->tls && strncmp(url, "http://", 7) != 0) || rest[host_len] != '/' || !plain(url) ||
        host_len >= sizeof p->host || strlen(rest + host_len) >= sizeof p->target)
        return false;
    (void)snprintf(p->host, sizeof p->host, "%.*s", (int)host_len, rest);
    (void)snprintf(p->target, sizeof p->target, "%s", rest + host_len);
    if (p->content_path[0] == '\0')
        (void)snprintf(p->content_path, sizeof p->content_path, "%s", p->target);
    if (p->addr_len > 0)
        return true;
    if (colon == NULL || (size_t)(colon - rest) >= sizeof name)
        return false;
    port = strtoul(colon + 1, NULL, 10);
    (void)snprintf(name, sizeof name, "%.*s", (int)(colon - rest), rest);
    return port > 0 && port < 65536 && set_tcp(p, name, (uint16_t)port);
}

static bool set_pids(struct crowd_plan *p, const char *list)
{
    while (*list != '\0') {
        char *end;
        int64_t pid = strtoll(list, &end, 10);

        if (end == list || pid <= 0 || (*end != '\0' && *end != ',') || p->n_pids == 64)
            return false;
        p->pids[p->n_pids++] = pid;
        list = end + (*end == ',');
    }
    return p->n_pids > 0;
}

static bool add_header(struct crowd_plan *p, const char *line)
{
    size_t have = strlen(p->headers), room = sizeof p->headers - have;

    return strpbrk(line, "\r\n") == NULL && strchr(line, ':') != NULL &&
           (size_t)snprintf(p->headers + have, room, "%s\r\n", line) < room;
}

static bool set_number(const char *text, int64_t min, int64_t max, int64_t *out)
{
    char *end;

    *out = strtoll(text, &end, 10);
    return end != text && *end == '\0' && *out >= min && *out <= max;
}

struct option_texts {
    const char *url, *unix_path;
};

/* An option with a value; false: unknown, or the value is wrong. */
static bool set_option(struct crowd_plan *p, struct option_texts *t, const char *name,
                       const char *value)
{
    const struct {
        const char *name;
        int64_t min, max, *to;
    } numbers[] = {
        { "--n", 1, 60000, &p->n },
        { "--keep", 1, 100000, &p->keep },
        { "--ramp", 0, 3600000, &p->ramp_ms },
        { "--join-over", 1, 3600000, &p->join_ms },
        { "--hold", 0, 3600000, &p->hold_ms },
        { "--timeout", 1, 3600000, &p->timeout_ms },
        { "--status", 200, 599, &p->status },
        { "--size", 0, INT64_MAX, &p->size },
    };

    for (size_t i = 0; i < sizeof numbers / sizeof numbers[0]; i++) {
        if (strcmp(name, numbers[i].name) == 0)
            return set_number(value, numbers[i].min, numbers[i].max, numbers[i].to);
    }
    if (strcmp(name, "--url") == 0)
        return (t->url = value) != NULL;
    if (strcmp(name, "--unix") == 0)
        return (t->unix_path = value) != NULL;
    if (strcmp(name, "--content-path") == 0)
        return (size_t)snprintf(p->content_path, sizeof p->content_path, "%s", value) <
               sizeof p->content_path;
    if (strcmp(name, "--pid") == 0)
        return set_pids(p, value);
    return strcmp(name, "--header") == 0 && add_header(p, value);
}

static bool parse_args(struct crowd_plan *p, int argc, char **argv)
{
    struct option_texts t = { 0 };

    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--idle") == 0)
            p->idle = true;
        else if (strcmp(argv[i], "--no-verify") == 0)
            p->verify = false;
        else if (i + 1 < argc && set_option(p, &t, argv[i], argv[i + 1]))
            i++;
        else
            return false;
    }
    if (t.url == NULL || (t.unix_path != NULL && !set_unix(p, t.unix_path)) || !set_url(p, t.url))
        return false;
    return p->n * p->keep <= 10000000;
}

/* ---- the report ---- */

static int by_value(const void *a, const void *b)
{
    uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;

    return (x > y) - (x < y);
}

static double ms(uint64_t us) { return (double)us / 1000.0; }

/* Nearest rank: the smallest sample that `percent` of all do not exceed. */
static void report_samples(FILE *out, const char *name, struct crowd_samples *s)
{
    static const struct {
        const char *name;
        size_t percent;
    } ranks[] = { { "p50", 50 }, { "p90", 90 }, { "p99", 99 }, { "max", 100 } };

    if (s->n > 0)
        qsort(s->us, s->n, sizeof *s->us, by_value);
    (void)fprintf(out, " \"%s\": {\"n\": %zu", name, s->n);
    for (size_t i = 0; s->n > 0 && i < sizeof ranks / sizeof ranks[0]; i++) {
        size_t rank = (s->n * ranks[i].percent + 99) / 100;

        (void)fprintf(out, ", \"%s\": %.3f", ranks[i].name, ms(s->us[rank - 1]));
    }
    (void)fputs("},\n", out);
}

void crowd_report(const struct crowd_plan *plan, struct crowd_result *res, FILE *out)
{
    static const char *const names[] = {
#define X(n, d) #n,
        CROWD_ERRORS(X)
#undef X
    };
    const char *comma = "";

    (void)fprintf(out,
                  "{\"url\": \"%s\", \"n\": %" PRId64 ", \"keep\": %" PRId64 ",\n \"ok\": %" PRIu64
                  ", \"connections\": %" PRIu64 ", \"bytes\": %" PRIu64 ",\n \"errors\": {",
                  plan->url, plan->n, plan->keep, res->ok, res->connections, res->bytes);
    for (size_t i = 0; i < CROWD_ERROR_KINDS; i++) {
        if (res->errors[i] > 0) {
            (void)fprintf(out, "%s\"%s\": %" PRIu64, comma, names[i], res->errors[i]);
            comma = ", ";
        }
    }
    (void)fputs("},\n \"status\": {", out);
    comma = "";
    for (int i = 0; i < 600; i++) {
        if (res->status[i] > 0) {
            (void)fprintf(out, "%s\"%d\": %" PRIu64, comma, i, res->status[i]);
            comma = ", ";
        }
    }
    (void)fputs("},\n", out);
    report_samples(out, "connect_ms", &res->connect);
    report_samples(out, "first_ms", &res->first);
    report_samples(out, "done_ms", &res->done);
    report_samples(out, "lag_ms", &res->lag);
    if (plan->join_ms > 0)
        (void)fprintf(out, " \"opener_first_ms\": %.3f, \"opener_done_ms\": %.3f,\n",
                      ms(res->opener_first_us), ms(res->opener_done_us));
    if (plan->idle)
        (void)fprintf(out,
                      " \"open_at_end\": %" PRIu64 ", \"rss_before_kib\": %" PRId64
                      ", \"rss_after_kib\": %" PRId64 ", \"rss_per_connection_bytes\": %" PRId64
                      ",\n",
                      res->open_at_end, res->rss_before_kib, res->rss_after_kib,
                      (res->rss_after_kib - res->rss_before_kib) * 1024 / plan->n);
    (void)fprintf(out, " \"last_done_ms\": %.3f, \"elapsed_ms\": %.3f, \"client_cpu_ms\": %.3f}\n",
                  ms(res->last_done_us), ms(res->elapsed_us), ms(res->cpu_us));
}

static bool all_well(const struct crowd_result *res)
{
    for (size_t i = 0; i < CROWD_ERROR_KINDS; i++) {
        if (res->errors[i] > 0)
            return false;
    }
    return true;
}

int main(int argc, char **argv)
{
    struct crowd_plan plan = { .verify = true,
                               .n = 1,
                               .keep = 1,
                               .timeout_ms = 30000,
                               .hold_ms = 1000,
                               .status = 200,
                               .size = -1 };
    struct crowd_result res = { 0 };
    struct rlimit files;
    enum st st;

    if (!parse_args(&plan, argc, argv)) {
        (void)fputs(usage, stderr);
        return 2;
    }
    if (getrlimit(RLIMIT_NOFILE, &files) == 0) {
        files.rlim_cur = files.rlim_max;
        (void)setrlimit(RLIMIT_NOFILE, &files);
    }
    st = crowd_run(&plan, &res);
    if (st == ST_OK)
        crowd_report(&plan, &res, stdout);
    else
        (void)fprintf(stderr, "crowd: %s\n", st_name(st));
    crowd_result_free(&res);
    return st == ST_OK && all_well(&res) ? 0 : 1;
}
