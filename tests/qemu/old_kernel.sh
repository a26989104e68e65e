#!/bin/bash
# SPDX-License-Identifier: MIT
# The tests of the Linux port inside an older kernel: Debian's own (6.1 in Debian 12), booted by QEMU with an
# initramfs of busybox, the C library, and the test programs of a build.
#
#	old_kernel.sh BUILD_DIR [all | "PROGRAM ARGUMENT..."...]
#
# By default the list, in every mode, and what does not try the machine's speed; `all`: linux_*, litmus_*, remote_* too.
# Each program is a line, with what it said last.  Exit 0: none failed; 77: QEMU or the kernel cannot be had here.
set -eu

. "$(dirname "$0")/guest.sh"
[ $# -eq 0 ] || shift
limit=400

list() {
	local mode store
	for mode in threaded in-context; do
		for store in by-offset by-copy; do
			echo "test-list-linux $mode $store"
			echo "VMF_WITHOUT=userfaultfd test-list-linux $mode $store"
		done
	done
	for mode in threaded in-context; do
		echo "test-model-linux $mode --seed 1 --ops 2000"
	done
	printf 'test-%s\n' linux_sigbus linux_syscall linux_window linux_driver linux_threads linux_fork litmus_signal \
		remote_session remote_serve file_backing
}

# Storms and rates take an emulated machine long.
everything() {
	local program
	list
	for program in "$build"/tests/test-{linux,litmus,remote}_*; do
		[ ! -x "$program" ] || [ -d "$program" ] || echo "${program##*/}"
	done | grep -v '^test-remote_rate$'
}

guest_kernel
case ${1:-list} in
list) list ;;
all) limit=1800 && everything ;;
*) printf '%s\n' "$@" ;;
esac >"$work/programs"
guest_root
guest_boot $limit
guest_verdict
