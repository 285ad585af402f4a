# Commands for the npm packages. They need Node.js 18.17 or later and npm, which
# `make setup-js` installs.

JS = js
JS_PACKAGES = layerfi-auth-browser layerfi-auth-react
JS_SOURCES = $(wildcard $(JS)/*.json $(foreach package,$(JS_PACKAGES),$(addprefix \
	$(JS)/$(package)/,package.json README.md tsconfig.json src/*)))
NPM_INSTALL = npm install --loglevel=error --no-audit --no-fund --no-package-lock

.PHONY: setup-js test-js check-js lint-js npm-packages
LINTS += lint-js
TESTS += test-js

setup-js: $(JS)/node_modules/.ready ## Install the tools of the npm packages

$(JS)/node_modules/.ready: $(JS)/package.json $(JS)/react-19/package.json \
		$(JS_PACKAGES:%=$(JS)/%/package.json) | node-tools
	cd $(JS) && $(NPM_INSTALL)
	cd $(JS)/react-19 && $(NPM_INSTALL)
	touch $@

test-js: setup-js ## Test the npm packages with React 18 and 19
	cd $(JS) && npx vitest run --reporter=dot

check-js: lint-js test-js

# After the packing, because both write the compiled files.
lint-js: $(JS)/build/.packed ## Run tsc, ESLint and Prettier
	cd $(JS) && npx tsc --build $(JS_PACKAGES) && npx tsc --project tsconfig.json
	cd $(JS) && npx eslint . && npx prettier --config .prettierrc.json --check --log-level warn . \
		'../$(BROWSER)/*.mjs' '../$(BROWSER)/*/*.jsx' \
		'../$(EXAMPLES)/*/page/*.{html,js,json}' '../$(EXAMPLES)/*/page/src/*'

# The names have no version, so that a command can name them.
npm-packages: $(JS)/build/.packed ## Pack the npm packages in js/build/

$(JS)/build/.packed: $(JS_SOURCES) $(JS)/node_modules/.ready
	rm -rf $(JS)/build && mkdir -p $(JS)/build
	cd $(JS) && npm pack --silent --pack-destination build \
		$(JS_PACKAGES:%=--workspace %) >/dev/null
	cd $(JS)/build && for package in $(JS_PACKAGES); do \
		mv $$package-[0-9]*.tgz $$package.tgz; done
	touch $@
