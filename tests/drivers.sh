#!/bin/bash
# SPDX-License-Identifier: MIT
#
# Drivers run in every port: they include vmfault.h and their own header, call what vmfault.h declares, and are short.
# And docs/DRIVERS.md: its driver is examples/driver.c, has 30 lines, and does what the page says; its table names every
# driver that there is.
set -euo pipefail
export LC_ALL=C
cc=${VMF_CC:-cc}
page=$VMF_SOURCE/docs/DRIVERS.md
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
flags=(-std=c11 -O1 -Wall -Wextra -Wpedantic -Werror -I"$VMF_SOURCE/include")

fail() {
	echo "$*"
	exit 1
}

# block N: the N-th block of C on the page.
block() {
	awk -v n="$1" '
	$0 == "```c" { inside = ++seen == n; next }
	/^```$/ { inside = 0 }
	inside' "$page"
}

# The drivers.
cd "$VMF_SOURCE/drivers"
n=0
for file in *.[ch]; do
	name=${file%.?}
	bad=$(grep -E '^[[:space:]]*#[[:space:]]*include' "$file" |
		grep -vxF -e '#include <vmfault/vmfault.h>' -e "#include \"$name.h\"" || true)
	[ -z "$bad" ] || fail "drivers/$file: $bad"
	lines=$(wc -l <"$file")
	[ "$lines" -lt 150 ] || fail "drivers/$file has $lines lines"
done
for file in *.c; do
	name=${file%.c}
	# shellcheck disable=SC2086
	$cc "${flags[@]}" -ffreestanding -fno-stack-protector -c "$file" -o "$dir/$name.o"
	nm -u "$dir/$name.o" | awk '{ print $2 }' | grep -vxE 'mem(cpy|move|set|cmp)|_GLOBAL_OFFSET_TABLE_' \
		>"$dir/calls" || true
	[ -s "$dir/calls" ] || fail "drivers/$file calls nothing"
	while read -r call; do
		grep -q "\<$call(" "$VMF_SOURCE/include/vmfault/vmfault.h" || fail "drivers/$file needs $call"
	done <"$dir/calls"
	grep -q "^| \`$name\` |" "$page" || fail "docs/DRIVERS.md does not name $name"
	n=$((n + 1))
done
[ "$n" -ge 3 ] || fail "no drivers"

# The one on the page.
block 1 >"$dir/driver.c"
lines=$(wc -l <"$dir/driver.c")
[ "$lines" -gt 20 ] && [ "$lines" -le 30 ] || fail "the driver in DRIVERS.md has $lines lines"
grep -q '#include' <(grep -v '<vmfault/vmfault.h>' "$dir/driver.c") && fail "the driver in DRIVERS.md includes more"
$cc "${flags[@]}" -Wno-unused -ffreestanding -c "$dir/driver.c" -o "$dir/driver.o"
{ cat "$dir/driver.c"; echo; block 2; } >"$dir/program.c"
diff "$dir/program.c" "$VMF_SOURCE/examples/driver.c" || fail "docs/DRIVERS.md and examples/driver.c differ"
sanitize=
if nm "$VMF_BUILD/libvmfault.so" | grep -q '__asan_'; then
	sanitize=-fsanitize=address,undefined
elif nm "$VMF_BUILD/libvmfault.so" | grep -q '__tsan_'; then
	sanitize=-fsanitize=thread
fi
# shellcheck disable=SC2086
$cc "${flags[@]}" $sanitize "$dir/program.c" "$VMF_BUILD/libvmfault.a" -pthread -o "$dir/program"
said=$("$dir/program")
promised=$(sed -n 's/^It prints `\(.*\)`\.$/\1/p' "$page")
[ -n "$said" ] && [ "$said" = "$promised" ] || fail "it says \"$said\", not \"$promised\""
echo "$n drivers; one of $lines lines: $said"
