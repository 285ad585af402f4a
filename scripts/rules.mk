# Commands for a release. docs/releasing.md describes one.

.PHONY: release-check lint-release c-tarball check-features advisories test-plain-linux
LINTS += lint-release

lint-release: $(VENV)/.ready ## Check that all packages have the same version and what registries need
	CARGO="$(CARGO)" $(VENV_PYTHON) scripts/release-check versions

# Built with zig's linker, because a library that is linked here would need this system's
# glibc. The same glibc as the wheel's.
C_TARBALL_GLIBC = 2.17
c-tarball: setup venv ## Build the C library for Linux with an old glibc, and pack it in dist/
	$(VENV)/bin/uv pip install --quiet --python $(VENV_PYTHON) ziglang
	@$(CARGO_TOOL) zigbuild 0.23.4
	PATH="$(VENV)/bin:$$PATH:$(CARGO_TOOLS)/bin" $(FFI_RELEASE) CARGO="$(CARGO)" OUT="$(C_LIBRARY)-portable" \
		GLIBC=$(C_TARBALL_GLIBC) SHARED_CACHE="$(or $(C_LIBRARY_CACHE),0)" ffi/build.sh
	BUILT="$(C_LIBRARY)-portable" scripts/c-tarball

# In an empty dist/, so that SHA256SUMS lists what was built now. `reproducible` builds the
# C library twice more; REPRODUCIBLE=0 leaves it out.
release-check: setup venv ## Build and check all packages of a release, and publish nothing (20 minutes)
	rm -rf dist
	$(MAKE) --no-print-directory wheel
	$(MAKE) --no-print-directory sdist npm-packages c-tarball sbom
	$(VENV)/bin/uv pip install --quiet --python $(VENV_PYTHON) twine trove-classifiers
	$(VENV)/bin/uv pip install --quiet --python $(VENV_PYTHON) --no-deps --reinstall dist/*.whl
	CARGO="$(CARGO)" $(VENV_PYTHON) scripts/release-check $(if $(RELEASE),--release)
	$(if $(filter 0,$(REPRODUCIBLE)),,$(MAKE) --no-print-directory reproducible)

# Each crate that others use, with each feature alone and with none.
FEATURE_CRATES = layerfi-auth layerfi-auth-emulator layerfi-auth-cli layerfi-auth-ffi
check-features: venv ## Compile each crate with each of its features alone (minutes)
	@$(CARGO_TOOL) hack 0.6.45
	RUSTFLAGS="-D warnings" $(WITH_TOOLS) $(CARGO) hack check --locked --each-feature $(FEATURE_CRATES:%=--package %)

# Reads the advisory database from the network, so that its result changes without a change
# of the code. Not a part of `make test`.
advisories: venv ## Check the dependencies against the RustSec database
	@$(CARGO_TOOL) deny 0.20.2
	$(WITH_TOOLS) $(CARGO) deny check advisories

# The wheel and the C library must be in dist/: make wheel c-tarball. Needs root and a mirror
# of Debian.
test-plain-linux: ## Try the wheel and the C library in old Debian systems (root, network)
	scripts/plain-linux
