/* The head of an answer, in the two spellings. What browsers need from another origin (CORS) is on
 * every answer, errors too. */
#include <string.h>

#include "core/check.h"
#include "edge/front_int.h"

static const char *cache_status(const struct request *r)
{
    switch (r->result) {
    case METRIC_CACHE_HIT:
        return "freshet; hit";
    case METRIC_CACHE_HIT_WAIT:
        return "freshet; fwd=uri-miss; collapsed";
    case METRIC_CACHE_MISS:
        return "freshet; fwd=uri-miss";
    case METRIC_CACHE_STALE:
        return "freshet; hit; ttl=-1";
    case METRIC_CACHE_NEGATIVE:
        return "freshet; hit; detail=negative";
    case METRIC_CACHE_N:
        break;
    }
    return "freshet";
}

static const char *reason_of(int status)
{
    switch (status) {
    case 200:
        return "OK";
    case 204:
        return "No Content";
    case 206:
        return "Partial Content";
    case 301:
        return "Moved Permanently";
    case 302:
        return "Found";
    case 304:
        return "Not Modified";
    case 400:
        return "Bad Request";
    case 404:
        return "Not Found";
    case 405:
        return "Method Not Allowed";
    case 410:
        return "Gone";
    case 413:
        return "Content Too Large";
    case 414:
        return "URI Too Long";
    case 416:
        return "Range Not Satisfiable";
    case 431:
        return "Request Header Fields Too Large";
    case 500:
        return "Internal Server Error";
    case 501:
        return "Not Implemented";
    case 502:
        return "Bad Gateway";
    case 503:
        return "Service Unavailable";
    case 504:
        return "Gateway Timeout";
    case 505:
        return "HTTP Version Not Supported";
    default:
        return "Status";
    }
}

/* Decimal digits before `end`; returns the first of them. */
static char *digits_before(char *end, uint64_t v)
{
    do
        *--end = (char)('0' + v % 10);
    while ((v /= 10) != 0);
    return end;
}

/* --- HTTP/1 --- */

struct text {
    char *p, *end;
    bool full;
};

static void put(struct text *t, const char *p, size_t n)
{
    if ((size_t)(t->end - t->p) < n) {
        t->full = true;
        return;
    }
    memcpy(t->p, p, n);
    t->p += n;
}

#define PUT(t, lit) put((t), "" lit, sizeof(lit) - 1)

static void puts_(struct text *t, const char *s) { put(t, s, strlen(s)); }

static void put_u64(struct text *t, uint64_t v)
{
    char d[20], *p = digits_before(d + sizeof d, v);

    put(t, p, (size_t)(d + sizeof d - p));
}

/* "name: value\r\n", when there is a value. The name comes with its colon and space. */
static void field(struct text *t, const char *name, const char *value)
{
    if (value == NULL || value[0] == '\0')
        return;
    puts_(t, name);
    puts_(t, value);
    PUT(t, "\r\n");
}

static void object_fields(struct text *t, const struct request *r)
{
    const struct gobj_head *h = r->answer.head;

    if (h == NULL)
        return;
    field(t, "etag: ", h->etag);
    field(t, "last-modified: ", h->last_modified);
    puts_(t, h->fields);
    if (h->has_age) {
        PUT(t, "age: ");
        put_u64(t, r->answer.age_s);
        PUT(t, "\r\n");
    }
    if (h->status == 200)
        PUT(t, "accept-ranges: bytes\r\n");
    field(t, "cache-status: ", cache_status(r));
}

static void framing(struct text *t, const struct request *r, bool chunked)
{
    if (r->answer.status == 304 || r->answer.status == 204)
        return;
    if (chunked) {
        PUT(t, "transfer-encoding: chunked\r\n");
    } else if (r->answer.length >= 0) {
        PUT(t, "content-length: ");
        put_u64(t, (uint64_t)r->answer.length);
        PUT(t, "\r\n");
    }
}

size_t answer_h1(struct front_loop *f, const struct request *r, bool chunked, bool keep_alive,
                 char *buf, size_t cap)
{
    const struct answer *a = &r->answer;
    struct text t = { .p = buf, .end = buf + cap };

    PUT(&t, "HTTP/1.1 ");
    put_u64(&t, (uint64_t)a->status);
    PUT(&t, " ");
    puts_(&t, reason_of(a->status));
    PUT(&t, "\r\nserver: freshet\r\ndate: ");
    puts_(&t, front_date(f));
    PUT(&t, "\r\naccess-control-allow-origin: *\r\naccess-control-expose-headers: *\r\n");
    field(&t, "content-type: ", a->type);
    framing(&t, r, chunked);
    field(&t, "cache-control: ", a->cache_control);
    field(&t, "content-range: ", a->content_range);
    object_fields(&t, r);
    field(&t, "content-security-policy: ", a->policy);
    field(&t, "allow: ", a->allow);
    if (a->status == 204)
        PUT(&t, "access-control-allow-methods: GET, HEAD, OPTIONS\r\n"
                "access-control-allow-headers: *\r\naccess-control-max-age: 86400\r\n");
    puts_(&t, a->lines);
    if (!keep_alive)
        PUT(&t, "connection: close\r\n");
    else if (r->head->minor == 0)
        PUT(&t, "connection: keep-alive\r\n");
    PUT(&t, "\r\n");
    return t.full ? 0 : (size_t)(t.p - buf);
}

/* --- HTTP/2 --- */

struct fields {
    struct h2_nv *nv;
    size_t n;
    char *scratch;
    size_t used;
};

static void add(struct fields *f, const char *name, const char *value, bool once)
{
    if (value == NULL || value[0] == '\0' || f->n == H2_NV_MAX)
        return;
    f->nv[f->n++] = (struct h2_nv){ .name = name,
                                    .value = value,
                                    .name_len = (uint16_t)strlen(name),
                                    .value_len = (uint32_t)strlen(value),
                                    .once = once };
}

/* A value that lives in the scratch. */
static const char *number(struct fields *f, uint64_t v)
{
    char d[21], *p;
    size_t n;

    d[20] = '\0';
    p = digits_before(d + 20, v);
    n = (size_t)(d + 21 - p);
    CHECK(f->used + n <= ANSWER_SCRATCH);
    memcpy(f->scratch + f->used, p, n);
    f->used += n;
    return f->scratch + f->used - n;
}

/* The object's further lines, "name: value\r\n" each. */
static void add_lines(struct fields *f, const char *lines)
{
    for (const char *p = lines, *eol; (eol = strstr(p, "\r\n")) != NULL; p = eol + 2) {
        const char *colon = memchr(p, ':', (size_t)(eol - p));

        CHECK(colon != NULL);
        if (f->n == H2_NV_MAX)
            return;
        f->nv[f->n++] = (struct h2_nv){ .name = p,
                                        .value = colon + 2,
                                        .name_len = (uint16_t)(colon - p),
                                        .value_len = (uint32_t)(eol - colon - 2) };
    }
}

size_t answer_h2(struct front_loop *f, const struct request *r, struct h2_nv *nv,
                 char scratch[ANSWER_SCRATCH])
{
    const struct answer *a = &r->answer;
    const struct gobj_head *h = a->head;
    struct fields o = { .nv = nv, .scratch = scratch };

    add(&o, ":status", number(&o, (uint64_t)a->status), false);
    add(&o, "server", "freshet", false);
    add(&o, "date", front_date(f), false);
    add(&o, "access-control-allow-origin", "*", false);
    add(&o, "access-control-expose-headers", "*", false);
    add(&o, "content-type", a->type, false);
    if (a->length >= 0 && a->status != 304 && a->status != 204)
        add(&o, "content-length", number(&o, (uint64_t)a->length), true);
    add(&o, "cache-control", a->cache_control, false);
    add(&o, "content-range", a->content_range, true);
    if (h != NULL) {
        add(&o, "etag", h->etag, true);
        add(&o, "last-modified", h->last_modified, true);
        add_lines(&o, h->fields);
        if (h->has_age)
            add(&o, "age", number(&o, a->age_s), true);
        if (h->status == 200)
            add(&o, "accept-ranges", "bytes", false);
        add(&o, "cache-status", cache_status(r), false);
    }
    add(&o, "content-security-policy", a->policy, false);
    add(&o, "allow", a->allow, false);
    if (a->status == 204) {
        add(&o, "access-control-allow-methods", "GET, HEAD, OPTIONS", false);
        add(&o, "access-control-allow-headers", "*", false);
        add(&o, "access-control-max-age", "86400", false);
    }
    add_lines(&o, a->lines);
    return o.n;
}
