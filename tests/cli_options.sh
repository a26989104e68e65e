#!/bin/bash
# SPDX-License-Identifier: MIT
#
# Wrong options and arguments: one clear line on stderr, nothing on stdout, exit 2.  --help and --version: on stdout,
# exit 0.
set -uo pipefail
export LC_ALL=C.UTF-8
[ -n "${VMFAULT:-}" ] || { echo "skipped: the command is not built"; exit 77; }
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
failed=0
complain() { echo "$*"; failed=1; }

# wrong TEXT WORD...: vmfault with these words says TEXT, and what to try.
wrong() {
	local text=$1 status
	shift
	timeout 10 "$VMFAULT" "$@" >"$dir/out" 2>"$dir/err" </dev/null
	status=$?
	[ $status -eq 2 ] || complain "vmfault $*: status $status, not 2"
	[ ! -s "$dir/out" ] || complain "vmfault $*: something on stdout"
	[ "$(wc -l <"$dir/err")" -eq 1 ] || complain "vmfault $*: not one line on stderr: $(cat "$dir/err")"
	grep -qF -- "$text" "$dir/err" || complain "vmfault $*: no '$text' in: $(cat "$dir/err")"
	grep -qE "; try 'vmfault( (serve|bench|probe))? --help'$" "$dir/err" ||
		complain "vmfault $*: does not say what to try"
}

wrong "a command is missing"
wrong "no command 'walk'" walk
wrong "unknown option '--json'" --json
wrong "no command 'walk'" --man walk
for c in serve bench probe; do
	wrong "vmfault $c: unknown option '--nonsense'" $c --nonsense
	wrong "vmfault $c: unknown option '-q'" $c -q
	wrong "vmfault $c: unknown option '-q'" $c -qh
	wrong "vmfault $c: --json takes no argument" $c --json=1
done
wrong "vmfault probe: unexpected argument 'all'" probe all
wrong "vmfault bench: --socket PATH is missing" bench --size 4k
wrong "vmfault bench: --size SIZE is missing" bench --socket s
wrong "vmfault bench: --socket needs PATH" bench --socket
wrong "vmfault bench: --socket needs PATH, not an empty one" bench --socket '' --size 4k
wrong "vmfault bench: --size 'big' is not a size" bench --socket s --size big
wrong "vmfault bench: --size '4kB' is not a size" bench --socket s --size 4kB
wrong "vmfault bench: --size '-4k' is not a size" bench --socket s --size -4k
wrong "vmfault bench: --size '0' is not within 4 KiB and 64 TiB" bench --socket s --size 0
wrong "vmfault bench: --size '99999999999T' is not within" bench --socket s --size 99999999999T
wrong "vmfault bench: --size is no multiple of a page (4k)" bench --socket s --size 5000
wrong "vmfault bench: --size is no multiple of a page (2M)" bench --socket s --size 1M --huge
wrong "vmfault bench: --order 'up' is none of random or seq" bench --socket s --size 4k --order up
wrong "vmfault bench: --threads '0' is not within 1 and 256" bench --socket s --size 4k --threads 0
wrong "vmfault bench: --threads '257' is not within 1 and 256" bench --socket s --size 4k --threads 257
wrong "vmfault bench: --threads '4294967297' is not within" bench --socket s --size 4k --threads 4294967297
wrong "vmfault bench: --threads '2x' is not a number" bench --socket s --size 4k --threads 2x
wrong "vmfault bench: --timeout '' is not a number of seconds" bench --socket s --size 4k --timeout ''
wrong "vmfault bench: --timeout '1e9' is not a number of seconds" bench --socket s --size 4k --timeout 1e9
wrong "vmfault bench: --timeout '9999999999' is too long" bench --socket s --size 4k --timeout 9999999999
wrong "vmfault bench: --timeout '.' is not a number of seconds" bench --socket s --size 4k --timeout .
wrong "vmfault bench: unexpected argument 's'" bench --size 4k s
wrong "vmfault serve: --socket PATH is missing" serve --image i
wrong "vmfault serve: --image IMAGE is missing" serve --socket s
wrong "vmfault serve: --on-error 'no' is none of auto, poison, stall or kill" serve --socket s --image i --on-error no
wrong "vmfault serve: --fault-around '1' is not within" serve --socket s --image i --fault-around 1

# right TEXT WORD...: exit 0, TEXT on stdout, nothing on stderr.
right() {
	local text=$1
	shift
	timeout 10 "$VMFAULT" "$@" >"$dir/out" 2>"$dir/err" </dev/null || complain "vmfault $*: status $?"
	[ ! -s "$dir/err" ] || complain "vmfault $*: something on stderr"
	grep -qF -- "$text" "$dir/out" || complain "vmfault $*: no '$text' in: $(cat "$dir/out")"
	! awk 'length > 80' "$dir/out" | grep . || complain "vmfault $*: lines of more than 80 columns"
}

right "usage: vmfault COMMAND" --help
right "vmfault " --version
for c in serve bench probe; do
	right "usage: vmfault $c" $c --help
	right "usage: vmfault $c" $c -h
	right "vmfault " $c --version
	# --help wins over what is missing, but not over what was wrong before it.
	wrong "unknown option '--nonsense'" $c --nonsense --help
done
exit $failed
