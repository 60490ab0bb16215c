/* core/check.h - checks for our own mistakes
 *
 * Purpose   CHECK() is for what can only be false through a bug in this program; it stays on in
 *           release builds, says where, and aborts (the supervisor restarts). Never CHECK() what a
 *           peer, the kernel or the operator can influence: that is an enum st (core/status.h).
 *           CHECK_SLOW() is on in the dev, asan, tsan and fuzz presets only.
 *           OBJ_*() give every long-lived struct a magic number as its first field, so a stale or
 *           wrong pointer stops us at the first function that touches it.
 * Thread    any. The dump hook is set before threads start.
 * Tests     every unit test runs with them on.
 */
#ifndef CORE_CHECK_H
#define CORE_CHECK_H

#include <stddef.h>
#include <stdint.h>

_Noreturn void check_failed(const char *what, const char *func, const char *file, int line);

/* Called once before abort(), to dump what we know. May not allocate. */
void check_set_dump(void (*dump)(void));

#define CHECK(e) ((e) ? (void)0 : check_failed(#e, __func__, __FILE__, __LINE__))
#ifdef FRESHET_SLOW_CHECKS
    #define CHECK_SLOW(e) CHECK(e)
#else
    #define CHECK_SLOW(e) ((void)sizeof(e))
#endif

#define OBJ_INIT(p, m) ((p)->magic = (m))
#define OBJ_CHECK(p, m) CHECK((p) != NULL && (p)->magic == (m))
#define OBJ_FINI(p, m)     \
    do {                   \
        OBJ_CHECK(p, m);   \
        (p)->magic = ~(m); \
    } while (0)

/* The struct that embeds `member` at `p`. */
#define CONTAINER_OF(p, type, member) \
    ((type *)(void *)((char *)(uintptr_t)(p)-offsetof(type, member)))

#endif
