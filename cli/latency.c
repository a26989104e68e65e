/* SPDX-License-Identifier: MIT
 *
 * Slots: one for each length below 64 ns, then 64 for each power of two.
 */
#include "latency.h"

static unsigned slot_of(uint64_t ns)
{
	unsigned power;

	if (ns < VMF_LATENCY_SUB)
		return (unsigned)ns;
	power = 63 - (unsigned)__builtin_clzll(ns);
	return (power - 5) * VMF_LATENCY_SUB + (unsigned)(ns >> (power - 6)) - VMF_LATENCY_SUB;
}

/* The longest that falls into a slot. */
static uint64_t slot_end(unsigned slot)
{
	unsigned power = slot / VMF_LATENCY_SUB;

	if (!power)
		return slot;
	return ((UINT64_C(1) * VMF_LATENCY_SUB + slot % VMF_LATENCY_SUB + 1) << (power - 1)) - 1;
}

void vmf__latency_add(struct vmf_latency *l, uint64_t ns)
{
	l->n++;
	l->slot[slot_of(ns)]++;
	if (ns > l->max)
		l->max = ns;
}

void vmf__latency_merge(struct vmf_latency *l, const struct vmf_latency *from)
{
	l->n += from->n;
	for (unsigned i = 0; i < VMF_LATENCY_SLOTS; i++)
		l->slot[i] += from->slot[i];
	if (from->max > l->max)
		l->max = from->max;
}

uint64_t vmf__latency_at(const struct vmf_latency *l, unsigned per_mille)
{
	uint64_t seen = 0, wanted = l->n / 1000 * per_mille + (l->n % 1000 * per_mille + 999) / 1000;

	for (unsigned i = 0; i < VMF_LATENCY_SLOTS; i++)
		if ((seen += l->slot[i]) >= wanted && seen)
			return slot_end(i) < l->max ? slot_end(i) : l->max;
	return 0;
}
