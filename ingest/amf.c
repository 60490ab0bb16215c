#include "ingest/amf.h"

#include <string.h>

#include "core/check.h"

enum {
    M_NUMBER = 0,
    M_BOOL = 1,
    M_STRING = 2,
    M_OBJECT = 3,
    M_NULL = 5,
    M_UNDEFINED = 6,
    M_REF = 7,
    M_ECMA = 8,
    M_END = 9,
    M_STRICT = 10,
    M_DATE = 11,
    M_LONG = 12,
    M_UNSUPPORTED = 13,
    M_XML = 15,
    M_TYPED = 16,
    M_AMF3 = 17
};
enum { A3_UNDEFINED, A3_NULL, A3_FALSE, A3_TRUE, A3_INTEGER, A3_DOUBLE, A3_STRING };

struct amf amf_init(const uint8_t *p, size_t n)
{
    return (struct amf){ .r = rd_init(p, n), .st = ST_OK };
}

static double read_double(struct rd *r)
{
    uint64_t bits = rd_be(r, 8);
    double d;

    memcpy(&d, &bits, sizeof d);
    return d;
}

static enum st read_string(struct amf *a, size_t n, struct amf_event *ev)
{
    ev->kind = AMF_STRING;
    ev->n = n;
    if (n > AMF_STRING_MAX && !a->r.bad)
        return ST_ELIMIT;
    ev->s = rd_bytes(&a->r, n);
    return ST_OK;
}

static enum st enter(struct amf *a, struct amf_event *ev, bool array, uint32_t elements)
{
    ev->kind = array ? AMF_ARRAY : AMF_OBJECT;
    if (a->depth == AMF_DEPTH)
        return ST_ELIMIT;
    a->array[a->depth] = array;
    a->left[a->depth] = elements;
    a->depth++;
    return ST_OK;
}

/* 29 bits in one to four bytes, the last of which gives eight. */
static uint32_t read_u29(struct rd *r)
{
    uint32_t v = 0;

    for (int i = 0; i < 3; i++) {
        uint8_t b = rd_u8(r);

        v = v << 7 | (b & 0x7fu);
        if ((b & 0x80) == 0)
            return v;
    }
    return v << 8 | rd_u8(r);
}

static enum st amf3_value(struct amf *a, struct amf_event *ev)
{
    uint32_t v;

    switch (rd_u8(&a->r)) {
    case A3_UNDEFINED:
    case A3_NULL:
        ev->kind = AMF_NULL;
        return ST_OK;
    case A3_FALSE:
        ev->kind = AMF_BOOL;
        return ST_OK;
    case A3_TRUE:
        ev->kind = AMF_BOOL;
        ev->yes = true;
        return ST_OK;
    case A3_INTEGER:
        v = read_u29(&a->r);
        ev->kind = AMF_NUMBER;
        ev->number = v >= 1u << 28 ? (double)v - (double)(1u << 29) : (double)v;
        return ST_OK;
    case A3_DOUBLE:
        ev->kind = AMF_NUMBER;
        ev->number = read_double(&a->r);
        return ST_OK;
    case A3_STRING:
        v = read_u29(&a->r);
        if ((v & 1) != 0)
            return read_string(a, v >> 1, ev);
        ev->kind = AMF_REF;
        return ST_OK;
    default:
        return ST_EPROTO;
    }
}

static enum st value(struct amf *a, uint8_t marker, struct amf_event *ev)
{
    switch (marker) {
    case M_NUMBER:
        ev->kind = AMF_NUMBER;
        ev->number = read_double(&a->r);
        return ST_OK;
    case M_BOOL:
        ev->kind = AMF_BOOL;
        ev->yes = rd_u8(&a->r) != 0;
        return ST_OK;
    case M_STRING:
        return read_string(a, rd_u16be(&a->r), ev);
    case M_LONG:
    case M_XML:
        return read_string(a, rd_u32be(&a->r), ev);
    case M_NULL:
    case M_UNDEFINED:
    case M_UNSUPPORTED:
        ev->kind = AMF_NULL;
        return ST_OK;
    case M_REF:
        ev->kind = AMF_REF;
        (void)rd_u16be(&a->r);
        return ST_OK;
    case M_DATE:
        ev->kind = AMF_DATE;
        ev->number = read_double(&a->r);
        (void)rd_u16be(&a->r); /* a time zone that must be zero */
        return ST_OK;
    case M_TYPED:
        (void)rd_bytes(&a->r, rd_u16be(&a->r)); /* the name of its class */
        return enter(a, ev, false, 0);
    case M_ECMA:
        (void)rd_u32be(&a->r); /* a count that is a hint only */
        return enter(a, ev, false, 0);
    case M_OBJECT:
        return enter(a, ev, false, 0);
    case M_STRICT:
        return enter(a, ev, true, rd_u32be(&a->r));
    case M_AMF3:
        return amf3_value(a, ev);
    default:
        return ST_EPROTO;
    }
}

static enum st leave(struct amf *a, struct amf_event *ev)
{
    a->depth--;
    ev->kind = AMF_END;
    ev->depth = a->depth;
    return ST_OK;
}

static enum st next(struct amf *a, struct amf_event *ev)
{
    uint8_t marker;

    ev->depth = a->depth;
    if (a->depth == 0 && rd_left(&a->r) == 0)
        return ST_EOF;
    if (a->depth > 0 && a->array[a->depth - 1]) {
        if (a->left[a->depth - 1] == 0)
            return leave(a, ev);
        a->left[a->depth - 1]--;
    } else if (a->depth > 0) {
        ev->member = true;
        ev->key_n = rd_u16be(&a->r);
        ev->key = rd_bytes(&a->r, ev->key_n);
    }
    marker = rd_u8(&a->r);
    if (ev->member && ev->key_n == 0 && marker == M_END && !a->r.bad) {
        ev->member = false;
        return leave(a, ev);
    }
    if (a->depth > 0 && ++a->keys > AMF_KEYS)
        return ST_ELIMIT;
    return a->r.bad ? ST_EPROTO : value(a, marker, ev);
}

enum st amf_next(struct amf *a, struct amf_event *ev)
{
    *ev = (struct amf_event){ .kind = AMF_NULL };
    if (a->st == ST_OK)
        a->st = next(a, ev);
    if (a->st == ST_OK && a->r.bad)
        a->st = ST_EPROTO;
    return a->st;
}

static bool same(const uint8_t *p, size_t n, const char *text)
{
    return p != NULL && n == strlen(text) && memcmp(p, text, n) == 0;
}

bool amf_key_is(const struct amf_event *ev, const char *name)
{
    return ev->member && same(ev->key, ev->key_n, name);
}

bool amf_string_is(const struct amf_event *ev, const char *text)
{
    return ev->kind == AMF_STRING && same(ev->s, ev->n, text);
}

void amf_put_number(struct buf *b, double v)
{
    uint64_t bits;

    memcpy(&bits, &v, sizeof bits);
    buf_be(b, M_NUMBER, 1);
    buf_be(b, bits, 8);
}

void amf_put_bool(struct buf *b, bool v)
{
    buf_be(b, M_BOOL, 1);
    buf_be(b, v, 1);
}

static void put_counted(struct buf *b, const char *s)
{
    size_t n = strlen(s);

    CHECK(n <= UINT16_MAX);
    buf_be(b, n, 2);
    buf_add(b, s, n);
}

void amf_put_string(struct buf *b, const char *s)
{
    buf_be(b, M_STRING, 1);
    put_counted(b, s);
}

void amf_put_null(struct buf *b) { buf_be(b, M_NULL, 1); }
void amf_put_undefined(struct buf *b) { buf_be(b, M_UNDEFINED, 1); }
void amf_put_object(struct buf *b) { buf_be(b, M_OBJECT, 1); }
void amf_put_key(struct buf *b, const char *key) { put_counted(b, key); }
void amf_put_end(struct buf *b) { buf_be(b, M_END, 3); }
