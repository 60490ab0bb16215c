#include "tests/unit/model_drive.h"

#include <string.h>

#include "core/check.h"
#include "core/hash.h"

enum { SEGMENTS_MAX = 24 };

struct model *model_drive_new(void)
{
    struct model_conf conf = { .session = "0mf3k2a9zq71x",
                               .ast_s = 1760000000,
                               .segment_us = 1000000,
                               .chunk_us = 200000,
                               .window_us = 10000000,
                               .segments_max = SEGMENTS_MAX };
    struct model *m;

    CHECK(model_new(&conf, &m) == ST_OK);
    return m;
}

void model_drive_bytes(uint64_t seed, uint8_t *p, size_t n)
{
    for (size_t i = 0; i < n; i++)
        p[i] = (uint8_t)(hash_mix(hash_mix(seed) + i) >> 32);
}

/* --- digest --- */

static uint64_t fold(uint64_t h, uint64_t v) { return hash_mix(h ^ hash_mix(v)); }

static uint64_t fold_text(uint64_t h, const char *s)
{
    return fold(h, hash64_stable(s, strlen(s)));
}

static uint64_t fold_rep(uint64_t h, const struct model_rep *r)
{
    h = fold_text(fold_text(fold_text(h, r->name), r->codecs), r->hash);
    h = fold(fold(fold(fold(h, r->inited), r->stopped), r->next), (uint64_t)r->end);
    h = fold(fold(h, r->peak_bps), r->init.timescale);
    for (size_t i = 0; i < r->segments.n; i++) {
        const struct model_segment *s = model_segment(r, i);

        h = fold(fold(fold(h, s->n), s->msn), (uint64_t)s->t);
        h = fold(fold(fold(h, (uint64_t)s->d), s->size), s->open);
        h = fold(fold(h, s->promised), s->discontinuity);
        if (s->open)
            h = fold(fold(fold(h, (uint64_t)r->reached), (uint64_t)r->promise), r->n_parts);
    }
    for (size_t i = 0; i < r->parts.n; i++) {
        const struct model_part *p = model_part(r, i);

        h = fold(fold(fold(h, p->n), (uint64_t)p->t), (uint64_t)p->d);
        h = fold(fold(fold(h, p->at), p->size), p->independent);
    }
    return h;
}

uint64_t model_digest(const struct model *m)
{
    uint64_t h = fold(fold(m->ended, m->last_k), m->n_periods);

    for (unsigned i = 0; i < m->n_periods; i++) {
        h = fold(fold(h, m->period[i]->k), (uint64_t)m->period[i]->start_us);
        for (unsigned j = 0; j < m->period[i]->n_reps; j++)
            h = fold_rep(h, &m->period[i]->rep[j]);
    }
    for (unsigned i = 0; i < m->n_tracks; i++)
        h = fold(fold(fold_text(h, m->track[i].name), m->track[i].last), m->track[i].msn);
    return h;
}

/* --- verbs --- */

static const char *const names[] = { "v0", "v1", "a0", "a1", "v10", "v01", "i0", "", "v0/../x" };
enum { GOOD_NAMES = 5, NAMES = sizeof names / sizeof names[0] };

static int64_t odd_value(struct rd *in, int64_t v)
{
    static const int64_t odd[] = { INT64_MIN, INT64_MAX, -1, 0, INT64_C(1) << 53, 4294967295 };
    unsigned pick = rd_u8(in) % 16;

    if (pick < sizeof odd / sizeof odd[0])
        return odd[pick];
    return v + (int64_t)(int8_t)rd_u8(in) * (pick < 10 ? 1 : 1000);
}

static struct model_init init_of(const char *name, bool other)
{
    if (name[0] == 'v')
        return (struct model_init){ .timescale = 90000,
                                    .codecs = name[1] == '1' ? "avc1.42c01f" : "avc1.64001f",
                                    .hash = other ? "0badcafe" : "0a1b2c3d",
                                    .width = 1280,
                                    .height = 720,
                                    .sar_x = 2,
                                    .sar_y = 2,
                                    .fps_num = 60000,
                                    .fps_den = 2002 };
    return (struct model_init){ .timescale = 48000,
                                .codecs = "mp4a.40.2",
                                .hash = other ? "feedbeef" : "11223344",
                                .rate = 48000,
                                .channels = 2,
                                .bandwidth_bps = 64000 };
}

/* The end of everything that the current Period has, or its start. */
static int64_t period_end_us(const struct model_period *p)
{
    int64_t at = p->start_us;

    for (unsigned i = 0; i < p->n_reps; i++)
        if (p->rep[i].inited && model_us(&p->rep[i], p->rep[i].end) > at)
            at = model_us(&p->rep[i], p->rep[i].end);
    return at;
}

static bool any_open(const struct model_period *p)
{
    for (unsigned i = 0; i < p->n_reps; i++)
        if (p->rep[i].segments.n > 0 && model_segment(&p->rep[i], p->rep[i].segments.n - 1)->open)
            return true;
    return false;
}

static enum st verb_period(struct model *m, struct rd *in, bool odd)
{
    const struct model_period *p = model_current(m);
    struct model_rep_start reps[MODEL_TRACKS_MAX + 1];
    unsigned bits = rd_u8(in), gap = rd_u8(in);
    int64_t start = (p != NULL ? period_end_us(p) : 2000000) + (int64_t)gap * 10000;
    uint32_t k = m->any ? m->last_k + 1 + bits % 2 : 0;
    bool legal = !odd && !m->ended && (p == NULL || !any_open(p)) && k >= m->last_k &&
                 start <= MODEL_TIME_MAX_US;
    uint64_t high = 0;
    size_t n = 0;
    enum st st;

    for (unsigned i = 0; i < GOOD_NAMES; i++) {
        uint64_t number = 3;

        if ((bits >> i & 1u) == 0 && i % 2 != 0)
            continue;
        for (unsigned j = 0; j < m->n_tracks; j++)
            if (m->track[j].used && m->track[j].last >= number)
                number = m->track[j].last + 64;
        high = number > high ? number : high;
        reps[n++] = (struct model_rep_start){ .name = names[i],
                                              .pto = names[i][0] == 'v' ? start / 100 * 9
                                                                        : start / 1000 * 48,
                                              .number = number };
    }
    if (odd) {
        unsigned which = rd_u8(in) % 6;

        if (which == 0)
            k = (uint32_t)odd_value(in, k);
        else if (which == 1)
            start = odd_value(in, start);
        else if (which == 2)
            reps[n - 1].number = (uint64_t)odd_value(in, (int64_t)reps[n - 1].number);
        else if (which == 3)
            reps[n - 1].name = names[rd_u8(in) % NAMES];
        else if (which == 4)
            reps[0].pto = odd_value(in, reps[0].pto);
        else
            n = 0;
    }
    st = model_period(m, k, start, reps, n);
    CHECK(!legal || st == ST_OK || (st == ST_ELIMIT && n > 0 && high > MODEL_NUMBER_MAX));
    return st;
}

static enum st verb_init(struct model *m, const char *name, struct rd *in, bool odd)
{
    struct model_init init = init_of(name, false);

    if (odd) {
        unsigned which = rd_u8(in) % 8;
        uint32_t v = (uint32_t)odd_value(in, 1);

        if (which == 0)
            init.codecs = "avc1\"><x a=\"";
        else if (which == 1)
            init.hash = "../../..";
        else if (which == 2)
            init.timescale = v;
        else if (which == 3)
            init.width = init.rate = v;
        else if (which == 4)
            init.fps_num = init.channels = v;
        else if (which == 5)
            init = init_of(name, true);
        else
            init.bandwidth_bps = v;
    }
    return model_init(m, name, &init);
}

static int64_t promise(const struct model_rep *r, unsigned b)
{
    int64_t second = r->init.timescale;

    return b % 4 == 0 ? 0 : b % 4 == 1 ? second + b : second;
}

static enum st verb_open(struct model *m, const struct model_rep *r, struct rd *in, bool odd)
{
    unsigned b = rd_u8(in);
    bool fresh = r->segments.n == 0 && r->next == r->number;
    int64_t t = fresh ? r->pto : r->end + (b >= 0xf0 ? (int64_t)b * 100 : 0);
    int64_t d = promise(r, b);
    uint64_t n = r->next;
    bool legal = !odd && !m->ended && !r->stopped;
    enum st st;

    if (odd) {
        unsigned which = rd_u8(in) % 3;

        if (which == 0)
            n = (uint64_t)odd_value(in, (int64_t)n);
        else if (which == 1)
            t = odd_value(in, t);
        else
            d = odd_value(in, d);
    }
    st = model_open(m, r->name, n, t, d);
    CHECK(!legal || st == ST_OK ||
          (st == ST_ELIMIT && (r->segments.n == SEGMENTS_MAX || n > MODEL_NUMBER_MAX)));
    return st;
}

static enum st verb_on_open(struct model *m, const struct model_rep *r, struct rd *in, unsigned op,
                            bool odd)
{
    const struct model_segment *s = model_segment(r, r->segments.n - 1);
    unsigned b = rd_u8(in);
    int64_t t = r->reached, d = (int64_t)r->init.timescale / 5;
    uint64_t n = s->n;
    bool legal = !odd && !m->ended && r->reached - s->t < 20 * (int64_t)r->init.timescale;
    enum st st;

    if (op % 8 == 0) {
        t = s->t;
        d = r->promise > r->reached - s->t ? r->promise + b : r->reached - s->t + b;
    } else if (op % 8 == 1 || r->reached - s->t >= (int64_t)r->init.timescale) {
        d = r->reached - s->t + (b % 8 == 0 ? b : 0);
    }
    if (odd) {
        unsigned which = rd_u8(in) % 3;

        if (which == 0)
            n = (uint64_t)odd_value(in, (int64_t)n);
        else if (which == 1)
            t = odd_value(in, t);
        else
            d = odd_value(in, d);
    }
    if (op % 8 == 0) {
        st = model_open(m, r->name, n, t, d);
        CHECK(!legal || st == ST_OK);
        return st;
    }
    if (op % 8 == 1 || r->reached - s->t >= (int64_t)r->init.timescale)
        st = model_close(m, r->name, n, d);
    else
        st = model_chunk(m, r->name, n, t, d, b % 2 == 0, odd && b == 0 ? 0 : (size_t)b * 100 + 1);
    CHECK(!legal || st == ST_OK);
    return st;
}

static enum st verb_rep(struct model *m, struct rd *in, unsigned op, bool odd)
{
    const struct model_period *p = model_current(m);
    unsigned b = rd_u8(in);
    const struct model_rep *r = p == NULL ? NULL : &p->rep[b % p->n_reps];

    if (r == NULL || (odd && b > 0xf0))
        return model_chunk(m, names[b % NAMES], b, b, b, false, b);
    if (!r->inited || op == 0)
        return verb_init(m, r->name, in, odd);
    if (r->segments.n == 0 || !model_segment(r, r->segments.n - 1)->open)
        return verb_open(m, r, in, odd);
    return verb_on_open(m, r, in, op, odd);
}

/* True: it was taken. */
static bool verb(struct model *m, struct rd *in)
{
    unsigned op = rd_u8(in), arg;
    bool odd = op >= 0xd0;

    op %= 32;
    if (!m->any || op == 31)
        return verb_period(m, in, odd) == ST_OK;
    if (op == 30) {
        arg = rd_u8(in);
        if (arg == 77)
            model_end(m);
        else if (arg < 64)
            model_cut(m);
        return true;
    }
    if (op == 29) {
        (void)model_expire(m, period_end_us(model_current(m)) - (int64_t)rd_u8(in) * 200000);
        return true;
    }
    return verb_rep(m, in, op, odd) == ST_OK;
}

void model_drive_run(struct model_drive *d, const uint8_t *p, size_t n)
{
    struct rd in = rd_init(p, n);

    while (rd_left(&in) > 0) {
        uint64_t before = model_digest(d->m);

        if (verb(d->m, &in)) {
            d->taken++;
        } else {
            d->refused++;
            CHECK(model_digest(d->m) == before);
        }
        CHECK(model_sane(d->m));
        if (d->step != NULL && !d->step(d))
            return;
    }
}

/* --- XML, as far as we write it --- */

enum { DEPTH_MAX = 16 };

static size_t name_len(const char *s) { return strcspn(s, " />=\"<&\n"); }

/* s is behind the tag's name; *end behind its '>'. */
static bool attributes_ok(const char *s, const char **end, bool *empty)
{
    const char *first = s;

    while (*s == ' ') {
        size_t n = name_len(++s);

        if (n == 0 || s[n] != '=' || s[n + 1] != '"')
            return false;
        for (const char *p = first; p < s - 1; p++) /* given twice? */
            if (*p == ' ' && strncmp(p + 1, s, n + 1) == 0)
                return false;
        s += n + 2;
        s += strcspn(s, "\"<&\n");
        if (*s++ != '"')
            return false;
    }
    *empty = *s == '/';
    s += *empty;
    *end = s + 1;
    return *s == '>';
}

bool xml_well_formed(const char *s)
{
    static const char head[] = "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n";
    const char *open[DEPTH_MAX];
    size_t depth = 0, roots = 0;

    if (strncmp(s, head, sizeof head - 1) != 0)
        return false;
    for (s += sizeof head - 1;;) {
        size_t text = strcspn(s, "<&>");
        bool empty;

        if (depth == 0 && strspn(s, "\n") != text)
            return false;
        s += text;
        if (*s == 0)
            return depth == 0 && roots == 1;
        if (*s != '<')
            return false;
        if (s[1] == '/') {
            size_t n = name_len(s + 2);

            if (depth == 0 || name_len(open[depth - 1]) != n || s[2 + n] != '>' ||
                strncmp(open[--depth], s + 2, n) != 0)
                return false;
            s += n + 3;
            continue;
        }
        if (depth == DEPTH_MAX || name_len(s + 1) == 0)
            return false;
        roots += depth == 0;
        open[depth] = s + 1;
        if (!attributes_ok(s + 1 + name_len(s + 1), &s, &empty))
            return false;
        depth += !empty;
    }
}
