/* A snapshot -> text: all of it, or what changed. */
#include <stdlib.h>
#include <string.h>

#include "core/check.h"
#include "core/conf_key.h"

/* ---- every value in turn ---- */

enum { DEPTH = 8 };

struct leaf {
    const struct conf_key *key;
    const char *part[DEPTH]; /* [n - 1] is the key itself */
    int n;
    const void *base;
};

struct visit {
    void (*each)(void *arg, const struct leaf *leaf);
    void *arg;
    struct leaf leaf;
};

static void visit_below(struct visit *v, const char *pattern, const void *base)
{
    const char *rest;

    CHECK(v->leaf.n < DEPTH);
    for (size_t i = 0; i < conf_keys_n; i++) {
        const struct conf_key *k = &conf_keys[i];

        if (!conf_path_below(k->path, pattern, &rest) || strchr(rest, '.') != NULL)
            continue;
        if (k->type == CONF_MAP) {
            size_t n;
            const char *entry = conf_list_get(k, base, &n);

            for (; n > 0; n--, entry += k->size) {
                memcpy(&v->leaf.part[v->leaf.n++], entry, sizeof(char *)); /* its name */
                visit_below(v, k->path, entry);
                v->leaf.n--;
            }
            continue;
        }
        v->leaf.part[v->leaf.n++] = rest;
        if (k->type == CONF_SECTION) {
            visit_below(v, k->path, base);
        } else {
            v->leaf.key = k;
            v->leaf.base = base;
            v->each(v->arg, &v->leaf);
        }
        v->leaf.n--;
    }
}

/* Calls back for every row that has a value, map entries by name. */
static void visit(const struct conf *c, void (*each)(void *arg, const struct leaf *leaf), void *arg)
{
    struct visit v = { .each = each, .arg = arg };

    visit_below(&v, "", c);
}

/* ---- all of it ---- */

struct dump {
    FILE *out;
    struct leaf last; /* headings that stand already */
};

static void print_name(FILE *f, const char *s)
{
    /* Digits and punctuation could read as something else than a name. */
    if (strspn(s, "abcdefghijklmnopqrstuvwxyz_0123456789") == strlen(s) && s[0] >= 'a' &&
        strcmp(s, "null") != 0)
        (void)fputs(s, f);
    else
        conf_print_quoted(f, s);
}

static void dump_leaf(void *arg, const struct leaf *leaf)
{
    struct dump *d = arg;
    FILE *value;
    char *text = NULL;
    size_t len;
    int same = 0;

    value = open_memstream(&text, &len);
    if (value == NULL)
        return;
    if (!conf_value_print(value, leaf->key, leaf->base)) {
        (void)fclose(value);
        free(text);
        return;
    }
    (void)fclose(value);
    while (same < d->last.n - 1 && same < leaf->n - 1 &&
           strcmp(d->last.part[same], leaf->part[same]) == 0)
        same++;
    for (; same < leaf->n; same++) {
        (void)fprintf(d->out, "%*s", same * 2, "");
        print_name(d->out, leaf->part[same]);
        (void)fputs(same < leaf->n - 1 ? ":\n" : ": ", d->out);
    }
    (void)fprintf(d->out, "%s\n", text);
    free(text);
    d->last = *leaf;
}

void conf_dump(FILE *out, const struct conf *c)
{
    struct dump d = { .out = out };

    visit(c, dump_leaf, &d);
}

/* ---- what changed ---- */

struct entry {
    char *path, *value;
    enum conf_when when;
};

struct entries {
    struct entry *v;
    size_t n, room;
    enum st st;
};

static void entries_free(struct entries *es)
{
    for (size_t i = 0; i < es->n; i++) {
        free(es->v[i].path);
        free(es->v[i].value);
    }
    free(es->v);
}

static void note(void *arg, const struct leaf *leaf)
{
    struct entries *es = arg;
    struct entry e = { .when = leaf->key->when };
    FILE *path, *value;
    size_t path_len, value_len;

    if (es->n == es->room && es->st == ST_OK) {
        size_t room = es->room * 2 + 64;
        struct entry *v = realloc(es->v, room * sizeof *v);

        if (v == NULL) {
            es->st = ST_ENOMEM;
            return;
        }
        es->v = v;
        es->room = room;
    }
    if (es->st != ST_OK)
        return;
    path = open_memstream(&e.path, &path_len);
    value = open_memstream(&e.value, &value_len);
    for (int i = 0; i < leaf->n && path != NULL; i++) {
        (void)fputs(i > 0 ? "." : "", path);
        if (strchr(leaf->part[i], '.') != NULL)
            conf_print_quoted(path, leaf->part[i]);
        else
            (void)fputs(leaf->part[i], path);
    }
    if (value != NULL)
        (void)conf_value_print(value, leaf->key, leaf->base);
    if (path == NULL || fclose(path) != 0)
        es->st = ST_ENOMEM;
    if (value == NULL || fclose(value) != 0)
        es->st = ST_ENOMEM;
    es->v[es->n++] = e;
}

static int by_path(const void *a, const void *b)
{
    return strcmp(((const struct entry *)a)->path, ((const struct entry *)b)->path);
}

static void tell(const struct entry *from, const struct entry *to,
                 void (*each)(void *arg, const struct conf_change *ch), void *arg)
{
    const struct entry *any = from != NULL ? from : to;
    struct conf_change ch = { .key = any->path,
                              .from = from != NULL ? from->value : "",
                              .to = to != NULL ? to->value : "",
                              .when = any->when };

    if (strcmp(ch.from, ch.to) != 0)
        each(arg, &ch);
}

enum st conf_diff(const struct conf *from, const struct conf *to,
                  void (*each)(void *arg, const struct conf_change *ch), void *arg)
{
    struct entries a = { .st = ST_OK }, b = { .st = ST_OK };
    enum st st;

    visit(from, note, &a);
    visit(to, note, &b);
    st = a.st != ST_OK ? a.st : b.st;
    if (st == ST_OK) {
        size_t i = 0, j = 0;

        if (a.n > 0)
            qsort(a.v, a.n, sizeof *a.v, by_path);
        if (b.n > 0)
            qsort(b.v, b.n, sizeof *b.v, by_path);
        while (i < a.n || j < b.n) {
            int order = i == a.n ? 1 : j == b.n ? -1 : by_path(&a.v[i], &b.v[j]);

            tell(order <= 0 ? &a.v[i] : NULL, order >= 0 ? &b.v[j] : NULL, each, arg);
            i += order <= 0;
            j += order >= 0;
        }
    }
    entries_free(&a);
    entries_free(&b);
    return st;
}

const char *conf_when_name(enum conf_when when)
{
    static const char *const names[] = { "live", "new-sessions", "restart" };

    return names[when];
}

/* ---- values that cannot change in a running process ---- */

enum st conf_keep_restart(struct conf *fresh, const struct conf *running)
{
    struct conf_mem m = { fresh->blocks };
    char why[CONF_WHY];
    enum st st = ST_OK;

    for (size_t i = 0; i < conf_keys_n && st == ST_OK; i++) {
        const struct conf_key *k = &conf_keys[i];
        const char *from = (const char *)running + k->off;
        char *to = (char *)fresh + k->off;
        const char *s;

        if (k->when != CONF_RESTART)
            continue;
        if (k->type == CONF_INT) {
            memcpy(to, from, k->size);
            continue;
        }
        CHECK(k->type == CONF_STRING || k->type == CONF_PATH);
        memcpy(&s, from, sizeof s);
        st = conf_value_parse(k, s, to, &m, why);
        CHECK(st != ST_ECONF);
    }
    fresh->blocks = m.blocks;
    return st;
}
