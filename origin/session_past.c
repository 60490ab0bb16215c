/* The past: what players were told of the session's Periods, in a file beside the state record, and
 * at the POP that brings the tags. A home that begins from its own record, or from a ticket, lists
 * them again, ended: whoever was in the middle of one finds his way into the new Period, as he does
 * when a publisher comes back. The bytes are gone here; edges have what was watched.
 *
 * It is written a moment after something has been closed, when the other renditions have closed
 * theirs too, and lazily: what a crash undoes of it is a segment that players are told of no more. */
#include <stdlib.h>
#include <string.h>

#include "core/check.h"
#include "core/clock.h"
#include "core/log.h"
#include "manifests/model_text.h"
#include "origin/home_int.h"

#define MOMENT_US (100 * MS_US)

static struct loop *loop_of(const struct session *s) { return s->hl->loop; }

static void on_disk(struct loop *l, struct mail *m);

static void path_of(const struct session *s, char path[SESSION_PATH_BYTES])
{
    session_path(s->hl->home, s->name, "past", path);
}

static void prepare(struct session *s)
{
    CHECK(!s->past_busy);
    s->past_job.mail.deliver = on_disk;
    s->past_job.loop = loop_of(s);
    s->past_job.lazy = true;
    s->past_job.time_s = clock_wall_us() / (int64_t)SEC_US;
}

/* --- writing --- */

static void write_now(struct session *s)
{
    char path[SESSION_PATH_BYTES];
    struct buf text;

    if (s->past_busy || s->model == NULL || s->phase == SESSION_ENDED)
        return;
    s->past_new = false;
    s->past_there = true;
    buf_init(&text, DISK_READ_MAX);
    model_write(s->model, &text);
    if (text.st == ST_OK && s->door != NULL)
        door_past(s->door, buf_text(&text), text.len);
    prepare(s);
    path_of(s, path);
    s->past_busy = text.st == ST_OK && disk_write(s->hl->home->cfg.disk, &s->past_job, path,
                                                  text.data, text.len) == ST_OK;
    buf_fini(&text);
}

static void on_timer(struct loop *l, struct timer *t)
{
    (void)l;
    write_now(CONTAINER_OF(t, struct session, past_timer));
}

void session_past_soon(struct session *s)
{
    s->past_new = true;
    if (timer_is_set(&s->past_timer))
        return;
    s->past_timer.fire = on_timer;
    /* at the same time for all sessions: one wake-up of the disk's thread */
    timer_set(loop_of(s), &s->past_timer, (loop_now(loop_of(s)) / MOMENT_US + 2) * MOMENT_US);
}

void session_past_remove(struct session *s)
{
    char path[SESSION_PATH_BYTES];

    if (s->past_busy || !s->past_there) /* not before what is under way has been done */
        return;
    prepare(s);
    path_of(s, path);
    s->past_there = false;
    s->past_busy = disk_remove(s->hl->home->cfg.disk, &s->past_job, path) == ST_OK;
}

/* --- reading --- */

void session_past_ask(struct session *s)
{
    char path[SESSION_PATH_BYTES];

    prepare(s);
    path_of(s, path);
    s->past_there = true;
    s->past_busy = s->past_asked = disk_read(s->hl->home->cfg.disk, &s->past_job, path) == ST_OK;
}

/* The highest number that it knows of; they rise over the whole session. */
static uint64_t newest(const struct model *m)
{
    uint64_t n = 0;

    for (unsigned i = 0; m != NULL && i < MODEL_TRACKS_MAX; i++)
        if (m->track[i].used && m->track[i].last > n)
            n = m->track[i].last;
    return n;
}

/* Two may come, the disk's and the publisher's: the longer one counts. */
static enum st take(struct session *s, const char *text, size_t n)
{
    struct model *m = NULL, *old;
    enum st st = session_new_model(s, &m);

    if (st == ST_OK)
        st = model_read(m, text, n);
    if (st == ST_OK && newest(m) > newest(s->model)) {
        old = s->model;
        s->model = m;
        m = old;
    }
    model_free(&m);
    return st == ST_OK ? session_ensure_stream(s) : st;
}

static void take_or_say(struct session *s, enum st st, const char *text, size_t n)
{
    if (st == ST_OK)
        st = take(s, text, n);
    if (st == ST_OK)
        return;
    log_warn(loop_of(s)->log,
             LOG_CTX_TEXT(LOG_CTX_TEXT(NULL, "stream", s->name), "why", st_name(st)), "home",
             "what was on the air before is not known: %s",
             "players who were watching may have to begin again");
}

void session_past_bring(struct session *s, const char *text, size_t n)
{
    if (s->period_reps == 0 && s->phase != SESSION_ENDED)
        take_or_say(s, ST_OK, text, n);
}

static void on_disk(struct loop *l, struct mail *m)
{
    struct session *s = CONTAINER_OF(m, struct session, past_job.mail);

    s->past_busy = false;
    if (!s->gone && s->past_asked)
        take_or_say(s, s->past_job.st, s->past_job.bytes, s->past_job.n);
    free(s->past_job.bytes);
    s->past_job.bytes = NULL;
    s->past_asked = false;
    if (session_letter_came(l, s))
        return;
    if (s->phase == SESSION_ENDED)
        session_past_remove(s);
    else if (s->past_new) /* since what has just been written */
        session_past_soon(s);
    session_more(s);
}
