/* Who was in hand when a worker died. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "core/hand.h"

static char name[HAND_SLOTS][HAND_NAME];

struct pair {
    int fd;
    struct hand_page *daemon, *worker;
};

static int setup(void **state)
{
    static struct pair p;

    *state = &p;
    assert_int_equal(hand_page_new(&p.fd, &p.daemon), ST_OK);
    assert_int_equal(hand_page_map(dup(p.fd), &p.worker), ST_OK);
    return 0;
}

static int teardown(void **state)
{
    struct pair *p = *state;

    assert_int_equal(munmap(p->worker, sizeof *p->worker), 0);
    hand_page_free(&p->fd, &p->daemon);
    assert_null(p->daemon);
    return 0;
}

static void an_idle_worker_has_no_suspects(void **state)
{
    struct pair *p = *state;

    assert_int_equal(hand_suspects(p->daemon, name), 0);
}

static void those_in_hand_are_suspects(void **state)
{
    struct pair *p = *state;

    hand_take(p->worker, 0, "live/a");
    hand_take(p->worker, 5, "live/b");
    hand_take(p->worker, 9, "live/c");
    hand_drop(p->worker, 9);
    assert_int_equal(hand_suspects(p->daemon, name), 2);
    assert_string_equal(name[0], "live/a");
    assert_string_equal(name[1], "live/b");
}

static void else_the_one_that_was_last(void **state)
{
    struct pair *p = *state;

    hand_take(p->worker, 0, "live/a");
    hand_drop(p->worker, 0);
    hand_take(p->worker, 1, "live/b");
    hand_drop(p->worker, 1);
    hand_take(p->worker, 0, "live/c");
    hand_drop(p->worker, 0);
    assert_int_equal(hand_suspects(p->daemon, name), 1);
    assert_string_equal(name[0], "live/c");
    hand_page_clear(p->daemon);
    assert_int_equal(hand_suspects(p->daemon, name), 0);
}

static void what_a_worker_writes_is_not_trusted(void **state)
{
    static const char *const bad[] = { "",           "live",    "live/",  "/a",      "live/a/b",
                                       "live/a\x1b", "li ve/a", "../etc", "live/a;b" };
    struct pair *p = *state;
    struct hand_slot *h = &p->worker->slot[0];

    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        hand_take(p->worker, 0, bad[i]);
        assert_int_equal(hand_suspects(p->daemon, name), 0);
    }
    memset(h->name, 'a', sizeof h->name); /* no end */
    h->name[3] = '/';
    assert_int_equal(hand_suspects(p->daemon, name), 0);
    assert_int_not_equal(ftruncate(p->fd, 0), 0); /* a smaller page would kill the daemon */
}

static void no_page_is_no_page(void **state)
{
    struct hand_page *p;
    int pipes[2];

    (void)state;
    assert_int_equal(pipe(pipes), 0);
    assert_int_equal(hand_page_map(pipes[0], &p), ST_EIO);
    assert_int_equal(hand_page_map(pipes[0], &p), ST_EIO); /* closed by now */
    assert_null(p);
    (void)close(pipes[1]);
    hand_take(NULL, 0, "live/a");
    hand_drop(NULL, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(an_idle_worker_has_no_suspects, setup, teardown),
        cmocka_unit_test_setup_teardown(those_in_hand_are_suspects, setup, teardown),
        cmocka_unit_test_setup_teardown(else_the_one_that_was_last, setup, teardown),
        cmocka_unit_test_setup_teardown(what_a_worker_writes_is_not_trusted, setup, teardown),
        cmocka_unit_test(no_page_is_no_page),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
