/* tests/unit/h2_script.h - the far end of an exchange, as the worlds of homes and uplinks have it
 *
 * Purpose   words are what it says, as the test adds them; fields are what it keeps of a head;
 *           script_serve() is one turn of its connection. until() turns a world, by its own step(),
 *           until cond holds; the test fails when it never does.
 */
#ifndef TESTS_UNIT_H2_SCRIPT_H
#define TESTS_UNIT_H2_SCRIPT_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <string.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

#include "core/buf.h"
#include "core/check.h"
#include "core/h2.h"

enum { WORDS_BYTES = 128 << 10, PATIENCE_S = 20 };

/* --- what it says --- */

struct words {
    struct h2_body body;
    struct buf out;
    size_t off;     /* so far */
    size_t allowed; /* of it, by now */
    uint64_t seq;
    bool last; /* there is no more */
};

static inline enum st words_avail(struct h2_body *b, size_t max, size_t *n, bool *last)
{
    struct words *w = CONTAINER_OF(b, struct words, body);
    size_t have = w->out.len < w->allowed ? w->out.len : w->allowed;

    *n = have - w->off < max ? have - w->off : max;
    *last = w->last && w->off + *n == w->out.len;
    return *n > 0 || *last ? ST_OK : ST_MORE;
}

static inline int words_take(struct h2_body *b, size_t n, struct h2_slice *v, int max)
{
    struct words *w = CONTAINER_OF(b, struct words, body);

    assert_true(max > 0);
    v[0] = (struct h2_slice){ w->out.data + w->off, n, NULL };
    w->off += n;
    return 1;
}

static inline void words_init(struct words *w)
{
    *w =
        (struct words){ .body = { .avail = words_avail, .take = words_take }, .allowed = SIZE_MAX };
    buf_init(&w->out, WORDS_BYTES);
    (void)buf_grow(&w->out, WORDS_BYTES); /* slices point into it: it must not move */
    w->out.len = 0;
}

/* --- what it hears --- */

struct script_field {
    const char *name;
    char *to;
    size_t room;
};

static inline void script_keep(const struct script_field *f, size_t n_fields, const char *name,
                               size_t name_len, const char *value, size_t value_len)
{
    for (size_t i = 0; i < n_fields; i++)
        if (strlen(f[i].name) == name_len && memcmp(name, f[i].name, name_len) == 0)
            (void)snprintf(f[i].to, f[i].room, "%.*s", (int)value_len, value);
}

/* False: the other side has gone. */
static inline bool script_serve(int fd, struct h2 *h2)
{
    static uint8_t buf[64 << 10];
    struct iovec v[16];
    ssize_t n;

    while ((n = read(fd, buf, sizeof buf)) > 0)
        assert_true(h2_feed(h2, buf, (size_t)n) >= ST_OK);
    if (n == 0)
        return false;
    while (h2_pump(h2, 64 << 10) >= ST_OK && outq_bytes(h2_outq(h2)) > 0) {
        n = writev(fd, v, outq_iov(h2_outq(h2), v, 16));
        if (n <= 0)
            break;
        outq_consume(h2_outq(h2), (size_t)n);
    }
    return true;
}

#define until(w, cond)                                    \
    do {                                                  \
        struct timespec began_, now_;                     \
        (void)clock_gettime(CLOCK_MONOTONIC, &began_);    \
        while (step(w), !(cond)) {                        \
            (void)clock_gettime(CLOCK_MONOTONIC, &now_);  \
            if (now_.tv_sec - began_.tv_sec > PATIENCE_S) \
                fail_msg("it did not happen: %s", #cond); \
        }                                                 \
    } while (0)

#endif
