/* edge/target.h - what a request target names
 *
 * Purpose   turn the target of a request into a path in its one spelling, a query, and what they
 *           mean under design's play URLs. The path is the cache key, so two spellings of one
 *           resource must not survive, and no spelling that a server behind us may read as another
 *           path (encoded slashes, dots, semicolons, empty segments) is let through at all.
 *           A play token (/p/TOKEN/...) and CMCD are taken off: neither makes another key.
 * Spec      RFC 3986 section 6.2.2; CTA-5004.
 * Units     bytes.
 * Owner     slices borrow from the target, or from the caller's buffer where the spelling had to
 *           change.
 * Thread    pure.
 * Errors    EPROTO: answer 400. ELIMIT: path or buffer too long, answer 414. A name that breaks
 *           the rules of APP, STREAM, SESSION or REP is no error but TARGET_OTHER.
 * Tests     tests/unit/test_target.c, tests/fuzz/fuzz_target.c
 */
#ifndef EDGE_TARGET_H
#define EDGE_TARGET_H

#include "core/status.h"
#include "edge/slice.h"

#define TARGET_PATH_MAX 2048

/*  kind       URL, and which parts are filled                                      */
#define TARGET_KINDS(X)                                                                 \
    X(OTHER, "anything else; app and rest (an outside origin's path, or 404)")          \
    X(ROOT, "/")                                                                        \
    X(STAR, "* (OPTIONS)")                                                              \
    X(TIME, "/time")                                                                    \
    X(WATCH, "[/p/TOKEN]/watch/APP/STREAM: app, stream")                                \
    X(RESERVED, "under another reserved word: never an app")                            \
    X(TIER, "/_...: between our machines, players get 404")                             \
    X(MANIFEST, "/APP/STREAM[/SESSION]/manifest.mpd: app, stream, session")             \
    X(MASTER, "/APP/STREAM[/SESSION]/master.m3u8: app, stream, session")                \
    X(PLAYLIST, "/APP/STREAM[/SESSION]/REP.m3u8: app, stream, session, rep")            \
    X(THUMB, "/APP/STREAM/thumb.jpg: app, stream")                                      \
    X(INIT, "/APP/STREAM/SESSION/REP/init-HASH8.mp4: all but number; hash")             \
    X(SEGMENT, "/APP/STREAM/SESSION/REP/NUMBER.m4s: app, stream, session, rep, number") \
    X(STILL, "/APP/STREAM/SESSION/i0/NUMBER.jpg: app, stream, session, rep, number")

enum target_kind {
#define X(name, what) TARGET_##name,
    TARGET_KINDS(X)
#undef X
};

struct target {
    enum target_kind kind;
    struct slice path;   /* normalised, begins with '/', without the play token */
    struct slice query;  /* behind the '?', without CMCD; absent when there was none (or nothing
                            else), else unchanged */
    struct slice cmcd;   /* the value of CMCD=, still percent-encoded */
    struct slice token;  /* TOKEN of /p/TOKEN/...; not verified here */
    struct slice app;    /* first segment */
    struct slice rest;   /* path behind the app, with its '/' */
    struct slice stream; /* absent unless the kind has it; so below */
    struct slice session;
    struct slice rep;
    struct slice hash;
    uint64_t number;
};

/* A buffer of target.n bytes does for every target but one with raw bytes that need encoding, which
 * take three for one. ELIMIT when cap does not do. buf may be NULL with cap 0: then only targets
 * that are in their one spelling and carry no CMCD among others pass. */
MUST_USE enum st target_parse(struct slice target, uint8_t *buf, size_t cap, struct target *out);

const char *target_kind_name(enum target_kind k);

/* The first parameter of that name, undecoded. False: none; *value (may be empty) untouched. */
bool target_param(struct slice query, const char *name, struct slice *value);

/* The alphabets of design's names. */
bool name_is_valid(struct slice s);    /* APP, STREAM: 1-64 of A-Za-z0-9_-, first alphanumeric */
bool name_is_reserved(struct slice s); /* as APP: p time api metrics status watch */
bool session_is_valid(struct slice s); /* 13 of 0-9a-z */
bool rep_is_valid(struct slice s);     /* v0-v99, a0-a99, i0 */

#endif
