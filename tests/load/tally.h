/* tests/load/tally.h - what slow_origin was asked for, path by path
 *
 * Purpose   counts that tests assert on: how often, how many at once, how it ended.
 * Owner     embedded in the server; tallies_clear() frees the paths. A tally stays where it is
 *           until then.
 * Thread    one.
 * Errors    tally_get: NULL when 4,096 paths are known already, or without memory.
 * Tests     tests/e2e/test_load_tools.py
 */
#ifndef TESTS_LOAD_TALLY_H
#define TESTS_LOAD_TALLY_H

#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#define TALLY_MAX_PATHS 4096

struct tally {
    char *path;
    uint64_t requests, ranges, conditional; /* requests; with Range; with If-None-Match */
    uint64_t done, aborted, cut; /* ended: sent whole; left by the client; cut by the script */
    uint64_t body_bytes;
    uint64_t in_flight, in_flight_max;
    char last_range[64];
};

struct tallies {
    struct tally all[TALLY_MAX_PATHS];
    size_t n;
};

struct tally *tally_find(struct tallies *ts, const char *path, size_t len); /* NULL: none */
struct tally *tally_get(struct tallies *ts, const char *path, size_t len);
void tallies_print(const struct tallies *ts, FILE *out); /* a JSON object */
void tallies_clear(struct tallies *ts);

#endif
