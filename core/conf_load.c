/* A tree and the table -> a snapshot. Everything that is wrong is said before giving up. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "core/check.h"
#include "core/conf_yaml.h"

struct load {
    struct conf_report r;
    struct conf_mem m; /* of the snapshot */
    struct conf *c;
    enum st st; /* ENOMEM sticks */
};

/* Where we are: the rows' path ("apps.*") and the one for people ("apps.live"). */
struct place {
    const char *pattern;
    char shown[300];
    void *base;
};

static void no_memory(struct load *l)
{
    if (l->st != ST_ENOMEM)
        conf_complain(&l->r, l->r.len, "", "out of memory");
    l->st = ST_ENOMEM;
}

static void show_path(char out[300], const char *above, const char *key)
{
    (void)snprintf(out, 300, "%.140s%s%.140s", above, above[0] != '\0' ? "." : "", key);
}

static const struct conf_key *row(const char *pattern, const char *key)
{
    const char *rest;

    for (size_t i = 0; i < conf_keys_n && strchr(key, '.') == NULL; i++)
        if (conf_path_below(conf_keys[i].path, pattern, &rest) && strcmp(rest, key) == 0)
            return &conf_keys[i];
    return NULL;
}

/* ---- did you mean ---- */

static unsigned min3(unsigned a, unsigned b, unsigned c)
{
    unsigned m = a < b ? a : b;

    return m < c ? m : c;
}

/* Edits (insert, delete, replace, swap two neighbours) from a to b; 99 for long words. */
static unsigned edits(const char *a, const char *b)
{
    enum { LONG = 40 };
    unsigned d[LONG + 1][LONG + 1];
    size_t n = strlen(a), m = strlen(b);

    if (n > LONG || m > LONG)
        return 99;
    for (size_t i = 0; i <= n; i++)
        for (size_t j = 0; j <= m; j++) {
            unsigned swap;

            if (i == 0 || j == 0) {
                d[i][j] = (unsigned)(i + j);
                continue;
            }
            d[i][j] =
                min3(d[i - 1][j] + 1, d[i][j - 1] + 1, d[i - 1][j - 1] + (a[i - 1] != b[j - 1]));
            if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1]) {
                swap = d[i - 2][j - 2] + 1;
                d[i][j] = swap < d[i][j] ? swap : d[i][j];
            }
        }
    return d[n][m];
}

static void complain_unknown(struct load *l, const struct place *p, const struct yaml_node *n)
{
    const char *best = NULL, *rest, *leaf;
    unsigned best_edits = 1 + (unsigned)strlen(n->key) / 3;
    char shown[300];

    show_path(shown, p->shown, n->key);
    for (size_t i = 0; i < conf_keys_n; i++) {
        unsigned e;

        if (!conf_path_below(conf_keys[i].path, p->pattern, &rest) || strpbrk(rest, ".*") != NULL)
            continue;
        e = edits(n->key, rest);
        if (e <= best_edits && (best == NULL || e < best_edits)) {
            best = rest;
            best_edits = e;
        }
    }
    for (size_t i = 0; best == NULL && i < conf_keys_n; i++) { /* right word, wrong section */
        leaf = strrchr(conf_keys[i].path, '.');
        if (leaf != NULL && strcmp(leaf + 1, n->key) == 0)
            best = conf_keys[i].path;
    }
    conf_complain(&l->r, n->key_pos, shown, "unknown key%s%s%s",
                  best != NULL ? "; did you mean \"" : "", best != NULL ? best : "",
                  best != NULL ? "\"?" : "");
}

/* ---- values ---- */

static void value(struct load *l, const struct conf_key *k, const struct yaml_node *n,
                  const char *shown, void *field)
{
    char why[CONF_WHY];
    enum st st;

    if (n->kind != YAML_SCALAR) {
        conf_complain(&l->r, n->pos, shown, "one value is wanted here, not a %s",
                      n->kind == YAML_MAP ? "section" : "list");
        return;
    }
    if (n->absent || n->text[0] == '\0') {
        conf_complain(&l->r, n->pos, shown, "a value is missing");
        return;
    }
    st = conf_value_parse(k, n->text, field, &l->m, why);
    if (st == ST_ENOMEM)
        no_memory(l);
    else if (st != ST_OK)
        conf_complain(&l->r, n->pos, shown, "%s", why);
}

static void list(struct load *l, const struct conf_key *k, const struct yaml_node *n,
                 const char *shown, void *base)
{
    size_t i = 0, size = conf_element_size(k);
    char *v;

    if (n->kind != YAML_SEQ) {
        conf_complain(&l->r, n->pos, shown, "a list is wanted: [one, two]");
        return;
    }
    if (n->n > k->max) {
        conf_complain(&l->r, n->pos, shown, "at most %u entries", (unsigned)k->max);
        return;
    }
    v = conf_mem_get(&l->m, n->n * size);
    if (v == NULL) {
        no_memory(l);
        return;
    }
    for (const struct yaml_node *e = n->first; e != NULL; e = e->next, i++)
        value(l, k, e, shown, v + i * size);
    conf_list_put(k, base, v, n->n);
}

static void section(struct load *l, const struct place *p, const struct yaml_node *n);

/* "teir" beside the fixed key "tier" is a slip, not the name of an entry. */
static const char *slip_of(const char *pattern, const char *key)
{
    const char *rest;

    for (size_t i = 0; i < conf_keys_n; i++)
        if (conf_path_below(conf_keys[i].path, pattern, &rest) && strpbrk(rest, ".*") == NULL &&
            edits(key, rest) == 1)
            return rest;
    return NULL;
}

/* The entries of section `n` that are none of its fixed keys. */
static void entries(struct load *l, const struct conf_key *k, const struct place *p,
                    const struct yaml_node *n)
{
    size_t count = 0;
    char *v = conf_mem_get(&l->m, n->n * k->size);

    if (v == NULL) {
        no_memory(l);
        return;
    }
    for (const struct yaml_node *e = n->first; e != NULL; e = e->next) {
        const char *bad, *name;
        struct place in = { .pattern = k->path, .base = v + count * k->size };

        if (row(p->pattern, e->key) != NULL)
            continue;
        show_path(in.shown, p->shown, e->key);
        if (slip_of(p->pattern, e->key) != NULL) {
            complain_unknown(l, p, e);
            continue;
        }
        bad = k->bad_name(e->key);
        if (bad != NULL) {
            conf_complain(&l->r, e->key_pos, in.shown, "%s", bad);
            continue;
        }
        if (count >= k->max) {
            conf_complain(&l->r, e->key_pos, in.shown, "at most %u entries", (unsigned)k->max);
            break;
        }
        name = conf_mem_text(&l->m, e->key, strlen(e->key));
        if (name == NULL || conf_put_defaults(&l->m, k->path, in.base) != ST_OK) {
            no_memory(l);
            return;
        }
        memcpy(in.base, &name, sizeof name); /* the first field of every entry */
        count++;
        section(l, &in, e);
    }
    conf_list_put(k, p->base, v, count);
}

static void section(struct load *l, const struct place *p, const struct yaml_node *n)
{
    const struct conf_key *map = row(p->pattern, "*");

    if (n->kind == YAML_SCALAR && n->absent)
        return;
    if (n->kind != YAML_MAP) {
        conf_complain(&l->r, n->pos, p->shown, "a section is wanted: key: value");
        return;
    }
    for (const struct yaml_node *e = n->first; e != NULL && l->st == ST_OK; e = e->next) {
        const struct conf_key *k = row(p->pattern, e->key);
        struct place in = { .base = p->base };

        if (k == NULL || k->type == CONF_MAP) {
            if (map == NULL || k != NULL)
                complain_unknown(l, p, e);
            continue;
        }
        show_path(in.shown, p->shown, e->key);
        in.pattern = k->path;
        if (k->type == CONF_SECTION)
            section(l, &in, e);
        else if (k->off_n != 0)
            list(l, k, e, in.shown, p->base);
        else
            value(l, k, e, in.shown, (char *)p->base + k->off);
    }
    if (map != NULL && l->st == ST_OK)
        entries(l, map, p, n);
}

/* ---- what no single key can tell ---- */

static const struct yaml_node *find(const struct yaml_node *n, const char *key)
{
    if (n == NULL || n->kind != YAML_MAP)
        return NULL;
    for (n = n->first; n != NULL; n = n->next)
        if (strcmp(n->key, key) == 0)
            return n;
    return NULL;
}

/* A certificate and its key (and, for the tier, the CA) make sense together only. */
static void whole_pair(struct load *l, const struct yaml_node *at, const char *shown,
                       const char *cert, const char *key)
{
    if (at != NULL && (cert[0] == '\0') != (key[0] == '\0'))
        conf_complain(&l->r, at->key_pos, shown, "cert and key belong together: %s is missing",
                      cert[0] == '\0' ? "cert" : "key");
}

static void check_tls(struct load *l, const struct yaml_node *tls)
{
    const struct conf *c = l->c;
    const struct yaml_node *at = find(tls, "tier");
    char shown[300];

    whole_pair(l, find(tls, "default"), "tls.default", c->tls.default_.cert, c->tls.default_.key);
    whole_pair(l, at, "tls.tier", c->tls.tier.cert, c->tls.tier.key);
    if (at != NULL && (c->tls.tier.cert[0] == '\0') != (c->tls.tier.ca[0] == '\0'))
        conf_complain(&l->r, at->key_pos, "tls.tier", "cert and ca belong together: %s is missing",
                      c->tls.tier.cert[0] == '\0' ? "cert" : "ca");
    for (size_t i = 0; i < c->tls.names_n; i++) {
        const struct conf_tls_name *n = &c->tls.names[i];

        at = find(tls, n->name);
        show_path(shown, "tls", n->name);
        if (n->cert[0] == '\0' && n->key[0] == '\0')
            conf_complain(&l->r, at->key_pos, shown, "cert and key are missing");
        else
            whole_pair(l, at, shown, n->cert, n->key);
    }
}

static void check_twice(struct load *l, const struct yaml_node *e, const char *shown,
                        const struct conf_url *v, size_t i)
{
    for (size_t j = 0; j < i; j++)
        if (strcmp(v[i].text, v[j].text) == 0 && !(v[i].port == 0 && v[i].path[0] == '\0'))
            conf_complain(&l->r, e->pos, shown, "the same address for the second time");
}

static void check_listens(struct load *l, const struct yaml_node *at, const char *shown,
                          const struct conf_url *v, size_t n)
{
    const struct yaml_node *e = at != NULL ? at->first : NULL;
    const struct conf *c = l->c;

    for (size_t i = 0; i < n && e != NULL; i++, e = e->next) {
        check_twice(l, e, shown, v, i);
        if ((v[i].scheme == CONF_HTTPS || v[i].scheme == CONF_RTMPS) &&
            c->tls.default_.cert[0] == '\0' && c->tls.names_n == 0)
            conf_complain(&l->r, e->pos, shown, "%s needs a certificate: tls.default.cert",
                          conf_scheme_name(v[i].scheme));
    }
}

/* Between our machines nothing goes in the clear, and nobody is let in without a certificate. */
static void check_tier_listens(struct load *l, const struct yaml_node *at)
{
    const struct yaml_node *e = at != NULL ? at->first : NULL;
    const struct conf *c = l->c;
    const struct conf_url *v = c->origin.listen;

    for (size_t i = 0; i < c->origin.listen_n && e != NULL; i++, e = e->next) {
        struct addr host;

        check_twice(l, e, "origin.listen", v, i);
        if (v[i].scheme == CONF_HTTPS && c->tls.tier.cert[0] == '\0')
            conf_complain(&l->r, e->pos, "origin.listen", "https needs certificates: tls.tier");
        if (v[i].scheme == CONF_HTTP &&
            (addr_parse(v[i].host, &host) != ST_OK || !addr_is_loopback(&host)))
            conf_complain(&l->r, e->pos, "origin.listen",
                          "http is for loopback only: between hosts https is needed");
    }
}

static void check_secrets(struct load *l, const struct yaml_node *at, const char *section,
                          const struct conf_secret *v, size_t n)
{
    char shown[300];

    for (size_t i = 0; i < n; i++) {
        show_path(shown, section, v[i].name);
        if (v[i].file[0] == '\0')
            conf_complain(&l->r, find(at, v[i].name)->key_pos, shown, "file is missing");
    }
}

/* A token names a stream and is checked on its manifests: of somebody else's paths we know neither.
 */
static void check_apps(struct load *l, const struct yaml_node *apps)
{
    const struct conf *c = l->c;
    char shown[300];

    for (size_t i = 0; i < c->apps_n; i++) {
        const struct conf_app *a = &c->apps[i];
        const struct yaml_node *at = find(find(apps, a->name), "play");

        if (a->play != CONF_PLAY_SIGNED)
            continue;
        (void)snprintf(shown, sizeof shown, "apps.%s.play", a->name);
        if (a->origin.text[0] != '\0')
            conf_complain(&l->r, at->pos, shown,
                          "tokens are for streams, not for an outside origin");
        else if (c->secrets.play_n == 0)
            conf_complain(&l->r, at->pos, shown, "signed needs a key in secrets.play");
    }
}

static void check_access_log(struct load *l, const struct yaml_node *at)
{
    const char *to = l->c->log.access;

    if (to[0] != '/' && strcmp(to, "off") != 0 && strcmp(to, "stdout") != 0 &&
        strcmp(to, "stderr") != 0)
        conf_complain(&l->r, at->pos, "log.access",
                      "wanted is off, stdout, stderr or a path from the root");
}

/* Also where something else is wrong: whoever asks for a ladder that is to come has named keys that
 * are unknown yet, and should be told why. */
static void check_ladders(struct load *l, const struct yaml_node *root)
{
    const struct yaml_node *ladders = find(find(root, "encode"), "ladders"), *at;
    const struct conf *c = l->c;
    char shown[300];

    for (size_t i = 0; i < c->encode.ladders_n; i++) {
        const struct conf_ladder *d = &c->encode.ladders[i];

        show_path(shown, "encode.ladders", d->name);
        if (d->copy == CONF_NO)
            conf_complain(&l->r, find(ladders, d->name)->key_pos, shown,
                          "this version cannot transcode yet: write {copy: true}");
        else if (d->segment_us < c->encode.chunk_us)
            conf_complain(&l->r, find(ladders, d->name)->key_pos, shown,
                          "the segment is shorter than encode.chunk");
    }
    for (size_t i = 0; i < c->apps_n; i++) {
        if (conf_ladder(c, c->apps[i].ladder) != NULL)
            continue;
        at = find(find(root, "apps"), c->apps[i].name);
        at = find(at, "ladder") != NULL ? find(at, "ladder") : at;
        show_path(shown, "apps", c->apps[i].name);
        conf_complain(&l->r, at->pos, shown, "there is no ladder of this name: encode.ladders.%s",
                      c->apps[i].ladder);
    }
}

static void check_whole(struct load *l, const struct yaml_node *root)
{
    const struct conf *c = l->c;
    const struct yaml_node *edge = find(root, "edge"), *at = find(find(edge, "limits"), "memory");

    check_tls(l, find(root, "tls"));
    check_secrets(l, find(find(root, "secrets"), "publish"), "secrets.publish", c->secrets.publish,
                  c->secrets.publish_n);
    check_secrets(l, find(find(root, "secrets"), "play"), "secrets.play", c->secrets.play,
                  c->secrets.play_n);
    check_apps(l, find(root, "apps"));
    check_access_log(l, find(find(root, "log"), "access"));
    check_listens(l, find(find(root, "admin"), "listen"), "admin.listen", c->admin.listen,
                  c->admin.listen_n);
    check_listens(l, find(edge, "listen"), "edge.listen", c->edge.listen, c->edge.listen_n);
    check_listens(l, find(find(root, "ingest"), "listen"), "ingest.listen", c->ingest.listen,
                  c->ingest.listen_n);
    check_tier_listens(l, find(find(root, "origin"), "listen"));
    if (at != NULL && c->edge.limits.memory_bytes != 0 &&
        c->edge.limits.memory_bytes < c->edge.cache_bytes)
        conf_complain(&l->r, at->pos, "edge.limits.memory", "less than edge.cache");
}

/* ---- the doors ---- */

enum st conf_parse(const char *name, const char *text, size_t len, uint64_t generation,
                   struct conf **out, FILE *report)
{
    struct load l = { .r = { .out = report, .name = name, .text = text, .len = len } };
    struct conf_mem tree = { NULL };
    struct place top = { .pattern = "" };
    struct yaml_node *root = NULL;
    const struct conf *drop;

    *out = NULL;
    if (conf_new(generation, &l.c) != ST_OK) {
        no_memory(&l);
        return ST_ENOMEM;
    }
    l.m.blocks = l.c->blocks;
    l.c->path = conf_mem_text(&l.m, name, strlen(name));
    top.base = l.c;
    if (l.c->path == NULL)
        no_memory(&l);
    else
        l.st = yaml_read(&l.r, &tree, &root);
    if (root != NULL)
        section(&l, &top, root);
    if (l.st == ST_OK && l.r.errors == 0)
        check_whole(&l, root);
    if (l.st == ST_OK && root != NULL)
        check_ladders(&l, root);
    l.c->blocks = l.m.blocks;
    conf_mem_free(&tree);
    conf_report_end(&l.r);
    if (l.st == ST_OK && l.r.errors == 0) {
        *out = l.c;
        return ST_OK;
    }
    drop = l.c;
    conf_unref(&drop);
    return l.st != ST_OK ? l.st : ST_ECONF;
}

enum st conf_load(const char *path, uint64_t generation, struct conf **out, FILE *report)
{
    enum { ROOM = YAML_MAX_BYTES + 1 }; /* one more, to see that a file is too large */
    FILE *f = fopen(path, "re");
    char *text = f != NULL ? malloc(ROOM) : NULL;
    size_t n = text != NULL ? fread(text, 1, ROOM, f) : 0;
    enum st st;

    *out = NULL;
    if (f == NULL || text == NULL || ferror(f)) {
        st = f != NULL && text == NULL ? ST_ENOMEM : ST_EIO;
        conf_print_safe(report, path, strlen(path));
        (void)fprintf(report, ": %s\n", strerror(errno));
    } else if (n == 0) { /* an editor may be about to write it: no time to forget everything */
        st = ST_ECONF;
        conf_print_safe(report, path, strlen(path));
        (void)fputs(": the file is empty\n", report);
    } else {
        st = conf_parse(path, text, n, generation, out, report);
    }
    free(text);
    if (f != NULL)
        (void)fclose(f);
    return st;
}
