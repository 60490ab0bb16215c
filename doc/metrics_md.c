/* metrics_md [--check] FILE: writes doc/METRICS.md from core/metric_table.h, or says that it is not
 * what the table would make. */
#include <stdio.h>
#include <string.h>

#include "core/metric.h"

enum { PAGE_MAX = 1 << 20 };

static void put_page(struct buf *b)
{
    static const char *const kinds[] = { "counter", "gauge", "histogram" };
    static const char *const suffix[] = { "_total", "", "" };
    size_t n;
    const struct metric_desc *d = metric_descs(&n);

    buf_puts(b, "# Metrics\n\n"
                "Made from `core/metric_table.h` by the target `metrics_md`; do not edit.\n\n"
                "All are served as OpenMetrics text at `/metrics` of the admin listener and are "
                "sums over all\nevent loops. Durations are in seconds, sizes in bytes. Of a family "
                "with more than 64 series only\nthose that have counted something are shown.\n\n"
                "| metric | kind | labels | what it says |\n|---|---|---|---|\n");
    for (size_t i = 0; i < n; i++) {
        buf_printf(b, "| `freshet_%s%s` | %s | ", d[i].name, suffix[d[i].kind], kinds[d[i].kind]);
        for (unsigned k = 0; k < d[i].labels; k++) {
            const struct metric_label_desc *l = metric_label_desc(d[i].label[k]);

            buf_printf(b, "%s`%s`:", k > 0 ? "; " : "", l->name);
            for (unsigned v = 0; v < l->count; v++)
                buf_printf(b, " %s", l->values[v]);
        }
        buf_printf(b, " | %s |\n", d[i].help);
    }
}

static int check(const struct buf *b, const char *path)
{
    static char have[PAGE_MAX];
    FILE *f = fopen(path, "rb");
    size_t n = f != NULL ? fread(have, 1, sizeof have, f) : 0;

    if (f != NULL)
        (void)fclose(f);
    if (n == b->len && memcmp(have, b->data, n) == 0)
        return 0;
    (void)fprintf(stderr, "%s differs from core/metric_table.h: run metrics_md %s\n", path, path);
    return 1;
}

static int rewrite(const struct buf *b, const char *path)
{
    FILE *f = fopen(path, "wb");
    size_t n;

    if (f == NULL) {
        perror(path);
        return 1;
    }
    n = fwrite(b->data, 1, b->len, f);
    return fclose(f) == 0 && n == b->len ? 0 : 1;
}

int main(int argc, char **argv)
{
    struct buf b;
    int rc;

    if (argc < 2 || argc > 3 || (argc == 3 && strcmp(argv[1], "--check") != 0)) {
        (void)fprintf(stderr, "usage: metrics_md [--check] FILE\n");
        return 2;
    }
    buf_init(&b, PAGE_MAX);
    put_page(&b);
    if (b.st != ST_OK)
        return 1;
    rc = argc == 3 ? check(&b, argv[2]) : rewrite(&b, argv[1]);
    buf_fini(&b);
    return rc;
}
