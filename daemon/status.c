#include "daemon/status.h"

#include <string.h>
#include <unistd.h>

#include "core/clock.h"
#include "core/loop.h"
#include "daemon/edge_part.h"
#include "daemon/process.h"
#include "edge/fetch.h"

static void add_upstream(void *arg, const struct fetch_upstream *u)
{
    (void)json_array_append_new(arg, json_pack("{s:s, s:i, s:i, s:i, s:i}", "upstream", u->url,
                                               "fills", (int)u->fills, "ok_10s", (int)u->ok,
                                               "bad_10s", (int)u->bad, "loops_open", (int)u->open));
}

void status_ask(struct loop *l, json_t *list)
{
    if (l->slot[LOOP_FETCH] != NULL)
        fetch_each_upstream(l, add_upstream, list);
}

/* In words for people: left alone by some loop, more failures than answers, answers, not asked. */
static const char *state_of(const json_t *u)
{
    json_int_t ok = json_integer_value(json_object_get(u, "ok_10s"));
    json_int_t bad = json_integer_value(json_object_get(u, "bad_10s"));

    if (json_integer_value(json_object_get(u, "loops_open")) > 0)
        return "open";
    if (bad > ok)
        return "failing";
    return ok > 0 ? "ok" : "idle";
}

static json_t *one_upstream(const char *url, const json_t *seen)
{
    static const char *const names[] = { "fills", "ok_10s", "bad_10s", "loops_open" };
    json_t *u = json_pack("{s:s}", "url", url), *one;
    size_t i;

    for (size_t k = 0; k < sizeof names / sizeof names[0]; k++) {
        json_int_t sum = 0;

        json_array_foreach(seen, i, one)
        {
            const char *of = json_string_value(json_object_get(one, "upstream"));

            if (of != NULL && strcmp(of, url) == 0)
                sum += json_integer_value(json_object_get(one, names[k]));
        }
        (void)json_object_set_new(u, names[k], json_integer(sum));
    }
    (void)json_object_set_new(u, "state", json_string(state_of(u)));
    return u;
}

static void add_once(json_t *list, const char *url, const json_t *seen)
{
    json_t *one;
    size_t i;

    if (url[0] == '\0')
        return;
    json_array_foreach(list, i, one)
    {
        if (strcmp(json_string_value(json_object_get(one, "url")), url) == 0)
            return;
    }
    (void)json_array_append_new(list, one_upstream(url, seen));
}

/* Those that the configuration names, asked or not. */
static json_t *upstreams(const struct conf *c, const json_t *seen)
{
    json_t *list = json_array();

    for (size_t i = 0; list != NULL && i < c->edge.upstream_n; i++)
        add_once(list, c->edge.upstream[i].text, seen);
    for (size_t i = 0; list != NULL && i < c->apps_n; i++)
        add_once(list, c->apps[i].origin.text, seen);
    return list;
}

json_t *status_json(struct process *p, const json_t *seen, bool whole)
{
    const struct conf *c = p->conf;
    int64_t now_us = clock_wall_us();

    return json_pack("{s:b, s:s, s:s, s:I, s:s, s:I, s:i, s:f, s:I, s:b, s:o, s:o}", "ok", 1,
                     "node", c->node.id, "version", FRESHET_VERSION, "pid", (json_int_t)getpid(),
                     "config", c->path, "generation", (json_int_t)c->generation, "loops",
                     p->loops_n, "uptime_s", (double)(now_us - p->started_us) / 1e6, "at_us",
                     (json_int_t)now_us, "whole", whole, "upstreams", upstreams(c, seen), "metrics",
                     edge_metrics_json(p));
}
