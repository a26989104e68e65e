/* SPDX-License-Identifier: MIT
 *
 * The rows of the matrix, and its report: medians, and ratios to the same client without vmfault.
 */
#include "matrix.h"
#include "size.h"
#include "table.h"
#include <inttypes.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

const struct vmf_bench_server vmf__bench_servers[VMF_SERVERS] = {
	{ VMF_MAPPED, "MAP_PRIVATE", NULL },
	{ VMF_NAIVE, "hand-written", NULL },
	{ VMF_SERVE, "vmfault 4k", "4k" },
	{ VMF_SERVE, "vmfault 64k", "64k" },
	{ VMF_SERVE, "vmfault 256k", "256k" },
	{ VMF_SERVE, "vmfault 2M", "2M" },
};
const char *const vmf__bench_orders[VMF_ORDERS] = { "random", "seq" };
const unsigned vmf__bench_crowds[VMF_CROWDS] = { 1, 4, 8 };

struct figure { uint64_t median, min, max; };

static int by_value(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

	return x < y ? -1 : x > y;
}

static struct figure figure(const struct vmf_matrix *m, const struct vmf_sample *s, size_t field)
{
	uint64_t v[VMF_ROUNDS_MAX];

	for (unsigned i = 0; i < m->rounds; i++)
		memcpy(&v[i], (const char *)&s[i] + field, sizeof v[i]);
	qsort(v, m->rounds, sizeof v[0], by_value);
	return (struct figure){ v[m->rounds / 2], v[0], v[m->rounds - 1] };
}
#define FIGURE(s, field) figure(m, s, offsetof(struct vmf_sample, field))

static double ratio(uint64_t a, uint64_t of)
{
	return of ? (double)a / (double)of : 0;
}

static void json_row(const struct vmf_matrix *m, unsigned o, unsigned c, unsigned s)
{
	static const char *const kinds[] = { [VMF_MAPPED] = "none", [VMF_NAIVE] = "naive", [VMF_SERVE] = "vmfault" };
	const struct vmf_bench_server *server = &vmf__bench_servers[s];
	const struct vmf_sample (*group)[VMF_ROUNDS_MAX] = m->sample[o][c];
	struct figure all = FIGURE(group[s], all_ns);

	printf("{\"v\":1,\"bench\":\"serve\",\"order\":\"%s\",\"clients\":%u,\"server\":\"%s\",",
	       vmf__bench_orders[o], vmf__bench_crowds[c], kinds[server->kind]);
	if (server->around)
		printf("\"fault_around\":\"%s\",", server->around);
	printf("\"bytes\":%" PRIu64 ",\"rounds\":%u,", m->size * vmf__bench_crowds[c], m->rounds);
	printf("\"all_ns\":%" PRIu64 ",\"all_ns_min\":%" PRIu64 ",\"all_ns_max\":%" PRIu64,
	       all.median, all.min, all.max);
	printf(",\"first_ns\":%" PRIu64 ",\"faults\":%" PRIu64 ",\"server_cpu_ns\":%" PRIu64,
	       FIGURE(group[s], first_ns).median, FIGURE(group[s], faults).median, FIGURE(group[s], cpu_ns).median);
	printf(",\"of_mapped\":%.3f,\"of_naive\":%.3f}\n", ratio(all.median, FIGURE(group[VMF_MAPPED], all_ns).median),
	       ratio(all.median, FIGURE(group[VMF_NAIVE], all_ns).median));
}

static void table_row(const struct vmf_matrix *m, const struct vmf_sample (*group)[VMF_ROUNDS_MAX], unsigned s,
		      struct vmf_table *t)
{
	struct figure all = FIGURE(group[s], all_ns);
	char min[32], max[32];

	vmf__table_row(t, vmf__bench_servers[s].name);
	vmf__table_time(t, all.median);
	vmf__table_cell(t, "%s - %s", vmf__time_str(all.min, min, sizeof min), vmf__time_str(all.max, max, sizeof max));
	vmf__table_time(t, FIGURE(group[s], first_ns).median);
	vmf__table_number(t, FIGURE(group[s], faults).median);
	if (s == VMF_MAPPED)
		vmf__table_cell(t, "-");
	else
		vmf__table_time(t, FIGURE(group[s], cpu_ns).median);
	vmf__table_cell(t, "%.2f", ratio(all.median, FIGURE(group[VMF_MAPPED], all_ns).median));
	vmf__table_cell(t, "%.2f", ratio(all.median, FIGURE(group[VMF_NAIVE], all_ns).median));
}

static void print_group(const struct vmf_matrix *m, unsigned o, unsigned c)
{
	static const char *const head[] = { "all bytes", "min - max", "first byte", "faults", "server CPU",
		"x MAP_PRIVATE", "x hand-written" };
	static struct vmf_table t;

	memset(&t, 0, sizeof t);
	printf("%s, %u client%s\n", vmf__bench_orders[o], vmf__bench_crowds[c], vmf__bench_crowds[c] == 1 ? "" : "s");
	vmf__table_row(&t, "");
	for (unsigned i = 0; i < sizeof head / sizeof head[0]; i++)
		vmf__table_cell(&t, "%s", head[i]);
	for (unsigned s = 0; s < VMF_SERVERS; s++)
		table_row(m, m->sample[o][c], s, &t);
	vmf__table_print(&t, stdout, 2);
}

void vmf__matrix_print(const struct vmf_matrix *m, bool json)
{
	char size[32];

	if (!json)
		printf("%s a client, 4 KiB pages, the image warm in the page cache; medians of %u rounds; "
		       "x: times as long as\n\n", vmf__size_str(m->size, size, sizeof size), m->rounds);
	for (unsigned o = 0; o < VMF_ORDERS; o++)
		for (unsigned c = 0; c < VMF_CROWDS; c++) {
			for (unsigned s = 0; s < VMF_SERVERS && json; s++)
				json_row(m, o, c, s);
			if (!json)
				print_group(m, o, c);
		}
}
