#include "edge/http_head.h"

#include "core/check.h"

#define BIT(f) (UINT32_C(1) << (f))

static const struct {
    const char *name, *text;
    unsigned status;
    enum st st;
} refusals[] = {
#define X(name, status, st, text) { #name, text, status, ST_##st },
    HTTP_REFUSALS(X)
#undef X
};

_Static_assert(HTTP_FIELD_OTHER <= 32, "enum http_field fits the bits of http_head.seen");

const char *http_refusal_name(enum http_refusal r) { return refusals[r].name; }
const char *http_refusal_text(enum http_refusal r) { return refusals[r].text; }
unsigned http_refusal_status(enum http_refusal r) { return refusals[r].status; }
enum st http_refusal_st(enum http_refusal r) { return refusals[r].st; }

enum st http_head_refuse(struct http_head *h, enum http_refusal r)
{
    CHECK(r != HTTP_REFUSED_NONE);
    if (h->refusal == HTTP_REFUSED_NONE)
        h->refusal = r;
    return http_refusal_st(h->refusal);
}

void http_head_init(struct http_head *h, unsigned major, unsigned minor)
{
    *h = (struct http_head){ .major = (uint8_t)major, .minor = (uint8_t)minor };
}

static bool same(struct slice s, const char *lower)
{
    for (size_t i = 0; i < s.n; i++) {
        if (ascii_lower(s.p[i]) != (uint8_t)lower[i])
            return false;
    }
    return true;
}

enum http_field http_field_find(struct slice s)
{
#define IS(text, field)                            \
    do {                                           \
        _Static_assert(sizeof(text) > 1, "field"); \
        if (same(s, text))                         \
            return HTTP_FIELD_##field;             \
    } while (0)
    switch (s.n) {
    case 2:
        IS("te", TE);
        break;
    case 4:
        IS("host", HOST);
        break;
    case 5:
        IS("range", RANGE);
        break;
    case 6:
        IS("origin", ORIGIN);
        IS("cookie", COOKIE);
        IS("expect", EXPECT);
        break;
    case 7:
        IS("referer", REFERER);
        IS("upgrade", UPGRADE);
        break;
    case 8:
        IS("if-range", IF_RANGE);
        break;
    case 10:
        IS("user-agent", USER_AGENT);
        IS("connection", CONNECTION);
        IS("keep-alive", KEEP_ALIVE);
        break;
    case 11:
        IS("cmcd-object", CMCD_OBJECT);
        IS("cmcd-status", CMCD_STATUS);
        IS("freshet-ast", FRESHET_AST);
        IS("freshet-hop", FRESHET_HOP);
        break;
    case 12:
        IS("cmcd-request", CMCD_REQUEST);
        IS("cmcd-session", CMCD_SESSION);
        IS("freshet-high", FRESHET_HIGH);
        break;
    case 13:
        IS("if-none-match", IF_NONE_MATCH);
        IS("authorization", AUTHORIZATION);
        IS("freshet-claim", FRESHET_CLAIM);
        IS("freshet-epoch", FRESHET_EPOCH);
        break;
    case 14:
        IS("content-length", CONTENT_LENGTH);
        IS("freshet-behind", FRESHET_BEHIND);
        IS("freshet-period", FRESHET_PERIOD);
        break;
    case 15:
        IS("freshet-session", FRESHET_SESSION);
        break;
    case 16:
        IS("proxy-connection", PROXY_CONNECTION);
        break;
    case 17:
        IS("if-modified-since", IF_MODIFIED_SINCE);
        IS("transfer-encoding", TRANSFER_ENCODING);
        break;
    default:
        break;
    }
#undef IS
    return HTTP_FIELD_OTHER;
}

static enum st set_length(struct http_head *h, struct slice value)
{
    if (h->has_length)
        return http_head_refuse(h, HTTP_REFUSED_LENGTH_TWICE);
    if (!slice_u64(value, &h->length) || h->length == UINT64_MAX)
        return http_head_refuse(h, HTTP_REFUSED_LENGTH_SYNTAX);
    h->has_length = true;
    return ST_OK;
}

static enum st set_connection(struct http_head *h, struct slice list)
{
    struct slice token;

    if (h->major >= 2)
        return http_head_refuse(h, HTTP_REFUSED_CONNECTION_FIELD);
    while (slice_list_next(&list, &token)) {
        h->close_token |= slice_eq_nocase(token, SLICE("close"));
        h->keep_alive_token |= slice_eq_nocase(token, SLICE("keep-alive"));
    }
    return ST_OK;
}

static enum st set_judged(struct http_head *h, enum http_field f, struct slice value)
{
    switch (f) {
    case HTTP_FIELD_HOST:
        if (h->host.p != NULL)
            return http_head_refuse(h, HTTP_REFUSED_HOST_TWICE);
        h->host = value;
        return ST_OK;
    case HTTP_FIELD_CONTENT_LENGTH:
        return set_length(h, value);
    case HTTP_FIELD_CONNECTION:
        return set_connection(h, value);
    case HTTP_FIELD_TRANSFER_ENCODING:
        if (h->major >= 2)
            return http_head_refuse(h, HTTP_REFUSED_CONNECTION_FIELD);
        if ((h->seen & BIT(f)) != 0 || !slice_eq_nocase(value, SLICE("chunked")))
            return http_head_refuse(h, HTTP_REFUSED_CODING);
        return ST_OK;
    case HTTP_FIELD_UPGRADE:
    case HTTP_FIELD_KEEP_ALIVE:
    case HTTP_FIELD_PROXY_CONNECTION:
        return h->major >= 2 ? http_head_refuse(h, HTTP_REFUSED_CONNECTION_FIELD) : ST_OK;
    case HTTP_FIELD_TE:
        if (h->major >= 2 && !slice_eq_nocase(value, SLICE("trailers")))
            return http_head_refuse(h, HTTP_REFUSED_CONNECTION_FIELD);
        return ST_OK;
    case HTTP_FIELD_EXPECT:
        /* 100-continue asks whether a body is welcome; without a body it asks nothing. */
        return slice_eq_nocase(value, SLICE("100-continue"))
                   ? ST_OK
                   : http_head_refuse(h, HTTP_REFUSED_EXPECT);
    case HTTP_FIELD_AUTHORIZATION:
        h->authorization = true;
        return ST_OK;
    case HTTP_FIELD_COOKIE:
        h->cookie = true;
        return ST_OK;
    case HTTP_FIELD_FRESHET_HOP:
        h->hop = true;
        return ST_OK;
    default:
        return ST_OK;
    }
}

enum st http_head_set(struct http_head *h, const struct http_limits *lim, enum http_field f,
                      struct slice value)
{
    enum st st = ST_OK;

    if (h->fields == lim->fields)
        return http_head_refuse(h, HTTP_REFUSED_FIELDS);
    h->fields++;
    if (f == HTTP_FIELD_OTHER)
        return ST_OK;
    if (f > HTTP_FIELDS_KEPT)
        st = set_judged(h, f, value);
    else if ((h->seen & BIT(f)) == 0)
        h->kept[f] = value;
    else if (f == HTTP_FIELD_RANGE || f == HTTP_FIELD_IF_RANGE)
        h->drop_range = true;
    h->seen |= BIT(f);
    return st;
}

static enum st add_pseudo(struct http_head *h, struct slice name, struct slice value)
{
    struct slice *to;

    if (slice_eq(name, SLICE(":method")))
        to = &h->method_text;
    else if (slice_eq(name, SLICE(":path")))
        to = &h->target;
    else if (slice_eq(name, SLICE(":authority")))
        to = &h->authority;
    else if (slice_eq(name, SLICE(":scheme")))
        to = &h->scheme;
    else
        return http_head_refuse(h, HTTP_REFUSED_PSEUDO);
    if (to->p != NULL || value.n == 0 || h->fields > 0)
        return http_head_refuse(h, HTTP_REFUSED_PSEUDO);
    *to = value;
    return ST_OK;
}

/* HTTP/2 carries any byte: what HTTP/1 could not say is refused here too. */
static enum http_refusal judge_bytes(struct slice name, struct slice value)
{
    for (size_t i = 0; i < name.n; i++) {
        uint8_t c = name.p[i];

        if (c <= 0x20 || c >= 0x7f || (c >= 'A' && c <= 'Z') || (c == ':' && i > 0))
            return HTTP_REFUSED_NAME_SYNTAX;
    }
    for (size_t i = 0; i < value.n; i++) {
        uint8_t c = value.p[i];

        if ((c < 0x20 && c != '\t') || c == 0x7f)
            return HTTP_REFUSED_CONTROL;
    }
    return name.n > 0 ? HTTP_REFUSED_NONE : HTTP_REFUSED_NO_NAME;
}

enum st http_head_add(struct http_head *h, const struct http_limits *lim, const void *name,
                      size_t name_len, const void *value, size_t value_len)
{
    struct slice n = slice_of(name, name_len);
    struct slice v = slice_trim(slice_of(value_len > 0 ? value : "", value_len));
    enum http_refusal bad = judge_bytes(n, v);

    if (bad != HTTP_REFUSED_NONE)
        return http_head_refuse(h, bad);
    if (n.p[0] == ':')
        return add_pseudo(h, n, v);
    return http_head_set(h, lim, http_field_find(n), v);
}

/* name, name:port, 1.2.3.4:port or [v6]:port; nothing else, so no userinfo and no path tricks. */
static bool is_host(struct slice s)
{
    size_t i = 0;

    if (s.n > 0 && s.p[0] == '[') {
        for (i = 1; i < s.n && s.p[i] != ']'; i++) {
            uint8_t c = ascii_lower(s.p[i]);

            if (!is_digit(c) && !(c >= 'a' && c <= 'f') && c != ':' && c != '.')
                return false;
        }
        if (i++ == s.n || i < 4)
            return false;
    } else {
        for (; i < s.n && s.p[i] != ':'; i++) {
            uint8_t c = ascii_lower(s.p[i]);

            if (!is_digit(c) && !(c >= 'a' && c <= 'z') && c != '-' && c != '.' && c != '_')
                return false;
        }
    }
    if (i == 0 || i > 255)
        return false;
    if (i < s.n) {
        size_t digits = s.n - i - 1;
        uint64_t port;

        return s.p[i] == ':' && digits <= 5 &&
               (digits == 0 || (slice_u64(slice_of(s.p + i + 1, digits), &port) && port <= 65535));
    }
    return true;
}

static enum http_refusal judge_host(struct http_head *h)
{
    if (h->authority.p != NULL && !is_host(h->authority))
        return HTTP_REFUSED_HOST_SYNTAX;
    if (h->host.p != NULL) {
        if (!is_host(h->host))
            return HTTP_REFUSED_HOST_SYNTAX;
        if (h->authority.p != NULL && !slice_eq_nocase(h->host, h->authority))
            return HTTP_REFUSED_HOST_MISMATCH;
        return HTTP_REFUSED_NONE;
    }
    if (h->authority.p == NULL || h->major == 1)
        return h->major == 1 && h->minor == 0 ? HTTP_REFUSED_NONE : HTTP_REFUSED_HOST_MISSING;
    h->host = h->authority;
    return HTTP_REFUSED_NONE;
}

static enum http_refusal judge_method(struct http_head *h, const struct http_limits *lim)
{
    static const struct slice refused[] = {
        { (const uint8_t *)"PUT", 3 },     { (const uint8_t *)"DELETE", 6 },
        { (const uint8_t *)"CONNECT", 7 }, { (const uint8_t *)"TRACE", 5 },
        { (const uint8_t *)"PATCH", 5 },
    };
    struct slice m = h->method_text;

    h->method = HTTP_METHOD_OTHER;
    if (slice_eq(m, SLICE("GET")))
        h->method = HTTP_METHOD_GET;
    else if (slice_eq(m, SLICE("HEAD")))
        h->method = HTTP_METHOD_HEAD;
    else if (slice_eq(m, SLICE("OPTIONS")))
        h->method = HTTP_METHOD_OPTIONS;
    else if (slice_eq(m, SLICE("POST")))
        h->method = HTTP_METHOD_POST;
    if (h->method == HTTP_METHOD_POST)
        return lim->post ? HTTP_REFUSED_NONE : HTTP_REFUSED_METHOD_REFUSED;
    if (h->method != HTTP_METHOD_OTHER)
        return HTTP_REFUSED_NONE;
    for (size_t i = 0; i < sizeof refused / sizeof refused[0]; i++) {
        if (slice_eq(m, refused[i]))
            return HTTP_REFUSED_METHOD_REFUSED;
    }
    for (size_t i = 0; i < m.n; i++) {
        if ((m.p[i] < 'A' || m.p[i] > 'Z') && m.p[i] != '-' && m.p[i] != '_')
            return HTTP_REFUSED_METHOD_SYNTAX;
    }
    return m.n > 0 ? HTTP_REFUSED_METHOD_UNKNOWN : HTTP_REFUSED_METHOD_SYNTAX;
}

static enum http_refusal judge_target(const struct http_head *h, const struct http_limits *lim)
{
    struct slice t = h->target;
    bool bad = false;

    if (t.n > lim->target_bytes)
        return HTTP_REFUSED_TARGET_LONG;
    for (size_t i = 0; i < t.n; i++)
        bad |= t.p[i] <= 0x20 || t.p[i] >= 0x7f || t.p[i] == '#';
    if (bad)
        return HTTP_REFUSED_TARGET_BYTES;
    if (slice_eq(t, SLICE("*")))
        return h->method == HTTP_METHOD_OPTIONS ? HTTP_REFUSED_NONE : HTTP_REFUSED_TARGET_FORM;
    return t.n > 0 && t.p[0] == '/' ? HTTP_REFUSED_NONE : HTTP_REFUSED_TARGET_FORM;
}

static enum http_refusal judge_body(const struct http_head *h, const struct http_limits *lim)
{
    bool coded = (h->seen & BIT(HTTP_FIELD_TRANSFER_ENCODING)) != 0;

    if (coded && h->has_length)
        return HTTP_REFUSED_LENGTH_AND_CODING;
    /* HTTP/1.0 has no chunks: whoever forwarded this did not understand it. */
    if (coded && h->minor == 0)
        return HTTP_REFUSED_CODING;
    if (coded || (h->length > 0 && !(lim->post && h->method == HTTP_METHOD_POST && h->major >= 2)))
        return HTTP_REFUSED_BODY;
    return HTTP_REFUSED_NONE;
}

enum st http_head_finish(struct http_head *h, const struct http_limits *lim)
{
    enum http_refusal bad = h->refusal;

    if (bad == HTTP_REFUSED_NONE && h->major >= 2 &&
        (h->method_text.p == NULL || h->target.p == NULL ||
         (!slice_eq_nocase(h->scheme, SLICE("http")) &&
          !slice_eq_nocase(h->scheme, SLICE("https")))))
        bad = HTTP_REFUSED_PSEUDO;
    if (bad == HTTP_REFUSED_NONE)
        bad = judge_method(h, lim);
    if (bad == HTTP_REFUSED_NONE)
        bad = judge_target(h, lim);
    if (bad == HTTP_REFUSED_NONE)
        bad = judge_host(h);
    if (bad == HTTP_REFUSED_NONE)
        bad = judge_body(h, lim);
    if (bad != HTTP_REFUSED_NONE)
        return http_head_refuse(h, bad);
    if (h->drop_range) {
        h->kept[HTTP_FIELD_RANGE] = (struct slice){ .p = NULL };
        h->kept[HTTP_FIELD_IF_RANGE] = (struct slice){ .p = NULL };
    }
    h->keep_alive = h->major >= 2 || (!h->close_token && (h->minor >= 1 || h->keep_alive_token));
    return ST_OK;
}
