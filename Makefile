# Commands to build and test the project; `make help` lists them. `make demo`,
# `make check` and `make test` first install what they need.

CARGO ?= cargo
PYTHON ?= python3
# Here, because the lists of prerequisites in all rules.mk are expanded as they are read.
VENV = $(abspath .venv)
VENV_PYTHON = $(VENV)/bin/python
# All Rust tests build the whole workspace with these features and then select
# what to run. With fewer packages or other features, Cargo would compile most
# dependencies again.
FEATURES = --features layerfi-auth/blocking,layerfi-auth/redis,layerfi-auth/test-util
CARGO_TEST = $(CARGO) test --workspace $(FEATURES)
# Ends a command that hangs; the number of minutes follows.
WITHIN = $(PYTHON) $(abspath scripts/within)

# Cargo and the makes that the tests start must not see the job server of this make.
unexport MAKEFLAGS MFLAGS MAKEOVERRIDES

.PHONY: help demo test check setup lint fmt unit model stress bench

help: ## List the commands
	@awk 'FNR == 1 && FILENAME != "Makefile" { sub(/^# /, ""); sub(/\.( .*)?$$/, ""); title = $$0 } \
		/^[a-z-]+:.*## / { \
			if (title) print "\n" title ":"; title = ""; \
			name = text = $$0; sub(/:.*/, "", name); sub(/.*## /, "", text); \
			printf "  %-18s%s\n", name, text }' $(MAKEFILE_LIST)

demo: ## Run the main use case against the emulator, without an account or a network
	@$(CARGO) build --package layerfi-auth-cli
	@$(CARGO) run --quiet --package layerfi-auth-cli -- demo

# Each part of the project adds its own to these lists in its rules.mk.
LINTS = lint
TESTS = unit model stress
# Tests that run after all others, one at a time.
TESTS_ALONE =
BENCHES =
include $(sort $(wildcard */rules.mk */*/rules.mk))

# Two parts at a time, because many tests wait for timeouts. The output of a part is
# printed when it ends. JOBS=1 runs one part at a time and prints as it goes.
JOBS = 2
# The longest first, so that none of them is the last one and runs alone. `lint` begins while
# the other tools are being installed.
FIRST = lint lint-python unit test-python fuzz instructions unified-features test-browser
PARTS = $(FIRST) $(filter-out $(FIRST),$(LINTS) $(TESTS))
test: ## Run all lints and tests, as CI does (about 29 minutes in a fresh clone)
	@$(MAKE) $(MFLAGS) $(MAKEOVERRIDES) --no-print-directory --jobs=$(JOBS) \
		$(if $(filter 1,$(JOBS)),,--output-sync=target) SETUP=setup \
		STRESS_SECONDS=30 FUZZ_SECONDS=20 FUZZ_OPT_LEVEL=1 $(PARTS)
	@$(MAKE) $(MFLAGS) $(MAKEOVERRIDES) --no-print-directory SOAK_SECONDS=30 $(TESTS_ALONE)

# `make test` sets SETUP. Each part needs the tools, except the lints of Rust where there is a
# C compiler. One after another, because apt-get does not wait for all of its locks.
SETUP =
$(filter-out $(if $(shell command -v cc),lint),$(PARTS)): | $(SETUP)
$(VENV)/.ready node-tools browser-tools: | $(SETUP)

check: setup ## Format, lint and test what changed since main, or BASE (about 2 minutes)
	@CARGO="$(CARGO)" FEATURES="$(FEATURES)" BASE="$(BASE)" scripts/check

setup: ## Install the tools that the tests need (Debian, as root), or list them
	@CARGO="$(CARGO)" PYTHON="$(PYTHON)" scripts/setup

lint: ## Check the formatting and the lints of the Rust code
	$(CARGO) fmt --all --check
	$(CARGO) clippy --workspace --all-targets $(FEATURES) -- -D warnings

fmt: ## Format the Rust code
	$(CARGO) fmt --all

unit: setup venv ## Run the tests of all Rust packages, the C and C++ programs included
	$(WITHIN) 60 $(CARGO_TEST)

model: ## Run the cache's state machine in thousands of thread schedules
	RUSTC_WORKSPACE_WRAPPER="$(abspath scripts/rustc-shuttle)" $(WITHIN) 30 $(CARGO) test \
		--package layerfi-auth --features blocking,redis --lib model

STRESS_SECONDS = 60
stress: ## Run threads, tasks, faults and clock jumps for a minute (SECONDS=n)
	LAYERFI_STRESS_SECONDS=$(or $(SECONDS),$(STRESS_SECONDS)) \
		$(WITHIN) 30 $(CARGO_TEST) --test stress -- --nocapture

bench: $(BENCHES) ## Run all benchmarks, each beside a baseline on the same machine
