#!/bin/bash
# SPDX-License-Identifier: MIT
#
# The shared library exports what the headers declare and nothing else, all of it under the version VMFAULT_0.1, has its
# soname, and needs libc alone.
set -euo pipefail
export LC_ALL=C
lib=$VMF_BUILD/libvmfault.so
failed=0

dynamic=$(readelf -dW "$lib")
grep -q 'SONAME.*\[libvmfault\.so\.0\]' <<<"$dynamic" || { echo "soname is not libvmfault.so.0"; failed=1; }
# A sanitizer brings libraries of its own.
needed=$(sed -n 's/.*(NEEDED).*\[\(.*\)\]/\1/p' <<<"$dynamic" |
	grep -vE '^(libc\.so|ld-linux|lib[a-z]*san\.so)' || true)
[ -z "$needed" ] || { echo "needs more than libc:" $needed; failed=1; }

exported=$(nm -D --defined-only --with-symbol-versions "$lib" | awk '$2 != "A" { print $3 }' | sort)
foreign=$(grep -vE '^vmf_[a-z][a-z0-9_]*@@VMFAULT_0\.1$' <<<"$exported" || true)
[ -z "$foreign" ] || { echo "exported, but should not be:" $foreign; failed=1; }

declared=$("$VMF_SOURCE/tests/headers/functions")
[ "$(wc -l <<<"$declared")" -gt 60 ] || { echo "the headers' declarations were not found"; failed=1; }
absent=$(comm -23 <(echo "$declared") <(sed 's/@.*//' <<<"$exported"))
[ -z "$absent" ] || { echo "declared, but not exported:" $absent; failed=1; }
undeclared=$(comm -13 <(echo "$declared") <(sed 's/@.*//' <<<"$exported"))
[ -z "$undeclared" ] || { echo "exported, but not declared:" $undeclared; failed=1; }
exit $failed
