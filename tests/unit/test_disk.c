/* The disk writer: whole files, in order, and a letter for each request. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "core/check.h"
#include "core/loop.h"
#include "origin/disk.h"

struct request {
    struct disk_job job;
    int answered;
};

static void answered(struct loop *l, struct mail *m)
{
    (void)l;
    CONTAINER_OF(CONTAINER_OF(m, struct disk_job, mail), struct request, job)->answered++;
}

static struct loop loop;
static char dir[64];

static void ask(struct disk *d, struct request *r, const char *name, const char *text)
{
    char path[128];

    *r = (struct request){ .job = { .mail.deliver = answered, .loop = &loop } };
    (void)snprintf(path, sizeof path, "%s/%s", dir, name);
    assert_int_equal(disk_write(d, &r->job, path, text, strlen(text)), ST_OK);
}

static void is_file(const char *name, const char *text)
{
    char path[128], got[256] = "";
    FILE *f;

    (void)snprintf(path, sizeof path, "%s/%s", dir, name);
    f = fopen(path, "r");
    assert_non_null(f);
    got[fread(got, 1, sizeof got - 1, f)] = '\0';
    (void)fclose(f);
    assert_string_equal(got, text);
}

static int setup(void **state)
{
    (void)state;
    (void)snprintf(dir, sizeof dir, "/tmp/freshet-disk-XXXXXX");
    return mkdtemp(dir) != NULL && loop_init(&loop, 0, 1) == ST_OK ? 0 : 1;
}

static int teardown(void **state)
{
    char cmd[96];

    (void)state;
    loop_fini(&loop);
    (void)snprintf(cmd, sizeof cmd, "rm -r %s", dir);
    return system(cmd);
}

static void a_file_is_there_when_the_letter_comes(void **state)
{
    struct disk *d = disk_new();
    struct request r;

    (void)state;
    ask(d, &r, "live/show.json", "{\"v\":1}");
    while (r.answered == 0)
        assert_int_equal(loop_turn(&loop), ST_OK);
    assert_int_equal(r.job.st, ST_OK);
    is_file("live/show.json", "{\"v\":1}");
    disk_free(&d);
}

static void the_newest_of_many_wins_and_all_are_answered(void **state)
{
    static struct request r[200];
    struct disk *d = disk_new();
    char text[32];
    int all;

    (void)state;
    for (int i = 0; i < 200; i++) {
        (void)snprintf(text, sizeof text, "%d", i);
        ask(d, &r[i], i % 2 == 0 ? "even" : "odd", text);
    }
    do {
        assert_int_equal(loop_turn(&loop), ST_OK);
        all = 0;
        for (int i = 0; i < 200; i++)
            all += r[i].answered;
    } while (all < 200);
    for (int i = 0; i < 200; i++)
        assert_true(r[i].answered == 1 && r[i].job.st == ST_OK);
    is_file("even", "198");
    is_file("odd", "199");
    disk_free(&d);
}

static void what_cannot_be_written_is_said(void **state)
{
    struct disk *d = disk_new();
    struct request r;

    (void)state;
    ask(d, &r, "blocked", "file");
    disk_free(&d); /* writes first what was asked for */
    while (r.answered == 0)
        assert_int_equal(loop_turn(&loop), ST_OK);
    is_file("blocked", "file");
    d = disk_new();
    ask(d, &r, "blocked/below", "x"); /* a file is no folder */
    while (r.answered == 0)
        assert_int_equal(loop_turn(&loop), ST_OK);
    assert_int_equal(r.job.st, ST_EIO);
    assert_int_not_equal(r.job.sys_err, 0);
    disk_free(&d);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_file_is_there_when_the_letter_comes, setup, teardown),
        cmocka_unit_test_setup_teardown(the_newest_of_many_wins_and_all_are_answered, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(what_cannot_be_written_is_said, setup, teardown),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
