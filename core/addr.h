/* core/addr.h - network addresses: as limit keys, as text, from names
 *
 * Purpose   struct addr is an address without its port, one form for IPv4 and IPv6, to compare and
 *           hash (limits per address, exempt networks). The rest is text: parse, print, resolve.
 * Units     ports in host order.
 * Owner     values; nothing to free.
 * Thread    any; but addr_resolve() may wait for DNS, so only the main thread calls it, while it
 *           reads a configuration.
 * Errors    ECONF: not an address; ENOENT: the name does not resolve.
 * Tests     tests/unit/test_listen.c
 */
#ifndef CORE_ADDR_H
#define CORE_ADDR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>

#include "core/status.h"

struct addr {
    uint8_t ip[16]; /* IPv4 as ::ffff:a.b.c.d; all zero: a unix socket's peer */
};

struct addr_net {
    struct addr base; /* host bits are zero */
    uint8_t bits;     /* of the 128: 10.0.0.0/8 is 104 */
};

enum { ADDR_TEXT_MAX = 128 }; /* the longest unix path, or [IPv6%scope]:port, and its NUL */

struct addr addr_of(const struct sockaddr *sa);
bool addr_eq(const struct addr *a, const struct addr *b);
/* What one subscriber holds: an IPv4 address, the first 64 bits of an IPv6 one. */
struct addr addr_subscriber(const struct addr *a);
/* seed: random per process, because the peers choose the addresses. */
uint64_t addr_hash(const struct addr *a, uint64_t seed);

MUST_USE enum st addr_parse(const char *text, struct addr *a);
/* "10.0.0.0/8", "2001:db8::/32", or one address. Host bits that are set are refused. */
MUST_USE enum st addr_net_parse(const char *text, struct addr_net *net);
bool addr_net_has(const struct addr_net *net, const struct addr *a);
bool addr_is_loopback(const struct addr *a); /* 127.0.0.0/8, ::1 */

const char *addr_text(const struct addr *a, char buf[ADDR_TEXT_MAX]);
/* "192.0.2.1:80", "[2001:db8::1]:80", "unix:/run/x.sock"; returns buf. */
const char *addr_sock_text(const struct sockaddr *sa, socklen_t len, char buf[ADDR_TEXT_MAX]);
uint16_t addr_port(const struct sockaddr *sa); /* 0 for unix sockets */

/* An address, with its length, ready for connect() and bind(). */
struct addr_sock {
    struct sockaddr_storage sa;
    socklen_t len;
};

/* host: a name, an IPv4 or IPv6 address (brackets are fine), "" or "*" for any. Fills up to cap
 * addresses in the resolver's order; *n >= 1 after OK. */
MUST_USE enum st addr_resolve(const char *host, uint16_t port, struct addr_sock *out, int cap,
                              int *n, struct err *e);
MUST_USE enum st addr_unix(const char *path, struct addr_sock *out, struct err *e);

#endif
