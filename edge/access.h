/* edge/access.h - one line per request, for whoever wants them
 *
 * Purpose   a line when a request is over, whatever became of it:
 *               2026-03-01T12:00:00.123Z peer=192.0.2.7 tier=edge proto=h2 tls=yes
 *               method=GET path=/live/show/manifest.mpd status=200 bytes=1532 ttfb_us=41 duration_us=120
 *               cache=hit close=done cmcd=bl%3D2100
 *           or the same as one JSON object (doc/ACCESS_LOG.md says what each field is).
 *           Requests to the admin port are left out.
 *           Whatever a token may hide in is masked: the token of a path, and in every text any run
 *           of 64 or more letters, digits, % and -, is shown as ~ and the beginning of its SHA-256.
 * Owner     daemon/: makes one per reload, and frees it when no loop has it any more.
 * Thread    access_log_new/_free: the main thread, which may wait for the reader. access_put: the
 *           loop; it never waits, and counts what the queue has no room for.
 * Errors    access_log_new: NULL, no memory or no thread.
 * Tests     tests/e2e/test_access.py, tests/unit/test_access.c
 */
#ifndef EDGE_ACCESS_H
#define EDGE_ACCESS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/metric.h"
#include "edge/slice.h"

struct request;

struct access_log;
/* fd is the log's when own_fd. sample: one of so many requests of each loop is written. */
struct access_log *access_log_new(int fd, bool own_fd, bool json, uint32_t sample);
void access_log_free(struct access_log **ap);

/* close: why it ended, "done" for a whole answer. Before request_fini(). */
void access_put(struct request *r, enum metric_proto proto, bool tls, const char *close);

/* Copies text with what may be a token masked; how many bytes, at most cap. *cut: not all. */
size_t access_mask(struct slice text, char *out, size_t cap, bool *cut);

#endif
