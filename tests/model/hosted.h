/* SPDX-License-Identifier: MIT
 *
 * What the programs of the model share where there is an operating system: each run is a child of its own, so that a
 * crash or a hang is a failure like any other, and every run begins with nothing.
 */
#ifndef VMF_TESTS_MODEL_HOSTED_H
#define VMF_TESTS_MODEL_HOSTED_H
#include "model.h"

/* By a port's program. */
extern const char *const model_stage_names; /* for the usage line */
bool model_stage_known(const char *name);
struct model_stage *model_stage_open(const char *name); /* skips the test if it cannot be had here */
void model_stage_close(struct model_stage *); /* after a run that did not fail; ends the program if something is left */

/* A sequence, and what came of it. */
struct model_list { struct model_op *op; uint32_t n; };
struct model_verdict {
	struct model_outcome outcome; /* as far as it got */
	int status;                   /* of the child, as wait() has it */
	const char *check;            /* which comparison, or how it died; NULL: it passed */
};
/* loud: what it says is seen. */
void model_try(const char *stage, struct model_list, bool loud, struct model_verdict *);
/* Makes it as short as it finds it can, so that it fails still, and in the same way; at most so many seconds. */
void model_shrink(const char *stage, struct model_list *, const struct model_verdict *, unsigned seconds);

#endif
