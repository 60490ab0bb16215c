/* manifests/model, manifests/mpd: bytes are verbs. The model stays sane and refuses without a
 * trace (unit/model_drive.c); after each verb the manifest, if there is one, is well-formed, is
 * the same when written again, and mpd_same() sees through publishTime. */
#include <stdlib.h>
#include <string.h>

#include "core/check.h"
#include "manifests/mpd.h"
#include "tests/unit/model_drive.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { DOC_LIMIT = 1 << 20, VERBS_MAX = 2000 };

static bool look(struct model_drive *d)
{
    const struct model *m = d->m;
    struct mpd_opts o = { .publish_us = 1760000001000000,
                          .window_us = d->taken % 3 == 0 ? 4000000 : 0,
                          .in_session = d->taken % 2 == 0 };
    struct buf a, b;
    enum st st;

    buf_init(&a, DOC_LIMIT);
    buf_init(&b, DOC_LIMIT);
    st = mpd_write(&a, m, &o);
    CHECK(st == ST_OK || (st == (m->ended ? ST_ENOENT : ST_MORE) && a.len == 0));
    CHECK(st != ST_OK || (xml_well_formed(buf_text(&a)) && strstr(buf_text(&a), "<S ") != NULL));
    o.publish_us += 1234000;
    CHECK(mpd_write(&b, m, &o) == st);
    CHECK(mpd_same(a.data, a.len, b.data, b.len));
    CHECK(st != ST_OK || strcmp(buf_text(&a), buf_text(&b)) != 0);
    buf_fini(&a);
    buf_fini(&b);
    return d->taken + d->refused < VERBS_MAX;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct model_drive d = { .m = model_drive_new(), .step = look };

    model_drive_run(&d, data, size);
    model_free(&d.m);
    return 0;
}
