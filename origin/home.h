/* origin/home.h - the home of streams: where publishers arrive and presentations are made
 *
 * Purpose   a stream has one home loop (hash of APP/STREAM). A publisher's connection, on whatever
 *           loop, is a door to it: its tags travel by letter, a burst at a time. The home keeps one
 *           session per stream (origin/session.h) across reconnects, hands the tags to a worker and
 *           makes objects and manifests of the records that come back.
 *           What a process that was killed wrote down of its sessions (state_dir/streams) counts
 *           like a ticket, for reconnect_window after somebody last published.
 * Owner     daemon/: home_new() once, home_loop_start() per loop.
 * Claims    each accepted door is a claim on the stream with an epoch of its own (core/ticket.h).
 *           A door may bring the ticket of an earlier claim: where no session is, one begins that
 *           goes on from it - same id and start of time, numbers and Periods beyond. A ticket older
 *           than what is here is refused (FENCED): it belongs to somebody who has been replaced.
 * Thread    door_*: the publisher's loop. home_loop_*: the loop's own.
 * Errors    door_open: ENOMEM. Everything else that goes wrong is told through ops->closed().
 * Tests     tests/unit/test_home.c, tests/unit/test_home_session.c, tests/e2e/test_home.py,
 *           tests/e2e/test_live.py
 */
#ifndef ORIGIN_HOME_H
#define ORIGIN_HOME_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/addr.h"
#include "core/flv.h"
#include "core/status.h"
#include "core/ticket.h"

struct disk;
struct door;
struct home;
struct hub;
struct loop;
struct store;

struct home_cfg {
    struct store *store;
    struct disk *disk;
    const char *state_dir;
    const struct addr_sock *const *workers; /* n of them; live as long as the home */
    unsigned n_workers;
    /* Any loop: this worker has not said a word since then (monotonic) and is sent frames. */
    void (*hung)(void *ctx, unsigned worker, uint64_t since_us);
    void *ctx;
};

struct home *home_new(const struct home_cfg *cfg, struct loop *const *loops, unsigned n_loops);
void home_free(struct home **hp);
MUST_USE enum st home_loop_start(struct home *h, struct loop *l);
void home_loop_stop(struct loop *l); /* ends every session here, without ceremony */
/* Adds an object for each session of this loop; for people, so the names are the contract:
 * tests/e2e/test_box.py. */
void home_loop_list(struct loop *l, json_t *list);
size_t home_sessions(const struct home *h);
struct hub *home_hub(const struct loop *l); /* NULL: this loop has no home (any more) */

/* Why the home closes a door. */
#define DOOR_WHYS(X)                                                                  \
    X(TAKEN, "a newer publisher has taken the stream over")                           \
    X(NO_WORKER, "no encoder worker takes the stream")                                \
    X(REFUSED, "the encoder refuses the stream")                                      \
    X(LIMIT, "too many streams, or no memory")                                        \
    X(FENCED, "somebody newer has claimed the stream")                                \
    X(EXPIRED, "the key has expired")                                                 \
    X(BUSY, "somebody else publishes this stream")                                    \
    X(KICKED, "the operator has closed this publication")                             \
    X(BANNED, "the operator refuses this stream for now")                             \
    X(QUARANTINED, "encoders have crashed on this stream: it is refused for a while") \
    X(STOPPING, "the server stops")

enum door_why {
#define X(n, text) DOOR_##n,
    DOOR_WHYS(X)
#undef X
};
const char *door_why_text(enum door_why why);

struct door_ops {
    /* The session is there: publishing may start. The ticket is borrowed. */
    void (*accepted)(void *ctx, const struct ticket *t);
    /* Tags of this door below `tag`, which count from 0 or as the POP has it, are in segments: no
     * home needs them any more. With them what the next ticket would say. NULL: no interest. */
    void (*acked)(void *ctx, uint64_t tag, int64_t k, uint64_t high);
    /* What players have been told, for the next home (manifests/model_text.h). Borrowed. NULL: no
     * interest. */
    void (*past)(void *ctx, const char *text, size_t n);
    void (*closed)(void *ctx, enum door_why why); /* the publisher is to go; then door_leave() */
    void (*room)(void *ctx); /* what door_wait() waited for; NULL: it is not called */
};

enum { DOOR_KEY_BYTES = 16 };

/* What a publisher brings along. */
struct door_claim {
    const struct ticket *ticket; /* a good one, or NULL */
    bool has_key;
    uint8_t key[DOOR_KEY_BYTES]; /* a digest of what it signed in with: kid and sig */
    bool expired; /* that is good for nothing but the session which was begun with the same */
    /* At a POP: a random number of his own, else 0. When the claim in force is his, he goes on
     * where he was - in the same Period, if no more than a moment has passed - whatever epoch he
     * knows of, and what has come already is dropped. */
    uint64_t publisher;
    int64_t behind_us; /* and how long his first tag to come has been there */
};

/* name is APP/STREAM and valid; claim NULL: none of all that. ops come on this loop until
 * door_leave(). */
MUST_USE enum st door_open(struct home *h, struct loop *l, const char *name,
                           const struct door_claim *claim, const struct door_ops *ops, void *ctx,
                           struct door **out);
/* The same for a publisher at a POP, whose tags have numbers of the POP's; 0: a sequence header in
 * force, for a home that has none. */
bool door_tag_numbered(struct door *d, uint64_t number, const struct flv_tag *tag,
                       bool discontinuity, int64_t arrival_us);
/* Likewise, before any tag: what its last home said by past(). */
void door_bring_past(struct door *d, const char *text, size_t n);
/* After door_may_read() was false. True: it is not any more; else ops->room() comes. */
bool door_wait(struct door *d);
/* After accepted() only. One audio or video tag, times normalised (session milliseconds of this
 * connection). Sent with the
 * burst; false: the home does not keep up, stop reading until door_may_read(). */
bool door_tag(struct door *d, const struct flv_tag *tag, bool discontinuity, int64_t arrival_us);
void door_flush(struct door *d); /* the end of a burst */
bool door_may_read(const struct door *d);
/* ended: the broadcast is over (FCUnpublish, deleteStream); else the publisher may come back. */
void door_leave(struct door **dp, bool ended);

/* --- any thread --- */
/* Closes whoever publishes it, soon. end: the broadcast too; else it waits for him to come back. */
void home_kick(struct home *h, const char *name, enum door_why why, bool end);
/* Refuses the stream until then (monotonic), and ends its broadcast; a time in the past lets it in
 * again. ELIMIT: too many are refused already. */
MUST_USE enum st home_ban(struct home *h, const char *name, uint64_t until_us);
/* A worker has crashed with this stream in hand. True: that was one time too many, and it is
 * refused for quarantine_us. */
bool home_crashed(struct home *h, const char *name, uint64_t quarantine_us);
void home_list_bans(struct home *h, json_t *list); /* adds {"name", "why", "left_s"} for each */

#endif
