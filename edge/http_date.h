/* edge/http_date.h - the dates of HTTP
 *
 * Purpose   read the three forms that RFC 9110 section 5.6.7 asks of a recipient, write the one it
 *           asks of a sender. No locale, no time zone, no libc tables.
 * Units     seconds since the Unix epoch (UTC).
 * Thread    pure; the wall clock is passed in.
 * Tests     tests/unit/test_cache_policy.c
 */
#ifndef EDGE_HTTP_DATE_H
#define EDGE_HTTP_DATE_H

#include "edge/slice.h"

#define HTTP_DATE_LEN 29

/* now_s decides the century of a two-digit year. False: no date; *out untouched. */
bool http_date_parse(struct slice s, int64_t now_s, int64_t *out);

/* "Sun, 06 Nov 1994 08:49:37 GMT", no NUL; years 0000-9999. */
void http_date_format(int64_t unix_s, char out[HTTP_DATE_LEN]);

#endif
