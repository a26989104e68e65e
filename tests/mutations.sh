#!/bin/bash
# SPDX-License-Identifier: MIT
#
# Every mutation still applies, names a test and cases that there are, and is in a table of docs/TESTING.md whose rows
# are all covered.  And the script sees what it is for: a file that does not apply, or names no test, is refused.
set -euo pipefail
cd "$VMF_SOURCE"
scripts/mutate --check

tree=$(mktemp -d)
trap 'rm -rf "$tree"' EXIT
mkdir -p "$tree/scripts" "$tree/docs" "$tree/tests/mutations" "$tree/core"
cp scripts/mutate "$tree/scripts/"
cp core/lock.c "$tree/core/"
printf "\t['core_map', 'fast'],\n" >"$tree/tests/meson.build"
printf '| rule | mutation |\n|---|---|\n| it locks | `lock` |\n' >"$tree/docs/TESTING.md"
entry() { # TEST TEXT
	printf 'proves: it locks\ntest: %s\n\n--- core/lock.c\n<<<<\n%s\n====\n>>>>\n' "$1" "$2" \
		>"$tree/tests/mutations/lock"
}
refused() {
	if "$tree/scripts/mutate" --check >"$tree/out" 2>&1 || ! grep -q "$1" "$tree/out"; then
		echo "not refused: $1"
		cat "$tree/out"
		exit 1
	fi
}
entry core_map '#include "core.h"'
"$tree/scripts/mutate" --check
entry core_map 'this is nowhere'
refused 'is 0 times in core/lock.c'
entry core_nowhere '#include "core.h"'
refused 'no such test: core_nowhere'
entry core_map '#include "core.h"'
printf '| it waits | |\n' >>"$tree/docs/TESTING.md"
refused 'a row without a mutation'
printf '| rule | mutation |\n|---|---|\n' >"$tree/docs/TESTING.md"
refused 'lock: in no table'
