#include "origin/anchor.h"

#include <string.h>

#include "core/check.h"

#define SECOND_US INT64_C(1000000)
#define STALE_US (2 * SECOND_US) /* players are so far behind */
enum { LATE_US = 500 * 1000 };

void anchor_init(struct anchor *a) { memset(a, 0, sizeof *a); }

void anchor_add(struct anchor *a, int64_t arrival_us, int64_t media_ms)
{
    int64_t second = arrival_us / SECOND_US, offset = arrival_us - media_ms * 1000;
    int i = (int)(second % ANCHOR_CELLS);

    a->any = true;
    if (a->cell_s[i] != second) {
        a->cell_s[i] = second;
        a->cell_min[i] = offset;
    } else if (offset < a->cell_min[i]) {
        a->cell_min[i] = offset;
    }
}

int64_t anchor_us(const struct anchor *a, int64_t now_us)
{
    int64_t now_s = now_us / SECOND_US, least = INT64_MAX, newest_s = INT64_MIN, newest = 0;

    CHECK(a->any);
    for (int i = 0; i < ANCHOR_CELLS; i++) {
        if (a->cell_s[i] == 0)
            continue;
        if (a->cell_s[i] > newest_s) {
            newest_s = a->cell_s[i];
            newest = a->cell_min[i];
        }
        if (a->cell_s[i] > now_s - ANCHOR_CELLS && a->cell_min[i] < least)
            least = a->cell_min[i];
    }
    return least != INT64_MAX ? least : newest; /* silence: the last that was known */
}

void anchor_pause(struct anchor *a, int64_t now_us)
{
    a->known = anchor_us(a, now_us);
    a->back = true;
    a->looks = false;
}

enum anchor_verdict anchor_judge(struct anchor *a, int64_t arrival_us, int64_t media_ms)
{
    int64_t lag = arrival_us - media_ms * 1000 - a->known;

    if (!a->back)
        return ANCHOR_GOOD;
    if (lag <= LATE_US) {
        a->back = false;
        return ANCHOR_GOOD;
    }
    if (!a->looks || arrival_us - a->look_us >= SECOND_US) {
        if (a->looks && a->look_lag - lag < SECOND_US / 2) {
            anchor_init(a);
            return ANCHOR_ANEW;
        }
        a->looks = true;
        a->look_us = arrival_us;
        a->look_lag = lag;
    }
    return lag > STALE_US ? ANCHOR_STALE : ANCHOR_GOOD;
}
