#include "daemon/box.h"

#include <errno.h>
#include <fcntl.h>
#include <openssl/crypto.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

#include "core/clock.h"
#include "core/conf_key.h"
#include "core/listen.h"
#include "core/tls.h"
#include "daemon/keys.h"
#include "daemon/listeners.h"
#include "daemon/process.h"
#include "daemon/urls.h"
#include "ingest/auth.h"

#define BOX_KID "box"
#define BOX_EXAMPLE "cam"

enum { PATH_ROOM = 1100, KEY_BYTES = 32, SIGNED_FOR_S = 24 * 3600 };

/* ---- the configuration ---- */

static void join(char out[PATH_ROOM], const char *dir, const char *rest)
{
    (void)snprintf(out, PATH_ROOM, "%.1024s/%s", dir, rest);
}

static void state_place(char out[PATH_ROOM])
{
    const char *xdg = getenv("XDG_STATE_HOME"), *home = getenv("HOME");

    if (geteuid() == 0)
        (void)snprintf(out, PATH_ROOM, "/var/lib/freshet");
    else if (xdg != NULL && xdg[0] == '/')
        join(out, xdg, "freshet");
    else
        join(out, home != NULL ? home : "", ".local/state/freshet");
}

static void runtime_place(char out[PATH_ROOM], const char *state)
{
    const char *xdg = getenv("XDG_RUNTIME_DIR");

    if (geteuid() == 0)
        (void)snprintf(out, PATH_ROOM, "/run/freshet");
    else if (xdg != NULL && xdg[0] == '/')
        join(out, xdg, "freshet");
    else
        join(out, state, "run");
}

/* Half of the cores encode, the loops share all of them. */
static int workers_wanted(void)
{
    cpu_set_t cores;

    if (sched_getaffinity(0, sizeof cores, &cores) != 0 || CPU_COUNT(&cores) < 4)
        return 1;
    return CPU_COUNT(&cores) / 2;
}

/* A machine without IPv6 cannot listen on [::]. */
static const char *any_host(void)
{
    static const struct listen_how how;
    struct addr_sock at;
    int n, fd;

    if (addr_resolve("::", 0, &at, 1, &n, NULL) != ST_OK ||
        listen_open(&at, &how, 1, &fd, NULL) != ST_OK)
        return "0.0.0.0";
    listen_close(&fd, 1);
    return "[::]";
}

static void put_path(FILE *f, const char *before, const char *dir, const char *rest)
{
    char path[PATH_ROOM];

    (void)fputs(before, f);
    join(path, dir, rest);
    if (rest[0] == '\0')
        path[strlen(path) - 1] = '\0';
    conf_print_quoted(f, path);
}

static void write_conf(FILE *f, const char *state, const char *runtime)
{
    const char *any = any_host();

    put_path(f, "runtime_dir: ", runtime, "");
    put_path(f, "\nstate_dir: ", state, "");
    put_path(f, "\ntls:\n  default:\n    cert: ", state, "tls.pem");
    put_path(f, "\n    key: ", state, "tls.key");
    put_path(f, "\nsecrets:\n  publish:\n    " BOX_KID ":\n      file: ", state, "publish.key");
    (void)fprintf(f,
                  "\ningest:\n  listen: [\"rtmp://127.0.0.1:1935\", \"rtmps://%s:1936\"]\n"
                  "encode:\n  workers: %d\n"
                  "edge:\n  listen: [\"http://%s:8080\", \"https://%s:8443\"]\n"
                  "apps:\n  live:\n    publish: local\n",
                  any, workers_wanted(), any, any);
}

struct conf *box_conf(const char *state_dir, const char *runtime_dir, FILE *report)
{
    char state[PATH_ROOM], runtime[PATH_ROOM], *text = NULL;
    size_t len = 0;
    FILE *f = open_memstream(&text, &len);
    struct conf *c = NULL;

    state_place(state);
    if (state_dir != NULL)
        (void)snprintf(state, sizeof state, "%s", state_dir);
    runtime_place(runtime, state);
    if (runtime_dir != NULL)
        (void)snprintf(runtime, sizeof runtime, "%s", runtime_dir);
    if (f != NULL) {
        write_conf(f, state, runtime);
        if (fclose(f) == 0 &&
            conf_parse("built-in configuration", text, len, 1, &c, report) != ST_OK)
            c = NULL;
    }
    free(text);
    return c;
}

/* ---- its files ---- */

static enum st fail(FILE *report, const char *path, const char *what)
{
    (void)fprintf(report, "%s: %s: %s\n", path, what, strerror(errno));
    return ST_EIO;
}

/* The directory with all above it; ours alone, because of the keys. */
static enum st make_dirs(const char *dir, FILE *report)
{
    char path[PATH_ROOM];

    (void)snprintf(path, sizeof path, "%s", dir);
    for (char *p = path + 1;; p++) {
        char was = *p;

        if (was != '/' && was != '\0')
            continue;
        *p = '\0';
        if (mkdir(path, 0700) != 0 && errno != EEXIST)
            return fail(report, path, "cannot make this directory");
        *p = was;
        if (was == '\0')
            return ST_OK;
    }
}

static bool write_all(int fd, const char *p, size_t n)
{
    while (n > 0) {
        ssize_t done = write(fd, p, n);

        if (done < 0 && errno == EINTR)
            continue;
        if (done <= 0)
            return false;
        p += done;
        n -= (size_t)done;
    }
    return fsync(fd) == 0;
}

/* Whole or not at all, and never over one that is there: link() refuses. */
static enum st make_key(const char *path, FILE *report)
{
    uint8_t bytes[KEY_BYTES];
    char hex[2 * KEY_BYTES + 2], fresh[PATH_ROOM + 32];
    int fd;
    bool ok;

    if (access(path, F_OK) == 0)
        return ST_OK;
    if (getrandom(bytes, sizeof bytes, 0) != (ssize_t)sizeof bytes)
        return fail(report, path, "no random bytes");
    for (size_t i = 0; i < sizeof bytes; i++)
        (void)snprintf(hex + 2 * i, 3, "%02x", bytes[i]);
    hex[sizeof hex - 2] = '\n';
    (void)snprintf(fresh, sizeof fresh, "%s.%ld", path, (long)getpid());
    (void)unlink(fresh);
    fd = open(fresh, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    ok = fd >= 0 && write_all(fd, hex, sizeof hex - 1) &&
         (link(fresh, path) == 0 || errno == EEXIST);
    OPENSSL_cleanse(bytes, sizeof bytes);
    OPENSSL_cleanse(hex, sizeof hex);
    if (!ok)
        (void)fail(report, path, "cannot write");
    if (fd >= 0) {
        (void)close(fd);
        (void)unlink(fresh);
    }
    return ok ? ST_OK : ST_EIO;
}

/* For whatever name people reach this machine by. */
static enum st make_certificate(const struct conf *c, FILE *report)
{
    char host[URLS_HOST_MAX], own[65] = "";
    const char *names[5] = { "localhost", "127.0.0.1", "::1" };
    struct err err = { .text = "" };
    int n = 3;

    if (access(c->tls.default_.cert, F_OK) == 0)
        return ST_OK;
    if (gethostname(own, sizeof own - 1) == 0 && own[0] != '\0')
        names[n++] = own;
    urls_this_host(host);
    if (host[0] != '[' && strcmp(host, "localhost") != 0)
        names[n++] = host;
    if (tls_self_signed(c->tls.default_.cert, c->tls.default_.key, names, n, &err) == ST_OK)
        return ST_OK;
    (void)fprintf(report, "%s\n", err.text);
    return ST_EIO;
}

enum st box_make_files(const struct conf *c, FILE *report)
{
    enum st st = make_dirs(c->state_dir, report);

    if (st == ST_OK)
        st = make_dirs(c->runtime_dir, report);
    if (st == ST_OK)
        st = make_key(c->secrets.publish[0].file, report);
    if (st == ST_OK)
        st = make_certificate(c, report);
    return st;
}

/* ---- the greeting ---- */

struct lists {
    json_t *local, *far, *play;
};

static void sort_out(void *arg, const char *section, const char *configured, const char *actual)
{
    struct lists *l = arg;

    (void)configured;
    if (strcmp(section, "edge.listen") == 0)
        urls_add(l->play, actual);
    else if (strcmp(section, "ingest.listen") == 0)
        urls_add(strstr(actual, "://127.0.0.1:") != NULL ? l->local : l->far, actual);
}

static void sign(const struct conf *c, char query[256])
{
    struct auth_key key;
    struct err err;

    query[0] = '\0';
    if (keys_read(KEYS_PUBLISH, &c->secrets.publish[0], &key, &err) != ST_OK ||
        auth_sign(&key, "live", BOX_EXAMPLE, (uint64_t)clock_wall_us() / SEC_US + SIGNED_FOR_S,
                  query, 256) != ST_OK)
        query[0] = '\0';
    keys_forget(&key, 1);
}

void box_greet(const struct process *p, FILE *f)
{
    struct lists l = { json_array(), json_array(), json_array() };
    char query[256];
    json_t *one;
    size_t i;

    listeners_each(p, sort_out, &l);
    sign(p->conf, query);
    (void)fputs("\nPublish from this machine (any name will do for " BOX_EXAMPLE "):\n", f);
    urls_print_publish(f, l.local, "live", BOX_EXAMPLE, "");
    (void)fputs("\nPublish from elsewhere (for 24 hours; more: freshet sign publish live/NAME):\n",
                f);
    urls_print_publish(f, l.far, "live", BOX_EXAMPLE, query);
    (void)fputs("\nWatch:\n", f);
    json_array_foreach(l.play, i, one)
    {
        const char *base = json_string_value(one);

        (void)fprintf(f,
                      "  browser %s/watch/live/" BOX_EXAMPLE "\n"
                      "  player  %s/live/" BOX_EXAMPLE "/manifest.mpd\n",
                      base, base);
    }
    (void)fprintf(f, "\nCertificate and keys are kept in %s. Stop with Ctrl-C.\n\n",
                  p->conf->state_dir);
    (void)fflush(f);
    json_decref(l.local);
    json_decref(l.far);
    json_decref(l.play);
}
