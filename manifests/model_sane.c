#include <string.h>

#include "core/check.h"
#include "manifests/model_int.h"

static bool segments_sane(const struct model *m, const struct model_rep *r, bool current)
{
    int64_t end = 0;

    for (size_t i = 0; i < r->segments.n; i++) {
        const struct model_segment *s = model_segment(r, i);
        bool last = i + 1 == r->segments.n;

        if (s->n < r->number || s->n > MODEL_NUMBER_MAX || s->t < end || s->d < 0 ||
            s->d > model_ticks(r, MODEL_LONGEST_US) || s->size > MODEL_SEGMENT_BYTES_MAX)
            return false;
        if (i > 0 &&
            (s->n != model_segment(r, i - 1)->n + 1 || s->msn != model_segment(r, i - 1)->msn + 1))
            return false;
        if (s->open ? !last || !current || m->ended : s->size == 0 || s->d == 0)
            return false;
        if (s->open && (r->reached < s->t || s->promised != (s->d > 0) ||
                        (s->d > 0 && (s->d > r->promise || r->reached > s->t + s->d))))
            return false;
        if (last && (s->n + 1 != r->next) != r->stopped)
            return false;
        if (s->discontinuity != (s->n == r->number && s->msn > 0))
            return false;
        if (last && !s->open && r->end != s->t + s->d)
            return false;
        end = s->t + s->d;
    }
    return true;
}

static bool parts_sane(const struct model_rep *r)
{
    uint64_t at = 0;

    for (size_t i = 0; i < r->parts.n; i++) {
        const struct model_part *p = model_part(r, i);
        uint64_t first = r->segments.n > 0 ? model_segment(r, 0)->n : 0;
        const struct model_segment *s;

        if (r->segments.n == 0 || p->n < first || p->n - first >= r->segments.n)
            return false;
        s = model_segment(r, p->n - first);
        at = i > 0 && model_part(r, i - 1)->n == p->n ? at : 0;
        if (p->at != at || p->size == 0 || p->d <= 0 || p->t < s->t ||
            (!s->open && p->t + p->d > s->t + s->d))
            return false;
        at += p->size;
        if ((i + 1 == r->parts.n || model_part(r, i + 1)->n != p->n) && at != s->size)
            return false;
    }
    return true;
}

static bool rep_sane(const struct model *m, const struct model_period *p, unsigned i)
{
    const struct model_rep *r = &p->rep[i];
    const struct model_track *t;
    bool current = p == model_current(m);

    if (r->track >= m->n_tracks || !model_rep_ok(r->name) || r->video != (r->name[0] == 'v') ||
        (i > 0 && !model_rep_before(p->rep[i - 1].name, r->name)))
        return false;
    t = &m->track[r->track];
    if (strcmp(t->name, r->name) != 0 || r->next < r->number)
        return false;
    if (r->segments.n > m->conf.segments_max ||
        r->parts.n > (size_t)MODEL_PARTS_MAX * (MODEL_PART_SEGMENTS + 1))
        return false;
    if (!r->inited)
        return r->segments.n == 0 && r->next == r->number;
    if (!model_codecs_ok(r->codecs) || !model_hash_ok(r->hash) || r->init.codecs == NULL)
        return false;
    if (r->next > r->number && (!t->used || t->last < r->next - 1))
        return false;
    if (r->segments.n > 0 && model_segment(r, r->segments.n - 1)->msn >= t->msn)
        return false;
    return segments_sane(m, r, current) && parts_sane(r);
}

bool model_sane(const struct model *m)
{
    int64_t start = 0;

    OBJ_CHECK(m, MODEL_MAGIC);
    if (m->n_periods > MODEL_PERIODS_MAX || m->n_tracks > MODEL_TRACKS_MAX ||
        m->any != (m->n_periods > 0))
        return false;
    for (unsigned i = 0; i < m->n_periods; i++) {
        const struct model_period *p = m->period[i];
        bool last = i + 1 == m->n_periods;

        if (p->n_reps == 0 || p->n_reps > MODEL_TRACKS_MAX || p->start_us < start ||
            (i > 0 && p->k <= m->period[i - 1]->k) || (!last && model_period_empty(p)))
            return false;
        if (last && (p->k != m->last_k || p->start_us != m->floor_us))
            return false;
        start = p->start_us;
        for (unsigned j = 0; j < p->n_reps; j++) {
            const struct model_rep *r = &p->rep[j];

            if (!rep_sane(m, p, j))
                return false;
            if (r->video && r->segments.n > 0 && !last &&
                model_us(r, r->end) > m->period[i + 1]->start_us)
                return false;
        }
    }
    return true;
}
