#include <event2/event.h>
#include <libfyaml.h>
#include <stdio.h>

#include "daemon/cmd.h"

static int run(const struct cmd_args *a)
{
    if (a->json)
        cmd_print_json(json_pack("{s:b, s:s, s:{s:s, s:s, s:s}}", "ok", 1, "version",
                                 FRESHET_VERSION, "libraries", "libevent", event_get_version(),
                                 "libfyaml", fy_library_version(), "jansson", JANSSON_VERSION));
    else
        (void)printf("freshet %s (libevent %s, libfyaml %s, jansson %s)\n", FRESHET_VERSION,
                     event_get_version(), fy_library_version(), JANSSON_VERSION);
    return 0;
}

const struct cmd cmd_version = {
    .name = "version",
    .takes = CMD_JSON,
    .usage = "[--json]",
    .summary = "show the version of this program and of its libraries",
    .details = "",
    .run = run,
};
