#include "encode/cmaf.h"

#include "core/check.h"

#define BOX(a, b, c, d) ((uint32_t)(a) << 24 | (uint32_t)(b) << 16 | (uint32_t)(c) << 8 | (d))

enum { NTP_EPOCH_S = 2208988800 }; /* 1900 to 1970 */

enum {
    BOX_HEAD = 8,
    FULL_HEAD = 12,
    STYP_BYTES = BOX_HEAD + 4 + 4 + 5 * 4,
    PRFT_BYTES = FULL_HEAD + 4 + 8 + 8,
    MFHD_BYTES = FULL_HEAD + 4,
    TFHD_BYTES = FULL_HEAD + 4,
    TFHD_DEFAULTS_BYTES = 4 + 4,
    TFDT_BYTES = FULL_HEAD + 8,
    TRUN_BYTES = FULL_HEAD + 4 + 4,
};

enum {
    PRFT_CAPTURED = 24, /* real-time origin, constant offset */
    TFHD_DURATION = 0x08,
    TFHD_FLAGS = 0x20,
    TFHD_BASE_IS_MOOF = 0x20000,
    TRUN_DATA_OFFSET = 0x01,
    TRUN_DURATION = 0x100,
    TRUN_SIZE = 0x200,
    TRUN_FLAGS = 0x400,
    TRUN_CTS = 0x800,
};

enum { /* sample flags */
       DEPENDS_ON_OTHERS = 1 << 24,
       DEPENDS_ON_NONE = 2 << 24,
       IS_DEPENDED_ON = 1 << 22,
       IS_DISPOSABLE = 2 << 22,
       NON_SYNC = 1 << 16,
};

uint64_t cmaf_ntp(int64_t ast_s, int64_t t, uint32_t timescale)
{
    uint64_t ticks = (uint64_t)t;
    uint64_t s = (uint64_t)ast_s + ticks / timescale + NTP_EPOCH_S;

    return s << 32 | (ticks % timescale << 32) / timescale;
}

static void put_box(struct buf *b, size_t bytes, uint32_t type)
{
    buf_be(b, bytes, 4);
    buf_be(b, type, 4);
}

static void put_full_box(struct buf *b, size_t bytes, uint32_t type, unsigned version,
                         uint32_t flags)
{
    put_box(b, bytes, type);
    buf_be(b, version, 1);
    buf_be(b, flags, 3);
}

static void put_styp(struct buf *b)
{
    put_box(b, STYP_BYTES, BOX('s', 't', 'y', 'p'));
    buf_puts(b, "msdh");
    buf_be(b, 0, 4);
    buf_puts(b, "msdhmsixcmfscmffcmfl");
}

static void put_prft(struct buf *b, const struct cmaf_chunk *c)
{
    put_full_box(b, PRFT_BYTES, BOX('p', 'r', 'f', 't'), 1, PRFT_CAPTURED);
    buf_be(b, c->track, 4);
    buf_be(b, c->ntp, 8);
    buf_be(b, (uint64_t)c->tfdt, 8);
}

static uint32_t sample_flags(const struct cmaf_sample *s)
{
    uint32_t flags = s->sync ? DEPENDS_ON_NONE : DEPENDS_ON_OTHERS | NON_SYNC;

    return flags | (s->disposable ? IS_DISPOSABLE : IS_DEPENDED_ON);
}

static void put_trun(struct buf *b, const struct cmaf_chunk *c, size_t bytes, size_t to_media)
{
    bool uniform = c->sample_duration != 0;
    uint32_t flags = TRUN_DATA_OFFSET | TRUN_SIZE;

    if (!uniform)
        flags |= TRUN_DURATION | TRUN_FLAGS | TRUN_CTS;
    put_full_box(b, bytes, BOX('t', 'r', 'u', 'n'), 1, flags);
    buf_be(b, c->count, 4);
    buf_be(b, to_media, 4);
    for (size_t i = 0; i < c->count; i++) {
        const struct cmaf_sample *s = &c->samples[i];

        if (uniform) {
            CHECK(s->duration == c->sample_duration && s->cts == 0 && s->sync);
            buf_be(b, s->size_bytes, 4);
            continue;
        }
        buf_be(b, s->duration, 4);
        buf_be(b, s->size_bytes, 4);
        buf_be(b, sample_flags(s), 4);
        buf_be(b, (uint32_t)s->cts, 4);
    }
}

void cmaf_put_head(struct buf *b, const struct cmaf_chunk *c)
{
    bool uniform = c->sample_duration != 0;
    size_t tfhd = TFHD_BYTES + (uniform ? TFHD_DEFAULTS_BYTES : 0);
    size_t trun = TRUN_BYTES + c->count * (uniform ? 4 : 16);
    size_t traf = BOX_HEAD + tfhd + TFDT_BYTES + trun;
    size_t moof = BOX_HEAD + MFHD_BYTES + traf;
    uint64_t media = 0;

    CHECK(c->count > 0 && c->tfdt >= 0);
    for (size_t i = 0; i < c->count; i++)
        media += c->samples[i].size_bytes;
    CHECK(media <= UINT32_MAX - BOX_HEAD);
    if (c->first)
        put_styp(b);
    put_prft(b, c);
    put_box(b, moof, BOX('m', 'o', 'o', 'f'));
    put_full_box(b, MFHD_BYTES, BOX('m', 'f', 'h', 'd'), 0, 0);
    buf_be(b, c->sequence, 4);
    put_box(b, traf, BOX('t', 'r', 'a', 'f'));
    put_full_box(b, tfhd, BOX('t', 'f', 'h', 'd'), 0,
                 TFHD_BASE_IS_MOOF | (uniform ? TFHD_DURATION | TFHD_FLAGS : 0u));
    buf_be(b, c->track, 4);
    if (uniform) {
        buf_be(b, c->sample_duration, 4);
        buf_be(b, DEPENDS_ON_NONE, 4);
    }
    put_full_box(b, TFDT_BYTES, BOX('t', 'f', 'd', 't'), 1, 0);
    buf_be(b, (uint64_t)c->tfdt, 8);
    put_trun(b, c, trun, moof + BOX_HEAD);
    put_box(b, BOX_HEAD + (size_t)media, BOX('m', 'd', 'a', 't'));
}
