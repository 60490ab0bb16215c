/* freshet run: the life of the process on its main thread. */
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include "core/clock.h"
#include "core/conf.h"
#include "core/log.h"
#include "daemon/admin.h"
#include "daemon/box.h"
#include "daemon/cmd.h"
#include "daemon/listeners.h"
#include "daemon/notify.h"
#include "daemon/observe.h"
#include "daemon/process.h"
#include "daemon/purge.h"
#include "daemon/streams.h"

struct server {
    struct process process;
    struct admin admin;
    const char *file; /* NULL: the box */
    int signals;
};

/* ---- reload ---- */

static void note_change(void *arg, const struct conf_change *ch)
{
    json_t *list = arg;

    (void)json_array_append_new(list,
                                json_pack("{s:s, s:s, s:s, s:s}", "key", ch->key, "from", ch->from,
                                          "to", ch->to, "applies", conf_when_name(ch->when)));
}

static void log_changes(const struct process *p, json_t *list)
{
    const char *key, *from, *to, *applies;
    json_t *one;
    size_t i;

    json_array_foreach(list, i, one)
    {
        if (json_unpack(one, "{s:s, s:s, s:s, s:s}", "key", &key, "from", &from, "to", &to,
                        "applies", &applies) != 0)
            continue;
        const struct log_ctx k = { NULL, "key", key, 0 }, f = { &k, "from", from, 0 },
                             t = { &f, "to", to, 0 };

        if (strcmp(applies, "restart") == 0)
            log_warn(observe_log(p), &t, "config", "needs a restart");
        else
            log_note(observe_log(p), LOG_CTX_TEXT(&t, "applies", applies), "config", "changed");
    }
}

/* One log line per complaint; the excerpts of the file, indented, are for who asked. */
static void log_report(const struct process *p, char *report)
{
    char *rest = NULL;

    for (char *line = strtok_r(report, "\n", &rest); line != NULL;
         line = strtok_r(NULL, "\n", &rest))
        if (line[0] != ' ')
            log_error(observe_log(p), NULL, "config", "%s", line);
}

static json_t *reload(struct server *s, const char *words)
{
    struct process *p = &s->process;
    char *report = NULL;
    size_t len = 0;
    FILE *f = open_memstream(&report, &len);
    json_t *changes = json_array(), *answer;
    enum st st = ST_ENOMEM;

    (void)words;
    if (f != NULL && changes != NULL && s->file != NULL)
        st = process_reload(p, s->file, f, note_change, changes);
    else if (f != NULL && s->file == NULL)
        (void)fputs("the process was started without a configuration file\n", f);
    if (f == NULL || fclose(f) != 0)
        st = ST_ENOMEM;
    observe_count_reload(p, st == ST_OK);
    if (st == ST_OK) {
        log_changes(p, changes);
        log_note(observe_log(p),
                 LOG_CTX_INT(LOG_CTX_INT(NULL, "generation", (int64_t)p->conf->generation),
                             "changed", (int64_t)json_array_size(changes)),
                 "config", "reloaded");
        answer = json_pack("{s:b, s:I, s:O}", "ok", 1, "generation",
                           (json_int_t)p->conf->generation, "changed", changes);
    } else {
        answer = json_pack("{s:b, s:s}", "ok", 0, "error",
                           report != NULL && len > 0 ? report : "out of memory\n");
        if (report != NULL)
            log_report(p, report);
        log_error(observe_log(p), LOG_CTX_INT(NULL, "generation", (int64_t)p->conf->generation),
                  "config", "reload failed, nothing changed");
    }
    json_decref(changes);
    free(report);
    return answer;
}

/* ---- the admin socket ---- */

static json_t *dump(struct server *s, const char *words)
{
    char *text = NULL;
    size_t len;
    FILE *f = open_memstream(&text, &len);
    json_t *answer = NULL;

    (void)words;
    if (f == NULL)
        return NULL;
    conf_dump(f, s->process.conf);
    if (fclose(f) == 0)
        answer = json_pack("{s:b, s:s}", "ok", 1, "config", text);
    free(text);
    return answer;
}

static void list_one(void *arg, const char *section, const char *configured, const char *actual)
{
    (void)json_array_append_new(arg, json_pack("{s:s, s:s, s:s}", "section", section, "configured",
                                               configured, "actual", actual));
}

static json_t *list(struct server *s, const char *words)
{
    json_t *all = json_array();

    (void)words;
    if (all == NULL)
        return NULL;
    listeners_each(&s->process, list_one, all);
    return json_pack("{s:b, s:o}", "ok", 1, "listeners", all);
}

static json_t *streams(struct server *s, const char *words)
{
    (void)words;
    return streams_list(&s->process);
}

static json_t *kick(struct server *s, const char *words)
{
    return streams_kick(&s->process, words);
}

static json_t *purge(struct server *s, const char *prefix)
{
    json_t *answer = purge_run(&s->process, prefix);

    if (answer != NULL && json_is_true(json_object_get(answer, "ok"))) {
        const struct log_ctx where = { NULL, "prefix",
                                       json_string_value(json_object_get(answer, "prefix")), 0 };

        log_note(
            observe_log(&s->process),
            LOG_CTX_INT(&where, "purged", json_integer_value(json_object_get(answer, "purged"))),
            "daemon", "purged");
    }
    return answer;
}

static json_t *answer(void *arg, const char *command)
{
    static const struct {
        const char *name;
        json_t *(*run)(struct server *s, const char *words); /* what follows the name */
    } commands[] = { { "dump", dump },   { "kick", kick },     { "listeners", list },
                     { "purge", purge }, { "reload", reload }, { "streams", streams } };
    size_t n = strcspn(command, " ");

    for (size_t i = 0; i < sizeof commands / sizeof commands[0]; i++)
        if (strlen(commands[i].name) == n && memcmp(commands[i].name, command, n) == 0)
            return commands[i].run(arg, command + n + (command[n] == ' '));
    return json_pack("{s:b, s:s}", "ok", 0, "error", "unknown command\n");
}

/* ---- the main thread ---- */

static void raise_file_limit(void)
{
    struct rlimit r;

    if (getrlimit(RLIMIT_NOFILE, &r) == 0 && r.rlim_cur < r.rlim_max) {
        r.rlim_cur = r.rlim_max;
        (void)setrlimit(RLIMIT_NOFILE, &r); /* best effort: the limit we have will do, or not */
    }
}

/* Blocked before there is a second thread, so that all threads have them blocked. */
static int open_signals(void)
{
    sigset_t set;

    (void)sigemptyset(&set);
    (void)sigaddset(&set, SIGCHLD);
    (void)sigaddset(&set, SIGHUP);
    (void)sigaddset(&set, SIGINT);
    (void)sigaddset(&set, SIGTERM);
    (void)sigaddset(&set, SIGUSR1);
    (void)signal(SIGPIPE, SIG_IGN);
    if (pthread_sigmask(SIG_BLOCK, &set, NULL) != 0)
        return -1;
    return signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
}

/* The last lines of every log, whatever the level in force, then one line that says what we are. */
static void log_status(struct server *s)
{
    const struct process *p = &s->process;
    const struct log_ctx pid = { NULL, "pid", NULL, getpid() },
                         loops = { &pid, "loops", NULL, p->loops_n };

    observe_dump(p);
    log_note(observe_log(p), LOG_CTX_INT(&loops, "generation", (int64_t)p->conf->generation),
             "daemon", "status");
}

/* False: the process is to end. */
static bool take_signal(struct server *s)
{
    struct signalfd_siginfo info;

    while (read(s->signals, &info, sizeof info) == (ssize_t)sizeof info) {
        switch (info.ssi_signo) {
        case SIGHUP:
            json_decref(reload(s, ""));
            break;
        case SIGCHLD:
            process_reap(&s->process);
            break;
        case SIGUSR1:
            log_status(s);
            break;
        default:
            log_note(observe_log(&s->process), LOG_CTX_INT(NULL, "signal", info.ssi_signo),
                     "daemon", "stopping");
            return false;
        }
    }
    return true;
}

static void serve(struct server *s)
{
    struct pollfd polls[ADMIN_POLLS + 1];
    bool on = true;

    while (on) {
        nfds_t n = admin_polls(&s->admin, polls);

        polls[n] = (struct pollfd){ .fd = s->signals, .events = POLLIN };
        /* a second: the patience with admin clients */
        if (poll(polls, n + 1, process_tick(&s->process, 1000)) < 0)
            continue;
        admin_serve(&s->admin, polls, n);
        if (polls[n].revents != 0)
            on = take_signal(s);
    }
}

/* To whoever started us, if it wants to know. */
static void tell(struct server *s, const char *state)
{
    struct err err = { .text = "" };

    if (notify_tell(state, &err) != ST_OK)
        log_warn(observe_log(&s->process), NULL, "daemon", "%s", err.text);
}

static struct conf *first_conf(const struct cmd_args *a)
{
    struct conf *c = cmd_conf(a, stderr);
    const struct conf *drop = c;

    if (c == NULL || a->config != NULL || box_make_files(c, stderr) == ST_OK)
        return c;
    conf_unref(&drop);
    return NULL;
}

static int run(const struct cmd_args *a)
{
    struct server s = { .file = a->config };
    struct conf *c = first_conf(a);
    const struct conf *drop = c;
    struct err err = { .text = "" };
    int rc = 1;

    if (c == NULL)
        return 1;
    raise_file_limit();
    s.signals = open_signals();
    s.admin.answer = answer;
    s.admin.arg = &s;
    if (s.signals < 0) {
        perror("freshet: signals");
        conf_unref(&drop);
    } else if (admin_open(&s.admin, c->runtime_dir, &err) != ST_OK) {
        (void)fprintf(stderr, "%s\n", err.text);
        conf_unref(&drop);
    } else {
        if (process_start(&s.process, parts, c, stderr) == ST_OK) {
            log_note(observe_log(&s.process),
                     LOG_CTX_INT(LOG_CTX_TEXT(NULL, "version", FRESHET_VERSION), "loops",
                                 s.process.loops_n),
                     "daemon", "ready");
            if (s.file == NULL)
                box_greet(&s.process, stdout);
            tell(&s, "READY=1");
            serve(&s);
            tell(&s, "STOPPING=1");
            process_stop(&s.process);
            rc = 0;
        } else if (s.file == NULL) {
            (void)fputs("Without -c the ports are fixed; for others write a configuration file.\n",
                        stderr);
        }
        admin_close(&s.admin);
    }
    if (s.signals >= 0)
        (void)close(s.signals);
    return rc;
}

const struct cmd cmd_run = {
    .name = "run",
    .takes = CMD_CONFIG | CMD_DIR | CMD_STATE,
    .usage = "[-c FILE | [--state-dir DIR] [--runtime-dir DIR]]",
    .summary = "run the server in the foreground",
    .details =
        "Without -c: all in one on this machine, with a certificate and a publish key made at the\n"
        "first start; prints what to paste into OBS, ffmpeg and a browser.\n"
        "Logs to standard error. SIGHUP reads FILE again,\n"
        "SIGTERM and SIGINT end the process, SIGUSR1 shows the last lines of its logs.",
    .run = run,
};
