#include "core/spool.h"

#include <stdlib.h>
#include <string.h>

#include "core/check.h"

void spool_init(struct spool *s, const struct spool_limits *limits)
{
    memset(s, 0, sizeof *s);
    s->limits = *limits;
    s->next_number = 1;
    s->needed = 1;
}

static void free_tag(struct own *o) { free(CONTAINER_OF(o, struct spool_tag, own)); }

static void put_tag(struct spool_tag *t)
{
    struct own *own = t != NULL ? &t->own : NULL;

    own_unref(&own);
}

static void drop_first(struct spool *s)
{
    struct spool_tag *t = s->first;

    s->lost += t->number >= s->needed;
    s->first = t->next;
    if (s->first == NULL)
        s->last = NULL;
    if (s->found == t)
        s->found = NULL;
    s->bytes -= t->n;
    t->next = NULL;
    put_tag(t);
}

void spool_fini(struct spool *s)
{
    while (s->first != NULL)
        drop_first(s);
    for (int i = 0; i < SPOOL_HEADERS; i++) {
        put_tag(s->header[i]);
        s->header[i] = NULL;
    }
}

static struct spool_tag *new_tag(const struct flv_tag *tag, const struct buf *mark)
{
    size_t before = mark != NULL ? mark->len : 0;
    size_t n = before + FLV_TAG_HEAD_BYTES + tag->n + FLV_TAG_TAIL_BYTES;
    struct spool_tag *t = malloc(sizeof *t + n);
    uint8_t *at;

    if (t == NULL)
        return NULL;
    own_init(&t->own, free_tag);
    t->next = NULL;
    t->ts_ms = tag->ts_ms;
    t->n = n;
    t->tag_at = before;
    at = t->wire;
    if (before > 0)
        memcpy(at, mark->data, before);
    at += before;
    flv_tag_head(at, tag->type, tag->ts_ms, tag->n);
    at += FLV_TAG_HEAD_BYTES;
    if (tag->n > 0)
        memcpy(at, tag->body, tag->n);
    flv_tag_tail(at + tag->n, tag->n);
    return t;
}

static bool is_older(uint32_t age_ms, uint32_t than_ms)
{
    return age_ms < UINT32_C(0x80000000) && age_ms > than_ms;
}

/* What nobody needs may stay while it is young and there is room; what is over the limits goes even
 * when it is needed: whoever starts over then opens a new Period. */
static void enforce(struct spool *s)
{
    while (s->first != NULL && s->first != s->last) {
        uint32_t age_ms = s->last->ts_ms - s->first->ts_ms;
        bool spare = s->first->number < s->needed && is_older(age_ms, s->limits.ms);
        bool old = s->limits.needed_ms > 0 && is_older(age_ms, s->limits.needed_ms);

        if (s->bytes <= s->limits.bytes && !spare && !old)
            return;
        drop_first(s);
    }
}

enum st spool_add(struct spool *s, const struct flv_tag *tag, const struct buf *mark,
                  struct spool_tag **out)
{
    struct spool_tag *t = new_tag(tag, mark);

    *out = t;
    if (t == NULL)
        return ST_ENOMEM;
    t->number = s->next_number++;
    if (s->last != NULL)
        s->last->next = t;
    else
        s->first = t;
    s->last = t;
    s->bytes += t->n;
    enforce(s);
    return ST_OK;
}

void spool_set_header(struct spool *s, enum spool_header which, struct spool_tag *tag)
{
    (void)own_ref(&tag->own);
    put_tag(s->header[which]);
    s->header[which] = tag;
}

void spool_note_header(struct spool *s, struct spool_tag *t, const struct flv_tag *tag)
{
    struct flv_media media;
    bool video = tag->type == FLV_VIDEO;
    enum st st = video ? flv_video_parse(tag->body, tag->n, &media)
                       : flv_audio_parse(tag->body, tag->n, &media);

    if (st == ST_OK && media.packet == FLV_CONFIG)
        spool_set_header(s, video ? SPOOL_VIDEO_HEADER : SPOOL_AUDIO_HEADER, t);
}

void spool_release(struct spool *s, uint64_t number)
{
    CHECK(number <= s->next_number);
    if (number > s->needed)
        s->needed = number;
    enforce(s);
}

uint64_t spool_oldest(const struct spool *s)
{
    return s->first != NULL ? s->first->number : s->next_number;
}

struct spool_tag *spool_find(struct spool *s, uint64_t number)
{
    struct spool_tag *t = s->last;

    if (t == NULL || number < s->first->number || number > t->number)
        return NULL;
    if (number == t->number) /* the usual one: a live worker asks for the newest */
        return t;
    t = s->found != NULL && s->found->number <= number ? s->found : s->first;
    while (t->number < number)
        t = t->next;
    s->found = t;
    return t;
}
