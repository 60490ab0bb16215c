/* tests/unit/model_drive.h - bytes to verbs of the presentation model, legal and otherwise
 *
 * Purpose   one generator for the property test, the fuzz target and the states that are held
 *           against the schema. Every step checks: the model is sane, what was legal was taken,
 *           and what was refused left no trace.
 * Tests     is one
 */
#ifndef TESTS_UNIT_MODEL_DRIVE_H
#define TESTS_UNIT_MODEL_DRIVE_H

#include "core/buf.h"
#include "core/rd.h"
#include "manifests/model.h"

struct model_drive {
    struct model *m;
    unsigned taken, refused;             /* verbs */
    bool (*step)(struct model_drive *d); /* after each verb, may be NULL; false stops */
    void *arg;
};

/* A model with small limits, so that they are met. */
struct model *model_drive_new(void);
/* Until the bytes or the step function say stop. */
void model_drive_run(struct model_drive *d, const uint8_t *p, size_t n);
/* n bytes that depend on seed only. */
void model_drive_bytes(uint64_t seed, uint8_t *p, size_t n);

/* All that can be seen of a model. */
uint64_t model_digest(const struct model *m);

/* Tags are balanced, attributes quoted and given once, nothing needs an entity. */
bool xml_well_formed(const char *text);

#endif
