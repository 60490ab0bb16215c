/* manifests/model_int.h - what manifests/model*.c share
 *
 * Purpose   the model's own predicates, so that the check of its promises uses the rules that the
 *           verbs use; and what only a model that is read back can be told.
 * Owner     manifests/model.c
 * Thread    pure.
 * Tests     tests/unit/test_model.c
 */
#ifndef MANIFESTS_MODEL_INT_H
#define MANIFESTS_MODEL_INT_H

#include "manifests/model.h"

enum { MODEL_MAGIC = 0x30de1a06 };

bool model_rep_ok(const char *s);
bool model_hash_ok(const char *s);
bool model_codecs_ok(const char *s);
/* The order of renditions: v before a, then by number. */
bool model_rep_before(const char *a, const char *b);
bool model_period_empty(const struct model_period *p);
/* Before the first segment of rep in this Period: its media sequence number. EPROTO: it falls. */
MUST_USE enum st model_go_on(struct model *m, const char *rep, uint64_t msn);
/* Of segments that are told no more. */
void model_had_peak(struct model *m, const char *rep, uint32_t bps);
/* And the longest of the broadcast. ELIMIT: none can be that long. */
MUST_USE enum st model_had_longest(struct model *m, int64_t us);

#endif
