/* SPDX-License-Identifier: MIT
 *
 * Bad input: a call gives what its header says, and nothing has changed.  What is compared is the includer's to say:
 * `struct state` and state_of().
 */
#ifndef INPUT_H
#define INPUT_H
#include <vmfault/vmfault.h>
#include "vmtest.h"

static unsigned input_calls;

/* A call and what it returns: a number, a bool or a pointer.  What it changes must be nothing. */
#define BAD(call, want) \
	do { \
		struct state before_, after_; \
		memset(&before_, 0, sizeof(before_)); \
		memset(&after_, 0, sizeof(after_)); \
		state_of(&before_); \
		long long got_ = (long long)(call), want_ = (long long)(want); \
		state_of(&after_); \
		if (got_ != want_) \
			vmtest_fail("%s is %lld, not %s = %lld", #call, got_, #want, want_); \
		if (memcmp(&before_, &after_, sizeof(before_))) \
			vmtest_fail("%s changed something", #call); \
		input_calls++; \
	} while (0)
#define BAD_NULL(call) BAD((uintptr_t)(call), 0)
#define BAD_VOID(call) BAD(((call), 0), 0)
#define BAD_FAULT(call, code, why) BAD(input_result(call), (code) << 8 | (why))

static inline int input_result(struct vmf_result r) { return r.code << 8 | r.why; }
#endif
