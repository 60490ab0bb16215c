#include "edge/target.h"

enum path_class {
    REFUSE, /* never in a path, neither raw nor encoded */
    HIDDEN, /* only as %XX */
    ENCODE, /* raw or as %XX, and both mean the same: written as %XX */
    SUB,    /* raw and %XX mean different things: both spellings stay */
    PLAIN,  /* unreserved: never encoded */
    SLASH,  /* raw only */
    PERCENT,
};

static const uint8_t classes[256] = {
    [' '] = HIDDEN,        ['#'] = HIDDEN,        ['?'] = HIDDEN,        [0x80 ... 0xff] = HIDDEN,
    ['"'] = ENCODE,        ['<'] = ENCODE,        ['>'] = ENCODE,        ['['] = ENCODE,
    [']'] = ENCODE,        ['^'] = ENCODE,        ['`'] = ENCODE,        ['{' ... '}'] = ENCODE,
    ['!'] = SUB,           ['$'] = SUB,           ['&' ... ','] = SUB,   [':'] = SUB,
    ['='] = SUB,           ['@'] = SUB,           ['-' ... '.'] = PLAIN, ['0' ... '9'] = PLAIN,
    ['A' ... 'Z'] = PLAIN, ['a' ... 'z'] = PLAIN, ['_'] = PLAIN,         ['~'] = PLAIN,
    ['/'] = SLASH,         ['%'] = PERCENT,
};

static int hex(uint8_t c)
{
    if (is_digit(c))
        return c - '0';
    c = ascii_lower(c);
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

struct writer {
    uint8_t *p;
    size_t n, cap;
};

static void put(struct writer *w, uint8_t c)
{
    if (w->n < w->cap)
        w->p[w->n] = c;
    w->n++; /* past cap: ELIMIT in the end */
}

static void put_encoded(struct writer *w, uint8_t c)
{
    put(w, '%');
    put(w, (uint8_t) "0123456789ABCDEF"[c >> 4]);
    put(w, (uint8_t) "0123456789ABCDEF"[c & 15]);
}

/* One character of the path, from raw[*at] on, in its one spelling. */
static enum st put_one(struct writer *w, struct slice raw, size_t *at)
{
    uint8_t c = raw.p[*at];
    bool encoded = classes[c] == PERCENT;

    if (encoded) {
        int high = *at + 2 < raw.n ? hex(raw.p[*at + 1]) : -1;
        int low = *at + 2 < raw.n ? hex(raw.p[*at + 2]) : -1;

        if (high < 0 || low < 0)
            return ST_EPROTO;
        c = (uint8_t)(high << 4 | low);
    }
    *at += encoded ? 3 : 1;
    if (classes[c] == REFUSE || classes[c] == (encoded ? SLASH : HIDDEN))
        return ST_EPROTO;
    if (classes[c] == ENCODE || (encoded && classes[c] != PLAIN))
        put_encoded(w, c);
    else
        put(w, c);
    return ST_OK;
}

/* No empty segment but the last, and none that walks. */
static bool segments_are_plain(struct slice path)
{
    size_t start = 1;

    for (size_t i = 1; i <= path.n; i++) {
        size_t n = i - start;

        if (i < path.n && path.p[i] != '/')
            continue;
        if ((n == 0 && i < path.n) || (n == 1 && path.p[start] == '.') ||
            (n == 2 && path.p[start] == '.' && path.p[start + 1] == '.'))
            return false;
        start = i + 1;
    }
    return true;
}

static int upper_hex(uint8_t c) { return c >= 'a' && c <= 'f' ? -1 : hex(c); }

/* Already in its one spelling, which nearly every path is: nothing to copy. */
static bool is_normal(struct slice path)
{
    for (size_t i = 0; i < path.n; i++) {
        uint8_t class = classes[path.p[i]];

        if (class == PERCENT && path.n - i > 2) {
            int high = upper_hex(path.p[i + 1]), low = upper_hex(path.p[i + 2]);

            if (high < 0 || low < 0)
                return false;
            class = classes[(uint8_t)(high << 4 | low)];
            if (class == REFUSE || class == PLAIN || class == SLASH)
                return false;
            i += 2;
        } else if (class != PLAIN && class != SLASH && class != SUB) {
            return false;
        }
    }
    return true;
}

static enum st normalise(struct slice raw, struct writer *w, struct slice *path)
{
    if (raw.n == 0 || raw.p[0] != '/')
        return ST_EPROTO;
    if (raw.n > TARGET_PATH_MAX)
        return ST_ELIMIT;
    *path = raw;
    if (!is_normal(raw)) {
        size_t begin = w->n;

        for (size_t at = 0; at < raw.n;) {
            enum st st = put_one(w, raw, &at);

            if (st != ST_OK)
                return st;
        }
        if (w->n > w->cap || w->n - begin > TARGET_PATH_MAX)
            return ST_ELIMIT;
        *path = slice_of(w->p + begin, w->n - begin);
    }
    return segments_are_plain(*path) ? ST_OK : ST_EPROTO;
}

static bool is_cmcd(const uint8_t *p, size_t n)
{
    return n >= 4 && memcmp(p, "CMCD", 4) == 0 && (n == 4 || p[4] == '=');
}

/* Takes every CMCD=... out of the query; the first one is kept apart. */
static enum st strip_cmcd(struct slice raw, struct writer *w, struct target *t)
{
    size_t begin = w->n;
    bool bad = false;

    for (size_t i = 0; i < raw.n; i++)
        bad |= raw.p[i] <= 0x20 || raw.p[i] >= 0x7f || raw.p[i] == '#';
    if (bad)
        return ST_EPROTO;
    if (!target_param(raw, "CMCD", &t->cmcd)) {
        t->query = raw;
        return ST_OK;
    }
    for (size_t at = 0; at <= raw.n;) {
        const uint8_t *amp = at < raw.n ? memchr(raw.p + at, '&', raw.n - at) : NULL;
        size_t n = amp != NULL ? (size_t)(amp - raw.p) - at : raw.n - at;

        if (!is_cmcd(raw.p + at, n)) {
            if (w->n > begin)
                put(w, '&');
            for (size_t i = 0; i < n; i++)
                put(w, raw.p[at + i]);
        }
        at += n + 1;
    }
    if (w->n > w->cap)
        return ST_ELIMIT;
    if (w->n > begin)
        t->query = slice_of(w->p + begin, w->n - begin);
    return ST_OK;
}

bool name_is_valid(struct slice s)
{
    for (size_t i = 0; i < s.n; i++) {
        uint8_t c = s.p[i], l = ascii_lower(c);

        if (!is_digit(c) && !(l >= 'a' && l <= 'z') && (i == 0 || (c != '_' && c != '-')))
            return false;
    }
    return s.n >= 1 && s.n <= 64;
}

bool name_is_reserved(struct slice s)
{
    return slice_eq(s, SLICE("p")) || slice_eq(s, SLICE("time")) || slice_eq(s, SLICE("api")) ||
           slice_eq(s, SLICE("metrics")) || slice_eq(s, SLICE("status")) ||
           slice_eq(s, SLICE("watch"));
}

bool session_is_valid(struct slice s)
{
    for (size_t i = 0; i < s.n; i++) {
        if (!is_digit(s.p[i]) && !(s.p[i] >= 'a' && s.p[i] <= 'z'))
            return false;
    }
    return s.n == 13;
}

bool rep_is_valid(struct slice s)
{
    if (s.n == 2 && s.p[0] == 'i')
        return s.p[1] == '0';
    if (s.n < 2 || s.n > 3 || (s.p[0] != 'v' && s.p[0] != 'a') || !is_digit(s.p[1]))
        return false;
    return s.n == 2 || (s.p[1] != '0' && is_digit(s.p[2]));
}

/* One spelling for a number too: no leading zeros, no sign. */
static bool number_is_valid(struct slice s, uint64_t *number)
{
    if (s.n > 1 && s.p[0] == '0')
        return false;
    return s.n <= 20 && slice_u64(s, number) && *number != UINT64_MAX;
}

static bool strip_suffix(struct slice s, struct slice suffix, struct slice *front)
{
    if (s.n <= suffix.n || memcmp(s.p + s.n - suffix.n, suffix.p, suffix.n) != 0)
        return false;
    *front = slice_of(s.p, s.n - suffix.n);
    return true;
}

static bool is_hash8(struct slice s)
{
    for (size_t i = 0; i < s.n; i++) {
        if (!is_digit(s.p[i]) && !(s.p[i] >= 'a' && s.p[i] <= 'f'))
            return false;
    }
    return s.n == 8;
}

/* SESSION/REP/FILE */
static enum target_kind media_kind(struct slice rep, struct slice file, struct target *t)
{
    bool still = slice_eq(rep, SLICE("i0"));
    struct slice name;

    if (!rep_is_valid(rep))
        return TARGET_OTHER;
    if (strip_suffix(file, SLICE(".m4s"), &name) && !still && number_is_valid(name, &t->number))
        return TARGET_SEGMENT;
    if (strip_suffix(file, SLICE(".jpg"), &name) && still && number_is_valid(name, &t->number))
        return TARGET_STILL;
    if (strip_suffix(file, SLICE(".mp4"), &name) && !still && name.n == 13 &&
        memcmp(name.p, "init-", 5) == 0 && is_hash8(slice_of(name.p + 5, 8))) {
        t->hash = slice_of(name.p + 5, 8);
        return TARGET_INIT;
    }
    return TARGET_OTHER;
}

/* FILE of APP/STREAM or of APP/STREAM/SESSION */
static enum target_kind document_kind(struct slice file, bool in_session, struct slice *rep)
{
    struct slice name;

    if (slice_eq(file, SLICE("manifest.mpd")))
        return TARGET_MANIFEST;
    if (slice_eq(file, SLICE("master.m3u8")))
        return TARGET_MASTER;
    if (!in_session && slice_eq(file, SLICE("thumb.jpg")))
        return TARGET_THUMB;
    if (strip_suffix(file, SLICE(".m3u8"), &name) && rep_is_valid(name) && name.p[0] != 'i') {
        *rep = name;
        return TARGET_PLAYLIST;
    }
    return TARGET_OTHER;
}

/* Splits at '/', at most max + 1 pieces; the number of pieces. */
static size_t split(struct slice s, struct slice *seg, size_t max)
{
    size_t n = 0, start = 0;

    for (size_t i = 0; i <= s.n; i++) {
        if (i < s.n && s.p[i] != '/')
            continue;
        if (n == max)
            return max + 1;
        seg[n++] = slice_of(s.p + start, i - start);
        start = i + 1;
    }
    return n;
}

/* APP/STREAM/... once the app is known to be no reserved word. */
static enum target_kind app_kind(const struct slice *seg, size_t n, struct target *t)
{
    enum target_kind kind = TARGET_OTHER;
    bool in_session = n == 4 || n == 5;
    struct slice rep = { .p = NULL };

    if (n < 3 || n > 5 || !name_is_valid(seg[0]) || !name_is_valid(seg[1]) ||
        (in_session && !session_is_valid(seg[2])))
        return TARGET_OTHER;
    if (n == 5) {
        kind = media_kind(seg[3], seg[4], t);
        rep = seg[3];
    } else {
        kind = document_kind(seg[n - 1], in_session, &rep);
    }
    if (kind == TARGET_OTHER)
        return kind;
    t->stream = seg[1];
    if (in_session)
        t->session = seg[2];
    t->rep = rep;
    return kind;
}

static bool is_token(struct slice s)
{
    for (size_t i = 0; i < s.n; i++) {
        uint8_t l = ascii_lower(s.p[i]);

        if (!is_digit(l) && !(l >= 'a' && l <= 'z') && l != '-')
            return false;
    }
    return s.n > 0 && s.n <= 128;
}

/* Takes /p/TOKEN off a path that has it. What follows is the same tree, without the reserved. */
static void strip_token(struct target *t)
{
    const uint8_t *end;
    struct slice token;

    if (t->path.n < 4 || memcmp(t->path.p, "/p/", 3) != 0)
        return;
    end = memchr(t->path.p + 3, '/', t->path.n - 3);
    if (end == NULL)
        return;
    token = slice_of(t->path.p + 3, (size_t)(end - t->path.p) - 3);
    if (!is_token(token))
        return;
    t->token = token;
    t->path = slice_of(end, t->path.n - 3 - token.n);
}

static enum target_kind kind_of(struct target *t)
{
    struct slice seg[5];
    size_t n = split(slice_of(t->path.p + 1, t->path.n - 1), seg, 5);

    t->app = seg[0];
    t->rest = slice_of(t->path.p + 1 + seg[0].n, t->path.n - 1 - seg[0].n);
    if (t->app.n == 0)
        return t->token.p != NULL ? TARGET_RESERVED : TARGET_ROOT;
    if (t->app.p[0] == '_')
        return TARGET_TIER;
    if (!name_is_reserved(t->app))
        return app_kind(seg, n, t);
    if (n == 1 && t->token.p == NULL && slice_eq(t->app, SLICE("time")))
        return TARGET_TIME;
    if (n == 3 && slice_eq(t->app, SLICE("watch")) && name_is_valid(seg[1]) &&
        !name_is_reserved(seg[1]) && name_is_valid(seg[2])) {
        t->app = seg[1];
        t->stream = seg[2];
        return TARGET_WATCH;
    }
    return TARGET_RESERVED;
}

enum st target_parse(struct slice target, uint8_t *buf, size_t cap, struct target *out)
{
    const uint8_t *mark = target.n > 0 ? memchr(target.p, '?', target.n) : NULL;
    size_t path_n = mark != NULL ? (size_t)(mark - target.p) : target.n;
    struct writer w = { .p = buf, .cap = cap };
    enum st st;

    *out = (struct target){ .kind = TARGET_OTHER };
    if (slice_eq(target, SLICE("*"))) {
        out->kind = TARGET_STAR;
        out->path = target;
        return ST_OK;
    }
    st = normalise(slice_of(target.p, path_n), &w, &out->path);
    if (st == ST_OK && mark != NULL)
        st = strip_cmcd(slice_of(mark + 1, target.n - path_n - 1), &w, out);
    if (st != ST_OK)
        return st;
    strip_token(out);
    out->kind = kind_of(out);
    return ST_OK;
}

const char *target_kind_name(enum target_kind k)
{
    static const char *const names[] = {
#define X(name, what) #name,
        TARGET_KINDS(X)
#undef X
    };

    return names[k];
}

bool target_param(struct slice query, const char *name, struct slice *value)
{
    size_t len = strlen(name);

    while (query.n > 0) {
        const uint8_t *amp = memchr(query.p, '&', query.n);
        size_t n = amp != NULL ? (size_t)(amp - query.p) : query.n;

        if (n >= len && memcmp(query.p, name, len) == 0 && (n == len || query.p[len] == '=')) {
            *value = slice_of(query.p + len + (n > len), n - len - (n > len));
            return true;
        }
        n += amp != NULL;
        query.p += n;
        query.n -= n;
    }
    return false;
}
