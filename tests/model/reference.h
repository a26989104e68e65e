/* SPDX-License-Identifier: MIT
 *
 * The reference: what every page of every space and object should be, as flat arrays.
 *
 * Where vmfault.h leaves freedom, the set of allowed answers is this, and here alone:
 *
 *   - A private page that the area has not written yet shows its object's page as it was at some moment since it was
 *     mapped, and never as it was before what it has shown already ("it may show what is written to the object
 *     meanwhile").  So for each page of an object the last contents are kept, and a cell says which is the oldest that
 *     it may show.  Past the object's end, and where its page cannot be read, it may also fail as the object does.
 *   - Bytes by copy that were taken away (madvise) read zero; but it is a fault that brings the zeroes, and it may find
 *     that the object ends before them, or cannot be read.
 *   - Where entries cannot be write-protected, a page that is entered in an area that can be written counts as written,
 *     or it was entered by somebody else: whether it is dirty is only known again after a store or a vmf_sync().
 *   - A first write is announced when it is about to happen; the page may then turn out not to be had.
 *   - A write-back that fails leaves what it had not written dirty; what of a run comes after a bad page is either.
 *   - A page of a backing that cannot be read fails unless it is in memory, which vmf_page_state() says.
 *   - Where a fetch reads before it finds that it is not allowed (stage.reads_first), and the page cannot be had, it
 *     fails for either reason.
 *   - Where several errors apply to a call, any of them.
 *   - What is written to a shared page past the end of a backing, in its last page, is nobody's: no such word is
 *     written.
 *   - Protections without VMF_R are VMF_NONE only: CPUs differ in what "write only" and "execute only" allow.
 */
#ifndef VMF_TESTS_MODEL_REFERENCE_H
#define VMF_TESTS_MODEL_REFERENCE_H
#include "object.h"

#define REF_OLD 8u /* contents kept */

struct ref_words { uint32_t word[MODEL_WORDS]; };
enum ref_dirt { REF_CLEAN, REF_DIRTY, REF_EITHER };

struct ref_page {
	struct ref_words old[REF_OLD]; /* version v is old[v % REF_OLD] */
	struct ref_words disk;
	uint32_t version;              /* the one that it has now */
	uint32_t nothing;              /* bit v % REF_OLD: there was no such page then */
	uint8_t dirt;
};
struct ref_object {
	uint8_t kind;
	bool tracks;          /* first writes are seen */
	uint32_t bytes, bad_read, bad_write;
	struct ref_page page[MODEL_ROOM];
};
/* A page of a space. */
struct ref_cell {
	bool mapped, shared, nofork;
	bool lost;            /* this is a child, which did not inherit it */
	bool held;            /* private: it shows `mine` and nothing else */
	bool own;             /* held, since it was written: it stays, whatever happens to the object */
	bool taken;           /* held, and zero, since it was taken away */
	uint8_t object, off, prot, maxprot;
	uint32_t area;        /* the same in all pages of an area, and in no other */
	uint32_t oldest;      /* private, and not held: the first version that it may show */
	struct ref_words mine;
};
struct reference {
	struct ref_object object[MODEL_OBJECTS];
	struct ref_cell cell[MODEL_SPACES][MODEL_PAGES];
	bool there[MODEL_SPACES];
	uint32_t areas;       /* numbers given so far */
	bool protects;        /* entries can be write-protected */
	bool reads_first;     /* the stage's */
};

/* What may come of an access. */
struct ref_expect { bool ok, fails; struct vmf_result result, other; /* OK: there is no other */ };

void ref_open(struct reference *, const struct model_stage *);
static inline const struct ref_words *ref_now(const struct ref_page *p) { return &p->old[p->version % REF_OLD]; }
static inline uint32_t ref_pages(const struct ref_object *o) { return (o->bytes + MODEL_PAGE - 1) / MODEL_PAGE; }
/* in_memory: the object has the page (asked for only where it matters) */
struct ref_expect ref_expect(const struct reference *, const struct ref_cell *, unsigned access, bool in_memory);
/* May the cell show this?  Then it never again shows what is older. */
bool ref_sees(struct reference *, struct ref_cell *, const struct ref_words *);
const struct ref_words *ref_last(const struct reference *, const struct ref_cell *); /* when last seen; NULL: unknown */
/* A word of an object's page; all of it. */
void ref_write(struct ref_object *, unsigned page, unsigned k, uint32_t word);
void ref_replace(struct ref_object *, unsigned page, const struct ref_words *);
/* Word k of a private page was written, and the page read afterwards: could it be this?  Then it is the cell's own. */
bool ref_own(struct reference *, struct ref_cell *, unsigned k, uint32_t word, const struct ref_words *now);
void ref_hold(struct ref_cell *, const struct ref_words *); /* it shows this from now on */
void ref_take(struct ref_cell *);                           /* its bytes were taken away */
/* An object's new length, and what is in it where it is longer: fill, in every word. */
void ref_resize(struct ref_object *, const struct model_stage *, uint32_t bytes, uint32_t fill);
/* The backing has the page as it is in memory. */
void ref_written(struct ref_object *, unsigned page);

#endif
