/* SPDX-License-Identifier: MIT
 *
 * Windows of this process: by offset and by copy, in both modes.
 */
#include "linuxrig.h"
#include "testback.h"
#include "ports/linux/local.h"

static const struct vmf_ops zero_ops = { .size = sizeof(zero_ops) };

static struct vmf_object *zero_object(struct rig *r, uint64_t pages)
{
	struct vmf_object *o;

	CHECK_ERR(vmf_object_create(r->port, &o, &zero_ops, NULL, pages), 0);
	return o;
}

static void zeroes_on_demand(void)
{
	struct rig r;

	BOTH_MODES(&r) {
		struct vmf_object *o = zero_object(&r, 64);
		char *a = rig_map(&r, o, VMF_SHARED, 64, VMF_R | VMF_W), *b = rig_map(&r, o, 0, 64, VMF_R | VMF_W);

		for (unsigned i = 0; i < 64; i++) {
			CHECK_EQ(a[i * PAGE], 0);
			CHECK_EQ(b[i * PAGE + 5], 0);
			a[i * PAGE] = (char)i;
			b[i * PAGE + 5] = (char)-i;
		}
		for (unsigned i = 0; i < 64; i++) {
			CHECK_EQ(a[i * PAGE], i);
			CHECK_EQ(b[i * PAGE + 5], (char)-i);
		}
		CHECK_SOON(rig_stats(&r).faults == 128); /* a thread goes on before its fault has been counted */
		CHECK_EQ(rig_stats(&r).zeroed, 128);
		vmf_object_put(o);
	}
}

/* A write is seen through another area, another address and another space. */
static void shared_is_shared(void)
{
	struct rig r;

	BOTH_MODES(&r) {
		struct vmf_linux_space config = { .size = sizeof(config), .mode = !r.mode };
		struct vmf_object *o = zero_object(&r, 8);
		struct rig other = r;
		char *a = rig_map(&r, o, VMF_SHARED, 8, VMF_R | VMF_W), *b, *c;

		CHECK_ERR(vmf_linux_space(r.port, &other.space, &config), 0);
		b = rig_map_as(&r, o, (struct vmf_map){ .flags = VMF_SHARED, .pages = 2, .off = 3, .prot = VMF_R | VMF_W });
		c = rig_map(&other, o, VMF_SHARED, 8, VMF_R);
		a[3 * PAGE + 7] = 'x';
		CHECK_EQ(b[7], 'x');
		CHECK_EQ(c[3 * PAGE + 7], 'x');
		b[PAGE] = 'y';
		CHECK_EQ(c[4 * PAGE], 'y');
		CHECK_EQ(a[4 * PAGE], 'y');
		rig_unmap(&r, a, 8);
		CHECK_EQ(b[7], 'x');
		vmf_linux_space_close(other.space);
		vmf_object_put(o);
	}
}

/* Not in place: the backing compares under the lock that it serves faults under. */
static bool same(struct testback *back, const char *a, size_t n)
{
	char *copy = malloc(n);
	bool is;

	memcpy(copy, a, n);
	is = testback_same(back, 0, copy, n);
	free(copy);
	return is;
}

static void private_is_private(void)
{
	struct rig r;

	BOTH_MODES(&r) {
		struct testback back;
		struct vmf_object *o;
		char *a, *b;

		testback_open(&back, r.port, 8 * PAGE, TESTBACK_THREAD);
		o = testback_object(&back, NULL);
		a = rig_map(&r, o, 0, 8, VMF_R | VMF_W);
		b = rig_map(&r, o, VMF_SHARED, 8, VMF_R | VMF_W);
		CHECK(same(&back, a, 8 * PAGE));
		a[5] = 1;
		CHECK(same(&back, b, 8 * PAGE));
		b[PAGE] = 2;
		CHECK_EQ(a[PAGE], (char)testback_byte(&back, PAGE));
		rig_unmap(&r, a, 8);
		rig_unmap(&r, b, 8);
		vmf_object_put(o);
		RIG_BACKING_CLOSE(&back);
	}
}

static void pieces(void)
{
	struct rig r;
	char c;

	rig_catching();
	BOTH_MODES(&r) {
		struct vmf_object *o = zero_object(&r, 16);
		char *a = rig_map(&r, o, VMF_SHARED, 16, VMF_R | VMF_W), *b = rig_map(&r, o, 0, 16, VMF_R | VMF_W);

		memset(a, 'a', 16 * PAGE);
		memset(b, 'b', 8 * PAGE);
		CHECK_EQ(b[10 * PAGE], 'a'); /* what is not written yet is the object's */
		rig_unmap(&r, a + 4 * PAGE, 4);
		rig_unmap(&r, b + 4 * PAGE, 4);
		CHECK_EQ(rig_load(a + 4 * PAGE, &c), SIGSEGV);
		CHECK(rig_caught.addr == a + 4 * PAGE);
		CHECK_EQ(rig_load(b + 7 * PAGE, &c), SIGSEGV);
		CHECK_EQ(a[3 * PAGE], 'a');
		CHECK_EQ(a[8 * PAGE], 'a');
		CHECK_EQ(b[9 * PAGE], 'a');
		CHECK_EQ(b[0], 'b');
		vmf_object_put(o);
	}
}

static void fixed(void)
{
	struct rig r;

	BOTH_MODES(&r) {
		struct vmf_object *o = zero_object(&r, 4);
		char *room = mmap(NULL, 4 * PAGE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
		struct vmf_map m = { .size = sizeof(m), .flags = VMF_SHARED | VMF_FIXED, .va = (vmf_va)room, .pages = 4,
				     .prot = VMF_R | VMF_W };
		vmf_va at;

		CHECK_ERR(vmf_map(r.space, o, &m, &at), -VMF_EEXIST);
		munmap(room, 4 * PAGE);
		CHECK_ERR(vmf_map(r.space, o, &m, &at), 0);
		CHECK(at == (vmf_va)room);
		room[PAGE] = 1;
		CHECK_ERR(vmf_map(r.space, o, &m, &at), -VMF_EEXIST);
		CHECK_EQ(room[PAGE], 1);
		vmf_object_put(o);
	}
}

static void protection(void)
{
	struct rig r;
	char c;

	rig_catching();
	BOTH_MODES(&r) {
		struct vmf_object *o = zero_object(&r, 8);
		unsigned kinds[] = { VMF_SHARED, 0 };

		for (unsigned k = 0; k < 2; k++) {
			char *a = rig_map(&r, o, kinds[k], 8, VMF_R | VMF_W);

			a[0] = 'p';
			CHECK_ERR(vmf_protect(r.space, (vmf_va)a, 4, VMF_R), 0);
			CHECK_EQ(a[0], 'p');
			CHECK_EQ(rig_store(a, 'q'), SIGSEGV);
			CHECK(rig_caught.addr == a);
			CHECK_EQ(rig_store(a + 3 * PAGE, 'q'), SIGSEGV); /* absent */
			CHECK_EQ(rig_store(a + 4 * PAGE, 'q'), 0);
			CHECK_ERR(vmf_protect(r.space, (vmf_va)a, 4, VMF_R | VMF_W), 0);
			CHECK_EQ(rig_store(a, 'q'), 0);
			CHECK_EQ(rig_load(a, &c), 0);
			CHECK_EQ(c, 'q');
			CHECK_ERR(vmf_protect(r.space, (vmf_va)a, 8, 0), 0);
			CHECK_EQ(rig_load(a, &c), SIGSEGV);
			rig_unmap(&r, a, 8);
		}
		vmf_object_put(o);
	}
}

/* Clean pages are write-protected: each write-back sees every write, and no page twice. */
static void write_back(void)
{
	struct rig r;

	if (rig_lacks(VMF_THREADED, VMF_LACKS_WP))
		return;
	BOTH_MODES(&r) {
		struct testback back;
		struct vmf_object *o;
		char *a;

		testback_open(&back, r.port, 64 * PAGE, TESTBACK_THREAD);
		o = testback_object(&back, NULL);
		a = rig_map(&r, o, VMF_SHARED, 64, VMF_R | VMF_W);
		for (unsigned i = 0; i < 64; i++)
			CHECK_EQ(a[i * PAGE], (char)testback_byte(&back, i * PAGE));
		CHECK_ERR(vmf_sync(o, 0, 64, NULL), 0);
		CHECK_EQ(back.pages_written, 0);
		a[3 * PAGE] = 1;
		a[3 * PAGE + 1] = 2;
		a[9 * PAGE] = 3;
		CHECK_EQ(vmf_page_state(o, 3), VMF_DIRTY);
		CHECK_EQ(vmf_page_state(o, 4), VMF_PRESENT);
		CHECK_ERR(vmf_sync(o, 0, 64, NULL), 0);
		CHECK_EQ(back.pages_written, 2);
		CHECK(same(&back, a, 64 * PAGE));
		CHECK_EQ(back.page[3][0], 1);
		a[3 * PAGE] = 4;
		CHECK_ERR(vmf_sync(o, 0, 64, NULL), 0);
		CHECK_EQ(back.pages_written, 3);
		CHECK_EQ(back.page[3][0], 4);
		rig_unmap(&r, a, 64);
		vmf_object_put(o);
		RIG_BACKING_CLOSE(&back);
	}
}

/* Before 6.4 entries cannot be write-protected when they are made: then every write-back takes them away. */
static void without_write_protection(void)
{
	struct testback back;
	struct vmf_object *o;
	struct rig r;
	char *a;

	rig_port(&r.port);
	((struct vmf__linux *)vmf_port_self(r.port))->features &= ~(uint64_t)VMF__UF_WP_UNPOPULATED;
	CHECK_ERR(vmf_linux_space(r.port, &r.space, NULL), 0);
	testback_open(&back, r.port, 16 * PAGE, TESTBACK_THREAD);
	o = testback_object(&back, NULL);
	a = rig_map(&r, o, VMF_SHARED, 16, VMF_R | VMF_W);
	for (unsigned i = 1; i < 100; i++) {
		CHECK_EQ(a[5 * PAGE], (char)testback_byte(&back, 5 * PAGE));
		memcpy(a, &i, sizeof(i));
		CHECK_ERR(vmf_sync(o, 0, 16, NULL), 0);
		CHECK_EQ(memcmp(back.page[0], &i, sizeof(i)), 0);
	}
	CHECK_ERR(vmf_protect(r.space, (vmf_va)a, 16, VMF_R), 0);
	CHECK_EQ(a[6 * PAGE], (char)testback_byte(&back, 6 * PAGE));
	CHECK_ERR(vmf_protect(r.space, (vmf_va)a, 16, VMF_R | VMF_W), 0);
	a[6 * PAGE] = 'w';
	CHECK_ERR(vmf_sync(o, 0, 16, NULL), 0);
	CHECK_EQ(back.page[6][0], 'w');
	rig_unmap(&r, a, 16);
	vmf_object_put(o);
	RIG_BACKING_CLOSE(&back);
	rig_close(&r);
}

/* The same page written and synced again and again: a fault for each round, none taken for a page that cannot be
 * had. */
static void write_back_often(void)
{
	struct rig r;

	BOTH_MODES(&r) {
		struct testback back;
		struct vmf_object *o;
		char *a;

		testback_open(&back, r.port, 4 * PAGE, TESTBACK_AT_ONCE);
		o = testback_object(&back, NULL);
		a = rig_map(&r, o, VMF_SHARED, 4, VMF_R | VMF_W);
		for (unsigned i = 1; i <= 1000; i++) {
			memcpy(a, &i, sizeof(i));
			CHECK_ERR(vmf_sync(o, 0, 1, NULL), 0);
			CHECK_EQ(memcmp(back.page[0], &i, sizeof(i)), 0);
		}
		CHECK_EQ(back.pages_written, 1000);
		rig_unmap(&r, a, 4);
		vmf_object_put(o);
		RIG_BACKING_CLOSE(&back);
	}
}

static atomic_uint announced;

static enum vmf_code own_page(const struct vmf_req *req, struct vmf_ans *ans)
{
	ans->frames[0] = vmf_frame_at(req->object, req->off);
	ans->n = 1;
	return ans->frames[0] ? VMF_OK : VMF_OOM;
}

/* The frame of a driver that writes nothing into it is there, and zero. */
static void untouched_frame(void)
{
	static const struct vmf_ops ops = { .size = sizeof(ops), .nopage = own_page };
	struct rig r;

	BOTH_MODES(&r) {
		struct vmf_object *o;
		char *a;

		CHECK_ERR(vmf_object_create(r.port, &o, &ops, NULL, 4), 0);
		a = rig_map(&r, o, VMF_SHARED, 4, VMF_R | VMF_W);
		CHECK_EQ(a[0], 0);
		a[PAGE] = 1;
		CHECK_EQ(a[PAGE], 1);
		vmf_object_put(o);
	}
}

static enum vmf_code announce(const struct vmf_req *req, struct vmf_ans *ans)
{
	(void)req;
	(void)ans;
	announced++;
	return VMF_OK;
}

static void mkwrite_once(void)
{
	static const struct vmf_ops ops = { .size = sizeof(ops), .nopage = own_page, .mkwrite = announce };
	struct rig r;

	if (rig_lacks(VMF_THREADED, VMF_LACKS_WP))
		return;
	BOTH_MODES(&r) {
		struct vmf_object *o;
		char *a;

		announced = 0;
		CHECK_ERR(vmf_object_create(r.port, &o, &ops, NULL, 4), 0);
		a = rig_map(&r, o, VMF_SHARED, 4, VMF_R | VMF_W);
		CHECK_EQ(a[0], 0);
		CHECK_EQ(announced, 0);
		a[0] = 1;
		a[1] = 1;
		CHECK_EQ(announced, 1);
		a[PAGE] = 1;
		CHECK_EQ(announced, 2);
		CHECK_ERR(vmf_revoke(o, 0, 4), 0);
		CHECK_EQ(a[0], 1);
		CHECK_EQ(announced, 2);
		a[0] = 2;
		CHECK_EQ(announced, 3);
		vmf_object_put(o);
	}
}

static void populate(void)
{
	struct rig r;

	BOTH_MODES(&r) {
		struct vmf_object *o = zero_object(&r, 300);
		unsigned kinds[] = { VMF_SHARED, 0 };

		for (unsigned k = 0; k < 2; k++) {
			uint64_t before = rig_stats(&r).faults, now;
			char *a = rig_map_as(&r, o, (struct vmf_map){ .flags = kinds[k], .pages = 300, .prot = VMF_R | VMF_W,
								     .action = VMF_POPULATE });

			now = rig_stats(&r).faults;
			CHECK(now > before);
			for (unsigned i = 0; i < 300; i++)
				a[i * PAGE] = 1;
			CHECK_EQ(rig_stats(&r).faults, now);
			rig_unmap(&r, a, 300);
		}
		vmf_object_put(o);
	}
}

/* A terabyte costs what is touched. */
static void sparse(void)
{
	struct rig r;

	BOTH_MODES(&r) {
		struct vmf_object *o = zero_object(&r, (uint64_t)1 << 28);
		char *a = rig_map(&r, o, VMF_SHARED, (uint64_t)1 << 28, VMF_R | VMF_W);
		char *b = rig_map(&r, o, 0, (uint64_t)1 << 28, VMF_R | VMF_W);

		for (unsigned i = 0; i < 40; i++) {
			a[(uint64_t)1 << i] = 'a';
			if ((uint64_t)1 << i >= PAGE)
				CHECK_EQ(b[(uint64_t)1 << i], 'a'); /* as the object has it */
		}
		CHECK_EQ(b[3 * PAGE], 0);
		CHECK_EQ(a[(uint64_t)1 << 39], 'a');
		vmf_object_put(o);
	}
}

/* Ports and spaces come and go, and leave no descriptor and no mapping. */
static unsigned lines_of(const char *path)
{
	FILE *f = fopen(path, "r");
	unsigned n = 0;
	int c;

	CHECK(f);
	while ((c = getc(f)) != EOF)
		n += c == '\n';
	fclose(f);
	return n;
}

static void nothing_left(void)
{
	unsigned maps = 0;
	int fd = -1;

	for (unsigned i = 0; i < 20; i++) {
		struct rig r;

		BOTH_MODES(&r) {
			struct vmf_object *o = zero_object(&r, 64);
			char *a = rig_map(&r, o, VMF_SHARED, 64, VMF_R | VMF_W), *b = rig_map(&r, o, 0, 64, VMF_R | VMF_W);

			memset(a, 1, 64 * PAGE);
			memset(b, 1, 64 * PAGE);
			vmf_object_put(o);
		}
		if (i < 2) {
			maps = lines_of("/proc/self/maps");
			close(fd);
			fd = dup(0);
		}
	}
	CHECK_EQ(dup(0), fd + 1);
	CHECK(lines_of("/proc/self/maps") <= maps + 2);
}

static const struct vmtest tests[] = {
	VMTEST(zeroes_on_demand), VMTEST(shared_is_shared), VMTEST(private_is_private), VMTEST(pieces), VMTEST(fixed),
	VMTEST(protection), VMTEST(write_back), VMTEST(without_write_protection), VMTEST(write_back_often),
	VMTEST(untouched_frame), VMTEST(mkwrite_once), VMTEST(populate), VMTEST(sparse),
	VMTEST(nothing_left),
};
VMTEST_MAIN(tests, 20)
