/* The one rule that makes a resume possible: a chunk goes out before the frame that ends it is
 * looked at in any other way. So the state in a chunk is the state after exactly the frames that
 * are in it and in those before, and whoever starts there with that frame does what was done here.
 *
 *     frame -> timing (where is it?) -> cut (what ends before it?) -> take (it is part of what?)
 *
 * Audio knows its durations: there a chunk goes out with the frame that fills it. */
#include "encode/timeline.h"

#include <stdlib.h>
#include <string.h>

#include "core/check.h"
#include "encode/timeline_int.h"

enum { TIMELINE_MAGIC = 0x71e11e5a };
enum {
    CTS_MS_MAX = 10 * 1000,
    FRAME_GUESS = 40 * TICKS_PER_MS, /* when there was only one */
    AUDIO_SEGMENT_MAX = TL_SEGMENT_MS_MAX / 2 * TICKS_PER_MS,
    EIGHTHS = 8,
};

const char *const tl_rep_name[TL_REPS] = { "v0", "a0" };

/* Which cell of `ms` the time is in, `rel` ticks after the first cell began; `early` eighths of a
 * cell sooner. */
static int64_t cell_of(int64_t rel, int64_t ms, int64_t timescale, int early)
{
    int64_t cell = ms * timescale;

    return tl_div_floor(rel * EIGHTHS * 1000 + early * cell, EIGHTHS * cell);
}

/* Where a cell begins, in ticks after the first one. */
static int64_t cell_begin(int64_t cell, int64_t ms, int64_t timescale, int early)
{
    return tl_div_ceil((cell * EIGHTHS - early) * ms * timescale, EIGHTHS * 1000);
}

/* The first moment in ticks of `to` that is not before t. */
static int64_t rescale(int64_t t, int64_t from, int64_t to)
{
    int64_t s = tl_div_floor(t, from);

    return s * to + tl_div_ceil((t - s * from) * to, from);
}

static int64_t timescale_of(const struct timeline *tl, const struct track *tr)
{
    return tl->period.init[tr->rep]->timescale;
}

static int64_t segment_cell(const struct timeline *tl, const struct track *tr, int64_t t)
{
    return cell_of(t - tl_period_pto(&tl->period, tr->rep), tl->conf.segment_ms,
                   timescale_of(tl, tr), tr->rep == TL_VIDEO);
}

/* The first time that is in the segment cell after the one of t. */
static int64_t next_segment_t(const struct timeline *tl, const struct track *tr, int64_t t)
{
    return tl_period_pto(&tl->period, tr->rep) +
           cell_begin(segment_cell(tl, tr, t) + 1, tl->conf.segment_ms, timescale_of(tl, tr),
                      tr->rep == TL_VIDEO);
}

static int64_t chunk_cell(const struct timeline *tl, const struct track *tr, int64_t t)
{
    return cell_of(t - tr->segment_t, tl->conf.chunk_ms, timescale_of(tl, tr), tr->rep == TL_VIDEO);
}

/* --- out --- */

static void announce(struct timeline *tl)
{
    tl_move_period(tl);
    tl->announced = true;
    tl->period.said_tag = tl->tag;
    tl->conf.k = tl->period.k + 1;
    tl->counts.periods++;
    tl->ops->period(tl->ctx, &tl->period);
}

/* The duration that the segment which begins at t will have, if the GOPs stay as they are. */
static int64_t promise(const struct timeline *tl, const struct track *v, int64_t t)
{
    int64_t left = next_segment_t(tl, v, t) - t, span;

    if (v->equal < REGULAR_AFTER)
        return v->trusted ? tl_div_ceil(left, v->gop) * v->gop : 0;
    span = v->idr_t - v->since_t; /* of all the equal ones: their mean is exact */
    return tl_div_round(tl_div_ceil(left * v->equal, span) * span, v->equal);
}

/* Sound goes by the segments of pictures. It looks at them only where a chunk of it goes out, and
 * what it has seen is in the chunk's state: so another worker goes by the same. */
static void look_at_pictures(const struct timeline *tl, struct track *a)
{
    const struct track *v = &tl->track[TL_VIDEO];
    bool promised = v->in_segment && v->promised > 0;

    a->pictures_end = promised ? v->segment_t + v->promised : 0;
    a->pictures_d = promised ? promise(tl, v, a->pictures_end) : 0;
}

/* The chunk at hand goes out. */
static void flush(struct timeline *tl, struct track *tr, uint64_t next_tag)
{
    const struct init *init = tl->period.init[tr->rep];
    struct tl_chunk c = { .rep = tr->rep, .next_tag = next_tag };

    if (tr->count == 0)
        return;
    if (!tl->announced)
        announce(tl); /* it may move all that is looked at below */
    c.n = tr->n;
    c.cmaf = (struct cmaf_chunk){ .track = init->track,
                                  .first = !tr->opened,
                                  .tfdt = tr->t,
                                  .ntp = cmaf_ntp(tl->conf.ast_s, tr->t, init->timescale),
                                  .samples = tr->samples,
                                  .count = tr->count,
                                  .sample_duration = init->frame_ticks };
    if (!tr->opened)
        tl->ops->open(tl->ctx, tr->rep, tr->n, tr->segment_t, tr->promised);
    tr->opened = true;
    c.cmaf.sequence = ++tr->sequence;
    for (size_t i = 0; i < tr->count; i++)
        c.d += tr->samples[i].duration;
    c.sap = tr->samples[0].sync;
    c.media = tr->media.data;
    c.media_bytes = tr->media.len;
    tr->end = tr->t + c.d;
    if (tr->rep == TL_AUDIO)
        look_at_pictures(tl, tr);
    c.state = tl_state_text(tl, tr, tr->end, next_tag);
    tl->ops->chunk(tl->ctx, &c);
    tl->counts.media_ms = tl_div_floor(tr->end * 1000, init->timescale);
    tl_empty_chunk(tr);
}

static void close_segment(struct timeline *tl, struct track *tr)
{
    if (tr->in_segment && tr->opened)
        tl->ops->close(tl->ctx, tr->rep, tr->n, tr->end - tr->segment_t);
    else if (tr->in_segment)
        tr->n--; /* nobody has heard of it */
    tr->in_segment = false;
    tr->opened = false;
}

/* --- Periods --- */

static void leave_period(struct timeline *tl)
{
    bool has_video = tl->period.init[TL_VIDEO] != NULL;

    for (int i = 0; i < TL_REPS; i++) {
        struct track *tr = &tl->track[i];

        close_segment(tl, tr);
        tl_empty_chunk(tr);
        tr->started = false;
        if (tl->announced && tr->n >= tl->conf.number)
            tl->conf.number = tr->n + 1;
        if (tl->period.init[i] != NULL && tr->sequence > 0) {
            int64_t end_ms = tl_end_ms(tr->rep, has_video, tr->end, timescale_of(tl, tr));

            if (end_ms > tl->conf.earliest_ms)
                tl->conf.earliest_ms = end_ms;
        }
    }
    for (int i = 0; i < TL_REPS; i++)
        init_unref(&tl->period.init[i]);
    tl->running = false;
    tl->announced = false;
    tl->idr_ms = TL_NONE;
    tl->audio_since_ms = TL_NONE;
}

/* Ends the Period with all that is in it; next_t: when the next video frame comes, or TL_NONE. */
static void finish_period(struct timeline *tl, int64_t next_t)
{
    struct track *v = &tl->track[TL_VIDEO], *a = &tl->track[TL_AUDIO];

    if (!tl->running)
        return;
    if (v->count > 0) {
        int64_t guess = v->dur > 0 ? v->dur : FRAME_GUESS;

        v->samples[v->count - 1].duration = (uint32_t)(next_t != TL_NONE ? next_t - v->dts : guess);
        flush(tl, v, v->last_tag + 1);
    }
    flush(tl, a, a->last_tag + 1);
    leave_period(tl);
}

/* --- resume, checked with the first frame --- */

static bool fits(const struct timeline *tl, uint64_t tag)
{
    for (int i = 0; i < TL_REPS; i++) {
        const struct track *tr = &tl->track[i];

        if (tl->resume_hash[i][0] == 0)
            continue;
        if (tr->latest == NULL || strcmp(tr->latest->hash, tl->resume_hash[i]) != 0)
            return false;
        if (tag > tr->next_tag)
            return false;
    }
    return true;
}

static void settle_resume(struct timeline *tl, uint64_t tag)
{
    tl->resumed = false;
    if (!fits(tl, tag)) {
        leave_period(tl);
        return;
    }
    for (int i = 0; i < TL_REPS; i++)
        if (tl->resume_hash[i][0] != 0)
            tl->period.init[i] = init_ref(tl->track[i].latest);
}

/* --- video --- */

static void change_promise(struct timeline *tl, struct track *v, int64_t d)
{
    v->promised = d;
    if (v->opened)
        tl->ops->open(tl->ctx, v->rep, v->n, v->segment_t, d);
}

/* An IDR inside a segment whose duration was promised before the first GOP was known. */
static void promise_anew(struct timeline *tl, struct track *v, int64_t t)
{
    int64_t d = t - v->segment_t + promise(tl, v, t);

    if (v->promised > 0 && v->trusted && v->equal < REGULAR_AFTER && d > v->promised)
        change_promise(tl, v, d);
}

static void take_idr(struct timeline *tl, struct track *v, const struct tl_frame *f, int64_t t)
{
    int64_t half = (v->dur > 0 ? v->dur : FRAME_GUESS) / 2;

    tl->idr_ms = f->ms;
    if (v->idr_t != TL_NONE) {
        int64_t gop = t - v->idr_t;

        if (v->equal == 0 || llabs(gop * v->equal - (v->idr_t - v->since_t)) > half * v->equal) {
            v->trusted = v->trusted && v->equal == 0;
            v->equal = 0;
            v->since_t = v->idr_t;
        }
        if (v->equal == TL_EQUAL_MAX) { /* the newer half says it as well */
            v->since_t += (v->idr_t - v->since_t) / 2;
            v->equal /= 2;
        }
        v->equal++;
        v->gop = gop;
    }
    v->idr_t = t;
    if (v->in_segment) {
        promise_anew(tl, v, t);
        return;
    }
    v->in_segment = true;
    v->n++;
    v->segment_t = t;
    v->promised = promise(tl, v, t);
}

/* The IDR that was to end the segment has not come. */
static void promise_more(struct timeline *tl, struct track *v, int64_t t)
{
    int64_t half = (v->dur > 0 ? v->dur : FRAME_GUESS) / 2;
    int64_t over = t - v->segment_t - v->promised;

    if (v->promised == 0 || over < half)
        return;
    change_promise(tl, v, v->promised + v->gop * (over / v->gop + 1));
}

static enum st take_sample(struct track *tr, const struct tl_frame *f, struct cmaf_sample s,
                           int64_t t)
{
    if (tr->count == 0)
        tr->t = t;
    s.size_bytes = (uint32_t)f->n;
    buf_add(&tr->media, f->data, f->n);
    tr->samples[tr->count++] = s;
    tr->last_tag = f->tag;
    return tr->media.st;
}

static enum st take_video(struct timeline *tl, struct track *v, const struct tl_frame *f, int64_t t)
{
    if (f->sync)
        take_idr(tl, v, f, t);
    else
        promise_more(tl, v, t);
    if (v->count == 0)
        v->cell = chunk_cell(tl, v, t);
    if (v->started)
        v->dur = t - v->dts;
    v->started = true;
    v->dts = t;
    return take_sample(
        v, f,
        (struct cmaf_sample){
            .cts = (int32_t)((f->ms + f->cts_ms + tl->period.off_ms) * TICKS_PER_MS - t),
            .sync = f->sync,
            .disposable = f->disposable },
        t);
}

/* What ends before a frame at t. Returns where that is now: an announcement moves the Period. */
static int64_t cut_video(struct timeline *tl, struct track *v, const struct tl_frame *f, int64_t t)
{
    int64_t off_ms = tl->period.off_ms;
    bool segment = f->sync && segment_cell(tl, v, t) != segment_cell(tl, v, v->segment_t);

    if (v->count > 0)
        v->samples[v->count - 1].duration = (uint32_t)(t - v->dts);
    if (segment || (chunk_cell(tl, v, t) != v->cell && !tl_held_back(tl, f)) ||
        v->count == TL_CHUNK_SAMPLES_MAX || f->n > TL_CHUNK_BYTES_MAX - v->media.len)
        flush(tl, v, f->tag);
    if (segment)
        close_segment(tl, v);
    return t + (tl->period.off_ms - off_ms) * TICKS_PER_MS;
}

/* Is it time to give up waiting for an IDR? */
static bool waited(struct timeline *tl, int64_t ms)
{
    if (tl->idr_ms == TL_NONE)
        tl->idr_ms = ms;
    return ms - tl->idr_ms > TL_IDR_WAIT_MS;
}

static enum st drop(struct timeline *tl)
{
    tl->counts.dropped++;
    return ST_OK;
}

static enum st begin_video(struct timeline *tl, struct track *v, const struct tl_frame *f)
{
    if (!tl->running) {
        if (!f->sync || v->latest == NULL)
            return v->latest != NULL && waited(tl, f->ms) ? ST_ELIMIT : drop(tl);
        tl->idr_ms = f->ms;
        if (!tl_begin_period(tl, f, true))
            return drop(tl);
    } else if (f->tag != tl->period.first_tag || !f->sync) {
        return waited(tl, f->ms) ? ST_ELIMIT : drop(tl); /* resumed, and not there yet */
    }
    v->shift = (int64_t)f->cts_ms * TICKS_PER_MS;
    return take_video(tl, v, f, (f->ms + f->cts_ms + tl->period.off_ms) * TICKS_PER_MS);
}

/* An IDR in a running Period: OK to go on, MORE when the Period has ended before it. */
static enum st change_period(struct timeline *tl, const struct tl_frame *f, int64_t t)
{
    int64_t drift = tl_drift_ms(tl, f->ms);
    bool lead = tl->track[TL_VIDEO].gop > 0 && -drift * TICKS_PER_MS > tl->track[TL_VIDEO].gop;

    if (!tl->announced &&
        tl_held_back(tl, f)) { /* nobody has heard of it, and this is nearer to what is live */
        leave_period(tl);
        return ST_MORE;
    }
    if (!tl_tracks_changed(tl, f->ms) && drift <= TL_DRIFT_MS && !lead)
        return ST_OK;
    finish_period(tl, t);
    return ST_MORE;
}

enum st timeline_video(struct timeline *tl, const struct tl_frame *in)
{
    struct track *v = &tl->track[TL_VIDEO];
    struct tl_frame f = *in;
    int64_t t;

    OBJ_CHECK(tl, TIMELINE_MAGIC);
    CHECK(f.n <= TL_CHUNK_BYTES_MAX && llabs(f.ms) <= INT64_C(1) << TL_MS_BITS);
    tl->tag = f.tag;
    if (tl->resumed)
        settle_resume(tl, f.tag);
    if (f.tag < v->next_tag)
        return ST_OK;
    if (f.cts_ms > CTS_MS_MAX || f.cts_ms < -CTS_MS_MAX) {
        f.cts_ms = 0;
        tl->counts.repaired++;
    }
    if (tl->running && tl->period.init[TL_VIDEO] == NULL) { /* video comes to what was audio only */
        if (!f.sync || v->latest == NULL)
            return drop(tl);
        finish_period(tl, TL_NONE);
    }
    if (!tl->running || !v->started)
        return begin_video(tl, v, &f);
    t = (f.ms + tl->period.off_ms) * TICKS_PER_MS + v->shift;
    if (t - v->dts > TL_JUMP_MS * TICKS_PER_MS || v->dts - t > TL_BACKSTEP_MS * TICKS_PER_MS) {
        finish_period(tl, TL_NONE);
        return begin_video(tl, v, &f);
    }
    if (t <= v->dts) {
        t = v->dts + 1;
        tl->counts.repaired++;
    }
    if (f.sync && change_period(tl, &f, t) == ST_MORE)
        return begin_video(tl, v, &f);
    if (!f.sync && waited(tl, f.ms))
        return ST_ELIMIT;
    if (!tl_same_init(v->latest, tl->period.init[TL_VIDEO]))
        return drop(tl); /* made for another configuration: useless before its IDR */
    return take_video(tl, v, &f, cut_video(tl, v, &f, t));
}

/* --- audio --- */

/* The time of a frame in samples, as its milliseconds say. */
static int64_t audio_t(const struct timeline *tl, int64_t ms)
{
    return tl_div_round((ms + tl->period.off_ms) * tl->period.init[TL_AUDIO]->timescale, 1000);
}

static bool begin_audio_only(struct timeline *tl, const struct tl_frame *f)
{
    if (tl->audio_since_ms == TL_NONE)
        tl->audio_since_ms = f->ms;
    return tl->track[TL_VIDEO].latest == NULL && f->ms - tl->audio_since_ms >= TL_AUDIO_ONLY_MS &&
           tl_begin_period(tl, f, false);
}

/* Without video any frame may begin a Period. False: not this one. */
static bool change_audio_only(struct timeline *tl, const struct tl_frame *f)
{
    const struct track *a = &tl->track[TL_AUDIO];
    int64_t off = a->started ? audio_t(tl, f->ms) - a->next : 0;
    int64_t second = timescale_of(tl, a);

    if (tl_same_init(a->latest, tl->period.init[TL_AUDIO]) &&
        tl_drift_ms(tl, f->ms) <= TL_DRIFT_MS && off <= TL_JUMP_MS / 1000 * second &&
        off >= -TL_BACKSTEP_MS / 1000 * second && (tl->announced || !tl_held_back(tl, f)))
        return true;
    if (tl->announced)
        finish_period(tl, TL_NONE);
    else
        leave_period(tl);
    return tl_begin_period(tl, f, false);
}

/* Where the counter and the clock part. False: this frame is not to be had. */
static bool time_audio(struct timeline *tl, struct track *a, const struct tl_frame *f)
{
    int64_t t = audio_t(tl, f->ms), rate = timescale_of(tl, a), off = t - a->next;

    if (!a->started) {
        if (t < tl_period_pto(&tl->period, TL_AUDIO))
            return false;
        a->started = true;
        a->next = t;
        return true;
    }
    if (off * 1000 < -TL_AUDIO_OFF_MS * rate)
        a->ahead = true;
    else if (off >= 0)
        a->ahead = false;
    if (a->ahead || off > TL_JUMP_MS / 1000 * rate)
        return false;
    if (off * 1000 > TL_AUDIO_OFF_MS * rate) {
        flush(tl, a, f->tag);
        a->next = audio_t(tl, f->ms);
        tl->counts.repaired++;
    }
    return true;
}

/* Where the first segment of pictures ends; 0: it is not promised. */
static int64_t first_pictures_end(const struct timeline *tl)
{
    int64_t t = tl_period_pto(&tl->period, TL_VIDEO), gop = tl->period.gop;
    int64_t left = next_segment_t(tl, &tl->track[TL_VIDEO], t) - t;

    return gop > 0 ? t + tl_div_ceil(left, gop) * gop : 0;
}

/* Up to the next end of a segment of pictures, if that can be told, but not of what has nearly ended.
 * A player that waits with its next manifest for the end of one then waits with it for both. */
static int64_t audio_segment_end(const struct timeline *tl, const struct track *a)
{
    int64_t rate = timescale_of(tl, a), quarter_ms = tl->conf.segment_ms / 4;
    int64_t by_clock = next_segment_t(tl, a, a->next + quarter_ms * rate / 1000);
    int64_t end = a->pictures_end, d = a->pictures_d, least;

    if (tl->period.init[TL_VIDEO] == NULL)
        return by_clock;
    if (end == TL_NONE)
        end = first_pictures_end(tl);
    least = rescale(a->next, rate, INIT_VIDEO_TIMESCALE) + quarter_ms * TICKS_PER_MS;
    if (end > 0 && end < least && d > 0)
        end += tl_div_ceil(least - end, d) * d;
    return end >= least && end - least <= AUDIO_SEGMENT_MAX
               ? rescale(end, INIT_VIDEO_TIMESCALE, rate)
               : by_clock;
}

static void begin_audio_segment(struct timeline *tl, struct track *a)
{
    int64_t frame = tl->period.init[TL_AUDIO]->frame_ticks;

    a->in_segment = true;
    a->n++;
    a->segment_t = a->next;
    a->promised = tl_div_ceil(audio_segment_end(tl, a) - a->next, frame) * frame;
}

static bool audio_segment_is_over(const struct track *a)
{
    return a->next - a->segment_t >= a->promised;
}

static enum st take_audio(struct timeline *tl, struct track *a, const struct tl_frame *f)
{
    uint32_t frame = tl->period.init[TL_AUDIO]->frame_ticks;
    int64_t cell;
    enum st st;

    if (a->in_segment && audio_segment_is_over(a) &&
        !tl_held_back(tl, f)) { /* a gap, or it was held back */
        flush(tl, a, f->tag);
        close_segment(tl, a);
    }
    if (!a->in_segment)
        begin_audio_segment(tl, a);
    cell = chunk_cell(tl, a, a->next);
    st = take_sample(a, f, (struct cmaf_sample){ .duration = frame, .sync = true }, a->next);
    if (st != ST_OK)
        return st;
    a->next += frame;
    if (tl_held_back(tl, f) && a->count < TL_CHUNK_SAMPLES_MAX)
        return ST_OK;
    if (audio_segment_is_over(a)) {
        flush(tl, a, f->tag + 1);
        close_segment(tl, a);
    } else if (chunk_cell(tl, a, a->next) != cell || a->count == TL_CHUNK_SAMPLES_MAX) {
        flush(tl, a, f->tag + 1);
    }
    return ST_OK;
}

enum st timeline_audio(struct timeline *tl, const struct tl_frame *f)
{
    struct track *a = &tl->track[TL_AUDIO];

    OBJ_CHECK(tl, TIMELINE_MAGIC);
    CHECK(f->n <= TL_CHUNK_BYTES_MAX && llabs(f->ms) <= INT64_C(1) << TL_MS_BITS);
    tl->tag = f->tag;
    if (tl->resumed)
        settle_resume(tl, f->tag);
    if (f->tag < a->next_tag)
        return ST_OK;
    a->last_ms = f->ms;
    if (a->latest == NULL)
        return drop(tl);
    if (!tl->running && !begin_audio_only(tl, f))
        return tl->track[TL_VIDEO].latest != NULL && waited(tl, f->ms) ? ST_ELIMIT : drop(tl);
    if (tl->period.init[TL_VIDEO] == NULL) {
        if (!change_audio_only(tl, f))
            return drop(tl);
    } else if (waited(tl, f->ms)) {
        return ST_ELIMIT;
    }
    if (!tl_same_init(a->latest, tl->period.init[TL_AUDIO]) || f->tag < tl->period.first_tag ||
        !time_audio(tl, a, f))
        return drop(tl);
    if (f->n > TL_CHUNK_BYTES_MAX - a->media.len)
        flush(tl, a, f->tag);
    return take_audio(tl, a, f);
}

/* --- the rest --- */

void timeline_config(struct timeline *tl, struct init *init)
{
    enum tl_rep rep = init->video ? TL_VIDEO : TL_AUDIO;
    struct track *tr = &tl->track[rep];

    OBJ_CHECK(tl, TIMELINE_MAGIC);
    if (tl_same_init(tr->latest, init))
        return;
    init_unref(&tr->latest);
    tr->latest = init_ref(init);
    /* In time for the Period that has not been announced yet? */
    if (tl->running && !tl->announced && !tl->resumed && rep == TL_AUDIO &&
        tl->period.init[rep] == NULL)
        tl->period.init[rep] = init_ref(init);
}

void timeline_anchor(struct timeline *tl, int64_t anchor_us)
{
    int64_t off_ms = tl_div_round(anchor_us, 1000) - tl->conf.ast_s * 1000;

    OBJ_CHECK(tl, TIMELINE_MAGIC);
    if (llabs(off_ms) <= INT64_C(1) << TL_MS_BITS)
        tl->off_ms = off_ms;
}

void timeline_discontinuity(struct timeline *tl, uint64_t tag)
{
    OBJ_CHECK(tl, TIMELINE_MAGIC);
    if (tl->running && tag <= tl->period.first_tag)
        return; /* the one that this Period began with, heard again after a resume */
    tl->resumed = false;
    leave_period(tl);
}

void timeline_end(struct timeline *tl)
{
    OBJ_CHECK(tl, TIMELINE_MAGIC);
    if (tl->resumed)
        settle_resume(tl, UINT64_MAX);
    finish_period(tl, TL_NONE);
}

struct timeline *timeline_new(const struct timeline_conf *conf, const struct timeline_ops *ops,
                              void *ctx)
{
    struct timeline *tl = calloc(1, sizeof *tl);

    CHECK(conf->segment_ms > 0 && conf->segment_ms <= TL_SEGMENT_MS_MAX && conf->chunk_ms > 0 &&
          conf->chunk_ms <= conf->segment_ms && conf->earliest_ms >= 0);
    if (tl == NULL)
        return NULL;
    OBJ_INIT(tl, TIMELINE_MAGIC);
    tl->conf = *conf;
    tl->ops = ops;
    tl->ctx = ctx;
    tl->idr_ms = TL_NONE;
    tl->audio_since_ms = TL_NONE;
    for (int i = 0; i < TL_REPS; i++) {
        tl->track[i].rep = (enum tl_rep)i;
        tl->track[i].trusted = true;
        tl->track[i].last_ms = TL_NONE;
        buf_init(&tl->track[i].media, TL_CHUNK_BYTES_MAX);
    }
    return tl;
}

void timeline_free(struct timeline **tp)
{
    struct timeline *tl = *tp;

    *tp = NULL;
    if (tl == NULL)
        return;
    OBJ_FINI(tl, TIMELINE_MAGIC);
    for (int i = 0; i < TL_REPS; i++) {
        buf_fini(&tl->track[i].media);
        init_unref(&tl->track[i].latest);
        init_unref(&tl->period.init[i]);
    }
    free(tl);
}

const struct timeline_counts *timeline_counts(const struct timeline *tl) { return &tl->counts; }
