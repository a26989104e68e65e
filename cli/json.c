/* SPDX-License-Identifier: MIT
 *
 * Strings in JSON output.  Bytes above 127 pass as they are: text is UTF-8.
 */
#include "json.h"

void vmf__json_string(FILE *f, const char *text)
{
	if (!text || !*text) {
		fputs("null", f);
		return;
	}
	fputc('"', f);
	for (const unsigned char *p = (const unsigned char *)text; *p; p++)
		if (*p == '"' || *p == '\\')
			fprintf(f, "\\%c", *p);
		else if (*p < 32 || *p == 127)
			fprintf(f, "\\u%04x", *p);
		else
			fputc(*p, f);
	fputc('"', f);
}
