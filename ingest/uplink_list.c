/* What an operator of a POP wants to know of each publisher: read off on its own loop. */
#include <jansson.h>

#include "core/clock.h"
#include "ingest/uplink_int.h"

#define METER_US (10 * SEC_US)

void uplink_meter_add(struct uplink_meter *m, size_t bytes, uint64_t now_us)
{
    if (m->since_us == 0)
        m->since_us = now_us;
    if (now_us - m->since_us >= METER_US) {
        m->before_us = m->since_us;
        m->before_bytes = m->bytes;
        m->since_us = now_us;
        m->bytes = 0;
    }
    m->bytes += bytes;
}

/* Over ten to twenty seconds, so that key frames make no waves; 0: too early to say. */
static int64_t bitrate_bps(const struct uplink_meter *m, uint64_t now_us)
{
    uint64_t since_us = m->before_us != 0 ? m->before_us : m->since_us;
    uint64_t us = since_us != 0 ? now_us - since_us : 0;

    return us >= SEC_US ? (int64_t)((double)(m->before_bytes + m->bytes) * 8e6 / (double)us) : 0;
}

/* From the oldest tag that a next home would get to the newest. */
static int64_t spool_ms(const struct spool *s)
{
    int32_t ms = s->first != NULL ? (int32_t)(s->last->ts_ms - s->first->ts_ms) : 0;

    return ms > 0 ? ms : 0; /* sound and pictures may come out of order */
}

static json_t *relay_of(const struct uplink *u)
{
    uint64_t now_us = loop_now(u->f->loop);
    int64_t bps = bitrate_bps(&u->meter, now_us);
    bool home = u->phase == UPLINK_UP;
    json_t *j = json_pack("{s:f, s:I, s:I, s:I, s:i, s:i}", "for_s",
                          (double)(now_us - (home ? u->up_us : u->homeless_us)) / 1e6,
                          "spool_bytes", (json_int_t)u->spool.bytes, "spool_ms",
                          (json_int_t)spool_ms(&u->spool), "spool_lost", (json_int_t)u->spool.lost,
                          "times_moved", (int)u->times_moved, "times_lost", (int)u->times_lost);

    if (home)
        (void)json_object_set_new(j, "dc", json_string(uplink_dc(u)->url));
    else if (u->why[0] != '\0')
        (void)json_object_set_new(j, "why", json_string(u->why));
    if (bps > 0)
        (void)json_object_set_new(j, "bitrate_bps", json_integer(bps));
    return j;
}

static json_t *describe(const struct uplink *u)
{
    json_t *j = json_pack("{s:s, s:s, s:f, s:o}", "relayed", u->name, "state",
                          u->phase == UPLINK_UP ? "relayed" : "homeless", "uptime_s",
                          (double)(loop_now(u->f->loop) - u->begun_us) / 1e6, "relay", relay_of(u));
    int64_t silent_us = clock_wall_us() - u->last_us;

    if (u->has_ticket)
        (void)json_object_set_new(j, "session", json_string(u->ticket.session));
    if (u->any)
        (void)json_object_set_new(j, "last_tag_ms",
                                  json_integer(silent_us > 0 ? silent_us / (int64_t)MS_US : 0));
    return j;
}

void uplinks_loop_list(struct loop *l, json_t *list)
{
    const struct uplink_loop *f = l->slot[LOOP_UPLINK];

    for (const struct uplink *u = f != NULL ? f->first : NULL; u != NULL; u = u->next)
        if (u->ops != NULL && u->phase != UPLINK_OVER)
            (void)json_array_append_new(list, describe(u));
}
