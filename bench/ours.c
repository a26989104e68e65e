/* SPDX-License-Identifier: MIT
 *
 * Faults by vmfault, as an application has them: a port, a space, an object, a map, and touching.
 */
#include "ours.h"
#include "touch.h"

#include <vmfault/linux.h>

struct all {
	struct vmf_port *port;
	struct vmf_space *space;
	struct vmf_object *object;
	vmf_va at;
};

static void must(const char *what, int err)
{
	if (err)
		walk_die(what, err);
}

static bool shared(const struct ours *c) { return c->way >= OURS_RESIDENT; }

static void open_object(const struct ours *c, struct all *a)
{
	static const struct vmf_ops nothing = { .size = sizeof(nothing) };
	const struct vmf_file_config file = { .size = sizeof(file), .flags = shared(c) ? 0 : VMF_STREAM,
					      .around = (uint32_t)c->run };

	if (c->way == OURS_ZERO)
		must("vmf_object_create", vmf_object_create(a->port, &a->object, &nothing, NULL, c->pages));
	else
		must("vmf_file_object", vmf_file_object(a->port, &a->object, c->path, &file));
}

static void open_all(const struct ours *c, struct all *a)
{
	const struct vmf_linux_space space = { .size = sizeof(space),
					       .mode = c->handler_thread ? VMF_THREADED : VMF_IN_CONTEXT };
	const struct vmf_map map = { .size = sizeof(map), .flags = shared(c) ? VMF_SHARED : 0, .pages = c->pages,
				     .prot = VMF_R | VMF_W };

	must("vmf_linux_open", vmf_linux_open(&a->port, NULL));
	must("vmf_linux_space", vmf_linux_space(a->port, &a->space, &space));
	open_object(c, a);
	must("vmf_map", vmf_map(a->space, a->object, &map, &a->at));
}

/* Everything has been read into the memfd and entered, and is forgotten; twice, so that what is measured is as warm as
 * the floor. */
static void make_resident(const struct ours *c, struct all *a)
{
	for (int i = 0; i < 2; i++) {
		(void)walk((const char *)a->at, c->run * PAGE, c->order, c->pages / c->run, 1, false);
		must("vmf_revoke", vmf_revoke(a->object, 0, c->pages));
	}
}

double ours_run(const struct ours *c)
{
	struct all a;
	double ns;

	walk_pin(0); /* and the space's threads after it */
	open_all(c, &a);
	if (c->way == OURS_RESIDENT)
		make_resident(c, &a);
	ns = walk((const char *)a.at, c->run * PAGE, c->order, c->pages / c->run, c->threads, c->elapsed);
	vmf_object_put(a.object);
	vmf_linux_space_close(a.space);
	vmf_linux_close(a.port);
	walk_pin(-1);
	return ns;
}
