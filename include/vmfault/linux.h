/* SPDX-License-Identifier: MIT
 *
 * vmfault on Linux: memory of this process, and of other processes that hand over a userfaultfd.
 *
 *	struct vmf_port *port;  struct vmf_space *space;  struct vmf_object *object;  vmf_va at;
 *	struct vmf_map map = VMF_INIT(struct vmf_map);
 *	vmf_linux_open(&port, NULL);
 *	vmf_linux_space(port, &space, NULL);
 *	vmf_file_object(port, &object, "data.img", NULL);
 *	map.flags = VMF_SHARED, map.pages = n, map.prot = VMF_R | VMF_W;
 *	vmf_map(space, object, &map, &at);
 *	... *(char *)at ...
 *
 * What is process-wide, because the kernel has it so: the handler of SIGBUS.  The first port installs one (with
 * SA_ONSTACK and every signal blocked while it runs), the last takes it away.  A SIGBUS that is not ours, and one
 * that says that memory cannot be had, goes to the handler that was there before: with siginfo or without, with its
 * own mask, SA_NODEFER and SA_RESETHAND; on the alternate stack if the thread has one.  If there was none, the
 * process dies of that SIGBUS, at the instruction that faulted.  A handler may ask vmf_fault_why(), and may
 * siglongjmp() away.  Who installs a handler of SIGBUS later has to call ours (it is what sigaction() returned) for
 * addresses that it does not know. A thread that touches vmfault's memory must not have SIGBUS blocked.
 *
 * Windows: VMF_SHARED areas are by offset, on a memfd that holds the object's frames; areas without it are by copy,
 * in anonymous memory.  Raw pfns (of an aperture) can be entered in VMF_SHARED areas whose object has `nopfn` or
 * `fault`, or that are mapped VMF_MIXED or VMF_RAW.  There, absent pages are resolved by the faulting thread and
 * system calls on them get EFAULT in every mode; a write to a page that was entered read-only is a SIGSEGV;
 * isolated pages count against vm.max_map_count; and the application's own munmap() or mremap() goes unseen: use
 * vmf_unmap().  (What lies there afterwards, if it is no shared mapping of a file, is left alone from Linux 6.11 on;
 * pages that were moved show the device until the application unmaps them, whatever is revoked.)
 *
 * Huge pages: an area without VMF_SHARED with map.order 9 is made of 2 MiB pages out of the system's pool (-VMF_ENOSYS:
 * other orders; shared areas; no userfaultfd for such pages; before 6.6 threaded spaces).  They are reserved when it is
 * mapped (-VMF_ENOMEM: the pool has too few), so a fault finds one, except on a node that VMF_NODE_BIND() names.
 * Length, offset and address are multiples of 512 pages, and it is unmapped and protected block by block (-VMF_EINVAL).
 * The object has no operations (zeroes), a driver, or is VMF_STREAM.  Where a driver answers VMF_FALLBACK the absent
 * block is mapped anew, in base pages: the threads that touch it meanwhile take a SIGSEGV, which our handler of that
 * forgives (it is installed with the first such area, and must not be blocked), and a system call on it gets EFAULT
 * once.  If the kernel lacks the memory to register what it has mapped, the block stays without access, and is a
 * SIGSEGV (in context with the reason LAYOUT), until vmf_protect() opens it.  Children do not inherit such areas.
 *
 * map.node: 0 is the process's own policy; what else is asked for is set with mbind() when the area is mapped, for a
 * shared area on the object's memfd.  Only VMF_NODE_BIND() can fail: -VMF_EINVAL, no such node; -VMF_EPERM.
 *
 * Elsewhere munmap(), mremap() and madvise() may be used on areas: the areas follow.  MADV_DONTNEED on private
 * bytes takes them away (they read zero from then on); on a shared area it forgets entries.  vmf_unmap(),
 * vmf_protect() and vmf_map() may say -VMF_EAGAIN while others do that without a pause; a fault does, after ten
 * seconds, with SIGBUS/LAYOUT.
 *
 * Signals: a fault that waits in the handler of SIGBUS gives way to every signal that the thread does not block;
 * when its handler returns, the instruction faults again.  With VMF_THREADED the thread sleeps in the kernel, as in
 * any page fault.
 *
 * A driver that touches memory which its own area shows gets SIGBUS/POLICY.  Another area of its space it may touch
 * in context; with VMF_THREADED, where drivers run on the space's own threads, if one of these is free: if all of them
 * wait for pages of their own space, that is found out within some tenths of a second, and one of them gets
 * SIGBUS/POLICY.  A system call gets EFAULT instead.  Not found out: two spaces whose drivers touch each other's memory
 * at once.
 *
 * Without a userfaultfd (none here, not allowed by a filter; for shared areas also before Linux 5.14) areas trap: what
 * is absent is PROT_NONE, a touch is a SIGSEGV, and our handler of that, which is there while such a space is open and
 * treats the one before it as that of SIGBUS does, resolves the fault and shows pages by mprotect().  What fails is a
 * SIGBUS nevertheless.  vmf_linux_lacks() says that it is so.  It is slower, and weaker:
 *	- every fault is resolved by its own thread, VMF_THREADED or not; system calls on absent pages get EFAULT, and a
 *	  thread that touches such memory must not have SIGSEGV blocked;
 *	- the application's own munmap(), mremap(), mprotect() and madvise() go unseen (MADV_DONTNEED keeps the bytes): use
 *	  vmf_unmap() and vmf_protect();
 *	- private bytes are in a memfd, which no child shares;
 *	- each run of pages that are shown alike is a mapping (vm.max_map_count); when there are no more, pages of the area
 *	  are hidden, and come back one by one;
 *	- where the machine context does not tell reads from writes, the first write of a page costs three faults.
 *
 * With a userfaultfd without poison (before 6.6) threaded spaces need that handler of SIGSEGV as well: a page that
 * failed is PROT_NONE until its failure has been told.
 *
 * The environment may say VMF_WITHOUT=NAME,...: the port then does without what it names, as another kernel would make
 * it: features of userfaultfd as `vmfault probe` names them, userfaultfd, device (/dev/userfaultfd), privilege,
 * membarrier, pagemap, access (what a signal's context says of it); since-5.15 is all that came with that version and
 * later.  It is for tests, and not looked at by programs that run with raised privilege.
 *
 * fork: with CAP_SYS_PTRACE, and Linux 6.6 or later (vmf_linux_lacks() has no VMF_LACKS_FORK), a child of fork()
 * goes on with what is not shared, as with any memory of a process: what was there is copied on write by the kernel,
 * what was absent comes from the object, at the child's touch; what was removed reads zero.  So do children of
 * children.  The parent serves them:
 *	- With VMF_THREADED a child does not see the difference.  In context its own handler of SIGBUS asks the parent,
 *	  and waits; as in the parent, that gives way to signals, and system calls on absent pages get EFAULT.
 *	- It may call vmf_touch(), vmf_fault_why(), and vmf_read() to vmf_pwrite(), and nothing else that concerns a
 *	  port that its parent has opened.  It may open a port of its own.
 *	- When the parent has died, become another program, or closed the space, what is absent in the child is a SIGBUS
 *	  with the reason SIGBUS/FORK; but after death or exec with VMF_THREADED a sleep without end, and in both modes
 *	  its fork(), and its munmap(), mremap() and madvise() of what it inherited, then wait for ever.  It is never
 *	  zeroes, also if the child closes every descriptor (for that the kernel must have AIO).
 *	- fork() returns in the child when the parent has answered.  A child that comes by clone() or _Fork() is not
 *	  served: what is absent is SIGBUS/FORK; but zeroes if its parent dies before it has seen to that, which takes
 *	  it a moment, or ten seconds if a fork() is under way at the same time.
 *	- An object lives as long as children show it.  They are noticed when they exit or become another program.
 *	- A driver is called for the spaces of children (vmf_area_space()), on a thread of the port's: with `opened` for
 *	  each area of each child.  It must not wait there for what a child does.
 * What is shared, what is VMF_NOFORK, and everything without privilege or with VMF_LINUX_NOFORK, children do not
 * inherit (MADV_DONTFORK): they get SIGSEGV, and vmf_fault_why() says SIGSEGV/FORK, as does vmf_touch(); vmf_read()
 * and the like say EFAULT.  (Entries of a shared area could not be taken out of a child again.) posix_spawn(),
 * vfork() and system() copy nothing, and cost nothing.
 *
 * Bolts are mlock2(MLOCK_ONFAULT), within RLIMIT_MEMLOCK unless the process has CAP_IPC_LOCK: what the kernel refuses
 * is "no bolt left" (-VMF_ENOSPC, SIGBUS/BOLTS).  It is the weaker thing (`resident` in struct vmf_window): the page is
 * not swapped out and not reclaimed, neither by the kernel nor by us, and VmLck counts it; but no entry is locked, let
 * alone in a TLB: where the kernel moves the page (compaction, NUMA balancing) an access waits, without us.  Each page
 * that is bolted alone is a mapping of its own (vm.max_map_count).  The application's own munlock() of it goes unseen;
 * giving a bolt back leaves alone what the application has locked beside it, but not its mlock() of that page.  Windows
 * with raw pfns are mapped anew at each change, and locked again: if others have used up the limit meanwhile, that is
 * SIGBUS/BOLTS.  Pages of 2 MiB are in memory for good: nothing is locked of them, or counted.  Revoking what was
 * bolted at map time needs Linux 5.18 (before: -VMF_EBUSY).  Children have no locks.
 */
#ifndef VMFAULT_LINUX_H
#define VMFAULT_LINUX_H
#include <sys/types.h>
#include <sys/uio.h>
#include <vmfault/vmfault.h>
#ifdef __cplusplus
extern "C" {
#endif

enum vmf_linux_flag {
	VMF_LINUX_STRICT = 1 /* as `strict` in struct vmf_port_config (host.h): says it on stderr, and abort() */
};
struct vmf_linux_config {
	uint32_t size, flags; /* flags: enum vmf_linux_flag */
	uint64_t ram; /* bytes of frames for what is entered by copy; 0: 16 MiB */
	void (*trace)(void *, struct vmf_space *, vmf_va, unsigned access, struct vmf_result, uint32_t tries);
	void *trace_self;
};
/* config NULL: as if zeroed.  -VMF_ENOSYS: pages are not 4 KiB here; -VMF_EINVAL: also a VMF_WITHOUT that names what
 * does not exist. */
int vmf_linux_open(struct vmf_port **, const struct vmf_linux_config *);
void vmf_linux_close(struct vmf_port *);

enum vmf_linux_mode {
	VMF_THREADED,  /* handler threads of the library; with privilege also transparent to system calls */
	VMF_IN_CONTEXT /* the faulting thread resolves its own fault, in the handler of SIGBUS; system calls get EFAULT */
};
enum vmf_linux_sflag {
	VMF_LINUX_NOFORK = 1 /* children inherit nothing of it, as if every area were VMF_NOFORK */
};
struct vmf_linux_space {
	uint32_t size, flags; /* flags: enum vmf_linux_sflag */
	uint32_t mode, threads; /* threads: of VMF_THREADED; 0: one */
};
/* A space in this process.  config NULL: threaded, one thread. */
int vmf_linux_space(struct vmf_port *, struct vmf_space **, const struct vmf_linux_space *config);
/* Unmaps everything, ends the threads.  => sleeps.  No thread is in a fault of it.  (What the kernel will not unmap is
 * left without access; if it will not do that either, the userfaultfd stays open, since absent pages would become
 * zeroes.) */
void vmf_linux_space_close(struct vmf_space *);
/* Bytes of stack that the handler of SIGBUS needs for a fault in context, a vmf_revoke() by the driver's handler
 * included (x86-64, optimised; tests/abi_stack.c measures it).  Beside it come the kernel's frame (1 to 3.5 KiB, and 8
 * more in a thread that uses AMX; sysconf(_SC_MINSIGSTKSZ) is the most that this machine makes), what the driver's
 * handler uses itself, and all of it again for a handler that touches another area.  So, for an alternate stack,
 *	2 * (VMF_LINUX_STACK + sysconf(_SC_MINSIGSTKSZ)) + what the drivers need
 * Who links libvmfault.a without -z now: 4 KiB more, for the dynamic linker. */
#define VMF_LINUX_STACK 4096u

/* Do system calls on absent pages of this space work (true), or do they get EFAULT (false)? */
bool vmf_linux_syscalls(const struct vmf_space *);
/* What this kernel does not give to a space of this process, as bits; fixed for its life. */
enum vmf_linux_lack {
	VMF_LACKS_SYSCALLS = 1, /* system calls on absent pages get EFAULT: asked for, or no privilege, or one of: */
	VMF_LACKS_SHARED = 2,   /* shared areas trap (above): no userfaultfd, or one older than 5.14 */
	VMF_LACKS_PRIVATE = 4,  /* private ones do: no userfaultfd, or one older than 4.14 */
	VMF_LACKS_WP = 8,       /* before 6.4: what a writable shared area shows counts as dirty */
	VMF_LACKS_POISON = 16,  /* before 6.6, threaded: a page that failed is PROT_NONE until somebody has been told */
	VMF_LACKS_BARRIER = 32, /* no membarrier: each fault pays for a fence */
	VMF_LACKS_FORK = 64     /* children inherit nothing: asked for, no privilege for it, or before 6.6 */
};
unsigned vmf_linux_lacks(const struct vmf_space *);

/* Resolves the faults that an access to the range would take; no signal is raised.  The first result that is not
 * VMF_OK, or VMF_OK.  Memory that is not vmfault's is skipped; a range that wraps is SIGSEGV, an access that is not one
 * of VMF_R, VMF_W and VMF_X is SIGSEGV/PROT.  => sleeps */
struct vmf_result vmf_touch(const void *, size_t bytes, unsigned access);
/* As the system calls of these names, but absent pages of vmfault's memory are brought in where the kernel says
 * EFAULT. -1 and errno as they; EIO if the backing failed (vmf_fault_why() says more).  Where the kernel meets an
 * absent page after it has moved some bytes it says how many: as ever, call again for the rest.  (A datagram that
 * is received into an absent page is lost: vmf_touch() the buffer first.) */
ssize_t vmf_read(int fd, void *, size_t);
ssize_t vmf_write(int fd, const void *, size_t);
ssize_t vmf_readv(int fd, const struct iovec *, int n);
ssize_t vmf_writev(int fd, const struct iovec *, int n);
ssize_t vmf_pread(int fd, void *, size_t, off_t);
ssize_t vmf_pwrite(int fd, const void *, size_t, off_t);
/* Why did the last access to this page fail?  For handlers of SIGBUS, and after EFAULT; async-signal-safe.
 * VMF_OK: it did not, or that is too long ago (about the last 1,024 of a space are kept). */
struct vmf_result vmf_fault_why(const void *);

/* Device memory, or what stands for it: pages of a file descriptor that can be mapped MAP_SHARED (a PCI resource
 * file, /dev/mem, a memfd), as a DEVICE range of the memory map.  fd is duplicated.  *first: its first pfn.
 * The attributes of the range are those that the kernel maps it with: WB for memory, WC for a resource file that ends
 * in _wc, UC for other devices' (of /dev/mem only if it was opened with O_SYNC, else WB).  Of two views of one device
 * the kernel gives the second what the first has, and does not say so: show one at a time.
 * -VMF_EINVAL: not pages, past the end of the file; -VMF_ENOMEM. */
int vmf_linux_aperture(struct vmf_port *, int fd, off_t at, uint64_t pages, vmf_pfn *first);

/* ------------------------------------------------------------------------------------- files as objects */

struct vmf_file_config {
	uint32_t size, flags; /* VMF_STREAM, VMF_RDONLY */
	uint32_t around, readahead; /* as in struct vmf_backed */
	uint64_t pages;
};
/* A file as an object.  Holes of the file are zero and not read.  config NULL: writable, one page a fault,
 * readahead of 32 pages.  Positive: errno of open or fstat; else as vmf_object_backed(). */
int vmf_file_object(struct vmf_port *, struct vmf_object **, const char *path, const struct vmf_file_config *);

/* ---------------------------------------------------------------------------------- another process's memory */

/* All that is known of a session: flat, without pointers, in memory that can be shared, so that another process can
 * take it over.  The caller makes it with vmf_session_bytes() bytes of zeroes (a memfd costs only what is touched). */
#define VMF_SESSION_REGIONS 64
#define VMF_SESSION_EVENTS 64
/* va and page_size in bytes; pages and off in base pages; removed: where its bitmap starts (one bit for each
 * page_size), in bits from the start of the block. */
struct vmf_session_region { uint64_t va, pages, off, removed; uint32_t page_size, zero; };
struct vmf_session {
	uint32_t magic, version, regions, journal; /* journal: how many of `events` have not been applied yet */
	uint64_t bytes;
	uint64_t faults;     /* taken from the descriptor; each once, however often it is retried */
	uint64_t entered;    /* pages (base pages, these three) entered, zero ones included */
	uint64_t zeroed;     /* of these, pages that were zero */
	uint64_t removed;    /* pages on the removed lists */
	uint64_t bytes_read; /* from the backing, on behalf of this session */
	uint64_t removes, forks; /* events */
	uint64_t failed;     /* faults whose result was an error, each try */
	uint64_t poisoned;   /* pages */
	uint32_t stalled;    /* faults that wait for a failed backing at the moment */
	uint32_t zero;
	struct vmf_session_region region[VMF_SESSION_REGIONS];
	/* read() puts messages right here, so that a crash loses no acknowledged remove; one that was applied is
	 * zeroed. */
	uint8_t events[VMF_SESSION_EVENTS][32];
	/* then the bitmaps */
};
struct vmf_linux_region { uint64_t va, bytes, offset; uint32_t page_size; };
/* 0 and *bytes; -VMF_EINVAL: none, too many, empty, unaligned, wrapping, unknown page size; -VMF_EEXIST: overlapping.
 * *bad: index of the region. */
int vmf_session_bytes(const struct vmf_linux_region *, unsigned n, size_t *bytes, unsigned *bad);
int vmf_session_init(struct vmf_session *, const struct vmf_linux_region *, unsigned n);

/* A fault that came to nothing. */
struct vmf_failed {
	vmf_va va;
	uint64_t pages;           /* base pages: one page of the client's */
	struct vmf_result result;
	uint32_t tries;           /* so far */
};
/* What to do about faults that fail.  Zeroed: 5 tries, 1 ms after the first and twice as long after each; then
 * poison, and if the kernel cannot, the session ends. */
struct vmf_adopt {
	uint32_t size;
	uint32_t tries;    /* before `failed` is called; 0: 5.  An end of file is not tried again */
	uint32_t first_ms, last_ms; /* back-off: from (0: 1) up to (0: 1000) */
	/* What now?  > 0: park the fault, and try it again in so many ns (and, if that fails too, ask again).  0: it is
	 * dealt with (vmf_linux_poison()): forget it.  < 0: the session ends, vmf_linux_serve() returns this.
	 * => no lock held; may call vmf_linux_poison() */
	int64_t (*failed)(void *self, struct vmf_space *, const struct vmf_failed *);
	void *self;
};
/* A space that is the memory of whoever handed over this userfaultfd (which stays the caller's, and is made
 * O_NONBLOCK). The regions of the session become areas of `object`, entered by copy; pages on a region's removed
 * list read zero. A session that somebody else served before goes on where it was: its journal is applied, and its
 * ranges are woken.
 * A page that is unmapped is forgotten, one that is moved keeps its bytes.  A child that the other process forks is not
 * served: its absent pages are poisoned.
 * The object should be VMF_STREAM if nobody else uses it, and has to be for huge pages.  adopt NULL: as if zeroed.
 * -VMF_EINVAL: not a userfaultfd, or not a session; -VMF_ENOSYS: it cannot do what is needed; -VMF_EFAULT: a region
 * is not registered; -VMF_EGONE: the process is gone. */
int vmf_linux_adopt(struct vmf_port *, struct vmf_space **, int uffd, struct vmf_session *, struct vmf_object *,
		    const struct vmf_adopt *);
/* => sleeps; nobody is in a call for this space.  Wakes nobody: faults that are left sleep until they are served
 * again. */
void vmf_linux_adopt_close(struct vmf_space *);
/* Call when the descriptor is readable, or when vmf_linux_due() says so; by several threads at once if you like.
 * Reads what there is, applies removes first, resolves faults.  Blocks only in the backing, and for some
 * milliseconds where a parked fault will be ready soon.  Returns how many faults it resolved; -VMF_EGONE: the
 * process is gone; -VMF_ENOSPC: its layout is in more pieces than the session has room for; else what `failed` said
 * (without one: -VMF_EIO). */
int vmf_linux_serve(struct vmf_space *);
/* ns until vmf_linux_serve() should be called though the descriptor is not readable; UINT64_MAX: no need. */
uint64_t vmf_linux_due(struct vmf_space *);
/* From now on an access to these pages, if they are absent, is SIGBUS in the other process; who waits for them gets
 * it now. -VMF_ENOSYS: this kernel cannot (older than 6.6); -VMF_EGONE: gone; -VMF_EAGAIN: its layout keeps
 * changing. */
int vmf_linux_poison(struct vmf_space *, vmf_va, uint64_t pages);
bool vmf_linux_can_poison(void);

#ifdef __cplusplus
}
#endif
#endif
