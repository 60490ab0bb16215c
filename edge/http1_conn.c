/* HTTP/1.1 towards players.
 *
 * An exchange (the input buffer, the head in it, the request) belongs to a connection from the
 * first byte of a request until its answer is in the kernel; an idle connection owns none. Requests
 * are answered one at a time and in order; what was sent ahead waits in the buffer. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/check.h"
#include "edge/front_int.h"

enum { OUT_HIGH = 256 << 10 };

struct http1_ex {
    struct http1_ex *next; /* spare */
    struct conn *c;
    bool active; /* req is in hand */
    struct http_head head;
    size_t len;  /* bytes in `in` */
    size_t used; /* of those, the head of the request in hand */
    struct request req;
    uint8_t in[HTTP1_IN_BYTES];
};

struct http1 {
    struct outq out;
    struct http1_req parser;
    struct http1_ex *ex; /* NULL: idle */
    unsigned served;
    bool keep; /* another request may follow this one */
    bool chunked;
    bool done;                   /* the last byte of the answer is in `out` */
    bool eof;                    /* the peer sends no more */
    bool processing;             /* process() is on the stack */
    enum metric_close close_why; /* when the answer is out and keep is false */
};

/* --- exchanges --- */

static struct http1_ex *take_ex(struct conn *c)
{
    struct front_loop *f = c->f;
    struct http1_ex *ex = f->spare_ex;

    if (ex != NULL) {
        f->spare_ex = ex->next;
        f->spare_ex_n--;
    } else if ((ex = malloc(sizeof *ex)) == NULL) {
        return NULL;
    }
    ex->next = NULL;
    ex->c = c;
    ex->active = false;
    ex->len = ex->used = 0;
    return ex;
}

static void give_ex(struct front_loop *f, struct http1_ex *ex)
{
    if (ex == NULL)
        return;
    if (f->spare_ex_n >= FRONT_POOL_REQUESTS) {
        free(ex);
        return;
    }
    ex->next = f->spare_ex;
    f->spare_ex = ex;
    f->spare_ex_n++;
}

void http1_loop_fini(struct front_loop *f)
{
    while (f->spare_ex != NULL) {
        struct http1_ex *ex = f->spare_ex;

        f->spare_ex = ex->next;
        free(ex);
    }
}

/* --- life --- */

enum st http1_start(struct conn *c)
{
    struct http1 *h = calloc(1, sizeof *h);

    if (h == NULL)
        return ST_ENOMEM;
    outq_init(&h->out, &c->f->loop->outq_pool);
    h->keep = true;
    c->h1 = h;
    return ST_OK;
}

void http1_fini(struct conn *c)
{
    struct http1 *h = c->h1;

    if (h->ex != NULL && h->ex->active) {
        access_put(&h->ex->req, METRIC_PROTO_H1, c->tls,
                   metric_label_text(METRIC_LABEL_CLOSE, c->why));
        request_fini(&h->ex->req);
        h->ex->active = false;
    }
    outq_clear(&h->out);
}

void http1_free(struct conn *c)
{
    give_ex(c->f, c->h1->ex);
    free(c->h1);
}

static void want(struct conn *c)
{
    struct http1 *h = c->h1;
    unsigned what = 0;

    if (!h->eof && (h->ex == NULL || h->ex->len < HTTP1_IN_BYTES))
        what |= IO_READ;
    if (conn_unsent(c, &h->out))
        what |= IO_WRITE;
    io_want(&c->io, what);
}

/* --- the answer --- */

static enum st put_head(struct conn *c, const struct request *r)
{
    struct http1 *h = c->h1;
    char text[ANSWER_H1_MAX];
    size_t n;

    h->chunked = r->answer.length < 0 && !r->answer.no_body;
    n = answer_h1(c->f, r, h->chunked, h->keep, text, sizeof text);
    return n > 0 ? outq_copy(&h->out, text, n) : ST_ELIMIT;
}

static enum st put_body(struct http1 *h, struct request *r, size_t n, bool last)
{
    struct h2_slice s[H2_SLICES_MAX];
    char size[20];
    int k = n > 0 ? request_take(r, n, s, H2_SLICES_MAX) : 0;
    enum st st = ST_OK;

    if (h->chunked && n > 0)
        st = outq_copy(&h->out, size, (size_t)snprintf(size, sizeof size, "%zx\r\n", n));
    for (int i = 0; i < k && st == ST_OK; i++)
        st = outq_borrow(&h->out, s[i].p, s[i].n, s[i].own);
    if (h->chunked && st == ST_OK) {
        if (n > 0 && last)
            st = outq_copy(&h->out, "\r\n0\r\n\r\n", 7);
        else
            st = outq_copy(&h->out, n > 0 ? "\r\n" : "0\r\n\r\n", n > 0 ? 2 : 5);
        if (n == 0 && !last)
            st = ST_ELIMIT; /* cannot be: nothing is offered without a byte or the end */
    }
    h->done = last;
    return st;
}

static void process(struct conn *c);

/* The answer is in the kernel. */
static void finish(struct conn *c)
{
    struct http1 *h = c->h1;
    struct http1_ex *ex = h->ex;

    access_put(&ex->req, METRIC_PROTO_H1, c->tls, "done");
    request_fini(&ex->req);
    ex->active = false;
    h->done = false;
    if (!h->keep) {
        conn_linger(c, h->close_why);
        return;
    }
    memmove(ex->in, ex->in + ex->used, ex->len - ex->used);
    ex->len -= ex->used;
    ex->used = 0;
    if (!h->processing)
        process(c);
}

/* Fills the queue from the object and the socket from the queue, until one of them has to wait. */
static void pump(struct conn *c)
{
    struct http1 *h = c->h1;
    struct request *r = &h->ex->req;
    enum st st;

    do {
        st = ST_OK;
        while (!h->done && st == ST_OK && outq_bytes(&h->out) < OUT_HIGH) {
            bool last;
            size_t n;

            st = request_avail(r, OUT_HIGH, &n, &last);
            if (st == ST_OK)
                st = put_body(h, r, n, last);
        }
        if (st < ST_OK) {
            /* never a last chunk, never the promised length: the peer sees that it broke off */
            conn_close(c, st == ST_EIO ? METRIC_CLOSE_UPSTREAM_BROKEN : METRIC_CLOSE_MEMORY);
            return;
        }
        if (!conn_flush(c, &h->out))
            return;
    } while (!h->done && st == ST_OK && outq_bytes(&h->out) == 0);
    if (h->done && !conn_unsent(c, &h->out))
        finish(c);
    if (c->phase != CONN_CLOSED && c->phase != CONN_LINGER)
        want(c);
}

static void on_ready(struct request *r)
{
    struct conn *c = CONTAINER_OF(r, struct http1_ex, req)->c;

    front_count_answer(c, r, METRIC_PROTO_H1);
    if (put_head(c, r) != ST_OK) {
        conn_close(c, METRIC_CLOSE_MEMORY);
        return;
    }
    c->h1->done = false;
    pump(c);
}

static void on_more(struct request *r) { pump(CONTAINER_OF(r, struct http1_ex, req)->c); }

static const struct request_ops ops = { .ready = on_ready, .more = on_more };

/* --- requests --- */

static enum metric_close close_reason(enum http_refusal why)
{
    switch (why) {
    case HTTP_REFUSED_NONE:
        return METRIC_CLOSE_DONE;
    case HTTP_REFUSED_BODY:
        return METRIC_CLOSE_BODY_REFUSED;
    case HTTP_REFUSED_HEAD_LONG:
    case HTTP_REFUSED_FIELDS:
    case HTTP_REFUSED_TARGET_LONG:
        return METRIC_CLOSE_HEAD_TOO_LARGE;
    default:
        return METRIC_CLOSE_BAD_REQUEST;
    }
}

static void begin(struct conn *c)
{
    struct http1 *h = c->h1;
    struct http1_ex *ex = h->ex;
    const struct conf_edge_limits *lim = front_limits(c->f);

    h->served++;
    h->close_why = close_reason(ex->head.refusal);
    h->keep = ex->head.refusal == HTTP_REFUSED_NONE && ex->head.keep_alive && !h->eof;
    if (h->keep && h->served >= lim->requests_per_connection) {
        h->keep = false;
        h->close_why = METRIC_CLOSE_REQUEST_LIMIT;
    }
    ex->active = true;
    request_init(&ex->req, c->f, &ops, &c->peer, c->profile);
    request_begin(&ex->req, &ex->head);
}

static void process(struct conn *c)
{
    struct http1 *h = c->h1;
    const struct conf_edge_limits *conf = front_limits(c->f);
    struct http_limits lim = HTTP_LIMITS_DEFAULT;

    lim.head_bytes = (uint32_t)conf->head_bytes; /* at most 16 KiB: core/conf_table.c */
    lim.fields = (uint16_t)conf->head_fields;
    h->processing = true;
    while (c->phase != CONN_CLOSED && c->phase != CONN_LINGER && !h->ex->active && h->ex->len > 0) {
        struct http1_ex *ex = h->ex;

        if (http1_req_parse(&h->parser, ex->in, ex->len, &lim, &ex->head, &ex->used) == ST_MORE)
            break;
        begin(c);
    }
    h->processing = false;
    if (c->phase == CONN_CLOSED || c->phase == CONN_LINGER)
        return;
    if (h->ex->active) {
        if (c->phase != CONN_BUSY)
            conn_become(c, CONN_BUSY);
        want(c);
        return;
    }
    if (h->eof) {
        conn_close(c, METRIC_CLOSE_PEER_FIN);
        return;
    }
    if (h->ex->len == 0) {
        give_ex(c->f, h->ex);
        h->ex = NULL;
        conn_become(c, CONN_IDLE);
    } else if (c->phase != CONN_HEAD) {
        conn_become(c, CONN_HEAD); /* once: a slow head does not get new time with each byte */
    }
    want(c);
}

/* --- input --- */

static bool have_ex(struct conn *c)
{
    if (c->h1->ex == NULL)
        c->h1->ex = take_ex(c);
    if (c->h1->ex == NULL)
        conn_close(c, METRIC_CLOSE_MEMORY);
    return c->h1->ex != NULL;
}

void http1_input(struct conn *c, const uint8_t *p, size_t n)
{
    if (!have_ex(c))
        return;
    struct http1_ex *ex = c->h1->ex;
    CHECK(n <= HTTP1_IN_BYTES - ex->len);
    memcpy(ex->in + ex->len, p, n);
    ex->len += n;
    process(c);
}

static void read_more(struct conn *c)
{
    struct http1 *h = c->h1;
    size_t got;
    enum st st;

    if (!have_ex(c))
        return;
    st = io_read(&c->io, h->ex->in + h->ex->len, HTTP1_IN_BYTES - h->ex->len, &got);
    if (st == ST_OK) {
        h->ex->len += got;
    } else if (st == ST_EOF) {
        h->eof = true;
    } else if (st < ST_OK) {
        conn_close(c, st == ST_EPROTO ? METRIC_CLOSE_TLS_ERROR : METRIC_CLOSE_PEER_RESET);
        return;
    }
    if (!h->ex->active)
        process(c);
    else
        want(c);
}

void http1_on_io(struct conn *c, unsigned what)
{
    struct http1 *h = c->h1;

    if ((what & IO_WRITE) != 0 && h->ex != NULL && h->ex->active)
        pump(c);
    if ((what & IO_READ) == 0 || c->phase == CONN_CLOSED || c->phase == CONN_LINGER || h->eof)
        return;
    if (h->ex == NULL || h->ex->len < HTTP1_IN_BYTES)
        read_more(c);
}
