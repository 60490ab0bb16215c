/* Which session does a publisher get who arrives? What may speak: the session that is here, what a
 * process that was killed wrote down (known), and what the publisher brings along - a ticket from
 * another home, and the key it signed in with. The newest of them counts. */
#include <string.h>

#include "core/clock.h"
#include "core/conf.h"
#include "core/log.h"
#include "core/metric.h"
#include "origin/home_int.h"

/* A claim that is older than another one. Equal epochs are one and the same claim. */
static bool is_older(const struct ticket *t, uint64_t epoch, const char *session)
{
    return t->epoch < epoch || (t->epoch == epoch && strcmp(t->session, session) != 0);
}

static bool same_key(const struct door_claim *c, bool has, const uint8_t key[DOOR_KEY_BYTES])
{
    return c->has_key && has && memcmp(c->key, key, DOOR_KEY_BYTES) == 0;
}

static bool is_banned(struct home *h, const char *name, enum door_why *why)
{
    enum ban_why ban;

    if (!ban_is(h->bans, name, clock_mono_us(), &ban))
        return false;
    *why = ban == BAN_OPERATOR ? DOOR_BANNED : DOOR_QUARANTINED;
    return true;
}

/* A key that has expired opens no session, but whoever was inside with it may come back. */
static bool may_enter(const struct session *s, const struct known *known,
                      const struct door_claim *c)
{
    if (!c->expired)
        return true;
    if (s != NULL)
        return s->phase == SESSION_LIVE && same_key(c, s->has_key, s->key);
    return known != NULL && known->open && same_key(c, known->has_key, known->key);
}

/* One session is here, and perhaps a ticket as well. *sp is NULL afterwards when ours gives way, *t
 * when the ticket does. False: the ticket is an old one. */
static bool settle_here(struct session **sp, const struct ticket **t)
{
    struct session *s = *sp;
    bool over = s->phase == SESSION_ENDED, same = *t != NULL && strcmp((*t)->session, s->id) == 0;

    if (*t != NULL && is_older(*t, s->epoch, s->id))
        return false;
    if (over && same)
        *t = NULL; /* what has ended is not begun again */
    if (over || (*t != NULL && (*t)->epoch > s->epoch)) {
        if (s->door != NULL) /* another home has had the stream meanwhile */
            door_close_by_home(s->door, DOOR_TAKEN);
        session_free_now(s);
        *sp = NULL;
    }
    return true;
}

/* None is here, but one is known. *t, which may be NULL, becomes what to go on from. */
static bool settle_known(const struct known *known, const struct ticket **t, struct ticket *room)
{
    const struct ticket *mine = &known->ticket;

    if (*t == NULL) {
        *t = known->open ? mine : NULL;
        return true;
    }
    if (is_older(*t, mine->epoch, mine->session))
        return false;
    if (strcmp((*t)->session, mine->session) == 0) {
        *room = **t;
        room->k = mine->k > room->k ? mine->k : room->k;
        room->high = mine->high > room->high ? mine->high : room->high;
        *t = room;
    }
    return true;
}

/* The first one keeps it, unless it has fallen silent or this is itself, come back. */
static bool is_taken(const struct session *s, const struct ticket *t)
{
    return s->hl->loop->conf->ingest.takeover == CONF_TAKEOVER_OLDEST && s->door != NULL &&
           !s->stalled && (t == NULL || t->epoch != s->epoch);
}

/* The publisher who is here already, by another exchange: the last one broke, or is about to. He is
 * not fenced: what we said to him, his new epoch, may have been lost. */
static bool is_again(const struct session *s, const struct door_claim *c)
{
    return s != NULL && s->phase == SESSION_LIVE && c->publisher != 0 &&
           c->publisher == s->publisher;
}

static void claim(struct session *s, const struct door_claim *c, uint64_t last)
{
    uint64_t now_ms = (uint64_t)clock_wall_us() / 1000;

    last = last > s->epoch ? last : s->epoch;
    s->epoch = last + 1 > now_ms ? last + 1 : now_ms;
    s->has_key = c->has_key;
    memcpy(s->key, c->key, sizeof s->key);
    s->publisher = c->publisher;
    if (c->publisher != 0 && s->ast_s == 0) /* a POP's ticket cannot wait for the first tag */
        s->ast_s = (clock_wall_us() - c->behind_us) / (int64_t)SEC_US - 2;
    if (s->ast_s != 0)
        session_record_now(s);
}

struct session *claim_session(struct home_loop *hl, const char *name, const struct door_claim *c,
                              const struct known *known, enum door_why *why, bool *again)
{
    struct session *s = home_find(hl, name);
    const struct ticket *t = c->ticket;
    struct ticket room;
    uint64_t last = s != NULL ? s->epoch : known != NULL ? known->ticket.epoch : 0;

    if (is_banned(hl->home, name, why))
        return NULL;
    *again = is_again(s, c);
    if (*again) {
        claim(s, c, last);
        return s;
    }
    *why = DOOR_EXPIRED;
    if (!may_enter(s, known, c))
        return NULL;
    *why = DOOR_BUSY;
    if (s != NULL && is_taken(s, t))
        return NULL;
    *why = DOOR_FENCED;
    if (s != NULL ? !settle_here(&s, &t) : known != NULL && !settle_known(known, &t, &room)) {
        metric_add(&hl->loop->metrics->fencing_rejections, 1);
        return NULL;
    }
    *why = DOOR_LIMIT;
    if (s == NULL) {
        if ((s = session_new(hl, name, t)) == NULL)
            return NULL;
        if (known != NULL && strcmp(known->ticket.session, s->id) == 0)
            session_past_ask(s);
    }
    claim(s, c, last);
    return s;
}
