# SPDX-License-Identifier: MIT
#
# A thin front end: meson does the building.  `make demo` and `make check` do all of their own set-up.
#
#	make demo        what it is good for, in under a minute
#	make check       the fast tests
#	make check-all   every test: also clang, sanitizers, cross compiles, QEMU
#	make check-metal the bare-metal ports, under QEMU
#	make seeds       the table of docs/SEEDS.md: what the two documents ask for, port by port
#	make model       random sequences of operations against the model, each time others, for some minutes
#	make mutate      takes each guard out, and sees its test fail: some twenty minutes
#	make soak        eight threads do everything at once for SOAK_SECONDS (600) on each port
#	make bench       figures of this machine
#	make insn-check  instructions of faults, beside those in bench/insn.txt (insn-update: new ones)
#	make amalgam     the core and its pmaps as one vmfault.c and vmfault.h, in build/amalgam
#	make abi         does the library keep what it promised?  make abi-update: a new promise
#	make coverage    what the tests reach of core, drivers and the Linux port
#	make fuzz        each fuzzer for FUZZ_SECONDS (600)
#	make install     into PREFIX (/usr/local), below DESTDIR
#	make deps        install everything that any of these needs
#	make clean

PREFIX ?= /usr/local
BUILD ?= build
JOBS ?= $(shell nproc)
FUZZ_SECONDS ?= 600
SOAK_SECONDS ?= 600
MESON_TEST = meson test --num-processes $(JOBS) --print-errorlogs

all: $(BUILD)/build.ninja
	ninja -C $(BUILD) -j $(JOBS)

# Every directory is configured once; ninja does it again when a meson.build changes.
$(BUILD)/build.ninja:
	scripts/deps build
	meson setup --prefix $(PREFIX) $(BUILD)

$(BUILD)-clang/build.ninja:
	scripts/deps build clang
	CC=clang meson setup -Dchecks=true $(BUILD)-clang

$(BUILD)-asan/build.ninja:
	scripts/deps build
	meson setup -Db_sanitize=address,undefined $(BUILD)-asan

$(BUILD)-tsan/build.ninja:
	scripts/deps build clang
	CC=clang meson setup -Db_sanitize=thread -Db_lundef=false $(BUILD)-tsan

check: all
	$(MESON_TEST) -C $(BUILD) --suite fast

check-metal: deps-metal all
	$(MESON_TEST) -C $(BUILD) --suite metal

check-all: deps check-gcc check-clang check-asan check-tsan

check-gcc: all
	$(MESON_TEST) -C $(BUILD) --no-suite long

seeds: all
	scripts/seeds $(BUILD)

# What a busy machine may disturb.
check-long: all
	$(MESON_TEST) -C $(BUILD) --suite long

check-clang: $(BUILD)-clang/build.ninja
	ninja -C $(BUILD)-clang -j $(JOBS)
	$(MESON_TEST) -C $(BUILD)-clang --suite fast

check-asan: $(BUILD)-asan/build.ninja
	ninja -C $(BUILD)-asan -j $(JOBS)
	$(MESON_TEST) -C $(BUILD)-asan --suite fast --no-suite ground

check-tsan: $(BUILD)-tsan/build.ninja
	ninja -C $(BUILD)-tsan -j $(JOBS)
	$(MESON_TEST) -C $(BUILD)-tsan --no-suite full --suite core --suite remote --suite server --timeout-multiplier 4
	$(MESON_TEST) -C $(BUILD)-tsan soak-sim $(addprefix list-sim-,$(MODEL))

# Each kind of window, from a new seed, which is printed (and so is what failed, made short).
MODEL_OPS = 3000000
MODEL = by-address by-address-unprotected by-offset by-offset-unprotected by-copy
MODEL_LINUX = threaded in-context
model: all
	for stage in $(MODEL); do $(BUILD)/tests/test-model-sim $$stage --ops $(MODEL_OPS) || exit 1; done
	for mode in $(MODEL_LINUX); do $(BUILD)/tests/test-model-linux $$mode --ops $(MODEL_OPS) || exit 1; done

mutate:
	scripts/deps build cross
	scripts/mutate --jobs $(JOBS)

soak: all
	$(BUILD)/tests/test-soak --seconds $(SOAK_SECONDS) sim threaded in-context

# Only what the demo runs, so that it is soon there.
demo: $(BUILD)/build.ninja
	ninja -C $(BUILD) -j $(JOBS) vmfault examples/demo examples/example-naive_handler examples/example-sparse
	sh demo/run.sh $(BUILD)

# BENCH: options for the table of the fault path, as --json or --only WORDS.
bench: all
	$(BUILD)/bench/bench-fault --vmfault $(BUILD)/vmfault --svg $(BUILD)/floor.svg $(BENCH)
	ninja -C $(BUILD) bench

# The table and the picture in docs/BENCH.md.
bench-update: all
	scripts/bench-update $(BUILD)

insn-check: all
	scripts/insn-check $(BUILD)

insn-update: all
	scripts/insn-check $(BUILD) --update

abi abi-update: all
	scripts/abi $(if $(findstring update,$@),update,check) $(BUILD)/libvmfault.so

coverage:
	scripts/deps build
	scripts/coverage $(BUILD)-cov

# What they find new is kept in build/fuzz.
fuzz:
	scripts/deps build clang
	for target in handshake session ops; do tests/fuzz.sh $$target $(FUZZ_SECONDS) $(BUILD)/fuzz/$$target || exit 1; done

amalgam:
	scripts/amalgam $(BUILD)/amalgam

install: all
	meson configure -Dprefix=$(PREFIX) $(BUILD)
	meson install -C $(BUILD)

deps:
	scripts/deps build clang cross metal qemu man abi lang insn

deps-metal:
	scripts/deps build metal

clean:
	rm -rf $(BUILD) $(BUILD)-clang $(BUILD)-asan $(BUILD)-tsan $(BUILD)-cov

.PHONY: all coverage fuzz abi abi-update amalgam model mutate soak check check-metal check-all check-gcc check-long seeds check-clang check-asan check-tsan bench bench-update insn-check insn-update demo install deps deps-metal clean
