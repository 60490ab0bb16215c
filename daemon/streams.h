/* daemon/streams.h - what is on the air: `freshet streams`, `freshet kick`, /api/v1/streams and status
 *
 * Purpose   every loop is asked by letter for its sessions (origin/home.h) and for what is watched
 *           through it (edge/viewers.h), and for the publishers it relays (ingest/uplink.h); the
 *           answers are one list, by name. A stream whose publisher is relayed to a data centre has
 *           the state "relayed", or "homeless" while none has it; one that is only watched here
 *           "elsewhere". The part asks every two seconds for the admin pages, which cannot wait;
 *           the command asks anew.
 * Units     as the names in the JSON say.
 * Owner     lists are new references; a page is its request's.
 * Thread    streams_list: the main thread, which waits at most half a second. streams_page: any.
 * Errors    NULL: out of memory. A loop that does not answer in time is left out ("whole": false).
 * Tests     tests/e2e/test_box.py, tests/e2e/test_relay.py
 */
#ifndef DAEMON_STREAMS_H
#define DAEMON_STREAMS_H

#include <jansson.h>

#include "daemon/part.h"

struct blob;

extern const struct part streams_part;

/* {"ok", "node", "whole", "at_us", "streams": [...], "refused": [...]}
 *
 * A stream that is relayed has "session", "uptime_s" (of the publisher), "last_tag_ms", "viewers", and
 *  "relay": {"dc"           URL of the data centre that has it; not there while none has
 *            "for_s"        since when it has, or none has
 *            "why"          while none has: what the last one that was tried has said
 *            "bitrate_bps"  of what comes in, over the last 10 to 20 s; not in the first one
 *            "spool_bytes", "spool_ms"   what the next home would get
 *            "spool_lost"   tags that no home has got and that are gone from the spool
 *            "times_lost"   how often it has lost its home
 *            "times_moved"} and how often another than the last has taken it */
json_t *streams_list(struct process *p);
/* `freshet kick`; words: "APP/STREAM", or "APP/STREAM TIME" for a ban. */
json_t *streams_kick(struct process *p, const char *words);

/* The same as text, at most some seconds old; NULL: no memory, or too early. */
struct blob *streams_page(const struct process *p);
struct blob *streams_status_page(const struct process *p);

#endif
