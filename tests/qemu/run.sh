#!/bin/bash
# SPDX-License-Identifier: MIT
# A Debian guest under an unmodified QEMU comes back from its snapshot through `vmfault serve`; README.md says how.
#
#	VMFAULT=path/to/vmfault run.sh BUILD_DIR
#
# Exit 0: passed; 77: QEMU or the kernel cannot be had here (the reason is printed); else failed.
set -eu

here=$(cd "$(dirname "$0")" && pwd)
build=${1:-${VMF_BUILD:?usage: VMFAULT=COMMAND run.sh BUILD_DIR}}
vmfault=$(realpath "${VMFAULT:?the path of the vmfault command}")
megabytes=256
boot_limit=60
restore_limit=60
cc=${VMF_CC:-cc}
work=
shm=
qemu=
server=

skip() {
	echo "skipped: $1"
	exit 77
}

fail() {
	echo "FAILED: $1" >&2
	for log in "$work"/*.log; do
		[ ! -s "$log" ] || { echo "--- ${log##*/}"; tail -n 8 "$log"; } >&2
	done
	exit 1
}

# A QEMU whose pages nobody brings any more sleeps in the kernel, where only SIGKILL reaches it.
reap() {
	[ -z "$1" ] || { kill -KILL "$1" && wait "$1"; } 2>/dev/null || :
}

cleanup() {
	status=$?
	trap - EXIT
	reap "$qemu"
	reap "$server"
	[ -z "$shm" ] || rm -rf "$shm"
	# Of a run that failed, the logs stay.
	[ -z "$work" ] || rm -f "$work/image" "$work/initrd"
	case $status in
	0 | 77) rm -rf "$work" ;;
	esac
	exit $status
}

# `until_true SECONDS COMMAND...`: false if it does not come true in time.
until_true() {
	local end=$(($(date +%s) + $1))
	shift
	until "$@"; do
		[ "$(date +%s)" -lt $end ] || return 1
		sleep 0.02
	done
}

ticks() {
	touch "$1"
	grep -c '^TICK [0-9]* [0-9a-f]\{32\}.\?$' "$1" || :
}

# The log shows $2 ticks, or QEMU has ended, which the caller finds out.
ticked() {
	[ "$(ticks "$1")" -ge "$2" ] || ! kill -0 "$qemu" 2>/dev/null
}

wait_ticks() {
	until_true "$3" ticked "$1" "$2" || fail "no TICK $2 in ${1##*/} within $3 s"
	[ "$(ticks "$1")" -ge "$2" ] || fail "QEMU ended before TICK $2 of ${1##*/}"
}

monitor() {
	"$work/monitor" "$work/mon.sock" 30 "$@" >"$work/monitor.log" 2>&1 || fail "QEMU's monitor: $*"
}

# Also for who runs this test alone: make has seen to it before.
packages() {
	timeout 600 "$here/../../scripts/deps" qemu </dev/null >"$work/deps.log" 2>&1 || {
		cat "$work/deps.log"
		skip "QEMU cannot be installed here: $(tail -n 1 "$work/deps.log")"
	}
}

prepare() {
	mkdir -p "$build"
	work=$(realpath "$build")/qemu-run
	rm -rf "$work"
	mkdir "$work"
	packages
	kernel=$(sh "$here/kernel.sh" "$build/qemu-cache" 2>"$work/kernel.log") || {
		[ $? -ne 77 ] || skip "$(tail -n 1 "$work/kernel.log")"
		fail "kernel.sh"
	}
	shm=$(mktemp -d /dev/shm/vmfault-qemu.XXXXXX)
	local flags="-std=gnu11 -D_GNU_SOURCE -O2 -Wall -Wextra -Wpedantic -Werror"
	# shellcheck disable=SC2086 # lists
	{
		$cc $flags -fPIC -fvisibility=hidden -shared -o "$work/libshim.so" "$here/shim.c"
		$cc $flags -o "$work/monitor" "$here/monitor.c"
	}
	mkdir -p "$work/root/bin"
	cp "$(command -v busybox)" "$work/root/bin/busybox"
	cp "$here/init" "$work/root/init"
	chmod 755 "$work/root/init"
	seq 1 9000000 >"$work/root/file"
	file_bytes=$(wc -c <"$work/root/file")
	wanted=$(md5sum <"$work/root/file" | cut -d ' ' -f 1)
	(cd "$work/root" && find . | busybox cpio -o -H newc 2>/dev/null) >"$work/initrd"
	rm -r "$work/root"
}

# start_qemu SERIAL_LOG [NAME=VALUE...] [-- OPTION...]
start_qemu() {
	local serial=$1 env=()
	shift
	while [ $# -gt 0 ] && [ "$1" != -- ]; do
		env+=("$1")
		shift
	done
	[ $# -eq 0 ] || shift
	rm -f "$work/mon.sock"
	(cd "$work" && exec env "${env[@]}" qemu-system-x86_64 -machine q35,memory-backend=m \
		-object "memory-backend-file,id=m,size=${megabytes}M,mem-path=$shm/memory,share=on" \
		-accel tcg -cpu max -m $megabytes -display none -no-reboot -nodefaults \
		-kernel "$kernel" -initrd initrd -append 'console=ttyS0 quiet panic=-1' \
		-serial "file:$serial" -monitor unix:mon.sock,server,nowait \
		"$@") >"$work/qemu.log" 2>&1 </dev/null &
	qemu=$!
}

stop_qemu() {
	reap "$qemu"
	qemu=
}

# The memory stays in the file; what the monitor writes is the rest of the machine.
snapshot() {
	start_qemu boot.log
	wait_ticks "$work/boot.log" 2 $boot_limit
	monitor stop 'migrate_set_capability x-ignore-shared on' 'migrate "exec:cat > vmstate"' 'info migrate'
	grep -q 'Migration status: completed' "$work/monitor.log" || fail "the snapshot"
	cp --sparse=always "$shm/memory" "$work/image"
	monitor quit
	stop_qemu
	rm "$shm/memory"
}

# Before it is all in, `cont` would be forgotten: the machine was stopped when it was saved.
incoming_done() {
	monitor 'info status'
	grep -q 'status: paused.\?$' "$work/monitor.log"
}

start_server() {
	rm -f "$work/serve.sock"
	"$vmfault" serve --socket "$work/serve.sock" --image "$work/image" "$@" \
		>"$work/serve.log" 2>"$work/serve-errors.log" </dev/null &
	server=$!
	until_true 10 test -S "$work/serve.sock" || fail "vmfault serve does not listen"
}

server_ended() {
	! kill -0 "$server" 2>/dev/null
}

stop_server() {
	kill -TERM "$server"
	until_true 10 server_ended || fail "vmfault serve is still there 10 s after SIGTERM, without a client"
	wait "$server" || fail "vmfault serve ended with status $?"
	server=
}

# The tick after the first is all computed here: the first one began before the snapshot.
check_md5() {
	local sums
	sums=$(sed -n 's/^TICK [0-9]* \([0-9a-f]*\).*/\1/p' "$1" | sort -u)
	[ "$sums" = "$wanted" ] || fail "the md5 in ${1##*/} is $sums, not $wanted"
}

# A fresh, empty memory file: every byte that the guest sees comes from the server.
start_client() {
	truncate -s ${megabytes}M "$shm/memory"
	start_qemu restored.log SHIM_FILE="$shm/memory" SHIM_SOCKET="$work/serve.sock" LD_PRELOAD="$work/libshim.so" \
		-- -incoming defer
	monitor 'migrate_set_capability x-ignore-shared on' 'migrate_incoming "exec:cat vmstate"'
	until_true 20 incoming_done || fail "the snapshot does not come in"
	monitor cont
}

# The number behind a name in the server's line for its client, plain or JSON.
counter() {
	sed -n "/client/s/.*\"\\?\\<$1\"\\?:\\? *\\([0-9][0-9]*\\).*/\\1/p" "$work/serve.log" | tail -n 1
}

# check_client_line PID: sets faults, pages, bytes.
check_client_line() {
	until_true 10 grep -q client "$work/serve.log" || fail "vmfault serve does not say that the client has ended"
	[ "$(counter client)" = "$1" ] || fail "the line is not for QEMU, which was $1: $(cat "$work/serve.log")"
	faults=$(counter faults)
	pages=$(counter pages)
	bytes=$(counter bytes)
	[ "${faults:-0}" -gt 0 ] || fail "no faults in the line for the client"
	[ "${pages:-0}" -ge $((file_bytes / 4096)) ] || fail "${pages:-no} pages cannot hold $file_bytes bytes"
	[ "${bytes:-0}" -ge "$file_bytes" ] || fail "${bytes:-no} bytes cannot hold $file_bytes bytes"
	[ ! -s "$work/serve-errors.log" ] || fail "vmfault serve complains"
}

# restore MODE [OPTION...]: leaves $faults, and the mode's line in the table.
restore() {
	local mode=$1 begin first pid
	shift
	start_server "$@"
	begin=$(date +%s%N)
	start_client
	wait_ticks "$work/restored.log" 1 $restore_limit
	first=$(date +%s%N)
	wait_ticks "$work/restored.log" 2 $restore_limit
	check_md5 "$work/restored.log"
	[ -z "$(counter pages)" ] || fail "vmfault serve says that the client has ended, and it has not"
	pid=$qemu
	stop_qemu
	check_client_line "$pid"
	stop_server
	rm "$shm/memory" "$work/restored.log"
	table+=$(printf '%-20s %8s %8s %10s %8d' \
		"$mode" "$faults" "$pages" "$bytes" $(((first - begin) / 1000000)))$'\n'
}

trap cleanup EXIT
trap 'exit 1' INT TERM HUP
prepare
snapshot
check_md5 "$work/boot.log"
table=
restore 'one page a fault'
one=$faults
restore '--fault-around 256k' --fault-around 256k --json
around=$faults
printf '%-20s %8s %8s %10s %8s\n' mode faults pages bytes ms
printf '%s' "$table"
echo "md5 $wanted before, and after both; ms: from the start of QEMU to the first tick"
[ "$one" -ge $((20 * around)) ] || fail "$one faults against $around: less than 20 times fewer"
