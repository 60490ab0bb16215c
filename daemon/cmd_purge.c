#include <stdio.h>

#include "daemon/admin.h"
#include "daemon/cmd.h"

static long long number(const json_t *j, const char *name)
{
    return (long long)json_integer_value(json_object_get(j, name));
}

static int run(const struct cmd_args *a)
{
    char command[ADMIN_LINE];
    json_t *answer;
    int n = snprintf(command, sizeof command, "purge %s", a->word[0]);

    if (n < 0 || (size_t)n >= sizeof command) {
        (void)fputs("this prefix is too long\n", stderr);
        return 1;
    }
    answer = cmd_ask(a, command);
    if (answer == NULL)
        return 1;
    if (a->json) {
        cmd_print_json(answer);
        return 0;
    }
    (void)printf("purged %lld objects, %lld bytes, below %s\n", number(answer, "purged"),
                 number(answer, "bytes"), json_string_value(json_object_get(answer, "prefix")));
    if (number(answer, "kept") > 0)
        (void)printf("kept %lld, of the windows of streams that are live here\n",
                     number(answer, "kept"));
    if (!json_is_true(json_object_get(answer, "whole")))
        (void)fputs("not every loop has finished in time; they go on\n", stderr);
    json_decref(answer);
    return 0;
}

const struct cmd cmd_purge = {
    .name = "purge",
    .takes = CMD_CONFIG | CMD_DIR | CMD_JSON | CMD_PREFIX,
    .usage = "PREFIX [--json] [-c FILE | --runtime-dir DIR]",
    .summary = "take what is cached below a path out of the cache",
    .details =
        "PREFIX is the beginning of a path, such as /vod/ or /live/cam. What is asked for after\n"
        "this is fetched anew; who is reading goes on. The windows of streams that are live and\n"
        "made in this process are kept, because nobody could make them again.",
    .run = run,
};
