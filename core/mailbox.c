#include "core/mailbox.h"

#include <sys/eventfd.h>
#include <unistd.h>

#include "core/check.h"

enum st mailbox_init(struct mailbox *mb)
{
    atomic_init(&mb->newest, NULL);
    atomic_init(&mb->awake, false);
    mb->efd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    return mb->efd < 0 ? ST_EIO : ST_OK;
}

void mailbox_fini(struct mailbox *mb)
{
    CHECK(atomic_load_explicit(&mb->newest, memory_order_acquire) == NULL);
    (void)close(mb->efd);
    mb->efd = -1;
}

bool mailbox_push(struct mailbox *mb, struct mail *m)
{
    struct mail *was = atomic_load_explicit(&mb->newest, memory_order_relaxed);

    do
        m->next = was;
    while (!atomic_compare_exchange_weak_explicit(&mb->newest, &was, m, memory_order_seq_cst,
                                                  memory_order_relaxed));
    /* Either we see it asleep, or it sees the letter: mailbox_rest() then mailbox_has(). */
    return was == NULL && !atomic_load_explicit(&mb->awake, memory_order_seq_cst);
}

void mailbox_signal(struct mailbox *mb)
{
    uint64_t one = 1;

    /* EAGAIN only when the counter is full, which also wakes the reader. */
    ssize_t n = write(mb->efd, &one, sizeof one);
    (void)n;
}

void mailbox_post(struct mailbox *mb, struct mail *m)
{
    if (mailbox_push(mb, m))
        mailbox_signal(mb);
}

void mailbox_push_owing(struct mailbox *mb, struct mail *m, struct mailbox_owed *o)
{
    if (!mailbox_push(mb, m))
        return;
    for (unsigned i = 0; i < o->n; i++)
        if (o->box[i] == mb)
            return;
    if (o->n == sizeof o->box / sizeof o->box[0])
        mailbox_settle(o);
    o->box[o->n++] = mb;
}

void mailbox_settle(struct mailbox_owed *o)
{
    while (o->n > 0)
        mailbox_signal(o->box[--o->n]);
}

void mailbox_clear(struct mailbox *mb)
{
    uint64_t count;
    ssize_t n = read(mb->efd, &count, sizeof count);

    (void)n;
}

unsigned mailbox_drain(struct mailbox *mb, struct loop *l)
{
    struct mail *m = atomic_exchange_explicit(&mb->newest, NULL, memory_order_acq_rel);
    struct mail *oldest = NULL;
    unsigned letters = 0;

    while (m != NULL) {
        struct mail *next = m->next;

        m->next = oldest;
        oldest = m;
        m = next;
    }
    while (oldest != NULL) {
        struct mail *next = oldest->next; /* deliver() may free or re-post it */

        oldest->deliver(l, oldest);
        oldest = next;
        letters++;
    }
    return letters;
}
