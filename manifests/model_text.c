#include "manifests/model_text.h"

#include <jansson.h>
#include <string.h>

#include "manifests/model_int.h"

/* --- writing --- */

/* What of a Period is written: per rendition the first segment and how many. */
struct share {
    size_t first[MODEL_TRACKS_MAX], n[MODEL_TRACKS_MAX];
    bool any;
};

static size_t closed(const struct model_rep *r)
{
    size_t n = r->segments.n;

    return n > 0 && model_segment(r, n - 1)->open ? n - 1 : n;
}

/* left: how many of each name may still be told. */
static struct share share_of(const struct model_period *p, size_t left[MODEL_TRACKS_MAX])
{
    struct share s = { .any = false };

    for (unsigned i = 0; i < p->n_reps; i++) {
        size_t n = closed(&p->rep[i]), *room = &left[p->rep[i].track];

        s.n[i] = n < *room ? n : *room;
        s.first[i] = n - s.n[i];
        s.any = s.any || s.n[i] > 0;
        *room -= s.n[i];
    }
    return s;
}

static void put_rep(struct buf *out, const struct model_rep *r, size_t first, size_t n)
{
    const struct model_init *i = &r->init;
    const struct model_segment *s = model_segment(r, first);

    buf_printf(out,
               "{\"name\":\"%s\",\"pto\":%lld,\"number\":%llu,\"msn\":%llu,\"peak\":%u,"
               "\"timescale\":%u,\"codecs\":\"%s\",\"hash\":\"%s\",\"size\":[%u,%u],"
               "\"sar\":[%u,%u],\"fps\":[%u,%u],\"rate\":%u,\"channels\":%u,\"bandwidth\":%u,"
               "\"segments\":[",
               r->name, (long long)r->pto, (unsigned long long)s->n, (unsigned long long)s->msn,
               r->peak_bps, i->timescale, i->codecs, i->hash, i->width, i->height, i->sar_x,
               i->sar_y, i->fps_num, i->fps_den, i->rate, i->channels, i->bandwidth_bps);
    for (size_t k = first; k < first + n; k++) {
        s = model_segment(r, k);
        buf_printf(out, "%s[%lld,%lld,%llu]", k > first ? "," : "", (long long)s->t,
                   (long long)s->d, (unsigned long long)s->size);
    }
    buf_puts(out, "]}");
}

static void put_period(struct buf *out, const struct model_period *p, const struct share *s)
{
    const char *between = "";

    buf_printf(out, "{\"k\":%u,\"start\":%lld,\"reps\":[", p->k, (long long)p->start_us);
    for (unsigned i = 0; i < p->n_reps; i++) {
        if (s->n[i] == 0)
            continue;
        buf_puts(out, between);
        put_rep(out, &p->rep[i], s->first[i], s->n[i]);
        between = ",";
    }
    buf_puts(out, "]}");
}

void model_write(const struct model *m, struct buf *out)
{
    struct share share[MODEL_TEXT_PERIODS];
    size_t left[MODEL_TRACKS_MAX];
    const char *between = "";
    unsigned n = m->n_periods < MODEL_TEXT_PERIODS ? m->n_periods : MODEL_TEXT_PERIODS;
    struct model_period *const *newest = n > 0 ? m->period + (m->n_periods - n) : NULL;

    for (size_t i = 0; i < MODEL_TRACKS_MAX; i++)
        left[i] = MODEL_TEXT_SEGMENTS;
    for (unsigned i = n; i-- > 0;)
        share[i] = share_of(newest[i], left);
    buf_printf(out, "{\"v\":2,\"session\":\"%s\",\"ast\":%lld,\"longest\":%lld,\"periods\":[",
               m->session, (long long)m->conf.ast_s, (long long)m->longest_us);
    for (unsigned i = 0; i < n; i++) {
        if (!share[i].any)
            continue;
        buf_puts(out, between);
        put_period(out, newest[i], &share[i]);
        between = ",";
    }
    buf_puts(out, "]}\n");
}

/* --- reading --- */

static bool is_u32(json_int_t v) { return v >= 0 && v <= UINT32_MAX; }

struct rep_said {
    struct model_rep_start start;
    struct model_init init;
    uint64_t msn;
    uint32_t peak;
    json_t *segments;
};

static bool read_rep(json_t *j, struct rep_said *to)
{
    json_int_t pto, number, msn, v[11];
    const char *name, *codecs, *hash;

    if (json_unpack(j,
                    "{s:s, s:I, s:I, s:I, s:I, s:I, s:s, s:s, s:[II!], s:[II!], s:[II!], s:I, s:I,"
                    " s:I, s:o !}",
                    "name", &name, "pto", &pto, "number", &number, "msn", &msn, "peak", &v[0],
                    "timescale", &v[1], "codecs", &codecs, "hash", &hash, "size", &v[2], &v[3],
                    "sar", &v[4], &v[5], "fps", &v[6], &v[7], "rate", &v[8], "channels", &v[9],
                    "bandwidth", &v[10], "segments", &to->segments) != 0)
        return false;
    for (size_t i = 0; i < sizeof v / sizeof v[0]; i++)
        if (!is_u32(v[i]))
            return false;
    if (number < 0 || !is_u32(msn) || !json_is_array(to->segments) ||
        json_array_size(to->segments) == 0)
        return false;
    to->start = (struct model_rep_start){ .name = name, .pto = pto, .number = (uint64_t)number };
    to->init = (struct model_init){ .timescale = (uint32_t)v[1],
                                    .codecs = codecs,
                                    .hash = hash,
                                    .width = (uint32_t)v[2],
                                    .height = (uint32_t)v[3],
                                    .sar_x = (uint32_t)v[4],
                                    .sar_y = (uint32_t)v[5],
                                    .fps_num = (uint32_t)v[6],
                                    .fps_den = (uint32_t)v[7],
                                    .rate = (uint32_t)v[8],
                                    .channels = (uint32_t)v[9],
                                    .bandwidth_bps = (uint32_t)v[10] };
    to->msn = (uint64_t)msn;
    to->peak = (uint32_t)v[0];
    return true;
}

/* As a chunk each: what its own were nobody asks for any more. */
static enum st read_segments(struct model *m, const struct rep_said *r)
{
    uint64_t n = r->start.number;
    enum st st = ST_OK;
    json_t *j;
    size_t i;

    json_array_foreach(r->segments, i, j)
    {
        json_int_t t, d, size;

        if (json_unpack(j, "[III!]", &t, &d, &size) != 0 || size <= 0)
            return ST_EPROTO;
        st = model_open(m, r->start.name, n, t, d);
        if (st == ST_OK)
            st = model_chunk(m, r->start.name, n, t, d, true, (size_t)size);
        if (st == ST_OK)
            st = model_close(m, r->start.name, n, d);
        if (st != ST_OK)
            return st;
        n++;
    }
    return ST_OK;
}

static enum st read_period(struct model *m, json_t *j)
{
    struct model_rep_start starts[MODEL_TRACKS_MAX];
    struct rep_said said[MODEL_TRACKS_MAX];
    json_int_t k, start;
    json_t *reps, *rep;
    size_t i, n = 0;
    enum st st;

    if (json_unpack(j, "{s:I, s:I, s:o !}", "k", &k, "start", &start, "reps", &reps) != 0 ||
        !is_u32(k) || start < 0 || !json_is_array(reps) || json_array_size(reps) > MODEL_TRACKS_MAX)
        return ST_EPROTO;
    json_array_foreach(reps, i, rep)
    {
        if (!read_rep(rep, &said[n]))
            return ST_EPROTO;
        starts[n] = said[n].start;
        n++;
    }
    st = model_period(m, (uint32_t)k, start, starts, n);
    for (i = 0; i < n && st == ST_OK; i++) {
        st = model_go_on(m, said[i].start.name, said[i].msn);
        if (st == ST_OK)
            st = model_init(m, said[i].start.name, &said[i].init);
        if (st == ST_OK)
            st = read_segments(m, &said[i]);
        if (st == ST_OK)
            model_had_peak(m, said[i].start.name, said[i].peak);
    }
    return st;
}

enum st model_read(struct model *m, const char *text, size_t n)
{
    json_t *j = json_loadb(text, n, JSON_REJECT_DUPLICATES, NULL), *periods, *p;
    const char *session;
    json_int_t v, ast, longest;
    enum st st;
    size_t i;

    if (j == NULL ||
        json_unpack(j, "{s:I, s:s, s:I, s:I, s:o !}", "v", &v, "session", &session, "ast", &ast,
                    "longest", &longest, "periods", &periods) != 0 ||
        v != 2 || strcmp(session, m->session) != 0 || ast != m->conf.ast_s ||
        !json_is_array(periods) || json_array_size(periods) > MODEL_TEXT_PERIODS || m->any) {
        json_decref(j);
        return ST_EPROTO;
    }
    st = model_had_longest(m, longest);
    json_array_foreach(periods, i, p) if (st == ST_OK) st = read_period(m, p);
    json_decref(j);
    return st;
}
