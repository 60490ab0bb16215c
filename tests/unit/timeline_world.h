/* tests/unit/timeline_world.h - made-up broadcasts, and all that the timeline says about them
 *
 * Purpose   a script is a list of numbered tags and marks; play() feeds a part of it to a timeline;
 *           said[] holds every PERIOD, OPEN, CHUNK and CLOSE.
 */
#ifndef TESTS_TIMELINE_WORLD_H
#define TESTS_TIMELINE_WORLD_H

#include <setjmp.h>
#include <stdarg.h> /* cmocka.h wants these four before it */
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/hash.h"
#include "encode/timeline.h"

enum { SCRIPT_MAX = 40000, SAID_MAX = 20000, AST_S = 1760000000 };

enum item_kind { VIDEO, AUDIO, CONFIG, ANCHOR, BREAK };
struct item {
    enum item_kind kind;
    uint64_t tag; /* marks: of the next tag */
    int64_t ms;
    int32_t cts_ms;
    bool sync;
    size_t n;
    struct init *init;
    int64_t anchor_us;
};

static struct item script[SCRIPT_MAX];
static size_t script_n;
static uint64_t script_tag;
static struct init *avc_a, *avc_b, *aac_a, *aac_b;

struct said {
    char kind; /* P O C X */
    enum tl_rep rep;
    int64_t n, t, d;
    int64_t first_n; /* P: number of its first segments */
    int64_t gop;     /* P */
    bool first, sap;
    uint32_t seq;
    size_t samples;
    uint64_t next_tag, bytes; /* P: first_tag; hash of what is in the chunk */
    char *state;
    bool has[TL_REPS];
    char hash[TL_REPS][INIT_HASH_TEXT];
    int64_t pto[TL_REPS];
};
static struct said said[SAID_MAX];
static size_t said_n;

static inline struct said *say(char kind, enum tl_rep rep)
{
    assert_true(said_n < SAID_MAX);
    said[said_n] = (struct said){ .kind = kind, .rep = rep };
    return &said[said_n++];
}

static inline void on_period(void *ctx, const struct tl_period *p)
{
    struct said *s = say('P', TL_VIDEO);

    (void)ctx;
    s->n = p->k;
    s->t = p->start_ms;
    s->first_n = p->number;
    s->gop = p->gop;
    s->next_tag = p->first_tag;
    for (int i = 0; i < TL_REPS; i++) {
        s->has[i] = p->init[i] != NULL;
        if (!s->has[i])
            continue;
        strcpy(s->hash[i], p->init[i]->hash);
        s->pto[i] = tl_period_pto(p, (enum tl_rep)i);
    }
}

static inline void on_open(void *ctx, enum tl_rep rep, int64_t n, int64_t t, int64_t d)
{
    struct said *s = say('O', rep);

    (void)ctx;
    s->n = n;
    s->t = t;
    s->d = d;
}

static inline void on_chunk(void *ctx, const struct tl_chunk *c)
{
    struct said *s = say('C', c->rep);
    size_t sum = 0;

    (void)ctx;
    s->n = c->n;
    s->t = c->cmaf.tfdt;
    s->d = c->d;
    s->sap = c->sap;
    s->first = c->cmaf.first;
    s->seq = c->cmaf.sequence;
    s->samples = c->cmaf.count;
    s->next_tag = c->next_tag;
    s->bytes = hash64_stable(c->media, c->media_bytes) + c->cmaf.ntp;
    for (size_t i = 0; i < c->cmaf.count; i++) {
        const struct cmaf_sample *x = &c->cmaf.samples[i];
        uint64_t words[] = { x->duration, x->size_bytes, (uint64_t)x->cts, x->sync, x->disposable };

        s->bytes = hash64_stable(words, sizeof words) + hash_mix(s->bytes);
        sum += x->size_bytes;
        assert_true(x->duration > 0);
        s->d -= x->duration;
    }
    assert_int_equal(sum, c->media_bytes);
    assert_int_equal(s->d, 0);
    s->d = c->d;
    s->state = strdup(c->state);
}

static inline void on_close(void *ctx, enum tl_rep rep, int64_t n, int64_t d)
{
    struct said *s = say('X', rep);

    (void)ctx;
    s->n = n;
    s->d = d;
}

static const struct timeline_ops world_ops = { on_period, on_open, on_chunk, on_close };

static inline void said_clear(void)
{
    for (size_t i = 0; i < said_n; i++)
        free(said[i].state);
    said_n = 0;
}

/* The i-th record of a kind; NULL: there are fewer. */
static inline struct said *nth(char kind, enum tl_rep rep, size_t i)
{
    for (size_t k = 0; k < said_n; k++)
        if (said[k].kind == kind && (kind == 'P' || said[k].rep == rep) && i-- == 0)
            return &said[k];
    return NULL;
}

static inline size_t count_of(char kind, enum tl_rep rep)
{
    size_t n = 0;

    while (nth(kind, rep, n) != NULL)
        n++;
    return n;
}

/* --- scripts --- */

static inline void script_clear(void) { script_n = 0, script_tag = 1; }

static inline void add(struct item it)
{
    assert_true(script_n < SCRIPT_MAX);
    it.tag = script_tag;
    if (it.kind != ANCHOR && it.kind != BREAK)
        script_tag++;
    script[script_n++] = it;
}

static inline void add_config(struct init *i, int64_t ms)
{
    add((struct item){ .kind = CONFIG, .ms = ms, .init = i });
}

static inline void add_anchor(int64_t at_ms)
{
    add((struct item){ .kind = ANCHOR, .anchor_us = AST_S * INT64_C(1000000) + at_ms * 1000 });
}

struct show {
    int64_t from_ms, to_ms;
    int64_t num, den; /* frames a second */
    int64_t gop;      /* frames */
    int b_frames;     /* between P-frames; sent in decoding order */
    int64_t jitter_ms;
    int64_t audio_rate; /* 0: none */
    int64_t audio_late_ms;
    bool no_video;
};

static uint32_t world_seed = 7;
static inline uint32_t rnd(uint32_t n)
{
    world_seed = world_seed * 1664525u + 1013904223u;
    return (world_seed >> 8) % n;
}

/* Audio and video by decoding time, milliseconds cut off as FLV writers do. */
static inline void add_show(const struct show *s)
{
    int64_t v = 0, a = 0;

    for (;;) {
        int64_t v_ms = s->no_video ? INT64_MAX : s->from_ms + v * 1000 * s->den / s->num;
        int64_t a_ms = s->audio_rate > 0
                           ? s->from_ms + s->audio_late_ms + a * 1024 * 1000 / s->audio_rate
                           : INT64_MAX;

        if ((v_ms < a_ms ? v_ms : a_ms) >= s->to_ms)
            return;
        if (a_ms <= v_ms) {
            add((struct item){ .kind = AUDIO, .ms = a_ms, .n = 20 + rnd(200) });
            a++;
            continue;
        }
        int64_t pos = v % s->gop;
        int32_t cts = 0;

        if (s->b_frames > 0) /* I and P are shown after the B-frames that follow them */
            cts = (int32_t)(1000 * s->den / s->num) *
                  (pos % (s->b_frames + 1) == 1 ? s->b_frames + 1 : 0);
        if (pos == 0)
            cts = (int32_t)(1000 * s->den / s->num) * (s->b_frames > 0);
        add((struct item){ .kind = VIDEO,
                           .ms = v_ms +
                                 (s->jitter_ms > 0 ? (int64_t)rnd((uint32_t)s->jitter_ms + 1) : 0),
                           .cts_ms = cts,
                           .sync = pos == 0,
                           .n = pos == 0 ? 2000 + rnd(3000) : 100 + rnd(600) });
        v++;
    }
}

/* What the script has of media comes late_ms after it was made, but then ten times as fast, until it
 * comes when it is made. Marks tell the anchor as a home does; at first it is late_ms too late. */
static inline void come_in_a_hurry(int64_t late_ms)
{
    static struct item was[SCRIPT_MAX];
    size_t n = script_n;
    int64_t told = INT64_MAX;

    memcpy(was, script, n * sizeof *was);
    script_clear();
    for (size_t i = 0; i < n; i++) {
        int64_t late = late_ms - was[i].ms * 9 / 10;

        if (was[i].kind == ANCHOR)
            continue;
        late = late > 0 ? late : 0;
        if (told - late >= 5)
            add_anchor(3000 + (told = late));
        add(was[i]);
    }
}

/* --- playing them --- */

static uint8_t world_bytes[TL_CHUNK_BYTES_MAX];

static inline enum st play_item(struct timeline *tl, const struct item *it)
{
    uint8_t *copy;
    struct tl_frame f = { .tag = it->tag,
                          .ms = it->ms,
                          .cts_ms = it->cts_ms,
                          .sync = it->sync,
                          .disposable = it->cts_ms == 0 && !it->sync,
                          .n = it->n };
    enum st st;

    switch (it->kind) {
    case CONFIG:
        timeline_config(tl, it->init);
        return ST_OK;
    case ANCHOR:
        timeline_anchor(tl, it->anchor_us);
        return ST_OK;
    case BREAK:
        timeline_discontinuity(tl, it->tag);
        return ST_OK;
    case VIDEO:
    case AUDIO:
        break;
    }
    copy = malloc(it->n > 0 ? it->n : 1);
    memcpy(copy, world_bytes + it->tag % 1000, it->n);
    f.data = copy;
    st = it->kind == VIDEO ? timeline_video(tl, &f) : timeline_audio(tl, &f);
    free(copy);
    return st;
}

static const struct timeline_conf world_conf = { .ast_s = AST_S,
                                                 .segment_ms = 2000,
                                                 .chunk_ms = 200 };

/* The whole script and the end, which must go well. */
static inline void play_with(const struct timeline_conf *conf)
{
    struct timeline *tl = timeline_new(conf, &world_ops, NULL);

    said_clear();
    for (size_t i = 0; i < script_n; i++)
        assert_int_equal(play_item(tl, &script[i]), ST_OK);
    timeline_end(tl);
    timeline_free(&tl);
}

static inline void play(void) { play_with(&world_conf); }

static inline struct init *init_of(const char *hex, bool video)
{
    uint8_t conf[256];
    size_t n = 0;
    unsigned v;
    struct init *i = NULL;

    for (; sscanf(hex, "%2x", &v) == 1; hex += 2)
        conf[n++] = (uint8_t)v;
    assert_int_equal(video ? init_video_new(conf, n, &i) : init_audio_new(conf, n, &i), ST_OK);
    return i;
}

static inline int world_begin(void **state)
{
    (void)state;
    avc_a = init_of("0142c00dffe100176742c00dda05067e7c0440000003004000000f03c50aa801000468ce0fc8",
                    true);
    avc_b = init_of("0164000dffe1001a6764000dacd941519e226c3840000003004000000c83c50a658001000668eb"
                    "e3cb22c0fdf8f800",
                    true);
    aac_a = init_of("118856e500", false); /* 48 kHz */
    aac_b = init_of("1208", false);       /* 44.1 kHz */
    for (size_t i = 0; i < sizeof world_bytes; i++)
        world_bytes[i] = (uint8_t)rnd(256);
    return 0;
}

static inline int world_end(void **state)
{
    (void)state;
    said_clear();
    init_unref(&avc_a);
    init_unref(&avc_b);
    init_unref(&aac_a);
    init_unref(&aac_b);
    return 0;
}

#endif
