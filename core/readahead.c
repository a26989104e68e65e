/* SPDX-License-Identifier: MIT
 *
 * Sequential readahead: a miss where the last read of this area ended doubles the next read, any other miss starts
 * anew. The two words are hints and written by whoever misses, without a lock.
 */
#include "core.h"

uint32_t vmf__readahead(struct vmf_fault *f)
{
	struct vmf_area *a = f->area;
	uint32_t most = f->object->readahead, n = 1;

	if (!most)
		return 1;
	if (vmf__peek(&a->ahead_next) == (uint32_t)f->off && vmf__peek(&a->ahead_n))
		n = (uint32_t)vmf__min(2 * (uint64_t)vmf__peek(&a->ahead_n), most);
	vmf__set(&a->ahead_n, n);
	vmf__set(&a->ahead_next, (uint32_t)f->off + n);
	return n;
}
