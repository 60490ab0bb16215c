/* core/avc: never reads outside, and what is accepted is inside its limits. */
#include <stdlib.h>
#include <string.h>

#include "core/avc.h"
#include "core/check.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void look(const struct avc_sps *s)
{
    char text[AVC_CODECS_TEXT];

    CHECK(s->width > 0 && s->height > 0 && s->width <= AVC_LONG_MAX && s->height <= AVC_LONG_MAX);
    CHECK(s->width <= AVC_SHORT_MAX || s->height <= AVC_SHORT_MAX);
    CHECK(s->sar_num > 0 && s->sar_den > 0 && (s->frame_num == 0) == (s->frame_den == 0));
    CHECK(strlen(avc_codecs(s, text)) == 11);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    uint8_t *own = malloc(size > 0 ? size : 1); /* exact size: ASan sees over-reads */
    struct avc_config c;
    struct avc_sps s;

    CHECK(own != NULL);
    if (size > 0)
        memcpy(own, data, size);
    if (avc_sps_parse(own, size, &s) == ST_OK)
        look(&s);
    if (avc_config_parse(own, size, &c) == ST_OK) {
        look(&c.info);
        CHECK(c.sps >= own && c.sps + c.sps_n <= own + size && c.sps_n > 0);
        CHECK(c.pps >= own && c.pps + c.pps_n <= own + size && c.pps_n > 0);
    }
    free(own);
    return 0;
}
