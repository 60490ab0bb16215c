/* origin/relay.h - what POPs bring: POST /_ingest/APP/STREAM on a tier listener
 *
 * Purpose   one exchange is one publisher at a POP: his tags come as FLV (core/flv.h, with marks)
 *           and go through a door to the stream's home; the ticket goes back at once, and then,
 *           every second and when it changes, an ACK record {tag, k, high}: no home needs tags
 *           below `tag`.
 * Request   freshet-claim: 16 hex digits, the publisher's own (origin/home.h); if he signed in, a
 *           dot and 32 of the digest of his key; if that has expired, another dot and "expired".
 *           freshet-behind: ms that the first tag has waited at the POP. The five fields of a
 *           ticket where there is one (core/ticket.h). Body: sequence headers in force, a mark, the
 *           tags from its number on.
 * Answers   200 with the ticket; 400: not such a request; 404: no such app here; 409: somebody else
 *           has the stream; 403: he may not, or the encoder refuses what is in it; 503: no room, or
 *           no worker. freshet-why has the word for it; it comes as END {why} when the home lets
 *           him go later. Everything else that ends the exchange means "may come back"; the end of
 *           the request's body ends the broadcast.
 * Time      a tag counts as arrived when it came here, but for what had waited at the POP when the
 *           exchange began: that is put where it would have been. No two clocks are compared.
 * Limits    ingest.limits.message_media per tag; a stream's window (8 MiB) is returned as the home
 *           takes its tags.
 * Owner     itself; it goes with its exchange.
 * Thread    the connection's loop.
 * Tests     tests/unit/test_relayed.c, tests/e2e/test_relay.py, tests/e2e/test_hostile_relay.py
 */
#ifndef ORIGIN_RELAY_H
#define ORIGIN_RELAY_H

#include <stdbool.h>

struct http_head;
struct loop;
struct raw;
struct target;

/* The home is that of the loop. */
void relay_serve(struct loop *l, struct raw *x, const struct http_head *head,
                 const struct target *target, bool last);

#endif
