/* edge/pages_int.h - the files of edge/web/, as embed.cmake makes them
 *
 * Thread    constant.
 * Tests     those of edge/pages.h.
 */
#ifndef EDGE_PAGES_INT_H
#define EDGE_PAGES_INT_H

#include <stddef.h>

#define WEB_FILES(X) X(watch_html) X(watch_js) X(page_css) X(status_html) X(status_js)

#define X(id)                              \
    extern const unsigned char web_##id[]; \
    extern const size_t web_##id##_len;
WEB_FILES(X)
#undef X

#endif
