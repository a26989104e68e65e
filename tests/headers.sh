#!/bin/bash
# SPDX-License-Identifier: MIT
#
# headers.sh LANGUAGE: every public header compiles alone, twice in a row and with all the others, as C99, C11 or C++17,
# without a warning; so do, in C, those of pmap/ and drivers/; and VMF_INIT initialises every struct that starts with
# its size.
set -euo pipefail
export LC_ALL=C

case $1 in
c99 | c11) compilers=(gcc clang) flags=(-x c "-std=$1" -Wshadow -Wstrict-prototypes -Wmissing-prototypes) ;;
c++17) compilers=(g++ clang++) flags=(-x c++ "-std=$1") ;;
esac
flags+=(-fsyntax-only -Wall -Wextra -Wpedantic -Werror -D_GNU_SOURCE "-I$VMF_SOURCE/include")

cd "$VMF_SOURCE/include"
headers=(vmfault/*.h)
# struct NAME { and then, on the next line, uint32_t size
sized=$(awk '
/^\tuint32_t size[,;]/ && name { print name }
{ name = /^struct vmf_[a-z_]* \{$/ ? $2 : "" }' "${headers[@]}")
[ "$(wc -w <<<"$sized")" -ge 16 ] || { echo "the structs with a size were not found"; exit 1; }
inner=()
[ "$1" = c++17 ] || inner=(../pmap/*.h ../drivers/*.h)
initialised() {
	printf '#include <%s>\n' "${headers[@]}"
	for name in $sized; do
		echo "extern struct $name a_$name;"
		echo "struct $name a_$name = VMF_INIT(struct $name);"
	done
}
tried=0
for compiler in "${compilers[@]}"; do
	command -v "$compiler" >/dev/null || continue
	# clang++ needs a C++ library's headers; a compiler that cannot do without ours is not asked about ours.
	echo '#include <stdint.h>' | "$compiler" "${flags[@]}" - 2>/dev/null || continue
	tried=$((tried + 1))
	for header in "${headers[@]}" "${inner[@]}"; do
		printf '#include <%s>\n#include <%s>\nint vmf_empty;\n' "$header" "$header" |
			"$compiler" "${flags[@]}" - || { echo "$compiler $1: $header"; exit 1; }
	done
	printf '#include <%s>\n' "${headers[@]}" | "$compiler" "${flags[@]}" -
	# The order must not matter.
	printf '#include <%s>\n' "${headers[@]}" | sort -r | "$compiler" "${flags[@]}" -
	initialised | "$compiler" "${flags[@]}" -
done
if [ "$tried" -eq 0 ]; then
	echo "skipped: none of ${compilers[*]} here"
	exit 77
fi
echo "$1: $((${#headers[@]} + ${#inner[@]})) headers, $(wc -w <<<"$sized") initialisers, $tried compilers"
