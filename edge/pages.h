/* edge/pages.h - the web pages that come with the program
 *
 * Purpose   the player page and the status page, part of the binary (edge/web/), and the one file
 *           that is not: the library dash.js, read at start by whoever makes the front. A page
 *           without its library says so.
 *           Every page goes out with a policy that lets nothing run but its own files.
 * Owner     a page's body is a reference for its request.
 * Thread    the loop of the front_loop.
 * Errors    false: no such page. A body NULL: no memory.
 * Tests     tests/e2e/test_box.py
 */
#ifndef EDGE_PAGES_H
#define EDGE_PAGES_H

#include <stdbool.h>

struct front_loop;
struct front_page;
struct target;

/* /watch/APP/STREAM and the files it needs. */
bool pages_watch(struct front_loop *f, const struct target *t, struct front_page *out);
/* /status and the files it needs. */
bool pages_status(const struct target *t, struct front_page *out);

#endif
