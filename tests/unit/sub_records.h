/* tests/unit/sub_records.h - what a home says to its subscribers, as bytes
 *
 * Purpose   for tests of those who listen: each call adds one record to b.
 */
#ifndef TESTS_UNIT_SUB_RECORDS_H
#define TESTS_UNIT_SUB_RECORDS_H

#include <stdio.h>
#include <string.h>

#include "core/buf.h"
#include "core/record.h"

#define SUB_SESSION "m0abcdefghij1"
#define SUB_LOGID "00112233445566aa"
#define SUB_NOW INT64_C(1800000000000000) /* the clock of fetch_world.h */

static inline void sub_text(struct buf *b, enum record_type type, uint64_t seq, const char *json)
{
    record_put_text(b, type, 0, seq, json, strlen(json), 0);
}

/* v0: first..latest; 0 for none of it */
static inline void sub_snapshot_of(struct buf *b, uint64_t seq, const char *session, bool live,
                                   unsigned epoch, unsigned first, unsigned latest, unsigned docs)
{
    char json[512], reps[128] = "";

    if (latest > 0)
        (void)snprintf(reps, sizeof reps, "\"v0\":{\"first\":%u,\"latest\":%u,\"open\":true}",
                       first, latest);
    (void)snprintf(json, sizeof json,
                   "{\"logid\":\"" SUB_LOGID "\",\"session\":\"%s\",\"epoch\":%u,\"live\":%s,"
                   "\"segment\":2000000,\"now\":%lld,\"docs\":%u,\"reps\":{%s}}",
                   session, epoch, live ? "true" : "false", (long long)SUB_NOW, docs, reps);
    sub_text(b, RECORD_SNAPSHOT, seq, json);
}

static inline void sub_snapshot(struct buf *b, uint64_t seq, unsigned first, unsigned latest,
                                unsigned docs)
{
    sub_snapshot_of(b, seq, SUB_SESSION, true, 5, first, latest, docs);
}

static inline void sub_doc(struct buf *b, uint64_t seq, const char *name, const char *body)
{
    char json[256];
    int n = snprintf(json, sizeof json,
                     "{\"name\":\"%s\",\"type\":\"application/dash+xml\",\"etag\":\"e%zu\","
                     "\"max_age\":1,\"at\":%lld}",
                     name, strlen(body), (long long)SUB_NOW);

    record_put_text(b, RECORD_DOC, 0, seq, json, (size_t)n, strlen(body));
    buf_add(b, body, strlen(body));
}

static inline void sub_announce(struct buf *b, uint64_t seq, unsigned n)
{
    char json[128];

    (void)snprintf(json, sizeof json,
                   "{\"session\":\"" SUB_SESSION "\",\"rep\":\"v0\",\"n\":%u,\"at\":%lld}", n,
                   (long long)SUB_NOW);
    sub_text(b, RECORD_ANNOUNCE, seq, json);
}

static inline void sub_close(struct buf *b, uint64_t seq, unsigned n, unsigned size)
{
    char json[128];

    (void)snprintf(json, sizeof json,
                   "{\"session\":\"" SUB_SESSION "\",\"rep\":\"v0\",\"n\":%u,\"size\":%u}", n,
                   size);
    sub_text(b, RECORD_SCLOSE, seq, json);
}

static inline void sub_expire(struct buf *b, uint64_t seq, unsigned first)
{
    char json[64];

    (void)snprintf(json, sizeof json, "{\"rep\":\"v0\",\"first\":%u}", first);
    sub_text(b, RECORD_EXPIRE, seq, json);
}

static inline void sub_beat(struct buf *b, uint64_t seq, bool live, unsigned epoch)
{
    char json[96];

    (void)snprintf(json, sizeof json, "{\"now\":%lld,\"live\":%s,\"epoch\":%u}", (long long)SUB_NOW,
                   live ? "true" : "false", epoch);
    sub_text(b, RECORD_HEARTBEAT, seq, json);
}

static inline void sub_end(struct buf *b, uint64_t seq) { sub_text(b, RECORD_END, seq, "{}"); }

#endif
