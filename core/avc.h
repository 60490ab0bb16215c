/* core/avc.h - what an H.264 configuration says
 *
 * Purpose   read the AVCDecoderConfigurationRecord that a broadcaster sends before its video, and
 *           the first sequence parameter set in it: size, sample aspect ratio, frame timing, and
 *           the codecs string of manifests. Every length is checked; nothing is decoded.
 * Spec      ISO/IEC 14496-15, 5.3.3.1; ITU-T H.264, 7.3.2.1.1 and annex E.
 * Units     pixels; a picture after cropping is 1x1 to 8192x4320 (either way round).
 * Owner     avc_config borrows the sets from the record.
 * Thread    any; no state.
 * Errors    EPROTO: broken, or no use to anybody; ELIMIT: too large.
 * Tests     tests/unit/test_avc.c, tests/fuzz/fuzz_avc.c
 */
#ifndef CORE_AVC_H
#define CORE_AVC_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/status.h"

enum {
    AVC_SET_MAX = 1024, /* bytes of one parameter set */
    AVC_LONG_MAX = 8192,
    AVC_SHORT_MAX = 4320,
    AVC_CODECS_TEXT = 12, /* "avc1.64001f" */
};

struct avc_sps {
    uint8_t profile, constraints, level; /* the three bytes as they stand */
    uint32_t width, height;              /* what is shown */
    uint32_t sar_num, sar_den;           /* 1:1 when nothing is said */
    bool interlaced;                     /* may hold fields */
    bool fixed_rate;
    uint32_t frame_num, frame_den; /* frames a second; 0/0 when nothing is said */
};

struct avc_config {
    unsigned length_bytes; /* before each NAL unit: 1, 2 or 4 */
    unsigned sps_count, pps_count;
    const uint8_t *sps, *pps; /* the first of each */
    size_t sps_n, pps_n;
    struct avc_sps info; /* of the first */
};

MUST_USE enum st avc_config_parse(const uint8_t *p, size_t n, struct avc_config *c);
/* nal: with its first byte, without a length or a start code. */
MUST_USE enum st avc_sps_parse(const uint8_t *nal, size_t n, struct avc_sps *s);

/* "avc1.64001f"; returns text. */
const char *avc_codecs(const struct avc_sps *s, char text[AVC_CODECS_TEXT]);

#endif
