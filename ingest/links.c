#include "ingest/links.h"

#include <stdlib.h>

#include "core/check.h"

struct links *links_ref(struct links *s)
{
    CHECK(s->refs > 0);
    s->refs++;
    return s;
}

void links_unref(struct links **lp)
{
    struct links *s = *lp;

    *lp = NULL;
    if (s == NULL || --s->refs > 0)
        return;
    for (unsigned i = 0; i < s->n; i++)
        exchange_link_free(&s->link[i]);
    dcs_unref(&s->dcs);
    free(s);
}

struct links *links_new(struct loop *l, struct dcs *d)
{
    unsigned n = dcs_count(d);
    struct links *s = calloc(1, sizeof *s + n * sizeof s->link[0]);

    if (s == NULL) {
        dcs_unref(&d);
        return NULL;
    }
    s->refs = 1;
    s->dcs = d;
    for (s->n = 0; s->n < n; s->n++)
        if ((s->link[s->n] = exchange_link_new(l, &dcs_get(d, s->n)->peer)) == NULL) {
            links_unref(&s);
            return NULL;
        }
    return s;
}
