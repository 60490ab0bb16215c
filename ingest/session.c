/* The state machine and the messages below commands and media. A turn is one call from outside:
 * what is said in it is collected in `reply` and goes out at its end, in whole messages. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/check.h"
#include "core/clock.h"
#include "ingest/amf.h"
#include "ingest/session_int.h"

enum { SESSION_MAGIC = 0x05e5510a, PING_REQUEST = 6, PING_RESPONSE = 7 };

struct rtmp_session *rtmp_session_new(const struct rtmp_ops *ops, void *ctx, struct outq *out,
                                      uint64_t seed, const struct rtmp_limits *lim)
{
    struct rtmp_session *s = calloc(1, sizeof *s);

    if (s == NULL)
        return NULL;
    OBJ_INIT(s, SESSION_MAGIC);
    s->ops = ops;
    s->ctx = ctx;
    s->out = out;
    s->window = RTMP_WINDOW_BYTES;
    s->lim = *lim;
    buf_init(&s->reply, lim->control_bytes);
    s->handshake = malloc(sizeof *s->handshake);
    s->demux = chunk_demux_new(&(struct chunk_limits){ .media_bytes = s->lim.before_bytes,
                                                       .other_bytes = s->lim.before_bytes,
                                                       .memory_bytes = s->lim.before_bytes });
    if (s->handshake == NULL || s->demux == NULL) {
        rtmp_session_free(&s);
        return NULL;
    }
    handshake_init(s->handshake, seed);
    return s;
}

void rtmp_session_free(struct rtmp_session **sp)
{
    struct rtmp_session *s = *sp;

    *sp = NULL;
    if (s == NULL)
        return;
    OBJ_CHECK(s, SESSION_MAGIC);
    rtmp_unpublish(s, RTMP_DROPPED);
    OBJ_FINI(s, SESSION_MAGIC);
    free(s->handshake);
    chunk_demux_free(&s->demux);
    buf_fini(&s->reply);
    free(s);
}

enum rtmp_state rtmp_session_state(const struct rtmp_session *s) { return s->state; }
enum metric_ingest_close rtmp_session_why(const struct rtmp_session *s) { return s->why; }
bool rtmp_session_spoke(const struct rtmp_session *s) { return s->spoke; }
const struct rtmp_stats *rtmp_session_stats(const struct rtmp_session *s) { return &s->stats; }
const char *rtmp_session_client(const struct rtmp_session *s) { return s->client; }
uint64_t rtmp_session_media_us(const struct rtmp_session *s) { return s->media_us; }

size_t rtmp_session_memory(const struct rtmp_session *s)
{
    return sizeof *s + (s->handshake != NULL ? sizeof *s->handshake : 0) + s->reply.room +
           chunk_demux_memory(s->demux);
}

/*  reason, whose fault */
#define FAULTS(X)              \
    X(ENDED, NOBODY)           \
    X(PEER_FIN, PEER)          \
    X(PEER_RESET, PEER)        \
    X(TLS_HANDSHAKE, PEER)     \
    X(TLS_ERROR, PEER)         \
    X(HANDSHAKE_TIMEOUT, PEER) \
    X(HTTP, PEER)              \
    X(TLS, PEER)               \
    X(RTMPE, PEER)             \
    X(VERSION, PEER)           \
    X(CHUNK_HEADER, PEER)      \
    X(CHUNK_IN_MESSAGE, PEER)  \
    X(CHUNK_STREAMS, PEER)     \
    X(CHUNK_SIZE, PEER)        \
    X(MESSAGE_SIZE, PEER)      \
    X(MESSAGE_MEMORY, PEER)    \
    X(CONTROL, PEER)           \
    X(AGGREGATE, PEER)         \
    X(AMF, PEER)               \
    X(AMF_LIMIT, PEER)         \
    X(COMMAND, PEER)           \
    X(COMMAND_RATE, PEER)      \
    X(CONTROL_QUEUE, PEER)     \
    X(NAME, PEER)              \
    X(APP, POLICY)             \
    X(AUTH, POLICY)            \
    X(BUSY, POLICY)            \
    X(PUBLISH_TIMEOUT, PEER)   \
    X(IDLE, PEER)              \
    X(CODEC, POLICY)           \
    X(CODEC_CONFIG, PEER)      \
    X(TIMESTAMPS, PEER)        \
    X(REPLACED, POLICY)        \
    X(KICKED, OPERATOR)        \
    X(QUARANTINE, PEER)        \
    X(UNAVAILABLE, US)         \
    X(MEMORY, US)              \
    X(SHUTDOWN, OPERATOR)

enum metric_fault rtmp_close_fault(enum metric_ingest_close why)
{
    switch (why) {
#define X(reason, fault)               \
    case METRIC_INGEST_CLOSE_##reason: \
        return METRIC_FAULT_##fault;
        FAULTS(X)
#undef X
    case METRIC_INGEST_CLOSE_N:
        break;
    }
    return METRIC_FAULT_US;
}

/* --- what others here use --- */

enum st rtmp_fail(struct rtmp_session *s, enum metric_ingest_close why)
{
    if (s->state != RTMP_CLOSING) {
        s->why = why;
        rtmp_unpublish(s, RTMP_DROPPED);
        s->state = RTMP_CLOSING;
    }
    return ST_EPROTO;
}

enum st rtmp_reject(struct rtmp_session *s, enum metric_ingest_close why, const char *text)
{
    const char *code = why == METRIC_INGEST_CLOSE_BUSY ? "NetStream.Publish.BadName"
                       : why == METRIC_INGEST_CLOSE_AUTH || why == METRIC_INGEST_CLOSE_NAME
                           ? "NetStream.Publish.Denied"
                           : "NetStream.Publish.Rejected";

    if (s->state != RTMP_CLOSING) {
        rtmp_status(s, s->msid, "error", code, text);
        s->spoke = true;
    }
    return rtmp_fail(s, why);
}

void rtmp_unpublish(struct rtmp_session *s, enum rtmp_how how)
{
    if (s->state == RTMP_PUBLISHING || s->state == RTMP_ASKED)
        s->state = RTMP_COMMANDS;
    if (!s->accepted)
        return;
    s->accepted = false;
    rtmp_set_limits(s);
    s->ops->unpublish(s->ctx, how);
}

void rtmp_set_limits(struct rtmp_session *s)
{
    struct chunk_limits lim = { .media_bytes = s->lim.before_bytes,
                                .other_bytes = s->lim.before_bytes,
                                .memory_bytes = s->lim.before_bytes };

    if (s->accepted)
        lim = (struct chunk_limits){ .media_bytes = s->lim.media_bytes,
                                     .other_bytes = s->lim.data_bytes,
                                     .memory_bytes = s->lim.memory_bytes };
    chunk_demux_set_limits(s->demux, &lim);
}

void rtmp_send(struct rtmp_session *s, unsigned csid, uint8_t type, uint32_t msid,
               const struct buf *body)
{
    if (body->st != ST_OK && s->reply.st == ST_OK)
        s->reply.st = body->st;
    if (body->st == ST_OK)
        chunk_put(
            &s->reply, csid,
            &(struct rtmp_msg){ .type = type, .msid = msid, .body = body->data, .n = body->len },
            s->connected ? RTMP_CHUNK_BYTES : CHUNK_SIZE_FIRST);
}

void rtmp_status(struct rtmp_session *s, uint32_t msid, const char *level, const char *code,
                 const char *text)
{
    struct buf b;

    buf_init(&b, AMF_STRING_MAX);
    amf_put_string(&b, "onStatus");
    amf_put_number(&b, 0);
    amf_put_null(&b);
    amf_put_object(&b);
    amf_put_key(&b, "level");
    amf_put_string(&b, level);
    amf_put_key(&b, "code");
    amf_put_string(&b, code);
    amf_put_key(&b, "description");
    amf_put_string(&b, text);
    amf_put_end(&b);
    rtmp_send(s, 5, RTMP_COMMAND, msid, &b);
    buf_fini(&b);
}

/* The end of a turn. */
static void flush(struct rtmp_session *s)
{
    enum st st = s->reply.st;

    if (st == ST_OK && s->reply.len > 0)
        st = outq_copy(s->out, s->reply.data, s->reply.len);
    if (st != ST_OK)
        (void)rtmp_fail(s, st == ST_ELIMIT ? METRIC_INGEST_CLOSE_CONTROL_QUEUE
                                           : METRIC_INGEST_CLOSE_MEMORY);
    else if (outq_bytes(s->out) > s->lim.control_bytes)
        (void)rtmp_fail(s, METRIC_INGEST_CLOSE_CONTROL_QUEUE);
    buf_fini(&s->reply); /* idle most of the time: it keeps no memory */
}

/* --- messages --- */

static void acknowledge(struct rtmp_session *s)
{
    struct buf b;

    if (s->received - s->acked < s->window)
        return;
    s->acked = s->received;
    buf_init(&b, 4);
    buf_be(&b, s->received & UINT32_MAX, 4);
    rtmp_send(s, 2, RTMP_ACK, 0, &b);
    buf_fini(&b);
}

static void user_control(struct rtmp_session *s, struct rd *r)
{
    struct buf b;
    uint32_t stamp;

    if (rd_u16be(r) != PING_REQUEST)
        return;
    stamp = rd_u32be(r);
    if (r->bad)
        return;
    buf_init(&b, 6);
    buf_be(&b, PING_RESPONSE, 2);
    buf_be(&b, stamp, 4);
    rtmp_send(s, 2, RTMP_USER_CONTROL, 0, &b);
    buf_fini(&b);
}

static enum st control(struct rtmp_session *s, const struct rtmp_msg *m)
{
    struct rd r = rd_init(m->body, m->n);
    uint32_t v;

    if (m->type == RTMP_USER_CONTROL) {
        user_control(s, &r);
        return r.bad ? rtmp_fail(s, METRIC_INGEST_CLOSE_CONTROL) : ST_OK;
    }
    v = rd_u32be(&r);
    if (r.bad)
        return rtmp_fail(s, METRIC_INGEST_CLOSE_CONTROL);
    if (m->type == RTMP_SET_CHUNK_SIZE && chunk_demux_set_size(s->demux, v) != ST_OK)
        return rtmp_fail(s, METRIC_INGEST_CLOSE_CHUNK_SIZE);
    if (m->type == RTMP_ABORT)
        chunk_demux_abort(s->demux, v);
    if (m->type == RTMP_WINDOW_ACK_SIZE)
        s->window = v > 0 ? v : RTMP_WINDOW_BYTES;
    return ST_OK;
}

static bool too_many(struct rtmp_session *s)
{
    if (s->now.mono_us - s->commands_us >= SEC_US) {
        s->commands_us = s->now.mono_us;
        s->commands = 0;
    }
    return ++s->commands > s->lim.commands_s;
}

static enum st message(struct rtmp_session *s, const struct rtmp_msg *m)
{
    size_t skip = m->type == RTMP_COMMAND_AMF3 && m->n > 0 && m->body[0] == 0 ? 1 : 0;

    switch (m->type) {
    case RTMP_AUDIO:
    case RTMP_VIDEO:
    case RTMP_DATA:
    case RTMP_DATA_AMF3:
    case RTMP_AGGREGATE:
        return rtmp_media(s, m);
    case RTMP_ACK:
        return ST_OK;
    default:
        break;
    }
    if (too_many(s))
        return rtmp_fail(s, METRIC_INGEST_CLOSE_COMMAND_RATE);
    switch (m->type) {
    case RTMP_SET_CHUNK_SIZE:
    case RTMP_ABORT:
    case RTMP_USER_CONTROL:
    case RTMP_WINDOW_ACK_SIZE:
    case RTMP_SET_PEER_BANDWIDTH:
        return control(s, m);
    case RTMP_COMMAND:
    case RTMP_COMMAND_AMF3:
        return rtmp_command(s, m->msid, m->body + skip, m->n - skip);
    default:
        return ST_OK; /* shared objects and what else there was */
    }
}

/* --- bytes --- */

static enum metric_ingest_close handshake_reason(enum handshake_why why)
{
    switch (why) {
    case HANDSHAKE_HTTP:
        return METRIC_INGEST_CLOSE_HTTP;
    case HANDSHAKE_TLS:
        return METRIC_INGEST_CLOSE_TLS;
    case HANDSHAKE_RTMPE:
        return METRIC_INGEST_CLOSE_RTMPE;
    case HANDSHAKE_VERSION:
    case HANDSHAKE_GOOD:
        break;
    }
    return METRIC_INGEST_CLOSE_VERSION;
}

static enum metric_ingest_close chunk_reason(enum chunk_why why)
{
    switch (why) {
    case CHUNK_NO_HEADER:
        return METRIC_INGEST_CLOSE_CHUNK_HEADER;
    case CHUNK_IN_MESSAGE:
        return METRIC_INGEST_CLOSE_CHUNK_IN_MESSAGE;
    case CHUNK_MANY_IDS:
        return METRIC_INGEST_CLOSE_CHUNK_STREAMS;
    case CHUNK_LONG:
        return METRIC_INGEST_CLOSE_MESSAGE_SIZE;
    case CHUNK_MEMORY:
        return METRIC_INGEST_CLOSE_MESSAGE_MEMORY;
    case CHUNK_SIZE_ZERO:
        return METRIC_INGEST_CLOSE_CHUNK_SIZE;
    case CHUNK_OUT_OF_MEMORY:
    case CHUNK_GOOD:
        break;
    }
    return METRIC_INGEST_CLOSE_MEMORY;
}

static enum st shake_hands(struct rtmp_session *s, struct rd *in)
{
    enum st st = handshake_next(s->handshake, in, &s->reply);

    if (st == ST_EPROTO)
        return rtmp_fail(s, handshake_reason(s->handshake->why));
    if (st < ST_OK)
        return rtmp_fail(s, METRIC_INGEST_CLOSE_MEMORY);
    if (st == ST_OK) {
        free(s->handshake);
        s->handshake = NULL;
        s->state = RTMP_COMMANDS;
    }
    return st;
}

/* MORE: all input taken. */
static enum st take_messages(struct rtmp_session *s, struct rd *in)
{
    enum st st = ST_OK;

    while (st == ST_OK && s->state != RTMP_ASKED) {
        const uint8_t *from = in->p;
        struct rtmp_msg m;

        st = chunk_next(s->demux, in, &m);
        s->received += (uint64_t)(in->p - from);
        if (st < ST_OK)
            return rtmp_fail(s, chunk_reason(chunk_why(s->demux)));
        if (st == ST_OK)
            st = message(s, &m);
        if (s->state == RTMP_CLOSING) /* also by a callback */
            return ST_EPROTO;
    }
    return st;
}

enum st rtmp_session_feed(struct rtmp_session *s, struct rd *in, const struct rtmp_now *now)
{
    const uint8_t *from = in->p;
    enum st st = ST_OK;

    OBJ_CHECK(s, SESSION_MAGIC);
    s->now = *now;
    if (s->state == RTMP_HANDSHAKE)
        st = shake_hands(s, in);
    if (st == ST_OK && s->state != RTMP_CLOSING)
        st = take_messages(s, in);
    s->stats.bytes += (uint64_t)(in->p - from);
    s->stats.repaired = s->time.repaired;
    s->stats.timelines = s->time.timelines;
    if (s->state != RTMP_CLOSING)
        acknowledge(s);
    flush(s);
    return s->state == RTMP_CLOSING ? ST_EPROTO : ST_OK;
}

/* --- answers --- */

void rtmp_session_accept(struct rtmp_session *s, int64_t base_ms)
{
    OBJ_CHECK(s, SESSION_MAGIC);
    CHECK(s->state == RTMP_ASKED);
    s->state = RTMP_PUBLISHING;
    s->accepted = true;
    s->media_us = s->now.mono_us;
    s->marked = s->have_avc = s->have_aac = false;
    s->tag_no = 0;
    normalise_init(&s->time, base_ms);
    rtmp_set_limits(s);
    rtmp_status(s, s->msid, "status", "NetStream.Publish.Start", "publishing");
    flush(s);
}

void rtmp_session_refuse(struct rtmp_session *s, enum metric_ingest_close why, const char *text)
{
    OBJ_CHECK(s, SESSION_MAGIC);
    CHECK(s->state == RTMP_ASKED);
    (void)rtmp_reject(s, why, text);
    flush(s);
}

void rtmp_session_end(struct rtmp_session *s, enum metric_ingest_close why, const char *text)
{
    OBJ_CHECK(s, SESSION_MAGIC);
    if (text != NULL && s->connected)
        (void)rtmp_reject(s, why, text);
    else
        (void)rtmp_fail(s, why);
    flush(s);
}
