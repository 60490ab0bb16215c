/* daemon/access_part.h - the log of accesses as a part of the process
 *
 * Purpose   opens what log.access names, anew at each reload, so that a log file that was moved
 *           away is let go of; gives it to the front of every loop.
 * Owner     the process. The log before lives until every loop has the new one.
 * Thread    the main thread; loops by letter.
 * Errors    as daemon/part.h: a file that cannot be opened stops the reload.
 * Tests     tests/e2e/test_access.py
 */
#ifndef DAEMON_ACCESS_PART_H
#define DAEMON_ACCESS_PART_H

#include "daemon/part.h"

extern const struct part access_part;

#endif
