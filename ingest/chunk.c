/* A chunk is read in two steps. Its header (at most 18 bytes) is collected in `head` until it is
 * whole: how long it is follows from its first bytes and from what its chunk stream id has seen.
 * Then `left` bytes of payload go straight from the input to the message. */
#include "ingest/chunk.h"

#include <stdlib.h>
#include <string.h>

#include "core/check.h"

enum { DEMUX_MAGIC = 0x7d3a41c5, TS_EXTENDED = 0xffffff, FIRST_BYTES = 4096 };
enum { TS_STEP_MAX_MS = 60 * 1000 };

struct cstream {
    uint32_t csid;
    uint32_t ts_ms, delta_ms;
    uint32_t ext; /* the extended time stamp field that was last seen */
    uint32_t len; /* of the message */
    uint32_t msid;
    uint32_t have; /* bytes of it in buf */
    uint32_t cap;
    uint8_t *buf;
    uint8_t type;
    bool extended;   /* the last header had that field */
    bool unfinished; /* inside a message, of which nothing may have come yet */
};

struct chunk_demux {
    int magic;
    enum st st;
    enum chunk_why why;
    struct chunk_limits lim;
    uint32_t chunk_size;
    uint8_t head[CHUNK_HEADER_MAX];
    uint8_t head_n;
    uint8_t back[4]; /* of a header that had less in it than was looked at: payload */
    uint8_t back_n;
    struct cstream *cur; /* NULL: in a header */
    uint32_t left;       /* of the chunk's payload */
    size_t held;
    struct cstream *done; /* its message was handed out */
    unsigned n;
    struct cstream cs[CHUNK_STREAMS];
};

struct chunk_demux *chunk_demux_new(const struct chunk_limits *lim)
{
    struct chunk_demux *d = calloc(1, sizeof *d);

    if (d == NULL)
        return NULL;
    OBJ_INIT(d, DEMUX_MAGIC);
    d->lim = *lim;
    d->chunk_size = CHUNK_SIZE_FIRST;
    return d;
}

static void drop(struct chunk_demux *d, struct cstream *cs)
{
    free(cs->buf);
    d->held -= cs->cap;
    cs->buf = NULL;
    cs->have = cs->cap = 0;
    cs->unfinished = false;
}

void chunk_demux_free(struct chunk_demux **dp)
{
    struct chunk_demux *d = *dp;

    *dp = NULL;
    if (d == NULL)
        return;
    OBJ_FINI(d, DEMUX_MAGIC);
    for (unsigned i = 0; i < d->n; i++)
        drop(d, &d->cs[i]);
    CHECK(d->held == 0);
    free(d);
}

void chunk_demux_set_limits(struct chunk_demux *d, const struct chunk_limits *lim)
{
    OBJ_CHECK(d, DEMUX_MAGIC);
    d->lim = *lim;
}

enum chunk_why chunk_why(const struct chunk_demux *d) { return d->why; }
size_t chunk_demux_memory(const struct chunk_demux *d) { return sizeof *d + d->held; }

static enum st fail(struct chunk_demux *d, enum st st, enum chunk_why why)
{
    d->st = st;
    d->why = why;
    return st;
}

enum st chunk_demux_set_size(struct chunk_demux *d, uint32_t value)
{
    OBJ_CHECK(d, DEMUX_MAGIC);
    value &= 0x7fffffff;
    if (value == 0)
        return fail(d, ST_EPROTO, CHUNK_SIZE_ZERO);
    d->chunk_size = value < CHUNK_SIZE_MAX ? value : CHUNK_SIZE_MAX;
    return ST_OK;
}

static struct cstream *find(struct chunk_demux *d, uint32_t csid)
{
    for (unsigned i = 0; i < d->n; i++)
        if (d->cs[i].csid == csid)
            return &d->cs[i];
    return NULL;
}

void chunk_demux_abort(struct chunk_demux *d, uint32_t csid)
{
    struct cstream *cs = find(d, csid);

    OBJ_CHECK(d, DEMUX_MAGIC);
    if (cs == NULL || !cs->unfinished)
        return;
    CHECK(cs != d->cur); /* what said so came between its chunks */
    drop(d, cs);
}

/* --- headers --- */

struct header {
    uint32_t csid;
    uint8_t fmt;
    uint8_t basic; /* its length so far */
    uint32_t ts;   /* the 24-bit field; of fmt 0 to 2 */
    size_t body;   /* where the extended time stamp would be */
};

static uint32_t be24(const uint8_t *p)
{
    return (uint32_t)p[0] << 16 | (uint32_t)p[1] << 8 | (uint32_t)p[2];
}

static uint32_t be32(const uint8_t *p) { return be24(p) << 8 | p[3]; }

/* False: wait for more. */
static bool basic_header(const uint8_t *p, size_t n, struct header *h)
{
    uint32_t low = p[0] & 0x3f;

    h->fmt = p[0] >> 6;
    h->basic = low == 0 ? 2 : low == 1 ? 3 : 1;
    if (n < h->basic)
        return false;
    if (low == 0)
        h->csid = 64u + p[1];
    else if (low == 1)
        h->csid = 64u + p[1] + 256u * p[2];
    else
        h->csid = low;
    return true;
}

/* How many bytes the header has, as far as those that are there say. */
static size_t header_needs(struct chunk_demux *d, struct header *h)
{
    static const uint8_t rest[] = { 11, 7, 3, 0 };
    const struct cstream *cs;

    if (d->head_n == 0)
        return 1;
    if (!basic_header(d->head, d->head_n, h))
        return h->basic;
    h->body = h->basic + rest[h->fmt];
    if (d->head_n < h->body)
        return h->body;
    if (h->fmt < 3) {
        h->ts = be24(d->head + h->basic);
        return h->body + (h->ts == TS_EXTENDED ? 4 : 0);
    }
    cs = find(d, h->csid);
    return h->body + (cs != NULL && cs->extended ? 4 : 0);
}

static enum st open_id(struct chunk_demux *d, const struct header *h, struct cstream **out)
{
    struct cstream *cs = find(d, h->csid);

    if (cs == NULL && h->fmt != 0)
        return fail(d, ST_EPROTO, CHUNK_NO_HEADER);
    if (cs == NULL && d->n == CHUNK_STREAMS)
        return fail(d, ST_ELIMIT, CHUNK_MANY_IDS);
    if (cs == NULL) {
        cs = &d->cs[d->n++];
        cs->csid = h->csid;
    }
    if (cs->unfinished && h->fmt != 3)
        return fail(d, ST_EPROTO, CHUNK_IN_MESSAGE);
    *out = cs;
    return ST_OK;
}

static void apply_fields(struct chunk_demux *d, const struct header *h, struct cstream *cs)
{
    const uint8_t *p = d->head + h->basic;
    uint32_t ts = h->ts == TS_EXTENDED ? be32(d->head + h->body) : h->ts;

    cs->extended = h->ts == TS_EXTENDED;
    cs->ext = ts;
    if (h->fmt <= 1) {
        cs->len = be24(p + 3);
        cs->type = p[6];
    }
    if (h->fmt == 0) {
        cs->msid =
            (uint32_t)p[7] | (uint32_t)p[8] << 8 | (uint32_t)p[9] << 16 | (uint32_t)p[10] << 24;
        cs->ts_ms = ts;
        cs->delta_ms = 0;
    } else {
        cs->delta_ms = ts;
        cs->ts_ms += ts;
    }
}

/* Type 3, where the last header had an extended time stamp: is there one again? */
static void apply_repeated(struct chunk_demux *d, const struct header *h, struct cstream *cs,
                           bool begins)
{
    uint32_t step, seen = be32(d->head + h->body);

    if (seen == cs->ext) {
        if (begins)
            cs->ts_ms += cs->delta_ms;
        return;
    }
    step = seen - cs->ts_ms;
    if (begins && step <= TS_STEP_MAX_MS) { /* the new time itself */
        cs->ts_ms = cs->ext = seen;
        return;
    }
    if (begins)
        cs->ts_ms += cs->delta_ms;
    memcpy(d->back, d->head + h->body, 4);
    d->back_n = 4;
}

static enum st begin_message(struct chunk_demux *d, struct cstream *cs)
{
    bool media = cs->type == RTMP_AUDIO || cs->type == RTMP_VIDEO || cs->type == RTMP_AGGREGATE;

    if (cs->len > (media ? d->lim.media_bytes : d->lim.other_bytes))
        return fail(d, ST_ELIMIT, CHUNK_LONG);
    cs->unfinished = true;
    cs->have = 0;
    return ST_OK;
}

/* The header is whole: the first n bytes of head. */
static enum st take_header(struct chunk_demux *d, const struct header *h, size_t n)
{
    struct cstream *cs = NULL;
    enum st st = open_id(d, h, &cs);
    bool begins;

    if (st != ST_OK)
        return st;
    begins = !cs->unfinished;
    if (h->fmt < 3)
        apply_fields(d, h, cs);
    else if (cs->extended)
        apply_repeated(d, h, cs, begins);
    else if (begins)
        cs->ts_ms += cs->delta_ms;
    if (d->head_n > n) { /* take_back() gave more than this header needs */
        d->back_n = (uint8_t)(d->head_n - n);
        memcpy(d->back, d->head + n, d->back_n);
    }
    d->head_n = 0;
    if (begins)
        st = begin_message(d, cs);
    if (st != ST_OK)
        return st;
    d->left = cs->len - cs->have < d->chunk_size ? cs->len - cs->have : d->chunk_size;
    d->cur = cs;
    return ST_OK;
}

static enum st next_header(struct chunk_demux *d, struct rd *in)
{
    struct header h = { .csid = 0 };
    size_t needs;

    while (d->head_n < (needs = header_needs(d, &h))) {
        size_t n = needs - d->head_n;
        const uint8_t *p;

        if (n > rd_left(in))
            n = rd_left(in);
        if (n == 0)
            return ST_MORE;
        p = rd_bytes(in, n);
        memcpy(d->head + d->head_n, p, n);
        d->head_n = (uint8_t)(d->head_n + n);
    }
    return take_header(d, &h, needs);
}

/* --- payload --- */

static enum st room_for(struct chunk_demux *d, struct cstream *cs, uint32_t n)
{
    uint32_t cap = cs->cap > 0 ? cs->cap : FIRST_BYTES;
    uint8_t *buf;

    if (n <= cs->cap - cs->have)
        return ST_OK;
    while (cap - cs->have < n)
        cap *= 2; /* NB: n and have are below 16 MiB */
    if (cap > cs->len)
        cap = cs->len;
    if (d->held - cs->cap + cap > d->lim.memory_bytes)
        return fail(d, ST_ELIMIT, CHUNK_MEMORY);
    buf = realloc(cs->buf, cap);
    if (buf == NULL)
        return fail(d, ST_ENOMEM, CHUNK_OUT_OF_MEMORY);
    d->held += cap - cs->cap;
    cs->buf = buf;
    cs->cap = cap;
    return ST_OK;
}

static enum st append(struct chunk_demux *d, struct cstream *cs, const uint8_t *p, uint32_t n)
{
    enum st st = room_for(d, cs, n);

    if (st != ST_OK || n == 0)
        return st;
    memcpy(cs->buf + cs->have, p, n);
    cs->have += n;
    d->left -= n;
    return ST_OK;
}

static enum st hand_out(struct chunk_demux *d, struct cstream *cs, const uint8_t *body,
                        struct rtmp_msg *msg)
{
    static const uint8_t none[1];

    *msg = (struct rtmp_msg){
        .ts_ms = cs->ts_ms, .msid = cs->msid, .type = cs->type, .body = body, .n = cs->len
    };
    if (cs->len == 0)
        msg->body = none;
    d->cur = NULL;
    d->done = cs;
    cs->unfinished = false;
    return ST_OK;
}

/* What was taken for a time stamp and was none. */
static enum st take_back(struct chunk_demux *d, struct cstream *cs)
{
    uint32_t n = d->back_n < d->left ? d->back_n : d->left;
    enum st st = append(d, cs, d->back, n);

    d->back_n = (uint8_t)(d->back_n - n);
    if (st != ST_OK || d->back_n == 0)
        return st;
    /* The chunk is shorter than four bytes: the rest is the header of the next one. */
    memcpy(d->head, d->back + n, d->back_n);
    d->head_n = d->back_n;
    d->back_n = 0;
    return ST_OK;
}

static enum st next_payload(struct chunk_demux *d, struct rd *in, struct rtmp_msg *msg)
{
    struct cstream *cs = d->cur;
    uint32_t n;
    enum st st = d->back_n > 0 ? take_back(d, cs) : ST_OK;

    if (st != ST_OK)
        return st;
    if (cs->have == 0 && d->left == cs->len && rd_left(in) >= cs->len)
        return hand_out(d, cs, rd_bytes(in, cs->len), msg);
    n = rd_left(in) < d->left ? (uint32_t)rd_left(in) : d->left;
    st = append(d, cs, rd_bytes(in, n), n);
    if (st != ST_OK)
        return st;
    if (d->left > 0)
        return ST_MORE;
    if (cs->have == cs->len)
        return hand_out(d, cs, cs->buf, msg);
    d->cur = NULL;
    return ST_OK;
}

enum st chunk_next(struct chunk_demux *d, struct rd *in, struct rtmp_msg *msg)
{
    enum st st = d->st;

    OBJ_CHECK(d, DEMUX_MAGIC);
    CHECK(!in->bad);
    if (d->done != NULL) {
        drop(d, d->done);
        d->done = NULL;
    }
    *msg = (struct rtmp_msg){ .body = NULL };
    while (st == ST_OK && msg->body == NULL) {
        if (d->cur == NULL)
            st = next_header(d, in);
        else
            st = next_payload(d, in, msg);
    }
    return st;
}

/* --- ours --- */

static void put_type0(struct buf *b, unsigned csid, const struct rtmp_msg *msg)
{
    buf_be(b, csid, 1);
    buf_be(b, msg->ts_ms < TS_EXTENDED ? msg->ts_ms : TS_EXTENDED, 3);
    buf_be(b, msg->n, 3);
    buf_be(b, msg->type, 1);
    for (int i = 0; i < 4; i++)
        buf_be(b, msg->msid >> 8 * i & 0xff, 1);
}

void chunk_put(struct buf *b, unsigned csid, const struct rtmp_msg *msg, uint32_t chunk_size)
{
    size_t at = 0;

    CHECK(csid >= 2 && csid < 64 && chunk_size > 0 && msg->n <= 0xffffff);
    put_type0(b, csid, msg);
    for (;;) {
        size_t n = msg->n - at < chunk_size ? msg->n - at : chunk_size;

        if (msg->ts_ms >= TS_EXTENDED)
            buf_be(b, msg->ts_ms, 4);
        buf_add(b, msg->body + at, n);
        at += n;
        if (at == msg->n)
            return;
        buf_be(b, 0xc0 | csid, 1);
    }
}
