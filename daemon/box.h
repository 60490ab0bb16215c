/* daemon/box.h - the all-in-one box: what runs when no configuration is given
 *
 * Purpose   a configuration made up on the spot (RTMP on the loopback, RTMPS, HTTP and HTTPS for
 *           everybody, the app `live` with publish: local), and the certificate and the publish key
 *           it names, made at the first start and kept.
 * Spec      state:   --state-dir, else /var/lib/freshet; for others than root
 *                    $XDG_STATE_HOME/freshet or ~/.local/state/freshet
 *           runtime: --runtime-dir, else /run/freshet; for others than root
 *                    $XDG_RUNTIME_DIR/freshet, or run/ in the state directory
 * Owner     the caller's reference of the snapshot.
 * Thread    the main thread.
 * Errors    said in the report, for people; NULL or a failure then.
 * Tests     tests/e2e/test_box.py
 */
#ifndef DAEMON_BOX_H
#define DAEMON_BOX_H

#include <stdio.h>

#include "core/conf.h"

struct process;

/* state_dir, runtime_dir: NULL for the place above. */
struct conf *box_conf(const char *state_dir, const char *runtime_dir, FILE *report);

/* The files it names, where they are missing. */
MUST_USE enum st box_make_files(const struct conf *c, FILE *report);

/* What to paste where. */
void box_greet(const struct process *p, FILE *f);

#endif
