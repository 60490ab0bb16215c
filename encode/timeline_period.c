/* Where a Period stands: from when on it can begin, by which anchor, and what is taken for granted in
 * it. Until it is announced all of that may still change. */
#include <string.h>

#include "core/check.h"
#include "encode/timeline_int.h"

enum {
    AUDIO_OVER = 2 * 1024, /* samples that may reach over the end of a Period */
};

int64_t tl_period_pto(const struct tl_period *p, enum tl_rep rep)
{
    return tl_div_round(p->start_ms * p->init[rep]->timescale, 1000);
}

/* By how much a Period that begins there would lie before the end of the last one, as far as to
 * wait for it makes sense. */
static int64_t early_ms(const struct timeline *tl, int64_t start_ms)
{
    int64_t early = tl->conf.earliest_ms - start_ms;

    return early > TL_DRIFT_MS && early <= TL_IDR_WAIT_MS ? early : 0;
}

/* The Period that is not announced yet, if it went by the anchor in force. Only ever earlier. */
static int64_t true_start_ms(const struct timeline *tl)
{
    int64_t fell = tl->period.off_ms - tl->off_ms;

    return fell > 0 ? tl->period.start_ms - fell : tl->period.start_ms;
}

/* Not announced: is it not yet time to? A hurry may pause for a moment; only where the Period could
 * begin anew it is not waited for. */
bool tl_held_back(struct timeline *tl, const struct tl_frame *f)
{
    int64_t span = f->ms - tl->look_ms, fell = tl->look_off - tl->off_ms;
    int64_t enough = tl->hurried && !f->sync ? TL_HURRY_MS : tl->conf.chunk_ms / 2;

    if (tl->announced) /* after a resume a rendition may still be where it was not */
        return f->tag < tl->period.said_tag;
    if (span >= enough) {
        tl->hurried = 2 * fell >= span;
        tl->look_ms = f->ms;
        tl->look_off = tl->off_ms;
    }
    return tl->hurried || early_ms(tl, true_start_ms(tl)) > 0;
}

/* Puts a start that is not to be waited for where it may be. */
static void set_start(struct timeline *tl, int64_t start_ms)
{
    struct tl_period *p = &tl->period;
    int64_t by_time;

    if (start_ms < tl->conf.earliest_ms)
        start_ms = tl->conf.earliest_ms;
    p->off_ms += start_ms - p->start_ms;
    p->start_ms = start_ms;
    by_time = start_ms / tl->conf.segment_ms + 2 * p->k;
    p->number = by_time > tl->conf.number ? by_time : tl->conf.number;
}

/* To where it is by the anchor in force, with all that has been taken. */
void tl_move_period(struct timeline *tl)
{
    struct tl_period was = tl->period;

    set_start(tl, true_start_ms(tl));
    for (int i = 0; i < TL_REPS; i++) {
        struct track *tr = &tl->track[i];
        int64_t by;

        if (was.init[i] == NULL)
            continue;
        by = tl_period_pto(&tl->period, tr->rep) - tl_period_pto(&was, tr->rep);
        tr->n += tl->period.number - was.number;
        tr->t += by;
        tr->segment_t += by;
        tr->dts += by;
        tr->next += by;
        tr->idr_t += tr->idr_t != TL_NONE ? by : 0;
        tr->since_t += tr->since_t != TL_NONE ? by : 0;
        if (tr->rep == TL_AUDIO && tr->promised < tr->next - tr->segment_t)
            tr->promised = tr->next - tr->segment_t;
    }
}

void tl_empty_chunk(struct track *tr)
{
    tr->count = 0;
    buf_recycle(&tr->media);
}

void tl_track_begin(struct timeline *tl, struct track *tr)
{
    tl_empty_chunk(tr);
    tr->started = false;
    tr->in_segment = false;
    tr->opened = false;
    tr->n = tl->period.number - 1;
    tr->sequence = 0;
    tr->end = 0;
    tr->promised = 0;
    tr->dur = 0;
    tr->idr_t = TL_NONE;
    tr->since_t = TL_NONE;
    tr->gop = tl->period.gop;
    tr->trusted = tr->gop > 0;
    tr->equal = 0;
    tr->ahead = false;
    tr->pictures_end = TL_NONE;
    tr->pictures_d = 0;
}

int64_t tl_end_ms(enum tl_rep rep, bool has_video, int64_t end, int64_t timescale)
{
    if (rep == TL_AUDIO && has_video)
        end -= end > AUDIO_OVER ? AUDIO_OVER : end;
    return tl_div_ceil(end * 1000, timescale);
}

bool tl_audio_present(const struct timeline *tl, int64_t ms)
{
    const struct track *a = &tl->track[TL_AUDIO];

    return a->latest != NULL && (a->last_ms == TL_NONE || ms - a->last_ms <= TL_AUDIO_GONE_MS);
}

bool tl_same_init(const struct init *a, const struct init *b)
{
    return (a == NULL) == (b == NULL) && (a == NULL || strcmp(a->hash, b->hash) == 0);
}

/* What the GOPs of the next Period are taken for. */
static int64_t expected_gop(const struct timeline *tl, const struct track *v)
{
    if (v->equal >= REGULAR_AFTER)
        return tl_div_round(v->idr_t - v->since_t, v->equal);
    if (!v->trusted)
        return 0;
    return v->gop > 0 ? v->gop : tl->conf.segment_ms * TICKS_PER_MS;
}

/* False: it would begin before the last one ended. */
bool tl_begin_period(struct timeline *tl, const struct tl_frame *f, bool video)
{
    int64_t start_ms = f->ms + (video ? f->cts_ms : 0) + tl->off_ms;
    struct tl_period *p = &tl->period;

    if (early_ms(tl, start_ms) > 0)
        return false;
    p->k = tl->conf.k;
    p->off_ms = tl->off_ms;
    p->start_ms = start_ms;
    p->gop = expected_gop(tl, &tl->track[TL_VIDEO]);
    set_start(tl, start_ms);
    p->first_tag = f->tag;
    if (video)
        p->init[TL_VIDEO] = init_ref(tl->track[TL_VIDEO].latest);
    if (!video || tl_audio_present(tl, f->ms))
        p->init[TL_AUDIO] = init_ref(tl->track[TL_AUDIO].latest);
    if (tl->track[TL_AUDIO].last_ms ==
        TL_NONE) /* configured, it counts as there until it fails to come */
        tl->track[TL_AUDIO].last_ms = f->ms;
    tl->running = true;
    tl->announced = false;
    tl->hurried = false;
    tl->look_ms = f->ms;
    tl->look_off = tl->off_ms;
    for (int i = 0; i < TL_REPS; i++)
        tl_track_begin(tl, &tl->track[i]);
    return true;
}

/* At an IDR: is a new Period due because of what is being sent? */
bool tl_tracks_changed(const struct timeline *tl, int64_t ms)
{
    const struct track *t = tl->track;
    const struct init *audio = tl_audio_present(tl, ms) ? t[TL_AUDIO].latest : NULL;

    return !tl_same_init(t[TL_VIDEO].latest, tl->period.init[TL_VIDEO]) ||
           !tl_same_init(audio, tl->period.init[TL_AUDIO]);
}

/* How much later than the Period says the media comes by now; 0 while nothing may be done. */
int64_t tl_drift_ms(const struct timeline *tl, int64_t ms)
{
    if (ms + tl->period.off_ms - tl->period.start_ms < TL_DRIFT_EVERY_MS)
        return 0;
    return tl->off_ms - tl->period.off_ms;
}
