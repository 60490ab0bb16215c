/* The table -> doc/CONFIG.md. */
#include <inttypes.h>
#include <string.h>

#include "core/conf_key.h"

static const char *type_name(enum conf_type t)
{
    switch (t) {
    case CONF_INT:
        return "number";
    case CONF_SIZE:
        return "size";
    case CONF_TIME:
        return "time";
    case CONF_RATE:
        return "rate";
    case CONF_ENUM:
        return "word";
    case CONF_STRING:
        return "name";
    case CONF_PATH:
        return "path";
    case CONF_URL:
        return "URL";
    case CONF_URLS:
        return "list of URLs";
    case CONF_LISTENS:
        return "list of listeners";
    case CONF_RTMP_LISTENS:
        return "list of RTMP listeners";
    case CONF_NETS:
        return "list of networks";
    case CONF_SECTION:
    case CONF_MAP:
        break;
    }
    return "";
}

static void print_type(FILE *f, const struct conf_key *k)
{
    char range[CONF_RANGE];

    (void)fputs(type_name(k->type), f);
    switch (k->type) {
    case CONF_INT:
    case CONF_SIZE:
    case CONF_TIME:
    case CONF_RATE:
        conf_range_text(range, k);
        (void)fprintf(f, ", %s", range);
        break;
    case CONF_ENUM:
        for (size_t i = 0; k->words[i] != NULL; i++)
            (void)fprintf(f, "%s `%s`", i == 0 ? ":" : ",", k->words[i]);
        break;
    case CONF_URLS:
    case CONF_LISTENS:
    case CONF_RTMP_LISTENS:
    case CONF_NETS:
        (void)fprintf(f, ", at most %" PRIu64, k->max);
        break;
    default:
        break;
    }
}

static void print_default(FILE *f, const struct conf_key *k)
{
    if (k->off_n != 0)
        (void)fprintf(f, k->def[0] != '\0' ? "`[\"%s\"]`" : "`[%s]`", k->def);
    else if (k->def[0] != '\0')
        (void)fprintf(f, "`%s`", k->def);
    else
        (void)fputs("none", f);
}

/* Section and map headings print "edge.limits" and "apps.NAME". */
static void print_path(FILE *f, const char *path)
{
    for (; *path != '\0'; path++) {
        if (*path == '*')
            (void)fputs("NAME", f);
        else
            (void)fputc(*path, f);
    }
}

static void print_heading(FILE *f, const struct conf_key *k)
{
    (void)fputs("\n## `", f);
    print_path(f, k->path);
    (void)fprintf(f, "`\n\n%s\n", k->help);
}

void conf_doc(FILE *f)
{
    const char *before = NULL; /* the section of the row above, NULL under a new heading */
    size_t before_n = 0;

    (void)fputs(
        "# Configuration\n\n"
        "Printed from the table in `core/conf_table.c` by `gen_config_doc`; a test compares the\n"
        "two. The file is YAML. `freshet check FILE` reads it and says what is wrong;\n"
        "`freshet dump` shows every value in force.\n\n"
        "An unknown key, a key that stands twice, a value of the wrong kind or out of range: the\n"
        "file is refused, and when it was meant for a reload, the running configuration stays as\n"
        "it is.\n\n"
        "| kind | how it is written |\n|---|---|\n"
        "| number | `100` |\n"
        "| size | `64K` `64M` `64G` `1T`, units of 1024; plain bytes without a letter |\n"
        "| time | `500us` `200ms` `30s` `5m` `24h` `7d`; the unit is not optional |\n"
        "| rate | bytes per second, as a size |\n"
        "| URL | `http://HOST:PORT`, `https://HOST:PORT`, `unix:/PATH` (HTTP in the clear) |\n"
        "| listener | `http://ADDRESS:PORT`, `https://ADDRESS:PORT`, `unix:/PATH`, or "
        "`ADDRESS:PORT` for http; port 0: the kernel picks one |\n\n"
        "*Applies* says when a changed value counts after `freshet reload`: `live` at once,\n"
        "`new-sessions` for what begins afterwards, `restart` with the next start (the reload\n"
        "names such keys in a warning).\n",
        f);
    for (size_t i = 0; i < conf_keys_n; i++) {
        const struct conf_key *k = &conf_keys[i];
        const char *dot = strrchr(k->path, '.');
        size_t n = dot != NULL ? (size_t)(dot - k->path) : 0;

        if (k->type == CONF_SECTION || k->type == CONF_MAP) {
            print_heading(f, k);
            before = NULL;
            continue;
        }
        if (n == 0 && (before == NULL || before_n != 0))
            (void)fputs("\n## The process\n", f);
        if (before == NULL || before_n != n || strncmp(before, k->path, n) != 0)
            (void)fputs(
                "\n| key | kind | default | applies | what it is |\n|---|---|---|---|---|\n", f);
        before = k->path;
        before_n = n;
        (void)fputs("| `", f);
        print_path(f, k->path);
        (void)fputs("` | ", f);
        print_type(f, k);
        (void)fputs(" | ", f);
        print_default(f, k);
        (void)fprintf(f, " | %s | %s |\n", conf_when_name(k->when), k->help);
    }
}
