/* SPDX-License-Identifier: MIT
 *
 * SIZE, as every command takes it: a decimal or 0x number of bytes, and k, M, G or T (of 1024).  And as they print it.
 */
#ifndef VMF_CLI_SIZE_H
#define VMF_CLI_SIZE_H
#include <stddef.h>
#include <stdint.h>

/* 0; -EINVAL: not a SIZE; -ERANGE: more than 2^64 - 1 bytes.  *bytes is set on success only. */
int vmf__size_parse(const char *text, uint64_t *bytes);
/* "512 MiB", "4.5 GiB", "17 B" into buf (16 bytes always suffice); returns buf. */
char *vmf__size_str(uint64_t bytes, char *buf, size_t n);

#endif
