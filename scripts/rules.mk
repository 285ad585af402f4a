# Commands for a release. docs/releasing.md describes one.

.PHONY: release-check lint-release c-tarball
LINTS += lint-release

lint-release: $(VENV)/.ready ## Check that all packages have the same version and what registries need
	CARGO="$(CARGO)" $(VENV_PYTHON) scripts/release-check versions

c-tarball: lib ## Pack the C library in dist/, for any folder
	BUILT="$(C_LIBRARY)" scripts/c-tarball

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
