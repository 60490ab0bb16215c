/* core/own.h - a loop-local reference count that bytes on their way to a socket can hold
 *
 * Purpose   an output queue keeps borrowed bytes until the kernel has taken them; `own` is the
 *           reference it keeps them by. Embedded in whatever owns the bytes.
 * Owner     whoever holds a reference; the last own_unref() calls `last`, which frees.
 * Thread    one loop: a plain int.
 * Tests     tests/unit/test_loop.c
 */
#ifndef CORE_OWN_H
#define CORE_OWN_H

#include "core/check.h"

struct own {
    int refs;
    void (*last)(struct own *o); /* the count fell to zero */
};

static inline void own_init(struct own *o, void (*last)(struct own *o))
{
    o->refs = 1;
    o->last = last;
}

static inline struct own *own_ref(struct own *o)
{
    CHECK(o->refs > 0);
    o->refs++;
    return o;
}

/* NULL is a no-op; sets *op to NULL. */
static inline void own_unref(struct own **op)
{
    struct own *o = *op;

    *op = NULL;
    if (o == NULL)
        return;
    CHECK(o->refs > 0);
    if (--o->refs == 0)
        o->last(o);
}

#endif
