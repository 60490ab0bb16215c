#include "core/h2_guard.h"

#include <string.h>
#include <strings.h>

#include "core/clock.h"

const struct h2_limits h2_limits_player = {
    .max_streams = 100,
    .stream_window_bytes = 16 * 1024, /* players have nothing to send */
    .conn_window_bytes = 64 * 1024,
    .max_frame_bytes = 16 * 1024,
    .max_data_bytes = 16375, /* with its head one TLS record of 16 KiB */
    .max_header_bytes = 16 * 1024,
    .max_continuations = 8,
    .max_settings = 32,
    .max_control_bytes = 64 * 1024,
    .max_resets = 100,
    .max_resets_per_s = 20,
    .max_errors = 200,
    .max_control_frames = 500,
    .rate_us = 10 * SEC_US,
};

const struct h2_limits h2_limits_tier = {
    .max_streams = 4096,
    .stream_window_bytes = 8 * 1024 * 1024,
    .conn_window_bytes = 64 * 1024 * 1024,
    .max_frame_bytes = 64 * 1024,
    .max_data_bytes = 64 * 1024 - 9, /* four TLS records */
    .max_header_bytes = 64 * 1024,
    .max_continuations = 8,
    .max_settings = 32,
    .max_control_bytes = 1024 * 1024,
    .max_resets = 2000,
    .max_resets_per_s = 500,
    .max_errors = 1000,
    .max_control_frames = 5000,
    .rate_us = 10 * SEC_US,
};

static const struct {
    const char *name;
    enum st st;
} ends[] = {
#define X(n, s, f, d) { #n, ST_##s },
    H2_ENDS(X)
#undef X
};

static const struct {
    const char *name;
    bool error;
} resets[] = {
#define X(n, c, d) { #n, c },
    H2_RESETS(X)
#undef X
};

const char *h2_end_name(enum h2_end e) { return e < H2_END_COUNT ? ends[e].name : "?"; }

const char *h2_reset_name(enum h2_reset_reason r)
{
    return r < H2_RESET_COUNT ? resets[r].name : "?";
}

enum st h2_end_st(enum h2_end e) { return ends[e].st; }

bool h2_reset_is_error(enum h2_reset_reason r) { return resets[r].error; }

void h2_guard_init(struct h2_guard *g, const struct h2_limits *lim, uint64_t now_us)
{
    *g = (struct h2_guard){
        .lim = lim,
        .errors.start_us = now_us,
        .control.start_us = now_us,
        .reset_tokens = lim->max_resets * SEC_US,
        .reset_at_us = now_us,
    };
}

/* False: that was the max-th within the span. */
static bool below(struct h2_rate *r, uint64_t now_us, uint64_t span_us, uint32_t max)
{
    if (now_us - r->start_us >= span_us)
        *r = (struct h2_rate){ .start_us = now_us };
    return ++r->n < max;
}

bool h2_guard_error(struct h2_guard *g, uint64_t now_us)
{
    return below(&g->errors, now_us, g->lim->rate_us, g->lim->max_errors);
}

bool h2_guard_control(struct h2_guard *g, uint64_t now_us)
{
    return below(&g->control, now_us, g->lim->rate_us, g->lim->max_control_frames);
}

bool h2_guard_peer_reset(struct h2_guard *g, uint64_t now_us)
{
    const uint64_t full = g->lim->max_resets * SEC_US;
    uint64_t have = g->reset_tokens + (now_us - g->reset_at_us) * g->lim->max_resets_per_s;

    g->reset_at_us = now_us;
    g->reset_tokens = have < full ? have : full;
    if (g->reset_tokens < SEC_US)
        return false;
    g->reset_tokens -= SEC_US;
    return true;
}

void h2_guard_head(struct h2_guard *g) { g->authority_len = 0; }

static bool is(const char *what, const char *p, size_t n)
{
    return n == strlen(what) && memcmp(p, what, n) == 0;
}

/* Only what nghttp2 lets through and what has been used against caches and routers; it refuses
 * the rest by itself (the table in the test says what). */
bool h2_guard_field(struct h2_guard *g, const char *name, size_t name_len, const char *value,
                    size_t value_len)
{
    bool host = is("host", name, name_len);

    if (is(":method", name, name_len))
        return !is("CONNECT", value, value_len); /* we are nobody's proxy */
    if (host && g->authority_len > 0)
        return value_len == g->authority_len && strncasecmp(value, g->authority, value_len) == 0;
    if (!host && !is(":authority", name, name_len))
        return true;
    if (value_len == 0 || value_len > H2_HOST_MAX || memchr(value, '@', value_len) != NULL)
        return false;
    memcpy(g->authority, value, value_len);
    g->authority_len = (uint16_t)value_len;
    return true;
}
