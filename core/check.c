#include "core/check.h"

#include <stdio.h>
#include <stdlib.h>

static void (*dump_hook)(void);

void check_set_dump(void (*dump)(void)) { dump_hook = dump; }

void check_failed(const char *what, const char *func, const char *file, int line)
{
    void (*dump)(void) = dump_hook;

    (void)fprintf(stderr, "CHECK(%s) failed in %s (%s:%d)\n", what, func, file, line);
    dump_hook = NULL; /* a check inside the dump must not recurse */
    if (dump != NULL)
        dump();
    abort();
}
