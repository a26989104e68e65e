#!/bin/bash
# SPDX-License-Identifier: MIT
# The README's program compiles, runs and prints what its comment promises; the files that the README links to exist.
set -euo pipefail
export LC_ALL=C
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$VMF_SOURCE"

for link in $(grep -oE '\]\([^)#]+\)' README.md | tr -d '])('); do
	case $link in http*) continue ;; esac
	[ -e "$link" ] || { echo "README.md: no such file: $link"; exit 1; }
done

awk '/^```c$/ { inside = 1; next } /^```$/ { inside = 0 } inside' README.md >"$dir/example.c"
$VMF_CC -std=c11 -Wall -Wextra -Werror -Iinclude "$dir/example.c" -o "$dir/example" -L"$VMF_BUILD" -lvmfault -pthread
export LD_LIBRARY_PATH=$VMF_BUILD

cat >"$dir/able.c" <<'END'
#include <vmfault/linux.h>
int main(void)
{
	struct vmf_port *port;
	return -vmf_linux_open(&port, NULL);
}
END
$VMF_CC -Iinclude "$dir/able.c" -o "$dir/able" -L"$VMF_BUILD" -lvmfault -pthread
status=0
"$dir/able" || status=$?
if [ $status -eq 13 ] || [ $status -eq 14 ]; then # VMF_ENOSYS, VMF_EPERM
	echo "skipped: no userfaultfd for this user here"
	exit 77
fi
status=0
timeout 20 "$dir/example" >"$dir/output" || status=$?
[ "$(cat "$dir/output")" = "page 123456789 says 123456789" ] || { echo "status $status:"; cat "$dir/output"; exit 1; }
