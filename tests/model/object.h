/* SPDX-License-Identifier: MIT
 *
 * The objects of the model, for the port: zero-fill, drivers with frames of their own, backings in memory.  They count
 * what they are told, and fail where they are told to.
 */
#ifndef VMF_TESTS_MODEL_OBJECT_H
#define VMF_TESTS_MODEL_OBJECT_H
#include "model.h"

enum model_object_kind {
	MODEL_ZERO,     /* zero-fill */
	MODEL_DRIVER,   /* nopage, one page at a time; hears of first writes */
	MODEL_RUNS,     /* nopage answers with aligned runs of four; allows no cut at odd pages */
	MODEL_PAGED,    /* backed, one page a fault */
	MODEL_AROUND,   /* backed, four pages around a fault, and readahead */
	MODEL_READONLY, /* backed, VMF_RDONLY */
	MODEL_STREAM    /* backed, VMF_STREAM */
};
#define MODEL_DRIVER_PAGES 12u /* length of the first three, which stays */
#define MODEL_READ_ERR 105 /* what a bad page says */
#define MODEL_WRITE_ERR 28

/* A driver takes another frame for a page, and revokes it, while its handler is about to answer with the old one. */
enum model_race_state { MODEL_RACE_NONE, MODEL_RACE_ARMED, MODEL_RACE_OVER };
struct model_race {
	_Atomic uint8_t state;
	uint8_t page;
	uint32_t word[MODEL_WORDS]; /* of the new frame */
	uint32_t announced;         /* of the page, then */
};
struct model_object {
	struct vmf_port *port;
	struct vmf_object *object;
	struct model_stage *stage;
	struct vmf_frame *frame[MODEL_ROOM];          /* a driver's */
	uint32_t disk[MODEL_ROOM][MODEL_WORDS];       /* a backing's */
	uint32_t bytes;                               /* a backing's length */
	uint32_t bad_read, bad_write;                 /* a bit for each page */
	_Atomic uint32_t announced[MODEL_ROOM];       /* mkwrite */
	struct model_race race;
	_Atomic uint32_t opened, closed, ended;       /* areas; ended: release() or close() */
	uint8_t kind;
};
static inline bool model_backed(unsigned kind) { return kind >= MODEL_PAGED; }
static inline bool model_drives(unsigned kind) { return kind == MODEL_DRIVER || kind == MODEL_RUNS; }

/* What is at word k of a page at first. */
uint32_t model_first_word(const struct model_stage *, unsigned kind, unsigned page, unsigned k);
/* The value as it can be stored at word k. */
uint32_t model_value(const struct model_stage *, unsigned k, uint32_t value);
int model_object_open(struct model_object *, struct model_stage *, unsigned kind);
void model_object_close(struct model_object *); /* its areas have gone */
/* A driver's own write to its frame. */
void model_object_poke(struct model_object *, unsigned page, unsigned k, uint32_t word);
/* A driver takes another frame, full of this, and lets go of the old one.  0, or an error. */
int model_object_swap(struct model_object *, unsigned page, const uint32_t word[MODEL_WORDS]);

#endif
