# Commands for long tests and for checks of the dependencies and the release.

.PHONY: unified-features fuzz c-debug-library test-programs soak deny sbom reproducible
TESTS += unified-features fuzz deny
# Not in parallel with others: it and the tests of ffi build a C library in the same place.
TESTS_ALONE += soak

# In the target directory of the workspace, because half of the dependencies are the same.
TARGET = $(abspath $(or $(CARGO_TARGET_DIR),target))

unified-features: ## Test the engine in a program that enables many features of shared crates
	cd tests/unified-features && CARGO_TARGET_DIR="$(TARGET)" $(WITHIN) 30 $(CARGO) test

FUZZ_TARGETS = token_response refusal retry_after environment business_id ca_pem c_strings
FUZZ_SECONDS = 60
# `make test` lowers it: the build takes half the time, and then there are fewer runs.
FUZZ_OPT_LEVEL = 3
# cargo-fuzz and cargo-deny. scripts/cargo-tool installs them if they are missing.
CARGO_TOOLS = $(abspath $(or $(CARGO_TARGET_DIR),target))/tools
WITH_TOOLS = PATH="$$PATH:$(VENV)/bin:$(CARGO_TOOLS)/bin"
CARGO_TOOL = VENV="$(VENV)" TOOLS="$(CARGO_TOOLS)" CARGO="$(CARGO)" scripts/cargo-tool

FUZZ_PROFILE = CARGO_PROFILE_RELEASE_OPT_LEVEL=$(FUZZ_OPT_LEVEL)
fuzz: venv ## Fuzz each parser of untrusted input for a minute (SECONDS=n)
	@$(CARGO_TOOL) fuzz 0.13.2
	RUSTC_BOOTSTRAP=1 $(FUZZ_PROFILE) $(WITH_TOOLS) $(CARGO) fuzz build --fuzz-dir fuzz
	@printf '%s\n' $(FUZZ_TARGETS) | $(FUZZ_PROFILE) $(WITH_TOOLS) xargs -P 2 -I TARGET \
		scripts/fuzz TARGET $(or $(SECONDS),$(FUZZ_SECONDS))

# The C library with the shared cache, as the tests of ffi build it.
c-debug-library:
	$(CARGO) build --quiet --package layerfi-auth-ffi --features redis

# The programs in tests/rust/src/bin, built together with that package's tests, so that
# nothing is compiled with other features again. And the C library.
test-programs: c-debug-library
	$(CARGO_TEST) --quiet --no-run --test soak

SOAK_SECONDS = 600
soak: setup python-dev-wheel test-programs ## Run all bindings for ten minutes of faults, kills and network cuts (SECONDS=n)
	LAYERFI_SOAK=all LAYERFI_SOAK_SECONDS=$(or $(SECONDS),$(SOAK_SECONDS)) \
		$(CARGO_TEST) --test soak -- --nocapture

deny: venv ## Check the licences, sources and duplicates of all dependencies
	@$(CARGO_TOOL) deny 0.20.2
	@$(CARGO) fetch --quiet --locked
	$(WITH_TOOLS) $(CARGO) deny --offline check licenses bans sources

sbom: ## Write the list of shipped dependencies to dist/ (CycloneDX)
	@mkdir -p dist
	scripts/sbom > dist/layerfi-auth.cdx.json
	@echo "dist/layerfi-auth.cdx.json"

reproducible: ## Build the C library twice in different folders and compare the bytes
	$(FFI_RELEASE) scripts/reproducible
