#include "encode/request.h"

#include <openssl/evp.h>
#include <stdlib.h>
#include <string.h>

static const char *const names[ENC_FIELDS] = { ":method",       ":path",          "freshet-session",
                                               "freshet-ast",   "freshet-ladder", "freshet-period",
                                               "freshet-resume" };
static const char path_head[] = "/_encode/";

enum { AST_BITS = 34, MIN_CHUNK_MS = 20 };

void enc_request_init(struct enc_request *r) { *r = (struct enc_request){ .bad = false }; }

static void free_fields(struct enc_request *r)
{
    for (int i = 0; i < ENC_FIELDS; i++) {
        free(r->field[i]);
        r->field[i] = NULL;
    }
}

void enc_request_fini(struct enc_request *r)
{
    free_fields(r);
    json_decref(r->resume);
    r->resume = NULL;
}

void enc_request_field(struct enc_request *r, const char *name, size_t name_len, const char *value,
                       size_t value_len)
{
    for (int i = 0; i < ENC_FIELDS; i++) {
        if (strlen(names[i]) != name_len || memcmp(names[i], name, name_len) != 0)
            continue;
        if (r->field[i] != NULL || value_len > ENC_FIELD_MAX ||
            memchr(value, 0, value_len) != NULL) {
            r->bad = true;
            return;
        }
        r->field[i] = strndup(value, value_len);
        r->bad = r->bad || r->field[i] == NULL;
        return;
    }
}

/* The length of a name of ours at the start of p, or 0. */
static size_t name_length(const char *p)
{
    static const char alnum[] = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
    size_t n = strspn(p, alnum), more;

    if (n == 0)
        return 0;
    while ((more = strspn(p + n, alnum) + strspn(p + n, "_-")) > 0)
        n += more;
    return n <= ENC_NAME_MAX ? n : 0;
}

static bool read_path(struct enc_request *r)
{
    const char *p = r->field[ENC_PATH], *name;
    size_t app, stream;

    if (p == NULL || strncmp(p, path_head, sizeof path_head - 1) != 0)
        return false;
    name = p + sizeof path_head - 1;
    app = name_length(name);
    if (app == 0 || name[app] != '/')
        return false;
    stream = name_length(name + app + 1);
    if (stream == 0 || name[app + 1 + stream] != 0)
        return false;
    memcpy(r->name, name, app + 1 + stream + 1);
    return true;
}

static bool read_ast(struct enc_request *r)
{
    const char *p = r->field[ENC_AST];
    long long v;
    char *end;

    if (p == NULL || p[0] < '0' || p[0] > '9')
        return false;
    v = strtoll(p, &end, 10);
    r->conf.ast_s = v;
    return *end == 0 && v < 1LL << AST_BITS;
}

static bool is_session(const char *s)
{
    return s != NULL && strlen(s) == ENC_SESSION_CHARS &&
           strspn(s, "0123456789abcdefghijklmnopqrstuvwxyz") == ENC_SESSION_CHARS;
}

static json_t *object_of(const char *text)
{
    json_t *o = text != NULL ? json_loads(text, JSON_REJECT_DUPLICATES, NULL) : NULL;

    if (!json_is_object(o)) {
        json_decref(o);
        o = NULL;
    }
    return o;
}

/* *copy false: well-formed, and not for us. */
static bool read_ladder(struct enc_request *r, bool *copy)
{
    json_t *o = object_of(r->field[ENC_LADDER]);
    json_int_t segment = 0, chunk = 0;
    int is_copy = 0;
    bool good = o != NULL && json_unpack(o, "{s?b,s:I,s:I}", "copy", &is_copy, "segment", &segment,
                                         "chunk", &chunk) == 0;

    json_decref(o);
    r->conf.segment_ms = segment;
    r->conf.chunk_ms = chunk;
    *copy = is_copy != 0;
    return good && chunk >= MIN_CHUNK_MS && chunk <= segment && segment <= TL_SEGMENT_MS_MAX;
}

static bool read_period(struct enc_request *r)
{
    json_t *o;
    json_int_t k = 0, number = 0, start = 0, most = (json_int_t)1 << TL_MS_BITS;
    bool good;

    if (r->field[ENC_PERIOD] == NULL)
        return true;
    o = object_of(r->field[ENC_PERIOD]);
    good = o != NULL &&
           json_unpack(o, "{s:I,s:I,s:I}", "k", &k, "number", &number, "start", &start) == 0;
    json_decref(o);
    r->conf.k = k;
    r->conf.number = number;
    r->conf.earliest_ms = start;
    return good && k >= 0 && k < most && number >= 0 && number < most && start >= 0 && start < most;
}

static bool read_resume(struct enc_request *r)
{
    const char *text = r->field[ENC_RESUME];
    uint8_t bytes[ENC_FIELD_MAX + 4];
    size_t n;
    int got;

    if (text == NULL)
        return true;
    n = strlen(text);
    if (n == 0 || n % 4 != 0)
        return false;
    got = EVP_DecodeBlock(bytes, (const uint8_t *)text, (int)n);
    if (got < 0)
        return false;
    for (size_t i = n; i > n - 2 && text[i - 1] == '='; i--)
        got--; /* it counts the padding */
    r->resume = json_loadb((const char *)bytes, (size_t)got, JSON_REJECT_DUPLICATES, NULL);
    return json_is_object(r->resume);
}

static int read_all(struct enc_request *r, const char **why)
{
    bool copy;

    *why = "a field twice, or too long";
    if (r->bad)
        return 400;
    *why = "POST is what works here";
    if (strcmp(r->field[ENC_METHOD] != NULL ? r->field[ENC_METHOD] : "", "POST") != 0)
        return 405;
    *why = "not here: /_encode/APP/STREAM";
    if (!read_path(r))
        return 404;
    *why = "freshet-session";
    if (!is_session(r->field[ENC_SESSION]))
        return 400;
    *why = "freshet-ast";
    if (!read_ast(r))
        return 400;
    *why = "freshet-ladder";
    if (!read_ladder(r, &copy))
        return 400;
    *why = "freshet-period";
    if (!read_period(r))
        return 400;
    *why = "freshet-resume";
    if (!read_resume(r))
        return 400;
    *why = "only ladders that copy";
    return copy ? 200 : 501;
}

int enc_request_read(struct enc_request *r, const char **why)
{
    int status = read_all(r, why);

    free_fields(r);
    return status;
}
