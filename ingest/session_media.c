/* Media and data of a publisher: checked as far as a door can, and handed on as FLV tags. */
#include <stdio.h>
#include <string.h>

#include "core/aac.h"
#include "core/avc.h"
#include "ingest/amf.h"
#include "ingest/session_int.h"

static enum st drop(struct rtmp_session *s, enum metric_media kind)
{
    s->stats.dropped[kind]++;
    return ST_OK;
}

static void put_mark(struct rtmp_session *s, int64_t ms, bool discontinuity)
{
    s->marked = true;
    s->mark_ms = ms;
    s->ops->mark(s->ctx, &(struct flv_mark){ .tag = s->tag_no,
                                             .base_ms = ms,
                                             .discontinuity = discontinuity,
                                             .arrival_us = s->now.wall_us });
}

static enum st emit(struct rtmp_session *s, enum metric_media kind, uint32_t ts_ms,
                    struct flv_tag *tag, const struct flv_media *media)
{
    static const enum normalise_kind kinds[] = {
        [METRIC_MEDIA_AUDIO] = NORMALISE_AUDIO,
        [METRIC_MEDIA_VIDEO] = NORMALISE_VIDEO,
        [METRIC_MEDIA_DATA] = NORMALISE_DATA,
    };
    struct normalised at;
    bool jumped;

    if (normalise_next(&s->time, kinds[kind], ts_ms, s->now.mono_us, &at) != ST_OK)
        return rtmp_reject(s, METRIC_INGEST_CLOSE_TIMESTAMPS,
                           "the time stamps jump all the time; do audio and video have one clock?");
    jumped = at.begins && s->time.timelines > 0;
    if (!s->marked || jumped || at.ms - s->mark_ms >= RTMP_MARK_MS)
        put_mark(s, at.ms, jumped);
    if (s->state != RTMP_PUBLISHING)
        return ST_EPROTO; /* the callback ended it */
    tag->ts_ms = (uint32_t)(uint64_t)at.ms;
    s->tag_no++;
    s->stats.frames[kind]++;
    if (kind != METRIC_MEDIA_DATA)
        s->media_us = s->now.mono_us;
    s->ops->tag(s->ctx, tag, media);
    return s->state == RTMP_CLOSING ? ST_EPROTO : ST_OK;
}

static enum st codec_refused(struct rtmp_session *s, const char *media, const char *wanted,
                             uint32_t codec)
{
    char text[120], name[8];

    (void)snprintf(name, sizeof name, codec < 256 ? "%u" : "%c%c%c%c",
                   codec < 256 ? codec : codec >> 24, codec >> 16 & 0xff, codec >> 8 & 0xff,
                   codec & 0xff);
    (void)snprintf(text, sizeof text, "%s codec %s is not supported: use %s", media, name, wanted);
    return rtmp_reject(s, METRIC_INGEST_CLOSE_CODEC, text);
}

static enum st video(struct rtmp_session *s, uint32_t ts_ms, struct flv_tag *tag)
{
    struct avc_config config;
    struct flv_media m;

    if (flv_video_parse(tag->body, tag->n, &m) != ST_OK || m.packet == FLV_OTHER)
        return drop(s, METRIC_MEDIA_VIDEO);
    if (m.codec != FLV_AVC1)
        return codec_refused(s, "video", "H.264", m.codec);
    if (m.packet == FLV_CONFIG) {
        if (avc_config_parse(m.data, m.n, &config) != ST_OK)
            return rtmp_reject(s, METRIC_INGEST_CLOSE_CODEC_CONFIG,
                               "the H.264 configuration is broken, or its picture too large");
        s->have_avc = true;
    } else if (!s->have_avc) {
        return drop(s, METRIC_MEDIA_VIDEO);
    }
    return emit(s, METRIC_MEDIA_VIDEO, ts_ms, tag, &m);
}

static enum st audio(struct rtmp_session *s, uint32_t ts_ms, struct flv_tag *tag)
{
    struct aac_config config;
    struct flv_media m;

    if (flv_audio_parse(tag->body, tag->n, &m) != ST_OK || m.packet == FLV_OTHER)
        return drop(s, METRIC_MEDIA_AUDIO);
    if (m.codec != FLV_MP4A)
        return codec_refused(s, "audio", "AAC", m.codec);
    if (m.packet == FLV_CONFIG) {
        if (aac_config_parse(m.data, m.n, &config) != ST_OK)
            return rtmp_reject(s, METRIC_INGEST_CLOSE_CODEC_CONFIG,
                               "the AAC configuration is broken, or not AAC-LC or HE-AAC");
        s->have_aac = true;
    } else if (!s->have_aac) {
        return drop(s, METRIC_MEDIA_AUDIO);
    }
    return emit(s, METRIC_MEDIA_AUDIO, ts_ms, tag, &m);
}

/* Ours is ours alone; "@setDataFrame" is for servers, and what follows it is the data. */
static enum st data(struct rtmp_session *s, uint32_t ts_ms, struct flv_tag *tag)
{
    struct amf a = amf_init(tag->body, tag->n);
    struct amf_event ev;
    bool forged = false;
    unsigned at = 0;
    enum st st;

    while ((st = amf_next(&a, &ev)) == ST_OK) {
        if (ev.depth > 0 || ev.kind == AMF_END)
            continue;
        if (at == 0 && amf_string_is(&ev, "@setDataFrame")) {
            tag->n -= (size_t)(a.r.p - tag->body);
            tag->body = a.r.p;
            continue;
        }
        forged = forged || (at == 0 && (ev.kind != AMF_STRING || amf_string_is(&ev, "_freshet")));
        at++;
    }
    if (st != ST_EOF)
        return rtmp_fail(s,
                         st == ST_ELIMIT ? METRIC_INGEST_CLOSE_AMF_LIMIT : METRIC_INGEST_CLOSE_AMF);
    if (forged || at == 0)
        return drop(s, METRIC_MEDIA_DATA);
    return emit(s, METRIC_MEDIA_DATA, ts_ms, tag, NULL);
}

static enum st one(struct rtmp_session *s, uint8_t type, uint32_t ts_ms, const uint8_t *body,
                   size_t n)
{
    struct flv_tag tag = { .body = body, .n = n };

    if (n == 0) /* some encoders say "nothing yet" so */
        return ST_OK;
    switch (type) {
    case RTMP_VIDEO:
        tag.type = FLV_VIDEO;
        return video(s, ts_ms, &tag);
    case RTMP_AUDIO:
        tag.type = FLV_AUDIO;
        return audio(s, ts_ms, &tag);
    default:
        tag.type = FLV_SCRIPT;
        return data(s, ts_ms, &tag);
    }
}

/* Tags in one message; its time is that of the first of them. */
static enum st aggregate(struct rtmp_session *s, const struct rtmp_msg *m)
{
    struct rd r = rd_init(m->body, m->n);
    bool first = true;
    uint32_t first_ms = 0;
    enum st st = ST_OK;

    while (rd_left(&r) > 0 && st == ST_OK) {
        uint8_t type = rd_u8(&r);
        size_t n = (size_t)rd_be(&r, 3);
        uint32_t ts_ms = (uint32_t)rd_be(&r, 3);
        const uint8_t *body;

        ts_ms |= (uint32_t)rd_u8(&r) << 24;
        (void)rd_be(&r, 3);
        body = rd_bytes(&r, n);
        if (first)
            first_ms = ts_ms;
        first = false;
        if (r.bad || (type != RTMP_AUDIO && type != RTMP_VIDEO && type != RTMP_DATA))
            return rtmp_fail(s, METRIC_INGEST_CLOSE_AGGREGATE);
        if (rd_left(&r) > 0)
            (void)rd_u32be(&r); /* the size again; the last one may be missing */
        if (r.bad)
            return rtmp_fail(s, METRIC_INGEST_CLOSE_AGGREGATE);
        st = one(s, type, m->ts_ms + (ts_ms - first_ms), body, n);
        if (s->state != RTMP_PUBLISHING)
            return st;
    }
    return st;
}

enum st rtmp_media(struct rtmp_session *s, const struct rtmp_msg *m)
{
    size_t skip = m->type == RTMP_DATA_AMF3 && m->n > 0 && m->body[0] == 0 ? 1 : 0;

    if (s->state != RTMP_PUBLISHING || m->msid != s->msid)
        return drop(s, m->type == RTMP_AUDIO   ? METRIC_MEDIA_AUDIO
                       : m->type == RTMP_VIDEO ? METRIC_MEDIA_VIDEO
                                               : METRIC_MEDIA_DATA);
    if (m->type == RTMP_AGGREGATE)
        return aggregate(s, m);
    return one(s, m->type, m->ts_ms, m->body + skip, m->n - skip);
}
