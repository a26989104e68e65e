/* SPDX-License-Identifier: MIT
 *
 * The registry: what is process-wide because the handler of SIGBUS is.  The locals, and one table of their windows,
 * sorted by address.
 *
 * The table is read without a lock, in signal handlers, and changed under one, with signals blocked; `seq` is odd
 * meanwhile, and a reader that saw it odd or changed looks again.  Its words are read and written atomically one by
 * one.
 */
#include "fork.h"

#include <string.h>
#include <sys/mman.h>
#include <time.h>

#define WINDOWS 65536u /* more than max_map_count lets live */
#define LOCALS 512u
#define WORDS (sizeof(struct vmf__window) / sizeof(uint64_t))

_Static_assert(sizeof(struct vmf__window) % sizeof(uint64_t) == 0, "windows are copied by words");

static struct {
	struct vmf__mutex lock;
	_Atomic uint32_t seq, n;
	struct vmf__window *table;
	struct vmf__local *locals;
	_Atomic uint32_t nlocals; /* below it some have lived */
	uint32_t ports, traps;
	uint64_t eras;         /* processes in a row, each a child of the one before, that had spaces */
	_Atomic uint64_t *here; /* a page that no child has: the era of this process, and: somebody begins one */
	const struct vmf__window *left; /* the table of the era before */
	uint32_t nleft;
} registry = { .lock = { .rank = VMF__RANK_TABLE } };

static void lock(void)
{
	vmf__block(NULL);
	vmf__mutex_take(&registry.lock);
}

static void unlock(void)
{
	vmf__mutex_drop(&registry.lock);
	vmf__unblock(NULL);
}

static void *reserve(size_t bytes)
{
	void *p = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	return p == MAP_FAILED ? NULL : p;
}

/* What a child of fork might do through descriptors that it inherited would be done to the parent: so it finds no
 * window and no local. */
static void *reserve_here(size_t bytes)
{
	void *p = reserve(bytes);

	if (p)
		(void)madvise(p, bytes, MADV_WIPEONFORK);
	return p;
}

uint64_t vmf__era(void) { return registry.here ? atomic_load_explicit(&registry.here[0], memory_order_acquire) : 0; }

/* In a child: what it has of the tables is a picture of its parent's, taken at any moment. */
static void begin_era(void)
{
	uint64_t no = 0;

	if (!atomic_compare_exchange_strong(&registry.here[1], &no, 1)) {
		while (!vmf__era())
			(void)nanosleep(&(struct timespec){ .tv_nsec = 50000 }, NULL);
		return;
	}
	registry.left = registry.table;
	registry.nleft = registry.n;
	registry.table = NULL;
	atomic_store(&registry.lock.word, 0);
	registry.seq = registry.n = registry.nlocals = 0;
	registry.ports = vmf__child_inherits(); /* then our handler stays */
	registry.traps = 0;
	vmf__slots_anew();
	atomic_store(&registry.here[0], ++registry.eras);
}

static bool registry_here(void)
{
	if (!registry.here) {
		registry.here = reserve_here(VMF__PAGE);
		if (registry.here)
			atomic_store(&registry.here[0], ++registry.eras);
	}
	return registry.here;
}

int vmf__registry_get(void)
{
	int err = vmf__child_atfork();

	if (err)
		return err;
	if (registry.here && !vmf__era())
		begin_era();
	lock();
	if (!registry.table)
		registry.table = reserve(WINDOWS * sizeof(*registry.table));
	if (!registry.locals)
		registry.locals = reserve_here(LOCALS * sizeof(*registry.locals));
	if (!registry_here() || !registry.table || !registry.locals)
		err = -VMF_ENOMEM;
	else if (registry.ports++ == 0)
		vmf__signal_install(SIGBUS);
	unlock();
	return err;
}

void vmf__registry_put(void)
{
	lock();
	if (--registry.ports == 0)
		vmf__signal_remove(SIGBUS);
	unlock();
}

void vmf__registry_trap_get(void)
{
	lock();
	if (registry.traps++ == 0)
		vmf__signal_install(SIGSEGV);
	unlock();
}

void vmf__registry_trap_put(void)
{
	lock();
	if (--registry.traps == 0)
		vmf__signal_remove(SIGSEGV);
	unlock();
}

/* -------------------------------------------------------------------------------------------- the table */

static void copy_words(void *to, const void *from, size_t n)
{
	const uint64_t *f = from;
	uint64_t *t = to;

	for (size_t i = 0; i < n; i++)
		__atomic_store_n(&t[i], __atomic_load_n(&f[i], __ATOMIC_RELAXED), __ATOMIC_RELAXED);
}

static uintptr_t end_of(uint32_t i) { return __atomic_load_n(&registry.table[i].end, __ATOMIC_RELAXED); }

/* The first window that ends after va. */
static uint32_t at(uintptr_t va)
{
	uint32_t lo = 0, hi = atomic_load_explicit(&registry.n, memory_order_relaxed);

	while (lo < hi) {
		uint32_t mid = lo + (hi - lo) / 2;

		if (end_of(mid) > va)
			hi = mid;
		else
			lo = mid + 1;
	}
	return lo;
}

static uint32_t read_begin(void)
{
	uint32_t seq;

	while ((seq = atomic_load(&registry.seq)) & 1)
		vmf__futex_wait(&registry.seq, seq, 1000000);
	return seq;
}

static bool read_end(uint32_t seq)
{
	atomic_thread_fence(memory_order_acquire);
	return atomic_load_explicit(&registry.seq, memory_order_relaxed) == seq;
}

bool vmf__window_next(uintptr_t va, struct vmf__window *w)
{
	uint32_t seq, i;
	bool there;

	if (!vmf__era())
		return false;
	do {
		seq = read_begin();
		i = at(va);
		there = i < atomic_load_explicit(&registry.n, memory_order_relaxed);
		if (there)
			copy_words(w, &registry.table[i], WORDS);
	} while (!read_end(seq));
	return there;
}

bool vmf__window_find(uintptr_t va, struct vmf__window *w)
{
	return vmf__window_next(va, w) && w->va <= va;
}

/* Of two eras: the child's parent's, and if the child has an era of its own, it is behind. */
bool vmf__window_left(uint32_t *i, struct vmf__window *w)
{
	bool begun = vmf__era();
	uint32_t n = begun ? 0 : atomic_load_explicit(&registry.n, memory_order_relaxed);

	for (; *i < n + registry.nleft; ++*i) {
		copy_words(w, *i < n ? &registry.table[*i] : &registry.left[*i - n], WORDS);
		if (w->va < w->end) {
			++*i;
			return true;
		}
	}
	return false;
}

bool vmf__windows_left_whole(void) { return vmf__era() || !(atomic_load(&registry.seq) & 1); }

/* => lock.  Between the two readers wait or look again. */
static void write_begin(void)
{
	atomic_fetch_add(&registry.seq, 1);
	atomic_thread_fence(memory_order_release);
}

static void write_end(void)
{
	atomic_fetch_add(&registry.seq, 1);
	vmf__futex_wake(&registry.seq, 1 << 30);
}

static void set(uint32_t i, const struct vmf__window *w) { copy_words(&registry.table[i], w, WORDS); }

/* Opens a gap of one at i, or closes it. */
static void shift_up(uint32_t i)
{
	for (uint32_t k = registry.n++; k > i; k--)
		set(k, &registry.table[k - 1]);
}

static void shift_down(uint32_t i)
{
	registry.n--;
	for (uint32_t k = i; k < registry.n; k++)
		set(k, &registry.table[k + 1]);
}

int vmf__window_add(const struct vmf__window *w)
{
	int err = 0;
	uint32_t i;

	lock();
	i = at(w->va);
	if (registry.n == WINDOWS) {
		err = -VMF_ENOMEM;
	} else if (i < registry.n && registry.table[i].va < w->end) {
		err = -VMF_EEXIST;
	} else {
		write_begin();
		shift_up(i);
		set(i, w);
		w->extent->pieces++;
		write_end();
	}
	unlock();
	return err;
}

/* Cuts window i at va into two.  => lock, write_begin() */
static void split(uint32_t i, uintptr_t va)
{
	struct vmf__window lower = registry.table[i], upper = lower;

	if (va <= lower.va || va >= lower.end)
		return;
	upper.first = vmf__window_page(&lower, va);
	if (upper.segment.n)
		upper.segment.n += (va - lower.va) >> VMF__SHIFT;
	upper.va = lower.end = va;
	lower.extent->pieces++;
	shift_up(i);
	set(i, &lower);
	set(i + 1, &upper);
}

static void split_at(uintptr_t va)
{
	uint32_t i = at(va);

	if (i < registry.n)
		split(i, va);
}

typedef bool window_change(struct vmf__window *, unsigned arg); /* false: out of the table */

static int change(struct vmf__local *local, uintptr_t va, uintptr_t end, window_change *how, unsigned arg)
{
	struct vmf__extent *dead = NULL, *next;

	lock();
	if (registry.n > WINDOWS - 2) {
		unlock();
		return -VMF_ENOMEM;
	}
	write_begin();
	split_at(va);
	split_at(end);
	for (uint32_t i = at(va); i < registry.n && registry.table[i].va < end;) {
		struct vmf__window w = registry.table[i];

		if (w.local != local) {
			i++;
			continue;
		}
		if (how(&w, arg)) {
			set(i++, &w);
			continue;
		}
		shift_down(i);
		if (--w.extent->pieces == 0) {
			w.extent->dead = dead;
			dead = w.extent;
		}
	}
	write_end();
	unlock();
	for (; dead; dead = next) {
		next = dead->dead;
		vmf__extent_free(dead);
	}
	return 0;
}

static bool take_out(struct vmf__window *w, unsigned arg)
{
	(void)w;
	(void)arg;
	return false;
}

static bool set_prot(struct vmf__window *w, unsigned prot)
{
	w->prot = (uint8_t)prot;
	return true;
}

int vmf__window_drop(struct vmf__local *local, uintptr_t va, uintptr_t end)
{
	return change(local, va, end, take_out, 0);
}

int vmf__window_prot(struct vmf__local *local, uintptr_t va, uintptr_t end, unsigned prot)
{
	return change(local, va, end, set_prot, prot);
}

/* ---------------------------------------------------------------------------------------------- extents */

static size_t removed_bytes(uint64_t pages) { return (pages + 63) / 64 * sizeof(uint64_t); }

struct vmf__extent *vmf__extent_new(struct vmf__linux *port, unsigned kind, bool trap, uint64_t pages)
{
	struct vmf__extent *x = vmf__memory_take(&port->memory, sizeof(*x));

	if (!x)
		return NULL;
	x->port = port;
	x->lock.rank = VMF__RANK_TABLE;
	x->pages = pages;
	x->fd = -1;
	if (trap && vmf__trap_extent(x, kind == VMF__W_COPY)) {
		vmf__extent_free(x);
		return NULL;
	}
	if (kind == VMF__W_COPY && !trap)
		x->removed = reserve(removed_bytes(pages));
	if (kind == VMF__W_RAW)
		x->raw = reserve(pages * sizeof(*x->raw));
	if ((kind == VMF__W_COPY && !trap && !x->removed) || (kind == VMF__W_RAW && !x->raw)) {
		vmf__extent_free(x);
		return NULL;
	}
	return x;
}

void vmf__extent_free(struct vmf__extent *x)
{
	if (x->removed)
		munmap(x->removed, removed_bytes(x->pages));
	if (x->raw)
		munmap(x->raw, x->pages * sizeof(*x->raw));
	if (x->page)
		vmf__trap_extent_free(x);
	vmf__memory_give(&x->port->memory, x, sizeof(*x));
}

/* ----------------------------------------------------------------------------------------------- locals */

struct vmf__local *vmf__local_take(void)
{
	struct vmf__local *l = NULL;

	lock();
	for (uint32_t i = 0; i < LOCALS && !l; i++)
		if (!registry.locals[i].live) {
			l = &registry.locals[i];
			memset(l, 0, sizeof(*l));
			l->fd[0] = l->fd[1] = -1;
			l->reading.rank = VMF_RANK_OUTER;
			l->showing.rank = VMF__RANK_SHOWING;
			l->live = 1;
			if (i >= registry.nlocals)
				registry.nlocals = i + 1;
		}
	unlock();
	return l;
}

void vmf__local_give(struct vmf__local *l)
{
	lock();
	l->live = 0;
	unlock();
}

struct vmf__local *vmf__local_next(uint32_t *i)
{
	while (*i < registry.nlocals) {
		struct vmf__local *l = &registry.locals[(*i)++];

		if (l->live)
			return l;
	}
	return NULL;
}
