# SPDX-License-Identifier: Apache-2.0
# A thin front for Meson: each target is a build directory and what runs in it.
#   make            build into build/            make check   the quick tests
#   make demo       boot Debian and run a command make test    everything that CI runs
#   make deps       install what is missing       make asan | ubsan | tsan | fuzz | format | install
SHELL      := /bin/bash
.ONESHELL:
.SHELLFLAGS := -euo pipefail -c
BUILD       ?= build
JOBS        ?= $(shell nproc)
# How long each fuzz target runs.
STRATA_FUZZ_SECONDS ?= 30
FUZZ_SECONDS ?= $(STRATA_FUZZ_SECONDS)
MESON_ARGS  ?=
RUN_TESTS   := python3 tools/run_tests.py

.PHONY: all deps need-deps check test demo asan ubsan tsan fuzz format install clean

all: $(BUILD)/build.ninja
	@ninja -C $(BUILD) -j $(JOBS)

# Says which packages are missing rather than letting Meson stop at the first.
$(BUILD)/build.ninja:
	@missing=$$(tools/deps.sh missing)
	if [ -n "$$missing" ]; then
		echo "These packages are missing; \`make deps\` installs them:" >&2
		sed 's/^/  /' <<<"$$missing" >&2
		if ! command -v meson >/dev/null || ! command -v ninja >/dev/null; then exit 1; fi
	fi
	meson setup $(MESON_ARGS) $(BUILD)

deps:
	@tools/deps.sh install

# Quiet when nothing is missing: `make demo` and `make test` work on a fresh host.
need-deps:
	@[ -z "$$(tools/deps.sh missing)" ] || tools/deps.sh install

check: all
	@$(RUN_TESTS) $(BUILD):quick

# Everything that CI runs, one total at the end. A build that fails is a failed result, and so is each
# of its tests. The tests of threads run under ThreadSanitizer too.
SANITIZERS := build-asan build-tsan build-fuzz
THREADED   := (loop|relay|bus|plic|serial|vcpu|virtio/|vsock|fuse|board)
test: need-deps
	@$(RUN_TESTS) \
		--step 'format=tools/check_format.sh' \
		--step 'build with gcc=$(MAKE) --no-print-directory all' \
		--step 'build with clang=$(MAKE) --no-print-directory build-clang' \
		$(foreach b,$(SANITIZERS),--step '$(b)=$(MAKE) --no-print-directory $(b)') \
		$(BUILD) build-asan:quick 'build-tsan:quick:$(THREADED)' build-fuzz:fuzz

demo: need-deps all
	@tools/demo.sh $(BUILD)

# Sanitized code makes gcc warn of what cannot be; warnings are errors in the plain builds.
build-asan/build.ninja:
	meson setup -Dwerror=false -Db_sanitize=address,undefined build-asan
build-ubsan/build.ninja:
	meson setup -Dwerror=false -Db_sanitize=undefined build-ubsan
build-tsan/build.ninja:
	meson setup -Dwerror=false -Db_sanitize=thread build-tsan
build-clang/build.ninja:
	CC=clang-14 meson setup build-clang
build-fuzz/build.ninja:
	CC=clang-14 meson setup -Dwerror=false -Dfuzz=true -Db_sanitize=address,undefined -Db_lundef=false build-fuzz

BUILDS := build-asan build-ubsan build-tsan build-clang build-fuzz
.PHONY: $(BUILDS)
$(BUILDS): %: %/build.ninja
	@[ $@ != build-fuzz ] || meson configure -Dfuzz_seconds=$(FUZZ_SECONDS) $@
	ninja -C $@ -j $(JOBS)

asan ubsan tsan: %: build-%
	@$(RUN_TESTS) build-$@:quick

fuzz: build-fuzz
	@$(RUN_TESTS) build-fuzz:fuzz

format:
	@git ls-files '*.c' '*.h' | xargs -r clang-format-14 -i

install: all
	@meson install -C $(BUILD)

clean:
	@rm -rf $(BUILD) $(BUILDS)
