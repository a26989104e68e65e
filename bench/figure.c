/* SPDX-License-Identifier: MIT
 *
 * Figures as a table, as JSON, as a picture.
 */
#include "figure.h"

#include <stdlib.h>
#include <string.h>

void figure_add(struct figure *f, double floor, double ours)
{
	if (f->n == FIGURE_ROUNDS)
		return;
	f->floor[f->n] = floor;
	f->ours[f->n++] = ours;
}

static int by_value(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return x < y ? -1 : x > y;
}

static double median(const double *v, unsigned n)
{
	double sorted[FIGURE_ROUNDS];

	memcpy(sorted, v, n * sizeof(*v));
	qsort(sorted, n, sizeof(*sorted), by_value);
	return n ? sorted[n / 2] : 0;
}

struct figured figure_sum(const struct figure *f)
{
	double ratio[FIGURE_ROUNDS];
	struct figured s = { .floor = median(f->floor, f->n), .ours = median(f->ours, f->n) };

	for (unsigned i = 0; i < f->n; i++)
		ratio[i] = f->ours[i] / f->floor[i];
	s.ratio = median(ratio, f->n);
	s.good = !f->limit || (f->at_least ? s.ratio >= f->limit : s.ratio <= f->limit);
	return s;
}

static const char *amount(char *text, size_t n, enum figure_unit unit, double v)
{
	if (unit == FIGURE_TIMES)
		snprintf(text, n, "%.2f x", v);
	else if (unit == FIGURE_INSN)
		snprintf(text, n, "%.0f insn", v);
	else if (unit == FIGURE_BYTES)
		snprintf(text, n, v < 10000 ? "%.1f B" : "%.0f B", v);
	else if (v < 1e6)
		snprintf(text, n, "%.2f us", v / 1e3);
	else
		snprintf(text, n, "%.2f ms", v / 1e6);
	return text;
}

static bool heads(const struct figure *f, unsigned i) { return !i || strcmp(f[i].group, f[i - 1].group); }

/* ------------------------------------------------------------------------------------------------- table */

void figures_table(FILE *out, const struct figure *f, unsigned n)
{
	for (unsigned i = 0; i < n; i++) {
		struct figured s = figure_sum(&f[i]);
		char floor[32], ours[32], limit[32] = "";

		if (heads(f, i))
			fprintf(out, "%-42s %12s %12s %7s   %s\n", f[i].group, "floor", "vmfault", "ratio", "limit");
		if (f[i].limit)
			snprintf(limit, sizeof(limit), "%s%.2f%s", f[i].at_least ? ">= " : "<= ", f[i].limit,
				 s.good ? "" : "  missed");
		fprintf(out, "  %-40s %12s %12s %7.2f   %s\n", f[i].name, amount(floor, sizeof(floor), f[i].unit, s.floor),
			amount(ours, sizeof(ours), f[i].unit, s.ours), s.ratio, limit);
	}
}

/* -------------------------------------------------------------------------------------------------- json */

void figures_json(FILE *out, const struct figure *f, unsigned n)
{
	static const char *const units[] = { "ns", "bytes", "times", "instructions" };

	for (unsigned i = 0; i < n; i++) {
		struct figured s = figure_sum(&f[i]);

		fprintf(out,
			"{\"v\":1,\"group\":\"%s\",\"name\":\"%s\",\"unit\":\"%s\",\"floor\":%.4g,\"ours\":%.4g,\"ratio\":%.3f,",
			f[i].group, f[i].name, units[f[i].unit], s.floor, s.ours, s.ratio);
		if (f[i].limit)
			fprintf(out, "\"%s\":%.2f,\"good\":%s,", f[i].at_least ? "at_least" : "at_most", f[i].limit,
				s.good ? "true" : "false");
		fprintf(out, "\"ratios\":[");
		for (unsigned k = 0; k < f[i].n; k++)
			fprintf(out, "%s%.3f", k ? "," : "", f[i].ours[k] / f[i].floor[k]);
		fprintf(out, "]}\n");
	}
}

/* --------------------------------------------------------------------------------------------------- svg */

enum { WIDTH = 900, LEFT = 270, UNIT = 240, RIGHT = LEFT + 2 * UNIT, ROW = 20, HEAD = 30, TOP = 56 };

static double x_of(double ratio) { return LEFT + UNIT * (ratio < 2 ? ratio : 2); }

static void svg_text(FILE *out, double x, double y, const char *as, const char *text)
{
	fprintf(out, "<text x=\"%.0f\" y=\"%.0f\"%s>", x, y, as);
	for (; *text; text++) {
		if (*text == '<' || *text == '&')
			fputs(*text == '<' ? "&lt;" : "&amp;", out);
		else
			fputc(*text, out);
	}
	fputs("</text>\n", out);
}

static void svg_bar(FILE *out, const struct figure *f, double y)
{
	struct figured s = figure_sum(f);
	char text[64];

	svg_text(out, LEFT - 8, y + 14, " text-anchor=\"end\"", f->name);
	fprintf(out, "<rect x=\"%d\" y=\"%.0f\" width=\"%.1f\" height=\"14\" fill=\"%s\"/>\n", LEFT, y + 3,
		x_of(s.ratio) - LEFT, s.good ? "#4878a8" : "#c03028");
	if (f->limit)
		fprintf(out, "<path d=\"M%.1f %.0fv18\" stroke=\"#000\" stroke-width=\"2\"/>\n", x_of(f->limit), y + 1);
	snprintf(text, sizeof(text), "%.2f", s.ratio);
	if (f->limit)
		snprintf(text + strlen(text), sizeof(text) - strlen(text), " (%s %.2f)", f->at_least ? "at least" : "at most",
			 f->limit);
	svg_text(out, RIGHT + 8, y + 14, "", text);
}

static double svg_height(const struct figure *f, unsigned n)
{
	double y = TOP;

	for (unsigned i = 0; i < n; i++)
		y += ROW + (heads(f, i) ? HEAD : 0);
	return y + 16;
}

static void svg_axis(FILE *out, double height)
{
	for (int i = 0; i <= 4; i++) {
		char text[16];

		fprintf(out, "<path d=\"M%.1f %dV%.0f\" stroke=\"#%s\"/>\n", x_of(i / 2.0), TOP - 4, height - 10,
			i == 2 ? "888" : "ddd");
		snprintf(text, sizeof(text), "%.1f", i / 2.0);
		svg_text(out, x_of(i / 2.0), TOP - 10, " text-anchor=\"middle\" fill=\"#555\"", text);
	}
}

void figures_svg(FILE *out, const struct figure *f, unsigned n)
{
	double height = svg_height(f, n), y = TOP;

	fprintf(out,
		"<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 %d %.0f\" width=\"%d\" height=\"%.0f\" "
		"font-family=\"sans-serif\" font-size=\"12\">\n<rect width=\"100%%\" height=\"100%%\" fill=\"#fff\"/>\n",
		WIDTH, height, WIDTH, height);
	svg_text(out, 16, 22, " font-size=\"15\" font-weight=\"bold\"",
		 "vmfault beside the floor: what a fault costs, as a ratio (black marks: the limits)");
	svg_axis(out, height);
	for (unsigned i = 0; i < n; i++, y += ROW) {
		if (heads(f, i)) {
			svg_text(out, 16, y + HEAD - 8, " font-weight=\"bold\"", f[i].group);
			y += HEAD;
		}
		svg_bar(out, &f[i], y);
	}
	fprintf(out, "</svg>\n");
}
