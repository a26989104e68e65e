/* SPDX-License-Identifier: MIT
 *
 * Tables, and how times and numbers look in them.
 */
#include "table.h"
#include <inttypes.h>
#include <stdarg.h>
#include <string.h>

void vmf__table_row(struct vmf_table *t, const char *first)
{
	if (t->rows == VMF_TABLE_ROWS)
		return;
	t->rows++;
	t->columns = 0;
	vmf__table_cell(t, "%s", first);
}

void vmf__table_cell(struct vmf_table *t, const char *format, ...)
{
	va_list ap;

	if (!t->rows || t->columns == VMF_TABLE_COLUMNS)
		return;
	va_start(ap, format);
	vsnprintf(t->cell[t->rows - 1][t->columns++], VMF_TABLE_CELL, format, ap);
	va_end(ap);
}

static int width(const struct vmf_table *t, unsigned column)
{
	size_t w = 0;

	for (unsigned r = 0; r < t->rows; r++)
		if (strlen(t->cell[r][column]) > w)
			w = strlen(t->cell[r][column]);
	return (int)w;
}

void vmf__table_print(const struct vmf_table *t, FILE *f, unsigned indent)
{
	int w[VMF_TABLE_COLUMNS];

	for (unsigned c = 0; c < VMF_TABLE_COLUMNS; c++)
		w[c] = width(t, c);
	for (unsigned r = 0; r < t->rows; r++) {
		fprintf(f, "%*s%-*s", (int)indent, "", w[0], t->cell[r][0]);
		for (unsigned c = 1; c < VMF_TABLE_COLUMNS && w[c]; c++)
			fprintf(f, "  %*s", w[c], t->cell[r][c]);
		fputc('\n', f);
	}
}

char *vmf__time_str(uint64_t ns, char *buf, size_t n)
{
	static const char *const unit[] = { "ns", "us", "ms", "s" };
	double v = (double)ns;
	unsigned u = 0;

	while (v >= 999.5 && u < 3) {
		v /= 1000;
		u++;
	}
	snprintf(buf, n, "%.*f %s", !u || v >= 99.95 ? 0 : v >= 9.995 ? 1 : 2, v, unit[u]);
	return buf;
}

void vmf__table_time(struct vmf_table *t, uint64_t ns)
{
	char s[32];

	vmf__table_cell(t, "%s", vmf__time_str(ns, s, sizeof s));
}

char *vmf__number_str(uint64_t v, char *buf, size_t n)
{
	char s[32];
	size_t digits = (size_t)snprintf(s, sizeof s, "%" PRIu64, v), at = 0;

	for (size_t i = 0; i < digits && at + 2 < n; i++) {
		if (i && (digits - i) % 3 == 0)
			buf[at++] = ',';
		buf[at++] = s[i];
	}
	buf[at] = '\0';
	return buf;
}

void vmf__table_number(struct vmf_table *t, uint64_t v)
{
	char s[32];

	vmf__table_cell(t, "%s", vmf__number_str(v, s, sizeof s));
}
