#!/bin/bash
# SPDX-License-Identifier: MIT
#
# language.sh rust|go: the example in that language is made with the tools that Debian has, links with the shared
# library (and with nothing from a registry of packages), runs, and reads what it should; its code is 40 lines at most.
set -euo pipefail
export LC_ALL=C
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
export LD_LIBRARY_PATH=$VMF_BUILD

need() {
	command -v "$1" >/dev/null || { echo "skipped: no $1 here (scripts/deps lang installs it)"; exit 77; }
}

case $1 in
rust)
	need rustc
	need bindgen
	source=$VMF_SOURCE/examples/rust/odd.rs
	bindgen --with-derive-default --no-prepend-enum-name -o "$dir/vmfault.rs" "$VMF_SOURCE/include/vmfault/linux.h" -- \
		-I"$VMF_SOURCE/include"
	VMFAULT=$dir/vmfault.rs rustc -Dwarnings -Cpanic=abort -L"$VMF_BUILD" -lvmfault -o "$dir/odd" "$source"
	;;
go)
	need go
	source=$VMF_SOURCE/examples/go/odd.go
	[ -z "$(gofmt -l "$source")" ] || { echo "odd.go: not as gofmt has it"; exit 1; }
	cd "$dir"
	CGO_CFLAGS=-I$VMF_SOURCE/include CGO_LDFLAGS="-L$VMF_BUILD -lvmfault" CGO_ENABLED=1 CC=cc \
		GOCACHE=$dir/cache GOPATH=$dir/go GOPROXY=off GOFLAGS= GOTOOLCHAIN=local go build -o odd "$source"
	;;
*) echo "usage: language.sh rust|go" >&2; exit 2 ;;
esac

lines=$(grep -vcE '^[[:blank:]]*(//.*)?$' "$source")
[ "$lines" -le 40 ] || { echo "${source##*/} has $lines lines of code"; exit 1; }
readelf -dW "$dir/odd" | grep -q 'NEEDED.*libvmfault\.so\.0' || { echo "does not use the shared library"; exit 1; }
status=0
said=$(timeout 20 "$dir/odd") || status=$?
if [ $status -eq 4 ]; then
	echo "skipped: no userfaultfd for this user here"
	exit 77
fi
want=$'odd[1] = 3\nodd[1000] = 2001\nodd[1000000000] = 2000000001'
[ $status -eq 0 ] && [ "$said" = "$want" ] || { printf 'status %s, and it said:\n%s\n' $status "$said"; exit 1; }
echo "$1: $lines lines: ${said##*$'\n'}"
