#!/bin/bash
# SPDX-License-Identifier: MIT
#
# The library and the list, built for AArch64, and the list run there by qemu-user, which has no
# userfaultfd and does not tell reads from writes: areas trap, and guess.
set -euo pipefail

for tool in aarch64-linux-gnu-gcc qemu-aarch64; do
	if ! command -v $tool >/dev/null; then
		echo "skipped: no $tool"
		exit 77
	fi
done
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT

meson setup --cross-file "$VMF_SOURCE/cross/aarch64-linux.ini" -Dcommand=disabled "$dir/build" "$VMF_SOURCE" \
	>"$dir/log" || { cat "$dir/log"; exit 1; }
meson compile -C "$dir/build" vmfault:shared_library >"$dir/log" || { cat "$dir/log"; exit 1; }
ninja -C "$dir/build" tests/test-list-linux tests/test-list-sim tests/test-linux_degraded >"$dir/log" ||
	{ cat "$dir/log"; exit 1; }

# on PROGRAM ARG...: runs it, and says what of it was not well.
on() {
	if ! timeout 60 qemu-aarch64 -L /usr/aarch64-linux-gnu "$dir/build/tests/test-$1" "${@:2}" >"$dir/out" 2>&1; then
		echo "$*:"
		grep -v '^ok\|^skip' "$dir/out"
		exit 1
	fi
	echo "$*: $(grep -c '^ok' "$dir/out") ok"
}
for store in by-address by-offset by-copy; do
	on list-sim "$store"
done
for mode in threaded in-context; do
	for store in by-offset by-copy; do
		on list-linux "$mode" "$store"
		grep -q '^# shared areas trap' "$dir/out" || { echo "a userfaultfd under qemu-user?"; exit 1; }
	done
done
# What depends on the CPU's context: reads and writes, signals that are handed on.
on linux_degraded handlers_stay_whose_they_are reads_and_writes no_half_pages private_bytes_last
