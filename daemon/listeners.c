#include "daemon/listeners.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "core/check.h"
#include "core/log.h"
#include "daemon/observe.h"
#include "daemon/process.h"
#include "daemon/sock.h"

struct listener {
    struct listener *next;
    const struct listen_section *section;
    char *configured, *actual;
    char *path; /* of a unix socket, to be removed with it; else NULL */
    struct stat file;
    uint16_t port;
    bool stays; /* the configuration being prepared has it too */
    int n;
    struct listen_socket *sock[]; /* one per loop */
};

struct listeners {
    struct listener *list;  /* in force */
    struct listener *fresh; /* prepared */
};

/* ---- on the loop ---- */

static void drop_fd(struct listen_socket *ls)
{
    if (ls->fd >= 0)
        (void)close(ls->fd);
    ls->fd = -1;
}

static void deliver_open(struct loop *l, struct mail *m)
{
    struct listen_socket *ls = CONTAINER_OF(m, struct listen_socket, mail);

    if (!ls->user->opened(l, ls))
        drop_fd(ls);
}

static void take_back(struct loop *l, struct listen_socket *ls)
{
    if (ls->fd >= 0)
        ls->user->closed(l, ls);
    drop_fd(ls);
    free(ls);
}

static void deliver_close(struct loop *l, struct mail *m)
{
    take_back(l, CONTAINER_OF(m, struct listen_socket, mail));
}

/* ---- one listener ---- */

/* Sockets that no loop has: never handed out, or taken back already (then n is 0). */
static void listener_free(struct listener *ln)
{
    for (int i = 0; i < ln->n; i++) {
        if (ln->sock[i] != NULL)
            drop_fd(ln->sock[i]);
        free(ln->sock[i]);
    }
    free(ln->configured);
    free(ln->actual);
    free(ln->path);
    free(ln);
}

static void remove_file(const struct listener *ln)
{
    struct stat now;

    if (ln->path != NULL && lstat(ln->path, &now) == 0 && now.st_dev == ln->file.st_dev &&
        now.st_ino == ln->file.st_ino) /* nobody has put another one in its place */
        (void)unlink(ln->path);
}

static enum st open_unix(struct listener *ln, const struct conf_url *u, struct err *err)
{
    enum st st = sock_listen_unix(u->path, 0666, &ln->sock[0]->fd, err);

    if (st != ST_OK)
        return st;
    ln->path = strdup(u->path);
    if (ln->path == NULL || lstat(ln->path, &ln->file) != 0)
        return err_set(err, ST_ENOMEM, "out of memory");
    for (int i = 1; i < ln->n; i++) {
        ln->sock[i]->fd = fcntl(ln->sock[0]->fd, F_DUPFD_CLOEXEC, 0);
        if (ln->sock[i]->fd < 0)
            return err_set(err, ST_EIO, "no descriptor left for each loop");
    }
    return ST_OK;
}

static enum st open_tcp(struct listener *ln, const struct conf_url *u, bool ours, struct err *err)
{
    enum st st = ST_OK;

    ln->port = u->port;
    if (u->port != 0 && !ours && sock_is_taken(u->host, u->port))
        return err_set(err, ST_EIO, "another process listens there");
    for (int i = 0; i < ln->n && st == ST_OK; i++)
        st = sock_listen_tcp(u->host, &ln->port, true, &ln->sock[i]->fd, err);
    return st;
}

static char *actual_url(const struct listener *ln, const struct conf_url *u)
{
    bool v6 = strchr(u->host, ':') != NULL;
    char *text;

    if (u->scheme == CONF_UNIX)
        return strdup(u->text);
    if (asprintf(&text, "%s://%s%s%s:%u", conf_scheme_name(u->scheme), v6 ? "[" : "", u->host,
                 v6 ? "]" : "", (unsigned)ln->port) < 0)
        return NULL;
    return text;
}

static enum st listener_new(const struct listen_section *section, const struct conf_url *u, int n,
                            bool ours, struct listener **out, struct err *err)
{
    struct listener *ln = calloc(1, sizeof *ln + (size_t)n * sizeof(void *));
    struct err why = { .text = "out of memory" };
    enum st st = ST_ENOMEM;

    *out = NULL;
    if (ln == NULL) {
        (void)err_set(err, ST_ENOMEM, "out of memory");
        return ST_ENOMEM;
    }
    ln->section = section;
    ln->configured = strdup(u->text);
    for (; ln->n < n; ln->n++) {
        struct listen_socket *ls = calloc(1, sizeof *ls);

        if (ls == NULL)
            break;
        *ls = (struct listen_socket){
            .user = section->user, .section = section->name, .scheme = u->scheme, .fd = -1
        };
        ln->sock[ln->n] = ls;
    }
    if (ln->configured != NULL && ln->n == n)
        st = u->scheme == CONF_UNIX ? open_unix(ln, u, &why) : open_tcp(ln, u, ours, &why);
    if (st == ST_OK) {
        ln->actual = actual_url(ln, u);
        st = ln->actual != NULL ? ST_OK : ST_ENOMEM;
    }
    if (st != ST_OK) {
        remove_file(ln);
        listener_free(ln);
        (void)err_set(err, st, "%s: %s: %s", section->name, u->text, why.text);
        return st;
    }
    *out = ln;
    return ST_OK;
}

/* ---- the part ---- */

static enum st start_loop(struct process *p, void **mine, struct loop *l, struct err *err)
{
    (void)p;
    (void)l;
    if (*mine == NULL)
        *mine = calloc(1, sizeof(struct listeners));
    return *mine != NULL ? ST_OK : err_set(err, ST_ENOMEM, "out of memory");
}

static void abort_fresh(struct process *p, void **mine)
{
    struct listeners *all = *mine;

    (void)p;
    while (all->fresh != NULL) {
        struct listener *ln = all->fresh;

        all->fresh = ln->next;
        remove_file(ln);
        listener_free(ln);
    }
    for (struct listener *ln = all->list; ln != NULL; ln = ln->next)
        ln->stays = false;
}

static struct listener *find(const struct listeners *all, const struct listen_section *section,
                             const char *text)
{
    for (struct listener *ln = all->list; ln != NULL; ln = ln->next)
        if (!ln->stays && ln->section == section && strcmp(ln->configured, text) == 0)
            return ln;
    return NULL;
}

/* http becomes https, or 127.0.0.1 becomes [::], on a port that we have: both for a moment. */
static bool port_is_ours(const struct listeners *all, uint16_t port)
{
    for (const struct listener *ln = all->list; ln != NULL; ln = ln->next)
        if (ln->path == NULL && ln->port == port)
            return true;
    return false;
}

static enum st prepare(struct process *p, void **mine, const struct conf *fresh, struct err *err)
{
    struct listeners *all = *mine;
    struct listener **end = &all->fresh;

    for (const struct listen_section *s = listen_sections; s->name != NULL; s++) {
        const struct conf_url *u;
        size_t n;

        memcpy(&u, (const char *)fresh + s->off, sizeof(void *));
        memcpy(&n, (const char *)fresh + s->off_n, sizeof n);
        for (; n > 0; n--, u++) {
            struct listener *ln = find(all, s, u->text);
            enum st st;

            if (ln != NULL) {
                ln->stays = true;
                continue;
            }
            st = listener_new(s, u, p->loops_n, port_is_ours(all, u->port), end, err);
            if (st != ST_OK) {
                abort_fresh(p, mine);
                return st;
            }
            end = &(*end)->next;
        }
    }
    return ST_OK;
}

static void post(struct process *p, struct listener *ln,
                 void (*deliver)(struct loop *l, struct mail *m))
{
    for (int i = 0; i < ln->n; i++) {
        ln->sock[i]->mail.deliver = deliver;
        mailbox_post(&p->loop[i]->mailbox, &ln->sock[i]->mail);
    }
}

static void say(const struct process *p, const struct listener *ln, const char *what)
{
    log_note(observe_log(p),
             LOG_CTX_TEXT(LOG_CTX_TEXT(NULL, "section", ln->section->name), "url", ln->actual),
             "listen", "%s", what);
}

static void commit(struct process *p, void **mine, const struct conf *fresh)
{
    struct listeners *all = *mine;
    struct listener **lp = &all->list;

    (void)fresh;
    while (*lp != NULL) {
        struct listener *ln = *lp;

        if (ln->stays) {
            ln->stays = false;
            lp = &ln->next;
            continue;
        }
        *lp = ln->next;
        say(p, ln, "closed");
        remove_file(ln);
        post(p, ln, deliver_close); /* the loops free the sockets */
        ln->n = 0;
        listener_free(ln);
    }
    *lp = all->fresh;
    for (struct listener *ln = all->fresh; ln != NULL; ln = ln->next) {
        say(p, ln, "listening");
        post(p, ln, deliver_open);
    }
    all->fresh = NULL;
}

static void stop_loop(struct process *p, void **mine, struct loop *l)
{
    struct listeners *all = *mine;

    (void)p;
    for (struct listener *ln = all != NULL ? all->list : NULL; ln != NULL; ln = ln->next) {
        take_back(l, ln->sock[l->index]);
        ln->sock[l->index] = NULL;
    }
}

static void fini(struct process *p, void **mine)
{
    struct listeners *all = *mine;

    (void)p;
    while (all != NULL && all->list != NULL) {
        struct listener *ln = all->list;

        all->list = ln->next;
        remove_file(ln);
        listener_free(ln);
    }
    free(all);
    *mine = NULL;
}

const struct part listeners_part = {
    .name = "listeners",
    .loop_start = start_loop,
    .prepare = prepare,
    .commit = commit,
    .abort = abort_fresh,
    .loop_stop = stop_loop,
    .fini = fini,
};

void listeners_each(const struct process *p,
                    void (*each)(void *arg, const char *section, const char *configured,
                                 const char *actual),
                    void *arg)
{
    for (int i = 0; p->parts[i] != NULL; i++) {
        const struct listeners *all = p->part[i];

        if (p->parts[i] != &listeners_part || all == NULL)
            continue;
        for (const struct listener *ln = all->list; ln != NULL; ln = ln->next)
            each(arg, ln->section->name, ln->configured, ln->actual);
    }
}
