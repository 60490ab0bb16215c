#include <stdio.h>

#include "daemon/cmd.h"

static void print_changes(json_t *answer)
{
    json_t *one;
    size_t i;

    json_array_foreach(json_object_get(answer, "changed"), i, one)
    {
        const char *key = "", *from = "", *to = "", *applies = "";

        if (json_unpack(one, "{s:s, s:s, s:s, s:s}", "key", &key, "from", &from, "to", &to,
                        "applies", &applies) == 0)
            (void)printf("%s: %s -> %s (%s)\n", key, from[0] != '\0' ? from : "none",
                         to[0] != '\0' ? to : "none", applies);
    }
}

static int run(const struct cmd_args *a)
{
    json_t *answer = cmd_ask(a, "reload");

    if (answer == NULL)
        return 1;
    if (a->json) {
        cmd_print_json(answer);
        return 0;
    }
    print_changes(answer);
    (void)printf("reloaded, generation %lld\n",
                 (long long)json_integer_value(json_object_get(answer, "generation")));
    json_decref(answer);
    return 0;
}

const struct cmd cmd_reload = {
    .name = "reload",
    .takes = CMD_CONFIG | CMD_DIR | CMD_JSON,
    .usage = "[--json] [-c FILE | --runtime-dir DIR]",
    .summary = "make a running process read its configuration again",
    .details =
        "All or nothing: when anything is wrong, the process goes on as before and the reason\n"
        "is said here. Returns when every loop has the new configuration. No connection is\n"
        "closed by it.",
    .run = run,
};
