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

enum { QUERY_MAX = 256 };

struct signing {
    const struct conf *conf;
    const struct conf_app *app;
    char stream[AUTH_NAME_MAX + 1];
    uint64_t exp_s; /* 0: never */
    char query[QUERY_MAX];
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
    if (s->app == NULL || s->app->publish == CONF_PUBLISH_NONE)
        return err_set(err, ST_ECONF, "apps.%.*s: no such app, or nobody may publish there", (int)n,
                       name);
    (void)snprintf(s->stream, sizeof s->stream, "%s", slash + 1);
    return ST_OK;
}

static enum st find_key(const struct conf *c, const char *kid, struct auth_key *key,
                        struct err *err)
{
    const struct conf_secret *found = NULL;

    for (size_t i = 0; i < c->secrets.publish_n; i++)
        if (kid == NULL || strcmp(c->secrets.publish[i].name, kid) == 0)
            found = &c->secrets.publish[i];
    if (found == NULL)
        return err_set(err, ST_ECONF, "secrets.publish%s%s: no such key in %s",
                       kid != NULL ? "." : "", kid != NULL ? kid : "", c->path);
    return keys_read(found, key, err);
}

static enum st sign(struct signing *s, const struct cmd_args *a, struct err *err)
{
    uint64_t now_s = (uint64_t)clock_wall_us() / SEC_US;
    struct auth_key key;
    enum st st;

    if (!read_exp(a->exp != NULL ? a->exp : "24h", now_s, &s->exp_s))
        return err_set(err, ST_ECONF, "--exp %s: wanted is 24h, a Unix time, or 0", a->exp);
    st = find_target(s, a->word[1], err);
    if (st != ST_OK)
        return st;
    if (s->exp_s == 0 && s->app->permanent_keys == CONF_NO)
        return err_set(err, ST_ECONF, "apps.%s.permanent_keys: a key for ever is not allowed here",
                       s->app->name);
    if (s->exp_s != 0 && s->exp_s <= now_s)
        (void)fputs("note: this time is past already\n", stderr);
    st = find_key(s->conf, a->kid, &key, err);
    if (st != ST_OK)
        return st;
    st = auth_sign(&key, s->app->name, s->stream, s->exp_s, s->query, sizeof s->query);
    keys_forget(&key, 1);
    return st == ST_OK ? st : err_set(err, st, "cannot sign: %s", st_name(st));
}

static void print(const struct signing *s, bool json)
{
    json_t *bases = urls_of_conf(s->conf, "ingest.listen"), *urls = json_array(), *one;
    char until[40] = "never";
    time_t t = (time_t)s->exp_s;
    struct tm tm;
    size_t i;

    json_array_foreach(bases, i, one)
    {
        (void)json_array_append_new(urls, json_sprintf("%s/%s/%s?%s", json_string_value(one),
                                                       s->app->name, s->stream, s->query));
    }
    if (json) {
        cmd_print_json(json_pack("{s:b, s:s, s:I, s:o}", "ok", 1, "query", s->query, "exp",
                                 (json_int_t)s->exp_s, "urls", urls));
    } else {
        if (s->exp_s != 0 && gmtime_r(&t, &tm) != NULL)
            (void)strftime(until, sizeof until, "%Y-%m-%d %H:%M:%S UTC", &tm);
        (void)printf("query     %s\nexpires   %s\n", s->query, until);
        urls_print_publish(stdout, bases, s->app->name, s->stream, s->query);
        json_decref(urls);
    }
    json_decref(bases);
}

static int run(const struct cmd_args *a)
{
    const struct conf *drop;
    struct signing s = { .conf = NULL };
    struct err err = { .text = "" };
    enum st st;

    if (strcmp(a->word[0], "publish") != 0) {
        (void)fprintf(stderr, "freshet sign: wanted is publish, not %s\n", a->word[0]);
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
    .usage = "publish APP/STREAM [--exp WHEN] [--kid KID] [--json]\n"
             "                    [-c FILE | [--state-dir DIR] [--runtime-dir DIR]]",
    .summary = "make a signed publish URL",
    .details =
        "Signs with a key of the configuration's secrets.publish, and prints what to paste into\n"
        "OBS and ffmpeg. The expiry gates the start of a broadcast, not its end.\n"
        "Without -c: the key that `freshet run` without -c has made.",
    .run = run,
};
