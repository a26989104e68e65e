/* SPDX-License-Identifier: MIT
 *
 * Another process's memory as a pmap.  Its windows are by copy: bytes are given away with UFFDIO_COPY, and what
 * happens to them afterwards is the other process's business.  The pmap keeps no entries, and the layout is not its
 * own: attach() and detach() only keep books.
 *
 * A removed page reads zero for ever.  That is seen to here, under the gate, and nowhere later: whatever a run
 * brings, of a removed page only zeroes are entered, and those only if it is the page that the fault is about.
 */
#include <errno.h>
#include "remote.h"

#define FULL_TIMES 16u /* "exists" said so often of a huge page that keeps faulting: its pool is empty */

/* ------------------------------------------------------------------------------------------ one system call */

/* What is entered at va: from `from`, or zeroes. */
struct give {
	struct vmf__remote *r;
	const struct vmf_session_region *region;
	vmf_va va, need; /* need: the page that the fault is about */
	const char *from;
	size_t bytes;
	bool copy_zero;  /* zeroes have to be copied */
};

static long give_call(struct give *g)
{
	size_t n = g->bytes < VMF__HUGE ? g->bytes : VMF__HUGE;
	long done;

	if (g->from)
		return vmf__uffd_copy(g->r->uffd, g->va, g->from, g->bytes, 0);
	if (g->copy_zero)
		return vmf__uffd_copy(g->r->uffd, g->va, g->r->zeroes, n, 0);
	done = vmf__uffd_zero(g->r->uffd, g->va, g->bytes, 0);
	/* "Exists" is also said of a page that is absent and carries a mark (write-protected before it was touched),
	 * which only a copy overwrites. */
	if (done == -EEXIST)
		return vmf__uffd_copy(g->r->uffd, g->va, g->r->zeroes, g->region->page_size, 0);
	if (done != -EINVAL)
		return done;
	g->copy_zero = true;
	return vmf__uffd_copy(g->r->uffd, g->va, g->r->zeroes, n, 0);
}

static void give_forward(struct give *g, size_t bytes)
{
	vmf__park_cover(&g->r->park, g->va, g->va + bytes, false);
	g->va += bytes;
	g->bytes -= bytes;
	if (g->from)
		g->from += bytes;
}

/* How often has this page said "exists" without having been entered since? */
static uint32_t full_times(struct vmf__remote *r, vmf_va va, bool entered)
{
	uint32_t times = 0, i;

	vmf__park_lock(&r->park);
	for (i = 0; i < VMF__FULL && r->full[i].va != va; i++)
		;
	if (i < VMF__FULL && entered) {
		r->full[i].va = 0;
	} else if (!entered) {
		if (i == VMF__FULL) {
			i = r->full_next++ % VMF__FULL;
			r->full[i].va = va;
			r->full[i].times = 0;
		}
		times = ++r->full[i].times;
	}
	vmf__park_unlock(&r->park);
	return times;
}

/* "It is there": who waits for it did not see that.  An empty pool of huge pages says so too, and then the page
 * will fault again and again. */
static int give_exists(struct give *g)
{
	size_t page = g->region->page_size;

	if (page == VMF__HUGE && g->va == g->need && full_times(g->r, g->va, false) > FULL_TIMES)
		return -VMF_ENOMEM;
	(void)vmf__uffd_wake(g->r->uffd, g->va, page);
	give_forward(g, page);
	return 0;
}

/* The range is not one mapping any more.  The page in need is tried alone; if there is nothing even there, nobody
 * can wait for it but who will get a signal when he is woken. */
static int give_torn(struct give *g)
{
	size_t page = g->region->page_size;

	if (g->bytes == page) {
		(void)vmf__uffd_wake(g->r->uffd, g->va, page);
		give_forward(g, page);
		return 0;
	}
	if (g->need < g->va || g->need - g->va >= g->bytes) {
		g->bytes = 0;
		return 0;
	}
	if (g->from)
		g->from += g->need - g->va;
	g->va = g->need;
	g->bytes = page;
	return 0;
}

static int give_failed(struct give *g, long err)
{
	switch (-err) {
	case EINTR:
		return 0;
	case EEXIST:
		return give_exists(g);
	case ENOENT:
		return give_torn(g);
	case EAGAIN:
		return -VMF_EAGAIN;
	case ENOMEM:
		return -VMF_ENOMEM;
	case EFAULT:
		return -VMF_EFAULT;
	case ESRCH:
	case ENOSPC:
		__atomic_store_n(&g->r->gone, true, __ATOMIC_RELAXED);
		return -VMF_EGONE;
	default:
		return -VMF_ENOSYS;
	}
}

/* Enters all of it.  Adds to *pages what is new; 0 or a negative error.  => gate shared */
static int give(struct give *g, long *pages)
{
	int err = 0;

	while (g->bytes && !err) {
		vmf_va va = g->va;
		long done = give_call(g);

		if (done <= 0) {
			err = give_failed(g, done ? done : -EIO);
			continue;
		}
		*pages += done / VMF__PAGE;
		if (g->region->page_size == VMF__HUGE)
			(void)full_times(g->r, va, true);
		give_forward(g, (size_t)done);
	}
	return err;
}

/* ------------------------------------------------------------------------------------------------- enter */

static struct give give_zero(struct vmf__remote *r, const struct vmf_session_region *region, vmf_va va, size_t bytes,
			     vmf_va need)
{
	return (struct give){ .r = r, .region = region, .va = va, .need = need, .bytes = bytes,
		.copy_zero = region->page_size != VMF__PAGE };
}

static const char *run_bytes(struct vmf__remote *r, const struct vmf_run *run)
{
	return run->flags & VMF_RUN_ZERO ? NULL : vmf__bytes(vmf_port_self(r->port), run->pfn);
}

/* One stretch of a run, all removed or all not.  0, or a negative error if the page in need is not there. */
static int enter_stretch(struct vmf__remote *r, const struct vmf_session_region *region, const struct vmf_run *run,
			 vmf_va va, vmf_va end, vmf_va need, bool removed, long *pages)
{
	const char *from = removed ? NULL : run_bytes(r, run);
	bool inside = need >= va && need < end;
	struct give g = removed ? give_zero(r, region, need, inside ? region->page_size : 0, need)
				: give_zero(r, region, va, end - va, need);
	long before = *pages;
	int err;

	if (from)
		g.from = from + (va - run->va);
	err = give(&g, pages);
	if (!from)
		vmf__session_count(r->session, zeroed, (uint64_t)(*pages - before));
	return inside && g.va <= need ? err : 0;
}

/* => gate shared */
static long enter_run(struct vmf__remote *r, const struct vmf_session_region *region, const struct vmf_run *run)
{
	vmf_va va = run->va, end = va + (vmf_va)run->n * VMF__PAGE;
	vmf_va need = (va + (vmf_va)run->need * VMF__PAGE) & ~(vmf_va)(region->page_size - 1);
	bool removed = false;
	long pages = 0;
	int err = 0;

	if ((va | end) & (region->page_size - 1))
		return -VMF_ENOSYS;
	/* No bytes would be taken for zeroes. */
	if (!(run->flags & VMF_RUN_ZERO) && !run_bytes(r, run))
		return -VMF_EFAULT;
	for (; va < end && !err; removed = !removed) {
		vmf_va to = vmf__session_next(r->session, region, va, end, !removed);

		err = enter_stretch(r, region, run, va, to, need, removed, &pages);
		va = to;
	}
	vmf__session_count(r->session, entered, (uint64_t)pages);
	return err ? err : pages;
}

static bool within(const struct vmf_session_region *region, vmf_va va, uint64_t pages)
{
	return region && pages <= region->pages - (va - region->va) / VMF__PAGE;
}

static long remote_enter(struct vmf_pmap *pmap, const struct vmf_run *run)
{
	struct vmf__remote *r = (struct vmf__remote *)pmap;
	const struct vmf_session_region *region;
	long done = -VMF_EAGAIN;

	if (run->flags & (VMF_RUN_RAW | VMF_RUN_BOLT) || run->need >= run->n)
		return -VMF_ENOSYS;
	vmf__gate_share(&r->gate);
	region = vmf__session_find(r->session, run->va);
	if (within(region, run->va, run->n))
		done = enter_run(r, region, run);
	vmf__gate_unshare(&r->gate);
	return done;
}

int vmf__remote_zero(struct vmf__remote *r, vmf_va va)
{
	const struct vmf_session_region *region;
	long pages = 0;
	int err = 1;

	vmf__gate_share(&r->gate);
	region = vmf__session_find(r->session, va);
	if (region && vmf__session_removed(r->session, region, va)) {
		struct give g = give_zero(r, region, va, region->page_size, va);

		err = give(&g, &pages);
		vmf__session_count(r->session, entered, (uint64_t)pages);
		vmf__session_count(r->session, zeroed, (uint64_t)pages);
	}
	vmf__gate_unshare(&r->gate);
	return err;
}

size_t vmf__remote_page(struct vmf__remote *r, vmf_va va)
{
	const struct vmf_session_region *region;
	size_t page;

	vmf__gate_share(&r->gate);
	region = vmf__session_find(r->session, va);
	page = region ? region->page_size : VMF__PAGE;
	vmf__gate_unshare(&r->gate);
	return page;
}

/* ------------------------------------------------------------------------------------------------ poison */

/* "Exists" is also said of a page that is absent and carries a mark: it was write-protected before it was touched, or
 * forgotten after.  So the mark is taken, and if the page is there it only becomes writable, which nobody here minds.
 * Without a descriptor that page would read zero. */
static long poison_part(int fd, vmf_va va, size_t bytes, size_t page)
{
	long done = vmf__uffd_poison(fd, va, bytes, 0);
	int err;

	if (done != -EEXIST)
		return done;
	err = vmf__uffd_wp(fd, va, page, false);
	if (err == -ENOENT || err == -EINVAL) /* there can be no marks */
		return done;
	return err == -EAGAIN || err == -ENOMEM ? err : vmf__uffd_poison(fd, va, page, 0);
}

/* One page.  A removed one has no bytes that could be missed. */
static int poison_page(struct vmf__remote *r, const struct vmf_session_region *region, vmf_va va, size_t page)
{
	struct give g;
	long done, pages = 0;

	if (region && vmf__session_removed(r->session, region, va)) {
		g = give_zero(r, region, va, page, va);
		return give(&g, &pages);
	}
	do
		done = poison_part(r->uffd, va, page, page);
	while (done == -EINTR);
	if (done > 0)
		vmf__session_count(r->session, poisoned, page / VMF__PAGE);
	if (done == -EEXIST || done == -ENOENT)
		return vmf__uffd_wake(r->uffd, va, page) ? -VMF_EGONE : 0;
	return done > 0 ? 0 : done == -EINVAL || done == -ENOTTY ? -VMF_ENOSYS : vmf__err((int)done);
}

int vmf__remote_poison(struct vmf__remote *r, vmf_va va, uint64_t bytes)
{
	vmf_va end = va + bytes;
	int err = 0;

	vmf__gate_share(&r->gate);
	while (va < end && !err) {
		const struct vmf_session_region *region = vmf__session_find(r->session, va);
		size_t page = region ? region->page_size : VMF__PAGE;

		va &= ~(vmf_va)(page - 1);
		err = poison_page(r, region, va, page);
		va += page;
	}
	vmf__gate_unshare(&r->gate);
	return err;
}

/* The kernel wants a range to be one mapping: of one that is not, the half is tried, down to a page; and a page that
 * is no mapping of ours is passed over. */
static long each_part(int fd, vmf_va va, vmf_va end, size_t page, long (*part)(int, vmf_va, size_t, size_t))
{
	size_t step = end - va;

	while (va < end) {
		size_t n = step < end - va ? step : end - va;
		long done = part(fd, va, n, page);

		if (done == -ENOENT && n > page) {
			step = (n / 2 + page - 1) & ~(page - 1);
			continue;
		}
		if (done <= 0 && done != -EEXIST && done != -ENOENT)
			return done;
		va += done > 0 ? (size_t)done : page;
		step = step < end - va ? step * 2 : step;
	}
	return 0;
}

int vmf__remote_seal(int uffd, vmf_va va, vmf_va end, size_t page)
{
	long err = each_part(uffd, va, end, page, poison_part);

	return err == -EINVAL || err == -ENOTTY ? -VMF_ENOSYS : vmf__err((int)err);
}

static long unregister_part(int fd, vmf_va va, size_t bytes, size_t page)
{
	int err = vmf__uffd_unregister(fd, va, bytes);

	(void)page;
	return err == -EINVAL || err == -ENOMEM ? -ENOENT : err ? err : (long)bytes;
}

void vmf__remote_unregister(int uffd, vmf_va va, vmf_va end)
{
	(void)each_part(uffd, va, end, VMF__PAGE, unregister_part);
}

void vmf__remote_drop_tickets(struct vmf__remote *r)
{
	for (uint32_t i = 0; i < VMF__PARK; i++)
		if (r->park.slot[i].state != VMF__PARK_FREE)
			vmf_ticket_drop(r->space, &r->park.slot[i].ticket);
}

void vmf__remote_wake_all(struct vmf__remote *r)
{
	vmf__gate_share(&r->gate);
	for (unsigned i = 0; i < r->session->regions; i++)
		(void)vmf__uffd_wake(r->uffd, r->session->region[i].va, r->session->region[i].pages * VMF__PAGE);
	vmf__gate_unshare(&r->gate);
}

/* ----------------------------------------------------------------------------------------------- the pmap */

static int remote_attach(struct vmf_pmap *pmap, struct vmf_map *map, vmf_pfn segment, bool wants_raw,
			 struct vmf_window *w)
{
	struct vmf__remote *r = (struct vmf__remote *)pmap;
	const struct vmf_session_region *region = vmf__session_find(r->session, map->va);
	unsigned order;

	(void)segment;
	if (!(map->flags & VMF_FIXED) || (wants_raw && !r->forks) || map->flags & VMF_SHARED)
		return -VMF_ENOSYS;
	/* A fork may have come in the middle of vmf_map(): then the child has an area without access, or none. */
	if (!within(region, map->va, map->pages) && !r->forks)
		return -VMF_EINVAL;
	order = !region || region->page_size == VMF__PAGE ? 0 : 9;
	*w = (struct vmf_window){ .size = sizeof(*w), .store = VMF_BY_COPY, .cow = true, .zero = true,
		.order = (uint8_t)order, .orders = UINT64_C(1) << order };
	return 0;
}

static int remote_detach(struct vmf_pmap *pmap, vmf_va va, uint64_t pages, struct vmf_gather *gather)
{
	(void)pmap, (void)va, (void)pages, (void)gather;
	return 0;
}

static int remote_remove(struct vmf_pmap *pmap, vmf_va va, uint64_t pages, struct vmf_gather *gather)
{
	(void)pmap, (void)va, (void)pages, (void)gather;
	return -VMF_ENOSYS;
}

static int remote_protect(struct vmf_pmap *pmap, vmf_va va, uint64_t pages, unsigned prot)
{
	(void)pmap, (void)va, (void)pages, (void)prot;
	return -VMF_ENOSYS;
}

static int remote_query(struct vmf_pmap *pmap, vmf_va va, struct vmf_entry *entry)
{
	(void)pmap, (void)va, (void)entry;
	return -VMF_ENOSYS;
}

const struct vmf_pmap_ops vmf__remote_ops = {
	.size = sizeof(vmf__remote_ops),
	.attach = remote_attach,
	.detach = remote_detach,
	.enter = remote_enter,
	.remove = remote_remove,
	.protect = remote_protect,
	.query = remote_query,
};

struct vmf__remote *vmf__remote_of(const struct vmf_space *space)
{
	struct vmf_pmap *pmap = space ? vmf_space_pmap(space) : NULL;

	return pmap && pmap->ops == &vmf__remote_ops ? (struct vmf__remote *)pmap : NULL;
}
