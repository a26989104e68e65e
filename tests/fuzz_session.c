/* SPDX-License-Identifier: MIT
 *
 * A session block that somebody else left behind: whatever is in it, either it is refused, or nothing that events do to
 * it, and nothing that is looked up in it, reaches out of it.  (The block ends where our memory does: ASan sees.)
 */
#include <vmfault/linux.h>
#include "fuzzing.h"
#include "ports/linux/session.h"

#define REGIONS 4u
#define TAIL 256u /* bytes of bitmaps */

/* The input: bytes of the block (its fixed part, REGIONS regions, the end), then events of 25 bytes. */
struct reader { const uint8_t *at, *end; };

static void take(struct reader *r, void *to, size_t n)
{
	size_t have = (size_t)(r->end - r->at);

	memset(to, 0, n);
	memcpy(to, r->at, have < n ? have : n);
	r->at += have < n ? have : n;
}

static struct vmf_session *block(struct reader *r, size_t *bytes)
{
	struct vmf_session head = { 0 }, *s;

	take(r, &head, offsetof(struct vmf_session, faults));
	take(r, head.region, REGIONS * sizeof(head.region[0]));
	*bytes = sizeof(head) + TAIL;
	if (head.bytes > *bytes)
		head.bytes = *bytes;
	*bytes = head.bytes > sizeof(head) ? head.bytes : sizeof(head);
	s = calloc(1, *bytes);
	must(s, "memory");
	*s = head;
	return s;
}

static void look(const struct vmf_session *s, uint64_t va)
{
	const struct vmf_session_region *r = vmf__session_find(s, va);

	if (!r)
		return;
	va &= ~(uint64_t)(r->page_size - 1);
	must(va >= r->va, "a page begins in its region");
	(void)vmf__session_removed(s, r, va);
	must(vmf__session_next(s, r, va, r->va + r->pages * VMF__PAGE, false) >= va,
	     "the next page is not before this one");
}

static void event(struct vmf_session *s, unsigned kind, const uint64_t v[3])
{
	switch (kind % 4) {
	case 0:
		vmf__session_remove(s, v[0], v[1]);
		break;
	case 1:
		(void)vmf__session_gone(s, v[0], v[1]);
		break;
	case 2:
		(void)vmf__session_moved(s, v[0], v[1], v[2]);
		break;
	default:
		look(s, v[0]);
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
	struct reader r = { data, data + n };
	struct vmf_session *s;
	size_t bytes;

	s = block(&r, &bytes);
	while (vmf__session_good(s) && r.at < r.end) {
		uint8_t kind;
		uint64_t v[3];

		take(&r, &kind, 1);
		take(&r, v, sizeof v);
		/* As the kernel says it: whole pages, in order, inside the address space. */
		for (unsigned i = 0; i < 3; i++)
			v[i] &= UINT64_C(0x7ffffffff000);
		if (kind % 4 < 2 && v[0] > v[1])
			continue;
		event(s, kind, v);
		must(s->regions <= VMF_SESSION_REGIONS, "count of regions");
	}
	free(s);
	return 0;
}

FUZZ_MAIN("session", "\x00\x01\x10\x20\x40\x80\xff", 20000)
