/* Answers that come from no object: errors, /time, pages. */
#include "edge/request_int.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "core/check.h"
#include "core/clock.h"
#include "edge/front_int.h"
#include "edge/pages.h"

static void free_blob(struct own *o) { free(CONTAINER_OF(o, struct blob, own)); }

struct blob *blob_new(const void *p, size_t len)
{
    struct blob *b = malloc(sizeof *b + len);

    if (b == NULL)
        return NULL;
    own_init(&b->own, free_blob);
    b->len = len;
    if (p != NULL && len > 0)
        memcpy(b->data, p, len);
    return b;
}

void request_drop_blob(struct request *r)
{
    struct own *own = r->blob != NULL ? &r->blob->own : NULL;

    r->blob = NULL;
    own_unref(&own);
}

static void answer_blob(struct request *r, int status, const char *type, const char *cache_control,
                        struct blob *b)
{
    request_drop_view(r);
    r->blob = b;
    r->answer.status = status;
    r->answer.type = b != NULL ? type : "";
    r->answer.cache_control = cache_control;
    r->answer.length = b != NULL ? (int64_t)b->len : 0;
    r->off = 0;
    r->end = b != NULL ? b->len : 0;
    request_answered(r);
}

static const char *reason_text(int status)
{
    switch (status) {
    case 400:
        return "bad request";
    case 404:
        return "not found";
    case 405:
        return "only GET, HEAD and OPTIONS";
    case 410:
        return "no longer in the window";
    case 413:
        return "requests have no body here";
    case 414:
        return "target too long";
    case 416:
        return "no such range";
    case 431:
        return "request head too large";
    case 502:
        return "upstream failed";
    case 503:
        return "busy, try again";
    case 504:
        return "upstream did not answer in time";
    default:
        return "refused";
    }
}

void request_error_text(struct request *r, int status, const char *why)
{
    static const char retry_soon[] = "retry-after: 1\r\n";
    char text[96];
    int n = snprintf(text, sizeof text, "%d %s\n", status, why);

    if (status == 405)
        r->answer.allow = "GET, HEAD, OPTIONS";
    if (status == 503 && r->answer.lines[0] == '\0')
        memcpy(r->answer.lines, retry_soon, sizeof retry_soon);
    answer_blob(r, status, "text/plain; charset=utf-8", "no-store", blob_new(text, (size_t)n));
}

void request_error(struct request *r, int status)
{
    request_error_text(r, status, reason_text(status));
}

void request_options(struct request *r)
{
    r->answer.allow = "GET, HEAD, OPTIONS";
    r->answer.no_body = true;
    answer_blob(r, 204, "", "max-age=86400", NULL);
}

void request_time(struct request *r)
{
    int64_t us = clock_wall_us();
    time_t s = (time_t)(us / (int64_t)SEC_US);
    struct tm tm;
    char text[64];
    int n;

    (void)gmtime_r(&s, &tm);
    n = snprintf(text, sizeof text, "%04d-%02d-%02dT%02d:%02d:%02d.%03dZ", tm.tm_year + 1900,
                 tm.tm_mon + 1, tm.tm_mday, tm.tm_hour, tm.tm_min, tm.tm_sec,
                 (int)(us % (int64_t)SEC_US / 1000));
    answer_blob(r, 200, "text/plain; charset=utf-8", "no-store", blob_new(text, (size_t)n));
}

static const struct front_page no_page = { .status = 404, .type = "text/plain; charset=utf-8" };

static void answer_page(struct request *r, const struct front_page *page)
{
    if (page->body == NULL) {
        request_error(r, page->status == 200 ? 503 : page->status);
        return;
    }
    r->answer.policy = page->policy;
    answer_blob(r, page->status, page->type,
                page->cache_control != NULL ? page->cache_control : "no-store", page->body);
}

void request_admin(struct request *r)
{
    struct front_page page = no_page;
    const struct front_hooks *hooks = &r->front->front->hooks;

    r->object = METRIC_OBJECT_ADMIN;
    hooks->admin(hooks->ctx, r->front->loop, r->head, &r->target, &page);
    answer_page(r, &page);
}

/* The player page of a stream that could live here, and its files. False: none of them. */
bool request_watch(struct request *r)
{
    struct front_page page = no_page;

    if (!pages_watch(r->front, &r->target, &page))
        return false;
    answer_page(r, &page);
    return true;
}
