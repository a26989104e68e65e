/* SPDX-License-Identifier: MIT
 *
 * The list: what every port must do, case by case, written against a stage that the port sets up.  Freestanding: it
 * runs on a bare machine as it does in a process.
 *
 * Each check is a line: `ok N name`, `not ok N name`, or `skip N name # reason` where the port cannot do it.  A name
 * begins with its case; `# SIGBUS/EOF` before a line is what an access that had to fail was told.
 */
#ifndef VMF_TESTS_LIST_H
#define VMF_TESTS_LIST_H
#include <vmfault/vmfault.h>

/* What some stages cannot do. */
enum stage_what {
	STAGE_DEVICE,  /* has a device range, and can show its pfns */
	STAGE_SCRATCH, /* a word of the device can be written */
	STAGE_ALIEN,   /* there are attributes that only the pmap can refuse */
	STAGE_EXECUTE,
	STAGE_PRIVATE, /* areas without VMF_SHARED */
	STAGE_POLL,
	STAGE_SHOWS,
	STAGE_BOLTS,
	STAGE_FORK,        /* its space can be copied */
	STAGE_FORK_SHARED, /* and the copy has its shared areas */
	STAGE_SHARED,      /* areas with VMF_SHARED */
	STAGE_HUGE,        /* frames of a higher order, like any other */
	STAGE_ENTRIES,     /* its bolts hold the entry, and not just the page */
	STAGE_UNCACHED,    /* `memory` can be seen in another way, too */
	STAGE_PEEK,        /* what its areas show can be read behind their back */
	STAGE_WHATS
};
/* One port, one space, one kind of window.  Pages of 4 KiB. */
struct stage {
	const char *name;
	struct vmf_port *port;
	struct vmf_space *space;
	const char *cannot[STAGE_WHATS]; /* by enum stage_what: why not; NULL: it can */
	uint8_t store;                   /* enum vmf_store of its areas */
	uint32_t flags;                  /* of its areas: VMF_SHARED or none */
	uint32_t bolts;                  /* pages that can be bolted at a time */
	struct vmf_range device;         /* a hole is before it and after it */
	struct vmf_range memory;         /* of a device: it behaves as memory */
	void *memory_bytes;              /* and where a driver sees it */
	struct vmf_attr uncached;        /* the other way */
	struct vmf_range adds;           /* where `memory` is seen by add() */
	uint32_t word_at, word;          /* in its first page: an offset, and what is read there */
	uint32_t scratch_at;             /* in its first page */
	struct vmf_attr weak, alien;     /* refused for the device: by the core, by the pmap */
	uint32_t answer[2];              /* instructions of a function that returns 42 */

	/* Loads and stores that may fail: 0, or 1 and `failed` says why. */
	int (*peek)(struct stage *, vmf_va, uint32_t *);
	int (*poke)(struct stage *, vmf_va, uint32_t);
	/* A load, by a handler.  sure: it succeeds, so any instruction will do. */
	int (*touch)(struct stage *, vmf_va, uint32_t *, bool sure);
	/* Calls the function at va; what it returns. */
	unsigned (*run)(struct stage *, vmf_va);
	/* From now on f(arg) is called while a fault waits (perhaps at other times, and on another thread); NULL: no
	 * more. */
	void (*poll)(struct stage *, void (*f)(void *), void *arg);
	unsigned patience; /* after so many calls of f a fault has waited for long */
	/* Does the entry that the hardware uses at va show this page, like this? */
	bool (*shows)(struct stage *, vmf_va, vmf_pfn, struct vmf_attr);
	/* Is the entry at va, which is bolted, there after all that the port may do to get rid of it? */
	bool (*keeps)(struct stage *, vmf_va);
	/* Adds to the word at va, in one step, whoever else does; what it was.  adder: who does that. */
	uint32_t (*add)(struct stage *, vmf_va, uint32_t);
	const char *adder;
	/* Runs f in a copy of the space, with a stage that looks into it; what f returned.  NULL: cannot[STAGE_FORK] says
	 * why. */
	unsigned (*fork)(struct stage *, unsigned (*f)(struct stage *, vmf_va), vmf_va);
	void (*put)(const char *); /* a piece of a line */

	uint64_t broken; /* frames that were poisoned, and are not free again */
	struct vmf_result failed;
	unsigned checks, failures; /* so far */
};

void list_run(struct stage *);
/* For what a stage has to say beside the list. */
bool list_check(struct stage *, bool ok, const char *name); /* returns ok */
void list_skip(struct stage *, const char *name, const char *reason);
/* The last line; 0 if nothing failed, else 1. */
int list_end(struct stage *);

/* ----------------------------------------------------------------------------- shared by the files of the list */

#define LIST_PAGE 4096u

static inline vmf_va list_page(vmf_va va, unsigned i) { return va + i * LIST_PAGE; }
bool list_reads(struct stage *, vmf_va, uint32_t want);
bool list_writes(struct stage *, vmf_va, uint32_t word);
/* The access fails like this. */
void list_fails(struct stage *, vmf_va, unsigned access, unsigned code, unsigned why, const char *name);
/* false: it cannot, which this said. */
bool list_can(struct stage *, enum stage_what, const char *name);
/* false: bytes by copy are given away, so it cannot. */
bool list_keeps(struct stage *, const char *name);
/* false: entries at va cannot be write-protected on their own. */
bool list_protects(struct stage *, vmf_va, const char *name);
int list_map(struct stage *, struct vmf_object *, uint64_t pages, unsigned prot, vmf_va *);
/* at: a range that is free; VMF_FIXED. */
int list_map_at(struct stage *, struct vmf_object *, uint64_t pages, unsigned prot, unsigned action, vmf_va at);
/* A range of addresses that nothing is mapped at. */
bool list_gap(struct stage *, uint64_t pages, vmf_va *);
void list_free(struct stage *, vmf_va, uint64_t pages);
/* How many frames there are, and (those by number: NULL) is this one of them?  They are dirty afterwards. */
uint64_t list_frames_free(struct stage *);
bool list_frame_free(struct stage *, vmf_pfn);
/* Does the word get there?  Polls: what a fault on another thread leaves behind comes a moment after ours has gone
 * on. */
bool list_soon(const _Atomic unsigned *word, unsigned want);

/* The cases, by subject. */
void list_run_drivers(struct stage *);
void list_run_memory(struct stage *);
void list_run_devices(struct stage *);
void list_run_aliases(struct stage *);
void list_run_backed(struct stage *);
void list_run_huge(struct stage *);
void list_run_sweep(struct stage *); /* the last: what it breaks stays so */
void list_run_migrate(struct stage *);
void list_run_bolts(struct stage *);
void list_run_special(struct stage *);
void list_run_faults(struct stage *);
void list_run_adopt(struct stage *);

#endif
