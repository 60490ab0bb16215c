#include "edge/request.h"

#include <string.h>

#include "core/check.h"
#include "core/clock.h"
#include "edge/front_int.h"
#include "edge/request_int.h"
#include "edge/store.h"
#include "edge/stream.h"

enum { REQUEST_MAGIC = 0x7e9ae573, ASK_MAX = 4 };

/* --- life --- */

static void on_wake(struct view_waiter *w);
static void decide(struct request *r);
static void look_up(struct request *r);

void request_init(struct request *r, struct front_loop *f, const struct request_ops *ops,
                  const struct addr *peer, enum front_profile profile)
{
    /* not memset: the two buffers at the end are large and need no clearing */
    memset(r, 0, offsetof(struct request, spelling));
    OBJ_INIT(r, REQUEST_MAGIC);
    r->front = f;
    r->ops = ops;
    r->peer = *peer;
    r->profile = profile;
    r->begun_us = loop_now(f->loop);
    r->waiter.wake = on_wake;
    r->object = METRIC_OBJECT_OTHER;
}

/* APP/STREAM stands in a native key behind its first slash. */
static size_t stream_name_len(const struct request *r)
{
    return r->target.app.n + 1 + r->target.stream.n;
}

/* 0: no limit. Behind a POP's address are all its viewers. */
static unsigned held_per_address(const struct request *r)
{
    return r->profile == FRONT_TIER ? 0 : front_limits(r->front)->held_per_address;
}

static void stop_holding(struct request *r)
{
    if (!r->holding)
        return;
    r->holding = false;
    stream_hold_return(r->front->store, r->key + 1, stream_name_len(r));
    if (held_per_address(r) > 0)
        addr_count_return(r->front->front->held_per_address, &r->peer);
}

void request_drop_view(struct request *r)
{
    struct own *own = r->view != NULL ? view_own(r->view) : NULL;

    view_cancel(&r->waiter);
    r->view = NULL;
    own_unref(&own);
}

void request_fini(struct request *r)
{
    OBJ_CHECK(r, REQUEST_MAGIC);
    timer_cancel(r->front->loop, &r->timer);
    stop_holding(r);
    request_drop_view(r);
    request_drop_blob(r);
    OBJ_FINI(r, REQUEST_MAGIC);
}

void request_answered(struct request *r)
{
    CHECK(r->phase != REQUEST_ANSWERED);
    r->phase = REQUEST_ANSWERED;
    r->answered_us = loop_now(r->front->loop);
    timer_cancel(r->front->loop, &r->timer);
    stop_holding(r);
    if (r->head != NULL && r->head->method == HTTP_METHOD_HEAD)
        r->answer.no_body = true;
    r->ops->ready(r);
}

/* --- answers from an object --- */

/* True: the answer waits for more of the object. */
static bool answer_range(struct request *r, struct gobj_now now, const struct gobj_head *h)
{
    bool complete = now.state == GOBJ_COMPLETE;
    struct slice etag = slice_of(h->etag, strlen(h->etag));
    struct slice modified = { .p = NULL };
    struct span span;

    if (h->last_modified[0] != '\0')
        modified = slice_of(h->last_modified, strlen(h->last_modified));
    if (!if_range_matches(http_head_get(r->head, HTTP_FIELD_IF_RANGE), etag, modified))
        return false;
    enum range_answer a = range_resolve(&r->range, now.published, complete, now.published, &span);
    if (a == RANGE_WHOLE)
        return false;
    if (a == RANGE_WAIT)
        return true;
    size_t n = range_content_text(a, &span, complete, now.published, r->answer.content_range);
    r->answer.content_range[n] = '\0';
    if (a == RANGE_UNSATISFIED) {
        r->answer.status = 416;
        r->off = r->end = 0;
        r->answer.length = 0;
        return false;
    }
    r->answer.status = 206;
    r->off = span.first;
    r->end = a == RANGE_PART ? span.last + 1 : UINT64_MAX;
    r->answer.length = a == RANGE_PART ? (int64_t)(r->end - r->off) : -1;
    return false;
}

static bool not_modified(const struct request *r, const struct gobj_head *h)
{
    struct slice inm = http_head_get(r->head, HTTP_FIELD_IF_NONE_MATCH);
    struct slice ims = http_head_get(r->head, HTTP_FIELD_IF_MODIFIED_SINCE);

    if (inm.p != NULL)
        return h->etag[0] != '\0' && etag_matches(inm, slice_of(h->etag, strlen(h->etag)));
    return ims.p != NULL && h->last_modified[0] != '\0' &&
           slice_eq(ims, slice_of(h->last_modified, strlen(h->last_modified)));
}

static void answer_from(struct request *r, const struct gobj_head *h)
{
    uint64_t born = gobj_born(view_gobj(r->view));

    r->answer.head = h;
    r->answer.status = h->status;
    r->answer.type = h->content_type;
    r->answer.cache_control = h->cache_control;
    if (h->has_age && loop_now(r->front->loop) > born)
        r->answer.age_s = (loop_now(r->front->loop) - born) / SEC_US;
}

/* True: waits. */
static bool answer_object(struct request *r, struct gobj_now now)
{
    const struct gobj_head *h = gobj_head(view_gobj(r->view));
    bool complete = now.state == GOBJ_COMPLETE;

    answer_from(r, h);
    r->off = 0;
    r->end = complete ? now.published : UINT64_MAX;
    r->answer.length = complete ? (int64_t)now.published : h->length;
    if (h->status == 200 && not_modified(r, h)) {
        r->answer.status = 304;
        r->answer.no_body = true;
        r->answer.length = 0;
        r->off = r->end = 0;
    } else if (h->status == 200 && r->range.kind != RANGE_NONE) {
        if (answer_range(r, now, h))
            return true;
    }
    if (r->answer.length < 0 && r->wait_complete)
        return true;
    request_answered(r);
    return false;
}

static void answer_negative(struct request *r)
{
    struct own *held = own_ref(view_own(r->view));
    const struct gobj_head *h = gobj_head(view_gobj(r->view));

    r->result = METRIC_CACHE_NEGATIVE;
    if (strlen(h->fields) < sizeof r->answer.lines)
        memcpy(r->answer.lines, h->fields, strlen(h->fields) + 1);
    request_error(r, h->status); /* lets go of the view */
    own_unref(&held);
}

/* --- waiting --- */

static void wait_over(struct loop *l, struct timer *t)
{
    struct request *r = CONTAINER_OF(t, struct request, timer);

    (void)l;
    request_drop_view(r);
    request_error(r, r->range.kind != RANGE_NONE ? 416 : 504);
}

/* A held request and a fill have deadlines of their own; this one bounds the wait for the rest of
 * an object that never stops growing. */
static void bound_the_wait(struct request *r)
{
    if (timer_is_set(&r->timer))
        return;
    r->timer.fire = wait_over;
    timer_set(r->front->loop, &r->timer,
              loop_now(r->front->loop) + front_limits(r->front)->stall_us);
}

/* The object went away before it had a head: ask again, a few times. */
static void ask_again(struct request *r)
{
    request_drop_view(r);
    stop_holding(r);
    if (++r->asked >= ASK_MAX)
        request_error(r, 503);
    else
        look_up(r);
}

static void decide(struct request *r)
{
    for (;;) {
        struct gobj *o = view_gobj(r->view);
        struct gobj_now now = gobj_now(o);

        switch (now.state) {
        case GOBJ_EXPECTED:
            if (gobj_is_dead(o)) {
                ask_again(r);
                return;
            }
            break;
        case GOBJ_FETCHING:
            break;
        case GOBJ_STREAMING:
        case GOBJ_RESUMING:
        case GOBJ_COMPLETE:
            if (!answer_object(r, now))
                return;
            bound_the_wait(r);
            break;
        case GOBJ_NEGATIVE:
            answer_negative(r);
            return;
        case GOBJ_FAILED:
            request_error(r, 502);
            return;
        }
        r->phase = REQUEST_PARKED;
        if (view_wait(r->view, &r->waiter, now))
            return;
    }
}

static void on_wake(struct view_waiter *w)
{
    struct request *r = CONTAINER_OF(w, struct request, waiter);

    OBJ_CHECK(r, REQUEST_MAGIC);
    if (r->phase == REQUEST_PARKED)
        decide(r);
    else
        r->ops->more(r);
}

/* --- finding the object --- */

static const struct conf_app *find_app(const struct conf *conf, struct slice name)
{
    for (size_t i = 0; i < conf->apps_n; i++)
        if (slice_eq(slice_of(conf->apps[i].name, strlen(conf->apps[i].name)), name))
            return &conf->apps[i];
    return NULL;
}

static enum metric_object object_of(const struct target *t)
{
    switch (t->kind) {
    case TARGET_MANIFEST:
    case TARGET_MASTER:
    case TARGET_PLAYLIST:
        return METRIC_OBJECT_MANIFEST;
    case TARGET_INIT:
        return METRIC_OBJECT_INIT;
    case TARGET_SEGMENT:
        return METRIC_OBJECT_SEGMENT;
    case TARGET_THUMB:
    case TARGET_STILL:
        return METRIC_OBJECT_THUMB;
    case TARGET_TIME:
        return METRIC_OBJECT_TIME;
    default:
        return METRIC_OBJECT_OTHER;
    }
}

/* Takes a place among the held; false: answered. */
static bool start_holding(struct request *r, const char *name, size_t len)
{
    const struct conf_edge_limits *lim = front_limits(r->front);
    struct metrics *m = r->front->loop->metrics;

    if (held_per_address(r) > 0 &&
        !addr_count_take(r->front->front->held_per_address, &r->peer, held_per_address(r))) {
        metric_add(&m->limit_hits[METRIC_LIMIT_HELD_PER_ADDRESS], 1);
        request_error(r, 503);
        return false;
    }
    if (!stream_hold_take(r->front->store, name, len, lim->held_per_stream)) {
        if (held_per_address(r) > 0)
            addr_count_return(r->front->front->held_per_address, &r->peer);
        metric_add(&m->limit_hits[METRIC_LIMIT_HELD_PER_STREAM], 1);
        request_error(r, 503);
        return false;
    }
    r->holding = true;
    return true;
}

/* What a miss of a native stream's object means. False: answered. */
static bool native_miss(struct request *r, enum store_miss *miss)
{
    const struct target *t = &r->target;
    const char *name = r->key + 1;
    size_t name_len = stream_name_len(r);
    char session[STREAM_SESSION_LEN + 1] = "";
    struct stream_answer a;

    if (t->session.n == STREAM_SESSION_LEN)
        memcpy(session, t->session.p, STREAM_SESSION_LEN);
    a = stream_where(r->front->store, name, name_len, session[0] != '\0' ? session : NULL,
                     (const char *)t->rep.p, t->rep.n, t->number);
    r->home = a.home;
    *miss = a.source == STREAM_HERE || r->front->loop->conf->edge.upstream_n == 0 ? STORE_NONE
                                                                                  : STORE_FETCH;
    if (r->profile == FRONT_TIER && a.source != STREAM_HERE) {
        request_error(r, 404); /* whoever asks goes on to the next upstream by himself */
        return false;
    }
    if (t->kind != TARGET_SEGMENT)
        return true;
    switch (a.where) {
    case STREAM_NEXT:
        *miss = STORE_HOLD;
        return start_holding(r, name, name_len);
    case STREAM_BEHIND:
        /* what readers still hold may be in the index; a new fetch makes no sense */
        request_error(r, 410);
        return false;
    case STREAM_AHEAD:
    case STREAM_ABSENT:
        request_error(r, 404);
        return false;
    case STREAM_UNKNOWN:
    case STREAM_WINDOW:
        break;
    }
    return true;
}

/* Somebody watches: what an upstream tells us of the stream is worth having. */
static void renew_interest(struct request *r)
{
    uint64_t now_us = loop_now(r->front->loop);

    if (r->target.stream.p == NULL || r->front->loop->conf->edge.upstream_n == 0 ||
        r->object == METRIC_OBJECT_PROXY || !view_touch(r->view, now_us))
        return;
    stream_touch(r->front->store, r->key + 1, stream_name_len(r), (const char *)r->target.rep.p,
                 r->target.rep.n, now_us);
}

static void open_object(struct request *r, enum gobj_kind kind, enum store_miss miss,
                        bool revalidate)
{
    struct store_ask ask = { .key = r->key,
                             .len = r->key_len,
                             .hash = r->hash,
                             .home = r->home,
                             .kind = kind,
                             .miss = miss,
                             .now_us = loop_now(r->front->loop),
                             .revalidate = revalidate };
    bool inserted;
    enum st st = store_open(r->front->loop, &ask, &r->view, &inserted);

    if (st != ST_OK) {
        r->view = NULL;
        request_error(r, st == ST_ENOENT ? 404 : 503);
        return;
    }
    view_hit(r->view);
    renew_interest(r);
    r->result = inserted ? METRIC_CACHE_MISS : METRIC_CACHE_HIT_WAIT;
    if (!inserted && gobj_now(view_gobj(r->view)).state == GOBJ_COMPLETE)
        r->result = METRIC_CACHE_HIT;
    if (miss == STORE_HOLD && gobj_now(view_gobj(r->view)).state != GOBJ_EXPECTED)
        stop_holding(r); /* it is there already */
    decide(r);
}

/* An object that this loop has a view of already. True: it was used. */
static bool use_hit(struct request *r, struct view *v)
{
    struct gobj *o = view_gobj(v);
    struct gobj_now now = gobj_now(o);
    uint64_t now_us = loop_now(r->front->loop);

    r->result = METRIC_CACHE_HIT;
    if (now.state == GOBJ_EXPECTED)
        return false; /* store_open() tells the home that it is wanted */
    if (now.state == GOBJ_COMPLETE && gobj_fresh_until(o) <= now_us) {
        if (now_us - gobj_fresh_until(o) >= gobj_head(o)->swr_us)
            return false;
        r->result = METRIC_CACHE_STALE;
        store_refresh(o);
    } else if (now.state != GOBJ_COMPLETE) {
        r->result = METRIC_CACHE_HIT_WAIT;
    }
    view_hit(v);
    (void)own_ref(view_own(v));
    r->view = v;
    renew_interest(r);
    decide(r);
    return true;
}

static void look_up(struct request *r)
{
    struct view *v = view_find(r->front->loop, r->key, r->key_len, r->hash);
    const struct target *t = &r->target;
    enum store_miss miss = STORE_FETCH;
    enum gobj_kind kind = GOBJ_OUTSIDE;

    if (v != NULL && r->profile != FRONT_TIER && use_hit(r, v))
        return;
    if (t->stream.p == NULL || r->object == METRIC_OBJECT_PROXY) {
        r->home = store_home(r->front->store, r->hash);
    } else {
        if (!native_miss(r, &miss))
            return;
        kind = r->object == METRIC_OBJECT_MANIFEST ? GOBJ_DOC : GOBJ_MEDIA;
    }
    open_object(r, kind, miss, kind != GOBJ_MEDIA);
}

/* The cache key: the path in its one spelling; for an outside origin with the whole query. */
static bool make_key(struct request *r, bool with_query)
{
    const struct target *t = &r->target;
    size_t n = t->path.n;

    if (n > sizeof r->key)
        return false;
    memcpy(r->key, t->path.p, n);
    if (with_query && t->query.p != NULL && t->query.n > 0) {
        if (n + 1 + t->query.n > sizeof r->key)
            return false;
        r->key[n++] = '?';
        memcpy(r->key + n, t->query.p, t->query.n);
        n += t->query.n;
    }
    r->key_len = (uint16_t)n;
    r->hash = store_hash(r->front->store, r->key, n);
    return true;
}

static const char *token_text(enum metric_play why)
{
    switch (why) {
    case METRIC_PLAY_MISSING:
        return "a play token is needed";
    case METRIC_PLAY_EXPIRED:
        return "the play token has expired";
    default:
        return "the play token is not good for this stream";
    }
}

/* Manifests and pages want a token that has not expired; media go on for a while, so that nobody
 * is cut off in the middle. False: answered. */
static bool may_play(struct request *r, const struct conf_app *app)
{
    struct front_loop *f = r->front;
    const struct target *t = &r->target;
    bool media = r->object == METRIC_OBJECT_INIT || r->object == METRIC_OBJECT_SEGMENT ||
                 r->object == METRIC_OBJECT_THUMB;
    uint64_t now_s = (uint64_t)clock_wall_us() / SEC_US;
    enum metric_play why;

    if (app->play == CONF_PLAY_OPEN || r->profile == FRONT_TIER)
        return true; /* whatever token there is; an edge of ours has checked its own players' */
    if (f->tokens == NULL && t->token.p != NULL)
        f->tokens = token_memo_new();
    why = token_check(f->tokens, f->play_keys, t->token, t->app, t->stream, now_s,
                      media ? app->play_grace_us / SEC_US : 0);
    metric_add(&f->loop->metrics->play_auth[why], 1);
    if (why != METRIC_PLAY_ACCEPTED)
        request_error_text(r, 403, token_text(why));
    return why == METRIC_PLAY_ACCEPTED;
}

static void route(struct request *r)
{
    const struct target *t = &r->target;
    const struct conf_app *app;

    if (r->profile == FRONT_ADMIN) {
        request_admin(r);
        return;
    }
    r->object = object_of(t);
    if (t->kind == TARGET_TIME) {
        request_time(r);
        return;
    }
    if (t->kind == TARGET_RESERVED && t->token.p == NULL && r->profile == FRONT_EDGE &&
        request_watch(r))
        return;
    if (t->app.p == NULL || t->kind == TARGET_TIER || t->kind == TARGET_RESERVED ||
        (app = find_app(r->front->loop->conf, t->app)) == NULL) {
        request_error(r, 404);
        return;
    }
    if (r->profile == FRONT_TIER && (t->kind == TARGET_WATCH || app->origin.text[0] != '\0')) {
        request_error(r, 404);
        return;
    }
    if (app->origin.text[0] != '\0') {
        if (t->kind == TARGET_WATCH) {
            request_error(r, 404);
            return;
        }
        r->object = METRIC_OBJECT_PROXY;
    } else if (t->kind == TARGET_OTHER) {
        request_error(r, 404);
        return;
    } else if (!may_play(r, app)) {
        return;
    }
    if (t->kind == TARGET_WATCH) {
        if (!request_watch(r))
            request_error(r, 404);
        return;
    }
    if (!make_key(r, r->object == METRIC_OBJECT_PROXY)) {
        request_error(r, 414);
        return;
    }
    look_up(r);
}

void request_begin(struct request *r, const struct http_head *head)
{
    enum st st;

    OBJ_CHECK(r, REQUEST_MAGIC);
    r->head = head;
    if (head->refusal != HTTP_REFUSED_NONE) {
        request_error(r, (int)http_refusal_status(head->refusal));
        return;
    }
    st = target_parse(head->target, r->spelling, sizeof r->spelling, &r->target);
    if (st != ST_OK) {
        request_error(r, st == ST_ELIMIT ? 414 : 400);
        return;
    }
    if (head->method == HTTP_METHOD_OPTIONS) {
        request_options(r);
        return;
    }
    if (head->method != HTTP_METHOD_GET && head->method != HTTP_METHOD_HEAD) {
        request_error(r, 405);
        return;
    }
    r->wait_complete = head->major == 1 && head->minor == 0;
    if (head->method == HTTP_METHOD_GET)
        r->range = range_parse(http_head_get(head, HTTP_FIELD_RANGE));
    route(r);
}

/* --- the body --- */

static enum st view_avail(struct request *r, size_t max, size_t *n, bool *last)
{
    struct gobj *o = view_gobj(r->view);

    for (;;) {
        struct gobj_now now = gobj_now(o);
        uint64_t end = r->end;

        if (now.state == GOBJ_FAILED)
            return ST_EIO;
        if (end == UINT64_MAX && now.state == GOBJ_COMPLETE)
            end = r->end = now.published;
        uint64_t have = now.published < end ? now.published : end;
        have = have > r->off ? have - r->off : 0;
        *n = have < max ? (size_t)have : max;
        *last = end != UINT64_MAX && r->off + *n >= end;
        if (*n > 0 || *last)
            return ST_OK;
        if (r->waiter.on != NULL || view_wait(r->view, &r->waiter, now))
            return ST_MORE;
    }
}

enum st request_avail(struct request *r, size_t max, size_t *n, bool *last)
{
    OBJ_CHECK(r, REQUEST_MAGIC);
    CHECK(r->phase == REQUEST_ANSWERED);
    if (r->view != NULL && !r->answer.no_body)
        return view_avail(r, max, n, last);
    uint64_t have = r->answer.no_body ? 0 : r->end - r->off;
    *n = have < max ? (size_t)have : max;
    *last = *n == have;
    return ST_OK;
}

int request_take(struct request *r, size_t n, struct h2_slice *s, int max)
{
    struct iovec v[H2_SLICES_MAX];
    int k;

    r->sent_bytes += n;
    if (r->view == NULL) {
        s[0] = (struct h2_slice){ .p = r->blob->data + r->off, .n = n, .own = &r->blob->own };
        r->off += n;
        return 1;
    }
    k = gobj_span(view_gobj(r->view), &r->cursor, r->off, r->off + n, v,
                  max < H2_SLICES_MAX ? max : H2_SLICES_MAX);
    for (int i = 0; i < k; i++) {
        s[i] = (struct h2_slice){ .p = v[i].iov_base, .n = v[i].iov_len, .own = view_own(r->view) };
        r->off += v[i].iov_len;
    }
    return k;
}
