/* SPDX-License-Identifier: MIT
 *
 * Is memory what a file holds?  Bytes past the end of the file have to be zero.
 */
#ifndef VMF_CLI_VERIFY_H
#define VMF_CLI_VERIFY_H
#include <stdint.h>

/* 0: every byte is; 1: *at is the offset of the first that is not; or a negative errno of reading the file. */
int vmf__verify(const unsigned char *memory, uint64_t bytes, int fd, uint64_t *at);

#endif
