#include "core/avc.h"

#include <stdio.h>

#include "core/bits.h"
#include "core/rd.h"

enum { NAL_SPS = 7, NAL_PPS = 8, SAR_EXPLICIT = 255 };

/* Without the bytes that keep start codes out of the payload (7.3.1); the size. */
static size_t unescape(const uint8_t *p, size_t n, uint8_t out[AVC_SET_MAX])
{
    size_t len = 0, zeros = 0;

    for (size_t i = 0; i < n; i++) {
        if (zeros >= 2 && p[i] == 3) {
            zeros = 0;
            continue;
        }
        zeros = p[i] == 0 ? zeros + 1 : 0;
        out[len++] = p[i];
    }
    return len;
}

static bool has_chroma_info(uint8_t profile)
{
    switch (profile) {
    case 100:
    case 110:
    case 122:
    case 244:
    case 44:
    case 83:
    case 86:
    case 118:
    case 128:
    case 138:
    case 139:
    case 134:
    case 135:
        return true;
    default:
        return false;
    }
}

static void skip_scaling_list(struct bits *b, int size)
{
    int64_t last = 8, next = 8;

    for (int i = 0; i < size && !b->bad; i++) {
        if (next != 0)
            next = (last + bits_se(b) + 256) & 0xff;
        if (next != 0)
            last = next;
    }
}

struct chroma {
    uint32_t format; /* 0 none, 1 4:2:0, 2 4:2:2, 3 4:4:4 */
    bool separate;   /* three pictures of one plane */
};

static struct chroma read_chroma(struct bits *b)
{
    struct chroma c = { .format = bits_ue(b) };

    if (c.format > 3)
        b->bad = true;
    if (c.format == 3)
        c.separate = bits_flag(b);
    if (bits_ue(b) > 6 || bits_ue(b) > 6) /* bit depths */
        b->bad = true;
    (void)bits_flag(b);
    if (bits_flag(b)) {
        for (int i = 0; i < (c.format == 3 ? 12 : 8); i++)
            if (bits_flag(b))
                skip_scaling_list(b, i < 6 ? 16 : 64);
    }
    return c;
}

static void skip_picture_order(struct bits *b)
{
    uint32_t type = bits_ue(b), cycle;

    if (type > 2) {
        b->bad = true;
    } else if (type == 0) {
        if (bits_ue(b) > 12)
            b->bad = true;
    } else if (type == 1) {
        (void)bits_flag(b);
        (void)bits_se(b);
        (void)bits_se(b);
        cycle = bits_ue(b);
        if (cycle > 255)
            b->bad = true;
        for (uint32_t i = 0; i < cycle && !b->bad; i++)
            (void)bits_se(b);
    }
}

static void read_sar(struct bits *b, struct avc_sps *s)
{
    static const uint8_t table[][2] = {
        { 1, 1 },   { 1, 1 },    { 12, 11 }, { 10, 11 }, { 16, 11 }, { 40, 33 },
        { 24, 11 }, { 20, 11 },  { 32, 11 }, { 80, 33 }, { 18, 11 }, { 15, 11 },
        { 64, 33 }, { 160, 99 }, { 4, 3 },   { 3, 2 },   { 2, 1 },
    };
    uint32_t idc = bits_get(b, 8), num, den;

    if (idc == SAR_EXPLICIT) {
        num = bits_get(b, 16);
        den = bits_get(b, 16);
        if (num > 0 && den > 0) { /* else it is "unspecified" */
            s->sar_num = num;
            s->sar_den = den;
        }
    } else if (idc < sizeof table / sizeof table[0]) {
        s->sar_num = table[idc][0];
        s->sar_den = table[idc][1];
    }
}

/* As far as the timing. What comes after it is of no use here, and encoders get it wrong. */
static void read_vui(struct bits *b, struct avc_sps *s)
{
    if (bits_flag(b))
        read_sar(b, s);
    if (bits_flag(b))
        (void)bits_flag(b); /* overscan */
    if (bits_flag(b)) {     /* video signal type */
        (void)bits_get(b, 4);
        if (bits_flag(b))
            (void)bits_get(b, 24);
    }
    if (bits_flag(b)) { /* where chroma samples lie */
        (void)bits_ue(b);
        (void)bits_ue(b);
    }
    if (bits_flag(b)) {
        uint32_t tick = bits_get(b, 32), scale = bits_get(b, 32);
        bool fixed = bits_flag(b);

        if (b->bad || tick == 0 || scale == 0 || tick > UINT32_MAX / 2)
            return;
        s->frame_num = scale; /* a tick is a field, even where there are none */
        s->frame_den = tick * 2;
        s->fixed_rate = fixed;
    }
}

struct size {
    uint32_t mbs_wide, map_units_high;
    bool frames_only;
    uint32_t crop[4]; /* left, right, top, bottom, in units */
};

static struct size read_size(struct bits *b)
{
    struct size z = { .mbs_wide = bits_ue(b) };

    z.map_units_high = bits_ue(b);
    z.frames_only = bits_flag(b);
    if (!z.frames_only)
        (void)bits_flag(b);
    (void)bits_flag(b); /* direct 8x8 inference */
    if (bits_flag(b))
        for (int i = 0; i < 4; i++)
            z.crop[i] = bits_ue(b);
    return z;
}

static bool fits(uint32_t w, uint32_t h)
{
    return (w <= AVC_LONG_MAX && h <= AVC_SHORT_MAX) || (w <= AVC_SHORT_MAX && h <= AVC_LONG_MAX);
}

static enum st set_size(const struct size *z, const struct chroma *c, struct avc_sps *s)
{
    bool planes = c->format == 0 || c->separate;
    uint64_t unit_x = !planes && c->format < 3 ? 2 : 1;
    uint64_t unit_y = !planes && c->format == 1 ? 2 : 1;
    uint64_t fields = z->frames_only ? 1 : 2;
    uint64_t w = (uint64_t)z->mbs_wide * 16 + 16;
    uint64_t h = ((uint64_t)z->map_units_high * 16 + 16) * fields;
    uint64_t cut_x = ((uint64_t)z->crop[0] + z->crop[1]) * unit_x;
    uint64_t cut_y = ((uint64_t)z->crop[2] + z->crop[3]) * unit_y * fields;

    /* The decoder needs memory for what is coded, cropped or not. */
    if (w > AVC_LONG_MAX + 32 || h > AVC_LONG_MAX + 32)
        return ST_ELIMIT;
    if (cut_x >= w || cut_y >= h)
        return ST_EPROTO;
    s->width = (uint32_t)(w - cut_x);
    s->height = (uint32_t)(h - cut_y);
    s->interlaced = !z->frames_only;
    return fits(s->width, s->height) ? ST_OK : ST_ELIMIT;
}

enum st avc_sps_parse(const uint8_t *nal, size_t n, struct avc_sps *s)
{
    uint8_t plain[AVC_SET_MAX];
    struct chroma chroma = { .format = 1 };
    struct size size;
    struct bits b;
    enum st st;

    *s = (struct avc_sps){ .sar_num = 1, .sar_den = 1 };
    if (n > AVC_SET_MAX)
        return ST_ELIMIT;
    b = bits_init(plain, unescape(nal, n, plain));
    if ((bits_get(&b, 8) & 0x9f) != NAL_SPS)
        return ST_EPROTO;
    s->profile = (uint8_t)bits_get(&b, 8);
    s->constraints = (uint8_t)bits_get(&b, 8);
    s->level = (uint8_t)bits_get(&b, 8);
    if (bits_ue(&b) > 31)
        return ST_EPROTO;
    if (has_chroma_info(s->profile))
        chroma = read_chroma(&b);
    if (bits_ue(&b) > 12)
        return ST_EPROTO;
    skip_picture_order(&b);
    if (bits_ue(&b) > 16) /* reference frames */
        return ST_EPROTO;
    (void)bits_flag(&b);
    size = read_size(&b);
    if (b.bad)
        return ST_EPROTO;
    st = set_size(&size, &chroma, s);
    if (st != ST_OK)
        return st;
    if (bits_flag(&b))
        read_vui(&b, s);
    return ST_OK; /* NB: a cut VUI says nothing wrong about what came before it */
}

/* One parameter set of a list; the first one is kept. */
static enum st read_set(struct rd *r, uint8_t type, const uint8_t **p, size_t *n)
{
    size_t len = rd_u16be(r);
    const uint8_t *set = rd_bytes(r, len);

    if (r->bad || len == 0 || (set[0] & 0x9f) != type)
        return ST_EPROTO;
    if (len > AVC_SET_MAX)
        return ST_ELIMIT;
    if (*p == NULL) {
        *p = set;
        *n = len;
    }
    return ST_OK;
}

enum st avc_config_parse(const uint8_t *p, size_t n, struct avc_config *c)
{
    struct rd r = rd_init(p, n);
    enum st st = ST_OK;

    *c = (struct avc_config){ .sps = NULL };
    if (rd_u8(&r) != 1)
        return ST_EPROTO;
    (void)rd_be(&r, 3); /* profile to level, again */
    c->length_bytes = (rd_u8(&r) & 3u) + 1;
    c->sps_count = rd_u8(&r) & 31;
    for (unsigned i = 0; i < c->sps_count && st == ST_OK; i++)
        st = read_set(&r, NAL_SPS, &c->sps, &c->sps_n);
    if (st != ST_OK)
        return st;
    c->pps_count = rd_u8(&r);
    for (unsigned i = 0; i < c->pps_count && st == ST_OK; i++)
        st = read_set(&r, NAL_PPS, &c->pps, &c->pps_n);
    if (st != ST_OK)
        return st;
    if (r.bad || c->length_bytes == 3 || c->sps == NULL || c->pps == NULL)
        return ST_EPROTO;
    return avc_sps_parse(c->sps, c->sps_n, &c->info);
}

const char *avc_codecs(const struct avc_sps *s, char text[AVC_CODECS_TEXT])
{
    (void)snprintf(text, AVC_CODECS_TEXT, "avc1.%02x%02x%02x", s->profile, s->constraints,
                   s->level);
    return text;
}
