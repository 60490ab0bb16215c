#include "core/addr.h"

#include <arpa/inet.h>
#include <netdb.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/un.h>

#include "core/check.h"

static const uint8_t v4_prefix[12] = { 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff };

static bool is_v4(const struct addr *a) { return memcmp(a->ip, v4_prefix, sizeof v4_prefix) == 0; }

/* Copies instead of casts: the caller's struct sockaddr may be aligned for bytes only. */
static struct sockaddr_in as_in(const struct sockaddr *sa)
{
    struct sockaddr_in in;

    memcpy(&in, sa, sizeof in);
    return in;
}

static struct sockaddr_in6 as_in6(const struct sockaddr *sa)
{
    struct sockaddr_in6 in;

    memcpy(&in, sa, sizeof in);
    return in;
}

struct addr addr_of(const struct sockaddr *sa)
{
    struct addr a = { { 0 } };

    if (sa->sa_family == AF_INET) {
        struct sockaddr_in in = as_in(sa);

        memcpy(a.ip, v4_prefix, sizeof v4_prefix);
        memcpy(a.ip + 12, &in.sin_addr, 4);
    } else if (sa->sa_family == AF_INET6) {
        struct sockaddr_in6 in = as_in6(sa);

        memcpy(a.ip, &in.sin6_addr, 16);
    }
    return a;
}

bool addr_eq(const struct addr *a, const struct addr *b)
{
    return memcmp(a->ip, b->ip, sizeof a->ip) == 0;
}

struct addr addr_subscriber(const struct addr *a)
{
    struct addr s = *a;

    if (!is_v4(a))
        memset(s.ip + 8, 0, 8);
    return s;
}

static uint64_t mix(uint64_t x)
{
    x ^= x >> 33;
    x *= UINT64_C(0xff51afd7ed558ccd);
    x ^= x >> 33;
    x *= UINT64_C(0xc4ceb9fe1a85ec53);
    return x ^ x >> 33;
}

uint64_t addr_hash(const struct addr *a, uint64_t seed)
{
    uint64_t half[2];

    memcpy(half, a->ip, sizeof half);
    return mix(mix(mix(seed ^ half[0]) + seed) ^ half[1]);
}

enum st addr_parse(const char *text, struct addr *a)
{
    memset(a, 0, sizeof *a);
    if (inet_pton(AF_INET6, text, a->ip) == 1)
        return ST_OK;
    memcpy(a->ip, v4_prefix, sizeof v4_prefix);
    return inet_pton(AF_INET, text, a->ip + 12) == 1 ? ST_OK : ST_ECONF;
}

static void clear_host_bits(struct addr *a, unsigned bits)
{
    for (unsigned i = 0; i < sizeof a->ip; i++) {
        unsigned keep = bits >= 8 * (i + 1) ? 8 : bits > 8 * i ? bits - 8 * i : 0;

        a->ip[i] = (uint8_t)(a->ip[i] & (0xff00u >> keep));
    }
}

enum st addr_net_parse(const char *text, struct addr_net *net)
{
    char host[INET6_ADDRSTRLEN];
    const char *slash = strchr(text, '/');
    size_t host_len = slash != NULL ? (size_t)(slash - text) : strlen(text);
    unsigned width, bits = 0;
    struct addr clean;

    if (host_len >= sizeof host)
        return ST_ECONF;
    memcpy(host, text, host_len);
    host[host_len] = '\0';
    if (addr_parse(host, &net->base) != ST_OK)
        return ST_ECONF;
    width = strchr(host, ':') == NULL ? 32 : 128;
    if (slash == NULL) {
        bits = width;
    } else {
        size_t digits = strspn(slash + 1, "0123456789");

        if (digits == 0 || digits > 3 || slash[1 + digits] != '\0')
            return ST_ECONF;
        bits = (unsigned)strtoul(slash + 1, NULL, 10);
        if (bits > width)
            return ST_ECONF;
    }
    net->bits = (uint8_t)(128 - width + bits);
    clean = net->base;
    clear_host_bits(&clean, net->bits);
    return addr_eq(&clean, &net->base) ? ST_OK : ST_ECONF;
}

bool addr_net_has(const struct addr_net *net, const struct addr *a)
{
    struct addr cut = *a;

    clear_host_bits(&cut, net->bits);
    return addr_eq(&cut, &net->base);
}

bool addr_is_loopback(const struct addr *a)
{
    struct addr_net v4, v6;

    CHECK(addr_net_parse("127.0.0.0/8", &v4) == ST_OK && addr_net_parse("::1", &v6) == ST_OK);
    return addr_net_has(&v4, a) || addr_net_has(&v6, a);
}

const char *addr_text(const struct addr *a, char buf[ADDR_TEXT_MAX])
{
    const char *t = is_v4(a) ? inet_ntop(AF_INET, a->ip + 12, buf, ADDR_TEXT_MAX)
                             : inet_ntop(AF_INET6, a->ip, buf, ADDR_TEXT_MAX);

    CHECK(t != NULL);
    return t;
}

uint16_t addr_port(const struct sockaddr *sa)
{
    if (sa->sa_family == AF_INET)
        return ntohs(as_in(sa).sin_port);
    if (sa->sa_family == AF_INET6)
        return ntohs(as_in6(sa).sin6_port);
    return 0;
}

const char *addr_sock_text(const struct sockaddr *sa, socklen_t len, char buf[ADDR_TEXT_MAX])
{
    char ip[INET6_ADDRSTRLEN];

    if (sa->sa_family == AF_INET) {
        struct sockaddr_in in = as_in(sa);

        CHECK(inet_ntop(AF_INET, &in.sin_addr, ip, sizeof ip) != NULL);
        (void)snprintf(buf, ADDR_TEXT_MAX, "%s:%u", ip, (unsigned)ntohs(in.sin_port));
    } else if (sa->sa_family == AF_INET6) {
        struct sockaddr_in6 in = as_in6(sa);

        CHECK(inet_ntop(AF_INET6, &in.sin6_addr, ip, sizeof ip) != NULL);
        if (in.sin6_scope_id != 0)
            (void)snprintf(buf, ADDR_TEXT_MAX, "[%s%%%u]:%u", ip, (unsigned)in.sin6_scope_id,
                           (unsigned)ntohs(in.sin6_port));
        else
            (void)snprintf(buf, ADDR_TEXT_MAX, "[%s]:%u", ip, (unsigned)ntohs(in.sin6_port));
    } else {
        size_t head = offsetof(struct sockaddr_un, sun_path);
        size_t n = len > head ? len - head : 0; /* 0: an unnamed peer */

        (void)snprintf(buf, ADDR_TEXT_MAX, "unix:%.*s", (int)n, (const char *)sa + head);
    }
    return buf;
}

static enum st copy_host(const char *host, char *buf, size_t cap, struct err *e)
{
    size_t n = strlen(host);

    if (n >= 2 && host[0] == '[' && host[n - 1] == ']') {
        host++;
        n -= 2;
    }
    if (n >= cap)
        return err_set(e, ST_ECONF, "host name of %zu bytes is too long", n);
    memcpy(buf, host, n);
    buf[n] = '\0';
    return ST_OK;
}

enum st addr_resolve(const char *host, uint16_t port, struct addr_sock *out, int cap, int *n,
                     struct err *e)
{
    struct addrinfo hints = { .ai_socktype = SOCK_STREAM, .ai_flags = AI_NUMERICSERV };
    struct addrinfo *list = NULL;
    char name[256], service[8];
    bool any = host[0] == '\0' || strcmp(host, "*") == 0;
    int r;

    *n = 0;
    if (copy_host(host, name, sizeof name, e) != ST_OK)
        return ST_ECONF;
    (void)snprintf(service, sizeof service, "%u", (unsigned)port);
    hints.ai_flags |= any ? AI_PASSIVE : 0;
    r = getaddrinfo(any ? NULL : name, service, &hints, &list);
    if (r != 0)
        return err_set(e, ST_ENOENT, "%s: %s", host, gai_strerror(r));
    for (struct addrinfo *ai = list; ai != NULL && *n < cap; ai = ai->ai_next) {
        if (ai->ai_addrlen > sizeof out->sa)
            continue;
        memset(&out[*n], 0, sizeof out[*n]);
        memcpy(&out[*n].sa, ai->ai_addr, ai->ai_addrlen);
        out[*n].len = ai->ai_addrlen;
        ++*n;
    }
    freeaddrinfo(list);
    return *n > 0 ? ST_OK : err_set(e, ST_ENOENT, "%s: no usable address", host);
}

enum st addr_unix(const char *path, struct addr_sock *out, struct err *e)
{
    struct sockaddr_un un = { .sun_family = AF_UNIX };
    size_t n = strlen(path);

    if (n == 0 || n >= sizeof un.sun_path)
        return err_set(e, ST_ECONF, "%s: a socket path has 1 to %zu bytes", path,
                       sizeof un.sun_path - 1);
    memcpy(un.sun_path, path, n);
    memset(out, 0, sizeof *out);
    memcpy(&out->sa, &un, sizeof un);
    out->len = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + n + 1);
    return ST_OK;
}
