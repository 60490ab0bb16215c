#include "daemon/listeners.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "core/check.h"
#include "core/listen.h"
#include "core/log.h"
#include "daemon/observe.h"
#include "daemon/process.h"

struct bound {
    struct bound *next;
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
    struct bound *list;  /* in force */
    struct bound *fresh; /* prepared */
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
static void bound_free(struct bound *ln)
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

static void remove_file(const struct bound *ln)
{
    struct stat now;

    if (ln->path != NULL && lstat(ln->path, &now) == 0 && now.st_dev == ln->file.st_dev &&
        now.st_ino == ln->file.st_ino) /* nobody has put another one in its place */
        (void)unlink(ln->path);
}

/* One socket for each loop. ours: another listener of this process may have the port. */
static enum st open_sockets(struct bound *ln, const struct conf_url *u, bool ours, struct err *err)
{
    bool local = u->scheme == CONF_UNIX;
    const struct listen_how how = { .mode = 0666, .ours = ours };
    int *fds = calloc((size_t)ln->n, sizeof *fds), found;
    struct addr_sock at;
    enum st st = ST_ENOMEM;

    if (fds != NULL)
        st = local ? addr_unix(u->path, &at, err)
                   : addr_resolve(u->host, u->port, &at, 1, &found, err);
    if (st == ST_OK)
        st = listen_open(&at, &how, ln->n, fds, err);
    for (int i = 0; i < ln->n && st == ST_OK; i++)
        ln->sock[i]->fd = fds[i];
    free(fds);
    if (st == ST_OK && local) {
        ln->path = strdup(u->path);
        if (ln->path == NULL || lstat(ln->path, &ln->file) != 0)
            return err_set(err, ST_ENOMEM, "out of memory");
    }
    return st;
}

/* The URL that works: with the port that the kernel has picked. */
static enum st learn_actual(struct bound *ln, const struct conf_url *u)
{
    struct sockaddr_storage sa;
    socklen_t len = sizeof sa;
    char text[ADDR_TEXT_MAX];

    if (u->scheme == CONF_UNIX) {
        ln->actual = strdup(u->text);
        return ln->actual != NULL ? ST_OK : ST_ENOMEM;
    }
    CHECK(getsockname(ln->sock[0]->fd, (struct sockaddr *)&sa, &len) == 0);
    ln->port = addr_port((struct sockaddr *)&sa);
    (void)addr_sock_text((struct sockaddr *)&sa, len, text);
    if (asprintf(&ln->actual, "%s://%s", conf_scheme_name(u->scheme), text) >= 0)
        return ST_OK;
    ln->actual = NULL;
    return ST_ENOMEM;
}

static enum st bound_new(const struct listen_section *section, const struct conf_url *u, int n,
                         bool ours, struct bound **out, struct err *err)
{
    struct bound *ln = calloc(1, sizeof *ln + (size_t)n * sizeof(void *));
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
        st = open_sockets(ln, u, ours, &why);
    if (st == ST_OK)
        st = learn_actual(ln, u);
    if (st != ST_OK) {
        remove_file(ln);
        bound_free(ln);
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
        struct bound *ln = all->fresh;

        all->fresh = ln->next;
        remove_file(ln);
        bound_free(ln);
    }
    for (struct bound *ln = all->list; ln != NULL; ln = ln->next)
        ln->stays = false;
}

static struct bound *find(const struct listeners *all, const struct listen_section *section,
                          const char *text)
{
    for (struct bound *ln = all->list; ln != NULL; ln = ln->next)
        if (!ln->stays && ln->section == section && strcmp(ln->configured, text) == 0)
            return ln;
    return NULL;
}

/* http becomes https, or 127.0.0.1 becomes [::], on a port that we have: both for a moment. */
static bool port_is_ours(const struct listeners *all, uint16_t port)
{
    for (const struct bound *ln = all->list; ln != NULL; ln = ln->next)
        if (ln->path == NULL && ln->port == port)
            return true;
    return false;
}

static enum st prepare(struct process *p, void **mine, const struct conf *fresh, struct err *err)
{
    struct listeners *all = *mine;
    struct bound **end = &all->fresh;

    for (const struct listen_section *s = listen_sections; s->name != NULL; s++) {
        const struct conf_url *u;
        size_t n;

        memcpy(&u, (const char *)fresh + s->off, sizeof(void *));
        memcpy(&n, (const char *)fresh + s->off_n, sizeof n);
        for (; n > 0; n--, u++) {
            struct bound *ln = find(all, s, u->text);
            enum st st;

            if (ln != NULL) {
                ln->stays = true;
                continue;
            }
            st = bound_new(s, u, p->loops_n, port_is_ours(all, u->port), end, err);
            if (st != ST_OK) {
                abort_fresh(p, mine);
                return st;
            }
            end = &(*end)->next;
        }
    }
    return ST_OK;
}

static void post(struct process *p, struct bound *ln,
                 void (*deliver)(struct loop *l, struct mail *m))
{
    for (int i = 0; i < ln->n; i++) {
        ln->sock[i]->mail.deliver = deliver;
        mailbox_post(&p->loop[i]->mailbox, &ln->sock[i]->mail);
    }
}

static void say(const struct process *p, const struct bound *ln, const char *what)
{
    log_note(observe_log(p),
             LOG_CTX_TEXT(LOG_CTX_TEXT(NULL, "section", ln->section->name), "url", ln->actual),
             "listen", "%s", what);
}

static void commit(struct process *p, void **mine, const struct conf *fresh)
{
    struct listeners *all = *mine;
    struct bound **lp = &all->list;

    (void)fresh;
    while (*lp != NULL) {
        struct bound *ln = *lp;

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
        bound_free(ln);
    }
    *lp = all->fresh;
    for (struct bound *ln = all->fresh; ln != NULL; ln = ln->next) {
        say(p, ln, "listening");
        post(p, ln, deliver_open);
    }
    all->fresh = NULL;
}

static void stop_loop(struct process *p, void **mine, struct loop *l)
{
    struct listeners *all = *mine;

    (void)p;
    for (struct bound *ln = all != NULL ? all->list : NULL; ln != NULL; ln = ln->next) {
        take_back(l, ln->sock[l->index]);
        ln->sock[l->index] = NULL;
    }
}

static void fini(struct process *p, void **mine)
{
    struct listeners *all = *mine;

    (void)p;
    while (all != NULL && all->list != NULL) {
        struct bound *ln = all->list;

        all->list = ln->next;
        remove_file(ln);
        bound_free(ln);
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
        for (const struct bound *ln = all->list; ln != NULL; ln = ln->next)
            each(arg, ln->section->name, ln->configured, ln->actual);
    }
}
