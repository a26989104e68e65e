#!/bin/bash
# SPDX-License-Identifier: MIT
# Shared by old_kernel.sh and pci_bar.sh: test programs of a build inside Debian's own kernel (6.1 in Debian 12), booted
# by QEMU with an initramfs of busybox, the C library and those programs.  Sets $here, $build and $work.

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
build=$(realpath "${1:-${VMF_BUILD:?usage: ${0##*/} BUILD_DIR [PROGRAM...]}}")
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

skip() {
	echo "skipped: $1"
	exit 77
}

# `guest_kernel`: sets $kernel.
guest_kernel() {
	"$here/../../scripts/deps" qemu </dev/null >"$work/deps.log" 2>&1 ||
		skip "QEMU cannot be installed here: $(tail -n 1 "$work/deps.log")"
	kernel=$(sh "$here/kernel.sh" "$build/tests/qemu-cache" 2>"$work/kernel.log") || {
		[ $? -ne 77 ] || skip "$(tail -n 1 "$work/kernel.log")"
		cat "$work/kernel.log" >&2
		exit 1
	}
}

# `libraries PROGRAM...`: the files that the dynamic linker would load, itself included.
libraries() {
	ldd "$@" | sed -n 's/.*=> \(\/[^ ]*\) .*/\1/p; s/^[[:space:]]*\(\/[^ ]*ld-[^ ]*\) .*/\1/p' | sort -u
}

# `guest_root`: an initramfs for the programs of $work/programs.
guest_root() {
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

# `guest_boot SECONDS [OPTION...]`: what the guest said is then in $work/said.
guest_boot() {
	local limit=$1
	shift
	timeout "$limit" qemu-system-x86_64 -machine q35 -accel tcg,thread=multi -cpu max -smp 2 -m 1536 -display none \
		-no-reboot -nodefaults -kernel "$kernel" -initrd "$work/initrd" -append 'console=ttyS0 quiet panic=-1' \
		-serial "file:$work/serial" "$@" </dev/null >"$work/qemu.log" 2>&1 &
	if ! wait $!; then
		echo "FAILED: QEMU did not end well in $limit s" >&2
		tail -n 20 "$work"/{qemu.log,serial} >&2
		exit 1
	fi
	tr -d '\r' <"$work/serial" >"$work/said"
}

# `guest_verdict`: a line for each program, with what it said last.  False: one failed.
guest_verdict() {
	sed -n 's/^RESULT 0 /ok /p; s/^RESULT 77 /skip /p; s/^KERNEL /kernel /p; s/^SAID //p' "$work/said"
	if ! grep -q '^END$' "$work/said"; then
		echo "FAILED: the guest did not come to its end" >&2
		tail -n 20 "$work/said" >&2
		return 1
	fi
	grep -q '^RESULT' "$work/said" && ! grep '^RESULT' "$work/said" | grep -qvE '^RESULT (0|77) ' && return 0
	grep -vE '^(RESULT (0|77)|KERNEL|END)' "$work/said" | tail -n 60 >&2
	return 1
}
