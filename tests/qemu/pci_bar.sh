#!/bin/bash
# SPDX-License-Identifier: MIT
# A PCI device's memory, mapped at fault time by drivers/devmem on the Linux port: inside a guest of Debian's kernel,
# which sees QEMU's ivshmem device.  Its BAR 2 is a file here: we write it before, answer while the guest runs, and look
# for the guest's marks at the end.
#
#	pci_bar.sh BUILD_DIR
#
# Exit 0: passed; 77: QEMU or the kernel cannot be had here; else failed.
set -eu
. "$(dirname "$0")/guest.sh"
limit=240

# Every way in which tests/linux_devmem.c shows the BAR: resource2, resource2_wc and /dev/mem, lazily, at once, in runs
# and as frames, threaded and in context: 24 marks in each page.  Ends the shell that it is called in.
peer() {
	exec python3 - "$work/bar" "$1" <<'END'
import mmap, struct, sys, time
PEER, ASKED, PAGES = 0x686f7374, 7, 256
path, what = sys.argv[1:]
word = lambda page, i: page * 4096 + 4 * i
if what == 'write':
    with open(path, 'wb') as f:
        f.write(b''.join(struct.pack('<2I', PEER, page).ljust(4096, b'\x5a') for page in range(PAGES)))
    sys.exit()
file = open(path, 'r+b')
bar = mmap.mmap(file.fileno(), PAGES * 4096)
get = lambda page, i: struct.unpack_from('<I', bar, word(page, i))[0]
if what == 'check':
    bad = [(page, k) for page in range(PAGES) for k in range(16, 40) if get(page, k) != 0x67000000 | k << 16 | page]
    bad += [(page, 0) for page in range(PAGES) if (get(page, 0), get(page, 1)) != (PEER, page)]
    bad += [(page, 40) for page in range(PAGES) if get(page, 40) != 0x5a5a5a5a]
    print(f'the BAR, seen from outside: {PAGES * 24} marks, {len(bad)} wrong {bad[:5] if bad else ""}')
    sys.exit(bool(bad) or get(ASKED, 2) != 12)
seen = 0x5a5a5a5a
while True: # until it is killed
    turn = get(ASKED, 2)
    if turn != seen:
        struct.pack_into('<I', bar, word(ASKED, 3), ~turn & 0xffffffff)
        seen = turn
    time.sleep(0.002)
END
}

echo 'VMF_PEER=1 test-linux_devmem' >"$work/programs"
guest_kernel
guest_root
(peer write)
peer answer &
answering=$!
trap 'kill $answering 2>/dev/null || :; rm -rf "$work"' EXIT
guest_boot $limit -object "memory-backend-file,id=bar,size=1M,share=on,mem-path=$work/bar" \
	-device ivshmem-plain,memdev=bar
guest_verdict || exit 1
grep -q '^RESULT 0 ' "$work/said" || { echo "FAILED: nothing was run" >&2; exit 1; }
(peer check)
