#!/bin/bash
# SPDX-License-Identifier: MIT
#
# What the library promised callers that are compiled already, it still does (scripts/abi).  And the comparison sees
# what it is for: a constant that changes, a member that moves, a function that goes; not what may change.
set -euo pipefail
export LC_ALL=C
lib=$VMF_BUILD/libvmfault.so
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT

status=0
"$VMF_SOURCE/scripts/abi" check "$lib" || status=$?
[ $status -eq 0 ] || exit $status

# A copy of the baselines that says what an older library could have promised.
mkdir -p "$dir/scripts" "$dir/tests"
cp "$VMF_SOURCE/scripts/abi" "$dir/scripts"
ln -s "$VMF_SOURCE/include" "$dir/include"
expect() { # STATUS WHAT FILE SED...
	rm -rf "$dir/tests/abi"
	cp -r "$VMF_SOURCE/tests/abi" "$dir/tests"
	sed -i -E "${@:4}" "$dir/tests/abi/$3"
	! cmp -s "$dir/tests/abi/$3" "$VMF_SOURCE/tests/abi/$3" || { echo "$2: nothing was changed"; exit 1; }
	status=0
	"$dir/scripts/abi" check "$lib" >"$dir/log" || status=$?
	[ $status -eq "$1" ] || { echo "$2: status $status, not $1"; cat "$dir/log"; exit 1; }
}
base=$(uname -m).abi
expect 1 "another value" constants 's/^(VMF_EIO) .*/\1 99/'
expect 1 "a constant that went" constants '$aVMF_GONE_FOR_EVER 1'
expect 0 "a constant that came" constants '/^VMF_EDEADLK /d'
expect 1 "a member that grew" "$base" "s/(name='vmf_result' size-in-bits=')64/\132/"
expect 1 "a function that went" "$base" "s/'vmf_page_size'/'vmf_page_length'/g"
# A struct as it was before its last member came; one in which a member was as wide as another; one in other places.
struct() { printf "/<class-decl name='%s' /,/<\\/class-decl>/{%s}" "$1" "$2"; }
last() { printf "/offset-in-bits='%s'/,/<\\/data-member>/d; s/size-in-bits='%s'/size-in-bits='%s'/" "$@"; }
expect 0 "a sized struct that grew" "$base" "$(struct vmf_linux_config "$(last 192 256 192)")"
expect 1 "another struct that grew" "$base" "$(struct vmf_failed "$(last 192 256 192)")"
expect 1 "a sized struct that grew, and moved" "$base" \
	"$(struct vmf_linux_config "$(last 192 256 192); s/offset-in-bits='64'/offset-in-bits='32'/")"
expect 1 "a sized struct that shrank" "$base" "$(struct vmf_linux_config "s/size-in-bits='256'/size-in-bits='320'/")"
expect 1 "a member that moved" "$base" "$(struct vmf_adopt "s/offset-in-bits='64'/offset-in-bits='160'/")"
