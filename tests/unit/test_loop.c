/* The ground of core/: status, reader, own, mailbox, timers, graves, the turn of a loop. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include <poll.h>
#include <pthread.h>

#include "core/clock.h"
#include "core/loop.h"
#include "core/own.h"
#include "core/rd.h"
#include "core/status.h"

static uint64_t test_now = 50 * SEC_US;
static uint64_t test_mono(void) { return test_now; }
static int64_t test_wall(void) { return 7; }
static const struct clock_source test_clock = { test_mono, test_wall };

static void status_has_names(void **state)
{
    struct err e;

    (void)state;
    assert_string_equal(st_name(ST_OK), "OK");
    assert_string_equal(st_name(ST_ELIMIT), "ELIMIT");
    assert_int_equal(err_set(&e, ST_ECONF, "line %d", 4), ST_ECONF);
    assert_string_equal(e.text, "line 4");
    assert_int_equal(err_set(NULL, ST_EIO, "x"), ST_EIO);
}

static void reader_is_sticky(void **state)
{
    static const uint8_t wire[] = { 1, 2, 3, 4, 5, 6, 7 };

    (void)state;
    for (size_t n = 0; n <= sizeof wire; n++) {
        uint8_t *copy = malloc(n + (n == 0)); /* exact size: ASan sees an over-read */

        memcpy(copy, wire, n);
        struct rd r = rd_init(copy, n);
        uint32_t a = rd_u32be(&r), b = rd_u16be(&r);
        uint8_t c = rd_u8(&r);

        assert_int_equal(r.bad, n < sizeof wire);
        assert_int_equal(a, n >= 4 ? 0x01020304 : 0);
        assert_int_equal(b, n >= 6 ? 0x0506 : 0);
        assert_int_equal(c, n >= 7 ? 7 : 0);
        free(copy);
    }
}

static int lasts;
static void count_last(struct own *o) { lasts += o->refs == 0; }

static void own_frees_on_the_last(void **state)
{
    struct own o, *a = &o, *b;

    (void)state;
    own_init(&o, count_last);
    b = own_ref(a);
    own_unref(&a);
    assert_int_equal(lasts, 0);
    assert_null(a);
    own_unref(&a);
    own_unref(&b);
    assert_int_equal(lasts, 1);
}

struct letter {
    struct mail m;
    int n;
};
static int seen[4000], seen_n;
static void deliver(struct loop *l, struct mail *m)
{
    (void)l;
    seen[seen_n++] = CONTAINER_OF(m, struct letter, m)->n;
}

static void mail_arrives_in_order_and_owes_one_signal(void **state)
{
    struct loop l;
    struct letter a[3];

    (void)state;
    seen_n = 0;
    assert_int_equal(loop_init(&l, 0, 1), ST_OK);
    for (int i = 0; i < 3; i++) {
        a[i] = (struct letter){ .m.deliver = deliver, .n = i };
        assert_int_equal(mailbox_push(&l.mailbox, &a[i].m), i == 0);
    }
    mailbox_signal(&l.mailbox);
    assert_int_equal(loop_turn_nowait(&l), ST_OK);
    assert_int_equal(seen_n, 3);
    assert_int_equal(seen[0], 0);
    assert_int_equal(seen[2], 2);
    loop_fini(&l);
}

static bool rings(const struct loop *l)
{
    struct pollfd bell = { .fd = l->mailbox.efd, .events = POLLIN };

    return poll(&bell, 1, 0) != 0;
}

/* Writes to its own loop, and looks whether that has rung the bell. */
struct note_to_self {
    struct mail m;
    struct letter letter;
    bool rang;
};
static void write_to_self(struct loop *l, struct mail *m)
{
    struct note_to_self *note = CONTAINER_OF(m, struct note_to_self, m);

    mailbox_post(&l->mailbox, &note->letter.m);
    note->rang = rings(l);
}

static void a_letter_to_oneself_comes_in_the_same_turn_or_the_next_and_rings_no_bell(void **state)
{
    struct note_to_self note = { .m.deliver = write_to_self,
                                 .letter = { .m.deliver = deliver, .n = 7 } };
    struct loop l;

    (void)state;
    seen_n = 0;
    assert_int_equal(loop_init(&l, 0, 1), ST_OK);
    mailbox_post(&l.mailbox, &note.m);
    for (int turns = 0; turns < 2 && seen_n == 0; turns++)
        assert_int_equal(loop_turn(&l), ST_OK); /* waits for ever if the letter is forgotten */
    assert_false(note.rang);
    assert_int_equal(seen_n, 1);
    assert_int_equal(seen[0], 7);
    loop_fini(&l);
}

/* Writes twice to another loop, and looks whether that has rung its bell. */
struct note_to_other {
    struct mail m;
    struct loop *to;
    struct letter letter[2];
};
static void write_to_other(struct loop *l, struct mail *m)
{
    struct note_to_other *note = CONTAINER_OF(m, struct note_to_other, m);

    loop_post(l, note->to, &note->letter[0].m);
    loop_post(l, note->to, &note->letter[1].m);
    assert_false(rings(note->to));
}

static void letters_of_a_turn_ring_one_bell_at_its_end(void **state)
{
    struct loop l, others[10]; /* more than are remembered */
    struct note_to_other note[10];

    (void)state;
    seen_n = 0;
    assert_int_equal(loop_init(&l, 0, 1), ST_OK);
    for (int i = 0; i < 10; i++) {
        assert_int_equal(loop_init(&others[i], i, 10), ST_OK);
        note[i] = (struct note_to_other){ .m.deliver = write_to_other, .to = &others[i] };
        for (int k = 0; k < 2; k++)
            note[i].letter[k] = (struct letter){ .m.deliver = deliver, .n = 2 * i + k };
        mailbox_post(&l.mailbox, &note[i].m);
    }
    assert_int_equal(loop_turn(&l), ST_OK);
    for (int i = 0; i < 10; i++) {
        uint64_t signals = 0;

        assert_int_equal(read(others[i].mailbox.efd, &signals, sizeof signals), sizeof signals);
        assert_int_equal(signals, 1);
        assert_int_equal(loop_turn_nowait(&others[i]), ST_OK);
        assert_int_equal(seen_n, 2 * i + 2);
        assert_int_equal(seen[2 * i + 1], 2 * i + 1);
        loop_fini(&others[i]);
    }
    loop_fini(&l);
}

static struct loop shared;
static struct letter letters[2][1000];
static void *sender(void *arg)
{
    struct letter *mine = arg;

    for (int i = 0; i < 1000; i++)
        mailbox_post(&shared.mailbox, &mine[i].m);
    return NULL;
}

static void no_letter_is_lost_between_threads(void **state)
{
    pthread_t t[2];
    int last[2] = { -1, -1 };

    (void)state;
    seen_n = 0;
    assert_int_equal(loop_init(&shared, 0, 1), ST_OK);
    for (int k = 0; k < 2; k++) {
        for (int i = 0; i < 1000; i++)
            letters[k][i] = (struct letter){ .m.deliver = deliver, .n = k * 1000 + i };
        assert_int_equal(pthread_create(&t[k], NULL, sender, letters[k]), 0);
    }
    while (seen_n < 2000)
        assert_int_equal(loop_turn(&shared), ST_OK);
    for (int i = 0; i < seen_n; i++) {
        int k = seen[i] / 1000;

        assert_true(seen[i] % 1000 > last[k]);
        last[k] = seen[i] % 1000;
    }
    for (int k = 0; k < 2; k++)
        (void)pthread_join(t[k], NULL);
    loop_fini(&shared);
}

struct alarm {
    struct timer t;
    int rings;
    uint64_t rang_us;
    struct timer *cancels;
};
static void ring(struct loop *l, struct timer *t)
{
    struct alarm *a = CONTAINER_OF(t, struct alarm, t);

    a->rings++;
    a->rang_us = l->now_us;
    if (a->cancels != NULL)
        timer_cancel(l, a->cancels);
}

static void pass(struct loop *l, uint64_t us)
{
    for (uint64_t end = test_now + us; test_now < end;) {
        test_now += TIMER_TICK_US;
        (void)loop_touch(l);
        timer_wheel_sweep(l);
    }
}

static void timers_fire_late_never_early(void **state)
{
    static const uint64_t after[] = { 0, 1, 5 * MS_US, SEC_US, 2 * SEC_US, 30 * SEC_US };
    struct loop l;

    (void)state;
    clock_use(&test_clock);
    assert_int_equal(loop_init(&l, 0, 1), ST_OK);
    for (size_t i = 0; i < sizeof after / sizeof after[0]; i++) {
        struct alarm a = { .t.fire = ring };
        uint64_t at = test_now + after[i];

        timer_set(&l, &a.t, at);
        pass(&l, after[i] + SEC_US);
        assert_int_equal(a.rings, 1);
        assert_true(a.rang_us >= at);
        assert_true(a.rang_us <= at + (after[i] > SEC_US ? 280u : 17u) * MS_US);
        assert_false(timer_is_set(&a.t));
    }
    clock_use(NULL);
    loop_fini(&l);
}

static void timers_move_and_cancel(void **state)
{
    struct alarm a = { .t.fire = ring }, b = { .t.fire = ring }, c = { .t.fire = ring };
    struct loop l;

    (void)state;
    clock_use(&test_clock);
    assert_int_equal(loop_init(&l, 0, 1), ST_OK);
    timer_set(&l, &a.t, test_now + 100 * MS_US);
    timer_set(&l, &a.t, test_now + 900 * MS_US); /* later: lazily */
    timer_set(&l, &b.t, test_now + 900 * MS_US);
    timer_set(&l, &b.t, test_now + 50 * MS_US); /* earlier: at once */
    pass(&l, 500 * MS_US);
    assert_int_equal(a.rings, 0);
    assert_int_equal(b.rings, 1);
    pass(&l, 500 * MS_US);
    assert_int_equal(a.rings, 1);

    /* two in one slot, and the first that rings cancels the other */
    b.cancels = &c.t;
    c.cancels = &b.t;
    timer_set(&l, &b.t, test_now + 10 * MS_US);
    timer_set(&l, &c.t, test_now + 10 * MS_US);
    pass(&l, 100 * MS_US);
    assert_int_equal(b.rings + c.rings, 2);
    assert_int_equal(timer_wheel_next_us(&l.timers), UINT64_MAX);
    clock_use(NULL);
    loop_fini(&l);
}

static void the_loop_wakes_for_its_timers(void **state)
{
    struct alarm a = { .t.fire = ring }, b = { .t.fire = ring };
    struct loop l;

    (void)state;
    assert_int_equal(loop_init(&l, 0, 1), ST_OK);
    timer_set(&l, &a.t, loop_touch(&l) + 60 * MS_US);
    timer_set(&l, &b.t, loop_touch(&l) + 20 * MS_US);
    while (a.rings == 0)
        assert_int_equal(loop_turn(&l), ST_OK);
    assert_int_equal(b.rings, 1);
    assert_true(b.rang_us < a.rang_us);
    loop_fini(&l);
}

struct corpse {
    struct grave g;
    int *freed;
};
static void free_corpse(struct grave *g) { ++*CONTAINER_OF(g, struct corpse, g)->freed; }

static void the_dead_are_freed_after_the_turn(void **state)
{
    int freed = 0;
    struct corpse c = { .freed = &freed };
    struct loop l;

    (void)state;
    assert_int_equal(loop_init(&l, 0, 1), ST_OK);
    loop_bury(&l, &c.g, free_corpse);
    assert_int_equal(freed, 0);
    assert_int_equal(loop_turn_nowait(&l), ST_OK);
    assert_int_equal(freed, 1);
    loop_fini(&l);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(status_has_names),
        cmocka_unit_test(reader_is_sticky),
        cmocka_unit_test(own_frees_on_the_last),
        cmocka_unit_test(mail_arrives_in_order_and_owes_one_signal),
        cmocka_unit_test(a_letter_to_oneself_comes_in_the_same_turn_or_the_next_and_rings_no_bell),
        cmocka_unit_test(letters_of_a_turn_ring_one_bell_at_its_end),
        cmocka_unit_test(no_letter_is_lost_between_threads),
        cmocka_unit_test(timers_fire_late_never_early),
        cmocka_unit_test(timers_move_and_cancel),
        cmocka_unit_test(the_loop_wakes_for_its_timers),
        cmocka_unit_test(the_dead_are_freed_after_the_turn),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
