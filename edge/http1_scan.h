/* edge/http1_scan.h - the byte rules that HTTP/1 requests and responses share
 *
 * Purpose   one walk over the bytes of a head that stops only where a line may end or must not:
 *           eight bytes at a time, and no byte twice however the input was cut. Then llhttp's
 *           opinion of the whole, formed without ours.
 * Spec      RFC 9112 sections 2.2, 5.1, 5.2: CRLF ends a line, nothing else does; no folding; no
 *           space before the colon.
 * Thread    pure.
 * Tests     tests/unit/test_http1_req.c, tests/unit/test_http1_resp.c
 */
#ifndef EDGE_HTTP1_SCAN_H
#define EDGE_HTTP1_SCAN_H

#include "edge/http_head.h"

/* Looks for the end of the line from *at on. OK: *at is the CR of a CRLF. MORE: the line goes on
 * past n, and *at is where to look next time. EPROTO: *why. */
MUST_USE enum st http1_scan_line(const uint8_t *p, size_t n, size_t *at, enum http_refusal *why);

/* Splits one header line (without its CRLF). The value is trimmed. */
enum http_refusal http1_scan_field(struct slice line, struct slice *name, struct slice *value);

/* llhttp reads a whole head on its own: true when it accepts it and counts the same headers. */
bool http1_llhttp_agrees(bool response, const uint8_t *p, size_t n, unsigned fields,
                         unsigned minor);

#endif
