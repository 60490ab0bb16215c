#include "core/log_sink.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "core/check.h"

enum {
    SINK_MAGIC = 0x106517c5,
    PIECE_BYTES = 4096, /* what a pipe that polls writable takes without blocking */
    PAUSE_MS = 100,
    PATIENCE = 10 /* pauses without progress that the end of the program waits */
};

struct half {
    char *bytes;
    size_t len;
};

struct log_sink {
    int magic;
    int fd;
    pthread_t thread;
    pthread_mutex_t lock; /* guards fill, filling and the condition */
    pthread_cond_t filled;
    struct half half[2];
    int filling; /* the half that takes lines; the other is the writer's */
    atomic_bool stopping;
    _Atomic int level;
    _Atomic int format;
};

/* Whole lines, as many as go at once: others may write to the same descriptor, another sink among
 * them, and a pipe keeps such a piece together. */
static size_t piece(const char *p, size_t n)
{
    const char *end;

    if (n <= PIECE_BYTES)
        return n;
    end = memrchr(p, '\n', PIECE_BYTES);
    return end != NULL ? (size_t)(end - p) + 1 : PIECE_BYTES;
}

/* Polls before each piece, so that a sleeping reader never holds us inside write(): the descriptor
 * is shared with other programs and must stay in blocking mode. */
static void write_out(struct log_sink *s, const char *p, size_t n)
{
    int idle = 0;

    while (n > 0) {
        struct pollfd pfd = { .fd = s->fd, .events = POLLOUT };
        ssize_t done = -1;

        if (poll(&pfd, 1, PAUSE_MS) == 1) {
            done = write(s->fd, p, piece(p, n));
            if (done < 0)
                (void)poll(NULL, 0, PAUSE_MS); /* a full disk, a broken pipe: later, perhaps */
        }
        if (done > 0) {
            p += done;
            n -= (size_t)done;
            idle = 0;
        } else if (++idle >= PATIENCE && atomic_load(&s->stopping)) {
            return;
        }
    }
}

static void *writer(void *arg)
{
    struct log_sink *s = arg;

    (void)pthread_mutex_lock(&s->lock);
    for (;;) {
        struct half *full = &s->half[s->filling];

        if (full->len == 0) {
            if (atomic_load(&s->stopping))
                break;
            (void)pthread_cond_wait(&s->filled, &s->lock);
            continue;
        }
        s->filling = !s->filling;
        (void)pthread_mutex_unlock(&s->lock);
        write_out(s, full->bytes, full->len);
        (void)pthread_mutex_lock(&s->lock);
        full->len = 0;
    }
    (void)pthread_mutex_unlock(&s->lock);
    return NULL;
}

/* The thread takes no signals: they are main's, and SIGPIPE is nobody's. */
static int start_writer(struct log_sink *s)
{
    sigset_t all, old;
    int rc;

    (void)sigfillset(&all);
    (void)pthread_sigmask(SIG_SETMASK, &all, &old);
    rc = pthread_create(&s->thread, NULL, writer, s);
    (void)pthread_sigmask(SIG_SETMASK, &old, NULL);
    if (rc == 0)
        (void)pthread_setname_np(s->thread, "log");
    return rc;
}

static void sink_destroy(struct log_sink *s)
{
    (void)pthread_cond_destroy(&s->filled);
    (void)pthread_mutex_destroy(&s->lock);
    free(s->half[0].bytes);
    free(s->half[1].bytes);
    free(s);
}

struct log_sink *log_sink_new(int fd, enum log_level level, enum log_format format)
{
    struct log_sink *s = calloc(1, sizeof *s);

    if (s == NULL)
        return NULL;
    s->fd = fd;
    (void)pthread_mutex_init(&s->lock, NULL);
    (void)pthread_cond_init(&s->filled, NULL);
    log_sink_set(s, level, format);
    s->half[0].bytes = malloc(LOG_QUEUE_BYTES);
    s->half[1].bytes = malloc(LOG_QUEUE_BYTES);
    if (s->half[0].bytes == NULL || s->half[1].bytes == NULL || start_writer(s) != 0) {
        sink_destroy(s);
        return NULL;
    }
    OBJ_INIT(s, SINK_MAGIC);
    return s;
}

void log_sink_free(struct log_sink **sp)
{
    struct log_sink *s = *sp;

    *sp = NULL;
    if (s == NULL)
        return;
    OBJ_FINI(s, SINK_MAGIC);
    (void)pthread_mutex_lock(&s->lock);
    atomic_store(&s->stopping, true);
    (void)pthread_cond_signal(&s->filled);
    (void)pthread_mutex_unlock(&s->lock);
    (void)pthread_join(s->thread, NULL);
    sink_destroy(s);
}

void log_sink_set(struct log_sink *s, enum log_level level, enum log_format format)
{
    atomic_store_explicit(&s->level, (int)level, memory_order_relaxed);
    atomic_store_explicit(&s->format, (int)format, memory_order_relaxed);
}

enum log_level log_sink_level(struct log_sink *s)
{
    return (enum log_level)atomic_load_explicit(&s->level, memory_order_relaxed);
}

enum log_format log_sink_format(struct log_sink *s)
{
    return (enum log_format)atomic_load_explicit(&s->format, memory_order_relaxed);
}

bool log_sink_put(struct log_sink *s, const char *line, size_t n)
{
    struct half *h;
    bool fits, first;

    OBJ_CHECK(s, SINK_MAGIC);
    (void)pthread_mutex_lock(&s->lock); /* held for a copy of one line */
    h = &s->half[s->filling];
    fits = n <= LOG_QUEUE_BYTES - h->len;
    first = h->len == 0;
    if (fits) {
        memcpy(h->bytes + h->len, line, n);
        h->len += n;
    }
    (void)pthread_mutex_unlock(&s->lock);
    if (fits && first)
        (void)pthread_cond_signal(&s->filled);
    return fits;
}

static const char *const level_words[] = {
#define X(n, w, d) w,
    LOG_LEVELS(X)
#undef X
};

const char *log_level_name(enum log_level level)
{
    CHECK(level <= LOG_DEBUG);
    return level_words[level];
}

enum st log_level_parse(const char *word, enum log_level *level)
{
    for (enum log_level i = LOG_ERROR; i <= LOG_DEBUG; i++)
        if (strcmp(word, level_words[i]) == 0) {
            *level = i;
            return ST_OK;
        }
    return ST_ENOENT;
}
