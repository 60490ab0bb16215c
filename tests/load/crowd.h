/* tests/load/crowd.h - many HTTP/1.1 clients in one thread, and what they saw
 *
 * Purpose   crowd_run() plays a plan (so many clients, then and then) and keeps a sample of each
 *           request; crowd_report() prints them as one JSON object.
 * Units     times in microseconds in the structs, in milliseconds on the command line and in the
 *           report; first and done count from the moment the request was written.
 * Owner     main() owns both; crowd_result_free().
 * Thread    one.
 * Errors    EIO: no epoll, no sockets. ENOMEM. What servers do wrong is counted, not returned.
 * Tests     tests/e2e/test_load_tools.py
 */
#ifndef TESTS_LOAD_CROWD_H
#define TESTS_LOAD_CROWD_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/socket.h>

#include "core/status.h"

/*  name      what happened to the request                              */
#define CROWD_ERRORS(X)                                \
    X(connect, "no connection")                        \
    X(tls, "the handshake failed")                     \
    X(reset, "the connection was reset")               \
    X(cut, "the connection ended before the body did") \
    X(protocol, "not an HTTP response")                \
    X(status, "another status than expected")          \
    X(mismatch, "a byte of the body is wrong")         \
    X(size, "the body has another size than expected") \
    X(timeout, "not done when the time was over")

enum crowd_error {
#define X(n, d) CROWD_E_##n,
    CROWD_ERRORS(X)
#undef X
        CROWD_ERROR_KINDS,
    CROWD_OK = CROWD_ERROR_KINDS
};

struct crowd_plan {
    const char *url;
    struct sockaddr_storage addr;
    socklen_t addr_len;
    char host[160], target[2048], content_path[2048];
    char headers[1024]; /* extra request header lines */
    bool tls, verify, idle;
    int64_t n, keep; /* clients; requests of each */
    int64_t ramp_ms; /* the clients start spread over this */
    int64_t join_ms; /* the same, but after the first body byte of a client sent ahead; 0: off */
    int64_t timeout_ms, hold_ms;
    int64_t status, size; /* expected; -1: any size */
    int64_t pids[64];     /* whose memory --idle looks at */
    int n_pids;
};

struct crowd_samples {
    uint32_t *us;
    size_t n, cap;
};

struct crowd_result {
    uint64_t ok, errors[CROWD_ERROR_KINDS], status[600], bytes, connections;
    struct crowd_samples connect, first, done; /* of the requests that were ok */
    struct crowd_samples lag; /* of a 5 ms clock: how late this process looked at it */
    uint64_t last_done_us, elapsed_us, cpu_us;
    uint64_t opener_first_us, opener_done_us; /* join: of the client sent ahead */
    uint64_t open_at_end;                     /* idle: connections that still stood */
    int64_t rss_before_kib, rss_after_kib;
};

MUST_USE enum st crowd_run(const struct crowd_plan *plan, struct crowd_result *res);
void crowd_report(const struct crowd_plan *plan, struct crowd_result *res, FILE *out);
void crowd_result_free(struct crowd_result *res);

#endif
