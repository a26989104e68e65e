#!/bin/bash
# SPDX-License-Identifier: MIT
#
# Every vmf_ name in the manual pages is in a header, every function of a header (the simulator aside) is in a page, and
# mandoc(1) has nothing to say.
set -euo pipefail
export LC_ALL=C.UTF-8
cd "$VMF_SOURCE/man"
failed=0

for name in $(grep -ohE '\bvmf_[a-z][a-z0-9_]*[a-z0-9]' ./*.[37] | sort -u); do
	grep -qw -- "$name" ../include/vmfault/*.h || { echo "in a page, but in no header: $name"; failed=1; }
done
for name in $("$VMF_SOURCE/tests/headers/functions" | grep -v ^vmf_sim_); do
	grep -qw -- "$name" ./*.3 || { echo "in a header, but in no page: $name"; failed=1; }
done
[ $failed -eq 0 ] || exit 1
if ! command -v mandoc >/dev/null; then
	echo "skipped: no mandoc here (scripts/deps man installs it)"
	exit 77
fi
# References to pages that are not installed are not faults of ours.
mandoc -T lint -W warning *.[1-8]
