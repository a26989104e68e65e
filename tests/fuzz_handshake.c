/* SPDX-License-Identifier: MIT
 *
 * Any bytes, in any pieces: the handshake and the checks of its regions neither crash nor let through what they promise
 * to refuse.  A target for libFuzzer (with VMF_LIBFUZZER); without it, a program that runs the files of the corpus, and
 * many changed copies of each, always the same ones.
 */
#include "server/handshake.h"
#include "server/regions.h"
#include "vmtest.h"
#include <dirent.h>
#include <fcntl.h>

#define IMAGE (UINT64_C(1) << 30)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

static void must(bool fine, const char *what)
{
	if (!fine) {
		fprintf(stderr, "%s\n", what);
		abort();
	}
}

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

#ifndef VMF_LIBFUZZER
enum { LONGEST = 4096, COPIES = 3000 };

static size_t changed(const uint8_t *from, size_t n, uint8_t *to, uint64_t *seed)
{
	static const char marks[] = "[]{}\",:\\0 -";
	unsigned times = vmtest_random(seed) % 6;

	memcpy(to, from, n);
	while (times--) {
		size_t at = vmtest_random(seed) % n;

		switch (vmtest_random(seed) % 4) {
		case 0:
			to[at] = (uint8_t)vmtest_random(seed);
			break;
		case 1:
			to[at] = (uint8_t)marks[vmtest_random(seed) % (sizeof marks - 1)];
			break;
		case 2:
			n = n > 4 ? at > 3 ? at : 4 : n;
			break;
		default:
			memmove(to + at, to + vmtest_random(seed) % (at + 1), n - at);
		}
	}
	return n;
}

static void run_file(const char *path)
{
	uint8_t from[LONGEST], to[LONGEST];
	uint64_t seed = 1;
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	ssize_t n = fd < 0 ? -1 : read(fd, from, sizeof from);

	if (n < 4)
		vmtest_fail("%s cannot be read", path);
	close(fd);
	LLVMFuzzerTestOneInput(from, (size_t)n);
	for (int i = 0; i < COPIES; i++)
		LLVMFuzzerTestOneInput(to, changed(from, (size_t)n, to, &seed));
}

int main(void)
{
	const char *source = getenv("VMF_SOURCE");
	char path[4096];
	struct dirent *e;
	unsigned files = 0;
	DIR *d;

	alarm(60);
	snprintf(path, sizeof path, "%s/tests/server/corpus", source ? source : ".");
	d = opendir(path);
	if (!d)
		vmtest_fail("%s cannot be read", path);
	while ((e = readdir(d)))
		if (e->d_name[0] != '.') {
			snprintf(path, sizeof path, "%s/tests/server/corpus/%s", source ? source : ".", e->d_name);
			run_file(path);
			files++;
		}
	closedir(d);
	printf("%u files, %d copies of each\n", files, COPIES);
	return !files;
}
#endif
