#include <stdio.h>
#include <stdlib.h>

#include "core/conf.h"
#include "daemon/cmd.h"
#include "daemon/process.h"

static int run(const struct cmd_args *a)
{
    char *text = NULL;
    size_t len = 0;
    FILE *report = open_memstream(&text, &len);
    struct conf *c = NULL;
    const struct conf *drop;
    enum st st;

    if (report == NULL)
        return 1;
    st = conf_load(a->file, 1, &c, report);
    if (st == ST_OK)
        st = process_check(parts, c, report);
    drop = c;
    conf_unref(&drop);
    if (fclose(report) != 0)
        st = ST_ENOMEM;
    if (a->json)
        cmd_print_json(st == ST_OK ? json_pack("{s:b}", "ok", 1)
                                   : json_pack("{s:b, s:s?}", "ok", 0, "error", text));
    else if (st == ST_OK)
        (void)printf("%s: good\n", a->file);
    if (st != ST_OK)
        (void)fputs(text != NULL ? text : "out of memory\n", stderr);
    free(text);
    return st == ST_OK ? 0 : 1;
}

const struct cmd cmd_check = {
    .name = "check",
    .takes = CMD_JSON | CMD_FILE,
    .usage = "[--json] FILE",
    .summary = "read a configuration and say what is wrong with it",
    .details = "Does all that a start or a reload would do, short of touching anything.",
    .run = run,
};
