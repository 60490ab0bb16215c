/* Where a live stream is made is away: killed, cut off, about to be replaced.
 *
 *   no answer -> the next upstream ... -> AWAY, a moment -> the first again ...
 *     206 from where it stopped: on with it
 *     404, 410 where the stream is followed, or everywhere: it ends where it is (fill_cut)
 *     too long: it fails, as if it were not live
 *
 * A home that has lost its memory in a crash goes on with the stream but not with the segment, and
 * players who were told of an error in the middle of it did not find their way into the next. */
#include <string.h>

#include "edge/fetch_int.h"
#include "edge/stream.h"
#include "edge/sub.h"

enum { AWAY_SEGMENTS = 4 };
#define AWAY_RETRY_US (200 * MS_US)

/* Something of a stream that was followed, and if it has begun a segment in progress: the rest is
 * made where the stream is made, and nowhere else. */
bool fill_is_live(const struct fill *fl)
{
    if (!fill_is_native(fl) || fl->o == NULL || fl->stale != NULL ||
        gobj_kind(fl->o) != GOBJ_MEDIA || head_segment_us(fl) == 0)
        return false;
    return !fill_has_begun(fl) ||
           (gobj_head(fl->o)->length < 0 && fill_is_strong(gobj_head(fl->o)->etag));
}

/* Nobody answers. Who waits for it is better off to wait on, for as long as a manifest may be stale,
 * than to be told of an error that is not his. */
bool fill_may_come_back(struct fill *fl)
{
    uint64_t now_us = loop_now(fill_loop(fl));

    if (!fill_is_live(fl))
        return false;
    if (fl->away_since_us == 0)
        fl->away_since_us = now_us;
    return now_us - fl->away_since_us < AWAY_SEGMENTS * head_segment_us(fl);
}

/* The next one in the list now, all of them again in a moment. */
void fill_ask_around(struct fill *fl)
{
    fl->rank++;
    if (fill_host(fl) != NULL) {
        fill_ask(fl);
        return;
    }
    fl->rank = 0;
    fl->error_status = 0;
    fill_enter(fl, FILL_AWAY, AWAY_RETRY_US);
}

/* Is it being asked where the stream is followed? What that one does not know is nowhere. */
static bool asks_home(const struct fill *fl)
{
    const char *key = gobj_key(fl->o);
    const char *at = sub_followed_at(fl->fetch, key + 1, fill_stream_name_len(key));

    return at != NULL && fl->peer != NULL && strcmp(fl->peer->host->url, at) == 0;
}

/* The one who was asked for the rest does not have it. */
void fill_rest_is_missing(struct fill *fl)
{
    bool sure = asks_home(fl);

    fill_drop_exchange(fl);
    fl->rank++;
    if (!sure && fill_host(fl) != NULL)
        fill_ask(fl);
    else if (!sure && fl->error_status != 0 && fill_may_come_back(fl))
        fill_ask_around(fl);
    else
        fill_cut(fl);
}
