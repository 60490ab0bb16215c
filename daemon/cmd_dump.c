#include <stdio.h>
#include <stdlib.h>

#include "core/conf.h"
#include "daemon/cmd.h"

/* What FILE would bring, without a process. The caller frees; NULL: said why. */
static char *text_of(const char *file)
{
    struct conf *c;
    const struct conf *drop;
    char *text = NULL;
    size_t len;
    FILE *f;

    if (conf_load(file, 1, &c, stderr) != ST_OK)
        return NULL;
    f = open_memstream(&text, &len);
    if (f != NULL) {
        conf_dump(f, c);
        if (fclose(f) != 0)
            (void)fputs("out of memory\n", stderr);
    }
    drop = c;
    conf_unref(&drop);
    return text;
}

static int run(const struct cmd_args *a)
{
    json_t *answer = NULL;
    char *text = NULL;
    const char *yaml;

    if (a->file != NULL)
        text = text_of(a->file);
    else
        answer = cmd_ask(a, "dump");
    yaml = text != NULL ? text : json_string_value(json_object_get(answer, "config"));
    if (yaml != NULL && a->json)
        cmd_print_json(json_pack("{s:b, s:s}", "ok", 1, "config", yaml));
    else if (yaml != NULL)
        (void)fputs(yaml, stdout);
    else if (a->file != NULL && a->json)
        cmd_print_json(json_pack("{s:b}", "ok", 0));
    json_decref(answer);
    free(text);
    return yaml != NULL ? 0 : 1;
}

const struct cmd cmd_dump = {
    .name = "dump",
    .takes = CMD_CONFIG | CMD_DIR | CMD_JSON | CMD_MAY_FILE,
    .usage = "[--json] [-c FILE | --runtime-dir DIR | FILE]",
    .summary = "show the configuration with every value in force",
    .details =
        "Of the process that -c or --runtime-dir name. With FILE: what that file would bring,\n"
        "without a process. What is shown can be loaded again.",
    .run = run,
};
