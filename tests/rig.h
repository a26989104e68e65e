/* SPDX-License-Identifier: MIT
 *
 * What most tests of the core stand on: a simulated machine of one kind of window, with one space.  Closing it checks
 * that nothing was left over: no byte of the core's, no frame, no entry that a CPU might still use.
 */
#ifndef RIG_H
#define RIG_H
#include <vmfault/sim.h>
#include "vmtest.h"

#define PAGE 4096u
#define RAM 1024u

struct rig {
	struct vmf_sim *sim;
	struct vmf_port *port;
	struct vmf_space *space;
	uint8_t store;
};

static const char *const rig_store_name[] = { "by address", "by offset", "by copy" };

static inline void rig_open_as(struct rig *r, const struct vmf_sim_config *config)
{
	vmtest_with = rig_store_name[config->store];
	CHECK_ERR(vmf_sim_open(&r->sim, config), 0);
	CHECK_ERR(vmf_sim_space(r->sim, &r->space), 0);
	r->port = vmf_sim_port(r->sim);
	r->store = config->store;
}

static inline void rig_open(struct rig *r, unsigned store)
{
	const struct vmf_sim_config config = {
		.size = sizeof(config), .store = (uint8_t)store, .protect = true, .ram_pages = RAM,
	};

	rig_open_as(r, &config);
}

/* How many frames of order 0 can be had. */
static inline uint64_t rig_free_frames(struct rig *r)
{
	static struct vmf_frame *frame[65536];
	uint64_t n = 0;

	while (n < 65536 && !vmf_frame_alloc(r->port, 0, 0, false, &frame[n]))
		n++;
	for (uint64_t i = 0; i < n; i++)
		vmf_frame_put(r->port, frame[i]);
	return n;
}

/* Every free frame is full of what must never be seen. */
static inline void rig_soil(struct rig *r)
{
	static struct vmf_frame *frame[65536];
	uint64_t n = 0;

	while (n < 65536 && !vmf_frame_alloc(r->port, 0, 0, false, &frame[n])) {
		memset(vmf_frame_bytes(r->port, frame[n]), 0xee, vmf_page_size(r->port));
		n++;
	}
	for (uint64_t i = 0; i < n; i++)
		vmf_frame_put(r->port, frame[i]);
}

static inline void rig_close_as(struct rig *r, uint64_t ram)
{
	CHECK_EQ(vmf_sim_unflushed(r->space), 0);
	vmf_sim_space_close(r->space);
	CHECK_EQ(rig_free_frames(r), ram);
	vmf_sim_close(r->sim);
}

static inline void rig_close(struct rig *r)
{
	rig_close_as(r, RAM);
}

/* A description of an area that this kind of window can have. */
static inline struct vmf_map rig_map(const struct rig *r, uint64_t pages, unsigned prot)
{
	return (struct vmf_map){
		.size = sizeof(struct vmf_map), .flags = r->store == VMF_BY_COPY ? 0 : VMF_SHARED,
		.pages = pages, .prot = (uint8_t)prot,
	};
}

/* Maps all of an object and keeps no reference of ours. */
static inline vmf_va rig_show(struct rig *r, struct vmf_object *object, uint64_t pages, unsigned prot)
{
	struct vmf_map map = rig_map(r, pages, prot);
	vmf_va va = 0;

	CHECK_ERR(vmf_map(r->space, object, &map, &va), 0);
	return va;
}

/* The first byte of a page, as a program sees it; -1 and more: the fault's code, negative. */
static inline int rig_byte(struct rig *r, vmf_va va)
{
	uint8_t byte;
	struct vmf_result result = vmf_sim_load(r->space, va, &byte, 1);

	return result.code == VMF_OK ? byte : -(int)result.code;
}

static inline bool rig_present(struct rig *r, vmf_va va)
{
	struct vmf_pmap *pmap = vmf_space_pmap(r->space);
	struct vmf_entry entry;

	CHECK_ERR(pmap->ops->query(pmap, va, &entry), 0);
	return entry.present;
}

static inline struct vmf_stats rig_stats(const struct rig *r)
{
	struct vmf_stats s = { .size = sizeof(s) };

	vmf_space_stats(r->space, &s);
	return s;
}

/* The case for each kind of window. */
#define RIG_EACH(r) \
	for (unsigned store_ = VMF_BY_ADDRESS; store_ <= VMF_BY_COPY && (rig_open(&(r), store_), true); \
	     rig_close(&(r)), store_++)
#endif
