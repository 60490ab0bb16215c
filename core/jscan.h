/* core/jscan.h - the members of one JSON object, without a tree
 *
 * Purpose   for records that come hundreds of times a second: a few numbers and short strings, and a
 *           part that is only passed on. Members come in order as slices of the text. What is looked
 *           at is checked; what is passed over is checked as far as its brackets and strings, so a
 *           slice that is parsed later may still turn out to be no JSON.
 * Spec      RFC 8259, less escapes in keys and in strings that are read: our own processes write it.
 * Owner     everything is borrowed from the text.
 * Thread    any.
 * Errors    jscan_next: EOF after the closing brace, EPROTO, ELIMIT (deeper than JSCAN_DEPTH); a
 *           failure sticks.
 * Tests     tests/unit/test_jscan.c, tests/fuzz/fuzz_jscan.c
 */
#ifndef CORE_JSCAN_H
#define CORE_JSCAN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/status.h"

enum { JSCAN_DEPTH = 16 };

struct jscan {
    const char *p, *end;
    enum st st;
    bool begun;
};

struct jscan_member {
    const char *key; /* without its quotes */
    size_t key_n;
    const char *value; /* as it stands there */
    size_t n;
};

struct jscan jscan_init(const char *text, size_t n);
MUST_USE enum st jscan_next(struct jscan *s, struct jscan_member *m);

bool jscan_is(const struct jscan_member *m, const char *key);
/* False: the value is something else. */
bool jscan_int(const struct jscan_member *m, int64_t *v);
bool jscan_text(const struct jscan_member *m, char *to, size_t room); /* with a zero at its end */
bool jscan_is_object(const struct jscan_member *m);

#endif
