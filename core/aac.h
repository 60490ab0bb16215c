/* core/aac.h - what an AAC configuration says
 *
 * Purpose   read the AudioSpecificConfig that a broadcaster sends before its audio: rate, channels,
 *           samples per frame, and the codecs string of manifests. Nothing is decoded.
 * Spec      ISO/IEC 14496-3, 1.6.2.1 and 4.4.1. Object types: 2 (LC), 5 (HE: LC and SBR), 29 (HE
 *           v2: and PS); SBR that is announced behind an LC configuration is seen too.
 * Units     Hz, samples of the core decoder.
 * Thread    any; no state.
 * Errors    EPROTO: broken, or not one of these (a channel layout of its own among them).
 * Tests     tests/unit/test_aac.c, tests/fuzz/fuzz_aac.c
 */
#ifndef CORE_AAC_H
#define CORE_AAC_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/status.h"

enum { AAC_CODECS_TEXT = 12, AAC_CONFIG_MAX = 64 };

struct aac_config {
    uint8_t object;         /* 2, 5 or 29, as it announces itself */
    bool sbr, ps;           /* announced; an LC stream may still hold them */
    uint8_t channels;       /* of the core: 1 to 6, 8 */
    uint32_t rate;          /* of the core */
    uint32_t output_rate;   /* with SBR applied */
    uint16_t frame_samples; /* 1024 or 960, at `rate` */
};

MUST_USE enum st aac_config_parse(const uint8_t *p, size_t n, struct aac_config *c);

/* "mp4a.40.2"; returns text. */
const char *aac_codecs(const struct aac_config *c, char text[AAC_CODECS_TEXT]);

#endif
