/* tests/load/origin.h - the inside of slow_origin: a connection, the server, and the replies
 *
 * Purpose   origin.c accepts, reads requests and walks connections through their phases;
 *           origin_reply.c makes the bytes that go out and knows when they may.
 * Units     times in microseconds of the monotonic clock, sizes in bytes.
 * Owner     the server owns its connections; a connection owns `doc`.
 * Thread    one.
 * Errors    reply_flush: MORE (the socket is full), EIO.
 * Tests     tests/e2e/test_load_tools.py
 */
#ifndef TESTS_LOAD_ORIGIN_H
#define TESTS_LOAD_ORIGIN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/status.h"
#include "tests/load/request.h"
#include "tests/load/script.h"
#include "tests/load/tally.h"

#define CONN_MAGIC 0x6f726967
#define IN_BYTES 16384
#define OUT_BYTES 65536
#define MAX_CONNS 32768
#define MAX_GATES 64

enum phase {
    READING, /* a request head */
    WAITING, /* for its time, its gate or a count */
    SENDING, /* the head and the body */
    CUTTING, /* until the peer has all that was sent; then the connection is cut */
};

struct conn {
    int magic;
    int fd;
    size_t slot; /* in server.conns */
    enum phase phase;
    uint32_t mask;
    bool keep, head_out, last_out;
    uint64_t due_us, cut_by_us; /* 0: nothing is due */
    uint64_t head_us;           /* when the head went out: the drip counts from here */
    struct request req;
    struct script script;
    struct tally *tally; /* NULL: one of the /__ pages */
    bool faults;         /* times= still allows them */
    uint64_t nth;
    char *doc; /* body of a /__ page; else content */
    char wait_path[1024];
    uint64_t wait_n;
    size_t wait_field; /* of struct tally */
    uint64_t seed;
    int64_t first, body_len, sent;
    size_t in_len, out_pos, out_len;
    char in[IN_BYTES];
    uint8_t out[OUT_BYTES];
};

struct server {
    int epfd, listener;
    bool unix_socket, shaken; /* a gate opened or a count moved: look at who waits */
    struct conn *conns[MAX_CONNS];
    size_t n_conns;
    uint64_t accepted, requests, next_due_us;
    struct tallies tallies;
    char gates[MAX_GATES][SCRIPT_TEXT_BYTES];
    size_t n_gates;
};

/* Makes the connection's timer ring then; there is one. */
void origin_due_at(struct server *s, struct conn *c, uint64_t at_us);
bool origin_gate_is_open(const struct server *s, const char *name);

void reply_page(struct conn *c, int64_t status, char *doc); /* JSON; takes the heap string */
void reply_begin(struct conn *c); /* decides status and range, queues the head */
/* How much of the body may be out by now; sets the timer when time alone will allow more. */
int64_t reply_allowed(struct server *s, struct conn *c);
void reply_body(struct conn *c, int64_t n); /* queues at most n bytes more */
void reply_last_chunk(struct conn *c);
MUST_USE enum st reply_flush(struct conn *c);

#endif
