#include "origin/anchor.h"

#include <string.h>

#include "core/check.h"

#define SECOND_US INT64_C(1000000)
enum { SETTLE_S = 2, FALL_US = 50 * 1000, LATE_US = 500 * 1000 };

void anchor_init(struct anchor *a) { memset(a, 0, sizeof *a); }

void anchor_add(struct anchor *a, int64_t arrival_us, int64_t media_ms)
{
    int64_t second = arrival_us / SECOND_US, offset = arrival_us - media_ms * 1000;
    int i = (int)(second % ANCHOR_CELLS);

    if (!a->any || offset < a->fell_to - FALL_US) {
        a->any = true;
        a->fell_us = arrival_us;
        a->fell_to = offset;
    }
    if (a->cell_s[i] != second) {
        a->cell_s[i] = second;
        a->cell_min[i] = offset;
    } else if (offset < a->cell_min[i]) {
        a->cell_min[i] = offset;
    }
}

bool anchor_settled(const struct anchor *a, int64_t now_us)
{
    return a->any && now_us - a->fell_us >= SETTLE_S * SECOND_US;
}

static int64_t measured_us(const struct anchor *a, int64_t now_us)
{
    int64_t now_s = now_us / SECOND_US, least = INT64_MAX, newest_s = INT64_MIN, newest = 0;

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

int64_t anchor_us(const struct anchor *a, int64_t now_us)
{
    CHECK(a->any);
    int64_t measured = measured_us(a, now_us);

    return a->holds && a->held < measured ? a->held : measured;
}

void anchor_hold(struct anchor *a, int64_t now_us)
{
    int64_t held = anchor_us(a, now_us);

    anchor_init(a);
    a->held = held;
    a->holds = true;
}

bool anchor_let_go(struct anchor *a, int64_t now_us)
{
    if (!a->holds || !anchor_settled(a, now_us))
        return false;
    a->holds = false;
    return anchor_us(a, now_us) - a->held > LATE_US;
}
