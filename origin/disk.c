#include "origin/disk.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "core/check.h"
#include "core/loop.h"

struct disk {
    pthread_t thread;
    pthread_mutex_t lock;
    pthread_cond_t work;
    bool stop;
    struct disk_job *first, **lastp;
};

static int make_parents(char *path)
{
    for (char *p = strchr(path + 1, '/'); p != NULL; p = strchr(p + 1, '/')) {
        int bad;

        *p = '\0';
        bad = mkdir(path, 0700) != 0 && errno != EEXIST ? errno : 0;
        *p = '/';
        if (bad != 0)
            return bad;
    }
    return 0;
}

static int write_all(int fd, const char *p, size_t n, bool lazy)
{
    while (n > 0) {
        ssize_t w = write(fd, p, n);

        if (w < 0 && errno == EINTR)
            continue;
        if (w < 0)
            return errno;
        p += w;
        n -= (size_t)w;
    }
    return lazy || fsync(fd) == 0 ? 0 : errno;
}

static int sync_parent(const char *path)
{
    const char *slash = strrchr(path, '/');
    char *dir = slash != NULL && slash != path ? strndup(path, (size_t)(slash - path))
                                               : strdup(slash != NULL ? "/" : ".");
    int fd, bad = 0;

    if (dir == NULL)
        return ENOMEM;
    fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0 || fsync(fd) != 0)
        bad = errno;
    if (fd >= 0)
        (void)close(fd);
    free(dir);
    return bad;
}

/* fd, or a path. */
static int set_time(int fd, const char *path, int64_t time_s)
{
    const struct timespec both[2] = { { .tv_sec = time_s }, { .tv_sec = time_s } };

    return (path != NULL ? utimensat(AT_FDCWD, path, both, 0) : futimens(fd, both)) == 0 ? 0
                                                                                         : errno;
}

static int open_anew(const char *path)
{
    return open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
}

static int replace_file(const struct disk_job *job)
{
    char *aside;
    int fd, bad;

    if (asprintf(&aside, "%s.new", job->path) < 0)
        return ENOMEM;
    fd = open_anew(aside);
    if (fd < 0 && errno == ENOENT && make_parents(aside) == 0)
        fd = open_anew(aside);
    bad = fd < 0 ? errno : write_all(fd, job->bytes, job->n, job->lazy);
    if (bad == 0)
        bad = set_time(fd, NULL, job->time_s);
    if (fd >= 0 && close(fd) != 0 && bad == 0)
        bad = errno;
    if (bad == 0 && rename(aside, job->path) != 0)
        bad = errno;
    if (bad != 0)
        (void)unlink(aside);
    else if (!job->lazy)
        bad = sync_parent(job->path);
    free(aside);
    return bad;
}

static int read_file(struct disk_job *job)
{
    int fd = open(job->path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW), bad = 0;
    struct stat st;
    ssize_t n;

    if (fd < 0)
        return errno;
    if (fstat(fd, &st) != 0)
        bad = errno;
    else if (!S_ISREG(st.st_mode) || st.st_size > DISK_READ_MAX)
        bad = EFBIG;
    else if ((job->bytes = calloc(1, (size_t)st.st_size + 1)) == NULL)
        bad = ENOMEM;
    else if ((n = read(fd, job->bytes, (size_t)st.st_size)) < 0)
        bad = errno;
    else
        job->n = (size_t)n;
    job->time_s = bad == 0 ? st.st_mtime : 0;
    (void)close(fd);
    return bad;
}

/* Folders that have become empty go too. */
static size_t sweep(const char *dir, int64_t before_s, int depth)
{
    DIR *d = opendir(dir);
    struct dirent *e;
    size_t left = 0;

    while (d != NULL && (e = readdir(d)) != NULL) {
        struct stat st;
        char *path;

        if (strcmp(e->d_name, ".") == 0 || strcmp(e->d_name, "..") == 0)
            continue;
        if (asprintf(&path, "%s/%s", dir, e->d_name) < 0)
            break;
        if (lstat(path, &st) != 0) {
            left++;
        } else if (S_ISDIR(st.st_mode)) {
            if (depth < DISK_DEPTH_MAX)
                left += sweep(path, before_s, depth + 1);
            (void)rmdir(path);
        } else if (st.st_mtime >= before_s || unlink(path) != 0) {
            left++;
        }
        free(path);
    }
    if (d != NULL)
        (void)closedir(d);
    return left;
}

static int work_on(struct disk_job *job)
{
    switch (job->what) {
    case DISK_WRITE:
        return replace_file(job);
    case DISK_READ:
        return read_file(job);
    case DISK_TOUCH:
        return set_time(-1, job->path, job->time_s);
    case DISK_REMOVE:
        return unlink(job->path) == 0 ? 0 : errno;
    case DISK_SWEEP:
        job->n = sweep(job->path, job->time_s, 0);
        return 0;
    }
    return EINVAL;
}

/* What is done, in order; not yet told. */
struct done {
    struct disk_job *first, **lastp;
};

static void finish(struct done *done, struct disk_job *job, int bad)
{
    if (bad != 0 || job->what != DISK_READ) {
        free(job->bytes);
        job->bytes = NULL;
    }
    free(job->path);
    job->path = NULL;
    job->sys_err = bad;
    job->st = bad == 0 ? ST_OK : bad == ENOENT ? ST_ENOENT : ST_EIO;
    job->next = NULL;
    *done->lastp = job;
    done->lastp = &job->next;
}

/* One signal for each loop. */
static void tell(struct done *done)
{
    struct mailbox_owed owed = { .n = 0 };

    for (struct disk_job *job = done->first, *next; job != NULL; job = next) {
        next = job->next;
        mailbox_push_owing(&job->loop->mailbox, &job->mail, &owed);
    }
    mailbox_settle(&owed);
    *done = (struct done){ .lastp = &done->first };
}

/* By the next one for the same path, when both write. */
static bool superseded(const struct disk_job *job)
{
    for (const struct disk_job *later = job->next; later != NULL; later = later->next)
        if (strcmp(later->path, job->path) == 0)
            return job->what == DISK_WRITE && later->what == DISK_WRITE;
    return false;
}

/* All that waits, as one list: what is superseded in it shares the fate of its successor. What is
 * lazy, of which there is most, is told at the end; nobody waits for anything else than his own. */
static void do_batch(struct disk_job *list)
{
    struct disk_job *waiting = NULL;
    struct done done = { .lastp = &done.first };

    while (list != NULL) {
        struct disk_job *job = list;
        bool skip = superseded(job), lazy = job->lazy;

        list = list->next;
        if (skip) {
            job->next = waiting;
            waiting = job;
            continue;
        }
        int bad = work_on(job);
        for (struct disk_job **p = &waiting; *p != NULL;) {
            struct disk_job *w = *p;

            if (strcmp(w->path, job->path) != 0) {
                p = &w->next;
                continue;
            }
            *p = w->next;
            finish(&done, w, bad);
        }
        finish(&done, job, bad);
        if (!lazy)
            tell(&done);
    }
    tell(&done);
    CHECK(waiting == NULL);
}

static void *run(void *arg)
{
    struct disk *d = arg;

    (void)pthread_mutex_lock(&d->lock);
    for (;;) {
        struct disk_job *batch = d->first;

        if (batch == NULL && d->stop)
            break;
        if (batch == NULL) {
            (void)pthread_cond_wait(&d->work, &d->lock);
            continue;
        }
        d->first = NULL;
        d->lastp = &d->first;
        (void)pthread_mutex_unlock(&d->lock);
        do_batch(batch);
        (void)pthread_mutex_lock(&d->lock);
    }
    (void)pthread_mutex_unlock(&d->lock);
    return NULL;
}

struct disk *disk_new(void)
{
    struct disk *d = calloc(1, sizeof *d);

    if (d == NULL)
        return NULL;
    d->lastp = &d->first;
    (void)pthread_mutex_init(&d->lock, NULL);
    (void)pthread_cond_init(&d->work, NULL);
    if (pthread_create(&d->thread, NULL, run, d) != 0) {
        (void)pthread_cond_destroy(&d->work);
        (void)pthread_mutex_destroy(&d->lock);
        free(d);
        return NULL;
    }
    (void)pthread_setname_np(d->thread, "disk");
    return d;
}

void disk_free(struct disk **dp)
{
    struct disk *d = *dp;

    *dp = NULL;
    if (d == NULL)
        return;
    (void)pthread_mutex_lock(&d->lock);
    d->stop = true;
    (void)pthread_cond_signal(&d->work);
    (void)pthread_mutex_unlock(&d->lock);
    (void)pthread_join(d->thread, NULL);
    (void)pthread_cond_destroy(&d->work);
    (void)pthread_mutex_destroy(&d->lock);
    free(d);
}

static enum st ask(struct disk *d, struct disk_job *job, enum disk_what what, const char *path)
{
    CHECK(job->path == NULL && job->loop != NULL && job->mail.deliver != NULL);
    job->what = what;
    job->next = NULL;
    if ((job->path = strdup(path)) == NULL)
        return ST_ENOMEM;
    (void)pthread_mutex_lock(&d->lock);
    CHECK(!d->stop);
    *d->lastp = job;
    d->lastp = &job->next;
    (void)pthread_cond_signal(&d->work);
    (void)pthread_mutex_unlock(&d->lock);
    return ST_OK;
}

enum st disk_write(struct disk *d, struct disk_job *job, const char *path, const void *bytes,
                   size_t n)
{
    enum st st;

    if ((job->bytes = malloc(n + 1)) == NULL)
        return ST_ENOMEM;
    if (n > 0)
        memcpy(job->bytes, bytes, n);
    job->n = n;
    if ((st = ask(d, job, DISK_WRITE, path)) != ST_OK) {
        free(job->bytes);
        job->bytes = NULL;
    }
    return st;
}

enum st disk_read(struct disk *d, struct disk_job *job, const char *path)
{
    job->bytes = NULL;
    job->n = 0;
    return ask(d, job, DISK_READ, path);
}

enum st disk_touch(struct disk *d, struct disk_job *job, const char *path)
{
    return ask(d, job, DISK_TOUCH, path);
}

enum st disk_remove(struct disk *d, struct disk_job *job, const char *path)
{
    return ask(d, job, DISK_REMOVE, path);
}

enum st disk_sweep(struct disk *d, struct disk_job *job, const char *dir)
{
    return ask(d, job, DISK_SWEEP, dir);
}
