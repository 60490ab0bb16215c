/* A snapshot comes into force on every loop, with real threads. Made for TSan. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <pthread.h>

#include "core/check.h"
#include "core/conf.h"
#include "core/loop.h"

enum { LOOPS = 4, RELOADS = 200 };

struct worker {
    struct loop loop;
    pthread_t thread;
    struct mail stop;
    uint64_t seen, out_of_order, wrong_before; /* written by the loop, read after joining */
};
static struct worker workers[LOOPS];

static void *turn(void *arg) { return loop_run(arg) == ST_OK ? NULL : arg; }
static void stop(struct loop *l, struct mail *m)
{
    (void)m;
    loop_stop(l);
}

static void adopted(struct loop *l, const struct conf *before)
{
    struct worker *w = CONTAINER_OF(l, struct worker, loop);

    w->out_of_order += l->conf->generation != w->seen + 1;
    w->wrong_before += (before != NULL ? before->generation : 0) != w->seen;
    w->seen = l->conf->generation;
}

static void every_loop_has_it_when_publish_returns(void **state)
{
    struct loop *loops[LOOPS];
    const struct conf *session = NULL, *drop;

    (void)state;
    for (int i = 0; i < LOOPS; i++) {
        loops[i] = &workers[i].loop;
        assert_int_equal(loop_init(loops[i], i, LOOPS), ST_OK);
        assert_int_equal(pthread_create(&workers[i].thread, NULL, turn, loops[i]), 0);
    }
    for (uint64_t g = 1; g <= RELOADS; g++) {
        struct conf *c = conf_defaults(g);

        assert_non_null(c);
        conf_publish(loops, LOOPS, c, adopted);
        for (int i = 0; i < LOOPS; i++) /* ordered by the lock inside */
            assert_int_equal(workers[i].seen, g);
        if (g == 7)
            session = conf_ref(c); /* a session keeps the one it began with */
        drop = c;
        conf_unref(&drop);
    }
    assert_int_equal(session->generation, 7);
    assert_string_equal(session->runtime_dir, "/run/freshet");
    conf_unref(&session);
    for (int i = 0; i < LOOPS; i++) {
        void *failed;

        workers[i].stop.deliver = stop;
        mailbox_post(&workers[i].loop.mailbox, &workers[i].stop);
        (void)pthread_join(workers[i].thread, &failed);
        assert_null(failed);
        assert_int_equal(workers[i].out_of_order, 0);
        assert_int_equal(workers[i].wrong_before, 0);
        assert_int_equal(atomic_load(&workers[i].loop.conf->refs), LOOPS - i);
        conf_unref(&workers[i].loop.conf);
        loop_fini(&workers[i].loop);
    }
}

static void a_process_without_loops_does_not_wait(void **state)
{
    const struct conf *c = conf_defaults(1);

    (void)state;
    conf_publish(NULL, 0, c, NULL);
    assert_int_equal(atomic_load(&c->refs), 1);
    conf_unref(&c);
    assert_null(c);
    conf_unref(&c);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_loop_has_it_when_publish_returns),
        cmocka_unit_test(a_process_without_loops_does_not_wait),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
