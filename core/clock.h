/* core/clock.h - the one door by which time enters
 *
 * Purpose   a monotonic clock for deadlines and the wall clock for people, headers and media
 *           anchors. Tests put their own source in and drive it.
 * Units     microseconds; wall time since the Unix epoch (UTC).
 * Thread    any; clock_use() before threads start, or from a test that owns all threads.
 * Tests     tests/unit/test_loop.c
 */
#ifndef CORE_CLOCK_H
#define CORE_CLOCK_H

#include <stdint.h>

#define MS_US UINT64_C(1000)
#define SEC_US UINT64_C(1000000)

struct clock_source {
    uint64_t (*mono_us)(void);
    int64_t (*wall_us)(void);
};

uint64_t clock_mono_us(void);
int64_t clock_wall_us(void);

void clock_use(const struct clock_source *src); /* borrowed; NULL: the kernel's again */

#endif
