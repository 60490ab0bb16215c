/* tests/unit/check_hook.h - a CHECK that fires comes back to the test instead of aborting
 *
 * dies(f, arg) is true when a CHECK in f(arg) fired. The message is kept off the screen. What f had
 * allocated before the CHECK is the caller's to free.
 */
#ifndef TESTS_UNIT_CHECK_HOOK_H
#define TESTS_UNIT_CHECK_HOOK_H

#include <fcntl.h>
#include <setjmp.h>
#include <stdbool.h>
#include <stddef.h>
#include <unistd.h>

#include "core/check.h"

static jmp_buf check_back;
static void check_jump(void) { longjmp(check_back, 1); }

static bool dies(void (*f)(void *), void *arg)
{
    const int saved = dup(2), null = open("/dev/null", O_WRONLY);
    volatile bool died = true;

    (void)dup2(null, 2);
    check_set_dump(check_jump);
    if (setjmp(check_back) == 0) {
        f(arg);
        died = false;
    }
    check_set_dump(NULL);
    (void)dup2(saved, 2);
    (void)close(saved);
    (void)close(null);
    return died;
}

#endif
