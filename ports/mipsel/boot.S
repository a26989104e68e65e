/* SPDX-License-Identifier: MIT
 *
 * MIPS32 release 2, kernel mode: start, traps, and accesses that may fail.
 */
	.set	noreorder
	.set	noat
	.section .text.boot, "ax"
	.globl	_start
_start:
	/* Vectors at our base (it can be written while BEV is set), then out of boot mode. */
	la	$t0, vectors
	mtc0	$t0, $15, 1
	ehb
	mfc0	$t0, $12
	li	$t1, ~0x00400007	/* BEV, ERL, EXL, IE */
	and	$t0, $t0, $t1
	mtc0	$t0, $12
	ehb
	la	$sp, stack_top - 16
	la	$t0, bss_start
	la	$t1, bss_end
1:	sltu	$t2, $t0, $t1
	beqz	$t2, 2f
	nop
	sw	$zero, 0($t0)
	b	1b
	addiu	$t0, $t0, 4
2:	jal	metal_main
	nop
	li	$a0, 3
	j	board_exit
	nop

	.text
	.align	12
vectors:
	j	trap			/* +0x000: TLB refill */
	nop
	.org	vectors + 0x180
	j	trap			/* everything else */
	nop
	.org	vectors + 0x200

/* All that C code may change, and what a nested trap would overwrite. */
trap:
	addiu	$sp, $sp, -112
	sw	$at, 16($sp)
	sw	$v0, 20($sp)
	sw	$v1, 24($sp)
	sw	$a0, 28($sp)
	sw	$a1, 32($sp)
	sw	$a2, 36($sp)
	sw	$a3, 40($sp)
	sw	$t0, 44($sp)
	sw	$t1, 48($sp)
	sw	$t2, 52($sp)
	sw	$t3, 56($sp)
	sw	$t4, 60($sp)
	sw	$t5, 64($sp)
	sw	$t6, 68($sp)
	sw	$t7, 72($sp)
	sw	$t8, 76($sp)
	sw	$t9, 80($sp)
	sw	$ra, 84($sp)
	mfhi	$t0
	sw	$t0, 88($sp)
	mflo	$t0
	sw	$t0, 92($sp)
	mfc0	$t0, $12
	sw	$t0, 96($sp)
	mfc0	$a0, $13		/* Cause */
	mfc0	$a1, $8			/* BadVAddr */
	mfc0	$a2, $14		/* EPC */
	/* Out of exception level, so that a fault in a handler is a trap of its own. */
	li	$t1, ~2
	and	$t0, $t0, $t1
	mtc0	$t0, $12
	ehb
	jal	mips_trap
	nop
	lw	$t0, 96($sp)
	mtc0	$t0, $12		/* as saved: in exception level again */
	ehb
	mtc0	$v0, $14
	lw	$t0, 88($sp)
	mthi	$t0
	lw	$t0, 92($sp)
	mtlo	$t0
	lw	$at, 16($sp)
	lw	$v0, 20($sp)
	lw	$v1, 24($sp)
	lw	$a0, 28($sp)
	lw	$a1, 32($sp)
	lw	$a2, 36($sp)
	lw	$a3, 40($sp)
	lw	$t0, 44($sp)
	lw	$t1, 48($sp)
	lw	$t2, 52($sp)
	lw	$t3, 56($sp)
	lw	$t4, 60($sp)
	lw	$t5, 64($sp)
	lw	$t6, 68($sp)
	lw	$t7, 72($sp)
	lw	$t8, 76($sp)
	lw	$t9, 80($sp)
	lw	$ra, 84($sp)
	addiu	$sp, $sp, 112
	ehb
	eret

	.globl	board_access, board_peek, board_poke, board_access_end, board_access_failed
board_access:
board_peek:
	lw	$v0, 0($a0)
	sw	$v0, 0($a1)
	jr	$ra
	move	$v0, $zero
board_poke:
	sw	$a1, 0($a0)
	jr	$ra
	move	$v0, $zero
board_access_end:
board_access_failed:
	jr	$ra
	li	$v0, 1

	.macro	expect reg, value
	xori	\reg, \reg, \value
	sltu	\reg, $zero, \reg
	addu	$s0, $s0, \reg
	.endm
	.globl	board_registers
board_registers:
	addiu	$sp, $sp, -32
	sw	$ra, 16($sp)
	sw	$s0, 20($sp)
	sw	$a0, 24($sp)
	li	$s0, 0
	li	$t0, 121
	mthi	$t0
	li	$t0, 122
	mtlo	$t0
	li	$at, 101
	li	$v0, 102
	li	$v1, 103
	li	$a1, 104
	li	$a2, 105
	li	$a3, 106
	li	$t0, 107
	li	$t1, 108
	li	$t2, 109
	li	$t3, 110
	li	$t4, 111
	li	$t5, 112
	li	$t6, 113
	li	$t7, 114
	li	$t8, 115
	li	$t9, 116
	li	$ra, 117
	lw	$zero, 0($a0)
	expect	$at, 101
	expect	$v0, 102
	expect	$v1, 103
	expect	$a1, 104
	expect	$a2, 105
	expect	$a3, 106
	expect	$t0, 107
	expect	$t1, 108
	expect	$t2, 109
	expect	$t3, 110
	expect	$t4, 111
	expect	$t5, 112
	expect	$t6, 113
	expect	$t7, 114
	expect	$t8, 115
	expect	$t9, 116
	expect	$ra, 117
	mfhi	$t0
	expect	$t0, 121
	mflo	$t0
	expect	$t0, 122
	lw	$t0, 24($sp)
	xor	$t0, $t0, $a0
	expect	$t0, 0
	move	$v0, $s0
	lw	$ra, 16($sp)
	lw	$s0, 20($sp)
	jr	$ra
	addiu	$sp, $sp, 32

/* exit(status) by semihosting. */
	.globl	mips_uhi_exit
mips_uhi_exit:
	li	$t9, 1
	sdbbp	1
	jr	$ra
	nop

	.section .bss
	.align	12
	.skip	65536
stack_top:
