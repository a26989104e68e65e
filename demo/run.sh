#!/bin/sh
# SPDX-License-Identifier: MIT
#
# The demo: run.sh BUILD.  Takes half a GiB of disk for its time, in TMPDIR or /tmp.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
build=$(cd "${1:?usage: run.sh BUILD}" && pwd)

dir=$(mktemp -d "${TMPDIR:-/tmp}/vmfault-demo.XXXXXX")
trap 'rm -rf "$dir"' EXIT
trap 'exit 130' INT TERM HUP

status=0
"$build/examples/demo" "$dir" "$build/vmfault" "$build/examples/example-naive_handler" \
	"$build/examples/example-sparse" "$here/../examples/sparse.c" || status=$?
exit $status
