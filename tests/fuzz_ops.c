/* SPDX-License-Identifier: MIT
 *
 * Any sequence of operations on the simulated port, compared with the model's flat arrays.  Byte 0: which kind of
  * window;
 * then a row of 12 bytes for each operation.
 */
#include "fuzzing.h"
#include "model/hosted.h"

struct input { const uint8_t *at; uint32_t n; };

static const struct model_op *row(void *arg, uint32_t i)
{
	static struct model_op op;
	const struct input *in = arg;
	const uint8_t *b = in->at + (size_t)i * 12;

	op = (struct model_op){
		.kind = b[0] % MODEL_KINDS, .space = b[1] % MODEL_SPACES, .page = b[2] % MODEL_PAGES,
		.n = (uint8_t)(1 + b[3] % 8),
		.object = b[4] % MODEL_OBJECTS, .off = b[5] % MODEL_ROOM, .prot = b[6] & 31,
		.flags = b[7] & (VMF_SHARED | VMF_NOFORK | MODEL_POPULATE | MODEL_ANYWHERE),
		.value = b[8] | (uint32_t)b[9] << 8 | (uint32_t)b[10] << 16 | (uint32_t)b[11] << 24,
	};
	return &op;
}

/* What to give the model's own program, which shrinks it. */
static void tell(struct input *in, const struct model_outcome *out)
{
	char text[200];

	for (uint32_t i = 0; i < in->n; i++) {
		struct model_text t = { text, text + sizeof text };

		model_text_op(&t, row(in, i));
		fprintf(stderr, "%s\n", text);
	}
	fprintf(stderr, "operation %u: %s: %s\n", out->op, out->check, out->text);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
	static const char *const window[] = { "by-address", "by-address-unprotected", "by-offset", "by-offset-unprotected",
					      "by-copy" };
	struct input in = { data + 1, n ? (uint32_t)((n - 1) / 12) : 0 };
	struct model_outcome out = { 0 };
	struct model_stage *st;

	if (!in.n)
		return 0;
	st = model_stage_open(window[data[0] % 5]);
	model_run(st, row, &in, in.n, &out);
	if (out.failed) {
		fprintf(stderr, "%s\n", window[data[0] % 5]);
		tell(&in, &out);
		abort();
	}
	model_stage_close(st);
	return 0;
}

FUZZ_MAIN("ops", "\x00\x01\x02\x03\x04\x06\x07\x10", 400)
