#!/bin/bash
# SPDX-License-Identifier: MIT
#
# Every source says its licence at the top, is no wider than 120 columns (a tab is four), ends in a newline, and has no
# blanks at the ends of its lines.
set -euo pipefail
export LC_ALL=C.UTF-8
cd "$VMF_SOURCE"

mapfile -t sources < <(find backings bench cli core drivers examples include pmap ports server tests scripts \
	-type f \( -name '*.[chS]' -o -name '*.sh' -o -name '*.ld' -o -name meson.build -o -path 'scripts/*' \) | sort)
[ ${#sources[@]} -gt 10 ] || { echo "no sources found"; exit 1; }
awk '
function complain(what) { printf "%s:%d: %s\n", FILENAME, FNR, what; failed = 1 }
function columns(line,    n, parts, i, at) {
	n = split(line, parts, "\t")
	at = length(parts[1])
	for (i = 2; i <= n; i++)
		at += 4 - at % 4 + length(parts[i])
	return at
}
FNR == 1 && NR > 1 && !licensed { print last ": no SPDX line at the top"; failed = 1 }
FNR == 1 { licensed = 0; last = FILENAME }
FNR <= 2 && /SPDX-License-Identifier: MIT/ { licensed = 1 }
/[ \t\r]$/ { complain("blanks at the end of the line") }
columns($0) > 120 { complain("over 120 columns") }
END {
	if (!licensed) { print last ": no SPDX line at the top"; failed = 1 }
	exit failed
}' "${sources[@]}"
