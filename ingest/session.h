/* ingest/session.h - one RTMP session with a broadcaster: bytes in, replies and FLV tags out
 *
 * Purpose   the whole of RTMP towards publishers, without sockets and clocks: handshake, chunk
 *           stream, commands, media. What a broadcaster publishes comes out as FLV tags in session
 *           time (ingest/normalise.h), with marks (core/flv.h) before the first tag, at
 *           discontinuities and every second. Replies go to `out`, all of a turn together.
 * Spec      Adobe RTMP 1.0, AMF0; connect's fields of Enhanced RTMP v2. H.264 and AAC.
 * Calls     publish() asks once; rtmp_session_accept() or _refuse() answers, from inside it or
 *           later. Until then no more input is taken. After accept: mark() and tag(), then
 *           unpublish() once for each accept, also when the session fails or is freed.
 *           A callback may call anything here but _free().
 * End       feed says EPROTO: rtmp_session_why() is the reason, and what is in `out` (which may say
 *           so to the broadcaster) should arrive before the connection closes.
 * Owner     the connection. target, tag and media are borrowed for the call.
 * Thread    one loop.
 * Errors    feed: OK (all taken, or waiting for an answer), EPROTO.
 * Tests     tests/unit/test_session.c, tests/fuzz/fuzz_session.c
 */
#ifndef INGEST_SESSION_H
#define INGEST_SESSION_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/flv.h"
#include "core/metric.h"
#include "core/outq.h"
#include "core/rd.h"
#include "ingest/auth.h"

enum {
    RTMP_WINDOW_BYTES = 2500000,
    RTMP_CHUNK_BYTES = 65536, /* of ours; some clients then send such ones too */
    RTMP_MARK_MS = 1000,
    RTMP_CLIENT_TEXT = 64,
};

struct rtmp_now {
    uint64_t mono_us;
    int64_t wall_us;
};

struct rtmp_limits {
    uint32_t before_bytes;  /* any message before publish, and all unfinished ones together */
    uint32_t data_bytes;    /* a command or data after it */
    uint32_t media_bytes;   /* a frame, below 16 MiB */
    uint32_t memory_bytes;  /* unfinished messages of a publisher */
    uint32_t control_bytes; /* replies that wait for a broadcaster who does not read */
    uint32_t commands_s;    /* commands and control messages in a second */
};
#define RTMP_LIMITS_DEFAULT                                                        \
    {                                                                              \
        .before_bytes = 64 << 10, .data_bytes = 256 << 10, .media_bytes = 8 << 20, \
        .memory_bytes = 8 << 20, .control_bytes = 64 << 10, .commands_s = 50       \
    }

enum rtmp_state {
    RTMP_HANDSHAKE,
    RTMP_COMMANDS,
    RTMP_ASKED, /* publish() waits for its answer */
    RTMP_PUBLISHING,
    RTMP_CLOSING,
};

enum rtmp_how {
    RTMP_ENDED,   /* the broadcaster said so: FCUnpublish, deleteStream */
    RTMP_DROPPED, /* everything else: may come back */
};

struct rtmp_ops {
    /* At connect: is there such an application for publishers? */
    bool (*app)(void *ctx, const char *app);
    void (*publish)(void *ctx, const struct auth_target *t);
    void (*mark)(void *ctx, const struct flv_mark *mark);
    /* media: NULL for script tags. */
    void (*tag)(void *ctx, const struct flv_tag *tag, const struct flv_media *media);
    void (*unpublish)(void *ctx, enum rtmp_how how);
    /* The names were refused: for counters. */
    void (*refused)(void *ctx, enum auth_why why);
};

struct rtmp_stats {
    uint64_t bytes; /* received */
    uint64_t frames[METRIC_MEDIA_N], dropped[METRIC_MEDIA_N];
    uint64_t repaired, timelines;
};

struct rtmp_session;
/* seed: see ingest/handshake.h. Limits are copied. NULL: out of memory. */
struct rtmp_session *rtmp_session_new(const struct rtmp_ops *ops, void *ctx, struct outq *out,
                                      uint64_t seed, const struct rtmp_limits *lim);
void rtmp_session_free(struct rtmp_session **sp);
MUST_USE enum st rtmp_session_feed(struct rtmp_session *s, struct rd *in,
                                   const struct rtmp_now *now);

/* tags are numbered from 0; the first one is put at base_ms. */
void rtmp_session_accept(struct rtmp_session *s, int64_t base_ms);
/* The broadcaster reads `text`. why: BUSY, AUTH, APP, ... */
void rtmp_session_refuse(struct rtmp_session *s, enum metric_ingest_close why, const char *text);
/* Ends it from our side, in any state. text: NULL, nothing is said. */
void rtmp_session_end(struct rtmp_session *s, enum metric_ingest_close why, const char *text);

enum rtmp_state rtmp_session_state(const struct rtmp_session *s);
enum metric_ingest_close rtmp_session_why(const struct rtmp_session *s);
bool rtmp_session_spoke(const struct rtmp_session *s); /* it told the broadcaster why */
enum metric_fault rtmp_close_fault(enum metric_ingest_close why);
const struct rtmp_stats *rtmp_session_stats(const struct rtmp_session *s);
const char *rtmp_session_client(const struct rtmp_session *s); /* flashVer; any bytes but zero */
size_t rtmp_session_memory(const struct rtmp_session *s);
uint64_t rtmp_session_media_us(const struct rtmp_session *s); /* when media came last */

#endif
