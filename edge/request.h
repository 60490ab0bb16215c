/* edge/request.h - one request, from its head to the last byte of its answer
 *
 * Purpose   everything about a request that HTTP/1 and HTTP/2 have in common: what it names, which
 *           object answers it, waiting for that, conditions and ranges, and the body pulled piece
 *           by piece out of an object that may still grow. The protocol drivers (http1_conn.c,
 *           http2_conn.c) write what is decided here.
 * Flow      request_begin() -> ops->ready(), at once or later -> request_avail()/_take() until
 *           `last`; MORE there means that ops->more() will come. After a failure of _avail() the
 *           driver breaks the transport off: the client must see that it is not whole.
 * Owner     the driver embeds it, request_fini() before it goes. The head and what it borrows from
 *           must live until then.
 * Thread    the connection's loop.
 * Errors    request_avail: EIO, the upstream broke off and nothing could be resumed.
 * Tests     tests/vtc/, tests/e2e/
 */
#ifndef EDGE_REQUEST_H
#define EDGE_REQUEST_H

#include <stdbool.h>
#include <stdint.h>

#include "core/addr.h"
#include "core/h2.h"
#include "core/metric.h"
#include "core/own.h"
#include "core/timer.h"
#include "edge/front.h"
#include "edge/http_head.h"
#include "edge/range.h"
#include "edge/target.h"
#include "edge/view.h"

struct front_loop;
struct request;

/* Bytes made for one answer: error texts, /time, the admin pages. */
struct blob {
    struct own own;
    size_t len;
    uint8_t data[];
};
struct blob *blob_new(const void *p, size_t len); /* p NULL: to be filled in; NULL: no memory */

struct request_ops {
    void (*ready)(struct request *r); /* answer is decided: write its head, then pull */
    void (*more)(struct request *r);  /* request_avail() has something to say */
};

/* What is to be sent. */
struct answer {
    int status;
    int64_t length;   /* of the body that follows; -1: until it ends */
    bool no_body;     /* HEAD, 204, 304: the headers of a body, but none */
    const char *type; /* content-type, "" for none */
    const char *cache_control;
    const char *policy;           /* content-security-policy, NULL for none */
    const char *allow;            /* 405, OPTIONS */
    char content_range[80];       /* "" for none */
    char lines[64];               /* further ones, as in struct gobj_head; "" for none */
    const struct gobj_head *head; /* of the object it comes from, or NULL */
    uint64_t age_s;
};

enum request_phase { REQUEST_NEW, REQUEST_PARKED, REQUEST_ANSWERED };

struct request {
    int magic;
    enum request_phase phase;
    struct front_loop *front;
    const struct request_ops *ops;
    const struct http_head *head; /* borrowed */
    struct addr peer;
    enum front_profile profile; /* of the listener it came in on */
    bool wait_complete;         /* HTTP/1.0: no chunks, so the length must be known */
    uint8_t asked;              /* how often the object went away under us */
    enum metric_cache result;
    enum metric_object object; /* for the metrics */
    uint64_t begun_us, answered_us;
    uint64_t sent_bytes; /* of the body, handed to the connection */

    struct target target;
    uint64_t hash;
    unsigned home;
    uint16_t key_len;
    struct range range;

    struct view *view; /* one reference */
    struct view_waiter waiter;
    struct timer timer; /* bounds a wait that the object does not */
    bool holding;       /* counted as held for its stream */

    struct answer answer;
    struct blob *blob; /* the body when there is no view */
    uint64_t off, end; /* of the object or blob; end UINT64_MAX: where it ends */
    struct gobj_cursor cursor;

    uint8_t spelling[TARGET_PATH_MAX]; /* where target_parse() may put a normalised path */
    char key[TARGET_PATH_MAX + 1024];
};

void request_init(struct request *r, struct front_loop *f, const struct request_ops *ops,
                  const struct addr *peer, enum front_profile profile);
void request_fini(struct request *r); /* no more ops */

/* head NULL: nothing could be read, answer `refusal`. Calls ops->ready(), now or later. */
void request_begin(struct request *r, const struct http_head *head);

/* The next bytes of the body, at most max: OK with *n > 0 or *last; MORE: ops->more() will come. */
MUST_USE enum st request_avail(struct request *r, size_t max, size_t *n, bool *last);
/* For the metrics: which of our faces was asked. */
static inline enum metric_tier request_tier(const struct request *r)
{
    return r->profile == FRONT_TIER ? METRIC_TIER_ORIGIN : METRIC_TIER_EDGE;
}
/* Whether the answer comes from the index; then r->result says how. */
static inline bool request_used_store(const struct request *r)
{
    return r->answer.head != NULL || r->result == METRIC_CACHE_NEGATIVE;
}
/* Exactly the n bytes that request_avail() offered, in at most max slices; how many. */
int request_take(struct request *r, size_t n, struct h2_slice *s, int max);

#endif
