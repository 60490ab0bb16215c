#include "ingest/handshake.h"

#include <string.h>

#include "core/hash.h"

void handshake_init(struct handshake *h, uint64_t seed)
{
    h->seed = seed;
    h->why = HANDSHAKE_GOOD;
    h->begun = false;
    h->have = 0;
}

static enum handshake_why version(uint8_t c0)
{
    switch (c0) {
    case 3:
        return HANDSHAKE_GOOD;
    case 6:
    case 8:
    case 9:
        return HANDSHAKE_RTMPE;
    case 0x16:
        return HANDSHAKE_TLS;
    default:
        return (c0 >= 'A' && c0 <= 'Z') ? HANDSHAKE_HTTP : HANDSHAKE_VERSION;
    }
}

static void reply(struct handshake *h, struct buf *out)
{
    buf_be(out, 3, 1);
    buf_be(out, 0, 8); /* our clock begins here, and a version that promises no digest */
    for (size_t i = 8; i < HANDSHAKE_BYTES; i += 8) {
        h->seed = hash_mix(h->seed + i);
        buf_be(out, h->seed, 8);
    }
    buf_add(out, h->c1, HANDSHAKE_BYTES);
}

enum st handshake_next(struct handshake *h, struct rd *in, struct buf *out)
{
    if (h->why != HANDSHAKE_GOOD)
        return ST_EPROTO;
    if (rd_left(in) == 0)
        return ST_MORE;
    if (!h->begun) {
        h->why = version(rd_u8(in));
        h->begun = true;
        if (h->why != HANDSHAKE_GOOD)
            return ST_EPROTO;
    }
    while (h->have < (size_t)2 * HANDSHAKE_BYTES && rd_left(in) > 0) {
        size_t part = HANDSHAKE_BYTES - h->have % HANDSHAKE_BYTES;

        if (part > rd_left(in))
            part = rd_left(in);
        if (h->have < HANDSHAKE_BYTES)
            memcpy(h->c1 + h->have, in->p, part);
        (void)rd_bytes(in, part);
        h->have += part;
        if (h->have == HANDSHAKE_BYTES && out->st == ST_OK)
            reply(h, out);
    }
    if (out->st != ST_OK)
        return out->st;
    return h->have == (size_t)2 * HANDSHAKE_BYTES ? ST_OK : ST_MORE;
}
