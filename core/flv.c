#include "core/flv.h"

#include <string.h>

#include "core/check.h"

enum { FLV_MAGIC = 0x3f1ac0de, MARK_VERSION = 1 };
enum { IN_HEADER, IN_HEAD, IN_BODY, IN_TAIL }; /* state */

/* AMF0, as much as a mark needs. */
enum { AMF_NUMBER = 0, AMF_BOOL = 1, AMF_STRING = 2, AMF_OBJECT = 3, AMF_ECMA = 8, AMF_END = 9 };

static const char mark_name[] = "_freshet", past_name[] = "_freshet_past";

void flv_reader_init(struct flv_reader *r, size_t limit)
{
    CHECK(limit <= FLV_BODY_MAX);
    *r = (struct flv_reader){ .st = ST_OK, .state = IN_HEADER, .limit = limit };
    buf_init(&r->body, limit);
    OBJ_INIT(r, FLV_MAGIC);
}

void flv_reader_fini(struct flv_reader *r)
{
    OBJ_FINI(r, FLV_MAGIC);
    buf_fini(&r->body);
}

/* The whole of a fixed part of n bytes: from the input when it is all there, else collected.
 * NULL: wait for more. */
static const uint8_t *fixed_part(struct flv_reader *r, struct rd *in, size_t n)
{
    size_t part = n - r->have < rd_left(in) ? n - r->have : rd_left(in);
    const uint8_t *p = rd_bytes(in, part);

    if (part == n)
        return p;
    if (part > 0)
        memcpy(r->fixed + r->have, p, part);
    r->have += part;
    if (r->have < n)
        return NULL;
    r->have = 0;
    return r->fixed;
}

static enum st next_header(struct flv_reader *r, struct rd *in)
{
    const uint8_t *p = fixed_part(r, in, FLV_HEADER_BYTES);
    struct rd f;
    bool good;

    if (p == NULL)
        return ST_MORE;
    f = rd_init(p, FLV_HEADER_BYTES);
    good = rd_be(&f, 4) == FLV_FOURCC('F', 'L', 'V', 1);
    good = (rd_u8(&f) & 0xfa) == 0 && good;
    good = rd_u32be(&f) == 9 && good;
    good = rd_u32be(&f) == 0 && good;
    r->state = IN_HEAD;
    return good ? ST_OK : ST_EPROTO;
}

static enum st next_head(struct flv_reader *r, struct rd *in)
{
    const uint8_t *p = fixed_part(r, in, FLV_TAG_HEAD_BYTES);
    uint8_t type;
    struct rd f;

    if (p == NULL)
        return ST_MORE;
    f = rd_init(p, FLV_TAG_HEAD_BYTES);
    type = rd_u8(&f);
    r->head = (struct flv_tag){ .type = (enum flv_type)type, .n = (size_t)rd_be(&f, 3) };
    r->head.ts_ms = (uint32_t)rd_be(&f, 3);
    r->head.ts_ms |= (uint32_t)rd_u8(&f) << 24;
    if ((type != FLV_AUDIO && type != FLV_VIDEO && type != FLV_SCRIPT) || rd_be(&f, 3) != 0)
        return ST_EPROTO;
    if (r->head.n > r->limit)
        return ST_ELIMIT;
    r->left = r->head.n;
    r->state = IN_BODY;
    buf_recycle(&r->body);
    return ST_OK;
}

static enum st next_body(struct flv_reader *r, struct rd *in)
{
    size_t part = r->left < rd_left(in) ? r->left : rd_left(in);

    if (part == r->head.n && rd_left(in) - part >= FLV_TAG_TAIL_BYTES) {
        r->head.body = rd_bytes(in, part); /* NB: only with its tail is it all in this input */
        r->left = 0;
        r->state = IN_TAIL;
        return ST_OK;
    }
    buf_add(&r->body, rd_bytes(in, part), part);
    if (r->body.st != ST_OK)
        return r->body.st;
    r->left -= part;
    if (r->left > 0)
        return ST_MORE;
    r->head.body = r->body.data;
    r->state = IN_TAIL;
    return ST_OK;
}

static enum st next_tail(struct flv_reader *r, struct rd *in)
{
    const uint8_t *p = fixed_part(r, in, FLV_TAG_TAIL_BYTES);
    struct rd f;

    if (p == NULL)
        return ST_MORE;
    f = rd_init(p, FLV_TAG_TAIL_BYTES);
    r->state = IN_HEAD;
    return rd_u32be(&f) == FLV_TAG_HEAD_BYTES + r->head.n ? ST_OK : ST_EPROTO;
}

enum st flv_next(struct flv_reader *r, struct rd *in, struct flv_tag *tag)
{
    enum st st = r->st;

    OBJ_CHECK(r, FLV_MAGIC);
    CHECK(!in->bad);
    *tag = (struct flv_tag){ .body = NULL };
    if (st == ST_OK && r->state == IN_HEADER)
        st = next_header(r, in);
    if (st == ST_OK && r->state == IN_HEAD)
        st = next_head(r, in);
    if (st == ST_OK && r->state == IN_BODY)
        st = next_body(r, in);
    if (st == ST_OK && r->state == IN_TAIL)
        st = next_tail(r, in);
    if (st == ST_OK)
        *tag = r->head;
    if (st < 0)
        r->st = st;
    return st;
}

enum st flv_reader_end(struct flv_reader *r)
{
    OBJ_CHECK(r, FLV_MAGIC);
    if (r->st == ST_OK && (r->have > 0 || r->state == IN_BODY || r->state == IN_TAIL))
        r->st = ST_EPROTO;
    return r->st;
}

static void put_be(uint8_t *p, uint64_t v, size_t n)
{
    for (size_t i = n; i > 0; v >>= 8)
        p[--i] = (uint8_t)v;
}

void flv_tag_head(uint8_t head[FLV_TAG_HEAD_BYTES], enum flv_type type, uint32_t ts_ms, size_t n)
{
    CHECK(n <= FLV_BODY_MAX);
    head[0] = (uint8_t)type;
    put_be(head + 1, n, 3);
    put_be(head + 4, ts_ms & 0xffffff, 3);
    head[7] = (uint8_t)(ts_ms >> 24);
    put_be(head + 8, 0, 3);
}

void flv_tag_tail(uint8_t tail[FLV_TAG_TAIL_BYTES], size_t n)
{
    CHECK(n <= FLV_BODY_MAX);
    put_be(tail, FLV_TAG_HEAD_BYTES + n, FLV_TAG_TAIL_BYTES);
}

void flv_put_header(struct buf *b)
{
    static const uint8_t header[FLV_HEADER_BYTES] = { 'F', 'L', 'V', 1, 5, 0, 0, 0, 9 };

    buf_add(b, header, sizeof header);
}

void flv_put_tag(struct buf *b, const struct flv_tag *tag)
{
    uint8_t head[FLV_TAG_HEAD_BYTES], tail[FLV_TAG_TAIL_BYTES];

    flv_tag_head(head, tag->type, tag->ts_ms, tag->n);
    flv_tag_tail(tail, tag->n);
    buf_add(b, head, sizeof head);
    buf_add(b, tag->body, tag->n);
    buf_add(b, tail, sizeof tail);
}

int64_t flv_unwrap(int64_t near_ms, uint32_t ts_ms)
{
    /* The distance, taken as a signed number, is the shortest way round. */
    return near_ms + (int32_t)(ts_ms - (uint32_t)(uint64_t)near_ms);
}

/* --- media headers ----------------------------------------------------------------------- */

static int32_t read_si24(struct rd *r)
{
    uint32_t v = (uint32_t)rd_be(r, 3);

    return (v & 0x800000) != 0 ? (int32_t)v - 0x1000000 : (int32_t)v;
}

/* Enhanced RTMP: packet types 0 start, 1 frames (with a composition time for this codec),
 * 2 end, 3 frames with none. ModEx and multitrack wrap these; we use no track but the first
 * plain one. */
static void ex_video(struct rd *r, uint8_t first, struct flv_media *m)
{
    unsigned packet = first & 0xf;

    if ((first >> 4 & 7) == 5 || packet > 3)
        return; /* a command, or something beside the frames */
    m->codec = rd_u32be(r);
    if (packet == 0)
        m->packet = FLV_CONFIG;
    else if (packet == 2)
        m->packet = FLV_END;
    else
        m->packet = FLV_FRAME;
    if (packet == 1 && m->codec == FLV_AVC1)
        m->cts_ms = read_si24(r);
}

static void legacy_avc(struct rd *r, struct flv_media *m)
{
    unsigned packet = rd_u8(r);
    int32_t cts = read_si24(r);

    m->codec = FLV_AVC1;
    if (packet == 0)
        m->packet = FLV_CONFIG;
    else if (packet == 2)
        m->packet = FLV_END;
    else if (packet == 1)
        m->packet = FLV_FRAME;
    if (packet == 1)
        m->cts_ms = cts;
}

enum st flv_video_parse(const uint8_t *body, size_t n, struct flv_media *m)
{
    struct rd r = rd_init(body, n);
    uint8_t first = rd_u8(&r);
    unsigned frame_type = first >> 4 & 7;

    *m = (struct flv_media){ .packet = FLV_OTHER, .key = frame_type == 1 };
    if ((first & 0x80) != 0) {
        ex_video(&r, first, m);
    } else if (frame_type == 5) {
        m->codec = first & 0xf; /* a command to a player: one byte, no frame */
    } else if ((first & 0xf) == 7) {
        legacy_avc(&r, m);
    } else {
        m->codec = first & 0xf;
        m->packet = FLV_FRAME;
    }
    m->data = r.p;
    m->n = rd_left(&r);
    return r.bad ? ST_EPROTO : ST_OK;
}

enum st flv_audio_parse(const uint8_t *body, size_t n, struct flv_media *m)
{
    struct rd r = rd_init(body, n);
    uint8_t first = rd_u8(&r);
    unsigned packet = first & 0xf;

    *m = (struct flv_media){ .packet = FLV_FRAME, .codec = first >> 4 };
    if (first >> 4 == 10) {
        m->codec = FLV_MP4A;
        packet = rd_u8(&r);
        if (packet > 1)
            m->packet = FLV_OTHER;
    } else if (first >> 4 != 9) {
        packet = 1;
    } else if (packet > 2) {
        m->packet = FLV_OTHER;
    } else {
        m->codec = rd_u32be(&r);
        if (packet == 2)
            m->packet = FLV_END;
    }
    if (packet == 0)
        m->packet = FLV_CONFIG;
    m->data = r.p;
    m->n = rd_left(&r);
    return r.bad ? ST_EPROTO : ST_OK;
}

/* --- the mark ---------------------------------------------------------------------------- */

static void put_key(struct buf *b, const char *key, uint8_t marker)
{
    buf_be(b, strlen(key), 2);
    buf_puts(b, key);
    buf_be(b, marker, 1);
}

static void put_number(struct buf *b, const char *key, int64_t v)
{
    double d = (double)v;
    uint64_t bits;

    CHECK(v > -(INT64_C(1) << 53) && v < INT64_C(1) << 53);
    memcpy(&bits, &d, sizeof bits);
    put_key(b, key, AMF_NUMBER);
    buf_be(b, bits, 8);
}

void flv_put_mark(struct buf *b, const struct flv_mark *mark)
{
    struct buf body;

    buf_init(&body, FLV_MARK_MAX);
    buf_be(&body, AMF_STRING, 1);
    buf_be(&body, strlen(mark_name), 2);
    buf_puts(&body, mark_name);
    buf_be(&body, AMF_ECMA, 1);
    buf_be(&body, mark->has_anchor ? 6 : 5, 4);
    put_number(&body, "v", MARK_VERSION);
    CHECK(mark->tag < UINT64_C(1) << 53);
    put_number(&body, "tag", (int64_t)mark->tag);
    put_number(&body, "base_ms", mark->base_ms);
    put_key(&body, "discontinuity", AMF_BOOL);
    buf_be(&body, mark->discontinuity, 1);
    put_number(&body, "arrival_us", mark->arrival_us);
    if (mark->has_anchor)
        put_number(&body, "anchor_us", mark->anchor_us);
    buf_be(&body, AMF_END, 3);
    if (body.st == ST_OK) {
        flv_put_tag(b, &(struct flv_tag){ .type = FLV_SCRIPT,
                                          .ts_ms = (uint32_t)(uint64_t)mark->base_ms,
                                          .body = body.data,
                                          .n = body.len });
    } else if (b->st == ST_OK) {
        b->st = body.st;
    }
    buf_fini(&body);
}

/* A whole number that a double holds exactly; r->bad otherwise. */
static int64_t read_whole(struct rd *r)
{
    uint64_t bits = rd_be(r, 8);
    double d;

    memcpy(&d, &bits, sizeof d);
    if (!(d > -9007199254740992.0 && d < 9007199254740992.0) || (double)(int64_t)d != d) {
        r->bad = true;
        return 0;
    }
    return (int64_t)d;
}

struct mark_key {
    const uint8_t *p;
    size_t n;
};

static bool key_is(const struct mark_key *k, const char *name)
{
    return k->p != NULL && k->n == strlen(name) && memcmp(k->p, name, k->n) == 0;
}

enum { SAW_V = 1, SAW_TAG = 2, SAW_BASE = 4, SAW_DISC = 8, SAW_ARRIVAL = 16, SAW_ANCHOR = 32 };
enum { SAW_ALL = SAW_V | SAW_TAG | SAW_BASE | SAW_DISC | SAW_ARRIVAL };

/* Which key it was; 0: one of a later version, which is skipped. */
static unsigned mark_number(struct rd *r, const struct mark_key *k, struct flv_mark *m)
{
    int64_t v = read_whole(r);

    if (key_is(k, "v")) {
        r->bad = r->bad || v != MARK_VERSION;
        return SAW_V;
    }
    if (key_is(k, "tag")) {
        r->bad = r->bad || v < 0;
        m->tag = (uint64_t)v;
        return SAW_TAG;
    }
    if (key_is(k, "base_ms")) {
        m->base_ms = v;
        return SAW_BASE;
    }
    if (key_is(k, "arrival_us")) {
        m->arrival_us = v;
        return SAW_ARRIVAL;
    }
    if (key_is(k, "anchor_us")) {
        m->has_anchor = true;
        m->anchor_us = v;
        return SAW_ANCHOR;
    }
    return 0;
}

static unsigned mark_field(struct rd *r, const struct mark_key *k, uint8_t marker,
                           struct flv_mark *m)
{
    bool yes;

    switch (marker) {
    case AMF_NUMBER:
        return mark_number(r, k, m);
    case AMF_BOOL:
        yes = rd_u8(r) != 0;
        if (!key_is(k, "discontinuity"))
            return 0;
        m->discontinuity = yes;
        return SAW_DISC;
    case AMF_STRING:
        (void)rd_bytes(r, rd_u16be(r));
        return 0;
    default:
        r->bad = true; /* no nesting here */
        return 0;
    }
}

enum st flv_mark_parse(const struct flv_tag *tag, struct flv_mark *mark)
{
    struct rd r = rd_init(tag->body, tag->n);
    bool string = rd_u8(&r) == AMF_STRING;
    struct mark_key name = { .n = rd_u16be(&r) };
    unsigned seen = 0;
    uint8_t marker;

    *mark = (struct flv_mark){ .tag = 0 };
    name.p = rd_bytes(&r, name.n);
    if (tag->type != FLV_SCRIPT || !string || r.bad || !key_is(&name, mark_name))
        return ST_ENOENT;
    marker = rd_u8(&r);
    if (marker == AMF_ECMA)
        (void)rd_u32be(&r); /* a hint by its own specification */
    else if (marker != AMF_OBJECT)
        return ST_EPROTO;
    while (!r.bad) {
        struct mark_key k = { .n = rd_u16be(&r) };
        unsigned saw;

        k.p = rd_bytes(&r, k.n);
        marker = rd_u8(&r);
        if (k.n == 0 && marker == AMF_END)
            break;
        saw = mark_field(&r, &k, marker, mark);
        if ((seen & saw) != 0)
            return ST_EPROTO;
        seen |= saw;
    }
    if (r.bad || rd_left(&r) > 0 || (seen & SAW_ALL) != SAW_ALL)
        return ST_EPROTO;
    return tag->ts_ms == (uint32_t)(uint64_t)mark->base_ms ? ST_OK : ST_EPROTO;
}

/* --- the past ---------------------------------------------------------------------------- */

void flv_put_past(struct buf *b, const void *text, size_t n)
{
    struct buf body;

    CHECK(n <= FLV_PAST_MAX);
    buf_init(&body, FLV_PAST_MAX + 64);
    buf_be(&body, AMF_STRING, 1);
    buf_be(&body, strlen(past_name), 2);
    buf_puts(&body, past_name);
    buf_be(&body, AMF_STRING, 1);
    buf_be(&body, n, 2);
    buf_add(&body, text, n);
    if (body.st == ST_OK)
        flv_put_tag(b, &(struct flv_tag){ .type = FLV_SCRIPT, .body = body.data, .n = body.len });
    else if (b->st == ST_OK)
        b->st = body.st;
    buf_fini(&body);
}

enum st flv_past_parse(const struct flv_tag *tag, const char **text, size_t *n)
{
    struct rd r = rd_init(tag->body, tag->n);
    bool string = rd_u8(&r) == AMF_STRING;
    struct mark_key name = { .n = rd_u16be(&r) };

    name.p = rd_bytes(&r, name.n);
    if (tag->type != FLV_SCRIPT || !string || r.bad || !key_is(&name, past_name))
        return ST_ENOENT;
    string = rd_u8(&r) == AMF_STRING;
    *n = rd_u16be(&r);
    *text = (const char *)rd_bytes(&r, *n);
    return string && !r.bad && rd_left(&r) == 0 && *n <= FLV_PAST_MAX ? ST_OK : ST_EPROTO;
}
