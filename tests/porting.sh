#!/bin/bash
# SPDX-License-Identifier: MIT
#
# porting.sh WAY: the port in docs/PORTING.md is at most 60 lines, and compiles and runs in each way to build that the
# page names: core (with what the build has made), amalgam, make, cmake, meson; riscv64: the meson way, for another CPU.
set -euo pipefail
export LC_ALL=C
way=$1
cc=${VMF_CC:-cc}
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT

need() {
	command -v "$1" >/dev/null || { echo "skipped: no $1 here (scripts/deps $2 installs it)"; exit 77; }
}

# block LANGUAGE N: the N-th block of that language.
block() {
	awk -v open="\`\`\`$1" -v n="$2" '
	$0 == open { inside = ++seen == n; next }
	/^```$/ { inside = 0 }
	inside' "$VMF_SOURCE/docs/PORTING.md"
}

# The lists are complete.
for folder in core pmap; do
	diff <(cd "$VMF_SOURCE/$folder" && ls -- *.c) <(sort "$VMF_SOURCE/$folder/sources.txt") ||
		{ echo "$folder/sources.txt is not what is in $folder/"; exit 1; }
done

block c 1 >"$dir/machine.c"
lines=$(wc -l <"$dir/machine.c")
[ "$lines" -gt 30 ] && [ "$lines" -le 60 ] || { echo "the port in PORTING.md has $lines lines"; exit 1; }
{ cat "$dir/machine.c"; block c 2; } >"$dir/port.c"
grep -q '^int main' "$dir/port.c" || { echo "PORTING.md does not boot its port"; exit 1; }
cd "$dir"
flags=(-std=c11 -O1 -Wall -Wextra -Wpedantic -Werror -Wno-unused-parameter)

case $way in
core)
	sanitize=
	if nm -D "$VMF_BUILD/libvmfault.so" | grep -qE '__(a|ub|t)san_'; then
		sanitize=-fsanitize=address,undefined
	fi
	# shellcheck disable=SC2086
	$cc "${flags[@]}" $sanitize -I"$VMF_SOURCE/include" port.c "$VMF_BUILD/libvmfault-core.a" -o kernel
	;;
amalgam)
	"$VMF_SOURCE/scripts/amalgam" . >/dev/null
	mkdir vmfault
	ln -s ../vmfault.h vmfault/pmap.h
	$cc "${flags[@]}" -I. port.c vmfault.c -o kernel
	# And without a pmap.
	"$VMF_SOURCE/scripts/amalgam" . none >/dev/null
	$cc "${flags[@]}" -I. port.c vmfault.c -o kernel-alone
	./kernel-alone >/dev/null
	# Settings out of their bounds are refused, by name.
	sed 's/\(VMF_CFG_GATHER\) .*/\1 0u/' "$VMF_SOURCE/core/vmf_config.h" >bad.h
	if $cc "${flags[@]}" -I. -DVMF_CONFIG_H='"bad.h"' -c vmfault.c -o bad.o 2>log ||
		! grep -q 'VMF_CFG_GATHER: ' log; then
		echo "a wrong vmf_config.h is taken"
		exit 1
	fi
	;;
make)
	block make 1 >Makefile
	make -s VMFAULT="$VMF_SOURCE" CC="$cc" kernel
	;;
cmake)
	need cmake cross
	block cmake 1 >CMakeLists.txt
	cmake -S . -B . -DVMFAULT="$VMF_SOURCE" -DCMAKE_C_COMPILER="${cc%% *}" >log 2>&1 && make -s kernel >>log 2>&1 ||
		{ cat log; exit 1; }
	;;
meson | riscv64)
	need meson build
	block meson 1 >meson.build
	cross=()
	if [ "$way" = riscv64 ]; then
		need riscv64-linux-gnu-gcc cross
		# No board: it has to link, and to need nothing.
		mv machine.c port.c
		cp "$VMF_SOURCE/ports/metal/string.c" .
		sed -i "s/'port.c',/'port.c', 'string.c', link_args: '-Wl,-e,m_trap',/" meson.build
		cat >riscv64.txt <<-END
		[constants]
		headers = ['-nostdinc', '-idirafter$(riscv64-linux-gnu-gcc -print-file-name=include)', '-Wno-unused']
		[binaries]
		c = 'riscv64-linux-gnu-gcc'
		ar = 'riscv64-linux-gnu-ar'
		[built-in options]
		c_args = ['-march=rv64imac_zicsr_zifencei', '-mabi=lp64', '-mcmodel=medany', '-ffreestanding'] + headers
		c_link_args = ['-nostdlib', '-static', '-mabi=lp64']
		[host_machine]
		system = 'none'
		cpu_family = 'riscv64'
		cpu = 'rv64imac'
		endian = 'little'
		END
		cross=(--cross-file riscv64.txt)
	fi
	mkdir subprojects
	ln -s "$VMF_SOURCE" subprojects/vmfault
	meson setup "${cross[@]}" build >log 2>&1 && ninja -C build >>log 2>&1 || { cat log; exit 1; }
	[ "$way" = meson ] || { riscv64-linux-gnu-nm build/kernel | grep -q ' T vmf_handle$'; exit; }
	cp build/kernel .
	;;
*) echo "usage: porting.sh core|amalgam|make|cmake|meson|riscv64" >&2; exit 2 ;;
esac

said=$(./kernel)
promised=$(sed -n 's/^It prints `\(.*\)`\.$/\1/p' "$VMF_SOURCE/docs/PORTING.md")
[ -n "$said" ] && [ "$said" = "$promised" ] || { echo "the port says \"$said\", not \"$promised\""; exit 1; }
echo "$way: $lines lines: $said"
