#include "encode/stream.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "core/avc.h"
#include "core/check.h"
#include "core/flv.h"
#include "core/record.h"

enum { STREAM_MAGIC = 0x57e4c0de, HEAD_BYTES_MAX = 256 + TL_CHUNK_SAMPLES_MAX * 16 };
enum { NAL_SLICE = 1, NAL_IDR = 5 };

struct enc_stream {
    int magic;
    struct timeline *tl;
    struct flv_reader flv;
    const json_t *resume; /* until the first mark */
    uint64_t tag;         /* of the next tag that counts */
    int64_t ms;           /* of the last one */
    struct init *video;   /* the newest configuration; NULL: none yet */
    uint64_t broken;      /* frames that were not what they said */
    uint64_t seq;         /* records */
    const char *advice;   /* why it was refused */
    struct buf head;      /* of a chunk */
    struct buf text;
    struct buf *out; /* of the call that is going on */
};

/* --- records --- */

static void put(struct enc_stream *s, enum record_type type, size_t payload)
{
    CHECK(s->text.st == ST_OK || s->text.st == ST_ENOMEM);
    if (s->text.st != ST_OK && s->out->st == ST_OK)
        s->out->st = s->text.st;
    if (s->out->st == ST_OK)
        record_put_text(s->out, type, 0, ++s->seq, buf_text(&s->text), s->text.len, payload);
    buf_reset(&s->text);
}

static void on_period(void *ctx, const struct tl_period *p)
{
    struct enc_stream *s = ctx;
    const char *comma = "";

    buf_printf(&s->text,
               "{\"k\":%" PRId64 ",\"start\":%" PRId64 ",\"next_tag\":%" PRIu64 ",\"reps\":{", p->k,
               p->start_ms, p->first_tag);
    for (int i = 0; i < TL_REPS; i++) {
        if (p->init[i] == NULL)
            continue;
        buf_printf(&s->text, "%s\"%s\":{\"pto\":%" PRId64 ",\"number\":%" PRId64 "}", comma,
                   tl_rep_name[i], tl_period_pto(p, (enum tl_rep)i), p->number);
        comma = ",";
    }
    buf_puts(&s->text, "}}");
    put(s, RECORD_PERIOD, 0);
    for (int i = 0; i < TL_REPS; i++) {
        const struct init *init = p->init[i];

        if (init == NULL)
            continue;
        buf_printf(&s->text, "{\"rep\":\"%s\",%s,\"hash\":\"%s\"}", tl_rep_name[i], init->about,
                   init->hash);
        put(s, RECORD_INIT, init->n);
        buf_add(s->out, init->bytes, init->n);
    }
}

static void on_open(void *ctx, enum tl_rep rep, int64_t n, int64_t t, int64_t d)
{
    struct enc_stream *s = ctx;

    buf_printf(&s->text, "{\"rep\":\"%s\",\"n\":%" PRId64 ",\"t\":%" PRId64, tl_rep_name[rep], n,
               t);
    if (d > 0)
        buf_printf(&s->text, ",\"d\":%" PRId64, d);
    buf_puts(&s->text, "}");
    put(s, RECORD_OPEN, 0);
}

static void on_chunk(void *ctx, const struct tl_chunk *c)
{
    struct enc_stream *s = ctx;

    buf_reset(&s->head);
    cmaf_put_head(&s->head, &c->cmaf);
    CHECK(s->head.st == ST_OK || s->head.st == ST_ENOMEM);
    if (s->head.st != ST_OK && s->out->st == ST_OK)
        s->out->st = s->head.st;
    buf_printf(&s->text,
               "{\"rep\":\"%s\",\"n\":%" PRId64 ",\"t\":%" PRId64 ",\"d\":%" PRId64
               ",\"sap\":%d,\"next_tag\":%" PRIu64 ",\"state\":%s}",
               tl_rep_name[c->rep], c->n, c->cmaf.tfdt, c->d, c->sap, c->next_tag, c->state);
    buf_expect(s->out, RECORD_FIXED + s->text.len + s->head.len + c->media_bytes);
    put(s, RECORD_CHUNK, s->head.len + c->media_bytes);
    buf_add(s->out, s->head.data, s->head.len);
    buf_add(s->out, c->media, c->media_bytes);
}

static void on_close(void *ctx, enum tl_rep rep, int64_t n, int64_t d)
{
    struct enc_stream *s = ctx;

    buf_printf(&s->text, "{\"rep\":\"%s\",\"n\":%" PRId64 ",\"d\":%" PRId64 "}", tl_rep_name[rep],
               n, d);
    put(s, RECORD_CLOSE, 0);
}

static const struct timeline_ops ops = { on_period, on_open, on_chunk, on_close };

static void put_health(struct enc_stream *s, uint32_t speed_percent, uint32_t lag_ms)
{
    const struct timeline_counts *c = timeline_counts(s->tl);

    buf_printf(&s->text,
               "{\"speed\":%" PRIu32 ".%02" PRIu32 ",\"lag_ms\":%" PRIu32 ",\"repaired\":%" PRIu64
               ",\"dropped\":%" PRIu64,
               speed_percent / 100, speed_percent % 100, lag_ms, c->repaired,
               c->dropped + s->broken);
    if (s->advice != NULL)
        buf_printf(&s->text, ",\"refused\":\"%s\"", s->advice);
    buf_puts(&s->text, "}");
    put(s, RECORD_HEALTH, 0);
}

/* --- tags --- */

static enum st refuse(struct enc_stream *s, enum st st, const char *advice)
{
    s->advice = advice;
    return st;
}

/* What is in an access unit: NAL units that fill it exactly, at least one of them a slice. */
struct unit {
    bool good;
    bool idr;
    bool disposable;
};

static struct unit look_into(const uint8_t *p, size_t n, unsigned length_bytes)
{
    struct rd r = rd_init(p, n);
    struct unit u = { .disposable = true };

    while (rd_left(&r) > 0) {
        size_t size = (size_t)rd_be(&r, length_bytes);
        const uint8_t *nal = rd_bytes(&r, size);

        if (r.bad || size == 0)
            return (struct unit){ .good = false };
        unsigned type = nal[0] & 0x1f;

        if (type < NAL_SLICE || type > NAL_IDR)
            continue;
        u.good = true;
        u.idr = u.idr || type == NAL_IDR;
        u.disposable = u.disposable && (nal[0] & 0x60) == 0;
    }
    return u;
}

static enum st take_config(struct enc_stream *s, const struct flv_media *m, bool video)
{
    struct init *init;
    enum st st;

    if (m->n == 0)
        return ST_OK; /* some say goodbye so */
    st = video ? init_video_new(m->data, m->n, &init) : init_audio_new(m->data, m->n, &init);
    if (st == ST_ENOMEM)
        return st;
    if (st != ST_OK)
        return refuse(s, st,
                      video ? "the H.264 configuration cannot be used: at most 8192x4320"
                            : "the AAC configuration cannot be used: choose AAC-LC or HE-AAC");
    timeline_config(s->tl, init);
    if (video) {
        init_unref(&s->video);
        s->video = init_ref(init);
    }
    init_unref(&init);
    return ST_OK;
}

static enum st take_frame(struct enc_stream *s, const struct flv_media *m, uint64_t tag, bool video)
{
    struct tl_frame f = {
        .tag = tag, .ms = s->ms, .cts_ms = m->cts_ms, .data = m->data, .n = m->n
    };
    enum st st;

    s->resume = NULL; /* not numbered in time */
    if (video) {
        struct unit u = { .good = false };

        if (s->video != NULL)
            u = look_into(m->data, m->n, s->video->length_bytes);
        f.sync = u.idr;
        f.disposable = u.disposable;
        if (!u.good) {
            s->broken++;
            return ST_OK;
        }
        st = timeline_video(s->tl, &f);
    } else {
        if (m->n == 0) {
            s->broken++;
            return ST_OK;
        }
        st = timeline_audio(s->tl, &f);
    }
    if (st == ST_ELIMIT)
        return refuse(s, st, "no key frame for 20 s: set the key frame interval to 2 s");
    return st;
}

static enum st take_media(struct enc_stream *s, const struct flv_tag *tag, uint64_t number)
{
    bool video = tag->type == FLV_VIDEO;
    struct flv_media m;
    enum st st =
        video ? flv_video_parse(tag->body, tag->n, &m) : flv_audio_parse(tag->body, tag->n, &m);

    if (st != ST_OK) {
        s->broken++;
        return ST_OK;
    }
    if (m.packet != FLV_CONFIG && m.packet != FLV_FRAME)
        return ST_OK;
    if (m.codec != (video ? FLV_AVC1 : FLV_MP4A))
        return refuse(s, ST_EPROTO,
                      video ? "the video codec is not served: choose H.264"
                            : "the audio codec is not served: choose AAC");
    return m.packet == FLV_CONFIG ? take_config(s, &m, video) : take_frame(s, &m, number, video);
}

static bool time_ok(int64_t ms) { return llabs(ms) <= INT64_C(1) << TL_MS_BITS; }

static enum st take_mark(struct enc_stream *s, const struct flv_mark *mark)
{
    if (!time_ok(mark->base_ms))
        return refuse(s, ST_EPROTO, "a time stamp out of all bounds");
    s->tag = mark->tag;
    s->ms = mark->base_ms;
    if (s->resume != NULL && timeline_resume(s->tl, s->resume) != ST_OK)
        s->broken++;
    s->resume = NULL;
    if (mark->discontinuity)
        timeline_discontinuity(s->tl, mark->tag);
    if (mark->has_anchor)
        timeline_anchor(s->tl, mark->anchor_us);
    return ST_OK;
}

static enum st take_tag(struct enc_stream *s, const struct flv_tag *tag)
{
    uint64_t number;
    struct flv_mark mark;

    if (tag->type == FLV_SCRIPT) {
        enum st st = flv_mark_parse(tag, &mark);

        if (st == ST_OK)
            return take_mark(s, &mark);
        if (st != ST_ENOENT)
            return refuse(s, st, "a mark that cannot be read");
    }
    number = s->tag++;
    s->ms = flv_unwrap(s->ms, tag->ts_ms);
    if (!time_ok(s->ms))
        return refuse(s, ST_EPROTO, "a time stamp out of all bounds");
    return tag->type == FLV_SCRIPT ? ST_OK : take_media(s, tag, number);
}

enum st enc_stream_feed(struct enc_stream *s, const void *p, size_t n, struct buf *out)
{
    struct rd in = rd_init(p, n);
    struct flv_tag tag;
    enum st st;

    OBJ_CHECK(s, STREAM_MAGIC);
    s->out = out;
    while ((st = flv_next(&s->flv, &in, &tag)) == ST_OK) {
        st = take_tag(s, &tag);
        if (st == ST_OK)
            st = out->st;
        if (st != ST_OK)
            break;
    }
    if (st < 0 && st != ST_ENOMEM && s->advice == NULL)
        s->advice = st == ST_ELIMIT ? "a tag is too large" : "this is not FLV";
    s->out = NULL;
    return st;
}

enum st enc_stream_end(struct enc_stream *s, struct buf *out)
{
    enum st st = flv_reader_end(&s->flv);

    OBJ_CHECK(s, STREAM_MAGIC);
    if (st != ST_OK) {
        s->advice = "it ended in the middle of a tag";
        return st;
    }
    s->out = out;
    timeline_end(s->tl);
    s->out = NULL;
    return out->st;
}

void enc_stream_refuse(struct enc_stream *s, struct buf *out)
{
    OBJ_CHECK(s, STREAM_MAGIC);
    s->out = out;
    timeline_end(s->tl);
    put_health(s, 0, 0);
    s->out = NULL;
}

void enc_stream_health(struct enc_stream *s, uint32_t speed_percent, uint32_t lag_ms,
                       struct buf *out)
{
    OBJ_CHECK(s, STREAM_MAGIC);
    s->out = out;
    put_health(s, speed_percent, lag_ms);
    s->out = NULL;
}

const struct timeline_counts *enc_stream_counts(const struct enc_stream *s)
{
    return timeline_counts(s->tl);
}

struct enc_stream *enc_stream_new(const struct timeline_conf *conf, const json_t *resume)
{
    struct enc_stream *s = calloc(1, sizeof *s);

    if (s == NULL)
        return NULL;
    OBJ_INIT(s, STREAM_MAGIC);
    s->resume = resume;
    flv_reader_init(&s->flv, ENC_TAG_BYTES_MAX);
    buf_init(&s->head, HEAD_BYTES_MAX);
    buf_init(&s->text, RECORD_JSON_MAX);
    s->tl = timeline_new(conf, &ops, s);
    if (s->tl == NULL)
        enc_stream_free(&s);
    return s;
}

void enc_stream_free(struct enc_stream **sp)
{
    struct enc_stream *s = *sp;

    *sp = NULL;
    if (s == NULL)
        return;
    OBJ_FINI(s, STREAM_MAGIC);
    timeline_free(&s->tl);
    flv_reader_fini(&s->flv);
    init_unref(&s->video);
    buf_fini(&s->head);
    buf_fini(&s->text);
    free(s);
}
