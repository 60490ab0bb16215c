/* core/conf.h - the configuration: one file, immutable snapshots
 *
 * Purpose   read a YAML file into a typed struct, or say what is wrong with it in words for people;
 *           show it, compare two of them, and put one in force on every loop at once. What keys
 *           there are, their ranges and defaults is one table (core/conf_table.c); doc/CONFIG.md is
 *           printed from it.
 * Spec      YAML 1.2 without anchors, aliases and tags; one document of at most 1 MiB.
 * Units     in the name: _us microseconds, _bytes, _bytes_s bytes per second.
 * Owner     counted references; the last conf_unref(), on any thread, frees. Strings and lists
 *           belong to the snapshot. No string is NULL: an absent one is "".
 * Thread    a snapshot is never written after conf_load(). conf_publish(): one thread that is no
 *           loop, at a time.
 * Errors    ECONF (the report says where and why), EIO (the file), ENOMEM. *out is then NULL.
 * Tests     tests/unit/test_conf.c, tests/unit/test_conf_publish.c, tests/fuzz/fuzz_conf.c
 */
#ifndef CORE_CONF_H
#define CORE_CONF_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "core/addr.h"
#include "core/status.h"

struct conf_block;
struct loop;

enum { CONF_LOOPS_MAX = 256 };

enum conf_scheme {
    CONF_HTTP,
    CONF_HTTPS,
    CONF_UNIX /* HTTP in the clear */,
    CONF_RTMP,
    CONF_RTMPS
};
const char *conf_scheme_name(enum conf_scheme scheme); /* "http", ... */

struct conf_url {
    enum conf_scheme scheme;
    uint16_t port;    /* 0: the kernel picks (listeners only), or a unix socket */
    const char *host; /* lower case, IPv6 without brackets; "" for a unix socket */
    const char *path; /* of a unix socket, else "" */
    const char *text; /* canonical: lower case, with its port; "" for no URL */
};

struct conf_tls_name {
    const char *name; /* as in SNI, lower case; the first label may be "*" */
    const char *cert, *key;
};

enum conf_play { CONF_PLAY_OPEN, CONF_PLAY_SIGNED };
enum conf_publish { CONF_PUBLISH_NONE, CONF_PUBLISH_OPEN, CONF_PUBLISH_LOCAL, CONF_PUBLISH_SIGNED };
enum conf_answer { CONF_NO, CONF_YES };

struct conf_net {
    struct addr_net net;
    const char *text; /* as it was written */
};

struct conf_secret {
    const char *name; /* kid: [a-z0-9]{1,16} */
    const char *file; /* of a key in hexadecimal */
};

struct conf_app {
    const char *name;
    struct conf_url origin; /* text "": the edge's upstreams */
    enum conf_play play;
    uint64_t play_grace_us; /* media go on for so long after a token's EXP */
    enum conf_publish publish;
    enum conf_answer permanent_keys; /* exp=0 is allowed */
    const char *ladder;
};

struct conf_ladder {
    const char *name;
    enum conf_answer copy;
    uint64_t segment_us;
};
enum conf_takeover { CONF_TAKEOVER_NEWEST, CONF_TAKEOVER_OLDEST };

enum conf_log_level { CONF_LOG_ERROR, CONF_LOG_WARN, CONF_LOG_NOTE, CONF_LOG_INFO, CONF_LOG_DEBUG };
enum conf_log_format { CONF_LOG_TEXT, CONF_LOG_JSON };

/* 0 switches a limit off only where the table says so. */
struct conf_edge_limits {
    uint64_t head_bytes, h2_header_list_bytes;
    uint64_t object_bytes;
    uint64_t memory_bytes; /* 0: five quarters of edge.cache_bytes */
    uint64_t slow_rate_bytes_s, slow_window_us, stall_us;
    uint64_t head_timeout_us, handshake_timeout_us, keepalive_us;
    uint64_t hold_us;
    uint64_t connect_timeout_us, response_timeout_us, fill_stall_us;
    uint64_t not_found_ttl_us, error_ttl_us;
    uint32_t per_address, connections;
    uint32_t head_fields, requests_per_connection;
    uint32_t h2_streams, h2_continuations;
    uint32_t h2_reset_burst, h2_reset_rate;       /* rate: per second */
    uint32_t h2_forced_resets, h2_control_frames; /* per 10 s */
    uint32_t held_per_stream, held_per_address, pending_lookups;
    uint32_t upstream_connections; /* HTTP/1 connections per outside origin */
    uint32_t subscriptions;
    uint64_t linger_us;
};

struct conf_ingest_limits {
    uint64_t handshake_timeout_us, publish_timeout_us;
    uint64_t before_bytes, data_bytes, media_bytes; /* of a message */
    uint64_t assembly_bytes, control_queue_bytes;   /* of a connection */
    uint64_t spool_bytes;                           /* of a broadcast */
    uint32_t per_address, unpublished;
    uint32_t streams; /* sessions of the home */
    uint32_t commands_s;
    const struct conf_net *exempt; /* from per_address */
    size_t exempt_n;
};

struct conf_origin_limits {
    uint32_t connections; /* between our machines */
    uint32_t subscriptions;
};

struct conf {
    int magic;
    atomic_int refs;
    uint64_t generation;       /* 1 at start, +1 per good reload */
    const char *path;          /* the file as it was named; "" for the defaults */
    struct conf_block *blocks; /* everything below that is pointed at */

    struct {
        const char *id, *pop;
        uint32_t weight;
    } node;
    uint32_t loops; /* 0: one per core */
    const char *runtime_dir, *state_dir;
    struct {
        const struct conf_url *listen;
        size_t listen_n;
    } admin;
    struct {
        enum conf_log_level level;
        enum conf_log_format format;
        const char *access; /* "off", "stdout", "stderr" or a path */
        enum conf_log_format access_format;
        uint32_t access_sample;
    } log;
    struct {
        struct {
            const char *cert, *key;
            const char *tickets; /* file of session ticket keys, or "" */
        } default_;
        struct {
            const char *cert, *key, *ca;
        } tier;
        const struct conf_tls_name *names;
        size_t names_n;
    } tls;
    struct {
        const struct conf_url *listen;
        size_t listen_n;
        const struct conf_url *upstream;
        size_t upstream_n;
        enum conf_answer push;
        uint64_t cache_bytes;
        struct conf_edge_limits limits;
    } edge;
    struct {
        const struct conf_url *listen;
        size_t listen_n;
        const struct conf_url *relay; /* none: the homes of streams are here */
        size_t relay_n;
        uint64_t reconnect_window_us;
        uint64_t idle_timeout_us;
        uint64_t spool_us;
        enum conf_takeover takeover;
        struct conf_ingest_limits limits;
    } ingest;
    struct {
        uint32_t workers;
        uint64_t chunk_us;
        uint64_t hung_after_us;
        uint64_t quarantine_us;
        const struct conf_ladder *ladders;
        size_t ladders_n;
    } encode;
    struct {
        const struct conf_url *listen;
        size_t listen_n;
        uint64_t window_us;
        struct conf_origin_limits limits;
    } origin;
    struct {
        const struct conf_secret *publish;
        size_t publish_n;
        const struct conf_secret *play;
        size_t play_n;
    } secrets;
    const struct conf_app *apps;
    size_t apps_n;
};

/* What is wrong goes to `report`: "FILE:LINE:COL: key: why", the line and a caret, for each error.
 * An empty file is refused: it may be one that is just being written. */
MUST_USE enum st conf_load(const char *path, uint64_t generation, struct conf **out, FILE *report);
/* The same from memory; `name` stands for the file in the report. */
MUST_USE enum st conf_parse(const char *name, const char *text, size_t len, uint64_t generation,
                            struct conf **out, FILE *report);
/* Every key at its default. NULL: out of memory. */
struct conf *conf_defaults(uint64_t generation);

/* Of that name; "source" is there in any case. NULL: there is none. */
const struct conf_ladder *conf_ladder(const struct conf *c, const char *name);
const struct conf_app *conf_app(const struct conf *c, const char *name, size_t len); /* or NULL */

const struct conf *conf_ref(const struct conf *c);
void conf_unref(const struct conf **cp); /* NULL is a no-op; sets *cp to NULL */

/* The whole configuration in force as YAML that loads to the same. */
void conf_dump(FILE *out, const struct conf *c);

/* When a changed key begins to count. */
enum conf_when {
    CONF_LIVE,         /* at once, for everything */
    CONF_NEW_SESSIONS, /* for what begins after the reload */
    CONF_RESTART       /* after a restart of the process */
};
const char *conf_when_name(enum conf_when when); /* "live", "new-sessions", "restart" */

struct conf_change {
    const char *key;       /* "edge.limits.hold" */
    const char *from, *to; /* as in the file; "" when absent */
    enum conf_when when;
};
/* Calls back once per key whose value differs, in the order of the names. */
MUST_USE enum st conf_diff(const struct conf *from, const struct conf *to,
                           void (*each)(void *arg, const struct conf_change *ch), void *arg);

/* A process cannot take up `restart` keys while it runs: `fresh`, not yet published, gets the
 * values that are in force, so that what a snapshot says is what is done. */
MUST_USE enum st conf_keep_restart(struct conf *fresh, const struct conf *running);

/* Puts `c` in force: each loop swaps loop->conf (its own reference) and then calls `adopted`, which
 * may be NULL, with the one before, which is NULL the first time. Returns when all have done so;
 * the loops must be turning. Allocates nothing and cannot fail. */
void conf_publish(struct loop *const *loops, int n, const struct conf *c,
                  void (*adopted)(struct loop *l, const struct conf *before));

/* doc/CONFIG.md. */
void conf_doc(FILE *f);

#endif
