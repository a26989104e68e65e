/* SPDX-License-Identifier: MIT
 *
 * soak [--seconds N] [--seed N] PORT...: eight threads fault, unmap, revoke, write back, reclaim, truncate and fork,
 * all at once and for as long as one likes, without a lost byte.  PORT: sim, threaded, in-context.
 *
 * What makes a lost or a stale byte show: in every page each thread has a word that it alone writes, with a number that
 * only grows.
 *
 *   common   a shared area of an object with a backing: a thread's own word is the last that it wrote, and another's
 *            never goes back, whatever was revoked, written back, reclaimed or read again meanwhile
 *   tail     the end of that object, which is cut off and grows again: a word of before the cut reads zero after it
 *   private  an area that is not shared: its words reach neither the object nor, after a fork, the other space
 *
 * Each thread has to get on in every ten seconds.  At the end what the backing holds is compared word by word, and all
 * that was taken has to be given back.
 */
#include <getopt.h>
#include <sched.h>
#include <time.h>
#include <vmfault/sim.h>
#include "linuxrig.h"

#define THREADS 8u
#define COMMON 192u            /* pages */
#define TAIL 32u
#define PAGES (COMMON + TAIL)
#define PRIVATE 24u
#define STARVED 10u            /* seconds */

/* ------------------------------------------------------------------------------------------- the backing */

/* Bytes in memory, read and written by a thread of its own, so that faults wait. */
struct store {
	pthread_mutex_t lock;
	pthread_cond_t more;
	pthread_t thread;
	struct vmf_io *queue[1024];
	unsigned head, n;
	bool stop, closed;
	uint64_t pages; /* now */
	uint64_t word[PAGES][PAGE / 8];
};

static void store_move(struct store *s, struct vmf_io *io)
{
	uint64_t n;

	pthread_mutex_lock(&s->lock);
	n = io->first < s->pages ? s->pages - io->first : 0;
	for (uint32_t i = 0; i < io->n; i++) {
		uint64_t *bytes = vmf_io_bytes(io, i, NULL), *own = s->word[io->first + i];

		/* What lies past the end is not written, and reads zero. */
		for (unsigned k = 0; k < PAGE / 8 && (i < n || !io->write); k++) {
			if (io->write)
				own[k] = __atomic_load_n(&bytes[k], __ATOMIC_RELAXED);
			else
				__atomic_store_n(&bytes[k], i < n ? own[k] : 0, __ATOMIC_RELAXED);
		}
	}
	pthread_mutex_unlock(&s->lock);
	vmf_io_done(io, io->n, 0);
}

static void *store_thread(void *self)
{
	struct store *s = self;
	struct vmf_io *io;

	pthread_mutex_lock(&s->lock);
	while (!s->stop) {
		if (!s->n) {
			pthread_cond_wait(&s->more, &s->lock);
			continue;
		}
		io = s->queue[s->head++ % 1024];
		s->n--;
		pthread_mutex_unlock(&s->lock);
		store_move(s, io);
		pthread_mutex_lock(&s->lock);
	}
	pthread_mutex_unlock(&s->lock);
	return NULL;
}

static int store_start(void *self, struct vmf_io *io)
{
	struct store *s = self;

	pthread_mutex_lock(&s->lock);
	CHECK(s->n < 1024);
	s->queue[(s->head + s->n++) % 1024] = io;
	pthread_cond_signal(&s->more);
	pthread_mutex_unlock(&s->lock);
	return 0;
}

static int store_length(void *self, uint64_t *bytes)
{
	struct store *s = self;

	pthread_mutex_lock(&s->lock);
	*bytes = s->pages * PAGE;
	pthread_mutex_unlock(&s->lock);
	return 0;
}

static void store_close(void *self) { __atomic_store_n(&((struct store *)self)->closed, true, __ATOMIC_RELEASE); }

/* What is cut off is gone, as in a file. */
static void store_resize(struct store *s, uint64_t pages)
{
	pthread_mutex_lock(&s->lock);
	for (uint64_t i = pages; i < PAGES; i++)
		memset(s->word[i], 0, PAGE);
	s->pages = pages;
	pthread_mutex_unlock(&s->lock);
}

static void store_open(struct store *s)
{
	memset(s, 0, sizeof(*s));
	pthread_mutex_init(&s->lock, NULL);
	pthread_cond_init(&s->more, NULL);
	s->pages = PAGES;
	CHECK(!pthread_create(&s->thread, NULL, store_thread, s));
}

static void store_end(struct store *s)
{
	CHECK_SOON(__atomic_load_n(&s->closed, __ATOMIC_ACQUIRE));
	pthread_mutex_lock(&s->lock);
	s->stop = true;
	pthread_cond_signal(&s->more);
	pthread_mutex_unlock(&s->lock);
	pthread_join(s->thread, NULL);
}

/* ------------------------------------------------------------------------------------------------ a port */

struct soak;
struct worker;
struct ground {
	const char *name;
	void (*open)(struct soak *);
	void (*close)(struct soak *);
	struct vmf_result (*load)(struct vmf_space *, vmf_va, uint64_t *);
	struct vmf_result (*store)(struct vmf_space *, vmf_va, uint64_t);
	void (*fork)(struct worker *);
	void (*forget)(struct vmf_space *, vmf_va, uint64_t pages); /* a madvise(): entries go, bytes stay */
};

enum what { LOOK, WRITE, OWN, WINDOW, REVOKE, SYNC, RECLAIM, FORGET, CUT, FORK, WHATS };
static const char *const what_name[WHATS] = {
	"loads", "stores", "private", "windows", "revokes", "write-backs", "reclaims", "forgets", "cuts", "forks",
};
/* How often, of 4096. */
static const unsigned how_often[WHATS] = { 1400, 1400, 700, 200, 120, 120, 120, 30, 4, 2 };

struct worker {
	struct soak *k;
	pthread_t thread;
	unsigned id;
	uint64_t seed, number;
	uint64_t mine[PAGES];           /* the last word written, 0: none */
	uint64_t others[PAGES][THREADS]; /* the highest number seen */
	uint32_t cut[PAGES];            /* tail: the state of k->cuts when mine[] was certain; odd: it is not */
	uint64_t own[PRIVATE];
	uint64_t done[WHATS], total;    /* atomic */
};
struct soak {
	const struct ground *ground;
	struct vmf_sim *sim;
	struct vmf_port *port;
	struct vmf_space *space;
	struct vmf_object *object;
	struct store store;
	vmf_va common, private;
	uint32_t cuts;                  /* odd: the tail is cut off, or about to */
	pthread_mutex_t cutting;
	bool stop;
	unsigned descriptors;
	struct worker worker[THREADS];
};

/* number << 24 | page << 8 | thread + 1: a word in a wrong place is known as well. */
static uint64_t word_of(const struct worker *w, uint64_t page, uint64_t number)
{
	return number << 24 | page << 8 | (w->id + 1);
}

static vmf_va place(vmf_va base, uint64_t page, unsigned thread) { return base + page * PAGE + thread * 64; }

/* Private words are where nobody writes in common pages. */
static vmf_va own_place(const struct worker *w, uint64_t page)
{
	return place(w->k->private, page, THREADS + w->id);
}

static uint32_t any(struct worker *w, uint32_t below) { return vmtest_random(&w->seed) % below; }

static void wrong(const struct worker *w, const char *what, uint64_t page, uint64_t is, uint64_t not)
{
	vmtest_fail("%s: thread %u, page %llu: %s: 0x%llx, not 0x%llx", w->k->ground->name, w->id,
		    (unsigned long long)page, what, (unsigned long long)is, (unsigned long long)not);
}

static void check_result(const struct worker *w, struct vmf_result r, const char *what, uint64_t page)
{
	char is[80];

	if (r.code != VMF_OK)
		vmtest_fail("%s: thread %u, page %llu: %s: %s", w->k->ground->name, w->id, (unsigned long long)page, what,
			    vmf_result_str(r, is, sizeof(is)));
}

/* ----------------------------------------------------------------------------------------- common pages */

static void check_word(struct worker *w, uint64_t page, unsigned whose, uint64_t is)
{
	uint64_t seen = is >> 24;

	if (is && (is >> 8 & 0xffff) != page)
		wrong(w, "of another page", page, is, page);
	if (is && (is & 0xff) != whose + 1)
		wrong(w, "of another thread", page, is, whose + 1);
	if (whose == w->id && is != w->mine[page])
		wrong(w, "my word", page, is, w->mine[page]);
	if (seen < w->others[page][whose])
		wrong(w, "somebody's word went back", page, seen, w->others[page][whose]);
	w->others[page][whose] = seen;
}

static void look_at(struct worker *w, vmf_va base, uint64_t first, uint64_t page)
{
	unsigned whose = any(w, 4) ? any(w, THREADS) : w->id;
	uint64_t is = 0;

	check_result(w, w->k->ground->load(w->k->space, place(base, page - first, whose), &is), "load", page);
	check_word(w, page, whose, is);
}

static void write_to(struct worker *w, vmf_va base, uint64_t first, uint64_t page)
{
	uint64_t word = word_of(w, page, ++w->number);

	check_result(w, w->k->ground->store(w->k->space, place(base, page - first, w->id), word), "store", page);
	w->mine[page] = word;
	w->others[page][w->id] = w->number;
}

/* ------------------------------------------------------------------------------------------------- tail */

static uint32_t cuts_now(const struct worker *w) { return __atomic_load_n(&w->k->cuts, __ATOMIC_SEQ_CST); }

/* The access, and what came of it is known: the tail was whole all the time.  If it was cut off, it may have failed;
 * and for a moment afterwards, where another thread's failure has poisoned the page. */
static bool tail_access(struct worker *w, uint64_t page, uint64_t *word, bool writes, uint32_t *before)
{
	vmf_va at = place(w->k->common, page, w->id);
	struct vmf_result r = { 0 };

	for (unsigned tries = 0; tries < 1000; tries++) {
		*before = cuts_now(w);
		r = writes ? w->k->ground->store(w->k->space, at, *word) : w->k->ground->load(w->k->space, at, word);
		if (r.code != VMF_OK && (r.code != VMF_SIGBUS || (r.why != VMF_WHY_EOF && r.why != VMF_WHY_RACE)))
			break;
		if (*before & 1 || cuts_now(w) != *before)
			return false;
		if (r.code == VMF_OK)
			return true;
		usleep(100);
	}
	check_result(w, r, "in the tail", page);
	return false;
}

static void tail_write(struct worker *w, uint64_t page)
{
	uint64_t word = word_of(w, page, ++w->number);
	uint32_t before;

	w->cut[page] = 1;
	if (!tail_access(w, page, &word, true, &before))
		return;
	w->mine[page] = word;
	w->cut[page] = before;
}

static void tail_look(struct worker *w, uint64_t page)
{
	uint64_t is = 0, want;
	uint32_t before;

	if (!tail_access(w, page, &is, false, &before) || w->cut[page] & 1)
		return;
	want = w->cut[page] == before ? w->mine[page] : 0;
	if (is != want)
		wrong(w, want ? "my word in the tail" : "a word of before the cut", page, is, want);
}

static void resize(struct worker *w, uint64_t pages)
{
	int err, tries = 0;

	store_resize(&w->k->store, pages);
	while ((err = vmf_object_resize(w->k->object)) && tries++ < 1000)
		usleep(100);
	CHECK_ERR(err, 0);
}

static void cut(struct worker *w)
{
	if (pthread_mutex_trylock(&w->k->cutting))
		return;
	__atomic_add_fetch(&w->k->cuts, 1, __ATOMIC_SEQ_CST);
	resize(w, COMMON + any(w, TAIL / 2));
	if (any(w, 2))
		sched_yield();
	resize(w, COMMON);
	resize(w, PAGES);
	__atomic_add_fetch(&w->k->cuts, 1, __ATOMIC_SEQ_CST);
	pthread_mutex_unlock(&w->k->cutting);
}

/* ---------------------------------------------------------------------------------------------- private */

static void own_page(struct worker *w)
{
	uint64_t page = any(w, PRIVATE), is = 0;
	vmf_va at = own_place(w, page);

	check_result(w, w->k->ground->load(w->k->space, at, &is), "private load", page);
	if (is != w->own[page])
		wrong(w, "my private word", page, is, w->own[page]);
	check_result(w, w->k->ground->load(w->k->space, place(w->k->common, page, THREADS + w->id), &is), "load", page);
	if (is)
		wrong(w, "a private word in the object", page, is, 0);
	if (any(w, 2))
		return;
	w->own[page] = word_of(w, page, ++w->number);
	check_result(w, w->k->ground->store(w->k->space, at, w->own[page]), "private store", page);
}

/* --------------------------------------------------------------------------------------------- the rest */

static int again(int err, unsigned *tries)
{
	if (err != -VMF_EAGAIN || ++*tries > 1000)
		return 0;
	usleep(200);
	return 1;
}

static void unmap(struct worker *w, vmf_va at, uint64_t pages)
{
	unsigned tries = 0;
	int err;

	do
		err = vmf_unmap(w->k->space, at, pages);
	while (again(err, &tries));
	CHECK_ERR(err, 0);
}

static void protect(struct worker *w, vmf_va at, uint64_t pages)
{
	unsigned tries = 0;
	int err;

	do
		err = vmf_protect(w->k->space, at, pages, VMF_R);
	while (again(err, &tries));
	CHECK_ERR(err, 0);
}

/* Some pages once more at another address, perhaps protected, perhaps unmapped in three pieces. */
static void window(struct worker *w)
{
	uint64_t pages = 1 + any(w, 16), first = any(w, COMMON - 16), middle = pages / 2;
	struct vmf_map m = { .size = sizeof(m), .flags = VMF_SHARED, .pages = pages, .off = first, .prot = VMF_R | VMF_W };
	unsigned tries = 0;
	vmf_va at;
	int err;

	do
		err = vmf_map(w->k->space, w->k->object, &m, &at);
	while (again(err, &tries));
	CHECK_ERR(err, 0);
	for (unsigned i = 0; i < 4; i++)
		(any(w, 2) ? write_to : look_at)(w, at, first, first + any(w, (uint32_t)pages));
	if (any(w, 4) == 0)
		protect(w, at, pages);
	look_at(w, at, first, first);
	if (!middle || any(w, 2)) {
		unmap(w, at, pages);
		return;
	}
	unmap(w, at + middle * PAGE, 1); /* and from now on these addresses are anybody's */
	look_at(w, at, first, first);
	unmap(w, at, middle);
	if (middle + 1 < pages)
		unmap(w, at + (middle + 1) * PAGE, pages - middle - 1);
}

static void act(struct worker *w, enum what what)
{
	uint64_t first = any(w, COMMON), n = 1 + any(w, 32), page = any(w, PAGES);
	struct soak *k = w->k;

	switch (what) {
	case LOOK:
		page < COMMON ? look_at(w, k->common, 0, page) : tail_look(w, page);
		break;
	case WRITE:
		page < COMMON ? write_to(w, k->common, 0, page) : tail_write(w, page);
		break;
	case OWN:
		own_page(w);
		break;
	case WINDOW:
		window(w);
		break;
	case REVOKE:
		CHECK_ERR(vmf_revoke(k->object, first, n), 0);
		break;
	case SYNC:
		CHECK_ERR(vmf_sync(k->object, first, n, NULL), 0);
		break;
	case RECLAIM:
		(void)vmf_reclaim(k->object, first, n);
		break;
	case FORGET:
		k->ground->forget(k->space, k->common + first * PAGE, n);
		break;
	case CUT:
		cut(w);
		break;
	default:
		k->ground->fork(w);
	}
}

static enum what choose(struct worker *w)
{
	unsigned at = any(w, 4096);

	for (unsigned i = 0; i < WHATS; i++) {
		if (at < how_often[i])
			return (enum what)i;
		at -= how_often[i];
	}
	return LOOK;
}

static void *work(void *self)
{
	struct worker *w = self;

	while (!__atomic_load_n(&w->k->stop, __ATOMIC_RELAXED)) {
		enum what what = choose(w);

		act(w, what);
		__atomic_fetch_add(&w->done[what], 1, __ATOMIC_RELAXED);
		__atomic_fetch_add(&w->total, 1, __ATOMIC_RELAXED);
	}
	return NULL;
}

/* ---------------------------------------------------------------------------------------- the simulated port */

static struct vmf_result sim_load(struct vmf_space *space, vmf_va va, uint64_t *word)
{
	return vmf_sim_load(space, va, word, sizeof(*word));
}

static struct vmf_result sim_store(struct vmf_space *space, vmf_va va, uint64_t word)
{
	return vmf_sim_store(space, va, &word, sizeof(word));
}

static void sim_open(struct soak *k)
{
	const struct vmf_sim_config config = { .size = sizeof(config), .protect = true, .ram_pages = 4096 };

	CHECK_ERR(vmf_sim_open(&k->sim, &config), 0);
	k->port = vmf_sim_port(k->sim);
	CHECK_ERR(vmf_sim_space(k->sim, &k->space), 0);
}

static void sim_close(struct soak *k)
{
	struct vmf_frame *frame[4096];
	unsigned n = 0;

	vmf_sim_space_close(k->space);
	vmf_port_tidy(k->port);
	while (n < 4096 && !vmf_frame_alloc(k->port, 0, 0, false, &frame[n]))
		n++;
	CHECK_EQ(n, 4096);
	while (n)
		vmf_frame_put(k->port, frame[--n]);
	vmf_sim_close(k->sim); /* aborts if memory was left */
}

/* A word of this thread's in the copy: it has not written since.  Then each has its own. */
static void copy_check(struct worker *w, struct vmf_space *copy, uint64_t page)
{
	vmf_va at = own_place(w, page);
	uint64_t is = 0;

	check_result(w, sim_load(copy, at, &is), "load of a copy", page);
	if (is != w->own[page])
		wrong(w, "my private word in the copy", page, is, w->own[page]);
	check_result(w, sim_store(copy, at, ~UINT64_C(0)), "store to a copy", page);
	check_result(w, sim_load(w->k->space, at, &is), "load after a copy", page);
	if (is != w->own[page])
		wrong(w, "my private word after the copy's was written", page, is, w->own[page]);
	w->own[page] = word_of(w, page, ++w->number);
	check_result(w, sim_store(w->k->space, at, w->own[page]), "store after a copy", page);
	check_result(w, sim_load(copy, at, &is), "load of a copy", page);
	if (is != ~UINT64_C(0))
		wrong(w, "the copy's own word", page, is, ~UINT64_C(0));
}

static void sim_fork(struct worker *w)
{
	struct vmf_space *copy;
	uint64_t page = any(w, COMMON), first = any(w, PRIVATE), is = 0;

	CHECK_ERR(vmf_sim_space(w->k->sim, &copy), 0);
	CHECK_ERR(vmf_space_copy(copy, w->k->space), 0);
	for (unsigned i = 0; i < 4; i++)
		copy_check(w, copy, (first + 5 * i) % PRIVATE);
	check_result(w, sim_load(copy, place(w->k->common, page, w->id), &is), "shared load of a copy", page);
	check_word(w, page, w->id, is);
	vmf_sim_space_close(copy);
}

static const struct ground on_sim = {
	"sim", sim_open, sim_close, sim_load, sim_store, sim_fork, vmf_sim_forget,
};

/* ----------------------------------------------------------------------------------------- this process */

static struct vmf_result linux_result(int sig, vmf_va va)
{
	struct vmf_result r = { 0 };

	if (sig == SIGBUS)
		r = vmf_fault_why((void *)va);
	return sig && r.code == VMF_OK ? (struct vmf_result){ .code = VMF_SIGSEGV } : r;
}

static struct vmf_result linux_load(struct vmf_space *space, vmf_va va, uint64_t *word)
{
	sigjmp_buf back;

	(void)space;
	rig_caught.sig = 0;
	if (sigsetjmp(back, 1)) {
		rig_back = NULL;
		return linux_result(rig_caught.sig, va);
	}
	rig_back = &back;
	*word = __atomic_load_n((uint64_t *)va, __ATOMIC_RELAXED);
	rig_back = NULL;
	return (struct vmf_result){ 0 };
}

static struct vmf_result linux_store(struct vmf_space *space, vmf_va va, uint64_t word)
{
	sigjmp_buf back;

	(void)space;
	rig_caught.sig = 0;
	if (sigsetjmp(back, 1)) {
		rig_back = NULL;
		return linux_result(rig_caught.sig, va);
	}
	rig_back = &back;
	__atomic_store_n((uint64_t *)va, word, __ATOMIC_RELAXED);
	rig_back = NULL;
	return (struct vmf_result){ 0 };
}

static unsigned descriptors(void)
{
	int fd = dup(0);

	close(fd);
	return (unsigned)fd;
}

static void linux_open(struct soak *k, unsigned mode)
{
	const struct vmf_linux_space config = { .size = sizeof(config), .mode = mode, .threads = 2 };
	int err;

	rig_catching();
	k->descriptors = descriptors();
	err = vmf_linux_open(&k->port, NULL);
	if (err)
		vmtest_skip(vmf_err_str(err));
	CHECK_ERR(vmf_linux_space(k->port, &k->space, &config), 0);
}

static void threaded_open(struct soak *k) { linux_open(k, VMF_THREADED); }

static void in_context_open(struct soak *k) { linux_open(k, VMF_IN_CONTEXT); }

static void linux_close(struct soak *k)
{
	vmf_linux_space_close(k->space);
	vmf_linux_close(k->port);
	CHECK_EQ(descriptors(), k->descriptors);
}

static void linux_forget(struct vmf_space *space, vmf_va va, uint64_t pages)
{
	(void)space;
	CHECK_EQ(madvise((void *)va, pages * PAGE, MADV_DONTNEED), 0);
}

/* A child either has the private bytes, and from then on its own, or it gets a signal. */
static void linux_fork(struct worker *w)
{
	uint64_t page = any(w, PRIVATE);
	volatile uint64_t *at = (volatile uint64_t *)own_place(w, page);
	int status;
	pid_t pid = fork();

	CHECK(pid >= 0);
	if (!pid) {
		rig_back = NULL;
		signal(SIGSEGV, SIG_DFL);
		if (*at != w->own[page])
			_exit(1);
		*at = ~UINT64_C(0);
		_exit(*at == ~UINT64_C(0) ? 0 : 2);
	}
	CHECK_EQ(waitpid(pid, &status, 0), pid);
	if (WIFEXITED(status) ? WEXITSTATUS(status) : WTERMSIG(status) != SIGSEGV && WTERMSIG(status) != SIGBUS)
		wrong(w, "a child's end", page, (uint64_t)status, 0);
	if (*at != w->own[page])
		wrong(w, "my private word after the child's was written", page, *at, w->own[page]);
}

static const struct ground on_threaded = {
	"threaded", threaded_open, linux_close, linux_load, linux_store, linux_fork, linux_forget,
};
static const struct ground in_context = {
	"in-context", in_context_open, linux_close, linux_load, linux_store, linux_fork, linux_forget,
};

/* ------------------------------------------------------------------------------------------------- all of it */

static vmf_va show(struct soak *k, unsigned flags, uint64_t pages)
{
	struct vmf_map m = { .size = sizeof(m), .flags = flags, .pages = pages, .prot = VMF_R | VMF_W };
	vmf_va at;

	CHECK_ERR(vmf_map(k->space, k->object, &m, &at), 0);
	return at;
}

static void soak_open(struct soak *k, const struct ground *ground, uint64_t seed)
{
	static const struct vmf_backing_ops ops = { .size = sizeof(ops), .start = store_start, .length = store_length,
						    .close = store_close };
	struct vmf_backed backed = { .size = sizeof(backed), .ops = &ops, .self = &k->store, .around = 4, .readahead = 8 };

	memset(k, 0, sizeof(*k));
	k->ground = ground;
	pthread_mutex_init(&k->cutting, NULL);
	ground->open(k);
	store_open(&k->store);
	CHECK_ERR(vmf_object_backed(k->port, &k->object, &backed), 0);
	k->common = show(k, VMF_SHARED, PAGES);
	k->private = show(k, 0, PRIVATE);
	for (unsigned i = 0; i < THREADS; i++) {
		k->worker[i] = (struct worker){ .k = k, .id = i, .seed = seed + i };
		CHECK(!pthread_create(&k->worker[i].thread, NULL, work, &k->worker[i]));
	}
}

/* The backing has each thread's last words, and none that was private. */
static void final_check(struct soak *k)
{
	CHECK_ERR(vmf_sync(k->object, 0, PAGES, NULL), 0);
	for (unsigned i = 0; i < THREADS; i++)
		for (uint64_t page = 0; page < COMMON; page++) {
			const uint64_t *has = k->store.word[page];

			if (has[i * 8] != k->worker[i].mine[page])
				wrong(&k->worker[i], "in the backing", page, has[i * 8], k->worker[i].mine[page]);
			if (has[(THREADS + i) * 8])
				wrong(&k->worker[i], "a private word in the backing", page, has[(THREADS + i) * 8], 0);
		}
}

static void soak_close(struct soak *k)
{
	__atomic_store_n(&k->stop, true, __ATOMIC_RELAXED);
	for (unsigned i = 0; i < THREADS; i++)
		pthread_join(k->worker[i].thread, NULL);
	final_check(k);
	CHECK_ERR(vmf_unmap(k->space, k->common, PAGES), 0);
	CHECK_ERR(vmf_unmap(k->space, k->private, PRIVATE), 0);
	vmf_object_put(k->object);
	vmf_port_tidy(k->port);
	store_end(&k->store);
	k->ground->close(k);
}

static void progress(const struct soak *k, unsigned seconds)
{
	uint64_t sum[WHATS] = { 0 }, least = UINT64_MAX, most = 0;

	for (unsigned i = 0; i < THREADS; i++) {
		uint64_t total = __atomic_load_n(&k->worker[i].total, __ATOMIC_RELAXED);

		least = total < least ? total : least;
		most = total > most ? total : most;
		for (unsigned j = 0; j < WHATS; j++)
			sum[j] += __atomic_load_n(&k->worker[i].done[j], __ATOMIC_RELAXED);
	}
	printf("%s: %u s:", k->ground->name, seconds);
	for (unsigned j = 0; j < WHATS; j++)
		printf(" %s %llu,", what_name[j], (unsigned long long)sum[j]);
	printf(" a thread %llu to %llu\n", (unsigned long long)least, (unsigned long long)most);
	fflush(stdout);
}

/* Nobody may stand still for ten seconds. */
static void check_starving(struct soak *k, uint64_t *before)
{
	for (unsigned i = 0; i < THREADS; i++) {
		uint64_t total = __atomic_load_n(&k->worker[i].total, __ATOMIC_RELAXED);

		if (total == before[i])
			wrong(&k->worker[i], "starved", 0, total, total + 1);
		before[i] = total;
	}
}

static void soak(const struct ground *ground, unsigned seconds, uint64_t seed)
{
	static struct soak k;
	uint64_t before[THREADS] = { 0 };
	unsigned at = 0;

	vmtest_case = ground->name;
	alarm(seconds + 60);
	soak_open(&k, ground, seed);
	while (at < seconds) {
		sleep(1);
		at++;
		if (at % STARVED == 0)
			check_starving(&k, before);
		if (at % 60 == 0 && at < seconds)
			progress(&k, at);
	}
	progress(&k, at);
	soak_close(&k);
	alarm(0);
}

static void usage(void)
{
	fprintf(stderr, "usage: soak [--seconds N] [--seed N] sim|threaded|in-context...\n");
	vmtest_end(2);
}

static uint64_t number(const char *text)
{
	char *end;
	uint64_t n = strtoull(text, &end, 10);

	if (*end || end == text || n > UINT32_MAX)
		usage();
	return n;
}

int main(int argc, char **argv)
{
	static const struct option option[] = {
		{ "seconds", required_argument, NULL, 's' }, { "seed", required_argument, NULL, 'r' }, { 0 },
	};
	static const struct ground *const grounds[] = { &on_sim, &on_threaded, &in_context };
	uint64_t seconds = 10, seed = (uint64_t)time(NULL);
	int c;

	while ((c = getopt_long(argc, argv, "", option, NULL)) != -1) {
		if (c == 's')
			seconds = number(optarg);
		else if (c == 'r')
			seed = number(optarg);
		else
			usage();
	}
	if (optind == argc || !seconds)
		usage();
	signal(SIGALRM, vmtest_alarm);
	printf("seed %llu\n", (unsigned long long)seed);
	for (; optind < argc; optind++) {
		unsigned i = 0;

		while (i < 3 && strcmp(argv[optind], grounds[i]->name))
			i++;
		if (i == 3)
			usage();
		soak(grounds[i], (unsigned)seconds, seed);
	}
	return 0;
}
