# Browser tests: the published React components in headless Chromium. They need Chromium,
# Node.js 18.17 or later and npm. CHROMIUM names a browser that is not in the PATH.

BROWSER = tests/browser

.PHONY: setup-browser browser-tools node-tools test-browser check-browser lint-browser
LINTS += lint-browser
TESTS += test-browser

setup-browser: $(BROWSER)/node_modules/.ready ## Install the tools that the browser tests need

browser-tools: node-tools
	@test -n "$$CHROMIUM" || scripts/setup chromium

node-tools:
	@scripts/setup nodejs npm
	@node --eval 'process.exit(typeof URL.canParse === "function" ? 0 : 1)' || { \
		echo "make $@: Node.js 18.17 or later is needed; found $$(node --version)" >&2; \
		exit 1; }

$(BROWSER)/node_modules/.ready: $(BROWSER)/package.json | browser-tools
	cd $(BROWSER) && $(NPM_INSTALL)
	touch $@

# The packed packages, as users install them. npm removes them when it installs others.
$(BROWSER)/node_modules/.packages: $(JS)/build/.packed $(BROWSER)/node_modules/.ready
	rm -rf $(JS_PACKAGES:%=$(BROWSER)/node_modules/%)
	cd $(BROWSER) && $(NPM_INSTALL) --no-save $(JS_PACKAGES:%=$(abspath $(JS))/build/%.tgz)
	touch $@

test-browser: $(BROWSER)/node_modules/.packages $(EXAMPLE_PAGES) python-dev-wheel ## Test the pages of users in Chromium
	$(VENV_PYTHON) -m pytest -p no:cacheprovider $(BROWSER)
	cd $(BROWSER) && PYTHON=$(VENV_PYTHON) node --test \
		stay-signed-in.test.mjs demo-web.test.mjs bff.test.mjs

check-browser: lint-browser test-browser

lint-browser: $(VENV)/.ready ## Check the formatting and lints of the browser tests
	$(VENV)/bin/ruff check --config tests/python/ruff.toml $(BROWSER)
	$(VENV)/bin/ruff format --config tests/python/ruff.toml --check $(BROWSER)
