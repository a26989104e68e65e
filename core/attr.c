/* SPDX-License-Identifier: MIT
 *
 * Attributes: how memory is accessed, as a partial order of guarantees.
 */
#include "core.h"

bool vmf_attr_covers(struct vmf_attr got, struct vmf_attr wanted)
{
	/* bit i: this type gives what type i gives */
	static const uint8_t gives[] = {
		[VMF_WB] = 1u << VMF_WB,
		[VMF_WT] = 1u << VMF_WB | 1u << VMF_WT,
		[VMF_WC] = 1u << VMF_WB | 1u << VMF_WC,
		[VMF_UC] = 1u << VMF_WB | 1u << VMF_WT | 1u << VMF_WC | 1u << VMF_UC,
		[VMF_DEVICE] = 1u << VMF_WB | 1u << VMF_WT | 1u << VMF_WC | 1u << VMF_UC | 1u << VMF_DEVICE,
	};

	return got.type <= VMF_DEVICE && wanted.type <= VMF_DEVICE && (gives[got.type] >> wanted.type & 1) &&
	       got.port == wanted.port;
}
