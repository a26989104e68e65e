/* SPDX-License-Identifier: MIT
 *
 * The mask: which of the kernel's features the environment hides.
 */
#include "mask.h"
#include "uffd.h"

#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#define SINCE(major, minor) ((major) * 1000u + (minor))

static _Atomic uint64_t last;

static const struct name { const char *name; uint64_t bits; unsigned since; } names[] = {
	{ "userfaultfd", VMF__MASK_USERFAULTFD, SINCE(4, 3) },
	{ "device", VMF__MASK_DEVICE, SINCE(6, 1) },
	{ "privilege", VMF__MASK_PRIVILEGE, 0 },
	{ "user_mode_only", VMF__MASK_USER_ONLY, SINCE(5, 11) },
	{ "membarrier", VMF__MASK_MEMBARRIER, SINCE(4, 14) },
	{ "pagemap", VMF__MASK_PAGEMAP, 0 },
	{ "access", VMF__MASK_ACCESS, 0 },
	{ "event_fork", VMF__UF_EVENT_FORK, SINCE(4, 11) },
	{ "event_remap", VMF__UF_EVENT_REMAP, SINCE(4, 11) },
	{ "event_remove", VMF__UF_EVENT_REMOVE, SINCE(4, 11) },
	{ "event_unmap", VMF__UF_EVENT_UNMAP, SINCE(4, 11) },
	{ "missing_hugetlbfs", VMF__UF_MISSING_HUGETLBFS, SINCE(4, 11) },
	{ "missing_shmem", VMF__UF_MISSING_SHMEM, SINCE(4, 11) },
	{ "sigbus", VMF__UF_SIGBUS, SINCE(4, 14) },
	{ "thread_id", VMF__UF_THREAD_ID, SINCE(4, 14) },
	{ "pagefault_flag_wp", VMF__UF_WP, SINCE(5, 7) },
	{ "minor_hugetlbfs", VMF__UF_MINOR_HUGETLBFS, SINCE(5, 13) },
	{ "minor_shmem", VMF__UF_MINOR_SHMEM, SINCE(5, 14) },
	{ "exact_address", VMF__UF_EXACT_ADDRESS, SINCE(5, 18) },
	{ "wp_hugetlbfs_shmem", VMF__UF_WP_SHMEM, SINCE(5, 19) },
	{ "wp_unpopulated", VMF__UF_WP_UNPOPULATED, SINCE(6, 4) },
	{ "poison", VMF__UF_POISON, SINCE(6, 6) },
	{ "wp_async", VMF__UF_WP_ASYNC, SINCE(6, 7) },
	{ "move", VMF__UF_MOVE, SINCE(6, 8) },
};

/* What came with that version or later; 0: it is not a version. */
static uint64_t since(const char *version, size_t n)
{
	unsigned major = 0, minor = 0;
	uint64_t bits = 0;
	int used = 0;

	if (sscanf(version, "%u.%u%n", &major, &minor, &used) != 2 || (size_t)used != n)
		return 0;
	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
		if (names[i].since >= SINCE(major, minor))
			bits |= names[i].bits;
	return bits ? bits : UINT64_C(1) << 63;
}

static uint64_t one(const char *name, size_t n)
{
	if (n > 6 && !strncasecmp(name, "since-", 6))
		return since(name + 6, n - 6);
	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
		if (strlen(names[i].name) == n && !strncasecmp(name, names[i].name, n))
			return names[i].bits;
	return 0;
}

static uint64_t parse(const char **unknown, int *length)
{
	const char *at = secure_getenv("VMF_WITHOUT");
	uint64_t bits = 0;

	*unknown = NULL;
	while (at && *at) {
		size_t n = strcspn(at, ",");
		uint64_t bit = n ? one(at, n) : 0;

		if (n && !bit && !*unknown) {
			*unknown = at;
			*length = (int)n;
		}
		bits |= bit;
		at += n + (at[n] == ',');
	}
	return bits;
}

uint64_t vmf__mask(void)
{
	const char *unknown;
	int n;
	uint64_t bits = parse(&unknown, &n);

	atomic_store(&last, bits);
	return bits;
}

uint64_t vmf__mask_last(void) { return atomic_load(&last); }

bool vmf__mask_good(const char **unknown, int *n)
{
	(void)parse(unknown, n);
	return !*unknown;
}
