#!/bin/bash
# SPDX-License-Identifier: MIT
#
# metal.sh BOARD DIR [amalgam]: builds the bare-metal test of BOARD (riscv64, mipsel) in DIR, boots it under QEMU, and
# compares what it says with tests/metal/BOARD.txt.  amalgam: of the two files that scripts/amalgam makes, instead of
# core/, pmap/ and include/.  Exit status: 0 passed, 1 failed, 2 usage, 77 no compiler or no QEMU here.
set -euo pipefail

usage() {
	echo "usage: scripts/metal.sh riscv64|mipsel DIR [amalgam]" >&2
	exit 2
}
[ $# -eq 2 ] || [ "${*:3}" = amalgam ] || usage
board=$1
mkdir -p "$2"
out=$(cd "$2" && pwd)
cd "$(dirname "$0")/.."

case $board in
riscv64)
	tool=riscv64-linux-gnu-
	flags=(-march=rv64imac_zicsr_zifencei -mabi=lp64 -mcmodel=medany)
	qemu=(qemu-system-riscv64 -M virt)
	;;
mipsel)
	tool=mipsel-linux-gnu-
	flags=(-march=mips32r2 -mabi=32 -msoft-float -mno-abicalls -G0 -EL)
	qemu=(qemu-system-mipsel -M malta -cpu 24Kf -semihosting)
	;;
*) usage ;;
esac
for need in "${tool}gcc" "${qemu[0]}"; do
	command -v "$need" >/dev/null || { echo "skipped: no $need here (scripts/deps metal installs it)"; exit 77; }
done

flags+=(-std=c11 -O2 -g -ffreestanding -fno-stack-protector -fno-pic -fno-pie -Iinclude
	-Wall -Wextra -Wpedantic -Werror -Wshadow -Wstrict-prototypes -Wmissing-prototypes)
objects=()
mapfile -t sources < <(sed 's:^:core/:' core/sources.txt; sed 's:^:pmap/:' pmap/sources.txt)
if [ "${3:-}" = amalgam ]; then
	scripts/amalgam "$out/amalgam"
	# The rest of the board's sources ask for <vmfault/...>: they get the one header, by each of its names.
	mkdir -p "$out/amalgam/vmfault"
	for header in vmfault host pmap; do
		ln -sf ../vmfault.h "$out/amalgam/vmfault/$header.h"
	done
	sources=("$out/amalgam/vmfault.c")
	flags=("${flags[@]/-Iinclude/-I$out/amalgam}")
fi
for source in "${sources[@]}" drivers/*.c ports/metal/*.c ports/"$board"/*.c ports/"$board"/*.S \
	tests/list/{bolts,special,list,drivers,memory,devices,aliases,backed,backing,adopt,faults,huge,migrate}.c \
	tests/list/{sweep,sweep_entry,sweep_layout,sweep_object}.c \
	tests/model/{access,check,layout,model,object,ops,reference}.c; do
	object=$out/$board-$(basename "$(dirname "$source")")-${source##*/}.o
	extra=()
	case $source in
	ports/metal/string.c) extra=(-fno-tree-loop-distribute-patterns) ;;
	ports/*) extra=(-Wno-pedantic) ;; # inline assembler
	esac
	objects+=("$object")
	"${tool}gcc" "${flags[@]}" "${extra[@]}" -c "$source" -o "$object"
done
elf=$out/$board.elf
"${tool}gcc" "${flags[@]}" -nostdlib -static -no-pie -Wl,-T,"ports/$board/link.ld" -Wl,--build-id=none \
	-Wl,--no-warn-rwx-segments -o "$elf" "${objects[@]}"

log=$out/$board.log
status=0
# One instruction a nanosecond: the same run every time.
timeout 30 "${qemu[@]}" -m 64 -smp 1 -nographic -no-reboot -net none -icount shift=0,sleep=off -kernel "$elf" \
	</dev/null >"$log" 2>&1 || status=$?
tr -d '\r' <"$log" | grep -E '^(ok |not ok |skip |1\.\.|# |died: )' >"$out/$board.txt" || true
cat "$out/$board.txt"
if grep -q 'Unable to load the RISC-V firmware' "$log"; then
	echo "skipped: no OpenSBI here (scripts/deps metal installs it)"
	exit 77
fi
if [ "$status" -ne 0 ]; then
	echo "$board: QEMU ended with status $status (124: it hung); all it said is in $log"
	exit 1
fi
diff -u "tests/metal/$board.txt" "$out/$board.txt" || { echo "$board: not what was expected"; exit 1; }
