/* SPDX-License-Identifier: MIT
 *
 * Words and numbers on the console.
 */
#include "metal.h"

void metal_puts(const char *s)
{
	while (*s)
		board_putc(*s++);
}

void metal_put_hex(uintptr_t v)
{
	metal_puts("0x");
	for (unsigned shift = 8 * sizeof(v); shift;) {
		shift -= 4;
		board_putc("0123456789abcdef"[v >> shift & 15]);
	}
}

void metal_put_dec(uint32_t v)
{
	if (v >= 10)
		metal_put_dec(v / 10);
	board_putc((char)('0' + v % 10));
}
