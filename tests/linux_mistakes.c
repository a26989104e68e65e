/* SPDX-License-Identifier: MIT
 *
 * A driver's mistakes in a Linux process, in each mode and kind of window: a SIGBUS with a reason, and the page works
 * as soon as the answer is right; a strict port says what it was, and the process ends there.
 */
#include "linuxrig.h"
#include "dying.h"
#include "mistakes.h"

struct place { struct rig r; struct wrong w; unsigned store; };
struct kind { const struct mistake *m; unsigned mode, store; };

static struct vmf_result mistake_access(struct wrong *w, vmf_va va)
{
	(void)w;
	return vmf_touch((void *)va, 1, VMF_R);
}

static void place_open(struct place *p, struct kind k, bool strict)
{
	const struct vmf_linux_config config = { .size = sizeof(config), .flags = strict ? VMF_LINUX_STRICT : 0 };
	const struct vmf_linux_space space = { .size = sizeof(space), .mode = k.mode };
	struct vmf_map map = {
		.flags = k.store == VMF_BY_OFFSET ? VMF_SHARED : 0, .pages = SHOWN, .off = FIRST, .prot = VMF_R | VMF_W,
	};

	CHECK_ERR(vmf_linux_open(&p->r.port, &config), 0);
	CHECK_ERR(vmf_linux_space(p->r.port, &p->r.space, &space), 0);
	p->r.mode = k.mode;
	vmtest_with = k.m->name;
	wrong_open(&p->w, p->r.port, k.m);
	p->w.hole = (uint64_t)1 << 51;
	p->w.at = (vmf_va)rig_map_as(&p->r, p->w.object, map);
}

static void place_close(struct place *p)
{
	rig_unmap(&p->r, (char *)p->w.at, SHOWN);
	wrong_close(&p->w);
	rig_close(&p->r);
}

/* Anonymous memory shows no pfns, which is said when it is mapped, or answers with POLICY; that is in linux_raw. */
static bool possible(struct kind k)
{
	return k.store == VMF_BY_OFFSET || (!k.m->nopfn && k.m->fault != pfn_in_a_hole_installed);
}

static bool next_kind(struct kind *k)
{
	do {
		if (!k->m)
			*k = (struct kind){ mistakes, VMF_THREADED, VMF_BY_OFFSET };
		else if (++k->m == mistakes + MISTAKES) {
			k->m = mistakes;
			if (++k->store > VMF_BY_COPY) {
				k->store = VMF_BY_OFFSET;
				k->mode++;
			}
		}
	} while (!possible(*k));
	return k->mode <= VMF_IN_CONTEXT;
}

static bool in_context(const struct rig *r)
{
	return r->mode == VMF_IN_CONTEXT;
}

static void each_is_a_sigbus_with_a_reason(void)
{
	struct kind k = { 0 };
	struct place p;
	char c;

	while (next_kind(&k)) {
		char *page;
		int sig;

		place_open(&p, k, false);
		page = (char *)wrong_page(&p.w);
		sig = rig_load(page, &c);
		/* With threads a page that is there is not poisoned: the access goes on. */
		if (!(k.m->there && !sig && !in_context(&p.r))) {
			CHECK_EQ(sig, k.m->code[k.store] == VMF_OK ? 0 : SIGBUS);
			CHECK_RESULT(vmf_fault_why(page), k.m->code[k.store], k.m->why[k.store]);
		}
		if (k.m->code[k.store] != VMF_OK)
			CHECK_SOON(rig_stats(&p.r).failed >= 1);
		CHECK_EQ(p.w.asked, 1);
		/* ... and a later one may be told of the failure. */
		if (k.m->there && !in_context(&p.r))
			CHECK_SOON(!rig_load(page, &c));
		else
			CHECK_EQ(rig_load(page, &c), k.m->nopfn ? SIGBUS : 0);
		if (k.m->nopfn)
			CHECK_EQ(vmf_fault_why(page).why, VMF_WHY_EOF);
		place_close(&p);
	}
}

static void make_it(const void *arg)
{
	struct place p;
	char c;

	alarm(10);
	place_open(&p, *(const struct kind *)arg, true);
	(void)rig_load((char *)wrong_page(&p.w), &c);
	if (p.w.mistake->there) /* a server may still be about to say it */
		CHECK_SOON(rig_stats(&p.r).failed >= 1);
}

static void a_strict_port_says_it(void)
{
	struct kind k = { 0 };

	while (next_kind(&k)) {
		vmtest_with = k.m->name;
		if (k.m->code[k.store] == VMF_OK)
			CHECK_EQ(strlen(dying(make_it, &k)), 0);
		else
			dying_says(make_it, &k, "mistake, at page 6 of", k.m->said);
	}
}

#ifdef VMF_DEBUG
static enum vmf_code reads_its_own(const struct vmf_req *req, struct vmf_ans *ans)
{
	(void)*(volatile char *)req->va;
	return wrong_right(req, ans);
}

/* A plain load, in the handler: with threads it is the port that finds it out. */
static void a_handler_that_reads_its_own_area(void)
{
	static const struct mistake m = { "reads its own area", .nopage = reads_its_own };

	for (unsigned mode = VMF_THREADED; mode <= VMF_IN_CONTEXT; mode++)
		dying_says(make_it, &(struct kind){ &m, mode, VMF_BY_OFFSET }, "a driver's mistake", " own ");
}
#endif

static const struct vmtest tests[] = {
#ifdef VMF_DEBUG
	VMTEST(a_handler_that_reads_its_own_area),
#endif
	VMTEST(each_is_a_sigbus_with_a_reason),
	VMTEST(a_strict_port_says_it),
};

int main(int argc, char **argv)
{
	rig_catching();
	return vmtest_main(tests, sizeof(tests) / sizeof(tests[0]), 30, argc, argv);
}
