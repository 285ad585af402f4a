# The documentation site. MkDocs and its theme come from PyPI, into an environment of their own.

SITE = build/site
SITE_VENV = $(VENV)/docs

.PHONY: docs docs-serve test-docs pages
TESTS += test-docs

$(SITE_VENV)/.ready: docs/requirements.txt $(VENV)/.ready
	$(VENV_PYTHON) -m venv $(SITE_VENV)
	$(VENV)/bin/uv pip install --quiet --python $(SITE_VENV)/bin/python -r docs/requirements.txt
	touch $@

docs: $(SITE_VENV)/.ready ## Build the documentation site in build/site (RUSTDOC=1: with rustdoc)
	NO_MKDOCS_2_WARNING=1 $(SITE_VENV)/bin/mkdocs build --quiet --strict --site-dir $(SITE)
	$(if $(filter-out 0,$(RUSTDOC)),$(CARGO) doc --quiet --no-deps --package layerfi-auth $(FEATURES) \
		&& rm -rf $(SITE)/rustdoc && cp -r $(or $(CARGO_TARGET_DIR),target)/doc $(SITE)/rustdoc)
	@echo "$(SITE)/index.html"

test-docs: docs ## Check the built site: links, anchors, requests to other sites, search
	$(VENV_PYTHON) scripts/site-check $(SITE)

# With the features of all tests, so that nothing is compiled twice.
pages: ## Write the generated pages anew: guarantees, errors, reference of the command
	UPDATE_GUARANTEES=1 UPDATE_ERRORS=1 UPDATE_CLI=1 $(CARGO_TEST) --quiet --lib --test guarantees \
		--test errors_page -- the_page_lists the_errors_page the_reference_is

docs-serve: $(SITE_VENV)/.ready ## Show the documentation on a local port while you write
	$(SITE_VENV)/bin/mkdocs serve
