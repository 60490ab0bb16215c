/* Input: a target. Properties: normalising twice is normalising once; a path that came out has none
 * of the shapes that we refuse; the kind does not depend on the spelling. */
#include "core/check.h"
#include "edge/target.h"

static void check_path(struct slice path)
{
    CHECK(path.n >= 1 && path.n <= TARGET_PATH_MAX && path.p[0] == '/');
    for (size_t i = 0; i < path.n; i++) {
        uint8_t c = path.p[i];

        CHECK(c > 0x20 && c < 0x7f && c != ';' && c != '\\' && c != '?' && c != '#');
        CHECK(c != '/' || i + 1 == path.n || path.p[i + 1] != '/');
        if (c == '/') {
            struct slice rest = slice_of(path.p + i + 1, path.n - i - 1);

            CHECK(!(rest.n >= 1 && rest.p[0] == '.' && (rest.n == 1 || rest.p[1] == '/')));
            CHECK(!(rest.n >= 2 && rest.p[0] == '.' && rest.p[1] == '.' &&
                    (rest.n == 2 || rest.p[2] == '/')));
        }
        if (c == '%')
            CHECK(memcmp(path.p + i, "%2F", 3) != 0 && memcmp(path.p + i, "%5C", 3) != 0 &&
                  memcmp(path.p + i, "%00", 3) != 0);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static uint8_t buf[16384], wire[16384], buf2[16384];
    struct target a, b;
    size_t n;

    if (size > 4096 || target_parse(slice_of(data, size), buf, sizeof buf, &a) != ST_OK ||
        a.kind == TARGET_STAR)
        return 0;
    check_path(a.path);
    CHECK(a.query.p == NULL || !target_param(a.query, "CMCD", &(struct slice){ .p = NULL }));
    if (a.token.p != NULL) /* what is left is no request of its own: no reserved word may be */
        return 0;
    memcpy(wire, a.path.p, a.path.n);
    n = a.path.n;
    if (a.query.p != NULL) {
        wire[n++] = '?';
        memcpy(wire + n, a.query.p, a.query.n);
        n += a.query.n;
    }
    CHECK(target_parse(slice_of(wire, n), buf2, 0, &b) == ST_OK);
    CHECK(a.kind == b.kind && a.number == b.number && slice_eq(a.path, b.path));
    CHECK(slice_eq(a.query, b.query) && slice_eq(a.app, b.app) && slice_eq(a.stream, b.stream));
    CHECK(slice_eq(a.session, b.session) && slice_eq(a.rep, b.rep) && slice_eq(a.hash, b.hash));
    return 0;
}
