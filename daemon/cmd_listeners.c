#include <stdio.h>

#include "daemon/cmd.h"

static int run(const struct cmd_args *a)
{
    json_t *answer = cmd_ask(a, "listeners"), *one;
    size_t i;

    if (answer == NULL)
        return 1;
    if (a->json) {
        cmd_print_json(answer);
        return 0;
    }
    json_array_foreach(json_object_get(answer, "listeners"), i, one)
    {
        const char *section = NULL, *actual = NULL;

        if (json_unpack(one, "{s:s, s:s}", "section", &section, "actual", &actual) == 0)
            (void)printf("%s %s\n", section, actual);
    }
    json_decref(answer);
    return 0;
}

const struct cmd cmd_listeners = {
    .name = "listeners",
    .takes = CMD_CONFIG | CMD_DIR | CMD_JSON,
    .usage = "[--json] [-c FILE | --runtime-dir DIR]",
    .summary = "show where a running process listens",
    .details = "One line each: the key it stands under, and the URL that works (the kernel's port\n"
               "where the configuration says 0).",
    .run = run,
};
