/* The life of a subscription:
 *
 *   sub_new -> ASKING -> (an upstream tells) -> FOLLOWING -> lost -> RESTING -> ASKING ...
 *                 |  next in rank: 404, 421, no answer, nobody publishes there
 *                 +-> none has it: it ends (never followed), or RESTING
 *
 * A round of ASKING ends at the first upstream where somebody publishes. Those where nobody does are
 * only noted; when the round is over without a better one, the newest of them is asked again and
 * followed as it is (`settle`). While that is so the others are probed: a second exchange that reads
 * no further than the first record. */
#include "edge/sub.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/check.h"
#include "core/clock.h"
#include "core/hash.h"
#include "core/log.h"
#include "edge/fetch_int.h"
#include "edge/follow.h"
#include "edge/up_h2.h"

enum { SUB_MAGIC = 0x50b50b5a, BUCKETS = 1024, URL_MAX = 320, IN_BYTES = 64 << 10 };
#define TICK_US (1 * SEC_US)
#define SILENCE_US (3 * SEC_US + SEC_US / 4) /* three heartbeats, and what timers are late */
#define PROBE_US (5 * SEC_US)
#define BACKOFF_MIN_US (100 * MS_US)
#define BACKOFF_MAX_US (5 * SEC_US)
#define WATCHED_US (10 * SEC_US) /* a rendition asked for so lately is filled when announced */
#define UNKNOWN_TTL_US (1 * SEC_US)

/*  state       what is awaited                              the timer says */
#define SUB_STATES(X)                                              \
    X(ASKING, "the first record of an upstream") /* no answer */   \
    X(FOLLOWING, "records")                      /* look around */ \
    X(RESTING, "the moment to ask again")        /* it has come */

enum sub_state {
#define X(n, text) SUB_##n,
    SUB_STATES(X)
#undef X
};

/* One exchange of a subscription. */
struct tap {
    struct up_exchange x;
    struct sub *sub;
    struct peer *peer; /* NULL: none is under way */
    char path[sizeof "/_sub/?since=" + STREAM_NAME_MAX + 48];
};

struct sub {
    int magic;
    struct fetch *fetch;
    struct sub *next, **prevp; /* in its bucket */
    struct follow follow;
    enum sub_state state;
    struct timer timer;
    struct grave grave;
    struct fill *waiting; /* for its first documents */
    uint64_t begun_us, heard_us, in_force_us;
    uint64_t backoff_us;
    bool counted; /* in push_subscriptions */
    bool was_in_force;
    char at[URL_MAX]; /* url of the upstream that is, or was last, followed */

    /* the round */
    struct tap main;
    unsigned rank, asked;
    bool errors;         /* somebody did not answer: he may have it */
    bool refused;        /* the SNAPSHOT at hand is of no use now */
    bool settle;         /* nobody publishes anywhere: take what there is */
    char first[URL_MAX]; /* to be asked before the others; "": nobody */
    char idle[URL_MAX];  /* has the stream, and no publisher */
    uint64_t idle_epoch;

    /* is there a publisher somewhere else? */
    struct tap probe;
    struct record_reader reader; /* of the probe */
    unsigned probe_rank;
    uint64_t probed_us;
};

/* What a loop's subscriptions share. */
struct subs {
    struct sub *bucket[BUCKETS];
    unsigned n, followed; /* the rest asks, or rests */
    uint8_t in[IN_BYTES]; /* bytes of any of them, for as long as they are looked at */
};

static struct loop *loop_of(const struct sub *s) { return s->fetch->loop; }

static void set_timer(struct sub *s, uint64_t in_us)
{
    timer_cancel(loop_of(s), &s->timer); /* it may be nearer than the one that was set */
    timer_set(loop_of(s), &s->timer, loop_now(loop_of(s)) + in_us);
}

static struct log_ctx log_ctx(const struct sub *s)
{
    return (struct log_ctx){ NULL, "stream", s->follow.name, 0 };
}

/* --- exchanges --- */

static const struct up_sink sink;

static void stop_tap(struct tap *t)
{
    if (t->peer == NULL)
        return;
    up_h2_cancel(&t->x);
    peer_put(t->sub->fetch, &t->peer);
}

/* On the connection that the loop's subscriptions at this upstream share. */
static enum st start_tap(struct tap *t, const struct route_host *host, const char *since)
{
    struct fetch *f = t->sub->fetch;
    enum st st = ST_ENOMEM;

    CHECK(t->peer == NULL);
    t->peer = peer_get(f, host);
    if (t->peer == NULL)
        return ST_ENOMEM;
    if (t->peer->subs == NULL)
        t->peer->subs = up_h2_new(f->loop, t->peer->host);
    (void)snprintf(t->path, sizeof t->path, "/_sub/%s%s%s", t->sub->follow.name,
                   since != NULL ? "?since=" : "", since != NULL ? since : "");
    t->x = (struct up_exchange){ .sink = &sink, .path = t->path };
    if (t->peer->subs != NULL)
        st = up_h2_start(t->peer->subs, &t->x);
    if (st != ST_OK)
        peer_put(f, &t->peer);
    return st;
}

/* --- a round --- */

static void begin_round(struct sub *s)
{
    s->rank = s->asked = 0;
    s->errors = s->settle = false;
    s->idle[0] = '\0';
    s->idle_epoch = 0;
}

static void set_url(char to[URL_MAX], const char *url) { (void)snprintf(to, URL_MAX, "%s", url); }

static const struct route_host *host_at(const struct sub *s, const char *url)
{
    return url[0] != '\0' && s->fetch->routes != NULL ? routes_host(s->fetch->routes, url) : NULL;
}

/* Whom to ask now; NULL: all have been. */
static const struct route_host *next_host(struct sub *s)
{
    const struct route_host *ranked[ROUTE_UPSTREAMS_MAX], *host;
    const char *name = s->follow.name;

    if (s->fetch->routes == NULL || s->asked++ >= 2 * ROUTE_UPSTREAMS_MAX)
        return NULL; /* they send us in circles */
    if (s->first[0] != '\0') {
        host = host_at(s, s->first);
        s->first[0] = '\0';
        if (host != NULL)
            return host;
    }
    if (s->settle)
        return NULL;
    if (s->rank < routes_rank(s->fetch->routes, name, strlen(name), ranked))
        return ranked[s->rank++];
    if (s->idle[0] == '\0')
        return NULL;
    s->settle = true;
    return host_at(s, s->idle);
}

/* False: there is nobody left in this round. */
static bool ask(struct sub *s)
{
    const struct conf_edge_limits *lim = fetch_limits(s->fetch);
    const struct route_host *host;

    while ((host = next_host(s)) != NULL) {
        char since[48];
        bool place = strcmp(host->url, s->at) == 0 && follow_since(&s->follow, since);

        if (start_tap(&s->main, host, place ? since : NULL) == ST_OK) {
            follow_begin(&s->follow, place);
            s->state = SUB_ASKING;
            set_timer(s, lim->connect_timeout_us + lim->response_timeout_us);
            return true;
        }
        s->errors = true;
    }
    return false;
}

/* --- life --- */

static struct sub **bucket_of(struct subs *all, const char *name, size_t len)
{
    return &all->bucket[hash64_stable(name, len) % BUCKETS];
}

static struct sub *find(struct fetch *f, const char *name, size_t len)
{
    struct sub *s = f->subs != NULL ? *bucket_of(f->subs, name, len) : NULL;

    while (s != NULL && (strlen(s->follow.name) != len || memcmp(s->follow.name, name, len) != 0))
        s = s->next;
    return s;
}

static void count(struct sub *s, bool on)
{
    struct metrics *m = loop_of(s)->metrics;

    if (s->counted == on)
        return;
    s->counted = on;
    s->fetch->subs->followed += on ? 1u : -1u;
    if (m != NULL && on)
        metric_add(&m->push_subscriptions, 1);
    else if (m != NULL)
        metric_sub(&m->push_subscriptions, 1);
}

static void free_sub(struct grave *g)
{
    struct sub *s = CONTAINER_OF(g, struct sub, grave);

    OBJ_FINI(s, SUB_MAGIC);
    free(s);
}

/* Those who wait ask for themselves; why they do, their own requests will tell. */
static void let_waiting_pull(struct sub *s)
{
    while (s->waiting != NULL)
        fill_pull(s->waiting);
}

/* From inside follow_feed() too: nothing of s is freed before the turn is over. */
static void end_sub(struct sub *s)
{
    struct fetch *f = s->fetch;

    OBJ_CHECK(s, SUB_MAGIC);
    stop_tap(&s->main);
    stop_tap(&s->probe);
    timer_cancel(f->loop, &s->timer);
    count(s, false);
    *s->prevp = s->next;
    if (s->next != NULL)
        s->next->prevp = s->prevp;
    f->subs->n--;
    let_waiting_pull(s);
    record_reader_fini(&s->reader);
    follow_fini(&s->follow);
    loop_bury(f->loop, &s->grave, free_sub);
}

void sub_end_all(struct fetch *f)
{
    for (size_t i = 0; f->subs != NULL && i < BUCKETS; i++)
        while (f->subs->bucket[i] != NULL)
            end_sub(f->subs->bucket[i]);
    free(f->subs);
    f->subs = NULL;
}

static void rest(struct sub *s)
{
    s->state = SUB_RESTING;
    s->backoff_us = s->backoff_us == 0                   ? BACKOFF_MIN_US
                    : s->backoff_us * 2 > BACKOFF_MAX_US ? BACKOFF_MAX_US
                                                         : s->backoff_us * 2;
    set_timer(s, s->backoff_us);
}

/* Nobody tells us any more; what is known of the stream is not to be relied on. */
static void lose(struct sub *s, const char *why)
{
    uint64_t now_us = loop_now(loop_of(s));
    struct log_ctx ctx = log_ctx(s);

    stop_tap(&s->main);
    stop_tap(&s->probe);
    count(s, false);
    if (s->follow.in_force)
        log_note(loop_of(s)->log,
                 LOG_CTX_TEXT(LOG_CTX_TEXT(&ctx, "upstream", s->at), "reason", why), "push",
                 "subscription lost");
    if (s->in_force_us != 0 && now_us - s->in_force_us >= SEC_US)
        s->backoff_us = 0;
    s->in_force_us = 0;
    follow_lost(&s->follow);
    let_waiting_pull(s);
    rest(s);
}

/* The round is over and nobody was any good. */
static void none_left(struct sub *s)
{
    if (s->follow.stream != NULL) {
        lose(s, "no upstream has the stream");
        return;
    }
    while (!s->errors && s->waiting != NULL)
        fill_unknown(s->waiting, UNKNOWN_TTL_US);
    end_sub(s);
}

static void ask_next(struct sub *s)
{
    stop_tap(&s->main);
    if (!ask(s))
        none_left(s);
}

/* --- what the follower says --- */

static bool on_snapshot(void *ctx, bool live, uint64_t epoch)
{
    struct sub *s = ctx;

    if (live || s->settle || s->state == SUB_FOLLOWING)
        return true;
    s->refused = true;
    if (s->idle[0] == '\0' || epoch > s->idle_epoch) {
        set_url(s->idle, s->main.peer->host->url);
        s->idle_epoch = epoch;
    }
    return false;
}

static const char *document_of(const struct sub *s, const struct fill *fl)
{
    return gobj_key(fl->o) + 1 + strlen(s->follow.name) + 1;
}

static void on_in_force(void *ctx, bool full)
{
    struct sub *s = ctx;
    struct metrics *m = loop_of(s)->metrics;
    struct log_ctx name = log_ctx(s);

    if (s->was_in_force && m != NULL)
        metric_add(&m->push_resync[full ? METRIC_RESYNC_FULL : METRIC_RESYNC_PARTIAL], 1);
    if (s->state != SUB_FOLLOWING) {
        set_url(s->at, s->main.peer->host->url);
        log_note(loop_of(s)->log, LOG_CTX_TEXT(&name, "upstream", s->at), "push", "%s",
                 !s->was_in_force ? "following"
                 : full           ? "following again"
                                  : "going on");
        s->state = SUB_FOLLOWING;
        s->in_force_us = s->probed_us = loop_now(loop_of(s));
        set_timer(s, TICK_US);
    }
    s->was_in_force = true;
    count(s, true);
    while (s->waiting != NULL) {
        struct fill *fl = s->waiting;
        struct gobj *doc = stream_newest(s->follow.stream, document_of(s, fl));

        if (doc != NULL)
            fill_doc(fl, doc);
        else
            fill_pull(fl);
        gobj_unref(&doc);
    }
}

static struct gobj *segment(struct sub *s, const char *rep, uint64_t n)
{
    char key[STREAM_NAME_MAX + 64];
    int len = snprintf(key, sizeof key, "/%s/%s/%s/%llu.m4s", s->follow.name, s->follow.session,
                       rep, (unsigned long long)n);
    struct store *st = s->fetch->store;

    CHECK(len > 0 && (size_t)len < sizeof key);
    return store_lookup(st, key, (size_t)len, store_hash(st, key, (size_t)len));
}

/* Its bytes are on their way before the first player asks. */
static void on_announced(void *ctx, const char *rep, uint64_t n)
{
    struct sub *s = ctx;
    uint64_t touched_us = stream_rep_touched(s->follow.stream, rep);
    struct gobj *o;

    if (touched_us == 0 || loop_now(loop_of(s)) >= touched_us + WATCHED_US)
        return;
    o = segment(s, rep, n);
    if (o != NULL && !gobj_is_dead(o))
        fetch_want(loop_of(s), o);
    gobj_unref(&o);
}

static void on_closed(void *ctx, const char *rep, uint64_t n, uint64_t size)
{
    struct sub *s = ctx;
    struct gobj *o = segment(s, rep, n);

    if (o != NULL && *store_fill(o) != NULL) {
        fill_expect(*store_fill(o), size);
    } else if (o != NULL && gobj_now(o).state == GOBJ_COMPLETE && gobj_now(o).published != size) {
        log_warn(loop_of(s)->log,
                 LOG_CTX_INT(LOG_CTX_TEXT(NULL, "object", gobj_key(o)), "size", (int64_t)size),
                 "push", "a segment has another size than the upstream says: it is dropped");
        FETCH_COUNT(s->fetch, cache_fill_errors[METRIC_FILL_ERROR_SHORT]);
        store_unlink(loop_of(s), o);
    }
    gobj_unref(&o);
}

static const struct follow_ops follower = {
    .snapshot = on_snapshot,
    .in_force = on_in_force,
    .announced = on_announced,
    .closed = on_closed,
};

/* --- probing --- */

static void probe_next(struct sub *s)
{
    const struct route_host *ranked[ROUTE_UPSTREAMS_MAX];
    unsigned n = 0;

    stop_tap(&s->probe);
    s->probed_us = loop_now(loop_of(s));
    if (s->fetch->routes != NULL)
        n = routes_rank(s->fetch->routes, s->follow.name, strlen(s->follow.name), ranked);
    while (s->probe_rank < n) {
        const struct route_host *host = ranked[s->probe_rank++];

        if (strcmp(host->url, s->at) != 0 && start_tap(&s->probe, host, NULL) == ST_OK) {
            record_reader_fini(&s->reader);
            record_reader_init(&s->reader, RECORD_BYTES_MAX);
            return;
        }
    }
}

/* A publisher has gone to another home. What is known of the stream stays until that one has told. */
static void move_to(struct sub *s, const char *url)
{
    stop_tap(&s->main);
    begin_round(s);
    set_url(s->first, url);
    stop_tap(&s->probe);
    count(s, false);
    if (!ask(s))
        none_left(s);
}

static void probe_says(struct sub *s, const json_t *j)
{
    json_int_t epoch = json_integer_value(json_object_get(j, "epoch"));
    char url[URL_MAX];

    if (json_is_true(json_object_get(j, "live")) && epoch > 0 &&
        (uint64_t)epoch > s->follow.epoch) {
        set_url(url, s->probe.peer->host->url);
        move_to(s, url);
    } else {
        probe_next(s);
    }
}

/* The first record is all that it is asked for. */
static void probe_bytes(struct sub *s, size_t n)
{
    struct rd in = rd_init(s->fetch->subs->in, n);
    struct record_event ev;
    enum st st = record_next(&s->reader, &in, &ev);

    if (st == ST_OK && ev.head.type == RECORD_SNAPSHOT)
        probe_says(s, ev.json);
    else if (st != ST_MORE)
        probe_next(s);
}

/* --- the exchange's side --- */

static struct tap *tap_of(struct up_exchange *x)
{
    struct tap *t = CONTAINER_OF(x, struct tap, x);

    OBJ_CHECK(t->sub, SUB_MAGIC);
    return t;
}

static bool is_main(const struct tap *t) { return t == &t->sub->main; }

static void on_sent(struct up_exchange *x)
{
    struct tap *t = tap_of(x);

    if (is_main(t))
        follow_sent(&t->sub->follow);
}

static void on_head(struct up_exchange *x, const struct http_reply *r)
{
    struct tap *t = tap_of(x);
    struct sub *s = t->sub;
    struct slice home = r->kept[HTTP_REPLY_FRESHET_HOME];

    FETCH_COUNT(s->fetch, upstream_requests[r->status < 300   ? METRIC_UPSTREAM_2XX
                                            : r->status < 500 ? METRIC_UPSTREAM_4XX
                                                              : METRIC_UPSTREAM_5XX]);
    if (r->status == 200) {
        s->heard_us = loop_now(loop_of(s));
        return;
    }
    if (!is_main(t)) {
        probe_next(s);
        return;
    }
    if (r->status == 421 && home.n > 0 && home.n < URL_MAX)
        (void)snprintf(s->first, sizeof s->first, "%.*s", (int)home.n, (const char *)home.p);
    else if (r->status != 404)
        s->errors = true;
    ask_next(s);
}

static enum st on_reserve(struct up_exchange *x, void **p, size_t *cap)
{
    *p = tap_of(x)->sub->fetch->subs->in;
    *cap = IN_BYTES;
    return ST_OK;
}

static void on_commit(struct up_exchange *x, size_t n)
{
    struct tap *t = tap_of(x);
    struct sub *s = t->sub;
    struct log_ctx ctx = log_ctx(s);
    enum st st;

    if (!is_main(t)) {
        probe_bytes(s, n);
        return;
    }
    s->heard_us = loop_now(loop_of(s));
    s->refused = false;
    st = follow_feed(&s->follow, s->fetch->subs->in, n);
    if (st == ST_OK)
        return;
    if (s->refused) {
        ask_next(s);
    } else if (st == ST_EOF) {
        end_sub(s); /* the stream is made here by now */
    } else {
        log_warn(loop_of(s)->log, LOG_CTX_TEXT(&ctx, "upstream", t->peer->host->url), "push",
                 "a subscription makes no sense: %s", st_name(st));
        s->errors = true;
        if (s->state == SUB_FOLLOWING)
            lose(s, "what it says makes no sense");
        else
            ask_next(s);
    }
}

static void on_burst(struct up_exchange *x) { (void)x; }

static void on_end(struct up_exchange *x, enum up_end why)
{
    struct tap *t = tap_of(x);
    struct sub *s = t->sub;

    if (!is_main(t)) {
        probe_next(s);
    } else if (s->state == SUB_FOLLOWING) {
        lose(s, why == UP_END_WHOLE ? "the upstream has ended it" : "it broke off");
    } else {
        if (why != UP_END_WHOLE)
            FETCH_COUNT(s->fetch, upstream_requests[METRIC_UPSTREAM_ERROR]);
        s->errors = true;
        ask_next(s);
    }
}

static const struct up_sink sink = {
    .sent = on_sent,
    .head = on_head,
    .reserve = on_reserve,
    .commit = on_commit,
    .burst = on_burst,
    .end = on_end,
};

/* --- time --- */

static bool is_wanted(const struct sub *s)
{
    uint64_t now_us = loop_now(loop_of(s)), last_us = s->begun_us;

    if (s->follow.stream != NULL && stream_touched(s->follow.stream) > last_us)
        last_us = stream_touched(s->follow.stream);
    return loop_of(s)->conf->edge.push == CONF_YES &&
           now_us - last_us < fetch_limits(s->fetch)->linger_us;
}

static void look_around(struct sub *s)
{
    uint64_t now_us = loop_now(loop_of(s));

    if (now_us - s->heard_us >= SILENCE_US) {
        /* the line is dead, for fills too: they are not to find that out by their own deadlines */
        up_h2_doubt(s->main.peer->subs, SILENCE_US);
        if (s->main.peer->h2 != NULL)
            up_h2_doubt(s->main.peer->h2, SILENCE_US);
        lose(s, "silence");
        return;
    }
    if (!s->follow.live && s->probe.peer == NULL && now_us - s->probed_us >= PROBE_US) {
        s->probe_rank = 0;
        probe_next(s);
    }
    set_timer(s, TICK_US);
}

static void on_timer(struct loop *l, struct timer *t)
{
    struct sub *s = CONTAINER_OF(t, struct sub, timer);

    (void)l;
    OBJ_CHECK(s, SUB_MAGIC);
    if (s->waiting == NULL && !is_wanted(s)) {
        end_sub(s);
        return;
    }
    switch (s->state) {
    case SUB_ASKING:
        s->errors = true;
        ask_next(s);
        return;
    case SUB_FOLLOWING:
        look_around(s);
        return;
    case SUB_RESTING:
        begin_round(s);
        if (!ask(s))
            none_left(s);
        return;
    }
}

/* --- being wanted --- */

static struct sub *sub_new(struct fetch *f, const char *name, size_t len)
{
    char text[STREAM_NAME_MAX + 1];
    struct sub *s, **b;

    if (f->subs == NULL && (f->subs = calloc(1, sizeof *f->subs)) == NULL)
        return NULL;
    if (f->subs->n > fetch_limits(f)->subscriptions / (unsigned)f->loop->count) {
        FETCH_COUNT(f, limit_hits[METRIC_LIMIT_SUBSCRIPTIONS]);
        return NULL;
    }
    if (f->subs->n - f->subs->followed >= fetch_limits(f)->pending_lookups) {
        FETCH_COUNT(f, limit_hits[METRIC_LIMIT_PENDING_LOOKUPS]);
        return NULL;
    }
    if (len > STREAM_NAME_MAX || (s = calloc(1, sizeof *s)) == NULL)
        return NULL;
    memcpy(text, name, len);
    text[len] = '\0';
    OBJ_INIT(s, SUB_MAGIC);
    s->fetch = f;
    s->main.sub = s->probe.sub = s;
    s->begun_us = loop_now(f->loop);
    s->timer.fire = on_timer;
    follow_init(&s->follow, f->loop, f->store, text, &follower, s);
    record_reader_init(&s->reader, RECORD_BYTES_MAX);
    b = bucket_of(f->subs, name, len);
    s->next = *b;
    s->prevp = b;
    if (s->next != NULL)
        s->next->prevp = &s->next;
    *b = s;
    f->subs->n++;
    begin_round(s);
    if (ask(s))
        return s;
    end_sub(s);
    return NULL;
}

static struct sub *get(struct fetch *f, const char *name, size_t len)
{
    struct sub *s;

    if (f->loop->conf->edge.push != CONF_YES || f->routes == NULL)
        return NULL;
    s = find(f, name, len);
    return s != NULL ? s : sub_new(f, name, len);
}

void sub_start(struct fetch *f, const char *name, size_t len) { (void)get(f, name, len); }

enum sub_answer sub_want(struct fetch *f, struct fill *fl, struct gobj **doc)
{
    const char *key = gobj_key(fl->o);
    size_t len = fill_stream_name_len(key);
    struct sub *s = get(f, key + 1, len);

    *doc = NULL;
    if (s == NULL)
        return SUB_PULL;
    if (s->state == SUB_FOLLOWING) {
        *doc = stream_newest(s->follow.stream, document_of(s, fl));
        return *doc != NULL ? SUB_DOC : SUB_PULL;
    }
    if (s->state == SUB_RESTING || s->follow.stream != NULL)
        return SUB_PULL; /* it was lost: who asks now is not to wait for its return */
    fl->sub_next = s->waiting;
    fl->sub_prevp = &s->waiting;
    if (fl->sub_next != NULL)
        fl->sub_next->sub_prevp = &fl->sub_next;
    s->waiting = fl;
    return SUB_WAIT;
}

void sub_leave(struct fill *fl)
{
    if (fl->sub_prevp == NULL)
        return;
    *fl->sub_prevp = fl->sub_next;
    if (fl->sub_next != NULL)
        fl->sub_next->sub_prevp = fl->sub_prevp;
    fl->sub_prevp = NULL;
}

const char *sub_followed_at(struct fetch *f, const char *name, size_t len)
{
    const struct sub *s = find(f, name, len);

    return s != NULL && s->at[0] != '\0' ? s->at : NULL;
}
