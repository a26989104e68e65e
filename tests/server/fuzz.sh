#!/bin/bash
# SPDX-License-Identifier: MIT
#
# libFuzzer on the handshake for some seconds, with ASan and UBSan, from the corpus beside this file.
set -euo pipefail
here=$VMF_SOURCE/tests
clang=$(command -v clang || command -v clang-14 || true)
[ -n "$clang" ] || { echo "skipped: no clang"; exit 77; }
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
mkdir "$tmp/corpus"
if ! echo 'int LLVMFuzzerTestOneInput(const char *d, unsigned long n); int LLVMFuzzerTestOneInput(const char *d,
	unsigned long n) { return !d && n; }' | "$clang" -fsanitize=fuzzer -x c - -o "$tmp/try" 2>/dev/null; then
	echo "skipped: $clang has no libFuzzer"
	exit 77
fi
"$clang" -g -O1 -std=c11 -D_GNU_SOURCE -DVMF_LIBFUZZER -fsanitize=fuzzer,address,undefined -fno-sanitize-recover=all \
	-I"$VMF_SOURCE" -I"$VMF_SOURCE/include" "$here/fuzz_handshake.c" "$VMF_SOURCE"/server/{handshake,regions}.c \
	-ljansson -o "$tmp/fuzz"
cd "$tmp"
./fuzz -max_total_time="${1:-15}" -max_len=4096 -close_fd_mask=1 corpus "$here/server/corpus" 2>log ||
	{ tail -n 40 log; exit 1; }
tail -n 3 log
