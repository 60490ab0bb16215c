#include <ctype.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "core/clock.h"
#include "daemon/cmd.h"
#include "daemon/keys.h"
#include "daemon/urls.h"
#include "edge/token.h"
#include "ingest/auth.h"

enum { SIGNED_MAX = 256 };

struct signing {
    enum keys_for what;
    const struct conf *conf;
    const struct conf_app *app;
    char stream[AUTH_NAME_MAX + 1];
    uint64_t exp_s;           /* 0: never */
    char signed_[SIGNED_MAX]; /* the query of a stream key, or a play token */
};

static bool name_is_good(const char *s, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (!isalnum((unsigned char)s[i]) && (i == 0 || (s[i] != '_' && s[i] != '-')))
            return false;
    return n >= 1 && n <= AUTH_NAME_MAX;
}

/* "0", a Unix time, or a span from now: 90s 15m 24h 30d. */
static bool read_exp(const char *text, uint64_t now_s, uint64_t *exp_s)
{
    static const struct {
        char unit;
        uint64_t s;
    } units[] = { { 's', 1 }, { 'm', 60 }, { 'h', 3600 }, { 'd', 86400 } };
    const uint64_t most = UINT64_C(1) << 40; /* far beyond anybody's clock */
    char *end;
    uint64_t v;

    if (!isdigit((unsigned char)text[0]))
        return false;
    errno = 0;
    v = strtoull(text, &end, 10);
    if (errno != 0 || v > most)
        return false;
    *exp_s = v;
    if (*end == '\0')
        return true;
    for (size_t i = 0; i < sizeof units / sizeof units[0]; i++)
        if (end[0] == units[i].unit && end[1] == '\0' && v > 0 && v <= most / units[i].s) {
            *exp_s = now_s + v * units[i].s;
            return true;
        }
    return false;
}

static enum st find_target(struct signing *s, const char *name, struct err *err)
{
    const char *slash = strchr(name, '/');
    size_t n = slash != NULL ? (size_t)(slash - name) : 0;

    if (slash == NULL || !name_is_good(name, n) || !name_is_good(slash + 1, strlen(slash + 1)))
        return err_set(err, ST_ECONF, "%s: wanted is APP/STREAM, each 1 to 64 of A-Z a-z 0-9 _ -",
                       name);
    for (size_t i = 0; i < s->conf->apps_n; i++)
        if (strlen(s->conf->apps[i].name) == n && memcmp(s->conf->apps[i].name, name, n) == 0)
            s->app = &s->conf->apps[i];
    if (s->app == NULL)
        return err_set(err, ST_ECONF, "apps.%.*s: no such app", (int)n, name);
    (void)snprintf(s->stream, sizeof s->stream, "%s", slash + 1);
    return ST_OK;
}

/* What the app has to say about it. */
static enum st may_sign(const struct signing *s, struct err *err)
{
    const char *app = s->app->name;

    if (s->what == KEYS_PUBLISH && s->app->publish == CONF_PUBLISH_NONE)
        return err_set(err, ST_ECONF, "apps.%s.publish: nobody may publish there", app);
    if (s->what == KEYS_PUBLISH && s->exp_s == 0 && s->app->permanent_keys == CONF_NO)
        return err_set(err, ST_ECONF, "apps.%s.permanent_keys: a key for ever is not allowed here",
                       app);
    if (s->what == KEYS_PLAY && s->exp_s == 0)
        return err_set(err, ST_ECONF, "--exp 0: a play token ends some day");
    if (s->what == KEYS_PLAY && s->app->origin.text[0] != '\0')
        return err_set(err, ST_ECONF, "apps.%s.origin: there are no tokens for an outside origin",
                       app);
    if (s->what == KEYS_PLAY && s->app->play == CONF_PLAY_OPEN)
        (void)fprintf(stderr, "note: apps.%s.play is open, nobody asks for this token\n", app);
    return ST_OK;
}

static enum st find_key(const struct signing *s, const char *kid, struct auth_key *key,
                        struct err *err)
{
    const struct conf_secret *found = NULL;
    size_t n;
    const struct conf_secret *list = keys_list(s->what, s->conf, &n);

    for (size_t i = 0; i < n; i++)
        if (kid == NULL || strcmp(list[i].name, kid) == 0)
            found = &list[i];
    if (found == NULL)
        return err_set(err, ST_ECONF, "%s%s%s: no such key in %s", keys_section(s->what),
                       kid != NULL ? "." : "", kid != NULL ? kid : "", s->conf->path);
    return keys_read(s->what, found, key, err);
}

static enum st sign(struct signing *s, const struct cmd_args *a, struct err *err)
{
    uint64_t now_s = (uint64_t)clock_wall_us() / SEC_US;
    struct auth_key key;
    enum st st;

    if (!read_exp(a->exp != NULL ? a->exp : "24h", now_s, &s->exp_s))
        return err_set(err, ST_ECONF, "--exp %s: wanted is 24h, a Unix time, or 0", a->exp);
    st = find_target(s, a->word[1], err);
    if (st == ST_OK)
        st = may_sign(s, err);
    if (st != ST_OK)
        return st;
    if (s->exp_s != 0 && s->exp_s <= now_s)
        (void)fputs("note: this time is past already\n", stderr);
    st = find_key(s, a->kid, &key, err);
    if (st != ST_OK)
        return st;
    if (s->what == KEYS_PLAY)
        st = token_make(&key, s->app->name, s->stream, s->exp_s, s->signed_);
    else
        st = auth_sign(&key, s->app->name, s->stream, s->exp_s, s->signed_, sizeof s->signed_);
    keys_forget(&key, 1);
    return st == ST_OK ? st : err_set(err, st, "cannot sign: %s", st_name(st));
}

static json_t *one_url(const struct signing *s, const char *base)
{
    if (s->what == KEYS_PUBLISH)
        return json_sprintf("%s/%s/%s?%s", base, s->app->name, s->stream, s->signed_);
    return json_sprintf("%s/p/%s/%s/%s/manifest.mpd", base, s->signed_, s->app->name, s->stream);
}

static void print_play_urls(const struct signing *s, const json_t *bases)
{
    json_t *one;
    size_t i;

    json_array_foreach(bases, i, one)
    {
        const char *base = json_string_value(one);

        (void)printf("  browser %s/p/%s/watch/%s/%s\n"
                     "  player  %s/p/%s/%s/%s/manifest.mpd\n",
                     base, s->signed_, s->app->name, s->stream, base, s->signed_, s->app->name,
                     s->stream);
    }
}

static void print(const struct signing *s, bool json)
{
    bool play = s->what == KEYS_PLAY;
    json_t *bases = urls_of_conf(s->conf, play ? "edge.listen" : "ingest.listen");
    json_t *urls = json_array(), *one;
    char until[40] = "never";
    time_t t = (time_t)s->exp_s;
    struct tm tm;
    size_t i;

    json_array_foreach(bases, i, one)
    {
        (void)json_array_append_new(urls, one_url(s, json_string_value(one)));
    }
    if (json) {
        cmd_print_json(json_pack("{s:b, s:s, s:I, s:o}", "ok", 1, play ? "token" : "query",
                                 s->signed_, "exp", (json_int_t)s->exp_s, "urls", urls));
    } else {
        if (s->exp_s != 0 && gmtime_r(&t, &tm) != NULL)
            (void)strftime(until, sizeof until, "%Y-%m-%d %H:%M:%S UTC", &tm);
        (void)printf("%-9s %s\nexpires   %s\n", play ? "token" : "query", s->signed_, until);
        if (play)
            print_play_urls(s, bases);
        else
            urls_print_publish(stdout, bases, s->app->name, s->stream, s->signed_);
        json_decref(urls);
    }
    json_decref(bases);
}

static int run(const struct cmd_args *a)
{
    const struct conf *drop;
    struct signing s = { .what = KEYS_PUBLISH };
    struct err err = { .text = "" };
    enum st st;

    if (strcmp(a->word[0], "play") == 0)
        s.what = KEYS_PLAY;
    else if (strcmp(a->word[0], "publish") != 0) {
        (void)fprintf(stderr, "freshet sign: wanted is publish or play, not %s\n", a->word[0]);
        return 2;
    }
    drop = s.conf = cmd_conf(a, stderr);
    if (s.conf == NULL)
        return 1;
    st = sign(&s, a, &err);
    if (st == ST_OK)
        print(&s, a->json);
    else
        (void)fprintf(stderr, "%s\n", err.text);
    if (st != ST_OK && a->json)
        cmd_print_json(json_pack("{s:b, s:s}", "ok", 0, "error", err.text));
    conf_unref(&drop);
    return st == ST_OK ? 0 : 1;
}

const struct cmd cmd_sign = {
    .name = "sign",
    .takes = CMD_CONFIG | CMD_DIR | CMD_STATE | CMD_JSON | CMD_SIGN,
    .usage = "publish|play APP/STREAM [--exp WHEN | --for SPAN] [--kid KID] [--json]\n"
             "                    [-c FILE | [--state-dir DIR] [--runtime-dir DIR]]",
    .summary = "make a signed publish or play URL",
    .details =
        "publish: signs with a key of the configuration's secrets.publish, and prints what to\n"
        "paste into OBS and ffmpeg. The expiry gates the start of a broadcast, not its end.\n"
        "Without -c: the key that `freshet run` without -c has made.\n"
        "play: signs with a key of secrets.play, and prints the token and the URLs to watch.",
    .run = run,
};
