#include "encode/worker.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/uio.h>
#include <unistd.h>

#include "core/check.h"
#include "core/clock.h"
#include "core/h2.h"
#include "core/hand.h"
#include "core/io.h"
#include "core/listen.h"
#include "core/log.h"
#include "core/outq.h"
#include "encode/request.h"
#include "encode/stream.h"

enum { WORKER_MAGIC = 0x3077e501, CONN_MAGIC = 0x3077e502, EX_MAGIC = 0x3077e503 };
enum { READ_BYTES = 64 * 1024, READS_PER_WAKE = 4, PUMP_BYTES = 256 * 1024 };
enum { REFUSAL_BYTES = 4096, SPEED_MAX = 100000 };

static const struct h2_limits limits = {
    .max_streams = 1024,
    .stream_window_bytes = WORKER_WINDOW_BYTES,
    .conn_window_bytes = 64 * 1024 * 1024,
    .max_frame_bytes = 64 * 1024,
    .max_data_bytes = 64 * 1024 - 9,
    .max_header_bytes = 24 * 1024,
    .max_continuations = 8,
    .max_settings = 32,
    .max_control_bytes = 1024 * 1024,
    .max_resets = 1000,
    .max_resets_per_s = 100,
    .max_errors = 200,
    .max_control_frames = 5000,
    .rate_us = 10 * SEC_US,
};

/* Records on their way to the home; the output queue may hold it longer than its exchange does. */
struct piece {
    struct own own;
    struct piece *next;
    uint8_t *data;
    size_t n, off;
};

struct conn;

/* What is under way to the thread and back. Between the two posts it is the thread's alone. */
struct job {
    struct mail mail;
    struct buf in, out;
    bool end; /* nothing follows `in` */
    enum st st;
    uint64_t since_us; /* when the oldest of `in` came */
};

/* How the thread does on this stream. */
struct pace {
    uint64_t since_us; /* of the last HEALTH; 0: none yet */
    uint64_t busy_us;
    uint64_t lag_us;
    int64_t media_ms;
};

/* One exchange. Lives until the connection has let go and no letter is under way. */
struct ex {
    int magic;
    struct worker *w;
    struct conn *c; /* NULL: gone */
    struct ex *next, **prevp;
    int32_t id;
    struct grave grave;
    struct enc_request req;
    struct h2_body body;
    struct log_ctx log;

    struct pool_thread *thread; /* NULL: no stream was begun */
    struct enc_stream *stream;  /* the thread's, while a job is under way */
    struct pace pace;           /* so is this */
    bool working;
    struct job job;
    struct buf in; /* comes next */
    uint64_t in_us;
    bool in_end;
    bool said_all; /* the stream has ended; nothing is handed over any more */
    bool failed;   /* and not well: the answer is broken off */
    struct piece *first, *last;
    size_t out_bytes;
};

struct conn {
    int magic;
    struct worker *w;
    struct conn *next, **prevp;
    struct io io;
    struct h2 *h2;
    struct ex *open;
    struct grave grave;
    struct mail push_mail; /* to ourselves: once for all that is done in a turn */
    bool push_posted;
    bool busy; /* h2_feed() or h2_pump() is on the stack */
    bool closed;
};

struct worker {
    int magic;
    struct loop *loop;
    struct pool *pool;
    struct listener listener;
    struct hand_page *hands;
    struct conn *conns;
    unsigned conns_n;
    unsigned exs_n;
    unsigned streams_n, streams_max;
    bool stopped;
    uint8_t read_buf[READ_BYTES];
};

static void push_soon(struct conn *c);

/* --- records out --- */

static void piece_last(struct own *o)
{
    struct piece *p = CONTAINER_OF(o, struct piece, own);

    free(p->data);
    free(p);
}

/* Takes the bytes of b. */
static bool add_piece(struct ex *ex, struct buf *b)
{
    struct piece *p;

    if (b->st == ST_OK && b->len == 0)
        return true;
    p = calloc(1, sizeof *p);
    if (p == NULL)
        return false;
    own_init(&p->own, piece_last);
    p->data = buf_take(b, &p->n);
    if (p->data == NULL) {
        struct own *o = &p->own;

        own_unref(&o);
        return false;
    }
    if (ex->last != NULL)
        ex->last->next = p;
    else
        ex->first = p;
    ex->last = p;
    ex->out_bytes += p->n;
    return true;
}

static void drop_first(struct ex *ex)
{
    struct own *o = &ex->first->own;

    ex->first = ex->first->next;
    if (ex->first == NULL)
        ex->last = NULL;
    own_unref(&o);
}

static enum st body_avail(struct h2_body *b, size_t max, size_t *n, bool *last)
{
    struct ex *ex = CONTAINER_OF(b, struct ex, body);
    int slices = 0;

    if (ex->failed)
        return ST_ENOMEM;
    while (ex->first != NULL && ex->first->off == ex->first->n)
        drop_first(ex); /* not sooner: the queue takes its reference after body_take() */
    *n = 0;
    for (const struct piece *p = ex->first; p != NULL && slices < H2_SLICES_MAX; p = p->next) {
        *n += p->n - p->off;
        slices++;
    }
    if (*n > max)
        *n = max;
    *last = ex->said_all && ex->in_end && *n == ex->out_bytes;
    return *n > 0 || *last ? ST_OK : ST_MORE;
}

static void hand_over(struct ex *ex);

static int body_take(struct h2_body *b, size_t n, struct h2_slice *v, int max)
{
    struct ex *ex = CONTAINER_OF(b, struct ex, body);
    int count = 0;

    ex->out_bytes -= n;
    for (struct piece *p = ex->first; n > 0; p = p->next) {
        size_t part = p->n - p->off < n ? p->n - p->off : n;

        CHECK(count < max);
        v[count++] = (struct h2_slice){ .p = p->data + p->off, .n = part, .own = &p->own };
        p->off += part;
        n -= part;
    }
    hand_over(ex);
    return count;
}

/* --- the thread's side --- */

/* Every second, and a last word that makes its counts whole. */
static void say_health(struct ex *ex, uint64_t now_us, bool last)
{
    struct pace *p = &ex->pace;
    int64_t media_ms = enc_stream_counts(ex->stream)->media_ms;
    uint64_t speed;

    if (!last && p->since_us != 0 && now_us - p->since_us < WORKER_HEALTH_US)
        return;
    if (last || p->since_us != 0) {
        speed = media_ms > p->media_ms && p->busy_us > 0
                    ? (uint64_t)(media_ms - p->media_ms) * MS_US * 100 / p->busy_us
                    : 0;
        enc_stream_health(ex->stream, (uint32_t)(speed < SPEED_MAX ? speed : SPEED_MAX),
                          (uint32_t)(p->lag_us / MS_US), &ex->job.out);
    }
    *p = (struct pace){ .since_us = now_us, .media_ms = media_ms };
}

static void job_done(struct loop *l, struct mail *m);

static void job_work(struct loop *l, struct mail *m)
{
    struct ex *ex = CONTAINER_OF(m, struct ex, job.mail);
    struct job *j = &ex->job;
    uint64_t now_us, began_us = clock_mono_us();

    hand_take(ex->w->hands, (unsigned)l->index, ex->req.name);
    j->st = ST_MORE;
    if (j->in.len > 0)
        j->st = enc_stream_feed(ex->stream, j->in.data, j->in.len, &j->out);
    if (j->st == ST_MORE && j->end)
        j->st = enc_stream_end(ex->stream, &j->out);
    if (j->st < 0 && j->st != ST_ENOMEM)
        enc_stream_refuse(ex->stream, &j->out);
    now_us = clock_mono_us();
    ex->pace.busy_us += now_us - began_us;
    if (began_us - j->since_us > ex->pace.lag_us)
        ex->pace.lag_us = began_us - j->since_us;
    if (j->st >= ST_OK)
        say_health(ex, now_us, j->st == ST_OK);
    hand_drop(ex->w->hands, (unsigned)l->index);
    m->deliver = job_done;
    loop_post(l, ex->w->loop, m);
}

/* --- exchanges --- */

static void free_ex(struct grave *g)
{
    struct ex *ex = CONTAINER_OF(g, struct ex, grave);

    while (ex->first != NULL)
        drop_first(ex);
    enc_request_fini(&ex->req);
    buf_fini(&ex->in);
    buf_fini(&ex->job.in);
    buf_fini(&ex->job.out);
    ex->w->exs_n--;
    OBJ_FINI(ex, EX_MAGIC);
    free(ex);
}

/* The stream is over: its place is free for another. */
static void end_stream(struct ex *ex)
{
    enc_stream_free(&ex->stream);
    if (ex->thread == NULL)
        return;
    pool_unbind(ex->thread);
    ex->thread = NULL;
    ex->w->streams_n--;
}

static void maybe_bury(struct ex *ex)
{
    if (ex->c != NULL || ex->working)
        return;
    end_stream(ex);
    loop_bury(ex->w->loop, &ex->grave, free_ex);
}

/* Sends the thread what has come, unless it is busy or the home is behind with reading. */
static void hand_over(struct ex *ex)
{
    struct job *j = &ex->job;
    struct buf spare = j->in;

    if (ex->working || ex->said_all || ex->thread == NULL || ex->c == NULL ||
        ex->out_bytes >= WORKER_OUT_HIGH || (ex->in.len == 0 && !ex->in_end))
        return;
    j->in = ex->in;
    ex->in = spare;
    j->end = ex->in_end;
    j->since_us = ex->in_us;
    j->mail.deliver = job_work;
    ex->working = true;
    loop_post(ex->w->loop, &ex->thread->loop, &j->mail);
}

static void job_done(struct loop *l, struct mail *m)
{
    struct ex *ex = CONTAINER_OF(m, struct ex, job.mail);
    struct job *j = &ex->job;
    struct conn *c = ex->c;

    OBJ_CHECK(ex, EX_MAGIC);
    ex->working = false;
    if (c == NULL) {
        maybe_bury(ex);
        return;
    }
    h2_consume(c->h2, ex->id, j->in.len);
    buf_recycle(&j->in);
    if (j->st != ST_MORE) {
        ex->said_all = true;
        log_info(l->log, LOG_CTX_TEXT(&ex->log, "end", st_name(j->st)), "encode", "stream ends");
        end_stream(ex);
        h2_consume(c->h2, ex->id, ex->in.len); /* what came after a refusal */
        buf_fini(&ex->in);
    }
    if (j->st == ST_ENOMEM || !add_piece(ex, &j->out))
        ex->failed = true;
    h2_resume(c->h2, ex->id);
    hand_over(ex);
    push_soon(c);
}

static void answer(struct ex *ex, int status, const char *why)
{
    char code[4];
    struct h2_nv nv[] = { H2_NV(":status", "200"),
                          H2_NV("content-type", "application/octet-stream") };

    (void)snprintf(code, sizeof code, "%d", status);
    nv[0].value = code;
    if (status != 200) {
        struct buf text;

        nv[1] = (struct h2_nv)H2_NV("content-type", "text/plain");
        buf_init(&text, REFUSAL_BYTES);
        buf_printf(&text, "%s\n", why);
        ex->said_all = true;
        ex->failed = !add_piece(ex, &text);
        buf_fini(&text);
    }
    if (h2_respond(ex->c->h2, ex->id, nv, 2, &ex->body) != ST_OK)
        h2_reset(ex->c->h2, ex->id, H2_INTERNAL_ERROR, H2_RESET_NOMEM);
}

/* Binds a thread; false: there is no room. */
static bool begin_stream(struct ex *ex)
{
    struct worker *w = ex->w;

    if (w->streams_n >= w->streams_max)
        return false;
    ex->stream = enc_stream_new(&ex->req.conf, ex->req.resume);
    if (ex->stream == NULL)
        return false;
    ex->thread = pool_bind(w->pool);
    w->streams_n++;
    return true;
}

static void *on_stream(struct h2 *h2, void *ctx, int32_t id)
{
    struct conn *c = ctx;
    struct ex *ex = calloc(1, sizeof *ex);

    (void)h2;
    if (ex == NULL)
        return NULL;
    OBJ_INIT(ex, EX_MAGIC);
    ex->w = c->w;
    ex->c = c;
    ex->id = id;
    ex->body = (struct h2_body){ body_avail, body_take };
    enc_request_init(&ex->req);
    buf_init(&ex->in, WORKER_WINDOW_BYTES);
    buf_init(&ex->job.in, WORKER_WINDOW_BYTES);
    buf_init(&ex->job.out, ENC_OUT_BYTES_MAX);
    ex->next = c->open;
    ex->prevp = &c->open;
    if (ex->next != NULL)
        ex->next->prevp = &ex->next;
    c->open = ex;
    c->w->exs_n++;
    return ex;
}

static void on_header(struct h2 *h2, void *stream, int32_t id, const char *name, size_t name_len,
                      const char *value, size_t value_len)
{
    struct ex *ex = stream;

    (void)h2, (void)id;
    enc_request_field(&ex->req, name, name_len, value, value_len);
}

static void on_head(struct h2 *h2, void *stream, int32_t id, bool last)
{
    struct ex *ex = stream;
    const char *why;
    int status = enc_request_read(&ex->req, &why);

    (void)h2, (void)id, (void)last;
    ex->log = (struct log_ctx){ .key = "stream", .text = ex->req.name };
    if (status == 200 && !begin_stream(ex)) {
        status = 503;
        why = "no room for another stream";
    }
    if (status != 200)
        log_warn(ex->w->loop->log, LOG_CTX_TEXT(&ex->log, "why", why), "encode", "refused");
    else
        log_info(ex->w->loop->log, LOG_CTX_INT(&ex->log, "resume", ex->req.resume != NULL),
                 "encode", "stream begins");
    answer(ex, status, why);
}

static void on_data(struct h2 *h2, void *stream, int32_t id, const uint8_t *p, size_t n)
{
    struct ex *ex = stream;

    if (ex->thread == NULL || ex->said_all) {
        h2_consume(h2, id, n); /* of a refused one */
        return;
    }
    if (ex->in.len == 0)
        ex->in_us = loop_now(ex->w->loop);
    buf_add(&ex->in, p, n);
    if (ex->in.st != ST_OK)
        h2_reset(h2, id, H2_INTERNAL_ERROR, H2_RESET_NOMEM);
    else
        hand_over(ex);
}

static void on_end(struct h2 *h2, void *stream, int32_t id)
{
    struct ex *ex = stream;

    ex->in_end = true;
    hand_over(ex);
    h2_resume(h2, id); /* a refusal ends with its request */
}

static void on_close(struct h2 *h2, void *stream, int32_t id, const struct h2_close *why)
{
    struct ex *ex = stream;

    OBJ_CHECK(ex, EX_MAGIC);
    (void)h2, (void)id, (void)why;
    *ex->prevp = ex->next;
    if (ex->next != NULL)
        ex->next->prevp = ex->prevp;
    ex->c = NULL;
    maybe_bury(ex);
}

static const struct h2_ops ops = { .on_stream = on_stream,
                                   .on_header = on_header,
                                   .on_head = on_head,
                                   .on_data = on_data,
                                   .on_end = on_end,
                                   .on_close = on_close };

/* --- connections --- */

static void free_conn(struct grave *g)
{
    struct conn *c = CONTAINER_OF(g, struct conn, grave);

    h2_free(&c->h2);
    io_fini(&c->io);
    c->w->conns_n--;
    OBJ_FINI(c, CONN_MAGIC);
    free(c);
}

static void conn_close(struct conn *c)
{
    OBJ_CHECK(c, CONN_MAGIC);
    if (c->closed)
        return;
    c->closed = true;
    io_stop(&c->io);
    *c->prevp = c->next;
    if (c->next != NULL)
        c->next->prevp = c->prevp;
    if (!c->push_posted) /* else its letter does it */
        loop_bury(c->w->loop, &c->grave, free_conn);
}

/* False: closed. */
static bool flush(struct conn *c)
{
    if (io_write_queue(&c->io, h2_outq(c->h2)) >= ST_OK)
        return true;
    conn_close(c);
    return false;
}

static void push(struct conn *c)
{
    enum st st;

    if (c->busy || c->closed)
        return;
    c->busy = true;
    do {
        st = h2_pump(c->h2, PUMP_BYTES);
        if (!flush(c)) {
            c->busy = false;
            return;
        }
    } while (st == ST_MORE && outq_bytes(h2_outq(c->h2)) == 0);
    c->busy = false;
    if (st < 0 || st == ST_EOF || (h2_done(c->h2) && outq_bytes(h2_outq(c->h2)) == 0)) {
        if (st < 0)
            log_warn(c->w->loop->log, NULL, "encode", "a connection broke HTTP/2: %s",
                     h2_end_name(h2_end_of(c->h2)));
        conn_close(c);
        return;
    }
    io_want(&c->io, IO_READ | (outq_bytes(h2_outq(c->h2)) > 0 ? IO_WRITE : 0u));
}

static void push_delivered(struct loop *l, struct mail *m)
{
    struct conn *c = CONTAINER_OF(m, struct conn, push_mail);

    c->push_posted = false;
    if (c->closed)
        loop_bury(l, &c->grave, free_conn);
    else
        push(c);
}

static void push_soon(struct conn *c)
{
    if (c->push_posted || c->closed)
        return;
    c->push_posted = true;
    c->push_mail.deliver = push_delivered;
    mailbox_post(&c->w->loop->mailbox, &c->push_mail);
}

static void read_some(struct conn *c)
{
    uint8_t *to = c->w->read_buf;

    for (int i = 0; i < READS_PER_WAKE && !c->closed; i++) {
        size_t got;
        enum st st = io_read(&c->io, to, READ_BYTES, &got);

        if (st == ST_MORE)
            break;
        if (st == ST_OK) {
            c->busy = true;
            st = h2_feed(c->h2, to, got);
            c->busy = false;
            if (st == ST_OK)
                continue;
            (void)flush(c); /* the GOAWAY */
        }
        conn_close(c);
    }
    push(c);
}

static void on_ready(struct io *io, unsigned what)
{
    struct conn *c = CONTAINER_OF(io, struct conn, io);

    OBJ_CHECK(c, CONN_MAGIC);
    if ((what & IO_DEAD) != 0) {
        conn_close(c);
        return;
    }
    if ((what & IO_READ) != 0)
        read_some(c);
    else
        push(c);
}

static void on_accept(struct listener *ln, int fd, const struct sockaddr_storage *peer)
{
    struct worker *w = CONTAINER_OF(ln, struct worker, listener);
    struct conn *c = w->conns_n < WORKER_CONNS ? calloc(1, sizeof *c) : NULL;

    (void)peer;
    if (c == NULL) {
        log_warn(w->loop->log, NULL, "encode", "no room for another connection");
        (void)close(fd);
        return;
    }
    c->w = w;
    c->h2 = h2_server_new(w->loop, &limits, &ops, c);
    if (c->h2 == NULL) {
        (void)close(fd);
        free(c);
        return;
    }
    if (io_accept_init(&c->io, w->loop, fd, NULL, on_ready) != ST_OK) {
        h2_free(&c->h2);
        free(c);
        return;
    }
    OBJ_INIT(c, CONN_MAGIC);
    c->next = w->conns;
    c->prevp = &w->conns;
    if (c->next != NULL)
        c->next->prevp = &c->next;
    w->conns = c;
    w->conns_n++;
    io_want(&c->io, IO_READ | IO_WRITE);
}

struct worker *worker_new(struct loop *l, struct pool *p, int fd, unsigned streams,
                          struct hand_page *hands)
{
    struct worker *w = calloc(1, sizeof *w);

    if (w == NULL)
        return NULL;
    w->loop = l;
    w->pool = p;
    w->streams_max = streams;
    w->hands = hands;
    if (listener_init(&w->listener, l, fd, on_accept) != ST_OK) {
        free(w);
        return NULL;
    }
    OBJ_INIT(w, WORKER_MAGIC);
    return w;
}

void worker_stop(struct worker *w)
{
    OBJ_CHECK(w, WORKER_MAGIC);
    if (w->stopped)
        return;
    w->stopped = true;
    listener_fini(&w->listener);
    while (w->conns != NULL)
        conn_close(w->conns);
}

bool worker_idle(const struct worker *w) { return w->conns_n == 0 && w->exs_n == 0; }

void worker_free(struct worker **wp)
{
    struct worker *w = *wp;

    *wp = NULL;
    if (w == NULL)
        return;
    OBJ_CHECK(w, WORKER_MAGIC);
    CHECK(w->stopped && worker_idle(w));
    OBJ_FINI(w, WORKER_MAGIC);
    free(w);
}
