/* edge/request_int.h - what request.c and request_plain.c share
 *
 * Purpose   request.c decides which object answers a request; request_plain.c makes the answers that
 *           need none. Each request_*() below that answers calls ops->ready().
 * Thread    the connection's loop.
 * Tests     those of edge/request.h.
 */
#ifndef EDGE_REQUEST_INT_H
#define EDGE_REQUEST_INT_H

#include "edge/request.h"

/* request.c */
void request_drop_view(struct request *r);
void request_answered(struct request *r); /* what is to be sent is decided */

/* request_plain.c */
void request_drop_blob(struct request *r);
void request_error(struct request *r, int status);
void request_error_text(struct request *r, int status, const char *why);
void request_options(struct request *r);
void request_time(struct request *r);
void request_admin(struct request *r);
/* The player page of a stream that could live here, and its files. False: none of them. */
bool request_watch(struct request *r);

#endif
