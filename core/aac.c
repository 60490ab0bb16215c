#include "core/aac.h"

#include <stdio.h>

#include "core/bits.h"

enum { AOT_LC = 2, AOT_SBR = 5, AOT_PS = 29, AOT_ESCAPE = 31 };
enum { RATE_MIN = 7350, RATE_MAX = 96000, SYNC_SBR = 0x2b7, SYNC_PS = 0x548 };

static uint8_t read_object(struct bits *b)
{
    uint32_t v = bits_get(b, 5);

    return (uint8_t)(v == AOT_ESCAPE ? 32 + bits_get(b, 6) : v);
}

static uint32_t read_rate(struct bits *b)
{
    static const uint32_t table[] = { 96000, 88200, 64000, 48000, 44100, 32000, 24000,
                                      22050, 16000, 12000, 11025, 8000,  7350 };
    uint32_t i = bits_get(b, 4), rate = 0;

    if (i == 15)
        rate = bits_get(b, 24);
    else if (i < sizeof table / sizeof table[0])
        rate = table[i];
    if (rate < RATE_MIN || rate > RATE_MAX)
        b->bad = true;
    return rate;
}

/* SBR behind the configuration of the core, where decoders that know none do not look. Encoders
 * pad: what is no announcement is no error. */
static void look_behind(struct bits b, struct aac_config *c)
{
    uint32_t rate;

    if (bits_get(&b, 11) != SYNC_SBR || read_object(&b) != AOT_SBR || !bits_flag(&b))
        return;
    rate = read_rate(&b);
    if (b.bad)
        return;
    c->sbr = true;
    c->output_rate = rate;
    if (bits_get(&b, 11) == SYNC_PS)
        c->ps = bits_flag(&b);
}

enum st aac_config_parse(const uint8_t *p, size_t n, struct aac_config *c)
{
    static const uint8_t channels[] = { 0, 1, 2, 3, 4, 5, 6, 8 };
    struct bits b = bits_init(p, n < AAC_CONFIG_MAX ? n : AAC_CONFIG_MAX);
    uint8_t object = read_object(&b);
    uint32_t layout;

    *c = (struct aac_config){ .object = object };
    c->rate = c->output_rate = read_rate(&b);
    layout = bits_get(&b, 4);
    if (object == AOT_SBR || object == AOT_PS) {
        c->sbr = true;
        c->ps = object == AOT_PS;
        c->output_rate = read_rate(&b);
        object = read_object(&b);
    }
    c->frame_samples = bits_flag(&b) ? 960 : 1024;
    if (bits_flag(&b))
        (void)bits_get(&b, 14); /* delay of a core coder */
    (void)bits_flag(&b);        /* extension */
    if (b.bad || object != AOT_LC || layout == 0 || layout >= sizeof channels)
        return ST_EPROTO;
    c->channels = channels[layout];
    if (!c->sbr)
        look_behind(b, c);
    return ST_OK;
}

const char *aac_codecs(const struct aac_config *c, char text[AAC_CODECS_TEXT])
{
    (void)snprintf(text, AAC_CODECS_TEXT, "mp4a.40.%u", (unsigned)c->object);
    return text;
}
