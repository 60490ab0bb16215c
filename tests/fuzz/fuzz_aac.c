/* core/aac: never reads outside, and what is accepted is inside its limits. */
#include <stdlib.h>
#include <string.h>

#include "core/aac.h"
#include "core/check.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    uint8_t *own = malloc(size > 0 ? size : 1); /* exact size: ASan sees over-reads */
    char text[AAC_CODECS_TEXT];
    struct aac_config c;

    CHECK(own != NULL);
    if (size > 0)
        memcpy(own, data, size);
    if (aac_config_parse(own, size, &c) == ST_OK) {
        CHECK(c.channels >= 1 && c.channels <= 8);
        CHECK(c.rate >= 7350 && c.rate <= 96000);
        CHECK(c.output_rate >= 7350 && c.output_rate <= 96000);
        CHECK(c.frame_samples == 1024 || c.frame_samples == 960);
        CHECK(strlen(aac_codecs(&c, text)) >= 9);
    }
    free(own);
    return 0;
}
