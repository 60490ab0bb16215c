#include "core/record.h"

#include <stdlib.h>
#include <string.h>

#include "core/check.h"

enum { RECORD_MAGIC = 0x7ec07d01, AFTER_LENGTH = RECORD_FIXED - 4 };
enum { IN_FIXED, IN_JSON, IN_PAYLOAD }; /* state */

const char *record_type_name(enum record_type type)
{
    switch (type) {
#define X(n, v, d)   \
    case RECORD_##n: \
        return d;
        RECORD_TYPES(X)
#undef X
    }
    return NULL;
}

void record_reader_init(struct record_reader *r, size_t limit)
{
    CHECK(limit <= RECORD_BYTES_MAX);
    *r = (struct record_reader){ .st = ST_OK, .state = IN_FIXED, .limit = limit };
    buf_init(&r->text, RECORD_JSON_MAX);
    OBJ_INIT(r, RECORD_MAGIC);
}

void record_reader_fini(struct record_reader *r)
{
    OBJ_FINI(r, RECORD_MAGIC);
    buf_fini(&r->text);
    json_decref(r->json);
    r->json = NULL;
}

static enum st parse_fixed(struct record_reader *r)
{
    struct rd f = rd_init(r->fixed, sizeof r->fixed);
    size_t length = rd_u32be(&f);
    int type = rd_u8(&f);
    uint8_t flags = rd_u8(&f);
    uint16_t zero = rd_u16be(&f);
    uint64_t seq = rd_be(&f, 8);
    size_t json = rd_u16be(&f);

    CHECK(!f.bad);
    if (length > r->limit)
        return ST_ELIMIT;
    if (length < AFTER_LENGTH || json > length - AFTER_LENGTH || zero != 0 ||
        record_type_name((enum record_type)type) == NULL)
        return ST_EPROTO;
    r->head = (struct record_head){ .type = (enum record_type)type,
                                    .flags = flags,
                                    .seq = seq,
                                    .payload = length - AFTER_LENGTH - json };
    r->left = json;
    return ST_OK;
}

static enum st parse_json(struct record_reader *r)
{
    json_error_t e;

    if (r->raw_chunks && r->head.type == RECORD_CHUNK)
        return buf_text(&r->text)[0] == '{' ? ST_OK : ST_EPROTO;
    r->json = json_loadb(buf_text(&r->text), r->text.len, JSON_REJECT_DUPLICATES, &e);
    if (r->json == NULL)
        return json_error_code(&e) == json_error_out_of_memory ? ST_ENOMEM : ST_EPROTO;
    return json_is_object(r->json) ? ST_OK : ST_EPROTO;
}

/* What there is of the part at hand. */
static size_t share(const struct rd *in, size_t wanted)
{
    return rd_left(in) < wanted ? rd_left(in) : wanted;
}

static enum st next_fixed(struct record_reader *r, struct rd *in)
{
    size_t n = share(in, sizeof r->fixed - r->have);
    const uint8_t *p = rd_bytes(in, n);
    enum st st;

    if (n > 0)
        memcpy(r->fixed + r->have, p, n);
    r->have += n;
    if (r->have < sizeof r->fixed)
        return ST_MORE;
    st = parse_fixed(r);
    if (st == ST_OK) {
        r->state = IN_JSON;
        buf_reset(&r->text);
    }
    return st;
}

static enum st next_json(struct record_reader *r, struct rd *in)
{
    size_t n = share(in, r->left);
    enum st st;

    buf_add(&r->text, rd_bytes(in, n), n);
    if (r->text.st != ST_OK)
        return r->text.st;
    r->left -= n;
    if (r->left > 0)
        return ST_MORE;
    st = parse_json(r);
    if (st == ST_OK) {
        r->state = IN_PAYLOAD;
        r->left = r->head.payload;
    }
    return st;
}

static enum st next_payload(struct record_reader *r, struct rd *in, struct record_event *ev)
{
    size_t n = share(in, r->left);

    if (r->left == 0) {
        ev->what = RECORD_GOT_ALL;
        r->state = IN_FIXED;
        r->have = 0;
        return ST_OK;
    }
    if (n == 0)
        return ST_MORE;
    ev->what = RECORD_GOT_BYTES;
    ev->bytes = rd_bytes(in, n);
    ev->n = n;
    r->left -= n;
    return ST_OK;
}

enum st record_next(struct record_reader *r, struct rd *in, struct record_event *ev)
{
    enum st st = r->st;

    OBJ_CHECK(r, RECORD_MAGIC);
    CHECK(!in->bad);
    *ev = (struct record_event){ .what = RECORD_GOT_HEAD };
    json_decref(r->json);
    r->json = NULL;
    if (st == ST_OK && r->state == IN_FIXED)
        st = next_fixed(r, in);
    if (st == ST_OK && r->state == IN_JSON) {
        st = next_json(r, in);
        ev->json = r->json;
        ev->text = buf_text(&r->text);
        ev->text_n = r->text.len;
    } else if (st == ST_OK) {
        st = next_payload(r, in, ev);
    }
    ev->head = r->head;
    if (st < 0)
        r->st = st;
    return st;
}

enum st record_reader_end(struct record_reader *r)
{
    OBJ_CHECK(r, RECORD_MAGIC);
    if (r->st == ST_OK && (r->state != IN_FIXED || r->have > 0))
        r->st = ST_EPROTO;
    return r->st;
}

void record_put_text(struct buf *b, enum record_type type, uint8_t flags, uint64_t seq,
                     const char *json, size_t json_len, size_t payload)
{
    CHECK(record_type_name(type) != NULL && json_len >= 2 && json[0] == '{');
    if (json_len > RECORD_JSON_MAX || payload > RECORD_BYTES_MAX - AFTER_LENGTH - json_len) {
        if (b->st == ST_OK)
            b->st = ST_ELIMIT;
        return;
    }
    buf_be(b, AFTER_LENGTH + json_len + payload, 4);
    buf_be(b, (uint64_t)type, 1);
    buf_be(b, flags, 1);
    buf_be(b, 0, 2);
    buf_be(b, seq, 8);
    buf_be(b, json_len, 2);
    buf_add(b, json, json_len);
}

void record_put(struct buf *b, enum record_type type, uint8_t flags, uint64_t seq,
                const json_t *json, size_t payload)
{
    char *text = json_dumps(json, JSON_COMPACT);

    if (text == NULL) {
        if (b->st == ST_OK)
            b->st = ST_ENOMEM;
        return;
    }
    record_put_text(b, type, flags, seq, text, strlen(text), payload);
    free(text);
}
