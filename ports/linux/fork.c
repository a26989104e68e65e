/* SPDX-License-Identifier: MIT
 *
 * In the parent of a fork: what becomes of a child.
 *
 * The child's layout is written down while the gate is closed, between its event and the next one: its regions are our
 * by-copy windows, and what was removed here is removed there.  The core copies the space later, on the family's
 * thread, but before it is told of anything that was read after the fork.  Meanwhile the child may run; its faults wait
 * in its descriptor.
 */
#include "fork.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

#define TRIES 64u
#define LAYOUT_NS 50000u
#define FAILED_AGAIN_NS 1000000

/* ----------------------------------------------------------------------------------- what a child looks like */

static uintptr_t end_of(const struct vmf_session_region *r) { return r->va + r->pages * VMF__PAGE; }

static void shape_add(struct vmf__shape *s, const struct vmf__window *w, uint64_t gap)
{
	struct vmf_session_region *last = s->n ? &s->region[s->n - 1] : NULL;

	if (last && w->va - end_of(last) <= gap)
		last->pages = (w->end - last->va) >> VMF__SHIFT;
	else if (s->n < VMF__SHAPE)
		s->region[s->n++] = (struct vmf_session_region){ .va = w->va, .pages = (w->end - w->va) >> VMF__SHIFT,
								 .page_size = VMF__PAGE };
	else
		s->full = true;
}

static bool next_copied(const struct vmf__local *local, uintptr_t va, struct vmf__window *w)
{
	while (vmf__window_next(va, w)) {
		if (w->local == local && w->forks)
			return true;
		va = w->end;
	}
	return false;
}

/* Many windows are taken together over ever wider gaps, in which nothing is ours. */
void vmf__shape_of(const struct vmf__local *local, struct vmf__shape *s)
{
	struct vmf__window w;

	s->full = true;
	for (uint64_t gap = 0; s->full; gap = gap ? gap * 8 : VMF__PAGE) {
		s->n = 0;
		s->full = false;
		for (uintptr_t va = 0; next_copied(local, va, &w); va = w.end)
			shape_add(s, &w, gap);
	}
}

/* Bits of the bitmaps, laid out behind the block. */
static uint64_t shape_lay(struct vmf__shape *s)
{
	uint64_t bit = (uint64_t)sizeof(struct vmf_session) * 8;

	for (unsigned i = 0; i < s->n; i++) {
		s->region[i].removed = bit;
		bit += (s->region[i].pages + 63) / 64 * 64;
	}
	return bit;
}

static bool removed(const struct vmf__window *w, uintptr_t va)
{
	uint64_t page = vmf__window_page(w, va);

	return atomic_load_explicit(&w->extent->removed[page / 64], memory_order_relaxed) >> (page % 64) & 1;
}

static void copy_removed(struct vmf_session *s, const struct vmf__local *local)
{
	struct vmf__window w;

	for (uintptr_t va = 0; next_copied(local, va, &w); va = w.end)
		for (uintptr_t at = w.va, end; atomic_load(&w.extent->some_removed) && at < w.end; at = end + VMF__PAGE) {
			while (at < w.end && !removed(&w, at))
				at += VMF__PAGE;
			for (end = at; end < w.end && removed(&w, end); end += VMF__PAGE)
				;
			if (at < end)
				vmf__session_remove(s, at, end);
		}
}

/* --------------------------------------------------------------------------------------------- being born */

static struct vmf__child *child_new(struct vmf__family *f, int uffd, size_t bytes)
{
	struct vmf__memory *m = &vmf__family_port(f)->memory;
	struct vmf__child *c = vmf__memory_take(m, sizeof(*c));
	struct vmf_session *s = c ? vmf__memory_take(m, bytes) : NULL;

	if (!s) {
		vmf__memory_give(m, c, sizeof(*c));
		return NULL;
	}
	c->family = f;
	c->id = atomic_fetch_add(&f->last_id, 1) + 1;
	c->born = vmf__now(NULL);
	c->bytes = bytes;
	c->tie = -1;
	c->remote.pmap.ops = &vmf__remote_ops;
	c->remote.port = vmf__family_port(f)->port;
	c->remote.session = s;
	c->remote.uffd = uffd;
	c->remote.zeroes = f->zeroes;
	pthread_mutex_init(&c->remote.inbox, NULL);
	vmf__park_init(&c->remote.park);
	s->bytes = bytes;
	return c;
}

static void child_free(struct vmf__child *c)
{
	struct vmf__memory *m = &vmf__family_port(c->family)->memory;

	if (c->tie >= 0)
		close(c->tie);
	if (c->remote.uffd >= 0)
		close(c->remote.uffd);
	pthread_mutex_destroy(&c->remote.inbox);
	vmf__memory_give(m, c->remote.session, c->bytes);
	vmf__memory_give(m, c, sizeof(*c));
}

/* Says to the child who it is; 0 or -errno. */
static long name(struct vmf__family *f, int uffd, uint64_t id)
{
	uint64_t page[VMF__PAGE / sizeof(uint64_t)] = { id };
	long got = vmf__uffd_copy(uffd, (uintptr_t)f->name, page, sizeof(page), 0);

	return got > 0 ? 0 : got;
}

/* Nobody will read its events any more: there must be none.  => what is absent is poisoned */
static void let_go(struct vmf__family *f, int uffd, const struct vmf_session_region *region, unsigned n)
{
	(void)name(f, uffd, VMF__NAME_REFUSED);
	for (unsigned i = 0; i < n; i++)
		vmf__remote_unregister(uffd, region[i].va, end_of(&region[i]));
	vmf__remote_unregister(uffd, (uintptr_t)f->name, (uintptr_t)f->name + VMF__PAGE);
}

/* There is no memory to write the child down. Where nothing can be poisoned its descriptor stays open for ever: who
 * touches what is absent sleeps, or gets a SIGBUS. */
static void turn_away(struct vmf__family *f, int uffd, const struct vmf_session_region *region, unsigned n)
{
	int err = 0;

	for (unsigned i = 0; i < n && !err; i++)
		err = vmf__remote_seal(uffd, region[i].va, end_of(&region[i]), VMF__PAGE);
	if (err && err != -VMF_EGONE)
		return;
	let_go(f, uffd, region, n);
	close(uffd);
}

void vmf__child_turn_away(struct vmf__family *f, int uffd, const struct vmf__shape *s)
{
	turn_away(f, uffd, s->region, s->n);
}

/* Poisoned, so that its thread is told; where the kernel cannot do that, it waits, and the page is tried again. */
static int64_t on_failed(void *self, struct vmf_space *space, const struct vmf_failed *what)
{
	struct vmf__child *c = self;

	vmf__why_put(&c->why, what->va, what->result, true);
	switch (vmf_linux_poison(space, what->va, what->pages)) {
	case 0:
		return 0;
	case -VMF_EAGAIN:
		return FAILED_AGAIN_NS;
	default:
		return FAILED_AGAIN_NS * INT64_C(1000);
	}
}

static const struct vmf__remote_forks child_forks;

static void child_ready(struct vmf__child *c)
{
	c->remote.adopt = (struct vmf_adopt){ .size = sizeof(struct vmf_adopt), .tries = 1, .first_ms = 1, .last_ms = 1000,
					      .failed = on_failed, .self = c };
	c->remote.forks = &child_forks;
}

struct vmf__child *vmf__child_seen(struct vmf__local *local, int uffd)
{
	struct vmf__child *c;
	struct vmf__shape s;

	vmf__shape_of(local, &s);
	c = child_new(local->family, uffd, (size_t)(shape_lay(&s) / 8));
	if (!c) {
		turn_away(local->family, uffd, s.region, s.n);
		return NULL;
	}
	memcpy(c->remote.session->region, s.region, s.n * sizeof(s.region[0]));
	c->remote.session->regions = s.n;
	copy_removed(c->remote.session, local);
	c->refused = vmf__child_forks_begun() == local->family->ended;
	child_ready(c);
	return c;
}

/* ------------------------------------------------------------------------------------------ a child's child */

/* => gate of the remote closed */
static void grandchild_seen(struct vmf__remote *r, int uffd)
{
	struct vmf__child *parent = (struct vmf__child *)r, *c = NULL, **last;
	const struct vmf_session *from = r->session;

	if (!parent->refused)
		c = child_new(parent->family, uffd, parent->bytes);
	if (!c) {
		turn_away(parent->family, uffd, from->region, from->regions);
		return;
	}
	memcpy(c->remote.session->region, from->region, sizeof(from->region));
	c->remote.session->regions = from->regions;
	if (from->removed)
		memcpy(c->remote.session + 1, from + 1, parent->bytes - sizeof(*from));
	c->remote.session->removed = from->removed;
	child_ready(c);
	for (last = &parent->unborn; *last; last = &(*last)->next)
		;
	*last = c;
}

/* There may have been no memory for this one: then the next is another's, and its turn has not come. */
static void grandchild_told(struct vmf__remote *r, int uffd)
{
	struct vmf__child *parent = (struct vmf__child *)r, *c = parent->unborn;

	if (!c || c->remote.uffd != uffd)
		return;
	parent->unborn = c->next;
	vmf__child_begin(c, r->space);
}

static const struct vmf__remote_forks child_forks = { grandchild_seen, grandchild_told };

/* --------------------------------------------------------------------------------------------------- life */

/* Nobody is to read zeroes where there is nobody to ask.  Its events are read as before. */
void vmf__child_refuse(struct vmf__child *c)
{
	const struct vmf_session *s = c->remote.session;
	bool again = true;

	c->refused = c->sealed = true;
	for (unsigned tries = 0; again && tries < TRIES; tries++) {
		if (tries) {
			(void)vmf__inbox_drain(&c->remote);
			(void)vmf__wait(vmf__family_port(c->family), NULL, 0, LAYOUT_NS, false);
		}
		again = false;
		for (unsigned i = 0; i < s->regions; i++)
			if (vmf__remote_seal(c->remote.uffd, s->region[i].va, end_of(&s->region[i]), VMF__PAGE) == -VMF_EAGAIN)
				again = true;
	}
	(void)name(c->family, c->remote.uffd, VMF__NAME_REFUSED);
}

void vmf__child_begin(struct vmf__child *c, struct vmf_space *from)
{
	if (vmf_space_create(c->remote.port, &c->remote.space, &c->remote.pmap)) {
		turn_away(c->family, c->remote.uffd, c->remote.session->region, c->remote.session->regions);
		c->remote.uffd = -1;
		child_free(c);
		return;
	}
	c->next = c->family->children;
	c->family->children = c;
	if (vmf_space_copy(c->remote.space, from))
		c->refused = true;
	if (!c->refused && name(c->family, c->remote.uffd, c->id) == -ESRCH)
		__atomic_store_n(&c->remote.gone, true, __ATOMIC_RELAXED);
}

/* The page with its name is there, unless it could not be put there so far. */
bool vmf__child_lives(struct vmf__child *c)
{
	uint64_t id = c->refused ? VMF__NAME_REFUSED : c->id;

	return !vmf__remote_gone(&c->remote) && name(c->family, c->remote.uffd, id) != -ESRCH;
}

void vmf__child_end(struct vmf__child *c, bool lives)
{
	struct vmf__child *unborn;

	if (lives) {
		vmf__child_refuse(c);
		let_go(c->family, c->remote.uffd, c->remote.session->region, c->remote.session->regions);
	}
	while ((unborn = c->unborn)) {
		c->unborn = unborn->next;
		turn_away(c->family, unborn->remote.uffd, unborn->remote.session->region, unborn->remote.session->regions);
		unborn->remote.uffd = -1;
		child_free(unborn);
	}
	vmf__remote_drop_tickets(&c->remote);
	(void)vmf_space_destroy(c->remote.space);
	child_free(c);
}

/* ------------------------------------------------------------------------------------- what a child asks for */

static struct vmf_result page_of(struct vmf__child *c, const struct vmf_trap *trap, struct vmf_ticket *ticket)
{
	switch (vmf__remote_zero(&c->remote, trap->va & ~(vmf_va)(VMF__PAGE - 1))) {
	case 0:
		return (struct vmf_result){ .code = VMF_OK };
	case 1:
		return vmf_handle(c->remote.space, trap, ticket);
	case -VMF_EAGAIN:
		ticket->why = VMF_WHY_LAYOUT;
		ticket->wait = NULL;
		return (struct vmf_result){ .code = VMF_RETRY, .why = VMF_WHY_LAYOUT };
	case -VMF_ENOMEM:
		return (struct vmf_result){ .code = VMF_OOM, .why = VMF_WHY_RESOURCE };
	default:
		return (struct vmf_result){ .code = VMF_SIGSEGV, .why = VMF_WHY_LAYOUT };
	}
}

/* A failure that the child was poisoned for is told first, and once. */
struct vmf_result vmf__child_try(struct vmf__child *c, const struct vmf_trap *trap, struct vmf_ticket *ticket)
{
	bool untold;
	struct vmf_result r = vmf__why_get(&c->why, trap->va, &untold);

	if (untold)
		return r;
	r = page_of(c, trap, ticket);
	if (r.code == VMF_SIGSEGV && r.why != VMF_WHY_PROT && vmf__uffd_changing(c->remote.uffd)) {
		ticket->why = VMF_WHY_LAYOUT;
		return (struct vmf_result){ .code = VMF_RETRY, .why = VMF_WHY_LAYOUT };
	}
	if (r.code == VMF_OK)
		vmf__why_forget(&c->why, trap->va);
	else if (r.code != VMF_RETRY && r.code != VMF_SIGSEGV)
		vmf__why_put(&c->why, trap->va, r, false);
	return r;
}
