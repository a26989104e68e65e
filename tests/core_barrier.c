/* SPDX-License-Identifier: MIT
 *
 * The slots' protocol against real CPUs: a fault publishes and then looks, a revoke changes and then reads the slots,
 * and whatever each CPU holds back, one of the two sees the other.  Thousands of times, since no CPU can be told
 * when to be late; on one CPU it cannot be seen.
 */
#include <pthread.h>
#include <sched.h>
#include <time.h>
#include "core/core.h"
#include "rig.h"

#define ROUNDS 400000u
#define SECONDS 3

struct duel {
	struct vmf_port *port;
	struct vmf_object *object;
	struct vmf_area area; /* just enough of one to stand in a slot */
	uint8_t apart[64];
	uint32_t gone;        /* the truth: the page was taken away */
	uint8_t apart_[60];
	uint32_t round, ready, revoked;
	uint32_t wrong;
};

/* They spin, so that both begin within a few cycles of each other; unless somebody else needs the CPU. */
static void until(const uint32_t *word, uint32_t is)
{
	for (unsigned spins = 1; __atomic_load_n(word, __ATOMIC_ACQUIRE) != is; spins++)
		if (spins % 4096 == 0)
			sched_yield();
}

static void meet(struct duel *d, uint32_t round)
{
	__atomic_add_fetch(&d->ready, 1, __ATOMIC_SEQ_CST);
	until(&d->round, round);
}

/* Who found the page there is entering until it says that it is not, and a revoke does not return before that. */
static void fault_once(struct duel *d)
{
	struct vmf_slot *slot;
	bool there = vmf__peek(&d->gone); /* so that it is near, and the look below is quicker than the store */

	slot = vmf__slot_enter(d->port);
	vmf__slot_hold(d->port, slot, &d->area, 5, 1, VMF__ASKING);
	there = !vmf__peek(&d->gone);
	if (there && vmf__slot_commit(slot)) {
		for (unsigned i = 0; i < 300; i++)
			if (__atomic_load_n(&d->revoked, __ATOMIC_ACQUIRE))
				d->wrong++;
	}
	vmf__slot_leave(d->port, slot);
}

static void *faulter(void *self)
{
	struct duel *d = self;

	for (uint32_t i = 1; i; i++) {
		meet(d, i);
		if (__atomic_load_n(&d->revoked, __ATOMIC_ACQUIRE) == UINT32_MAX)
			break;
		fault_once(d);
	}
	return NULL;
}

static void start_round(struct duel *d, uint32_t round, uint32_t revoked)
{
	until(&d->ready, round);
	vmf__set(&d->gone, 0);
	__atomic_store_n(&d->revoked, revoked, __ATOMIC_RELEASE);
	__atomic_store_n(&d->round, round, __ATOMIC_SEQ_CST);
}

static void duel(bool fences)
{
	const struct vmf_sim_config config = {
		.size = sizeof(config), .protect = true, .ram_pages = RAM, .fences = fences,
	};
	static const struct vmf_ops ops = { .size = sizeof(ops) };
	static struct duel d;
	time_t end = time(NULL) + SECONDS;
	uint32_t round = 1;
	pthread_t thread;
	struct rig r;

	rig_open_as(&r, &config);
	d = (struct duel){ .port = r.port };
	CHECK_ERR(vmf_object_create(r.port, &d.object, &ops, NULL, 16), 0);
	d.area.object = d.object;
	CHECK(!pthread_create(&thread, NULL, faulter, &d));
	for (; round < ROUNDS && !d.wrong && (round % 1024 || time(NULL) < end); round++) {
		start_round(&d, round, 0);
		for (unsigned i = round * 7 % 1024; i; i--) /* the two are never in step */
			vmf__compiler_fence();
		for (unsigned i = 0; i < 4; i++) /* the slots are near, too */
			(void)vmf__load(&r.port->slots[i].word);
		vmf__set(&d.gone, 1);
		vmf__slot_shoot(r.port, d.object, 5, 1);
		__atomic_store_n(&d.revoked, 1, __ATOMIC_RELEASE);
	}
	start_round(&d, round, UINT32_MAX);
	pthread_join(thread, NULL);
	CHECK_EQ(d.wrong, 0);
	vmf_object_put(d.object);
	rig_close(&r);
}

static void needs_two_cpus(void)
{
	cpu_set_t set;

	if (!sched_getaffinity(0, sizeof(set), &set) && CPU_COUNT(&set) < 2)
		vmtest_skip("one CPU: no other can be late");
}

static void by_membarrier(void)
{
	needs_two_cpus();
	duel(false);
}

static void by_fences(void)
{
	needs_two_cpus();
	duel(true);
}

static const struct vmtest tests[] = { VMTEST(by_membarrier), VMTEST(by_fences) };
VMTEST_MAIN(tests, 20)
