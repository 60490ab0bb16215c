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

/* Asks, waits, and says what came of it; the bytes of a read are the caller's. */
static enum st done(struct disk *d, struct request *r, enum disk_what what, const char *name,
                    int64_t time_s)
{
    char path[128];
    enum st st = ST_EPROTO;

    *r = (struct request){ .job = { .mail.deliver = answered, .loop = &loop, .time_s = time_s } };
    (void)snprintf(path, sizeof path, "%s/%s", dir, name);
    if (what == DISK_WRITE)
        st = disk_write(d, &r->job, path, name, strlen(name));
    else if (what == DISK_READ)
        st = disk_read(d, &r->job, path);
    else if (what == DISK_TOUCH)
        st = disk_touch(d, &r->job, path);
    else if (what == DISK_REMOVE)
        st = disk_remove(d, &r->job, path);
    else if (what == DISK_SWEEP)
        st = disk_sweep(d, &r->job, path);
    assert_int_equal(st, ST_OK);
    while (r->answered == 0)
        assert_int_equal(loop_turn(&loop), ST_OK);
    return r->job.st;
}

static void what_was_written_is_read_with_its_time(void **state)
{
    struct disk *d = disk_new();
    struct request r, wide;
    char big[DISK_READ_MAX + 2];

    (void)state;
    assert_int_equal(done(d, &r, DISK_READ, "a/b", 0), ST_ENOENT);
    assert_null(r.job.bytes);
    assert_int_equal(done(d, &r, DISK_WRITE, "a/b", 1000), ST_OK);
    assert_int_equal(done(d, &r, DISK_READ, "a/b", 0), ST_OK);
    assert_string_equal(r.job.bytes, "a/b");
    assert_int_equal(r.job.n, 3);
    assert_int_equal(r.job.time_s, 1000);
    free(r.job.bytes);
    assert_int_equal(done(d, &r, DISK_TOUCH, "a/b", 2000), ST_OK);
    assert_int_equal(done(d, &r, DISK_READ, "a/b", 0), ST_OK);
    assert_int_equal(r.job.time_s, 2000);
    free(r.job.bytes);
    assert_int_equal(done(d, &r, DISK_READ, "a", 0), ST_EIO); /* a folder */
    memset(big, 'x', sizeof big);
    big[sizeof big - 1] = '\0';
    ask(d, &wide, "big", big);
    assert_int_equal(done(d, &r, DISK_READ, "big", 0), ST_EIO);
    assert_null(r.job.bytes);
    assert_int_equal(wide.answered, 1);
    disk_free(&d);
}

static void what_is_removed_is_gone(void **state)
{
    struct disk *d = disk_new();
    struct request r;

    (void)state;
    assert_int_equal(done(d, &r, DISK_WRITE, "a/b", 1000), ST_OK);
    assert_int_equal(done(d, &r, DISK_REMOVE, "a/b", 0), ST_OK);
    assert_int_equal(done(d, &r, DISK_READ, "a/b", 0), ST_ENOENT);
    assert_int_equal(done(d, &r, DISK_REMOVE, "a/b", 0), ST_ENOENT);
    assert_int_equal(done(d, &r, DISK_TOUCH, "a/b", 0), ST_ENOENT);
    disk_free(&d);
}

static void a_write_is_not_passed_over_for_one_behind_a_removal(void **state)
{
    static struct request r[60];
    struct disk *d = disk_new();

    (void)state;
    for (int i = 0; i < 60; i += 3) { /* many, so that some of them wait together */
        char path[128];

        ask(d, &r[i], "x", "one");
        ask(d, &r[i + 1], "x", "two");
        r[i + 2] = (struct request){ .job = { .mail.deliver = answered, .loop = &loop } };
        (void)snprintf(path, sizeof path, "%s/x", dir);
        assert_int_equal(disk_remove(d, &r[i + 2].job, path), ST_OK);
    }
    for (int i = 0; i < 60; i++) {
        while (r[i].answered == 0)
            assert_int_equal(loop_turn(&loop), ST_OK);
        assert_int_equal(r[i].job.st, ST_OK); /* a removal found what was written before it */
    }
    disk_free(&d);
}

static void a_sweep_takes_what_is_old_and_the_folders_it_empties(void **state)
{
    struct disk *d = disk_new();
    struct request r;
    char path[128];

    (void)state;
    assert_int_equal(done(d, &r, DISK_WRITE, "s/a/old", 1000), ST_OK);
    assert_int_equal(done(d, &r, DISK_WRITE, "s/b/old", 1000), ST_OK);
    assert_int_equal(done(d, &r, DISK_WRITE, "s/b/young", 2000), ST_OK);
    assert_int_equal(done(d, &r, DISK_SWEEP, "s", 2000), ST_OK);
    assert_int_equal(r.job.n, 1);
    is_file("s/b/young", "s/b/young");
    assert_int_equal(done(d, &r, DISK_READ, "s/b/old", 0), ST_ENOENT);
    (void)snprintf(path, sizeof path, "%s/s/a", dir);
    assert_int_not_equal(access(path, F_OK), 0);
    assert_int_equal(done(d, &r, DISK_SWEEP, "nothing", 2000), ST_OK);
    assert_int_equal(r.job.n, 0);
    disk_free(&d);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_file_is_there_when_the_letter_comes, setup, teardown),
        cmocka_unit_test_setup_teardown(the_newest_of_many_wins_and_all_are_answered, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(what_cannot_be_written_is_said, setup, teardown),
        cmocka_unit_test_setup_teardown(what_was_written_is_read_with_its_time, setup, teardown),
        cmocka_unit_test_setup_teardown(what_is_removed_is_gone, setup, teardown),
        cmocka_unit_test_setup_teardown(a_write_is_not_passed_over_for_one_behind_a_removal, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(a_sweep_takes_what_is_old_and_the_folders_it_empties, setup,
                                        teardown),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
