#!/bin/bash
# SPDX-License-Identifier: MIT
#
# The manual pages and the completion that are in the tree are what the option tables say, and the completion completes.
set -uo pipefail
export LC_ALL=C.UTF-8
[ -n "${VMFAULT:-}" ] || { echo "skipped: the command is not built"; exit 77; }
failed=0
complain() { echo "$*"; failed=1; }

# agree FILE WORD...: FILE is what vmfault WORD... prints.
agree() {
	local file=$1
	shift
	"$VMFAULT" "$@" | cmp -s - "$VMF_SOURCE/$file" || complain "$file is out of date: vmfault $* >$file"
}
agree man/vmfault.1 --man
agree cli/vmfault.bash --completion
for c in serve bench probe; do
	agree man/vmfault-$c.1 --man $c
	for o in $("$VMFAULT" $c --help | grep -oE '^  --[a-z-]+'); do
		grep -qE "^\.(Op |It )?Fl -${o#--}( |$)" "$VMF_SOURCE/man/vmfault-$c.1" ||
			complain "$o is not in vmfault-$c(1)"
		grep -qE "'$c '.* $o |'$c '.*'$o " "$VMF_SOURCE/cli/vmfault.bash" || complain "$c $o is not completed"
	done
done

source "$VMF_SOURCE/cli/vmfault.bash" || complain "the completion is no bash"
# completes TO WORD...: with the cursor at the last word.
completes() {
	local to=$1
	shift
	COMP_WORDS=(vmfault "$@")
	COMP_CWORD=$#
	_vmfault
	[ "${COMPREPLY[*]}" = "$to" ] || complain "vmfault $*: completes to '${COMPREPLY[*]}', not '$to'"
}
completes "serve" s
completes "--order" bench --o
completes "random" bench --order r
completes "stall" serve --socket x --on-error s
completes "" bench --size 1
exit $failed
