/* SPDX-License-Identifier: MIT
 *
 * Which regions are refused, and what the line says.
 */
#include "server/regions.h"
#include "vmtest.h"

#define M (UINT64_C(1) << 20)

static void check(const struct vmf_linux_region *r, unsigned n, uint64_t image, const char *want)
{
	char why[256] = "";
	int got = vmf__regions_check(r, n, image, why, sizeof why);

	if (!want ? got : !got || !strstr(why, want))
		vmtest_fail("%d, '%s', not '%s'", got, why, want ? want : "fine");
}

static void alone(void)
{
	static const struct { struct vmf_linux_region r; uint64_t image; const char *why; } t[] = {
		{ { M, M, 0, 4096 }, M, NULL },
		{ { M, M, M, 4096 }, 2 * M, NULL },
		{ { M, M, 0, 4096 }, M - 1, NULL },
		{ { M, M, 0, 4096 }, M - 4095, NULL },
		{ { M, M, 0, 4096 }, M - 4096, "exceeds the image" },
		{ { M, M, 0, 4096 }, 0, "exceeds the image" },
		{ { M, M, 4096, 4096 }, M, "exceeds the image" },
		{ { 2 * M, 4 * M, 0, 2 * M }, 4 * M, NULL },
		{ { 2 * M, 4 * M, 0, 2 * M }, 3 * M, "exceeds the image" },
		{ { M, 2 * M, 0, 2 * M }, 4 * M, "an address that is not page-aligned" },
		{ { 2 * M, 3 * M, 0, 2 * M }, 4 * M, "a size that is not page-aligned" },
		{ { 2 * M, 2 * M, M, 2 * M }, 4 * M, "an offset that is not page-aligned" },
		{ { M + 1, M, 0, 4096 }, M, "an address that is not page-aligned" },
		{ { M, M + 8, 0, 4096 }, 2 * M, "a size that is not page-aligned" },
		{ { M, M, 512, 4096 }, 2 * M, "an offset that is not page-aligned" },
		{ { M, 0, 0, 4096 }, M, "empty" },
		{ { M, M, 0, 0 }, M, "unknown page size" },
		{ { M, M, 0, 4 }, M, "unknown page size" },
		{ { M, M, 0, 12288 }, M, "unknown page size" },
		{ { M, M, 0, 1u << 30 }, M, "unknown page size" },
		{ { UINT64_MAX - 4095, 8192, 0, 4096 }, M, "wraps around the address space" },
		{ { M, UINT64_MAX - 4095, 0, 4096 }, M, "wraps around the address space" },
		{ { INT64_MAX - 4095, 4096, 0, 4096 }, M, "wraps around the address space" },
		{ { M, M, UINT64_MAX - 4095, 4096 }, M, "wraps around the image" },
		{ { M, 4096, INT64_MAX - 4095, 4096 }, M, "wraps around the image" },
	};

	for (size_t i = 0; i < sizeof t / sizeof t[0]; i++)
		check(&t[i].r, 1, t[i].image, t[i].why);
}

static void together(void)
{
	static const struct vmf_linux_region apart[] = {
		{ 4 * M, M, 0, 4096 }, { 2 * M, M, M, 4096 }, { 3 * M, M, 0, 4096 },
	};
	static const struct vmf_linux_region same[] = { { 4 * M, M, 0, 4096 }, { 4 * M, M, M, 4096 } };
	static const struct vmf_linux_region inside[] = { { 4 * M, M, 0, 4096 }, { 4 * M + 4096, 4096, M, 4096 } };
	static const struct vmf_linux_region edge[] = { { 3 * M, M + 4096, 0, 4096 }, { 4 * M, M, M, 4096 } };
	struct vmf_linux_region many[VMF_SESSION_REGIONS + 1] = { { 0 } };

	check(apart, 3, 2 * M, NULL);
	check(same, 2, 2 * M, "regions 0 and 1 overlap");
	check(inside, 2, 2 * M, "regions 0 and 1 overlap");
	check(edge, 2, 2 * M, "regions 0 and 1 overlap");
	check(many, 0, M, "0 regions");
	check(many, VMF_SESSION_REGIONS + 1, M, "65 regions");
}

static const struct vmtest tests[] = { VMTEST(alone), VMTEST(together) };
VMTEST_MAIN(tests, 10)
