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

here=$(cd "$(dirname "$0")" && pwd)
build=$(realpath "${1:-${VMF_BUILD:?usage: old_kernel.sh BUILD_DIR [PROGRAM...]}}")
[ $# -eq 0 ] || shift
limit=400
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

skip() {
	echo "skipped: $1"
	exit 77
}

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

# `libraries PROGRAM...`: the files that the dynamic linker would load, itself included.
libraries() {
	ldd "$@" | sed -n 's/.*=> \(\/[^ ]*\) .*/\1/p; s/^[[:space:]]*\(\/[^ ]*ld-[^ ]*\) .*/\1/p' | sort -u
}

root() {
	local root=$work/root program library
	mkdir -p "$root/bin" "$root/tests.d"
	cp "$(command -v busybox)" "$root/bin/busybox"
	install -m 755 "$here/old_init" "$root/init"
	grep -o 'test-[a-z_-]*' "$work/programs" | sort -u | while read -r program; do
		strip -o "$root/tests.d/$program" "$build/tests/$program"
	done
	libraries "$root"/tests.d/* | while read -r library; do
		mkdir -p "$root${library%/*}"
		cp -L "$library" "$root$library"
	done
	cp "$work/programs" "$root/tests"
	(cd "$root" && find . | busybox cpio -o -H newc 2>/dev/null) | gzip -1 >"$work/initrd"
}

boot() {
	timeout $limit qemu-system-x86_64 -machine q35 -accel tcg,thread=multi -cpu max -smp 2 -m 1536 -display none \
		-no-reboot -nodefaults -kernel "$1" -initrd "$work/initrd" -append 'console=ttyS0 quiet panic=-1' \
		-serial "file:$work/serial" </dev/null >"$work/qemu.log" 2>&1 &
	wait $!
}

"$here/../../scripts/deps" qemu </dev/null >"$work/deps.log" 2>&1 ||
	skip "QEMU cannot be installed here: $(tail -n 1 "$work/deps.log")"
kernel=$(sh "$here/kernel.sh" "$build/tests/qemu-cache" 2>"$work/kernel.log") || {
	[ $? -ne 77 ] || skip "$(tail -n 1 "$work/kernel.log")"
	cat "$work/kernel.log" >&2
	exit 1
}
case ${1:-list} in
list) list ;;
all) limit=1800 && everything ;;
*) printf '%s\n' "$@" ;;
esac >"$work/programs"
root
boot "$kernel" || { echo "FAILED: QEMU did not end in $limit s" >&2; tail -n 20 "$work/serial" >&2; exit 1; }
tr -d '\r' <"$work/serial" >"$work/said"
sed -n 's/^RESULT 0 /ok /p; s/^RESULT 77 /skip /p; s/^KERNEL /kernel /p' "$work/said"
if ! grep -q '^END$' "$work/said"; then
	echo "FAILED: the guest did not come to its end" >&2
	tail -n 20 "$work/said" >&2
	exit 1
fi
if grep -q '^RESULT' "$work/said" && ! grep '^RESULT' "$work/said" | grep -qvE '^RESULT (0|77) '; then
	exit 0
fi
grep -vE '^(RESULT (0|77)|KERNEL|END)' "$work/said" | tail -n 60 >&2
exit 1
