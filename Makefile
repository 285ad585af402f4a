# The doors of the project. `make demo` and `make test` are all that a visitor
# needs; both set up what they need by themselves.

CARGO ?= cargo
# One feature set for everything, so that nothing is built twice.
FEATURES = --features layerfi-auth/blocking,layerfi-auth/test-util
# A target directory of its own: other flags rebuild every dependency.
MODEL_TARGET = $(or $(CARGO_TARGET_DIR),target)/model

.PHONY: help demo test setup lint fmt unit model stress bench bench-rust

help: ## What there is
	@sed -n 's/^\([a-z-]*\):.*## /\1\t/p' $(MAKEFILE_LIST) | expand -t 14

demo: ## The main job, on the emulator: no account, no network
	@$(CARGO) run --quiet --package layerfi-auth-cli -- demo

test: setup setup-ffi venv lint lint-ffi lint-python unit test-ffi test-python model stress soak fuzz deny ## Everything that CI runs
test: SOAK_SECONDS = 30

setup: ## What the tests need beyond Rust, installed where we may
	@command -v curl >/dev/null || { \
		test "$$(id -u)" = 0 || { echo "make setup: please install curl" >&2; exit 1; }; \
		apt-get update -qq && apt-get install -qq -y curl; }
	@$(CARGO) fmt --version >/dev/null && $(CARGO) clippy --version >/dev/null || { \
		echo "make setup: please run: rustup component add rustfmt clippy" >&2; exit 1; }

lint: ## Formatting and lints of the Rust code
	$(CARGO) fmt --all --check
	$(CARGO) clippy --workspace --all-targets $(FEATURES) -- -D warnings

fmt: ## Formats in place
	$(CARGO) fmt --all

unit: ## The engine, the emulator, the command, and what crosses them
	$(CARGO) test --workspace --exclude layerfi-auth-ffi --exclude layerfi-auth-python $(FEATURES)

model: ## The cache's state machine in thousands of schedules
	RUSTFLAGS="--cfg shuttle" CARGO_TARGET_DIR="$(MODEL_TARGET)" \
		$(CARGO) test --package layerfi-auth --features blocking --lib model

stress: ## A minute of threads, tasks, faults and clock jumps over the emulator (SECONDS=n)
	LAYERFI_STRESS_SECONDS=$(or $(SECONDS),60) \
		$(CARGO) test --package layerfi-auth-tests --test stress -- --nocapture

bench: bench-rust bench-ffi bench-python ## Figures, beside the machine's own floor

bench-rust: ## Those of the engine
	$(CARGO) bench --package layerfi-auth-bench

# The C and Python faces bring their own doors.
-include ffi/rules.mk python/rules.mk tests/hostile/rules.mk
