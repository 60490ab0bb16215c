#include "edge/http_reply.h"

void http_reply_init(struct http_reply *r, unsigned major, unsigned minor, unsigned status)
{
    memset(r, 0, offsetof(struct http_reply, joined));
    r->major = (uint8_t)major;
    r->minor = (uint8_t)minor;
    r->status = (uint16_t)status;
}

enum st http_reply_refuse(struct http_reply *r, enum http_refusal why)
{
    if (r->refusal == HTTP_REFUSED_NONE)
        r->refusal = why;
    return http_refusal_st(r->refusal);
}

/* Two lines of one list become one value; what is left over in `joined` stays in use. */
static enum st join(struct http_reply *r, struct slice *list, struct slice more)
{
    size_t n = list->n + 2 + more.n;
    uint8_t *p = r->joined + r->joined_bytes;

    if (n > sizeof r->joined - r->joined_bytes)
        return http_reply_refuse(r, HTTP_REFUSED_HEAD_LONG);
    memcpy(p, list->p, list->n);
    memcpy(p + list->n, ", ", 2);
    if (more.n > 0)
        memcpy(p + list->n + 2, more.p, more.n);
    *list = slice_of(p, n);
    r->joined_bytes = (uint16_t)(r->joined_bytes + n);
    return ST_OK;
}

static enum st keep(struct http_reply *r, enum http_reply_field f, struct slice value)
{
    if (r->kept[f].p == NULL)
        r->kept[f] = value;
    else if (f == HTTP_REPLY_CACHE_CONTROL || f == HTTP_REPLY_VARY)
        return join(r, &r->kept[f], value);
    return ST_OK;
}

static enum st set_length(struct http_reply *r, struct slice value)
{
    if (r->has_length)
        return http_reply_refuse(r, HTTP_REFUSED_LENGTH_TWICE);
    if (!slice_u64(value, &r->length) || r->length > INT64_MAX)
        return http_reply_refuse(r, HTTP_REFUSED_LENGTH_SYNTAX);
    r->has_length = true;
    return ST_OK;
}

static enum st set_coding(struct http_reply *r, struct slice value)
{
    if (r->chunked || r->major >= 2 || !slice_eq_nocase(value, SLICE("chunked")))
        return http_reply_refuse(r, HTTP_REFUSED_CODING);
    r->chunked = true;
    return ST_OK;
}

static void set_connection(struct http_reply *r, struct slice list)
{
    struct slice token;

    while (slice_list_next(&list, &token)) {
        r->close_token |= slice_eq_nocase(token, SLICE("close"));
        r->keep_alive_token |= slice_eq_nocase(token, SLICE("keep-alive"));
    }
}

enum st http_reply_set(struct http_reply *r, unsigned fields, struct slice name, struct slice value)
{
    static const struct slice names[HTTP_REPLY_FIELDS] = {
#define X(id, text) [HTTP_REPLY_##id] = { (const uint8_t *)(text), sizeof(text) - 1 },
        HTTP_REPLY_KEPT(X)
#undef X
    };

    if (r->fields >= fields)
        return http_reply_refuse(r, HTTP_REFUSED_FIELDS);
    r->fields++;
    if (slice_eq_nocase(name, SLICE("content-length")))
        return set_length(r, value);
    if (slice_eq_nocase(name, SLICE("transfer-encoding")))
        return set_coding(r, value);
    if (slice_eq_nocase(name, SLICE("connection")))
        set_connection(r, value);
    if (slice_eq_nocase(name, SLICE("set-cookie")))
        r->set_cookie = true;
    for (unsigned f = 0; f < HTTP_REPLY_FIELDS; f++) {
        if (slice_eq_nocase(name, names[f]))
            return keep(r, (enum http_reply_field)f, value);
    }
    return ST_OK;
}
