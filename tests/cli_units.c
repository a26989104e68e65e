/* SPDX-License-Identifier: MIT
 *
 * The small parts of the command: sizes, latencies, the order of a walk, numbers in tables.
 */
#include "../cli/latency.c"
#include "../cli/size.c"
#include "../cli/table.c"
#include "../cli/walk.c"
#include "vmtest.h"

static void size_good(void)
{
	static const struct { const char *text; uint64_t is; } good[] = {
		{ "0", 0 }, { "1", 1 }, { "4096", 4096 }, { "4k", 4096 }, { "4K", 4096 },
		{ "512M", UINT64_C(512) << 20 },
		{ "3g", UINT64_C(3) << 30 }, { "16T", UINT64_C(16) << 40 }, { "0x1000", 4096 }, { "0X10k", 16384 },
		{ "0xfM", UINT64_C(15) << 20 }, { "18446744073709551615", UINT64_MAX },
		{ "0xffffffffffffffff", UINT64_MAX },
		{ "16777215T", UINT64_C(16777215) << 40 }, { "007", 7 },
	};
	uint64_t v;

	for (size_t i = 0; i < sizeof good / sizeof *good; i++) {
		v = 99;
		if (vmf__size_parse(good[i].text, &v) || v != good[i].is)
			vmtest_fail("'%s' is %llu", good[i].text, (unsigned long long)v);
	}
}

static void size_bad(void)
{
	static const char *const bad[] = { "", " 1", "1 ", "-1", "+1", "k", "0x", "0xk", "1kk", "1kB", "1.5G", "1e3",
					   "1P", "ten" };
	static const char *const big[] = { "18446744073709551616", "0x10000000000000000", "16777216T",
					   "18014398509481984k", "99999999999999999999999999999999999999",
					   "99999999999999999999T" };
	uint64_t v = 99;

	for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
		if (vmf__size_parse(bad[i], &v) != -EINVAL)
			vmtest_fail("'%s' is taken", bad[i]);
	for (size_t i = 0; i < sizeof big / sizeof *big; i++)
		if (vmf__size_parse(big[i], &v) != -ERANGE)
			vmtest_fail("'%s' is not too large", big[i]);
	CHECK_EQ(v, 99);
}

static void size_printed(void)
{
	char s[16];

	CHECK(!strcmp(vmf__size_str(0, s, sizeof s), "0 B"));
	CHECK(!strcmp(vmf__size_str(1023, s, sizeof s), "1023 B"));
	CHECK(!strcmp(vmf__size_str(4096, s, sizeof s), "4 KiB"));
	CHECK(!strcmp(vmf__size_str(UINT64_C(512) << 20, s, sizeof s), "512 MiB"));
	CHECK(!strcmp(vmf__size_str(UINT64_C(4608) << 20, s, sizeof s), "4.5 GiB"));
	CHECK(!strcmp(vmf__size_str(UINT64_MAX, s, sizeof s), "16.0 EiB"));
}

/* Every percentile is at most one slot (1/64) above the truth, and never above the maximum. */
static void latency_percentiles(void)
{
	static struct vmf_latency l, other;

	CHECK_EQ(vmf__latency_at(&l, 500), 0);
	for (uint64_t i = 1; i <= 100000; i++)
		vmf__latency_add(i & 1 ? &l : &other, i * 10);
	vmf__latency_merge(&l, &other);
	CHECK_EQ(l.n, 100000);
	CHECK_EQ(l.max, 1000000);
	CHECK(vmf__latency_at(&l, 500) >= 500000 && vmf__latency_at(&l, 500) <= 500000 + 500000 / 64);
	CHECK(vmf__latency_at(&l, 990) >= 990000 && vmf__latency_at(&l, 990) <= 1000000);
	CHECK_EQ(vmf__latency_at(&l, 1000), 1000000);
}

static void latency_edges(void)
{
	static struct vmf_latency l;
	static const uint64_t edge[] = { 0, 1, 63, 64, 65, 127, 128, 1 << 20, UINT64_MAX / 2, UINT64_MAX };

	for (size_t i = 0; i < sizeof edge / sizeof *edge; i++) {
		memset(&l, 0, sizeof l);
		vmf__latency_add(&l, edge[i]);
		CHECK(vmf__latency_at(&l, 500) == edge[i]);
		CHECK(slot_of(edge[i]) < VMF_LATENCY_SLOTS);
		CHECK(slot_end(slot_of(edge[i])) >= edge[i]);
	}
}

/* Every page once, whatever the number of pages; and not in order. */
static void shuffle_is_a_permutation(void)
{
	static unsigned char seen[5000];

	for (uint64_t n = 1; n <= sizeof seen; n = n < 70 ? n + 1 : n * 3 / 2 + 1) {
		uint64_t in_order = 0, before = 0;

		memset(seen, 0, sizeof seen);
		for (uint64_t i = 0; i < n; i++) {
			uint64_t at = vmf__walk_shuffle(i, n);

			CHECK(at < n && !seen[at]);
			seen[at] = 1;
			in_order += at == before + 1;
			before = at;
		}
		CHECK(n < 70 || in_order < n / 10);
	}
}

/* Each of 1 to 9 threads takes its part, and the parts are the whole. */
static void walk_touches_everything(void)
{
	static unsigned char memory[1000];
	static struct vmf_walked out;

	for (unsigned threads = 1; threads < 10; threads++) {
		struct vmf_walk w = { .base = memory, .pages = sizeof memory - threads, .page = 1, .threads = threads,
				      .random = threads & 1, .start = vmf__walk_now() };
		uint64_t n;

		CHECK_EQ(vmf__walk_start(&w), 0);
		CHECK_EQ(read(w.ended, &n, sizeof n), sizeof n);
		CHECK_EQ(vmf__walk_done(&w), sizeof memory - threads);
		vmf__walk_end(&w, &out);
		CHECK_EQ(out.latency.n, sizeof memory - threads);
		CHECK(out.first_ns && out.first_ns <= out.all_ns);
	}
}

static void numbers_printed(void)
{
	char s[32];

	CHECK(!strcmp(vmf__number_str(0, s, sizeof s), "0"));
	CHECK(!strcmp(vmf__number_str(999, s, sizeof s), "999"));
	CHECK(!strcmp(vmf__number_str(131072, s, sizeof s), "131,072"));
	CHECK(!strcmp(vmf__number_str(UINT64_MAX, s, sizeof s), "18,446,744,073,709,551,615"));
	CHECK(!strcmp(vmf__time_str(0, s, sizeof s), "0 ns"));
	CHECK(!strcmp(vmf__time_str(999, s, sizeof s), "999 ns"));
	CHECK(!strcmp(vmf__time_str(1000, s, sizeof s), "1.00 us"));
	CHECK(!strcmp(vmf__time_str(12345, s, sizeof s), "12.3 us"));
	CHECK(!strcmp(vmf__time_str(999999, s, sizeof s), "1.00 ms"));
	CHECK(!strcmp(vmf__time_str(UINT64_C(61000000000), s, sizeof s), "61.0 s"));
}

static const struct vmtest tests[] = {
	VMTEST(size_good), VMTEST(size_bad), VMTEST(size_printed), VMTEST(latency_percentiles), VMTEST(latency_edges),
	VMTEST(shuffle_is_a_permutation), VMTEST(walk_touches_everything), VMTEST(numbers_printed),
};
VMTEST_MAIN(tests, 10)
