/* manifests/model_text: bytes are a file that claims to be ours. What is taken makes a sane model,
 * and what that writes is taken again and is the same text. */
#include <string.h>

#include "core/check.h"
#include "manifests/model_text.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static struct model *fresh(void)
{
    struct model_conf conf = { .session = "mflm0qk2a1b2c",
                               .ast_s = 1760000000,
                               .segment_us = 1000000,
                               .chunk_us = 200000,
                               .window_us = 60000000 };
    struct model *m;

    CHECK(model_new(&conf, &m) == ST_OK);
    return m;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct model *m = fresh(), *back = fresh();
    struct buf a, b;

    buf_init(&a, 1 << 20);
    buf_init(&b, 1 << 20);
    if (model_read(m, (const char *)data, size) == ST_OK) {
        model_write(m, &a);
        CHECK(a.st == ST_OK);
        CHECK(model_read(back, (const char *)a.data, a.len) == ST_OK);
        model_write(back, &b);
        CHECK(a.len == b.len && memcmp(a.data, b.data, a.len) == 0);
    }
    CHECK(model_sane(m));
    model_free(&m);
    model_free(&back);
    buf_fini(&a);
    buf_fini(&b);
    return 0;
}
