/* origin/home_int.h - what home.c and session*.c share
 *
 * Thread    the home loop's own, but for struct door's and struct home's atomics.
 * Tests     those of origin/home.h.
 */
#ifndef ORIGIN_HOME_INT_H
#define ORIGIN_HOME_INT_H

#include <stdatomic.h>

#include "core/buf.h"
#include "core/loop.h"
#include "core/rdv.h"
#include "edge/stream.h"
#include "manifests/model.h"
#include "origin/anchor.h"
#include "origin/disk.h"
#include "origin/home.h"
#include "origin/spool.h"
#include "origin/worker.h"

struct home {
    struct home_cfg cfg;
    struct loop *const *loops;
    unsigned n_loops;
    atomic_size_t sessions;
};

struct home_loop {
    struct home *home;
    struct loop *loop;
    struct worker_link **links; /* cfg.n_workers */
    struct rdv_node *nodes;
    struct session *first;
};

static inline struct home_loop *home_loop_of(struct loop *l) { return l->slot[LOOP_HOME]; }

enum { SESSION_REPS_MAX = 32, SEGMENT_MS = 2000 };

/* What a worker would need to go on with a rendition. */
struct resume {
    char rep[4];
    uint64_t next_tag;
    char *state; /* what the worker wrote, handed on as it is; owned */
    size_t n, room;
};

/* The beginning of what a worker gets. */
struct hello {
    struct own own;
    size_t n;
    uint8_t data[];
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
    uint64_t begun_us;
    uint64_t last_tag_us;
    uint64_t left_us; /* when the publisher left; 0: it has not */
    bool gone;        /* freed when its last letter has come */
    bool stalled;     /* the open segments were closed for want of tags */
    bool over;        /* all that the worker has to say has come */

    /* time */
    struct anchor anchor;
    int64_t ast_s;     /* 0: no tag yet */
    int64_t window_us; /* what players may go back */
    int64_t shift_ms;  /* session time minus the door's time */
    int64_t now_ms;    /* session time of the newest tag */
    int64_t told_anchor_us;
    int64_t last_arrival_us;
    struct flv_mark mark; /* the last one */
    int64_t marked_ms;    /* session time of the last mark */
    bool cut;             /* the next tag begins something new, */
    bool paused;          /* but only after a silence: its times go on */

    /* numbers that are safe on disk: nothing above may be published yet */
    struct disk_job job;
    bool job_busy;
    int64_t disk_k, asked_k, wanted_k;
    uint64_t disk_high, asked_high, wanted_high;
    int64_t k;            /* of the Period that the next exchange may open */
    uint64_t next_number; /* at least this for its segments */

    /* up: what the worker gets */
    struct spool spool;
    struct exchange x;
    struct hello *hello; /* FLV header, mark and sequence headers; sent first */
    size_t hello_sent;
    uint64_t cursor; /* number of the tag being sent */
    size_t cursor_sent;
    unsigned worker;
    unsigned failures; /* in a row, without a chunk in between */
    bool refused;      /* by the worker, for what is in the stream */
    uint64_t failing_since_us;
    struct timer retry;

    /* down: what it says */
    struct model *model;
    struct stream *stream;
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
    uint64_t ignored_records;
};

/* session.c */
struct session *session_new(struct home_loop *hl, const char *name);
void session_free_now(struct session *s); /* the loop stops */
void session_arrive(struct session *s, struct door *d);
void session_leave(struct session *s, struct door *d, bool ended);
void session_tag(struct session *s, const struct flv_tag *tag, bool discontinuity,
                 int64_t arrival_us);
void session_over(struct session *s);        /* the last record has come */
bool session_letter_came(struct session *s); /* true: the session is gone, touch it no more */
void session_more(struct session *s);        /* tags have been added: tell the worker */

/* session_out.c: records to objects and documents */
void session_on_record(struct exchange *x, const struct record_event *ev);
void session_cut(struct session *s); /* closes what is open where it is */
void session_render_now(struct session *s);
/* The state record of the coming Period is on the disk; false: asked for, and session_more() comes
 * when it is. */
bool session_ready(struct session *s);

/* session_in.c: tags to the worker */
void session_start_exchange(struct session *s);
void session_drop_hello(struct session *s);
void session_drop_resume(struct session *s);
uint64_t session_resume_tag(const struct session *s);

/* home.c */
void door_close_by_home(struct door *d, enum door_why why);

#endif
