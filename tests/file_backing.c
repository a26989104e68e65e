/* SPDX-License-Identifier: MIT
 *
 * Files as backings, under a simulated machine: what is read is what the file has, and where it has nothing any
 * more there is an error and never zeroes.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/loop.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <vmfault/linux.h>
#include "rig.h"

static uint8_t byte_of(uint64_t at) { return (uint8_t)((at * 2654435761u >> 13 | 1) + at / PAGE); }

struct image {
	int fd;
	char path[64];
};

/* A file of so many bytes, none of them read from a hole. */
static void image_open(struct image *i, uint64_t bytes)
{
	static uint8_t page[PAGE];

	i->fd = memfd_create("image", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	CHECK(i->fd >= 0);
	snprintf(i->path, sizeof(i->path), "/proc/self/fd/%d", i->fd);
	for (uint64_t at = 0; at < bytes; at += PAGE) {
		size_t n = bytes - at < PAGE ? bytes - at : PAGE;

		for (size_t j = 0; j < n; j++)
			page[j] = byte_of(at + j);
		CHECK_EQ(pwrite(i->fd, page, n, (off_t)at), n);
	}
}

static void image_punch(struct image *i, uint64_t first, uint64_t pages)
{
	CHECK(!fallocate(i->fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, (off_t)(first * PAGE), (off_t)(pages * PAGE)));
}

static struct vmf_object *object_of(struct rig *r, const struct image *i, uint32_t flags, uint32_t around)
{
	struct vmf_file_config c = { .size = sizeof(c), .flags = flags, .around = around };
	struct vmf_object *o;

	CHECK_ERR(vmf_file_object(r->port, &o, i->path, &c), 0);
	return o;
}

static bool reads(struct rig *r, vmf_va va, uint64_t at, size_t n)
{
	static uint8_t bytes[64 * PAGE];

	CHECK_OK(vmf_sim_load(r->space, va + at, bytes, n));
	for (size_t i = 0; i < n; i++)
		if (bytes[i] != byte_of(at + i))
			return false;
	return true;
}

static bool reads_zero(struct rig *r, vmf_va va, uint64_t at, size_t n)
{
	static uint8_t bytes[64 * PAGE];

	CHECK_OK(vmf_sim_load(r->space, va + at, bytes, n));
	for (size_t i = 0; i < n; i++)
		if (bytes[i])
			return false;
	return true;
}

/* Every byte, the padding of the last page, and what lies past it, whatever a fault brings. */
static void whole(void)
{
	const uint64_t bytes = 40 * PAGE + 123;
	const uint32_t around[] = { 0, 1, 8, 64, 512 };
	struct image i;
	struct rig r;

	image_open(&i, bytes);
	for (unsigned a = 0; a < 5; a++) {
		RIG_EACH(r) {
			struct vmf_object *o = object_of(&r, &i, VMF_RDONLY, around[a]);
			vmf_va va = rig_show(&r, o, 44, VMF_R);
			uint8_t byte;

			CHECK(reads(&r, va, 17 * PAGE + 5, PAGE));
			CHECK(reads(&r, va, 0, 40 * PAGE));
			CHECK(reads(&r, va, 40 * PAGE, 123));
			CHECK(reads_zero(&r, va, bytes, PAGE - 123));
			CHECK_RESULT(vmf_sim_load(r.space, va + 41 * PAGE, &byte, 1), VMF_SIGBUS, VMF_WHY_EOF);
			vmf_object_put(o);
			CHECK_ERR(vmf_unmap(r.space, va, 44), 0);
		}
	}
	close(i.fd);
}

static void stream(void)
{
	struct image i;
	struct rig r;
	struct vmf_object *o;
	vmf_va va;

	image_open(&i, 20 * PAGE);
	rig_open(&r, VMF_BY_COPY);
	o = object_of(&r, &i, VMF_RDONLY | VMF_STREAM, 16);
	va = rig_show(&r, o, 20, VMF_R);
	CHECK(reads(&r, va, 0, 20 * PAGE));
	CHECK_EQ(rig_stats(&r).bytes_read, 20 * PAGE);
	vmf_object_put(o);
	CHECK_ERR(vmf_unmap(r.space, va, 20), 0);
	rig_close(&r);
	close(i.fd);
}

/* Holes are zero, and not read; a page that is data in part is read. */
static void holes(void)
{
	struct image i;
	struct rig r;

	image_open(&i, 64 * PAGE);
	image_punch(&i, 8, 30);
	image_punch(&i, 60, 4);
	RIG_EACH(r) {
		struct vmf_object *o = object_of(&r, &i, VMF_RDONLY, 16);
		vmf_va va = rig_show(&r, o, 64, VMF_R);

		CHECK(reads_zero(&r, va, 8 * PAGE, 30 * PAGE));
		CHECK(reads_zero(&r, va, 60 * PAGE, 4 * PAGE));
		CHECK_EQ(rig_stats(&r).bytes_read, 0);
		CHECK(reads(&r, va, 0, 8 * PAGE));
		CHECK(reads(&r, va, 38 * PAGE, 22 * PAGE));
		CHECK_EQ(rig_stats(&r).bytes_read, 30 * PAGE);
		vmf_object_put(o);
		CHECK_ERR(vmf_unmap(r.space, va, 64), 0);
	}
	close(i.fd);
}

/* A fault in the middle brings its whole block, of data as of a hole. */
static void blocks(void)
{
	struct image i;
	struct rig r;
	struct vmf_object *o;
	vmf_va va;

	image_open(&i, 128 * PAGE);
	image_punch(&i, 32, 64);
	rig_open(&r, VMF_BY_COPY);
	o = object_of(&r, &i, VMF_RDONLY | VMF_STREAM, 16);
	va = rig_show(&r, o, 128, VMF_R);
	CHECK(reads(&r, va, 29 * PAGE, PAGE));
	CHECK_EQ(rig_stats(&r).entered, 16);
	CHECK(reads_zero(&r, va, 60 * PAGE, PAGE));
	CHECK_EQ(rig_stats(&r).entered, 32);
	CHECK(reads(&r, va, 111 * PAGE, PAGE));
	CHECK_EQ(rig_stats(&r).entered, 48);
	vmf_object_put(o);
	CHECK_ERR(vmf_unmap(r.space, va, 128), 0);
	rig_close(&r);
	close(i.fd);
}

/* A hole that somebody filled meanwhile is none. */
static void holes_filled(void)
{
	static uint8_t page[PAGE];
	struct image i;
	struct rig r;
	struct vmf_object *o;
	vmf_va va;

	image_open(&i, 64 * PAGE);
	image_punch(&i, 8, 8);
	rig_open(&r, VMF_BY_ADDRESS);
	o = object_of(&r, &i, VMF_RDONLY, 1);
	va = rig_show(&r, o, 64, VMF_R);
	CHECK(reads_zero(&r, va, 8 * PAGE, PAGE));
	for (size_t j = 0; j < PAGE; j++)
		page[j] = byte_of(12 * PAGE + j);
	CHECK_EQ(pwrite(i.fd, page, PAGE, 12 * PAGE), PAGE);
	CHECK(reads(&r, va, 12 * PAGE, PAGE));
	CHECK(reads_zero(&r, va, 13 * PAGE, PAGE));
	vmf_object_put(o);
	CHECK_ERR(vmf_unmap(r.space, va, 64), 0);
	rig_close(&r);
	close(i.fd);
}

/* Written back, into holes and into the last page, which does not make the file longer. */
static void writes(void)
{
	const uint64_t bytes = 19 * PAGE + 50;
	struct image i;
	struct stat st;
	struct rig r;

	RIG_EACH(r) {
		struct vmf_object *o;
		uint8_t got[4];
		vmf_va va;

		if (r.store == VMF_BY_COPY)
			continue;
		image_open(&i, bytes);
		image_punch(&i, 4, 4);
		o = object_of(&r, &i, 0, 8);
		va = rig_show(&r, o, 20, VMF_R | VMF_W);
		CHECK_OK(vmf_sim_store(r.space, va + 5 * PAGE + 7, "hole", 4));
		CHECK_OK(vmf_sim_store(r.space, va + 2 * PAGE - 2, "edge", 4));
		CHECK_OK(vmf_sim_store(r.space, va + 19 * PAGE + 48, "tail", 4));
		CHECK_ERR(vmf_sync(o, 0, 20, NULL), 0);
		CHECK(pread(i.fd, got, 4, 5 * PAGE + 7) == 4 && !memcmp(got, "hole", 4));
		CHECK(pread(i.fd, got, 4, 2 * PAGE - 2) == 4 && !memcmp(got, "edge", 4));
		CHECK(pread(i.fd, got, 4, 19 * PAGE + 48) == 2 && !memcmp(got, "ta", 2));
		CHECK(!fstat(i.fd, &st) && st.st_size == (off_t)bytes);
		CHECK_ERR(vmf_unmap(r.space, va, 20), 0);
		CHECK(vmf_reclaim(o, 0, 20) > 0);
		va = rig_show(&r, o, 20, VMF_R);
		CHECK_OK(vmf_sim_load(r.space, va + 5 * PAGE + 7, got, 4));
		CHECK(!memcmp(got, "hole", 4));
		CHECK_ERR(vmf_unmap(r.space, va, 20), 0);
		vmf_object_put(o);
		close(i.fd);
	}
}

static void write_fails(void)
{
	struct image i;
	struct rig r;
	struct vmf_object *o;
	vmf_va va;
	int err = 0;

	image_open(&i, 8 * PAGE);
	rig_open(&r, VMF_BY_ADDRESS);
	o = object_of(&r, &i, 0, 1);
	va = rig_show(&r, o, 8, VMF_R | VMF_W);
	CHECK_OK(vmf_sim_store(r.space, va, "x", 1));
	CHECK(!fcntl(i.fd, F_ADD_SEALS, F_SEAL_WRITE));
	CHECK_ERR(vmf_sync(o, 0, 8, &err), -VMF_EIO);
	CHECK_EQ(err, EPERM);
	CHECK_EQ(vmf_page_state(o, 0), VMF_DIRTY);
	CHECK_ERR(vmf_unmap(r.space, va, 8), 0);
	vmf_object_put(o);
	rig_close(&r);
	close(i.fd);
}

/* What a shorter file lacks is an error; what it still has is not. */
static void shrinks(void)
{
	struct image i;
	struct rig r;

	RIG_EACH(r) {
		struct vmf_object *o;
		uint8_t byte;
		vmf_va va;

		image_open(&i, 32 * PAGE);
		o = object_of(&r, &i, VMF_RDONLY, 4);
		va = rig_show(&r, o, 32, VMF_R);
		CHECK(reads(&r, va, 20 * PAGE, PAGE));
		CHECK(!ftruncate(i.fd, 10 * PAGE + 9));
		CHECK_RESULT(vmf_sim_load(r.space, va + 16 * PAGE, &byte, 1), VMF_SIGBUS, VMF_WHY_IOERR);
		CHECK_RESULT(vmf_sim_load(r.space, va + 10 * PAGE, &byte, 1), VMF_SIGBUS, VMF_WHY_IOERR);
		CHECK(reads(&r, va, 9 * PAGE, PAGE));
		CHECK_ERR(vmf_unmap(r.space, va, 32), 0);
		vmf_object_put(o);
		close(i.fd);
	}
}

static void refuses(void)
{
	char folder[] = "/tmp/vmfault-file-XXXXXX", fifo[64];
	struct vmf_file_config c = { .size = sizeof(c) };
	struct { struct vmf_file_config c; uint64_t more; } longer = { .c = { .size = sizeof(longer) }, .more = 1 };
	struct vmf_map m;
	struct vmf_object *o;
	struct image i;
	struct rig r;
	vmf_va at;

	rig_open(&r, VMF_BY_ADDRESS);
	image_open(&i, 8 * PAGE);
	CHECK(mkdtemp(folder));
	snprintf(fifo, sizeof(fifo), "%s/fifo", folder);
	CHECK(!mkfifo(fifo, 0600));
	CHECK_EQ(vmf_file_object(r.port, &o, "/nonexistent/image", NULL), ENOENT);
	CHECK_EQ(vmf_file_object(r.port, &o, folder, NULL), EISDIR);
	c.flags = VMF_RDONLY;
	CHECK_EQ(vmf_file_object(r.port, &o, folder, &c), EISDIR);
	CHECK_EQ(vmf_file_object(r.port, &o, fifo, &c), ENODEV); /* and does not wait for a writer */
	CHECK_EQ(vmf_file_object(r.port, &o, "/dev/zero", &c), ENODEV);
	CHECK(!unlink(fifo) && !rmdir(folder));
	CHECK_ERR(vmf_file_object(r.port, &o, i.path, &longer.c), -VMF_E2BIG);
	c.size = 2;
	CHECK_ERR(vmf_file_object(r.port, &o, i.path, &c), -VMF_EINVAL);
	c.size = sizeof(c);
	c.around = 3;
	CHECK_ERR(vmf_file_object(r.port, &o, i.path, &c), -VMF_EINVAL);
	o = object_of(&r, &i, VMF_RDONLY, 1);
	m = rig_map(&r, 8, VMF_R | VMF_W);
	CHECK_ERR(vmf_map(r.space, o, &m, &at), -VMF_EPERM);
	vmf_object_put(o);
	rig_close(&r);
	close(i.fd);
}

static void defaults(void)
{
	struct vmf_object *o;
	struct image i;
	struct rig r;
	vmf_va va;

	rig_open(&r, VMF_BY_ADDRESS);
	image_open(&i, 200 * PAGE);
	CHECK_ERR(vmf_file_object(r.port, &o, i.path, NULL), 0);
	va = rig_show(&r, o, 200, VMF_R | VMF_W);
	for (uint64_t at = 0; at < 200; at++)
		CHECK(reads(&r, va, at * PAGE, 8));
	CHECK_OK(vmf_sim_store(r.space, va, "x", 1));
	CHECK(rig_stats(&r).faults < 100);
	CHECK_ERR(vmf_unmap(r.space, va, 200), 0);
	vmf_object_put(o);
	rig_close(&r);
	close(i.fd);
}

/* A block device says its length in another way; its fstat() says 0. */
static int loop_open(const struct image *i, char *path, size_t n)
{
	int control = open("/dev/loop-control", O_RDWR | O_CLOEXEC), number, fd;

	if (control < 0)
		return -1;
	number = ioctl(control, LOOP_CTL_GET_FREE);
	close(control);
	snprintf(path, n, "/dev/loop%d", number);
	fd = number < 0 ? -1 : open(path, O_RDWR | O_CLOEXEC);
	if (fd >= 0 && ioctl(fd, LOOP_SET_FD, i->fd)) {
		close(fd);
		return -1;
	}
	return fd;
}

static void block_device(void)
{
	struct image i, dev;
	struct rig r;
	struct vmf_object *o;
	uint8_t byte;
	vmf_va va;
	int fd;

	image_open(&i, 64 * PAGE);
	fd = loop_open(&i, dev.path, sizeof(dev.path));
	if (fd < 0) {
		printf("block_device: left out, no loop device can be set up here\n");
		close(i.fd);
		return;
	}
	rig_open(&r, VMF_BY_ADDRESS);
	o = object_of(&r, &dev, VMF_RDONLY, 16);
	va = rig_show(&r, o, 70, VMF_R);
	CHECK(reads(&r, va, 0, 64 * PAGE));
	CHECK_RESULT(vmf_sim_load(r.space, va + 64 * PAGE, &byte, 1), VMF_SIGBUS, VMF_WHY_EOF);
	CHECK_ERR(vmf_unmap(r.space, va, 70), 0);
	vmf_object_put(o);
	rig_close(&r);
	ioctl(fd, LOOP_CLR_FD, 0);
	close(fd);
	close(i.fd);
}

static const struct vmtest tests[] = {
	VMTEST(whole), VMTEST(stream), VMTEST(holes), VMTEST(blocks), VMTEST(holes_filled), VMTEST(writes),
	VMTEST(write_fails), VMTEST(shrinks), VMTEST(refuses), VMTEST(defaults), VMTEST(block_device),
};
VMTEST_MAIN(tests, 20)
