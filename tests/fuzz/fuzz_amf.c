/* ingest/amf: reading ends, stays inside, and never says more than its limits. */
#include <stdlib.h>
#include <string.h>

#include "core/check.h"
#include "ingest/amf.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static bool inside(const uint8_t *p, size_t n, const uint8_t *own, size_t size)
{
    return n == 0 || (p >= own && p + n <= own + size);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    uint8_t *own = malloc(size > 0 ? size : 1); /* exact size: ASan sees over-reads */
    unsigned depth = 0, members = 0;
    struct amf_event ev;
    struct amf a;
    enum st st;

    CHECK(own != NULL);
    if (size > 0)
        memcpy(own, data, size);
    a = amf_init(own, size);
    while ((st = amf_next(&a, &ev)) == ST_OK) {
        if (ev.kind == AMF_END)
            depth--;
        CHECK(ev.depth == depth && depth < AMF_DEPTH + 1);
        if (ev.kind == AMF_OBJECT || ev.kind == AMF_ARRAY)
            depth++;
        members += ev.kind != AMF_END && ev.depth > 0;
        CHECK(members <= AMF_KEYS && ev.n <= AMF_STRING_MAX);
        CHECK(inside(ev.s, ev.n, own, size) && inside(ev.key, ev.key_n, own, size));
    }
    CHECK(st != ST_EOF || depth == 0);
    free(own);
    return 0;
}
