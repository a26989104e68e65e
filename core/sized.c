/* SPDX-License-Identifier: MIT
 *
 * Structs that start with their size: of callers that know less of them than we do, or more.
 */
#include "core.h"

static uint32_t size_of(const void *theirs)
{
	uint32_t size;

	memcpy(&size, theirs, sizeof(size));
	return size;
}

int vmf_struct_in(void *ours, size_t bytes, const void *theirs, size_t least)
{
	const uint8_t *tail = theirs;
	uint32_t size = theirs ? size_of(theirs) : 0, mine = (uint32_t)bytes;

	if (!ours || size < least || size < sizeof(size))
		return -VMF_EINVAL;
	for (size_t i = bytes; i < size; i++)
		if (tail[i])
			return -VMF_E2BIG;
	memset(ours, 0, bytes);
	memcpy(ours, theirs, vmf__min(size, bytes));
	memcpy(ours, &mine, sizeof(mine));
	return 0;
}

void vmf_struct_out(void *theirs, const void *ours, size_t bytes)
{
	uint32_t size = theirs ? size_of(theirs) : 0, head = sizeof(size);

	if (size <= head || !ours)
		return;
	memcpy((uint8_t *)theirs + head, (const uint8_t *)ours + head, vmf__min(size, bytes) - head);
	if (size > bytes)
		memset((uint8_t *)theirs + bytes, 0, size - bytes);
}
