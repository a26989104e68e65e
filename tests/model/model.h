/* SPDX-License-Identifier: MIT
 *
 * The model: a random sequence of operations on a port, and on flat arrays of bytes and permissions that are obviously
 * right; what the two make of it is compared.  Freestanding: it runs on a bare machine as it does in a process.
 *
 * An operation is a row of small numbers that mean something wherever it stands in a sequence: what cannot be done
 * (mapping over an area, say) is tried, and has to fail as it should; what this port has no way to do is left out.  So
 * any part of a failing sequence is a sequence, and a program can look for a short one that fails.
 */
#ifndef VMF_TESTS_MODEL_H
#define VMF_TESTS_MODEL_H
#include <vmfault/pmap.h>

#define MODEL_SPACES 3u
#define MODEL_PAGES 40u  /* of each space that are played with */
#define MODEL_ROOM 16u   /* pages of an object, at most */
#define MODEL_OBJECTS 7u
#define MODEL_WORDS 16u  /* of a page that are looked at: the first and the last of each 512 bytes */
#define MODEL_CODE 9u    /* the one of them that is fetched */
#define MODEL_PAGE 4096u
#define MODEL_CUT 512u   /* objects end at multiples of so many bytes */

/* Where word k is in its page. */
static inline uint32_t model_word_at(unsigned k) { return k * 256 + (k & 1 ? 252 : 0); }

/* ------------------------------------------------------------------------------------------- operations */

enum model_kind {
	MODEL_MAP, MODEL_UNMAP, MODEL_PROTECT, MODEL_LOAD, MODEL_STORE, MODEL_FETCH, MODEL_FORK, MODEL_LEAVE, MODEL_REVOKE,
	MODEL_RESIZE, MODEL_SYNC, MODEL_RECLAIM, MODEL_MOVE, MODEL_FORGET, MODEL_GONE, MODEL_POKE, MODEL_SWAP, MODEL_SPOIL,
	MODEL_HEAL, MODEL_GLANCE, MODEL_CHECK, MODEL_KINDS
};
/* page, n: of the space; object, off: and n of the object; each operation takes what it needs. */
struct model_op {
	uint8_t kind, space, page, n, object, off, prot, flags;
	uint32_t value;
};
#define MODEL_POPULATE 0x10u /* in flags, beside enum vmf_mflag */
#define MODEL_ANYWHERE 0x20u /* the port chooses where */

/* What its numbers mean. */
unsigned model_op_prot(const struct model_op *);
unsigned model_op_maxprot(const struct model_op *);
uint32_t model_op_length(const struct model_op *);
struct model_random { uint64_t state; };
struct model_op model_op_random(struct model_random *);
extern const char *const model_kind_name[MODEL_KINDS];

/* ------------------------------------------------------------------------------------------------- stages */

/* What a port supplies.  Pages of 4 KiB. */
struct model_stage {
	const char *name;
	struct vmf_port *port;
	struct vmf_space *space[MODEL_SPACES]; /* [0]: there at first; the others by fork */
	unsigned spaces;    /* that there can be */
	vmf_va base;        /* of the pages that are played with; nothing is mapped there */
	bool beyond;        /* areas may be longer than their objects */
	bool soon;          /* threads of the port's own end what they do a little after a call or an access has returned */
	bool reads_first;   /* a fetch reads the page before it finds that it may not execute it */
	/* Accesses that may fail: 0, or 1 and `failed` says why. */
	int (*load)(struct model_stage *, unsigned space, vmf_va page, uint32_t word[MODEL_WORDS]);
	int (*store)(struct model_stage *, unsigned space, vmf_va word, uint32_t value);
	/* Executes the word (which code() has made), or reads it as the CPU fetches: its value. */
	int (*fetch)(struct model_stage *, unsigned space, vmf_va word, uint32_t *value);
	/* The value, or one like it, as a function; a function as it is.  NULL: any word can be fetched. */
	uint32_t (*code)(uint32_t value);
	uint32_t code_mask; /* what of the word such a function tells */
	/* What not every port can (NULL): 0, or an error. */
	int (*fork)(struct model_stage *, unsigned from, unsigned to);    /* space[to] becomes the copy of space[from] */
	void (*leave)(struct model_stage *, unsigned space);              /* ends a copy */
	int (*move)(struct model_stage *, unsigned space, vmf_va from, vmf_va to, uint64_t pages);
	int (*forget)(struct model_stage *, unsigned space, vmf_va, uint64_t pages); /* mapped in every page */
	int (*gone)(struct model_stage *, unsigned space, vmf_va, uint64_t pages);   /* unmapped from outside */
	/* fork(): a child runs f(arg), and ends.  false: f said so, or it died. */
	bool (*child)(struct model_stage *, bool (*f)(void *), void *arg);
	bool inherits;      /* it has private areas, except those with VMF_NOFORK */
	void (*pause)(struct model_stage *); /* with `soon`: a moment */
	void (*put)(const char *);

	struct vmf_result failed;
};

/* ---------------------------------------------------------------------------------------------------- runs */

struct model_outcome {
	bool failed;
	uint32_t op;         /* the one at which it failed */
	const char *check;   /* which comparison; static */
	char text[320];      /* what was expected, and what came */
	uint32_t done[MODEL_KINDS];     /* operations that did something */
	uint32_t refused[MODEL_KINDS];  /* that failed as they had to */
	uint32_t pages, failing; /* compared; of these, accesses that had to fail, and did */
	uint32_t left_out;   /* bit for each kind that this port cannot do */
};
/* Objects are made, ops(arg, i) for i in [0, n) is done, everything is compared a last time, and all is unmapped.
 * After an outcome that failed the port is left as it is. */
void model_run(struct model_stage *, const struct model_op *(*ops)(void *, uint32_t), void *arg, uint32_t n,
			   struct model_outcome *);

/* Pieces of text, for who has no printf: appended, cut if too long. */
struct model_text { char *at, *end; };
void model_text(struct model_text *, const char *);
void model_text_number(struct model_text *, uint32_t);
void model_text_hex(struct model_text *, uint32_t);
/* "store 0 12 1 ..." and what it means: "store space 0 page 12 word 3 = 0x..." */
void model_text_op(struct model_text *, const struct model_op *);

#endif
