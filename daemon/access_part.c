#include "daemon/access_part.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "daemon/process.h"
#include "edge/access.h"
#include "edge/front.h"

struct delivery {
    struct mail mail;
    struct access_log *log;
};

struct access {
    struct access_log *fresh;  /* between prepare and commit or abort */
    struct access_log *now;    /* the loops' */
    struct access_log *before; /* the loops have had it; freed at the next tick */
    struct delivery delivery[CONF_LOOPS_MAX];
};

/* Without waiting for a reader: of a pipe there must be one already. */
static enum st open_file(const char *path, int *fd, struct err *err)
{
    *fd = open(path, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC | O_NOCTTY | O_NONBLOCK, 0640);
    if (*fd < 0)
        return err_set(err, ST_EIO, "log.access: %s: %s", path,
                       errno == ENXIO ? "nobody reads this pipe" : strerror(errno));
    (void)fcntl(*fd, F_SETFL, O_APPEND); /* the sink polls before it writes */
    return ST_OK;
}

static enum st open_log(const struct conf *c, struct access_log **out, struct err *err)
{
    const char *to = c->log.access;
    bool standard = strcmp(to, "stdout") == 0 || strcmp(to, "stderr") == 0;
    int fd = strcmp(to, "stdout") == 0 ? STDOUT_FILENO : STDERR_FILENO;

    *out = NULL;
    if (strcmp(to, "off") == 0)
        return ST_OK;
    if (!standard && open_file(to, &fd, err) != ST_OK)
        return ST_EIO;
    *out =
        access_log_new(fd, !standard, c->log.access_format == CONF_LOG_JSON, c->log.access_sample);
    if (*out != NULL)
        return ST_OK;
    if (!standard)
        (void)close(fd);
    return err_set(err, ST_ENOMEM, "out of memory");
}

static enum st prepare(struct process *p, void **mine, const struct conf *fresh, struct err *err)
{
    struct access *a = *mine;

    (void)p;
    if (a == NULL && (*mine = a = calloc(1, sizeof *a)) == NULL)
        return err_set(err, ST_ENOMEM, "out of memory");
    access_log_free(&a->before);
    return open_log(fresh, &a->fresh, err);
}

static void abort_(struct process *p, void **mine)
{
    struct access *a = *mine;

    (void)p;
    access_log_free(&a->fresh);
}

static void delivered(struct loop *l, struct mail *m)
{
    struct delivery *d = CONTAINER_OF(m, struct delivery, mail);

    if (l->slot[LOOP_FRONT] != NULL) /* NULL: the process stops */
        front_set_access_log(l, d->log);
}

static void commit(struct process *p, void **mine, const struct conf *fresh)
{
    struct access *a = *mine;

    (void)fresh;
    a->before = a->now;
    a->now = a->fresh;
    a->fresh = NULL;
    for (int i = 0; i < p->loops_n; i++) {
        a->delivery[i] = (struct delivery){ .mail.deliver = delivered, .log = a->now };
        mailbox_post(&p->loop[i]->mailbox, &a->delivery[i].mail);
    }
}

/* Not in the turn of the reload: by now its letters have arrived. */
static uint64_t tick(struct process *p, void **mine, uint64_t now_us)
{
    struct access *a = *mine;

    (void)p, (void)now_us;
    if (a != NULL)
        access_log_free(&a->before);
    return UINT64_MAX;
}

static void fini(struct process *p, void **mine)
{
    struct access *a = *mine;

    (void)p;
    *mine = NULL;
    if (a == NULL)
        return;
    access_log_free(&a->before);
    access_log_free(&a->now);
    free(a);
}

const struct part access_part = {
    .name = "access",
    .prepare = prepare,
    .commit = commit,
    .abort = abort_,
    .fini = fini,
    .tick = tick,
};
