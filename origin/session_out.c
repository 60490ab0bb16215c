/* What a worker says becomes objects and documents. A record is believed only as far as the model
 * and the stream table accept it: what does not fit is ignored and counted, and a worker that goes
 * on like that is given up by the session's failures. */
#include <jansson.h>
#include <openssl/sha.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/check.h"
#include "core/clock.h"
#include "core/conf.h"
#include "core/jscan.h"
#include "core/log.h"
#include "core/metric.h"
#include "edge/gobj.h"
#include "manifests/mpd.h"
#include "origin/home_int.h"

/* A manifest a player still holds names what was in the window when it was made. */
#define EXPIRE_LATE_US (10 * (int64_t)SEC_US)

static struct loop *loop_of(const struct session *s) { return s->hl->loop; }

/* A CHUNK record. */
struct chunk_said {
    char rep[sizeof((struct resume *)NULL)->rep];
    int64_t n, t, d, sap, next_tag;
    struct jscan_member state;
};

/* --- documents --- */

/* The same for the edges; the etag of h is in quotes. */
static void tell_doc(struct session *s, const char *name, const struct gobj_head *h,
                     unsigned max_age_s, const void *p, size_t n)
{
    char etag[20];

    (void)snprintf(etag, sizeof etag, "%.*s", (int)strlen(h->etag) - 2, h->etag + 1);
    hub_doc(s->channel, &(struct hub_doc){ .name = name,
                                           .type = h->content_type,
                                           .etag = etag,
                                           .max_age_s = max_age_s,
                                           .p = p,
                                           .n = n });
}

static void put_doc(struct session *s, const char *name, const struct buf *b)
{
    uint8_t sum[SHA256_DIGEST_LENGTH];
    char etag[20] = "\"";
    struct gobj_head h = { .status = 200,
                           .content_type = "application/dash+xml",
                           .cache_control = "max-age=1",
                           .etag = etag,
                           .born_us = loop_now(loop_of(s)),
                           .shared = true };

    (void)SHA256(b->data, b->len, sum);
    for (int i = 0; i < 8; i++)
        (void)snprintf(etag + 1 + 2 * i, 3, "%02x", sum[i]);
    memcpy(etag + 17, "\"", 2);
    if (stream_doc(loop_of(s), s->stream, name, &h, b->data, b->len) == ST_OK)
        tell_doc(s, name, &h, 1, b->data, b->len);
    else
        log_warn(loop_of(s)->log, LOG_CTX_TEXT(NULL, "stream", s->name), "home",
                 "a manifest could not be published: %s", name);
}

/* False: there is nothing new to tell, or no memory for it. */
static bool render_latest(struct session *s, int64_t now_us)
{
    struct mpd_opts o = { .publish_us = now_us };
    bool news = false;
    struct buf b;

    buf_init(&b, 4 << 20);
    if (mpd_write(&b, s->model, &o) == ST_OK)
        news = !mpd_same(b.data, b.len, s->doc.data, s->doc.len);
    if (news) {
        put_doc(s, "manifest.mpd", &b);
        buf_reset(&s->doc);
        buf_add(&s->doc, b.data, b.len);
    }
    buf_fini(&b);
    return news;
}

/* The same under SESSION/: it changes with the other one and never alone. */
static void render_session(struct session *s, int64_t now_us)
{
    struct mpd_opts o = { .publish_us = now_us, .in_session = true };
    char name[64];
    struct buf b;

    buf_init(&b, 4 << 20);
    (void)snprintf(name, sizeof name, "%s/manifest.mpd", s->id);
    if (mpd_write(&b, s->model, &o) == ST_OK)
        put_doc(s, name, &b);
    buf_fini(&b);
}

void session_render_now(struct session *s)
{
    int64_t now_us = clock_wall_us();

    if (s->model == NULL || s->stream == NULL)
        return;
    if (s->period_reps == 0)
        return; /* of the past only: players have that, and wait for what is new */
    if (render_latest(s, now_us))
        render_session(s, now_us);
}

static void render_delivered(struct loop *l, struct mail *m)
{
    struct session *s = CONTAINER_OF(m, struct session, render_mail);

    s->render_posted = false;
    if (!session_letter_came(l, s))
        session_render_now(s);
}

/* Soon, once for all that happens in this turn. */
static void render_soon(struct session *s)
{
    if (s->render_posted)
        return;
    s->render_posted = true;
    s->render_mail.deliver = render_delivered;
    mailbox_post(&loop_of(s)->mailbox, &s->render_mail);
}

/* --- verbs --- */

enum st session_new_model(const struct session *s, struct model **out)
{
    struct model_conf conf = { .session = s->id,
                               .ast_s = s->ast_s,
                               .segment_us = s->segment_us,
                               .chunk_us = s->chunk_us,
                               .window_us = s->window_us };

    return model_new(&conf, out);
}

enum st session_ensure_stream(struct session *s)
{
    enum st st = ST_OK;

    if (s->channel == NULL) {
        st = hub_open(s->hl->home->hub, s->name, s->id, (uint64_t)s->segment_us, &s->channel);
        session_tell(s, s->door != NULL);
    }
    if (st == ST_OK && s->model == NULL)
        st = session_new_model(s, &s->model);
    if (st == ST_OK && s->stream == NULL)
        st = stream_begin(loop_of(s), s->name, s->id, (uint64_t)s->segment_us, STREAM_HERE,
                          &s->stream);
    return st;
}

static enum st on_period(struct session *s, const json_t *j)
{
    struct model_rep_start reps[MODEL_TRACKS_MAX];
    json_int_t k, start, next_tag = 0;
    json_t *list, *rep;
    const char *name;
    uint64_t number = 0;
    size_t n = 0;
    enum st st = session_ensure_stream(s);

    if (st != ST_OK)
        return st;
    if (json_unpack((json_t *)(uintptr_t)j, "{s:I, s:I, s:o}", "k", &k, "start", &start, "reps",
                    &list) != 0)
        return ST_EPROTO;
    json_object_foreach(list, name, rep)
    {
        json_int_t pto, first;

        if (n == MODEL_TRACKS_MAX ||
            json_unpack(rep, "{s:I, s:I}", "pto", &pto, "number", &first) != 0 || first < 0)
            return ST_EPROTO;
        reps[n++] = (struct model_rep_start){ .name = name, .pto = pto, .number = (uint64_t)first };
        if ((uint64_t)first > number)
            number = (uint64_t)first;
    }
    if (k < 0 || k > UINT32_MAX || start < 0 || start > MODEL_TIME_MAX_US / 1000 ||
        json_unpack((json_t *)(uintptr_t)j, "{s:I}", "next_tag", &next_tag) != 0 || next_tag < 0)
        return ST_EPROTO;
    session_cut(s);
    st = model_period(s->model, (uint32_t)k, start * 1000, reps, n);
    if (st != ST_OK)
        return st;
    s->k = k;
    if (s->period_reps == 0)
        s->own_from_us = start * 1000;
    session_drop_resume(s);
    s->period_tag = (uint64_t)next_tag;
    s->period_reps = (unsigned)n;
    session_keep_safe(s, k, number);
    return ST_OK;
}

static const struct model_rep *current_rep(const struct session *s, const char *name)
{
    const struct model_period *p = s->model != NULL ? model_current(s->model) : NULL;

    return p != NULL ? model_rep(p, name) : NULL;
}

/* "4:3", "30000/1001", "25"; 0 and 0 when it is nothing of the kind. */
static void read_ratio(const char *text, char between, uint32_t *a, uint32_t *b)
{
    char *end;
    unsigned long x, y = 1;

    *a = *b = 0;
    if (text == NULL)
        return;
    x = strtoul(text, &end, 10);
    if (*end == between)
        y = strtoul(end + 1, &end, 10);
    if (*end != '\0' || x == 0 || y == 0 || x > UINT32_MAX || y > UINT32_MAX)
        return;
    *a = (uint32_t)x;
    *b = (uint32_t)y;
}

static enum st on_init(struct session *s, const json_t *j)
{
    struct model_init init = { .timescale = 0 };
    const char *rep, *codecs, *hash;
    char path[64], full[96];
    json_int_t timescale, w = 0, h = 0, rate = 0, channels = 0;
    const char *sar = NULL, *fps = NULL;
    struct gobj_head head = { .status = 200,
                              .cache_control = "max-age=31536000, immutable",
                              .etag = "",
                              .born_us = loop_now(loop_of(s)),
                              .shared = true };
    char etag[16];
    enum st st;

    if (json_unpack((json_t *)(uintptr_t)j, "{s:s, s:s, s:s, s:I, s?I, s?I, s?s, s?s, s?I, s?I}",
                    "rep", &rep, "codecs", &codecs, "hash", &hash, "timescale", &timescale, "w", &w,
                    "h", &h, "sar", &sar, "fps", &fps, "rate", &rate, "channels", &channels) != 0)
        return ST_EPROTO;
    if (timescale <= 0 || timescale > UINT32_MAX || w < 0 || w > UINT32_MAX || h < 0 ||
        h > UINT32_MAX || rate < 0 || rate > UINT32_MAX || channels < 0 || channels > UINT32_MAX)
        return ST_EPROTO;
    init.codecs = codecs;
    init.hash = hash;
    init.timescale = (uint32_t)timescale;
    init.width = (uint32_t)w;
    init.height = (uint32_t)h;
    read_ratio(sar, ':', &init.sar_x, &init.sar_y);
    read_ratio(fps, '/', &init.fps_num, &init.fps_den);
    init.rate = (uint32_t)rate;
    init.channels = (uint32_t)channels;
    st = model_init(s->model, rep, &init);
    if (st != ST_OK)
        return st;
    (void)snprintf(path, sizeof path, "%s/init-%s.mp4", rep, hash);
    (void)snprintf(etag, sizeof etag, "\"%s\"", hash);
    head.etag = etag;
    head.content_type = rep[0] == 'a' ? "audio/mp4" : "video/mp4";
    render_soon(s);
    st = stream_object(loop_of(s), s->stream, path, &head, s->bytes.data, s->bytes.len);
    if (st != ST_OK)
        return st;
    (void)snprintf(full, sizeof full, "%s/%s", s->id, path);
    tell_doc(s, full, &head, 31536000, s->bytes.data, s->bytes.len);
    return ST_OK;
}

static enum st on_open(struct session *s, const json_t *j)
{
    struct loop *l = loop_of(s);
    const struct model_rep *r;
    const char *rep;
    json_int_t n, t, d = 0;
    char etag[64];
    struct gobj_head head = { .status = 200,
                              .length = -1,
                              .cache_control = "max-age=31536000, immutable",
                              .etag = etag,
                              .born_us = loop_now(l),
                              .shared = true };
    bool again;
    enum st st;

    if (json_unpack((json_t *)(uintptr_t)j, "{s:s, s:I, s:I, s?I}", "rep", &rep, "n", &n, "t", &t,
                    "d", &d) != 0 ||
        n < 0)
        return ST_EPROTO;
    r = current_rep(s, rep);
    if (r == NULL)
        return ST_ENOENT;
    again = r->next == (uint64_t)n + 1; /* the promise has changed, nothing else */
    st = model_open(s->model, rep, (uint64_t)n, t, d);
    if (st != ST_OK)
        return st;
    render_soon(s);
    if (again)
        return ST_OK;
    (void)snprintf(etag, sizeof etag, "\"%s-%s-%lld\"", s->id, rep, (long long)n);
    head.content_type = rep[0] == 'a' ? "audio/mp4" : "video/mp4";
    st = stream_announce(l, s->stream, rep, (uint64_t)n);
    if (st == ST_OK)
        st = stream_open(l, s->stream, rep, (uint64_t)n, &head);
    if (st == ST_OK)
        hub_announce(s->channel, rep, (uint64_t)n);
    if ((uint64_t)n >= s->next_number)
        s->next_number = (uint64_t)n + 1;
    session_keep_safe(s, s->k, (uint64_t)n);
    return st;
}

/* Whoever brings the tags may forget what is in segments, and learns what a ticket would say. */
static void acknowledge(struct session *s, uint64_t needed)
{
    struct ticket t;

    if (s->door == NULL)
        return;
    session_ticket(s, &t);
    door_ack(s->door, needed, t.k, t.high);
}

static struct resume *resume_of(struct session *s, const char *rep)
{
    struct resume *r;

    for (unsigned i = 0; i < s->n_resume; i++)
        if (strcmp(s->resume[i].rep, rep) == 0)
            return &s->resume[i];
    if (s->n_resume == SESSION_REPS_MAX)
        return NULL;
    r = &s->resume[s->n_resume++];
    *r = (struct resume){ .next_tag = 0 };
    (void)snprintf(r->rep, sizeof r->rep, "%s", rep);
    return r;
}

static enum st remember(struct session *s, const struct chunk_said *c)
{
    struct resume *r = resume_of(s, c->rep);
    uint64_t least;

    if (r == NULL)
        return ST_ELIMIT;
    if (c->state.n > r->room) {
        char *more = realloc(r->state, c->state.n);

        if (more == NULL)
            return ST_ENOMEM;
        r->state = more;
        r->room = c->state.n;
    }
    memcpy(r->state, c->state.value, c->state.n);
    r->n = c->state.n;
    r->next_tag = (uint64_t)c->next_tag;
    least = session_resume_tag(s);
    spool_release(&s->spool, least);
    session_count_spool(s);
    acknowledge(s, least);
    return ST_OK;
}

/* All of it is there, once, and nothing else counts. */
static bool read_chunk(const struct buf *text, struct chunk_said *c)
{
    enum { REP = 1, N = 2, T = 4, D = 8, SAP = 16, NEXT_TAG = 32, STATE = 64, ALL = 127 };
    struct jscan scan = jscan_init((const char *)text->data, text->len);
    struct jscan_member m;
    unsigned had = 0;
    enum st st;

    while ((st = jscan_next(&scan, &m)) == ST_OK) {
        unsigned is = jscan_is(&m, "rep")        ? REP
                      : jscan_is(&m, "n")        ? N
                      : jscan_is(&m, "t")        ? T
                      : jscan_is(&m, "d")        ? D
                      : jscan_is(&m, "sap")      ? SAP
                      : jscan_is(&m, "next_tag") ? NEXT_TAG
                      : jscan_is(&m, "state")    ? STATE
                                                 : 0;
        bool good = (had & is) == 0;

        had |= is;
        if (is == REP)
            good = good && jscan_text(&m, c->rep, sizeof c->rep);
        else if (is == STATE)
            good = good && jscan_is_object(&m);
        else if (is != 0)
            good = good && jscan_int(&m, is == N          ? &c->n
                                         : is == T        ? &c->t
                                         : is == D        ? &c->d
                                         : is == NEXT_TAG ? &c->next_tag
                                                          : &c->sap);
        if (!good)
            return false;
        if (is == STATE)
            c->state = m;
    }
    return st == ST_EOF && had == ALL;
}

static enum st on_chunk(struct session *s)
{
    struct chunk_said c;
    enum st st;

    if (!read_chunk(&s->text, &c) || c.n < 0 || c.next_tag < 1 ||
        (uint64_t)c.next_tag > spool_next(&s->spool))
        return ST_EPROTO;
    st = model_chunk(s->model, c.rep, (uint64_t)c.n, c.t, c.d, c.sap != 0, s->bytes.len);
    if (st == ST_OK)
        st = stream_append(loop_of(s), s->stream, c.rep, s->bytes.data, s->bytes.len);
    if (st == ST_OK)
        st = remember(s, &c);
    if (st == ST_OK && s->failures > 0) {
        s->failures = 0;
        pin_works(s);
    }
    return st;
}

static void forget_before(struct session *s, const char *rep, uint64_t first)
{
    stream_expire(loop_of(s), s->stream, rep, first);
    hub_expire(s->channel, rep, first);
}

/* Closes what is open of the rendition, and says how long it has become. */
static enum st close_segment(struct session *s, const char *rep)
{
    uint64_t n = 0, bytes = 0;
    bool any = stream_is_open(s->stream, rep, &n, &bytes);
    enum st st = stream_close(loop_of(s), s->stream, rep);

    if (any && st == ST_OK)
        hub_closed(s->channel, rep, n, bytes);
    return st;
}

static void expire(struct session *s)
{
    int64_t now_us = clock_wall_us() - s->ast_s * (int64_t)SEC_US;
    const struct model_period *p;

    if (model_expire(s->model, now_us - s->window_us - EXPIRE_LATE_US) == 0)
        return;
    p = model_current(s->model);
    for (unsigned i = 0; i < p->n_reps; i++) {
        uint64_t first;

        if (model_first(s->model, p->rep[i].name, &first))
            forget_before(s, p->rep[i].name, first);
    }
}

static enum st on_closed(struct session *s, const json_t *j)
{
    const char *rep;
    json_int_t n, d;
    enum st st;

    if (json_unpack((json_t *)(uintptr_t)j, "{s:s, s:I, s:I}", "rep", &rep, "n", &n, "d", &d) != 0)
        return ST_EPROTO;
    st = model_close(s->model, rep, (uint64_t)n, d);
    if (st == ST_OK)
        st = close_segment(s, rep);
    expire(s);
    render_soon(s);
    session_past_soon(s);
    return st;
}

void session_tell(struct session *s, bool live)
{
    if (s->channel != NULL)
        hub_claim(s->channel, s->epoch, live && s->phase == SESSION_LIVE);
}

void session_cut(struct session *s)
{
    const struct model_period *p = s->model != NULL ? model_current(s->model) : NULL;

    if (p == NULL)
        return;
    for (unsigned i = 0; i < p->n_reps; i++)
        (void)close_segment(s, p->rep[i].name); /* if one is open */
    model_cut(s->model);
    session_past_soon(s);
    render_soon(s); /* also when none was: now no other is expected at once */
}

/* Frames that came to the worker and were no use; it counts them since its exchange began. */
static void count_unusable(struct session *s, json_int_t n)
{
    struct log_ctx stream = { NULL, "stream", s->name, 0 };
    int64_t more = n > s->unusable ? n - s->unusable : 0;

    if (more == 0)
        return;
    s->unusable = n;
    metric_add(&loop_of(s)->metrics->encoder_frames_dropped, (uint64_t)more);
    log_note(loop_of(s)->log, LOG_CTX_INT(&stream, "frames", more), "home",
             "the worker cannot use what is sent");
}

static void on_health(struct session *s, const json_t *j)
{
    const char *refused = json_string_value(json_object_get(j, "refused"));

    s->worker_lag_ms = json_integer_value(json_object_get(j, "lag_ms"));
    count_unusable(s, json_integer_value(json_object_get(j, "dropped")));
    if (refused == NULL)
        return;
    s->refused = true;
    log_warn(loop_of(s)->log,
             LOG_CTX_TEXT(LOG_CTX_TEXT(NULL, "stream", s->name), "advice", refused), "home",
             "the worker refuses the stream");
}

/* --- records --- */

static enum st whole_record(struct session *s)
{
    if (s->model == NULL && s->head.type != RECORD_PERIOD && s->head.type != RECORD_HEALTH)
        return ST_EPROTO;
    switch (s->head.type) {
    case RECORD_PERIOD:
        return on_period(s, s->json);
    case RECORD_INIT:
        return on_init(s, s->json);
    case RECORD_OPEN:
        return on_open(s, s->json);
    case RECORD_CHUNK:
        return on_chunk(s);
    case RECORD_CLOSE:
        return on_closed(s, s->json);
    case RECORD_HEALTH:
        on_health(s, s->json);
        return ST_OK;
    default:
        return ST_EPROTO;
    }
}

void session_on_record(struct exchange *x, const struct record_event *ev)
{
    struct session *s = CONTAINER_OF(x, struct session, x);
    enum st st;

    switch (ev->what) {
    case RECORD_GOT_HEAD:
        s->heard_us = loop_now(loop_of(s));
        json_decref(s->json);
        s->json = json_incref((json_t *)(uintptr_t)ev->json);
        buf_reset(&s->text);
        if (ev->json == NULL)
            buf_add(&s->text, ev->text, ev->text_n);
        s->head = ev->head;
        buf_reset(&s->bytes);
        buf_expect(&s->bytes, ev->head.payload);
        return;
    case RECORD_GOT_BYTES:
        buf_add(&s->bytes, ev->bytes, ev->n);
        return;
    case RECORD_GOT_ALL:
        break;
    }
    st = s->bytes.st != ST_OK ? s->bytes.st : s->text.st != ST_OK ? s->text.st : whole_record(s);
    buf_recycle(&s->bytes);
    if (st == ST_OK)
        return;
    metric_add(&loop_of(s)->metrics->encoder_records_ignored, 1);
    if (st != ST_ENOENT) /* a number that is closed already: the worker could not know */
        log_warn(loop_of(s)->log,
                 LOG_CTX_TEXT(LOG_CTX_TEXT(NULL, "stream", s->name), "record",
                              record_type_name(s->head.type)),
                 "home", "a record of the worker was not accepted: %s", st_name(st));
}
