#!/bin/bash
# SPDX-License-Identifier: MIT
#
# Every source says its licence at the top, is no wider than 120 columns (a tab is eight), ends in a newline, and has no
# blanks at the ends of its lines.
set -euo pipefail
export LC_ALL=C.UTF-8
cd "$VMF_SOURCE"
failed=0
complain() { echo "$1"; failed=1; }

mapfile -t sources < <(find backings bench cli core drivers examples include pmap ports server tests scripts \
	-type f \( -name '*.[chS]' -o -name '*.sh' -o -name '*.ld' -o -name meson.build -o -path 'scripts/*' \) | sort)
[ ${#sources[@]} -gt 10 ] || complain "no sources found"
for file in "${sources[@]}"; do
	head -n 2 "$file" | grep -q 'SPDX-License-Identifier: MIT' || complain "$file: no SPDX line at the top"
	wide=$(expand -t 8 "$file" | awk 'length > 120 { printf " %d", NR }')
	[ -z "$wide" ] || complain "$file: over 120 columns:$wide"
	! grep -nE '[[:blank:]]+$' "$file" /dev/null || complain "$file: blanks at the end of a line"
	[ -z "$(tail -c 1 "$file")" ] || complain "$file: no newline at the end"
done
exit $failed
