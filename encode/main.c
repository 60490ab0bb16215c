/* freshet-encode: a worker. It is given a listening unix socket as descriptor 3 and needs nothing
 * else from the world: no files, no secrets, no configuration. It reads hostile media, so it gives
 * up what it can before the first byte: privileges, memory beyond what its streams need,
 * descriptors, cores, and its life when its parent dies. */
#include <errno.h>
#include <event2/event.h>
#include <fcntl.h>
#include <getopt.h>
#include <libavutil/log.h>
#include <malloc.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include "core/check.h"
#include "core/hand.h"
#include "core/io.h"
#include "core/log.h"
#include "encode/sandbox.h"
#include "encode/worker.h"

enum { FAILED = 1, USAGE = 2, LISTEN_FD = 3 };
enum {
    STREAMS_DEFAULT = 256,
    STREAMS_MAX = 1024,
    FILES_MAX = 256,
    BASE_MIB = 256,
    STREAM_MIB = 48,  /* frames waiting, records going out */
    THREAD_MIB = 136, /* an arena of the allocator, a stack */
};

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
    #define SANITIZED 1
#elif defined(__has_feature)
    #if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
        #define SANITIZED 1
    #endif
#endif
#ifndef SANITIZED
    #define SANITIZED 0
#endif

struct options {
    unsigned threads;
    unsigned streams;
    unsigned hands; /* a descriptor; 0: none */
    enum log_level level;
};

static int usage(FILE *f, int status)
{
    (void)fputs("usage: freshet-encode [OPTION]...\n\n"
                "A worker of freshet, which starts it. Descriptor 3 must be a listening unix\n"
                "socket; what is spoken there is POST /_encode/APP/STREAM over HTTP/2.\n\n"
                "  -t, --threads N        codec threads (1 to 64; default: one per core)\n"
                "  -s, --streams N        streams at a time (1 to 1024; default 256)\n"
                "  -l, --log-level WORD   error, warn, note (default), info or debug\n"
                "      --hands FD         a page to mark the streams in hand in (core/hand.h)\n"
                "  -h, --help             this text\n"
                "      --version          which one it is\n\n"
                "Exit status: 0 done, 1 failed, 2 wrong usage.\n",
                f);
    return status;
}

static bool number(const char *text, unsigned long most, unsigned *out)
{
    char *end;
    unsigned long v;

    if (text[0] < '0' || text[0] > '9')
        return false;
    errno = 0;
    v = strtoul(text, &end, 10);
    *out = (unsigned)v;
    return errno == 0 && *end == 0 && v >= 1 && v <= most;
}

/* Those that we may run on. */
static unsigned our_cores(void)
{
    cpu_set_t cores;
    int n = sched_getaffinity(0, sizeof cores, &cores) == 0 ? CPU_COUNT(&cores) : 1;

    return n > 1 ? (unsigned)n : 1;
}

/* -1: go on, else the exit status. */
static int read_options(int argc, char **argv, struct options *o)
{
    static const struct option table[] = { { "threads", required_argument, NULL, 't' },
                                           { "streams", required_argument, NULL, 's' },
                                           { "log-level", required_argument, NULL, 'l' },
                                           { "help", no_argument, NULL, 'h' },
                                           { "hands", required_argument, NULL, 'm' },
                                           { "version", no_argument, NULL, 'V' },
                                           { NULL, 0, NULL, 0 } };
    unsigned cores = our_cores();
    int c;

    *o = (struct options){ .streams = STREAMS_DEFAULT, .level = LOG_NOTE };
    o->threads = cores < POOL_THREADS_MAX ? cores : POOL_THREADS_MAX;
    while ((c = getopt_long(argc, argv, "t:s:l:h", table, NULL)) != -1) {
        bool good = true;

        if (c == 't')
            good = number(optarg, POOL_THREADS_MAX, &o->threads);
        else if (c == 's')
            good = number(optarg, STREAMS_MAX, &o->streams);
        else if (c == 'm')
            good = number(optarg, FILES_MAX, &o->hands);
        else if (c == 'l')
            good = log_level_parse(optarg, &o->level) == ST_OK;
        else if (c == 'h')
            return usage(stdout, 0);
        else if (c == 'V')
            return puts("freshet-encode " FRESHET_VERSION) < 0 ? FAILED : 0;
        else
            return usage(stderr, USAGE);
        if (!good) {
            (void)fprintf(stderr, "freshet-encode: not a value for this option: %s\n", optarg);
            return USAGE;
        }
    }
    return optind == argc ? -1 : usage(stderr, USAGE);
}

static bool is_listening(int fd)
{
    int yes = 0, domain = 0;
    socklen_t n = sizeof yes, m = sizeof domain;

    return getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &yes, &n) == 0 && yes != 0 &&
           getsockopt(fd, SOL_SOCKET, SO_DOMAIN, &domain, &m) == 0 && domain == AF_UNIX;
}

/* glibc makes an enum of what POSIX calls an int. */
static bool limit(__rlimit_resource_t what, rlim_t most)
{
    struct rlimit r;

    if (getrlimit(what, &r) != 0)
        return false;
    r.rlim_cur = r.rlim_cur < most ? r.rlim_cur : most;
    r.rlim_max = r.rlim_max < most ? r.rlim_max : most;
    return setrlimit(what, &r) == 0;
}

/* What the process takes up before the first stream: the codecs are large, and mapped. */
static rlim_t mapped_bytes(void)
{
    unsigned long long pages = 0;
    FILE *f = fopen("/proc/self/statm", "re");

    if (f != NULL) {
        if (fscanf(f, "%llu", &pages) != 1)
            pages = 0;
        (void)fclose(f);
    }
    return (rlim_t)pages * (rlim_t)sysconf(_SC_PAGESIZE);
}

static bool give_up_rights(const struct options *o)
{
    pid_t parent = getppid();
    rlim_t need = BASE_MIB + (rlim_t)o->streams * STREAM_MIB + (rlim_t)o->threads * THREAD_MIB;

    if (prctl(PR_SET_PDEATHSIG, SIGKILL) != 0 || getppid() != parent)
        return false;
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0)
        return false;
    if (!limit(RLIMIT_CORE, 0) || !limit(RLIMIT_NOFILE, FILES_MAX))
        return false;
    if (SANITIZED)
        return true;
    return limit(RLIMIT_AS, mapped_bytes() + (need << 20)) && sandbox_files() == ST_OK;
}

static void on_signal(evutil_socket_t fd, short what, void *arg)
{
    struct loop *l = arg;

    (void)fd, (void)what;
    loop_stop(l);
}

static enum st serve(struct loop *l, struct pool *p, const struct options *o,
                     struct hand_page *hands, int signals)
{
    struct event *ev = event_new(l->base, signals, EV_READ, on_signal, l);
    struct worker *w = worker_new(l, p, LISTEN_FD, o->streams, hands);
    enum st st = ST_ENOMEM;

    if (ev != NULL && w != NULL && event_add(ev, NULL) == 0) {
        log_note(l->log,
                 LOG_CTX_INT(LOG_CTX_INT(NULL, "threads", o->threads), "streams", o->streams),
                 "encode", "ready");
        st = loop_run(l);
    }
    if (w != NULL) {
        worker_stop(w);
        if (st == ST_OK)
            st = loop_turn_nowait(l); /* what has just been buried */
        while (st == ST_OK && !worker_idle(w))
            st = loop_turn(l);
        if (st == ST_OK)
            worker_free(&w);
    }
    if (ev != NULL)
        event_free(ev);
    return st;
}

static enum st run(const struct options *o, struct log_sink *sink)
{
    struct log *log = log_new(sink, "encode", NULL);
    struct hand_page *hands = NULL;
    struct pool pool;
    struct loop loop;
    enum st st;
    sigset_t set;
    int signals;

    (void)sigemptyset(&set);
    (void)sigaddset(&set, SIGTERM);
    (void)sigaddset(&set, SIGINT);
    if (log == NULL || pthread_sigmask(SIG_BLOCK, &set, NULL) != 0 ||
        (signals = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK)) < 0) {
        log_free(&log);
        return ST_EIO;
    }
    st = loop_init(&loop, 0, 1);
    if (st == ST_OK && o->hands != 0)
        st = hand_page_map((int)o->hands, &hands);
    if (st == ST_OK) {
        loop.log = log;
        st = pool_start(&pool, o->threads);
    }
    if (st == ST_OK && !SANITIZED && sandbox_calls() != ST_OK) {
        log_error(log, LOG_CTX_TEXT(NULL, "error", strerror(errno)), "encode", "no sandbox");
        pool_stop(&pool);
        st = ST_EIO;
    }
    if (st == ST_OK) {
        st = serve(&loop, &pool, o, hands, signals);
        pool_stop(&pool);
    }
    io_loop_fini(&loop);
    loop_fini(&loop);
    (void)close(signals);
    log_free(&log);
    return st;
}

int main(int argc, char **argv)
{
    struct options o;
    struct log_sink *sink;
    enum st st;
    int status = read_options(argc, argv, &o);

    if (status >= 0)
        return status;
    if (!is_listening(LISTEN_FD)) {
        (void)fputs("freshet-encode: descriptor 3 is not a listening unix socket; freshet starts "
                    "this program\n",
                    stderr);
        return USAGE;
    }
    /* Whoever made it may have left it blocking, and accept() must never wait. */
    if (fcntl(LISTEN_FD, F_SETFL, O_NONBLOCK) != 0 || fcntl(LISTEN_FD, F_SETFD, FD_CLOEXEC) != 0)
        return FAILED;
    (void)signal(SIGPIPE, SIG_IGN);
    (void)mallopt(M_ARENA_MAX, (int)o.threads + 1);
    av_log_set_level(AV_LOG_QUIET);
    if (!give_up_rights(&o)) {
        (void)fprintf(stderr, "freshet-encode: cannot give up rights: %s\n", strerror(errno));
        return FAILED;
    }
    sink = log_sink_new(STDERR_FILENO, o.level, LOG_TEXT);
    st = sink != NULL ? run(&o, sink) : ST_ENOMEM;
    log_sink_free(&sink);
    if (st != ST_OK)
        (void)fprintf(stderr, "freshet-encode: %s\n", st_name(st));
    return st == ST_OK ? 0 : FAILED;
}
