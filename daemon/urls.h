/* daemon/urls.h - the URLs that people paste
 *
 * Purpose   out of the addresses that a process listens on, what a broadcaster or a viewer types.
 *           An address that stands for all is replaced by one that others reach this machine by.
 * Owner     JSON values are new references.
 * Thread    the main thread.
 * Errors    NULL: out of memory.
 * Tests     tests/e2e/test_box.py
 */
#ifndef DAEMON_URLS_H
#define DAEMON_URLS_H

#include <jansson.h>
#include <stdio.h>

#include "core/conf.h"

enum { URLS_HOST_MAX = 80 };

/* An IPv4 address of this machine that is not the loopback's, else an IPv6 one, else "localhost".
 */
void urls_this_host(char host[URLS_HOST_MAX]);

/* Adds "rtmps://192.0.2.7:1936" for "rtmps://[::]:1936"; a unix socket is left out. */
void urls_add(json_t *list, const char *listening);

/* Where this configuration listens under "ingest.listen" or "edge.listen": as its process says,
 * when it runs, else as configured. A list of texts for urls_add(). */
json_t *urls_of_conf(const struct conf *c, const char *section);

/* One block per base URL: for OBS and for ffmpeg. query: "" for none. */
void urls_print_publish(FILE *f, const json_t *bases, const char *app, const char *stream,
                        const char *query);

#endif
