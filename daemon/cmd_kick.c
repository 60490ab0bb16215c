#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "daemon/admin.h"
#include "daemon/cmd.h"

static int run(const struct cmd_args *a)
{
    char line[ADMIN_LINE];
    json_t *answer;
    int64_t s;
    int n = snprintf(line, sizeof line, "kick %s%s%s", a->word[0], a->ban != NULL ? " " : "",
                     a->ban != NULL ? a->ban : "");

    if (n >= (int)sizeof line || strpbrk(line, "\r\n") != NULL) {
        (void)fputs("this is not the name of a stream\n", stderr);
        return 1;
    }
    if ((answer = cmd_ask(a, line)) == NULL)
        return 1;
    if (a->json) {
        cmd_print_json(answer);
        return 0;
    }
    s = json_integer_value(json_object_get(answer, "banned_s"));
    if (a->ban == NULL)
        (void)printf("%s: its publisher is closed, and may come back\n", a->word[0]);
    else if (s > 0)
        (void)printf("%s: refused for %" PRId64 " s\n", a->word[0], s);
    else
        (void)printf("%s: refused no longer\n", a->word[0]);
    json_decref(answer);
    return 0;
}

const struct cmd cmd_kick = {
    .name = "kick",
    .takes = CMD_CONFIG | CMD_DIR | CMD_JSON | CMD_KICK,
    .usage = "APP/STREAM [--ban TIME] [--json] [-c FILE | --runtime-dir DIR]",
    .summary = "close the publisher of a stream, or refuse it for a while",
    .details =
        "Without --ban the broadcast waits for its publisher as after any lost connection.\n"
        "With it the broadcast ends at once and nobody may publish the stream for that long,\n"
        "or until the process ends; --ban 0s lets it in again, from a quarantine too.",
    .run = run,
};
