/* SPDX-License-Identifier: MIT
 *
 * A run of the model: the port's side and the reference's, and what is compared.
 */
#ifndef VMF_TESTS_MODEL_RUN_H
#define VMF_TESTS_MODEL_RUN_H
#include "reference.h"

/* What areas with VMF_SHARED, and without it, are here. */
struct run_window { bool there, protects; uint8_t store; };
struct run {
	struct model_stage *st;
	struct model_outcome *out;
	struct reference ref;
	struct model_object object[MODEL_OBJECTS];
	uint32_t announced[MODEL_ROOM]; /* of the driver, when last compared */
	struct run_window shared, private;
};

static inline vmf_va run_va(const struct run *r, unsigned page) { return r->st->base + page * MODEL_PAGE; }
static inline struct ref_object *run_object(struct run *r, const struct ref_cell *c)
{
	return &r->ref.object[c->object];
}

/* A page that the object has, or could have. */
static inline bool run_inside(const struct ref_object *o, unsigned off) { return off < ref_pages(o); }
/* Have those of the port's threads done what they do behind us? */
bool run_soon(struct run *, bool (*done)(struct run *));

/* The run has failed: what of, and where.  false */
bool run_fail(struct run *, const char *check, const char *text);
bool run_fail_at(struct run *, const char *check, unsigned space, unsigned page, const char *text);
/* A number is not what it should be. */
bool run_equal(struct run *, const char *check, const char *what, uint32_t is, uint32_t want);
/* A call's error is not one of these (a bit for each; bit 0: none). */
bool run_errors(struct run *, const char *what, int err, uint32_t allowed);

#define RUN_BIT(err) (1u << (err))
void run_count(struct run *, const struct model_op *, int err);
unsigned run_space(const struct run *, const struct model_op *);

typedef bool run_operation(struct run *, const struct model_op *); /* false: the run has failed */
/* layout.c */
run_operation run_op_map, run_op_unmap, run_op_protect, run_op_move, run_op_forget, run_op_gone, run_op_fork,
	run_op_leave;

/* access.c: one of the port and the reference, compared.  false: the run has failed */
struct ref_expect run_expects(struct run *, const struct ref_cell *, unsigned access);
bool run_load(struct run *, unsigned space, unsigned page);
bool run_store(struct run *, unsigned space, unsigned page, unsigned k, uint32_t value);
bool run_fetch(struct run *, unsigned space, unsigned page);
/* A page was, or may have been, entered by such an access. */
bool run_touched(struct run *, const struct ref_cell *, unsigned access);

/* What a driver did in its handler is so from now on. */
void run_raced(struct run *);
void run_driver_clean(struct run *, unsigned object, unsigned off, unsigned n);

/* check.c */
bool run_glance(struct run *); /* at what is entered, without a fault */
/* Every page: loads, and (how, by bits) stores and fetches that succeed; all: leaves none out.  Those that have to
 * fail, always. */
bool run_check(struct run *, uint32_t how, bool all);
bool run_check_objects(struct run *);
bool run_check_child(struct run *, uint32_t how); /* pages only: a child cannot look into objects */

#endif
