/* SPDX-License-Identifier: MIT
 *
 * A driver's mistakes.  Each is a result with a reason in every build; in one with VMF_DEBUG a strict port says what
 * was wrong, where it is found, and goes no further.
 */
#include "core.h"

#ifdef VMF_DEBUG

static _Thread_local char said[160] __attribute__((tls_model("initial-exec")));

static char *say(char *at, const char *text)
{
	while (*text && at < said + sizeof(said) - 1)
		*at++ = *text++;
	*at = 0;
	return at;
}

static char *say_number(char *at, uint64_t v)
{
	char digits[21], *d = digits + sizeof(digits) - 1;

	*d = 0;
	do {
		*--d = (char)('0' + v % 10);
		v /= 10;
	} while (v);
	return say(at, d);
}

struct vmf_result vmf__mistake(const struct vmf_fault *f, enum vmf_why why, const char *what)
{
	if (f->port->strict) {
		char *at = say(said, "a driver's mistake, at page ");

		at = say_number(at, f->off);
		at = say(at, " of its object: ");
		(void)say(at, what);
		vmf__checked(f->port, said);
	}
	return vmf__result(VMF_SIGBUS, why, 0);
}

void vmf__left_over(struct vmf_port *port, uint32_t n, const char *what)
{
	if (n && port->strict) {
		(void)say(say_number(said, n), what);
		vmf__checked(port, said);
	}
}

#else

typedef int vmf__mistake_needs_debug; /* a file of its own may not be empty */

#endif
