/* origin/disk.h - small files written by a thread, so that no loop waits for a disk
 *
 * Purpose   a file is replaced as a whole (write aside, fsync, rename, fsync of the folder), and a
 *           letter says when it is safe on the disk or why not. Requests for one path are done in
 *           order; of several that wait for the same path only the newest is written, and all
 *           letters of it are answered then.
 * Owner     daemon/ makes it before the loops start and frees it after they have ended; what was
 *           asked for before is written first.
 * Thread    disk_write(): any loop.
 * Errors    disk_write: ENOMEM. In the letter: EIO with errno.
 * Tests     tests/unit/test_disk.c
 */
#ifndef ORIGIN_DISK_H
#define ORIGIN_DISK_H

#include <stddef.h>

#include "core/mailbox.h"
#include "core/status.h"

struct disk;
struct loop;

struct disk *disk_new(void);
void disk_free(struct disk **dp);

/* Embedded in what waits for it; the caller's again when it is delivered. */
struct disk_job {
    struct mail mail; /* .deliver is called on `loop` */
    struct loop *loop;
    enum st st; /* filled in */
    int sys_err;
    struct disk_job *next;
    char *path; /* disk.c's */
    void *bytes;
    size_t n;
};

/* Copies path and bytes. Missing folders are made. */
MUST_USE enum st disk_write(struct disk *d, struct disk_job *job, const char *path,
                            const void *bytes, size_t n);

#endif
