/* edge/front.h - HTTP towards players, per loop: listeners, connections, what they share
 *
 * Purpose   accept connections, find out what they speak (HTTP/1.1, HTTP/2 by ALPN or prior
 *           knowledge), keep their deadlines and limits (facts-security.md rows 14 to 22), and give
 *           the request logic (edge/request.h) its surroundings. The admin port and the tier port
 *           are the same front with other profiles (edge/raw.h says what is special on a tier).
 * Owner     daemon/: front_new() once, front_loop_start() per loop before its thread runs.
 * Thread    front_*: the main thread before the loops run; front_loop_*: the loop's own.
 * Errors    ENOMEM.
 * Tests     tests/vtc/, tests/e2e/test_hostile_*.py, tests/e2e/test_legal_clients.py
 */
#ifndef EDGE_FRONT_H
#define EDGE_FRONT_H

#include <openssl/types.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>

#include "core/status.h"

struct access_log;
struct auth_keys;
struct blob;
struct http_head;
struct listener;
struct loop;
struct raw;
struct store;
struct target;
struct tls_set;

/* Answers that are no objects: the admin port, and edge/pages.h. */
struct front_page {
    int status;
    const char *type;
    struct blob *body;                  /* NULL: none */
    const char *cache_control, *policy; /* NULL: no-store, and no content-security-policy */
};

struct front_hooks {
    void (*admin)(void *ctx, struct loop *l, const struct http_head *head,
                  const struct target *target, struct front_page *out);
    /* A request under /_ on a tier listener: edge/raw.h. NULL: there is nothing. */
    void (*raw)(void *ctx, struct loop *l, struct raw *x, const struct http_head *head,
                const struct target *target, bool last);
    void *ctx;
    const void *player; /* dash.js, borrowed for the front's life; NULL: there is none */
    size_t player_len;
};

struct front;
struct front *front_new(struct store *s, const struct front_hooks *hooks);
void front_free(struct front **fp);

MUST_USE enum st front_loop_start(struct front *f, struct loop *l);
void front_loop_stop(struct loop *l); /* closes every listener and connection */

enum front_profile {
    FRONT_EDGE,  /* players: HTTP/1.1 and HTTP/2 */
    FRONT_ADMIN, /* the same, other answers */
    FRONT_TIER,  /* our own machines: HTTP/2 only; nothing is fetched for them */
};
/* fd is borrowed until listener_free() (core/listen.h), which leaves the connections alone. */
MUST_USE enum st front_listen(struct loop *l, int fd, enum front_profile profile, bool tls,
                              struct listener **out);

/* The certificates for connections to come; takes the reference. NULL: none. */
void front_set_tls(struct loop *l, struct tls_set *set);
/* The same for FRONT_TIER: asks for a certificate of ours. */
void front_set_tier_tls(struct loop *l, SSL_CTX *ctx);

/* The keys of play tokens; takes the reference. */
void front_set_play_keys(struct loop *l, struct auth_keys *keys);

/* Where requests are logged; borrowed until another is set. NULL: nowhere. */
void front_set_access_log(struct loop *l, struct access_log *a);

/* The streams that are watched through this loop, and by how many (edge/viewers.h). */
void front_each_watched(struct loop *l, void (*each)(void *arg, const char *name, unsigned n),
                        void *arg);

uint64_t front_connections(const struct front *f);

#endif
