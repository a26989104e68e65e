/* SPDX-License-Identifier: MIT
 *
 * The session block: which regions it takes, and which it refuses.
 */
#include "ports/linux/session.h"
#include "remotetest.h"

#define BASE UINT64_C(0x7f0000000000)
#define MIB UINT64_C(0x100000)

static int check(const struct vmf_linux_region *r, unsigned n, unsigned *bad)
{
	size_t bytes;

	return vmf_session_bytes(r, n, &bytes, bad);
}

static void takes(void)
{
	const struct vmf_linux_region r[3] = { { BASE, MIB, 0, PAGE }, { BASE + MIB, MIB, MIB, PAGE },
		{ BASE + 64 * MIB, 64 * MIB, 2 * MIB, HUGE } };
	struct vmf_session *s;
	size_t bytes;

	CHECK_ERR(vmf_session_bytes(r, 3, &bytes, NULL), 0);
	CHECK(bytes >= sizeof(*s) && bytes < sizeof(*s) + 4096);
	s = calloc(1, bytes);
	CHECK_ERR(vmf_session_init(s, r, 3), 0);
	CHECK_EQ(s->regions, 3);
	CHECK_EQ(s->region[1].off, MIB / PAGE);
	CHECK_EQ(s->region[2].pages, 64 * MIB / PAGE);
	CHECK(s->region[2].removed / 8 < bytes);
	free(s);
}

static void costs(void)
{
	const struct vmf_linux_region r = { BASE, UINT64_C(1) << 40, 0, PAGE };
	size_t bytes;

	/* A terabyte costs its bits, and of those only what is touched. */
	CHECK_ERR(vmf_session_bytes(&r, 1, &bytes, NULL), 0);
	CHECK(bytes <= sizeof(struct vmf_session) + (UINT64_C(1) << 40) / PAGE / 8 + 4096);
}

static void refuses(void)
{
	const struct { struct vmf_linux_region r; int err; } bad[] = {
		{ { BASE, 0, 0, PAGE }, -VMF_EINVAL },               /* empty */
		{ { BASE + 1, MIB, 0, PAGE }, -VMF_EINVAL },         /* unaligned */
		{ { BASE, MIB + 8, 0, PAGE }, -VMF_EINVAL },
		{ { BASE, MIB, 512, PAGE }, -VMF_EINVAL },
		{ { BASE + MIB, 2 * MIB, 0, HUGE }, -VMF_EINVAL },
		{ { BASE, MIB, 0, HUGE }, -VMF_EINVAL },
		{ { BASE, 2 * MIB, PAGE, HUGE }, -VMF_EINVAL },
		{ { BASE, MIB, 0, 0 }, -VMF_EINVAL },                /* unknown page size */
		{ { BASE, MIB, 0, 512 }, -VMF_EINVAL },
		{ { BASE, MIB, 0, 3 * PAGE }, -VMF_EINVAL },
		{ { BASE, 1024 * MIB, 0, 1u << 30 }, -VMF_EINVAL },
		{ { UINT64_MAX - MIB + 1, MIB, 0, PAGE }, -VMF_EINVAL }, /* wraps */
		{ { BASE, UINT64_MAX - MIB + 1, 0, PAGE }, -VMF_EINVAL },
		{ { BASE, MIB, UINT64_MAX - MIB + 1, PAGE }, -VMF_EINVAL },
		{ { BASE + 16 * MIB, MIB, 0, PAGE }, -VMF_EEXIST },  /* overlaps the good one */
		{ { BASE + 15 * MIB, 4 * MIB, 0, PAGE }, -VMF_EEXIST },
		{ { BASE + 17 * MIB - PAGE, MIB, 0, PAGE }, -VMF_EEXIST },
	};

	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		struct vmf_linux_region r[2] = { { BASE + 16 * MIB, MIB, 0, PAGE }, bad[i].r };
		unsigned which = 99;

		CHECK_ERR(check(r, 2, &which), bad[i].err);
		CHECK_EQ(which, 1);
	}
}

/* A block may come from a process that had its reasons to die. */
static void nothing_reaches_out(void)
{
	const struct vmf_linux_region r = { BASE, 16 * PAGE, 0, PAGE };
	struct vmf_session *s;
	size_t bytes;

	CHECK_ERR(vmf_session_bytes(&r, 1, &bytes, NULL), 0);
	s = calloc(1, bytes);
	CHECK_ERR(vmf_session_init(s, &r, 1), 0);
	CHECK(vmf__session_good(s));
	s->region[0].removed = UINT64_MAX - 5;
	CHECK(!vmf__session_good(s));
	CHECK_ERR(vmf_session_init(s, &r, 1), 0);
	s->region[0].pages = UINT64_C(1) << 50;
	CHECK(!vmf__session_good(s));
	CHECK_ERR(vmf_session_init(s, &r, 1), 0);
	s->regions = VMF_SESSION_REGIONS + 1;
	CHECK(!vmf__session_good(s));
	free(s);
}

static void counts(void)
{
	static struct vmf_linux_region r[VMF_SESSION_REGIONS + 1];
	unsigned bad = 99;

	for (unsigned i = 0; i < VMF_SESSION_REGIONS + 1; i++)
		r[i] = (struct vmf_linux_region){ BASE + i * MIB, MIB, 0, PAGE };
	CHECK_ERR(check(r, 0, &bad), -VMF_EINVAL);
	CHECK_ERR(check(r, VMF_SESSION_REGIONS, &bad), 0);
	CHECK_ERR(check(r, VMF_SESSION_REGIONS + 1, &bad), -VMF_EINVAL);
	CHECK_EQ(bad, VMF_SESSION_REGIONS);
}

static const struct vmtest tests[] = {
	VMTEST(takes),
	VMTEST(costs),
	VMTEST(refuses),
	VMTEST(counts), VMTEST(nothing_reaches_out),
};
VMTEST_MAIN(tests, 10)
