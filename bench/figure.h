/* SPDX-License-Identifier: MIT
 *
 * Figures: what something costs by vmfault, beside what it is measured against, round by round; and how they are shown.
 */
#ifndef BENCH_FIGURE_H
#define BENCH_FIGURE_H
#include <stdbool.h>
#include <stdio.h>

#define FIGURE_ROUNDS 64u

enum figure_unit { FIGURE_NS, FIGURE_BYTES, FIGURE_TIMES, FIGURE_INSN };
struct figure {
	const char *group, *name; /* figures of a group follow each other */
	enum figure_unit unit;    /* of floor and ours */
	double limit;             /* of the ratio, ours to floor; 0: none */
	bool at_least;            /* the limit is one from below */
	unsigned n;
	double floor[FIGURE_ROUNDS], ours[FIGURE_ROUNDS];
};
struct figured { double floor, ours, ratio; bool good; }; /* medians; ratio: of the ratios of each round */

void figure_add(struct figure *, double floor, double ours); /* one more round */
struct figured figure_sum(const struct figure *);
void figures_table(FILE *, const struct figure *, unsigned n);
void figures_json(FILE *, const struct figure *, unsigned n); /* an object a line */
void figures_svg(FILE *, const struct figure *, unsigned n);

#endif
