#!/bin/bash
# SPDX-License-Identifier: MIT
#
# fuzz.sh TARGET [SECONDS [DIR]]: libFuzzer on tests/fuzz_TARGET.c, with ASan and UBSan, from the corpus
# tests/fuzz/TARGET. What it finds new is kept in DIR, if there is one.  77: no clang with libFuzzer here.
set -euo pipefail
source=${VMF_SOURCE:-$(cd "$(dirname "$0")/.." && pwd)}
here=$source/tests
target=${1:?usage: fuzz.sh TARGET [SECONDS [DIR]]}
seconds=${2:-10}
clang=$(command -v clang || command -v clang-14 || true)
[ -n "$clang" ] || { echo "skipped: no clang"; exit 77; }
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
if ! echo 'int LLVMFuzzerTestOneInput(const char *d, unsigned long n); int LLVMFuzzerTestOneInput(const char *d,
	unsigned long n) { return !d && n; }' | "$clang" -fsanitize=fuzzer -x c - -o "$tmp/try" 2>/dev/null; then
	echo "skipped: $clang has no libFuzzer"
	exit 77
fi

case $target in
handshake) sources=("$source"/server/{handshake,regions}.c) libraries=(-ljansson) ;;
session) sources=("$source"/ports/linux/session.c) libraries=() ;;
ops)
	sources=("$source"/core/*.c "$source"/ports/sim/*.c)
	sources+=("$here"/model/{access,check,layout,model,object,ops,reference,sim}.c)
	libraries=(-lpthread)
	;;
*) echo "fuzz.sh: no target $target" >&2; exit 2 ;;
esac
"$clang" -g -O1 -std=c11 -D_GNU_SOURCE -DVMF_LIBFUZZER -fsanitize=fuzzer,address,undefined -fno-sanitize-recover=all \
	-I"$source" -I"$source/include" -I"$here" "$here/fuzz_$target.c" "${sources[@]}" "${libraries[@]}" -o "$tmp/fuzz"
corpus=${3:-$tmp/corpus}
mkdir -p "$corpus"
corpus=$(cd "$corpus" && pwd)
cd "$tmp"
./fuzz -max_total_time="$seconds" -max_len=4096 -close_fd_mask=1 "$corpus" "$here/fuzz/$target" 2>log ||
	{ tail -n 40 log; cp crash-* leak-* timeout-* oom-* "$corpus" 2>/dev/null; exit 1; }
tail -n 3 log
