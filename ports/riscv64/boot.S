/* SPDX-License-Identifier: MIT
 *
 * RISC-V, S-mode, one hart: start, traps, and accesses that may fail.
 */
	.section .text.boot, "ax"
	.globl _start
_start:
	la	sp, stack_top
	la	t0, bss_start
	la	t1, bss_end
1:	bgeu	t0, t1, 2f
	sd	zero, 0(t0)
	addi	t0, t0, 8
	j	1b
2:	la	t0, trap
	csrw	stvec, t0
	call	metal_main
	li	a0, 3
	tail	board_exit

	.text
/* All that C code may change, and what a nested trap would overwrite. */
	.align	2
trap:
	addi	sp, sp, -144
	sd	ra, 0(sp)
	sd	t0, 8(sp)
	sd	t1, 16(sp)
	sd	t2, 24(sp)
	sd	t3, 32(sp)
	sd	t4, 40(sp)
	sd	t5, 48(sp)
	sd	t6, 56(sp)
	sd	a0, 64(sp)
	sd	a1, 72(sp)
	sd	a2, 80(sp)
	sd	a3, 88(sp)
	sd	a4, 96(sp)
	sd	a5, 104(sp)
	sd	a6, 112(sp)
	sd	a7, 120(sp)
	csrr	t0, sstatus
	sd	t0, 128(sp)
	csrr	a0, scause
	csrr	a1, stval
	csrr	a2, sepc
	call	riscv_trap
	csrw	sepc, a0
	ld	t0, 128(sp)
	csrw	sstatus, t0
	ld	ra, 0(sp)
	ld	t0, 8(sp)
	ld	t1, 16(sp)
	ld	t2, 24(sp)
	ld	t3, 32(sp)
	ld	t4, 40(sp)
	ld	t5, 48(sp)
	ld	t6, 56(sp)
	ld	a0, 64(sp)
	ld	a1, 72(sp)
	ld	a2, 80(sp)
	ld	a3, 88(sp)
	ld	a4, 96(sp)
	ld	a5, 104(sp)
	ld	a6, 112(sp)
	ld	a7, 120(sp)
	addi	sp, sp, 144
	sret

	.globl	board_access, board_peek, board_poke, board_access_end, board_access_failed
board_access:
board_peek:
	lw	a0, 0(a0)
	sw	a0, 0(a1)
	li	a0, 0
	ret
board_poke:
	sw	a1, 0(a0)
	li	a0, 0
	ret
board_access_end:
board_access_failed:
	li	a0, 1
	ret

	.macro	expect reg, value
	addi	\reg, \reg, -(\value)
	snez	\reg, \reg
	add	s0, s0, \reg
	.endm
	.globl	board_registers
board_registers:
	addi	sp, sp, -32
	sd	ra, 0(sp)
	sd	s0, 8(sp)
	sd	a0, 16(sp)
	li	s0, 0
	li	ra, 101
	li	t0, 102
	li	t1, 103
	li	t2, 104
	li	t3, 105
	li	t4, 106
	li	t5, 107
	li	t6, 108
	li	a1, 109
	li	a2, 110
	li	a3, 111
	li	a4, 112
	li	a5, 113
	li	a6, 114
	li	a7, 115
	lw	zero, 0(a0)
	expect	ra, 101
	expect	t0, 102
	expect	t1, 103
	expect	t2, 104
	expect	t3, 105
	expect	t4, 106
	expect	t5, 107
	expect	t6, 108
	expect	a1, 109
	expect	a2, 110
	expect	a3, 111
	expect	a4, 112
	expect	a5, 113
	expect	a6, 114
	expect	a7, 115
	ld	t0, 16(sp)
	xor	t0, t0, a0
	snez	t0, t0
	add	a0, s0, t0
	ld	ra, 0(sp)
	ld	s0, 8(sp)
	addi	sp, sp, 32
	ret

	.section .bss
	.align	12
	.skip	65536
stack_top:
