/* The state record: what a home that starts again must know of a session - who it is, when its time
 * began, and what Periods and numbers may have been published. It is on the disk before they are.
 * Its file's time says when somebody was last publishing: after reconnect_window it counts for
 * nothing. A broadcast that ends takes its record along. */
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/check.h"
#include "core/clock.h"
#include "core/conf.h"
#include "core/log.h"
#include "origin/home_int.h"

enum { NUMBERS_AHEAD = 128, NUMBERS_LOW = 32, PATH_BYTES = SESSION_PATH_BYTES };
#define TOUCH_EVERY_US (5 * SEC_US)
#define SWEEP_EVERY_US (60 * SEC_US)

static struct loop *loop_of(const struct session *s) { return s->hl->loop; }

void session_path(const struct home *h, const char *name, const char *ending,
                  char path[SESSION_PATH_BYTES])
{
    (void)snprintf(path, SESSION_PATH_BYTES, "%s/streams/%s.%s", h->cfg.state_dir, name, ending);
}

static void path_of(const struct home *h, const char *name, char path[PATH_BYTES])
{
    session_path(h, name, "json", path);
}

/* Nothing goes on from what has ended, so its names need no protection. */
static bool is_safe(const struct session *s, int64_t k, uint64_t number)
{
    return s->phase == SESSION_ENDED || (k <= s->disk_k && number < s->disk_high);
}

/* A full disk must not end a broadcast: numbers still rise as long as we live. */
static void disk_failed(const struct session *s, const char *why)
{
    log_error(loop_of(s)->log, LOG_CTX_TEXT(LOG_CTX_TEXT(NULL, "stream", s->name), "error", why),
              "home", "the state record cannot be written: %s", "going on without it");
}

/* --- writing --- */

static void on_disk(struct loop *l, struct mail *m);

static void text_of(const struct session *s, struct buf *b)
{
    buf_printf(b,
               "{\"v\":1,\"session\":\"%s\",\"epoch\":%llu,\"ast\":%lld,\"k\":%lld,\"high\":%llu",
               s->id, (unsigned long long)s->epoch, (long long)s->ast_s, (long long)s->wanted_k,
               (unsigned long long)s->wanted_high);
    if (s->has_key) {
        buf_puts(b, ",\"key\":\"");
        for (int i = 0; i < DOOR_KEY_BYTES; i++)
            buf_printf(b, "%02x", s->key[i]);
        buf_puts(b, "\"");
    }
    buf_puts(b, "}\n");
}

static enum st post(struct session *s, enum disk_what what, const struct buf *text)
{
    struct disk *d = s->hl->home->cfg.disk;
    char path[PATH_BYTES];
    enum st st = ST_OK;

    CHECK(!s->job_busy);
    path_of(s->hl->home, s->name, path);
    s->job.mail.deliver = on_disk;
    s->job.loop = loop_of(s);
    s->job.lazy = what == DISK_TOUCH;
    s->job.time_s = clock_wall_us() / (int64_t)SEC_US;
    s->touched_us = loop_now(loop_of(s));
    if (what == DISK_WRITE)
        st = disk_write(d, &s->job, path, text->data, text->len);
    else if (what == DISK_TOUCH)
        st = disk_touch(d, &s->job, path);
    else
        st = disk_remove(d, &s->job, path);
    s->job_busy = st == ST_OK;
    return st;
}

/* One request at a time; what is wanted while it is under way follows it. */
static void ask_disk(struct session *s, int64_t k, uint64_t high)
{
    struct buf text;
    enum st st;

    if (k > s->wanted_k)
        s->wanted_k = k;
    if (high > s->wanted_high)
        s->wanted_high = high;
    if (s->job_busy)
        return;
    buf_init(&text, 1024);
    text_of(s, &text);
    s->asked_k = s->wanted_k;
    s->asked_high = s->wanted_high;
    s->asked_epoch = s->epoch;
    st = text.st != ST_OK ? text.st : post(s, DISK_WRITE, &text);
    buf_fini(&text);
    if (st == ST_OK)
        return;
    disk_failed(s, "out of memory");
    s->disk_k = s->asked_k;
    s->disk_high = s->asked_high;
}

static void on_disk(struct loop *l, struct mail *m)
{
    struct session *s = CONTAINER_OF(m, struct session, job.mail);
    enum disk_what what = s->job.what;
    enum st st = s->job.st;

    s->job_busy = false;
    if (session_letter_came(l, s))
        return;
    if (what == DISK_WRITE && st != ST_OK)
        disk_failed(s, strerror(s->job.sys_err));
    if (what == DISK_WRITE) {
        s->disk_k = s->asked_k;
        s->disk_high = s->asked_high;
    }
    if (s->phase != SESSION_ENDED &&
        (s->wanted_k > s->asked_k || s->wanted_high > s->asked_high || s->epoch > s->asked_epoch ||
         (what == DISK_TOUCH && st == ST_ENOENT))) /* somebody has removed it */
        ask_disk(s, s->wanted_k, s->wanted_high);
    if (s->phase == SESSION_ENDED && what != DISK_REMOVE)
        session_record_remove(s);
    if (s->x.paused && (!s->job_busy || s->phase == SESSION_ENDED))
        exchange_go_on(&s->x);
    session_more(s);
}

bool session_ready(struct session *s)
{
    if (is_safe(s, s->k, s->next_number))
        return true;
    ask_disk(s, s->k + 1, s->next_number + NUMBERS_AHEAD);
    return is_safe(s, s->k, s->next_number);
}

void session_keep_safe(struct session *s, int64_t k, uint64_t number)
{
    if (!is_safe(s, k, number + NUMBERS_LOW))
        ask_disk(s, k + 1, number + NUMBERS_AHEAD);
    if (!is_safe(s, k, number + 1))
        exchange_pause(&s->x);
}

void session_record_now(struct session *s)
{
    ask_disk(s, s->k + 1, s->next_number + NUMBERS_AHEAD);
}

void session_record_touch(struct session *s)
{
    if (s->job_busy || s->wanted_high == 0 || s->phase == SESSION_ENDED ||
        loop_now(loop_of(s)) - s->touched_us < TOUCH_EVERY_US)
        return;
    if (post(s, DISK_TOUCH, NULL) != ST_OK)
        disk_failed(s, "out of memory");
}

void session_record_remove(struct session *s)
{
    session_past_remove(s);
    if (!s->job_busy && s->wanted_high > 0 && post(s, DISK_REMOVE, NULL) != ST_OK)
        disk_failed(s, "out of memory"); /* the sweeper finds it */
}

/* --- reading --- */

static bool read_key(const char *hex, uint8_t key[DOOR_KEY_BYTES])
{
    for (int i = 0; i < DOOR_KEY_BYTES; i++) {
        unsigned v;

        if (hex[2 * i] == '\0' || hex[2 * i + 1] == '\0' || sscanf(hex + 2 * i, "%2x", &v) != 1)
            return false;
        key[i] = (uint8_t)v;
    }
    return hex[2 * DOOR_KEY_BYTES] == '\0';
}

bool known_parse(const char *text, size_t n, struct known *out)
{
    json_t *j = json_loadb(text, n, JSON_REJECT_DUPLICATES, NULL);
    const char *session, *key = NULL;
    json_int_t v, epoch, ast, k, high;
    bool good = j != NULL &&
                json_unpack(j, "{s:I, s:s, s:I, s:I, s:I, s:I, s?s}", "v", &v, "session", &session,
                            "epoch", &epoch, "ast", &ast, "k", &k, "high", &high, "key", &key) == 0;

    *out = (struct known){ .has_key = false };
    good = good && v == 1 && strlen(session) == TICKET_SESSION_LEN && epoch >= 0 && high >= 0;
    if (good) {
        memcpy(out->ticket.session, session, TICKET_SESSION_LEN + 1);
        out->ticket.epoch = (uint64_t)epoch;
        out->ticket.ast_s = ast;
        out->ticket.k = k;
        out->ticket.high = (uint64_t)high;
        good = ticket_good(&out->ticket);
    }
    if (good && key != NULL)
        good = out->has_key = read_key(key, out->key);
    json_decref(j);
    return good;
}

enum st known_ask(const struct home *h, struct loop *l, const char *name, struct disk_job *job)
{
    char path[PATH_BYTES];

    path_of(h, name, path);
    job->loop = l;
    return disk_read(h->cfg.disk, job, path);
}

bool known_answer(struct loop *l, struct disk_job *job, struct known *out)
{
    int64_t age_us = clock_wall_us() - job->time_s * (int64_t)SEC_US;
    bool good = job->st == ST_OK && known_parse(job->bytes, job->n, out);

    if (job->st == ST_OK && !good)
        log_warn(l->log, NULL, "home", "a state record is not readable: %s",
                 "the broadcast begins anew");
    if (good) /* it may have been true for a while longer than its time says */
        out->open = age_us <= (int64_t)(l->conf->ingest.reconnect_window_us + TOUCH_EVERY_US);
    free(job->bytes);
    job->bytes = NULL;
    return good;
}

/* --- what nobody came back for --- */

static void swept(struct loop *l, struct mail *m)
{
    struct home *h = CONTAINER_OF(m, struct home, sweep_job.mail);

    (void)l;
    h->sweeping = false;
}

static void sweep(struct loop *l, struct timer *t)
{
    struct home *h = CONTAINER_OF(t, struct home, sweep_timer);
    uint64_t keep_us = l->conf->ingest.reconnect_window_us + SWEEP_EVERY_US;
    char dir[PATH_BYTES];

    timer_set(l, t, loop_now(l) + SWEEP_EVERY_US);
    if (h->sweeping)
        return;
    (void)snprintf(dir, sizeof dir, "%s/streams", h->cfg.state_dir);
    h->sweep_job.mail.deliver = swept;
    h->sweep_job.loop = l;
    h->sweep_job.time_s = (clock_wall_us() - (int64_t)keep_us) / (int64_t)SEC_US;
    h->sweeping = disk_sweep(h->cfg.disk, &h->sweep_job, dir) == ST_OK;
}

/* The loop has no configuration yet: the first sweep is the timer's. */
void known_sweep_start(struct home *h, struct loop *l)
{
    h->sweep_timer.fire = sweep;
    timer_set(l, &h->sweep_timer, loop_now(l) + SEC_US);
}

void known_sweep_stop(struct home *h, struct loop *l) { timer_cancel(l, &h->sweep_timer); }
