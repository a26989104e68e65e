/* SPDX-License-Identifier: MIT
 *
 * ring: see ring.h.  Its lock is never waited for in a handler: one that finds it taken answers RETRY.
 */
#include "ring.h"

static bool try_lock(struct vmf_ring *r)
{
	return !__atomic_exchange_n(&r->busy, 1u, __ATOMIC_ACQUIRE);
}

static void unlock(struct vmf_ring *r)
{
	__atomic_store_n(&r->busy, 0u, __ATOMIC_RELEASE);
	vmf_wake(r->port, &r->changed);
}

static enum vmf_code ring_nopage(const struct vmf_req *req, struct vmf_ans *ans)
{
	struct vmf_ring *r = req->object_priv;
	struct vmf_frame *frame;

	ans->wait = &r->changed;
	ans->seq = vmf_wait_seq(&r->changed);
	ans->why = VMF_WHY_IO;
	if (!try_lock(r))
		return VMF_RETRY;
	frame = r->frames[req->off];
	if (frame)
		vmf_frame_get(frame);
	unlock(r);
	if (!frame) {
		ans->why = VMF_WHY_POLICY;
		return VMF_SIGBUS;
	}
	ans->frames[0] = frame;
	ans->n = 1;
	return VMF_OK;
}

static void put_frames(struct vmf_ring *r)
{
	for (uint64_t i = 0; i < r->pages; i++)
		if (r->frames[i])
			vmf_frame_put(r->port, r->frames[i]);
}

static void ring_release(struct vmf_object *object, void *priv)
{
	(void)object;
	put_frames(priv);
}

static const struct vmf_ops ring_ops = {
	.size = sizeof(ring_ops),
	.nopage = ring_nopage,
	.release = ring_release,
};

int vmf_ring_open(struct vmf_ring *r, struct vmf_port *port, struct vmf_frame **frames, uint64_t pages)
{
	int err;

	*r = (struct vmf_ring){ .port = port, .frames = frames, .pages = pages };
	for (uint64_t i = 0; i < pages; i++)
		frames[i] = NULL;
	err = vmf_object_create(port, &r->object, &ring_ops, r, pages);
	if (err)
		return err;
	/* Odd pages from the end on, so that neighbours in the buffer are none in memory. */
	for (uint64_t i = 0; i < pages; i++) {
		uint64_t page = i % 2 ? pages - pages % 2 - i : i;

		frames[page] = vmf_frame_at(r->object, page);
		if (!frames[page]) {
			vmf_object_put(r->object);
			return -VMF_ENOMEM;
		}
	}
	return 0;
}

void vmf_ring_close(struct vmf_ring *r)
{
	vmf_object_put(r->object);
}

int vmf_ring_replace(struct vmf_ring *r, uint64_t page, struct vmf_frame *frame)
{
	struct vmf_frame *old;
	int err;

	if (page >= r->pages)
		return -VMF_EINVAL;
	while (!try_lock(r))
		continue;
	old = r->frames[page];
	r->frames[page] = frame;
	unlock(r);
	err = vmf_revoke(r->object, page, 1);
	if (old)
		vmf_frame_put(r->port, old);
	return err;
}
