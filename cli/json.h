/* SPDX-License-Identifier: MIT
 *
 * Strings in JSON output.  Numbers and words need no help.
 */
#ifndef VMF_CLI_JSON_H
#define VMF_CLI_JSON_H
#include <stdio.h>

/* The text in quotes, escaped; null for NULL and for an empty one. */
void vmf__json_string(FILE *, const char *text);

#endif
