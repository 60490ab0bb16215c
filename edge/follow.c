#include "edge/follow.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/check.h"
#include "core/clock.h"
#include "core/log.h"
#include "core/loop.h"
#include "core/metric.h"
#include "edge/gobj.h"
#include "edge/store.h"
#include "edge/target.h"

enum { FOLLOW_MAGIC = 0x0f011031 };
#define SEGMENT_MAX_US (60 * SEC_US)
#define STEP_US (5 * (int64_t)SEC_US) /* clocks that differ so much all at once were set */

static struct metrics *metrics_of(const struct follow *f) { return f->loop->metrics; }

/* --- clocks --- */

/* What the upstream's clock said when this was made, and ours now: the answer to a request that we
 * have timed is exact to half its round trip; later ones can only be late, so the largest is the
 * best. */
static void note_clock(struct follow *f, int64_t now_us)
{
    int64_t wall_us = clock_wall_us(), rtt_us, offset = now_us - wall_us;

    if (f->begun_us != 0) {
        rtt_us = wall_us - f->begun_us;
        f->begun_us = 0;
        if (rtt_us >= 0 && (!f->timed || (uint64_t)rtt_us <= f->rtt_us)) {
            f->timed = true;
            f->rtt_us = (uint64_t)rtt_us;
            f->offset_us = offset + rtt_us / 2;
            return;
        }
    }
    if (!f->timed || offset > f->offset_us || offset < f->offset_us - STEP_US)
        f->offset_us = offset;
    f->timed = true;
}

static void note_lag(struct follow *f, const json_t *j)
{
    int64_t lag_us = clock_wall_us() + f->offset_us - json_integer_value(json_object_get(j, "at"));

    if (f->timed && metrics_of(f) != NULL && json_is_integer(json_object_get(j, "at")))
        metric_observe(&metrics_of(f)->push_lag_seconds, lag_us > 0 ? (uint64_t)lag_us : 0);
}

/* --- reading --- */

static const char *text(const json_t *j, const char *key)
{
    const char *s = json_string_value(json_object_get(j, key));

    return s != NULL ? s : "";
}

/* 0..2^53 - 1, or the record is of no use. */
static bool number(const json_t *j, const char *key, uint64_t *out)
{
    const json_t *v = json_object_get(j, key);

    if (!json_is_integer(v) || json_integer_value(v) < 0 ||
        (uint64_t)json_integer_value(v) > STREAM_NUMBER_MAX)
        return false;
    *out = (uint64_t)json_integer_value(v);
    return true;
}

static struct slice slice_of_text(const char *s) { return slice_of(s, strlen(s)); }

static bool is_rep(const char *s) { return rep_is_valid(slice_of_text(s)); }

/* Printable, and nothing that a header line could end or be quoted with. */
static bool is_plain(const char *s, size_t max)
{
    for (size_t i = 0; s[i] != '\0'; i++)
        if (i >= max || s[i] <= 0x20 || s[i] >= 0x7f || s[i] == '"' || s[i] == '\\')
            return false;
    return s[0] != '\0';
}

/* --- documents --- */

/* Whose name a document may have: one of this stream's, in its one spelling. */
static enum st kind_of(const struct follow *f, const char *name, enum target_kind *kind)
{
    char path[STREAM_NAME_MAX + 256];
    int n = snprintf(path, sizeof path, "/%s/%s", f->name, name);
    struct target t;

    if (n < 0 || (size_t)n >= sizeof path || !is_plain(name, 160) ||
        target_parse(slice_of(path, (size_t)n), NULL, 0, &t) != ST_OK ||
        !slice_eq(t.path, slice_of(path, (size_t)n)) || t.stream.p == NULL)
        return ST_EPROTO;
    *kind = t.kind;
    if (t.kind == TARGET_INIT)
        return t.session.n == STREAM_SESSION_LEN &&
                       memcmp(t.session.p, f->session, STREAM_SESSION_LEN) == 0
                   ? ST_OK
                   : ST_EPROTO;
    return t.kind == TARGET_MANIFEST || t.kind == TARGET_MASTER || t.kind == TARGET_PLAYLIST ||
                   t.kind == TARGET_THUMB
               ? ST_OK
               : ST_EPROTO;
}

static enum st put_doc(struct follow *f, const json_t *j, const void *p, size_t n)
{
    const char *name = text(j, "name"), *type = text(j, "type"), *hash = text(j, "etag");
    char etag[72], cache_control[64];
    struct gobj_head h = { .status = 200,
                           .content_type = type,
                           .etag = etag,
                           .cache_control = cache_control,
                           .born_us = loop_now(f->loop),
                           .shared = true };
    enum target_kind kind;
    uint64_t max_age;
    enum st st = kind_of(f, name, &kind);

    if (st != ST_OK)
        return st;
    if (n == 0 || !is_plain(type, 64) || !is_plain(hash, 64) || !number(j, "max_age", &max_age) ||
        max_age > INT32_MAX)
        return ST_EPROTO;
    (void)snprintf(etag, sizeof etag, "\"%s\"", hash);
    if (kind == TARGET_INIT) {
        (void)snprintf(cache_control, sizeof cache_control, "max-age=%llu, immutable",
                       (unsigned long long)max_age);
        return stream_object(f->loop, f->stream, name + STREAM_SESSION_LEN + 1, &h, p, n);
    }
    (void)snprintf(cache_control, sizeof cache_control, "max-age=%llu",
                   (unsigned long long)max_age);
    h.swr_us = f->segment_us; /* what counts when the subscription is lost */
    h.sie_us = 4 * f->segment_us;
    return stream_doc(f->loop, f->stream, name, &h, p, n);
}

/* A document that cannot be kept is asked for when somebody wants it. */
static enum st keep_doc(struct follow *f, const json_t *j, const void *p, size_t n)
{
    enum st st = put_doc(f, j, p, n);

    if (st == ST_ENOMEM || st == ST_ELIMIT) {
        log_warn(f->loop->log,
                 LOG_CTX_TEXT(LOG_CTX_TEXT(NULL, "stream", f->name), "document", text(j, "name")),
                 "push", "a document could not be kept: %s", st_name(st));
        return ST_OK;
    }
    return st;
}

/* --- the picture --- */

static void drop_snapshot(struct follow *f)
{
    while (f->docs_n > 0) {
        struct follow_doc *d = &f->doc[--f->docs_n];

        json_decref(d->json);
        free(d->p);
    }
    json_decref(f->snapshot);
    f->snapshot = NULL;
    f->docs_bytes = 0;
}

static enum st check_reps(const json_t *reps)
{
    const char *rep;
    json_t *r;

    json_object_foreach((json_t *)(uintptr_t)reps, rep, r)
    {
        uint64_t first, latest;

        if (!is_rep(rep) || !number(r, "first", &first) || !number(r, "latest", &latest) ||
            first > latest)
            return ST_EPROTO;
    }
    return json_object_size(reps) <= STREAM_REPS_MAX ? ST_OK : ST_EPROTO;
}

static bool is_made_here(const struct follow *f)
{
    return stream_where(f->store, f->name, strlen(f->name), NULL, NULL, 0, 0).source == STREAM_HERE;
}

/* Another home goes on with the session: what the first one made is gone there, but not here, and
 * players who are in the middle of it may finish. It expires with the rest. */
static bool goes_on(const struct follow *f, const char *rep, uint64_t n)
{
    return stream_where(f->store, f->name, strlen(f->name), f->session, rep, strlen(rep), n)
               .where != STREAM_UNKNOWN;
}

static enum st put_windows(struct follow *f, const json_t *reps, bool same_log)
{
    const char *rep;
    json_t *r;
    enum st st = ST_OK;

    json_object_foreach((json_t *)(uintptr_t)reps, rep, r)
    {
        uint64_t first = 0, latest = 0;

        CHECK(number(r, "first", &first) && number(r, "latest", &latest)); /* check_reps() */
        if (!same_log && goes_on(f, rep, latest))
            st = stream_announce(f->loop, f->stream, rep, latest);
        else
            st = stream_window(f->loop, f->stream, rep, first, latest);
        if (st != ST_OK)
            break;
    }
    return st;
}

/* All of it has come: names that will exist first, then the documents that name them. */
static enum st put_in_force(struct follow *f)
{
    const json_t *j = f->snapshot;
    uint64_t epoch = 0;
    enum st st;

    memcpy(f->session, text(j, "session"), STREAM_SESSION_LEN + 1);
    CHECK(number(j, "segment", &f->segment_us) && number(j, "epoch", &epoch));
    stream_unref(&f->stream);
    st = stream_begin(f->loop, f->name, f->session, f->segment_us, STREAM_SUBSCRIBED, &f->stream);
    f->known |= st == ST_OK;
    if (st == ST_OK)
        st = put_windows(f, json_object_get(j, "reps"), strcmp(text(j, "logid"), f->logid) == 0);
    for (unsigned i = 0; i < f->docs_n && st == ST_OK; i++)
        st = keep_doc(f, f->doc[i].json, f->doc[i].p, f->doc[i].n);
    if (st != ST_OK)
        return st;
    f->epoch = epoch;
    f->live = json_is_true(json_object_get(j, "live"));
    f->ended = false;
    memcpy(f->logid, text(j, "logid"), FOLLOW_LOGID_LEN + 1);
    f->seq = f->snapshot_seq;
    drop_snapshot(f);
    f->in_force = true;
    f->ops->in_force(f->ctx, true);
    return ST_OK;
}

static enum st on_snapshot(struct follow *f, const json_t *j)
{
    const json_t *reps = json_object_get(j, "reps");
    uint64_t segment_us, epoch, docs, now;

    if (f->snapshot != NULL || !session_is_valid(slice_of_text(text(j, "session"))) ||
        strlen(text(j, "logid")) != FOLLOW_LOGID_LEN || !is_plain(text(j, "logid"), 64) ||
        !number(j, "segment", &segment_us) || segment_us == 0 || segment_us > SEGMENT_MAX_US ||
        !number(j, "epoch", &epoch) || !number(j, "docs", &docs) || docs > FOLLOW_DOCS ||
        !number(j, "now", &now) || !json_is_boolean(json_object_get(j, "live")) ||
        !json_is_object(reps) || check_reps(reps) != ST_OK)
        return ST_EPROTO;
    if (is_made_here(f) ||
        !f->ops->snapshot(f->ctx, json_is_true(json_object_get(j, "live")), epoch))
        return ST_EOF;
    note_clock(f, (int64_t)now);
    f->snapshot = json_incref((json_t *)(uintptr_t)j);
    f->snapshot_seq = f->head.seq;
    f->docs_due = (unsigned)docs;
    return docs == 0 ? put_in_force(f) : ST_OK;
}

static enum st collect_doc(struct follow *f)
{
    struct follow_doc *d = &f->doc[f->docs_n];

    f->docs_bytes += f->bytes.len;
    if (f->docs_bytes > FOLLOW_DOC_BYTES)
        return ST_ELIMIT;
    *d = (struct follow_doc){ .json = json_incref(f->json) };
    f->docs_n++;
    d->p = buf_take(&f->bytes, &d->n);
    return f->docs_n == f->docs_due ? put_in_force(f) : ST_OK;
}

/* --- the log --- */

static enum st on_announce(struct follow *f, const json_t *j)
{
    const char *rep = text(j, "rep");
    uint64_t n;
    enum st st;

    if (strcmp(text(j, "session"), f->session) != 0 || !is_rep(rep) || !number(j, "n", &n))
        return ST_EPROTO;
    note_lag(f, j);
    st = stream_announce(f->loop, f->stream, rep, n);
    if (st == ST_OK)
        f->ops->announced(f->ctx, rep, n);
    return st;
}

static enum st on_closed(struct follow *f, const json_t *j)
{
    const char *rep = text(j, "rep");
    uint64_t n, size;

    if (strcmp(text(j, "session"), f->session) != 0 || !is_rep(rep) || !number(j, "n", &n) ||
        !number(j, "size", &size))
        return ST_EPROTO;
    f->ops->closed(f->ctx, rep, n, size);
    return ST_OK;
}

static enum st on_expire(struct follow *f, const json_t *j)
{
    uint64_t first;

    if (!is_rep(text(j, "rep")) || !number(j, "first", &first))
        return ST_EPROTO;
    stream_expire(f->loop, f->stream, text(j, "rep"), first);
    return ST_OK;
}

static void on_ended(struct follow *f)
{
    f->live = false;
    if (!f->ended)
        stream_end(f->loop, f->stream);
    f->ended = true;
}

/* The place that we asked to go on from was good. */
static enum st resume(struct follow *f)
{
    bool ended = f->ended;
    enum st st;

    if (!f->asked_since || f->stream == NULL)
        return ST_EPROTO;
    if (is_made_here(f))
        return ST_EOF;
    stream_unref(&f->stream);
    st = stream_begin(f->loop, f->name, f->session, f->segment_us, STREAM_SUBSCRIBED, &f->stream);
    if (st != ST_OK)
        return st;
    f->known = true;
    if (ended)
        stream_end(f->loop, f->stream);
    f->in_force = true;
    f->ops->in_force(f->ctx, false);
    return ST_OK;
}

static enum st on_beat(struct follow *f, const json_t *j)
{
    uint64_t now, epoch;
    enum st st = ST_OK;

    if (!number(j, "now", &now) || !number(j, "epoch", &epoch) ||
        !json_is_boolean(json_object_get(j, "live")))
        return ST_EPROTO;
    note_clock(f, (int64_t)now);
    if (!f->in_force && f->snapshot == NULL)
        st = resume(f);
    if (st != ST_OK)
        return st;
    f->epoch = epoch;
    f->live = json_is_true(json_object_get(j, "live")) && !f->ended;
    return ST_OK;
}

/* A record of the log, in its place. */
static enum st on_logged(struct follow *f)
{
    enum st st = ST_EPROTO;

    if (!f->in_force || f->head.seq != f->seq + 1)
        return ST_EPROTO;
    f->seq++;
    switch (f->head.type) {
    case RECORD_DOC:
        if (json_is_true(json_object_get(f->json, "replaced")))
            return ST_OK; /* the newer one is on its way */
        note_lag(f, f->json);
        st = keep_doc(f, f->json, f->bytes.data, f->bytes.len);
        break;
    case RECORD_ANNOUNCE:
        st = on_announce(f, f->json);
        break;
    case RECORD_SCLOSE:
        st = on_closed(f, f->json);
        break;
    case RECORD_EXPIRE:
        st = on_expire(f, f->json);
        break;
    case RECORD_END:
        on_ended(f);
        st = ST_OK;
        break;
    default:
        break;
    }
    return st;
}

static enum st whole_record(struct follow *f)
{
    if (f->in_force && stream_source(f->stream) == STREAM_HERE)
        return ST_EOF;
    if (f->head.type == RECORD_SNAPSHOT)
        return on_snapshot(f, f->json);
    if (f->snapshot != NULL)
        return f->head.type == RECORD_DOC ? collect_doc(f) : ST_EPROTO;
    if (f->head.type == RECORD_HEARTBEAT)
        return on_beat(f, f->json);
    if (f->head.type == RECORD_END && f->in_force && f->head.seq == f->seq) {
        on_ended(f); /* it belongs to the picture */
        return ST_OK;
    }
    return on_logged(f);
}

static enum st on_event(struct follow *f, const struct record_event *ev)
{
    switch (ev->what) {
    case RECORD_GOT_HEAD:
        json_decref(f->json);
        f->json = json_incref((json_t *)(uintptr_t)ev->json);
        f->head = ev->head;
        buf_reset(&f->bytes);
        return ev->head.payload > 0 && ev->head.type != RECORD_DOC ? ST_EPROTO : ST_OK;
    case RECORD_GOT_BYTES:
        buf_add(&f->bytes, ev->bytes, ev->n);
        return f->bytes.st;
    case RECORD_GOT_ALL:
        return whole_record(f);
    }
    return ST_OK;
}

enum st follow_feed(struct follow *f, const void *p, size_t n)
{
    struct rd in = rd_init(p, n);
    enum st st;

    OBJ_CHECK(f, FOLLOW_MAGIC);
    do {
        struct record_event ev;

        st = record_next(&f->reader, &in, &ev);
        if (st == ST_OK)
            st = on_event(f, &ev);
    } while (st == ST_OK);
    if (st == ST_MORE)
        return ST_OK;
    if (st != ST_EOF && st != ST_ENOMEM)
        f->logid[0] = '\0'; /* only a whole picture can be trusted after that */
    return st;
}

/* --- life --- */

void follow_init(struct follow *f, struct loop *l, struct store *s, const char *name,
                 const struct follow_ops *ops, void *ctx)
{
    CHECK(strlen(name) <= STREAM_NAME_MAX);
    memset(f, 0, sizeof *f);
    OBJ_INIT(f, FOLLOW_MAGIC);
    f->loop = l;
    f->store = s;
    f->ops = ops;
    f->ctx = ctx;
    memcpy(f->name, name, strlen(name) + 1);
    record_reader_init(&f->reader, RECORD_BYTES_MAX);
    buf_init(&f->bytes, RECORD_BYTES_MAX);
}

static void drop_body(struct follow *f)
{
    drop_snapshot(f);
    json_decref(f->json);
    f->json = NULL;
    buf_fini(&f->bytes);
    record_reader_fini(&f->reader);
}

void follow_fini(struct follow *f)
{
    OBJ_CHECK(f, FOLLOW_MAGIC);
    drop_body(f);
    if (f->stream != NULL && stream_source(f->stream) == STREAM_SUBSCRIBED)
        stream_forget(f->loop, f->stream);
    stream_unref(&f->stream);
    OBJ_FINI(f, FOLLOW_MAGIC);
}

bool follow_since(const struct follow *f, char out[48])
{
    if (f->logid[0] == '\0' || f->stream == NULL)
        return false;
    (void)snprintf(out, 48, "%s.%llu", f->logid, (unsigned long long)f->seq);
    return true;
}

void follow_begin(struct follow *f, bool since)
{
    drop_body(f);
    record_reader_init(&f->reader, RECORD_BYTES_MAX);
    buf_init(&f->bytes, RECORD_BYTES_MAX);
    f->asked_since = since;
    f->in_force = false;
    f->begun_us = 0;
}

void follow_sent(struct follow *f) { f->begun_us = clock_wall_us(); }

void follow_lost(struct follow *f)
{
    if (f->known && stream_source(f->stream) == STREAM_SUBSCRIBED)
        stream_lost(f->loop, f->stream);
    f->in_force = f->known = false;
}
