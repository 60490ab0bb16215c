/* encode/sandbox.h - what a worker can ask of the kernel when hostile media has taken it over
 *
 * Purpose   sandbox_files(): no file can be opened any more (Landlock, where the kernel has it), to
 *           be called before there is a second thread. sandbox_calls(): an allow-list of system
 *           calls for all threads (seccomp). Reading and writing what is open, memory without
 *           execute permission, waiting, the clock, and ending are on it. Opening files fails with
 *           EACCES, because libraries try that in good faith; anything else - a socket, a program,
 *           a thread, a signal to somebody else - ends the process with SIGSYS.
 * Spec      seccomp(2), landlock(7).
 * Thread    the main thread, each once; sandbox_calls() after all threads have started.
 * Errors    EIO with errno. OK without doing anything: sandbox_files() on a kernel without Landlock,
 *           sandbox_calls() on a processor whose calls we have not listed.
 * Tests     tests/unit/test_sandbox.c, tests/e2e/test_encode.py
 */
#ifndef ENCODE_SANDBOX_H
#define ENCODE_SANDBOX_H

#include "core/status.h"

MUST_USE enum st sandbox_files(void);
MUST_USE enum st sandbox_calls(void);

#endif
