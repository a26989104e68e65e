#!/bin/bash
# SPDX-License-Identifier: MIT
#
# What `make install` lays down is enough: a program is compiled with the flags that pkg-config gives, against the
# shared library and against the static one, and runs.
set -euo pipefail
export LC_ALL=C
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cc=${VMF_CC:-cc}

meson install -C "$VMF_BUILD" --no-rebuild --quiet --destdir "$dir/root" >"$dir/log" 2>&1 || { cat "$dir/log"; exit 1; }
pc=$(find "$dir/root" -name vmfault.pc)
[ -n "$pc" ] || { echo "no vmfault.pc was installed"; exit 1; }
export PKG_CONFIG_LIBDIR=${pc%/*} PKG_CONFIG_SYSROOT_DIR=$dir/root
libdir=$dir/root$(PKG_CONFIG_SYSROOT_DIR= pkg-config --variable=libdir vmfault)

cp "$VMF_SOURCE/tests/install/hello.c" "$dir/hello.c"
sanitize=
if nm -D "$libdir/libvmfault.so" | grep -qE '__(a|ub|t)san_'; then
	sanitize=-fsanitize=$(meson introspect "$VMF_BUILD" --buildoptions | python3 -c '
import json, sys
print([option["value"] for option in json.load(sys.stdin) if option["name"] == "b_sanitize"][0])')
fi
cd "$dir"
# shellcheck disable=SC2046,SC2086
$cc -std=c11 -Wall -Wextra -Werror $sanitize hello.c -o shared $(pkg-config --cflags --libs vmfault)
LD_LIBRARY_PATH=$libdir ./shared
readelf -dW shared | grep -q 'NEEDED.*libvmfault\.so\.0' || { echo "is not linked with the shared library"; exit 1; }
rm "$libdir"/libvmfault.so*
# shellcheck disable=SC2046,SC2086
$cc -std=c11 -Wall -Wextra -Werror $sanitize hello.c -o static $(pkg-config --static --cflags --libs vmfault)
./static
for file in "$VMF_SOURCE"/include/vmfault/*.h; do
	cmp "$file" "$(find "$dir/root" -path "*/include/vmfault/${file##*/}")"
done
[ -n "$(find "$dir/root" -name 'vmf_map.3*')" ] || { echo "no manual pages were installed"; exit 1; }
