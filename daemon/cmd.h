/* daemon/cmd.h - the commands of the command line
 *
 * Purpose   one row per command: what it takes, what it says about itself, what it does. Options
 *           are read in one place (daemon/main.c), so they mean the same everywhere.
 * Thread    the main thread.
 * Errors    a command returns the exit status: 0 done, 1 failed (said on standard error). Usage
 *           errors are main.c's, 2.
 * Tests     tests/e2e/test_commands.py
 */
#ifndef DAEMON_CMD_H
#define DAEMON_CMD_H

#include <jansson.h>
#include <stdbool.h>
#include <stdio.h>

#include "core/conf.h"
#include "core/status.h"

enum cmd_takes {
    CMD_CONFIG = 1, /* -c FILE */
    CMD_DIR = 2,    /* --runtime-dir DIR */
    CMD_JSON = 4,   /* --json */
    CMD_FILE = 8,   /* FILE, wanted */
    CMD_MAY_FILE = 16,
    CMD_SIGN = 32,    /* two words, --exp and --kid */
    CMD_STATE = 64,   /* --state-dir DIR */
    CMD_PREFIX = 128, /* one word */
    CMD_KICK = 256,   /* one word, --ban */
};

struct cmd_args {
    const char *config, *runtime_dir, *state_dir, *file; /* NULL: not given */
    const char *word[2]; /* CMD_SIGN: both there; CMD_PREFIX, CMD_KICK: the first */
    const char *exp, *kid, *ban;
    bool json;
};

struct cmd {
    const char *name;
    unsigned takes;
    const char *usage;   /* after "freshet NAME" */
    const char *summary; /* one line */
    const char *details;
    int (*run)(const struct cmd_args *a);
};

extern const struct cmd cmd_check, cmd_dump, cmd_kick, cmd_listeners, cmd_purge, cmd_reload,
    cmd_run, cmd_sign, cmd_streams, cmd_version;

/* Asks the running process that -c or --runtime-dir name. On failure it has been said on standard
 * error, and with --json on standard output too. NULL: failed. An answer says "ok": true. */
json_t *cmd_ask(const struct cmd_args *a, const char *command);

/* The configuration that -c names; without -c the box's (daemon/box.h). NULL: failed, and said. */
struct conf *cmd_conf(const struct cmd_args *a, FILE *report);

void cmd_print_json(json_t *j); /* one line on standard output; takes the reference */

#endif
