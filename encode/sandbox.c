#include "encode/sandbox.h"

#include <errno.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/landlock.h>
#include <linux/seccomp.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#if defined(__x86_64__)
    #define ARCH AUDIT_ARCH_X86_64
#elif defined(__aarch64__)
    #define ARCH AUDIT_ARCH_AARCH64
#endif

enum st sandbox_files(void)
{
    /* everything that the first version knows, and no exception */
    const struct landlock_ruleset_attr all = { .handled_access_fs =
                                                   (LANDLOCK_ACCESS_FS_MAKE_SYM << 1) - 1 };
    long fd = syscall(SYS_landlock_create_ruleset, &all, sizeof all, 0);
    enum st st = ST_OK;

    if (fd < 0)
        return errno == ENOSYS || errno == EOPNOTSUPP ? ST_OK : ST_EIO;
    if (syscall(SYS_landlock_restrict_self, fd, 0) != 0)
        st = ST_EIO;
    (void)close((int)fd);
    return st;
}

#ifdef ARCH

    #define LOAD(field) \
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, (uint32_t)offsetof(struct seccomp_data, field))
    /* Arguments are 64 bits wide; what is looked at here fits in the low half (little endian). */
    #define LOAD_ARG(i) LOAD(args[i])
    #define RETURN(what) BPF_STMT(BPF_RET | BPF_K, (what))
    /* The next statement, if equal; else it is skipped. */
    #define IF_EQ(v) BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (uint32_t)(v), 0, 1)
    #define IF_BITS(v) BPF_JUMP(BPF_JMP | BPF_JSET | BPF_K, (uint32_t)(v), 0, 1)
    #define ALLOW(name) IF_EQ(SYS_##name), RETURN(SECCOMP_RET_ALLOW)
    #define REFUSE(name) IF_EQ(SYS_##name), RETURN(SECCOMP_RET_ERRNO | EACCES)
    /* A call with one argument that decides: 4 statements are skipped when it is another call. */
    #define SKIP_UNLESS(name, n) BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_##name, 0, (n))
    #define NO_EXEC(name)                                                                        \
        SKIP_UNLESS(name, 4), LOAD_ARG(2), IF_BITS(PROT_EXEC), RETURN(SECCOMP_RET_KILL_PROCESS), \
            RETURN(SECCOMP_RET_ALLOW)

enum st sandbox_calls(void)
{
    const uint32_t self = (uint32_t)getpid();
    struct sock_filter code[] = {
        LOAD(arch),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, ARCH, 1, 0),
        RETURN(SECCOMP_RET_KILL_PROCESS),
        LOAD(nr),
        /* often called first; numbers of the x32 world are equal to none of these */
        ALLOW(futex),
    #ifdef SYS_epoll_wait
        ALLOW(epoll_wait),
    #endif
        ALLOW(epoll_pwait),
        ALLOW(epoll_pwait2),
        ALLOW(epoll_ctl),
        ALLOW(read),
        ALLOW(readv),
        ALLOW(write),
        ALLOW(writev),
        ALLOW(recvfrom),
        ALLOW(recvmsg),
        ALLOW(sendto),
        ALLOW(sendmsg),
        ALLOW(accept),
        ALLOW(accept4),
        ALLOW(shutdown),
        ALLOW(close),
        ALLOW(getsockopt),
        ALLOW(setsockopt),
        ALLOW(getsockname),
        ALLOW(getpeername),
        ALLOW(fcntl),
        ALLOW(ioctl),
        ALLOW(fstat),
        ALLOW(lseek),
    #ifdef SYS_poll
        ALLOW(poll),
    #endif
        ALLOW(ppoll),
        ALLOW(timerfd_settime),
        /* memory */
        ALLOW(brk),
        ALLOW(munmap),
        ALLOW(mremap),
        ALLOW(madvise),
        /* time, chance, and who am I */
        ALLOW(clock_gettime),
        ALLOW(clock_getres),
        ALLOW(clock_nanosleep),
        ALLOW(nanosleep),
        ALLOW(gettimeofday),
        ALLOW(getrandom),
        ALLOW(getpid),
        ALLOW(gettid),
        ALLOW(getppid),
        ALLOW(getuid),
        ALLOW(geteuid),
        ALLOW(getgid),
        ALLOW(getegid),
        ALLOW(sched_yield),
        ALLOW(sched_getaffinity),
        ALLOW(getrusage),
        /* threads that are there, and the end of them and of the process */
        ALLOW(set_robust_list),
        ALLOW(rseq),
        ALLOW(membarrier),
        ALLOW(restart_syscall),
        ALLOW(rt_sigaction),
        ALLOW(rt_sigprocmask),
        ALLOW(rt_sigreturn),
        ALLOW(sigaltstack),
        ALLOW(exit),
        ALLOW(exit_group),
        /* what libraries try, and can do without */
        REFUSE(openat),
        REFUSE(newfstatat),
        REFUSE(readlinkat),
        REFUSE(faccessat),
        REFUSE(prlimit64),
        REFUSE(sysinfo),
        REFUSE(uname),
        REFUSE(getcwd),
    #ifdef SYS_open
        REFUSE(open),
        REFUSE(access),
        REFUSE(stat),
        REFUSE(readlink),
    #endif
        /* with a look at what for */
        NO_EXEC(mmap),
        NO_EXEC(mprotect),
        SKIP_UNLESS(prctl, 4),
        LOAD_ARG(0),
        IF_EQ(PR_SET_NAME),
        RETURN(SECCOMP_RET_ALLOW),
        RETURN(SECCOMP_RET_ERRNO | EACCES),
        SKIP_UNLESS(tgkill, 3), /* abort() */
        LOAD_ARG(0),
        IF_EQ(self),
        RETURN(SECCOMP_RET_ALLOW),
        RETURN(SECCOMP_RET_KILL_PROCESS),
    };
    const struct sock_fprog prog = { .len = sizeof code / sizeof code[0], .filter = code };

    if (syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, SECCOMP_FILTER_FLAG_TSYNC, &prog) != 0)
        return ST_EIO;
    return ST_OK;
}

#else
enum st sandbox_calls(void) { return ST_OK; }
#endif
