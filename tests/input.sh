#!/bin/bash
# SPDX-License-Identifier: MIT
#
# No call is left out: everything that the library exports is given bad input in tests/*_input.c, by its name.
set -euo pipefail
export LC_ALL=C
# What takes no input.
none='vmf_linux_can_poison'

exported=$(nm -D --defined-only "$VMF_BUILD/libvmfault.so" | awk '$2 == "T" { sub("@.*", "", $3); print $3 }' | sort -u)
[ "$(wc -l <<<"$exported")" -gt 60 ] || { echo "the library's calls were not found"; exit 1; }
tried=$(sed 's,//.*,,' "$VMF_SOURCE"/tests/*_input.c | grep -oE '\bvmf_[a-z][a-z0-9_]* ?\(' | tr -d ' (' | sort -u)
left=$(comm -23 <(echo "$exported") <(printf '%s\n' $tried $none | sort -u))
[ -z "$left" ] || { echo "never given bad input:" $left; exit 1; }
echo "$(wc -l <<<"$exported") calls"
