/* In the sandbox: what a worker needs works, and what an intruder wants does not. Each in a child. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "encode/sandbox.h"

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
    #define SANITIZED 1
#elif defined(__has_feature)
    #if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
        #define SANITIZED 1
    #endif
#endif

static pid_t parent;

/* waitpid()'s word on a child that does this in the sandbox; it exits with what `does` returns. */
static int in_sandbox(int (*does)(void))
{
    pid_t pid = fork();
    int status;

    assert_true(pid >= 0);
    if (pid == 0) {
        struct rlimit none = { 0, 0 };

        (void)setrlimit(RLIMIT_CORE, &none);
        if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0 || sandbox_files() != ST_OK ||
            sandbox_calls() != ST_OK)
            _exit(99);
        _exit(does());
    }
    assert_int_equal(waitpid(pid, &status, 0), pid);
    return status;
}

static void exits(int (*does)(void), int status)
{
    int s = in_sandbox(does);

    if (!WIFEXITED(s) || WEXITSTATUS(s) != status)
        fail_msg("status %x", (unsigned)s);
}

static void dies(int (*does)(void), int sig)
{
    int s = in_sandbox(does);

    if (!WIFSIGNALED(s) || WTERMSIG(s) != sig)
        fail_msg("status %x", (unsigned)s);
}

/* --- what it needs --- */

static int memory(void)
{
    char *small = malloc(100), *big = malloc(64 << 20);

    if (small == NULL || big == NULL)
        return 1;
    memset(big, 1, 64 << 20);
    big = realloc(big, 128 << 20);
    if (big == NULL || big[1000] != 1)
        return 2;
    free(big);
    free(small);
    return 0;
}

static int no_memory(void) { return malloc((size_t)1 << 46) == NULL && errno == ENOMEM ? 0 : 1; }

static int messages(void)
{
    struct timespec t;

    (void)fprintf(stderr, "%s", "");
    return clock_gettime(CLOCK_REALTIME, &t) == 0 && fflush(stderr) == 0 ? 0 : 1;
}

static int aborts(void) { abort(); }

static int smashes(void)
{
    char *volatile p = malloc(16);

    free(p);
    free(p); /* glibc says so on standard error, and aborts */
    return 1;
}

static void what_a_worker_needs_is_allowed(void **state)
{
    (void)state;
    exits(memory, 0);
    exits(no_memory, 0);
    exits(messages, 0);
    dies(aborts, SIGABRT);
    dies(smashes, SIGABRT);
}

/* --- what an intruder wants --- */

static int opens(void) { return open("/etc/passwd", O_RDONLY) < 0 && errno == EACCES ? 0 : 1; }
static int makes_socket(void) { return socket(AF_INET, SOCK_STREAM, 0) < 0 ? 1 : 2; }
static int runs_program(void) { return execl("/bin/true", "true", (char *)NULL); }
static int forks(void) { return fork() < 0 ? 1 : 2; }
static int kills(void) { return kill(parent, 0) == 0 ? 1 : 2; }
static int traces(void)
{
    return prctl(PR_SET_DUMPABLE, 1, 0, 0, 0) != 0 && errno == EACCES ? 0 : 1;
}
static int limits(void)
{
    struct rlimit r = { 0, 0 };

    return setrlimit(RLIMIT_FSIZE, &r) != 0 && errno == EACCES ? 0 : 1;
}

static int maps_code(void)
{
    return mmap(NULL, 4096, PROT_READ | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) == MAP_FAILED
               ? 1
               : 2;
}

static int makes_code(void)
{
    void *p = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

    return p != MAP_FAILED && mprotect(p, 4096, PROT_READ | PROT_EXEC) != 0 ? 1 : 2;
}

static void what_an_intruder_wants_is_not(void **state)
{
    (void)state;
    parent = getpid();
    exits(opens, 0);
    exits(traces, 0);
    exits(limits, 0);
    dies(makes_socket, SIGSYS);
    dies(runs_program, SIGSYS);
    dies(forks, SIGSYS);
    dies(kills, SIGSYS);
    dies(maps_code, SIGSYS);
    dies(makes_code, SIGSYS);
}

/* --- threads that are there already --- */

static pthread_barrier_t both;

static void *other(void *arg)
{
    (void)arg;
    (void)pthread_barrier_wait(&both);
    (void)pthread_barrier_wait(&both);
    (void)socket(AF_INET, SOCK_STREAM, 0);
    _exit(1);
}

static void all_threads_are_inside(void **state)
{
    pid_t pid = fork();
    int status;

    (void)state;
    if (pid == 0) {
        pthread_t t;

        (void)pthread_barrier_init(&both, NULL, 2);
        if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0 ||
            pthread_create(&t, NULL, other, NULL) != 0)
            _exit(99);
        (void)pthread_barrier_wait(&both);
        if (sandbox_calls() != ST_OK)
            _exit(98);
        (void)pthread_barrier_wait(&both);
        (void)pthread_join(t, NULL);
        _exit(2);
    }
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGSYS);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_a_worker_needs_is_allowed),
        cmocka_unit_test(what_an_intruder_wants_is_not),
        cmocka_unit_test(all_threads_are_inside),
    };

#ifdef SANITIZED
    (void)tests, (void)exits, (void)dies;
    return 0; /* their runtime needs more than is allowed; the worker is not in the sandbox either */
#else
    return cmocka_run_group_tests(tests, NULL, NULL);
#endif
}
