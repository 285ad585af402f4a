# Doors for what takes long or is about the world around the code.

FUZZ_TARGETS = token_response refusal retry_after environment business_id ca_pem c_strings

# cargo-fuzz and cargo-deny: from the PATH where they are there, else built here
# (unoptimized, which is a matter of a minute or two).
TOOLS = $(abspath $(or $(CARGO_TARGET_DIR),target))/tools
tool = PATH="$$PATH:$(TOOLS)/bin" $(1)
need = $(call tool,$(CARGO)) $(1) --version >/dev/null 2>&1 || CARGO_PROFILE_DEV_DEBUG=0 \
	$(CARGO) install --quiet --debug --locked --root $(TOOLS) --target-dir $(TOOLS)/build cargo-$(1)

.PHONY: fuzz soak deny sbom reproducible supply-chain

fuzz: ## Each parser of bytes from outside, a minute each (SECONDS=n)
	@$(call need,fuzz)
	RUSTC_BOOTSTRAP=1 $(call tool,$(CARGO)) fuzz build --fuzz-dir fuzz
	@printf '%s\n' $(FUZZ_TARGETS) | $(call tool,xargs) -P 2 -I TARGET \
		tests/hostile/fuzz TARGET $(or $(SECONDS),60)

SOAK_SECONDS = 600

soak: python-dev-wheel ## Ten minutes of faults, kills, freezes and cut lines, all faces (SECONDS=n)
	@command -v ip >/dev/null && command -v tc >/dev/null || { \
		test "$$(id -u)" = 0 && command -v apt-get >/dev/null && \
			{ apt-get update -qq; apt-get install -qq -y iproute2; } || \
			echo "make soak: without iproute2 there are no lines to cut; please install it" >&2; }
	$(CARGO) build --package layerfi-auth-ffi
	LAYERFI_SOAK=all LAYERFI_SOAK_SECONDS=$(or $(SECONDS),$(SOAK_SECONDS)) \
		$(CARGO) test --package layerfi-auth-tests $(FEATURES) --test soak -- --nocapture

deny: ## Licences, bans, duplicates and sources of all dependencies
	@$(call need,deny)
	@$(CARGO) fetch --quiet --locked
	$(call tool,$(CARGO)) deny --offline check licenses bans sources

sbom: ## What is in what we ship, as CycloneDX, in dist/
	@mkdir -p dist
	tests/hostile/sbom > dist/layerfi-auth.cdx.json
	@echo "dist/layerfi-auth.cdx.json"

reproducible: ## The C library, built twice in different places: the same bytes
	$(FFI_RELEASE) tests/hostile/reproducible

supply-chain: deny sbom reproducible ## All three
