/* core/log and core/log_sink: what a line looks like, what a flood leaves of it, and that a reader
 * who sleeps holds nobody up. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <jansson.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include "core/check.h"
#include "core/clock.h"
#include "core/log.h"
#include "core/metric.h"

static _Atomic uint64_t now_us;
static uint64_t test_mono(void) { return now_us; }
static int64_t test_wall(void) { return INT64_C(1772366400123999); }
static const struct clock_source test_clock = { test_mono, test_wall };
#define STAMP "2026-03-01T12:00:00.123Z"

/* A sink that writes to a file, and what it wrote. */
struct bench {
    FILE *file;
    struct log_sink *sink;
    struct log *log;
    _Atomic uint64_t dropped;
    char text[8 << 20];
};

static int bench_make(void **state)
{
    struct bench *b = calloc(1, sizeof *b);

    if (b == NULL)
        return 1;
    now_us = 100 * SEC_US;
    clock_use(&test_clock);
    b->file = tmpfile();
    b->sink = log_sink_new(fileno(b->file), LOG_INFO, LOG_TEXT);
    b->log = log_new(b->sink, "main", &b->dropped);
    *state = b;
    return b->sink == NULL || b->log == NULL;
}

static int bench_drop(void **state)
{
    struct bench *b = *state;

    log_free(&b->log);
    log_sink_free(&b->sink);
    (void)fclose(b->file);
    free(b);
    clock_use(NULL);
    return 0;
}

/* Stops log and sink, and gives everything that was written. */
static const char *all_written(struct bench *b)
{
    size_t n;

    log_free(&b->log);
    log_sink_free(&b->sink);
    rewind(b->file);
    n = fread(b->text, 1, sizeof b->text - 1, b->file);
    b->text[n] = 0;
    return b->text;
}

static void a_line_carries_the_context_of_its_callers(void **state)
{
    struct bench *b = *state;
    struct log_ctx conn = { NULL, "conn", NULL, 81 };
    struct log_ctx stream = { &conn, "stream", "live/show", 0 };

    log_note(b->log, NULL, "conf", "generation %d", 5);
    log_warn(b->log, LOG_CTX_TEXT(&stream, "reason", "slow reader"), "http", "closed");
    log_error(b->log, LOG_CTX_INT(&conn, "left", -3), "http", "a=%s", "");
    log_info(b->log, LOG_CTX_TEXT(NULL, "empty", ""), "http", "x");
    assert_string_equal(
        all_written(b),
        STAMP " note conf msg=\"generation 5\"\n" STAMP
              " warn http msg=\"closed\" conn=81 stream=live/show reason=\"slow reader\"\n" STAMP
              " error http msg=\"a=\" conn=81 left=-3\n" STAMP " info http msg=\"x\" empty=\"\"\n");
}

static void json_lines_say_the_same(void **state)
{
    struct bench *b = *state;
    struct log_ctx conn = { NULL, "conn", NULL, 81 };

    log_sink_set(b->sink, LOG_INFO, LOG_JSON);
    log_warn(b->log, LOG_CTX_TEXT(&conn, "why", "a\"b\\c\n\x7f\xc3"), "http", "closed %d", 1);
    assert_string_equal(all_written(b),
                        "{\"time\":\"" STAMP "\",\"level\":\"warn\",\"module\":\"http\",\"msg\":"
                        "\"closed 1\",\"conn\":81,"
                        "\"why\":\"a\\\"b\\\\c\\u000a\\u007f\\u00c3\"}\n");
}

static void a_peer_cannot_forge_lines_or_keys(void **state)
{
    struct bench *b = *state;
    char hostile[256];

    for (int i = 1; i < 256; i++)
        hostile[i - 1] = (char)i;
    hostile[255] = 0;
    for (int json = 0; json < 2; json++) {
        log_sink_set(b->sink, LOG_INFO, json ? LOG_JSON : LOG_TEXT);
        log_info(b->log, LOG_CTX_TEXT(NULL, "v", hostile), "t", "%s", hostile);
        log_info(b->log, LOG_CTX_TEXT(NULL, "v", "x\n" STAMP " note a"), "t", "x");
        log_info(b->log, LOG_CTX_TEXT(NULL, "v", "x a=1"), "t", "x\" b=2 c=\"");
        log_info(b->log, LOG_CTX_TEXT(NULL, "v", "a=1"), "t", "y");
        log_info(b->log, LOG_CTX_TEXT(NULL, "v", "\\x1b"), "t", "z\x1b[2J");
    }
    const char *text = all_written(b);
    int lines = 0;

    for (const char *p = text; *p != 0; p++) {
        assert_true(*p == '\n' || (*p >= 0x20 && *p < 0x7f));
        lines += *p == '\n';
    }
    assert_int_equal(lines, 10);
    assert_non_null(strstr(text, " msg=\"x\" v=\"x\\x0a" STAMP " note a\"\n"));
    assert_non_null(strstr(text, " msg=\"x\\\" b=2 c=\\\"\" v=\"x a=1\"\n"));
    assert_non_null(strstr(text, " v=\"a=1\"\n"));
    assert_non_null(strstr(text, " msg=\"z\\x1b[2J\" v=\"\\\\x1b\"\n"));
    for (const char *p = strstr(text, "\n{") + 1; *p != 0; p = strchr(p, '\n') + 1) {
        json_t *j = json_loads(p, JSON_DISABLE_EOF_CHECK, NULL);

        assert_non_null(j);
        json_decref(j);
    }
}

static void long_values_are_cut_and_the_line_stays_whole(void **state)
{
    struct bench *b = *state;
    char value[6000];
    struct log_ctx a = { NULL, "a", value, 0 }, c = { &a, "b", value, 0 };
    struct log_ctx d = { &c, "n", NULL, INT64_MIN };
    const char *p;
    int cut = 0;

    for (int json = 0; json < 2; json++) {
        log_sink_set(b->sink, LOG_INFO, json ? LOG_JSON : LOG_TEXT);
        for (size_t n = 0; n < sizeof value; n += 1 + n / 4) /* all fit into the queue */ {
            memset(value, n % 3 == 0 ? '\n' : 'v', n);
            value[n] = 0;
            now_us += SEC_US;
            log_info(b->log, &d, "t", "%s", value);
        }
    }
    for (p = all_written(b); *p != 0; p = strchr(p, '\n') + 1) {
        assert_true(strchr(p, '\n') - p < 4096);
        if (*p == '{') {
            json_t *j = json_loads(p, JSON_DISABLE_EOF_CHECK, NULL);

            assert_non_null(j);
            cut += json_object_get(j, "truncated") != NULL;
            assert_true(json_object_get(j, "n") != NULL || json_object_get(j, "truncated") != NULL);
            json_decref(j);
        }
    }
    assert_in_range(cut, 5, 15);
    assert_non_null(strstr(b->text, "\" truncated=true\n"));
}

static void the_level_and_the_format_change_while_running(void **state)
{
    struct bench *b = *state;
    enum log_level level;

    log_debug(b->log, NULL, "t", "no");
    assert_int_equal(log_level_parse("debug", &level), ST_OK);
    log_sink_set(b->sink, level, LOG_TEXT);
    log_debug(b->log, NULL, "t", "yes");
    log_sink_set(b->sink, LOG_ERROR, LOG_TEXT);
    log_warn(b->log, NULL, "t", "no");
    log_error(b->log, NULL, "t", "yes");
    log_msg(NULL, NULL, LOG_ERROR, "t", "no");
    log_tick(NULL);
    assert_int_equal(log_level_parse("verbose", &level), ST_ENOENT);
    assert_string_equal(all_written(b),
                        STAMP " debug t msg=\"yes\"\n" STAMP " error t msg=\"yes\"\n");
}

static void a_flood_from_one_place_becomes_a_count(void **state)
{
    struct bench *b = *state;

    for (int second = 0; second < 2; second++) {
        for (int i = 0; i < 1000; i++)
            log_warn(b->log, NULL, "t", "flood %d", i);
        log_warn(b->log, NULL, "t", "alone");
        log_tick(b->log); /* the second is not over */
        now_us += SEC_US;
        if (second == 0)
            log_tick(b->log);
        else
            log_note(b->log, NULL, "t", "later"); /* tells it too */
    }
    assert_string_equal(all_written(b), STAMP
                        " warn t msg=\"flood 0\"\n" STAMP " warn t msg=\"flood 1\"\n" STAMP
                        " warn t msg=\"flood 2\"\n" STAMP " warn t msg=\"flood 3\"\n" STAMP
                        " warn t msg=\"flood 4\"\n" STAMP " warn t msg=\"alone\"\n" STAMP
                        " warn t msg=\"flood %d\" repeated=995\n" STAMP
                        " warn t msg=\"flood 0\"\n" STAMP " warn t msg=\"flood 1\"\n" STAMP
                        " warn t msg=\"flood 2\"\n" STAMP " warn t msg=\"flood 3\"\n" STAMP
                        " warn t msg=\"flood 4\"\n" STAMP " warn t msg=\"alone\"\n" STAMP
                        " warn t msg=\"flood %d\" repeated=995\n" STAMP " note t msg=\"later\"\n");
}

static int count(const char *text, const char *what)
{
    int n = 0;

    for (; (text = strstr(text, what)) != NULL; text += strlen(what))
        n++;
    return n;
}

static void more_sites_than_are_watched_lose_no_count(void **state)
{
    static char fmt[100][8];
    struct bench *b = *state;
    int sum = 0;

    for (int i = 0; i < 100; i++) /* each a call site of its own */
        (void)snprintf(fmt[i], sizeof fmt[i], "s%d", i);
    for (int i = 0; i < 100; i++)
        for (int k = 0; k < 8; k++) {
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
#pragma GCC diagnostic ignored "-Wformat-security"
            log_note(b->log, NULL, "t", fmt[i]);
#pragma GCC diagnostic pop
        }
    log_debug(b->log, NULL, "t", "never shown, never counted");
    const char *text = all_written(b); /* the end of the log tells what is held */

    for (const char *p = text; (p = strstr(p, "repeated=")) != NULL; p++)
        sum += atoi(p + strlen("repeated="));
    assert_int_equal(sum, 300);
    assert_int_equal(count(text, "\n"), 500 + 100);
}

static void stopping_writes_what_is_queued(void **state)
{
    struct bench *b = *state;

    log_sink_set(b->sink, LOG_DEBUG, LOG_TEXT);
    for (int i = 0; i < 3000; i++)
        log_debug(b->log, NULL, "t", "line %d", i);
    all_written(b);
    assert_int_equal(count(b->text, "\n"), 3000);
    assert_non_null(strstr(b->text, "line 2999\"\n"));
    assert_int_equal(b->dropped, 0);
}

/* Reads until `mark` has come; everything read is in text. */
static void read_until(int fd, char *text, size_t room, const char *mark)
{
    size_t n = 0;

    text[0] = 0;
    while (strstr(text + (n > 9000 ? n - 9000 : 0), mark) == NULL) {
        ssize_t got = read(fd, text + n, room - 1 - n);

        assert_true(got > 0);
        n += (size_t)got;
        text[n] = 0;
    }
}

static void sleep_and_wake(int pad)
{
    static char text[2 << 20];
    _Atomic uint64_t dropped = 0;
    int fd[2], sent = 0, taken = 0, seen = 0, told = 0;
    char mark[40];
    struct log_sink *s;
    struct log *l;

    assert_int_equal(pipe(fd), 0);
    s = log_sink_new(fd[1], LOG_DEBUG, LOG_TEXT);
    l = log_new(s, "main", &dropped);
    while (dropped < 10) { /* would hang here if anybody waited */
        uint64_t before = dropped;

        log_debug(l, NULL, "t", "number %d of%*s", sent, sent % 2 * 300 + pad, "");
        if (dropped == before)
            (void)snprintf(mark, sizeof mark, "number %d of", sent);
        taken += dropped == before;
        sent++;
    }
    read_until(fd[0], text, sizeof text / 2, mark); /* all that was taken has come: room again */
    log_tick(l);
    log_debug(l, NULL, "t", "the last");
    read_until(fd[0], text + strlen(text), sizeof text / 2, "\"the last\"");
    for (const char *p = text; *p != 0; p = strchr(p, '\n') + 1) {
        int i, lost;

        if (sscanf(p, "%*s debug t msg=\"number %d of", &i) == 1) {
            assert_int_equal(i, seen + told); /* each loss is told where it was */
            seen++;
        } else if (sscanf(p, "%*s warn log msg=\"lines lost, %*[^\"]\" dropped=%d\n", &lost) == 1) {
            told += lost;
        }
    }
    assert_int_equal(seen, taken);
    assert_int_equal(told, dropped);
    assert_int_equal(sent, taken + told);
    log_free(&l);
    log_sink_free(&s);
    (void)close(fd[0]);
    (void)close(fd[1]);
}

static void a_sleeping_reader_holds_nobody_up_and_the_loss_is_told(void **state)
{
    (void)state;
    for (int pad = 0; pad < 48; pad += 6) /* what is left of the queue at the end differs */
        sleep_and_wake(pad);
}

static void a_reader_who_is_gone_neither_kills_nor_holds_the_end(void **state)
{
    (void)state;
    for (int gone = 0; gone < 2; gone++) {
        int fd[2];
        struct log_sink *s;
        struct log *l;

        assert_int_equal(pipe(fd), 0);
        s = log_sink_new(fd[1], LOG_DEBUG, LOG_TEXT);
        l = log_new(s, "main", NULL);
        if (gone)
            (void)close(fd[0]); /* EPIPE, and no SIGPIPE; else a full pipe */
        for (int i = 0; i < 20000; i++)
            log_debug(l, NULL, "t", "number %d of many", i);
        log_free(&l);
        log_sink_free(&s);
        if (!gone)
            (void)close(fd[0]);
        (void)close(fd[1]);
    }
}

static const char *dump(struct bench *b, struct log *const *logs, int n)
{
    FILE *f = tmpfile();
    size_t len;

    assert_non_null(f);
    log_dump(logs, n, fileno(f));
    rewind(f);
    len = fread(b->text, 1, sizeof b->text - 1, f);
    b->text[len] = 0;
    (void)fclose(f);
    return b->text;
}

static void the_ring_keeps_the_last_lines_whatever_the_level(void **state)
{
    struct bench *b = *state;
    struct log *two[2] = { b->log, log_new(b->sink, "loop 1", NULL) };
    char wide[1000];

    assert_string_equal(dump(b, two, 2), "--- log of main\n--- log of loop 1\n");
    memset(wide, 'w', sizeof wide - 1);
    wide[sizeof wide - 1] = 0;
    log_sink_set(b->sink, LOG_ERROR, LOG_TEXT);
    log_info(two[1], NULL, "t", "quiet");
    log_info(two[1], NULL, "t", "%s", wide);
    log_debug(two[1], NULL, "t", "not even here");
    for (int i = 0; i < 300; i++) {
        now_us += SEC_US;
        log_info(b->log, NULL, "t", "line %d", i);
    }
    dump(b, two, 2);
    assert_int_equal(count(b->text, "\n"), 1 + 256 + 1 + 2);
    assert_null(strstr(b->text, "\"line 43\""));
    assert_non_null(strstr(b->text, "--- log of main\n" STAMP " info t msg=\"line 44\"\n"));
    assert_non_null(strstr(b->text, "\"line 299\"\n--- log of loop 1\n" STAMP
                                    " info t msg=\"quiet\"\n" STAMP " info t msg=\"www"));
    assert_int_equal(count(b->text, "w"), 512 - (int)strlen(STAMP " info t msg=\""));
    log_free(&two[1]);
    assert_string_equal(all_written(b), "");
}

static void a_failed_check_dumps_what_the_logs_know(void **state)
{
    struct bench *b = *state;
    int fd[2], status;
    size_t len = 0;
    ssize_t got;
    pid_t child;

    log_sink_set(b->sink, LOG_ERROR, LOG_TEXT);
    log_info(b->log, NULL, "t", "just before");
    assert_int_equal(pipe(fd), 0);
    log_dump_on_check(&b->log, 1);
    child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        (void)dup2(fd[1], STDERR_FILENO);
        CHECK(fd[0] < 0);
        _exit(0);
    }
    (void)close(fd[1]);
    log_dump_on_check(NULL, 0);
    while ((got = read(fd[0], b->text + len, sizeof b->text - 1 - len)) > 0)
        len += (size_t)got;
    b->text[len] = 0;
    (void)close(fd[0]);
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT);
    assert_non_null(strstr(b->text, "CHECK(fd[0] < 0) failed"));
    assert_non_null(strstr(b->text, "--- log of main\n" STAMP " info t msg=\"just before\"\n"));
}

enum { TALK = 20000 };
static atomic_int talking;
struct talker {
    struct log *log;
    int id;
};

static void *talk(void *arg)
{
    struct talker *t = arg;
    char name[4] = { (char)('a' + t->id), (char)('a' + t->id), (char)('a' + t->id), 0 };

    for (int i = 0; i < TALK; i++)
        log_debug(t->log, LOG_CTX_TEXT(NULL, "who", name), "t", "%s %s %d", name, name, i);
    talking--;
    return NULL;
}

/* Every line is one talker's, whole. */
static int assert_whole_lines(const char *p)
{
    int lines = 0;

    for (; *p != 0; p = strchr(p, '\n') + 1) {
        char m[4], n[4], who[4];
        int i;

        if (strncmp(p, "---", 3) == 0 || strncmp(p, STAMP " warn log msg=\"lines lost", 45) == 0)
            continue;
        assert_int_equal(sscanf(p, STAMP " debug t msg=\"%3s %3s %d\" who=%3s\n", m, n, &i, who),
                         4);
        assert_string_equal(m, n);
        assert_string_equal(m, who);
        lines++;
    }
    return lines;
}

static void threads_write_whole_lines_and_may_be_dumped_meanwhile(void **state)
{
    struct bench *b = *state;
    struct talker t[3];
    struct log *logs[3];
    _Atomic uint64_t dropped[3] = { 0 };
    pthread_t id[3];

    log_sink_set(b->sink, LOG_DEBUG, LOG_TEXT);
    talking = 3;
    for (int i = 0; i < 3; i++) {
        logs[i] = log_new(b->sink, "loop", &dropped[i]);
        t[i] = (struct talker){ logs[i], i };
    }
    for (int i = 0; i < 3; i++)
        assert_int_equal(pthread_create(&id[i], NULL, talk, &t[i]), 0);
    while (talking > 0)
        (void)assert_whole_lines(dump(b, logs, 3));
    for (int i = 0; i < 3; i++)
        (void)pthread_join(id[i], NULL);
    assert_int_equal(assert_whole_lines(dump(b, logs, 3)), 3 * 256);
    for (int i = 0; i < 3; i++)
        log_free(&logs[i]);
    assert_int_equal(
        assert_whole_lines(all_written(b)) + (int)(dropped[0] + dropped[1] + dropped[2]), 3 * TALK);
}

struct shouter {
    struct log_sink *sink;
    char word;
};

enum { SHOUTS = 3000 };

static void *shout(void *arg)
{
    struct shouter *s = arg;
    char line[400];

    for (size_t i = 0; i < SHOUTS; i++) {
        size_t n = 10 + i * 7 % (sizeof line - 10);

        memset(line, s->word, n);
        line[n - 1] = '\n';
        while (!log_sink_put(s->sink, line, n))
            (void)sched_yield();
    }
    return NULL;
}

static void two_sinks_may_share_a_pipe(void **state)
{
    struct shouter s[2] = { { .word = 'a' }, { .word = 'b' } };
    pthread_t thread[2];
    int fd[2], lines = 0;
    char line[500];
    FILE *f;

    (void)state;
    assert_int_equal(pipe(fd), 0);
    for (int i = 0; i < 2; i++) {
        s[i].sink = log_sink_new(fd[1], LOG_INFO, LOG_TEXT);
        assert_non_null(s[i].sink);
        assert_int_equal(pthread_create(&thread[i], NULL, shout, &s[i]), 0);
    }
    f = fdopen(fd[0], "r");
    assert_non_null(f);
    while (lines < 2 * SHOUTS && fgets(line, sizeof line, f) != NULL) {
        lines++;
        if (strspn(line, "a") + 1 != strlen(line) && strspn(line, "b") + 1 != strlen(line))
            fail_msg("line %d is torn: %s", lines, line);
    }
    for (int i = 0; i < 2; i++) {
        assert_int_equal(pthread_join(thread[i], NULL), 0);
        log_sink_free(&s[i].sink);
    }
    (void)fclose(f);
    (void)close(fd[1]);
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, bench_make, bench_drop)
    const struct CMUnitTest tests[] = {
        T(a_line_carries_the_context_of_its_callers),
        T(json_lines_say_the_same),
        T(a_peer_cannot_forge_lines_or_keys),
        T(long_values_are_cut_and_the_line_stays_whole),
        T(the_level_and_the_format_change_while_running),
        T(a_flood_from_one_place_becomes_a_count),
        T(more_sites_than_are_watched_lose_no_count),
        T(stopping_writes_what_is_queued),
        cmocka_unit_test(a_sleeping_reader_holds_nobody_up_and_the_loss_is_told),
        cmocka_unit_test(a_reader_who_is_gone_neither_kills_nor_holds_the_end),
        T(the_ring_keeps_the_last_lines_whatever_the_level),
        T(a_failed_check_dumps_what_the_logs_know),
        T(threads_write_whole_lines_and_may_be_dumped_meanwhile),
        cmocka_unit_test(two_sinks_may_share_a_pipe),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
