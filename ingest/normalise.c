#include "ingest/normalise.h"

#include "core/flv.h"

void normalise_init(struct normalise *n, int64_t base_ms)
{
    *n = (struct normalise){ .base_ms = base_ms, .out_ms = base_ms };
    for (int k = 0; k < NORMALISE_KINDS; k++)
        n->kind[k].out_ms = base_ms - 1;
}

/* From now on in_ms is out_ms. */
static void begin(struct normalise *n, int64_t in_ms, int64_t out_ms)
{
    n->started = true;
    n->offset_ms = out_ms - in_ms;
    n->in_ms = in_ms;
    for (int k = 0; k < NORMALISE_KINDS; k++)
        n->kind[k].seen = false;
}

static enum st jump(struct normalise *n, int64_t in_ms, uint64_t now_us)
{
    int64_t passed_ms = (int64_t)((now_us - n->at_us) / 1000);

    if (n->jumps == 0 || now_us - n->window_us > NORMALISE_WINDOW_US) {
        n->window_us = now_us;
        n->jumps = 0;
    }
    if (++n->jumps > NORMALISE_JUMPS)
        return ST_ELIMIT;
    n->timelines++;
    begin(n, in_ms, n->out_ms + (passed_ms > 0 ? passed_ms : 1));
    return ST_OK;
}

/* FFmpeg's clock and others count in 31 bits: a step of almost that is their wrap. */
static int64_t unwrap(const struct normalise *n, uint32_t ts_ms)
{
    const int64_t half = INT64_C(1) << 31;
    int64_t in_ms = flv_unwrap(n->in_ms, ts_ms), step = in_ms - n->in_ms;

    if (!n->started)
        return in_ms;
    if (step >= half - NORMALISE_JUMP_MS)
        return in_ms - half;
    return step <= NORMALISE_JUMP_MS - half ? in_ms + half : in_ms;
}

static int64_t place_data(const struct normalise *n, uint32_t ts_ms)
{
    int64_t ms = unwrap(n, ts_ms) + n->offset_ms;

    if (!n->started)
        return n->base_ms;
    if (ms > n->out_ms || ms < n->out_ms - NORMALISE_BACK_MS)
        ms = n->out_ms;
    return ms > n->kind[NORMALISE_DATA].out_ms ? ms : n->kind[NORMALISE_DATA].out_ms;
}

enum st normalise_next(struct normalise *n, enum normalise_kind kind, uint32_t ts_ms,
                       uint64_t now_us, struct normalised *out)
{
    int64_t in_ms = unwrap(n, ts_ms), step;

    *out = (struct normalised){ .begins = !n->started };
    if (kind == NORMALISE_DATA) {
        out->ms = n->kind[kind].out_ms = place_data(n, ts_ms);
        out->begins = false;
        return ST_OK;
    }
    if (!n->started)
        begin(n, in_ms, n->base_ms);
    step = in_ms - (n->kind[kind].seen ? n->kind[kind].high_ms : n->in_ms);
    if (step > NORMALISE_JUMP_MS || step < -NORMALISE_BACK_MS) {
        enum st st = jump(n, in_ms, now_us);

        if (st != ST_OK)
            return st;
        out->begins = true;
    }
    out->ms = in_ms + n->offset_ms;
    if (out->ms < n->kind[kind].out_ms) {
        out->ms = n->kind[kind].out_ms + 1;
        out->repaired = true;
        n->repaired++;
    }
    if (!n->kind[kind].seen || in_ms > n->kind[kind].high_ms)
        n->kind[kind].high_ms = in_ms;
    n->kind[kind].seen = true;
    n->kind[kind].out_ms = out->ms;
    n->in_ms = in_ms;
    if (out->ms >= n->out_ms) {
        n->out_ms = out->ms;
        n->at_us = now_us;
    }
    return ST_OK;
}
