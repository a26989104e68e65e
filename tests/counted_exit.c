/* SPDX-License-Identifier: MIT
 *
 * For builds that count coverage: who ends by _exit(), as children of tests do, hands in what it has counted.  The
  * linker
 * puts it in between (--wrap=_exit).
 */
#include <stdnoreturn.h>

void __gcov_dump(void);
noreturn void __real__exit(int);
noreturn void __wrap__exit(int);

noreturn void __wrap__exit(int status)
{
	__gcov_dump();
	__real__exit(status);
}
