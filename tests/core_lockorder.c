/* SPDX-License-Identifier: MIT
 *
 * The order of locks, as builds with VMF_DEBUG check it: whoever takes one out of order traps, with a line that names
 * both; in other builds nothing is checked, and nothing said.
 */
#include "core/core.h"
#include "dying.h"
#include "rig.h"

static struct rig rig;
static struct vmf_object *object;

static void open_all(void)
{
	static const struct vmf_ops ops = { .size = sizeof(ops) };

	rig_open(&rig, VMF_BY_ADDRESS);
	CHECK_ERR(vmf_object_create(rig.port, &object, &ops, NULL, 4), 0);
}

static void close_all(void)
{
	vmf_object_put(object);
	rig_close(&rig);
}

static void call(const void *run) { (*(void (*const *)(void))run)(); }

static void check_dies(void (*run)(void), const char *one, const char *other)
{
	dying_says(call, &run, one, other);
}

/* ------------------------------------------------------------------------------------------- the core's */

static void backwards(void)
{
	vmf_lock_take(rig.port, &object->areas_lock);
	vmf_lock_take(rig.port, &object->lock);
	vmf_lock_drop(rig.port, &object->lock);
	vmf_lock_drop(rig.port, &object->areas_lock);
}

/* Two objects' locks, which nothing orders. */
static void two_alike(void)
{
	struct vmf_lock other = { 0, VMF_RANK_OBJECT };

	vmf_lock_take(rig.port, &object->lock);
	vmf_lock_take(rig.port, &other);
	vmf_lock_drop(rig.port, &other);
	vmf_lock_drop(rig.port, &object->lock);
}

static void a_pmaps_first(void)
{
	struct vmf_lock pmap = { 0 };

	vmf_lock_take(rig.port, &pmap);
	(void)vmf_revoke(object, 0, 1); /* takes more than frames and the port's own */
	vmf_lock_drop(rig.port, &pmap);
}

static void out_of_order(void)
{
	open_all();
	check_dies(backwards, "object is taken", "held: area list");
	check_dies(two_alike, "object is taken", "held: object");
	check_dies(a_pmaps_first, " is taken", "held: pmap");
	close_all();
}

static void in_any_order_of_dropping(void)
{
	struct vmf_lock pmap = { 0 };

	open_all();
	for (unsigned i = 0; i < 3; i++) {
		vmf_lock_take(rig.port, &object->lock);
		vmf_lock_take(rig.port, &object->areas_lock);
		vmf_lock_take(rig.port, &pmap);
		vmf_lock_drop(rig.port, &object->lock);
		vmf_lock_drop(rig.port, &pmap);
		vmf_lock_drop(rig.port, &object->areas_lock);
	}
	close_all();
}

static void drop_twice(void)
{
	vmf_lock_take(rig.port, &object->lock);
	vmf_lock_drop(rig.port, &object->lock);
	vmf_lock_drop(rig.port, &object->lock);
}

static void a_lock_that_is_not_held(void)
{
	open_all();
	check_dies(drop_twice, "does not hold", "");
	close_all();
}

static void fault_with_a_lock(void)
{
	struct vmf_trap trap = { .va = VMF_SIM_LOWEST, .access = VMF_R };
	struct vmf_ticket ticket = { 0 };

	vmf_lock_take(rig.port, &object->lock);
	(void)vmf_handle(rig.space, &trap, &ticket);
	vmf_lock_drop(rig.port, &object->lock);
}

static void a_fault_holds_nothing(void)
{
	open_all();
	check_dies(fault_with_a_lock, "object", "around a fault");
	close_all();
}

/* ------------------------------------------------------------------------------------------- a driver's */

/* A mutex of its own, say, whose place is between the spaces and the objects. */
static void a_drivers_own_takes_part(void)
{
	static int mine, another;

	CHECK(!vmf_rank_take(&mine, VMF_RANK_DRIVER));
	open_all(); /* takes objects', areas' and frames' locks */
	CHECK_ERR(vmf_revoke(object, 0, 1), 0);
#ifdef VMF_DEBUG
	CHECK(vmf_rank_take(&another, VMF_RANK_DRIVER));
	CHECK(strstr(vmf_rank_take(&another, VMF_RANK_SPACE), "space is taken while this is held: driver"));
	CHECK(vmf_rank_drop(&another));
#else
	CHECK(!vmf_rank_take(&another, VMF_RANK_SPACE));
#endif
	CHECK(!vmf_rank_drop(&mine));
	close_all();
}

static void map_with_it(void)
{
	struct vmf_map map = rig_map(&rig, 4, VMF_R);
	static int mine;
	vmf_va at;

	(void)vmf_rank_take(&mine, VMF_RANK_DRIVER);
	(void)vmf_map(rig.space, object, &map, &at);
}

/* Mapping takes the space's lock, so a driver must not hold its own. */
static void a_drivers_own_is_no_outer_one(void)
{
	open_all();
	check_dies(map_with_it, "space is taken", "held: driver");
	close_all();
}

static const struct vmtest tests[] = {
	VMTEST(out_of_order), VMTEST(in_any_order_of_dropping), VMTEST(a_lock_that_is_not_held),
	VMTEST(a_fault_holds_nothing), VMTEST(a_drivers_own_takes_part), VMTEST(a_drivers_own_is_no_outer_one),
};
VMTEST_MAIN(tests, 20)
