/* The life of one fill:
 *
 *   fill_begin -> ask -> head -+-> 200, redirect: start -> bytes -> complete
 *                              +-> 304: the body we have is good
 *                              +-> 404, 5xx ...: without_body
 *            broke (at any time) -> before the head: without_body
 *                                -> in the body: resume (back to ask), or fail
 *
 * The ways out are in fill_end.c. */
#include <stdlib.h>
#include <string.h>

#include "core/check.h"
#include "core/clock.h"
#include "core/log.h"
#include "edge/fetch_int.h"
#include "edge/stream.h"
#include "edge/sub.h"
#include "edge/up_h1.h"
#include "edge/up_h2.h"

enum { RESUMES_MAX = 2 };
#define MEMORY_RETRY_US (50 * MS_US)

static const struct {
    enum metric_fill_error metric;
    bool fault;
    const char *text;
} ends[] = {
#define X(n, metric, fault, text) [UP_END_##n] = { METRIC_FILL_ERROR_##metric, fault, text },
    UP_ENDS(X)
#undef X
};

static void set_timer(struct fill *fl, uint64_t in_us)
{
    timer_set(fill_loop(fl), &fl->timer, loop_now(fill_loop(fl)) + in_us);
}

/* A moment is cancelled first: it may be nearer than the one that was set. */
void fill_enter(struct fill *fl, enum fill_phase phase, uint64_t in_us)
{
    fl->phase = phase;
    timer_cancel(fill_loop(fl), &fl->timer);
    set_timer(fl, in_us);
}

/* --- the exchange --- */

static const struct up_sink sink;

/* The peer's breaker hears what became of the request that it let through. */
static void judge_peer(struct fill *fl, bool ok)
{
    struct breaker *b = &fl->peer->breaker;

    breaker_result(b, loop_now(fill_loop(fl)), ok);
    fl->unanswered = false;
}

static void release_peer(struct fill *fl)
{
    if (fl->peer == NULL)
        return;
    if (fl->unanswered)
        breaker_undecided(&fl->peer->breaker);
    fl->unanswered = false;
    peer_put(fl->fetch, &fl->peer);
}

static enum st start_exchange(struct fill *fl)
{
    return fl->peer->host->h2 ? up_h2_start(fl->peer->h2, &fl->x)
                              : up_h1_start(fl->peer->h1, &fl->x);
}

void fill_cancel_exchange(struct fill *fl)
{
    if (fl->peer == NULL)
        return;
    if (fl->peer->host->h2)
        up_h2_cancel(&fl->x);
    else
        up_h1_cancel(&fl->x);
    release_peer(fl);
}

/* The head said all that we want to know. */
static void drop_exchange(struct fill *fl)
{
    if (fl->peer == NULL)
        return;
    if (fl->peer->host->h2)
        up_h2_cancel(&fl->x);
    else
        up_h1_drop(&fl->x);
    release_peer(fl);
}

static void ask(struct fill *fl);

static const char *or_null(const char *text) { return text[0] != '\0' ? text : NULL; }

/* What to ask for: the rest of a body that broke off, news of one that is stale, or all. */
static void set_conditions(struct fill *fl)
{
    struct gobj *old = fl->stale != NULL ? fl->stale : gobj_prior(fl->o);

    fl->x.none_match = fl->x.changed_since = fl->x.if_range = NULL;
    if (fl->o != NULL && gobj_now(fl->o).state == GOBJ_RESUMING) {
        fl->x.if_range = gobj_head(fl->o)->etag;
        fl->x.range_from = gobj_now(fl->o).published;
    } else if (old != NULL && gobj_head(old)->status == 200) {
        fl->x.none_match = or_null(gobj_head(old)->etag);
        fl->x.changed_since = or_null(gobj_head(old)->last_modified);
    }
}

size_t fill_stream_name_len(const char *key)
{
    size_t app = strcspn(key + 1, "/?");

    return app + (key[1 + app] == '/' ? 1 + strcspn(key + 1 + app + 1, "/?") : 0);
}

/* The one where the stream is followed comes first, the others keep their order. */
static void put_first(const struct route_host **ranked, unsigned n, const char *url)
{
    const struct route_host *host;
    unsigned i = 0;

    while (url != NULL && i < n && strcmp(ranked[i]->url, url) != 0)
        i++;
    if (url == NULL || i == n)
        return;
    host = ranked[i];
    memmove(ranked + 1, ranked, i * sizeof(struct route_host *));
    ranked[0] = host;
}

/* Whom to ask now; NULL: there is nobody (any more). */
static const struct route_host *host_of(const struct fill *fl)
{
    const struct routes *r = fl->fetch->routes;
    const char *name = gobj_key(fill_subject(fl)) + 1;
    size_t app = strcspn(name, "/?");
    const struct route_host *ranked[ROUTE_UPSTREAMS_MAX];
    size_t len;
    unsigned n;

    if (r == NULL)
        return NULL;
    if (!fill_is_native(fl))
        return routes_origin(r, name, app);
    len = fill_stream_name_len(gobj_key(fill_subject(fl)));
    n = routes_rank(r, name, len, ranked);
    put_first(ranked, n, sub_followed_at(fl->fetch, name, len));
    if (fl->rank >= n)
        return NULL;
    return ranked[fl->rank];
}

/* The stream may live at an upstream further down. */
static bool ask_next(struct fill *fl, int error_status)
{
    if (!fill_is_native(fl))
        return false;
    if (error_status != 0)
        fl->error_status = error_status;
    fill_cancel_exchange(fl);
    fl->rank++;
    if (host_of(fl) == NULL)
        return false;
    ask(fl);
    return true;
}

/* The upstream may hold the request until the segment begins. */
static uint64_t answer_us(const struct fill *fl)
{
    const struct conf_edge_limits *lim = fetch_limits(fl->fetch);

    return lim->response_timeout_us +
           (gobj_kind(fill_subject(fl)) == GOBJ_MEDIA ? lim->hold_us : 0);
}

/* It has a head, and maybe bytes. */
static bool has_begun(const struct fill *fl)
{
    enum gobj_state state = fl->o != NULL ? gobj_now(fl->o).state : GOBJ_FETCHING;

    return state == GOBJ_STREAMING || state == GOBJ_RESUMING;
}

/* A document that a subscription has, or brings. In the background nobody waits, and who asks again
 * has been there already. */
static bool leave_to_push(struct fill *fl)
{
    const struct conf_edge_limits *lim = fetch_limits(fl->fetch);
    struct gobj *doc;

    if (fl->o == NULL || fl->stale != NULL || fl->no_push || fl->rank > 0 || has_begun(fl) ||
        gobj_kind(fl->o) != GOBJ_DOC)
        return false;
    switch (sub_want(fl->fetch, fl, &doc)) {
    case SUB_PULL:
        return false;
    case SUB_WAIT:
        fl->own_unlink = true; /* its document takes its place in the index first */
        fill_enter(fl, FILL_SUBSCRIBING, lim->connect_timeout_us + lim->response_timeout_us);
        return true;
    case SUB_DOC:
        fill_doc(fl, doc);
        gobj_unref(&doc);
        return true;
    }
    return false;
}

static void ask(struct fill *fl)
{
    struct fetch *f = fl->fetch;
    const struct conf_edge_limits *lim = fetch_limits(f);
    const struct route_host *host = host_of(fl);
    enum st st;

    CHECK(fl->peer == NULL);
    if (host != NULL && leave_to_push(fl))
        return;
    if (host == NULL) {
        fill_without_body(fl, 404, NULL, lim->not_found_ttl_us, false);
        return;
    }
    fl->peer = peer_get(f, host);
    if (fl->peer == NULL) {
        fill_broke(fl, UP_END_MEMORY);
        return;
    }
    /* What broke off is asked for at once, as far as the purse allows. */
    if (!has_begun(fl) && !breaker_allows(&fl->peer->breaker, loop_now(f->loop))) {
        release_peer(fl);
        fill_broke(fl, UP_END_CONNECT);
        return;
    }
    fl->unanswered = true;
    fl->asked_us = loop_now(f->loop);
    set_conditions(fl);
    fill_enter(fl, FILL_ASKING, lim->connect_timeout_us + answer_us(fl));
    st = start_exchange(fl);
    if (st == ST_ELIMIT) {
        FETCH_COUNT(f, limit_hits[METRIC_LIMIT_PENDING_LOOKUPS]);
        release_peer(fl);
        fill_without_body(fl, 503, "1", fill_error_ttl_us(f), true);
    } else if (st != ST_OK) {
        fill_broke(fl, st == ST_ENOMEM ? UP_END_MEMORY : UP_END_CONNECT);
    }
}

/* --- what breaks --- */

static bool is_strong(const char *etag) { return etag[0] == '"'; }

static void body_failed(struct fill *fl, enum up_end why)
{
    struct loop *l = fill_loop(fl);
    struct gobj *o;

    FETCH_COUNT(fl->fetch, cache_fill_errors[ends[why].metric]);
    log_warn(l->log, LOG_CTX_TEXT(NULL, "object", gobj_key(fill_subject(fl))), "fetch",
             "a body broke off: %s", ends[why].text);
    if (fl->stale != NULL) {
        fill_background_failed(fl);
        return;
    }
    o = fill_finish(fl);
    fill_fail_object(l, o);
    gobj_unref(&o);
}

/* Without memory for as long as a body may stand still. */
static bool is_dry(const struct fill *fl)
{
    return loop_now(fill_loop(fl)) - fl->dry_since_us >= fetch_limits(fl->fetch)->fill_stall_us;
}

static bool may_resume(struct fill *fl, enum up_end why)
{
    if (why == UP_END_SIZE || why == UP_END_MEMORY || why == UP_END_PROTOCOL)
        return false;
    if (fl->resumes >= RESUMES_MAX || !is_strong(gobj_head(fl->o)->etag))
        return false;
    return purse_spend(&fl->fetch->purse);
}

static void resume(struct fill *fl)
{
    if (gobj_now(fl->o).state == GOBJ_STREAMING) {
        gobj_resuming(fl->o);
        store_notify(fl->o);
    }
    ask(fl);
}

static void broke_in_body(struct fill *fl, enum up_end why)
{
    if (why == UP_END_MEMORY && fl->phase == FILL_NO_MEMORY && !is_dry(fl) &&
        is_strong(gobj_head(fl->o)->etag))
        return; /* the carrier could not wait; when there is memory the rest is asked for */
    if (!may_resume(fl, why)) {
        body_failed(fl, why);
        return;
    }
    fl->resumes++;
    if (fill_is_native(fl) && fl->resumes == RESUMES_MAX) { /* another one may have it too */
        fl->rank++;
        if (host_of(fl) == NULL)
            fl->rank--;
    }
    resume(fl);
}

/* The exchange is over, or never was. */
void fill_broke(struct fill *fl, enum up_end why)
{
    struct fetch *f = fl->fetch;
    int status = why == UP_END_TIMEOUT ? 504 : why == UP_END_MEMORY ? 503 : 502;

    if (fl->unanswered)
        FETCH_COUNT(f, upstream_requests[METRIC_UPSTREAM_ERROR]);
    if (why == UP_END_SIZE)
        FETCH_COUNT(f, limit_hits[METRIC_LIMIT_OBJECT_BYTES]);
    /* A connection of ours that is lost breaks many bodies, and fails once: when it is to be opened
     * again. */
    if (fl->peer != NULL && ends[why].fault && (fl->unanswered || !fl->peer->host->h2))
        judge_peer(fl, false);
    fill_cancel_exchange(fl);
    if (has_begun(fl)) {
        broke_in_body(fl, why);
        return;
    }
    log_warn(f->loop->log, LOG_CTX_TEXT(NULL, "object", gobj_key(fill_subject(fl))), "fetch",
             "no answer: %s", ends[why].text);
    if (ask_next(fl, status))
        return;
    FETCH_COUNT(f, cache_fill_errors[ends[why].metric]);
    fill_without_body(fl, status, why == UP_END_MEMORY ? "1" : NULL, fill_error_ttl_us(f), true);
}

/* --- the head --- */

static bool is_redirect(int status)
{
    return status == 301 || status == 302 || status == 303 || status == 307 || status == 308;
}

static void validated(struct fill *fl, const struct http_reply *r)
{
    struct fetch *f = fl->fetch;
    struct gobj *old = fl->stale != NULL ? fl->stale : gobj_prior(fl->o);
    struct verdict v = head_of_validation(fl, r, old);
    struct gobj *o;

    drop_exchange(fl);
    if (fl->stale != NULL) {
        gobj_freshen(fl->stale, v.fresh_until_us);
        gobj_reborn(fl->stale, v.born_us);
        if (!v.shared) {
            fill_drop_stale(fl);
            return;
        }
        o = fill_finish(fl);
        gobj_unref(&o);
        return;
    }
    o = fill_finish(fl);
    if (gobj_adopt_prior(o, v.fresh_until_us) != ST_OK) {
        fill_fail_object(f->loop, o);
    } else {
        gobj_reborn(o, v.born_us);
        store_notify(o);
        store_completed(f->loop, o);
        if (!v.shared)
            store_unlink(f->loop, o);
    }
    gobj_unref(&o);
}

/* The object that is to take the place of the stale one, when it is whole. */
static struct gobj *make_successor(const struct fill *fl)
{
    struct store *s = fl->fetch->store;
    const char *key = gobj_key(fl->stale);

    return store_make(s, key, strlen(key), store_hash(s, key, strlen(key)), gobj_home(fl->stale),
                      gobj_kind(fl->stale));
}

static void start_body(struct fill *fl, const struct http_reply *r)
{
    struct fetch *f = fl->fetch;
    bool empty = is_redirect(r->status) || r->status == 204;
    struct head_text text;
    struct gobj_head h;
    struct verdict v = head_of_reply(fl, r, &h, &text);

    fl->forget = !r->has_length && !r->chunked && r->major == 1 && !empty;
    if (empty)
        h.length = 0;
    if (h.length > 0 && (uint64_t)h.length > fetch_limits(f)->object_bytes) {
        fill_broke(fl, UP_END_SIZE);
        return;
    }
    if (fl->stale != NULL && (!v.shared || fl->forget)) {
        fill_drop_stale(fl); /* whoever comes next asks for himself */
        return;
    }
    if (fl->stale != NULL && (fl->o = make_successor(fl)) == NULL) {
        fill_broke(fl, UP_END_MEMORY);
        return;
    }
    if (!v.shared) { /* before anybody can join who was not there already */
        fl->own_unlink = true;
        store_unlink(f->loop, fl->o);
    }
    if (gobj_start(fl->o, &h, v.fresh_until_us) != ST_OK) {
        if (fl->stale != NULL)
            gobj_unref(&fl->o);
        fill_broke(fl, UP_END_MEMORY);
        return;
    }
    fill_enter(fl, FILL_BODY, fetch_limits(f)->fill_stall_us);
    fl->dirty = true;
    if (empty) {
        drop_exchange(fl);
        fill_complete(fl);
    }
}

/* 404 or 410. Only when all have said so a stream is not there: one that does not answer may have
 * it. */
static void missing(struct fill *fl, const struct http_reply *r)
{
    int status = r->status;
    uint64_t ttl_us = head_negative_us(fl, r);

    drop_exchange(fl);
    if (ask_next(fl, 0))
        return;
    /* a home that has just come back does not know yet what it will go on with */
    if (fl->error_status != 0)
        fill_without_body(fl, fl->error_status, NULL, fill_error_ttl_us(fl->fetch), true);
    else
        fill_without_body(fl, status, NULL, ttl_us,
                          fill_is_native(fl) && gobj_kind(fill_subject(fl)) == GOBJ_DOC);
}

/* Any other answer without a body of use: the status is passed on. */
static void refused(struct fill *fl, const struct http_reply *r)
{
    struct fetch *f = fl->fetch;
    struct head_text text = { .used = 0 };
    const char *retry_after = head_text_of(&text, r->kept[HTTP_REPLY_RETRY_AFTER]);
    int status = r->status >= 400 ? r->status : 502;

    drop_exchange(fl);
    if (ask_next(fl, status))
        return;
    FETCH_COUNT(f, cache_fill_errors[METRIC_FILL_ERROR_STATUS]);
    fill_without_body(fl, status, or_null(retry_after), fill_error_ttl_us(f), status >= 500);
}

static void resumed(struct fill *fl, const struct http_reply *r)
{
    if (!head_continues(fl->o, r, &fl->total)) {
        drop_exchange(fl);
        body_failed(fl, UP_END_SHORT);
        return;
    }
    gobj_resumed(fl->o);
    fl->dirty = true;
    fill_enter(fl, FILL_BODY, fetch_limits(fl->fetch)->fill_stall_us);
}

static enum metric_upstream code_class(unsigned status)
{
    return status < 300   ? METRIC_UPSTREAM_2XX
           : status < 400 ? METRIC_UPSTREAM_3XX
           : status < 500 ? METRIC_UPSTREAM_4XX
                          : METRIC_UPSTREAM_5XX;
}

static struct fill *fill_of(struct up_exchange *x)
{
    struct fill *fl = CONTAINER_OF(x, struct fill, x);

    OBJ_CHECK(fl, FILL_MAGIC);
    return fl;
}

static void on_sent(struct up_exchange *x)
{
    struct fill *fl = fill_of(x);

    fl->asked_us = loop_now(fill_loop(fl));
    fill_enter(fl, FILL_ASKING, answer_us(fl));
}

static void on_head(struct up_exchange *x, const struct http_reply *r)
{
    struct fill *fl = fill_of(x);
    bool asked_if = x->none_match != NULL || x->changed_since != NULL;

    FETCH_COUNT(fl->fetch, upstream_requests[code_class(r->status)]);
    judge_peer(fl, r->status < 500);
    if (x->if_range != NULL) {
        resumed(fl, r);
    } else if (r->status == 304 && asked_if) {
        validated(fl, r);
    } else if (r->status == 200 || r->status == 203 || r->status == 204 || is_redirect(r->status)) {
        start_body(fl, r);
    } else if (r->status == 404 || r->status == 410) {
        missing(fl, r);
    } else {
        refused(fl, r);
    }
}

/* --- the body --- */

static enum st on_reserve(struct up_exchange *x, void **p, size_t *cap)
{
    struct fill *fl = fill_of(x);
    enum st st = gobj_reserve(fl->o, p, cap);

    if (st == ST_ENOMEM && fl->phase != FILL_NO_MEMORY) {
        FETCH_COUNT(fl->fetch, limit_hits[METRIC_LIMIT_MEMORY]);
        fl->dry_since_us = loop_now(fill_loop(fl));
        fill_enter(fl, FILL_NO_MEMORY, MEMORY_RETRY_US);
    }
    return st;
}

static void on_commit(struct up_exchange *x, size_t n)
{
    struct fill *fl = fill_of(x);

    gobj_commit(fl->o, n);
    fl->dirty = true;
    if (fl->phase == FILL_NO_MEMORY)
        fill_enter(fl, FILL_BODY, fetch_limits(fl->fetch)->fill_stall_us);
    else
        set_timer(fl, fetch_limits(fl->fetch)->fill_stall_us);
}

/* One letter per viewing loop and read, however many pieces there were. */
static void on_burst(struct up_exchange *x)
{
    struct fill *fl = fill_of(x);

    if (fl->dirty && fl->stale == NULL)
        store_notify(fl->o);
    fl->dirty = false;
}

static void on_end(struct up_exchange *x, enum up_end why)
{
    struct fill *fl = fill_of(x);

    if (why != UP_END_WHOLE && why != UP_END_CLOSED) {
        fill_broke(fl, why);
        return;
    }
    release_peer(fl);
    fill_complete(fl);
}

static const struct up_sink sink = {
    .sent = on_sent,
    .head = on_head,
    .reserve = on_reserve,
    .commit = on_commit,
    .burst = on_burst,
    .end = on_end,
};

/* --- what a subscription says --- */

void fill_pull(struct fill *fl)
{
    sub_leave(fl);
    fl->no_push = true;
    fl->own_unlink = false;
    ask(fl);
}

void fill_expect(struct fill *fl, uint64_t size)
{
    if (fl->total < 0 && size <= INT64_MAX)
        fl->total = (int64_t)size;
}

/* --- deadlines --- */

static void try_for_memory(struct fill *fl)
{
    void *p;
    size_t cap;

    if (is_dry(fl)) {
        fill_broke(fl, UP_END_MEMORY);
        return;
    }
    set_timer(fl, MEMORY_RETRY_US);
    if (fl->peer != NULL)
        up_h1_resume(&fl->x);
    else if (gobj_reserve(fl->o, &p, &cap) == ST_OK)
        resume(fl);
}

static void on_timer(struct loop *l, struct timer *t)
{
    struct fill *fl = CONTAINER_OF(t, struct fill, timer);
    struct gobj *o;

    (void)l;
    OBJ_CHECK(fl, FILL_MAGIC);
    switch (fl->phase) {
    case FILL_SUBSCRIBING:
        fill_pull(fl);
        return;
    case FILL_ASKING:
    case FILL_BODY:
        fill_broke(fl, UP_END_TIMEOUT);
        return;
    case FILL_NO_MEMORY:
        try_for_memory(fl);
        return;
    case FILL_RESTING:
        o = fill_finish(fl);
        gobj_unref(&o);
        return;
    }
}

/* --- begin and end --- */

static bool is_visible(const char *s)
{
    for (; *s != '\0'; s++)
        if (*s <= 0x20 || *s >= 0x7f)
            return false;
    return true;
}

void fill_begin(struct fetch *f, struct gobj *o, struct gobj *stale)
{
    struct fill *fl = calloc(1, sizeof *fl);

    CHECK((o == NULL) != (stale == NULL));
    if (fl == NULL) {
        if (o != NULL)
            fill_settle(f, o, 503, "1", fill_error_ttl_us(f));
        return;
    }
    OBJ_INIT(fl, FILL_MAGIC);
    fl->fetch = f;
    fl->o = o != NULL ? gobj_ref(o) : NULL;
    fl->stale = stale != NULL ? gobj_ref(stale) : NULL;
    fl->x.sink = &sink;
    fl->x.path = gobj_key(fill_subject(fl));
    fl->timer.fire = on_timer;
    fl->total = -1;
    *store_fill(fill_subject(fl)) = fl;
    fl->next = f->fills;
    fl->prevp = &f->fills;
    if (fl->next != NULL)
        fl->next->prevp = &fl->next;
    f->fills = fl;
    f->n_fills++;
    purse_earn(&f->purse);
    if (is_visible(fl->x.path))
        ask(fl);
    else
        fill_without_body(fl, 400, NULL, fill_error_ttl_us(f), false);
}
