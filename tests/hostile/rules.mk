# Doors for what takes long or is about the world around the code.

FUZZ_TARGETS = token_response refusal retry_after environment business_id ca_pem c_strings

.PHONY: fuzz soak deny sbom reproducible supply-chain

fuzz: ## Each parser of bytes from outside, a minute each (SECONDS=n)
	@$(CARGO) fuzz --version >/dev/null 2>&1 || $(CARGO) install --locked cargo-fuzz
	RUSTC_BOOTSTRAP=1 $(CARGO) fuzz build --fuzz-dir fuzz
	for target in $(FUZZ_TARGETS); do \
		mkdir -p fuzz/found/$$target; \
		RUSTC_BOOTSTRAP=1 $(CARGO) fuzz run --fuzz-dir fuzz $$target \
			$(CURDIR)/fuzz/found/$$target $(CURDIR)/fuzz/corpus/$$target -- \
			-max_total_time=$(or $(SECONDS),60) -max_len=4096 || exit 1; \
	done

soak: python-dev-wheel ## Ten minutes of faults, kills, freezes and cut lines, all faces (SECONDS=n)
	@command -v ip >/dev/null && command -v tc >/dev/null || { \
		test "$$(id -u)" = 0 && command -v apt-get >/dev/null && \
			{ apt-get update -qq; apt-get install -qq -y iproute2; } || \
			echo "make soak: without iproute2 there are no lines to cut; please install it" >&2; }
	$(CARGO) build --package layerfi-auth-ffi
	LAYERFI_SOAK=all LAYERFI_SOAK_SECONDS=$(or $(SECONDS),600) \
		$(CARGO) test --package layerfi-auth-tests $(FEATURES) --test soak -- --nocapture

deny: ## Licences, bans, duplicates and sources of all dependencies
	@$(CARGO) deny --version >/dev/null 2>&1 || $(CARGO) install --locked cargo-deny
	$(CARGO) deny --offline check licenses bans sources

sbom: ## What is in what we ship, as CycloneDX, in dist/
	@mkdir -p dist
	tests/hostile/sbom > dist/layerfi-auth.cdx.json
	@echo "dist/layerfi-auth.cdx.json"

reproducible: ## The C library, built twice in different places: the same bytes
	$(FFI_RELEASE) tests/hostile/reproducible

supply-chain: deny sbom reproducible ## All three
