/* SPDX-License-Identifier: MIT
 *
 * special: see special.h.
 *
 * A page's word is its lock, too: VIEW_NONE while somebody takes it from one view to another.  Who finds it so answers
 * RETRY.  What is looked at without the lock was true when it was looked at: the view that loses the page is revoked
 * after its word has changed, and an answer that was given before is not entered.
 */
#include "special.h"

#define VIEW_BITS 3u
#define VIEW_NONE ((1u << VIEW_BITS) - 1)

static uint32_t word_of(uint32_t page, unsigned view) { return (page + 1) << VIEW_BITS | view; }
static uint32_t page_of(uint32_t word) { return (word >> VIEW_BITS) - 1; }
static unsigned view_of(uint32_t word) { return word & VIEW_NONE; }

static bool change(uint32_t *word, uint32_t *from, uint32_t to)
{
	return __atomic_compare_exchange_n(word, from, to, false, __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE);
}

/* The first touch.  Two may come at the same time: who is second gives his page back, and takes the other's. */
static enum vmf_code allocate(struct vmf_special *s, const struct vmf_req *req, unsigned view, uint32_t *word)
{
	uint32_t page;

	if (!s->pool.take(s->pool.self, vmf_node(s->port), &page))
		return VMF_OOM;
	*word = 0;
	if (change(&s->word[req->off], word, word_of(page, view)))
		*word = word_of(page, view);
	else
		s->pool.give(s->pool.self, page);
	return VMF_OK;
}

/* Away from the view that has it; it has it again if it cannot be revoked. */
static enum vmf_code take_over(struct vmf_special *s, const struct vmf_req *req, unsigned view, uint32_t *word)
{
	uint32_t *at = &s->word[req->off], old = *word, page = page_of(old);
	int err;

	if (view_of(old) == VIEW_NONE || !change(at, &old, word_of(page, VIEW_NONE)))
		return VMF_RETRY;
	err = vmf_revoke(s->view[view_of(old)].object, req->off, 1);
	*word = err ? old : word_of(page, view);
	__atomic_store_n(at, *word, __ATOMIC_RELEASE);
	vmf_wake(s->port, &s->changed);
	return err ? VMF_RETRY : VMF_OK;
}

static enum vmf_code special_nopfn(const struct vmf_req *req, struct vmf_ans *ans)
{
	struct vmf_special_view *v = req->object_priv;
	struct vmf_special *s = v->of;
	unsigned view = (unsigned)(v - s->view);
	enum vmf_code code = VMF_OK;
	uint32_t word;

	ans->wait = &s->changed;
	ans->seq = vmf_wait_seq(&s->changed);
	ans->why = VMF_WHY_IO; /* somebody is at it, and will be done */
	word = __atomic_load_n(&s->word[req->off], __ATOMIC_ACQUIRE);
	if (!word)
		code = allocate(s, req, view, &word);
	if (code == VMF_OK && view_of(word) != view)
		code = take_over(s, req, view, &word);
	ans->pfn.n = v->first.n + page_of(word);
	ans->n = 1;
	ans->attr = v->attr;
	ans->why = code == VMF_OOM ? VMF_WHY_RESOURCE : ans->why;
	return code;
}

static int special_map(struct vmf_object *object, struct vmf_map *map)
{
	const struct vmf_special_view *v = vmf_object_priv(object);

	map->attr = v->attr;
	return map->flags & VMF_SHARED && map->action != VMF_RAW ? 0 : -VMF_EINVAL;
}

static void special_release(struct vmf_object *object, void *priv)
{
	struct vmf_special *s = ((struct vmf_special_view *)priv)->of;

	(void)object;
	if (__atomic_sub_fetch(&s->open, 1u, __ATOMIC_ACQ_REL))
		return;
	for (uint64_t i = 0; i < s->pages; i++)
		if (s->word[i])
			s->pool.give(s->pool.self, page_of(s->word[i]));
}

static const struct vmf_ops special_ops = {
	.size = sizeof(special_ops),
	.map = special_map,
	.nopfn = special_nopfn,
	.release = special_release,
};

int vmf_special_open(struct vmf_special *s, struct vmf_port *port, uint32_t *word, uint64_t pages)
{
	int err = 0;

	s->port = port;
	s->word = word;
	s->pages = pages;
	s->changed = (struct vmf_wait){ 0 };
	for (uint64_t i = 0; i < pages; i++)
		word[i] = 0;
	for (s->open = 0; s->open < VMF_SPECIAL_VIEWS && !err; s->open += !err) {
		struct vmf_special_view *v = &s->view[s->open];

		v->of = s;
		err = vmf_object_create(port, &v->object, &special_ops, v, pages);
	}
	for (uint32_t i = s->open; err && i--;)
		vmf_object_put(s->view[i].object);
	return err;
}

void vmf_special_close(struct vmf_special *s)
{
	for (unsigned i = 0; i < VMF_SPECIAL_VIEWS; i++)
		vmf_object_put(s->view[i].object);
}
