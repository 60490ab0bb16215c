/* Any bytes: refused with a report, or a configuration that shows itself as it is. */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/check.h"
#include "core/conf.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
const char *__lsan_default_suppressions(void);

/* libfyaml 0.7.12 loses a buffer per single-quoted text with ten or more '' in it. */
const char *__lsan_default_suppressions(void) { return "leak:libfyaml.so"; }

static char *shown(const struct conf *c, size_t *len)
{
    char *text = NULL;
    FILE *f = open_memstream(&text, len);

    CHECK(f != NULL);
    conf_dump(f, c);
    CHECK(fclose(f) == 0);
    return text;
}

static void count(void *arg, const struct conf_change *ch)
{
    ++*(int *)arg;
    (void)ch;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct conf *c;
    const struct conf *a, *b;
    char *report = NULL;
    size_t report_len, first_len, second_len;
    FILE *f = open_memstream(&report, &report_len);
    enum st st;
    int changes = 0;

    CHECK(f != NULL);
    st = conf_parse("fuzz.yaml", (const char *)data, size, 1, &c, f);
    CHECK(fclose(f) == 0);
    CHECK((report_len == 0) == (st == ST_OK));
    for (size_t i = 0; i < report_len; i++)
        CHECK(report[i] == '\n' || (report[i] >= 0x20 && report[i] < 0x7f));
    free(report);
    if (st != ST_OK)
        return 0;
    a = c;
    char *first = shown(a, &first_len);

    CHECK(conf_parse("dump.yaml", first, first_len, 2, &c, stderr) == ST_OK);
    b = c;
    char *second = shown(b, &second_len);

    CHECK(first_len == second_len && memcmp(first, second, first_len) == 0);
    CHECK(conf_diff(a, b, count, &changes) == ST_OK && changes == 0);
    free(first);
    free(second);
    conf_unref(&a);
    conf_unref(&b);
    return 0;
}
