/* edge/boxes.h - where the whole chunks of a CMAF segment end
 *
 * Purpose   a segment that comes from upstream in pieces is shown to readers by whole moof+mdat, so
 *           that it can be closed at any time and still be played. Looks at the heads of boxes only.
 * Spec      ISO/IEC 14496-12, 4.2: size and type, the 64-bit size, size 0 (to the end).
 * Units     bytes since the beginning of the segment.
 * Owner     the fill.
 * Thread    pure.
 * Errors    none: what is no sequence of boxes is whole at every byte.
 * Tests     tests/unit/test_boxes.c, tests/fuzz/fuzz_boxes.c
 */
#ifndef EDGE_BOXES_H
#define EDGE_BOXES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct boxes {
    uint64_t seen;  /* bytes so far */
    uint64_t whole; /* of them up to the end of the last mdat */
    uint64_t left;  /* of the box at hand, behind its head */
    uint8_t head[16];
    unsigned n; /* of its head so far */
    bool lost;  /* these are no boxes */
};

/* Starts as {0}. The next n bytes; returns how many of all are whole. */
uint64_t boxes_feed(struct boxes *b, const void *p, size_t n);

#endif
