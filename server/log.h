/* SPDX-License-Identifier: MIT
 *
 * Lines: each is one write(), so lines of several threads do not mix, and what a client sent cannot break one.
 */
#ifndef VMF_SERVER_LOG_H
#define VMF_SERVER_LOG_H

/* "vmfault serve: PATH: MESSAGE" on stderr; without PATH and its colon if it is NULL. */
void vmf__log(const char *path, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* A line on stdout: a result.  0 or -1 (nobody can read it). */
int vmf__print(const char *format, ...) __attribute__((format(printf, 1, 2)));

#endif
