/* Start, reload and stop with parts of our own: all or nothing, in order. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <unistd.h>

#include "core/check.h"
#include "daemon/process.h"

/* What the parts were asked, in order: "prepare a, prepare b, ..." */
static char said[1000];
static const char *failing;   /* "prepare b" */
static const int *on_its_way; /* hops that a letter still has before it */

static enum st say(const char *what, const char *who, struct err *err)
{
    size_t n = strlen(said);
    char now[40];

    (void)snprintf(now, sizeof now, "%s %s", what, who);
    (void)snprintf(said + n, sizeof said - n, "%s%s", n > 0 ? ", " : "", now);
    if (failing != NULL && strcmp(failing, now) == 0)
        return err_set(err, ST_EIO, "%s will not", who);
    return ST_OK;
}

#define PART(x)                                                                             \
    static enum st x##_check(const struct conf *c, struct err *e)                           \
    {                                                                                       \
        (void)c;                                                                            \
        return say("check", #x, e);                                                         \
    }                                                                                       \
    static enum st x##_start(struct process *p, void **mine, struct loop *l, struct err *e) \
    {                                                                                       \
        (void)p, (void)mine;                                                                \
        return say(l->index == 0 ? "start0" : "start1", #x, e);                             \
    }                                                                                       \
    static enum st x##_prepare(struct process *p, void **mine, const struct conf *c,        \
                               struct err *e)                                               \
    {                                                                                       \
        (void)p, (void)mine, (void)c;                                                       \
        return say("prepare", #x, e);                                                       \
    }                                                                                       \
    static void x##_commit(struct process *p, void **mine, const struct conf *c)            \
    {                                                                                       \
        (void)mine;                                                                         \
        CHECK(p->conf == NULL || p->conf->generation + 1 == c->generation);                 \
        (void)say("commit", #x, NULL);                                                      \
    }                                                                                       \
    static void x##_abort(struct process *p, void **mine)                                   \
    {                                                                                       \
        (void)p, (void)mine;                                                                \
        (void)say("abort", #x, NULL);                                                       \
    }                                                                                       \
    static void x##_stop(struct process *p, void **mine, struct loop *l)                    \
    {                                                                                       \
        (void)p, (void)mine;                                                                \
        CHECK(on_its_way == NULL || *on_its_way == 0);                                      \
        (void)say(l->index == 0 ? "stop0" : "stop1", #x, NULL);                             \
    }                                                                                       \
    static void x##_fini(struct process *p, void **mine)                                    \
    {                                                                                       \
        (void)p, (void)mine;                                                                \
        (void)say("fini", #x, NULL);                                                        \
    }                                                                                       \
    static const struct part x = { .name = #x,                                              \
                                   .check = x##_check,                                      \
                                   .loop_start = x##_start,                                 \
                                   .prepare = x##_prepare,                                  \
                                   .commit = x##_commit,                                    \
                                   .abort = x##_abort,                                      \
                                   .loop_stop = x##_stop,                                   \
                                   .fini = x##_fini };

PART(a)
PART(b)

static const struct part nothing = { .name = "nothing" };
static const struct part *const all_parts[] = { &a, &nothing, &b, NULL };

static char path[] = "/tmp/freshet-reload-XXXXXX";
static char *report;

static void write_file(const char *text)
{
    FILE *f = fopen(path, "w");

    assert_non_null(f);
    (void)fputs(text, f);
    assert_int_equal(fclose(f), 0);
}

static struct conf *conf_of(const char *text)
{
    struct conf *c;

    assert_int_equal(conf_parse("t", text, strlen(text), 1, &c, stderr), ST_OK);
    return c;
}

static char changes[400];
static void note(void *arg, const struct conf_change *ch)
{
    size_t n = strlen(changes);

    (void)arg;
    (void)snprintf(changes + n, sizeof changes - n, "%s;", ch->key);
}

static FILE *fresh_report(void)
{
    static size_t len;

    said[0] = changes[0] = '\0';
    free(report);
    report = NULL;
    return open_memstream(&report, &len);
}

static enum st start(struct process *p, const char *text)
{
    FILE *f = fresh_report();
    enum st st = process_start(p, all_parts, conf_of(text), f);

    (void)fclose(f);
    return st;
}

static enum st reload(struct process *p, const char *text)
{
    FILE *f = fresh_report();
    enum st st;

    write_file(text);
    st = process_reload(p, path, f, note, NULL);
    (void)fclose(f);
    return st;
}

static void all_commit_and_every_loop_has_it(void **state)
{
    struct process p;

    (void)state;
    assert_int_equal(start(&p, "loops: 2\nedge: {cache: 1M}\n"), ST_OK);
    assert_string_equal(said, "start0 a, start0 b, start1 a, start1 b, prepare a, prepare b, "
                              "commit a, commit b");
    assert_int_equal(p.loops_n, 2);
    assert_int_equal(reload(&p, "loops: 4\nedge: {cache: 2M}\n"), ST_OK);
    assert_string_equal(said, "check a, check b, prepare a, prepare b, commit a, commit b");
    assert_string_equal(changes, "edge.cache;loops;");
    assert_int_equal(p.conf->generation, 2);
    assert_int_equal(p.conf->edge.cache_bytes, 2 << 20);
    assert_int_equal(p.conf->loops, 2); /* needs a restart */
    for (int i = 0; i < 2; i++)
        assert_ptr_equal(p.loop[i]->conf, p.conf);
    assert_int_equal(reload(&p, "loops: 4\nedge: {cache: 2M}\n"), ST_OK);
    assert_string_equal(changes, "loops;"); /* still does, and is named again */
    said[0] = '\0';
    process_stop(&p);
    assert_string_equal(said, "stop0 b, stop0 a, stop1 b, stop1 a, fini b, fini a");
}

static void one_that_cannot_stops_all(void **state)
{
    static const struct {
        const char *text, *failing, *said, *report;
    } cases[] = {
        { "edge: {cash: 2M}", NULL, "", "edge.cash: unknown key" },
        { "edge: {cache: 2M}", "check a", "check a, check b", ": a will not\n" },
        { "edge: {cache: 2M}", "prepare a", "check a, check b, prepare a", ": a will not\n" },
        { "edge: {cache: 2M}", "prepare b", "check a, check b, prepare a, prepare b, abort a",
          ": b will not\n" },
    };
    struct process p;
    const struct conf *before;

    (void)state;
    assert_int_equal(start(&p, "loops: 1\n"), ST_OK);
    before = p.conf;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        failing = cases[i].failing;
        assert_int_not_equal(reload(&p, cases[i].text), ST_OK);
        failing = NULL;
        assert_string_equal(said, cases[i].said);
        assert_non_null(strstr(report, cases[i].report));
        assert_ptr_equal(p.conf, before);
        assert_ptr_equal(p.loop[0]->conf, before);
    }
    assert_int_equal(reload(&p, "edge: {cache: 2M}"), ST_OK);
    assert_int_equal(p.conf->generation, 2);
    process_stop(&p);
}

static void a_start_that_fails_leaves_nothing(void **state)
{
    static const struct {
        const char *failing, *said;
    } cases[] = {
        { "start0 b", "start0 a, start0 b, stop0 b, stop0 a, fini b, fini a" },
        { "prepare b",
          "start0 a, start0 b, prepare a, prepare b, abort a, stop0 b, stop0 a, fini b, fini a" },
    };

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct process p;

        failing = cases[i].failing;
        assert_int_equal(start(&p, "loops: 1\n"), ST_EIO);
        failing = NULL;
        assert_string_equal(said, cases[i].said);
        assert_non_null(strstr(report, "b will not\n"));
        assert_null(p.conf);
    }
}

struct echo {
    struct mail mail;
    struct process *p;
    int hops;
};
static void hop(struct loop *l, struct mail *m)
{
    struct echo *e = CONTAINER_OF(m, struct echo, mail);

    if (--e->hops > 0)
        mailbox_post(&e->p->loop[1 - l->index]->mailbox, m);
}

static void letters_between_loops_arrive_before_the_parts_stop(void **state)
{
    struct process p;
    struct echo e = { .mail.deliver = hop, .p = &p, .hops = 1000000 };

    (void)state;
    assert_int_equal(start(&p, "loops: 2\n"), ST_OK);
    on_its_way = &e.hops;
    mailbox_post(&p.loop[0]->mailbox, &e.mail);
    process_stop(&p);
    on_its_way = NULL;
    assert_int_equal(e.hops, 0);
}

static int make_file(void **state)
{
    int fd = mkstemp(path);

    (void)state;
    return fd < 0 || close(fd) != 0;
}

static int remove_file(void **state)
{
    (void)state;
    free(report);
    return unlink(path);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(all_commit_and_every_loop_has_it),
        cmocka_unit_test(one_that_cannot_stops_all),
        cmocka_unit_test(a_start_that_fails_leaves_nothing),
        cmocka_unit_test(letters_between_loops_arrive_before_the_parts_stop),
    };

    return cmocka_run_group_tests(tests, make_file, remove_file);
}
