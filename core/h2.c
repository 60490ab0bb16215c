#include "core/h2.h"

#include <nghttp2/nghttp2.h>
#include <stdlib.h>
#include <string.h>

#include "core/check.h"
#include "core/h2_guard.h"
#include "core/loop.h"

/* What the library does and what is done here.
 *
 * nghttp2 1.52 frames, compresses, keeps windows and validates messages. It answers some breaches
 * with RST_STREAM and says so through on_invalid_frame_recv; others (content-length, windows) only
 * show as the RST_STREAM itself leaving. Both are counted, each breach once: a stream that has been
 * reset for any reason is `quiet`, and only the first to make it so counts.
 *
 * The library's callbacks cannot end a session politely, so a limit that is hit records `end`,
 * queues the GOAWAY and fails the callback; every callback fails once `end` is set. h2_feed() then
 * flushes and reports it.
 *
 * A DATA frame goes: read_length -> read (body->avail: how much) -> send_data (body->take: where),
 * with nothing in between, so a body keeps no promise between turns. send_data answers PAUSE when
 * the budget is used up, which ends nghttp2_session_mem_send() after the whole frame. */

enum { H2_MAGIC = 0x48321e55, STREAM_MAGIC = 0x48325717 };
/* The least memory that a frame takes in the library's own queue. */
enum { QUEUED_FRAME_BYTES = 64 };

struct stream {
    int magic;
    int32_t id;
    struct stream *next, **prevp;
    void *owner;
    struct h2_body *body; /* NULL: none, or not to be touched again */
    uint64_t body_bytes;
    uint64_t since_us;
    uint32_t header_bytes; /* of the block being read */
    enum h2_reset_reason reason;
    bool sent;          /* client: the library knows it by its id */
    bool informational; /* client: a 1xx is being read */
    bool head_done;
    bool peer_ended;
    bool responded;
    bool waiting; /* deferred until h2_resume() */
    bool quiet;   /* reset: no op but on_close any more */
    bool peer_reset;
};

struct h2 {
    int magic;
    bool server;
    int depth; /* inside the library */
    int shutdowns;
    enum h2_end end;
    nghttp2_session *session;
    struct loop *loop;
    const struct h2_ops *ops;
    void *ctx;
    struct stream *streams; /* newest first */
    unsigned open;
    unsigned unsent;
    int32_t last_id; /* server: the newest stream there was */
    size_t budget;
    struct outq q;
    struct h2_counts counts;
    struct h2_limits lim;
    struct h2_guard guard;
};

/* -- limits -- */

static int verdict(const struct h2 *h2)
{
    return h2->end == H2_END_NONE ? 0 : NGHTTP2_ERR_CALLBACK_FAILURE;
}

static void end(struct h2 *h2, enum h2_end why, uint32_t code)
{
    if (h2->end != H2_END_NONE)
        return; /* the first reason is the one that counts */
    h2->end = why;
    if (nghttp2_session_terminate_session(h2->session, code) != 0)
        h2->end = H2_END_NOMEM; /* no GOAWAY then */
}

static void calm_down(struct h2 *h2, enum h2_end why) { end(h2, why, H2_ENHANCE_YOUR_CALM); }

static void count_error(struct h2 *h2)
{
    h2->counts.errors++;
    if (!h2_guard_error(&h2->guard, loop_now(h2->loop)))
        calm_down(h2, H2_END_ERRORS);
}

static void count_control(struct h2 *h2)
{
    h2->counts.control_frames++;
    if (!h2_guard_control(&h2->guard, loop_now(h2->loop)))
        calm_down(h2, H2_END_CONTROL_FLOOD);
}

static void count_peer_reset(struct h2 *h2)
{
    h2->counts.peer_resets++;
    if (!h2_guard_peer_reset(&h2->guard, loop_now(h2->loop)))
        calm_down(h2, H2_END_RAPID_RESET);
}

static void check_control_queue(struct h2 *h2)
{
    size_t queued = outq_copied_bytes(&h2->q) +
                    nghttp2_session_get_outbound_queue_size(h2->session) * QUEUED_FRAME_BYTES;

    if (queued > h2->lim.max_control_bytes)
        calm_down(h2, H2_END_CONTROL_QUEUE);
}

/* -- streams -- */

static struct stream *find(const struct h2 *h2, int32_t id)
{
    struct stream *s = nghttp2_session_get_stream_user_data(h2->session, id);

    if (s == NULL && h2->unsent > 0) /* the library does not know it by its id before it is sent */
        for (s = h2->streams; s != NULL && s->id != id;)
            s = s->next;
    if (s != NULL)
        OBJ_CHECK(s, STREAM_MAGIC);
    return s;
}

static struct stream *stream_new(struct h2 *h2, int32_t id, void *owner)
{
    struct stream *s = calloc(1, sizeof *s);

    if (s == NULL)
        return NULL;
    OBJ_INIT(s, STREAM_MAGIC);
    s->id = id;
    s->owner = owner;
    s->next = h2->streams;
    s->prevp = &h2->streams;
    if (s->next != NULL)
        s->next->prevp = &s->next;
    h2->streams = s;
    h2->open++;
    h2->counts.streams++;
    return s;
}

static void stream_unlink(struct h2 *h2, struct stream *s)
{
    *s->prevp = s->next;
    if (s->next != NULL)
        s->next->prevp = s->prevp;
    h2->open--;
    if (!h2->server && !s->sent)
        h2->unsent--;
    /* so that nobody finds it from here on, the op included */
    (void)nghttp2_session_set_stream_user_data(h2->session, s->id, NULL);
}

static void stream_free(struct stream *s)
{
    OBJ_FINI(s, STREAM_MAGIC);
    free(s);
}

static void stream_close(struct h2 *h2, struct stream *s, uint32_t code)
{
    struct h2_close why = { .code = code,
                            .by_peer = s->peer_reset ||
                                       (s->reason == H2_RESET_NONE && code != H2_NO_ERROR),
                            .reason = s->reason };

    stream_unlink(h2, s);
    h2->ops->on_close(h2, s->owner, s->id, &why);
    stream_free(s);
}

/* From here on only on_close is left for this stream. */
static void hush(struct h2 *h2, struct stream *s, enum h2_reset_reason why)
{
    if (s->quiet)
        return;
    s->quiet = true;
    s->body = NULL;
    s->reason = why;
    h2->counts.resets[why]++;
    if (h2_reset_is_error(why))
        count_error(h2);
}

static void reset(struct h2 *h2, struct stream *s, uint32_t code, enum h2_reset_reason why)
{
    if (s->quiet)
        return;
    hush(h2, s, why);
    if (nghttp2_submit_rst_stream(h2->session, NGHTTP2_FLAG_NONE, s->id, code) != 0)
        end(h2, H2_END_NOMEM, H2_INTERNAL_ERROR);
}

/* -- what arrives -- */

/* Server: a stream that was there and is not any more. */
static bool is_over(const struct h2 *h2, int32_t id)
{
    return h2->server && id > 0 && id <= h2->last_id && find(h2, id) == NULL;
}

static int on_begin_frame(nghttp2_session *session, const nghttp2_frame_hd *hd, void *user)
{
    struct h2 *h2 = user;

    (void)session;
    switch (hd->type) {
    case NGHTTP2_RST_STREAM:
        count_peer_reset(h2);
        break;
    case NGHTTP2_PING:
    case NGHTTP2_SETTINGS:
    case NGHTTP2_PRIORITY:
    case NGHTTP2_GOAWAY:
        count_control(h2);
        break;
    case NGHTTP2_HEADERS: /* the library decodes it and says nothing */
        if (is_over(h2, hd->stream_id))
            count_error(h2);
        break;
    default: /* DATA: see on_frame_recv */
        break;
    }
    return verdict(h2);
}

static int on_begin_headers(nghttp2_session *session, const nghttp2_frame *frame, void *user)
{
    struct h2 *h2 = user;
    int32_t id = frame->hd.stream_id;
    struct stream *s = find(h2, id);

    if (frame->headers.cat != NGHTTP2_HCAT_REQUEST) {
        if (s != NULL)
            s->header_bytes = 0;
        return verdict(h2);
    }
    h2_guard_head(&h2->guard);
    h2->last_id = id;
    if ((s = stream_new(h2, id, NULL)) == NULL)
        return NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE;
    CHECK(nghttp2_session_set_stream_user_data(session, id, s) == 0);
    /* a GOAWAY that is queued has told the peer already that we did not serve this one */
    if (h2->shutdowns < 2)
        s->owner = h2->ops->on_stream(h2, h2->ctx, id);
    if (s->owner != NULL)
        return verdict(h2);
    reset(h2, s, H2_REFUSED_STREAM, H2_RESET_REFUSED);
    stream_unlink(h2, s);
    stream_free(s);
    return verdict(h2) != 0 ? verdict(h2) : NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE;
}

static bool is_1xx(const char *name, size_t name_len, const char *value, size_t value_len)
{
    return name_len == 7 && memcmp(name, ":status", 7) == 0 && value_len == 3 && value[0] == '1';
}

static int on_header(nghttp2_session *session, const nghttp2_frame *frame, const uint8_t *name_p,
                     size_t name_len, const uint8_t *value_p, size_t value_len, uint8_t flags,
                     void *user)
{
    struct h2 *h2 = user;
    struct stream *s = find(h2, frame->hd.stream_id);
    const char *name = (const char *)name_p, *value = (const char *)value_p;

    (void)session, (void)flags;
    if (s == NULL || s->quiet)
        return verdict(h2);
    s->header_bytes += (uint32_t)(name_len + value_len + 32);
    if (s->header_bytes > h2->lim.max_header_bytes)
        reset(h2, s, H2_ENHANCE_YOUR_CALM, H2_RESET_HEADER_LIST);
    else if (h2->server && !s->head_done &&
             !h2_guard_field(&h2->guard, name, name_len, value, value_len))
        reset(h2, s, H2_PROTOCOL_ERROR, H2_RESET_BAD_REQUEST);
    if (h2->end != H2_END_NONE)
        return verdict(h2);
    if (s->quiet)
        return NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE; /* spare us the rest of the block */
    if (!h2->server && is_1xx(name, name_len, value, value_len))
        s->informational = true; /* until its end */
    if (!s->informational && !s->head_done)
        h2->ops->on_header(h2, s->owner, s->id, name, name_len, value, value_len);
    return verdict(h2);
}

static int on_data(nghttp2_session *session, uint8_t flags, int32_t id, const uint8_t *p, size_t n,
                   void *user)
{
    struct h2 *h2 = user;
    struct stream *s = find(h2, id);

    (void)flags;
    if (nghttp2_session_consume_connection(session, n) != 0)
        end(h2, H2_END_NOMEM, H2_INTERNAL_ERROR);
    if (s != NULL && !s->quiet && h2->end == H2_END_NONE)
        h2->ops->on_data(h2, s->owner, id, p, n);
    return verdict(h2);
}

static void peer_ended(struct h2 *h2, struct stream *s)
{
    s->peer_ended = true;
    if (!s->quiet && h2->end == H2_END_NONE)
        h2->ops->on_end(h2, s->owner, s->id);
}

static void head_complete(struct h2 *h2, struct stream *s, bool last)
{
    if (s->informational) {
        s->informational = false;
        return;
    }
    if (!s->head_done) {
        s->head_done = true;
        h2->ops->on_head(h2, s->owner, s->id, last);
    }
    if (last)
        peer_ended(h2, s);
}

static int on_frame_recv(nghttp2_session *session, const nghttp2_frame *frame, void *user)
{
    struct h2 *h2 = user;
    struct stream *s = frame->hd.stream_id > 0 ? find(h2, frame->hd.stream_id) : NULL;
    bool last = (frame->hd.flags & NGHTTP2_FLAG_END_STREAM) != 0;

    (void)session;
    switch (frame->hd.type) {
    case NGHTTP2_HEADERS:
        if (s != NULL && !s->quiet)
            head_complete(h2, s, last);
        break;
    case NGHTTP2_DATA:
        if (frame->hd.length == frame->data.padlen && !last)
            count_control(h2);
        if (last && s != NULL)
            peer_ended(h2, s);
        break;
    case NGHTTP2_RST_STREAM:
        if (s != NULL)
            s->peer_reset = true;
        break;
    default:
        break;
    }
    return verdict(h2);
}

static int on_invalid_frame(nghttp2_session *session, const nghttp2_frame *frame, int error,
                            void *user)
{
    struct h2 *h2 = user;
    struct stream *s = frame->hd.stream_id > 0 ? find(h2, frame->hd.stream_id) : NULL;
    bool message = error == NGHTTP2_ERR_HTTP_HEADER || error == NGHTTP2_ERR_HTTP_MESSAGING;

    (void)session;
    if (s != NULL)
        hush(h2, s, message ? H2_RESET_BAD_REQUEST : H2_RESET_PROTOCOL);
    else
        count_error(h2);
    return verdict(h2);
}

static int on_stream_close(nghttp2_session *session, int32_t id, uint32_t code, void *user)
{
    struct h2 *h2 = user;
    struct stream *s = find(h2, id);

    (void)session;
    if (s != NULL)
        stream_close(h2, s, code);
    return 0;
}

/* -- what leaves -- */

/* Our answer is complete and the request is not: its rest is not wanted. */
static void answered(struct h2 *h2, struct stream *s)
{
    if (h2->server && !s->peer_ended)
        reset(h2, s, H2_NO_ERROR, H2_RESET_ANSWERED);
}

static int on_frame_send(nghttp2_session *session, const nghttp2_frame *frame, void *user)
{
    struct h2 *h2 = user;
    struct stream *s = frame->hd.stream_id > 0 ? find(h2, frame->hd.stream_id) : NULL;

    (void)session;
    switch (frame->hd.type) {
    case NGHTTP2_HEADERS:
        if (s != NULL && !h2->server && !s->sent) {
            s->sent = true;
            h2->unsent--;
        }
        if (s != NULL && (frame->hd.flags & NGHTTP2_FLAG_END_STREAM) != 0)
            answered(h2, s);
        break;
    case NGHTTP2_DATA:
        if (s != NULL && (frame->hd.flags & NGHTTP2_FLAG_END_STREAM) != 0)
            answered(h2, s);
        break;
    case NGHTTP2_RST_STREAM: /* unless we know of it, the peer made the library send it */
        if (s != NULL)
            hush(h2, s, H2_RESET_PROTOCOL);
        break;
    case NGHTTP2_GOAWAY: /* the same; the one thing it wants calm for is SETTINGS */
        if (frame->goaway.error_code != H2_NO_ERROR && h2->end == H2_END_NONE)
            h2->end = frame->goaway.error_code == H2_ENHANCE_YOUR_CALM ? H2_END_SETTINGS
                                                                       : H2_END_PROTOCOL;
        break;
    default:
        break;
    }
    return 0; /* not verdict(): the GOAWAY shall still go out */
}

static ssize_t on_read_length(nghttp2_session *session, uint8_t type, int32_t id,
                              int32_t conn_window, int32_t stream_window, uint32_t max_frame,
                              void *user)
{
    const struct h2 *h2 = user;

    (void)session, (void)type, (void)id, (void)conn_window, (void)stream_window;
    return max_frame < h2->lim.max_data_bytes ? max_frame : h2->lim.max_data_bytes;
}

/* The library sends RST_STREAM(INTERNAL_ERROR) for this answer. */
static ssize_t broken_body(struct h2 *h2, struct stream *s)
{
    hush(h2, s, H2_RESET_BROKEN_BODY);
    return NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE;
}

static ssize_t on_read(nghttp2_session *session, int32_t id, uint8_t *buf, size_t max,
                       uint32_t *flags, nghttp2_data_source *source, void *user)
{
    struct h2 *h2 = user;
    struct stream *s = source->ptr;
    size_t n = 0;
    bool last = false;

    (void)session, (void)id, (void)buf;
    OBJ_CHECK(s, STREAM_MAGIC);
    if (s->quiet || h2->end != H2_END_NONE)
        return NGHTTP2_ERR_DEFERRED;
    enum st st = s->body->avail(s->body, max, &n, &last);
    if (s->quiet || h2->end != H2_END_NONE)
        return NGHTTP2_ERR_DEFERRED;
    if (st == ST_MORE) {
        s->waiting = true;
        return NGHTTP2_ERR_DEFERRED;
    }
    if (st != ST_OK)
        return broken_body(h2, s);
    CHECK(n <= max && (n > 0 || last));
    *flags |= NGHTTP2_DATA_FLAG_NO_COPY;
    if (last)
        *flags |= NGHTTP2_DATA_FLAG_EOF;
    return (ssize_t)n;
}

static enum st queue_frame(struct h2 *h2, const uint8_t *head, const struct h2_slice *v, int count)
{
    enum st st = outq_copy(&h2->q, head, 9);

    for (int i = 0; i < count && st == ST_OK; i++)
        st = outq_borrow(&h2->q, v[i].p, v[i].n, v[i].own);
    return st;
}

static int on_send_data(nghttp2_session *session, nghttp2_frame *frame, const uint8_t *head,
                        size_t n, nghttp2_data_source *source, void *user)
{
    struct h2 *h2 = user;
    struct stream *s = source->ptr;
    struct h2_slice v[H2_SLICES_MAX];
    size_t sum = 0;
    int count = 0;

    (void)session, (void)frame;
    OBJ_CHECK(s, STREAM_MAGIC);
    if (n > 0)
        count = s->body->take(s->body, n, v, H2_SLICES_MAX);
    if (count < 0 || s->quiet)
        return (int)broken_body(h2, s);
    for (int i = 0; i < count; i++)
        sum += v[i].n;
    CHECK(sum == n);
    if (queue_frame(h2, head, v, count) != ST_OK) {
        end(h2, H2_END_NOMEM, H2_INTERNAL_ERROR);
        return NGHTTP2_ERR_CALLBACK_FAILURE;
    }
    s->body_bytes += n;
    s->since_us = loop_now(h2->loop);
    h2->counts.data_frames_out++;
    return outq_bytes(&h2->q) >= h2->budget ? NGHTTP2_ERR_PAUSE : 0;
}

/* -- the connection -- */

static nghttp2_session_callbacks *callbacks_new(void)
{
    nghttp2_session_callbacks *cb;

    if (nghttp2_session_callbacks_new(&cb) != 0)
        return NULL;
    nghttp2_session_callbacks_set_on_begin_frame_callback(cb, on_begin_frame);
    nghttp2_session_callbacks_set_on_begin_headers_callback(cb, on_begin_headers);
    nghttp2_session_callbacks_set_on_header_callback(cb, on_header);
    nghttp2_session_callbacks_set_on_data_chunk_recv_callback(cb, on_data);
    nghttp2_session_callbacks_set_on_frame_recv_callback(cb, on_frame_recv);
    nghttp2_session_callbacks_set_on_invalid_frame_recv_callback(cb, on_invalid_frame);
    nghttp2_session_callbacks_set_on_stream_close_callback(cb, on_stream_close);
    nghttp2_session_callbacks_set_on_frame_send_callback(cb, on_frame_send);
    nghttp2_session_callbacks_set_data_source_read_length_callback(cb, on_read_length);
    nghttp2_session_callbacks_set_send_data_callback(cb, on_send_data);
    return cb;
}

static nghttp2_option *option_new(const struct h2_limits *lim)
{
    nghttp2_option *opt;

    if (nghttp2_option_new(&opt) != 0)
        return NULL;
    nghttp2_option_set_no_auto_window_update(opt, 1);
    nghttp2_option_set_max_continuations(opt, lim->max_continuations);
    nghttp2_option_set_max_settings(opt, lim->max_settings);
    nghttp2_option_set_max_outbound_ack(opt, lim->max_control_bytes / QUEUED_FRAME_BYTES);
    /* ours comes first and says why; the library counts by a clock of its own */
    nghttp2_option_set_stream_reset_rate_limit(opt, UINT64_C(10) * lim->max_resets,
                                               UINT64_C(10) * lim->max_resets_per_s);
    return opt;
}

static int submit_settings(struct h2 *h2)
{
    const struct h2_limits *lim = &h2->lim;
    int32_t conn_window = (int32_t)lim->conn_window_bytes;
    nghttp2_settings_entry iv[] = {
        { NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS, lim->max_streams },
        { NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE, lim->stream_window_bytes },
        { NGHTTP2_SETTINGS_MAX_FRAME_SIZE, lim->max_frame_bytes },
        { NGHTTP2_SETTINGS_MAX_HEADER_LIST_SIZE, lim->max_header_bytes },
        { NGHTTP2_SETTINGS_NO_RFC7540_PRIORITIES, 1 },
    };

    if (!h2->server)
        iv[0] = (nghttp2_settings_entry){ NGHTTP2_SETTINGS_ENABLE_PUSH, 0 };
    if (nghttp2_submit_settings(h2->session, NGHTTP2_FLAG_NONE, iv, sizeof iv / sizeof iv[0]) != 0)
        return -1;
    return nghttp2_session_set_local_window_size(h2->session, NGHTTP2_FLAG_NONE, 0, conn_window);
}

static struct h2 *h2_new(struct loop *l, const struct h2_limits *lim, const struct h2_ops *ops,
                         void *ctx, bool server)
{
    struct h2 *h2 = calloc(1, sizeof *h2);
    nghttp2_session_callbacks *cb = callbacks_new();
    nghttp2_option *opt = option_new(lim);
    int rv = NGHTTP2_ERR_NOMEM;

    if (h2 != NULL && cb != NULL && opt != NULL)
        rv = server ? nghttp2_session_server_new2(&h2->session, cb, h2, opt)
                    : nghttp2_session_client_new2(&h2->session, cb, h2, opt);
    nghttp2_session_callbacks_del(cb);
    nghttp2_option_del(opt);
    if (rv != 0) {
        free(h2);
        return NULL;
    }
    OBJ_INIT(h2, H2_MAGIC);
    h2->server = server;
    h2->loop = l;
    h2->lim = *lim;
    h2->ops = ops;
    h2->ctx = ctx;
    h2_guard_init(&h2->guard, &h2->lim, loop_now(l));
    outq_init(&h2->q, &l->outq_pool);
    if (submit_settings(h2) != 0)
        h2_free(&h2);
    return h2;
}

struct h2 *h2_server_new(struct loop *l, const struct h2_limits *lim, const struct h2_ops *ops,
                         void *ctx)
{
    CHECK(ops->on_stream != NULL);
    return h2_new(l, lim, ops, ctx, true);
}

struct h2 *h2_client_new(struct loop *l, const struct h2_limits *lim, const struct h2_ops *ops,
                         void *ctx)
{
    return h2_new(l, lim, ops, ctx, false);
}

void h2_free(struct h2 **hp)
{
    struct h2 *h2 = *hp;

    if (h2 == NULL)
        return;
    OBJ_CHECK(h2, H2_MAGIC);
    CHECK(h2->depth == 0);
    *hp = NULL;
    while (h2->streams != NULL) {
        hush(h2, h2->streams, H2_RESET_SHUTDOWN);
        stream_close(h2, h2->streams, H2_CANCEL);
    }
    nghttp2_session_del(h2->session);
    outq_clear(&h2->q);
    OBJ_FINI(h2, H2_MAGIC);
    free(h2);
}

static void library_failed(struct h2 *h2, ssize_t error)
{
    switch (error) {
    case NGHTTP2_ERR_TOO_MANY_CONTINUATIONS:
        calm_down(h2, H2_END_CONTINUATIONS);
        break;
    case NGHTTP2_ERR_FLOODED:
        calm_down(h2, H2_END_CONTROL_QUEUE);
        break;
    case NGHTTP2_ERR_BAD_CLIENT_MAGIC:
        end(h2, H2_END_PROTOCOL, H2_PROTOCOL_ERROR);
        break;
    default: /* a callback's answer has set its own reason */
        end(h2, H2_END_NOMEM, H2_INTERNAL_ERROR);
        break;
    }
}

/* Heads are copied like control frames: no more of them than half of what those may take, so that
 * a client with many streams and a slow line is not taken for one that reads no answers. */
static bool is_full(const struct h2 *h2)
{
    return outq_bytes(&h2->q) >= h2->budget ||
           (h2->end == H2_END_NONE && outq_copied_bytes(&h2->q) >= h2->lim.max_control_bytes / 2);
}

/* Moves frames until the queue holds the budget; once ended, all that is left: GOAWAY. */
static void move_frames(struct h2 *h2, size_t budget)
{
    ssize_t n = 1;

    h2->depth++;
    h2->budget = h2->end == H2_END_NONE ? budget : SIZE_MAX;
    while (n > 0 && !is_full(h2)) {
        const uint8_t *p;

        n = nghttp2_session_mem_send(h2->session, &p);
        if (n < 0)
            library_failed(h2, n);
        else if (n > 0 && outq_copy(&h2->q, p, (size_t)n) != ST_OK)
            end(h2, H2_END_NOMEM, H2_INTERNAL_ERROR);
    }
    h2->depth--;
}

enum st h2_feed(struct h2 *h2, const void *p, size_t n)
{
    OBJ_CHECK(h2, H2_MAGIC);
    CHECK(h2->depth == 0);
    if (h2->end != H2_END_NONE)
        return h2_end_st(h2->end);
    h2->depth++;
    ssize_t rv = nghttp2_session_mem_recv(h2->session, p, n);
    h2->depth--;
    if (rv < 0)
        library_failed(h2, rv);
    check_control_queue(h2);
    if (h2->end != H2_END_NONE)
        move_frames(h2, SIZE_MAX);
    return h2_end_st(h2->end);
}

enum st h2_pump(struct h2 *h2, size_t budget)
{
    OBJ_CHECK(h2, H2_MAGIC);
    CHECK(h2->depth == 0);
    move_frames(h2, budget);
    check_control_queue(h2);
    if (h2->end != H2_END_NONE) {
        move_frames(h2, budget); /* it may have ended just now */
        return h2_end_st(h2->end);
    }
    return is_full(h2) && nghttp2_session_want_write(h2->session) ? ST_MORE : ST_OK;
}

struct outq *h2_outq(struct h2 *h2) { return &h2->q; }

void *h2_ctx(struct h2 *h2) { return h2->ctx; }

/* -- messages -- */

static enum st make_nv(nghttp2_nv *out, const struct h2_nv *nv, size_t n)
{
    size_t bytes = 0;

    CHECK(n <= H2_NV_MAX);
    for (size_t i = 0; i < n; i++) {
        out[i] = (nghttp2_nv){
            .name = (uint8_t *)(uintptr_t)nv[i].name, /* the library copies them */
            .value = (uint8_t *)(uintptr_t)nv[i].value,
            .namelen = nv[i].name_len,
            .valuelen = nv[i].value_len,
            .flags = nv[i].once ? NGHTTP2_NV_FLAG_NO_INDEX : NGHTTP2_NV_FLAG_NONE,
        };
        bytes += nv[i].name_len + nv[i].value_len;
    }
    return bytes <= H2_HEAD_MAX ? ST_OK : ST_ELIMIT;
}

static void set_body(struct h2 *h2, struct stream *s, struct h2_body *body)
{
    s->responded = true;
    s->body = body;
    s->since_us = loop_now(h2->loop);
}

enum st h2_respond(struct h2 *h2, int32_t id, const struct h2_nv *nv, size_t n,
                   struct h2_body *body)
{
    nghttp2_nv nva[H2_NV_MAX];
    struct stream *s;

    OBJ_CHECK(h2, H2_MAGIC);
    CHECK(h2->server);
    s = find(h2, id);
    if (s == NULL || s->quiet || h2->end != H2_END_NONE)
        return ST_ENOENT;
    CHECK(!s->responded);
    if (make_nv(nva, nv, n) != ST_OK)
        return ST_ELIMIT;
    nghttp2_data_provider source = { .source.ptr = s, .read_callback = on_read };
    if (nghttp2_submit_response(h2->session, id, nva, n, body != NULL ? &source : NULL) != 0)
        return ST_ENOMEM;
    set_body(h2, s, body);
    return ST_OK;
}

enum st h2_request(struct h2 *h2, const struct h2_nv *nv, size_t n, struct h2_body *body,
                   void *stream, int32_t *id)
{
    nghttp2_nv nva[H2_NV_MAX];
    struct stream *s;

    OBJ_CHECK(h2, H2_MAGIC);
    CHECK(!h2->server);
    if (!h2_accepts(h2) || make_nv(nva, nv, n) != ST_OK)
        return ST_ELIMIT;
    if ((s = stream_new(h2, 0, stream)) == NULL)
        return ST_ENOMEM;
    h2->unsent++;
    nghttp2_data_provider source = { .source.ptr = s, .read_callback = on_read };
    s->id = nghttp2_submit_request(h2->session, NULL, nva, n, body != NULL ? &source : NULL, s);
    if (s->id < 0) {
        stream_unlink(h2, s);
        stream_free(s);
        return ST_ENOMEM;
    }
    set_body(h2, s, body);
    *id = s->id;
    return ST_OK;
}

void h2_resume(struct h2 *h2, int32_t id)
{
    struct stream *s;

    OBJ_CHECK(h2, H2_MAGIC);
    s = find(h2, id);
    if (s == NULL || !s->waiting || s->quiet)
        return;
    s->waiting = false;
    s->since_us = loop_now(h2->loop);
    if (nghttp2_session_resume_data(h2->session, id) == NGHTTP2_ERR_NOMEM)
        end(h2, H2_END_NOMEM, H2_INTERNAL_ERROR);
}

void h2_consume(struct h2 *h2, int32_t id, size_t n)
{
    OBJ_CHECK(h2, H2_MAGIC);
    if (nghttp2_session_consume_stream(h2->session, id, n) == NGHTTP2_ERR_NOMEM)
        end(h2, H2_END_NOMEM, H2_INTERNAL_ERROR);
}

void h2_reset(struct h2 *h2, int32_t id, enum h2_code code, enum h2_reset_reason why)
{
    struct stream *s;

    OBJ_CHECK(h2, H2_MAGIC);
    CHECK(why != H2_RESET_NONE && why < H2_RESET_COUNT);
    s = find(h2, id);
    if (s != NULL)
        reset(h2, s, code, why);
}

void h2_priority(struct h2 *h2, int32_t id, int urgency, bool incremental)
{
    nghttp2_extpri pri = { .urgency = (uint32_t)urgency, .inc = incremental };

    OBJ_CHECK(h2, H2_MAGIC);
    CHECK(h2->server && urgency >= 0 && urgency <= 7);
    if (nghttp2_session_change_extpri_stream_priority(h2->session, id, &pri, 1) ==
        NGHTTP2_ERR_NOMEM)
        end(h2, H2_END_NOMEM, H2_INTERNAL_ERROR);
}

/* -- the end, and questions -- */

void h2_shutdown(struct h2 *h2)
{
    int rv;

    OBJ_CHECK(h2, H2_MAGIC);
    if (h2->end != H2_END_NONE || h2->shutdowns == 2)
        return;
    if (h2->server && h2->shutdowns == 0) {
        h2->shutdowns = 1;
        rv = nghttp2_submit_shutdown_notice(h2->session);
    } else {
        h2->shutdowns = 2;
        rv = nghttp2_submit_goaway(h2->session, NGHTTP2_FLAG_NONE,
                                   nghttp2_session_get_last_proc_stream_id(h2->session),
                                   H2_NO_ERROR, NULL, 0);
    }
    if (rv != 0)
        end(h2, H2_END_NOMEM, H2_INTERNAL_ERROR);
}

void h2_terminate(struct h2 *h2, enum h2_code code)
{
    OBJ_CHECK(h2, H2_MAGIC);
    end(h2, H2_END_TERMINATED, code);
}

bool h2_wants_read(const struct h2 *h2)
{
    return h2->end == H2_END_NONE && nghttp2_session_want_read(h2->session) != 0;
}

bool h2_wants_write(const struct h2 *h2)
{
    return outq_bytes(&h2->q) > 0 || nghttp2_session_want_write(h2->session) != 0;
}

bool h2_idle(const struct h2 *h2) { return h2->open == 0 && !h2_wants_write(h2); }

bool h2_done(const struct h2 *h2) { return !h2_wants_read(h2) && !h2_wants_write(h2); }

bool h2_accepts(const struct h2 *h2)
{
    return h2->end == H2_END_NONE && h2->shutdowns == 0 &&
           nghttp2_session_check_request_allowed(h2->session) != 0 &&
           h2->open < nghttp2_session_get_remote_settings(h2->session,
                                                          NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS);
}

bool h2_going_away(const struct h2 *h2)
{
    return h2->shutdowns == 0 && nghttp2_session_check_request_allowed(h2->session) == 0;
}

unsigned h2_streams_open(const struct h2 *h2) { return h2->open; }

enum h2_end h2_end_of(const struct h2 *h2) { return h2->end; }

enum st h2_stream_progress(const struct h2 *h2, int32_t id, struct h2_progress *out)
{
    const struct stream *s;

    OBJ_CHECK(h2, H2_MAGIC);
    s = find(h2, id);
    if (s == NULL)
        return ST_ENOENT;
    *out = (struct h2_progress){
        .body_bytes = s->body_bytes,
        .since_us = s->since_us,
        .waiting = s->waiting || s->body == NULL,
        .starved = nghttp2_session_get_remote_window_size(h2->session) <= 0 ||
                   nghttp2_session_get_stream_remote_window_size(h2->session, id) <= 0,
    };
    return ST_OK;
}

const struct h2_counts *h2_counts(const struct h2 *h2) { return &h2->counts; }
