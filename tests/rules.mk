# Commands for long tests and for checks of the dependencies and the release.

.PHONY: unified-features fuzz soak deny sbom reproducible
TESTS += unified-features fuzz deny
# Not in parallel with others: it and the tests of ffi build a C library in the same place.
TESTS_ALONE += soak

UNIFIED_TARGET = $(abspath $(or $(CARGO_TARGET_DIR),target))/unified-features

unified-features: ## Test the engine in a program that enables many features of shared crates
	cd tests/unified-features && CARGO_TARGET_DIR="$(UNIFIED_TARGET)" $(CARGO) test

FUZZ_TARGETS = token_response refusal retry_after environment business_id ca_pem c_strings
FUZZ_SECONDS = 60
# cargo-fuzz and cargo-deny. scripts/cargo-tool installs them if they are missing.
CARGO_TOOLS = $(abspath $(or $(CARGO_TARGET_DIR),target))/tools
WITH_TOOLS = PATH="$$PATH:$(VENV)/bin:$(CARGO_TOOLS)/bin"
CARGO_TOOL = VENV="$(VENV)" TOOLS="$(CARGO_TOOLS)" CARGO="$(CARGO)" scripts/cargo-tool

fuzz: venv ## Fuzz each parser of untrusted input for a minute (SECONDS=n)
	@$(CARGO_TOOL) fuzz 0.13.2
	RUSTC_BOOTSTRAP=1 $(WITH_TOOLS) $(CARGO) fuzz build --fuzz-dir fuzz
	@printf '%s\n' $(FUZZ_TARGETS) | $(WITH_TOOLS) xargs -P 2 -I TARGET \
		scripts/fuzz TARGET $(or $(SECONDS),$(FUZZ_SECONDS))

SOAK_SECONDS = 600
soak: setup python-dev-wheel ## Run all bindings for ten minutes of faults, kills and network cuts (SECONDS=n)
	$(CARGO) build --workspace $(FEATURES)
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
