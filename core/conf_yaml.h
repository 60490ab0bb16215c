/* core/conf_yaml.h - YAML text -> a small tree that knows where everything stood; error reports
 *
 * Purpose   the bounded door to libfyaml: size, depth and number of nodes are limited, anchors,
 *           aliases, tags and further documents refused, duplicate keys found. The tree keeps byte
 *           positions, so that each complaint can show its line with a caret.
 * Owner     the tree belongs to the conf_mem; the report borrows the text.
 * Thread    values; any one thread.
 * Errors    ECONF (reported), ENOMEM (reported).
 * Tests     tests/unit/test_conf.c, tests/fuzz/fuzz_conf.c
 */
#ifndef CORE_CONF_YAML_H
#define CORE_CONF_YAML_H

#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>

#include "core/conf_key.h"
#include "core/status.h"

enum {
    YAML_MAX_BYTES = 1 << 20,
    YAML_MAX_NODES = 20000,
    YAML_MAX_KEYS = 2000,
    YAML_MAX_DEPTH = 12
};
enum { REPORT_MAX = 20 };

struct conf_report {
    FILE *out;
    const char *name; /* of the file */
    const char *text;
    size_t len;
    unsigned errors; /* all of them; the first REPORT_MAX are printed */
};

/* "NAME:LINE:COL: key: why", the line, a caret. `key` may be "". */
void conf_complain(struct conf_report *r, size_t pos, const char *key, const char *fmt, ...)
    __attribute__((format(printf, 4, 5)));
/* The last line of a report: how many complaints there was no room for. */
void conf_report_end(struct conf_report *r);
/* Text of a file in a complaint: nothing in it may steer a terminal. */
void conf_print_safe(FILE *f, const char *s, size_t n);

enum yaml_kind { YAML_SCALAR, YAML_MAP, YAML_SEQ };

struct yaml_node {
    enum yaml_kind kind;
    struct yaml_node *parent, *next, *first, *last;
    size_t n;        /* children */
    const char *key; /* NULL unless in a map */
    size_t key_pos;
    const char *text; /* of a scalar */
    size_t pos;
    bool absent; /* a plain nothing, ~ or null */
};

/* NULL in *root and ST_OK: the document is empty. */
MUST_USE enum st yaml_read(struct conf_report *r, struct conf_mem *m, struct yaml_node **root);

#endif
