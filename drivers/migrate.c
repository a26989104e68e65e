/* SPDX-License-Identifier: MIT
 *
 * migrate: see migrate.h.  Each page has a lock of its own, a bit.  A handler that finds it taken answers RETRY; one
 * that has it installs the page where it is, so none can be entered between the revoke and the end of the copy.
 */
#include "migrate.h"

/* What the word was; BUSY is in it if somebody else has the page. */
static uint32_t try_lock(struct vmf_migrate_page *p)
{
	return __atomic_fetch_or(&p->word, VMF_MIGRATE_BUSY, __ATOMIC_ACQUIRE);
}

static uint32_t lock(struct vmf_migrate_page *p)
{
	uint32_t where;

	while ((where = try_lock(p)) & VMF_MIGRATE_BUSY)
		continue; /* a handler is installing it: some system calls at most */
	return where;
}

static void unlock(struct vmf_migrate *m, struct vmf_migrate_page *p, uint32_t where)
{
	__atomic_store_n(&p->word, where, __ATOMIC_RELEASE);
	vmf_wake(m->port, &m->moved);
}

/* => the page is locked */
static uint8_t *bytes_of(const struct vmf_migrate *m, uint64_t i, uint32_t where)
{
	if (where & VMF_MIGRATE_IN)
		return (uint8_t *)m->device + i * vmf_page_size(m->port);
	return vmf_frame_bytes(m->port, m->page[i].frame);
}

static struct vmf_result show(const struct vmf_migrate *m, const struct vmf_req *req, uint32_t where)
{
	struct vmf_frame *frame = m->page[req->off].frame;

	if (where & VMF_MIGRATE_IN)
		return vmf_install_pfns(req, req->off, (vmf_pfn){ m->first.n + req->off }, 1, m->attr, req->prot);
	vmf_frame_get(frame);
	return vmf_install_frames(req, req->off, &frame, 1, req->prot);
}

static enum vmf_code migrate_fault(const struct vmf_req *req, struct vmf_ans *ans)
{
	struct vmf_migrate *m = req->object_priv;
	struct vmf_migrate_page *p = &m->page[req->off];
	struct vmf_result r;
	uint32_t where;

	ans->wait = &m->moved;
	ans->seq = vmf_wait_seq(&m->moved);
	ans->why = VMF_WHY_IO;
	where = try_lock(p);
	if (where & VMF_MIGRATE_BUSY)
		return VMF_RETRY;
	r = show(m, req, where);
	unlock(m, p, where);
	ans->wait = NULL; /* RETRY is the core's, then */
	return r.code == VMF_RETRY ? VMF_RETRY : VMF_DONE;
}

/* A private area would keep a copy, and that does not move. */
static int migrate_map(struct vmf_object *object, struct vmf_map *map)
{
	(void)object;
	return map->flags & VMF_SHARED && map->action != VMF_RAW ? 0 : -VMF_EINVAL;
}

/* Pages in words, as a device may want it. */
static void copy(volatile uint8_t *to, const volatile uint8_t *from, size_t n)
{
	bool words = !(((uintptr_t)to | (uintptr_t)from | n) & 3);

	for (size_t i = 0; i < n; i += words ? 4 : 1)
		if (words)
			*(volatile uint32_t *)(to + i) = *(const volatile uint32_t *)(from + i);
		else
			to[i] = from[i];
}

/* For debuggers: wherever the page is by now. */
static int migrate_access(struct vmf_object *object, vmf_pgoff i, size_t at, void *bytes, size_t n, bool write)
{
	struct vmf_migrate *m = vmf_object_priv(object);
	uint32_t where = lock(&m->page[i]);
	uint8_t *there = bytes_of(m, i, where) + at;

	copy(write ? there : bytes, write ? bytes : there, n);
	unlock(m, &m->page[i], where);
	return 0;
}

static int move(struct vmf_migrate *m, uint64_t first, uint64_t pages, uint32_t to)
{
	int err;

	if (first > m->pages || pages > m->pages - first)
		return -VMF_EINVAL;
	for (uint64_t i = first; i < first + pages; i++)
		(void)lock(&m->page[i]);
	err = vmf_revoke(m->object, first, pages);
	for (uint64_t i = first; i < first + pages; i++) {
		uint32_t from = __atomic_load_n(&m->page[i].word, __ATOMIC_RELAXED) & VMF_MIGRATE_IN;

		if (!err && from != to)
			copy(bytes_of(m, i, to), bytes_of(m, i, from), vmf_page_size(m->port));
		unlock(m, &m->page[i], err ? from : to);
	}
	return err;
}

int vmf_migrate_in(struct vmf_migrate *m, uint64_t first, uint64_t n) { return move(m, first, n, VMF_MIGRATE_IN); }
int vmf_migrate_out(struct vmf_migrate *m, uint64_t first, uint64_t n) { return move(m, first, n, 0); }

static void migrate_release(struct vmf_object *object, void *priv)
{
	struct vmf_migrate *m = priv;

	(void)object;
	for (uint64_t i = 0; i < m->pages && m->page[i].frame; i++)
		vmf_frame_put(m->port, m->page[i].frame);
}

static const struct vmf_ops migrate_ops = {
	.size = sizeof(migrate_ops), .map = migrate_map, .fault = migrate_fault, .access = migrate_access,
	.release = migrate_release,
};

int vmf_migrate_open(struct vmf_migrate *m, struct vmf_port *port)
{
	int err = vmf_object_create(port, &m->object, &migrate_ops, m, m->pages);

	if (err)
		return err;
	m->port = port;
	for (uint64_t i = 0; !err && i < m->pages; i++) {
		m->page[i] = (struct vmf_migrate_page){ .frame = vmf_frame_at(m->object, i) };
		err = m->page[i].frame ? 0 : -VMF_ENOMEM;
	}
	if (err)
		vmf_object_put(m->object);
	return err;
}

void vmf_migrate_close(struct vmf_migrate *m) { vmf_object_put(m->object); }
