#!/bin/bash
# SPDX-License-Identifier: MIT
#
# The demo runs to its end in under a minute, also without privilege; shows what it promises; leaves nothing behind; and
# has no colour where there is no terminal.
set -uo pipefail
export LC_ALL=C.UTF-8
[ -n "${VMFAULT:-}" ] || { echo "skipped: the command is not built"; exit 77; }
"$VMFAULT" probe >/dev/null || { echo "skipped: no userfaultfd here"; exit 77; }
dir=$(mktemp -d)
chmod 755 "$dir"
trap 'rm -rf "$dir"' EXIT
failed=0
complain() { echo "$*"; failed=1; }

# shown NAME WORD...: runs the demo by these words, and looks at what it prints.
shown() {
	local name=$1 start=$SECONDS
	shift
	TMPDIR=$dir/tmp timeout 100 "$@" >"$dir/$name" 2>"$dir/$name.err" </dev/null ||
		complain "$name: status $?: $(cat "$dir/$name.err")"
	[ $((SECONDS - start)) -lt 60 ] || complain "$name: took $((SECONDS - start)) s"
	for text in "read it all first" "hand-written handler" "vmfault serve" "mmap(MAP_PRIVATE)" "noticed nothing" \
		"PAGES ARE WRONG" "client: SIGBUS at" "odd[1000000000] = 2000000001" '"backend_type":"Uffd"'; do
		grep -qF -- "$text" "$dir/$name" || complain "$name: no '$text'"
	done
	! grep -q $'[\033\r]' "$dir/$name" || complain "$name: colours in a file"
	[ -z "$(ls "$dir/tmp")" ] || complain "$name: leaves $(ls "$dir/tmp")"
	[ "$failed" -eq 0 ] || cat "$dir/$name"
}

mkdir -m 1777 "$dir/tmp"
shown self "$VMF_SOURCE/demo/run.sh" "$VMF_BUILD"

# Another user may not reach the tree, so it gets a copy.
if [ "$(id -u)" -eq 0 ] && "$VMFAULT" probe | grep -q 'yes  user mode only'; then
	mkdir -p "$dir/copy/build/examples" "$dir/copy/demo" "$dir/copy/examples"
	cp "$VMFAULT" "$dir/copy/build/"
	cp "$VMF_BUILD"/examples/{demo,example-naive_handler,example-sparse} "$dir/copy/build/examples/"
	cp "$VMF_SOURCE/demo/run.sh" "$dir/copy/demo/"
	cp "$VMF_SOURCE/examples/sparse.c" "$dir/copy/examples/"
	chmod -R a+rX "$dir/copy"
	shown nobody setpriv --reuid=65534 --regid=65534 --clear-groups "$dir/copy/demo/run.sh" "$dir/copy/build"
fi
exit $failed
