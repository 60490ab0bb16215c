/* ingest/conn.h - RTMP towards broadcasters, per loop: listeners, connections, their limits
 *
 * Purpose   a session (ingest/session.h) on a socket (core/io.h), clear or TLS, with deadlines for
 *           each phase, limits, counters and a line in the log; and the sink, to which everything
 *           goes that is published: the home in this process, or the relay.
 * Phases    handshake (TLS and RTMP together, absolute), commands (until publish is accepted, and
 *           again after it has ended), publishing (silence of media), linger (what was said must
 *           arrive), closed.
 * Sink      publish() asks; ingest_accept() or ingest_refuse() answers, from inside it or later.
 *           While it waits, nothing more is read. A connection that goes before it has its answer:
 *           cancel(). After accept: mark(), tag(), then unpublish() once. accept may call mark()
 *           and tag() before it returns. Callbacks may call anything here on that connection.
 *           A request with `expired` may be accepted only by who holds a session that was begun
 *           with the same kid and sig.
 * Owner     daemon/: ingest_new() once, ingest_loop_start() per loop before its thread runs.
 *           A connection is good from publish() until unpublish() or cancel() has returned.
 * Thread    ingest_new/_free: main, before and after the loops. The rest: the loop's own.
 * Errors    ENOMEM, EIO (a listener). Why connections were closed: metric ingest_closes.
 * Tests     tests/unit/test_ingest.c
 */
#ifndef INGEST_CONN_H
#define INGEST_CONN_H

#include <stdbool.h>
#include <stdint.h>

#include "core/addr.h"
#include "core/status.h"
#include "ingest/session.h"

struct listener;
struct loop;
struct tls_set;
struct ingest_conn;

struct ingest_request {
    const struct auth_target *target;
    bool expired;
    struct addr peer;
    const char *client; /* what it calls itself */
};

struct ingest_sink {
    void (*publish)(void *ctx, struct ingest_conn *c, const struct ingest_request *r);
    void (*cancel)(void *ctx, struct ingest_conn *c);
    void (*mark)(void *ctx, struct ingest_conn *c, const struct flv_mark *mark);
    void (*tag)(void *ctx, struct ingest_conn *c, const struct flv_tag *tag,
                const struct flv_media *media);
    void (*unpublish)(void *ctx, struct ingest_conn *c, enum rtmp_how how);
    void *ctx;
};

struct ingest;
struct ingest *ingest_new(const struct ingest_sink *sink);
void ingest_free(struct ingest **ip);

MUST_USE enum st ingest_loop_start(struct ingest *in, struct loop *l);
void ingest_loop_stop(struct loop *l); /* closes every listener and connection */

/* fd is borrowed until listener_free() (core/listen.h), which leaves the connections alone. */
MUST_USE enum st ingest_listen(struct loop *l, int fd, bool tls, struct listener **out);

/* For connections to come; each takes the reference. NULL: none. */
void ingest_set_tls(struct loop *l, struct tls_set *set);
void ingest_set_keys(struct loop *l, struct auth_keys *keys);

/* --- what the sink may do --- */

/* The first tag is put at base_ms of session time. */
void ingest_accept(struct ingest_conn *c, int64_t base_ms);
void ingest_refuse(struct ingest_conn *c, enum metric_ingest_close why, const char *text);
/* Ends a broadcast from our side; unpublish() is called. text: told to the broadcaster. */
void ingest_end(struct ingest_conn *c, enum metric_ingest_close why, const char *text);
void ingest_set_user(struct ingest_conn *c, void *user); /* the sink's own */
void *ingest_user(const struct ingest_conn *c);
struct loop *ingest_conn_loop(const struct ingest_conn *c);

#endif
