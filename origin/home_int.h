/* origin/home_int.h - what home.c and session*.c share
 *
 * Thread    the home loop's own, but for struct door's and struct home's atomics.
 * Tests     those of origin/home.h.
 */
#ifndef ORIGIN_HOME_INT_H
#define ORIGIN_HOME_INT_H

#include <stdatomic.h>

#include "core/buf.h"
#include "core/exchange.h"
#include "core/loop.h"
#include "core/rdv.h"
#include "core/spool_body.h"
#include "edge/stream.h"
#include "manifests/model.h"
#include "origin/anchor.h"
#include "origin/ban.h"
#include "origin/disk.h"
#include "origin/home.h"
#include "origin/hub.h"

struct home {
    struct home_cfg cfg;
    struct hub *hub;
    char *state_dir; /* the configuration's own may go with a reload */
    struct loop *const *loops;
    unsigned n_loops;
    atomic_size_t sessions;
    atomic_uint *load; /* sessions pinned to each worker */
    struct ban_list *bans;
    /* loop 0's: */
    struct timer sweep_timer;
    struct disk_job sweep_job;
    bool sweeping;
};

struct home_loop {
    struct home *home;
    struct loop *loop;
    struct exchange_link **links; /* cfg.n_workers */
    struct rdv_node *nodes;
    struct session *first;
};

static inline struct home_loop *home_loop_of(struct loop *l) { return l->slot[LOOP_HOME]; }

enum { SESSION_REPS_MAX = 32 };

/* What a worker would need to go on with a rendition. */
struct resume {
    char rep[4];
    uint64_t next_tag;
    char *state; /* what the worker wrote, handed on as it is; owned */
    size_t n, room;
};

enum session_phase {
    SESSION_LIVE,  /* a publisher is there, or may come back */
    SESSION_ENDED, /* over; its documents are kept for a while */
};

struct session {
    int magic;
    struct home_loop *hl;
    struct session *next, **prevp;
    enum session_phase phase;
    char name[STREAM_NAME_MAX + 1];
    char id[STREAM_SESSION_LEN + 1];
    struct door *door;  /* the publisher; NULL: none at present */
    struct timer timer; /* silence, reconnect window, lingering */
    struct grave grave;
    uint64_t epoch;      /* of the claim in force */
    uint64_t publisher;  /* whose it is, if a POP brings him; else 0 */
    uint64_t relay_next; /* the POP's number of the tag that is next; 0: none has come */
    bool has_key;        /* what he signed in with */
    uint8_t key[DOOR_KEY_BYTES];
    uint64_t begun_us;
    uint64_t last_tag_us;
    uint64_t left_us;   /* when the publisher left; 0: it has not */
    uint64_t forget_us; /* ended: when even its documents go */
    bool gone;          /* freed when its last letter has come */
    bool stalled;       /* the open segments were closed for want of tags */
    bool over;          /* all that the worker has to say has come */

    /* time */
    struct anchor anchor;
    bool timed;    /* a tag has come */
    int64_t ast_s; /* 0: not yet */
    /* what the configuration said when it began */
    int64_t window_us; /* what players may go back */
    int64_t segment_us, chunk_us;
    int64_t shift_ms; /* session time minus the door's time */
    int64_t now_ms;   /* session time of the newest tag */
    int64_t told_anchor_us;
    int64_t last_arrival_us;
    struct flv_mark mark; /* the last one */
    int64_t marked_ms;    /* session time of the last mark */
    bool cut;             /* the next tag begins something new, */
    bool paused;          /* but only after a silence: its times go on */
    uint64_t stale;       /* tags since then that came too late */

    /* numbers that are safe on disk: nothing above may be published yet */
    struct disk_job job;
    bool job_busy;
    int64_t disk_k, asked_k, wanted_k;
    uint64_t disk_high, asked_high, wanted_high;
    uint64_t asked_epoch;
    uint64_t touched_us;
    /* what its Periods were, for a successor (session_past.c) */
    struct disk_job past_job;
    bool past_busy;
    bool past_asked; /* our own predecessor's is on its way */
    bool past_new;   /* there is more to be written */
    bool past_there; /* there may be a file */
    struct timer past_timer;
    int64_t own_from_us;  /* start of the first Period that is our own */
    int64_t k;            /* of the Period that the next exchange may open */
    uint64_t next_number; /* at least this for its segments */

    /* up: what the worker gets */
    struct spool spool;
    uint64_t spool_counted; /* bytes of it, in the gauge */
    struct exchange x;
    struct spool_body up;
    uint64_t heard_us; /* when the worker spoke last, or had no reason to */
    unsigned worker;   /* the pin; kept when it is released, for what is said of it */
    bool pinned;
    bool failed[RDV_NODES_MAX]; /* workers, since one has made a chunk */
    unsigned failures;          /* in a row, without a chunk in between */
    int64_t worker_lag_ms;      /* how long tags have waited for it, by its last word */
    bool refused;               /* by the worker, for what is in the stream */
    int64_t unusable;           /* frames that it could not use, in this exchange */
    uint64_t failing_since_us;
    struct timer retry;

    /* down: what it says */
    struct model *model;
    struct stream *stream;
    struct hub_channel *channel; /* there when the model and the stream are */
    struct record_head head;
    json_t *json;    /* of the record whose bytes are coming; NULL for a chunk */
    struct buf text; /* a chunk's JSON */
    struct buf bytes;
    struct resume resume[SESSION_REPS_MAX];
    unsigned n_resume;
    uint64_t period_tag;  /* the first tag of the current Period, */
    unsigned period_reps; /* and how many renditions it has */
    struct mail render_mail;
    bool render_posted;
    struct buf doc; /* the manifest in force */
};

/* session.c */
/* ticket: goes on from there; or NULL. */
struct session *session_new(struct home_loop *hl, const char *name, const struct ticket *ticket);
void session_free_now(struct session *s); /* the loop stops */
/* A publisher has claimed it; again: it is the one who had it, and his tags go on. */
void session_arrive(struct session *s, bool again);
void session_ticket(const struct session *s, struct ticket *out);
void session_leave(struct session *s, bool ended);
/* number: the POP's, or 0. */
void session_tag(struct session *s, uint64_t number, const struct flv_tag *tag, bool discontinuity,
                 int64_t arrival_us);
void session_over(struct session *s); /* the last record has come */
bool session_letter_came(struct loop *l,
                         struct session *s); /* true: it is gone, touch it no more */
void session_count_spool(struct session *s);
void session_more(struct session *s); /* tags have been added: tell the worker */

/* session_out.c: records to objects and documents */
void session_on_record(struct exchange *x, const struct record_event *ev);
void session_tell(struct session *s, bool live); /* the edges: there is a publisher, or none */
void session_cut(struct session *s);             /* closes what is open where it is */
void session_render_now(struct session *s);
/* Model, stream and channel are there, or not all of them. */
MUST_USE enum st session_ensure_stream(struct session *s);
MUST_USE enum st session_new_model(const struct session *s, struct model **out);

/* session_disk.c: the state record. Where it is, with another ending than ".json": */
enum { SESSION_PATH_BYTES = 1024 + 2 * STREAM_NAME_MAX };
void session_path(const struct home *h, const char *name, const char *ending,
                  char path[SESSION_PATH_BYTES]);
/* That of the coming Period is on the disk; false: asked for, and session_more() comes when it is.
 */
bool session_ready(struct session *s);
/* Everything up to this number may be published; asks for more in good time, and holds the worker's
 * records back when it has not come yet. */
void session_keep_safe(struct session *s, int64_t k, uint64_t number);
void session_record_now(struct session *s);    /* as it is; nobody waits */
void session_record_touch(struct session *s);  /* somebody publishes; called often */
void session_record_remove(struct session *s); /* the broadcast is over */

/* session_past.c: the Periods, next to the state record */
void session_past_ask(struct session *s); /* a process that is gone had this very session */
/* Whoever brings the tags has this of the home before. */
void session_past_bring(struct session *s, const char *text, size_t n);
void session_past_soon(struct session *s); /* something has been closed */
void session_past_remove(struct session *s);

/* What is known of a session that is not here. */
struct known {
    struct ticket ticket;
    bool open; /* its publisher may still come back */
    bool has_key;
    uint8_t key[DOOR_KEY_BYTES];
};
/* job->mail.deliver comes; then known_answer(): false, nothing is known. */
MUST_USE enum st known_ask(const struct home *h, struct loop *l, const char *name,
                           struct disk_job *job);
bool known_answer(struct loop *l, struct disk_job *job, struct known *out);
bool known_parse(const char *text, size_t n, struct known *out);
void known_sweep_start(struct home *h, struct loop *l);
void known_sweep_stop(struct home *h, struct loop *l);

/* session_in.c: tags to the worker */
void session_start_exchange(struct session *s);
void session_fail(struct session *s, enum door_why why); /* the broadcast is over */
void session_drop_resume(struct session *s);
uint64_t session_resume_tag(const struct session *s);
/* Is the worker alive? To be asked every second; when it is not, the stream goes elsewhere. False:
 * it hangs, and the broadcast had ended: nothing more will come. */
bool session_listen(struct session *s);

/* pin.c: which worker. Taken, it counts as that worker's load until it is released. */
void pin_take(struct session *s);
void pin_release(struct session *s);
void pin_failed(struct session *s); /* this one has; the next pin_take() goes elsewhere */
void pin_works(struct session *s);

/* claim.c: whom a publisher belongs to. NULL: *why; known may be NULL. again: it is the one who has
 * it already. */
struct session *claim_session(struct home_loop *hl, const char *name, const struct door_claim *c,
                              const struct known *known, enum door_why *why, bool *again);

/* home.c */
struct session *home_find(const struct home_loop *hl, const char *name);
void door_ack(struct door *d, uint64_t needed, int64_t k,
              uint64_t high); /* needed: session's tag */
void door_past(struct door *d, const char *text, size_t n);
void door_close_by_home(struct door *d, enum door_why why);

#endif
