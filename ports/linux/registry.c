/* SPDX-License-Identifier: MIT
 *
 * The registry: what is process-wide because the handler of SIGBUS is.  The locals, and one table of their windows,
 * sorted by address: in chunks, so that among tens of thousands little has to move for one that comes or goes.
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
#define CHUNK 16u
#define CHUNKS 16384u  /* two neighbours are more than half of one: see chunk_join() */
#define LOCALS 512u
#define WORDS (sizeof(struct vmf__window) / sizeof(uint64_t))

_Static_assert(sizeof(struct vmf__window) % sizeof(uint64_t) == 0, "windows are copied by words");

struct place {
	uintptr_t va; /* of its first window */
	uint32_t chunk, n;
};

static struct {
	struct vmf__mutex lock;
	_Atomic uint32_t seq, chunks;
	_Atomic uint32_t n;        /* slots of the table that have been used; empty ones are all zero, or nearly */
	uint32_t windows, spare;   /* spare: a chunk + 1; the next one is in its first slot's `first` */
	struct place *place;       /* the chunks by address */
	struct vmf__window *table; /* CHUNK slots for each chunk */
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

	if (p && madvise(p, bytes, MADV_WIPEONFORK)) {
		munmap(p, bytes);
		p = NULL;
	}
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
	registry.seq = registry.chunks = registry.n = registry.nlocals = 0;
	registry.windows = registry.spare = 0;
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
		registry.table = reserve(CHUNKS * CHUNK * sizeof(*registry.table));
	if (!registry.place)
		registry.place = reserve(CHUNKS * sizeof(*registry.place));
	if (!registry.locals)
		registry.locals = reserve_here(LOCALS * sizeof(*registry.locals));
	if (!registry_here() || !registry.table || !registry.place || !registry.locals)
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

#pragma GCC unroll 8
	for (size_t i = 0; i < n; i++)
		__atomic_store_n(&t[i], __atomic_load_n(&f[i], __ATOMIC_RELAXED), __ATOMIC_RELAXED);
}

#define peek(p) __atomic_load_n((p), __ATOMIC_RELAXED)
#define poke(p, v) __atomic_store_n((p), (v), __ATOMIC_RELAXED)

/* In bounds whatever the numbers are: a reader may have them from the middle of a change. */
static struct vmf__window *slot(uint32_t k, uint32_t i)
{
	return &registry.table[peek(&registry.place[k].chunk) % CHUNKS * CHUNK + i % CHUNK];
}

/* The last chunk that begins at va or below, or the first. */
static uint32_t chunk_at(uintptr_t va)
{
	uint32_t k = 0;

	for (uint32_t n = atomic_load_explicit(&registry.chunks, memory_order_relaxed); n > 1; n -= n / 2)
		k += peek(&registry.place[k + n / 2].va) <= va ? n / 2 : 0;
	return k;
}

/* The first window of a chunk that ends after va; its n if there is none. */
static uint32_t slot_at(uint32_t k, uintptr_t va)
{
	uint32_t lo = 0, hi = peek(&registry.place[k].n);

	while (lo < hi) {
		uint32_t mid = lo + (hi - lo) / 2;

		if (peek(&slot(k, mid)->end) > va)
			hi = mid;
		else
			lo = mid + 1;
	}
	return lo;
}

struct where { uint32_t k, i; };

/* The first window that ends after va; NULL: none. */
static struct vmf__window *seek(uintptr_t va, struct where *at)
{
	uint32_t chunks = atomic_load_explicit(&registry.chunks, memory_order_relaxed);

	if (!chunks)
		return NULL;
	at->k = chunk_at(va);
	at->i = slot_at(at->k, va);
	if (at->i >= peek(&registry.place[at->k].n)) {
		at->k++;
		at->i = 0;
	}
	return at->k < chunks ? slot(at->k, at->i) : NULL;
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
	const struct vmf__window *there;
	struct where at;
	uint32_t seq;

	if (!vmf__era())
		return false;
	do {
		seq = read_begin();
		there = seek(va, &at);
		if (there)
			copy_words(w, there, WORDS);
	} while (!read_end(seq));
	return there;
}

/* The window that this thread found last, if va lies in it: a fault looks twice, and most are where the last one was.
 * Whatever the hint says, it is a slot, in bounds; a table that has changed since has another seq. */
static const struct vmf__window *seek_again(uintptr_t va, uint32_t seq)
{
	const struct vmf__self *me = vmf__self();
	uint32_t k = (uint32_t)(me->found >> 32), i = (uint32_t)me->found;
	const struct vmf__window *w;

	if (me->found_seq != seq || i >= peek(&registry.place[k % CHUNKS].n))
		return NULL;
	w = slot(k % CHUNKS, i);
	return peek(&w->va) <= va && va < peek(&w->end) ? w : NULL;
}

bool vmf__window_find(uintptr_t va, struct vmf__window *w)
{
	const struct vmf__window *there;
	struct where at;
	uint32_t seq;

	if (!vmf__era())
		return false;
	for (;;) {
		seq = read_begin();
		there = seek_again(va, seq);
		if (there) {
			copy_words(w, there, WORDS);
			if (read_end(seq))
				return true;
		}
		there = seek(va, &at);
		if (there)
			copy_words(w, there, WORDS);
		if (read_end(seq))
			break;
	}
	if (!there || w->va > va)
		return false;
	/* By its name: GCC 12 with UBSan tests a pointer to it wrongly. */
	vmf__me.found = (uint64_t)at.k << 32 | at.i;
	atomic_signal_fence(memory_order_seq_cst);
	vmf__me.found_seq = seq;
	return true;
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

static void set(struct vmf__window *to, const struct vmf__window *w) { copy_words(to, w, WORDS); }

/* A chunk k, with the n windows from there, which leave where they were. */
static void chunk_add(uint32_t k, struct vmf__window *from, uint32_t n)
{
	static const struct vmf__window none;
	uint32_t chunk = registry.spare ? registry.spare - 1 : registry.n / CHUNK;
	struct place place = { from->va, chunk, n };

	if (registry.spare)
		registry.spare = (uint32_t)registry.table[chunk * CHUNK].first;
	else
		registry.n += CHUNK;
	for (uint32_t j = registry.chunks++; j > k; j--)
		copy_words(&registry.place[j], &registry.place[j - 1], sizeof(place) / sizeof(uint64_t));
	copy_words(&registry.place[k], &place, sizeof(place) / sizeof(uint64_t));
	for (uint32_t i = 0; i < n; i++) {
		set(slot(k, i), &from[i]);
		set(&from[i], &none);
	}
}

static void chunk_drop(uint32_t k)
{
	struct vmf__window none = { .first = registry.spare };

	registry.spare = registry.place[k].chunk + 1;
	set(slot(k, 0), &none);
	registry.chunks--;
	for (; k < registry.chunks; k++)
		copy_words(&registry.place[k], &registry.place[k + 1], sizeof(struct place) / sizeof(uint64_t));
}

/* Chunk k + 1 goes into chunk k, if both together are half a chunk at most. */
static void chunk_join(uint32_t k)
{
	static const struct vmf__window none;
	struct place *p = &registry.place[k];

	if (k + 1 >= registry.chunks || p[0].n + p[1].n > CHUNK / 2)
		return;
	for (uint32_t i = 0; i < p[1].n; i++) {
		set(slot(k, p[0].n + i), slot(k + 1, i));
		set(slot(k + 1, i), &none);
	}
	poke(&p[0].n, p[0].n + p[1].n);
	chunk_drop(k + 1);
}

/* At either end a chunk is begun, so that they are full whichever way addresses are given out; elsewhere one that is
 * full becomes two. */
static void insert(struct vmf__window w)
{
	uint32_t k = chunk_at(w.va), i = registry.chunks ? slot_at(k, w.va) : CHUNK;
	struct place *p = &registry.place[k];

	if (i == CHUNK && k + 1 >= registry.chunks) {
		chunk_add(registry.chunks, &w, 1);
		return;
	}
	if (p->n == CHUNK && i == 0 && k == 0) {
		chunk_add(0, &w, 1);
		return;
	}
	if (p->n == CHUNK) {
		chunk_add(k + 1, slot(k, CHUNK / 2), CHUNK / 2);
		poke(&p->n, CHUNK / 2);
		insert(w);
		return;
	}
	for (uint32_t j = p->n; j > i; j--)
		set(slot(k, j), slot(k, j - 1));
	set(slot(k, i), &w);
	poke(&p->n, p->n + 1);
	poke(&p->va, slot(k, 0)->va);
}

static void erase(const struct where *at)
{
	static const struct vmf__window none;
	struct place *p = &registry.place[at->k];

	poke(&p->n, p->n - 1);
	for (uint32_t i = at->i; i < p->n; i++)
		set(slot(at->k, i), slot(at->k, i + 1));
	set(slot(at->k, p->n), &none);
	if (p->n) {
		poke(&p->va, slot(at->k, 0)->va);
		chunk_join(at->k);
	} else {
		chunk_drop(at->k);
	}
	if (at->k)
		chunk_join(at->k - 1);
}

int vmf__window_add(const struct vmf__window *w)
{
	const struct vmf__window *next;
	struct where at;
	int err = 0;

	lock();
	next = seek(w->va, &at);
	if (registry.windows == WINDOWS) {
		err = -VMF_ENOMEM;
	} else if (next && next->va < w->end) {
		err = -VMF_EEXIST;
	} else {
		write_begin();
		insert(*w);
		registry.windows++;
		w->extent->pieces++;
		write_end();
	}
	unlock();
	return err;
}

/* Cuts the window at va into two.  => lock, write_begin() */
static void split_at(uintptr_t va)
{
	struct where at;
	struct vmf__window *lower = seek(va, &at), upper;

	if (!lower || va <= lower->va)
		return;
	upper = *lower;
	upper.first = vmf__window_page(lower, va);
	if (upper.segment.n)
		upper.segment.n += (va - lower->va) >> VMF__SHIFT;
	upper.va = va;
	poke(&lower->end, va);
	upper.extent->pieces++;
	insert(upper);
	registry.windows++;
}

/* => lock */
static uint32_t cuts(uintptr_t va)
{
	struct where at;
	const struct vmf__window *w = seek(va, &at);

	return w && w->va < va;
}

static bool room_to_cut(uintptr_t va, uintptr_t end) { return registry.windows + cuts(va) + cuts(end) <= WINDOWS; }

int vmf__window_cut(uintptr_t va, uintptr_t end)
{
	bool room;

	lock();
	room = room_to_cut(va, end);
	if (room && cuts(va) + cuts(end)) {
		write_begin();
		split_at(va);
		split_at(end);
		write_end();
	}
	unlock();
	return room ? 0 : -VMF_ENOMEM;
}

typedef bool window_change(struct vmf__window *, unsigned arg); /* false: out of the table */

static void extents_free(struct vmf__extent *dead)
{
	for (struct vmf__extent *next; dead; dead = next) {
		next = dead->dead;
		vmf__extent_free(dead);
	}
}

/* Returns what nobody has any more.  For a moment there may be two windows too many, for which there are chunks.
 * => lock */
static struct vmf__extent *change_all(struct vmf__local *local, uintptr_t va, uintptr_t end, window_change *how,
				      unsigned arg)
{
	struct vmf__extent *dead = NULL;
	struct where at;

	write_begin();
	split_at(va);
	split_at(end);
	for (struct vmf__window *s; (s = seek(va, &at)) && s->va < end;) {
		struct vmf__window w = *s;

		va = w.end;
		if (w.local != local)
			continue;
		if (how(&w, arg)) {
			set(s, &w);
			continue;
		}
		erase(&at);
		registry.windows--;
		if (--w.extent->pieces == 0) {
			w.extent->dead = dead;
			dead = w.extent;
		}
	}
	write_end();
	return dead;
}

static int change(struct vmf__local *local, uintptr_t va, uintptr_t end, window_change *how, unsigned arg)
{
	struct vmf__extent *dead = NULL;
	bool room;

	lock();
	room = room_to_cut(va, end);
	if (room)
		dead = change_all(local, va, end, how, arg);
	unlock();
	extents_free(dead);
	return room ? 0 : -VMF_ENOMEM;
}

static bool take_out(struct vmf__window *w, unsigned arg)
{
	(void)w;
	(void)arg;
	return false;
}

/* The window of which both ends stay when the range goes: only there a window more is needed.  => lock */
static const struct vmf__window *holed(const struct vmf__local *local, uintptr_t va, uintptr_t end)
{
	struct where at;
	const struct vmf__window *w = seek(va, &at);

	return w && w->local == local && w->va < va && end < w->end ? w : NULL;
}

bool vmf__window_gone(struct vmf__local *local, uintptr_t va, uintptr_t end, struct vmf__window *lost)
{
	const struct vmf__window *w;
	struct vmf__extent *dead;

	lock();
	w = registry.windows < WINDOWS ? NULL : holed(local, va, end);
	if (w) {
		*lost = *w;
		vmf__window_clip(lost, end, w->end);
		end = w->end;
	}
	dead = change_all(local, va, end, take_out, 0);
	unlock();
	extents_free(dead);
	return w;
}

void vmf__extent_keep(struct vmf__extent *x)
{
	lock();
	x->pieces++;
	unlock();
}

void vmf__extent_let(struct vmf__extent *x)
{
	bool last;

	lock();
	last = --x->pieces == 0;
	unlock();
	if (last)
		vmf__extent_free(x);
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

static bool set_order(struct vmf__window *w, unsigned order)
{
	w->order = (uint8_t)order;
	return true;
}

int vmf__window_order(struct vmf__local *local, uintptr_t va, uintptr_t end, unsigned order)
{
	return change(local, va, end, set_order, order);
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
	vmf__extent_unlock(x);
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
