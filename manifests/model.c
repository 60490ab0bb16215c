#include "manifests/model.h"

#include <stdlib.h>
#include <string.h>

#include "core/check.h"
#include "manifests/model_int.h"

/* Every verb first looks at everything, then takes memory, then changes: what it refuses left no
 * trace. Products stay inside 64 bits because times, time scales and sizes are limited. */

enum { PERIODS_FIRST = 4, LIST_FIRST = 16, PTO_SLACK_US = 1000 };
enum { GUESS_VIDEO_BPS = 2000000, GUESS_AUDIO_BPS = 128000 };
#define SECOND_US INT64_C(1000000)

/* --- lists: at the end things are added, at the front they go --- */

static void *list_at(const struct model_list *l, size_t i, size_t size)
{
    CHECK(i < l->n);
    return (char *)l->v + (l->head + i) * size;
}

static void *list_last(const struct model_list *l, size_t size)
{
    return l->n > 0 ? list_at(l, l->n - 1, size) : NULL;
}

/* Room for one more; false: no memory, and nothing has changed. */
static bool list_reserve(struct model_list *l, size_t size)
{
    size_t room = l->room > 0 ? l->room * 2 : LIST_FIRST;
    void *v;

    if (l->head + l->n < l->room)
        return true;
    if (l->head > l->room / 2) {
        memmove(l->v, (char *)l->v + l->head * size, l->n * size);
        l->head = 0;
        return true;
    }
    v = realloc(l->v, room * size);
    if (v == NULL)
        return false;
    l->v = v;
    l->room = room;
    return true;
}

static void *list_push(struct model_list *l, size_t size)
{
    CHECK(l->head + l->n < l->room);
    l->n++;
    return list_last(l, size);
}

static void list_drop(struct model_list *l, size_t n)
{
    CHECK(n <= l->n);
    l->n -= n;
    l->head = l->n > 0 ? l->head + n : 0;
}

static void list_fini(struct model_list *l)
{
    free(l->v);
    *l = (struct model_list){ 0 };
}

/* --- looking --- */

const struct model_segment *model_segment(const struct model_rep *r, size_t i)
{
    return list_at(&r->segments, i, sizeof(struct model_segment));
}

const struct model_part *model_part(const struct model_rep *r, size_t i)
{
    return list_at(&r->parts, i, sizeof(struct model_part));
}

static struct model_segment *last_segment(const struct model_rep *r)
{
    return list_last(&r->segments, sizeof(struct model_segment));
}

static struct model_segment *open_segment(const struct model_rep *r)
{
    struct model_segment *s = last_segment(r);

    return s != NULL && s->open ? s : NULL;
}

const struct model_period *model_current(const struct model *m)
{
    OBJ_CHECK(m, MODEL_MAGIC);
    return m->n_periods > 0 ? m->period[m->n_periods - 1] : NULL;
}

const struct model_rep *model_rep(const struct model_period *p, const char *name)
{
    for (unsigned i = 0; p != NULL && i < p->n_reps; i++)
        if (strcmp(p->rep[i].name, name) == 0)
            return &p->rep[i];
    return NULL;
}

/* The one a verb is about: of the current Period, not const. */
static struct model_rep *find_rep(struct model *m, const char *name)
{
    struct model_period *p = m->n_periods > 0 ? m->period[m->n_periods - 1] : NULL;

    for (unsigned i = 0; p != NULL && i < p->n_reps; i++)
        if (strcmp(p->rep[i].name, name) == 0)
            return &p->rep[i];
    return NULL;
}

bool model_first(const struct model *m, const char *rep, uint64_t *n)
{
    OBJ_CHECK(m, MODEL_MAGIC);
    for (unsigned i = 0; i < m->n_periods; i++) {
        const struct model_rep *r = model_rep(m->period[i], rep);

        if (r != NULL && r->segments.n > 0) {
            *n = model_segment(r, 0)->n;
            return true;
        }
    }
    return false;
}

int64_t model_us(const struct model_rep *r, int64_t ticks)
{
    int64_t scale = r->init.timescale;

    return ticks / scale * SECOND_US + ticks % scale * SECOND_US / scale;
}

int64_t model_ticks(const struct model_rep *r, int64_t us)
{
    int64_t scale = r->init.timescale;

    return us / SECOND_US * scale + us % SECOND_US * scale / SECOND_US;
}

uint32_t model_bandwidth(const struct model *m, const struct model_rep *r)
{
    if (r->peak_bps > 0)
        return r->peak_bps;
    if (r->init.bandwidth_bps > 0)
        return r->init.bandwidth_bps;
    if (m->track[r->track].bps > 0)
        return m->track[r->track].bps;
    return r->video ? GUESS_VIDEO_BPS : GUESS_AUDIO_BPS;
}

/* --- texts --- */

static bool digit(char c) { return c >= '0' && c <= '9'; }
static bool lower(char c) { return c >= 'a' && c <= 'z'; }
static bool upper(char c) { return c >= 'A' && c <= 'Z'; }

static bool session_ok(const char *s)
{
    size_t n = 0;

    while (digit(s[n]) || lower(s[n]))
        n++;
    return s[n] == 0 && n == MODEL_SESSION_LEN;
}

/* v or a, then 0-99 in its shortest form. */
bool model_rep_ok(const char *s)
{
    if ((s[0] != 'v' && s[0] != 'a') || !digit(s[1]))
        return false;
    return s[2] == 0 || (s[1] != '0' && digit(s[2]) && s[3] == 0);
}

bool model_hash_ok(const char *s)
{
    size_t n = 0;

    while (digit(s[n]) || (s[n] >= 'a' && s[n] <= 'f'))
        n++;
    return s[n] == 0 && n == MODEL_HASH_LEN;
}

/* One codec: a list (comma) or anything that XML or a quoted string would have to escape is not. */
bool model_codecs_ok(const char *s)
{
    size_t n = 0;

    while (n <= MODEL_CODECS_MAX &&
           (digit(s[n]) || lower(s[n]) || upper(s[n]) || s[n] == '.' || s[n] == '-' || s[n] == '_'))
        n++;
    return s[n] == 0 && n > 0 && n <= MODEL_CODECS_MAX;
}

/* --- life --- */

enum st model_new(const struct model_conf *conf, struct model **out)
{
    struct model *m;

    *out = NULL;
    if (!session_ok(conf->session) || conf->ast_s < 0 || conf->ast_s > INT64_C(1) << 33 ||
        conf->segment_us < SECOND_US / 10 || conf->segment_us > MODEL_LONGEST_US ||
        conf->chunk_us <= 0 || conf->chunk_us > conf->segment_us || conf->window_us <= 0 ||
        conf->window_us > MODEL_TIME_MAX_US || conf->segments_max > MODEL_SEGMENTS_MAX)
        return ST_EPROTO;
    m = calloc(1, sizeof *m);
    if (m == NULL)
        return ST_ENOMEM;
    OBJ_INIT(m, MODEL_MAGIC);
    m->conf = *conf;
    m->longest_us = conf->segment_us;
    memcpy(m->session, conf->session, MODEL_SESSION_LEN);
    m->conf.session = m->session;
    if (conf->segments_max == 0)
        m->conf.segments_max = MODEL_SEGMENTS_MAX;
    *out = m;
    return ST_OK;
}

static void period_free(struct model_period **pp)
{
    struct model_period *p = *pp;

    *pp = NULL;
    for (unsigned i = 0; i < p->n_reps; i++) {
        list_fini(&p->rep[i].segments);
        list_fini(&p->rep[i].parts);
    }
    free(p);
}

void model_free(struct model **mp)
{
    struct model *m = *mp;

    *mp = NULL;
    if (m == NULL)
        return;
    OBJ_FINI(m, MODEL_MAGIC);
    for (unsigned i = 0; i < m->n_periods; i++)
        period_free(&m->period[i]);
    free(m->period);
    free(m);
}

/* --- PERIOD --- */

bool model_period_empty(const struct model_period *p)
{
    for (unsigned i = 0; i < p->n_reps; i++)
        if (p->rep[i].segments.n > 0)
            return false;
    return true;
}

/* Where the media of the current Period ends: that of its video, if it has any. */
static int64_t next_start(const struct model *m)
{
    const struct model_period *p = model_current(m);
    int64_t at = m->floor_us;
    bool video = p != NULL && p->rep[0].video;

    for (unsigned i = 0; p != NULL && i < p->n_reps; i++) {
        const struct model_rep *r = &p->rep[i];

        /* NB: next, because a segment that has expired was there too */
        if (r->video == video && r->inited && r->next > r->number && model_us(r, r->end) > at)
            at = model_us(r, r->end);
    }
    return at;
}

static bool any_open(const struct model *m)
{
    const struct model_period *p = model_current(m);

    for (unsigned i = 0; p != NULL && i < p->n_reps; i++)
        if (open_segment(&p->rep[i]) != NULL)
            return true;
    return false;
}

static struct model_track *find_track(struct model *m, const char *name)
{
    for (unsigned i = 0; i < m->n_tracks; i++)
        if (strcmp(m->track[i].name, name) == 0)
            return &m->track[i];
    return NULL;
}

static enum st reps_ok(struct model *m, const struct model_rep_start *reps, size_t n)
{
    unsigned fresh = 0;

    if (n == 0)
        return ST_EPROTO;
    if (n > MODEL_TRACKS_MAX)
        return ST_ELIMIT;
    for (size_t i = 0; i < n; i++) {
        const struct model_track *t;

        if (!model_rep_ok(reps[i].name) || reps[i].pto < 0)
            return ST_EPROTO;
        if (reps[i].number > MODEL_NUMBER_MAX)
            return ST_ELIMIT;
        for (size_t j = 0; j < i; j++)
            if (strcmp(reps[i].name, reps[j].name) == 0)
                return ST_EPROTO;
        t = find_track(m, reps[i].name);
        if (t == NULL)
            fresh++;
        else if (t->used && reps[i].number <= t->last)
            return ST_EPROTO;
    }
    return m->n_tracks + fresh <= MODEL_TRACKS_MAX ? ST_OK : ST_ELIMIT;
}

static enum st period_ok(struct model *m, uint32_t k, int64_t start_us)
{
    if (m->ended || any_open(m) || (m->any && k <= m->last_k) || start_us < next_start(m))
        return ST_EPROTO;
    if (start_us > MODEL_TIME_MAX_US || m->n_periods >= MODEL_PERIODS_MAX)
        return ST_ELIMIT;
    return ST_OK;
}

static bool reserve_period(struct model *m)
{
    unsigned room = m->periods_room > 0 ? m->periods_room * 2 : PERIODS_FIRST;
    struct model_period **v;

    if (m->n_periods < m->periods_room)
        return true;
    v = realloc(m->period, room * sizeof(struct model_period *));
    if (v == NULL)
        return false;
    m->period = v;
    m->periods_room = room;
    return true;
}

/* v before a, then by number; so a document does not depend on the order of a JSON object. */
bool model_rep_before(const char *a, const char *b)
{
    if (a[0] != b[0])
        return a[0] == 'v';
    if (strlen(a) != strlen(b))
        return strlen(a) < strlen(b);
    return strcmp(a, b) < 0;
}

static void add_rep(struct model *m, struct model_period *p, const struct model_rep_start *from)
{
    struct model_track *t = find_track(m, from->name);
    unsigned at = p->n_reps++;
    struct model_rep *r;

    if (t == NULL) {
        t = &m->track[m->n_tracks++];
        memcpy(t->name, from->name, strlen(from->name) + 1);
    }
    for (; at > 0 && model_rep_before(from->name, p->rep[at - 1].name); at--)
        p->rep[at] = p->rep[at - 1];
    r = &p->rep[at];
    *r = (struct model_rep){ .video = from->name[0] == 'v',
                             .track = (unsigned)(t - m->track),
                             .pto = from->pto,
                             .number = from->number,
                             .next = from->number };
    memcpy(r->name, from->name, strlen(from->name) + 1);
}

/* The Periods before: no parts of the one before last any more, and one that stayed empty goes. */
static void tidy_before(struct model *m)
{
    struct model_period *p = m->n_periods > 0 ? m->period[m->n_periods - 1] : NULL;

    for (unsigned i = 0; p != NULL && i < p->n_reps; i++)
        p->rep[i].between = false;
    if (p != NULL && model_period_empty(p))
        period_free(&m->period[--m->n_periods]);
    if (m->n_periods < 2)
        return;
    p = m->period[m->n_periods - 2];
    for (unsigned i = 0; i < p->n_reps; i++)
        list_fini(&p->rep[i].parts);
}

enum st model_period(struct model *m, uint32_t k, int64_t start_us,
                     const struct model_rep_start *reps, size_t n_reps)
{
    struct model_period *p;
    enum st st;

    OBJ_CHECK(m, MODEL_MAGIC);
    st = period_ok(m, k, start_us);
    if (st == ST_OK)
        st = reps_ok(m, reps, n_reps);
    if (st != ST_OK)
        return st;
    if (!reserve_period(m))
        return ST_ENOMEM;
    p = calloc(1, sizeof *p + n_reps * sizeof p->rep[0]);
    if (p == NULL)
        return ST_ENOMEM;
    tidy_before(m);
    p->k = k;
    p->start_us = start_us;
    for (size_t i = 0; i < n_reps; i++)
        add_rep(m, p, &reps[i]);
    m->period[m->n_periods++] = p;
    m->any = true;
    m->last_k = k;
    m->floor_us = start_us;
    CHECK_SLOW(model_sane(m));
    return ST_OK;
}

/* --- INIT --- */

static enum st init_ok(const struct model_rep *r, const struct model_init *i)
{
    if (!model_codecs_ok(i->codecs) || !model_hash_ok(i->hash) || i->timescale == 0)
        return ST_EPROTO;
    if (i->timescale > MODEL_TIMESCALE_MAX || i->width > MODEL_DIMENSION_MAX ||
        i->height > MODEL_DIMENSION_MAX)
        return ST_ELIMIT;
    if (!r->video)
        return i->rate > 0 && i->rate <= 768000 && i->channels > 0 && i->channels <= 64 ? ST_OK
                                                                                        : ST_EPROTO;
    if (i->width == 0 || i->height == 0 || (i->sar_x == 0) != (i->sar_y == 0) ||
        (i->fps_num == 0) != (i->fps_den == 0))
        return ST_EPROTO;
    return i->fps_num / 1000 <= i->fps_den ? ST_OK : ST_EPROTO;
}

static bool init_same(const struct model_init *a, const struct model_init *b)
{
    return a->timescale == b->timescale && strcmp(a->codecs, b->codecs) == 0 &&
           strcmp(a->hash, b->hash) == 0 && a->width == b->width && a->height == b->height &&
           a->sar_x == b->sar_x && a->sar_y == b->sar_y && a->fps_num == b->fps_num &&
           a->fps_den == b->fps_den && a->rate == b->rate && a->channels == b->channels &&
           a->bandwidth_bps == b->bandwidth_bps;
}

enum st model_init(struct model *m, const char *rep, const struct model_init *init)
{
    struct model_rep *r;
    struct model_rep with = { 0 };
    int64_t off;
    enum st st;

    OBJ_CHECK(m, MODEL_MAGIC);
    if (m->ended)
        return ST_EPROTO;
    r = find_rep(m, rep);
    if (r == NULL)
        return ST_ENOENT;
    st = init_ok(r, init);
    if (st != ST_OK)
        return st;
    if (r->inited)
        return init_same(&r->init, init) ? ST_OK : ST_EPROTO;
    with.init.timescale = init->timescale;
    if (r->pto > model_ticks(&with, MODEL_TIME_MAX_US))
        return ST_ELIMIT;
    off = model_us(&with, r->pto) - m->floor_us; /* the current Period's start */
    if (off > PTO_SLACK_US || off < -PTO_SLACK_US)
        return ST_EPROTO;
    r->init = *init;
    memcpy(r->codecs, init->codecs, strlen(init->codecs) + 1);
    memcpy(r->hash, init->hash, strlen(init->hash) + 1);
    r->init.codecs = r->codecs;
    r->init.hash = r->hash;
    r->inited = true;
    /* the first frame of an audio rendition may straddle the start */
    r->end = r->pto - model_ticks(r, m->conf.segment_us);
    if (r->end < 0)
        r->end = 0;
    return ST_OK;
}

/* --- OPEN --- */

static enum st duration_ok(const struct model_rep *r, int64_t d)
{
    if (d < 0)
        return ST_EPROTO;
    return d <= model_ticks(r, MODEL_LONGEST_US) ? ST_OK : ST_ELIMIT;
}

/* A segment is, or is to be, that long. */
static void note_duration(struct model *m, const struct model_rep *r, int64_t d)
{
    int64_t us = model_us(r, d);

    if (us > m->longest_us)
        m->longest_us = us;
}

static enum st open_again(struct model *m, struct model_rep *r, struct model_segment *s, int64_t t,
                          int64_t d)
{
    if (t != s->t)
        return ST_EPROTO;
    if (d > 0 && (d < r->promise || t + d < r->reached))
        return ST_EPROTO;
    s->d = d;
    s->promised = d > 0;
    if (d > 0)
        r->promise = d;
    note_duration(m, r, d);
    return ST_OK;
}

/* Parts of segments that no playlist shows any more. */
static void trim_parts(struct model_rep *r)
{
    size_t n = 0;

    while (n < r->parts.n && model_part(r, n)->n + MODEL_PART_SEGMENTS < r->next)
        n++;
    list_drop(&r->parts, n);
}

enum st model_open(struct model *m, const char *rep, uint64_t n, int64_t t, int64_t d)
{
    struct model_track *track;
    struct model_segment *s;
    struct model_rep *r;
    enum st st;

    OBJ_CHECK(m, MODEL_MAGIC);
    if (m->ended)
        return ST_EPROTO;
    r = find_rep(m, rep);
    if (r == NULL)
        return ST_ENOENT;
    if (!r->inited)
        return ST_EPROTO;
    st = duration_ok(r, d);
    if (st != ST_OK)
        return st;
    s = open_segment(r);
    if (s != NULL && n == s->n)
        return open_again(m, r, s, t, d);
    if (n < r->next)
        return ST_ENOENT;
    if (s != NULL || n > r->next || r->stopped || t < r->end)
        return ST_EPROTO;
    if (t > model_ticks(r, MODEL_TIME_MAX_US - MODEL_LONGEST_US) || n > MODEL_NUMBER_MAX ||
        r->segments.n >= m->conf.segments_max)
        return ST_ELIMIT;
    if (!list_reserve(&r->segments, sizeof *s))
        return ST_ENOMEM;
    trim_parts(r);
    track = &m->track[r->track];
    s = list_push(&r->segments, sizeof *s);
    *s = (struct model_segment){
        .n = n, .msn = track->msn++, .t = t, .d = d, .open = true, .promised = d > 0
    };
    s->discontinuity = n == r->number && s->msn > 0;
    r->next = n + 1;
    r->reached = t;
    r->promise = d;
    note_duration(m, r, d);
    r->between = false;
    r->n_parts = 0;
    track->used = true;
    track->last = n;
    return ST_OK;
}

/* --- CHUNK --- */

enum st model_chunk(struct model *m, const char *rep, uint64_t n, int64_t t, int64_t d,
                    bool independent, size_t bytes)
{
    struct model_segment *s;
    struct model_part *p;
    struct model_rep *r;
    enum st st;

    OBJ_CHECK(m, MODEL_MAGIC);
    if (m->ended)
        return ST_EPROTO;
    r = find_rep(m, rep);
    s = r != NULL ? open_segment(r) : NULL;
    if (r == NULL || (n < r->next && (s == NULL || n != s->n)))
        return ST_ENOENT;
    if (s == NULL || n != s->n || d <= 0 || bytes == 0 || t < r->reached)
        return ST_EPROTO;
    st = duration_ok(r, d);
    if (st != ST_OK)
        return st;
    if (t - s->t > model_ticks(r, MODEL_LONGEST_US) - d || r->n_parts >= MODEL_PARTS_MAX ||
        bytes > MODEL_SEGMENT_BYTES_MAX - s->size)
        return ST_ELIMIT;
    if (!list_reserve(&r->parts, sizeof *p))
        return ST_ENOMEM;
    p = list_push(&r->parts, sizeof *p);
    *p = (struct model_part){
        .n = n, .t = t, .d = d, .at = s->size, .size = (uint32_t)bytes, .independent = independent
    };
    s->size += bytes;
    r->n_parts++;
    r->reached = t + d;
    if (s->d > 0 && r->reached > s->t + s->d) {
        s->d = 0; /* the media went past the promise: nobody may rely on it */
        s->promised = false;
    }
    return ST_OK;
}

/* --- CLOSE --- */

/* Bits per second, rounded up. What was cut short counts over half a target duration: players
 * take such a burst from their buffer, and one key frame alone would look like a flood. */
static uint32_t measure(const struct model *m, const struct model_rep *r,
                        const struct model_segment *s)
{
    int64_t least = model_ticks(r, m->conf.segment_us / 2);
    uint64_t d = (uint64_t)(s->d > least ? s->d : least);
    uint64_t bits = s->size * 8 * r->init.timescale;
    uint64_t bps = d > 0 ? (bits + d - 1) / d : UINT32_MAX;

    return bps < UINT32_MAX ? (uint32_t)bps : UINT32_MAX;
}

static void close_segment(struct model *m, struct model_rep *r, struct model_segment *s, int64_t d)
{
    struct model_track *track = &m->track[r->track];
    uint32_t bps;

    if (s->size == 0) {
        r->segments.n--;
        r->stopped = true;
        track->msn--;
        return;
    }
    s->d = d;
    s->open = false;
    r->end = s->t + d;
    if (d > r->longest)
        r->longest = d;
    note_duration(m, r, d);
    bps = measure(m, r, s);
    if (bps > r->peak_bps) {
        r->peak_bps = bps;
        track->bps = bps;
    }
}

enum st model_close(struct model *m, const char *rep, uint64_t n, int64_t d)
{
    struct model_segment *s;
    struct model_rep *r;
    enum st st;

    OBJ_CHECK(m, MODEL_MAGIC);
    if (m->ended)
        return ST_EPROTO;
    r = find_rep(m, rep);
    s = r != NULL ? open_segment(r) : NULL;
    if (r == NULL || (n < r->next && (s == NULL || n != s->n)))
        return ST_ENOENT;
    if (s == NULL || n != s->n)
        return ST_EPROTO;
    st = duration_ok(r, d);
    if (st != ST_OK)
        return st;
    if (s->t + d < r->reached)
        return ST_EPROTO;
    close_segment(m, r, s, d);
    r->between = !r->stopped;
    return ST_OK;
}

void model_cut(struct model *m)
{
    struct model_period *p;

    OBJ_CHECK(m, MODEL_MAGIC);
    p = m->n_periods > 0 ? m->period[m->n_periods - 1] : NULL;
    for (unsigned i = 0; p != NULL && i < p->n_reps; i++) {
        struct model_segment *s = open_segment(&p->rep[i]);

        if (s != NULL)
            close_segment(m, &p->rep[i], s, p->rep[i].reached - s->t);
        p->rep[i].between = false;
    }
}

/* --- read back --- */

enum st model_go_on(struct model *m, const char *rep, uint64_t msn)
{
    struct model_rep *r = find_rep(m, rep);
    struct model_track *track;

    CHECK(r != NULL && r->next == r->number);
    track = &m->track[r->track];
    if (msn < track->msn)
        return ST_EPROTO;
    track->msn = msn;
    return ST_OK;
}

void model_had_peak(struct model *m, const char *rep, uint32_t bps)
{
    struct model_rep *r = find_rep(m, rep);

    if (bps > r->peak_bps)
        r->peak_bps = m->track[r->track].bps = bps;
}

enum st model_had_longest(struct model *m, int64_t us)
{
    if (us < 0 || us > MODEL_LONGEST_US)
        return ST_ELIMIT;
    if (us > m->longest_us)
        m->longest_us = us;
    return ST_OK;
}

/* --- the end of things --- */

static size_t expire_rep(struct model_rep *r, int64_t before_us)
{
    size_t n = 0, parts = 0;

    for (; n < r->segments.n; n++) {
        const struct model_segment *s = model_segment(r, n);

        if (s->open || model_us(r, s->t + s->d) > before_us)
            break;
    }
    if (n == 0)
        return 0;
    while (parts < r->parts.n && model_part(r, parts)->n <= model_segment(r, n - 1)->n)
        parts++;
    list_drop(&r->segments, n);
    list_drop(&r->parts, parts);
    return n;
}

size_t model_expire(struct model *m, int64_t before_us)
{
    unsigned kept = 0;
    size_t n = 0;

    OBJ_CHECK(m, MODEL_MAGIC);
    for (unsigned i = 0; i < m->n_periods; i++) {
        struct model_period *p = m->period[i];

        for (unsigned j = 0; j < p->n_reps; j++)
            n += expire_rep(&p->rep[j], before_us);
        if (i + 1 < m->n_periods && model_period_empty(p))
            period_free(&p);
        else
            m->period[kept++] = p;
    }
    m->n_periods = kept;
    CHECK_SLOW(model_sane(m));
    return n;
}

void model_end(struct model *m)
{
    model_cut(m);
    m->ended = true;
    CHECK_SLOW(model_sane(m));
}
