/* origin/disk.h - small files handled by a thread, so that no loop waits for a disk
 *
 * Purpose   a file is replaced as a whole (write aside, fsync, rename, fsync of the folder; a lazy
 *           one without the fsyncs), and a letter says when it is safe on the disk or why not.
 *           Requests for one path are done in order; of several writes in a row to the same path
 *           only the newest is done, and all letters of it are answered then. Letters of lazy
 *           requests come together, when nothing else is waiting.
 * Units     a file's time is the caller's, in Unix seconds: when what it says was last true.
 * Owner     daemon/ makes it before the loops start and frees it after they have ended; what was
 *           asked for before is done first.
 * Thread    disk_*(): any loop.
 * Errors    ENOMEM. In the letter: EIO with errno; ENOENT: there is no such file.
 * Tests     tests/unit/test_disk.c
 */
#ifndef ORIGIN_DISK_H
#define ORIGIN_DISK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/mailbox.h"
#include "core/status.h"

struct disk;
struct loop;

struct disk *disk_new(void);
void disk_free(struct disk **dp);

enum { DISK_READ_MAX = 64 << 10, DISK_DEPTH_MAX = 4 };

enum disk_what { DISK_WRITE, DISK_READ, DISK_TOUCH, DISK_REMOVE, DISK_SWEEP };

/* Embedded in what waits for it; the caller's again when it is delivered. */
struct disk_job {
    struct mail mail; /* .deliver is called on `loop` */
    struct loop *loop;
    int64_t time_s; /* of the file: given to write and touch, told by read */
    bool lazy;      /* nobody is waiting; write: whole or not at all, but a power cut may undo it */
    enum st st;     /* filled in */
    int sys_err;
    /* disk.c's */
    struct disk_job *next;
    enum disk_what what;
    char *path;
    char *bytes; /* after a read: its text, n bytes and a NUL, to be freed by the caller */
    size_t n;
};

/* Copies path and bytes. Missing folders are made. */
MUST_USE enum st disk_write(struct disk *d, struct disk_job *job, const char *path,
                            const void *bytes, size_t n);
/* At most DISK_READ_MAX bytes; a longer file is EIO. */
MUST_USE enum st disk_read(struct disk *d, struct disk_job *job, const char *path);
MUST_USE enum st disk_touch(struct disk *d, struct disk_job *job, const char *path);
MUST_USE enum st disk_remove(struct disk *d, struct disk_job *job, const char *path);
/* Removes every file below the folder whose time is before job->time_s. n: how many are left. */
MUST_USE enum st disk_sweep(struct disk *d, struct disk_job *job, const char *dir);

#endif
