/* core/status.h - the result of any operation that can fail
 *
 * Purpose   zero is success, positive means "fine, but not finished", negative is a failure. The
 *           names live in one list so that logs, metrics and tests print the same word.
 *           struct err is detail for people, filled on cold paths only (start, reload, admin).
 * Thread    any; no state.
 * Tests     tests/unit/test_loop.c
 */
#ifndef CORE_STATUS_H
#define CORE_STATUS_H

/*  name     value  what it tells the caller                               */
#define ST_LIST(X)                                                        \
    X(OK, 0, "done")                                                      \
    X(MORE, 1, "not yet: wait, or give more input; nothing was consumed") \
    X(EOF, 2, "the peer ended cleanly")                                   \
    X(EPROTO, -1, "the peer broke the protocol; close this connection")   \
    X(ELIMIT, -2, "a configured limit was reached")                       \
    X(ENOMEM, -3, "no memory; shed load")                                 \
    X(EIO, -4, "the kernel or the network failed us")                     \
    X(ETIME, -5, "a deadline passed")                                     \
    X(ECONF, -6, "the configuration is wrong; see struct err")            \
    X(ENOENT, -7, "there is no such thing")

enum st {
#define X(n, v, d) ST_##n = (v),
    ST_LIST(X)
#undef X
};

#define MUST_USE __attribute__((warn_unused_result))

const char *st_name(enum st st);

struct err {
    enum st code;
    char text[480]; /* "configs/pop.conf:12:5: edge.cache: ..." */
};

/* Fills e (which may be NULL) and returns code. */
enum st err_set(struct err *e, enum st code, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));

#endif
