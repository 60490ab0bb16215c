/* manifests/model_text.h - the presentation log as text, for a home that begins again
 *
 * Purpose   what a process that was killed had told players of the last Periods, so that its
 *           successor lists them as they were: ended, before its own. A segment that was open is
 *           not in it.
 * Format    {"v": 2, "session", "ast", "longest", "periods": [{"k", "start", "reps": [{"name", "pto",
 *           "number", "msn", "peak", what INIT says, "segments": [[t, d, size], ...]}]}]}
 * Units     those of manifests/model.h.
 * Owner     the caller has the text and the model.
 * Thread    pure.
 * Errors    model_write: the buffer's status. model_read: EPROTO, and all that the verbs refuse:
 *           every field goes through them. The model is of no use then, but to be freed.
 * Limits    the newest MODEL_TEXT_PERIODS and, of each name, MODEL_TEXT_SEGMENTS.
 * Tests     tests/unit/test_model_text.c, tests/fuzz/fuzz_model_text.c
 */
#ifndef MANIFESTS_MODEL_TEXT_H
#define MANIFESTS_MODEL_TEXT_H

#include <stddef.h>

#include "core/buf.h"
#include "manifests/model.h"

enum { MODEL_TEXT_PERIODS = 8, MODEL_TEXT_SEGMENTS = 32 };

void model_write(const struct model *m, struct buf *out);
/* m: new, of the same session and time. */
MUST_USE enum st model_read(struct model *m, const char *text, size_t n);

#endif
