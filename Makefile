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
FUZZ_SECONDS ?= 30
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

test: need-deps all build-asan/build.ninja build-fuzz/build.ninja
	@ninja -C build-asan -j $(JOBS)
	ninja -C build-fuzz -j $(JOBS)
	$(RUN_TESTS) $(BUILD) build-asan:quick build-fuzz:fuzz

demo: need-deps all
	@tools/demo.sh $(BUILD)

build-asan/build.ninja:
	meson setup -Db_sanitize=address,undefined build-asan
build-ubsan/build.ninja:
	meson setup -Db_sanitize=undefined build-ubsan
build-tsan/build.ninja:
	meson setup -Db_sanitize=thread build-tsan
build-fuzz/build.ninja:
	CC=clang-14 meson setup -Dfuzz=true -Dfuzz_seconds=$(FUZZ_SECONDS) \
		-Db_sanitize=address,undefined -Db_lundef=false build-fuzz

asan ubsan tsan: %: build-%/build.ninja
	@ninja -C build-$@ -j $(JOBS)
	$(RUN_TESTS) build-$@:quick

fuzz: build-fuzz/build.ninja
	@meson configure -Dfuzz_seconds=$(FUZZ_SECONDS) build-fuzz
	ninja -C build-fuzz -j $(JOBS)
	$(RUN_TESTS) build-fuzz:fuzz

format:
	@git ls-files '*.c' '*.h' | xargs -r clang-format-14 -i

install: all
	@meson install -C $(BUILD)

clean:
	@rm -rf build build-asan build-ubsan build-tsan build-fuzz
