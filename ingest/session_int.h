/* ingest/session_int.h - what session.c, session_command.c and session_media.c share
 *
 * Thread    one loop.
 * Tests     those of ingest/session.h.
 */
#ifndef INGEST_SESSION_INT_H
#define INGEST_SESSION_INT_H

#include "ingest/chunk.h"
#include "ingest/handshake.h"
#include "ingest/normalise.h"
#include "ingest/session.h"

enum { RTMP_APP_MAX = AUTH_TEXT_MAX };

struct rtmp_session {
    int magic;
    enum rtmp_state state;
    enum metric_ingest_close why;
    const struct rtmp_ops *ops;
    void *ctx;
    struct outq *out;
    struct rtmp_now now;
    struct handshake *handshake; /* NULL when it is done */
    struct chunk_demux *demux;
    struct buf reply; /* of this turn */

    uint32_t window; /* the peer's: we acknowledge so often */
    uint64_t received, acked;
    struct rtmp_limits lim;
    unsigned commands;
    uint64_t commands_us; /* when they began to be counted */

    bool connected, spoke;
    bool accepted; /* publish was accepted, and unpublish() not yet called */
    uint32_t last_msid;
    uint32_t msid; /* that publishes, or asks to */
    uint8_t app[RTMP_APP_MAX];
    size_t app_n;
    char client[RTMP_CLIENT_TEXT];

    struct normalise time;
    bool marked, have_avc, have_aac;
    int64_t mark_ms;
    uint64_t tag_no;
    uint64_t media_us;
    struct rtmp_stats stats;
};

/* Puts one of our messages into this turn's reply. */
void rtmp_send(struct rtmp_session *s, unsigned csid, uint8_t type, uint32_t msid,
               const struct buf *body);
/* "onStatus" about the stream that publishes. */
void rtmp_status(struct rtmp_session *s, uint32_t msid, const char *level, const char *code,
                 const char *text);
/* The first reason is the one that counts. Always ST_EPROTO. */
enum st rtmp_fail(struct rtmp_session *s, enum metric_ingest_close why);
/* The same, with a word to the broadcaster. */
enum st rtmp_reject(struct rtmp_session *s, enum metric_ingest_close why, const char *text);
void rtmp_unpublish(struct rtmp_session *s, enum rtmp_how how);
void rtmp_set_limits(struct rtmp_session *s);

/* session_command.c: body is AMF0. */
MUST_USE enum st rtmp_command(struct rtmp_session *s, uint32_t msid, const uint8_t *body, size_t n);
/* session_media.c: types 8, 9, 15, 18, 22 */
MUST_USE enum st rtmp_media(struct rtmp_session *s, const struct rtmp_msg *m);

#endif
