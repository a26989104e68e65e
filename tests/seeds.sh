#!/bin/bash
# SPDX-License-Identifier: MIT
#
# Every test that docs/SEEDS.md names exists, and every row has its cells.  And the script sees what it is for: names
# that do not exist, and rows without a test, are refused; a case that fails or did not run is no pass.
set -euo pipefail
cd "$VMF_SOURCE"
scripts/seeds --check

tree=$(mktemp -d)
trap 'rm -rf "$tree"' EXIT
mkdir -p "$tree"/{scripts,docs,tests/list,ports/metal}
cp scripts/seeds "$tree/scripts/"
cp tests/list/memory.c "$tree/tests/list/"
cp tests/core_map.c "$tree/tests/"
printf "\t['core_map', 'fast'],\n\t['model/sim', 'fast', 60, [stage]],\n" >"$tree/tests/meson.build"

row() { # TESTS
	printf '| # | a | b | c |\n|---|---|---|---|\n| 1 | mail: it maps | maps | `vmf_map()` |\n\n'
	printf '| # | port | tests |\n|---|---|---|\n| 1 | all | %s |\n' "$1"
} >"$tree/docs/SEEDS.md"
accepted() {
	row "$1"
	"$tree/scripts/seeds" --check || { echo "not accepted: $1"; exit 1; }
}
refused() { # TESTS COMPLAINT
	row "$1"
	if "$tree/scripts/seeds" --check >"$tree/out" 2>&1 || ! grep -q "$2" "$tree/out"; then
		echo "not refused: $1"
		cat "$tree/out"
		exit 1
	fi
}
accepted 'list: unmap, protect; list: unmap: nothing is there; core_map: raw_at_map_time; model-sim; cannot: no'
refused 'list: unmapped' 'the list has no unmapped'
refused 'list: unmap: nothing is here' 'the list has no unmap: nothing is here'
refused 'core_map: raw_at_map' 'core_map has no raw_at_map'
refused 'core_nowhere: raw_at_map_time' 'no such test: core_nowhere'
refused 'model-board' 'no such test: model-board'
mkdir "$tree/drivers"
echo 'ans->n = 1;' >"$tree/drivers/ring.c"
for line in 1 2; do
	row 'list: unmap'
	echo "| sound | nopage | \`drivers/ring.c\`: \`ans->n = $line;\` |" >>"$tree/docs/SEEDS.md"
	status=0
	"$tree/scripts/seeds" --check >"$tree/out" 2>&1 || status=$?
	[ $status -eq $((line == 1 ? 0 : 2)) ] || { echo "a line that is quoted: exit status $status"; exit 1; }
done
row 'list: unmap'
sed -i 's/| all |/| sim |/' "$tree/docs/SEEDS.md"
if "$tree/scripts/seeds" --check >"$tree/out" 2>&1 || ! grep -q 'row 1, worked: names no test' "$tree/out"; then
	echo "not refused: a row without a port"
	exit 1
fi

# What tests say, as meson keeps it.
mkdir -p "$tree/bin" "$tree/build/meson-logs"
printf '#!/bin/sh\necho "[]"\n' >"$tree/bin/meson"
chmod +x "$tree/bin/meson"
said() { # NAME RESULT OUTPUT
	printf '{"name": "vmfault:fast+core / %s", "result": "%s", "stdout": "%s"}\n' "$@"
} >>"$tree/build/meson-logs/testlog.json"
shows() { # EXIT TESTS CELLS
	local status=0
	row "$2"
	PATH=$tree/bin:$PATH "$tree/scripts/seeds" "$tree/build" --log >"$tree/out" 2>&1 || status=$?
	if [ $status -ne "$1" ] || ! grep -qE "^  1  it maps +$3\$" "$tree/out"; then
		echo "not shown: $2: $3 (exit status $1, and it was $status)"
		cat "$tree/out"
		exit 1
	fi
}
for board in riscv64 mipsel; do
	said metal-$board OK 'ok 1 unmap: a\nok 2 protect: a\nskip 3 fork: a # one space'
done
said list-sim-by-address OK 'ok 1 unmap: a\nskip 2 unmap: b # cannot b\nok 3 protect: a\nskip 4 fork: a # no fork'
said list-linux-threaded-by-offset OK 'ok 1 unmap: a\nnot ok 2 protect: a\nskip 3 fork: a # no fork'
said list-sim-by-copy OK 'ok 1 bolts: a\nskip 2 bolts: b # no bolts'
said list-worked SKIP 'skipped: no port'
said core_map OK '# case raw_at_map_time: not here: no pfns\n19 cases'
shows 0 'list: unmap' 'pass +pass +pass +pass +cannot .'
shows 0 'list: fork' 'cannot . +cannot . +cannot . +cannot . +cannot .'
shows 1 'list: protect' 'pass +FAIL +pass +pass +cannot .'
shows 1 'list: populate' 'FAIL +FAIL +FAIL +FAIL +cannot .'
shows 0 'core_map: map_amends_or_refuses' 'pass +pass +pass +pass +pass'
shows 0 'core_map: raw_at_map_time' 'cannot . +cannot . +cannot . +cannot . +cannot .'
shows 1 'list: bolts: c' 'cannot . +FAIL +FAIL +FAIL +cannot .'
shows 0 'list: unmap; cannot: only books' 'cannot . +cannot . +cannot . +cannot . +cannot .,.'
shows 1 'model-sim' 'FAIL +FAIL +FAIL +FAIL +FAIL'
