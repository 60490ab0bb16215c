#include "core/clock.h"

#include <stddef.h>
#include <time.h>

static uint64_t read_us(clockid_t id)
{
    struct timespec ts;

    (void)clock_gettime(id, &ts);
    return (uint64_t)ts.tv_sec * SEC_US + (uint64_t)ts.tv_nsec / 1000u;
}

static uint64_t kernel_mono_us(void) { return read_us(CLOCK_MONOTONIC); }
static int64_t kernel_wall_us(void) { return (int64_t)read_us(CLOCK_REALTIME); }

static const struct clock_source kernel = { kernel_mono_us, kernel_wall_us };
static const struct clock_source *source = &kernel;

uint64_t clock_mono_us(void) { return source->mono_us(); }
int64_t clock_wall_us(void) { return source->wall_us(); }

void clock_use(const struct clock_source *src) { source = src != NULL ? src : &kernel; }
