/* Commands of publishers. An unknown one with a transaction gets an empty result and never an
 * error: clients log errors, wait, or give up. */
#include <stdio.h>
#include <string.h>

#include "core/check.h"
#include "ingest/amf.h"
#include "ingest/session_int.h"

/* The strings of a command and the fields of its object that matter. */
struct command {
    double txn;
    const uint8_t *name, *text; /* text: the first string after the object or null */
    size_t name_n, text_n;
    bool has_text, stop; /* stop: `false` where a name would be */
    double number;       /* the first number there */
    bool has_number;
    const uint8_t *app, *client;
    size_t app_n, client_n;
    bool has_caps;
};

static void connect_field(struct command *c, const struct amf_event *ev)
{
    if (ev->depth != 1)
        return;
    if (amf_key_is(ev, "app") && ev->kind == AMF_STRING) {
        c->app = ev->s;
        c->app_n = ev->n;
    } else if (amf_key_is(ev, "flashVer") && ev->kind == AMF_STRING) {
        c->client = ev->s;
        c->client_n = ev->n;
    } else if (amf_key_is(ev, "capsEx") || amf_key_is(ev, "fourCcList") ||
               amf_key_is(ev, "videoFourCcInfoMap") || amf_key_is(ev, "audioFourCcInfoMap")) {
        c->has_caps = true;
    }
}

static void argument(struct command *c, const struct amf_event *ev, unsigned at)
{
    if (at == 0 && ev->kind == AMF_STRING) {
        c->name = ev->s;
        c->name_n = ev->n;
    } else if (at == 1 && ev->kind == AMF_NUMBER) {
        c->txn = ev->number;
    } else if (at == 3 && ev->kind == AMF_STRING) {
        c->has_text = true;
        c->text = ev->s;
        c->text_n = ev->n;
    } else if (at == 3 && ev->kind == AMF_NUMBER) {
        c->has_number = true;
        c->number = ev->number;
    } else if (at == 3 && ev->kind == AMF_BOOL) {
        c->stop = !ev->yes;
    }
}

/* EOF: all of it was good. */
static enum st read_command(const uint8_t *body, size_t n, struct command *c)
{
    struct amf a = amf_init(body, n);
    struct amf_event ev;
    unsigned at = 0;
    enum st st;

    *c = (struct command){ .txn = 0 };
    while ((st = amf_next(&a, &ev)) == ST_OK) {
        if (ev.depth > 0)
            connect_field(c, &ev);
        else if (ev.kind != AMF_END)
            argument(c, &ev, at++);
    }
    return st;
}

static bool is(const struct command *c, const char *name)
{
    return c->name != NULL && c->name_n == strlen(name) && memcmp(c->name, name, c->name_n) == 0;
}

static void put_result(struct buf *b, const char *what, double txn)
{
    buf_init(b, AMF_STRING_MAX);
    amf_put_string(b, what);
    amf_put_number(b, txn);
}

static void empty_result(struct rtmp_session *s, double txn)
{
    struct buf b;

    put_result(&b, "_result", txn);
    amf_put_null(&b);
    amf_put_undefined(&b);
    rtmp_send(s, 3, RTMP_COMMAND, 0, &b);
    buf_fini(&b);
}

/* --- connect --- */

static void send_number(struct rtmp_session *s, uint8_t type, uint32_t v, int extra)
{
    struct buf b;

    buf_init(&b, 8);
    buf_be(&b, v, 4);
    if (extra >= 0)
        buf_be(&b, (uint64_t)extra, 1);
    rtmp_send(s, 2, type, 0, &b);
    buf_fini(&b);
}

static void put_info(struct buf *b, const char *level, const char *code, const char *text)
{
    amf_put_key(b, "level");
    amf_put_string(b, level);
    amf_put_key(b, "code");
    amf_put_string(b, code);
    amf_put_key(b, "description");
    amf_put_string(b, text);
}

/* What of Enhanced RTMP there is here: one codec each, to be passed on (4). */
static void put_caps(struct buf *b)
{
    amf_put_key(b, "videoFourCcInfoMap");
    amf_put_object(b);
    amf_put_key(b, "avc1");
    amf_put_number(b, 4);
    amf_put_end(b);
    amf_put_key(b, "audioFourCcInfoMap");
    amf_put_object(b);
    amf_put_key(b, "mp4a");
    amf_put_number(b, 4);
    amf_put_end(b);
    amf_put_key(b, "capsEx");
    amf_put_number(b, 0);
}

static void connect_result(struct rtmp_session *s, const struct command *c)
{
    struct buf b;

    /* NB: before the result, because some clients then take over our chunk size. */
    send_number(s, RTMP_WINDOW_ACK_SIZE, RTMP_WINDOW_BYTES, -1);
    send_number(s, RTMP_SET_PEER_BANDWIDTH, RTMP_WINDOW_BYTES, 2);
    send_number(s, RTMP_SET_CHUNK_SIZE, RTMP_CHUNK_BYTES, -1);
    s->connected = true;
    put_result(&b, "_result", c->txn);
    amf_put_object(&b);
    amf_put_key(&b, "fmsVer");
    amf_put_string(&b, "FMS/3,5,7,7009");
    amf_put_key(&b, "capabilities");
    amf_put_number(&b, 31);
    amf_put_key(&b, "mode");
    amf_put_number(&b, 1);
    amf_put_end(&b);
    amf_put_object(&b);
    put_info(&b, "status", "NetConnection.Connect.Success", "connected");
    amf_put_key(&b, "objectEncoding");
    amf_put_number(&b, 0);
    if (c->has_caps)
        put_caps(&b);
    amf_put_end(&b);
    rtmp_send(s, 3, RTMP_COMMAND, 0, &b);
    buf_fini(&b);
}

static enum st connect_refused(struct rtmp_session *s, const struct command *c,
                               enum metric_ingest_close why, const char *text)
{
    struct buf b;

    put_result(&b, "_error", c->txn);
    amf_put_null(&b);
    amf_put_object(&b);
    put_info(&b, "error",
             why == METRIC_INGEST_CLOSE_APP ? "NetConnection.Connect.InvalidApp"
                                            : "NetConnection.Connect.Rejected",
             text);
    amf_put_end(&b);
    rtmp_send(s, 3, RTMP_COMMAND, 0, &b);
    buf_fini(&b);
    s->spoke = true;
    return rtmp_fail(s, why);
}

static enum st on_connect(struct rtmp_session *s, const struct command *c)
{
    char app[AUTH_NAME_MAX + 1];
    size_t n = c->client_n < sizeof s->client - 1 ? c->client_n : sizeof s->client - 1;
    enum auth_why why;

    if (s->connected)
        return rtmp_fail(s, METRIC_INGEST_CLOSE_COMMAND);
    for (size_t i = 0; i < n; i++)
        s->client[i] = c->client[i] != 0 ? (char)c->client[i] : '?';
    why = auth_parse_app(c->app, c->app_n, app);
    if (why != AUTH_OK) {
        s->ops->refused(s->ctx, why);
        return connect_refused(s, c, METRIC_INGEST_CLOSE_NAME, auth_why_text(why));
    }
    if (app[0] != '\0' && !s->ops->app(s->ctx, app)) {
        s->ops->refused(s->ctx, AUTH_APP);
        return connect_refused(s, c, METRIC_INGEST_CLOSE_APP, auth_why_text(AUTH_APP));
    }
    CHECK(c->app_n <= sizeof s->app);
    if (c->app_n > 0)
        memcpy(s->app, c->app, c->app_n);
    s->app_n = c->app_n;
    connect_result(s, c);
    return ST_OK;
}

/* --- streams --- */

static enum st on_create_stream(struct rtmp_session *s, const struct command *c)
{
    struct buf b;

    if (!s->connected)
        return rtmp_fail(s, METRIC_INGEST_CLOSE_COMMAND);
    put_result(&b, "_result", c->txn);
    amf_put_null(&b);
    amf_put_number(&b, ++s->last_msid);
    rtmp_send(s, 3, RTMP_COMMAND, 0, &b);
    buf_fini(&b);
    return ST_OK;
}

static enum st close_stream(struct rtmp_session *s, uint32_t msid)
{
    if (s->accepted && msid == s->msid)
        rtmp_unpublish(s, RTMP_DROPPED);
    return ST_OK;
}

static enum st on_publish(struct rtmp_session *s, uint32_t msid, const struct command *c)
{
    struct auth_target t;
    enum auth_why why;

    if (c->stop) /* how Flash said: no more */
        return close_stream(s, msid);
    if (!s->connected || !c->has_text || (s->accepted && msid == s->msid))
        return rtmp_fail(s, METRIC_INGEST_CLOSE_COMMAND);
    if (s->accepted) {
        /* More tracks beside the first: told that all is well, and not used. */
        rtmp_status(s, msid, "status", "NetStream.Publish.Start", "not used");
        return ST_OK;
    }
    s->msid = msid;
    why = auth_parse(s->app, s->app_n, c->text, c->text_n, &t);
    if (why != AUTH_OK) {
        s->ops->refused(s->ctx, why);
        return rtmp_reject(s, METRIC_INGEST_CLOSE_NAME, auth_why_text(why));
    }
    s->state = RTMP_ASKED;
    s->ops->publish(s->ctx, &t);
    return ST_OK;
}

static enum st on_delete_stream(struct rtmp_session *s, const struct command *c)
{
    if (s->accepted && c->has_number && c->number == (double)s->msid)
        rtmp_unpublish(s, RTMP_ENDED);
    if (c->txn != 0)
        empty_result(s, c->txn);
    return ST_OK;
}

enum st rtmp_command(struct rtmp_session *s, uint32_t msid, const uint8_t *body, size_t n)
{
    struct command c;
    enum st st = read_command(body, n, &c);

    if (st != ST_EOF)
        return rtmp_fail(s,
                         st == ST_ELIMIT ? METRIC_INGEST_CLOSE_AMF_LIMIT : METRIC_INGEST_CLOSE_AMF);
    if (c.name == NULL)
        return rtmp_fail(s, METRIC_INGEST_CLOSE_COMMAND);
    if (is(&c, "connect"))
        return on_connect(s, &c);
    if (is(&c, "createStream"))
        return on_create_stream(s, &c);
    if (is(&c, "publish"))
        return on_publish(s, msid, &c);
    if (is(&c, "deleteStream"))
        return on_delete_stream(s, &c);
    if (is(&c, "closeStream"))
        return close_stream(s, msid);
    if (is(&c, "_result") || is(&c, "_error") || is(&c, "onStatus"))
        return ST_OK;
    if (is(&c, "FCUnpublish"))
        rtmp_unpublish(s, RTMP_ENDED);
    if (c.txn != 0)
        empty_result(s, c.txn);
    return ST_OK;
}
