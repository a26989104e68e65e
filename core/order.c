/* SPDX-License-Identifier: MIT
 *
 * The order of locks, checked where they are taken: in builds with VMF_DEBUG, and in no other.
 *
 * Each thread keeps a list of what it holds.  It is the thread's and not the slot's, so that a check takes no slot that
 * a fault would have had; debug builds need a compiler and a platform with thread-local storage.
 */
#include "core.h"

#ifdef VMF_DEBUG

#define HELD 16u

static _Thread_local struct {
	uint32_t n;
	struct { const void *lock; unsigned rank; } held[HELD];
	char text[128];
} mine __attribute__((tls_model("initial-exec")));

static const char *rank_name(unsigned rank)
{
	static const char *const name[VMF_RANK_PORT] = {
		[VMF_RANK_NONE] = "", [VMF_RANK_OUTER] = "outer", [VMF_RANK_SPACE] = "space", [VMF_RANK_DRIVER] = "driver",
		[VMF_RANK_OVERLAY] = "overlay", [VMF_RANK_OBJECT] = "object", [VMF_RANK_AREAS] = "area list",
		[VMF_RANK_PMAP] = "pmap", [VMF_RANK_FRAME] = "frame",
	};

	return rank < VMF_RANK_PORT ? name[rank] : "port";
}

static char *append(char *to, const char *text)
{
	while (*text && to < mine.text + sizeof(mine.text) - 1)
		*to++ = *text++;
	*to = 0;
	return to;
}

static const char *wrong(const char *before, unsigned rank, const char *between, unsigned held)
{
	char *at = append(mine.text, before);

	at = append(at, rank_name(rank));
	at = append(at, between);
	(void)append(at, rank_name(held));
	return mine.text;
}

const char *vmf_rank_take(const void *lock, unsigned rank)
{
	rank = rank ? rank : VMF_RANK_PMAP;
	for (uint32_t i = 0; i < mine.n; i++)
		if (mine.held[i].rank >= rank)
			return wrong("lock order: ", rank, " is taken while this is held: ", mine.held[i].rank);
	if (mine.n == HELD)
		return wrong("too many locks: ", rank, " is taken after ", mine.held[HELD - 1].rank);
	mine.held[mine.n].lock = lock;
	mine.held[mine.n++].rank = rank;
	return NULL;
}

const char *vmf_rank_drop(const void *lock)
{
	uint32_t i = mine.n;

	while (i && mine.held[i - 1].lock != lock)
		i--;
	if (!i)
		return "a lock is dropped that this thread does not hold";
	for (mine.n--; i <= mine.n; i++)
		mine.held[i - 1] = mine.held[i];
	return NULL;
}

uint32_t vmf__rank_held(void) { return mine.n; }

const char *vmf__rank_none(const char *what)
{
	for (uint32_t i = 0; i < mine.n; i++)
		if (mine.held[i].rank != VMF_RANK_DRIVER)
			return wrong("", mine.held[i].rank, what, VMF_RANK_NONE);
	return NULL;
}

void vmf__checked(struct vmf_port *port, const char *bad)
{
	if (!bad)
		return;
	if (port->host->size > offsetof(struct vmf_host_ops, panic) && port->host->panic)
		port->host->panic(port->self, bad);
	__builtin_trap();
}

#else

const char *vmf_rank_take(const void *lock, unsigned rank) { return (void)lock, (void)rank, NULL; }
const char *vmf_rank_drop(const void *lock) { return (void)lock, NULL; }

#endif
