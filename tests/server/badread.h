/* SPDX-License-Identifier: MIT
 *
 * What a test and badread.c say to each other.
 */
#ifndef BADREAD_H
#define BADREAD_H
#include <stdatomic.h>

struct badread {
	atomic_int fail;  /* so many reads fail */
	atomic_int hang;  /* all reads hang as long as it is not 0 */
	atomic_int reads; /* how many have been asked for */
	atomic_int spare; /* the kernel does not say that it can poison pages (1); it does, and cannot (2) */
};
#endif
