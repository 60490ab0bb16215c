/* encode/init.h - an init segment, and what manifests say about its track
 *
 * Purpose   from the configuration that the broadcaster sent (avcC, AudioSpecificConfig) to ftyp
 *           and moov, written by libavformat, bit-exact: equal configurations give equal bytes on
 *           any worker, and the hash of the bytes is the segment's name.
 * Units     ticks of `timescale`; video 90 kHz, audio its sample rate.
 * Owner     counted references, plain ints: init_ref(), init_unref().
 * Thread    one at a time.
 * Errors    EPROTO: a configuration that cannot be read or that we do not serve; ELIMIT: too large
 *           a picture; ENOMEM; EIO: libavformat refused it.
 * Tests     tests/unit/test_init.c
 */
#ifndef ENCODE_INIT_H
#define ENCODE_INIT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/status.h"

enum {
    INIT_VIDEO_TIMESCALE = 90000,
    INIT_VIDEO_TRACK = 1,
    INIT_AUDIO_TRACK = 2,
    INIT_HASH_TEXT = 9,
    INIT_ABOUT_MAX = 256,
    INIT_BYTES_MAX = 512 * 1024,
};

struct init {
    int magic;
    int refs;
    bool video;
    uint32_t track;
    uint32_t timescale;
    uint32_t frame_ticks;      /* audio: of each frame */
    unsigned length_bytes;     /* video: before each NAL unit */
    char hash[INIT_HASH_TEXT]; /* first 8 hex digits of the bytes' SHA-256 */
    /* JSON members for the INIT record: "codecs":"avc1.64001f","timescale":90000,... */
    char about[INIT_ABOUT_MAX];
    uint8_t *bytes;
    size_t n;
};

MUST_USE enum st init_video_new(const uint8_t *avcc, size_t n, struct init **out);
MUST_USE enum st init_audio_new(const uint8_t *asc, size_t n, struct init **out);
struct init *init_ref(struct init *i);
void init_unref(struct init **ip); /* NULL is a no-op; sets *ip to NULL */

#endif
