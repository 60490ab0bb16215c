#include "edge/access.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "core/log_line.h"
#include "core/log_sink.h"
#include "edge/front_int.h"
#include "edge/token.h"

enum { TEXT_MAX = 3072, CMCD_MAX = 512, RUN_MAX = 63 };

struct access_log {
    struct log_sink *sink;
    int fd; /* ours, or -1 */
    bool json;
    uint32_t sample;
};

struct access_log *access_log_new(int fd, bool own_fd, bool json, uint32_t sample)
{
    struct access_log *a = calloc(1, sizeof *a);

    if (a == NULL)
        return NULL;
    a->sink = log_sink_new(fd, LOG_INFO, json ? LOG_JSON : LOG_TEXT);
    if (a->sink == NULL) {
        free(a);
        return NULL;
    }
    a->fd = own_fd ? fd : -1;
    a->json = json;
    a->sample = sample;
    return a;
}

void access_log_free(struct access_log **ap)
{
    struct access_log *a = *ap;

    *ap = NULL;
    if (a == NULL)
        return;
    log_sink_free(&a->sink);
    if (a->fd >= 0)
        (void)close(a->fd);
    free(a);
}

/* --- texts --- */

struct text {
    char *p;
    size_t n, cap;
    bool cut;
};

static void add(struct text *t, const void *p, size_t n)
{
    size_t room = t->cap - t->n;

    t->cut |= n > room;
    n = n < room ? n : room;
    if (n > 0)
        memcpy(t->p + t->n, p, n);
    t->n += n;
}

static void add_hash(struct text *t, struct slice secret)
{
    char hash[TOKEN_HASH_LEN + 1];

    token_hash(secret, hash);
    add(t, "~", 1);
    add(t, hash, TOKEN_HASH_LEN);
}

static bool of_a_run(uint8_t c)
{
    uint8_t l = ascii_lower(c);

    return is_digit(c) || (l >= 'a' && l <= 'z') || c == '%' || c == '-';
}

static void add_masked(struct text *t, struct slice s)
{
    for (size_t at = 0, n; at < s.n; at += n) {
        bool run = of_a_run(s.p[at]);

        for (n = 1; at + n < s.n && of_a_run(s.p[at + n]) == run;)
            n++;
        if (run && n > RUN_MAX)
            add_hash(t, slice_of(s.p + at, n));
        else
            add(t, s.p + at, n);
    }
}

size_t access_mask(struct slice text, char *out, size_t cap, bool *cut)
{
    struct text t = { .p = out, .cap = cap };

    add_masked(&t, text);
    *cut = t.cut;
    return t.n;
}

/* The target as it was understood, without CMCD; what was not understood as it came. */
static void add_path(struct text *t, const struct request *r)
{
    const struct target *g = &r->target;

    if (g->path.p == NULL || r->head->refusal != HTTP_REFUSED_NONE) {
        add_masked(t, r->head->target);
        return;
    }
    if (g->token.p != NULL) {
        add(t, "/p/", 3);
        add_hash(t, g->token);
    }
    add_masked(t, g->path);
    if (g->query.p != NULL) {
        add(t, "?", 1);
        add_masked(t, g->query);
    }
}

/* Of the query, else of the header fields. */
static void add_cmcd(struct text *t, const struct request *r)
{
    static const enum http_field fields[] = { HTTP_FIELD_CMCD_REQUEST, HTTP_FIELD_CMCD_OBJECT,
                                              HTTP_FIELD_CMCD_STATUS, HTTP_FIELD_CMCD_SESSION };

    if (r->target.cmcd.p != NULL) {
        add_masked(t, r->target.cmcd);
        return;
    }
    for (size_t i = 0; i < sizeof fields / sizeof fields[0]; i++) {
        struct slice v = http_head_get(r->head, fields[i]);

        if (v.p == NULL || v.n == 0)
            continue;
        if (t->n > 0)
            add(t, ",", 1);
        add_masked(t, v);
    }
}

static const char *method_of(const struct request *r)
{
    switch (r->head->method) {
    case HTTP_METHOD_GET:
        return "GET";
    case HTTP_METHOD_HEAD:
        return "HEAD";
    case HTTP_METHOD_OPTIONS:
        return "OPTIONS";
    case HTTP_METHOD_POST:
        return "POST";
    case HTTP_METHOD_OTHER:
        return "OTHER";
    case HTTP_METHOD_NONE:
        break;
    }
    return "-";
}

static void put_word(struct log_line *o, const char *key, const char *word)
{
    log_line_text(o, key, word, strlen(word), false);
}

static void put_end(struct log_line *o, const struct request *r, const char *close)
{
    uint64_t now_us = loop_now(r->front->loop);
    bool answered = r->phase == REQUEST_ANSWERED;

    log_line_number(o, "status", answered ? r->answer.status : 0);
    log_line_number(o, "bytes", (int64_t)r->sent_bytes);
    if (answered)
        log_line_number(o, "ttfb_us", (int64_t)(r->answered_us - r->begun_us));
    log_line_number(o, "duration_us", (int64_t)(now_us - r->begun_us));
    put_word(o, "cache",
             answered && request_used_store(r) ? metric_label_text(METRIC_LABEL_CACHE, r->result)
                                               : "-");
    put_word(o, "close", close);
}

void access_put(struct request *r, enum metric_proto proto, bool tls, const char *close)
{
    struct front_loop *f = r->front;
    const struct access_log *a = f->access;
    char peer[ADDR_TEXT_MAX], buf[TEXT_MAX];
    struct text t = { .p = buf, .cap = sizeof buf };
    struct log_line o;

    if (a == NULL || r->profile == FRONT_ADMIN || f->access_seen++ % a->sample != 0)
        return;
    log_line_begin(&o, a->json);
    put_word(&o, "peer", addr_text(&r->peer, peer));
    put_word(&o, "tier", metric_label_text(METRIC_LABEL_TIER, request_tier(r)));
    put_word(&o, "proto", metric_label_text(METRIC_LABEL_PROTO, proto));
    put_word(&o, "tls", tls ? "yes" : "no");
    put_word(&o, "method", method_of(r));
    add_path(&t, r);
    log_line_text(&o, "path", buf, t.n, false);
    o.cut |= t.cut;
    put_end(&o, r, close);
    t = (struct text){ .p = buf, .cap = CMCD_MAX };
    add_cmcd(&t, r);
    if (t.n > 0)
        log_line_text(&o, "cmcd", buf, t.n, false);
    o.cut |= t.cut;
    log_line_end(&o);
    if (!log_sink_put(a->sink, o.b, o.n))
        metric_add(&f->loop->metrics->access_log_dropped, 1);
}
