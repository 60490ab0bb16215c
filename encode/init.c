/* libavformat writes the moov: it knows avcC, esds and all that players look at there. It gets an
 * output of ours, one track, no packets, and is thrown away after the header. */
#include "encode/init.h"

#include <libavformat/avformat.h>
#include <openssl/sha.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/aac.h"
#include "core/avc.h"
#include "core/buf.h"
#include "core/check.h"

enum { INIT_MAGIC = 0x1417b0c5, AVIO_BYTES = 4096 };

static int on_write(void *opaque, uint8_t *p, int n)
{
    struct buf *b = opaque;

    buf_add(b, p, (size_t)n);
    return b->st == ST_OK ? n : AVERROR(ENOMEM);
}

/* What the muxer needs to know of a track. */
struct track {
    bool video;
    int id;
    const uint8_t *config;
    size_t config_n;
    struct avc_sps sps; /* video */
    struct aac_config aac;
};

static enum st describe(AVFormatContext *fc, const struct track *t)
{
    AVStream *st = avformat_new_stream(fc, NULL);
    AVCodecParameters *par;

    if (st == NULL)
        return ST_ENOMEM;
    par = st->codecpar;
    st->id = t->id;
    par->extradata = av_mallocz(t->config_n + AV_INPUT_BUFFER_PADDING_SIZE);
    if (par->extradata == NULL)
        return ST_ENOMEM;
    memcpy(par->extradata, t->config, t->config_n);
    par->extradata_size = (int)t->config_n;
    if (t->video) {
        par->codec_type = AVMEDIA_TYPE_VIDEO;
        par->codec_id = AV_CODEC_ID_H264;
        par->width = (int)t->sps.width;
        par->height = (int)t->sps.height;
        st->sample_aspect_ratio.num = (int)t->sps.sar_num;
        st->sample_aspect_ratio.den = (int)t->sps.sar_den;
        par->sample_aspect_ratio = st->sample_aspect_ratio;
        st->time_base = (AVRational){ 1, INIT_VIDEO_TIMESCALE };
    } else {
        par->codec_type = AVMEDIA_TYPE_AUDIO;
        par->codec_id = AV_CODEC_ID_AAC;
        par->sample_rate = (int)t->aac.rate;
        par->frame_size = t->aac.frame_samples;
        av_channel_layout_default(&par->ch_layout, t->aac.channels);
        st->time_base = (AVRational){ 1, (int)t->aac.rate };
    }
    return ST_OK;
}

static enum st write_header(AVFormatContext *fc)
{
    AVDictionary *opts = NULL;
    int r;

    (void)av_dict_set(&opts, "movflags", "+cmaf+frag_custom+skip_trailer+frag_discont", 0);
    (void)av_dict_set(&opts, "video_track_timescale", "90000", 0);
    (void)av_dict_set(&opts, "use_stream_ids_as_track_ids", "1", 0);
    r = avformat_write_header(fc, &opts);
    av_dict_free(&opts);
    if (r < 0)
        return r == AVERROR(ENOMEM) ? ST_ENOMEM : ST_EIO;
    avio_flush(fc->pb);
    return ST_OK;
}

static enum st mux(const struct track *t, struct buf *out)
{
    AVFormatContext *fc = NULL;
    uint8_t *stage = av_malloc(AVIO_BYTES);
    AVIOContext *io = NULL;
    enum st st = ST_ENOMEM;

    if (stage != NULL)
        io = avio_alloc_context(stage, AVIO_BYTES, 1, out, NULL, on_write, NULL);
    if (io == NULL)
        av_free(stage);
    if (io != NULL && avformat_alloc_output_context2(&fc, NULL, "mp4", NULL) >= 0) {
        io->seekable = 0;
        fc->pb = io;
        fc->flags |= AVFMT_FLAG_BITEXACT;
        fc->avoid_negative_ts = AVFMT_AVOID_NEG_TS_DISABLED;
        st = describe(fc, t);
        if (st == ST_OK)
            st = write_header(fc);
        if (st == ST_OK)
            st = out->st;
    }
    avformat_free_context(fc);
    if (io != NULL)
        av_freep(&io->buffer);
    avio_context_free(&io);
    return st;
}

static enum st finish(struct init *i, const struct track *t, struct init **out)
{
    uint8_t digest[SHA256_DIGEST_LENGTH];
    struct buf b;
    enum st st;

    buf_init(&b, INIT_BYTES_MAX);
    st = mux(t, &b);
    if (st == ST_OK && b.len == 0)
        st = ST_EIO;
    if (st != ST_OK) {
        buf_fini(&b);
        init_unref(&i);
        return st;
    }
    i->bytes = buf_take(&b, &i->n);
    (void)SHA256(i->bytes, i->n, digest);
    (void)snprintf(i->hash, sizeof i->hash, "%02x%02x%02x%02x", (unsigned)digest[0],
                   (unsigned)digest[1], (unsigned)digest[2], (unsigned)digest[3]);
    *out = i;
    return ST_OK;
}

static struct init *init_new(bool video)
{
    struct init *i = calloc(1, sizeof *i);

    if (i == NULL)
        return NULL;
    OBJ_INIT(i, INIT_MAGIC);
    i->refs = 1;
    i->video = video;
    i->track = video ? INIT_VIDEO_TRACK : INIT_AUDIO_TRACK;
    return i;
}

static uint32_t common_divisor(uint32_t a, uint32_t b)
{
    while (b != 0) {
        uint32_t r = a % b;

        a = b;
        b = r;
    }
    return a;
}

static void say_video(struct init *i, const struct avc_sps *s)
{
    char codecs[AVC_CODECS_TEXT], fps[32] = "";
    uint32_t d = common_divisor(s->frame_num, s->frame_den);
    int n;

    if (d != 0 && s->frame_num > 0 && s->frame_den == d)
        (void)snprintf(fps, sizeof fps, ",\"fps\":\"%u\"", s->frame_num / d);
    else if (d != 0 && s->frame_num > 0 && s->frame_den > 0)
        (void)snprintf(fps, sizeof fps, ",\"fps\":\"%u/%u\"", s->frame_num / d, s->frame_den / d);
    n = snprintf(i->about, sizeof i->about,
                 "\"codecs\":\"%s\",\"timescale\":%u,\"w\":%u,\"h\":%u,\"sar\":\"%u:%u\"%s",
                 avc_codecs(s, codecs), i->timescale, s->width, s->height, s->sar_num, s->sar_den,
                 fps);
    CHECK(n > 0 && (size_t)n < sizeof i->about);
}

enum st init_video_new(const uint8_t *avcc, size_t n, struct init **out)
{
    struct track t = { .video = true, .id = INIT_VIDEO_TRACK, .config = avcc, .config_n = n };
    struct avc_config c;
    struct init *i;
    enum st st = avc_config_parse(avcc, n, &c);

    *out = NULL;
    if (st != ST_OK)
        return st;
    if ((i = init_new(true)) == NULL)
        return ST_ENOMEM;
    t.sps = c.info;
    i->timescale = INIT_VIDEO_TIMESCALE;
    i->length_bytes = c.length_bytes;
    say_video(i, &c.info);
    return finish(i, &t, out);
}

enum st init_audio_new(const uint8_t *asc, size_t n, struct init **out)
{
    struct track t = { .id = INIT_AUDIO_TRACK, .config = asc, .config_n = n };
    char codecs[AAC_CODECS_TEXT];
    struct init *i;
    enum st st = aac_config_parse(asc, n, &t.aac);
    int len;

    *out = NULL;
    if (st != ST_OK)
        return st;
    if ((i = init_new(false)) == NULL)
        return ST_ENOMEM;
    i->timescale = t.aac.rate;
    i->frame_ticks = t.aac.frame_samples;
    len = snprintf(i->about, sizeof i->about,
                   "\"codecs\":\"%s\",\"timescale\":%u,\"rate\":%u,\"channels\":%u",
                   aac_codecs(&t.aac, codecs), i->timescale, t.aac.output_rate, t.aac.channels);
    CHECK(len > 0 && (size_t)len < sizeof i->about);
    return finish(i, &t, out);
}

struct init *init_ref(struct init *i)
{
    OBJ_CHECK(i, INIT_MAGIC);
    i->refs++;
    return i;
}

void init_unref(struct init **ip)
{
    struct init *i = *ip;

    *ip = NULL;
    if (i == NULL)
        return;
    OBJ_CHECK(i, INIT_MAGIC);
    if (--i->refs > 0)
        return;
    OBJ_FINI(i, INIT_MAGIC);
    free(i->bytes);
    free(i);
}
