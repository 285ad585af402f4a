# Commands for the examples with a page. They need Rust, Python 3.10 and Node.js 18.17 with npm;
# the rest is installed in examples/.

EXAMPLES = examples
PAGE_EXAMPLES = bff-fastapi fastapi-react
# Names of other folders are literal in prerequisites, because make reads this file first.
EXAMPLE_PAGES = $(PAGE_EXAMPLES:%=$(EXAMPLES)/%/page/dist/index.html)
DEMO_WEB = $(EXAMPLES)/fastapi-react
DEMO_WEB_VENV = $(abspath $(EXAMPLES)/.venv)

.PHONY: demo-web demo-web-picture

demo-web: $(DEMO_WEB)/page/dist/index.html $(DEMO_WEB_VENV)/.ready ## Show Layer's components in a page, against the emulator, until Ctrl-C
	rm -rf $(WHEELS)/demo-web
	cd python && $(DEMO_WEB_VENV)/bin/maturin build --locked --profile dev \
		--interpreter $(DEMO_WEB_VENV)/bin/python --auditwheel skip --out $(WHEELS)/demo-web
	$(DEMO_WEB_VENV)/bin/pip install --quiet --disable-pip-version-check --no-deps \
		--force-reinstall $(WHEELS)/demo-web/*.whl
	@cd $(DEMO_WEB) && exec $(DEMO_WEB_VENV)/bin/python demo.py

$(DEMO_WEB_VENV)/.ready: $(DEMO_WEB)/requirements.txt
	@scripts/setup python3-venv
	$(PYTHON) -m venv $(DEMO_WEB_VENV)
	$(DEMO_WEB_VENV)/bin/pip install --quiet --disable-pip-version-check \
		'maturin>=1.10,<2' -r $(DEMO_WEB)/requirements.txt
	touch $@

demo-web-picture: tests/browser/node_modules/.packages $(EXAMPLE_PAGES) python-dev-wheel ## Make docs/demo-web.png anew
	cd $(BROWSER) && PYTHON=$(VENV_PYTHON) DEMO_WEB_SHOT=$(abspath docs/demo-web.png) \
		node --test demo-web.test.mjs

# The packed packages, as users install them. npm does not notice that a file has changed.
$(EXAMPLES)/node_modules/.ready: $(EXAMPLES)/package.json \
		$(PAGE_EXAMPLES:%=$(EXAMPLES)/%/page/package.json) js/build/.packed
	rm -rf $(JS_PACKAGES:%=$(EXAMPLES)/node_modules/%)
	cd $(EXAMPLES) && $(NPM_INSTALL)
	touch $@

$(EXAMPLES)/%/page/dist/index.html: $(EXAMPLES)/%/page/index.html $(EXAMPLES)/%/page/vite.config.js \
		$(wildcard $(EXAMPLES)/*/page/src/*) $(EXAMPLES)/node_modules/.ready
	cd $(EXAMPLES)/$*/page && npm run build -- --logLevel=error
	touch $@
