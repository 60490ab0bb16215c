#include "core/loop.h"

#include <event2/event.h>
#include <stdlib.h>
#include <string.h>

#include "core/check.h"
#include "core/clock.h"

/* With a changelist a descriptor leaves epoll at the end of the turn, after it was closed; another
 * thread may have it by then. The kernel knows better (ENOENT, and libevent expects it), but
 * ThreadSanitizer calls it a race, and breaks while it says so. */
#if defined(__SANITIZE_THREAD__)
enum { UNDER_TSAN = 1 };
#elif defined(__has_feature)
enum { UNDER_TSAN = __has_feature(thread_sanitizer) };
#else
enum { UNDER_TSAN = 0 };
#endif

enum { LOOP_MAGIC = 0x10076a3e };

uint64_t loop_touch(struct loop *l)
{
    OBJ_CHECK(l, LOOP_MAGIC);
    l->now_us = clock_mono_us();
    mailbox_wake(&l->mailbox);
    return l->now_us;
}

static void on_mail(evutil_socket_t fd, short what, void *arg)
{
    struct loop *l = arg;

    (void)fd, (void)what;
    (void)loop_touch(l);
    mailbox_clear(&l->mailbox);
    (void)mailbox_drain(&l->mailbox, l);
}

void loop_wake_at_tick(struct loop *l, uint64_t tick)
{
    uint64_t at_us = tick * TIMER_TICK_US;
    uint64_t wait_us = at_us > l->now_us ? at_us - l->now_us : 0;
    struct timeval tv = { .tv_sec = (time_t)(wait_us / SEC_US),
                          .tv_usec = (suseconds_t)(wait_us % SEC_US) };

    l->timers.wake_tick = tick;
    CHECK(event_add(l->tick_ev, &tv) == 0);
}

static void on_tick(evutil_socket_t fd, short what, void *arg)
{
    struct loop *l = arg;
    uint64_t next_us;

    (void)fd, (void)what;
    (void)loop_touch(l);
    l->timers.wake_tick = 0; /* no arming while we sweep: once, at the end */
    timer_wheel_sweep(l);
    l->timers.wake_tick = UINT64_MAX;
    next_us = timer_wheel_next_us(&l->timers);
    if (next_us != UINT64_MAX)
        loop_wake_at_tick(l, next_us / TIMER_TICK_US);
}

enum st loop_init(struct loop *l, int index, int count)
{
    struct event_config *cfg = event_config_new();

    memset(l, 0, sizeof *l);
    l->index = index;
    l->count = count;
    l->mailbox.efd = -1;
    if (cfg == NULL)
        return ST_ENOMEM;
    (void)event_config_set_flag(cfg, EVENT_BASE_FLAG_NOLOCK);
    if (!UNDER_TSAN)
        (void)event_config_set_flag(cfg, EVENT_BASE_FLAG_EPOLL_USE_CHANGELIST);
    l->base = event_base_new_with_config(cfg);
    event_config_free(cfg);
    if (l->base == NULL)
        return ST_ENOMEM;
    OBJ_INIT(l, LOOP_MAGIC);
    l->now_us = clock_mono_us();
    timer_wheel_init(&l->timers, l->now_us);
    if (mailbox_init(&l->mailbox) != ST_OK)
        return ST_EIO;
    l->mail_ev = event_new(l->base, l->mailbox.efd, EV_READ | EV_PERSIST, on_mail, l);
    l->tick_ev = event_new(l->base, -1, 0, on_tick, l);
    if (l->mail_ev == NULL || l->tick_ev == NULL || event_add(l->mail_ev, NULL) != 0)
        return ST_ENOMEM;
    return ST_OK;
}

void loop_bury(struct loop *l, struct grave *g, void (*free_fn)(struct grave *))
{
    OBJ_CHECK(l, LOOP_MAGIC);
    CHECK(g->free_fn == NULL); /* buried once */
    g->free_fn = free_fn;
    g->next = l->graves;
    l->graves = g;
}

static void free_the_dead(struct loop *l)
{
    while (l->graves != NULL) {
        struct grave *g = l->graves;

        l->graves = g->next;
        g->free_fn(g);
    }
}

static enum st turn(struct loop *l, int flags)
{
    OBJ_CHECK(l, LOOP_MAGIC);
    l->turns++;
    if (mailbox_has(&l->mailbox))
        flags |= EVLOOP_NONBLOCK;
    int r = event_base_loop(l->base, flags);
    mailbox_wake(&l->mailbox);
    (void)mailbox_drain(&l->mailbox, l); /* what we have written to ourselves, or others just now */
    free_the_dead(l);
    mailbox_settle(&l->owed);
    mailbox_rest(&l->mailbox);
    return r < 0 ? ST_EIO : ST_OK;
}

enum st loop_turn(struct loop *l) { return turn(l, EVLOOP_ONCE); }

enum st loop_turn_nowait(struct loop *l) { return turn(l, EVLOOP_ONCE | EVLOOP_NONBLOCK); }

enum st loop_run(struct loop *l)
{
    enum st st = ST_OK;

    while (!l->stopping && st == ST_OK)
        st = loop_turn(l);
    return st;
}

void loop_stop(struct loop *l) { l->stopping = true; }

void loop_fini(struct loop *l)
{
    if (l->base == NULL)
        return;
    OBJ_FINI(l, LOOP_MAGIC);
    free_the_dead(l);
    if (l->mail_ev != NULL)
        event_free(l->mail_ev);
    if (l->tick_ev != NULL)
        event_free(l->tick_ev);
    if (l->mailbox.efd >= 0)
        mailbox_fini(&l->mailbox);
    event_base_free(l->base);
    outq_pool_fini(&l->outq_pool);
    l->base = NULL;
}
