/* SPDX-License-Identifier: MIT
 *
 * Any bytes, in any pieces: the handshake and the checks of its regions neither crash nor let through what they promise
 * to refuse.
 */
#include "server/handshake.h"
#include "server/regions.h"
#include "fuzzing.h"

#define IMAGE (UINT64_C(1) << 30)

static void check_regions(const struct vmf_hello *hello)
{
	char why[256] = "";

	must(hello->regions >= 1 && hello->regions <= VMF_SESSION_REGIONS, "count of regions");
	if (vmf__regions_check(hello->region, hello->regions, IMAGE, why, sizeof why)) {
		must(*why && !strchr(why, '\n'), "a refusal says why, on one line");
		return;
	}
	for (unsigned i = 0; i < hello->regions; i++) {
		const struct vmf_linux_region *r = &hello->region[i];

		must(r->bytes && r->va + r->bytes > r->va && r->offset + r->bytes <= IMAGE, "bounds");
		must(!((r->va | r->bytes | r->offset) % r->page_size), "alignment");
	}
}

/* Byte 0: the size of the pieces.  Byte 1: which pieces come with a descriptor. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
	struct vmf_handshake *h = vmf__handshake_open();
	struct vmf_hello hello;
	enum vmf_hello_state state = VMF_HELLO_MORE;
	size_t piece = n ? data[0] * 8u + 1 : 1;

	for (size_t at = 2; h && at < n && state != VMF_HELLO_BAD; at += piece) {
		int fd = open("/dev/null", O_RDONLY);
		unsigned with = fd >= 0 && data[1] >> (at / piece % 8) & 1;

		if (fd >= 0 && !with)
			close(fd);
		vmf__handshake_feed(h, data + at, n - at < piece ? n - at : piece, &fd, with);
		while ((state = vmf__handshake_next(h, &hello)) == VMF_HELLO_READY) {
			close(hello.uffd);
			check_regions(&hello);
		}
		must(state != VMF_HELLO_BAD || vmf__handshake_why(h), "bad says why");
	}
	vmf__handshake_close(h);
	return 0;
}

FUZZ_MAIN("handshake", "[]{}\",:\\0 -", 3000)
