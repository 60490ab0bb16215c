#include "core/conf_yaml.h"

#include <libfyaml.h>
#include <stdarg.h>
#include <string.h>

#include "core/check.h"

/* ---- reports ---- */

/* Columns are characters; a character that is not printable ASCII shows as one "?". */
static bool continues(char c) { return ((unsigned char)c & 0xc0) == 0x80; }

void conf_print_safe(FILE *f, const char *s, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        if (continues(s[i]))
            continue;
        (void)fputc(s[i] == '\t' ? ' ' : s[i] >= 0x20 && s[i] < 0x7f ? s[i] : '?', f);
    }
}

static size_t columns(const char *s, size_t n)
{
    size_t c = 0;

    for (size_t i = 0; i < n; i++)
        c += !continues(s[i]);
    return c;
}

static void show_line(struct conf_report *r, size_t start, size_t pos)
{
    enum { WIDTH = 100, BEFORE = 60 };
    size_t from = start, end = pos;

    while (end < r->len && r->text[end] != '\n' && r->text[end] != '\r')
        end++;
    if (pos - start > BEFORE)
        from = pos - BEFORE;
    while (from < pos && continues(r->text[from]))
        from++;
    if (end - from > WIDTH)
        end = from + WIDTH;
    (void)fputs("    ", r->out);
    conf_print_safe(r->out, r->text + from, end - from);
    (void)fprintf(r->out, "\n    %*s^\n", (int)columns(r->text + from, pos - from), "");
}

void conf_complain(struct conf_report *r, size_t pos, const char *key, const char *fmt, ...)
{
    size_t start, line = 1;
    va_list ap;

    if (r->errors++ >= REPORT_MAX)
        return;
    pos = pos < r->len ? pos : r->len;
    start = pos;
    while (start > 0 && r->text[start - 1] != '\n')
        start--;
    for (size_t i = 0; i < start; i++)
        line += r->text[i] == '\n';
    conf_print_safe(r->out, r->name, strlen(r->name));
    (void)fprintf(r->out, ":%zu:%zu: ", line, columns(r->text + start, pos - start) + 1);
    if (key[0] != '\0') {
        conf_print_safe(r->out, key, strlen(key));
        (void)fputs(": ", r->out);
    }
    va_start(ap, fmt);
    (void)vfprintf(r->out, fmt, ap);
    va_end(ap);
    (void)fputc('\n', r->out);
    show_line(r, start, pos);
}

void conf_report_end(struct conf_report *r)
{
    if (r->errors > REPORT_MAX)
        (void)fprintf(r->out, "... and %u more\n", r->errors - REPORT_MAX);
}

/* ---- from events to a tree ---- */

struct reading {
    struct conf_report *r;
    struct conf_mem *m;
    struct yaml_node *root;
    struct yaml_node *open; /* the innermost collection */
    const char *key;        /* of the value to come, inside a map */
    size_t key_pos, pos;
    unsigned nodes, depth, documents;
};

static enum st refuse(struct reading *y, const char *why)
{
    conf_complain(y->r, y->pos, "", "%s", why);
    return ST_ECONF;
}

static enum st put(struct reading *y, enum yaml_kind kind, struct yaml_node **out)
{
    struct yaml_node *n = conf_mem_get(y->m, sizeof *n), *up = y->open;

    if (n == NULL)
        return ST_ENOMEM;
    if (++y->nodes > YAML_MAX_NODES)
        return refuse(y, "too many values for one file");
    *n = (struct yaml_node){ .kind = kind, .parent = up, .pos = y->pos };
    if (up == NULL) {
        y->root = n;
    } else {
        n->key = y->key;
        n->key_pos = y->key_pos;
        y->key = NULL;
        *(up->last != NULL ? &up->last->next : &up->first) = n;
        up->last = n;
        up->n++;
    }
    *out = n;
    return ST_OK;
}

static void complain_twice(struct reading *y, const char *key)
{
    const char *part[YAML_MAX_DEPTH + 1];
    char path[300] = "";
    size_t n = 0, len = 0;

    part[n++] = key;
    for (const struct yaml_node *up = y->open; up != NULL && n <= YAML_MAX_DEPTH; up = up->parent)
        if (up->key != NULL)
            part[n++] = up->key;
    while (n-- > 0 && len < sizeof path)
        len += (size_t)snprintf(path + len, sizeof path - len, "%s%s", len > 0 ? "." : "", part[n]);
    conf_complain(y->r, y->pos, path, "a key for the second time");
}

static enum st take_key(struct reading *y, const char *text)
{
    for (const struct yaml_node *n = y->open->first; n != NULL; n = n->next)
        if (strcmp(n->key, text) == 0)
            complain_twice(y, text);
    if (y->open->n >= YAML_MAX_KEYS)
        return refuse(y, "too many keys in one section");
    y->key = text;
    y->key_pos = y->pos;
    return ST_OK;
}

static enum st take_scalar(struct reading *y, struct fy_token *t)
{
    struct yaml_node *n;
    size_t len = 0;
    const char *s = t != NULL ? fy_token_get_text(t, &len) : "";
    bool plain = t == NULL || fy_token_scalar_style(t) == FYSS_PLAIN;
    const char *copy;
    enum st st;

    if (s == NULL)
        return ST_ENOMEM;
    if (memchr(s, '\0', len) != NULL)
        return refuse(y, "a NUL byte has no place here");
    copy = conf_mem_text(y->m, s, len);
    if (copy == NULL)
        return ST_ENOMEM;
    if (y->open != NULL && y->open->kind == YAML_MAP && y->key == NULL)
        return take_key(y, copy);
    st = put(y, YAML_SCALAR, &n);
    if (st != ST_OK)
        return st;
    n->text = copy;
    n->absent = plain && (copy[0] == '\0' || strcmp(copy, "~") == 0 || strcmp(copy, "null") == 0);
    return ST_OK;
}

static enum st open_collection(struct reading *y, enum yaml_kind kind)
{
    struct yaml_node *n;
    enum st st;

    if (y->open != NULL && y->open->kind == YAML_MAP && y->key == NULL)
        return refuse(y, "a key must be a plain word");
    if (++y->depth > YAML_MAX_DEPTH)
        return refuse(y, "nested too deeply");
    st = put(y, kind, &n);
    if (st == ST_OK)
        y->open = n;
    return st;
}

static void close_collection(struct reading *y)
{
    CHECK(y->open != NULL && y->depth > 0);
    y->open = y->open->parent;
    y->depth--;
}

static enum st take(struct reading *y, struct fy_event *e)
{
    const struct fy_mark *at = fy_event_start_mark(e);

    if (at != NULL)
        y->pos = at->input_pos;
    if (e->type == FYET_SCALAR && y->pos > 0 && y->pos <= y->r->len &&
        strchr("\"'", y->r->text[y->pos - 1]) != NULL)
        y->pos--; /* the mark of a quoted text is behind its quote */
    if (fy_event_get_anchor_token(e) != NULL || e->type == FYET_ALIAS)
        return refuse(y, "anchors and aliases (& and *) are not used here; quote a text that "
                         "begins with one");
    if (fy_event_get_tag_token(e) != NULL)
        return refuse(y, "tags (!) are not used here; quote a text that begins with one");
    switch (e->type) {
    case FYET_DOCUMENT_START:
        return ++y->documents > 1 ? refuse(y, "a second document in one file") : ST_OK;
    case FYET_SCALAR:
        return take_scalar(y, fy_event_get_token(e));
    case FYET_MAPPING_START:
        return open_collection(y, YAML_MAP);
    case FYET_SEQUENCE_START:
        return open_collection(y, YAML_SEQ);
    case FYET_MAPPING_END:
    case FYET_SEQUENCE_END:
        close_collection(y);
        return ST_OK;
    default:
        return ST_OK;
    }
}

static void swallow(struct fy_diag *diag, void *user, const char *buf, size_t len)
{
    (void)diag, (void)user, (void)buf, (void)len; /* collected; printed by us */
}

/* libfyaml counts lines and columns from one here; less when it does not know. */
static size_t position(const struct conf_report *r, int line, int column)
{
    size_t pos = 0;

    for (; line > 1 && pos < r->len; pos++)
        line -= r->text[pos] == '\n';
    for (; column > 1 && pos < r->len && r->text[pos] != '\n'; column--)
        do
            pos++;
        while (pos < r->len && continues(r->text[pos]));
    return pos;
}

static void complain_syntax(struct reading *y, struct fy_diag *diag)
{
    struct fy_diag_error *e;
    void *iter = NULL;
    unsigned before = y->r->errors;

    while ((e = fy_diag_errors_iterate(diag, &iter)) != NULL) {
        size_t n = strcspn(e->msg, "\n");
        char msg[160];

        (void)snprintf(msg, sizeof msg, "%.*s", (int)(n < 150 ? n : 150), e->msg);
        for (char *c = msg; *c != '\0'; c++)
            if (*c < 0x20 || *c >= 0x7f)
                *c = '?';
        conf_complain(y->r, position(y->r, e->line, e->column), "", "YAML: %s", msg);
    }
    if (y->r->errors == before)
        conf_complain(y->r, y->pos, "", "YAML: not understood after this place");
}

static enum st run(struct reading *y, struct fy_parser *p, struct fy_diag *diag)
{
    enum st st = ST_OK;
    bool ended = false;

    while (st == ST_OK && !ended) {
        struct fy_event *e = fy_parser_parse(p);

        if (e == NULL) {
            complain_syntax(y, diag);
            return ST_ECONF;
        }
        ended = e->type == FYET_STREAM_END;
        st = take(y, e);
        fy_parser_event_free(p, e);
    }
    return st;
}

/* Length of the UTF-8 sequence at p, 0 when there is none. */
static size_t utf8(const unsigned char *p, size_t left)
{
    size_t n = p[0] < 0x80 ? 1 : p[0] < 0xc2 ? 0 : p[0] < 0xe0 ? 2 : p[0] < 0xf0 ? 3 : 4;

    if (n == 0 || n > left || p[0] > 0xf4)
        return 0;
    for (size_t i = 1; i < n; i++)
        if (!continues((char)p[i]))
            return 0;
    if ((p[0] == 0xe0 && p[1] < 0xa0) || (p[0] == 0xed && p[1] > 0x9f) ||
        (p[0] == 0xf0 && p[1] < 0x90) || (p[0] == 0xf4 && p[1] > 0x8f))
        return 0; /* too long a way to write it, a surrogate, or beyond Unicode */
    return n;
}

/* What no editor writes, and what libfyaml would take for another encoding. */
static enum st screen(struct reading *y)
{
    const struct conf_report *r = y->r;

    if (r->len > YAML_MAX_BYTES)
        return refuse(y, "the file is larger than 1 MiB");
    for (size_t n; y->pos < r->len; y->pos += n) {
        const unsigned char *p = (const unsigned char *)r->text + y->pos;

        n = utf8(p, r->len - y->pos);
        if (n == 0)
            return refuse(y, "not UTF-8");
        if ((*p < 0x20 && *p != '\n' && *p != '\r' && *p != '\t') || *p == 0x7f)
            return refuse(y, "a control character has no place in this file");
    }
    y->pos = 0;
    return ST_OK;
}

enum st yaml_read(struct conf_report *r, struct conf_mem *m, struct yaml_node **root)
{
    struct reading y = { .r = r, .m = m };
    const struct fy_diag_cfg dcfg = { .output_fn = swallow, .level = FYET_ERROR };
    struct fy_parse_cfg pcfg = { .flags = FYPCF_QUIET | FYPCF_COLLECT_DIAG | FYPCF_JSON_NONE |
                                          FYPCF_DEFAULT_VERSION_1_2 };
    struct fy_parser *p = NULL;
    enum st st = screen(&y);

    *root = NULL;
    if (st != ST_OK || r->len == 0)
        return st;
    pcfg.diag = fy_diag_create(&dcfg);
    if (pcfg.diag != NULL) {
        fy_diag_set_collect_errors(pcfg.diag, true);
        p = fy_parser_create(&pcfg);
    }
    if (p == NULL || fy_parser_set_string(p, r->text, r->len) != 0)
        st = ST_ENOMEM;
    else
        st = run(&y, p, pcfg.diag);
    fy_parser_destroy(p);
    fy_diag_destroy(pcfg.diag);
    if (st == ST_ENOMEM)
        (void)refuse(&y, "out of memory");
    if (st == ST_OK && y.root != NULL && !(y.root->kind == YAML_SCALAR && y.root->absent))
        *root = y.root;
    return st;
}
