/* SPDX-License-Identifier: MIT
 *
 * The simulated machine: its memory, its slots (one for each thread, for as long as the thread lives), and the points
 * at which a test counts, fails or delays what the core asks for.
 */
#include <errno.h>
#include <linux/futex.h>
#include <linux/membarrier.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>
#include "machine.h"

/* ------------------------------------------------------------------------------------------- points */

/* Takes one call off: true if this is the one that fails. */
static bool point_due(struct sim_point *p)
{
	uint32_t left = __atomic_load_n(&p->left, __ATOMIC_RELAXED);

	while (left)
		if (__atomic_compare_exchange_n(&p->left, &left, left - 1, false, __ATOMIC_RELAXED, __ATOMIC_RELAXED))
			return left == 1;
	return false;
}

int vmf__sim_point(struct vmf_sim *sim, enum vmf_sim_point which, struct vmf_space *space, uint64_t at, uint64_t pages)
{
	struct sim_point *p = &sim->points[which];

	__atomic_fetch_add(&p->calls, 1, __ATOMIC_RELAXED);
	if (p->hook)
		p->hook(p->self, space, at, pages);
	return point_due(p) ? p->err : 0;
}

void vmf_sim_fail(struct vmf_sim *sim, enum vmf_sim_point which, uint32_t n, int err)
{
	struct sim_point *p;

	if (!sim || (unsigned)which >= VMF_SIM_POINTS)
		return;
	p = &sim->points[which];
	p->err = err < 0 ? err : -err;
	__atomic_store_n(&p->left, n, __ATOMIC_RELAXED);
}

void vmf_sim_on(struct vmf_sim *sim, enum vmf_sim_point which, vmf_sim_hook *hook, void *self)
{
	if (!sim || (unsigned)which >= VMF_SIM_POINTS)
		return;
	sim->points[which].self = self;
	sim->points[which].hook = hook;
}

uint64_t vmf_sim_calls(const struct vmf_sim *sim, enum vmf_sim_point which)
{
	if (!sim || (unsigned)which >= VMF_SIM_POINTS)
		return 0;
	return __atomic_load_n(&sim->points[which].calls, __ATOMIC_RELAXED);
}

uint64_t vmf_sim_live(const struct vmf_sim *sim)
{
	return sim ? __atomic_load_n(&sim->live, __ATOMIC_RELAXED) : 0;
}

/* ------------------------------------------------------------------------------------------- memory */

/* In front of each block, so that a free of the wrong size or of a stranger is caught. */
struct block { size_t bytes; const struct vmf_sim *sim; };
_Static_assert(sizeof(struct block) == 16, "blocks are 16-byte aligned");

static void *host_alloc(void *self, size_t bytes)
{
	struct vmf_sim *sim = self;
	struct block *b;

	if (vmf__sim_point(sim, VMF_SIM_ALLOC, NULL, 0, bytes))
		return NULL;
	b = calloc(1, sizeof(*b) + bytes);
	if (!b)
		return NULL;
	b->bytes = bytes;
	b->sim = sim;
	__atomic_fetch_add(&sim->live, bytes, __ATOMIC_RELAXED);
	return b + 1;
}

static void host_free(void *self, void *at, size_t bytes)
{
	struct vmf_sim *sim = self;
	struct block *b = (struct block *)at - 1;

	if (b->bytes != bytes || b->sim != sim) {
		fprintf(stderr, "vmfault sim: %zu bytes freed that were allocated as %zu\n", bytes, b->bytes);
		abort();
	}
	b->sim = NULL;
	__atomic_fetch_sub(&sim->live, bytes, __ATOMIC_RELAXED);
	free(b);
}

static void *segment_bytes(struct vmf_sim *sim, uint64_t pfn)
{
	uint64_t at = pfn - SEGMENT_FIRST;
	struct sim_segment *s = &sim->segments[(at >> SEGMENT_SHIFT) % SEGMENTS];
	uint8_t *bytes = __atomic_load_n(&s->bytes, __ATOMIC_ACQUIRE);

	at &= (1ull << SEGMENT_SHIFT) - 1;
	return bytes && at < s->pages ? bytes + at * sim->page : NULL;
}

void *vmf__sim_bytes(void *self, vmf_pfn pfn)
{
	struct vmf_sim *sim = self;

	if (pfn.n - VMF_SIM_RAM < sim->config.ram_pages)
		return sim->ram + (pfn.n - VMF_SIM_RAM) * sim->page;
	if (pfn.n - VMF_SIM_DEVICE < DEVICE_PAGES)
		return sim->device + (pfn.n - VMF_SIM_DEVICE) * sim->page;
	if (pfn.n - VMF_SIM_FETCHOP < DEVICE_PAGES)
		return sim->device + (pfn.n - VMF_SIM_FETCHOP) * sim->page;
	if (pfn.n - SEGMENT_FIRST < (uint64_t)SEGMENTS << SEGMENT_SHIFT)
		return segment_bytes(sim, pfn.n);
	return NULL;
}

static void *map_pages(uint64_t bytes)
{
	void *at = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	return at == MAP_FAILED ? NULL : at;
}

/* The numbers go round, so that a pfn that was kept too long mostly means nothing. */
static struct sim_segment *segment_slot(struct vmf_sim *sim, uint32_t *index)
{
	for (uint32_t i = 0; i < SEGMENTS; i++) {
		*index = sim->next_segment++ % SEGMENTS;
		if (!sim->segments[*index].bytes)
			return &sim->segments[*index];
	}
	return NULL;
}

static int host_segment(void *self, uint64_t pages, vmf_pfn *first)
{
	struct vmf_sim *sim = self;
	int err = vmf__sim_point(sim, VMF_SIM_SEGMENT, NULL, 0, pages);
	struct sim_segment *s;
	uint32_t index;
	void *bytes;

	if (err)
		return err;
	if (!pages || pages > 1ull << SEGMENT_SHIFT)
		return -VMF_ENOMEM;
	bytes = map_pages(pages * sim->page);
	if (!bytes)
		return -VMF_ENOMEM;
	pthread_mutex_lock(&sim->lock);
	s = segment_slot(sim, &index);
	if (s) {
		s->pages = pages;
		__atomic_store_n(&s->bytes, bytes, __ATOMIC_RELEASE);
		first->n = SEGMENT_FIRST + ((uint64_t)index << SEGMENT_SHIFT);
	}
	pthread_mutex_unlock(&sim->lock);
	if (!s)
		munmap(bytes, pages * sim->page);
	return s ? 0 : -VMF_ENOMEM;
}

static void host_segment_punch(void *self, vmf_pfn first, uint64_t pages)
{
	struct vmf_sim *sim = self;
	void *bytes = vmf__sim_bytes(sim, first);

	vmf__sim_point(sim, VMF_SIM_PUNCH, NULL, first.n, pages);
	if (bytes && !madvise(bytes, pages * sim->page, MADV_DONTNEED))
		return;
	fprintf(stderr, "vmfault sim: no segment to punch at pfn 0x%llx\n", (unsigned long long)first.n);
	abort();
}

static void host_segment_free(void *self, vmf_pfn first, uint64_t pages)
{
	struct vmf_sim *sim = self;
	struct sim_segment *s = &sim->segments[((first.n - SEGMENT_FIRST) >> SEGMENT_SHIFT) % SEGMENTS];
	void *bytes = s->bytes;

	if (!bytes || s->pages != pages) {
		fprintf(stderr, "vmfault sim: no segment to free at pfn 0x%llx\n", (unsigned long long)first.n);
		abort();
	}
	__atomic_store_n(&s->bytes, NULL, __ATOMIC_RELEASE);
	munmap(bytes, pages * sim->page);
}

/* ------------------------------------------------------------------------------ threads, waits, time */

static void slot_leave(void *at)
{
	struct sim_slot *s = at;

	__atomic_store_n(&s->taken, 0, __ATOMIC_RELEASE);
}

static uint32_t host_slot(void *self)
{
	struct vmf_sim *sim = self;
	struct sim_slot *s = pthread_getspecific(sim->key);

	for (uint32_t i = 0; !s && i < sim->config.slots; i++) {
		if (__atomic_exchange_n(&sim->slots[i].taken, 1, __ATOMIC_ACQUIRE))
			continue;
		s = &sim->slots[i];
		pthread_setspecific(sim->key, s);
	}
	return s ? (uint32_t)(s - sim->slots) : VMF_NO_SLOT;
}

static uint32_t host_node(void *self)
{
	uint32_t slot = host_slot(self);

	return slot == VMF_NO_SLOT ? 0 : ((struct vmf_sim *)self)->slots[slot].node;
}

void vmf_sim_here(struct vmf_sim *sim, uint32_t node)
{
	uint32_t slot = sim ? host_slot(sim) : VMF_NO_SLOT;

	if (slot != VMF_NO_SLOT)
		sim->slots[slot].node = node;
}

static void host_barrier(void *self)
{
	(void)self;
	syscall(SYS_membarrier, MEMBARRIER_CMD_PRIVATE_EXPEDITED, 0, 0);
}

static bool have_barrier(void)
{
	return !syscall(SYS_membarrier, MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED, 0, 0);
}

static int host_wait(void *self, const uint32_t *word, uint32_t seen, uint64_t ns, bool interruptible)
{
	struct timespec ts = { (time_t)(ns / 1000000000u), (long)(ns % 1000000000u) };
	int err = vmf__sim_point(self, VMF_SIM_WAIT, NULL, 0, 0);

	if (err)
		return err;
	if (!word)
		err = nanosleep(&ts, NULL) ? errno : ETIMEDOUT;
	else
		err = syscall(SYS_futex, word, FUTEX_WAIT_PRIVATE, seen, ns ? &ts : NULL, NULL, 0) ? errno : 0;
	if (err == ETIMEDOUT)
		return -VMF_ETIME;
	return err == EINTR && interruptible ? -VMF_EINTR : 0;
}

static void host_wake(void *self, const uint32_t *word)
{
	(void)self;
	syscall(SYS_futex, word, FUTEX_WAKE_PRIVATE, INT32_MAX, NULL, NULL, 0);
}

static uint64_t host_now(void *self)
{
	struct timespec ts;

	(void)self;
	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}

static void host_trace(void *self, struct vmf_space *space, vmf_va va, unsigned access, struct vmf_result r,
	uint32_t tries)
{
	struct vmf_sim *sim = self;

	sim->config.trace(sim->config.trace_self, space, va, access, r, tries);
}

/* --------------------------------------------------------------------------------------- the machine */

static void host_panic(void *self, const char *what)
{
	(void)self;
	fprintf(stderr, "vmfault sim: %s\n", what);
	abort();
}

static void fill_host(struct vmf_sim *sim)
{
	sim->host = (struct vmf_host_ops){
		.size = sizeof(sim->host),
		.alloc = host_alloc,
		.free = host_free,
		.bytes = vmf__sim_bytes,
		.slot = host_slot,
		.wait = host_wait,
		.wake = host_wake,
		.now = host_now,
		.panic = host_panic,
		.node = host_node,
	};
	if (!sim->config.fences && have_barrier())
		sim->host.barrier = host_barrier;
	if (sim->config.trace)
		sim->host.trace = host_trace;
	if (sim->config.store == VMF_BY_OFFSET) {
		sim->host.segment = host_segment;
		sim->host.segment_punch = host_segment_punch;
		sim->host.segment_free = host_segment_free;
	}
}

static int config_in(struct vmf_sim_config *to, const struct vmf_sim_config *from)
{
	int err;

	*to = (struct vmf_sim_config){ 0 };
	err = from ? vmf_struct_in(to, sizeof(*to), from, offsetof(struct vmf_sim_config, store)) : 0;
	if (err)
		return err;
	if (!to->page_shift)
		to->page_shift = 12;
	if (!to->ram_pages)
		to->ram_pages = 4096;
	if (!to->slots)
		to->slots = SLOTS_MAX;
	if (to->zero[0] | to->zero[1] | to->zero[2])
		return -VMF_EINVAL;
	if (to->store > VMF_BY_COPY || to->slots > SLOTS_MAX || to->page_shift < 12 || to->page_shift > 16)
		return -VMF_EINVAL;
	return to->ram_pages > VMF_SIM_DEVICE - VMF_SIM_RAM - 1 ? -VMF_EINVAL : 0;
}

static int add_memory(struct vmf_sim *sim)
{
	const struct vmf_range map[] = {
		{ .kind = VMF_PHYS_RAM, .first = { VMF_SIM_RAM }, .pages = sim->config.ram_pages },
		{ .kind = VMF_PHYS_DEVICE, .first = { VMF_SIM_DEVICE }, .pages = DEVICE_PAGES, .attr = { .type = VMF_UC } },
		{ .kind = VMF_PHYS_RESERVED, .first = { VMF_SIM_RESERVED }, .pages = RESERVED_PAGES },
	};
	int err = 0;

	for (unsigned i = 0; i < sizeof(map) / sizeof(map[0]) && !err; i++) {
		struct vmf_range r = map[i];

		r.size = sizeof(r);
		err = vmf_phys_add(sim->port, &r);
	}
	return err;
}

static int machine_start(struct vmf_sim *sim)
{
	struct vmf_port_config config = {
		.size = sizeof(config),
		.abi = VMF_ABI,
		.host = &sim->host,
		.self = sim,
		.slots = sim->config.slots,
		.page_shift = sim->config.page_shift,
		.strict = sim->config.strict,
	};
	int err;

	sim->ram = map_pages(sim->config.ram_pages * sim->page);
	sim->device = map_pages(DEVICE_PAGES * sim->page);
	if (!sim->ram || !sim->device)
		return -VMF_ENOMEM;
	err = vmf_port_create(&sim->port, &config);
	return err ? err : add_memory(sim);
}

int vmf_sim_open(struct vmf_sim **out, const struct vmf_sim_config *config)
{
	struct vmf_sim_config mine;
	struct vmf_sim *sim;
	int err = out ? config_in(&mine, config) : -VMF_EINVAL;

	if (err)
		return err;
	sim = calloc(1, sizeof(*sim));
	if (!sim)
		return -VMF_ENOMEM;
	sim->config = mine;
	sim->page = (size_t)1 << mine.page_shift;
	pthread_mutex_init(&sim->lock, NULL);
	if (pthread_key_create(&sim->key, slot_leave)) {
		free(sim);
		return -VMF_ENOMEM;
	}
	fill_host(sim);
	vmf_sim_fail(sim, VMF_SIM_ALLOC, mine.fail_alloc, VMF_ENOMEM);
	err = machine_start(sim);
	if (err)
		vmf_sim_close(sim);
	else
		*out = sim;
	return err;
}

void vmf_sim_close(struct vmf_sim *sim)
{
	if (!sim)
		return;
	if (sim->port)
		vmf_port_destroy(sim->port);
	if (sim->live) {
		fprintf(stderr, "vmfault sim: %llu bytes are left over\n", (unsigned long long)sim->live);
		abort();
	}
	if (sim->ram)
		munmap(sim->ram, sim->config.ram_pages * sim->page);
	if (sim->device)
		munmap(sim->device, DEVICE_PAGES * sim->page);
	pthread_key_delete(sim->key);
	pthread_mutex_destroy(&sim->lock);
	free(sim);
}

struct vmf_port *vmf_sim_port(struct vmf_sim *sim)
{
	return sim ? sim->port : NULL;
}

void *vmf_sim_device(struct vmf_sim *sim, uint64_t page)
{
	return sim && page < DEVICE_PAGES ? sim->device + page * sim->page : NULL;
}
