/* tests/unit/demux.h - what libavformat reads out of an init segment and what follows it
 *
 * Purpose   the other side of encode/: a demuxer that is not ours, on memory.
 */
#ifndef TESTS_DEMUX_H
#define TESTS_DEMUX_H

#include <setjmp.h>
#include <stdarg.h> /* cmocka.h wants these four before it */
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <libavformat/avformat.h>
#include <stdio.h>
#include <string.h>

#include "core/buf.h"

/* Configurations that a real encoder sent: 320x180 without B-frames at 30, and 322x182 with a
 * sample aspect ratio of 4:3 at 25 frames a second; AAC-LC, 48 kHz, one channel. */
static const char avcc_320x180[] =
    "0142c00dffe100176742c00dda05067e7c0440000003004000000f03c50aa801000468ce0fc8";
static const char avcc_322x182[] = "0164000dffe1001a6764000dacd941519e226c3840000003004000000c83c5"
                                   "0a658001000668ebe3cb22c0fdf8f800";
static const char asc_48k_mono[] = "118856e500";

static inline size_t unhex(const char *hex, uint8_t *out)
{
    size_t n = 0;
    unsigned v;

    for (; sscanf(hex, "%2x", &v) == 1; hex += 2)
        out[n++] = (uint8_t)v;
    return n;
}

struct demux {
    AVFormatContext *fc;
    AVIOContext *io;
    const uint8_t *p;
    size_t left;
};

static inline int demux_read(void *opaque, uint8_t *to, int n)
{
    struct demux *d = opaque;
    size_t part = (size_t)n < d->left ? (size_t)n : d->left;

    if (part == 0)
        return AVERROR_EOF;
    memcpy(to, d->p, part);
    d->p += part;
    d->left -= part;
    return (int)part;
}

static inline void demux_open(struct demux *d, const uint8_t *p, size_t n)
{
    *d = (struct demux){ .p = p, .left = n };
    av_log_set_level(AV_LOG_QUIET);
    d->io = avio_alloc_context(av_malloc(4096), 4096, 0, d, demux_read, NULL, NULL);
    d->fc = avformat_alloc_context();
    assert_non_null(d->io);
    assert_non_null(d->fc);
    d->fc->pb = d->io;
    d->fc->flags |= AVFMT_FLAG_NOPARSE | AVFMT_FLAG_NOFILLIN;
    assert_int_equal(
        avformat_open_input(&d->fc, NULL, av_find_input_format("mov,mp4,m4a,3gp,3g2,mj2"), NULL),
        0);
}

static inline void demux_close(struct demux *d)
{
    avformat_close_input(&d->fc);
    av_freep(&d->io->buffer);
    avio_context_free(&d->io);
}

#endif
