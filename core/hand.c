#include "core/hand.h"

#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "core/check.h"

static struct hand_page *map(int fd)
{
    void *p = mmap(NULL, sizeof(struct hand_page), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);

    return p != MAP_FAILED ? p : NULL;
}

enum st hand_page_new(int *fd, struct hand_page **out)
{
    const int seals = F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL;

    *out = NULL;
    *fd = memfd_create("freshet-hands", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    if (*fd < 0)
        return ST_EIO;
    if (ftruncate(*fd, sizeof(struct hand_page)) == 0 && fcntl(*fd, F_ADD_SEALS, seals) == 0)
        *out = map(*fd);
    if (*out != NULL)
        return ST_OK;
    (void)close(*fd);
    *fd = -1;
    return ST_EIO;
}

void hand_page_clear(struct hand_page *p) { memset(p, 0, sizeof *p); }

void hand_page_free(int *fd, struct hand_page **pp)
{
    if (*pp == NULL)
        return;
    (void)munmap(*pp, sizeof **pp);
    (void)close(*fd);
    *pp = NULL;
    *fd = -1;
}

enum st hand_page_map(int fd, struct hand_page **out)
{
    struct stat st;

    *out = NULL;
    if (fstat(fd, &st) == 0 && S_ISREG(st.st_mode) && st.st_size == sizeof(struct hand_page))
        *out = map(fd);
    (void)close(fd);
    return *out != NULL ? ST_OK : ST_EIO;
}

void hand_take(struct hand_page *p, unsigned slot, const char *name)
{
    if (p == NULL)
        return;
    CHECK(slot < HAND_SLOTS);
    struct hand_slot *h = &p->slot[slot];
    (void)snprintf(h->name, sizeof h->name, "%s", name);
    atomic_store(&h->turn, atomic_fetch_add(&p->turns, 1) + 1);
    atomic_store(&h->busy, 1);
}

void hand_drop(struct hand_page *p, unsigned slot)
{
    if (p != NULL)
        atomic_store(&p->slot[slot].busy, 0);
}

static bool is_name(const char *s)
{
    static const char good[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_-";
    size_t n = strspn(s, good), m = s[n] == '/' ? strspn(s + n + 1, good) : 0;

    return n > 0 && n <= 64 && m > 0 && m <= 64 && s[n + 1 + m] == '\0';
}

/* Copied first: what is looked at must not change. */
static unsigned add(const struct hand_slot *h, char name[HAND_SLOTS][HAND_NAME], unsigned n)
{
    memcpy(name[n], h->name, HAND_NAME);
    name[n][HAND_NAME - 1] = '\0';
    return is_name(name[n]) ? n + 1 : n;
}

unsigned hand_suspects(const struct hand_page *p, char name[HAND_SLOTS][HAND_NAME])
{
    const struct hand_slot *last = NULL;
    uint64_t newest = 0;
    unsigned n = 0;

    for (unsigned i = 0; i < HAND_SLOTS; i++) {
        const struct hand_slot *h = &p->slot[i];
        uint64_t turn = atomic_load(&h->turn);

        if (atomic_load(&h->busy) != 0)
            n = add(h, name, n);
        if (turn > newest) {
            newest = turn;
            last = h;
        }
    }
    return n == 0 && last != NULL ? add(last, name, 0) : n;
}
