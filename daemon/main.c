#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "daemon/cmd.h"

enum { USAGE = 2 };

static const struct cmd *const cmds[] = { &cmd_run,       &cmd_check,   &cmd_dump, &cmd_reload,
                                          &cmd_listeners, &cmd_streams, &cmd_kick, &cmd_purge,
                                          &cmd_sign,      &cmd_version, NULL };

static void print_usage(FILE *f)
{
    (void)fputs("usage: freshet COMMAND [OPTION]...\n\n", f);
    for (int i = 0; cmds[i] != NULL; i++)
        (void)fprintf(f, "  %-10s %s\n", cmds[i]->name, cmds[i]->summary);
    (void)fputs("\nfreshet COMMAND --help says more.\n"
                "Exit status: 0 done, 1 failed, 2 wrong usage.\n",
                f);
}

static void print_help(const struct cmd *c)
{
    (void)printf("usage: freshet %s %s\n\n%s\n%s%s", c->name, c->usage, c->summary, c->details,
                 c->details[0] != '\0' ? "\n" : "");
    (void)fputs("\n", stdout);
    if ((c->takes & CMD_CONFIG) != 0)
        (void)fputs("  -c, --config FILE      the configuration of the process\n", stdout);
    if ((c->takes & CMD_DIR) != 0)
        (void)fputs("      --runtime-dir DIR  the runtime_dir of the process\n", stdout);
    if ((c->takes & CMD_STATE) != 0)
        (void)fputs("      --state-dir DIR    where keys are kept when there is no FILE\n", stdout);
    if ((c->takes & CMD_SIGN) != 0)
        (void)fputs(
            "      --exp WHEN         24h from now (the default is 24h), a Unix time, or 0: "
            "for ever\n"
            "      --for SPAN         the same: 90s 15m 24h 30d\n"
            "      --kid KID          which of the keys; the last one by default\n",
            stdout);
    if ((c->takes & CMD_KICK) != 0)
        (void)fputs("      --ban TIME         30s, 10m, 24h: for so long\n", stdout);
    if ((c->takes & CMD_JSON) != 0)
        (void)fputs("      --json             one line of JSON, for machines\n", stdout);
    (void)fputs("  -h, --help             this text\n", stdout);
}

static int complain(const struct cmd *c, const char *what, const char *which)
{
    (void)fprintf(stderr, "freshet %s: %s%s%s\nusage: freshet %s %s\n", c->name, what,
                  which != NULL ? " " : "", which != NULL ? which : "", c->name, c->usage);
    return USAGE;
}

static int alone(const struct cmd *c, const struct cmd_args *a)
{
    if ((a->file != NULL) + (a->config != NULL) + (a->runtime_dir != NULL || a->state_dir != NULL) >
        1)
        return complain(c, "only one of -c, --runtime-dir and FILE makes sense", NULL);
    return 0;
}

static int take_words(const struct cmd *c, int argc, char **argv, int at, struct cmd_args *a)
{
    int wanted = (c->takes & CMD_SIGN) != 0 ? 2 : 1;

    if (argc - at != wanted)
        return complain(c, wanted == 2 ? "two words are wanted" : "one word is wanted", NULL);
    for (int i = 0; i < wanted; i++)
        a->word[i] = argv[at + i];
    return alone(c, a);
}

static int take_file(const struct cmd *c, int argc, char **argv, int at, struct cmd_args *a)
{
    bool may = (c->takes & (CMD_FILE | CMD_MAY_FILE)) != 0;

    if (at < argc && !may)
        return complain(c, "takes no", argv[at]);
    if (at + 1 < argc)
        return complain(c, "one file is enough, not also", argv[at + 1]);
    if (at == argc && (c->takes & CMD_FILE) != 0)
        return complain(c, "a file is wanted", NULL);
    a->file = at < argc ? argv[at] : NULL;
    return alone(c, a);
}

/* Which commands take an option. */
static const struct takes {
    int letter;
    unsigned flag;
    const char *shown;
} takes[] = {
    { 'c', CMD_CONFIG, "-c" },  { 'd', CMD_DIR, "--runtime-dir" },
    { 'j', CMD_JSON, NULL },    { 'e', CMD_SIGN, "--exp" },
    { 'k', CMD_SIGN, "--kid" }, { 's', CMD_STATE, "--state-dir" },
    { 'b', CMD_KICK, "--ban" },
};

static const struct takes *find_option(int letter)
{
    for (size_t i = 0; i < sizeof takes / sizeof takes[0]; i++)
        if (takes[i].letter == letter)
            return &takes[i];
    return NULL;
}

static void set_option(struct cmd_args *a, int letter, const char *value)
{
    switch (letter) {
    case 'b':
        a->ban = value;
        break;
    case 'c':
        a->config = value;
        break;
    case 'd':
        a->runtime_dir = value;
        break;
    case 'e':
        a->exp = value;
        break;
    case 'k':
        a->kid = value;
        break;
    case 's':
        a->state_dir = value;
        break;
    default:
        a->json = true;
    }
}

/* argv[0] is the name of the command. */
static int run(const struct cmd *c, int argc, char **argv)
{
    static const struct option options[] = { { "config", required_argument, NULL, 'c' },
                                             { "runtime-dir", required_argument, NULL, 'd' },
                                             { "json", no_argument, NULL, 'j' },
                                             { "exp", required_argument, NULL, 'e' },
                                             { "for", required_argument, NULL, 'e' },
                                             { "kid", required_argument, NULL, 'k' },
                                             { "state-dir", required_argument, NULL, 's' },
                                             { "ban", required_argument, NULL, 'b' },
                                             { "help", no_argument, NULL, 'h' },
                                             { NULL, 0, NULL, 0 } };
    struct cmd_args a = { .json = false };
    int o, wrong;

    opterr = 0;
    while ((o = getopt_long(argc, argv, ":c:h", options, NULL)) != -1) {
        const struct takes *t = find_option(o);

        if (o == 'h') {
            print_help(c);
            return 0;
        }
        if (o == ':')
            return complain(c, "a value is missing after", argv[optind - 1]);
        if (t == NULL || (c->takes & t->flag) == 0)
            return complain(c, "unknown option",
                            t != NULL && t->shown != NULL ? t->shown : argv[optind - 1]);
        set_option(&a, o, optarg);
    }
    wrong = ((c->takes & (CMD_SIGN | CMD_PREFIX | CMD_KICK)) != 0 ? take_words : take_file)(
        c, argc, argv, optind, &a);
    return wrong != 0 ? wrong : c->run(&a);
}

int main(int argc, char **argv)
{
    int rc = -1;

    if (argc > 1 && (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0)) {
        print_usage(stdout);
        rc = 0;
    }
    if (argc > 1 && strcmp(argv[1], "--version") == 0)
        rc = cmd_version.run(&(struct cmd_args){ .json = false });
    for (int i = 0; rc < 0 && argc > 1 && cmds[i] != NULL; i++)
        if (strcmp(argv[1], cmds[i]->name) == 0)
            rc = run(cmds[i], argc - 1, argv + 1);
    if (rc < 0) {
        if (argc > 1)
            (void)fprintf(stderr, "freshet: unknown command %s\n\n", argv[1]);
        print_usage(stderr);
        rc = USAGE;
    }
    if (fflush(stdout) != 0 && rc == 0) {
        perror("freshet: standard output");
        rc = 1;
    }
    return rc;
}
