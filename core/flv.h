/* core/flv.h - FLV: how tags travel from the door to the worker
 *
 * Purpose   one stream of numbered tags, written by ingest and the home and read by the home and
 *           the worker. The reader takes pieces of any size and hands out whole tags; a tag that
 *           lies whole in the input is borrowed from there, another one is collected, in memory
 *           that grows as its bytes arrive. The payload is what the broadcaster sent.
 * Spec      Adobe FLV 10.1, annex E; the extended video and audio headers of Enhanced RTMP v2 as
 *           far as one track of AVC and AAC needs them. Strict, since our own processes write it:
 *           flags and stream ids that must be zero, sizes after the tag that must be right.
 * Units     time stamps: session milliseconds modulo 2^32 (flv_unwrap() gives 64 bits). A tag's
 *           body is at most FLV_BODY_MAX bytes.
 * Owner     flv_reader belongs to who calls _init and _fini. tag->body is borrowed: until the next
 *           flv_next(), and no longer than the input.
 * Thread    one at a time.
 * Errors    flv_next: MORE (all input taken), EPROTO, ELIMIT (a body over `limit`), ENOMEM; a
 *           failure sticks. flv_reader_end: EPROTO in the middle of a tag.
 *           flv_video_parse, flv_audio_parse: EPROTO (too short, impossible).
 *           flv_mark_parse: ENOENT (a script tag, but not ours), EPROTO.
 * Tests     tests/unit/test_flv.c, tests/fuzz/fuzz_flv.c
 */
#ifndef CORE_FLV_H
#define CORE_FLV_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/buf.h"
#include "core/rd.h"
#include "core/status.h"

enum {
    FLV_BODY_MAX = 0xffffff,
    FLV_HEADER_BYTES = 9 + 4, /* with the size of no tag before the first */
    FLV_TAG_HEAD_BYTES = 11,
    FLV_TAG_TAIL_BYTES = 4,
    FLV_MARK_MAX = 256,      /* a whole mark tag */
    FLV_PAST_MAX = 32 << 10, /* the text of a past */
};

enum flv_type { FLV_AUDIO = 8, FLV_VIDEO = 9, FLV_SCRIPT = 18 };

struct flv_tag {
    enum flv_type type;
    uint32_t ts_ms;
    const uint8_t *body;
    size_t n;
};

struct flv_reader {
    int magic;
    enum st st;
    int state;
    size_t limit;
    uint8_t fixed[FLV_HEADER_BYTES];
    size_t have; /* of fixed[] */
    size_t left; /* of the body that is being collected */
    struct flv_tag head;
    struct buf body;
};

/* limit: of a body, at most FLV_BODY_MAX. */
void flv_reader_init(struct flv_reader *r, size_t limit);
void flv_reader_fini(struct flv_reader *r);
/* OK: one tag; call again with the same input. */
MUST_USE enum st flv_next(struct flv_reader *r, struct rd *in, struct flv_tag *tag);
/* The stream has ended: OK between tags only (and before the first byte). */
MUST_USE enum st flv_reader_end(struct flv_reader *r);

/* What goes before and after a body that is sent by reference. n is at most FLV_BODY_MAX. */
void flv_tag_head(uint8_t head[FLV_TAG_HEAD_BYTES], enum flv_type type, uint32_t ts_ms, size_t n);
void flv_tag_tail(uint8_t tail[FLV_TAG_TAIL_BYTES], size_t n);
/* The same into a buffer: the file header (audio and video announced), and a whole tag. */
void flv_put_header(struct buf *b);
void flv_put_tag(struct buf *b, const struct flv_tag *tag);

/* The 64-bit time that is nearest to `near_ms` and equals ts_ms modulo 2^32. */
int64_t flv_unwrap(int64_t near_ms, uint32_t ts_ms);

#define FLV_FOURCC(a, b, c, d) \
    ((uint32_t)(a) << 24 | (uint32_t)(b) << 16 | (uint32_t)(c) << 8 | (uint32_t)(d))
#define FLV_AVC1 FLV_FOURCC('a', 'v', 'c', '1')
#define FLV_MP4A FLV_FOURCC('m', 'p', '4', 'a')

enum flv_packet {
    FLV_CONFIG, /* data: avcC, AudioSpecificConfig */
    FLV_FRAME,  /* data: NAL units with lengths; one raw AAC frame */
    FLV_END,
    FLV_OTHER, /* legal, and nothing that we use: commands, colour info, more tracks, ... */
};

struct flv_media {
    uint32_t codec; /* FLV_AVC1, FLV_MP4A, another fourcc, or the number of a legacy codec */
    enum flv_packet packet;
    bool key;            /* video: a key frame */
    int32_t cts_ms;      /* video FRAME: presentation minus decoding time */
    const uint8_t *data; /* in the body */
    size_t n;
};

MUST_USE enum st flv_video_parse(const uint8_t *body, size_t n, struct flv_media *m);
MUST_USE enum st flv_audio_parse(const uint8_t *body, size_t n, struct flv_media *m);

/* The script tag `_freshet`: what the time stamps of the tags after it stand for. The tag's own
 * time stamp is base_ms modulo 2^32. All numbers stay below 2^53 in size. */
struct flv_mark {
    uint64_t tag;       /* the number of the next audio, video or script tag */
    int64_t base_ms;    /* session time here, not wrapped */
    bool discontinuity; /* the tags before and after do not belong together */
    int64_t arrival_us; /* wall clock when this was received from the broadcaster */
    bool has_anchor;    /* written by the home */
    int64_t anchor_us;  /* wall clock of session time zero */
};

void flv_put_mark(struct buf *b, const struct flv_mark *mark); /* a whole tag */
MUST_USE enum st flv_mark_parse(const struct flv_tag *tag, struct flv_mark *mark);

/* The script tag `_freshet_past`: one text, what another home has told of the Periods before. */
void flv_put_past(struct buf *b, const void *text,
                  size_t n); /* a whole tag; at most FLV_PAST_MAX */
/* ENOENT (another tag), EPROTO. The text stays in the tag. */
MUST_USE enum st flv_past_parse(const struct flv_tag *tag, const char **text, size_t *n);

#endif
