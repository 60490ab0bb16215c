#include "manifests/mpd.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "core/check.h"

/* Nothing here escapes text: the model has refused every name, codec and hash that XML would have
 * to quote. */

enum { SLACK_US = 50000, LATENCY_MS = 1500, LATENCY_CHUNKS = 5, WHOLE_SEGMENTS = 2 };
enum { AUDIO_SET = 100 }; /* AdaptationSet@id: video by its first rendition's number, audio above */
#define SECOND_US INT64_C(1000000)

static const char publish_name[] = " publishTime=\"";
enum { PUBLISH_LEN = 24 }; /* 2000-01-01T00:00:00.000Z */

/* What of a rendition is listed. */
struct span {
    size_t first, n;
};

struct pen {
    struct buf *b;
    const struct model *m;
    const struct mpd_opts *o;
    bool live;
    int64_t cut_us;     /* what ends here or before is not listed */
    int64_t end_us;     /* of the newest listed segment */
    int64_t longest_us; /* the longest listed segment, at least the target duration */
    bool chunked;       /* the newest segments were promised, and could be had before their end */
    bool whole;         /* pictures in progress are not: nothing in progress is listed */
    const struct model_period *newest; /* of those shown; NULL: there is nothing to show */
    const struct model_period *last;   /* shown before the one in hand; NULL: it is the first */
};

/* --- what is shown --- */

/* How long before its end a segment of that duration can be asked for; 0: it can not. */
static int64_t ahead_us(const struct pen *w, const struct model_rep *r, int64_t d)
{
    int64_t us = model_us(r, d) - w->m->conf.chunk_us - SLACK_US;

    return d > 0 && us > 0 ? us : 0;
}

static int64_t early_us(const struct pen *w, const struct model_rep *r,
                        const struct model_segment *s)
{
    return s->open ? ahead_us(w, r, s->d) : 0;
}

/* The last segment is in progress and not to be listed. */
static bool hidden(const struct pen *w, const struct model_rep *r)
{
    const struct model_segment *s = r->segments.n > 0 ? model_segment(r, r->segments.n - 1) : NULL;

    return s != NULL && s->open && (w->whole || early_us(w, r, s) == 0);
}

/* Is the picture in progress one that cannot be asked for yet? Sound alone would run ahead of it:
 * dash.js may stop for good where a Period begins so, and FFmpeg loses the order of its packets. */
static bool pictures_wait(const struct pen *w)
{
    const struct model_period *p = model_current(w->m);

    for (unsigned i = 0; p != NULL && i < p->n_reps; i++)
        if (p->rep[i].video && hidden(w, &p->rep[i]))
            return true;
    return false;
}

static int64_t end_us(const struct model_rep *r, size_t i)
{
    const struct model_segment *s = model_segment(r, i);

    return model_us(r, s->t + s->d);
}

static struct span span_of(const struct pen *w, const struct model_rep *r)
{
    size_t end = r->segments.n - hidden(w, r), low = 0, high = end;

    while (low < high) { /* ends rise: the first one after the cut */
        size_t mid = low + (high - low) / 2;

        if (end_us(r, mid) > w->cut_us)
            high = mid;
        else
            low = mid + 1;
    }
    return (struct span){ low, end - low };
}

static bool rep_shown(const struct pen *w, const struct model_rep *r)
{
    return span_of(w, r).n > 0;
}

/* NB: what a rendition ever had counts, so a Period does not go because one of them fell silent. */
static bool period_shown(const struct pen *w, const struct model_period *p)
{
    bool all = true, some = false, settled = !w->live || p != model_current(w->m);

    for (unsigned i = 0; i < p->n_reps; i++) {
        const struct model_rep *r = &p->rep[i];
        uint64_t had = r->next - r->number - r->stopped;
        bool open = r->segments.n > 0 && model_segment(r, r->segments.n - 1)->open;

        some = some || rep_shown(w, r);
        all = all && had > hidden(w, r);
        settled = settled || had >= (uint64_t)WHOLE_SEGMENTS + open;
    }
    return some && (all || settled);
}

static int64_t later(int64_t a, int64_t b) { return a > b ? a : b; }

static void survey(struct pen *w)
{
    const struct model *m = w->m;
    int64_t window = w->o->window_us;

    w->cut_us = -1;
    for (unsigned i = 0; i < m->n_periods; i++) {
        const struct model_period *p = m->period[i];

        if (!period_shown(w, p))
            continue;
        w->newest = p;
        for (unsigned j = 0; j < p->n_reps; j++) {
            const struct model_rep *r = &p->rep[j];
            struct span v = span_of(w, r);

            if (v.n == 0)
                continue;
            w->end_us = later(w->end_us, end_us(r, v.first + v.n - 1));
            w->longest_us =
                later(w->longest_us, model_us(r, model_segment(r, v.first + v.n - 1)->d));
            w->longest_us = later(w->longest_us, model_us(r, r->longest));
        }
    }
    if (window == 0 && w->live)
        window = m->conf.window_us;
    if (window > 0)
        w->cut_us = w->end_us - window;
    w->chunked = true;
    for (unsigned j = 0; w->newest != NULL && j < w->newest->n_reps; j++) {
        const struct model_rep *r = &w->newest->rep[j];

        if (rep_shown(w, r) &&
            (!model_segment(r, r->segments.n - 1)->promised || ahead_us(w, r, r->promise) == 0))
            w->chunked = false;
    }
}

/* --- small writers --- */

/* Seconds with as many decimals as it takes. */
static void put_seconds(struct buf *b, int64_t us)
{
    char text[32];
    int n = snprintf(text, sizeof text, "%" PRId64 ".%06" PRId64, us / SECOND_US, us % SECOND_US);

    while (text[n - 1] == '0')
        n--;
    if (text[n - 1] == '.')
        n--;
    buf_add(b, text, (size_t)n);
}

static void put_duration(struct buf *b, const char *name, int64_t us)
{
    buf_printf(b, " %s=\"PT", name);
    put_seconds(b, us);
    buf_puts(b, "S\"");
}

/* To the second, without the zone. */
static void put_date(struct buf *b, int64_t unix_s)
{
    time_t t = (time_t)unix_s;
    struct tm tm;

    CHECK(gmtime_r(&t, &tm) != NULL);
    buf_printf(b, "%04d-%02d-%02dT%02d:%02d:%02d", tm.tm_year + 1900, tm.tm_mon + 1, tm.tm_mday,
               tm.tm_hour, tm.tm_min, tm.tm_sec);
}

static uint32_t common(uint32_t a, uint32_t b)
{
    while (b != 0) {
        uint32_t c = a % b;

        a = b;
        b = c;
    }
    return a;
}

/* --- SegmentTemplate --- */

static void put_timeline(struct buf *b, const struct model_rep *r, struct span v)
{
    size_t end = v.first + v.n;
    int64_t at = -1;

    buf_puts(b, "<SegmentTimeline>");
    for (size_t i = v.first; i < end;) {
        const struct model_segment *s = model_segment(r, i);
        int64_t d = s->d;
        size_t more = 0;

        buf_puts(b, "<S");
        if (s->t != at)
            buf_printf(b, " t=\"%" PRId64 "\"", s->t);
        buf_printf(b, " d=\"%" PRId64 "\"", d);
        for (at = s->t + d, i++; i < end; at += d, i++, more++) {
            s = model_segment(r, i);
            if (s->t != at || s->d != d)
                break;
        }
        if (more > 0)
            buf_printf(b, " r=\"%zu\"", more);
        buf_puts(b, "/>");
    }
    buf_puts(b, "</SegmentTimeline>");
}

/* The newest segment can be had while it grows. That stays so between two segments, which is a
 * chunk's time. */
static bool grows(const struct pen *w, const struct model_rep *r, const struct model_segment *last)
{
    return w->live && !w->whole && (last->open || (r->between && last->promised)) &&
           ahead_us(w, r, r->promise) > 0;
}

/* availabilityTimeOffset, one for all Representations: before the end of the longest segment of the
 * broadcast (maxSegmentDuration). 0: nothing that grows is to be had. Shaka Player takes the least
 * that it has ever read, also from Periods that are over, and counts it from the longest segment
 * that it has ever heard of: by an offset of each one's own it would stay behind for good. What is
 * listed is there; to be said to have been there for longer than it was changes nothing for it. */
static int64_t offset_us(const struct pen *w, bool growing)
{
    bool offered = w->live && !w->whole && (w->chunked || growing);

    return offered ? w->m->longest_us - w->m->conf.chunk_us - SLACK_US : 0;
}

static void put_template(const struct pen *w, const struct model_rep *r, struct span v, int64_t pto)
{
    bool growing = grows(w, r, model_segment(r, v.first + v.n - 1));
    int64_t early = offset_us(w, growing);
    struct buf *b = w->b;

    buf_printf(b, "<SegmentTemplate timescale=\"%" PRIu32 "\"", r->init.timescale);
    if (pto > 0)
        buf_printf(b, " presentationTimeOffset=\"%" PRId64 "\"", pto);
    if (early > 0) {
        buf_puts(b, " availabilityTimeOffset=\"");
        put_seconds(b, early);
        buf_puts(b, "\"");
    }
    if (growing)
        buf_puts(b, " availabilityTimeComplete=\"false\"");
    buf_printf(b,
               " startNumber=\"%" PRIu64 "\" initialization=\"$RepresentationID$/init-%s.mp4\""
               " media=\"$RepresentationID$/$Number$.m4s\">",
               model_segment(r, v.first)->n, r->hash);
    put_timeline(b, r, v);
    buf_puts(b, "</SegmentTemplate>");
}

/* --- Representation --- */

/* ISO/IEC 23091-3 (cicp) layout of so many AAC channels; 0: there is no usual one. */
static unsigned layout(uint32_t channels)
{
    if (channels <= 6)
        return channels;
    return channels == 7 ? 11 : channels == 8 ? 7 : channels == 24 ? 13 : 0;
}

static void put_video(struct buf *b, const struct model_init *i)
{
    buf_printf(b, " width=\"%" PRIu32 "\" height=\"%" PRIu32 "\"", i->width, i->height);
    if (i->sar_x > 0) {
        uint32_t c = common(i->sar_x, i->sar_y);

        buf_printf(b, " sar=\"%" PRIu32 ":%" PRIu32 "\"", i->sar_x / c, i->sar_y / c);
    }
    if (i->fps_num > 0) {
        uint32_t c = common(i->fps_num, i->fps_den);

        buf_printf(b, " frameRate=\"%" PRIu32, i->fps_num / c);
        if (i->fps_den != c)
            buf_printf(b, "/%" PRIu32, i->fps_den / c);
        buf_puts(b, "\"");
    }
    buf_puts(b, ">");
}

static void put_audio(struct buf *b, const struct model_init *i)
{
    buf_printf(b, " audioSamplingRate=\"%" PRIu32 "\">", i->rate);
    if (layout(i->channels) > 0)
        buf_printf(b,
                   "<AudioChannelConfiguration"
                   " schemeIdUri=\"urn:mpeg:mpegB:cicp:ChannelConfiguration\" value=\"%u\"/>",
                   layout(i->channels));
}

static void put_rep(const struct pen *w, const struct model_rep *r, int64_t pto)
{
    struct buf *b = w->b;

    buf_printf(b, "<Representation id=\"%s\" bandwidth=\"%" PRIu32 "\" codecs=\"%s\"", r->name,
               model_bandwidth(w->m, r), r->codecs);
    if (r->video)
        put_video(b, &r->init);
    else
        put_audio(b, &r->init);
    if (w->live)
        buf_printf(b, "<Resync type=\"0\" dT=\"%" PRId64 "\"/>",
                   model_ticks(r, w->m->conf.chunk_us));
    put_template(w, r, span_of(w, r), pto);
    buf_puts(b, "</Representation>\n");
}

/* --- AdaptationSet --- */

/* Players may switch between video of one codec family; every audio is a choice of its own. */
static bool same_set(const struct model_rep *a, const struct model_rep *b)
{
    size_t n = strcspn(a->codecs, ".");

    return a == b || (a->video && b->video && n == strcspn(b->codecs, ".") &&
                      memcmp(a->codecs, b->codecs, n) == 0);
}

/* The same number begins at the same time in both. */
static bool aligned(const struct pen *w, const struct model_rep *a, const struct model_rep *b)
{
    struct span x = span_of(w, a), y = span_of(w, b);
    size_t i = x.first, j = y.first;

    while (i < x.first + x.n && j < y.first + y.n) {
        const struct model_segment *s = model_segment(a, i), *t = model_segment(b, j);

        if (s->n == t->n && model_us(a, s->t) != model_us(b, t->t))
            return false;
        i += s->n <= t->n;
        j += t->n <= s->n;
    }
    return true;
}

/* The Period before had the same renditions, from the same init segments: a player may go on with
 * the decoder it has. */
static bool connected(const struct pen *w, const struct model_period *p,
                      const struct model_rep *first)
{
    if (w->last == NULL)
        return false;
    for (unsigned i = 0; i < p->n_reps; i++) {
        const struct model_rep *r = &p->rep[i];
        const struct model_rep *was = model_rep(w->last, r->name);

        if (rep_shown(w, r) && same_set(first, r) &&
            (was == NULL || !rep_shown(w, was) || strcmp(r->hash, was->hash) != 0))
            return false;
    }
    return true;
}

static void put_set_head(const struct pen *w, const struct model_period *p,
                         const struct model_rep *first)
{
    unsigned number = 0;
    bool align = true;

    for (const char *c = first->name + 1; *c != 0; c++)
        number = number * 10 + (unsigned)(*c - '0');
    for (unsigned i = 0; i < p->n_reps; i++)
        if (rep_shown(w, &p->rep[i]) && same_set(first, &p->rep[i]))
            align = align && aligned(w, first, &p->rep[i]);
    buf_printf(w->b,
               "<AdaptationSet id=\"%u\" contentType=\"%s\" mimeType=\"%s/mp4\""
               " segmentAlignment=\"%s\" startWithSAP=\"1\">\n",
               first->video ? number : AUDIO_SET + number, first->video ? "video" : "audio",
               first->video ? "video" : "audio", align ? "true" : "false");
    if (connected(w, p, first))
        buf_printf(w->b,
                   "<SupplementalProperty schemeIdUri=\"urn:mpeg:dash:period-connectivity:2015\""
                   " value=\"p%" PRIu32 "\"/>\n",
                   w->last->k);
    if (w->live) { /* media time counts from availabilityStartTime, in every Period */
        buf_puts(w->b, "<ProducerReferenceTime id=\"0\" type=\"encoder\" wallClockTime=\"");
        put_date(w->b, w->m->conf.ast_s);
        /* without the child Shaka Player takes the time for an NTP number */
        buf_puts(w->b, "Z\" presentationTime=\"0\"><UTCTiming "
                       "schemeIdUri=\"urn:mpeg:dash:utc:http-iso:2014\" value=\"/time\"/>"
                       "</ProducerReferenceTime>\n");
    }
}

/* The first rendition of its set that is shown. */
static bool leads(const struct pen *w, const struct model_period *p, unsigned at)
{
    for (unsigned i = 0; i < at; i++)
        if (rep_shown(w, &p->rep[i]) && same_set(&p->rep[i], &p->rep[at]))
            return false;
    return rep_shown(w, &p->rep[at]);
}

/* --- Period --- */

/* A Period of a static document begins with what is left of its media, because players start a
 * recording at its beginning. Media times map to the same presentation times. */
static const struct model_rep *trimmed_by(const struct pen *w, const struct model_period *p)
{
    for (unsigned i = 0; !w->live && i < p->n_reps; i++) {
        const struct model_rep *r = &p->rep[i];

        if (rep_shown(w, r))
            return model_segment(r, span_of(w, r).first)->n > r->number ? r : NULL;
    }
    return NULL;
}

static void put_period(const struct pen *w, const struct model_period *p)
{
    const struct model_rep *by = trimmed_by(w, p);
    int64_t start_us = p->start_us, t = 0;
    struct buf *b = w->b;

    if (by != NULL) {
        t = model_segment(by, span_of(w, by).first)->t;
        start_us = model_us(by, t);
    }
    buf_printf(b, "<Period id=\"p%" PRIu32 "\"", p->k);
    put_duration(b, "start", start_us);
    buf_puts(b, ">\n");
    if (!w->o->in_session)
        buf_printf(b, "<BaseURL>%s/</BaseURL>\n", w->m->session);
    for (unsigned i = 0; i < p->n_reps; i++) {
        if (!leads(w, p, i))
            continue;
        put_set_head(w, p, &p->rep[i]);
        for (unsigned j = i; j < p->n_reps; j++) {
            const struct model_rep *r = &p->rep[j];
            int64_t pto = by == NULL ? r->pto : r == by ? t : model_ticks(r, start_us);

            if (same_set(&p->rep[i], r) && rep_shown(w, r))
                put_rep(w, r, pto);
        }
        buf_puts(b, "</AdaptationSet>\n");
    }
    buf_puts(b, "</Period>\n");
}

/* --- MPD --- */

static void put_service(const struct pen *w)
{
    int64_t chunk_ms = w->m->conf.chunk_us / 1000, target = w->o->latency_ms;
    struct buf *b = w->b;

    if (target == 0)
        target = chunk_ms * LATENCY_CHUNKS > LATENCY_MS ? chunk_ms * LATENCY_CHUNKS : LATENCY_MS;
    if (!w->chunked) /* one in progress that nobody can see, one to play, one refresh */
        target = w->longest_us * WHOLE_SEGMENTS / 1000 + 1000;
    buf_puts(b, "<ServiceDescription id=\"0\">");
    if (w->chunked)
        buf_puts(b, "<Scope schemeIdUri=\"urn:dvb:dash:lowlatency:scope:2019\"/>");
    buf_printf(b,
               "<Latency referenceId=\"0\" target=\"%" PRId64 "\" min=\"%" PRId64
               "\" max=\"%" PRId64 "\"/>"
               "<PlaybackRate min=\"0.96\" max=\"1.04\"/></ServiceDescription>\n",
               target, target / 2, target * 4);
}

static void put_head(const struct pen *w)
{
    const struct model_conf *c = &w->m->conf;
    int64_t window = w->o->window_us > 0 ? w->o->window_us : c->window_us;
    int64_t publish_us = w->o->publish_us;
    struct buf *b = w->b;

    buf_printf(b,
               "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n"
               "<MPD xmlns=\"urn:mpeg:dash:schema:mpd:2011\""
               " profiles=\"urn:mpeg:dash:profile:isoff-live:2011,"
               "urn:mpeg:dash:profile:cmaf:2019\" type=\"%s\" availabilityStartTime=\"",
               w->live ? "dynamic" : "static");
    put_date(b, c->ast_s);
    buf_printf(b, "Z\"%s", publish_name);
    put_date(b, publish_us / SECOND_US);
    buf_printf(b, ".%03dZ\"", (int)(publish_us % SECOND_US / 1000));
    if (w->live) {
        put_duration(b, "minimumUpdatePeriod",
                     c->segment_us < SECOND_US ? c->segment_us : SECOND_US);
        put_duration(b, "timeShiftBufferDepth", window);
    } else {
        put_duration(b, "mediaPresentationDuration", w->end_us);
    }
    put_duration(b, "maxSegmentDuration", w->m->longest_us);
    put_duration(b, "minBufferTime", SECOND_US);
    buf_puts(b, ">\n");
}

enum st mpd_write(struct buf *b, const struct model *m, const struct mpd_opts *o)
{
    struct pen w = { .b = b, .m = m, .o = o, .live = !m->ended, .longest_us = m->conf.segment_us };

    CHECK(o->publish_us >= 0 && o->publish_us / SECOND_US <= INT64_C(1) << 34);
    CHECK(o->window_us >= 0);
    w.whole = pictures_wait(&w);
    survey(&w);
    if (w.newest == NULL)
        return w.live ? ST_MORE : ST_ENOENT;
    put_head(&w);
    if (w.live)
        put_service(&w);
    for (unsigned i = 0; i < m->n_periods; i++) {
        if (!period_shown(&w, m->period[i]))
            continue;
        put_period(&w, m->period[i]);
        w.last = m->period[i];
    }
    if (w.live)
        buf_puts(b,
                 "<UTCTiming schemeIdUri=\"urn:mpeg:dash:utc:http-iso:2014\" value=\"/time\"/>\n");
    buf_puts(b, "</MPD>\n");
    return b->st;
}

bool mpd_same(const void *a, size_t a_len, const void *b, size_t b_len)
{
    const char *x = a, *y = b, *at;
    size_t from, to;

    if (a_len != b_len || a_len == 0)
        return a_len == b_len;
    at = memmem(x, a_len, publish_name, sizeof publish_name - 1);
    if (at == NULL)
        return memcmp(x, y, a_len) == 0;
    from = (size_t)(at - x) + sizeof publish_name - 1;
    to = a_len - from < PUBLISH_LEN ? a_len : from + PUBLISH_LEN;
    return memcmp(x, y, from) == 0 && memcmp(x + to, y + to, a_len - to) == 0;
}
