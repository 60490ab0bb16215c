/* core/conf_key.h - the table of configuration keys and its values
 *
 * Purpose   what core/conf_*.c share: one row per key, and text <-> value for each type. A new key
 *           is a field in struct conf and a row in core/conf_table.c; reading, showing, comparing
 *           and documenting it follow from the row.
 * Owner     rows are static; parsed strings and lists belong to a conf_mem.
 * Thread    any; only a conf_mem has state.
 * Errors    conf_value_parse: ECONF (`why` is filled), ENOMEM.
 * Tests     tests/unit/test_conf.c
 */
#ifndef CORE_CONF_KEY_H
#define CORE_CONF_KEY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "core/conf.h"

/* Everything a snapshot points at, freed in one go. Zeroed memory; NULL: out of memory. */
struct conf_mem {
    struct conf_block *blocks;
};
void *conf_mem_get(struct conf_mem *m, size_t n);
char *conf_mem_text(struct conf_mem *m, const char *s, size_t n);
void conf_mem_free(struct conf_mem *m);

enum conf_type {
    CONF_SECTION, /* no value: a heading */
    CONF_MAP,     /* path ends in "*": entries by name, rows for their fields follow */
    CONF_INT,
    CONF_SIZE,
    CONF_TIME,
    CONF_RATE,
    CONF_ENUM,
    CONF_STRING, /* A-Z a-z 0-9 . _ - */
    CONF_PATH,
    CONF_URL,     /* one upstream */
    CONF_URLS,    /* upstreams */
    CONF_LISTENS, /* addresses to listen on */
    CONF_RTMP_LISTENS,
    CONF_NETS /* addresses and networks */
};

struct conf_key {
    const char *path;
    enum conf_type type;
    enum conf_when when;
    size_t off;        /* in struct conf, or in the entry of the map the row belongs to */
    size_t size;       /* of the field; of one entry, for a map */
    size_t off_n;      /* of the count, for lists and maps */
    uint64_t min, max; /* numbers, in the unit of the field; max: length or count of the others */
    const char *zero;  /* the word for 0, such as "auto" */
    const char *const *words; /* of an enum, in its order, then NULL */
    const char *def;          /* as in a file; "" for none */
    const char *help;
    const char *(*bad_name)(const char *name); /* of a map: what is wrong with this name, or NULL */
};

/* Rows of a section are together and after its heading. */
extern const struct conf_key conf_keys[];
extern const size_t conf_keys_n;

enum { CONF_WHY = 200, CONF_RANGE = 100 };

/* One value; for lists, one element. `field` is the field itself, or the element. */
MUST_USE enum st conf_value_parse(const struct conf_key *k, const char *text, void *field,
                                  struct conf_mem *m, char why[CONF_WHY]);
/* As it would stand in a file; false and nothing printed when it is absent. */
bool conf_value_print(FILE *f, const struct conf_key *k, const void *base);
void conf_range_text(char out[CONF_RANGE], const struct conf_key *k);
void conf_print_quoted(FILE *f, const char *s);

/* Strings are never NULL, so the default of each row is put in before anything is read. */
MUST_USE enum st conf_put_defaults(struct conf_mem *m, const char *prefix, void *base);
MUST_USE enum st conf_new(uint64_t generation, struct conf **out);

/* Where a list or a map keeps its elements. */
void conf_list_put(const struct conf_key *k, void *base, const void *v, size_t n);
const void *conf_list_get(const struct conf_key *k, const void *base, size_t *n);
size_t conf_element_size(const struct conf_key *k);

/* True when `path` is `prefix`, a dot (none for an empty prefix), and more: *rest. */
bool conf_path_below(const char *path, const char *prefix, const char **rest);

#endif
