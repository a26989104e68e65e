#!/bin/sh
# SPDX-License-Identifier: MIT
# kernel.sh DIR: prints the path of Debian's current cloud kernel, which apt brings into DIR unless it is there.
# Nothing is installed and no boot loader is touched.  Exit 77, with the reason on stderr: it cannot be had.
set -eu

[ $# = 1 ] || { echo "usage: kernel.sh DIR" >&2; exit 2; }
mkdir -p "$1"
dir=$(cd "$1" && pwd)
meta=linux-image-cloud-amd64

cached() {
	for kernel in "$dir"/vmlinuz-*; do
		[ -s "$kernel" ] || continue
		echo "$kernel"
		exit 0
	done
}

unavailable() {
	echo "kernel.sh: $1" >&2
	exit 77
}

update() {
	if [ "$(id -u)" = 0 ]; then
		timeout 120 apt-get update -qq >&2
	else
		timeout 120 sudo -n apt-get update -qq >&2
	fi
}

# The meta package depends on the one that holds the kernel of the day.
resolve() {
	apt-cache depends "$meta" 2>/dev/null | sed -n 's/^ *Depends: \(linux-image-[^ ]*\)$/\1/p' | head -n 1
}

download() {
	package=$(resolve)
	[ -n "$package" ] || return 1
	rm -f "$dir"/*.deb
	(cd "$dir" && timeout 300 apt-get -qq -o APT::Sandbox::User=root download "$package:amd64" >&2)
}

# Renamed into place when it is whole, so that a run that is cut short leaves no half kernel behind.
unpack() {
	rm -rf "$dir/new"
	mkdir "$dir/new"
	dpkg-deb --fsys-tarfile "$dir"/*.deb | tar -x -C "$dir/new" --wildcards './boot/vmlinuz-*'
	mv "$dir"/new/boot/vmlinuz-* "$dir/"
	rm -rf "$dir/new" "$dir"/*.deb
}

cached
command -v apt-get >/dev/null || unavailable "no apt here to bring a kernel"
# Old package lists name versions that the mirrors no longer have: then once more with new ones.
download || { update && download; } || unavailable "apt cannot download the kernel of $meta"
unpack
cached
unavailable "$package holds no kernel"
