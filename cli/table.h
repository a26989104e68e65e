/* SPDX-License-Identifier: MIT
 *
 * A table of text: columns as wide as their widest cell; the first one to the left, the others to the right.
 */
#ifndef VMF_CLI_TABLE_H
#define VMF_CLI_TABLE_H
#include <stdint.h>
#include <stdio.h>

enum { VMF_TABLE_COLUMNS = 8, VMF_TABLE_ROWS = 64, VMF_TABLE_CELL = 96 };
struct vmf_table {
	unsigned columns, rows;
	char cell[VMF_TABLE_ROWS][VMF_TABLE_COLUMNS][VMF_TABLE_CELL];
};
/* Starts a row; what does not fit is not kept. */
void vmf__table_row(struct vmf_table *, const char *first);
/* Adds a cell to the row that was started last. */
void vmf__table_cell(struct vmf_table *, const char *format, ...) __attribute__((format(printf, 2, 3)));
void vmf__table_print(const struct vmf_table *, FILE *, unsigned indent);

/* "830 ns", "12.4 us", "1.03 s" */
void vmf__table_time(struct vmf_table *, uint64_t ns);
char *vmf__time_str(uint64_t ns, char *buf, size_t n);
/* "131,072" */
void vmf__table_number(struct vmf_table *, uint64_t);
char *vmf__number_str(uint64_t, char *buf, size_t n);

#endif
